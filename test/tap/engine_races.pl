# What happens between two steps of the engine: each case keeps a worker at one moment (moments.c) until others have done what
# could go wrong just then.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC sleep);
use Dbops;

my $library = Dbops::fault_library('moments');
my $node = Dbops::node('races', start => 0);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbops,$library'\ndbops.max_workers = 2\nautovacuum = off\n");
$node->start;
Dbops::create_extension($node);
my $moments = $node->data_dir . '/moments';
mkdir $moments or die;

sub keep_at { my ($name, $worker) = @_; PostgreSQL::Test::Utils::append_to_file("$moments/$name", $worker // ''); return; }
sub let_go { my ($name) = @_; unlink "$moments/$name" or die; unlink "$moments/$name.here"; return; }
sub arrived
{
	my ($name) = @_;
	my $end = clock_gettime(CLOCK_MONOTONIC) + $PostgreSQL::Test::Utils::timeout_default;
	while (!-e "$moments/$name.here")
	{
		return 0 if clock_gettime(CLOCK_MONOTONIC) > $end;
		sleep 0.02;
	}
	return 1;
}
sub sql { my ($text) = @_; return $node->safe_psql('postgres', $text); }
sub workers_setting { my ($n) = @_; sql("ALTER SYSTEM SET dbops.max_workers = $n"); $node->reload; return Dbops::wait_for($node, 'SHOW dbops.max_workers', $n); }
sub shut { my ($shut) = @_; sql("UPDATE gate SET shut = $shut"); return; }
# A worker sleeps in a statement of the job: at the gate.
sub at_gate
{
	my ($job) = @_;
	return Dbops::wait_for($node, "SELECT count(*) > 0 FROM pg_stat_activity a JOIN dbops.job_runs r USING (pid)"
		  . " WHERE r.job_id = $job AND r.outcome = 'running' AND a.wait_event = 'PgSleep'", 't');
}
# Which one; between two looks at the gate it does not sleep.
sub of_gate
{
	my ($job) = @_;
	my $pid = '';
	$pid = sql("SELECT pid FROM pg_stat_activity a JOIN dbops.job_runs r USING (pid) WHERE r.job_id = $job AND r.outcome = 'running' AND a.wait_event = 'PgSleep'") until $pid ne '';
	return $pid;
}
sub kill_worker
{
	my ($pid) = @_;
	sql("SELECT pg_terminate_backend($pid)");
	return Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid", 0);
}
# Two rows of which the first waits at the gate, each a batch of its own.
sub two_rows
{
	my ($name) = @_;
	sql("CREATE TABLE $name (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO $name SELECT generate_series(1, 2);"
		  . "CREATE TRIGGER pass BEFORE UPDATE ON $name FOR EACH ROW WHEN (OLD.id = 1) EXECUTE FUNCTION pass()");
	return;
}
sub rows_of { my ($name) = @_; return sql("SELECT string_agg(id || ':' || n, ' ' ORDER BY id) FROM $name"); }
my $one_by_one = q{strategy => 'key', max_batch_rows => 1, nice_ratio => 0};

sql(q{CREATE TABLE gate (shut boolean); INSERT INTO gate VALUES (false);
	CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN WHILE (SELECT shut FROM gate) LOOP PERFORM pg_sleep(0.02); END LOOP; RETURN NEW; END$$});

# --- A unit is taken over as it is when its lock is had, not as it was before ------------------------------------------------
two_rows('taken');
shut('true');
keep_at('take_over');
my $job = Dbops::backfill($node, "'taken', 'n = n + 1', parallel => 2, $one_by_one");
ok(arrived('take_over'), 'a worker that is out of work sees what another one has');
ok(at_gate($job), 'which is at it');
my $pid = of_gate($job);
ok(workers_setting(1), 'no worker is sent in its place');
shut('false');
ok(Dbops::wait_for($node, "SELECT rows_done FROM dbops.jobs WHERE job_id = $job", 2), 'it goes on meanwhile');
ok(kill_worker($pid), 'and dies');
let_go('take_over');
is(Dbops::wait_job($node, $job), 'succeeded', 'the job succeeds');
is(rows_of('taken'), '1:1 2:1', 'what the dead worker had done is not done again');
ok(workers_setting(1), 'one worker');

# --- Who steers a job hits the worker at that job, not at the next one --------------------------------------------------------
for my $action (qw(pause cancel))
{
	two_rows("first_$action");
	two_rows("second_$action");
	shut('true');
	keep_at('begin');
	my ($first, $second) = split /\n/, sql("BEGIN; SELECT dbops.backfill('first_$action', 'n = n + 1', priority => 1, $one_by_one);"
		  . "SELECT dbops.backfill('second_$action', 'n = n + 1', $one_by_one); COMMIT");
	ok(arrived('begin'), "$action: a worker has the first of two jobs");
	my $worker = sql("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 219 AND classid = $first");
	my $steering = Dbops::start_sql($node, "BEGIN; SELECT dbops.$action($first); SELECT pg_advisory_xact_lock(7);"
		  . "DO \$\$BEGIN WHILE NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $worker AND wait_event = 'PgSleep') LOOP PERFORM pg_sleep(0.02), pg_stat_clear_snapshot(); END LOOP; END\$\$; COMMIT");
	ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7}, 1), "$action: somebody steers it");
	let_go('begin');
	is((Dbops::finish_sql($steering))[1], '', "$action: when he commits, the same worker is at the second");
	is(Dbops::job_state($node, $first), $action eq 'pause' ? 'paused' : 'cancelled', "$action: the first is what he wished");
	shut('false');
	is(Dbops::wait_job($node, $second, undef, states => [qw(succeeded failed cancelled paused)]), 'succeeded', "$action: the second goes on");
	is(sql("SELECT string_agg(outcome || ' ' || (pid = $worker), ', ') FROM dbops.job_runs WHERE job_id = $second"), 'finished true', "$action: in one run of that worker");
	is(rows_of("second_$action"), '1:1 2:1', "$action: each row once");
}

