# Schedules: commands run as their owner, at their time; what they say is kept; policies; commands of every kind.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(sleep);
use Dbops;

my $node = Dbops::node('schedules', conf => "dbops.max_workers = 4\nautovacuum = off\n");
sub sql { return Dbops::value($node, $_[0]); }
sub runs_until    # waits until that many runs have ended
{
	my ($name, $count, $timeout) = @_;
	return Dbops::wait_for($node, "SELECT runs >= $count FROM dbops.schedules WHERE name = '$name'", 't', $timeout // 60);
}
sub last_run
{
	my ($name, $columns) = @_;
	return sql("SELECT $columns FROM dbops.job_runs r JOIN dbops.schedules s USING (job_id) WHERE s.name = '$name' ORDER BY run_id DESC LIMIT 1");
}

# --- at its time, as its owner --------------------------------------------------------------------------------------
sql(q{CREATE ROLE ann LOGIN; CREATE ROLE ben LOGIN; GRANT CREATE ON SCHEMA public TO ann, ben;
	CREATE TABLE log (at timestamptz DEFAULT clock_timestamp(), who text DEFAULT current_user, what text); GRANT INSERT, SELECT ON log TO PUBLIC});
my $job = Dbops::value_as($node, 'ann', q{SELECT dbops.schedule('each second', 'every second', $$INSERT INTO log (what) VALUES ('tick')$$)});
ok(runs_until('each second', 3), 'it runs');
is(sql("SELECT DISTINCT who FROM log"), 'ann', 'as its owner');
is(sql("SELECT bool_and(r.outcome = 'finished' AND r.rows_done = 1 AND r.output = 'INSERT 1') FROM dbops.job_runs r WHERE job_id = $job AND outcome <> 'running'"), 't', 'rows and output are kept');
is(sql("SELECT count(*) FROM dbops.job_runs WHERE job_id = $job AND started_at < scheduled_at"), 0, 'never early');
is(sql("SELECT date_trunc('second', min(scheduled_at)) = min(scheduled_at) FROM dbops.job_runs WHERE job_id = $job"), 't', 'slots are whole seconds');
is(sql("SELECT max(started_at - scheduled_at) < interval '10 seconds' FROM dbops.job_runs WHERE job_id = $job"), 't', 'nor by far too late');
sql("SELECT dbops.unschedule('each second')");
is(Dbops::job_state($node, $job), 'cancelled', 'unscheduled: its job is cancelled');
is(sql("SELECT count(*) > 2 FROM dbops.job_runs WHERE job_id = $job"), 't', 'and the history stays');

# --- what a command says ----------------------------------------------------------------------------------------------
sub once { my ($name, $command, $options) = @_; $options = defined $options ? ", $options" : ''; sql("SELECT dbops.schedule('$name', '\@yearly', \$c\$$command\$c\$$options)"); sql("SELECT dbops.run_now('$name')"); return runs_until($name, 1); }
ok(once('rows', q{SELECT g AS number, NULL::text AS nothing, 'x' || g AS word FROM generate_series(1, 3) g}), 'rows');
is(last_run('rows', 'output'), "number\tnothing\tword\n1\t\\N\tx1\n2\t\\N\tx2\n3\t\\N\tx3\nSELECT 3", 'rows are kept');
ok(once('notices', q{DO $$BEGIN RAISE NOTICE 'hello %', 1 USING HINT = 'a hint'; RAISE WARNING 'careful'; END$$}), 'notices');
is(last_run('notices', 'notices'), "NOTICE: hello 1\nHINT: a hint\nWARNING: careful", 'notices are kept');
is(last_run('notices', 'output'), 'DO', 'and tags');
ok(once('much', q{SELECT repeat('ä', 1000) FROM generate_series(1, 1000)}, 'max_output => 5000'), 'much output');
is(last_run('much', "length(output) < 6000 AND output LIKE '%[cut]'"), 't', 'is cut');
ok(once('none', q{SELECT 1}, 'max_output => 0'), 'no output');
is(last_run('none', 'output IS NULL'), 't', 'is kept when that is wished');
ok(once('fails', q{INSERT INTO log (what) VALUES ('never'); SELECT 1/0}), 'an error');
is(last_run('fails', 'outcome, sqlstate, message'), 'failed|22012|division by zero', 'is kept');
is(sql("SELECT last_result, last_error, state, failures FROM dbops.schedules WHERE name = 'fails'"), 'failed|division by zero|queued|1', 'and shown; the schedule goes on');
is(sql("SELECT count(*) FROM log WHERE what = 'never'"), 0, 'several statements are one transaction');

# --- commands that cannot be in a transaction ---------------------------------------------------------------------------
sql(q{CREATE TABLE t (id int, n int); INSERT INTO t SELECT g, g FROM generate_series(1, 1000) g});
ok(once('vacuum', 'VACUUM t'), 'VACUUM');
is(last_run('vacuum', 'outcome, output'), 'finished|VACUUM', 'VACUUM works');
ok(once('index', 'CREATE INDEX CONCURRENTLY t_n ON t (n)'), 'CREATE INDEX CONCURRENTLY');
is(sql("SELECT indisvalid FROM pg_index WHERE indexrelid = 't_n'::regclass"), 't', 'makes a valid index');
ok(once('several', "DELETE FROM t WHERE id > 900; VACUUM (ANALYZE) t; REINDEX INDEX CONCURRENTLY t_n; SELECT count(*) FROM t"), 'several, with VACUUM');
is(last_run('several', "outcome, coalesce(message, ''), rows_done"), 'finished||101', 'each by itself');
is(last_run('several', 'output'), "DELETE 100\nVACUUM\nREINDEX\ncount\n900\nSELECT 1", 'in order');
sql(q{CREATE PROCEDURE p() LANGUAGE plpgsql AS $$BEGIN FOR i IN 1..3 LOOP INSERT INTO log (what) VALUES ('p' || i); COMMIT; END LOOP; RAISE EXCEPTION 'at the end'; END$$});
ok(once('call', 'CALL p()'), 'CALL with COMMIT');
is(last_run('call', 'outcome, sqlstate, message'), 'failed|P0001|at the end', 'its error is kept');
is(sql("SELECT count(*) FROM log WHERE what LIKE 'p_'"), 3, 'and what it committed');
ok(once('explicit', "BEGIN; INSERT INTO log (what) VALUES ('e1'); COMMIT; BEGIN; INSERT INTO log (what) VALUES ('e2'); ROLLBACK"), 'transactions of its own');
is(sql("SELECT string_agg(what, ',') FROM log WHERE what LIKE 'e_'"), 'e1', 'are kept to');
ok(once('open', "BEGIN; INSERT INTO log (what) VALUES ('open')"), 'a transaction left open');
is(last_run('open', 'outcome, sqlstate'), 'failed|25001', 'is an error');
is(sql("SELECT count(*) FROM log WHERE what = 'open'"), 0, 'and rolled back');

# --- nothing is left behind for the next command --------------------------------------------------------------------------
ok(once('litter', q{SET search_path = nowhere; SET work_mem = '99MB'; CREATE TEMP TABLE junk (); PREPARE p AS SELECT 1; SELECT pg_advisory_lock(4711); SET ROLE ann}), 'litter');
is(last_run('litter', "outcome, coalesce(message, '')"), 'finished|', 'is made');
ok(once('clean', q{SELECT current_user = session_user, current_setting('search_path'), current_setting('work_mem'), to_regclass('junk') IS NULL, (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_locks WHERE objid = 4711)}), 'and cleaned away');
is(last_run('clean', 'output'), qq{?column?\tcurrent_setting\tcurrent_setting\t?column?\tcount\tcount\nt\t"\$user", public\t4MB\tt\t0\t0\nSELECT 1}, 'wholly');

# --- settings -------------------------------------------------------------------------------------------------------------
ok(once('settings', q{SELECT current_setting('work_mem'), current_setting('statement_timeout'), current_setting('search_path')}, q{settings => '{"work_mem": "7MB", "statement_timeout": 60000, "search_path": "pg_catalog"}'}), 'settings');
is(last_run('settings', "split_part(output, E'\\n', 2)"), "7MB\t1min\tpg_catalog", 'hold for the command');
ok(once('timeout', 'SELECT pg_sleep(60)', q{settings => '{"statement_timeout": "200ms"}'}), 'statement_timeout');
is(last_run('timeout', 'outcome, sqlstate, message'), 'failed|57014|canceling statement due to statement timeout', 'ends it');
sql("ALTER ROLE ben SET statement_timeout = '300ms'");
Dbops::value_as($node, 'ben', q{SELECT dbops.schedule('ben', '@yearly', 'SELECT pg_sleep(60)'); SELECT dbops.run_now('ben')});
ok(runs_until('ben', 1), "the role's own setting");
is(last_run('ben', 'outcome, sqlstate'), 'failed|57014', 'holds as well');
ok(once('limit', 'SELECT 1; SELECT pg_sleep(60)', q{time_limit => '500 ms'}), 'time limit');
is(last_run('limit', 'outcome, sqlstate, message'), 'failed|57014|the time limit of 0.5 s was reached', 'ends it');

# --- steering ---------------------------------------------------------------------------------------------------------------
sub start_long { my ($name, $options) = @_; $options = defined $options ? ", $options" : ''; my $id = sql("SELECT dbops.schedule('$name', '\@yearly', 'SELECT pg_sleep(600)'$options)"); sql("SELECT dbops.run_now('$name')"); ok(Dbops::wait_for($node, "SELECT state FROM dbops.schedules WHERE name = '$name'", 'running'), "$name runs"); return $id; }
$job = start_long('long');
sql("SELECT dbops.pause($job)");
ok(Dbops::wait_for($node, "SELECT state, last_result FROM dbops.schedules WHERE name = 'long'", 'paused|stopped', 10), 'pause ends its run');
is(last_run('long', 'message'), 'cancelled: the schedule is paused', 'and says so');
like(Dbops::refusal($node, "SELECT dbops.run_now('long')"), qr/^55000:/, 'paused, it is not run');
sql("SELECT dbops.resume($job); SELECT dbops.run_now('long')");
ok(Dbops::wait_for($node, "SELECT state FROM dbops.schedules WHERE name = 'long'", 'running'), 'resumed, it is');
sql("SELECT dbops.unschedule('long')");
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)' AND state = 'active' AND backend_type = 'dbops worker'", 0, 10), 'unscheduling ends its run');
ok(Dbops::wait_for($node, "SELECT outcome, message FROM dbops.job_runs WHERE job_id = $job ORDER BY run_id DESC LIMIT 1", 'stopped|cancelled: the schedule was removed', 10), 'and says so');
$job = start_long('victim', 'retries => 1');
sql("SELECT pg_cancel_backend(pid) FROM dbops.job_runs WHERE job_id = $job AND outcome = 'running'");
ok(runs_until('victim', 1), 'pg_cancel_backend');
is(last_run('victim', 'outcome, message'), 'stopped|cancelled by a user', 'stops the run alone');
is(sql("SELECT state FROM dbops.schedules WHERE name = 'victim'"), 'queued', 'not the schedule');
like(Dbops::refusal($node, "CALL dbops.run($job)"), qr/^55000: job \d+ is a schedule/, 'CALL dbops.run is not for schedules');

