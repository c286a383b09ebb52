# dbops.lint: for each rule a statement that it must find and one that it must not; suppression; the command's formats.
use strict;
use warnings;
use IPC::Run ();
use JSON::PP qw(decode_json);
use PostgreSQL::Test::Utils;
use Test::More;
use Dbops;

my $node = Dbops::node('lint');
for my $statement (
	'CREATE TABLE parent (id int PRIMARY KEY)',
	'CREATE TABLE t (id int PRIMARY KEY, a int, b int, c varchar(20), n int, v text, m numeric(10,2), known int CHECK (known IS NOT NULL), checked int CHECK (checked > 0), p int CONSTRAINT t_p_fkey REFERENCES parent, nn int NOT NULL DEFAULT 0)',
	q{INSERT INTO t (id, a, b, c, v, known, checked) SELECT i, i, i, 'x', repeat('x', 1000), i, i FROM generate_series(1, 20000) i},
	'CREATE INDEX t_a ON t (a)', 'CREATE INDEX t_c ON t (c)', 'CREATE UNIQUE INDEX t_bb ON t (b)',
	'CREATE TABLE pt (id int, x int) PARTITION BY RANGE (id)', 'CREATE TABLE pt_1 PARTITION OF pt FOR VALUES FROM (0) TO (10)', 'CREATE TABLE pt_rest PARTITION OF pt DEFAULT',
	'CREATE TABLE new_part (id int, x int)', 'CREATE TABLE new_part_checked (id int, x int, CHECK (id >= 10 AND id < 20))',
	'CREATE MATERIALIZED VIEW mv AS SELECT id FROM t', 'CREATE VIEW uses_b AS SELECT b FROM t', q{CREATE TYPE mood AS ENUM ('good')},
	'CREATE DOMAIN positive AS int', 'CREATE TABLE with_domain (x positive)', 'CREATE TABLE invalid (x int)', 'INSERT INTO invalid VALUES (1), (1)',
	'CREATE TABLE small (id int PRIMARY KEY, a int)', 'CREATE TABLE published (id int PRIMARY KEY)', 'CREATE PUBLICATION pub FOR TABLE published')
{
	$node->safe_psql('postgres', $statement);
}
$node->psql('postgres', 'CREATE UNIQUE INDEX CONCURRENTLY invalid_x ON invalid (x)');

# Rules that the linter finds in a script, with their severities; sizes count for nothing here.
sub found
{
	my ($sql, $small) = @_;
	my $quoted = $sql =~ s/'/''/gr;
	$small //= 0;
	return $node->safe_psql('postgres', "SELECT coalesce(string_agg(rule, ' ' ORDER BY statement_number, rule), '') FROM dbops.lint('$quoted', $small) WHERE suppressed IS NULL");
}
sub column
{
	my ($column, $rule, $sql) = @_;
	my $quoted = $sql =~ s/'/''/gr;
	return $node->safe_psql('postgres', "SELECT $column FROM dbops.lint('$quoted', 0) WHERE rule = '$rule'");
}

