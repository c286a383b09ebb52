# The server dies between the claim of a scheduled run and its command: after that the run is known as lost, or is begun as if
# nobody had claimed it. It is never done twice, and never forgotten.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);
use Dbops;

my $library = Dbops::fault_library('moments');
my $node = Dbops::node('claim', start => 0);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbops, $library'\nrestart_after_crash = on\nautovacuum = off\n");
$node->start;
Dbops::create_extension($node);
sub sql { return Dbops::value($node, $_[0]); }
my $moments = $node->data_dir . '/moments';
mkdir $moments or die $!;
sql('CREATE TABLE log (name text, at timestamptz DEFAULT clock_timestamp())');

sub wait_until
{
	my ($what) = @_;
	for (1 .. 3600) { return 1 if $what->(); sleep 0.05; }
	return 0;
}

# A schedule with one time, soon; then the server is at that moment of its run.
sub come_to
{
	my ($moment, $name, $options) = @_;
	append_to_file("$moments/$moment", '');
	my $job = sql(qq{SELECT dbops.schedule('$name', 'at ' || to_char(now() AT TIME ZONE 'UTC' + interval '2 s', 'YYYY-MM-DD HH24:MI:SS'),
		\$\$INSERT INTO log VALUES ('$name') /* waits for its moment */\$\$, timezone => 'UTC', $options)});
	ok(wait_until(sub { -e "$moments/$moment.here" }), "$name: a worker is there");
	is(sql("SELECT count(*) FROM log WHERE name = '$name'"), 0, "$name: the command has not begun");
	return $job;
}

sub pids { return split /\n/, sql("SELECT pid FROM pg_stat_activity WHERE backend_type = '$_[0]'"); }

# Killed, it takes all others along; nobody stays at a moment any more when the server is there again.
sub crash_by
{
	my ($moment, $type) = @_;
	my $started = sql('SELECT pg_postmaster_start_time()');
	my $before = sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'");
	unlink "$moments/$moment";    # it is asleep still, for 10 ms; stopped, it does not go on
	my @found = pids($type);
	kill 'KILL', @found;
	ok(wait_until(sub { my $now = Dbops::ask($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"); defined $now && $now ne '' && $now ne $before }), 'the server has crashed and is there again');
	unlink "$moments/$moment.here";
	return;
}

sub stop_there { kill 'STOP', pids($_[0]); return; }
sub history { return sql("SELECT string_agg(attempt || ' ' || outcome, ', ' ORDER BY run_id) FROM dbops.job_runs WHERE job_id = $_[0]"); }
sub done { return sql("SELECT count(*) FROM log WHERE name = '$_[0]'"); }
sub over { my ($job, $state) = @_; return is(Dbops::wait_job($node, $job, 180), $state, "its job has $state"); }

# --- the claim is on disk -------------------------------------------------------------------------------------------------
my $job = come_to('command', 'alone', 'retries => 0');
sql('CREATE TABLE marker ()');    # waits for the disk, and the claim with it
stop_there('dbops worker');
crash_by('command', 'dbops worker');
over($job, 'failed');
is(history($job), '1 lost', 'its run is known as lost');
is(done('alone'), 0, 'and not begun again: nobody knows how far it was');
like(sql("SELECT last_error FROM dbops.jobs WHERE job_id = $job"), qr/ended without a report/, 'its job says so');

$job = come_to('command', 'again', q{retries => 1, retry_delay => '0 s'});
sql('DROP TABLE marker');
stop_there('dbops worker');
crash_by('command', 'dbops worker');
over($job, 'succeeded');
is(history($job), '1 lost, 2 finished', 'with a retry it is');
is(done('again'), 1, '... once');

# --- the claim need not be on disk ------------------------------------------------------------------------------------------
# The WAL writer would bring it there. What a crash takes back is claimed again: done once in either case.
stop_there('walwriter');
$job = come_to('command', 'hasty', q{retries => 1, retry_delay => '0 s'});
stop_there('dbops worker');
crash_by('command', 'dbops worker');
over($job, 'succeeded');
is(done('hasty'), 1, 'done once, whether its claim was on disk or not');
is(sql("SELECT count(*) FROM dbops.job_runs WHERE job_id = $job AND outcome = 'finished'"), 1, 'which is known');

# --- settings say that it has to be -----------------------------------------------------------------------------------------
stop_there('walwriter');
$job = come_to('command', 'careful', q{settings => '{"synchronous_commit": "on"}'});
stop_there('dbops worker');
crash_by('command', 'dbops worker');
over($job, 'failed');
is(history($job), '1 lost', 'with synchronous_commit among its settings a claim is on disk before the command begins');
is(done('careful'), 0, '... and it is not begun again');

# --- others run after it ------------------------------------------------------------------------------------------------------
my $leader = sql(q{SELECT dbops.schedule('leader', '@yearly', 'INSERT INTO log VALUES ($$leader$$)')});
my $closed = sql(q{SELECT to_char(now() AT TIME ZONE 'UTC' + interval '2 hours', 'HH24:MI') || '-' || to_char(now() AT TIME ZONE 'UTC' + interval '3 hours', 'HH24:MI')});
sql(qq{SELECT dbops.schedule('follower', NULL, 'SELECT 2', after => 'leader', timezone => 'UTC', windows => '$closed')});
stop_there('walwriter');
sql(q{SELECT dbops.run_now('leader')});
ok(Dbops::wait_for($node, q{SELECT last_result FROM dbops.schedules WHERE name = 'leader'}, 'finished'), 'a run ends after which others are to run');
crash_by('none', 'dbops launcher');
is(history($leader), '1 finished', 'its end is on disk');
is(sql(q{SELECT pending_why FROM dbops.schedule WHERE name = 'follower'}), 'after', '... and with it what follows, which still waits for its window');

# --- before the claim ---------------------------------------------------------------------------------------------------------
for my $moment ([ 'claim', 'dbops worker' ], [ 'dispatch', 'dbops dispatcher' ])
{
	my ($name, $type) = @$moment;
	$job = come_to($name, "before $name", 'retries => 0');
	stop_there($type);
	crash_by($name, $type);
	over($job, 'succeeded');
	is(history($job), '1 finished', "a run that was not claimed is begun when the server is there again ($type)");
	is(done("before $name"), 1, '... once');
}
is(sql("SELECT count(*) FROM (SELECT job_id, scheduled_at, attempt FROM dbops.job_runs GROUP BY 1, 2, 3 HAVING count(*) > 1) x"), 0, 'nothing was begun twice');
$node->stop;
done_testing();
