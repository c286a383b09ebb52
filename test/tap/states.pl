# The life of a job: its states and who changed them, steering in the middle of a long statement, running in a session,
# waiting, and what a rollback leaves.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(time sleep);
use Dbops;

my $node = Dbops::node('states', conf => "dbops.max_workers = 2\n");
my $me   = Dbops::default_role();

$node->safe_psql('postgres', q{
	CREATE ROLE ann LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE eve LOGIN; GRANT dbops_admin TO bob;
	GRANT CREATE ON SCHEMA public TO ann;
	CREATE TABLE pace (seconds float8);                 -- how long slowly() takes for a row
	INSERT INTO pace VALUES (0);
	CREATE FUNCTION slowly(v int) RETURNS int LANGUAGE plpgsql AS
	  $$BEGIN PERFORM pg_sleep(seconds) FROM pace; RETURN v; END$$;
	CREATE FUNCTION slow_trigger() RETURNS trigger LANGUAGE plpgsql AS
	  $$BEGIN PERFORM pg_sleep(seconds) FROM pace; RETURN NEW; END$$;
	GRANT SELECT ON pace TO ann;
});

# A table of rows (id, n = 0), owned by that role.
sub table
{
	my ($name, $rows, $owner) = @_;
	$node->safe_psql('postgres', "CREATE TABLE $name (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);"
		  . " INSERT INTO $name (id) SELECT generate_series(1, $rows);" . ($owner ? " ALTER TABLE $name OWNER TO $owner" : ''));
	return;
}
sub pace { my ($seconds) = @_; $node->safe_psql('postgres', "UPDATE pace SET seconds = $seconds"); return; }
# Each row was changed exactly once: every n is 1.
sub once { my ($name) = @_; return Dbops::value($node, "SELECT count(*) FILTER (WHERE n <> 1) || ' of ' || count(*) FROM $name"); }
sub changed { my ($name) = @_; return Dbops::value($node, "SELECT count(*) FROM $name WHERE n <> 0"); }
sub setting { my ($text) = @_; $node->safe_psql('postgres', "ALTER SYSTEM SET $text"); $node->reload; return; }

# A worker of the job is asleep in the middle of its statement.
sub in_statement
{
	my ($job) = @_;
	return Dbops::wait_for($node, "SELECT count(*) > 0 FROM pg_stat_activity a JOIN dbops.job_runs r USING (pid)"
		  . " WHERE r.job_id = $job AND r.outcome = 'running' AND a.wait_event = 'PgSleep'", 't');
}
sub no_worker
{
	my ($job) = @_;
	return Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_activity a JOIN dbops.job_runs r USING (pid)"
		  . " WHERE r.job_id = $job AND a.wait_event = 'PgSleep'", 0)
	  && Dbops::wait_for($node, "SELECT count(*) FROM dbops.job_runs WHERE job_id = $job AND outcome = 'running'", 0);
}

# --- success ---------------------------------------------------------------------------------------------------------
table('t1', 1000);
my $job = Dbops::backfill($node, q{'t1', 'n = n + 1'});
is(Dbops::wait_job($node, $job), 'succeeded', 'a job succeeds');
is(once('t1'), '0 of 1000', 'and has changed each row once');
is(Dbops::events($node, $job), "create>queued by $me, start>running by dbops, finish>succeeded by dbops", 'its history');
is(Dbops::value($node, "SELECT outcome, mode, rows_done, finished_at >= started_at FROM dbops.job_runs WHERE job_id = $job"),
	'finished|worker|1000|t', 'its run');
is(Dbops::value($node, "SELECT rows_done, rows_total > 0, kind, target, owner, created_at <= started_at, started_at <= finished_at, last_error IS NULL"
	  . " FROM dbops.jobs WHERE job_id = $job"), "1000|t|backfill|t1|$me|t|t|t", 'the row in dbops.jobs');
