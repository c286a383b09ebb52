# Migrations beside what else goes on: an autovacuum, a snapshot of somebody else, an application that writes.
use strict;
use warnings;
use IPC::Run qw(start);
use PostgreSQL::Test::Utils;
use Test::More;
use Dbops;

my $node = Dbops::node('migrate_beside', conf => "autovacuum_naptime = 1\n");
my $place = PostgreSQL::Test::Utils::tempdir();

sub value { return $node->safe_psql('postgres', $_[0]); }
sub begin
{
	my ($project, $sql, @arguments) = @_;
	return Dbops::start_cli($node, 'migrate', '--dir', Dbops::directory("$place/$project", 'V1__x.sql' => $sql), '--project', $project, '--no-lint', @arguments);
}
sub history { return value("SELECT string_agg(success::text, ' ') FROM dbops.migration_history WHERE project = '$_[0]'"); }
sub attempts { return value("SELECT string_agg(outcome, ' ') FROM dbops.migration_attempts WHERE project = '$_[0]'"); }

# --- an autovacuum of the table ----------------------------------------------------------------------------------------------
# It stops at a gate when it evaluates the index.
my $gate = $node->background_psql('postgres');
$gate->query_safe('SELECT pg_advisory_lock(9)');
value(q{
	CREATE TABLE t (id int) WITH (autovacuum_enabled = off, autovacuum_analyze_threshold = 0);
	CREATE FUNCTION hold(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
	BEGIN
	  IF (SELECT backend_type FROM pg_stat_activity WHERE pid = pg_backend_pid()) = 'autovacuum worker' THEN PERFORM pg_advisory_xact_lock_shared(9); END IF;
	  RETURN i;
	END$$;
	CREATE INDEX ON t (hold(id));
	INSERT INTO t SELECT generate_series(1, 100);
	ALTER TABLE t SET (autovacuum_enabled = on);
	UPDATE t SET id = id;
});
my $vacuums = q{SELECT count(*) FROM pg_locks JOIN pg_stat_activity a USING (pid) WHERE relation = 't'::regclass AND mode = 'ShareUpdateExclusiveLock' AND granted AND a.backend_type = 'autovacuum worker' AND a.wait_event = 'advisory'};
ok(Dbops::wait_for($node, $vacuums, 1), 'an autovacuum has the table');
my $run = begin('autovacuum', "ALTER TABLE t ADD COLUMN y int;\n", '--lock-timeout', '0.2', '--lock-retries', '0');
my ($status, $out) = Dbops::finish_cli($run);
like("$status $out", qr/^1 .*ERROR 55P03/s, 'who waits for less than deadlock_timeout does not get past it');
ok(Dbops::wait_for($node, $vacuums, 1), 'an autovacuum has the table');
# So long a wait for the lock, for a machine that is busy, is no more than a second where it is not.
$run = begin('autovacuum', "ALTER TABLE t ADD COLUMN y int;\n", '--lock-timeout', '120', '--lock-retries', '0');
is((Dbops::finish_cli($run))[0], 0, 'who waits for longer does: it gives way') or diag $run->{out};
is(history('autovacuum') . ' ' . attempts('autovacuum'), 'true lock_timeout', 'without another try, and without having been waited for like a transaction');
ok($node->log_contains(qr/canceling autovacuum task/), 'as the server says');
$gate->query_safe('SELECT pg_advisory_unlock(9)');

# --- a snapshot of somebody else while an index is built --------------------------------------------------------------------------
value('CREATE TABLE built (x int); INSERT INTO built SELECT generate_series(1, 100); CREATE TABLE elsewhere (x int)');
my $snapshot = $node->background_psql('postgres');
$snapshot->query_safe("SET application_name = 'report'; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM elsewhere");
$run = begin('built', "CREATE INDEX CONCURRENTLY built_x ON built (x);\n");
ok(Dbops::says($run, qr/V1__x\.sql waits for process \d+ \(role \S+, application report, transaction since /), 'an index build waits for a snapshot on another table, and says whose');
is(value("SELECT indisvalid FROM pg_index WHERE indrelid = 'built'::regclass"), 'f', 'the index is not valid yet');
is(value('INSERT INTO built VALUES (1); SELECT count(*) FROM built WHERE x = 1'), 2, 'the table is read and written meanwhile');
$snapshot->query_safe('COMMIT');
is((Dbops::finish_cli($run))[0], 0, 'when the transaction has ended it is finished') or diag $run->{out};
is(value("SELECT indisvalid FROM pg_index WHERE indrelid = 'built'::regclass") . history('built') . attempts('built'), 'ttrue', 'valid, at the first try');

# --- an application that writes -------------------------------------------------------------------------------------------------------
# A report has the table for longer than the application can wait. If the migration asked for its lock, the application
# would queue behind it and not end before the report.
value('CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int)');
my $script = "$place/app.sql";
append_to_file($script, "INSERT INTO orders (n) VALUES (1);\nSELECT count(*) FROM orders WHERE id = 1;\nUPDATE orders SET n = n + 1 WHERE id = 1;\n");
my $each = 300;
sub application
{
	my $app = { out => '' };
	$app->{run} = start([ 'pgbench', '-n', '-c', 2, '-t', $each, '-f', $script, $node->connstr('postgres') ], '<', \undef, '>&', \$app->{out}, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return $app;
}
$snapshot->query_safe('BEGIN; SELECT count(*) FROM orders');
Dbops::wait_for($node, "SELECT xact_start < clock_timestamp() - interval '2 s' FROM pg_stat_activity WHERE application_name = 'report'", 't');
$run = begin('load', "ALTER TABLE orders ADD COLUMN note text;\nALTER TABLE orders ADD CONSTRAINT positive CHECK (n > 0) NOT VALID;\nCREATE TABLE beside (x bigint REFERENCES orders);\n");
ok(Dbops::says($run, qr/is not tried, as what it has to lock is held by process/), 'a migration waits for a report');
my $app = application();
($status, $out) = Dbops::finish_cli($app);
is($status, 0, 'the application does all of its work meanwhile') or diag $out;
is(value('SELECT count(*) FROM orders'), 2 * $each, 'each of its statements');
is(history('load'), '', 'the migration still waits');
$snapshot->query_safe('COMMIT');
is((Dbops::finish_cli($run))[0], 0, 'and is applied when the report has ended') or diag $run->{out};
# Both at once, nobody else.
$app = application();
$run = begin('at_once', join("\n", map { "ALTER TABLE orders ADD COLUMN c$_ int;" } 1 .. 20) . "\nCREATE INDEX CONCURRENTLY orders_n ON orders (n);\nALTER TABLE orders DROP COLUMN c1;\n");
is((Dbops::finish_cli($run))[0], 0, 'a migration beside the application') or diag $run->{out};
($status, $out) = Dbops::finish_cli($app);
is($status, 0, 'which does all of its work') or diag $out;
is(value('SELECT count(*) FROM orders') . ' ' . history('at_once'), 4 * $each . ' true', 'each statement, the migration once');

# --- what another runner applies while the linter looks --------------------------------------------------------------------------
# The linter waits for a copy of the table; what it finds then fails, as it has been done.
value('CREATE TABLE looked_at (x int)');
my $add = "ALTER TABLE looked_at ADD COLUMN y int DEFAULT 5;\n";
my $looked_at = Dbops::directory("$place/looked_at", 'V1__x.sql' => $add);
$snapshot->query_safe('BEGIN; LOCK TABLE looked_at');
$run = Dbops::start_cli($node, 'migrate', '--dir', $looked_at, '--project', 'looked_at');
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_locks WHERE relation = 'looked_at'::regclass AND NOT granted", 1), 'the linter waits');
is($snapshot->query_safe("SELECT outcome FROM dbops.apply_migration('V1__x.sql', '$add', project => 'looked_at')"), 'applied', 'another runner applies the migration');
$snapshot->query_safe('COMMIT');
($status, $out) = Dbops::finish_cli($run);
is("$status $out", "0 dbops: nothing to do, everything is applied\n", 'which is no error of the first one');
is(history('looked_at'), 'true', 'it is applied once');

eval { $_->quit } for $gate, $snapshot;
$node->stop;
done_testing();
