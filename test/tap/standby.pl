# A streaming standby: it holds a job back when it lags, runs nothing itself, and goes on with the jobs once it is promoted.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(sleep);
use IO::Socket::UNIX;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Dbops;

my $primary = Dbops::node('primary', init => [ allows_streaming => 1 ], conf => "autovacuum = off\n");
$primary->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'b', has_streaming => 1);
$standby->append_conf('postgresql.conf', "wal_receiver_status_interval = 1s\n");
$standby->start;

$primary->safe_psql('postgres', q{
	CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0) WITH (fillfactor = 50);
	INSERT INTO t (id) SELECT generate_series(1, 20000);
	CREATE TABLE u (id int PRIMARY KEY, n int NOT NULL DEFAULT 0) WITH (fillfactor = 50);
	INSERT INTO u (id) SELECT generate_series(1, 3000);
});
$primary->wait_for_catchup($standby);

# --- nothing runs on a standby ---------------------------------------------------------------------------------------------
is(Dbops::value($standby, 'SELECT dbops.has_launcher()'), 'f', 'no launcher on the standby');
is(Dbops::value($standby, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'dbops%'}), 0, 'nor any other process of dbops');
like(Dbops::refusal($standby, q{SELECT dbops.backfill('t', 'n = n + 1')}), qr/^25006:/, 'no job is made there');

# --- replica lag -----------------------------------------------------------------------------------------------------------
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
ok(Dbops::wait_for($standby, 'SELECT pg_get_wal_replay_pause_state()', 'paused'), 'replay is paused');
my $job = Dbops::backfill($primary, q{'t', 'n = n + 1', max_replica_lag => '1 s', max_batch_rows => 100, max_rows_per_second => 2000});
ok(Dbops::wait_for($primary, "SELECT waiting_for LIKE 'replica lag%' FROM dbops.progress WHERE job_id = $job", 't'), 'the job waits for the standby');
like(Dbops::value($primary, "SELECT waiting_for FROM dbops.progress WHERE job_id = $job"), qr/^replica lag [\d.]+ s, limit 1\.0 s/, 'and says so');
is(Dbops::value($primary, "SELECT waiting_since <= clock_timestamp() FROM dbops.progress WHERE job_id = $job"), 't', 'and since when');
my $rows = Dbops::value($primary, "SELECT rows_done FROM dbops.jobs WHERE job_id = $job");
cmp_ok($rows, '<', 20000, "it has stopped in the middle, after $rows rows");
sleep 2;    # a time in which it would have gone on
is(Dbops::value($primary, "SELECT rows_done FROM dbops.jobs WHERE job_id = $job"), $rows, 'and stays there');
# But when it looks at the lag.
ok(Dbops::wait_for($primary, "SELECT count(*) FROM dbops.job_runs r JOIN pg_stat_activity a USING (pid) WHERE job_id = $job AND outcome = 'running' AND a.backend_xmin IS NULL",
	1), 'holding nothing back') or diag Dbops::explain_job($primary, $job);
is(Dbops::value($standby, 'SELECT count(*) FROM t WHERE n <> 0'), Dbops::value($standby, 'SELECT coalesce(sum(rows_done), 0) FROM dbops.job_slice'),
	'what the standby shows is consistent');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
is(Dbops::wait_job($primary, $job), 'succeeded', 'when the standby has caught up the job goes on');
is(Dbops::value($primary, 'SELECT count(*) FROM t WHERE n <> 1'), 0, 'each row once');
$primary->wait_for_catchup($standby);
is(Dbops::value($standby, "SELECT state FROM dbops.jobs WHERE job_id = $job"), 'succeeded', 'the standby shows the jobs as well');
is(Dbops::value($standby, "SELECT rows_done FROM dbops.progress WHERE job_id = $job"), 20000, 'and their progress');

# --- replication connections that are no standby, and one of which nothing is known -----------------------------------------
# A client that streams and reports nothing: pg_stat_replication has no position of it.
sub mute_client
{
	my ($command) = @_;
	my $socket = IO::Socket::UNIX->new(Peer => $primary->host . '/.s.PGSQL.' . $primary->port) or die "socket: $!";
	my $parameters = join '', map { "$_\0" } (user => Dbops::default_role(), replication => 'true', application_name => 'mute', '');
	print $socket pack('NN', 8 + length $parameters, 196608) . $parameters;
	print $socket 'Q' . pack('N', 5 + length $command) . "$command\0" if $command;
	$socket->flush;
	return $socket;
}
sub senders { my ($where) = @_; return "SELECT count(*) FROM pg_stat_replication WHERE $where"; }
$primary->wait_for_catchup($standby);
my $lsn = Dbops::value($primary, 'SELECT pg_current_wal_flush_lsn()');

