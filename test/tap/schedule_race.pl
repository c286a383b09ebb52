# A dispatcher looks for runs whose process has died, while a run begins, works and ends: it is not mistaken for a dead one.
# That would repeat a command that has succeeded. And who pauses a schedule does not hit the run that its process goes on to.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);
use Dbops;

my $library = Dbops::fault_library('slow_plans');
my $node = Dbops::node('race', start => 0);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbops, $library'\n");
$node->start;
Dbops::create_extension($node);
$node->safe_psql('postgres', 'CREATE TABLE log (name text)');
my @names = map { "run$_" } 1 .. 5;
for my $name (@names)
{
	$node->safe_psql('postgres', qq{SELECT dbops.schedule('$name', '\@yearly', \$\$INSERT INTO log VALUES ('$name')\$\$, retries => 1, retry_delay => '0 s')});
	$node->safe_psql('postgres', "SELECT dbops.run_now('$name')");
	# Each of these sends a dispatcher.
	for (1 .. 8)
	{
		$node->safe_psql('postgres', q{SELECT dbops.schedule('look', '@yearly', 'SELECT 1'); SELECT dbops.unschedule('look')});
		sleep 0.1;
	}
}
ok(Dbops::wait_for($node, "SELECT count(*) FROM dbops.schedules WHERE state = 'running' OR last_result IS NULL", 0), 'all have run');
is(Dbops::value($node, "SELECT string_agg(name || ' ' || last_result, ', ' ORDER BY name) FROM dbops.schedules"),
	join(', ', map { "$_ finished" } @names), 'and finished');
is(Dbops::value($node, "SELECT string_agg(name, ', ' ORDER BY name) FROM log"), join(', ', @names), 'each of them once');
is(Dbops::value($node, "SELECT count(*) FROM dbops.job_run WHERE outcome = 'lost'"), 0, 'none is lost');

$node->append_conf('postgresql.conf', "dbops.max_workers = 1\n");
$node->restart;
my $first = Dbops::value($node, q{SELECT dbops.schedule('first', '@yearly', 'SELECT pg_sleep(1)', priority => 1)});
$node->safe_psql('postgres', q{SELECT dbops.schedule('second', '@yearly', 'SELECT pg_sleep(8)')});
$node->safe_psql('postgres', q{DO $$BEGIN PERFORM dbops.run_now('first'); PERFORM dbops.run_now('second'); END$$});
ok(Dbops::wait_for($node, "SELECT state FROM dbops.schedules WHERE name = 'first'", 'running'), 'one schedule runs, another waits for the same process');
$node->safe_psql('postgres', "SELECT dbops.pause($first)");
is(Dbops::value($node, "SELECT state FROM dbops.schedules WHERE name = 'first'"), 'paused', 'the first is paused');
ok(Dbops::wait_for($node, "SELECT state = 'queued' AND last_result IS NOT NULL FROM dbops.schedules WHERE name = 'second'", 't'), 'the second runs');
is(Dbops::value($node, "SELECT last_result FROM dbops.schedules WHERE name = 'second'"), 'finished', 'to its end');

# --- Resumed while the run ends that the pause has cancelled: its end waits for the one who resumes, and sees what he has done.
my $ends = Dbops::value($node, q{SELECT dbops.schedule('ends', '@yearly', $$DO $d$BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN PERFORM pg_advisory_xact_lock(1); END$d$ $$)});
$node->safe_psql('postgres', "SELECT dbops.run_now('ends')");
ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'dbops worker' AND wait_event = 'PgSleep'}, 1), 'a run that does not end at once when it is cancelled');
$node->safe_psql('postgres', qq{SELECT pg_advisory_lock(1);
SELECT dbops.pause($ends);
BEGIN;
SELECT dbops.resume($ends);
SELECT pg_advisory_unlock(1);
DO \$\$BEGIN FOR i IN 1 .. 1200 LOOP EXIT WHEN EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'); PERFORM pg_sleep(0.05); END LOOP; END\$\$;
COMMIT;});
ok(Dbops::wait_for($node, "SELECT runs FROM dbops.schedules WHERE name = 'ends'", 1), 'it ends');
is(Dbops::value($node, "SELECT j.state, s.due_at IS NOT NULL FROM dbops.schedule s JOIN dbops.job j USING (job_id) WHERE s.name = 'ends'"), 'queued|t', 'and the schedule has its next time');
$node->stop;
done_testing();
