# The command line against a real server: jobs, errors, pause, resume, cancel, retry and watch, what they say and their exit
# status; watch also on a terminal.
use strict;
use warnings;
use IPC::Run ();
use JSON::PP ();
use Test::More;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC sleep);
use Dbops;

eval { require IO::Pty } or plan skip_all => 'needs IO::Pty';

my $node = Dbops::node('cli', conf => "dbops.max_workers = 2\n");
my $me   = Dbops::default_role();
sub sql { my ($text) = @_; return $node->safe_psql('postgres', $text); }

# Runs it to its end: status, standard output, standard error.
sub dbops_in
{
	my ($database, @words) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ $ENV{DBOPS_CLI}, @words, '-d', $node->connstr($database) ], '<', \undef, '>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}
sub dbops { my (@words) = @_; return dbops_in('postgres', @words); }
# One that has to end with this status, and to say that.
sub says
{
	my ($what, $status, $out_pattern, $err_pattern, @words) = @_;
	my ($got, $out, $err) = dbops(@words);
	is($got, $status, "$what: exit status $status");
	like($out, $out_pattern, "$what: its output");
	like($err, $err_pattern, "$what: its messages");
	return $out;
}
my $nothing = qr/\A\z/;

sql(q{
	CREATE ROLE eve LOGIN;
	CREATE TABLE gate (shut boolean); INSERT INTO gate VALUES (false);
	CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$
	  BEGIN WHILE (SELECT shut FROM gate) LOOP PERFORM pg_sleep(0.02); END LOOP; RETURN NEW; END$$;
});
sub shut { my ($shut) = @_; sql("UPDATE gate SET shut = $shut"); return; }
# A table of rows, of which the one in the middle waits at the gate.
sub table
{
	my ($name, $rows) = @_;
	my $middle = int($rows / 2) + 1;
	sql("CREATE TABLE $name (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO $name SELECT generate_series(1, $rows); ANALYZE $name;"
		  . "CREATE TRIGGER pass BEFORE UPDATE ON $name FOR EACH ROW WHEN (OLD.id = $middle) EXECUTE FUNCTION pass()");
	return;
}
my $by_key = q{strategy => 'key', max_batch_rows => 1, nice_ratio => 0};
# A job at the gate, which has done half of its rows.
sub job_at_gate
{
	my ($name) = @_;
	shut('true');
	table($name, 4);
	my $job = Dbops::backfill($node, "'$name', 'n = n + 1', $by_key");
	ok(at_gate($job), "$name: the job has done half");
	return $job;
}
sub at_gate
{
	my ($job) = @_;
	return Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_activity a JOIN dbops.job_runs r USING (pid) WHERE r.job_id = $job"
		  . " AND r.outcome = 'running' AND a.wait_event = 'PgSleep'", 1);
}

# --- what is refused -----------------------------------------------------------------------------------------------------
# As a restore_command it must not look like "there is no such file".
says('a command that there is not', 200, $nothing, qr/./, 'nonsense');
says('pause of nothing', 2, $nothing, qr/JOB/, 'pause');
says('pause of what is no number', 2, $nothing, qr/twelve/, 'pause', 'twelve');
says('jobs in a state that there is not', 2, $nothing, qr/sleeping/, 'jobs', '--state', 'sleeping');
sql('CREATE DATABASE bare');
for my $words ([ 'jobs' ], [ 'errors', 1 ], [ 'pause', 1 ], [ 'watch', 1 ])
{
	my ($status, $out, $err) = dbops_in('bare', @$words);
	is("$status $out", '2 ', "@$words: without the extension: exit status 2");
	like($err, qr/^HINT: .*CREATE EXTENSION dbops/m, "@$words: and a hint");
	($status, $out, $err) = dbops_in('nowhere', @$words);
	is("$status $out", '2 ', "@$words: without the database: exit status 2");
	like($err, qr/^dbops: .*database "nowhere" does not exist/m, "@$words: and the reason");
}

