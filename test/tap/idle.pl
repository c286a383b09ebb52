# What dbops costs when there is nothing to do: the launcher sleeps, also with ten thousand queued jobs.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(sleep);
use Dbops;

my $node = Dbops::node('idle', conf => "log_min_messages = debug1\n");
$node->safe_psql('postgres', 'CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT generate_series(1, 10)');
my $job = Dbops::backfill($node, q{'t', 'n = 1', 'n IS NULL'});
is(Dbops::wait_job($node, $job), 'succeeded', 'it works');

my $launcher = Dbops::launcher($node);
sub of_launcher
{
	my ($file, $pattern) = @_;
	open my $f, '<', "/proc/$launcher/$file" or die "no /proc/$launcher/$file";
	return (join('', <$f>) =~ $pattern)[0];
}
sub wakeups { return of_launcher('status', qr/^voluntary_ctxt_switches:\s+(\d+)/m); }
sub cpu { return of_launcher('schedstat', qr/^(\d+)/) / 1e6; }    # ms
sub forks { return () = PostgreSQL::Test::Utils::slurp_file($node->logfile) =~ /starting background worker process "dbops/g; }

sub idle
{
	my ($what) = @_;
	ok(Dbops::at_rest($node), "$what: the launcher comes to rest");
	my ($wakeups, $cpu, $forks) = (wakeups(), cpu(), scalar(forks()));
	sleep 10;    # the window that is measured
	cmp_ok(wakeups() - $wakeups, '<=', 1, "$what: at most one wake-up in ten seconds");
	cmp_ok(cpu() - $cpu, '<', 20, "$what: no CPU");
	is(scalar(forks()) - $forks, 0, "$what: no process was started");
	return;
}
idle('no job');

$node->safe_psql('postgres', 'ALTER SYSTEM SET dbops.max_workers = 0');
$node->reload;
ok(Dbops::wait_for($node, 'SHOW dbops.max_workers', 0), 'no worker');
$job = Dbops::backfill($node, q{'t', 'n = 2', 'n = 1'});
# Ten thousand of it; made one by one they would take a minute.
$node->safe_psql('postgres', qq{
	CREATE TEMP TABLE copy AS SELECT * FROM dbops.job WHERE job_id = $job;
	WITH made AS (
	  INSERT INTO dbops.job (kind, target_oid, target_name, owner_oid, owner_name, created_by, spec, rows_total)
	  SELECT kind, target_oid, target_name, owner_oid, owner_name, created_by, spec, rows_total FROM copy, generate_series(2, 10000)
	  RETURNING job_id),
	slices AS (INSERT INTO dbops.job_slice (job_id, slice) SELECT job_id, 0 FROM made)
	INSERT INTO dbops.job_cursor (job_id, strategy, position)
	SELECT made.job_id, c.strategy, c.position FROM made, dbops.job_cursor c WHERE c.job_id = $job;
	SELECT dbops.resume($job);
});
is(Dbops::value($node, q{SELECT count(*) FROM dbops.jobs WHERE state = 'queued'}), 10000, 'ten thousand queued jobs');
idle('10,000 queued jobs');

$node->safe_psql('postgres', q{SELECT count(dbops.cancel(job_id)) FROM dbops.jobs WHERE state = 'queued' AND job_id % 10 <> 0});
$node->safe_psql('postgres', q{ALTER SYSTEM SET dbops.max_workers = 2});
$node->reload;
ok(Dbops::wait_for($node, q{SELECT count(*) FROM dbops.jobs WHERE state IN ('queued', 'running')}, 0), 'they run when they may');
is(Dbops::value($node, q{SELECT state, count(*) FROM dbops.jobs GROUP BY 1 ORDER BY 1}), "cancelled|9000\nsucceeded|1001", 'all of them');
cmp_ok(scalar(forks()), '<', 300, 'and not with a process for each: ' . forks());
# One that waits for ever, written by hand, keeps no other from its turn.
$node->safe_psql('postgres', 'ALTER SYSTEM SET dbops.max_workers = 0');
$node->reload;
ok(Dbops::wait_for($node, 'SHOW dbops.max_workers', 0), 'no worker again');
my ($never, $second) = map { Dbops::backfill($node, "'t', 'n = $_', 'n IS DISTINCT FROM $_'") } 3, 4;
$node->safe_psql('postgres', "UPDATE dbops.job SET not_before = 'infinity' WHERE job_id = $never");
$node->safe_psql('postgres', 'ALTER SYSTEM SET dbops.max_workers = 2');
$node->reload;
is(Dbops::wait_job($node, $second), 'succeeded', 'beside a job that waits for ever another runs');
idle('a job that waits for ever');
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/ERROR:|FATAL:|cannot subtract/, 'and nothing fails');
$node->stop;
done_testing();