is(Dbops::value($node, "SELECT bool_and(at IS NOT NULL) FROM dbops.job_events WHERE job_id = $job"), 't', 'each change has its time');
for my $action (qw(pause resume cancel))
{
	like(Dbops::refusal($node, "SELECT dbops.$action($job)"), qr/^55000: cannot $action job $job: it is succeeded/, "no $action after the end");
}
like(Dbops::refusal($node, 'SELECT dbops.pause(999999)'), qr/^42704: job 999999 does not exist/, 'no such job');
like(Dbops::refusal($node, 'SELECT dbops.pause(NULL)'), qr/^22004:/, 'no job at all');

# --- steering inside a long statement ---------------------------------------------------------------------------------
sub steering
{
	my ($table, $assignment) = @_;
	pace(600);
	my $id = Dbops::backfill($node, qq{'$table', '$assignment'});
	ok(in_statement($id), "$table: the statement is under way");
	my $begin = time();
	is(Dbops::value($node, "SELECT dbops.pause($id, 'lunch')"), 'paused', "$table: paused");
	ok(no_worker($id), "$table: the statement was ended");
	my $took = time() - $begin;
	ok($took < 10, sprintf("%s: soon (%.1f s)", $table, $took));
	is(Dbops::job_state($node, $id), 'paused', "$table: and it is paused");
	is(changed($table), 0, "$table: its batch was rolled back");
	is(Dbops::value($node, "SELECT waiting_for, waiting_since IS NOT NULL FROM dbops.progress WHERE job_id = $id"),
		"SELECT dbops.resume($id)|t", "$table: progress says what it waits for");
	is(Dbops::value($node, "SELECT outcome FROM dbops.job_runs WHERE job_id = $id"), 'stopped', "$table: the run was stopped");
	is(Dbops::value($node, "SELECT dbops.pause($id)"), 'paused', "$table: pausing twice is the same");
	is(Dbops::value($node, "SELECT dbops.resume($id)"), 'queued', "$table: resumed");
	ok(in_statement($id), "$table: the statement is under way again");
	is(Dbops::value($node, "SELECT dbops.cancel($id, 'changed my mind')"), 'cancelled', "$table: cancelled");
	ok(no_worker($id), "$table: the statement was ended");
	is(Dbops::job_state($node, $id), 'cancelled', "$table: and it is cancelled");
	is(changed($table), 0, "$table: nothing was changed");
	like(Dbops::refusal($node, "CALL dbops.wait($id)"), qr/^57014: job $id was cancelled/, "$table: dbops.wait says so");
	pace(0);
	is(Dbops::value($node, "SELECT dbops.retry($id, 'after all')"), 'queued', "$table: brought back");
	is(Dbops::wait_job($node, $id), 'succeeded', "$table: done");
	is(once($table), '0 of 50', "$table: each row once");
	is(Dbops::events($node, $id), "create>queued by $me, start>running by dbops, pause>paused by $me, resume>queued by $me,"
		  . " start>running by dbops, cancel>cancelled by $me, retry>queued by $me, start>running by dbops, finish>succeeded by dbops",
		"$table: the history has it all");
	is(Dbops::value($node, "SELECT string_agg(reason, ',' ORDER BY event_id) FROM dbops.job_events WHERE job_id = $id AND actor <> 'dbops'"),
		'lunch,changed my mind,after all', "$table: and the reasons");
	return;
}
table('t2', 50);
steering('t2', 'n = slowly(n + 1)');
table('t3', 50);
$node->safe_psql('postgres', 'CREATE TRIGGER slow BEFORE UPDATE ON t3 FOR EACH ROW EXECUTE FUNCTION slow_trigger()');
steering('t3', 'n = n + 1');

