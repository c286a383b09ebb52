# kill -9 of a worker, the launcher or the postmaster, immediate and orderly shutdowns, at random moments while jobs run; then
# each row has been changed, or deleted, exactly once. And a job that kills its worker each time.
#
# Environment: DBOPS_SEED repeats the random choices, DBOPS_NIGHTLY=1 does many rounds.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(time sleep);
use Dbops;

my $seed   = $ENV{DBOPS_SEED} // (time() * 1000) % 1_000_000_007;
my $rounds = $ENV{DBOPS_NIGHTLY} ? 300 : 6;
my $rows   = 12_000;
diag "DBOPS_SEED=$seed";
srand($seed);

my $node = Dbops::node('crash', conf => "restart_after_crash = on\ndbops.max_workers = 6\nmax_connections = 40\n");
$node->safe_psql('postgres', qq{
	CREATE TABLE by_key (id int PRIMARY KEY, n int NOT NULL DEFAULT 0) WITH (fillfactor = 50);
	CREATE TABLE by_stripe (id int PRIMARY KEY, n int NOT NULL DEFAULT 0) WITH (fillfactor = 50);
	CREATE TABLE by_block (id int, n int NOT NULL DEFAULT 0, done boolean NOT NULL DEFAULT true) WITH (fillfactor = 50);
	-- Each row that is deleted is noted; those of a round are deleted, and nothing else.
	CREATE TABLE deleting (id int PRIMARY KEY, round int);
	CREATE TABLE deleted (id int, round int);
	CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \$\$BEGIN INSERT INTO deleted VALUES (OLD.id, OLD.round); RETURN OLD; END\$\$;
	CREATE TRIGGER note BEFORE DELETE ON deleting FOR EACH ROW EXECUTE FUNCTION note();
	INSERT INTO by_key (id) SELECT generate_series(1, $rows);
	INSERT INTO by_stripe (id) SELECT generate_series(1, $rows);
	INSERT INTO by_block (id) SELECT generate_series(1, $rows);
	VACUUM ANALYZE;
});
my @tables = qw(by_key by_stripe by_block);
my $pace   = q{max_batch_rows => 150, max_rows_per_second => 5000};

# The server answers again.
sub reachable
{
	my $end = time() + 120;
	while (time() < $end)
	{
		return 1 if defined Dbops::ask($node, 'SELECT 1');
		sleep 0.1;
	}
	return 0;
}