# A command that gives back all locks, its run's among them, can be stopped all the same.
$job = sql(q{SELECT dbops.schedule('discards', '@yearly', 'DISCARD ALL; SELECT pg_sleep(600)')});
sql("SELECT dbops.run_now('discards')");
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND backend_type = 'dbops worker'", 1), 'a command that has discarded all');
sql("SELECT dbops.pause($job)");
ok(Dbops::wait_for($node, "SELECT state, last_result FROM dbops.schedules WHERE name = 'discards'", 'paused|stopped'), 'is stopped by a pause');
# Who says that the time was over, without a timer: it is not believed.
ok(once('liar', q{DO $$BEGIN RAISE EXCEPTION USING ERRCODE = '57014', MESSAGE = 'canceling statement due to statement timeout'; END$$}, q{settings => '{"statement_timeout": "1h"}'}), 'the message alone');
is(last_run('liar', 'outcome'), 'stopped', 'does not make it a statement_timeout');

# A command that has caught its timeout, and goes on, is stopped by a pause as any other one: no failure.
$job = sql(q{SELECT dbops.schedule('catches', '@yearly', $c$DO $$BEGIN
	BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN PERFORM pg_advisory_xact_lock(4712); END;
	PERFORM pg_sleep(600); END$$$c$, settings => '{"statement_timeout": "100ms"}', retries => 1)});
