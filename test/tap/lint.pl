# dbops.lint: for each rule a statement that it must find and one that it must not; suppression; the command's formats.
use strict;
use warnings;
use IPC::Run ();
use JSON::PP qw(decode_json);
use PostgreSQL::Test::Utils;
use Test::More;
use Dbops;

# An autovacuum would hold a lock on what it works at.
my $node = Dbops::node('lint', conf => "autovacuum = off\n");
for my $statement (
	'CREATE TABLE parent (id int PRIMARY KEY)',
	'CREATE TABLE t (id int PRIMARY KEY, a int, b int, c varchar(20), n int, v text, m numeric(10,2), known int CHECK (known IS NOT NULL), checked int CHECK (checked > 0), p int CONSTRAINT t_p_fkey REFERENCES parent, nn int NOT NULL DEFAULT 0)',
	q{INSERT INTO t (id, a, b, c, v, known, checked) SELECT i, i, i, 'x', repeat('x', 1000), i, i FROM generate_series(1, 20000) i},
	'CREATE INDEX t_a ON t (a)', 'CREATE INDEX t_c ON t (c)', 'CREATE UNIQUE INDEX t_bb ON t (b)',
	'CREATE TABLE pt (id int, x int) PARTITION BY RANGE (id)', 'CREATE TABLE pt_1 PARTITION OF pt FOR VALUES FROM (0) TO (10)', 'CREATE TABLE pt_rest PARTITION OF pt DEFAULT',
	'CREATE TABLE new_part (id int, x int)', 'CREATE TABLE new_part_checked (id int NOT NULL, x int, CHECK (id >= 10 AND id < 20))', 'CREATE TABLE new_part_other (x int, id int NOT NULL, CHECK (x >= 10 AND x < 20))',
	'CREATE TABLE pt2 (id int, x int) PARTITION BY RANGE (id)', 'CREATE TABLE pt2_rest PARTITION OF pt2 DEFAULT', 'ALTER TABLE pt2_rest ADD CHECK (id IS NOT NULL AND id >= 100)',
	'CREATE MATERIALIZED VIEW mv AS SELECT id FROM t', 'CREATE VIEW uses_b AS SELECT b FROM t', q{CREATE TYPE mood AS ENUM ('good')},
	'CREATE DOMAIN positive AS int', 'CREATE TABLE with_domain (x positive)', 'CREATE TABLE invalid (x int)', 'INSERT INTO invalid VALUES (1), (1)',
	'CREATE TABLE odd_columns ("a""b\c" int, "d""e\f" int)', 'CREATE INDEX ON odd_columns ("d""e\f")', 'CREATE TABLE small (id int PRIMARY KEY, a int)', 'CREATE TABLE published (id int PRIMARY KEY)', 'CREATE PUBLICATION pub FOR TABLE published')
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
	[ 'foreign-key-without-index', 'ALTER TABLE odd_columns ADD FOREIGN KEY ("a""b\c") REFERENCES parent NOT VALID', 'ALTER TABLE odd_columns ADD FOREIGN KEY ("d""e\f") REFERENCES parent NOT VALID' ],
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
	[ 'attach-scans-default', 'ALTER TABLE pt ATTACH PARTITION new_part_checked FOR VALUES FROM (10) TO (20)', 'ALTER TABLE pt2 ATTACH PARTITION new_part_checked FOR VALUES FROM (10) TO (20)' ],
	[ 'attach-scans-default', 'ALTER TABLE pt2 ATTACH PARTITION new_part_checked FOR VALUES FROM (90) TO (120)', 'ALTER TABLE pt DETACH PARTITION pt_1 CONCURRENTLY' ],
	[ 'attach-without-check', 'ALTER TABLE pt ATTACH PARTITION new_part_other FOR VALUES FROM (10) TO (20)', 'ALTER TABLE pt2 ATTACH PARTITION new_part_checked FOR VALUES FROM (10) TO (20)' ],
	[ 'attach-without-check', 'ALTER TABLE pt ATTACH PARTITION new_part_checked FOR VALUES FROM (10) TO (15)', 'ALTER TABLE pt ATTACH PARTITION new_part_checked FOR VALUES FROM (5) TO (20)' ],
	[ 'statement-fails', 'ALTER TABLE pt ADD CONSTRAINT u UNIQUE USING INDEX i', 'ALTER TABLE pt ADD UNIQUE (id)' ],
	[ 'create-partition-of', 'CREATE TABLE pt_2 PARTITION OF pt FOR VALUES FROM (10) TO (20)', 'CREATE TABLE pt_2 (LIKE pt)' ],
	[ 'refresh-not-concurrent', 'REFRESH MATERIALIZED VIEW mv', 'REFRESH MATERIALIZED VIEW CONCURRENTLY mv' ],
	[ 'alter-domain-constraint', 'ALTER DOMAIN positive ADD CHECK (VALUE > 0)', 'ALTER DOMAIN positive ADD CHECK (VALUE > 0) NOT VALID' ],
	[ 'create-domain-constraint', 'CREATE DOMAIN d AS int CHECK (VALUE > 0)', 'CREATE DOMAIN d AS int' ],
	[ 'drop-locks-referenced-table', 'ALTER TABLE t DROP CONSTRAINT t_p_fkey', 'ALTER TABLE t DROP CONSTRAINT t_checked_check' ],
	[ 'drop-locks-referenced-table', 'DROP TABLE parent CASCADE', 'DROP TABLE with_domain' ],
	[ 'truncate-cascade', 'TRUNCATE parent CASCADE', 'TRUNCATE t CASCADE' ],
	[ 'long-operation-under-lock', 'ALTER TABLE t DROP COLUMN n; ALTER TABLE t ADD CHECK (a > 0)', 'BEGIN; ALTER TABLE t DROP COLUMN n; COMMIT; ALTER TABLE t ADD CHECK (a > 0)' ],
	[ 'long-operation-under-lock', 'ALTER TABLE t DROP COLUMN n; CREATE INDEX ON t (a)', 'ALTER TABLE t DROP COLUMN n; CREATE INDEX CONCURRENTLY ON t (a)' ],
	[ 'long-operation-under-lock', 'ALTER TABLE t DROP COLUMN n; REFRESH MATERIALIZED VIEW mv', 'REFRESH MATERIALIZED VIEW mv' ],
	[ 'long-operation-under-lock', 'ALTER TABLE pt ADD COLUMN n int; CREATE TABLE pt_2 PARTITION OF pt FOR VALUES FROM (10) TO (20)', 'ALTER TABLE t DROP COLUMN n; DELETE FROM t' ],
	[ 'several-alters-of-one-table', 'ALTER TABLE t ADD COLUMN x int; ALTER TABLE t ADD COLUMN y int', 'ALTER TABLE t ADD COLUMN x int, ADD COLUMN y int' ],
	[ 'several-tables-locked', 'ALTER TABLE t ADD COLUMN x int; ALTER TABLE small ADD COLUMN x int', 'ALTER TABLE t ADD COLUMN x int' ],
	[ 'missing-lock-timeout', 'ALTER TABLE t ADD COLUMN x int', q{SET lock_timeout = '3s'; ALTER TABLE t ADD COLUMN x int} ],
	[ 'missing-statement-timeout', 'ALTER TABLE t ADD CHECK (a > 0)', q{SET statement_timeout = '1min'; ALTER TABLE t ADD CHECK (a > 0)} ],
	[ 'missing-statement-timeout', 'CREATE INDEX ON t (n)', 'ALTER TABLE t ADD COLUMN x int' ],
	[ 'index-not-concurrent', 'CREATE TABLE IF NOT EXISTS t (id int); CREATE INDEX i ON t (n)', 'CREATE TEMP TABLE t (n int); CREATE INDEX i ON t (n)' ],
	[ 'index-not-concurrent', 'CREATE TABLE elsewhere.t (n int); CREATE INDEX i ON t (n)', 'DROP TABLE t; CREATE TABLE t (n int); CREATE INDEX i ON t (n)' ],
	[ 'index-not-concurrent', 'CREATE INDEX i ON t (n)', 'ALTER TABLE t RENAME TO old; CREATE TABLE t (n int); CREATE INDEX i ON t (n)' ],
	[ 'lock-timeout-below-deadlock-timeout', q{SET lock_timeout = '500ms'}, q{SET lock_timeout = '3s'} ],
	[ 'explicit-lock', 'LOCK TABLE t', 'SELECT FROM t FOR UPDATE' ],
	[ 'backfill-in-ddl-transaction', 'ALTER TABLE t ADD COLUMN x int; UPDATE t SET x = 1 WHERE id < 5', 'UPDATE t SET a = 1 WHERE id < 5' ],
	[ 'unbatched-dml', 'UPDATE t SET a = 1', 'UPDATE t SET a = 1 WHERE id = 5' ],
	[ 'unbatched-dml', 'DELETE FROM t', 'DELETE FROM small' ],
	[ 'create-trigger', 'CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()', 'CREATE TABLE fresh (x int); CREATE TRIGGER x BEFORE UPDATE ON fresh FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()' ],
	[ 'drop-trigger', 'DROP TRIGGER x ON t', 'DROP FUNCTION x()' ],
	[ 'create-policy', 'CREATE POLICY x ON t USING (true)', 'CREATE TABLE fresh (x int); CREATE POLICY x ON fresh USING (true)' ],
	[ 'published-table', 'ALTER TABLE published ADD COLUMN x int', 'ALTER TABLE t ADD COLUMN x int' ],
	[ 'rename-column', 'ALTER TABLE t RENAME COLUMN a TO z', 'ALTER TABLE t RENAME CONSTRAINT t_p_fkey TO z' ],
	[ 'rename-table', 'ALTER TABLE t RENAME TO z', 'ALTER INDEX t_a RENAME TO z' ],
	[ 'rename-schema', 'ALTER SCHEMA public RENAME TO z', 'CREATE SCHEMA z' ],
	[ 'rename-enum-value', q{ALTER TYPE mood RENAME VALUE 'good' TO 'fine'}, q{ALTER TYPE mood ADD VALUE 'bad'} ],
	[ 'drop-column', 'ALTER TABLE t DROP COLUMN n', 'ALTER TABLE t ALTER COLUMN n DROP DEFAULT' ],
	[ 'column-is-used', 'ALTER TABLE t DROP COLUMN b', 'ALTER TABLE t DROP COLUMN n' ],
	[ 'column-is-used', 'ALTER TABLE t ALTER COLUMN b TYPE bigint', 'ALTER TABLE t ALTER COLUMN a TYPE bigint' ],
	[ 'column-is-used', 'DROP VIEW other; ALTER TABLE t DROP COLUMN b', 'DROP VIEW uses_b; ALTER TABLE t DROP COLUMN b' ],
	[ 'column-is-used', 'ALTER TABLE t ALTER COLUMN b TYPE bigint', 'DROP VIEW public.uses_b; ALTER TABLE t ALTER COLUMN b TYPE bigint; CREATE VIEW uses_b AS SELECT b FROM t' ],
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

