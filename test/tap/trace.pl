# dbops.trace: locks, rewrites and scans, without a lock on the tables where that is possible.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Dbops;

my $node = Dbops::node('trace');
sub sql { return $node->safe_psql('postgres', $_[0]); }
sub trace
{
	my ($statement) = @_;
	return sql("SELECT string_agg(concat_ws(' ', coalesce(object, '-'), lock, CASE WHEN rewrites THEN 'W' END, CASE WHEN scans THEN 'R' END, found_by), ', ' ORDER BY statement_number, object) FROM dbops.trace(\$sql\$$statement\$sql\$)");
}
sql(q{CREATE TABLE parent (id int PRIMARY KEY);
      CREATE TABLE t (id int CONSTRAINT odd_name PRIMARY KEY, a int, b varchar(10), c int REFERENCES parent, CONSTRAINT later CHECK (a > 0)); CREATE INDEX t_a ON t (a);
      ALTER TABLE t ADD CONSTRAINT open CHECK (a < 1000) NOT VALID;
      CREATE VIEW v AS SELECT a FROM t;
      INSERT INTO parent VALUES (1); INSERT INTO t SELECT i, i, 'x', 1 FROM generate_series(1, 100) i;
      CREATE TABLE root (id int PRIMARY KEY); CREATE TABLE below (id int PRIMARY KEY REFERENCES root); CREATE TABLE farther (id int REFERENCES below, x int);
      CREATE UNIQUE INDEX ON farther (x); CREATE TABLE farthest (x int REFERENCES farther (x)) PARTITION BY LIST (x); CREATE TABLE farthest_1 PARTITION OF farthest FOR VALUES IN (1); CREATE SCHEMA apart; CREATE TABLE apart.a (id int PRIMARY KEY); CREATE TABLE apart.b (x int);
      CREATE TABLE p (k int) PARTITION BY LIST (k); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)});
my $files = q{SELECT string_agg(relname || relfilenode, ' ' ORDER BY oid) FROM pg_class WHERE relnamespace = 'public'::regnamespace};
my $was = sql($files);

# Somebody reads the table all the time: what takes ACCESS EXCLUSIVE on it would fail.
my $reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN; SELECT count(*) FROM t, parent');