sql("SELECT dbops.run_now('catches')");
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4712", 1), 'a command that has caught its timeout');
sql("SELECT dbops.pause($job)");
ok(Dbops::wait_for($node, "SELECT state, last_result, failures FROM dbops.schedules WHERE job_id = $job", 'paused|stopped|0'), 'is stopped by a pause, which is no failure');

# --- a worker that is killed ------------------------------------------------------------------------------------------------
$job = start_long('lost');
sql("SELECT pg_terminate_backend(pid) FROM dbops.job_runs WHERE job_id = $job AND outcome = 'running'");
ok(runs_until('lost', 1), 'a worker that is lost');
is(last_run('lost', 'outcome, sqlstate'), 'lost|57P02', 'is found');
is(sql("SELECT state, failures FROM dbops.schedules WHERE name = 'lost'"), 'queued|1', 'and counts as a failure');

# --- retries ----------------------------------------------------------------------------------------------------------------
sql(q{CREATE SEQUENCE tries; CREATE FUNCTION third_time() RETURNS void LANGUAGE plpgsql AS $$BEGIN IF nextval('tries') < 3 THEN RAISE 'not yet'; END IF; END$$});
sql(q{SELECT dbops.schedule('tries', '@yearly', 'SELECT third_time()', retries => 5, retry_delay => '100 ms'); SELECT dbops.run_now('tries')});
ok(runs_until('tries', 3), 'retries');
is(sql("SELECT string_agg(attempt || outcome, ' ' ORDER BY run_id), count(DISTINCT scheduled_at) FROM dbops.job_runs JOIN dbops.schedules USING (job_id) WHERE name = 'tries'"), '1failed 2failed 3finished|1', 'until it succeeds');
is(sql("SELECT failures, retries_made FROM dbops.schedules WHERE name = 'tries'"), '2|0', 'and are counted');
sql(q{SELECT dbops.schedule('hopeless', '@yearly', 'SELECT 1/0', retries => 2, retry_delay => '50 ms'); SELECT dbops.run_now('hopeless')});
ok(runs_until('hopeless', 3), 'as many as that');
sleep 1;
is(sql("SELECT runs, last_result, next_run > now() + interval '1 hour' OR next_run < now() + interval '400 days' FROM dbops.schedules WHERE name = 'hopeless'"), '3|failed|t', 'and no more');

