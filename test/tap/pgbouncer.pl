# Every call through PgBouncer in transaction mode: each statement may meet another session of the server.
use strict;
use warnings;
use IPC::Run qw(start run timeout);
use PostgreSQL::Test::Utils;
use Test::More;
use Dbops;

my ($pgbouncer) = grep { -x } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin', '/usr/local/sbin', '/usr/local/bin';
plan skip_all => 'no pgbouncer' unless $pgbouncer;

my $node = Dbops::node('main');
my $user = getpwuid($>);
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $place = PostgreSQL::Test::Utils::tempdir_short();
append_to_file("$place/users", qq("$user" ""\n"clerk" ""\n));
append_to_file("$place/pgbouncer.ini", <<"INI");
[databases]
postgres = host=@{[ $node->host ]} port=@{[ $node->port ]} dbname=postgres
[pgbouncer]
listen_addr =
unix_socket_dir = $place
listen_port = $port
auth_type = trust
auth_file = $place/users
pool_mode = transaction
default_pool_size = 2
server_reset_query = DISCARD ALL
server_reset_query_always = 1
logfile = $place/log
pidfile = $place/pid
INI
my $output = '';
my $bouncer = start [ $pgbouncer, "$place/pgbouncer.ini" ], '<', \undef, '>&', \$output;
END { local $?; $bouncer->kill_kill if $bouncer; }

sub through
{
	my ($sql, %options) = @_;
	my ($out, $err) = ('', '');
	my $ok = run [ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-h', $place, '-p', $port, '-U', $options{user} // $user, '-d', 'postgres', '-c', $sql ],
	  '<', \undef, '>', \$out, '2>', \$err, timeout(60);
	chomp $out;
	return wantarray ? ($out, $err) : $out;
}

sub becomes
{
	my ($sql, $answer) = @_;
	for (1 .. 600)
	{
		return 1 if through($sql) eq $answer;
		Time::HiRes::sleep(0.05);
	}
	diag "never '$answer': $sql";
	return 0;
}

ok(becomes('SELECT 1', '1'), 'PgBouncer answers') or diag $output;
$node->safe_psql('postgres', 'CREATE ROLE clerk LOGIN; CREATE TABLE t (id int PRIMARY KEY, a int, b int, n int NOT NULL DEFAULT 0);'
	  . ' INSERT INTO t SELECT i, i FROM generate_series(1, 3000) i; ALTER TABLE t OWNER TO clerk');

# Other clients come in between, so that sessions of the server are passed round.
my $noise = PostgreSQL::Test::Utils::tempdir() . '/noise.sql';
append_to_file($noise, "SET search_path = pg_catalog\nSELECT pg_backend_pid()\n");
my $noise_output = '';
my $pgbench = start [ 'pgbench', '-n', '-c', '2', '-T', '100000', '-f', $noise, '-h', $place, '-p', $port, '-U', $user, 'postgres' ], '>&', \$noise_output;
END { local $?; $pgbench->kill_kill if $pgbench; }

my $job = through(q{SELECT dbops.backfill('public.t', 'b = a', 'b IS NULL')}, user => 'clerk');
like($job, qr/^\d+$/, 'backfill');
through("CALL dbops.wait($job)", user => 'clerk');
is(through("SELECT state FROM dbops.jobs WHERE job_id = $job", user => 'clerk'), 'succeeded', 'CALL wait returns when it is done');
is(through("SELECT state || ' ' || rows_done || ' ' || percent FROM dbops.progress WHERE job_id = $job", user => 'clerk'), 'succeeded 3000 100.0', 'progress');
is($node->safe_psql('postgres', 'SELECT count(*) FROM t WHERE b = a'), 3000, 'every row is done');
is($node->safe_psql('postgres', "SELECT owner FROM dbops.jobs WHERE job_id = $job"), 'clerk', 'as the role of the client');

# Slow enough to be steered: ten rows a second.
my $slow = q{nice_ratio => 0, max_batch_rows => 1, max_rows_per_second => 10};
$job = through("SELECT dbops.backfill('public.t', 'n = n + 1', $slow)", user => 'clerk');
ok(becomes("SELECT rows_done > 0 FROM dbops.progress WHERE job_id = $job", 't'), 'a slow job runs');
is(through("SELECT dbops.pause($job)", user => 'clerk'), 'paused', 'pause');
ok(becomes("SELECT count(*) FROM dbops.job_runs WHERE job_id = $job AND outcome = 'running'", 0), 'its worker has gone');
is(through("SELECT waiting_for FROM dbops.progress WHERE job_id = $job", user => 'clerk'), "SELECT dbops.resume($job)", 'progress says what it waits for');
is(through("SELECT dbops.resume($job)", user => 'clerk'), 'queued', 'resume');
ok(becomes("SELECT state FROM dbops.jobs WHERE job_id = $job", 'running'), 'it runs again');
my (undef, $error) = through("CALL dbops.wait($job, '0.1 s')", user => 'clerk');
like($error, qr/has not finished in time/, 'CALL wait with a time limit');
is(through("SELECT dbops.cancel($job, 'enough')", user => 'clerk'), 'cancelled', 'cancel');
ok(becomes("SELECT count(*) FROM dbops.job_runs WHERE job_id = $job AND outcome = 'running'", 0), 'its worker has gone');
(undef, $error) = through("CALL dbops.wait($job)", user => 'clerk');
like($error, qr/was cancelled/, 'CALL wait says that it was cancelled');
my $done = $node->safe_psql('postgres', 'SELECT count(*) FROM t WHERE n = 1');
is($node->safe_psql('postgres', "SELECT rows_done FROM dbops.jobs WHERE job_id = $job"), $done, 'what is done stays done');
(undef, $error) = through("SELECT dbops.pause($job)", user => 'clerk');
like($error, qr/cannot pause job $job: it is cancelled/, 'a wrong step is an error');
$node->safe_psql('postgres', "UPDATE dbops.job SET spec = spec - 'max_rows_per_second' WHERE job_id = $job");
is(through("SELECT dbops.retry($job)", user => 'clerk'), 'queued', 'retry');
through("CALL dbops.wait($job)", user => 'clerk');
is($node->safe_psql('postgres', 'SELECT count(*) FROM t WHERE n = 1'), 3000, 'it goes on where it was: each row once');

# CALL run: a statement with a commit after each batch. PgBouncer keeps one session for it until it has ended.
$node->safe_psql('postgres', 'ALTER SYSTEM SET dbops.max_workers = 0; SELECT pg_reload_conf()');
ok(Dbops::wait_for($node, 'SHOW dbops.max_workers', '0'), 'no workers');
$job = through(q{SELECT dbops.batch_delete('public.t', 'id % 2 = 0', nice_ratio => 0, max_batch_rows => 20)}, user => 'clerk');
my ($out, $run_error) = through("CALL dbops.run($job)", user => 'clerk');
is($run_error, '', 'CALL run');
is(through("SELECT mode || ' ' || outcome || ' ' || rows_done FROM dbops.job_runs WHERE job_id = $job", user => 'clerk'), 'session finished 1500', 'in the session');
is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), 1500, 'the rows are gone');
(undef, $error) = through("BEGIN; CALL dbops.run($job); COMMIT", user => 'clerk');
like($error, qr/cannot run inside a transaction block/, 'CALL run in a transaction block is refused');
is(through("SHOW dbops.in_job"), '', 'nothing of the job stays in the session');
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", 0), 'nor a lock');

