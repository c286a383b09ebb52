# dbops adopt: the histories of Flyway, Liquibase, Alembic and sqitch, in the tables that these tools make; and dbops.diff.
use strict;
use warnings;
use File::Path qw(make_path);
use PostgreSQL::Test::Utils;
use Test::More;
use Dbops;

my $node = Dbops::node('adopt');
my $place = PostgreSQL::Test::Utils::tempdir();
sub sql { return $node->safe_psql('postgres', $_[0]); }
sub cli { return Dbops::cli($node, @_); }
my $dir = "$place/migrations";
make_path($dir);
sub file
{
	my ($name, $text) = @_;
	open my $handle, '>', "$dir/$name" or die $!;
	print $handle $text;
	close $handle;
	return;
}
file('V1__First.sql', 'alter table location_history add column valid_until timestamp with time zone;');
file('V2__Second.sql', "CREATE TABLE two (x int);\n");
file('V3__Old.sql', "SELECT 3;\nSELECT 4;\n");
file('V4__Edited.sql', "SELECT 'edited';\n");
file('R__Views.sql', "SELECT 5;\n");
file('V9__Next.sql', "CREATE TABLE next (x int);\n");

# As Flyway 13 makes it (PostgreSQLDatabase.getRawCreateScript). -1039259818 is from flyway issue 2474, by a real Flyway.
sql(q{CREATE TABLE flyway_schema_history (installed_rank INT NOT NULL, version VARCHAR(50), description VARCHAR(200) NOT NULL, type VARCHAR(20) NOT NULL,
        script VARCHAR(1000) NOT NULL, checksum INTEGER, installed_by VARCHAR(100) NOT NULL, installed_on TIMESTAMP NOT NULL DEFAULT now(), execution_time INTEGER NOT NULL, success BOOLEAN NOT NULL);
      ALTER TABLE flyway_schema_history ADD CONSTRAINT flyway_schema_history_pk PRIMARY KEY (installed_rank);
      CREATE INDEX flyway_schema_history_s_idx ON flyway_schema_history (success)});
my %sum;
my (undef, $json) = cli('info', '--dir', $dir, '--project', 'none', '--json');
while ($json =~ /"script": ?"([^"]+)"[^{}]*?"checksum": ?(-?\d+)/gs) { $sum{$1} = $2; }
is($sum{'V1__First.sql'}, -1039259818, 'the checksum is the one that a real Flyway has written') or diag $json;
sql(qq{INSERT INTO flyway_schema_history VALUES
	(0, NULL, '<< Flyway Schema Creation >>', 'SCHEMA', '"app"', NULL, 'ann', '2024-01-01 10:00', 0, true),
	(1, '1', 'First', 'SQL', 'V1__First.sql', -1039259818, 'ann', '2024-01-02 10:00', 12, true),
	(2, '2', 'Second', 'SQL', 'V2__Second.sql', $sum{'V2__Second.sql'}, 'ann', '2024-01-03 10:00', 12, true),
	(3, '3', 'Old', 'SQL', 'V3__Old.sql', (SELECT 0), 'ann', '2024-01-03 11:00', 12, true),
	(4, '4', 'Edited', 'SQL', 'V4__Edited.sql', 12345, 'bob', '2024-01-04 10:00', 12, true),
	(5, '5', 'Gone', 'SQL', 'V5__Gone.sql', 1, 'bob', '2024-01-05 10:00', 12, true),
	(6, '6', 'Java', 'JDBC', 'db.migration.V6__Java', NULL, 'bob', '2024-01-05 10:00', 12, true),
	(7, NULL, 'Views', 'SQL', 'R__Views.sql', 1, 'bob', '2024-01-06 10:00', 12, true),
	(8, NULL, 'Views', 'SQL', 'R__Views.sql', $sum{'R__Views.sql'}, 'bob', '2024-01-07 10:00', 12, true),
	(9, '7', 'Undone', 'SQL', 'V7__Undone.sql', 5, 'bob', '2024-01-07 10:00', 12, true),
	(10, '7', 'Undone', 'UNDO_SQL', 'U7__Undone.sql', 6, 'bob', '2024-01-07 11:00', 12, true)});