# --- overlap ----------------------------------------------------------------------------------------------------------------
my %takes = (skip => 3.3, queue => 3.3, cancel => 600);
sql(qq{SELECT dbops.schedule('over $_', 'every second', 'INSERT INTO log (what) VALUES (''begin $_''); SELECT pg_sleep($takes{$_}); INSERT INTO log (what) VALUES (''end $_'')', overlap => '$_')}) for qw(skip queue cancel);
ok(Dbops::wait_for($node, "SELECT runs >= 2 FROM dbops.schedules WHERE name = 'over skip'", 't') && runs_until('over queue', 2) && runs_until('over cancel', 3), 'overlaps');
is(sql("SELECT skipped_runs >= 6 FROM dbops.schedules WHERE name = 'over skip'"), 't', 'skip: slots during the run are left out');
is(sql("SELECT bool_and(coalesce(started_at >= before, true)) FROM (SELECT started_at, lag(finished_at) OVER (PARTITION BY job_id ORDER BY run_id) AS before FROM dbops.job_runs JOIN dbops.schedules s USING (job_id) WHERE s.name LIKE 'over %') g"), 't', 'no two runs of one schedule at the same time');
ok(Dbops::wait_for($node, "SELECT coalesce(bool_or(during), false) FROM (SELECT scheduled_at < lag(finished_at) OVER (ORDER BY run_id) AS during FROM dbops.job_runs JOIN dbops.schedules s USING (job_id) WHERE s.name = 'over queue') g", 't'), 'queue: the next one is of a time during the run, and waits for no other');
is(sql("SELECT coalesce(bool_or(during), false) FROM (SELECT scheduled_at < lag(finished_at) OVER (ORDER BY run_id) AND scheduled_at > lag(started_at) OVER (ORDER BY run_id) AS during FROM dbops.job_runs JOIN dbops.schedules s USING (job_id) WHERE s.name = 'over skip') g"), 'f', '... which skip does not');
is(sql("SELECT count(*) FROM dbops.job_runs JOIN dbops.schedules s USING (job_id) WHERE s.name = 'over cancel' AND outcome = 'finished'"), 0, 'cancel: none comes to its end');
is(sql("SELECT count(*) FROM dbops.job_runs JOIN dbops.schedules s USING (job_id) WHERE s.name = 'over cancel' AND message = 'cancelled: the next run is due'") >= 3 ? 1 : 0, 1, 'and the history says why');
sql("SELECT dbops.unschedule('over $_')") for qw(skip queue cancel);

