# What becomes of jobs after a restore from a backup: those that change rows wait for somebody's word, as they may be what the
# server was restored to be rid of. A standby that is promoted goes on with them: standby.pl.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();
use Dbops;

my $node = PostgreSQL::Test::Cluster->new('origin');
$node->init(has_archiving => 1, allows_streaming => 1);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbops'\ndbops.max_workers = 0\n");
$node->start;
Dbops::create_extension($node);
sub sql { my ($server, $text) = @_; return $server->safe_psql('postgres', $text); }
sql($node, 'CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i FROM generate_series(1, 5000) i; CREATE TABLE done (at timestamptz)');
my $fill = Dbops::backfill($node, q{'t', 'n = id', 'n IS NULL'});
my $delete = Dbops::batch_delete($node, q{'t', 'id > 100'});
my $paused = Dbops::batch_delete($node, q{'t', 'id > 50'});
sql($node, "SELECT dbops.pause($paused, 'not now')");
sql($node, q{SELECT dbops.schedule('tick', 'every second', 'INSERT INTO done VALUES (now())')});
$node->backup('base');
sql($node, 'SELECT pg_switch_wal()');
$node->poll_query_until('postgres', q{SELECT last_archived_wal >= (SELECT max(file_name) FROM (SELECT pg_walfile_name(pg_current_wal_lsn() - 1) AS file_name) f)
	OR (SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready') = 0 FROM pg_stat_archiver});
$node->stop;

my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($node, 'base', has_restoring => 1, standby => 0);
$copy->append_conf('postgresql.conf', "archive_mode = off\ndbops.max_workers = 2\nrestart_after_crash = on\n");
$copy->start;
$copy->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die;
is($copy->poll_query_until('postgres', "SELECT count(*) = 3 FROM dbops.jobs WHERE state = 'paused'"), 1, 'after a restore, jobs that change rows are paused');
is(sql($copy, "SELECT string_agg(DISTINCT reason, '; ') FROM dbops.job_event WHERE job_id IN ($fill, $delete) AND action = 'pause' AND actor = 'dbops'"),
	'the server was restored from a backup: dbops.resume() if the job is to go on here', 'which says why');
is(sql($copy, "SELECT string_agg(reason, '; ') FROM dbops.job_event WHERE job_id = $paused AND action = 'pause'"), 'not now', 'what was paused has its own reason');
like(slurp_file($copy->logfile), qr/dbops: 2 jobs are paused, as the server was restored from a backup/, 'the log says so');

is($copy->poll_query_until('postgres', 'SELECT count(*) > 0 FROM done'), 1, 'schedules go on');
my $new = Dbops::backfill($copy, q{'t', 'n = -id', 'id <= 10'});
is(Dbops::wait_job($copy, $new), 'succeeded', 'and a job that is made now is done');
sql($copy, "SELECT dbops.resume($fill)");
is(Dbops::wait_job($copy, $fill), 'succeeded', 'one that is resumed goes on');
is(sql($copy, 'SELECT count(*), count(*) FILTER (WHERE n IS NULL) FROM t'), '5000|0', 'nothing was deleted');

# A word about one is heard the first time, also where it was not dbops that had paused it.
sql($copy, "BEGIN; SELECT dbops.resume($paused); UPDATE dbops.job SET not_before = now() + interval '1 hour' WHERE job_id = $paused; COMMIT");
$new = Dbops::backfill($copy, q{'t', 'n = id', 'id <= 10'});
is(Dbops::wait_job($copy, $new), 'succeeded', 'the dispatcher has looked again');
is(Dbops::job_state($copy, $paused), 'queued', 'what somebody had paused before, and resumes, stays so');

# Whatever lets the dispatcher look again, it is asked once.
sql($copy, "BEGIN; SELECT dbops.resume($delete); UPDATE dbops.job SET not_before = now() + interval '1 hour' WHERE job_id = $delete; COMMIT");
my ($launcher) = Dbops::launcher($copy);
kill 'KILL', $launcher;
for (1 .. 1200)
{
	my $pid = Dbops::ask($copy, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'dbops launcher'});
	last if $pid && $pid ne $launcher;
	Time::HiRes::sleep(0.1);
}
$new = Dbops::backfill($copy, q{'t', 'n = id', 'id <= 10'});
is(Dbops::wait_job($copy, $new), 'succeeded', 'after a crash a job that was made since is done');
is(Dbops::job_state($copy, $delete), 'queued', 'and one that was resumed stays so');
$copy->restart;
is(Dbops::wait_job($copy, Dbops::backfill($copy, q{'t', 'n = id', 'id <= 10'})), 'succeeded', 'after a restart');
is(Dbops::job_state($copy, $delete), 'queued', 'the same');
$copy->stop;
done_testing();