my $idle = mute_client();
ok(Dbops::wait_for($primary, senders(q{application_name = 'mute' AND state = 'startup'}), 1), 'a replication connection that streams nothing');
my $wal = PostgreSQL::Test::Utils::tempdir();
my $receiver = IPC::Run::start([ 'pg_receivewal', '-D', $wal, '-d', $primary->connstr('postgres'), '-s', '1' ], '>', \my $receiver_out, '2>', \my $receiver_err);
ok(Dbops::wait_for($primary, senders(q{state = 'streaming' AND write_lsn IS NOT NULL AND replay_lsn IS NULL}), 1), 'pg_receivewal');
$job = Dbops::backfill($primary, q{'u', 'n = n + 1', max_replica_lag => '5 s'});
is(Dbops::wait_job($primary, $job, 60), 'succeeded', 'neither holds a job back');
$receiver->signal('INT');
$receiver->finish;
close $idle;

my $mute = mute_client("START_REPLICATION PHYSICAL $lsn");
ok(Dbops::wait_for($primary, senders(q{application_name = 'mute' AND state IN ('streaming', 'catchup') AND write_lsn IS NULL}), 1), 'a standby that has not reported');
$job = Dbops::backfill($primary, q{'u', 'n = n - 1', max_replica_lag => '5 s'});
ok(Dbops::wait_for($primary, "SELECT waiting_for FROM dbops.progress WHERE job_id = $job", 'replica lag cannot be read', 60), 'holds the job back');
is(Dbops::value($primary, "SELECT rows_done FROM dbops.jobs WHERE job_id = $job"), 0, 'from the start');
close $mute;
is(Dbops::wait_job($primary, $job, 60), 'succeeded', 'until it is gone');
is(Dbops::value($primary, 'SELECT count(*) FROM u WHERE n <> 0'), 0, 'each row once');

# --- failover --------------------------------------------------------------------------------------------------------------
$job = Dbops::backfill($primary, q{'t', 'n = n + 1', max_batch_rows => 100, max_rows_per_second => 1500, max_replica_lag => NULL, parallel => 2});
my $second = Dbops::backfill($primary, q{'u', 'n = 7', 'n = 0', max_batch_rows => 100, max_rows_per_second => 250, max_replica_lag => NULL});
my ($paused) = $primary->safe_psql('postgres', "BEGIN;\nSELECT dbops.backfill('u', 'n = 9', 'n = 8') AS job \\gset\nSELECT dbops.pause(:job);\nCOMMIT;\nSELECT :job;") =~ /(\d+)$/;
ok(Dbops::wait_for($standby, "SELECT count(*) FROM dbops.jobs WHERE job_id IN ($job, $second) AND state = 'running' AND rows_done > 500", 2), 'two jobs are under way');
like(Dbops::refusal($standby, "CALL dbops.run($job)"), qr/^25006:/, 'the standby refuses to run one');
like(Dbops::refusal($standby, "SELECT dbops.pause($job)"), qr/^25006:/, 'or to steer one');
$primary->stop('immediate');
my $done = Dbops::value($standby, "SELECT rows_done FROM dbops.jobs WHERE job_id = $job");
cmp_ok($done, '<', 20000, "the primary is gone after $done rows");
is(Dbops::value($standby, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'dbops%'}), 0, 'nothing runs on the standby');
$standby->promote;
is(Dbops::wait_job($standby, $job), 'succeeded', 'promoted, it goes on with the first job');
is(Dbops::wait_job($standby, $second), 'succeeded', 'and the second');
is(Dbops::value($standby, 'SELECT count(*) FILTER (WHERE n <> 2), count(*) FROM t'), '0|20000', 'each row once');
is(Dbops::value($standby, 'SELECT count(*) FILTER (WHERE n <> 7), count(*) FROM u'), '0|3000', 'each row once');
is(Dbops::value($standby, "SELECT count(*) > 0 FROM dbops.job_runs WHERE job_id = $job AND outcome = 'lost'"), 't', 'the runs on the primary are known as lost');
is(Dbops::value($standby, "SELECT sum(rows_done) FROM dbops.job_runs WHERE job_id = $job"), 20000, 'and the rows are accounted for');
$primary->clean_node;
is(Dbops::job_state($standby, $paused), 'paused', 'a job that was paused stays so');
is(Dbops::value($standby, "SELECT dbops.resume($paused)"), 'queued', 'until somebody resumes it');
is(Dbops::wait_job($standby, $paused), 'succeeded', 'on the new primary');
my $new = Dbops::backfill($standby, q{'u', 'n = n + 1'});
is(Dbops::wait_job($standby, $new), 'succeeded', 'new jobs run there');
$standby->stop;
done_testing();