# rule => [ must, must not ]
my @rules = (
	[ 'index-not-concurrent', 'CREATE INDEX i ON t (n)', 'CREATE INDEX CONCURRENTLY i ON t (n)' ],
	[ 'index-not-concurrent', 'CREATE INDEX i ON t (n)', 'CREATE TABLE fresh (x int); CREATE INDEX ON fresh (x)' ],
	[ 'drop-index-not-concurrent', 'DROP INDEX t_a', 'DROP INDEX CONCURRENTLY t_a' ],
	[ 'reindex-not-concurrent', 'REINDEX TABLE t', 'REINDEX TABLE CONCURRENTLY t' ],
	[ 'concurrently-in-transaction', 'BEGIN; CREATE INDEX CONCURRENTLY i ON t (n); COMMIT', 'CREATE INDEX CONCURRENTLY i ON t (n)' ],
	[ 'concurrently-if-not-exists', 'CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS invalid_x ON invalid (x)', 'CREATE INDEX CONCURRENTLY other ON invalid (x)' ],
	[ 'concurrently-on-partitioned', 'CREATE INDEX CONCURRENTLY i ON pt (x)', 'CREATE INDEX i ON ONLY pt (x)' ],
	[ 'concurrently-short-lock-timeout', q{SET lock_timeout = '5s'; CREATE INDEX CONCURRENTLY i ON t (n)}, 'CREATE INDEX CONCURRENTLY i ON t (n)' ],
	[ 'add-column-volatile-default', 'ALTER TABLE t ADD COLUMN x timestamptz DEFAULT clock_timestamp()', 'ALTER TABLE t ADD COLUMN x timestamptz DEFAULT now()' ],
	[ 'add-column-volatile-default', 'ALTER TABLE t ADD COLUMN x uuid DEFAULT gen_random_uuid()', 'ALTER TABLE t ADD COLUMN x int NOT NULL DEFAULT 7' ],
	[ 'add-column-serial', 'ALTER TABLE t ADD COLUMN x serial', 'ALTER TABLE t ADD COLUMN x int' ],
	[ 'add-column-identity', 'ALTER TABLE t ADD COLUMN x int GENERATED ALWAYS AS IDENTITY', 'ALTER TABLE t ADD COLUMN x int' ],
	[ 'add-column-stored-generated', 'ALTER TABLE t ADD COLUMN x int GENERATED ALWAYS AS (a + 1) STORED', 'ALTER TABLE t ADD COLUMN x int' ],
	[ 'add-column-not-null-no-default', 'ALTER TABLE t ADD COLUMN x int NOT NULL', 'ALTER TABLE t ADD COLUMN x int NOT NULL DEFAULT 0' ],
	[ 'add-column-inline-check', 'ALTER TABLE t ADD COLUMN x int CHECK (x > 0)', 'ALTER TABLE t ADD COLUMN x int' ],
	[ 'add-column-inline-unique', 'ALTER TABLE t ADD COLUMN x int UNIQUE', 'ALTER TABLE t ADD COLUMN x int' ],
	[ 'add-column-inline-references', 'ALTER TABLE t ADD COLUMN x int DEFAULT 1 REFERENCES parent', 'ALTER TABLE t ADD COLUMN x int REFERENCES parent' ],
	[ 'cached-plan', 'ALTER TABLE t ADD COLUMN x int', 'ALTER TABLE t ALTER COLUMN a SET DEFAULT 1' ],
	[ 'cached-plan', 'ALTER TABLE t ALTER COLUMN a TYPE bigint', 'CREATE TABLE fresh (a int); ALTER TABLE fresh ADD COLUMN x int' ],
	[ 'duplicate-column', 'UPDATE small SET a = 1, a = 2 WHERE id = 1', 'UPDATE small SET a = 1, id = 2 WHERE id = 1' ],
	[ 'duplicate-column', 'INSERT INTO small (a, a) VALUES (1, 2)', 'INSERT INTO small (a, id) VALUES (1, 2)' ],
	[ 'duplicate-column', 'CREATE TABLE fresh (a int, b int, a text)', 'CREATE TABLE fresh (a int, "A" int)' ],
	[ 'set-not-null', 'ALTER TABLE t ALTER COLUMN a SET NOT NULL', 'ALTER TABLE t ALTER COLUMN known SET NOT NULL' ],
	[ 'set-not-null', 'ALTER TABLE t ALTER COLUMN checked SET NOT NULL', 'ALTER TABLE t ALTER COLUMN nn SET NOT NULL' ],
	[ 'change-column-type', 'ALTER TABLE t ALTER COLUMN a TYPE bigint', 'ALTER TABLE t ALTER COLUMN c TYPE text' ],
	[ 'change-column-type', 'ALTER TABLE t ALTER COLUMN c TYPE varchar(10)', 'ALTER TABLE t ALTER COLUMN c TYPE varchar(30)' ],
	[ 'change-column-type', 'ALTER TABLE t ALTER COLUMN m TYPE numeric(10,3)', 'ALTER TABLE t ALTER COLUMN m TYPE numeric(12,2)' ],
	[ 'change-column-type', 'ALTER TABLE t ALTER COLUMN a TYPE bigint USING t.a * 2', 'ALTER TABLE t ALTER COLUMN v TYPE varchar' ],
	[ 'change-type-with-constraints', 'ALTER TABLE t ALTER COLUMN checked TYPE bigint', 'ALTER TABLE t ALTER COLUMN a TYPE bigint' ],
	[ 'statement-fails', 'ALTER TABLE t ALTER COLUMN v TYPE int', 'ALTER TABLE t ALTER COLUMN v TYPE int USING length(v)' ],
	[ 'check-not-valid-missing', 'ALTER TABLE t ADD CHECK (a > 0)', 'ALTER TABLE t ADD CHECK (a > 0) NOT VALID' ],
	[ 'foreign-key-not-valid-missing', 'ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES parent', 'ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES parent NOT VALID' ],
	[ 'foreign-key-without-index', 'ALTER TABLE t ADD FOREIGN KEY (n) REFERENCES parent NOT VALID', 'ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES parent NOT VALID' ],
	[ 'validate-in-same-transaction', 'ALTER TABLE t ADD CONSTRAINT k CHECK (a > 0) NOT VALID; ALTER TABLE t VALIDATE CONSTRAINT k', 'ALTER TABLE t VALIDATE CONSTRAINT k' ],
	[ 'add-unique', 'ALTER TABLE t ADD UNIQUE (a)', 'ALTER TABLE t ADD CONSTRAINT u UNIQUE USING INDEX t_bb' ],
	[ 'add-primary-key', 'ALTER TABLE invalid ADD PRIMARY KEY (x)', 'ALTER TABLE t ADD CONSTRAINT u UNIQUE USING INDEX t_bb' ],
	[ 'add-exclusion', 'ALTER TABLE t ADD EXCLUDE (a WITH =)', 'ALTER TABLE t ADD CHECK (a > 0) NOT VALID' ],
	[ 'vacuum-full', 'VACUUM FULL t', 'VACUUM t' ],
	[ 'vacuum-full', 'VACUUM (FULL) t', 'VACUUM (FULL off, ANALYZE) t' ],
	[ 'cluster', 'CLUSTER t USING t_a', 'ANALYZE t' ],
	[ 'set-tablespace', 'ALTER TABLE t SET TABLESPACE pg_default', 'ALTER TABLE t SET (fillfactor = 90)' ],
	[ 'set-unlogged', 'ALTER TABLE t SET UNLOGGED', 'ALTER TABLE t SET (fillfactor = 90)' ],
	[ 'set-logged', 'ALTER TABLE t SET LOGGED', 'ALTER TABLE t SET (fillfactor = 90)' ],
	[ 'set-access-method', 'ALTER TABLE t SET ACCESS METHOD heap', 'ALTER TABLE t SET (fillfactor = 90)' ],
	[ 'detach-partition-not-concurrent', 'ALTER TABLE pt DETACH PARTITION pt_1', 'ALTER TABLE pt DETACH PARTITION pt_1 CONCURRENTLY' ],
	[ 'attach-without-check', 'ALTER TABLE pt ATTACH PARTITION new_part FOR VALUES FROM (10) TO (20)', 'ALTER TABLE pt ATTACH PARTITION new_part_checked FOR VALUES FROM (10) TO (20)' ],
	[ 'attach-scans-default', 'ALTER TABLE pt ATTACH PARTITION new_part_checked FOR VALUES FROM (10) TO (20)', 'ALTER TABLE pt DETACH PARTITION pt_1 CONCURRENTLY' ],
	[ 'create-partition-of', 'CREATE TABLE pt_2 PARTITION OF pt FOR VALUES FROM (10) TO (20)', 'CREATE TABLE pt_2 (LIKE pt)' ],
	[ 'refresh-not-concurrent', 'REFRESH MATERIALIZED VIEW mv', 'REFRESH MATERIALIZED VIEW CONCURRENTLY mv' ],
	[ 'alter-domain-constraint', 'ALTER DOMAIN positive ADD CHECK (VALUE > 0)', 'ALTER DOMAIN positive ADD CHECK (VALUE > 0) NOT VALID' ],
	[ 'create-domain-constraint', 'CREATE DOMAIN d AS int CHECK (VALUE > 0)', 'CREATE DOMAIN d AS int' ],
	[ 'drop-locks-referenced-table', 'ALTER TABLE t DROP CONSTRAINT t_p_fkey', 'ALTER TABLE t DROP CONSTRAINT t_checked_check' ],
	[ 'drop-locks-referenced-table', 'DROP TABLE parent CASCADE', 'DROP TABLE with_domain' ],
	[ 'truncate-cascade', 'TRUNCATE parent CASCADE', 'TRUNCATE t CASCADE' ],
	[ 'long-operation-under-lock', 'ALTER TABLE t DROP COLUMN n; ALTER TABLE t ADD CHECK (a > 0)', 'BEGIN; ALTER TABLE t DROP COLUMN n; COMMIT; ALTER TABLE t ADD CHECK (a > 0)' ],
	[ 'several-alters-of-one-table', 'ALTER TABLE t ADD COLUMN x int; ALTER TABLE t ADD COLUMN y int', 'ALTER TABLE t ADD COLUMN x int, ADD COLUMN y int' ],
	[ 'several-tables-locked', 'ALTER TABLE t ADD COLUMN x int; ALTER TABLE small ADD COLUMN x int', 'ALTER TABLE t ADD COLUMN x int' ],
	[ 'missing-lock-timeout', 'ALTER TABLE t ADD COLUMN x int', q{SET lock_timeout = '3s'; ALTER TABLE t ADD COLUMN x int} ],
	[ 'lock-timeout-below-deadlock-timeout', q{SET lock_timeout = '500ms'}, q{SET lock_timeout = '3s'} ],
	[ 'explicit-lock', 'LOCK TABLE t', 'SELECT 1' ],
	[ 'backfill-in-ddl-transaction', 'ALTER TABLE t ADD COLUMN x int; UPDATE t SET x = 1 WHERE id < 5', 'UPDATE t SET a = 1 WHERE id < 5' ],
	[ 'unbatched-dml', 'UPDATE t SET a = 1', 'UPDATE t SET a = 1 WHERE id = 5' ],
	[ 'unbatched-dml', 'DELETE FROM t', 'DELETE FROM small' ],
	[ 'create-trigger', 'CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()', 'SELECT 1' ],
	[ 'create-policy', 'CREATE POLICY x ON t USING (true)', 'SELECT 1' ],
	[ 'published-table', 'ALTER TABLE published ADD COLUMN x int', 'ALTER TABLE t ADD COLUMN x int' ],
	[ 'rename-column', 'ALTER TABLE t RENAME COLUMN a TO z', 'ALTER TABLE t RENAME CONSTRAINT t_p_fkey TO z' ],
	[ 'rename-table', 'ALTER TABLE t RENAME TO z', 'ALTER INDEX t_a RENAME TO z' ],
	[ 'rename-schema', 'ALTER SCHEMA public RENAME TO z', 'CREATE SCHEMA z' ],
	[ 'rename-enum-value', q{ALTER TYPE mood RENAME VALUE 'good' TO 'fine'}, q{ALTER TYPE mood ADD VALUE 'bad'} ],
	[ 'drop-column', 'ALTER TABLE t DROP COLUMN n', 'ALTER TABLE t ALTER COLUMN n DROP DEFAULT' ],
	[ 'column-is-used', 'ALTER TABLE t DROP COLUMN b', 'ALTER TABLE t DROP COLUMN n' ],
	[ 'drop-table', 'DROP TABLE t', 'DROP TABLE IF EXISTS not_there' ],
	[ 'drop-schema', 'DROP SCHEMA x', 'DROP FUNCTION x()' ],
	[ 'drop-not-null', 'ALTER TABLE t ALTER COLUMN nn DROP NOT NULL', 'ALTER TABLE t ALTER COLUMN nn DROP DEFAULT' ],
	[ 'drop-database', 'DROP DATABASE x', 'DROP TABLE not_there' ],
	[ 'drop-constraint', 'ALTER TABLE t DROP CONSTRAINT t_checked_check', 'ALTER TABLE t ALTER COLUMN nn DROP DEFAULT' ],
	[ 'replace-view', 'CREATE OR REPLACE VIEW uses_b AS SELECT b FROM t', 'CREATE VIEW other AS SELECT b FROM t' ],
	[ 'identifier-too-long', 'CREATE TABLE ' . ('x' x 64) . ' (x int)', 'CREATE TABLE ' . ('x' x 63) . q{ (x int DEFAULT length('} . ('x' x 80) . q{'))} ],
	[ 'prefer-jsonb', 'CREATE TABLE j (x json)', 'CREATE TABLE j (x jsonb)' ],
	[ 'prefer-text', 'CREATE TABLE j (x char(5))', 'CREATE TABLE j (x text)' ],
	[ 'prefer-timestamptz', 'CREATE TABLE j (x timestamp)', 'CREATE TABLE j (x timestamptz)' ],
	[ 'prefer-identity', 'CREATE TABLE j (x bigserial)', 'CREATE TABLE j (x bigint GENERATED ALWAYS AS IDENTITY)' ],
	[ 'prefer-bigint-key', 'CREATE TABLE j (x int PRIMARY KEY)', 'CREATE TABLE j (x bigint PRIMARY KEY)' ],
	[ 'enum', q{CREATE TYPE e AS ENUM ('a')}, 'CREATE TYPE e AS (a int)' ],
	[ 'enum-value-order', q{ALTER TYPE mood ADD VALUE 'bad'}, q{ALTER TYPE mood ADD VALUE 'bad' BEFORE 'good'} ],
	[ 'new-enum-value-used', q{ALTER TYPE mood ADD VALUE 'bad'; SELECT 'bad'::mood}, q{BEGIN; ALTER TYPE mood ADD VALUE 'bad'; COMMIT; SELECT 'bad'::mood} ],
	[ 'wide-index', 'CREATE INDEX CONCURRENTLY i ON t (a, b, c, n)', 'CREATE INDEX CONCURRENTLY i ON t (a, b, c)' ],
	[ 'nested-transaction', 'BEGIN; BEGIN; COMMIT', 'BEGIN; COMMIT' ],
	[ 'uncommitted-transaction', 'BEGIN; SELECT 1', 'BEGIN; SELECT 1; COMMIT' ],
	[ 'set-schema', 'ALTER TABLE t SET SCHEMA pg_catalog', 'ALTER FUNCTION f() SET SCHEMA pg_catalog' ],
	[ 'syntax-error', 'SELEC 1', 'SELECT 1' ],
);
for my $rule (@rules)
{
	my ($name, $must, $must_not) = @$rule;
	like(found($must), qr/(^| )\Q$name\E( |$)/, "$name: $must");
	unlike(found($must_not), qr/(^| )\Q$name\E( |$)/, "$name, not: $must_not");
}