# --- A deadlock at the end of a run: the engine is the victim, and says its word again -----------------------------------------
# Both ways of it: the session has one row, and waits for the other, before the worker waits for the first.
sub deadlock
{
	my ($moment, $first, $second) = @_;
	ok(arrived($moment), "$moment: a worker before the second of two rows");
	my $session = Dbops::start_sql($node, "BEGIN; SET LOCAL deadlock_timeout = '1h'; $first; $second; COMMIT");
	ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND backend_type = 'client backend'}, 1),
		"$moment: a session has that one, and waits for the first");
	let_go($moment);
	is((Dbops::finish_sql($session))[1], '', "$moment: it is not the victim");
	return;
}
two_rows('entwined');
keep_at('end');
$job = Dbops::backfill($node, "'entwined', 'n = n + 1'");
deadlock('end', "UPDATE dbops.job_slice SET rate = rate WHERE job_id = $job", "UPDATE dbops.job SET label = 'mine' WHERE job_id = $job");
is(Dbops::wait_job($node, $job), 'succeeded', 'the job succeeds');
is(sql("SELECT string_agg(outcome, ' ') FROM dbops.job_runs WHERE job_id = $job"), 'finished', 'in one run');

my ($leader, $follower) = split /\n/, sql(q{SELECT dbops.schedule('leader', '@yearly', 'SELECT 1'); SELECT dbops.schedule('follower', NULL, 'SELECT 2', after => 'leader')});
keep_at('followers');
sql(q{SELECT dbops.run_now('leader')});
deadlock('followers', q{SELECT dbops.alter_schedule('follower', priority => 1)}, q{SELECT dbops.alter_schedule('leader', priority => 1)});
ok(Dbops::wait_for($node, q{SELECT last_result FROM dbops.schedules WHERE name = 'follower'}, 'finished'), 'the schedule that follows runs');
is(sql("SELECT string_agg(outcome, ' ') FROM dbops.job_runs WHERE job_id = $leader"), 'finished', 'and the one before it has succeeded, once');

# --- A cancel from outside, of a job that somebody had steered before this run ----------------------------------------------------
two_rows('steered');
shut('true');
$job = Dbops::backfill($node, "'steered', 'n = n + 1', $one_by_one");
ok(at_gate($job), 'a job runs');
sql("SELECT dbops.pause($job)");
ok(Dbops::wait_for($node, "SELECT count(*) FROM dbops.job_runs WHERE job_id = $job AND outcome = 'running'", 0), 'was paused');
sql("SELECT dbops.resume($job)");
ok(at_gate($job), 'and runs again');
sql('SELECT pg_cancel_backend(' . of_gate($job) . ')');
is(Dbops::wait_job($node, $job, undef, states => [qw(paused succeeded failed cancelled)]), 'paused', 'pg_cancel_backend pauses it, although it was not the first to do so');
shut('false');
sql("SELECT dbops.resume($job)");
is(Dbops::wait_job($node, $job), 'succeeded', 'it ends');

# --- A job that ends while a dispatcher looks: nobody is sent for it ------------------------------------------------------------
two_rows('over');
shut('true');
$job = sql("BEGIN; SELECT dbops.backfill('over', 'n = n + 1', $one_by_one); UPDATE dbops.job SET not_before = 'infinity' WHERE state = 'queued' AND kind = 'backfill'; COMMIT");
my $session = Dbops::start_sql($node, "CALL dbops.run($job)");
ok(at_gate($job), 'a job runs in a session');
keep_at('dispatch');
sql(q{SELECT dbops.schedule('look', '@yearly', 'SELECT 1')});
ok(arrived('dispatch'), 'a dispatcher sees it run');
shut('false');
is((Dbops::finish_sql($session))[1], '', 'and it ends');
let_go('dispatch');
ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'dbops dispatcher'}, 0), 'the dispatcher has looked');
is(sql("SELECT launches FROM dbops.job_slice WHERE job_id = $job"), 0, 'and has sent nobody');
is(rows_of('over'), '1:1 2:1', 'each row once');

