# vacuum_every: VACUUM between two chunks of a job.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(time sleep);
use Dbops;

my $node = Dbops::node('vacuum', conf => "autovacuum = off\ndbops.max_workers = 4\n");
sub table
{
	my ($name, $rows) = @_;
	$node->safe_psql('postgres', "CREATE TABLE $name (id int PRIMARY KEY, n int NOT NULL DEFAULT 0) WITH (fillfactor = 50);"
		  . " INSERT INTO $name (id) SELECT generate_series(1, $rows); ANALYZE $name");
	return;
}
sub vacuums { my ($name) = @_; return Dbops::value($node, "SELECT vacuum_count FROM pg_stat_user_tables WHERE relname = '$name'"); }

# Of the rows of all workers together, over a pause too.
for my $parallel (1, 3)
{
	my $name = "share$parallel";
	table($name, 20_000);
	my $job = Dbops::backfill($node, "'$name', 'n = n + 1', vacuum_every => 0.25, max_batch_rows => 200, nice_ratio => 0, stripes => 1,"
		  . " max_rows_per_second => 4000, parallel => $parallel");
	for my $part (1, 2)
	{
		ok(Dbops::wait_for($node, "SELECT rows_done > $part * 4000 FROM dbops.jobs WHERE job_id = $job", 't'), "parallel $parallel: part $part");
		$node->safe_psql('postgres', "SELECT dbops.pause($job)");
		ok(Dbops::wait_for($node, "SELECT count(*) FROM dbops.job_runs WHERE job_id = $job AND outcome = 'running'", 0), "parallel $parallel: paused");
		$node->safe_psql('postgres', "SELECT dbops.resume($job)");
	}
	is(Dbops::wait_job($node, $job), 'succeeded', "parallel $parallel: done");
	my $count = vacuums($name);
	ok($count >= 3 && $count <= 4, "parallel $parallel: VACUUM after each quarter of the rows ($count)");
	is(Dbops::value($node, "SELECT n, count(*) FROM $name GROUP BY n"), '1|20000', "parallel $parallel: each row once");
}

# Tables that inherit from it as well, each once or, from 18 on, where VACUUM of the parent takes them along, twice.
table('forebear', 2000);
$node->safe_psql('postgres', 'CREATE TABLE heir () INHERITS (forebear); ALTER TABLE heir ADD PRIMARY KEY (id); INSERT INTO heir (id) SELECT generate_series(1, 2000); ANALYZE heir');
is(Dbops::wait_job($node, Dbops::backfill($node, q{'forebear', 'n = n + 1', vacuum_every => 0.25, max_batch_rows => 100, nice_ratio => 0, stripes => 1})),
	'succeeded', 'a table with a child');
cmp_ok(vacuums('forebear'), '>=', 3, 'the table is vacuumed');
cmp_ok(vacuums('heir'), '>=', 3, 'and its child');

# Who waits for the table ends a VACUUM, not the job: this one would take hours.
$node->safe_psql('postgres', q{CREATE ROLE slow LOGIN; ALTER ROLE slow SET vacuum_cost_delay = '100ms'; ALTER ROLE slow SET vacuum_cost_limit = 1});
table('wanted', 20_000);
$node->safe_psql('postgres', 'ALTER TABLE wanted OWNER TO slow');
my $job = Dbops::backfill($node, q{'wanted', 'n = n + 1', vacuum_every => 0.2, max_batch_rows => 500, nice_ratio => 0, stripes => 1});
my $running = q{SELECT count(*) FROM pg_stat_progress_vacuum WHERE relid = 'wanted'::regclass};
for my $round (1 .. 2)
{
	ok(Dbops::wait_for($node, $running, 1), "round $round: VACUUM is under way");
	is(Dbops::value($node, "SELECT waiting_for FROM dbops.progress WHERE job_id = $job"), 'VACUUM between two chunks', "round $round: progress says so");
	my (undef, $error) = Dbops::finish_sql(Dbops::start_sql($node, "ALTER TABLE wanted ADD COLUMN c$round int"), 30);
	is($error, '', "round $round: ALTER TABLE gets the table");
}
ok(Dbops::wait_for($node, $running, 1), 'and again');
is(Dbops::value($node, "SELECT dbops.pause($job)"), 'paused', 'pause() ends it as well');
ok(Dbops::wait_for($node, "SELECT count(*) FROM dbops.job_runs WHERE job_id = $job AND outcome = 'running'", 0), 'at once');
is(Dbops::value($node, "SELECT count(*) FROM dbops.job_events WHERE job_id = $job AND action = 'pause'"), 1, 'the job was paused by that alone');
$node->safe_psql('postgres', "ALTER ROLE slow SET vacuum_cost_delay = 0; SELECT dbops.resume($job)");
is(Dbops::wait_job($node, $job), 'succeeded', 'the job goes on');
is(Dbops::value($node, 'SELECT n, count(*) FROM wanted GROUP BY n'), '1|20000', 'each row once');
is(Dbops::value($node, "SELECT count(*) FROM dbops.job_runs WHERE job_id = $job AND outcome IN ('failed', 'lost')"), 0, 'nothing failed');

$node->stop;
ok(!$node->log_contains(qr/PANIC|TRAP|terminated by signal/), 'no crash');
done_testing();
