# pg_upgrade with dbops preloaded: nothing of it runs while that works on the two servers, and its jobs, schedules and holds are there
# afterwards. From a version to the same one, as what it does is the same.
use strict;
use warnings;
use File::Temp ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Dbops;

my $old = Dbops::node('old', conf => "dbops.max_workers = 2\n");
# pg_upgrade makes sure that each library is there, by the name that functions have it by.
if ($old->psql('postgres', q{LOAD '$libdir/dbops'}) != 0)
{
	$old->stop;
	plan skip_all => 'dbops is in a staging directory, where pg_upgrade does not look in this version';
}
$old->safe_psql('postgres', q{CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t (id) SELECT generate_series(1, 3000);
	CREATE TABLE ticks (at timestamptz DEFAULT clock_timestamp())});
my $done = Dbops::backfill($old, q{'t', 'n = n + 1', 'id <= 1000'});
is(Dbops::wait_job($old, $done), 'succeeded', 'a job that is done');
my $job = Dbops::backfill($old, q{'t', 'n = n + 1', 'id > 1000', strategy => 'key', max_batch_rows => 100, max_rows_per_second => 200});
ok(Dbops::wait_for($old, "SELECT rows_done BETWEEN 1 AND 1999 FROM dbops.jobs WHERE job_id = $job", 't'), 'and one in the middle');
$old->safe_psql('postgres', q{SELECT dbops.schedule('tick', 'every second', 'INSERT INTO ticks DEFAULT VALUES')});
$old->safe_psql('postgres', q{SELECT dbops.hold('t', 'id = 7', 'court')});
$old->stop;

my $new = PostgreSQL::Test::Cluster->new('new');
$new->init;
$new->append_conf('postgresql.conf', "shared_preload_libraries = 'dbops'\ndbops.max_workers = 2\nlog_connections = on\n");
my ($bindir) = run_command([ $ENV{PG_CONFIG} // 'pg_config', '--bindir' ]);
my $place = File::Temp::tempdir(CLEANUP => 1);
chdir $place or die;
command_ok([ 'pg_upgrade', '--old-datadir', $old->data_dir, '--new-datadir', $new->data_dir, '--old-bindir', $bindir, '--new-bindir', $bindir,
		'--retain', '--socketdir', $new->host, '--old-port', $old->port, '--new-port', $new->port ], 'pg_upgrade, with dbops preloaded in both');
# The launcher of one would have ended with exit code 1.
my $logs = join '', map { slurp_file($_) } glob $new->data_dir . '/pg_upgrade_output.d/*/log/*';
like($logs, qr/database system is ready/, 'its servers tell what they do');
unlike($logs, qr/dbops launcher/, 'no launcher ran meanwhile');

$new->start;
is(Dbops::wait_job($new, $job), 'succeeded', 'the job goes on in the new server');
is($new->safe_psql('postgres', 'SELECT min(n), max(n) FROM t'), '1|1', 'each row once');
is(Dbops::job_state($new, $done), 'succeeded', 'what was done is in the history');
my $ticks = $new->safe_psql('postgres', 'SELECT count(*) FROM ticks');
ok(Dbops::wait_for($new, "SELECT count(*) > $ticks FROM ticks", 't'), 'the schedule runs');
is($new->safe_psql('postgres', q{SELECT count(*) FROM dbops.holds WHERE reason = 'court'}), 1, 'the hold is there');
$new->stop;
done_testing();
