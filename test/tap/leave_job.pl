# A session that has left its job in the middle of CALL dbops.run is left in peace by who steers the job.
use strict;
use warnings;
use Test::More;
use Dbops;

my $node = Dbops::node('left', conf => "dbops.max_workers = 0\n");

$node->safe_psql('postgres', q{
	CREATE TABLE pace (seconds float8);                 -- how long slowly() takes for a row
	INSERT INTO pace VALUES (0);
	CREATE FUNCTION slowly(v int) RETURNS int LANGUAGE plpgsql AS
	  $$BEGIN PERFORM pg_sleep(seconds) FROM pace; RETURN v; END$$;
});
sub table
{
	my ($name, $rows) = @_;
	$node->safe_psql('postgres', "CREATE TABLE $name (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO $name (id) SELECT generate_series(1, $rows)");
	return;
}
sub pace { my ($seconds) = @_; $node->safe_psql('postgres', "UPDATE pace SET seconds = $seconds"); return; }
# A process is asleep in the middle of the job's statement.
sub in_statement
{
	my ($job) = @_;
	return Dbops::wait_for($node, "SELECT count(*) > 0 FROM pg_stat_activity a JOIN dbops.job_runs r USING (pid)"
		  . " WHERE r.job_id = $job AND r.outcome = 'running' AND a.wait_event = 'PgSleep'", 't');
}

# Who steers it in a transaction that lasts does not hit what the session does when it has left.
table('gone', 50);
pace(600);
my $job = Dbops::backfill($node, q{'gone', 'n = slowly(n + 1)'});
my $stranger = $node->background_psql('postgres', on_error_stop => 0);
$stranger->query_until(qr/begun/, "\\echo begun\nCALL dbops.run($job);\n");
ok(in_statement($job), 'a session runs a job');
my $itself = Dbops::value($node, "SELECT pid FROM dbops.job_runs WHERE job_id = $job AND outcome = 'running'");
my $steerer = $node->background_psql('postgres');
$steerer->query_safe("BEGIN; SELECT pg_advisory_lock(77); SELECT dbops.pause($job)");
ok(Dbops::wait_for($node, "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE pid = $itself AND state = 'active'", 0), 'its user cancels it until it leaves');
$stranger->query_until(qr/asks/, "\\echo asks\nSELECT 'undisturbed' FROM (SELECT pg_advisory_lock(77)) l;\n");
ok(Dbops::wait_for($node, "SELECT wait_event FROM pg_stat_activity WHERE pid = $itself", 'advisory'), 'it is at something else');
$steerer->query_safe('COMMIT');
$steerer->query_safe('SELECT pg_advisory_unlock(77)');
like($stranger->query_until(qr/answered/, "\\echo answered\n"), qr/undisturbed/, 'and stays undisturbed');
is(Dbops::job_state($node, $job), 'paused', 'the job is paused all the same');
$node->safe_psql('postgres', "SELECT dbops.cancel($job)");
$steerer->quit;
$stranger->quit;

$node->stop;
ok(!$node->log_contains(qr/PANIC|TRAP|terminated by signal/), 'no crash');
done_testing();
