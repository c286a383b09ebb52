# WAL that is lost at a promotion: the old primary had not archived it, and its standby had recycled it. The promoted server
# must not look as if all were well, until a base backup is taken that does not need it.
use strict;
use warnings;
use File::Path ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Archive;

my $store = Archive::store('file');
my $primary = Archive::primary('primary', $store, init => ['--wal-segsize=1'],
	conf => "dbops.stream_interval = '100ms'\nautovacuum = off\nwal_keep_size = 0\n");
$primary->safe_psql('postgres', 'CREATE TABLE t (v text)');
$primary->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'b', has_streaming => 1);
$standby->start;

my @segments;
for my $value (1 .. 6)
{
	push @segments, Dbops::value($primary, "INSERT INTO t VALUES ('$value'); SELECT pg_walfile_name(pg_switch_wal())") =~ s/\n//gr;
	Dbops::value($primary, 'CHECKPOINT') if $value > 3;
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('flush'));
	Dbops::value($standby, 'CHECKPOINT') if $value > 3;
}
ok(Archive::wait_archived($primary), 'the primary has archived');
Archive::crash($primary);

# As if its archive had been out from the second segment on.
for my $object (glob "$store->{directory}/*/wal/00000001/*/*")
{
	my ($segment) = $object =~ m{/([0-9A-F]{24})[^/]*$} or next;
	next if $segment le $segments[0];
	if   (-d $object) { File::Path::remove_tree($object); }
	else              { unlink $object or die; }
}
ok(!-e $standby->data_dir . "/pg_wal/$segments[1]", 'the standby has recycled some of it');

$standby->promote;
Archive::wait_promoted($standby);
ok(Dbops::wait_for($standby, q{SELECT state FROM dbops.archive_status}, 'gap'), 'the promoted server says that there is a gap')
  || diag Archive::report($standby);
my $row = Dbops::value($standby, q{SELECT ok, severity, hint FROM dbops.check() WHERE check_name = 'primary store lineage'});
like($row, qr/^f\|error\|Take a base backup/, 'dbops.check() says it too, and what to do');
my $identifier = unpack 'Q', slurp_file($standby->data_dir . '/global/pg_control');
my $output = qx{"$ENV{DBOPS_CLI}" wal-list --store '$store->{url}' --system-identifier $identifier};
is($? >> 8, 1, 'wal-list says it by its exit status');
like($output, qr/missing\s+\Q$segments[1]\E/, 'and names the segments');

$standby->backup('b2');
ok(Dbops::wait_for($standby, q{SELECT state <> 'gap' FROM dbops.archive_status}, 't'), 'a base backup makes up for it')
  || diag Archive::report($standby);
is(Dbops::value($standby, q{SELECT count(*) FROM dbops.check() WHERE check_name = 'primary store lineage'}), 0, 'for dbops.check(), too');
$standby->stop;

done_testing();
