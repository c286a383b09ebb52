# Migrations and the transactions of others: who is waited for, and named; nobody waits for a migration for long.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);
use Dbops;

my $node = Dbops::node('migrate_locks');
my $place = PostgreSQL::Test::Utils::tempdir();
my $holder = $node->background_psql('postgres');
$holder->query_safe("SET application_name = 'holder'");

sub value { return $node->safe_psql('postgres', $_[0]); }
sub begin
{
	my ($project, $files, @arguments) = @_;
	return Dbops::start_cli($node, 'migrate', '--dir', Dbops::directory("$place/$project", %$files), '--project', $project, '--no-lint', @arguments);
}
# A transaction of the holder that is older than a short lock_timeout.
sub hold
{
	my ($sql) = @_;
	$holder->query_safe("BEGIN; $sql");
	Dbops::wait_for($node, "SELECT xact_start < clock_timestamp() - interval '0.2 s' FROM pg_stat_activity WHERE application_name = 'holder'", 't') or die 'no holder';
	return;
}
sub history { return value("SELECT string_agg(coalesce(version, description) || ' ' || success, ', ' ORDER BY installed_rank) FROM dbops.migration_history WHERE project = '$_[0]'"); }
sub attempts { return value("SELECT string_agg(outcome || ' ' || sqlstate, ', ' ORDER BY attempt_id) FROM dbops.migration_attempts WHERE project = '$_[0]'"); }
sub messages { return value("SELECT array_to_string(messages, E'\\n') FROM dbops.migration_history WHERE project = '$_[0]' ORDER BY installed_rank DESC LIMIT 1"); }
my $by_holder = 'process \d+ \(role \S+, application holder, transaction since [-0-9: ]+\)';

