# Drills to a point in time; of a visibility map that is wrong; and what a drill leaves that is killed.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Archive;
use Backup;
use Dbops;
use File::Temp ();
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

# Not one that has ended and that nobody has waited for.
sub runs
{
	my ($pid) = @_;
	open my $stat, '<', "/proc/$pid/stat" or return 0;
	return <$stat> !~ /\) [ZX] /;
}

my $scratch = File::Temp::tempdir(CLEANUP => 1);
my $store = Archive::store('file');
# Files of visibility maps are exchanged below: without checksums on all majors.
my $node = Archive::primary('origin', $store, init => [ '--wal-segsize=1', `initdb --help` =~ /no-data-checksums/ ? '--no-data-checksums' : () ]);
$node->append_conf('postgresql.conf', 'max_prepared_transactions = 2');
$node->restart;
# A DROP DATABASE that was interrupted leaves one that nobody can connect to; another one has a limit that no check keeps.
$node->safe_psql('postgres', $_)
  for 'CREATE DATABASE half', q{UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'half'},
  q{CREATE DATABASE "hasty 'one'"}, q{ALTER DATABASE "hasty 'one'" SET statement_timeout = '1ms'};
$node->safe_psql('postgres', 'CREATE TABLE step (n int); INSERT INTO step VALUES (1)');
Backup::take($node, $store);