# What Flyway 3 computed: CRC-32 of all bytes.
{
	my $crc = 0xffffffff;
	for my $byte (unpack 'C*', "SELECT 3;\nSELECT 4;\n")
	{
		$crc ^= $byte;
		$crc = $crc & 1 ? ($crc >> 1) ^ 0xedb88320 : $crc >> 1 for 1 .. 8;
	}
	$crc ^= 0xffffffff;
	$crc -= 2**32 if $crc >= 2**31;
	sql("UPDATE flyway_schema_history SET checksum = $crc WHERE installed_rank = 3");
}
my $before = sql('SELECT md5(string_agg(h::text, chr(10) ORDER BY installed_rank)) FROM flyway_schema_history h');

# Flyway at work: its advisory lock (reference: 77433833903597 for public.flyway_schema_history).
my $flyway = $node->background_psql('postgres');
$flyway->query_safe('BEGIN; SELECT pg_advisory_xact_lock(77433833903597)');
my ($status, $out, $err) = cli('adopt', '--dir', $dir);
is($status, 2, 'while Flyway is at work, it is refused, with the exit status of an error') or diag "$out$err";
like($err, qr/55P03.*Flyway is at work|Flyway is at work/s, 'and says so');
$flyway->query_safe('COMMIT');
$flyway->quit;
is(sql('SELECT count(*) FROM dbops.migration_history'), 0, 'nothing was taken over');

($status, $out, $err) = cli('adopt', '--dir', $dir);
is($status, 0, 'adopted') or diag $err;
is($out, join('', map { "$_\n" } 'adopted  "app"', 'verified  V1__First.sql', 'verified  V2__Second.sql', 'verified  V3__Old.sql', 'differs  V4__Edited.sql', 'no file  V5__Gone.sql',
	'adopted  db.migration.V6__Java', 'differs  R__Views.sql', 'verified  R__Views.sql', 'no file  V7__Undone.sql', 'no file  U7__Undone.sql'), 'each with what could be verified');
like($err, qr/V3__Old.sql: checksum -?\d+ is one of Flyway 3.*V4__Edited.sql: the file has another checksum.*JDBC is not a SQL file/s, 'and why not');
is(sql('SELECT md5(string_agg(h::text, chr(10) ORDER BY installed_rank)) FROM flyway_schema_history h'), $before, "Flyway's table is as it was");
is(sql("SELECT string_agg(coalesce(version, '-') || ' ' || type || ' ' || installed_by || CASE WHEN live THEN '' ELSE ' dead' END, ', ' ORDER BY installed_rank) FROM dbops.migration_history"),
	'- SCHEMA ann, 1 SQL ann, 2 SQL ann, 3 SQL ann, 4 SQL bob, 5 SQL bob, 6 JDBC bob, - SQL bob dead, - SQL bob, 7 SQL bob dead, 7 UNDO_SQL bob dead', 'the history is complete');
is(sql("SELECT installed_on::timestamp FROM dbops.migration_history WHERE version = '1'"), '2024-01-02 10:00:00', 'with its times');
($status, $out, $err) = cli('migrate', '--dir', $dir);
is($status, 1, 'a file that was edited stops dbops migrate');
like($err, qr/V4__Edited|Missing|missing/, 'as it stops Flyway');
file('V4__Edited.sql', "SELECT 'edited';\n");
sql('UPDATE dbops.migration SET checksum = ' . $sum{'V4__Edited.sql'} . q{ WHERE version = '4'});
($status, $out, $err) = cli('migrate', '--dir', $dir, '--ignore', '*:missing');
is($status, 0, 'then the next migration is applied') or diag $err;
like($out, qr/^V9__Next.sql  \d+ ms\n$/, 'and no other');
($status, undef, $err) = cli('adopt', '--dir', $dir);
like($err, qr/has migrations already/, 'a second time is refused');
is($status, 2, 'as an error');
is((cli('adopt', '--from', 'maven'))[0], 2, 'as is wrong usage');
sql('UPDATE flyway_schema_history SET success = false WHERE installed_rank = 5');
like((cli('adopt', '--dir', $dir, '--project', 'failed'))[2], qr/V5__Gone.sql has failed/, 'a failed migration too');
is(sql("SELECT count(*) FROM dbops.migration_history WHERE project = 'failed'"), 0, 'nothing of it is taken over');