# --- signals of others -------------------------------------------------------------------------------------------------
table('t4', 50);
pace(600);
$job = Dbops::backfill($node, q{'t4', 'n = slowly(n + 1)'});
ok(in_statement($job), 'a long statement');
$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) FROM dbops.job_runs WHERE job_id = $job AND outcome = 'running'");
is(Dbops::wait_job($node, $job, undef, states => ['paused']), 'paused', 'pg_cancel_backend on the worker pauses the job');
like(Dbops::value($node, "SELECT reason FROM dbops.job_events WHERE job_id = $job AND to_state = 'paused' AND actor = 'dbops'"),
	qr/cancel/, 'and the history says why');
pace(0);
$node->safe_psql('postgres', "SELECT dbops.resume($job)");
is(Dbops::wait_job($node, $job), 'succeeded', 'resumed, it ends');
is(once('t4'), '0 of 50', 'each row once');

table('t5', 1500);
pace(0.02);
$job = Dbops::backfill($node, q{'t5', 'n = slowly(n + 1)', max_batch_rows => 20, stripes => 1});
ok(Dbops::wait_for($node, "SELECT rows_done > 40 FROM dbops.jobs WHERE job_id = $job", 't'), 'some batches');
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM dbops.job_runs WHERE job_id = $job AND outcome = 'running'");
pace(0);
is(Dbops::wait_job($node, $job), 'succeeded', 'pg_terminate_backend: another worker goes on');
is(once('t5'), '0 of 1500', 'each row once');
is(Dbops::value($node, "SELECT string_agg(outcome, ',' ORDER BY run_id) FROM dbops.job_runs WHERE job_id = $job"), 'lost,finished', 'two runs, one lost');
is(Dbops::value($node, "SELECT sum(rows_done) FROM dbops.job_runs WHERE job_id = $job"), 1500, 'each row is counted in one of them');
is(Dbops::events($node, $job), "create>queued by $me, start>running by dbops, requeue>queued by dbops, start>running by dbops, finish>succeeded by dbops",
	'the history has the loss');

# --- NOTIFY ------------------------------------------------------------------------------------------------------------
table('t6', 10);
my $out = $node->safe_psql('postgres', "LISTEN dbops;\nSELECT dbops.backfill('t6', 'n = n + 1') AS job \\gset\nCALL dbops.wait(:job);\nSELECT 'job ' || :job;\n");
($job) = $out =~ /^job (\d+)$/m;
my @states = $out =~ /Asynchronous notification "dbops" with payload "\{[^}]*"job_id":$job,[^}]*"state":"(\w+)"\}/g;
like("@states", qr/^(queued )?running succeeded$/, 'NOTIFY dbops tells of the changes of state');

# Others are told as well, of every end; by the payload alone.
my $listener = $node->background_psql('postgres');
$listener->query_safe('LISTEN dbops');
my $heard = '';
sub hears
{
	my ($pattern) = @_;
	my $end = time() + $PostgreSQL::Test::Utils::timeout_default;
	for (; $heard !~ $pattern; sleep 0.05)
	{
		return 0 if time() > $end;
		$heard .= $listener->query('SELECT 1') . "\n";    # psql shows what has come with an answer
	}
	return 1;
}
table('t6b', 10);
pace(600);
$job = Dbops::backfill($node, q{'t6b', 'n = slowly(n + 1)'});
ok(in_statement($job), 'a job under way');
$node->safe_psql('postgres', "SELECT dbops.pause($job)");
ok(hears(qr/\{"from":"running","job_id":$job,"kind":"backfill","state":"paused"\}/), 'another session hears that it is paused') or diag $heard;
$node->safe_psql('postgres', "SELECT dbops.cancel($job)");
ok(hears(qr/\{"from":"paused","job_id":$job,"kind":"backfill","state":"cancelled"\}/), 'cancelled') or diag $heard;
pace(0);
$node->safe_psql('postgres', 'CREATE TABLE t6c (id int PRIMARY KEY, n int); INSERT INTO t6c VALUES (1, 0)');
$job = Dbops::backfill($node, q{'t6c', 'n = 1 / n'});
is(Dbops::wait_job($node, $job), 'failed', 'a job fails');
ok(hears(qr/\{"from":"running","job_id":$job,"kind":"backfill","state":"failed"\}/), 'and that one has failed') or diag $heard;
like($heard, qr/\{"job_id":$job,"kind":"backfill","state":"queued"\}/, 'and of its beginning');
$listener->quit;

