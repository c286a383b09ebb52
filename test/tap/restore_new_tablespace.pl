# Replay of CREATE TABLESPACE goes to the place that the WAL names: on the machine of its source that must not be the
# source's own.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Archive;
use Backup;
use Dbops;
use Digest::SHA ();
use File::Find ();
use File::Path ();
use File::Temp ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

my $places = File::Temp::tempdir(CLEANUP => 1);
my $store  = Archive::store('file');
my $node   = Archive::primary('origin', $store, init => ['--wal-segsize=1']);

# Path => content of all that is there.
sub content
{
	my ($directory) = @_;
	my %files;
	File::Find::find({ no_chdir => 1, wanted => sub { $files{$_} = -f $_ ? Digest::SHA->new(256)->addfile($_, 'b')->hexdigest : 'directory' } }, $directory);
	return \%files;
}

# Recovery that must stop; what the server says. It may answer before recovery comes to the record.
sub stopped
{
	my ($copy, $what) = @_;
	my ($from, $log) = (-s $copy->logfile // 0, '');
	Archive::start_only($copy);
	for (my $i = 0; $i < 10 * $PostgreSQL::Test::Utils::timeout_default; ++$i)
	{
		last if -e $copy->logfile && ($log = slurp_file($copy->logfile, $from)) =~ /database system is shut down|archive recovery complete/;
		Time::HiRes::sleep(0.1);
	}
	like($log, qr/could not restore file .* exit code 205\n.*database system is shut down/s, "$what: recovery stops") or diag $log;
	return $log;
}

# --- made behind the backup ---------------------------------------------------------------------------------------------------
mkdir "$places/$_" or die for qw(source early later);
$node->safe_psql('postgres', "CREATE TABLESPACE early LOCATION '$places/early'");
$node->safe_psql('postgres', 'CREATE TABLE first TABLESPACE early AS SELECT generate_series(1, 1000) AS n');
my $early = Dbops::value($node, q{SELECT oid FROM pg_tablespace WHERE spcname = 'early'});
Backup::take($node, $store);
$node->safe_psql('postgres', "CREATE TABLESPACE fast LOCATION '$places/source'");
$node->safe_psql('postgres', q{
	CREATE TABLE x (n int, t text) TABLESPACE fast;
	INSERT INTO x SELECT n, repeat('x', 500) FROM generate_series(1, 2000) n;
	CHECKPOINT;
	DELETE FROM x WHERE n % 2 = 0});
my $oid = Dbops::value($node, q{SELECT oid FROM pg_tablespace WHERE spcname = 'fast'});
$node->safe_psql('postgres', 'INSERT INTO first VALUES (0)');
Archive::wait_durable($node);
$node->stop;
my $before = content("$places/source");
$node->start;
my $role  = Dbops::value($node, 'SELECT current_user');
my @drill = ('drill', '--role', $role, '--scratch', $places, Backup::store_options($store));
my $run   = Backup::dbops(@drill);
is($run->{status}, 2, 'a drill does not go into the living server');
my $refusal = qr{WAL creates tablespace $oid in "\Q$places\E/source", where files of a server are already: replay would overwrite them};
like($run->{err}, $refusal, 'it says where it would have');
like($run->{err}, qr/take a backup now that the tablespace is there/, 'and what to do');
is(Dbops::value($node, q{SELECT count(*) FROM dbops.drills WHERE NOT succeeded AND failure LIKE '%WAL creates tablespace%'}), 1, 'dbops.drills has it');

my $copy = Backup::restore('copy', $store, arguments => [ '--tablespace', "$early=$places/copy_early" ]);
like(stopped($copy, 'a restored copy'), $refusal, 'the log says why');
$node->stop;
is_deeply(content("$places/source"), $before, 'what the source has there is as it was');
# Both servers would make tables in a directory that has none yet.
rename "$places/source", "$places/kept" or die;
my ($version) = map { m{([^/]+)$} } glob "$places/kept/PG_*";
File::Path::make_path("$places/source/$version");
like(stopped($copy, 'with a tablespace of another server in which no table is'), $refusal, 'the log says why');
File::Path::remove_tree("$places/source");
rename "$places/kept", "$places/source" or die;

# --- a place that is empty ----------------------------------------------------------------------------------------------------
# As on another machine; and again after a crash, when the place is its own.
rename "$places/source", "$places/kept" or die;
mkdir "$places/source" or die;
$copy->start;
Archive::wait_promoted($copy);
is(Dbops::value($copy, 'SELECT count(*) || \' \' || (SELECT count(*) FROM first) FROM x'), '1000 1001', 'where nothing is, it is made');
is(readlink($copy->data_dir . "/pg_tblspc/$oid"), "$places/source", 'there');
$copy->stop;
my $standby = Backup::restore('standby', $store, arguments => [ '--standby', '--tablespace', "$early=$places/standby_early" ]);
like(stopped($standby, 'a third one'), $refusal, 'it finds the files of the second');
File::Path::remove_tree("$places/source");
mkdir "$places/source" or die;
$standby->start;
$standby->poll_query_until('postgres', q{SELECT count(*) = 1000 FROM x}) or diag slurp_file($standby->logfile);
my $log_size = -s $standby->logfile;
Archive::crash($standby);
$standby->start;
$standby->poll_query_until('postgres', q{SELECT count(*) = 1000 FROM x}) or diag slurp_file($standby->logfile);
unlike(substr(slurp_file($standby->logfile), $log_size), qr/WAL creates tablespace/, 'one that replays it again after a crash goes on: the place is its own');
$standby->stop;
File::Path::remove_tree("$places/source");

# --- a drill makes none anywhere ----------------------------------------------------------------------------------------------
mkdir "$places/source" or die;
$run = Backup::dbops(@drill);
is($run->{status}, 2, 'a drill does not leave its directory either where nothing is');
like($run->{err}, qr{WAL creates tablespace $oid in "\Q$places\E/source", outside of the directory of this recovery}, 'it says so');
is_deeply([ glob "$places/source/*" ], [], 'nothing is there');
rmdir "$places/source" or die;
rename "$places/kept", "$places/source" or die;
# As where the configuration says which directory it is of.
$node->append_conf('postgresql.conf', sprintf q{data_directory = '%s'}, $node->data_dir);
$node->start;
Backup::take($node, $store, what => 'a backup that has the tablespace');
$node->safe_psql('postgres', 'INSERT INTO x VALUES (1)');
Archive::wait_durable($node);
$run = Backup::dbops(@drill);
is($run->{status}, 0, 'from it a drill succeeds, in its own directory') or diag $run->{err};
is(join(' ', glob "$places/dbops-drill-*"), '', 'nothing is left');
$node->stop;

done_testing();