# --- what comes with a finding --------------------------------------------------------------------------------------------
is(column('safe_sql', 'index-not-concurrent', 'CREATE UNIQUE INDEX "index" ON t (n)'), 'CREATE UNIQUE INDEX CONCURRENTLY "index" ON t (n);', 'the safe form of CREATE INDEX');
is(column('lock', 'index-not-concurrent', 'CREATE INDEX ON t (n)'), 'SHARE', 'the lock');
cmp_ok(column('bytes', 'index-not-concurrent', 'CREATE INDEX ON t (n)'), '>', 20_000_000, 'the bytes');
is(column('rewrites', 'change-column-type', 'ALTER TABLE t ALTER COLUMN a TYPE bigint'), 't', 'a rewrite');
is(column('line || $$:$$ || "column"', 'drop-table', "-- x\nSELECT 1;\n  DROP TABLE t;"), '3:3', 'the place');
like(column('safe_sql', 'check-not-valid-missing', 'ALTER TABLE t ADD CONSTRAINT k CHECK (a > 0)'), qr/^ALTER TABLE public\.t ADD CONSTRAINT k CHECK \(a > 0\) NOT VALID;\n.*\nALTER TABLE public\.t VALIDATE CONSTRAINT k;$/s, 'the safe form of CHECK');