# --- CALL dbops.run ------------------------------------------------------------------------------------------------------
setting('dbops.max_workers = 0');
ok(Dbops::wait_for($node, 'SHOW dbops.max_workers', 0), 'no worker from here on');
table("s$_", 100, 'ann') for 1 .. 3;
my @jobs = map { Dbops::value_as($node, 'ann', "SELECT dbops.backfill('s$_', 'n = n + 1')") } 1 .. 3;
like(Dbops::refusal($node, "CALL dbops.run($jobs[0])", role => 'eve'), qr/^42501: permission denied for job $jobs[0]/, 'CALL dbops.run: not for others');
like(Dbops::refusal($node, "CALL dbops.wait($jobs[0])", role => 'eve'), qr/^42501:/, 'nor dbops.wait');
for my $action (qw(pause resume cancel retry))
{
	like(Dbops::refusal($node, "SELECT dbops.$action($jobs[0])", role => 'eve'), qr/^42501:/, "nor dbops.$action");
}
is(Dbops::refusal($node, "CALL dbops.run($jobs[0])", role => 'ann'), '', 'by its owner');
like(Dbops::refusal($node, "CALL dbops.run($jobs[1])", role => 'bob'), qr/^42501: permission denied for job $jobs[1]: it runs as/, 'not by dbops_admin, who may steer it');
is(Dbops::refusal($node, "CALL dbops.run($_)"), '', 'by a superuser') for @jobs[1, 2];
for my $i (1 .. 3)
{
	is(Dbops::job_state($node, $jobs[$i - 1]) . ' ' . once("s$i"), 'succeeded 0 of 100', "job $i of 3 is done");
	is(Dbops::value($node, "SELECT mode, outcome, rows_done FROM dbops.job_runs WHERE job_id = $jobs[$i - 1]"), 'session|finished|100', 'in a session');
}
like(Dbops::refusal($node, "CALL dbops.run($jobs[0])"), qr/^55000: job $jobs[0] is succeeded, not queued/, 'not twice');
like(Dbops::refusal($node, 'CALL dbops.run(999999)'), qr/^42704:/, 'no such job');
like(Dbops::refusal($node, "BEGIN;\nCALL dbops.run(1);"), qr/^25001:/, 'not in a block');
like(Dbops::refusal($node, "BEGIN;\nCALL dbops.wait(1);"), qr/^25001:/, 'nor dbops.wait');
like(Dbops::refusal($node, 'DO $$BEGIN PERFORM 1; BEGIN CALL dbops.run(1); EXCEPTION WHEN division_by_zero THEN NULL; END; END$$'), qr/^25001:/, 'not in a subtransaction');