# dbops migrate: who looks for how long others wait finds it by its text, or says that it does not.
my $reader = $node->background_psql('postgres');
$reader->query_safe("SET application_name = 'reader'");
my $migrations = PostgreSQL::Test::Utils::tempdir();
my $seen = '';
sub migrate
{
	my ($project, $sql) = @_;
	$seen = '';
	return start [ $ENV{DBOPS_CLI}, '--dbname', "host=$place port=$port user=clerk dbname=postgres", 'migrate', '--dir', Dbops::directory("$migrations/$project", 'V1__x.sql' => $sql),
		'--project', $project, '--no-lint', '--max-blocking', '0.5', '--lock-retries', '0', '--lock-timeout', '120' ], '<', \undef, '>&', \$seen, timeout($PostgreSQL::Test::Utils::timeout_default);
}
my $migration = migrate('seen', "LOCK TABLE public.t;\nSELECT pg_sleep(600);\n");
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'", 1), 'a migration sleeps with a lock');
is($reader->query_safe('SELECT count(*) FROM t'), 1500, 'somebody reads the table all the same');
$migration->finish;
like($seen, qr/ERROR 57014: .*DETAIL:  waiting: 1 session, process \d+ \(role \S+, application reader/s, 'as it was cancelled for that');
unlike($seen, qr/not seen among/, 'it was seen');
$node->safe_psql('postgres', "ALTER ROLE clerk SET track_activities = off; SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE usename = 'clerk' AND backend_type = 'client backend'");
$reader->query_safe('SELECT pg_advisory_lock(5)');
$migration = migrate('unseen', 'SELECT pg_advisory_xact_lock(5)');
$migration->pump until $seen =~ /not seen among.*\n/ || !$migration->pumpable;
like($seen, qr/^dbops: nobody looks for how long others wait: the statement is not seen among those of the server\n/m, 'what is not shown: it says that nobody looks');
$reader->query_safe('SELECT pg_advisory_unlock(5)');
$migration->finish;
is($? >> 8, 0, 'and goes on without') or diag $seen;
$reader->quit;

ok($pgbench->pumpable, 'the other clients were served all the time') or diag $noise_output;
$pgbench->kill_kill;
$bouncer->kill_kill;
undef $pgbench;
undef $bouncer;
$node->stop;
done_testing;
