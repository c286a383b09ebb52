# NOTIFY of changes of state is a courtesy: when its queue is full, which one session that listens and stays in a transaction
# brings about for the whole server, jobs are made, steered and done all the same.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Dbops;

my $node = Dbops::node('notify', start => 0);
sub sql { my ($text) = @_; return $node->safe_psql('postgres', $text); }
sub once { return sql('SELECT count(*) FILTER (WHERE n <> 1) FROM t'); }

# Everything that changes a state while nothing can be notified; then what was made, by its numbers.
sub lives
{
	my ($what) = @_;
	sql('DROP TABLE IF EXISTS t, f; CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT generate_series(1, 100);'
		  . ' CREATE TABLE f (id int PRIMARY KEY, n int); INSERT INTO f VALUES (1, 0)');
	my $job = Dbops::backfill($node, q{'t', 'n = n + 1'});
	is(Dbops::wait_job($node, $job) . ' ' . once(), 'succeeded 0', "$what: a job is made and succeeds");
	my $failed = Dbops::backfill($node, q{'f', 'n = 1 / n'});
	is(Dbops::wait_job($node, $failed), 'failed', "$what: one fails, with its own error");
	like(sql("SELECT last_error FROM dbops.jobs WHERE job_id = $failed"), qr/division by zero/, "$what: which is recorded");
	my $slow = Dbops::backfill($node, q{'t', 'n = n + 1', max_batch_rows => 1, max_rows_per_second => 0.001});
	is(sql("SELECT dbops.pause($slow)"), 'paused', "$what: one is paused");
	is(sql("SELECT dbops.resume($slow)"), 'queued', "$what: resumed");
	is(sql("SELECT dbops.cancel($slow)"), 'cancelled', "$what: and cancelled");
	return;
}

SKIP:
{
	skip 'needs ELF on a 64-bit machine', 1 unless $^O eq 'linux' && length(pack 'J', 0) == 8;
	my $library = Dbops::fault_library('full_queue');
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbops,$library'\n");
}
my $bounded = $node->pg_version->major >= 17;
$node->append_conf('postgresql.conf', "max_notify_queue_pages = 64\n") if $bounded;
$node->start;
Dbops::create_extension($node);

SKIP:
{
	skip 'no faults', 1 unless $node->log_contains(qr/full_queue: Async_Notify/);
	my $full = $node->data_dir . '/full_queue';
	PostgreSQL::Test::Utils::append_to_file($full, '');
	lives('a full queue');
	ok($node->log_contains(qr/WARNING:  changes of dbops jobs are not notified: the queue of NOTIFY is 95 % full/), 'the log says so');
	unlink $full or die;
	like($node->safe_psql('postgres', "LISTEN dbops;\nSELECT dbops.backfill('t', 'n = 0') AS job \\gset\nCALL dbops.wait(:job);\nSELECT 'done';\n"),
		qr/Asynchronous notification .*"state":"succeeded"/, 'emptied, changes are notified again');
}

# The real one, which is small enough to be filled from PostgreSQL 17 on.
SKIP:
{
	skip 'the queue has 8 GB', 1 unless $bounded;
	my $listener = $node->background_psql('postgres');
	$listener->query_safe('LISTEN other');
	$listener->query_safe('BEGIN; SELECT 1');
	my ($status, $out, $err) = (0, '', '');
	for (my $i = 0; $status == 0 && $i < 1000; ++$i)
	{
		($status, $out, $err) = $node->psql('postgres', "SELECT pg_notify('other', rpad('$i', 7900, 'x'))");
	}
	like($err, qr/too many notifications in the NOTIFY queue/, 'the queue is full');
	lives('a listener in a transaction');
	$listener->query_safe('COMMIT');
	$listener->quit;
	ok(Dbops::wait_for($node, 'SELECT pg_notification_queue_usage() < 0.5', 't'), 'and then it is not');
}

$node->stop;
ok(!$node->log_contains(qr/PANIC|TRAP|terminated by signal/), 'no crash');
done_testing();