# Processes whose data directory is the server's.
sub processes { return grep { (readlink("/proc/$_/cwd") // '') eq $node->data_dir } map { m{(\d+)$} } glob '/proc/[0-9]*'; }

my %blow = (
	worker => sub {
		my ($jobs) = @_;
		my @pids = map { Dbops::workers($node, $_) } @$jobs;
		return 0 unless @pids;
		return kill 'KILL', $pids[ rand @pids ];
	},
	launcher => sub {
		my $pid = Dbops::launcher($node);
		return $pid ne '' && kill 'KILL', $pid;
	},
	postmaster => sub {
		my ($pid) = PostgreSQL::Test::Utils::slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
		$node->kill9;
		# Its children leave by themselves; until then the memory is in use.
		for (my $i = 0; (kill(0, $pid) || processes()) && $i < 1200; ++$i) { sleep 0.05; }
		return $node->start;
	},
	immediate => sub { $node->stop('immediate'); $node->start; return 1; },
	fast => sub { $node->stop('fast'); $node->start; return 1; });
my @kinds = qw(worker postmaster launcher immediate fast);

my %count;
my $lost = 0;
for my $round (1 .. $rounds)
{
	my @jobs = (
		Dbops::backfill($node, qq{'by_key', 'n = n + 1', strategy => 'key', $pace}),
		Dbops::backfill($node, qq{'by_stripe', 'n = n + 1', strategy => 'stripe', parallel => 2, stripes => 4, $pace}));
	$node->safe_psql('postgres', 'UPDATE by_block SET done = false');
	push @jobs, Dbops::backfill($node, qq{'by_block', 'n = n + 1, done = true', 'NOT done', strategy => 'stripe', stripes => 4, $pace});
	$node->safe_psql('postgres', "INSERT INTO deleting SELECT i, CASE WHEN i % 2 = 0 THEN $round ELSE 0 END FROM generate_series(1, $rows) i"
		  . ' ON CONFLICT (id) DO UPDATE SET round = EXCLUDED.round');
	push @jobs, Dbops::batch_delete($node, qq{'deleting', 'round = $round', $pace});
	my $list  = join ',', @jobs;
	my $blows = 1 + int rand 3;
	for my $i (1 .. $blows)
	{
		sleep(0.2 + rand 1);
		my $kind = $kinds[ $round <= @kinds && $i == 1 ? $round - 1 : rand @kinds ];
		last if Dbops::value($node, "SELECT count(*) FROM dbops.jobs WHERE job_id IN ($list) AND state IN ('queued', 'running')") eq '0';
		my $hit = $blow{$kind}->(\@jobs);
		sleep 0.1;    # the postmaster has not yet heard of it
		$count{$kind} += $hit ? 1 : 0;
		reachable() or die 'the server does not come back';
	}
	for my $i (0 .. 2)
	{
		is(Dbops::wait_job($node, $jobs[$i], 120), 'succeeded', "round $round: job on $tables[$i] ends");
		is(Dbops::value($node, "SELECT count(*) FILTER (WHERE n <> $round) || ' of ' || count(*) || ', ' || min(n) || ' to ' || max(n) FROM $tables[$i]"),
			"0 of $rows, $round to $round", "round $round: $tables[$i]: each row once");
	}
	is(Dbops::wait_job($node, $jobs[3], 120), 'succeeded', "round $round: batch_delete ends");
	is(Dbops::value($node, "SELECT count(*) || ' ' || count(DISTINCT id) || ' ' || count(*) FILTER (WHERE id % 2 = 1) FROM deleted WHERE round = $round"),
		join(' ', $rows / 2, $rows / 2, 0), "round $round: each row is deleted once, and no other");
	is(Dbops::value($node, 'SELECT count(*) || \' \' || count(*) FILTER (WHERE id % 2 = 0) FROM deleting'), join(' ', $rows / 2, 0), "round $round: the others stay");
	is(Dbops::value($node, "SELECT sum(rows_done) FROM dbops.job_runs WHERE job_id = $jobs[3]"), $rows / 2, "round $round: and are accounted for");
	is(Dbops::value($node, "SELECT count(*) FROM by_block WHERE NOT done"), 0, "round $round: by_block: nothing is left");
	# Of two workers one may find that the other has done the rest: stopped.
	ok(Dbops::wait_for($node, "SELECT count(*) FROM dbops.job_runs WHERE job_id IN ($list) AND outcome NOT IN ('finished', 'stopped', 'lost')", 0, 30),
		"round $round: every run has ended or is known as lost");
	is(Dbops::value($node, "SELECT string_agg(DISTINCT total::text, ',') FROM (SELECT sum(rows_done) AS total FROM dbops.job_runs"
		  . " WHERE job_id IN ($list) AND job_id <> $jobs[3] GROUP BY job_id) t"), $rows, "round $round: and the rows are accounted for");
	$lost += Dbops::value($node, "SELECT count(*) FROM dbops.job_runs WHERE job_id IN ($list) AND outcome = 'lost'");
	last unless Test::More->builder->is_passing;
}
note join ', ', map { "$_: $count{$_}" } sort keys %count;
cmp_ok($lost, '>', 0, "some runs were lost: $lost");

# --- an orderly stop --------------------------------------------------------------------------------------------------------
# In the middle of a batch: it is rolled back, the server stops without waiting for the job, and the job goes on.
$node->safe_psql('postgres', q{
	CREATE TABLE stopped (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
	INSERT INTO stopped (id) SELECT generate_series(1, 100);
	CREATE TABLE gate (shut boolean); INSERT INTO gate VALUES (true);
	CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$
	  BEGIN WHILE (SELECT shut FROM gate) LOOP PERFORM pg_sleep(0.02); END LOOP; RETURN NEW; END$$;
	CREATE TRIGGER pass BEFORE UPDATE ON stopped FOR EACH ROW WHEN (OLD.id = 55) EXECUTE FUNCTION pass();
});
my $stopped = Dbops::backfill($node, q{'stopped', 'n = n + 1', strategy => 'key', max_batch_rows => 10, nice_ratio => 0});
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_activity a JOIN dbops.job_runs r USING (pid) WHERE r.job_id = $stopped"
	  . " AND r.outcome = 'running' AND a.wait_event = 'PgSleep'", 1), 'stopped: in the middle of a batch');
my $before = Dbops::value($node, 'SELECT count(*) FROM stopped WHERE n = 1');
cmp_ok($before, '>', 0, 'stopped: some were committed');
$node->stop('fast');
$node->start;
ok(reachable(), 'stopped: started again');
cmp_ok(Dbops::value($node, 'SELECT count(*) FROM stopped WHERE n = 1'), '>=', $before, 'stopped: what was committed has stayed');
$node->safe_psql('postgres', 'UPDATE gate SET shut = false');
is(Dbops::wait_job($node, $stopped, 120), 'succeeded', 'stopped: the job ends');
is(Dbops::value($node, "SELECT count(*) FILTER (WHERE n <> 1) || ' of ' || count(*) FROM stopped"), '0 of 100', 'stopped: each row once');
is(Dbops::value($node, "SELECT sum(rows_done) FROM dbops.job_runs WHERE job_id = $stopped"), 100, 'stopped: and accounted for');

# --- a job that always ends its worker -----------------------------------------------------------------------------------
$node->safe_psql('postgres', q{
	CREATE TABLE deadly (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
	INSERT INTO deadly (id) SELECT generate_series(1, 10);
	CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(600); RETURN NEW; END$$;
	CREATE TRIGGER die BEFORE UPDATE ON deadly FOR EACH ROW EXECUTE FUNCTION die();
});
my $job = Dbops::backfill($node, q{'deadly', 'n = n + 1'});
my $losses = "SELECT count(*) FROM dbops.job_runs WHERE job_id = $job AND outcome = 'lost'";
# The first pauses are short, and over by themselves.
for my $loss (3 .. 6)
{
	ok(Dbops::wait_for($node, $losses, $loss, 60), "loss $loss is known");
	last if $loss == 6;
	# The pause before the next try grows; resume() asks for it now.
	ok(Dbops::wait_for($node, "SELECT state IN ('queued') FROM dbops.jobs WHERE job_id = $job", 't', 60), 'it is queued');
	my $wait = (1, 5, 30, 120, 300)[ $loss - 1 ];
	is(Dbops::value($node, "SELECT max(b) FROM unnest(ARRAY[1, 5, 30, 120, 300]) b, dbops.jobs WHERE job_id = $job"
		  . " AND not_before - (SELECT max(at) FROM dbops.job_events WHERE job_id = $job) >= b * interval '1 s'"), $wait, "to be tried again after $wait s");
	like(Dbops::value($node, "SELECT waiting_for FROM dbops.progress WHERE job_id = $job"), qr/^back-off until \d\d:\d\d:\d\d$/, 'which progress says');
	$node->safe_psql('postgres', "SELECT dbops.resume($job)");
}
is(Dbops::wait_job($node, $job, 60), 'failed', 'after the sixth loss in a row it fails');
is(Dbops::value($node, "SELECT last_sqlstate, last_error FROM dbops.jobs WHERE job_id = $job"),
	'57P02|its worker was lost 6 times in a row without progress', 'with the reason');
$node->safe_psql('postgres', 'DROP TRIGGER die ON deadly');
is(Dbops::value($node, "SELECT dbops.retry($job)"), 'queued', 'mended and retried');
is(Dbops::wait_job($node, $job), 'succeeded', 'it ends');
is(Dbops::value($node, 'SELECT count(*) FROM deadly WHERE n = 1'), 10, 'each row once');

# --- losses with progress in between ---------------------------------------------------------------------------------------
# Progress are batches, also over blocks in which no row matches.
$node->safe_psql('postgres', q{
	CREATE TABLE sparse (id int PRIMARY KEY, n int NOT NULL DEFAULT 0) WITH (fillfactor = 10);
	INSERT INTO sparse (id) SELECT generate_series(1, 20000)});
$job = Dbops::backfill($node, q{'sparse', 'n = 1', 'n = 0 AND id > 19999', strategy => 'key', max_batch_rows => 10, max_rows_per_second => 200});
# A run that has got on: of that run, not of one before it.
my $gets_on = "SELECT s.batches > r.batches_before FROM dbops.job_run r JOIN dbops.job_slice s USING (job_id, slice) WHERE r.job_id = $job AND r.outcome = 'running'";
for my $loss (1 .. 7)
{
	ok(Dbops::wait_for($node, $gets_on, 't', 60), "sparse: batches before loss $loss");
	Dbops::value($node, "SELECT pg_terminate_backend(pid) FROM dbops.job_runs WHERE job_id = $job AND outcome = 'running'");
	ok(Dbops::wait_for($node, "SELECT count(*) FROM dbops.job_runs WHERE job_id = $job AND outcome = 'lost'", $loss, 60), "sparse: loss $loss is known");
}
is(Dbops::value($node, "SELECT losses FROM dbops.job WHERE job_id = $job"), 0, 'sparse: none of them was without progress');
# In a row they are no longer after a run that got on and was paused.
ok(Dbops::wait_for($node, $gets_on, 't', 60), 'sparse: it goes on');
$node->safe_psql('postgres', "SELECT dbops.pause($job)");
ok(Dbops::wait_for($node, "SELECT count(*) FROM dbops.job_runs WHERE job_id = $job AND outcome = 'running'", 0, 60), 'sparse: paused');
$node->safe_psql('postgres', "UPDATE dbops.job SET losses = 5 WHERE job_id = $job; SELECT dbops.resume($job)");
ok(Dbops::wait_for($node, "SELECT count(*) FROM dbops.job_runs WHERE job_id = $job AND outcome = 'running'", 1, 60), 'sparse: another run');
is(Dbops::value($node, "SELECT losses FROM dbops.job WHERE job_id = $job"), 0, 'sparse: the count begins anew');
$node->safe_psql('postgres', "SELECT dbops.cancel($job)");

$node->stop;
ok(!$node->log_contains(qr/PANIC|TRAP|terminated by signal (?!9)/), 'no other crash in the server log');
done_testing();
