# What must not bring the schedules of a database to a halt: a window that has closed, a run that is recorded already, a lock
# that somebody holds, workers that come late for good, history that is still referred to.
use strict;
use warnings;
use Test::More;
use Dbops;

my $node = Dbops::node('stalls', conf => "autovacuum = off\n");
sub sql { return Dbops::value($node, $_[0]); }
sub runs_until { my ($name, $runs) = @_; return Dbops::wait_for($node, "SELECT runs >= $runs FROM dbops.schedules WHERE name = '$name'", 't'); }
sub schedule { my ($name, $rest) = @_; return sql("SELECT dbops.schedule('$name', $rest)"); }
my $wakes = 0;
# The launcher looks, and another schedule of the same role gets its turn.
sub wake { sql("SELECT dbops.run_now('wake')"); return runs_until('wake', ++$wakes); }
schedule('wake', q{'@yearly', 'SELECT 1'});

# --- a time that came within a window which has closed since --------------------------------------------------------------
schedule('closed', q{'* * * * *', 'SELECT 1', timezone => 'UTC', windows => to_char(now() AT TIME ZONE 'UTC' - interval '2 hours', 'HH24:MI') || '-' || to_char(now() AT TIME ZONE 'UTC' - interval '1 hour', 'HH24:MI')});
sql(q{UPDATE dbops.schedule SET accounted = date_trunc('minute', now()) - interval '91 minutes', next_slot = date_trunc('minute', now()) - interval '90 minutes',
	due_at = date_trunc('minute', now()) - interval '90 minutes' WHERE name = 'closed'});
ok(wake(), 'a schedule whose window has closed does not stop the others');
ok(Dbops::wait_for($node, "SELECT next_run BETWEEN now() + interval '21 hours' AND now() + interval '23 hours' FROM dbops.schedules WHERE name = 'closed'", 't'), 'and waits for its next window');
is(sql("SELECT runs FROM dbops.schedules WHERE name = 'closed'"), 0, 'without a run');
sql("SELECT dbops.unschedule('closed')");

# --- a slot and attempt that is in the history already ----------------------------------------------------------------------
my $job = schedule('recorded', q{'* * * * *', 'SELECT 1'});
# As when the clock was set back, or a retry was counted anew: what is due next was begun before.
sql(qq{BEGIN; SELECT 1 FROM dbops.schedule WHERE job_id = $job FOR NO KEY UPDATE;
	UPDATE dbops.schedule SET accounted = date_trunc('minute', now()) - interval '1 minute', next_slot = date_trunc('minute', now()), due_at = now() WHERE job_id = $job;
	INSERT INTO dbops.job_run (job_id, slice, mode, pid, scheduled_at, attempt, started_at, finished_at, outcome)
	  SELECT job_id, 0, 'worker', 1, next_slot + n * interval '1 minute', 1, now(), now(), 'finished' FROM dbops.schedule, generate_series(0, 2) n WHERE job_id = $job;
	COMMIT});
ok(wake(), 'a run that is recorded already does not stop the others');
ok(runs_until('recorded', 1), 'and the schedule goes on');
is(sql("SELECT state FROM dbops.schedules WHERE name = 'recorded'"), 'queued', 'as it should');
sql("SELECT dbops.unschedule('recorded')");

# --- altered while a retry runs -----------------------------------------------------------------------------------------------
sql('CREATE TABLE gate (shut boolean); INSERT INTO gate VALUES (true)');
$job = schedule('altered', q{'@yearly', $$DO $d$BEGIN
	IF (SELECT attempt FROM dbops.schedule WHERE name = 'altered') = 2 THEN WHILE (SELECT shut FROM gate) LOOP PERFORM pg_sleep(0.05); END LOOP; END IF;
	PERFORM 1/0; END$d$ $$, retries => 2, retry_delay => '0 s'});
sql("SELECT dbops.run_now('altered')");
ok(Dbops::wait_for($node, "SELECT count(*) FROM dbops.job_runs WHERE job_id = $job AND attempt = 2 AND outcome = 'running'", 1), 'a retry is under way');
sql("SELECT dbops.alter_schedule('altered', jitter => '1 s')");
sql('UPDATE gate SET shut = false');
ok(runs_until('altered', 3), 'a schedule that is altered meanwhile goes on');
is(sql("SELECT string_agg(attempt::text, ',' ORDER BY run_id) FROM dbops.job_runs WHERE job_id = $job"), '1,2,3', 'with the attempts that are left');
sql("SELECT dbops.unschedule('altered')");

# --- altered to what it is, or to when it may run: what it has counted and what it owes stays ------------------------------------
schedule('again', q{'every 2 hours', 'SELECT 1'});
sql(q{UPDATE dbops.schedule SET anchor = anchor - interval '1 hour', accounted = accounted - interval '1 hour', next_slot = next_slot - interval '1 hour',
	due_at = due_at - interval '1 hour' WHERE name = 'again'});
