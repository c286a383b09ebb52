# A backup is of the server that was asked for it: not of another copy of the cluster, and with all of its tablespaces.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Archive;
use Backup;
use Dbops;
use File::Temp ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $store = Archive::store('file');
my @store = Backup::store_options($store);
my $primary = Archive::primary('primary', $store, init => [ '--data-checksums', '--wal-segsize=1' ]);
my @backup = ('backup', '-d', $primary->connstr('postgres'), @store);
$primary->safe_psql('postgres', 'CREATE TABLE account AS SELECT g AS id, 0 AS n FROM generate_series(1, 1000) g');

# --- the directory of a standby ----------------------------------------------------------------------------------------------
$primary->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'b', has_streaming => 1);
$standby->append_conf('postgresql.conf', "archive_mode = off\n");
$standby->start;
$primary->wait_for_catchup($standby);
my $run = Backup::dbops(@backup, '-D', $standby->data_dir);
is($run->{status}, 2, 'the directory of a standby that has caught up is refused');
like($run->{err}, qr/is not the directory of the server that is connected to/, 'it says so') or diag $run->{err};
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
ok(Dbops::wait_for($standby, 'SELECT pg_get_wal_replay_pause_state()', 'paused'), 'replay is paused');
$primary->safe_psql('postgres', 'UPDATE account SET n = 1; CHECKPOINT');
is(Backup::dbops(@backup, '-D', $standby->data_dir)->{status}, 2, 'one that has pages of yesterday, too');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
$standby->stop;
is(Backup::dbops(@backup, '-D', $standby->data_dir)->{status}, 2, 'one that is stopped');
$standby->start;
$standby->promote;
is(Backup::dbops(@backup, '-D', $standby->data_dir)->{status}, 2, 'one that was promoted');
$standby->stop;
is(scalar(grep { $_->{state} eq 'ok' } @{ JSON::PP::decode_json(Backup::dbops('list', '--json', @store)->{out}) }), 0, 'nothing of it is a backup');
Backup::take($primary, $store, arguments => [ '-D', $primary->data_dir ], what => 'its own directory is taken');

# --- a tablespace that is not mounted ------------------------------------------------------------------------------------------
my $disk = File::Temp::tempdir(CLEANUP => 1);
mkdir "$disk/space" or die "mkdir: $!";
$primary->safe_psql('postgres', "CREATE TABLESPACE space LOCATION '$disk/space'");
$primary->safe_psql('postgres', 'CREATE TABLE beside TABLESPACE space AS SELECT g FROM generate_series(1, 1000) g');
$primary->safe_psql('postgres', 'CHECKPOINT');
rename "$disk/space", "$disk/away" or die "rename: $!";
$run = Backup::dbops(@backup);
is($run->{status}, 2, 'without one of its tablespaces there is no backup');
like($run->{err}, qr/tablespace at .* has no directory/, 'it says so') or diag $run->{err};
rename "$disk/away", "$disk/space" or die "rename: $!";
Backup::take($primary, $store, what => 'with it there is one');

# --- a drill does nothing of the server's work ---------------------------------------------------------------------------------
# In the file alone: the server has not read it.
$primary->append_conf('postgresql.conf', "recovery_end_command = 'touch $disk/ended'\nsynchronous_standby_names = 'nobody'\n");
Backup::take($primary, $store, what => 'with settings of the server');
append_to_file("$disk/check.sql", "CREATE TABLE written ();\n");
$run = Backup::dbops('drill', '--role', Dbops::default_role(), '--scratch', $disk, '--check-sql', "$disk/check.sql", @store);
is($run->{status}, 0, 'a drill waits for nobody') or diag $run->{err};
ok(!-e "$disk/ended", 'and does not run the server\'s commands');

done_testing();