# The safe forms run, and are not found again.
for my $case ([ 'check-not-valid-missing', 'ALTER TABLE t ADD CHECK (a > 0)' ], [ 'add-unique', 'ALTER TABLE t ADD UNIQUE (a)' ], [ 'set-not-null', 'ALTER TABLE t ALTER COLUMN a SET NOT NULL' ],
	[ 'index-not-concurrent', 'CREATE INDEX safe_i ON t (n)' ], [ 'drop-index-not-concurrent', 'DROP INDEX safe_i' ], [ 'concurrently-on-partitioned', 'CREATE INDEX CONCURRENTLY pt_i ON pt (x)' ],
	[ 'detach-partition-not-concurrent', 'ALTER TABLE pt DETACH PARTITION pt_1' ], [ 'concurrently-if-not-exists', 'CREATE INDEX CONCURRENTLY IF NOT EXISTS invalid_x ON invalid (x)' ])
{
	my ($rule, $sql) = @$case;
	my $safe = column('safe_sql', $rule, $sql);
	next if $rule eq 'detach-partition-not-concurrent' && $node->safe_psql('postgres', 'DROP TABLE pt_rest') ne '';
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres') ], '<', \$safe, '>', \$out, '2>', \$err);
	is($?, 0, "$rule: the safe form runs") or diag "$safe\n$err";
	my $again = join ' ', map { found($_) } split /-- in another transaction:\n/, $safe;
	unlike($again, qr/\Q$rule\E/, "$rule: and is not found again") unless $rule eq 'concurrently-if-not-exists';
}

