# Statements of migrations outside of transactions: beside other runners and repair, with settings, under locks, after failures.
use strict;
use warnings;
use IPC::Run qw(start);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);
use Dbops;

my $node = Dbops::node('migrate_steps');
my $place = PostgreSQL::Test::Utils::tempdir();

sub migrate_dir { my ($name, %files) = @_; return Dbops::directory("$place/$name", %files); }
sub begin
{
	my ($command, $name, @arguments) = @_;
	my $run = { out => '' };
	$run->{run} = start([ $ENV{DBOPS_CLI}, '--dbname', $node->connstr('postgres'), $command, '--dir', "$place/$name", '--project', $name, @arguments ],
		'<', \undef, '>&', \$run->{out}, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return $run;
}
sub finish
{
	my ($run) = @_;
	$run->{run}->finish;
	return ($? >> 8, $run->{out});
}
sub run { return finish(begin(@_)); }
sub value { return $node->safe_psql('postgres', $_[0]); }
sub history { return value("SELECT string_agg(coalesce(version, description) || ' ' || success, ', ' ORDER BY installed_rank) FROM dbops.migration_history WHERE project = '$_[0]'"); }
my $waiting = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '/* dbops step%' AND state = 'active' AND wait_event_type = 'Lock'";

# --- repair while an index is built -------------------------------------------------------------------------------------------------
value('CREATE TABLE built (x int)');
migrate_dir('built', 'V1__x.sql' => "INSERT INTO built VALUES (1);\nCREATE INDEX CONCURRENTLY built_x ON built (x);\n");
my $writer = $node->background_psql('postgres');
$writer->query_safe('BEGIN; INSERT INTO built VALUES (2)');
my $run = begin('migrate', 'built', '--lock-timeout', '0.2');
ok(Dbops::wait_for($node, $waiting, 1), 'an index build waits');
my ($status, $out) = run('repair', 'built');
like($out, qr/55P03|is being executed/, 'repair does not take the record of a migration that runs');
isnt($status, 0, 'and says so');
is(history('built'), '1 false', 'which stays');
$writer->query_safe('COMMIT');
($status, $out) = finish($run);
is($status, 0, 'the migration ends, and was not given the lock_timeout while it shut nobody out') or diag $out;
is(history('built') . value('SELECT count(*) FROM built WHERE x = 1'), '1 true1', 'each statement once');

# --- the end of a statement, while another has the lock of the project ----------------------------------------------------------------
value('CREATE DATABASE gone');
migrate_dir('heard', 'V1__x.sql' => "DROP DATABASE gone;\n");
$writer->query_safe("BEGIN; COMMENT ON DATABASE gone IS 'x'");
$run = begin('migrate', 'heard', '--wait', '10');
ok(Dbops::wait_for($node, $waiting, 1), 'a statement waits');
ok(Dbops::wait_for($node, "SELECT started_at < clock_timestamp() - interval '11 s' FROM dbops.migration_steps WHERE project = 'heard'", 't'), 'for longer than --wait');
my $other = $node->background_psql('postgres');
$other->query_safe("BEGIN; SELECT dbops.record_schema('heard')");
$writer->query_safe('COMMIT');
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_database WHERE datname = 'gone'", 0), 'it is done');
$run->{run}->pump until $run->{out} =~ /waits for another runner/;
$other->query_safe('COMMIT');
($status, $out) = finish($run);
is($status, 0, 'that is heard when the lock is free: it is not executed again') or diag $out;
is(history('heard'), '1 true', 'and recorded');

# --- settings before a statement outside of transactions -------------------------------------------------------------------------------
value('CREATE SCHEMA app; CREATE TABLE app.t (x int); CREATE TABLE t (x int)');
migrate_dir('path', 'V1__x.sql' => "SELECT 1;\nSET search_path = app;\nCREATE INDEX CONCURRENTLY t_x ON t (x);\n");
($status, $out) = run('migrate', 'path', '--no-lint');
like("$status $out", qr/^1 .*V1__x\.sql:2:1: ERROR 0A000: SET before a statement that cannot be in a transaction/s, 'SET search_path before CREATE INDEX CONCURRENTLY is refused');
is(value("SELECT count(*) FROM pg_class WHERE relname = 't_x'"), 0, 'and no index is built on another table');
migrate_dir('path', 'V1__x.sql' => "SET statement_timeout = 0;\nCREATE INDEX CONCURRENTLY t_x ON app.t (x);\nSET search_path = app;\nINSERT INTO t VALUES (1);\n");
($status, $out) = run('migrate', 'path', '--no-lint');
is($status, 0, 'a limit before it, and a SET behind it, are fine') or diag $out;
is(value('SELECT (SELECT count(*) FROM app.t), (SELECT count(*) FROM t)'), '1|0', 'and hold to the end');

# --- what shuts others out waits under a lock_timeout -------------------------------------------------------------------------------------
value('CREATE TABLE full_of (x int); CREATE TABLE parts (x int) PARTITION BY RANGE (x); CREATE TABLE parts_1 PARTITION OF parts DEFAULT; CREATE INDEX ON parts (x)');
for ([ 'full_of', 'VACUUM (FULL) full_of' ], [ 'parts', 'REINDEX TABLE parts' ])
{
	my ($table, $sql) = @$_;
	migrate_dir($table, 'V1__x.sql' => "$sql;\n");
	$writer->query_safe("BEGIN; INSERT INTO $table VALUES (1)");
	($status, $out) = run('migrate', $table, '--no-lint', '--lock-timeout', '0.1', '--lock-retries', '1', '--wait-for-transactions', '0');
	like("$status $out", qr/^1 .*ERROR 55P03: canceling statement due to lock timeout/s, "$sql gives up");
	$writer->query_safe('COMMIT');
	is((run('migrate', $table, '--no-lint'))[0], 0, 'and is done when the lock is free');
}

# --- how long it took, and what the server said --------------------------------------------------------------------------------------------------
value('CREATE TABLE said (x int); INSERT INTO said VALUES (1), (1)');
value(q{CREATE FUNCTION say(x int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$BEGIN RAISE WARNING 'built "%"', x; PERFORM pg_sleep(0.05); RETURN x; END$$});
my $said = "DO \$\$BEGIN RAISE NOTICE 'before'; PERFORM pg_sleep(0.05); END\$\$;\nDROP INDEX CONCURRENTLY IF EXISTS never_there;\nCREATE UNIQUE INDEX CONCURRENTLY said_x ON said (say(x));\nDO \$\$BEGIN RAISE NOTICE 'after'; END\$\$;\n";
migrate_dir('said', 'V1__x.sql' => $said);
($status, $out) = run('migrate', 'said', '--no-lint');
like("$status $out", qr/^1 .*NOTICE:  before.*NOTICE:  index "never_there" does not exist, skipping.*WARNING:  built "1".*ERROR 23505/s, 'the messages are shown');
my $built = 'WARNING: built "1"';
is(value("SELECT execution_time >= 50, array_to_string(messages, ',') FROM dbops.migration_attempts WHERE project = 'said'"), "t|$built,$built", 'an attempt that failed outside of a transaction has its time and its messages');
is(value("SELECT string_agg(concat_ws(' ', statement_number, state, execution_time >= CASE statement_number WHEN 2 THEN 0 ELSE 50 END, array_to_string(messages, ',')), E'\n' ORDER BY statement_number) FROM dbops.migration_steps WHERE project = 'said'"),
	"1 done t\n2 done t NOTICE: index \"never_there\" does not exist, skipping\n3 failed t $built,$built", 'as have its statements');
value('DELETE FROM said WHERE ctid = (SELECT min(ctid) FROM said)');
($status, $out) = run('migrate', 'said', '--no-lint');
like("$status $out", qr/^0 .*V1__x\.sql  \d{2,} ms/s, 'the next run says how long it all took');
is(value("SELECT execution_time >= 150, array_to_string(messages, ',') FROM dbops.migration_history WHERE project = 'said'"),
	"t|NOTICE: before,NOTICE: index \"never_there\" does not exist, skipping,$built,NOTICE: after", 'the history has the time from the first statement on, and what was said to those that took effect');

# --- what failed is not done ------------------------------------------------------------------------------------------------------------------
value('CREATE TABLE never (x int) PARTITION BY RANGE (x); CREATE TABLE never_1 (x int)');
for ([ 'drop_never', 'DROP INDEX CONCURRENTLY never_there', 'does not exist' ], [ 'detach_never', 'ALTER TABLE never DETACH PARTITION never_1 CONCURRENTLY', 'is not a partition' ])
{
	my ($name, $sql, $error) = @$_;
	migrate_dir($name, 'V1__x.sql' => "$sql;\n");
	for my $try ('first', 'second') { like(join(' ', run('migrate', $name, '--no-lint')), qr/^1 .*$error/s, "$sql fails the $try time"); }
	is(history($name), '1 false', 'it is not recorded as applied');
}

# --- what failed, and was then done by hand --------------------------------------------------------------------------------------------------
value('CREATE TABLE hand (x int, y int) PARTITION BY RANGE (x); CREATE TABLE hand_1 PARTITION OF hand FOR VALUES FROM (0) TO (9); CREATE TABLE handed (x int); CREATE INDEX handed_x ON handed (x); CREATE INDEX handed_renamed ON handed (x)');
sub fail_under_lock
{
	my ($name, $table, $sql) = @_;
	migrate_dir($name, 'V1__x.sql' => "$sql;\n");
	$writer->query_safe("BEGIN; SELECT * FROM $table");
	$run = begin('migrate', $name, '--no-lint');
	ok(Dbops::wait_for($node, $waiting, 1), "$sql waits");
	value("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '/* dbops step%' AND state = 'active' AND wait_event_type = 'Lock'");
	isnt((finish($run))[0], 0, 'and is cancelled');
	$writer->query_safe('COMMIT');
	is(value("SELECT state FROM dbops.migration_steps WHERE project = '$name'"), 'failed', 'which is recorded');
}
fail_under_lock('hand_detach', 'hand', 'ALTER TABLE hand DETACH PARTITION hand_1 CONCURRENTLY');
value('ALTER TABLE hand DETACH PARTITION hand_1 FINALIZE');
fail_under_lock('hand_drop', 'handed', 'DROP INDEX CONCURRENTLY handed_x');
value('DROP INDEX handed_x');
for my $name ('hand_detach', 'hand_drop')
{
	($status, $out) = run('migrate', $name, '--no-lint');
	is($status . history($name), '01 true', "$name: what was there and has gone is done") or diag $out;
}
fail_under_lock('hand_renamed', 'handed', 'DROP INDEX CONCURRENTLY handed_renamed');
value('ALTER INDEX handed_renamed RENAME TO handed_kept');
like(join(' ', run('migrate', 'hand_renamed', '--no-lint')), qr/^1 .*does not exist/s, 'an index that has another name has not gone');

# --- an interrupted run records what it has applied -------------------------------------------------------------------------------------------
migrate_dir('cut', 'V1__x.sql' => "CREATE TABLE cut_1 (x int);\n");
is((run('migrate', 'cut'))[0], 0, 'a first run');
migrate_dir('cut', 'V2__x.sql' => "CREATE TABLE cut_2 (x int);\n", 'V3__x.sql' => "SELECT pg_sleep(600);\n");
$run = begin('migrate', 'cut');
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'", 1), 'a second one, in its second migration');
$run->{run}->signal('INT');
is((finish($run))[0], 130, 'is interrupted');
is(history('cut') . value("SELECT count(*) FROM dbops.diff('cut')"), '1 true, 2 true0', 'what it has applied is no difference');

# --- a file that is changed while the run is under way ----------------------------------------------------------------------------------------
value('CREATE TABLE turn (x int)');
migrate_dir('turn', 'V1__x.sql' => "INSERT INTO turn VALUES (1);\n", 'V2__x.sql' => "INSERT INTO turn VALUES (2);\n");
$writer->query_safe('BEGIN; LOCK turn');
$run = begin('migrate', 'turn', '--lock-timeout', '600');
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%apply_migration%' AND wait_event_type = 'Lock'", 1), 'the first migration waits');
migrate_dir('turn', 'V2__x.sql' => "INSERT INTO turn VALUES (3);\n");
$writer->query_safe('COMMIT');
($status, $out) = finish($run);
like("$status $out", qr/^2 .*V2__x\.sql was changed while dbops was at work/s, 'what was changed meanwhile is not executed');
is(history('turn') . value('SELECT string_agg(x::text, NULL) FROM turn'), '1 true1', 'nor recorded');

# --- a callback before files that do not agree ---------------------------------------------------------------------------------------------------
migrate_dir('turn', 'V1__x.sql' => "INSERT INTO turn VALUES (4);\n", 'beforeMigrate.sql' => "INSERT INTO turn VALUES (5);\n");
($status, $out) = run('migrate', 'turn');
like("$status $out", qr/^1 .*Nothing was done/s, 'files that do not agree with the history stop it');
is(value('SELECT string_agg(x::text, NULL) FROM turn'), '1', 'before the callbacks');

$_->quit for $writer, $other;
$node->stop;
done_testing();
