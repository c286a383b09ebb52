# One worker over very many batches: its memory does not grow. A row a batch, and every kind of step: stripes, halving,
# errors set aside, rows to revisit, sweeps.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(time sleep);
use Dbops;

plan skip_all => 'needs /proc' unless -r '/proc/self/status';

my $batches = $ENV{DBOPS_LEAK_BATCHES} // ($ENV{DBOPS_NIGHTLY} ? 400_000 : 100_000);
my $windows = 9;      # the batches after the first tenth, in as many parts of the same size
my $bound   = 512;    # kB that all of them may add, by what the median of them adds

# A leak adds in each part: 16 bytes a batch would be 560 kB by the end of 40,000. What adds once, however much, is no leak: a cache
# that is built anew beside its old memory when another process changes many relations, as autovacuum does.
my $node = Dbops::node('main', conf => "autovacuum = on\nautovacuum_naptime = 5s\nsynchronous_commit = off\nwal_level = minimal\nmax_wal_senders = 0\n");
sub sql { return $node->safe_psql('postgres', $_[0]) }

# What batches add in all, by the median of the parts. Takes [count, kB] of each look.
sub growth
{
	my ($total, @looks) = @_;
	my @edges;
	for my $part (0 .. $windows)
	{
		my $from = $total * (0.1 + 0.9 * $part / $windows);
		push @edges, (grep { $_->[0] >= $from } @looks)[0] // $looks[-1];
	}
	my @added = sort { $a <=> $b } map { $edges[$_]->[1] - $edges[ $_ - 1 ]->[1] } 1 .. $windows;
	return $added[ $windows / 2 ] * $windows;
}
is(growth(100, map { [ $_, 5000 + 10 * $_ ] } 1 .. 100), 900, 'a leak is seen');
is(growth(100, map { [ $_, $_ < 40 ? 5000 : 6000 ] } 1 .. 100), 0, 'a step is none');

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
	my ($pid, @looks);
	my $revisits = 0;
	my $end = time() + 900;
	while (time() < $end)
	{
		my ($state, $count, $to_revisit, $now) = split /\|/, sql("SELECT j.state, p.batches, p.ranges_to_revisit, (SELECT string_agg(pid::text, ' ') FROM dbops.job_runs r"
			  . " WHERE r.job_id = $job AND outcome = 'running') FROM dbops.jobs j JOIN dbops.progress p USING (job_id) WHERE job_id = $job");
		last if $state !~ /queued|running/;
		$revisits = $to_revisit if $to_revisit > $revisits;
		if (defined $now && $now ne '')
		{
			$pid //= $now;
			is($now, $pid, 'the same worker') if $now ne $pid;
			my $memory = memory($pid);
			push @looks, [ $count, $memory ] if defined $memory && $count >= $total / 10;
		}
		sleep 0.1;
	}
	is(Dbops::job_state($node, $job), 'succeeded', "$name: the job ends") or diag Dbops::explain_job($node, $job);
	my $count = sql("SELECT batches FROM dbops.progress WHERE job_id = $job");
	cmp_ok($count, '>=', 0.99 * $total, "$name: $count batches");
	cmp_ok(scalar @looks, '>=', 2 * $windows, "$name: " . @looks . " looks at the worker's memory");
	my $growth = growth($total, @looks);
	cmp_ok($growth, '<=', $bound, "$name: $growth kB by the median, from $looks[0][1] kB to $looks[-1][1] kB")
	  or diag join ' ', map { "$_->[0]:$_->[1]" } @looks;
	return $revisits;
}

my $share = int($batches * 0.4);
sql("CREATE TABLE t (id bigint PRIMARY KEY, a text, b int); INSERT INTO t SELECT i, i::text FROM generate_series(1, $share) i");
my $job = Dbops::backfill($node, q{'t', 'b = length(a)', strategy => 'key', max_batch_rows => 1, nice_ratio => 0, lock_timeout => '10 ms'});
# Five times another session is before it at some rows, each time for a second: they are visited again at the end.
my $holder = Dbops::start_sql($node, "DO \$\$BEGIN FOR i IN 1 .. 5 LOOP"
	  . " PERFORM FROM t WHERE id BETWEEN (SELECT rows_done FROM dbops.jobs WHERE job_id = $job) + 200 AND (SELECT rows_done FROM dbops.jobs WHERE job_id = $job) + 220 FOR UPDATE;"
	  . " PERFORM pg_sleep(1); COMMIT; PERFORM pg_sleep(1); END LOOP; END\$\$");
my $revisits = watch('key', $job, $share);
is((Dbops::finish_sql($holder))[1], '', 'the other session has had its rows');
cmp_ok($revisits, '>', 0, "$revisits rows were to be visited again");
is(sql('SELECT count(*) FROM t WHERE b = length(a)'), $share, 'every row is done');

# A composite key in stripes; one row in a thousand raises.
$share = int($batches * 0.3);
my $bad = int($share / 1000);
sql("CREATE TABLE s (x int, y text, a text, b int, PRIMARY KEY (x, y)) WITH (fillfactor = 50);"
	  . " INSERT INTO s SELECT i % 1000, 'k' || i, CASE WHEN i % 1000 = 0 AND i <= $bad * 1000 THEN 'x' ELSE '1' END FROM generate_series(1, $share) i");
$job = Dbops::backfill($node, "'s', 'b = a::int', strategy => 'stripe', stripes => 4, max_batch_rows => 1, nice_ratio => 0, max_errors => 1000000");
watch('stripes and errors', $job, $share);
is(sql('SELECT count(*) FROM s WHERE b = 1'), $share - $bad, 'every good row is done');
is(sql("SELECT count(*) FROM dbops.job_errors WHERE job_id = $job"), $bad, 'every bad one is listed');

# By blocks, and then a sweep by key for proof: as for a table that is too big for one snapshot.
$share = int($batches * 0.3);
sql("CREATE TABLE w (id bigint PRIMARY KEY, a text, b int); INSERT INTO w SELECT i, i::text FROM generate_series(1, $share) i");
$job = sql("BEGIN; SELECT dbops.backfill('w', 'b = length(a)', 'b IS NULL', strategy => 'block', max_batch_rows => 1, nice_ratio => 0) AS job \\gset\n"
	  . "UPDATE dbops.job SET spec = spec || '{\"snapshot_blocks\": 0}' WHERE job_id = :job; COMMIT; SELECT :job");
watch('blocks and sweep', $job, $share);
is(sql('SELECT count(*) FROM w WHERE b = length(a)'), $share, 'every row is done');
cmp_ok(sql("SELECT pass FROM dbops.progress WHERE job_id = $job"), '>', 0, 'with a sweep after the first pass');

$node->stop;
done_testing;