# --- to a point in time -------------------------------------------------------------------------------------------------------
$node->safe_psql('postgres', 'INSERT INTO step VALUES (2)');
my $target = Dbops::value($node, 'SELECT clock_timestamp()');
$node->safe_psql('postgres', 'INSERT INTO step VALUES (3)');
Archive::wait_durable($node);
append_to_file("$scratch/check.sql", q{SELECT 1 / (max(n) = 2)::int FROM step;});
my @drill = ('drill', '--json', '--role', Dbops::value($node, 'SELECT current_user'), '--scratch', $scratch, Backup::store_options($store));
my $run = Backup::dbops(@drill, '--target-time', $target, '--check-sql', "$scratch/check.sql");
is($run->{status}, 0, 'a drill to a point in time') or diag $run->{err};
my $result = JSON::PP::decode_json($run->{out});
ok($result->{succeeded}, 'its record says so');
like($result->{target_time} // '', qr/^\d{4}-\d\d-\d\d/, 'and to which time');
is(Dbops::value($node, q{SELECT count(*) FROM dbops.drills WHERE succeeded AND target_time IS NOT NULL}), 1, 'as does dbops.drills');
is(Backup::dbops(@drill, '--check-sql', "$scratch/check.sql")->{status}, 2, 'without it, all there is comes back');
$run = Backup::dbops(@drill, '--gap-time', 0, '--target-time', '2100-01-01 00:00:00Z');
is($run->{status}, 2, 'a time behind the end is refused');
like($run->{err}, qr/the target lies behind that/, 'it says why');
is(join(' ', glob "$scratch/dbops-drill-*"), '', 'nothing is left');

# --- one that is killed -------------------------------------------------------------------------------------------------------
append_to_file("$scratch/wait.sql", qq{\\! touch $scratch/reached\nSELECT pg_sleep(600);\n});
my ($out, $err) = ('', '');
my $process = IPC::Run::start([ $ENV{DBOPS_CLI}, @drill, '--check-sql', "$scratch/wait.sql" ], '<', \undef, '>', \$out, '2>', \$err);
for (1 .. 1800)
{
	last if -e "$scratch/reached";
	Time::HiRes::sleep(0.1);
}
ok(-e "$scratch/reached", 'a drill is at its checks');
my ($left) = glob "$scratch/dbops-drill-*";
my $other = Backup::dbops(@drill);
is($other->{status}, 0, 'another one meanwhile') or diag $other->{err};
ok(-e "$left/data/postmaster.pid", 'leaves it alone');
my ($pid) = slurp_file("$left/data/postmaster.pid") =~ /^(\d+)/;
kill 'KILL', $process->{KIDS}[0]{PID};
$process->finish;
ok(runs($pid), 'killed, it leaves its server');
# Two whose server has ended, and whose number another process has now: one was killed before it had PG_VERSION.
my $foreign = IPC::Run::start([ 'sleep', 3600 ]);
my $foreign_pid = $foreign->{KIDS}[0]{PID};
my @reused = map { "$scratch/dbops-drill-$_" } qw(late early);
for my $reused (@reused)
{
	mkdir $reused, 0700 or die;
	mkdir "$reused/data", 0700 or die;
	append_to_file("$reused/drill.lock", '');
	append_to_file("$reused/data/postmaster.pid", "$foreign_pid\n$reused/data\n1795255200\n5432\n$reused\n\n  1  1\n");
}
append_to_file("$reused[0]/data/PG_VERSION", $node->pg_version->major . "\n");
mkdir "$scratch/dbops-drill-mine" or die;
append_to_file("$scratch/dbops-drill-mine/letter", 'kept');
my $next = Backup::dbops(@drill);
is($next->{status}, 0, 'the next one') or diag $next->{err};
like($next->{err}, qr/removed "\Q$left\E", which a drill has left that was killed/, 'says what it finds');
ok(!-e $left, 'removes it');
ok(!runs($pid), 'and ends the server');
ok(runs($foreign_pid), 'but not what has its number');
is(join(' ', grep { -e } @reused), '', 'and removes what is left of it');
$foreign->kill_kill;
ok(-e "$scratch/dbops-drill-mine/letter", 'what no drill has made it leaves alone');
unlink "$scratch/dbops-drill-mine/letter";
rmdir "$scratch/dbops-drill-mine" or die;
is(Backup::dbops(@drill, '--keep')->{status}, 0, 'one that keeps its directory');
my ($kept) = glob "$scratch/dbops-drill-*";
is(Backup::dbops(@drill)->{status}, 0, 'and one after it');
ok(-e "$kept/data/PG_VERSION", 'which leaves that alone');

# --- a visibility map that is wrong -------------------------------------------------------------------------------------------
# As from an incremental backup that had missed a page of it (PostgreSQL 17 and 18 do).
$node->safe_psql('postgres', q{
	CREATE TABLE seen (id int PRIMARY KEY) WITH (autovacuum_enabled = off);
	INSERT INTO seen SELECT generate_series(1, 100);
});
$node->safe_psql('postgres', 'VACUUM (FREEZE) seen');
my $map = $node->data_dir . '/' . Dbops::value($node, q{SELECT pg_relation_filepath('seen')}) . '_vm';
$node->stop;
my $all_visible = slurp_file($map);
$node->start;
$node->safe_psql('postgres', 'DELETE FROM seen WHERE id = 7');
$node->stop;
isnt(slurp_file($map), $all_visible, 'a page is not visible to all any more');
open my $file, '>:raw', $map or die;
print $file $all_visible;
close $file;
$node->start;
Backup::take($node, $store, what => 'a backup with a map that says that it is');
$run = Backup::dbops(@drill);
is($run->{status}, 2, 'a drill finds that');
like($run->{err}, qr/the visibility map is wrong of 1 tables: (public\.)?seen in database postgres \(1 rows are not visible to all/, 'and names the table') or diag $run->{err};
is(Dbops::value($node, q{SELECT substr(failure, 1, 27) FROM dbops.drills ORDER BY at DESC LIMIT 1}), 'the visibility map is wrong', 'as does dbops.drills');

# --- interrupted while a check waits ------------------------------------------------------------------------------------------
$node->safe_psql('postgres', q{BEGIN; CREATE EXTENSION pg_visibility; PREPARE TRANSACTION 'half'});
Backup::take($node, $store, what => 'a backup with a prepared transaction that makes its extension');
($out, $err) = ('', '');
$process = IPC::Run::start([ $ENV{DBOPS_CLI}, @drill ], '<', \undef, '>', \$out, '2>', \$err);
for (1 .. 1800)
{
	$process->pump_nb;
	last if $err =~ /visibility/ || !$process->pumpable;
	Time::HiRes::sleep(0.1);
}
like($err, qr/visibility/, 'a drill is at its check of visibility maps');
$pid = $process->{KIDS}[0]{PID};
kill 'TERM', $pid;
for (1 .. 600)
{
	last if !runs($pid);
	Time::HiRes::sleep(0.1);
}
ok(!runs($pid), 'which waits: it ends when it is told to') or kill 'KILL', $pid;
$process->finish;
is($process->full_result(0) >> 8, 143, 'as one that was told') or diag $err;
is(join(' ', grep { $_ ne $kept } glob "$scratch/dbops-drill-*"), '', 'and leaves nothing');
$node->safe_psql('postgres', q{ROLLBACK PREPARED 'half'});

$node->stop;

done_testing();
