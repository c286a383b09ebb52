# What must not bring the work of a database, or of the server, to a halt: rows and databases that somebody has locked in an open
# transaction, jobs that cannot be started, more databases than there are places for.
use strict;
use warnings;
use Test::More;
use Dbops;

my $node = Dbops::node('dispatch', conf => "autovacuum = off\ndbops.max_workers = 2\n");
sub sql { my ($text, $database) = @_; return Dbops::value($node, $text, $database); }
sub workers_setting { my ($n) = @_; sql("ALTER SYSTEM SET dbops.max_workers = $n"); $node->reload; return Dbops::wait_for($node, 'SHOW dbops.max_workers', $n); }
my $number = 0;
# A job that has nothing in its way; its state in the end.
sub another
{
	my ($database) = @_;
	++$number;
	sql("CREATE TABLE other_$number (id int PRIMARY KEY, n int); INSERT INTO other_$number VALUES (1)", $database);
	return Dbops::wait_job($node, Dbops::backfill($node, "'other_$number', 'n = 1'", $database), undef, database => $database);
}
sub runs_until { my ($name, $runs, $database) = @_; return Dbops::wait_for($node, "SELECT runs >= $runs FROM dbops.schedules WHERE name = '$name'", 't', undef, $database); }

# --- the run of a worker that is lost, in somebody's open transaction -------------------------------------------------------------
sql(q{CREATE TABLE slow (id int PRIMARY KEY, n int); INSERT INTO slow SELECT i, 0 FROM generate_series(1, 2000) i});
for my $end ('ROLLBACK', 'COMMIT')
{
	my $job = Dbops::backfill($node, q{target => 'slow', assignments => 'n = n + 1', max_rows_per_second => 50});
	my $running = "FROM dbops.job_runs r JOIN pg_stat_activity a USING (pid) WHERE r.job_id = $job AND r.outcome = 'running'";
	ok(Dbops::wait_for($node, "SELECT count(*) $running", 1), "$end: a job runs");
	my $pid = sql("SELECT pid $running");
	my $session = $node->background_psql('postgres');
	$session->query_safe("BEGIN; SELECT 1 FROM dbops.job JOIN dbops.job_run USING (job_id) WHERE job_id = $job AND outcome = 'running' FOR NO KEY UPDATE");
	sql("SELECT pg_terminate_backend($pid, 10000)");
	$session->query_safe("SELECT dbops.cancel($job)");
	is(another(), 'succeeded', "$end: its worker is lost while somebody has it cancelled and not said COMMIT; other jobs go on");
	$session->query_safe($end);
	$session->quit;
	ok(Dbops::wait_for($node, "SELECT count(*) FROM dbops.job_runs WHERE job_id = $job AND pid = $pid AND outcome = 'lost'", 1), "$end: then the run is known as lost");
	$end eq 'COMMIT' ? is(Dbops::job_state($node, $job), 'cancelled', "$end: and the job is cancelled")
	  : ok(Dbops::wait_for($node, "SELECT count(*) $running", 1), "$end: and the job goes on");
	sql("SELECT dbops.cancel($job)") if $end ne 'COMMIT';
}

# --- jobs that cannot be started, which somebody is steering -------------------------------------------------------------------------
ok(workers_setting(0), 'no worker');
my @held = map { sql("CREATE TABLE held_$_ (id int PRIMARY KEY, n int)"); Dbops::backfill($node, "'held_$_', 'n = 1', priority => 5") } 1 .. 4;
my $held = join ', ', @held;
sql("UPDATE dbops.job_slice SET launches = 5 WHERE job_id IN ($held)");
my $steering = $node->background_psql('postgres');
$steering->query_safe("BEGIN; SELECT 1 FROM dbops.job WHERE job_id IN ($held) FOR NO KEY UPDATE");
ok(workers_setting(2), 'workers again');
is(another(), 'succeeded', 'what cannot be started, and somebody has in an open transaction, does not hide what is behind it');
is(sql("SELECT count(*) FROM dbops.jobs WHERE job_id IN ($held) AND state = 'queued'"), 4, 'it waits');
$steering->query_safe('ROLLBACK');
$steering->quit;
ok(Dbops::wait_for($node, "SELECT count(*) FROM dbops.jobs WHERE job_id IN ($held) AND state = 'failed'", 4), 'and fails when he lets it go without a word');

# --- databases that somebody has locked in an open transaction ------------------------------------------------------------------------
my @databases = qw(one two three four);
for my $database (@databases)
{
	sql("CREATE DATABASE $database");
	Dbops::create_extension($node, $database);
	sql(q{SELECT dbops.schedule('later', '@yearly', 'SELECT 1')}, $database);
}
ok(Dbops::at_rest($node), 'databases in which something falls due');
my $renaming = $node->background_psql('postgres');
$renaming->query_safe('BEGIN');
$renaming->query_safe("ALTER DATABASE $_ RENAME TO ${_}_too") for @databases;
is(another(), 'succeeded', 'while they are being renamed, work goes on in others');
$renaming->query_safe('ROLLBACK');
$renaming->quit;
sql(q{SELECT dbops.run_now('later')}, $_) for @databases;
ok(runs_until('later', 1, $_), "and then in $_") for @databases;

# --- a command that needs the database for itself -------------------------------------------------------------------------------------
sql(q{SELECT dbops.schedule('copy', '@yearly', 'CREATE DATABASE copied TEMPLATE one'); SELECT dbops.run_now('copy')}, 'one');
ok(runs_until('copy', 1, 'one'), 'a scheduled command that copies its own database');
is(sql(q{SELECT last_result, last_error FROM dbops.schedules WHERE name = 'copy'}, 'one'), 'finished|', 'is not told to leave it');
sql(q{SELECT dbops.schedule('drop', '@yearly', 'DROP EXTENSION dbops'); SELECT dbops.run_now('drop')}, 'two');
ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_extension WHERE extname = 'dbops'}, 0, undef, 'two'), 'one that drops the extension does so');

# --- more databases than there are places for -----------------------------------------------------------------------------------------
# Rows without a directory: each is looked at, cannot be connected to, and is to be looked at again a minute later.
my @columns = split /\n/, sql(q{SELECT attname FROM pg_attribute WHERE attrelid = 'pg_database'::regclass AND attnum > 0 AND attname NOT IN ('oid', 'datname', 'datistemplate') ORDER BY attnum});
my $columns = join ', ', @columns;
sql("INSERT INTO pg_database (oid, datname, datistemplate, $columns) SELECT 100000 + i, 'none_' || i, false, $columns FROM pg_database, generate_series(1, 1100) i WHERE datname = 'template1'");
sql('CREATE DATABASE five');    # the launcher lists them anew
my $looked = sub { my @missing = PostgreSQL::Test::Utils::slurp_file($node->logfile) =~ /FATAL: .*database "none_\d+" does not exist/g; return scalar @missing; };
for (1 .. 20 * $PostgreSQL::Test::Utils::timeout_default) { last if $looked->() >= 1050; select undef, undef, undef, 0.1; }
cmp_ok($looked->(), '>=', 1020, 'more databases have something to do than there are places');
Dbops::create_extension($node, 'five');
is(another('five'), 'succeeded', 'one that comes then has its turn');
sql(q{SELECT dbops.run_now('later')}, 'three');
ok(runs_until('later', 2, 'three'), 'and so has one that had a place');
sql("DELETE FROM pg_database WHERE datname LIKE 'none\\_%'");

$node->stop;
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/PANIC|TRAP:|terminated by signal/, 'nothing untoward in the log');
done_testing();