# --- Cancelled and brought back while one of its workers is still about to stop ----------------------------------------------------
two_rows('back');
sql('CREATE TRIGGER pass_too BEFORE UPDATE ON back FOR EACH ROW EXECUTE FUNCTION pass()');
ok(workers_setting(2), 'two workers');
shut('true');
$job = Dbops::backfill($node, "'back', 'n = n + 1', parallel => 2, $one_by_one");
my $at_it = "SELECT count(*) FROM pg_stat_activity a JOIN dbops.job_runs r USING (pid) WHERE r.job_id = $job AND r.outcome = 'running' AND a.wait_event = 'PgSleep'";
ok(Dbops::wait_for($node, $at_it, 2), 'are at a job');
keep_at('state', sql("SELECT pid FROM dbops.job_runs WHERE job_id = $job AND slice = 1"));
sql("SELECT dbops.cancel($job)");
ok(arrived('state'), 'one of them does not know yet why it was stopped');
ok(Dbops::wait_for($node, "SELECT count(*) FROM dbops.job_runs WHERE job_id = $job AND outcome = 'running'", 1), 'the other one has gone');
sql("SELECT dbops.retry($job)");
ok(Dbops::wait_for($node, $at_it, 1), 'and come back');
let_go('state');
ok(Dbops::wait_for($node, $at_it, 2), 'so does the first');
shut('false');
is(Dbops::wait_job($node, $job, undef, states => [qw(paused succeeded failed cancelled)]), 'succeeded', 'the job goes on to its end');
is(rows_of('back'), '1:1 2:1', 'each row once');

# --- A worker that leaves the rest to another one, which is given up before it has said so ---------------------------------------
two_rows('remaining');
shut('true');
keep_at('take_over');
$job = Dbops::backfill($node, "'remaining', 'n = n + 1', parallel => 2, $one_by_one");
ok(arrived('take_over') && at_gate($job), 'two workers, one of them at the last row');
$pid = of_gate($job);
keep_at('before_end');
let_go('take_over');
ok(arrived('before_end'), 'the other one is about to end');
ok(workers_setting(1), 'no worker is sent');
ok(kill_worker($pid), 'the one at the row dies');
sql("UPDATE dbops.job_slice SET launches = 5, not_before = NULL WHERE job_id = $job AND slice = (SELECT slice FROM dbops.job_runs WHERE job_id = $job AND pid = $pid)");
sql(q{SELECT dbops.backfill('entwined', 'n = n')});    # sends a dispatcher
ok(Dbops::wait_for($node, "SELECT count(*) FROM dbops.job_events WHERE job_id = $job AND action = 'slice'", 1), 'and its slice is given up');
shut('false');
let_go('before_end');
is(Dbops::wait_job($node, $job), 'succeeded', 'the job is not stuck');
is(rows_of('remaining'), '1:1 2:1', 'each row once');

# --- A session in CALL dbops.run that is interrupted, and has the slice still when others bring the job back -----------------------
two_rows('handed_over');
ok(workers_setting(0), 'no worker');
shut('true');
$job = Dbops::backfill($node, "'handed_over', 'n = n + 1', $one_by_one");
$session = Dbops::start_sql($node, "CALL dbops.run($job)");
ok(at_gate($job), 'a job runs in a session');
ok(workers_setting(2), 'two workers');
$pid = of_gate($job);
keep_at('before_end', $pid);
sql("SELECT pg_cancel_backend($pid)");
ok(arrived('before_end'), 'which is interrupted');
sql("SELECT dbops.pause($job)");
sql("SELECT dbops.resume($job)");
sql('CREATE TABLE beside (id int PRIMARY KEY, n int); INSERT INTO beside SELECT 1');
is(Dbops::wait_job($node, Dbops::backfill($node, q{'beside', 'n = 1'})), 'succeeded', 'it is paused and resumed; workers do other jobs');
ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('dbops dispatcher', 'dbops worker')}, 0), 'and nobody looks for this one any more');
is(Dbops::job_state($node, $job), 'queued', 'it is queued');
let_go('before_end');
like((Dbops::finish_sql($session))[1], qr/^57014: job $job was interrupted and is queued again/, 'the session leaves');
shut('false');
is(Dbops::wait_job($node, $job), 'succeeded', 'and a worker has been told');
is(sql("SELECT string_agg(mode || ' ' || outcome, ', ' ORDER BY run_id) FROM dbops.job_runs WHERE job_id = $job"), 'session stopped, worker finished', 'which has done it');
is(rows_of('handed_over'), '1:1 2:1', 'each row once');