# --- jobs, pause, resume, cancel --------------------------------------------------------------------------------------------
says('jobs of none', 0, $nothing, qr/^dbops: no job is queued, running or paused; --all shows finished ones$/, 'jobs');
my $job = job_at_gate('t1');
says('jobs', 0, qr/^ *job +kind +target.*\n *$job +backfill +t1 +$me +running +50\.0 +2 /m, $nothing, 'jobs');
my $list = JSON::PP::decode_json(says('jobs --json', 0, qr/\A\[/, $nothing, 'jobs', '--json'));
is_deeply([ map { "$_->{job_id} $_->{state} $_->{rows_done}" } @$list ], ["$job running 2"], 'jobs --json: the job');
says('jobs --state', 0, $nothing, qr/^dbops: no such job$/, 'jobs', '--state', 'paused');
says('watch --once', 3, qr/^.* job $job backfill of t1: running, 50\.0 %, 2 of about 4 rows/, $nothing, 'watch', '--once', $job);
says('pause', 0, qr/\Ajob $job: paused\n\z/, $nothing, 'pause', $job, '--reason', 'lunch');
is(Dbops::job_state($node, $job) . ' ' . sql("SELECT reason FROM dbops.job_events WHERE job_id = $job AND to_state = 'paused'"), 'paused lunch', 'pause: so it is, with the reason');
says('pause once more', 0, qr/\Ajob $job: paused\n\z/, $nothing, 'pause', $job);
says('jobs --state', 0, qr/^ *$job +backfill +t1 /m, $nothing, 'jobs', '--state', 'paused', '--state', 'failed');
says('watch --once of a paused job', 3, qr/ job $job backfill of t1: paused,.* for SELECT dbops\.resume\($job\)/, $nothing, 'watch', '--once', $job);
says('pause of one that there is not, and of one', 1, qr/\Ajob $job: paused\n\z/, qr/^dbops: job 999999 does not exist$/m, 'pause', 999999, $job);
says('resume', 0, qr/\Ajob $job: (?:queued|running)\n\z/, $nothing, 'resume', $job);
ok(at_gate($job), 'resume: it runs');
my ($status, $out, $err) = dbops('pause', $job, '-U', 'eve');
is("$status $out", '1 ', 'pause by another role: exit status 1');
like($err, qr/^dbops: permission denied for job $job\nHINT: /, 'pause by another role: the reason');
is(Dbops::job_state($node, $job), 'running', 'pause by another role: it runs on');
my $second = job_at_gate('t1b');
says('cancel of two', 0, qr/\Ajob $job: cancelled\njob $second: cancelled\n\z/, $nothing, 'cancel', $job, $second);
is(Dbops::job_state($node, $job) . ' ' . Dbops::job_state($node, $second), 'cancelled cancelled', 'cancel of two: so they are');
says('resume of a cancelled job', 1, $nothing, qr/^dbops: cannot resume job $job: it is cancelled$/m, 'resume', $job);
says('watch of a cancelled job', 1, qr/ job $job backfill of t1: cancelled, 50\.0 %, 2 rows/, $nothing, 'watch', $job);
says('watch --once of a cancelled job', 1, qr/ job $job .*cancelled/, $nothing, 'watch', '--once', $job);
shut('false');
says('retry', 0, qr/\Ajob $job: (?:queued|running)\n\z/, $nothing, 'retry', $job);
is(Dbops::wait_job($node, $job), 'succeeded', 'retry: it ends');
is(sql('SELECT count(*) FILTER (WHERE n <> 1) FROM t1'), 0, 'each row once');
says('watch of a job that has succeeded', 0, qr/ job $job backfill of t1: succeeded, 100\.0 %, 4 rows/, $nothing, 'watch', $job);
says('pause of a job that has succeeded', 1, $nothing, qr/^dbops: cannot pause job $job: it is succeeded$/m, 'pause', $job);
says('watch of one that there is not', 2, $nothing, qr/^dbops: job 999999 does not exist in database "postgres", or you may not see it$/m, 'watch', 999999);
says('watch of two, one of which there is not', 2, $nothing, qr/^dbops: job 999999 does not exist/m, 'watch', $job, 999999);

# --- failed jobs, errors -----------------------------------------------------------------------------------------------------
sql('CREATE TABLE poison (id int PRIMARY KEY, n int NOT NULL); INSERT INTO poison SELECT i, i % 2 FROM generate_series(1, 4) i');
my $failed = Dbops::backfill($node, q{'poison', 'n = 1 / n'});
is(Dbops::wait_job($node, $failed), 'failed', 'a job fails');
says('watch of a failed job', 1, qr/ job $failed backfill of poison: failed,.*error 22012: division by zero/, $nothing, 'watch', $failed);
says('watch of both', 1, qr/ job $failed .*failed/, $nothing, 'watch', $job, $failed);
says('jobs --all', 0, qr/^ *$failed +backfill +poison .* failed .*division by zero/m, $nothing, 'jobs', '--all');
says('errors of a job without', 0, $nothing, qr/^dbops: job $job has set no row aside$/, 'errors', $job);
says('errors of no job', 2, $nothing, qr/^dbops: job 999999 does not exist in database "postgres"/, 'errors', 999999);
my $aside = Dbops::backfill($node, q{'poison', 'n = 1 / n', strategy => 'key', max_errors => 10});
is(Dbops::wait_job($node, $aside), 'succeeded', 'one sets rows aside');
says('errors', 0, qr/^ *relation +row +sqlstate.*\n(?:.*\n)*.*poison +\(2\) +22012 .* division by zero\n(?:.*\n)*.*poison +\(4\) +22012 /m, $nothing, 'errors', $aside);
is_deeply([ map { "$_->{row_key} $_->{sqlstate}" } @{ JSON::PP::decode_json(says('errors --json', 0, qr/\A\[/, $nothing, 'errors', $aside, '--json')) } ],
	[ '(2) 22012', '(4) 22012' ], 'errors --json: the rows');
sql('UPDATE poison SET n = 1');
says('retry of two', 0, qr/\Ajob $failed: \w+\njob $aside: \w+\n\z/, $nothing, 'retry', $failed, $aside);
is(Dbops::wait_job($node, $_), 'succeeded', 'retry of two: each ends') for $failed, $aside;
says('errors after that', 0, $nothing, qr/^dbops: job $aside has set no row aside$/, 'errors', $aside);

# --- watch on a terminal -----------------------------------------------------------------------------------------------------
$ENV{TERM} = 'xterm';
# What the terminal was sent, without colours and movements of the cursor.
sub plain { my ($text) = @_; $text =~ s/\e\[[0-9;?]*[A-Za-z]//g; return $text; }
sub watch_on_terminal
{
	my (@jobs) = @_;
	my $watch = { in => '', out => '' };
	$watch->{run} = IPC::Run::start([ $ENV{DBOPS_CLI}, 'watch', @jobs, '-d', $node->connstr('postgres') ], '<pty<', \$watch->{in}, '>pty>', \$watch->{out});
	return $watch;
}
# Waits until it has shown that; true when it did.
sub shows
{
	my ($watch, $pattern) = @_;
	my $end = clock_gettime(CLOCK_MONOTONIC) + $PostgreSQL::Test::Utils::timeout_default;
	while (plain($watch->{out}) !~ $pattern)
	{
		if (!$watch->{run}->pumpable || clock_gettime(CLOCK_MONOTONIC) > $end)
		{
			diag "not shown: $pattern, but: " . plain($watch->{out});
			return 0;
		}
		$watch->{run}->pump_nb;
		sleep 0.02;
	}
	return 1;
}
# Its exit status.
sub ends
{
	my ($watch) = @_;
	my $end = clock_gettime(CLOCK_MONOTONIC) + $PostgreSQL::Test::Utils::timeout_default;
	while ($watch->{run}->pumpable && clock_gettime(CLOCK_MONOTONIC) < $end)
	{
		$watch->{run}->pump_nb;
		sleep 0.02;
	}
	$watch->{run}->kill_kill if $watch->{run}->pumpable;
	eval { $watch->{run}->finish };
	return ($watch->{run}->full_results)[0] >> 8;
}
my $cursor_again = qr/\e\[\?25h[^\e]*\z/;

$job = job_at_gate('t2');
my $watch = watch_on_terminal($job);
ok(shows($watch, qr/Job $job  backfill of t2 .*running\s+\N+ 50\.0 %  2 of about 4 rows/), 'watch: the bar, at half');
like($watch->{out}, qr/\e\[\?25l/, 'watch: the cursor is hidden');
says('pause', 0, qr/paused/, $nothing, 'pause', $job);
ok(shows($watch, qr/Job $job .*paused/), 'watch: paused');
ok(shows($watch, qr/waits .*for SELECT dbops\.resume\($job\)/), 'watch: and what it waits for');
says('resume', 0, qr/./, $nothing, 'resume', $job);
ok(at_gate($job), 'it runs again');
shut('false');
ok(shows($watch, qr/Job $job .*succeeded\s+\N+ 100\.0 %  4 rows/), 'watch: until the job has succeeded');
is(ends($watch), 0, 'watch: exit status 0');
like($watch->{out}, $cursor_again, 'watch: and the cursor comes back');

# Interrupted, it leaves the job alone.
$job = job_at_gate('t3');
for my $case ([ 'a signal', sub { $_[0]{run}->signal('INT') } ], [ 'Ctrl-C', sub { $_[0]{in} .= "\cC" } ])
{
	my ($what, $interrupt) = @$case;
	$watch = watch_on_terminal($job);
	ok(shows($watch, qr/Job $job .*running\s+\N+ 50\.0 %/), "watch, $what: the bar");
	$interrupt->($watch);
	is(ends($watch), 130, "watch, $what: exit status 130");
	like($watch->{out}, $cursor_again, "watch, $what: the cursor comes back");
	is(Dbops::job_state($node, $job), 'running', "watch, $what: the job runs on");
}

# One that fails and one that is cancelled while they are watched.
$watch = watch_on_terminal($job);
ok(shows($watch, qr/Job $job .*running/), 'watch: a job');
says('cancel', 0, qr/cancelled/, $nothing, 'cancel', $job);
ok(shows($watch, qr/Job $job .*cancelled/), 'watch: cancelled');
is(ends($watch), 1, 'watch: exit status 1');
$job = job_at_gate('t4');
$watch = watch_on_terminal($job);
ok(shows($watch, qr/Job $job .*running/), 'watch: another job');
sql(q{CREATE OR REPLACE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'no way'; END$$});
sql("SELECT pg_terminate_backend(pid) FROM dbops.job_runs WHERE job_id = $job AND outcome = 'running'");
ok(shows($watch, qr/Job $job .*failed/), 'watch: failed');
ok(shows($watch, qr/error P0001: .*no way/), 'watch: with the reason');
is(ends($watch), 1, 'watch: exit status 1');

$node->stop;
ok(!$node->log_contains(qr/PANIC|TRAP|terminated by signal/), 'no crash');
done_testing();