$node->safe_psql('postgres', "CREATE TABLE poison (id int PRIMARY KEY, n int); INSERT INTO poison VALUES (1, 0)");
$job = Dbops::backfill($node, q{'poison', 'n = 1 / n'});
like(Dbops::refusal($node, "CALL dbops.run($job)"), qr/^22012: job $job failed: division by zero/, q{CALL dbops.run raises the job's error});
like(Dbops::refusal($node, "CALL dbops.wait($job)"), qr/^22012: job $job failed: division by zero/, 'CALL dbops.wait as well');
is(Dbops::events($node, $job), "create>queued by $me, start>running by dbops, fail>failed by dbops", 'and it is recorded');

# It does not come back before the job is over, whatever becomes of a part of it.
table('slices', 200);
$job = Dbops::backfill($node, q{'slices', 'n = n + 1', parallel => 3});
is(Dbops::refusal($node, "CALL dbops.run($job)"), '', 'a job of three slices');
is(Dbops::job_state($node, $job) . ' ' . once('slices'), 'succeeded 0 of 200', 'all of them are done when CALL dbops.run is back');
table('timed', 3);
pace(0.7);
$job = Dbops::backfill($node, q{'timed', 'n = slowly(n + 1)'});
is(Dbops::refusal($node, "SET statement_timeout = '1s';\nCALL dbops.run($job);"), '', q{the session's statement_timeout does not end it});
is(Dbops::job_state($node, $job) . ' ' . once('timed'), 'succeeded 0 of 3', 'and each row is done once');
table('resumed', 50);
pace(600);
$job = Dbops::backfill($node, q{'resumed', 'n = slowly(n + 1)'});
my $runner = Dbops::start_sql($node, "CALL dbops.run($job)");
ok(in_statement($job), 'a session runs a long statement');
pace(0);
$node->safe_psql('postgres', "BEGIN; SELECT dbops.pause($job); SELECT dbops.resume($job); COMMIT");
is((Dbops::finish_sql($runner, 30))[1], '', 'paused and resumed at once, it goes on');
is(Dbops::job_state($node, $job) . ' ' . once('resumed'), 'succeeded 0 of 50', 'to the end');

# Steered from outside while a session runs it; and cancelled by that session itself.
table('t7', 50);
pace(600);
$job = Dbops::backfill($node, q{'t7', 'n = slowly(n + 1)'});
my $session = Dbops::start_sql($node, "CALL dbops.run($job)");
ok(in_statement($job), 'a session runs a long statement');
like(Dbops::refusal($node, "CALL dbops.run($job)"), qr/^55006: job $job is being worked on/, 'another session cannot run it at the same time');
$node->safe_psql('postgres', "SELECT dbops.pause($job)");
my (undef, $error) = Dbops::finish_sql($session, 30);
like($error, qr/^57014: job $job was paused/, 'dbops.pause ends that CALL');
is(Dbops::job_state($node, $job), 'paused', 'and the job is paused');
$node->safe_psql('postgres', "SELECT dbops.resume($job)");
$session = Dbops::start_sql($node, "CALL dbops.run($job)");
ok(in_statement($job), 'again');
$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) FROM dbops.job_runs WHERE job_id = $job AND outcome = 'running'");
(undef, $error) = Dbops::finish_sql($session, 30);
like($error, qr/^57014: job $job was paused/, 'a cancel of the session itself is an error that says what became of the job');
is(Dbops::job_state($node, $job), 'paused', 'and the job is paused');
$node->safe_psql('postgres', "SELECT dbops.resume($job)");
$session = Dbops::start_sql($node, "CALL dbops.run($job)");
ok(in_statement($job), 'again');
$node->safe_psql('postgres', "SELECT dbops.cancel($job)");
(undef, $error) = Dbops::finish_sql($session, 30);
like($error, qr/^57014: job $job was cancelled/, 'dbops.cancel as well');
is(changed('t7'), 0, 'nothing was changed');
# The session is killed.
$node->safe_psql('postgres', "SELECT dbops.retry($job)");
$session = Dbops::start_sql($node, "CALL dbops.run($job)");
ok(in_statement($job), 'again');
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM dbops.job_runs WHERE job_id = $job AND outcome = 'running'");
Dbops::finish_sql($session, 30);
is(Dbops::wait_job($node, $job, undef, states => ['queued']), 'queued', 'a job whose session died is queued again');
pace(0);
setting('dbops.max_workers = 2');
is(Dbops::wait_job($node, $job), 'succeeded', 'and a worker does it');
is(once('t7'), '0 of 50', 'each row once');

# --- CALL dbops.wait -----------------------------------------------------------------------------------------------------
table('t8', 50);
pace(600);
$job = Dbops::backfill($node, q{'t8', 'n = slowly(n + 1)'});
ok(in_statement($job), 'a long job');
like(Dbops::refusal($node, "CALL dbops.wait($job, '300 ms')"), qr/^57014: job $job has not finished in time/, 'dbops.wait gives up in time');
like(Dbops::refusal($node, "CALL dbops.wait($job, '0')"), qr/^57014:/, 'or at once');
$session = Dbops::start_sql($node, "CALL dbops.wait($job, '300 years')");
my $waiting = "FROM pg_stat_activity WHERE query LIKE 'CALL dbops.wait%' AND wait_event_type = 'Extension'";
ok(Dbops::wait_for($node, "SELECT count(*) $waiting", 1), 'a session waits');
my $samples = 0;
my $held    = 0;
my $before  = 0;
for (1 .. 40)
{
	my ($n, $xmin) = split /\|/, Dbops::value($node, "SELECT count(*), count(coalesce(backend_xmin::text, backend_xid::text)) $waiting");
	$samples += $n;
	# Where it waits and what it holds are not read at one moment: what it holds all the time is met again.
	$held += $xmin > 0 && $before;
	$before = $xmin > 0;
}
ok($samples > 0 && $held == 0, "it holds no snapshot and no transaction id while it waits ($samples samples, $held held)");
pace(0);
$node->safe_psql('postgres', "SELECT dbops.pause($job)");
$node->safe_psql('postgres', "SELECT dbops.resume($job)");
(undef, $error) = Dbops::finish_sql($session);
is($error, '', 'and returns when the job has succeeded');
is(Dbops::job_state($node, $job), 'succeeded', 'which it has');

# --- transactions ------------------------------------------------------------------------------------------------------
my $launcher = Dbops::launcher($node);
sub wakeups { open my $f, '<', "/proc/$launcher/status" or die; return (grep { /^voluntary_ctxt_switches/ } <$f>)[0] =~ /(\d+)/ ? $1 : die; }
table('t9', 10);
my $jobs_before = Dbops::value($node, 'SELECT count(*) FROM dbops.jobs');
my $woken;
# Once in a while it wakes by itself: not each time.
for (1 .. 3)
{
	ok(Dbops::at_rest($node), 'the launcher has nothing to do');
	$woken = wakeups();
	$node->safe_psql('postgres', "BEGIN; SELECT dbops.backfill('t9', 'n = n + 1'); ROLLBACK");
	$node->safe_psql('postgres', "BEGIN; SAVEPOINT s; SELECT dbops.backfill('t9', 'n = n + 1'); ROLLBACK TO s; COMMIT");
	$node->psql('postgres', "SELECT dbops.backfill('t9', 'n = n + 1'), 1 / 0");
	last if wakeups() == $woken;
}
is(Dbops::value($node, 'SELECT count(*) FROM dbops.jobs'), $jobs_before, 'a rolled back dbops.backfill leaves no job');
is(wakeups(), $woken, 'and wakes nobody');
is(changed('t9'), 0, 'and does nothing');
like(Dbops::refusal($node, "BEGIN;\nSELECT dbops.backfill('t9', 'n = n + 1');\nPREPARE TRANSACTION 'p';"), qr/^0A000: .*PREPARE/, 'no PREPARE TRANSACTION');
is(Dbops::value($node, 'SELECT count(*) FROM dbops.jobs'), $jobs_before, 'which leaves no job either');
is(Dbops::value($node, 'SELECT count(*) FROM pg_prepared_xacts'), 0, 'nor a prepared transaction');
pace(600);
$job = Dbops::backfill($node, q{'t9', 'n = slowly(n + 1)'});
ok(in_statement($job), 'a long job');
my ($pid) = Dbops::workers($node, $job);
$node->safe_psql('postgres', "BEGIN; SELECT dbops.cancel($job); ROLLBACK");
$node->safe_psql('postgres', "BEGIN; SAVEPOINT s; SELECT dbops.cancel($job); ROLLBACK TO s; COMMIT");
like(Dbops::refusal($node, "BEGIN;\nSELECT dbops.pause($job);\nPREPARE TRANSACTION 'p';"), qr/^0A000: .*PREPARE/, 'no PREPARE TRANSACTION of a pause');
is(join(',', Dbops::workers($node, $job)) . ' ' . Dbops::job_state($node, $job), "$pid running", 'a rolled back cancel or pause does nothing');
$node->safe_psql('postgres', "SELECT dbops.cancel($job)");
ok(no_worker($job), 'one that commits does');
pace(0);

# --- queued jobs, priority ---------------------------------------------------------------------------------------------
setting('dbops.max_workers = 0');
ok(Dbops::wait_for($node, 'SHOW dbops.max_workers', 0), 'no worker');
table("q$_", 10) for 1 .. 5;
my @priority = (0, 5, 10, 5, -3);
@jobs = map { Dbops::backfill($node, "'q" . ($_ + 1) . "', 'n = n + 1', priority => $priority[$_]") } 0 .. 4;
is(Dbops::value($node, "SELECT waiting_for FROM dbops.progress WHERE job_id = $jobs[0]"), 'a free worker', 'a queued job says what it waits for');
$node->safe_psql('postgres', "SELECT dbops.pause($jobs[4])");
is(Dbops::job_state($node, $jobs[4]), 'paused', 'a queued job can be paused');
setting('dbops.max_workers = 1');
is(Dbops::wait_job($node, $jobs[0]), 'succeeded', 'one worker does them');
is(Dbops::value($node, "SELECT string_agg(job_id::text, ',' ORDER BY started_at) FROM dbops.jobs WHERE job_id >= $jobs[0] AND state = 'succeeded'"),
	join(',', @jobs[ 2, 1, 3, 0 ]), 'by priority, then by age');
is(Dbops::value($node, "SELECT state, started_at IS NULL FROM dbops.jobs WHERE job_id = $jobs[4]"), 'paused|t', 'and leaves alone what is paused');
is(Dbops::value($node, "SELECT dbops.cancel($jobs[4])"), 'cancelled', 'a paused job can be cancelled');
setting('dbops.max_workers = 2');

# --- history -----------------------------------------------------------------------------------------------------------
sub old { my ($id) = @_; $node->safe_psql('postgres', "UPDATE dbops.job SET finished_at = finished_at - interval '31 days' WHERE job_id = $id"); return; }
sub some_job { my $id = Dbops::backfill($node, q{'t1', 'n = n + 1'}); is(Dbops::wait_job($node, $id), 'succeeded', 'some job'); return $id; }
my ($first, $second) = @jobs[ 0, 1 ];
setting('dbops.history_retention = -1');
ok(Dbops::wait_for($node, 'SHOW dbops.history_retention', -1), 'history is kept for ever');
old($first);
some_job();
is(Dbops::value($node, "SELECT count(*) FROM dbops.jobs WHERE job_id IN ($first, $second)"), 2, 'and so it is');
setting('dbops.history_retention = 30');
ok(Dbops::wait_for($node, 'SHOW dbops.history_retention', 30), 'for 30 days');
some_job();
ok(Dbops::wait_for($node, "SELECT count(*) FROM dbops.job WHERE job_id = $first", 0, 30), 'older jobs go');
is(Dbops::value($node, "SELECT (SELECT count(*) FROM dbops.job_run WHERE job_id = $first) + (SELECT count(*) FROM dbops.job_event WHERE job_id = $first)"
	  . " + (SELECT count(*) FROM dbops.job_slice WHERE job_id = $first) + (SELECT count(*) FROM dbops.job_cursor WHERE job_id = $first)"), 0, 'with all that belongs to them');
is(Dbops::value($node, "SELECT count(*) FROM dbops.job WHERE job_id = $second"), 1, 'younger ones stay');

$node->stop;
ok(!$node->log_contains(qr/PANIC|FATAL:  (?!terminating (?:background worker|connection))|TRAP|server process .* was terminated/), 'a clean server log');
done_testing();
