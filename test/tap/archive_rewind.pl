# An old primary that was rewound to its successor and is promoted later: it acknowledges nothing that the store has not with the
# same bytes, and what either of them wrote before stays as it was.
use strict;
use warnings;
use File::Copy ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Archive;

my $conf = "dbops.stream_interval = '100ms'\nautovacuum = off\nwal_log_hints = on\nwal_keep_size = 64MB\n";
my $store = Archive::store('file');
my $old = Archive::primary('old', $store, conf => $conf, init => ['--wal-segsize=1']);
$old->safe_psql('postgres', 'CREATE TABLE t (v text)');
$old->backup('b');
my $new = PostgreSQL::Test::Cluster->new('new');
$new->init_from_backup($old, 'b', has_streaming => 1);
$new->start;

sub write_segment
{
	my ($node, $value) = @_;
	return Dbops::value($node, "INSERT INTO t VALUES ('$value'); SELECT pg_walfile_name(pg_switch_wal())") =~ s/\n//gr;
}

sub objects
{
	my ($pattern) = @_;
	return { map { $_ => slurp_file($_) } grep { m{$pattern} } glob "$store->{directory}/*/wal/*/*/*.zst" };
}

write_segment($old, 'common');
ok(Archive::wait_archived($old), 'the primary has archived');
$old->wait_for_catchup($new);
$new->promote;
Archive::wait_promoted($new);
# The old one goes on for a while: some of that is archived, some is not.
write_segment($old, 'lost, archived');
ok(Archive::wait_archived($old), 'the old primary archives on its timeline');
$old->append_conf('postgresql.conf', "dbops.store = ''\n");
$old->reload;
my $unarchived = write_segment($old, 'lost, not archived');
write_segment($new, 'kept');
$new->safe_psql('postgres', 'CHECKPOINT');
ok(Archive::wait_archived($new), 'the new primary archives on its own');
$old->stop('fast');
ok(-e $old->data_dir . "/pg_wal/archive_status/$unarchived.ready", 'files of the old primary wait to be archived');
my $before = objects('/wal/0000000[12]/');

my ($settings, $kept) = ($old->data_dir . '/postgresql.conf', PostgreSQL::Test::Utils::tempdir() . '/postgresql.conf');
File::Copy::copy($settings, $kept) or die;
command_ok([ 'pg_rewind', '--target-pgdata', $old->data_dir, '--source-server', $new->connstr('postgres') ], 'it is rewound');
File::Copy::copy($kept, $settings) or die;
$old->append_conf('postgresql.conf', "dbops.store = '$store->{url}'\n");
$old->enable_streaming($new);
$old->set_standby_mode;
$old->start;
write_segment($new, 'followed');
$new->wait_for_catchup($old);
is($old->safe_psql('postgres', q{SELECT string_agg(v, ', ' ORDER BY v) FROM t}), 'common, followed, kept', 'it follows');
ok(Archive::wait_archived($new), 'the new primary has archived');
$new->stop;
$old->promote;
Archive::wait_promoted($old);
my $last = write_segment($old, 'promoted');
ok(Archive::wait_archived($old), 'promoted, it archives all that waits') or diag Archive::report($old);
ok(Dbops::wait_for($old, 'SELECT state FROM dbops.archive_status', 'up to date'), 'and is up to date') or diag Archive::report($old);
like($last, qr/^00000003/, 'on a timeline of its own');

my $after = objects('/wal/0000000[12]/');
is(join(' ', grep { ($after->{$_} // '') ne $before->{$_} } sort keys %$before), '', 'what was in the store is as it was');
my $identifier = Dbops::value($old, 'SELECT system_identifier FROM pg_control_system()');
my @wrong;
for my $file (glob $old->data_dir . '/pg_wal/archive_status/*.done')
{
	my ($segment) = $file =~ m{/([0-9A-F]{24})\.done$} or next;
	my $local = $old->data_dir . "/pg_wal/$segment";
	next unless -e $local;
	my $got = PostgreSQL::Test::Utils::tempdir() . '/got';
	my $status = system($ENV{DBOPS_CLI}, 'wal-get', '--store', $store->{url}, '--system-identifier', $identifier, '--spool-size', '0', $segment, $got);
	push @wrong, $segment if $status != 0 || slurp_file($got) ne slurp_file($local);
}
is("@wrong", '', 'what it counts as archived is in the store, byte for byte');
unlike(slurp_file($old->logfile), qr/has other content/, 'and nothing was refused');
$old->stop;
done_testing();
