# Without shared_preload_libraries: no launcher, jobs run by CALL dbops.run, and everything says so.
use strict;
use warnings;
use Test::More;
use Dbops;

my $node = Dbops::node('no_preload', preload => 0);
$node->safe_psql('postgres', 'CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t (id) SELECT generate_series(1, 3000)');
is(Dbops::value($node, 'SELECT dbops.has_launcher()'), 'f', 'there is no launcher');
my ($status, $job, $err) = $node->psql('postgres', q{SELECT dbops.backfill('t', 'n = n + 1', parallel => 2)});
is($status, 0, 'a job is accepted');
like($err, qr/WARNING: .*not in shared_preload_libraries/, 'with a warning');
like(Dbops::value($node, "SELECT waiting_for FROM dbops.progress WHERE job_id = $job"),
	qr/^CALL dbops\.run\($job\): no launcher, dbops is not in shared_preload_libraries$/, 'progress says what it waits for');
is(Dbops::job_state($node, $job), 'queued', 'it is queued');
like(Dbops::refusal($node, "CALL dbops.wait($job, '200 ms')"), qr/^57014: .*not finished in time/, 'waiting alone does not help');
is(Dbops::value($node, "SELECT dbops.pause($job)"), 'paused', 'it can be paused');
is(Dbops::value($node, "SELECT dbops.resume($job)"), 'queued', 'and resumed');
is(Dbops::refusal($node, "CALL dbops.run($job)"), '', 'CALL dbops.run');
is(Dbops::job_state($node, $job), 'succeeded', 'does it, all slices');
is(Dbops::value($node, 'SELECT count(*) FILTER (WHERE n = 1), count(*) FROM t'), '3000|3000', 'each row once');
is(Dbops::refusal($node, "CALL dbops.wait($job)"), '', 'dbops.wait returns');
$job = $node->safe_psql('postgres', q{SELECT dbops.batch_delete('t', 'id > 1000')});
is(Dbops::refusal($node, "CALL dbops.run($job)"), '', 'batch_delete');
is(Dbops::value($node, 'SELECT count(*) FROM t'), 1000, 'has deleted');

# In a session that was killed: found by the next one.
$node->safe_psql('postgres', q{
	CREATE FUNCTION slowly(v int) RETURNS int LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(0.01); RETURN v; END$$});
$job = $node->safe_psql('postgres', q{SELECT dbops.backfill('t', 'n = slowly(n + 1)', max_batch_rows => 20, stripes => 1)});
my $session = Dbops::start_sql($node, "CALL dbops.run($job)");
ok(Dbops::wait_for($node, "SELECT rows_done > 20 FROM dbops.jobs WHERE job_id = $job", 't'), 'a session is at work');
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM dbops.job_runs WHERE job_id = $job AND outcome = 'running'");
Dbops::finish_sql($session, 30);
$node->safe_psql('postgres', 'CREATE OR REPLACE FUNCTION slowly(v int) RETURNS int LANGUAGE sql RETURN v');
is(Dbops::refusal($node, "CALL dbops.run($job)"), '', 'the next one goes on');
is(Dbops::value($node, 'SELECT count(*) FILTER (WHERE n = 2), count(*) FROM t'), '1000|1000', 'each row once');
is(Dbops::value($node, "SELECT string_agg(outcome, ',' ORDER BY run_id) FROM dbops.job_runs WHERE job_id = $job"), 'lost,finished', 'the lost run is known as lost');