my $next_run = sql(q{SELECT next_run FROM dbops.schedules WHERE name = 'again'});
sql(q{SELECT dbops.alter_schedule('again', schedule => 'every 2 hours')});
is(sql(q{SELECT next_run FROM dbops.schedules WHERE name = 'again'}), $next_run, 'an interval that is said again goes on');
sql(q{SELECT dbops.alter_schedule('again', schedule => 'every 3 hours')});
isnt(sql(q{SELECT next_run FROM dbops.schedules WHERE name = 'again'}), $next_run, 'another one begins anew');
schedule('leader', q{'@yearly', 'SELECT 1', timezone => 'UTC'});
my $closed = sql(q{SELECT to_char(now() AT TIME ZONE 'UTC' + interval '2 hours', 'HH24:MI') || '-' || to_char(now() AT TIME ZONE 'UTC' + interval '3 hours', 'HH24:MI')});
schedule('follower', qq{NULL, 'SELECT 2', after => 'leader', timezone => 'UTC', windows => '$closed'});
sql(q{SELECT dbops.run_now('leader')});
ok(runs_until('leader', 1) && Dbops::wait_for($node, q{SELECT next_run IS NOT NULL FROM dbops.schedules WHERE name = 'follower'}, 't'), 'a run waits for its window');
sql(q{SELECT dbops.alter_schedule('follower', windows => '')});
ok(runs_until('follower', 1), 'without the window it comes at once');
sql("SELECT dbops.unschedule(name) FROM unnest(ARRAY['again', 'follower', 'leader']) AS name");

# --- a retry while jitter puts the next time off: what has run is not owed again ------------------------------------------------
sql(q{SELECT count(dbops.schedule('jitter ' || i, 'every 1 minute', 'SELECT 1/0', jitter => '10 min', retries => 1, retry_delay => '0 s')) FROM generate_series(1, 20) i});
sql(q{SELECT count(dbops.run_now(name)) FROM dbops.schedules WHERE name LIKE 'jitter %'});
ok(Dbops::wait_for($node, q{SELECT count(*) FROM dbops.schedules WHERE name LIKE 'jitter %' AND runs >= 2}, 20), 'all have their retry');
is(sql(q{SELECT count(*) FROM dbops.schedule s JOIN dbops.job j USING (job_id) WHERE name LIKE 'jitter %' AND s.accounted < date_trunc('second', j.created_at)}), 0,
	'and none counts from before it was made');
sql(q{SELECT count(dbops.unschedule(name)) FROM dbops.schedules WHERE name LIKE 'jitter %'});

# --- a worker that is lost while somebody has its schedule, or its job, locked -----------------------------------------------------
sql(q{CREATE TABLE slow (id int PRIMARY KEY, n int); INSERT INTO slow SELECT i, 0 FROM generate_series(1, 2000) i});
for my $case ('schedule', 'job')
{
	my $id = $case eq 'schedule' ? schedule('lost', q{'@yearly', 'SELECT pg_sleep(600)'}) : Dbops::backfill($node, q{target => 'slow', assignments => 'n = n + 1', max_rows_per_second => 50});
	sql(q{SELECT dbops.run_now('lost')}) if $case eq 'schedule';
	my $worker = "SELECT count(*) FROM pg_stat_activity a JOIN dbops.job_runs r USING (pid) WHERE r.job_id = $id AND r.outcome = 'running'";
	ok(Dbops::wait_for($node, $worker, 1), "$case: it runs");
	my $session = $node->background_psql('postgres');
	$session->query_safe("BEGIN; SELECT 1 FROM dbops.$case WHERE job_id = $id FOR NO KEY UPDATE");
	sql("SELECT pg_terminate_backend(r.pid, 10000) FROM dbops.job_runs r WHERE r.job_id = $id AND r.outcome = 'running'");
	sleep 3;    # whoever looks for losses now finds it locked
	$session->query_safe('ROLLBACK');
	$session->quit;
	ok(Dbops::wait_for($node, "SELECT count(*) > 0 FROM dbops.job_runs WHERE job_id = $id AND outcome = 'lost'", 't'), "$case: it is found lost when the lock has gone");
	$case eq 'schedule' ? sql("SELECT dbops.unschedule('lost')") : sql("SELECT dbops.cancel($id)");
}

# --- somebody holds one schedule in an open transaction -----------------------------------------------------------------------
schedule('held', q{'@yearly', 'SELECT 1'});
schedule('free', q{'@yearly', 'SELECT 1'});
sql('CREATE ROLE other LOGIN');
Dbops::value_as($node, 'other', q{SELECT dbops.schedule('of other', '@yearly', 'SELECT 1')});
sql(q{SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE backend_type = 'dbops worker'});
sql(q{UPDATE dbops.schedule SET priority = 5 WHERE name = 'held'});
my $holder = Dbops::start_sql($node, q{BEGIN; UPDATE dbops.schedule SET pending_slot = now(), pending_at = now(), pending_why = 'now', due_at = now() WHERE name = 'held'; COMMIT;
	BEGIN; SELECT 1 FROM dbops.schedule WHERE name = 'held' FOR NO KEY UPDATE; SELECT pg_sleep(600); COMMIT});
ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND wait_event = 'PgSleep'}, 1), 'somebody holds a schedule that is due');
sql(q{SELECT dbops.run_now('of other'); SELECT dbops.run_now('free')});
ok(runs_until('free', 1) && runs_until('of other', 1), 'the others run');
is(sql("SELECT runs, launches FROM dbops.schedule WHERE name = 'held'"), '0|0', 'it waits');
sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()});
Dbops::finish_sql($holder);
ok(runs_until('held', 1), 'until it is let go');
sql("SELECT dbops.unschedule(name) FROM dbops.schedules WHERE name IN ('held', 'free', 'of other')");