# The matrix of reference/migrations.md, as the server shows it.
for (
	[ 'ALTER TABLE t ADD COLUMN d int DEFAULT 5', 'public.t ACCESS EXCLUSIVE copy' ],
	[ 'ALTER TABLE t ADD COLUMN d float DEFAULT random()', qr/^public.odd_name ACCESS EXCLUSIVE W copy, public.t ACCESS EXCLUSIVE W R? ?copy, public.t_a ACCESS EXCLUSIVE W copy$/ ],
	[ 'ALTER TABLE t ALTER COLUMN b TYPE varchar(20)', 'public.t ACCESS EXCLUSIVE copy' ],
	[ 'ALTER TABLE t ALTER COLUMN a TYPE bigint', qr/public.t ACCESS EXCLUSIVE W/ ],
	[ 'ALTER TABLE t ALTER COLUMN b SET NOT NULL', 'public.t ACCESS EXCLUSIVE R copy' ],
	[ 'ALTER TABLE t ALTER COLUMN a SET STATISTICS 100', 'public.t SHARE UPDATE EXCLUSIVE copy' ],
	[ 'ALTER TABLE t ADD CHECK (a > -5)', 'public.t ACCESS EXCLUSIVE R copy' ],
	[ 'ALTER TABLE t ADD CHECK (a > -5) NOT VALID', 'public.t ACCESS EXCLUSIVE copy' ],
	[ 'ALTER TABLE t VALIDATE CONSTRAINT open', 'public.t SHARE UPDATE EXCLUSIVE R copy' ],
	[ 'ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES parent NOT VALID', qr/^public.parent SHARE ROW EXCLUSIVE copy,.* public.t SHARE ROW EXCLUSIVE copy$/ ],
	[ 'ALTER TABLE t DROP CONSTRAINT t_c_fkey', qr/^public.parent ACCESS EXCLUSIVE copy, public.t ACCESS EXCLUSIVE copy$/ ],
	[ 'CREATE INDEX ON t (b)', qr/public.t SHARE R copy/ ],
	[ 'ALTER TABLE t RENAME COLUMN b TO c2', 'public.t ACCESS EXCLUSIVE copy' ],
	[ 'CREATE INDEX CONCURRENTLY ON t (b)', 'public.t SHARE UPDATE EXCLUSIVE R documentation' ],
	[ 'DROP INDEX CONCURRENTLY t_a', 'public.t SHARE UPDATE EXCLUSIVE documentation' ],
	[ 'TRUNCATE root CASCADE', 'public.below ACCESS EXCLUSIVE copy, public.below_pkey ACCESS EXCLUSIVE copy, public.farther ACCESS EXCLUSIVE documentation, public.farther_x_idx ACCESS EXCLUSIVE documentation,'
		  . ' public.farthest ACCESS EXCLUSIVE documentation, public.farthest_1 ACCESS EXCLUSIVE documentation, public.root ACCESS EXCLUSIVE copy, public.root_pkey ACCESS EXCLUSIVE copy' ],
	[ 'REINDEX SCHEMA apart', 'apart.a SHARE R documentation, apart.a_pkey ACCESS EXCLUSIVE W documentation, apart.b SHARE R documentation' ],
	[ 'REINDEX (CONCURRENTLY) SCHEMA apart', 'apart.a SHARE UPDATE EXCLUSIVE R documentation, apart.b SHARE UPDATE EXCLUSIVE R documentation' ],
	[ 'REINDEX DATABASE postgres', qr/apart\.a_pkey ACCESS EXCLUSIVE W documentation, .*public\.t SHARE R documentation/ ],
	[ 'REINDEX TABLE p', 'public.p1 SHARE R documentation' ],
	[ 'REINDEX INDEX CONCURRENTLY t_a', 'public.t SHARE UPDATE EXCLUSIVE R documentation' ],
	[ 'UPDATE t SET a = 1', qr/^(public.\w+ ROW EXCLUSIVE analysis(, )?)+$/ ],
	[ 'SELECT * FROM t FOR UPDATE', qr/public.t ROW SHARE analysis/ ],
	[ 'ALTER TABLE p ADD COLUMN x int', 'public.p ACCESS EXCLUSIVE run, public.p1 ACCESS EXCLUSIVE run' ],
	[ 'CREATE TABLE fresh (x int); ALTER TABLE fresh ADD COLUMN y int', '- run, public.fresh ACCESS EXCLUSIVE copy' ],
	[ 'ALTER TABLE t ADD COLUMN d int; ALTER TABLE t ALTER COLUMN a TYPE bigint', qr/^public.t ACCESS EXCLUSIVE copy, .*public.t ACCESS EXCLUSIVE W/ ],
	[ 'COMMENT ON TABLE t IS \'x\'', 'public.t SHARE UPDATE EXCLUSIVE run' ])
{
	my ($statement, $expected) = @$_;
	if (ref $expected) { like(trace($statement), $expected, $statement); }
	else { is(trace($statement), $expected, $statement); }
}
like(Dbops::refusal($node, q{SELECT * FROM dbops.trace('DROP TABLE t CASCADE', '2 s')}), qr/^55P03: statement 1: canceling statement due to lock timeout/, 'what has to be run waits for lock_timeout and no longer');
like(Dbops::refusal($node, q{SELECT * FROM dbops.trace('DO $$BEGIN PERFORM pg_sleep(30); END$$', '0.3 s')}), qr/^55P03: .*held its locks for too long/, 'nor does it run for long');
is(sql(q{SELECT invalidates FROM dbops.trace('ALTER TABLE t RENAME COLUMN a TO z')}), '{"view public.v"}', 'what depends on a column') or diag sql(q{SELECT invalidates FROM dbops.trace('ALTER TABLE t RENAME COLUMN a TO z')});
like(Dbops::refusal($node, "SELECT * FROM dbops.trace('$_->[0]')"), qr/^$_->[1]: /, $_->[0]) for [ 'SELEC', '42601' ], [ 'ALTER TABLE no_such ADD COLUMN x int', '42P01' ], [ 'ALTER TABLE t DROP COLUMN nope', '42703' ], [ '\\d', '42601' ];
like(Dbops::refusal($node, 'SELECT * FROM dbops.trace(NULL)'), qr/^22004: /, 'NULL');
like(Dbops::refusal($node, q{SELECT * FROM dbops.trace('SELECT 1', '-1 s')}), qr/^22023: /, 'lock_timeout');
is(sql("SELECT count(*) FROM dbops.trace('')"), 0, 'nothing');
sql('CREATE ROLE stranger LOGIN; GRANT SELECT ON t, parent TO stranger');
like(Dbops::refusal($node, q{SELECT * FROM dbops.trace('ALTER TABLE p ADD COLUMN x int')}, role => 'stranger'), qr/^42501: /, 'with the rights of the caller');
# Copying a table would call what its owner has put into an index: as the caller. It is not copied, nor is its neighbour.
sql(q{CREATE ROLE mallory; CREATE SCHEMA theirs AUTHORIZATION mallory; GRANT REFERENCES ON parent TO mallory; GRANT USAGE ON SCHEMA theirs TO PUBLIC;
      SET ROLE mallory; SET search_path = theirs, public;
      CREATE FUNCTION note(int) RETURNS int LANGUAGE plpgsql AS $$BEGIN IF current_user <> 'mallory' THEN RAISE 'called as %', current_user; END IF; RETURN $1; END$$;
      CREATE FUNCTION evil(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$BEGIN RETURN theirs.note($1); END$$;
      CREATE TABLE bait (x int REFERENCES parent); CREATE INDEX ON bait ((x + theirs.evil(1)))});
is(sql(q{SELECT string_agg(DISTINCT found_by, ' ') FROM dbops.trace('COMMENT ON TABLE theirs.bait IS ''x''; ALTER TABLE theirs.bait ALTER COLUMN x SET STATISTICS 5')}), 'run', 'functions of others are not called as the caller');
like(Dbops::refusal($node, q{SELECT * FROM dbops.trace('ALTER TABLE parent ADD COLUMN n int', '0.2 s')}), qr/^55P03: /, 'nor those of a neighbour: it is run for real');
$reader->query_safe('COMMIT');
$reader->quit;
sql('DROP OWNED BY mallory');
is(sql($files), $was, 'nothing has changed');
is(sql("SELECT count(*) FROM pg_class WHERE relname IN ('fresh') OR relpersistence = 't'"), 0, 'nothing is left');
$node->stop;
done_testing();