# --- size, suppression -------------------------------------------------------------------------------------------------------
my $index = 'CREATE INDEX ON small (a)';
is($node->safe_psql('postgres', "SELECT severity FROM dbops.lint('$index') WHERE rule = 'index-not-concurrent'"), 'notice', 'a small table gives a notice');
is($node->safe_psql('postgres', "SELECT severity FROM dbops.lint('$index', 0) WHERE rule = 'index-not-concurrent'"), 'error', 'unless it is not small');
is(column('suppressed', 'drop-table', "-- dbops: ignore drop-table nobody uses it\nDROP TABLE t;"), 'nobody uses it', 'ignored with a reason');
is(column('suppressed', 'drop-table', "-- dbops: ignore drop-column, drop-table both are old\nDROP TABLE t;"), 'both are old', 'several rules');
is(column('suppressed IS NULL', 'drop-table', "-- dbops: ignore drop-table\nDROP TABLE t;"), 't', 'not without a reason');
is(column('suppressed IS NULL', 'drop-table', "-- dbops: ignore drop-table x\nSELECT 1;\nDROP TABLE t;"), 't', 'only for the next statement');
is(column('suppressed', 'drop-table', "-- squawk-ignore ban-drop-table\nDROP TABLE t;"), 'squawk-ignore', 'the way of squawk');
is(column('suppressed', 'set-not-null', "-- eugene: ignore E2, E4\nALTER TABLE t ALTER COLUMN b SET NOT NULL;"), 'eugene: ignore', 'the way of eugene');