# --- chains -----------------------------------------------------------------------------------------------------------------
sql(q{SELECT dbops.schedule('first', '@yearly', $$INSERT INTO log (what) VALUES ('first')$$);
	SELECT dbops.schedule('second', NULL, $$INSERT INTO log (what) VALUES ('second')$$, after => 'first');
	SELECT dbops.schedule('third', NULL, $$INSERT INTO log (what) VALUES ('third')$$, after => 'second');
	SELECT dbops.run_now('first')});
ok(runs_until('third', 1), 'a chain');
is(sql("SELECT string_agg(what, ',' ORDER BY at) FROM log WHERE what IN ('first', 'second', 'third')"), 'first,second,third', 'runs in order');
sql(q{SELECT dbops.schedule('bad', '@yearly', 'SELECT 1/0'); SELECT dbops.schedule('after bad', NULL, 'SELECT 1', after => 'bad'); SELECT dbops.run_now('bad')});
ok(runs_until('bad', 1), 'one that fails');
sleep 0.5;
is(sql("SELECT runs, next_run IS NULL FROM dbops.schedules WHERE name = 'after bad'"), '0|t', 'is followed by nothing');
like(Dbops::refusal($node, "SELECT dbops.unschedule('first')"), qr/^2BP01:.*'second'/, 'one that others follow stays');
like(Dbops::refusal($node, "SELECT dbops.alter_schedule('first', schedule => '', after => 'third')"), qr/^22023:.*runs after this one already/, 'no circles');

# --- once -------------------------------------------------------------------------------------------------------------------
$job = sql(q{SELECT dbops.schedule('once', 'at ' || to_char(now() + interval '2 seconds', 'YYYY-MM-DD HH24:MI:SSOF'), $$INSERT INTO log (what) VALUES ('once')$$)});
is(Dbops::wait_job($node, $job, 30), 'succeeded', 'at a time: its job succeeds');
is(sql("SELECT state, runs, next_run IS NULL FROM dbops.schedules WHERE name = 'once'"), 'succeeded|1|t', 'and the schedule is over');
isnt(sql(q{SELECT dbops.schedule('once', '@daily', 'SELECT 1')}), $job, 'its name is free again');

# --- jitter, windows --------------------------------------------------------------------------------------------------------
sql(q{SELECT dbops.schedule('jitter', 'every 2 seconds', 'SELECT 1', jitter => '1 second')});
ok(runs_until('jitter', 2), 'jitter');
is(sql("SELECT bool_and(started_at - scheduled_at < interval '10 s'), count(DISTINCT scheduled_at) >= 2, bool_and(started_at >= scheduled_at) FROM dbops.job_runs JOIN dbops.schedules USING (job_id) WHERE name = 'jitter'"), 't|t|t', 'comes after its slot');
sql(q{SELECT dbops.unschedule('jitter')});
sql(q{SELECT dbops.schedule('window', 'every second', 'SELECT 1', timezone => 'UTC', windows => to_char(now() AT TIME ZONE 'UTC' + interval '3 hours', 'HH24:MI') || '-' || to_char(now() AT TIME ZONE 'UTC' + interval '4 hours', 'HH24:MI'))});
ok(Dbops::wait_for($node, "SELECT next_run BETWEEN now() + interval '2 hours 58 minutes' AND now() + interval '3 hours' FROM dbops.schedules WHERE name = 'window'", 't'), 'outside of its window it waits for that to open');
is(sql("SELECT runs FROM dbops.schedules WHERE name = 'window'"), 0, 'and does not run');

is(sql("SELECT count(*) FROM dbops.job_runs WHERE outcome = 'running' AND finished_at IS NOT NULL"), 0, 'no run is left over');
$node->stop;
my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile);
unlike($log, qr/PANIC|TRAP:|terminated by signal|WARNING: +(?:you don't own|leak)/, 'nothing untoward in the log');
done_testing();