# Two sessions at one job, one of them killed: the other takes over what it had begun, and its run is known as lost.
$node->safe_psql('postgres', q{CREATE OR REPLACE FUNCTION slowly(v int) RETURNS int LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(0.03); RETURN v; END$$});
$job = $node->safe_psql('postgres', q{SELECT dbops.backfill('t', 'n = slowly(n + 1)', max_batch_rows => 20, stripes => 1, parallel => 2)});
my @sessions = map { Dbops::start_sql($node, "CALL dbops.run($job)") } 1, 2;
my $at_work = "SELECT count(*) FROM dbops.job_runs WHERE job_id = $job AND outcome = 'running' AND rows_done > 40";
ok(Dbops::wait_for($node, $at_work, 2), 'two sessions are at work');
my $killed = Dbops::value($node, "SELECT slice FROM dbops.job_runs WHERE job_id = $job AND outcome = 'running' ORDER BY slice DESC LIMIT 1");
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM dbops.job_runs WHERE job_id = $job AND slice = $killed AND outcome = 'running'");
my $hurry = q{CREATE OR REPLACE FUNCTION slowly(v int) RETURNS int LANGUAGE plpgsql AS $$BEGIN RETURN v; END$$};
$node->safe_psql('postgres', $hurry);
Dbops::finish_sql($_) for @sessions;
is(Dbops::job_state($node, $job), 'succeeded', 'the other one ends the job');
is(Dbops::value($node, 'SELECT count(*) FILTER (WHERE n = 3), count(*) FROM t'), '1000|1000', 'each row once');
is(Dbops::value($node, "SELECT string_agg(outcome, ',' ORDER BY outcome) FROM dbops.job_runs WHERE job_id = $job"), 'finished,lost', 'the run of the killed one is known as lost');

# The same, between two batches: nothing of the killed one's work is left that the other one would meet.
$node->safe_psql('postgres', $hurry =~ s/BEGIN/BEGIN PERFORM pg_sleep(0.01);/r);
$job = $node->safe_psql('postgres', q{SELECT dbops.backfill('t', 'n = slowly(n + 1)', max_batch_rows => 20, stripes => 1, parallel => 2, nice_ratio => 1)});
@sessions = map { Dbops::start_sql($node, "CALL dbops.run($job)") } 1, 2;
ok(Dbops::wait_for($node, $at_work =~ s/job_id = \d+/job_id = $job/r, 2), 'two sessions are at work');
$node->safe_psql('postgres', "DO \$\$BEGIN LOOP
	PERFORM pg_terminate_backend(pid) FROM dbops.job_run r JOIN dbops.job_slice s USING (job_id, slice)
	WHERE job_id = $job AND outcome = 'running' AND work = '[]' LIMIT 1;
	EXIT WHEN FOUND OR NOT EXISTS (SELECT FROM dbops.job WHERE job_id = $job AND state = 'running');
	PERFORM pg_sleep(0.002);
	END LOOP; END\$\$");
$node->safe_psql('postgres', $hurry);
Dbops::finish_sql($_) for @sessions;
is(Dbops::job_state($node, $job), 'succeeded', 'one of them was killed while it paused, and the other one ends the job');
is(Dbops::value($node, 'SELECT count(*) FILTER (WHERE n = 4), count(*) FROM t'), '1000|1000', 'each row once');
is(Dbops::value($node, "SELECT string_agg(outcome, ',' ORDER BY outcome) FROM dbops.job_runs WHERE job_id = $job"), 'finished,lost', 'that run is known as lost too');

# A killed one that needed longer to end than the other one needed for the job: found by the next that runs any job.
$node->safe_psql('postgres', "UPDATE dbops.job_run SET outcome = 'running', finished_at = NULL, message = NULL WHERE job_id = $job AND outcome = 'lost'");
my $next = $node->safe_psql('postgres', q{SELECT dbops.backfill('t', 'n = 5')});
is(Dbops::refusal($node, "CALL dbops.run($next)"), '', 'another job');
is(Dbops::value($node, "SELECT string_agg(outcome, ',' ORDER BY outcome) FROM dbops.job_runs WHERE job_id = $job"), 'finished,lost', 'a run that ended after its job is known as lost');

# Dropped and made again by the same session, whose kept plans are of the old one.
is(Dbops::refusal($node, "DROP EXTENSION dbops;\nCREATE EXTENSION dbops;\nSELECT dbops.backfill('t', 'n = 7') AS j \\gset\nCALL dbops.run(:j);"), '', 'DROP and CREATE EXTENSION');
is(Dbops::value($node, 'SELECT count(*) FROM t WHERE n = 7'), 1000, 'the new one works');
$node->stop;
done_testing();
