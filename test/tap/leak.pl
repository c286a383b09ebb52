# One worker over very many batches: its memory does not grow. A row a batch, and every kind of step: stripes, halving,
# errors set aside, rows to revisit, sweeps.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(time sleep);
use Dbops;

plan skip_all => 'needs /proc' unless -r '/proc/self/status';

my $batches = $ENV{DBOPS_LEAK_BATCHES} // ($ENV{DBOPS_NIGHTLY} ? 400_000 : 100_000);
my $bound   = 512;    # kB that may come on top between the first tenth and the end

# The cache of relations and plans is full by then; a leak of 16 bytes a batch would be 850 kB more by the end of 60,000.
my $node = Dbops::node('main', conf => "autovacuum = on\nautovacuum_naptime = 5s\nsynchronous_commit = off\nwal_level = minimal\nmax_wal_senders = 0\n");
sub sql { return $node->safe_psql('postgres', $_[0]) }

# Memory of the process that it shares with nobody, in kB. Buffers that it has touched are not in it.
sub memory
{
	my ($pid) = @_;
	open my $file, '<', "/proc/$pid/status" or return;
	my ($anonymous) = map { /^RssAnon:\s+(\d+) kB/ ? $1 : () } <$file>;
	return $anonymous;
}

sub watch
{
	my ($name, $job, $total) = @_;
	my ($pid, $first, $last, $most, $samples) = (undef, undef, undef, 0, 0);
	my $end = time() + 900;
	while (time() < $end)
	{
		my ($state, $count, $now) = split /\|/, sql("SELECT j.state, p.batches, (SELECT string_agg(pid::text, ' ') FROM dbops.job_runs r"
			  . " WHERE r.job_id = $job AND outcome = 'running') FROM dbops.jobs j JOIN dbops.progress p USING (job_id) WHERE job_id = $job");
		last if $state !~ /queued|running/;
		if (defined $now && $now ne '')
		{
			$pid //= $now;
			is($now, $pid, 'the same worker') if $now ne $pid;
			my $memory = memory($pid);
			if (defined $memory && $count >= $total / 10)
			{
				$first //= $memory;
				$last = $memory;
				$most = $memory if $memory > $most;
				++$samples;
			}
		}
		sleep 0.25;
	}
	is(Dbops::job_state($node, $job), 'succeeded', "$name: the job ends") or diag Dbops::explain_job($node, $job);
	my $count = sql("SELECT batches FROM dbops.progress WHERE job_id = $job");
	cmp_ok($count, '>=', 0.99 * $total, "$name: $count batches");
	cmp_ok($samples, '>=', 3, "$name: $samples looks at the worker's memory");
	cmp_ok($last - $first, '<=', $bound, "$name: $first kB after a tenth, $last kB at the end, $most kB at most");
	return;
}

my $share = int($batches * 0.6);
sql("CREATE TABLE t (id bigint PRIMARY KEY, a text, b int); INSERT INTO t SELECT i, i::text FROM generate_series(1, $share) i");
my $job = Dbops::backfill($node, q{'t', 'b = length(a)', strategy => 'key', max_batch_rows => 1, nice_ratio => 0});
watch('key', $job, $share);
is(sql('SELECT count(*) FROM t WHERE b = length(a)'), $share, 'every row is done');

# A composite key in stripes; one row in a thousand raises.
$share = int($batches * 0.4);
my $bad = int($share / 1000);
sql("CREATE TABLE s (x int, y text, a text, b int, PRIMARY KEY (x, y)) WITH (fillfactor = 50);"
	  . " INSERT INTO s SELECT i % 1000, 'k' || i, CASE WHEN i % 1000 = 0 AND i <= $bad * 1000 THEN 'x' ELSE '1' END FROM generate_series(1, $share) i");
$job = Dbops::backfill($node, "'s', 'b = a::int', strategy => 'stripe', stripes => 4, max_batch_rows => 1, nice_ratio => 0, max_errors => 1000000");
watch('stripes and errors', $job, $share);
is(sql('SELECT count(*) FROM s WHERE b = 1'), $share - $bad, 'every good row is done');
is(sql("SELECT count(*) FROM dbops.job_errors WHERE job_id = $job"), $bad, 'every bad one is listed');

$node->stop;
done_testing;
