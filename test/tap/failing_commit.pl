# A COMMIT that raises an error after it has committed (out of memory in what comes after its record): the batch is done, and
# must not be done again. A library of this test's own makes every third commit of a batch fail that way.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Dbops;

plan skip_all => 'needs ELF on a 64-bit machine' unless $^O eq 'linux' && length(pack 'J', 0) == 8;
my $library = Dbops::fault_library('failing_commit');
my $node = Dbops::node('failing', start => 0);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbops,$library'\n");
$node->start;
Dbops::create_extension($node);
ok($node->log_contains(qr/failing_commit: CommitTransactionCommand/) && $node->log_contains(qr/failing_commit: SPI_commit/), 'commits of dbops can be made to fail');

my $rows = 6000;
for my $case (
	[ 'by key', q{strategy => 'key'} ],
	[ 'by key, one transaction a claim', q{strategy => 'key', parallel => 2} ],
	[ 'in stripes', q{strategy => 'stripe', stripes => 4} ],
	[ 'in stripes, parallel', q{strategy => 'stripe', stripes => 4, parallel => 2} ])
{
	my ($name, $options) = @$case;
	for my $how ('in a worker', 'in a session')
	{
		next if $how eq 'in a session' && $options =~ /parallel/;
		$node->safe_psql('postgres', "DROP TABLE IF EXISTS t; CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0) WITH (fillfactor = 20);"
			  . "INSERT INTO t (id) SELECT generate_series(1, $rows); VACUUM ANALYZE t");
		my $job = $how eq 'in a worker'
		  ? Dbops::backfill($node, "'t', 'n = n + 1', max_batch_rows => 100, nice_ratio => 0, $options")
		  : Dbops::value($node, "BEGIN; SELECT dbops.backfill('t', 'n = n + 1', max_batch_rows => 100, nice_ratio => 0, $options) AS job \\gset\n"
			  . "UPDATE dbops.job SET not_before = 'infinity' WHERE job_id = :job; COMMIT; SELECT :job");
		is(Dbops::refusal($node, "CALL dbops.run($job)"), '', "$name, $how: it runs") if $how eq 'in a session';
		is(Dbops::wait_job($node, $job, 120), 'succeeded', "$name, $how: the job succeeds");
		is(Dbops::value($node, 'SELECT n, count(*) FROM t GROUP BY n'), "1|$rows", "$name, $how: each row once");
		is(Dbops::value($node, "SELECT rows_done FROM dbops.jobs WHERE job_id = $job"), $rows, "$name, $how: and counted once");
	}
}
$node->stop;
ok(!$node->log_contains(qr/PANIC|TRAP|terminated by signal/), 'no crash');
done_testing();
