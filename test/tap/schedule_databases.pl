# Several databases and their slots: whoever leaves one wakes the others, also when they were just about to say that they wait.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(sleep time);
use Dbops;

my $rounds = 150;
my $node = Dbops::node('databases', conf => "autovacuum = off\ndbops.max_workers = 1\ndbops.housekeeping_interval = '1d'\n");
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION dbops');
my %session;
for my $database ('postgres', 'other')
{
	$node->safe_psql($database, q{SELECT dbops.schedule('short', '@yearly', 'SELECT 1')});
	$session{$database} = $node->background_psql($database);
}
# Both at once; then each has run once more.
my ($late, $longest) = (0, 0);
for my $round (1 .. $rounds)
{
	$session{$_}->query_safe(q{SELECT dbops.run_now('short')}) for $round % 2 ? ('postgres', 'other') : ('other', 'postgres');
	my $begin = time;
	for my $database ('postgres', 'other')
	{
		my $runs = 0;
		while (($runs = $session{$database}->query_safe(q{SELECT runs FROM dbops.schedules WHERE name = 'short'})) < $round)
		{
			if (time - $begin > 60) { diag("round $round: $database waits"); $late++; last; }
			sleep 0.01;
		}
		last if $late;
	}
	my $took = time - $begin;
	$longest = $took if $took > $longest;
	last if $late;
}
note(sprintf 'the longest round took %.2f s', $longest);
is($late, 0, "$rounds times both have their turn");
$_->quit for values %session;

# --- a slot that is given back unused: the other database hears of it ------------------------------------------------------------
sub sql { my ($database, $sql) = @_; return $node->safe_psql($database, $sql); }
sql('postgres', 'CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 10) i');
sql('postgres', 'ALTER SYSTEM SET dbops.max_workers = 0');
sql('postgres', 'SELECT pg_reload_conf()');
ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'dbops worker'}, 0), 'no worker is left');
my $job = Dbops::backfill($node, q{target => 't', assignments => 'n = n + 1'});
Dbops::at_rest($node);
my $lock = $node->background_psql('postgres');
$lock->query_safe('BEGIN; LOCK TABLE dbops.job_slice IN SHARE MODE');
sql('postgres', 'ALTER SYSTEM SET dbops.max_workers = 1');
sql('postgres', 'SELECT pg_reload_conf()');
ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'dbops dispatcher' AND wait_event_type = 'Lock' AND datname = 'postgres'}, 1),
	'the slot is taken for it, and its launch cannot be counted');
my $runs = sql('other', q{SELECT runs FROM dbops.schedules WHERE name = 'short'});
sql('other', q{SELECT dbops.run_now('short')});
ok($node->poll_query_until('other', "SELECT runs > $runs FROM dbops.schedules WHERE name = 'short'"), 'meanwhile the other database gets the slot');
$lock->query_safe('COMMIT');
$lock->quit;
is(Dbops::wait_job($node, $job), 'succeeded', 'then the job does');

# --- an extension that is gone waits for nothing: workers elsewhere stay for the next run -----------------------------------------------
sql('postgres', 'ALTER SYSTEM SET dbops.max_workers = 0');
sql('postgres', 'SELECT pg_reload_conf()');
ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'dbops %' AND backend_type NOT IN ('dbops launcher', 'dbops WAL streamer')}, 0), 'nobody works');
sql('postgres', 'CREATE DATABASE third');
sql('third', q{CREATE EXTENSION dbops; CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 1)});
sql('third', q{SELECT dbops.backfill(target => 't', assignments => 'n = n + 1')});
ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'dbops dispatcher'}, 0), 'it waits as well');
sql('third', 'DROP EXTENSION dbops CASCADE');
sql('postgres', 'ALTER SYSTEM SET dbops.max_workers = 2');
sql('postgres', 'SELECT pg_reload_conf()');
my $steady = sql('other', q{SELECT dbops.schedule('steady', 'every 1 second', 'SELECT 1')});
ok($node->poll_query_until('other', q{SELECT runs >= 6 FROM dbops.schedules WHERE name = 'steady'}), 'a schedule of every second runs');
cmp_ok(sql('other', "SELECT count(DISTINCT pid) FROM (SELECT pid FROM dbops.job_runs WHERE job_id = $steady ORDER BY run_id OFFSET 1) r"), '<=', 2, 'by one process, which stays');
done_testing();