# --- nothing is changed, nothing is locked --------------------------------------------------------------------------------------
my $before = $node->safe_psql('postgres', 'SELECT count(*), max(oid) FROM pg_class WHERE relnamespace = 2200');
found('ALTER TABLE t ALTER COLUMN a TYPE bigint; DROP TABLE t');
is($node->safe_psql('postgres', 'SELECT count(*), max(oid) FROM pg_class WHERE relnamespace = 2200'), $before, 'the catalog is as it was');
is($node->safe_psql('postgres', q{BEGIN; SELECT count(*) FROM dbops.lint('ALTER TABLE t ALTER COLUMN a TYPE bigint, ADD CHECK (a > 0)');
	SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass AND mode NOT IN ('AccessShareLock')}) =~ s/.*\n//r, '0', 'no lock but ACCESS SHARE is held');

# --- speed: no assertion on time, but it must not be quadratic --------------------------------------------------------------------
my $many = "CREATE INDEX CONCURRENTLY ON t (a);\n" x 10_000;
is($node->safe_psql('postgres', "SELECT count(*) FROM dbops.lint('$many')"), 0, '10,000 statements');

# --- the command --------------------------------------------------------------------------------------------------------------------
my $place = PostgreSQL::Test::Utils::tempdir();
sub lint_file
{
	my ($sql, @arguments) = @_;
	open my $handle, '>', "$place/x.sql" or die $!;
	print $handle $sql;
	close $handle;
	my ($out, $err) = ('', '');
	IPC::Run::run([ $ENV{DBOPS_CLI}, '--dbname', $node->connstr('postgres'), 'lint', "$place/x.sql", @arguments ], '<', \undef, '>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}
my ($status, $out, $err) = lint_file("SELECT 1;\nALTER TABLE t ALTER COLUMN b TYPE bigint;\n");
is($status, 1, 'an error gives status 1') or diag $err;
like($out, qr{^$place/x\.sql:2:1: error: public\.t: .*\[change-column-type\]$}m, 'as text');
is((lint_file('DROP TABLE t'))[0], 0, 'a warning does not');
is((lint_file('DROP TABLE t', '--fail-on', 'warning'))[0], 1, 'unless asked for');
($status, $out) = lint_file("DROP TABLE t", '--json');
is(decode_json($out)->[0]{rule}, 'drop-table', 'JSON');
($status, $out) = lint_file("DROP TABLE t", '--format', 'sarif');
is(decode_json($out)->{runs}[0]{results}[0]{locations}[0]{physicalLocation}{region}{startLine}, 1, 'SARIF');
($status, $out) = lint_file("\nDROP TABLE t", '--format', 'github');
like($out, qr{^::warning file=$place/x\.sql,line=2,col=1,title=drop-table::}m, 'annotations of GitHub');
$node->stop;
done_testing();