# Liquibase 5
sql(q{DROP TABLE flyway_schema_history;
      CREATE TABLE databasechangelog (id varchar(255) NOT NULL, author varchar(255) NOT NULL, filename varchar(255) NOT NULL, dateexecuted timestamp NOT NULL, orderexecuted int NOT NULL, exectype varchar(10) NOT NULL,
        md5sum varchar(35), description varchar(255), comments varchar(255), tag varchar(255), liquibase varchar(20), contexts varchar(255), labels varchar(255), deployment_id varchar(10));
      CREATE TABLE databasechangeloglock (id int PRIMARY KEY, locked boolean NOT NULL, lockgranted timestamp, lockedby varchar(255));
      INSERT INTO databasechangeloglock VALUES (1, true, now(), 'pod-7');
      INSERT INTO databasechangelog (id, author, filename, dateexecuted, orderexecuted, exectype, md5sum, liquibase) VALUES ('1', 'ann', 'a.xml', '2024-01-01', 1, 'EXECUTED', '9:d41d8cd98f00b204e9800998ecf8427e', '4.27.0'),
        ('2', 'bob', 'a.xml', '2024-01-02', 2, 'MARK_RAN', '9:x', '4.27.0'), ('3', 'bob', 'a.xml', '2024-01-02', 3, 'SKIPPED', NULL, '4.27.0')});
like((cli('adopt', '--project', 'liqui', '--from', 'liquibase'))[2], qr/Liquibase holds its lock: pod-7/, "Liquibase's lock");
sql('UPDATE databasechangeloglock SET locked = false');
($status, $out) = cli('adopt', '--project', 'liqui', '--from', 'liquibase');
is("$status $out", "0 adopted  a.xml\nadopted  a.xml\nskipped  a.xml\n", 'changesets are taken over');
is(sql("SELECT string_agg(description || ' ' || imported_from, ', ' ORDER BY installed_rank) FROM dbops.migration_history WHERE project = 'liqui'"), '1::ann liquibase 4.27.0 9:d41d8cd98f00b204e9800998ecf8427e, 2::bob liquibase 4.27.0 9:x, 3::bob liquibase 4.27.0', 'with their checksums');
my $after = "$place/after";
make_path($after);
open my $handle, '>', "$after/V1__After.sql" or die $!;
print $handle "CREATE TABLE after_liquibase (x int);\n";
close $handle;
($status, $out, $err) = cli('migrate', '--dir', $after, '--project', 'liqui');
is($status, 0, 'files follow') or diag $err;
is((cli('validate', '--dir', $after, '--project', 'liqui'))[0], 0, 'records are nothing that validate misses');

# Alembic, sqitch
sql(q{CREATE TABLE alembic_version (version_num varchar(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)); INSERT INTO alembic_version VALUES ('ae1027a6acf'), ('27c6a30d7c24');
      CREATE SCHEMA sqitch; CREATE TABLE sqitch.changes (change_id text PRIMARY KEY, script_hash text, change text NOT NULL, project text NOT NULL, note text NOT NULL DEFAULT '', committed_at timestamptz NOT NULL DEFAULT now(),
        committer_name text NOT NULL, committer_email text NOT NULL, planned_at timestamptz NOT NULL, planner_name text NOT NULL, planner_email text NOT NULL);
      INSERT INTO sqitch.changes VALUES ('c1', 'h1', 'appschema', 'flipr', 'Adds schema', '2024-01-01', 'Ann', 'a@x', now(), 'Ann', 'a@x'), ('c2', 'h2', 'users', 'flipr', 'Creates table', '2024-01-02', 'Ann', 'a@x', now(), 'Ann', 'a@x')});
