# The extension from the staging directory: preloaded with a launcher, and without.
use strict;
use warnings;
use Test::More;
use Dbops;

for my $preload (1, 0)
{
	my $node = Dbops::node("preload$preload", preload => $preload);
	# It comes a moment after the server accepts connections.
	ok(Dbops::wait_for($node, 'SELECT dbops.has_launcher()', $preload ? 't' : 'f'), "launcher with preload $preload");
	$node->safe_psql('postgres', 'CREATE TABLE t (id int PRIMARY KEY, a int, b int);'
		  . ' INSERT INTO t SELECT i, i FROM generate_series(1, 1000) i');
	my $job = Dbops::backfill($node, q{target => 't', assignments => 'b = a', condition => 'b IS NULL'});
	if ($preload)
	{
		is(Dbops::wait_job($node, $job), 'succeeded', 'a worker does the job');
	}
	else
	{
		like(Dbops::value($node, "SELECT waiting_for FROM dbops.progress WHERE job_id = $job"),
			qr/^CALL dbops\.run\($job\)/, 'the job says what it needs');
		$node->safe_psql('postgres', "CALL dbops.run($job)");
		is(Dbops::job_state($node, $job), 'succeeded', 'the session does the job');
	}
	is(Dbops::value($node, 'SELECT count(*) FROM t WHERE b = a'), 1000, 'every row is done');
	$node->stop;
}

done_testing;