# --- a run that has succeeded, and whose session cannot be tidied up ---------------------------------------------------------
sql('UPDATE gate SET shut = true; CREATE TABLE done (at timestamptz)');
sql(q{CREATE PROCEDURE pass() LANGUAGE plpgsql AS $$BEGIN WHILE (SELECT shut FROM gate) LOOP PERFORM pg_sleep(0.05); END LOOP; END$$});
$job = schedule('untidy', q{'@yearly', 'CREATE TEMP TABLE mine (); INSERT INTO done VALUES (now()); CALL pass()', retries => 1, retry_delay => '0 s'});
sql("SELECT dbops.run_now('untidy')");
ok(Dbops::wait_for($node, 'SELECT count(*) FROM done', 1), 'a command with a temporary table');
my $temporary = sql(q{SELECT oid::regclass FROM pg_class WHERE relname = 'mine'});
$holder = Dbops::start_sql($node, "BEGIN; LOCK TABLE $temporary IN ACCESS SHARE MODE; SELECT pg_sleep(600)");
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_locks WHERE relation = '$temporary'::regclass AND mode = 'AccessShareLock' AND granted AND pid IN (SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%LOCK TABLE%')", 1), 'which somebody else has locked');
sql('UPDATE gate SET shut = false');
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_locks WHERE relation = '$temporary'::regclass AND NOT granted", 1), 'so that it cannot be dropped');
sql("SELECT pg_cancel_backend(pid) FROM pg_locks WHERE relation = '$temporary'::regclass AND NOT granted");
ok(runs_until('untidy', 1), 'when the waiting is cancelled, the run is recorded');
is(sql("SELECT last_result FROM dbops.schedules WHERE name = 'untidy'"), 'finished', 'as finished');
sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()});
Dbops::finish_sql($holder);
ok(wake(), 'others run');
is(sql('SELECT count(*) FROM done'), 1, 'and it is not repeated');
sql("SELECT dbops.unschedule('untidy')");

# --- late times are skipped, again and again -----------------------------------------------------------------------------------
$job = schedule('skips', q{'0 0 1 1 *', 'SELECT 1', missed => 'skip'});
for my $time (1 .. 7)
{
	sql(q{SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE backend_type = 'dbops worker'});    # so that a new one is sent
	sql(qq{UPDATE dbops.schedule SET accounted = now() - interval '400 days', next_slot = now() - interval '399 days', due_at = now() - interval '399 days', not_before = NULL WHERE job_id = $job});
	sql("SELECT dbops.schedule('look', '\@yearly', 'SELECT 1'); SELECT dbops.unschedule('look')");
	ok(Dbops::wait_for($node, "SELECT due_at > now() OR due_at IS NULL FROM dbops.schedule WHERE job_id = $job", 't'), "late for the time number $time");
}
is(sql("SELECT v.state, s.launches, v.missed_runs >= 7 FROM dbops.schedules v JOIN dbops.schedule s USING (job_id) WHERE job_id = $job"), 'queued|0|t', 'those times are skipped, and the schedule stays');
sql("SELECT dbops.unschedule('skips')");

# --- history that another schedule refers to --------------------------------------------------------------------------------------
my $old = schedule('old', q{'@yearly', 'SELECT 1'});
schedule('follower', q{NULL, 'SELECT 1', after => 'old'});
sql('CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1)');
my $other = Dbops::backfill($node, q{'t', 'n = 1'});
is(Dbops::wait_job($node, $other), 'succeeded', 'a job that ends');
sql("SELECT dbops.cancel($old)");
sql("UPDATE dbops.job SET finished_at = now() - interval '100 days' WHERE job_id IN ($old, $other)");
sql("ALTER SYSTEM SET dbops.history_retention = 30");
$node->reload;
sql("SELECT dbops.schedule('look', '\@yearly', 'SELECT 1'); SELECT dbops.unschedule('look')");
ok(Dbops::wait_for($node, "SELECT count(*) FROM dbops.jobs WHERE job_id = $other", 0), 'history is pruned');
is(sql("SELECT count(*) FROM dbops.jobs WHERE job_id = $old"), 1, 'but for what another schedule runs after');
sql("SELECT dbops.unschedule('follower')");
sql("SELECT dbops.schedule('look', '\@yearly', 'SELECT 1'); SELECT dbops.unschedule('look')");
ok(Dbops::wait_for($node, "SELECT count(*) FROM dbops.jobs WHERE job_id = $old", 0), 'until that is gone');

$node->stop;
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/PANIC|TRAP:|terminated by signal|duplicate key/, 'nothing untoward in the log');
done_testing();