is((cli('adopt', '--project', 'alem', '--from', 'alembic'))[1], "adopted  27c6a30d7c24\nadopted  ae1027a6acf\n", 'heads of Alembic');
is((cli('adopt', '--project', 'sq', '--from', 'sqitch'))[1], "adopted  deploy/appschema.sql\nadopted  deploy/users.sql\n", 'changes of sqitch');
my $sqitch = $node->background_psql('postgres');
$sqitch->query_safe('BEGIN; SELECT pg_advisory_xact_lock(75474063)');
like((cli('adopt', '--project', 'sq2', '--from', 'sqitch'))[2], qr/sqitch is at work/, "sqitch's lock");
$sqitch->query_safe('COMMIT');
$sqitch->quit;

# Input
like(Dbops::refusal($node, "SELECT * FROM dbops.adopt_migrations($_->[0])"), qr/^$_->[1]: /, $_->[0])
	for [ "'maven'", '22023' ], [ "'flyway'", '42P01' ], [ "NULL, history_table => 'alembic_version'", '22004' ], [ "'flyway', history_table => 'pg_tables'", '42809' ], [ "'flyway', 'input', files => '{}', history_table => 'alembic_version'", '22023' ],
	[ "'flyway', 'input', history_table => 'alembic_version'", '42703' ], [ "'alembic', project => NULL", '22004' ];
# Reading it would run code of its owner as whoever adopts.
sql(q{CREATE SCHEMA trap; CREATE TYPE trap.odd AS ENUM ('x'); CREATE TABLE trap.flyway_schema_history (installed_rank int, version text, description text, type text, script text, checksum int, installed_by text,
        installed_on trap.odd, execution_time int, success boolean)});
like(Dbops::refusal($node, "SELECT * FROM dbops.adopt_migrations('flyway', 'trap', history_table => 'trap.flyway_schema_history')"), qr/^42809: column installed_on /, 'types of its own');
sql('CREATE ROLE stranger LOGIN');
like(Dbops::refusal($node, "SELECT * FROM dbops.adopt_migrations('alembic', 'theirs', history_table => 'public.alembic_version')", role => 'stranger'), qr/^42501: /, 'without the right to the history it is refused');

# --- dbops.diff -------------------------------------------------------------------------------------------------------------------
is(sql("SELECT count(*) FROM dbops.diff('sq')"), 0, 'what was never recorded differs in nothing');
sql(q{CREATE TABLE d (x int PRIMARY KEY, y text); CREATE VIEW dv AS SELECT x FROM d; CREATE FUNCTION df() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TYPE de AS ENUM ('a', 'b')});
ok(sql("SELECT dbops.record_schema('sq')") > 5, 'recorded');
is(sql("SELECT count(*) FROM dbops.diff('sq')"), 0, 'and nothing is different');
sql(q{ALTER TABLE d ADD COLUMN z int; CREATE INDEX ON d (y); DROP VIEW dv; CREATE OR REPLACE FUNCTION df() RETURNS int LANGUAGE sql AS 'SELECT 2'; ALTER TYPE de ADD VALUE 'c'; GRANT SELECT ON d TO stranger; ALTER TABLE d ALTER COLUMN y SET NOT NULL});
is(sql("SELECT string_agg(concat_ws(' ', change, kind, identity), ', ' ORDER BY kind, identity) FROM dbops.diff('sq') WHERE NOT (kind = 'constraint' AND identity LIKE '%not_null')"),
	'changed column public.d.y, added column public.d.z, changed function public.df(), added index public.d_y_idx, changed table public.d, changed type public.de, removed view public.dv', 'everything that was changed is named');