# Foreign keys of partitioned tables are NOT VALID from 18 on; the others have no safe form.
my $old = $node->safe_psql('postgres', q{SELECT current_setting('server_version_num')::int < 180000});
is(found('ALTER TABLE pt ADD FOREIGN KEY (x) REFERENCES parent NOT VALID') =~ /statement-fails/ ? 't' : 'f', $old, 'NOT VALID of a partitioned table');
is(column('safe_sql IS NULL', 'foreign-key-not-valid-missing', 'ALTER TABLE pt ADD FOREIGN KEY (x) REFERENCES parent'), $old, 'and in the safe form');
is(column('safe_sql IS NULL', 'add-unique', 'ALTER TABLE pt ADD UNIQUE (id)'), 't', 'no safe form of UNIQUE for a partitioned table');

# What an earlier statement has changed is not in the catalog: what fails there now is only likely to.
for my $case ([ 'error', 'statement-fails', q{INSERT INTO small VALUES (1, 1); SET lock_timeout = '2s'; ALTER TABLE t ADD COLUMN s made NOT NULL DEFAULT 'new'} ],
	[ 'warning', 'statement-fails', q{CREATE TYPE made AS ENUM ('new'); ALTER TABLE t ADD COLUMN s made NOT NULL DEFAULT 'new'} ],
	[ 'warning', 'statement-fails', q{CREATE FUNCTION made() RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1'; ALTER TABLE t ADD COLUMN s int DEFAULT made()} ],
	[ 'warning', 'statement-fails', 'ALTER TABLE t ADD COLUMN x int; ALTER TABLE t ALTER COLUMN x TYPE bigint' ],
	[ 'error', 'column-is-used', 'SELECT 1; ALTER TABLE t DROP COLUMN b' ],
	[ 'warning', 'column-is-used', 'CREATE OR REPLACE VIEW uses_b AS SELECT id AS b FROM t; ALTER TABLE t DROP COLUMN b' ],
	[ 'warning', 'new-enum-value-used', q{ALTER TYPE mood ADD VALUE 'open'; INSERT INTO log VALUES ('open')} ])
{
	is(column('severity', $case->[1], $case->[2]), $case->[0], "$case->[1] is $case->[0] of $case->[2]");
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

# Safe forms in steps: they run, the jobs and what comes after them too, and end in what the statement would have made.
sub run_script
{
	my ($safe, $name) = @_;
	my ($err) = ('');
	IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres') ], '<', \$safe, '>', \my $out, '2>', \$err);
	is($?, 0, "$name: runs") or diag "$safe\n$err";
}
sub run_steps
{
	my ($rule, $sql) = @_;
	my $safe = column('safe_sql', $rule, $sql);
	isnt($safe, '', "$rule: there is a safe form");
	unlike($safe, qr/\.\.\.|\btype;|\bexpression\b/, "$rule: without blanks");
	for my $step (split /^-- when that is done.*\n/m, $safe)
	{
		run_script($step, "$rule: $sql");
		$node->poll_query_until('postgres', q{SELECT NOT EXISTS (SELECT FROM dbops.jobs WHERE state NOT IN ('succeeded', 'failed', 'cancelled'))}) or die;
	}
	is($node->safe_psql('postgres', q{SELECT coalesce(string_agg(DISTINCT kind || ': ' || coalesce(last_error, state), '; '), '') FROM dbops.jobs WHERE state <> 'succeeded'}), '', "$rule: its jobs succeed");
}
sub ask { return $node->safe_psql('postgres', $_[0]) }
run_script(q{CREATE SCHEMA "odd. schema"; CREATE TABLE "odd. schema"."T 1" (id int PRIMARY KEY, a int, d text); INSERT INTO "odd. schema"."T 1" SELECT i, i % 100, '7' FROM generate_series(1, 3000) i}, 'tables');
my $odd = '"odd. schema"."T 1"';
run_steps('add-column-volatile-default', qq{ALTER TABLE $odd ADD COLUMN made timestamptz DEFAULT clock_timestamp() + interval '1 day' NOT NULL});
is(ask("SELECT count(*) = count(made), bool_and(made > now()) FROM $odd"), 't|t', 'a volatile default fills every row');
is(ask("SELECT attnotnull FROM pg_attribute WHERE attrelid = '$odd'::regclass AND attname = 'made'"), 't', 'and is NOT NULL');
run_steps('add-column-serial', "ALTER TABLE $odd ADD COLUMN number bigserial");
is(ask("INSERT INTO $odd (id) VALUES (0); SELECT count(*), count(DISTINCT number) FROM $odd"), '3001|3001', 'a serial column numbers every row');
run_steps('add-column-identity', qq{ALTER TABLE $odd ADD COLUMN "Key" bigint GENERATED BY DEFAULT AS IDENTITY (INCREMENT BY 2)});
is(ask("INSERT INTO $odd (id) VALUES (-1); SELECT count(*), count(DISTINCT \"Key\") FROM $odd"), '3002|3002', 'an identity column numbers every row');
is(ask("SELECT attidentity FROM pg_attribute WHERE attrelid = '$odd'::regclass AND attname = 'Key'"), 'd', 'and is an identity');
run_steps('add-column-stored-generated', qq{ALTER TABLE $odd ADD COLUMN twice int GENERATED ALWAYS AS ("T 1".a * 2) STORED});
is(ask("UPDATE $odd SET a = 5 WHERE id = 1; SELECT bool_and(twice IS NOT DISTINCT FROM a * 2) FROM $odd"), 't', 'a generated column, by a trigger');
run_steps('change-column-type', "ALTER TABLE $odd ALTER COLUMN a TYPE bigint");
run_steps('change-column-type', "ALTER TABLE $odd ALTER d TYPE integer USING d::integer + 1");
is(ask("SELECT pg_typeof(a), pg_typeof(d), d FROM $odd WHERE id = 1"), 'bigint|integer|8', 'columns of another type');
# What belongs to the column goes along; comments in the statement do no harm.
run_script("ALTER TABLE $odd ADD COLUMN ticket serial, ADD COLUMN word varchar(20) NOT NULL DEFAULT 'twelve chars'", 'columns');
run_steps('change-column-type', "ALTER TABLE $odd /* one */ ALTER COLUMN ticket -- two\n TYPE bigint -- three");
run_steps('change-column-type', "ALTER TABLE $odd ALTER COLUMN word TYPE char(15)");
is(ask("INSERT INTO $odd (id) VALUES (-2); SELECT pg_typeof(ticket), ticket > 3000, word, pg_get_serial_sequence('$odd', 'ticket') IS NOT NULL FROM $odd WHERE id = -2"),
	'bigint|t|twelve chars   |t', 'with its default, its sequence and NOT NULL');
is(ask("SELECT string_agg(attname, ' ' ORDER BY attname) FROM pg_attribute WHERE attrelid = '$odd'::regclass AND attname IN ('ticket', 'word', 'ticket_old', 'word_old') AND attnotnull"), 'ticket word', 'which the old one has no more');
is(ask("SELECT format_type(seqtypid, NULL) FROM pg_sequence WHERE seqrelid = pg_get_serial_sequence('$odd', 'ticket')::regclass"), 'bigint', 'whose sequence goes as far as the column');
# Other indexes go along too, but for those that say more of the column than that they have it; a line break in a name stays in it.
run_script(q{CREATE TABLE indexed (id int, b text, n int NOT NULL); INSERT INTO indexed SELECT i, 'b' || i, i FROM generate_series(1, 2000) i;
	CREATE INDEX "by n" ON indexed (n DESC NULLS LAST, b COLLATE "C" text_pattern_ops) WITH (fillfactor = 70);
	CREATE UNIQUE INDEX indexed_once ON indexed (id, n) INCLUDE (b) NULLS NOT DISTINCT; CREATE INDEX ON indexed USING hash (n); CREATE INDEX ON indexed USING brin (n) WITH (pages_per_range = 8);
	CREATE INDEX indexed_b ON indexed (b) INCLUDE (n); CREATE INDEX indexed_other ON indexed (id); CREATE INDEX "half
DROP TABLE indexed; --" ON indexed (id) WHERE n > 5; CREATE INDEX indexed_sum ON indexed ((n + id))}, 'a table with indexes');
my $indexes = q{SELECT string_agg(indexdef, '; ' ORDER BY indexdef) FROM pg_indexes WHERE tablename = 'indexed' AND indexname !~ '^half|sum'};
my $before = ask($indexes);
like(column('safe_sql', 'change-column-type', 'ALTER TABLE indexed ALTER COLUMN n TYPE bigint'), qr/\n-- build one like the index public\."half DROP TABLE indexed; --" by hand.*\n-- when that is done:\nBEGIN;/s, 'the others are named');
run_steps('change-column-type', 'ALTER TABLE indexed ALTER COLUMN n TYPE bigint');
is(ask($indexes), $before, 'indexes as they were');
is(ask(q{SELECT count(*), bool_and(i.indisvalid) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indexrelid WHERE i.indrelid = 'indexed'::regclass AND a.attname LIKE 'n%' AND format_type(a.atttypid, NULL) = 'bigint'}), '4|t', 'of the new type');
# Keys: of one column with foreign keys of others on it and an identity, of several columns, a second one.
run_script(q{CREATE TABLE "odd. schema"."order" (id int GENERATED ALWAYS AS IDENTITY (INCREMENT BY 3) PRIMARY KEY, note text); INSERT INTO "odd. schema"."order" (note) SELECT 'x' FROM generate_series(1, 500);
	CREATE TABLE line (order_id int CONSTRAINT "Line of" REFERENCES "odd. schema"."order" ON DELETE CASCADE, number int, code int NOT NULL, CONSTRAINT code UNIQUE (code) DEFERRABLE INITIALLY DEFERRED, PRIMARY KEY (order_id, number));
	INSERT INTO line SELECT 1 + 3 * (i % 500), i, -i FROM generate_series(1, 1000) i;
	CREATE TABLE keyed_pt (n int PRIMARY KEY) PARTITION BY RANGE (n)}, 'keys');
my $order = '"odd. schema"."order"';
my $sequence = ask(qq{SELECT last_value FROM "odd. schema".order_id_seq});
run_steps('change-column-type', "ALTER TABLE $order ALTER COLUMN id TYPE bigint");
is(ask("SELECT pg_get_constraintdef(c.oid), format_type(a.atttypid, NULL), a.attidentity FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1] WHERE c.conrelid = '$order'::regclass AND c.contype = 'p'"),
	'PRIMARY KEY (id)|bigint|a', 'a primary key of another type, with its identity');
is(ask("INSERT INTO $order (note) VALUES ('y') RETURNING id"), $sequence + 3, 'that goes on where it was');
is(ask("SELECT count(*), count(DISTINCT id) FROM $order"), '501|501', 'with its values');
is(ask(q{SELECT string_agg(pg_get_constraintdef(oid), ';') FROM pg_constraint WHERE conname = 'Line of'}), 'FOREIGN KEY (order_id) REFERENCES "odd. schema"."order"(id) ON DELETE CASCADE', 'and the foreign key on it, valid');
is(ask("DELETE FROM $order WHERE id = 4; SELECT count(*) FROM line WHERE order_id = 4"), '0', 'which acts');
run_steps('change-column-type', 'ALTER TABLE line ALTER COLUMN number TYPE bigint');
run_steps('change-column-type', 'ALTER TABLE line ALTER COLUMN code TYPE bigint');
is(ask(q{SELECT string_agg(conname || ' ' || pg_get_constraintdef(oid), ';' ORDER BY conname) FROM pg_constraint WHERE conrelid = 'line'::regclass AND contype IN ('p', 'u')}),
	'code UNIQUE (code) DEFERRABLE INITIALLY DEFERRED;line_pkey PRIMARY KEY (order_id, number)', 'keys of several columns, and others');
is(ask(q{SELECT string_agg(attname || ' ' || format_type(atttypid, NULL), ', ' ORDER BY attname) FROM pg_attribute WHERE attrelid = 'line'::regclass AND attname IN ('number', 'code') AND attnotnull}), 'code bigint, number bigint', 'have their new types');
is($node->psql('postgres', 'INSERT INTO line SELECT order_id, number, 5 FROM line LIMIT 1'), 3, 'a key that is there is refused');
# Columns with constraints.
ask('INSERT INTO parent VALUES (1)');
run_steps('add-column-inline-check', "ALTER TABLE $odd ADD COLUMN limited int DEFAULT 5 CHECK (limited > 0) NOT NULL");
run_steps('add-column-inline-unique', "ALTER TABLE $odd ADD single text COLLATE \"C\" CONSTRAINT \"one only\" UNIQUE CHECK (single <> '')");
run_steps('add-column-inline-references', "ALTER TABLE $odd ADD COLUMN upper int DEFAULT '1'::int REFERENCES parent ON DELETE SET NULL");
is(ask("SELECT string_agg(conname || ': ' || pg_get_constraintdef(oid), '; ' ORDER BY conname) FROM pg_constraint WHERE conrelid = '$odd'::regclass AND conname ~ 'limited_check|one only|single|upper'"),
	q{T 1_limited_check: CHECK ((limited > 0)); T 1_single_check: CHECK ((single <> ''::text)); T 1_upper_fkey: FOREIGN KEY (upper) REFERENCES parent(id) ON DELETE SET NULL; one only: UNIQUE (single)}, 'a column with its constraints, valid');
is(ask("SELECT count(*) FROM $odd WHERE limited = 5 AND upper = 1 AND single IS NULL") > 3000 ? 't' : 'f', 't', 'and its default');
for my $sql ("ALTER TABLE $odd ADD COLUMN z int CHECK (z > 0) NOT NULL", "ALTER TABLE $odd ADD COLUMN z float DEFAULT random() CHECK (z > 0)", "ALTER TABLE $odd ADD COLUMN z serial CHECK (z > 0)",
	"ALTER TABLE $odd ADD COLUMN z int CHECK (z > 0), ADD COLUMN y int")
{
	is(column('safe_sql IS NULL', 'add-column-inline-check', $sql), 't', "no safe form that would not be one: $sql");
}
# A value that does not fit is an error, as in the statement, and is not cut.
run_script((split /^-- when that is done.*\n/m, column('safe_sql', 'change-column-type', "ALTER TABLE $odd ALTER COLUMN word TYPE varchar(5)"))[0], 'a shorter type');
ok(Dbops::wait_for($node, q{SELECT count(*) FROM dbops.jobs WHERE state = 'failed' AND last_sqlstate = '22001'}, 1), 'a value that is too long fails the job');
ask(q{SELECT dbops.cancel(job_id) FROM dbops.jobs WHERE state = 'failed'; DELETE FROM dbops.job WHERE state IN ('failed', 'cancelled')});
ask('CREATE TABLE tree (id int PRIMARY KEY, parent int REFERENCES tree, CONSTRAINT tree_z_check CHECK (parent > 0)); CREATE SEQUENCE tree_y_key');
for my $case ([ 'add-column-serial', 'ALTER TABLE t ADD COLUMN x bigserial PRIMARY KEY' ], [ 'change-column-type', 'ALTER TABLE t ALTER COLUMN checked TYPE bigint' ], [ 'change-column-type', 'ALTER TABLE t ALTER COLUMN b TYPE bigint' ],
	[ 'change-column-type', 'ALTER TABLE t ALTER COLUMN p TYPE bigint' ], [ 'change-column-type', 'ALTER TABLE keyed_pt ALTER COLUMN n TYPE bigint' ],
	[ 'change-column-type', 'ALTER TABLE parent ALTER COLUMN id TYPE text' ], [ 'change-column-type', 'ALTER TABLE tree ALTER COLUMN id TYPE bigint' ],
	[ 'add-column-inline-check', 'ALTER TABLE t ADD COLUMN z int CHECK (z > 0) CHECK (z < 9)' ], [ 'add-column-inline-references', 'ALTER TABLE t ADD COLUMN z int DEFAULT 1 REFERENCES parent REFERENCES small' ],
	[ 'add-column-inline-check', 'ALTER TABLE tree ADD COLUMN z int CHECK (z > 0)' ], [ 'add-column-inline-unique', 'ALTER TABLE tree ADD COLUMN y int UNIQUE' ],
	[ 'add-column-inline-check', 'ALTER TABLE t ADD COLUMN ' . ('z' x 60) . ' int CHECK (true)' ],
	[ 'add-column-volatile-default', 'ALTER TABLE t ADD COLUMN x uuid DEFAULT gen_random_uuid() UNIQUE' ], [ 'unbatched-dml', 'DELETE FROM ONLY t' ], [ 'unbatched-dml', 'UPDATE ONLY t SET n = 1' ],
	[ 'unbatched-dml', 'UPDATE t x SET n = 1' ], [ 'unbatched-dml', 'WITH w AS (SELECT 1) DELETE FROM t' ])
{
	is(column('bool_and(safe_sql IS NULL)', @$case), 't', "no safe form that would do something else: $case->[1]");
}
run_steps('add-column-not-null-no-default', "ALTER TABLE small ADD COLUMN filled int NOT NULL");
run_steps('unbatched-dml', q{UPDATE t SET n = b + 1, v = 'it''s'});
is(ask(q{SELECT count(*) FROM t WHERE n IS DISTINCT FROM b + 1 OR v <> 'it''s'}), '0', 'an UPDATE by a job');
run_script('CREATE TABLE pt_other (id int, x int); INSERT INTO pt_other SELECT i, i FROM generate_series(100, 199) i', 'a partition');
run_steps('attach-without-check', 'ALTER TABLE pt ATTACH PARTITION pt_other FOR VALUES FROM (100) TO (200)');
run_steps('create-partition-of', 'CREATE TABLE pt_more PARTITION OF pt FOR VALUES FROM (200) TO (300)');
is(ask(q{INSERT INTO pt VALUES (150, 0), (250, 0); SELECT string_agg(DISTINCT tableoid::regclass::text, ' ') FROM pt WHERE id IN (150, 250)}), 'pt_more pt_other', 'partitions');
run_steps('alter-domain-constraint', 'ALTER DOMAIN positive ADD CHECK (VALUE > 0)');
is(ask(q{SELECT convalidated FROM pg_constraint WHERE conname = 'positive_check'}), 't', 'a constraint of a domain');

# --- rules that are asked for ---
is(ask(q{SELECT string_agg(rule || ': ' || message, E'\n') FROM dbops.lint('CREATE TABLE "Bad" (id bigint, "No" int); CREATE TEMP TABLE x (a int); DROP TABLE x; SELECT 1', qualified => true, name_pattern => '^[a-z_]+$')}),
	qq{unqualified-table: "Bad" has no schema: which one it is depends on search_path\nnaming: the name "Bad" does not match ^[a-z_]+\$\nnaming: the name "No" does not match ^[a-z_]+\$}, 'names');
is(ask(q{SELECT count(*) FROM dbops.lint('CREATE TABLE "Bad" (id bigint)')}), '0', 'only when asked for');
is(ask(q{SELECT count(*) FROM dbops.lint('CREATE TABLE public.good (id bigint CONSTRAINT good_key PRIMARY KEY); ALTER TABLE public.t RENAME COLUMN n TO good', 0, true, '^[a-z_]+$') WHERE rule IN ('naming', 'unqualified-table')}), '0', 'and not for names that fit');
is(ask(q{SELECT count(*) FROM dbops.lint('ALTER TABLE public.t ADD CONSTRAINT "C" CHECK (true) NOT VALID, ADD "D" int; ALTER TABLE public.t RENAME a TO "E"; CREATE INDEX "F" ON public.t (a); CREATE SCHEMA "G"', 0, true, '^[a-z_]+$') WHERE rule = 'naming'}), '5', 'constraints, columns, indexes, schemas, new names of old things');

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

# --- no code of another role is called, neither what a copy brings along nor what the statement names -------------------------------
ask(q{CREATE ROLE mallory; CREATE SCHEMA theirs AUTHORIZATION mallory; SET ROLE mallory; SET search_path = theirs, public;
	CREATE FUNCTION note() RETURNS int LANGUAGE plpgsql AS $$BEGIN RAISE SQLSTATE 'EVIL1' USING MESSAGE = 'called as ' || current_user; END$$;
	CREATE FUNCTION evil(int) RETURNS int STABLE LANGUAGE plpgsql AS $$BEGIN IF current_user <> 'mallory' THEN RETURN theirs.note(); END IF; RETURN $1; END$$;
	CREATE FUNCTION evil_constant(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$BEGIN IF current_user <> 'mallory' THEN RETURN theirs.note(); END IF; RETURN $1; END$$;
	CREATE TABLE bait (x int, y int); CREATE INDEX ON bait ((x + theirs.evil_constant(1)));
	CREATE TABLE bait_check (x int, CHECK (x > theirs.evil_constant(1)))});
for my $sql ('ALTER TABLE theirs.bait ALTER y TYPE bigint', 'ALTER TABLE t ADD COLUMN z int DEFAULT theirs.evil(1)', 'ALTER TABLE t ADD COLUMN z int DEFAULT theirs.evil_constant(1)', 'ALTER TABLE t ALTER n TYPE int USING theirs.evil_constant(1)')
{
	my $quoted = $sql =~ s/'/''/gr;
	like(ask("SELECT severity || ': ' || message FROM dbops.lint('$quoted', 0) WHERE rule IN ('change-column-type', 'add-column-volatile-default', 'statement-fails')"), qr/^warning: .*cannot be told, .*that would call theirs\.evil\w*\(integer\) of the role mallory/, "not called: $sql");
}
unlike(ask("SELECT string_agg(message, ';') FROM dbops.lint('ALTER TABLE theirs.bait_check ALTER x TYPE bigint', 0)"), qr/called as/, 'nor by a constraint');
is(ask(q{SET ROLE mallory; SELECT string_agg(severity, ' ') FROM dbops.lint('ALTER TABLE theirs.bait ALTER y TYPE bigint', 0) WHERE rule = 'change-column-type'}), 'error', 'their owner may');
ask('CREATE FUNCTION of_superuser() RETURNS int STABLE LANGUAGE sql AS $$SELECT 1$$');
is(found('ALTER TABLE t ADD COLUMN z int DEFAULT of_superuser()'), 'cached-plan missing-lock-timeout', 'a function of a superuser is known');
# Event triggers hear nothing of it.
ask(q{CREATE FUNCTION heard() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'heard'; END$$; CREATE EVENT TRIGGER heard ON ddl_command_start EXECUTE FUNCTION heard(); CREATE EVENT TRIGGER heard_end ON ddl_command_end EXECUTE FUNCTION heard()});
like(found('ALTER TABLE t ALTER a TYPE bigint'), qr/change-column-type/, 'the copy is made unheard');
is(column('severity', 'change-column-type', 'ALTER TABLE t ALTER a TYPE bigint'), 'error', 'and tells');
ask('DROP EVENT TRIGGER heard; DROP EVENT TRIGGER heard_end');
# A cancel, or a shutdown, is not a failure of the statement.
ask(q{CREATE FUNCTION cancelled() RETURNS int STABLE LANGUAGE plpgsql AS $$BEGIN RAISE SQLSTATE '57014'; END$$});
like(Dbops::refusal($node, q{SELECT * FROM dbops.lint('ALTER TABLE t ADD COLUMN z int DEFAULT cancelled()', 0)}), qr/^57014: /, 'a cancel ends the call');

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
open my $handle, '>', "$place/before.sql" or die $!;
print $handle 'ALTER TABLE t ADD COLUMN later int';
close $handle;
is((lint_file('ALTER TABLE t ALTER COLUMN later TYPE text', "$place/before.sql"))[0], 1, 'a file that comes first is judged by the catalog');
open $handle, '>', "$place/z.sql" or die $!;
print $handle 'ALTER TABLE t ALTER COLUMN later TYPE text';
close $handle;
($status, $out) = lint_file('ALTER TABLE t ADD COLUMN later int', "$place/z.sql");
is($status, 0, 'for one after it, what fails now is perhaps right');
like($out, qr{z\.sql:1:1: warning: .*\[statement-fails\]}, 'and is a warning');
($status, $out) = lint_file("DROP TABLE t", '--json');
is(decode_json($out)->[0]{rule}, 'drop-table', 'JSON');
($status, $out) = lint_file("DROP TABLE t", '--format', 'sarif');
is(decode_json($out)->{runs}[0]{results}[0]{locations}[0]{physicalLocation}{region}{startLine}, 1, 'SARIF');
($status, $out) = lint_file("\nDROP TABLE t", '--format', 'github');
like($out, qr{^::warning file=$place/x\.sql,line=2,col=1,title=drop-table::}m, 'annotations of GitHub');
$node->stop;
done_testing();