value('CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES parent); CREATE TABLE t (id int PRIMARY KEY, x int); CREATE INDEX t_x ON t (x);
	CREATE TABLE parted (x int) PARTITION BY RANGE (x); CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (9); CREATE TABLE parted_default PARTITION OF parted DEFAULT; CREATE TABLE other (x int);
	CREATE VIEW v AS SELECT x FROM t; CREATE MATERIALIZED VIEW m AS SELECT x FROM t; INSERT INTO t VALUES (1, 1);
	CREATE TABLE elder (x int); CREATE TABLE kid () INHERITS (elder); CREATE SCHEMA ten; CREATE TABLE ten.t (x int); ALTER TABLE child ADD CONSTRAINT later FOREIGN KEY (id) REFERENCES parent NOT VALID');

# --- whom a statement has to wait for ------------------------------------------------------------------------------------
# The outcome of apply_migration that is asked not to try it, while somebody holds a lock.
my $number = 0;
sub outcome
{
	my ($lock, $sql) = @_;
	$holder->query_safe("BEGIN; $lock");
	my $text = $sql =~ s/'/''/gr;
	++$number;
	my $got = value("SELECT pg_sleep(0.01); BEGIN; SELECT outcome || coalesce(' ' || sqlstate, '') || coalesce(': ' || detail, '') FROM dbops.apply_migration('V1__x.sql', '$text', project => 'p$number', lock_timeout => '1 ms', if_held_up => 'report'); ROLLBACK");
	$holder->query_safe('ROLLBACK');
	return $got =~ s/^\n//r;
}
my $read = 'SELECT FROM t';
for ([ $read, 'ALTER TABLE t ADD COLUMN y int' ], [ $read, 'DROP INDEX t_x' ], [ $read, 'TRUNCATE t' ], [ $read, 'DROP TABLE t CASCADE' ], [ $read, 'ALTER TABLE t RENAME TO u' ],
	[ $read, 'ALTER TABLE t RENAME COLUMN x TO y' ], [ $read, 'LOCK TABLE t' ], [ $read, 'CREATE POLICY p ON t' ], [ $read, 'CLUSTER t USING t_x' ], [ $read, 'REINDEX INDEX t_x' ], [ $read, 'ALTER TABLE t SET SCHEMA pg_temp' ],
	[ $read, 'SELECT 1; INSERT INTO t VALUES (7, 7); ALTER TABLE t ADD COLUMN y int; SELECT 2' ],
	[ 'UPDATE t SET x = 2', 'CREATE INDEX ON t (x)' ], [ 'UPDATE t SET x = 2', 'CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()' ],
	[ 'UPDATE t SET x = 2', 'ALTER TABLE other ADD CONSTRAINT o FOREIGN KEY (x) REFERENCES t NOT VALID' ], [ 'UPDATE t SET x = 2', 'CREATE TABLE n (x int REFERENCES t)' ],
	[ 'SELECT FROM parent', 'DROP TABLE child' ], [ 'SELECT FROM child', 'TRUNCATE parent CASCADE' ], [ 'SELECT FROM parent', 'ALTER TABLE child DROP CONSTRAINT later' ],
	[ 'SELECT FROM parted_1', 'ALTER TABLE parted ADD COLUMN y int' ], [ 'SELECT FROM parted_default', 'ALTER TABLE parted ATTACH PARTITION other FOR VALUES FROM (10) TO (20)' ],
	[ 'SELECT FROM other', 'ALTER TABLE parted ATTACH PARTITION other FOR VALUES FROM (10) TO (20)' ], [ 'SELECT FROM parted_1', 'ALTER TABLE parted DETACH PARTITION parted_1' ],
	[ 'SELECT FROM parted_default', 'CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (20) TO (30)' ], [ 'SELECT FROM m', 'REFRESH MATERIALIZED VIEW m' ], [ 'SELECT FROM v', 'CREATE OR REPLACE VIEW v AS SELECT x, id FROM t' ],
	[ 'SELECT FROM kid', 'ALTER TABLE elder RENAME COLUMN x TO y' ], [ 'SELECT FROM kid', 'ALTER TABLE elder ADD CHECK (x > 0), REPLICA IDENTITY FULL' ],
	[ 'INSERT INTO parted_1 VALUES (1)', 'CREATE INDEX ON parted (x)' ], [ 'INSERT INTO parted_1 VALUES (1)', 'CREATE TRIGGER tr BEFORE UPDATE ON parted FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()' ],
	[ 'LOCK t IN SHARE UPDATE EXCLUSIVE MODE', 'ANALYZE t' ], [ $read, 'SET search_path = ten; ALTER TABLE public.t ADD COLUMN y int' ], [ $read, 'ALTER TABLE t ADD COLUMN y int; SET ROLE NONE' ],
	[ $read, "SET work_mem = '4MB'; ALTER TABLE t ADD COLUMN y int" ], [ 'LOCK t IN SHARE MODE', 'ALTER TABLE child VALIDATE CONSTRAINT later; ALTER TABLE t VALIDATE CONSTRAINT t_x' ])
{
	like(outcome(@$_), qr/^held_up: $by_holder$/, "$_->[0] is in the way of $_->[1]");
}
for ([ $read, 'CREATE INDEX ON t (x)' ], [ $read, 'CREATE TABLE n (x int REFERENCES t)' ], [ $read, 'UPDATE t SET x = 3' ], [ $read, 'ALTER TABLE t SET (fillfactor = 90)' ], [ $read, 'ALTER TABLE other ADD COLUMN y int' ],
	[ $read, 'ANALYZE t' ], [ 'INSERT INTO kid VALUES (1)', 'CREATE INDEX ON elder (x)' ], [ 'INSERT INTO kid VALUES (1)', 'CREATE TRIGGER tr BEFORE UPDATE ON elder FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()' ],
	(map { [ 'SELECT FROM kid', "ALTER TABLE elder $_" ] } 'RENAME TO older', 'OWNER TO CURRENT_ROLE', 'ENABLE ROW LEVEL SECURITY, REPLICA IDENTITY FULL', 'SET LOGGED'),
	[ 'INSERT INTO parted_1 VALUES (1)', 'CREATE TRIGGER tr BEFORE UPDATE ON parted EXECUTE FUNCTION suppress_redundant_updates_trigger()' ],
	(map { [ $read, "$_; ALTER TABLE t ADD COLUMN y int" ] } 'SET search_path = ten', 'SET LOCAL search_path = ten', "SELECT set_config('search_path', 'ten', true)"),
	[ $read, 'SET search_path = ten; DROP TABLE t' ], [ 'UPDATE t SET x = 2', 'CREATE TABLE n (LIKE t)' ], [ 'SELECT FROM parted_1', 'ALTER TABLE ONLY parted SET (autovacuum_enabled)' ], [ 'SELECT FROM t', 'ALTER INDEX t_x RENAME TO t_y' ])
{
	# Storage parameters of what is partitioned are refused: with 22023, and from 17 on with 42809.
	like(outcome(@$_), qr/^(applied|failed (22023|42809))$/, "$_->[0] is not in the way of $_->[1]");
}
# What callbacks set counts as well.
$holder->query_safe("BEGIN; $read");
for ([ 'SET search_path = ten', 'applied' ], [ 'SELECT 1', 'held_up' ])
{
	my ($sql, $outcome) = @$_;
	is(value("BEGIN; SELECT pg_sleep(0.01); SELECT outcome FROM dbops.apply_migration('V1__x.sql', 'ALTER TABLE t ADD COLUMN y int', project => 'called', lock_timeout => '1 ms', if_held_up => 'report',
		callbacks => '[{\"event\": \"beforeEachMigrate\", \"script\": \"b.sql\", \"sql\": \"$sql\"}]'); ROLLBACK") =~ s/^\n//r, $outcome, "beforeEachMigrate: $sql");
}
$holder->query_safe('ROLLBACK');
# What must not be looked up is left to the statement.
value('CREATE ROLE ann LOGIN; CREATE SCHEMA closed; CREATE TABLE closed.t (x int); GRANT ALL ON SCHEMA public TO ann');
is(value("SET ROLE ann; SELECT outcome || ' ' || sqlstate FROM dbops.apply_migration('V1__x.sql', 'ALTER TABLE closed.t ADD COLUMN y int', project => 'closed', if_held_up => 'report')"), 'failed 42501', 'a schema that the role may not use');
is(Dbops::refusal($node, "SELECT dbops.apply_migration('V1__x.sql', '', project => 'wrong', if_held_up => 'wait')"), '22023: if_held_up must be try, report or fail', 'a word that is none');

# --- dbops migrate waits, and says for whom ---------------------------------------------------------------------------------
hold('SELECT FROM t');
my $run = begin('waits', { 'V1__x.sql' => "CREATE TABLE waits (x int);\nALTER TABLE t ADD COLUMN waits int;\n" }, '--lock-timeout', '0.1');
ok(Dbops::says($run, qr/dbops: V1__x\.sql is not tried, as what it has to lock is held by $by_holder\n/), 'it says for whom it waits');
is(value("SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass AND mode = 'AccessExclusiveLock'"), 0, 'it does not queue');
$holder->query_safe('COMMIT');
is((Dbops::finish_cli($run))[0], 0, 'when the transaction has ended it goes on') or diag $run->{out};
is(history('waits') . attempts('waits'), '1 true', 'without having tried before');
like(messages('waits'), qr/^INFO: waited \d+\.\d s for $by_holder$/, 'for whom it has waited is kept');

hold('SELECT FROM t');
$run = begin('gives_up', { 'V1__x.sql' => "ALTER TABLE t ADD COLUMN gives_up int;\n" }, '--lock-timeout', '0.1', '--lock-retries', '1', '--wait-for-transactions', '0.3');
my ($status, $out) = Dbops::finish_cli($run);
like("$status $out", qr/^1 .*is not tried, .*is tried all the same, .*try 2 of 2 .*ERROR 55P03: canceling statement due to lock timeout.*DETAIL:  held by $by_holder/s, 'when they do not end in time it is tried as without them, then gives up');
is(attempts('gives_up'), 'lock_timeout 55P03, lock_timeout 55P03', 'which is recorded');
value("SELECT dbops.apply_migration('V1__x.sql', 'ALTER TABLE t ADD COLUMN y int', project => 'refused', lock_timeout => '1 ms', if_held_up => 'fail')");
like(attempts('refused') . value("SELECT detail FROM dbops.migration_attempts WHERE project = 'refused'"), qr/^held_up 55P03held by $by_holder$/, 'apply_migration can fail at once');
is(value("SELECT outcome, installed_rank FROM dbops.apply_migration('V1__x.sql', 'VACUUM FULL t', project => 'untouched', lock_timeout => '1 ms', if_held_up => 'fail')") . history('untouched'), 'held_up|', 'a migration in steps that was not begun has no record');
$run = begin('gives_up', { 'V1__x.sql' => "ALTER TABLE t ADD COLUMN gives_up int;\n" }, '--lock-timeout', '0.7', '--lock-retries', '0', '--wait-for-transactions', '0');
($status, $out) = Dbops::finish_cli($run);
like("$status $out", qr/^1 .*ERROR 55P03: canceling statement due to lock timeout.*DETAIL:  held by $by_holder/s, 'a lock that is not to be had: who has it is said');
like(value("SELECT detail FROM dbops.migration_attempts WHERE project = 'gives_up' ORDER BY attempt_id DESC LIMIT 1"), qr/^held by $by_holder$/, 'and recorded');
$run = begin('gives_up', { 'V1__x.sql' => "ALTER TABLE t ADD COLUMN gives_up int;\n" }, '--lock-timeout', '600', '--wait-for-transactions', '0');
ok(Dbops::says($run, qr/dbops: V1__x\.sql waits for $by_holder\n/), 'it is said while it waits, too');
$holder->query_safe('COMMIT');
is((Dbops::finish_cli($run))[0] . history('gives_up'), '01 true', 'and it goes on') or diag $run->{out};

# What the texts do not tell is seen when it waits: by a function, and for a row.
$holder->query_safe('BEGIN; UPDATE t SET x = 5 WHERE id = 1');
for ([ 'by_do', 'DO $$BEGIN EXECUTE \'LOCK TABLE t\'; END$$' ], [ 'by_row', 'UPDATE t SET x = 6 WHERE id = 1' ])
{
	my ($project, $sql) = @$_;
	# A try may be over before dbops has come to look.
	$run = begin($project, { 'V1__x.sql' => "$sql;\n" }, '--lock-timeout', '1.5', '--lock-retries', '20');
	ok(Dbops::says($run, qr/dbops: V1__x\.sql waits for $by_holder\n.*dbops: V1__x\.sql: canceling statement due to lock timeout, held by $by_holder \(/s), "$sql: it says whom it waits for");
	$holder->query_safe('COMMIT');
	is((Dbops::finish_cli($run))[0], 0, 'and succeeds when that has ended') or diag $run->{out};
	like(messages($project), qr/^INFO: try \d+: canceling statement due to lock timeout, held by $by_holder$/, 'the try before is kept');
	$holder->query_safe('BEGIN; UPDATE t SET x = 5 WHERE id = 1');
}
$holder->query_safe('ROLLBACK');

# --- nobody waits for it for longer than --max-blocking -----------------------------------------------------------------------
# It has locked a table, and runs on.
my $reader = $node->background_psql('postgres');
$reader->query_safe("SET application_name = 'reader'; SET statement_timeout = 0");
$run = begin('long', { 'V1__x.sql' => "ALTER TABLE t ADD COLUMN long int;\nSELECT pg_sleep(600);\n" }, '--max-blocking', '0.5', '--lock-retries', '0');
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'", 1), 'a migration sleeps with a lock');
is($reader->query_safe('SELECT count(*) FROM t'), 1, 'somebody reads the table all the same');
($status, $out) = Dbops::finish_cli($run);
like("$status $out", qr/^1 .*ERROR 57014: cancelled, because others had been waiting for it for too long.*DETAIL:  waiting: 1 session, process \d+ \(role \S+, application reader/s, 'as it was cancelled for that');
is(attempts('long') . value("SELECT count(*) FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'long'"), 'blocking 570140', 'which is recorded, and nothing stays');
# It waits for a second table, having locked the first one.
value('CREATE TABLE second (x int)');
$holder->query_safe('BEGIN; SELECT FROM second');
$run = begin('two', { 'V1__x.sql' => "ALTER TABLE t ADD COLUMN two int;\nALTER TABLE second ADD COLUMN two int;\n" }, '--lock-timeout', '600', '--max-blocking', '0.5');
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_locks WHERE relation = 'second'::regclass AND NOT granted", 1), 'a migration waits for its second table');
is($reader->query_safe('SELECT count(*) FROM t'), 1, 'somebody reads the first one all the same');
ok(Dbops::says($run, qr/V1__x\.sql: cancelled, because others .*, waiting: 1 session, .*; try 2 of 3 in /), 'it is tried again');
$holder->query_safe('COMMIT');
is((Dbops::finish_cli($run))[0], 0, 'and succeeds when the second table is free') or diag $run->{out};
is(history('two'), '1 true', 'once');
# VACUUM FULL is no transaction of ours.
value("CREATE FUNCTION slow(x int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS \$\$BEGIN IF current_setting('application_name') <> 'fast' THEN PERFORM pg_sleep(600); END IF; RETURN x; END\$\$");
value("SET application_name = 'fast'; CREATE TABLE full_of (x int); INSERT INTO full_of VALUES (1); CREATE INDEX ON full_of (slow(x))");
$run = begin('full_of', { 'V1__x.sql' => "SELECT 1;\nVACUUM FULL full_of;\n" }, '--max-blocking', '0.5', '--lock-retries', '0');
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'", 1), 'a VACUUM FULL takes its time');
is($reader->query_safe("SET enable_indexscan = off; SELECT count(*) FROM full_of"), 1, 'somebody reads the table all the same');
($status, $out) = Dbops::finish_cli($run);
like("$status $out", qr/^1 .*ERROR 57014: cancelled, because others had been waiting for it for too long: 1 session, process \d+ \(role \S+, application reader/s, 'as it was cancelled for that');
# DDL of somebody else that waits for it is no application; and with 0 the application waits for any time.
for ([ '0.5', 'ALTER TABLE t SET (fillfactor = 90)' ], [ '0', 'SELECT count(*) FROM t' ])
{
	my ($limit, $sql) = @$_;
	$holder->query_safe('SELECT pg_advisory_lock(5)');
	$run = begin("any_$limit", { 'V1__x.sql' => "LOCK t;\nSELECT pg_advisory_xact_lock(5);\n" }, '--max-blocking', $limit, '--lock-timeout', '600', '--lock-retries', '0');
	ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", 1), 'a migration has a lock');
	my $waiter = Dbops::start_sql($node, $sql);
	ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass AND NOT granted AND waitstart < clock_timestamp() - interval '1.5 s'", 1), "$sql waits for it");
	$holder->query_safe('SELECT pg_advisory_unlock(5)');
	is((Dbops::finish_cli($run))[0], 0, "with --max-blocking $limit that may be") or diag $run->{out};
	is((Dbops::finish_sql($waiter))[1], '', 'and it goes on');
}

# Its parallel workers are seen with its text.
value('ALTER FUNCTION slow PARALLEL SAFE; CREATE TABLE big (x int); INSERT INTO big SELECT generate_series(1, 5000)');
$run = begin('big', { 'V1__x.sql' => "SET LOCAL min_parallel_table_scan_size = 0;\nSET LOCAL max_parallel_maintenance_workers = 1;\nCREATE INDEX big_x ON big (slow(x));\n" }, '--max-blocking', '0.5', '--lock-retries', '0');
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'parallel worker' AND wait_event = 'PgSleep' AND query LIKE '/* dbops runner %'", 1), 'an index is made by two processes');
is($reader->query_safe('INSERT INTO big VALUES (0) RETURNING x'), 0, 'somebody writes to the table all the same');
($status, $out) = Dbops::finish_cli($run);
like("$status $out", qr/^1 .*ERROR 57014: cancelled, because others had been waiting for it for too long.*DETAIL:  waiting: 1 session, process \d+ \(role \S+, application reader/s, 'as it was cancelled for that');
# Others wait for longer, for somebody else: they do not hide who waits for it.
$holder->query_safe('BEGIN; LOCK TABLE second IN EXCLUSIVE MODE');
my @others = map { Dbops::start_sql($node, 'INSERT INTO second VALUES (1)') } 1 .. 3;
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_locks WHERE relation = 'second'::regclass AND waitstart < clock_timestamp() - interval '0.6 s'", 3), 'writers wait for somebody');
$run = begin('behind', { 'V1__x.sql' => "LOCK TABLE second;\n" }, '--lock-timeout', '600', '--max-blocking', '0.5', '--wait-for-transactions', '0', '--lock-retries', '0');
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_locks WHERE relation = 'second'::regclass AND mode = 'AccessExclusiveLock' AND NOT granted", 1), 'a migration behind them');
is($reader->query_safe('SELECT count(*) FROM second'), 0, 'somebody reads the table all the same');
($status, $out) = Dbops::finish_cli($run);
like("$status $out", qr/^1 .*DETAIL:  waiting: 1 session, process \d+ \(role \S+, application reader/s, 'as it was cancelled for that');
$holder->query_safe('COMMIT');
is((Dbops::finish_sql($_))[1], '', 'a writer goes on') for @others;
# A login with a role set for it, and one whose statements are not shown.
value('CREATE ROLE app; GRANT ALL ON SCHEMA public TO app; CREATE ROLE deployer LOGIN IN ROLE app; ALTER ROLE deployer SET role = app; CREATE TABLE apps (x int); ALTER TABLE apps OWNER TO app;
	CREATE ROLE unseen LOGIN SUPERUSER; ALTER ROLE unseen SET track_activities = off');
for my $login (qw(deployer unseen))
{
	local $ENV{PGUSER} = $login;
	$run = begin($login, { 'V1__x.sql' => "LOCK TABLE apps;\nSELECT pg_sleep(600);\n" }, '--max-blocking', '0.5', '--lock-retries', '0');
	delete local $ENV{PGUSER};
	ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'", 1), "a migration of $login sleeps with a lock");
	is($reader->query_safe('SELECT count(*) FROM apps'), 0, 'somebody reads the table all the same');
	($status, $out) = Dbops::finish_cli($run);
	like("$status $out", qr/^1 .*DETAIL:  waiting: 1 session, process \d+ \(role \S+, application reader/s, 'as it was cancelled for that');
	unlike($out, qr/not seen among/, 'it was seen');
}
# Who looks has no connection at first.
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'deployer'", 0), 'the sessions of deployer have ended');
value('ALTER ROLE deployer CONNECTION LIMIT 1');
{
	local $ENV{PGUSER} = 'deployer';
	$run = begin('later', { 'V1__x.sql' => "LOCK TABLE apps;\nSELECT pg_sleep(600);\n" }, '--max-blocking', '0.5', '--lock-retries', '0');
}
ok(Dbops::says($run, qr/dbops: nobody looks for how long others wait: .*too many connections for role "deployer"\n/), 'without a connection it says that nobody looks');
value('ALTER ROLE deployer CONNECTION LIMIT -1');
is($reader->query_safe('SELECT count(*) FROM apps'), 0, 'somebody reads the table all the same');
($status, $out) = Dbops::finish_cli($run);
like("$status $out", qr/^1 .*DETAIL:  waiting: 1 session, process \d+ \(role \S+, application reader/s, 'as it was tried again');
is(() = $out =~ /nobody looks[^\n]*too many connections/g, 1, 'said once');

# --- a VACUUM of a job gives way, as that of autovacuum does ------------------------------------------------------------------------
value("CREATE ROLE slow LOGIN; ALTER ROLE slow SET vacuum_cost_delay = '100ms'; ALTER ROLE slow SET vacuum_cost_limit = 1; CREATE TABLE wanted (id int PRIMARY KEY, n int DEFAULT 0) WITH (fillfactor = 50, autovacuum_enabled = off);
	INSERT INTO wanted SELECT generate_series(1, 20000); ALTER TABLE wanted OWNER TO slow; ANALYZE wanted");
my $job = Dbops::backfill($node, q{'wanted', 'n = n + 1', vacuum_every => 0.2, max_batch_rows => 500, nice_ratio => 0, stripes => 1});
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_progress_vacuum JOIN pg_stat_activity USING (pid) WHERE relid = 'wanted'::regclass AND xact_start < clock_timestamp() - interval '2.2 s'", 1), 'a job has been at VACUUM for long');
$run = begin('wanted', { 'V1__x.sql' => "ALTER TABLE wanted ADD COLUMN m int;\n" }, '--wait-for-transactions', '1');
is((Dbops::finish_cli($run))[0] . history('wanted'), '01 true', 'a migration needs its table, and gets it') or diag $run->{out};
unlike($run->{out}, qr/is not tried/, 'without having waited for its end');
$node->psql('postgres', "SELECT dbops.cancel($job)");    # unless it has ended

# --- a client that is killed: its migration does not go on -------------------------------------------------------------------------
$run = begin('killed', { 'V1__x.sql' => "ALTER TABLE t ADD COLUMN killed int;\nSELECT pg_sleep(600);\n" });
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'", 1), 'a migration is at work');
$run->{run}->kill_kill;
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%apply_migration%' AND pid <> pg_backend_pid()", 0), 'when dbops is killed the server ends it');
is(history('killed') . value('SELECT count(*) FROM t'), '1', 'and the table is free');

# --- the first migration of a project ------------------------------------------------------------------------------------------------
my $first = $node->background_psql('postgres');
$first->query_safe("BEGIN; SELECT outcome FROM dbops.apply_migration('V1__x.sql', 'CREATE TABLE made_once (x int)', project => 'made')");
like(value("SELECT outcome || ' ' || detail FROM dbops.apply_migration('V1__x.sql', 'CREATE TABLE made_once (x int)', project => 'made')"), qr/^locked process \d+ \(role /, 'who comes while it runs does not wait in a transaction');
like(Dbops::refusal($node, "SELECT dbops.baseline_migrations('1', project => 'made')"), qr/^55P03: migration project "made" is being made by another session/, 'nor does a baseline');
$run = begin('made', { 'V1__x.sql' => 'CREATE TABLE made_once (x int)' }, '--wait', '0.5');
($status, $out) = Dbops::finish_cli($run);
like("$status $out", qr/^1 .*another runner did not end in time: process \d+/s, 'dbops migrate waits for as long as it is told');
$first->query_safe('ROLLBACK');
$run = begin('made', { 'V1__x.sql' => 'CREATE TABLE made_once (x int)' });
is((Dbops::finish_cli($run))[0] . history('made'), '01 true', 'and makes the project when the other has not');
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", 0), 'no lock is left');

eval { $_->quit } for $holder, $reader, $first;
$node->stop;
done_testing();