# What others have changed stays a difference after a migration.
my $drift = sql("SELECT jsonb_agg(to_jsonb(x)) FROM dbops.diff('sq') x WHERE identity = 'public.d.z'");
sql("CREATE TABLE by_migration (x int); SELECT dbops.record_schema('sq', \$j\$$drift\$j\$)");
is(sql("SELECT string_agg(concat_ws(' ', change, kind, identity), ', ') FROM dbops.diff('sq')"), 'added column public.d.z', 'drift from before stays');
like(Dbops::refusal($node, "SELECT dbops.record_schema('sq')", role => 'stranger'), qr/^42501: /, 'the project is not theirs');
like(Dbops::refusal($node, "SELECT dbops.record_schema('nothing')"), qr/^42704: /, 'no such project');
is(Dbops::value_as($node, 'stranger', "SELECT count(*) FROM dbops.diff('sq')"), 0, 'nor do they see what is recorded');

# --- dbops diff: dbops migrate records what it leaves ---------------------------------------------------------------------------------
my $own = "$place/own";
make_path($own);
sub own { my ($name, $text) = @_; open my $file, '>', "$own/$name" or die $!; print $file $text; close $file; return; }
sub diff { my ($code, $text) = cli('diff', '--project', 'own', @_); return "$code $text"; }
is(diff(), '0 ', 'nothing was recorded');
own('V1__One.sql', "CREATE TABLE one (x int);\n");
is((cli('migrate', '--dir', $own, '--project', 'own'))[0], 0, 'applied');
is(diff(), '0 ', 'nothing is different');
sql('ALTER TABLE one ADD COLUMN by_hand int');
is(diff(), "1 added column public.one.by_hand\n", 'what was changed by hand is named');
like(diff('--json'), qr/^1 .*"differences".*"live": ?"integer"/s, 'and in JSON');
own('V2__Two.sql', "CREATE TABLE two_of_own (x int);\n");
($status, $out, $err) = cli('migrate', '--dir', $own, '--project', 'own');
is($status, 0, 'the next migration is applied') or diag $err;
like($err, qr/changed outside of migrations: see dbops diff/, 'which says so');
is(diff(), "1 added column public.one.by_hand\n", 'and does not take it over');
own('U2__Two.sql', "DROP TABLE two_of_own;\n");
is((cli('undo', '--dir', $own, '--project', 'own'))[0], 0, 'undone');
is(diff(), "1 added column public.one.by_hand\n", 'what was undone is no difference');
sql('ALTER TABLE one DROP COLUMN by_hand');
is(diff(), '0 ', 'taken back');
# --- a policy of the history's table would be run as who adopts ----------------------------------------------------------------------
sql(q{CREATE ROLE mallory; CREATE SCHEMA theirs AUTHORIZATION mallory; CREATE TABLE theirs.alembic_version (version_num varchar(32)); INSERT INTO theirs.alembic_version VALUES ('x');
      ALTER TABLE theirs.alembic_version OWNER TO mallory; ALTER TABLE theirs.alembic_version ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON theirs.alembic_version USING (1 / 0 = 1)});
like(Dbops::refusal($node, q{SELECT * FROM dbops.adopt_migrations('alembic', 'policies', '[]', 'theirs.alembic_version')}), qr/^55000: .*row level security/, 'a history with policies is refused');
sql('ALTER TABLE theirs.alembic_version DISABLE ROW LEVEL SECURITY; CREATE TABLE theirs.child () INHERITS (theirs.alembic_version)');
sql("INSERT INTO theirs.child VALUES ('y')");
is(sql(q{SELECT string_agg(script, ' ') FROM dbops.adopt_migrations('alembic', 'policies', '[]', 'theirs.alembic_version')}), 'x', 'without them it is taken over, its own rows alone');
is((cli('diff', '--no-such-option'))[0], 2, 'wrong usage');
$node->stop;
done_testing();
