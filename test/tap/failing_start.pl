# Workers that end before they can begin, of a queued job and of the second slice of a running one: counted, with a back-off and
# a limit. And slices that had ended and have work again. A library of this test's own ends the workers.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);
use Dbops;

my $library = Dbops::fault_library('failing_start');
my $node    = Dbops::node('start', start => 0);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbops,$library'\ndbops.max_workers = 6\n");
$node->start;
Dbops::create_extension($node);

$node->safe_psql('postgres', q{
	CREATE ROLE lim LOGIN; CREATE TABLE other (id int PRIMARY KEY, n int); CREATE TABLE limited (id int PRIMARY KEY, n int NOT NULL DEFAULT 0) WITH (fillfactor = 50);
	INSERT INTO limited (id) SELECT generate_series(1, 3000); ALTER TABLE limited OWNER TO lim});
sub setting { my ($text) = @_; $node->safe_psql('postgres', "ALTER SYSTEM SET $text"); $node->reload; return; }
sub refused { my $n = () = PostgreSQL::Test::Utils::slurp_file($node->logfile) =~ /worker of role "lim" ends before it can begin/g; return $n; }
my $flag = $node->data_dir . '/failing_start';
sub failing { my ($on) = @_; if ($on) { PostgreSQL::Test::Utils::append_to_file($flag, '') } else { unlink $flag } return; }
# The third is sent when its time has come, and not before: whatever is seen before that is as it should be.
sub third_waits
{
	my ($job, $refused) = @_;
	my ($count, $time) = split /\|/, Dbops::value($node, "SELECT launches, extract(epoch FROM not_before) FROM dbops.job_slice WHERE job_id = $job ORDER BY launches DESC LIMIT 1");
	is($count, 2, 'the third waits');
	for (my $early = 't'; $early eq 't'; sleep 0.2)
	{
		my $sent = refused() - $refused;
		($count, $early) = split /\|/, Dbops::value($node, "SELECT max(launches), clock_timestamp() < to_timestamp($time) FROM dbops.job_slice WHERE job_id = $job");
		last if $early ne 't';
		next if $count == 2 && $sent <= 2;
		fail("and no other was sent before its time: $count launches, $sent processes");
		return;
	}
	pass('and no other was sent before its time');
	ok(Dbops::wait_for($node, "SELECT max(launches) FROM dbops.job_slice WHERE job_id = $job", 3), 'then it is');
	for (1 .. 1200) { last if refused() - $refused == 3; sleep 0.05; }
	return;
}
# Of a queued job.
failing(1);
my $job = Dbops::backfill($node, q{'limited', 'n = n + 1'});
my $launches = "SELECT max(launches) FROM dbops.job_slice WHERE job_id =";
ok(Dbops::wait_for($node, "$launches $job", 2, 30), 'its worker ends before it could begin, twice');
third_waits($job, 0);
$node->safe_psql('postgres', "UPDATE dbops.job_slice SET launches = 5, not_before = NULL WHERE job_id = $job; SELECT dbops.backfill('other', 'n = n')");
is(Dbops::wait_job($node, $job, 30), 'failed', 'after five in a row the job fails');
like(Dbops::value($node, "SELECT last_sqlstate, last_error FROM dbops.jobs WHERE job_id = $job"), qr/^28000\|its worker ended before it could begin, 5 times in a row/, 'with the reason');
# Of the second slice of a job that is running.
failing(0);
setting('dbops.max_workers = 1');
ok(Dbops::wait_for($node, 'SHOW dbops.max_workers', 1), 'one worker');
$node->safe_psql('postgres', q{CREATE TABLE gate (shut boolean); INSERT INTO gate VALUES (true); GRANT SELECT ON gate TO PUBLIC;
	CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN WHILE (SELECT shut FROM gate) LOOP PERFORM pg_sleep(0.02); END LOOP; RETURN NEW; END$$;
	CREATE TRIGGER pass BEFORE UPDATE ON limited FOR EACH ROW WHEN (OLD.id = 1000) EXECUTE FUNCTION pass()});
$job = Dbops::backfill($node, q{'limited', 'n = n + 1', parallel => 2, strategy => 'key', max_batch_rows => 20});
ok(Dbops::wait_for($node, "SELECT rows_done > 0 FROM dbops.jobs WHERE job_id = $job", 't'), 'a job runs with one of two workers');
failing(1);
my $before = refused();
setting('dbops.max_workers = 6');
ok(Dbops::wait_for($node, "$launches $job", 2, 30), 'the other one ends before it could begin, twice');
third_waits($job, $before);
$node->safe_psql('postgres', "UPDATE dbops.job_slice SET launches = 5, not_before = NULL WHERE job_id = $job AND launches > 0; SELECT dbops.backfill('other', 'n = n')");
ok(Dbops::wait_for($node, "SELECT reason FROM dbops.job_events WHERE job_id = $job AND action = 'slice'", 'goes on without slice 1: its worker ended before it could begin, 5 times in a row', 30),
	'after five in a row the job goes on without it');
is(Dbops::job_state($node, $job), 'running', 'it is running');
$node->safe_psql('postgres', 'UPDATE gate SET shut = false');
is(Dbops::wait_job($node, $job, 60), 'succeeded', 'and ends');
is(Dbops::value($node, 'SELECT n, count(*) FROM limited GROUP BY n'), '1|3000', 'each row once');
failing(0);

# --- slices that had ended have work again -----------------------------------------------------------------------------------
setting('dbops.max_workers = 0');
ok(Dbops::wait_for($node, 'SHOW dbops.max_workers', 0), 'no worker');
$node->safe_psql('postgres', "SELECT dbops.retry($job)");
is(Dbops::value($node, "SELECT count(*) FROM dbops.job_slice WHERE job_id = $job AND NOT done"), 2, 'retry: for all workers of the job');
$node->safe_psql('postgres', "SELECT dbops.cancel($job)");
# A walk by blocks past which rows come into the holes of the first blocks; the passes after it have a row in ten to do.
$node->safe_psql('postgres', q{
	CREATE TABLE holes (id int, done boolean NOT NULL DEFAULT false, n int NOT NULL DEFAULT 0) WITH (autovacuum_enabled = off);
	INSERT INTO holes (id) SELECT generate_series(1, 60000); DELETE FROM holes WHERE id <= 30000; VACUUM holes;
	UPDATE holes SET done = true, n = 1 WHERE id % 10 <> 0; VACUUM holes});
setting('dbops.max_workers = 6');
$job = Dbops::backfill($node, q{'holes', 'n = n + 1, done = true', 'NOT done', strategy => 'block', parallel => 2, max_batch_rows => 100, max_rows_per_second => 600, nice_ratio => 0});
ok(Dbops::wait_for($node, "SELECT rows_done >= 300 FROM dbops.jobs WHERE job_id = $job", 't', 60), 'a walk by blocks by two workers');
$node->safe_psql('postgres', 'INSERT INTO holes (id) SELECT generate_series(1, 4000)');
is(Dbops::wait_job($node, $job, 90), 'succeeded', 'it ends');
cmp_ok(Dbops::value($node, "SELECT pass FROM dbops.jobs WHERE job_id = $job"), '>', 0, 'after another pass');
is(Dbops::value($node, 'SELECT n, done, count(*) FROM holes GROUP BY 1, 2'), '1|t|34000', 'each row once');
cmp_ok(Dbops::value($node, "SELECT min(rows_done) FROM dbops.job_slice WHERE job_id = $job"), '>', 2000, 'both workers had a part in that');

$node->stop;
ok(!$node->log_contains(qr/PANIC|TRAP|terminated by signal/), 'no crash');
done_testing();