# --- A look that takes long: the command that it has seen has come and gone, and is not asked a slot for again -----------------------------
sql(q{CREATE TABLE many (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO many SELECT generate_series(1, 40000);
	CREATE TRIGGER pass BEFORE UPDATE ON many FOR EACH ROW EXECUTE FUNCTION pass()});
my $no_dispatcher = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'dbops dispatcher'};
ok(workers_setting(2), 'two workers');
shut('true');
my $many = Dbops::backfill($node, "'many', 'n = n + 1', parallel => 2, $one_by_one");
my $both = "SELECT count(*) FROM dbops.job_runs WHERE job_id = $many AND outcome = 'running'";
ok(Dbops::wait_for($node, $both, 2), 'both at a job');
sql(q{SELECT dbops.schedule('short', '@yearly', 'SELECT 1'); SELECT dbops.run_now('short')});
ok(Dbops::wait_for($node, $no_dispatcher, 0), 'a command asks for one of their slots');
keep_at('looked_for_commands');
sql(q{SELECT dbops.schedule('later', '@yearly', 'SELECT 1')});    # sends a dispatcher
ok(arrived('looked_for_commands'), 'another look has seen it as well');
shut('false');
ok(Dbops::wait_for($node, q{SELECT runs FROM dbops.schedules WHERE name = 'short'}, 1), 'the command runs');
ok(Dbops::wait_for($node, $both, 2), 'and the job has both workers again');
my $stopped = "SELECT count(*) FROM dbops.job_runs WHERE job_id = $many AND outcome = 'stopped'";
is(sql($stopped), 1, 'of which one had left its slot');
# At the end of its batch a worker would leave, before the next look finds that nothing is due.
let_go('looked_for_commands');
ok(Dbops::wait_for($node, $no_dispatcher, 0), 'then that look comes to its end');
is(sql("$both AND (SELECT state = 'running' FROM dbops.jobs WHERE job_id = $many)"), 2, 'while both work');
is(sql($stopped), 1, 'and nobody has left his slot once more');
sql("SELECT dbops.cancel($many)");
is(Dbops::wait_job($node, $many), 'cancelled', 'the job is of no use any more');
sql(q{SELECT dbops.unschedule(name) FROM dbops.schedules WHERE name IN ('short', 'later')});

# --- Two looks at once: what one has found waiting, the other does not take back -----------------------------------------------------
sql('CREATE DATABASE elsewhere');
Dbops::create_extension($node, 'elsewhere');
ok(workers_setting(2), 'two workers');
Dbops::value($node, q{SELECT dbops.schedule('long', '@yearly', 'SELECT pg_sleep(3600)'); SELECT dbops.run_now('long')}, 'elsewhere');
ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'elsewhere' AND wait_event = 'PgSleep'}, 1), 'one is at a command in another database');
two_rows($_) for qw(at_hand next_one third_one);
sql(q{CREATE TABLE second_gate (shut boolean); INSERT INTO second_gate VALUES (true);
	CREATE FUNCTION pass_second() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN WHILE (SELECT shut FROM second_gate) LOOP PERFORM pg_sleep(0.02); END LOOP; RETURN NEW; END$$;
	DROP TRIGGER pass ON next_one; DROP TRIGGER pass ON third_one;
	CREATE TRIGGER pass BEFORE UPDATE ON next_one FOR EACH ROW EXECUTE FUNCTION pass_second()});
shut('true');
my $at_hand = Dbops::backfill($node, "'at_hand', 'n = n + 1', $one_by_one");
ok(at_gate($at_hand), 'one at a job');
keep_at('looked', of_gate($at_hand));
my $next = Dbops::backfill($node, "'next_one', 'n = n + 1', $one_by_one");
shut('false');
ok(arrived('looked'), 'which ends; its worker has seen the next one');
keep_at('dispatch');
my $third = Dbops::backfill($node, "'third_one', 'n = n + 1', $one_by_one");
ok(arrived('dispatch'), 'a dispatcher looks after a third one, for which there is no worker');
let_go('dispatch');
ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'dbops dispatcher'}, 0), 'and says so');
let_go('looked');
ok(at_gate($next), 'the worker does the next one');
sql(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = 'elsewhere' AND wait_event = 'PgSleep'});
is(Dbops::wait_job($node, $third), 'succeeded', 'when a worker is free, the third one gets it');
is(Dbops::job_state($node, $next), 'running', 'beside the second');
sql('UPDATE second_gate SET shut = false');
is(Dbops::wait_job($node, $next), 'succeeded', 'which ends as well');

$node->stop;
done_testing();
