# Schedules through restarts, crashes and failover: nothing runs on a standby, nothing twice, and missed times as was wished.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(sleep);
use PostgreSQL::Test::Cluster;
use Dbops;

my $node = Dbops::node('primary', init => [ allows_streaming => 1 ], conf => "autovacuum = off\n");
sub sql { return Dbops::value($node, $_[0]); }
# A run for a time that the history has already is recorded with the moment at which it began.
sub twice { return sql('SELECT count(*) FROM dbops.job_runs WHERE scheduled_at = started_at'); }
sql('CREATE TABLE log (at timestamptz DEFAULT clock_timestamp(), what text)');
$node->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->start;

# --- a restart: missed times ----------------------------------------------------------------------------------------------
sql(qq{SELECT dbops.schedule('$_->[0]', 'every 2 seconds', \$\$INSERT INTO log (what) VALUES ('$_->[0]')\$\$, missed => '$_->[1]', max_missed => 3)})
  for ([ 'skips', 'skip' ], [ 'once', 'once' ], [ 'all', 'all' ]);
ok(Dbops::wait_for($node, 'SELECT min(runs) > 0 FROM dbops.schedules', 't'), 'schedules run');
sql("UPDATE dbops.schedule SET due_at = NULL");    # as if nobody had been there for a while
sleep 10;
$node->stop('fast');
my $before;
$node->start;
sql("UPDATE dbops.schedule SET accounted = now() - interval '10 minutes 1 second', next_slot = accounted, due_at = now() - interval '10 minutes'");
sql("SELECT dbops.resume(0)") if 0;
sql("SELECT dbops.schedule('wake', '\@yearly', 'SELECT 1')");    # makes the launcher look
ok(Dbops::wait_for($node, "SELECT count(*) FROM dbops.schedules WHERE missed_runs > 200", 3), 'ten minutes of them');
cmp_ok(sql("SELECT missed_runs FROM dbops.schedules WHERE name = 'once'"), '>=', 299, 'once: one run for all');
is(sql("SELECT (SELECT missed_runs FROM dbops.schedules WHERE name = 'once') - (SELECT missed_runs FROM dbops.schedules WHERE name = 'all') BETWEEN 0 AND 4"), 't', 'all: the newest three');
is(twice(), 0, 'nothing twice');
sql("SELECT dbops.unschedule(name) FROM dbops.schedules");

# --- a crash between claim and end ----------------------------------------------------------------------------------------
my $job = sql(q{SELECT dbops.schedule('long', '@yearly', $$INSERT INTO log (what) VALUES ('begun'); SELECT pg_sleep(600)$$)});
my $again = sql(q{SELECT dbops.schedule('again', '@yearly', $$INSERT INTO log (what) VALUES ('again'); SELECT pg_sleep(CASE WHEN (SELECT count(*) FROM dbops.job_runs r JOIN dbops.schedules s USING (job_id) WHERE s.name = 'again') > 1 THEN 0 ELSE 600 END)$$, retries => 1, retry_delay => '0')});
sql("SELECT dbops.run_now('long'); SELECT dbops.run_now('again')");
ok(Dbops::wait_for($node, "SELECT count(*) FROM dbops.schedules WHERE state = 'running'", 2), 'two runs are under way');
sql('CHECKPOINT');    # so that what was claimed is on disk
sql('CREATE TABLE marker ()');
$node->stop('immediate');
$node->start;
ok(Dbops::wait_for($node, "SELECT count(*) FROM dbops.job_runs WHERE outcome = 'lost'", 2), 'after the crash both are known as lost');
ok(Dbops::wait_for($node, "SELECT last_result FROM dbops.schedules WHERE name = 'again'", 'finished'), 'the one with a retry is run again');
is(sql("SELECT string_agg(what, ',' ORDER BY what) FROM log WHERE what IN ('begun', 'again')"), 'again', 'and only that');
is(sql("SELECT state, runs, failures FROM dbops.schedules WHERE name = 'long'"), 'queued|1|1', 'the other one waits for its next time');
is(twice(), 0, 'nothing twice');

# --- the launcher is killed: its successor starts nothing twice -------------------------------------------------------------
sql(q{SELECT dbops.schedule('tick', 'every second', $$INSERT INTO log (what) VALUES ('tick')$$, missed => 'all', max_missed => 1000)});
for (1 .. 5)
{
	$node->psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type IN ('dbops launcher', 'dbops dispatcher')");
	sleep 0.7;
}
my $runs = sql("SELECT runs FROM dbops.schedules WHERE name = 'tick'");
ok(Dbops::wait_for($node, "SELECT runs > $runs + 3 FROM dbops.schedules WHERE name = 'tick'", 't'), 'it goes on');
is(twice(), 0, 'nothing twice');
is(sql("SELECT count(*) FROM (SELECT scheduled_at - lag(scheduled_at) OVER (ORDER BY scheduled_at) AS step FROM dbops.job_runs r JOIN dbops.schedules s USING (job_id) WHERE s.name = 'tick') g WHERE step <> interval '1 second'"), 0, 'and none is left out');

# --- failover ---------------------------------------------------------------------------------------------------------------
ok(Dbops::wait_for($standby, "SELECT runs > 0 FROM dbops.schedules WHERE name = 'tick'", 't'), 'the standby shows schedules');
is(Dbops::value($standby, "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'dbops%'"), 0, 'and runs nothing');
like(Dbops::refusal($standby, "SELECT dbops.schedule('x', '\@daily', 'SELECT 1')"), qr/^25006:/, 'none is made there');
like(Dbops::refusal($standby, "SELECT dbops.run_now('tick')"), qr/^25006:/, 'or run');
$node->stop('immediate');
# It has replayed all that it has.
ok(Dbops::wait_for($standby, q{SELECT (SELECT count(*) FROM pg_stat_wal_receiver) = 0 AND (SELECT wait_event = 'RecoveryRetrieveRetryInterval' FROM pg_stat_activity WHERE backend_type = 'startup')}, 't'), 'the standby is alone');
my $done = Dbops::value($standby, "SELECT runs FROM dbops.schedules WHERE name = 'tick'");
sleep 2;
is(Dbops::value($standby, "SELECT runs FROM dbops.schedules WHERE name = 'tick'"), $done, 'still nothing');
$standby->promote;
ok(Dbops::wait_for($standby, "SELECT runs > $done + 3 FROM dbops.schedules WHERE name = 'tick'", 't'), 'promoted, it goes on');
$node = $standby;
is(twice(), 0, 'nothing twice');
is(sql("SELECT count(*) FROM (SELECT scheduled_at - lag(scheduled_at) OVER (ORDER BY scheduled_at) AS step FROM dbops.job_runs r JOIN dbops.schedules s USING (job_id) WHERE s.name = 'tick') g WHERE step <> interval '1 second'"), 0, 'and the missed ones are made up for');

# --- the role is dropped ------------------------------------------------------------------------------------------------------
sql("CREATE ROLE leaver LOGIN");
$job = Dbops::value_as($node, 'leaver', q{SELECT dbops.schedule('of leaver', 'every second', 'SELECT 1')});
ok(Dbops::wait_for($node, "SELECT runs > 0 FROM dbops.schedules WHERE job_id = $job", 't'), 'a schedule of a role');
sql("DROP ROLE leaver");
sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'dbops worker'");
is(Dbops::wait_job($node, $job, 60), 'failed', 'which is dropped: it fails');
sql("CREATE ROLE leaver LOGIN");
sql("SELECT dbops.retry($job)");
is(Dbops::wait_job($node, $job, 60), 'failed', 'a new role of that name is not taken for it');
$node->stop;
done_testing();
