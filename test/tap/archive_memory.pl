# Segments of 64 MB that do not compress, to and from S3: archiver, streamer and wal-get keep within their memory.
use strict;
use warnings;
use File::Temp ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Archive;

plan skip_all => 'no radosgw: the S3 server is not installed' unless Archive::has_s3();

my $directory = File::Temp::tempdir(CLEANUP => 1);
my ($store, $offsite) = (Archive::store('s3'), Archive::store('file'));
my $key_file = Archive::key_file('k');
my $node = Archive::primary('memory', $store, key_file => $key_file, offsite => $offsite, init => ['--wal-segsize=64'],
	conf => "dbops.stream_interval = '200ms'\nautovacuum = off\nmax_wal_size = 1GB\nwal_keep_size = 1GB\ndbops.offsite_max_backlog = 0\n");
my $identifier = Dbops::value($node, 'SELECT system_identifier FROM pg_control_system()');

# Messages of 6.4 MB, farther apart than zstd looks back.
sub write_wal
{
	my ($megabytes) = @_;
	$node->safe_psql('postgres', qq{DO \$\$ DECLARE noise bytea := (SELECT string_agg(sha512(g::text::bytea), '') FROM generate_series(1, 100000) g);
		BEGIN FOR i IN 1 .. $megabytes / 6 LOOP PERFORM pg_logical_emit_message(false, 'noise', noise); END LOOP; END \$\$});
	return;
}
sub current { return Dbops::value($node, 'SELECT pg_walfile_name(pg_current_wal_insert_lsn())'); }

# Peak of resident memory, KiB.
sub peak { my ($pid) = @_; return PostgreSQL::Test::Utils::slurp_file("/proc/$pid/status") =~ /^VmHWM:\s+(\d+) kB/m ? $1 : die; }
sub archiver { return Dbops::value($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'archiver'}); }
sub streamer { my ($pid) = grep { (eval { PostgreSQL::Test::Utils::slurp_file("/proc/$_/cmdline") } // '') =~ /dbops WAL streamer/ } Archive::processes($node); return $pid; }
sub is_below_64
{
	my ($what) = @_;
	my %peak = (archiver => peak(archiver()), streamer => peak(streamer()));
	cmp_ok($peak{$_}, '<', 64 * 1024, "$what: the $_ stays below 64 MiB") for sort keys %peak;
	note "$what, peak KiB: " . join ', ', map { "$_ $peak{$_}" } sort keys %peak;
	return;
}

# wal-get as a child of a process that knows its peak: compared with what the server has, up to some bytes.
sub is_got
{
	my ($segment, $upto, $what) = @_;
	my $target = "$directory/got";
	unlink $target;
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'python3', '-c', 'import resource, subprocess, sys; status = subprocess.call(sys.argv[1:]); print(status, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)',
			$ENV{DBOPS_CLI}, 'wal-get', '--store', $store->{url}, '--credentials-file', $store->{credentials}, '--key-file', $key_file,
			'--system-identifier', $identifier, '--spool-size', '0', $segment, $target ], '<', \undef, '>', \$out, '2>', \$err);
	my ($status, $peak) = split ' ', $out;
	is($status, 0, "wal-get, $what") or diag $err;
	ok(-e $target && system('cmp', '-s', '-n', $upto, $target, $node->data_dir . "/pg_wal/$segment") == 0, "wal-get, $what: as it was written");
	cmp_ok($peak, '<', 128 * 1024, "wal-get, $what: below 128 MiB");
	note "wal-get, $what, peak KiB: $peak";
	return;
}

# The offsite store is out: it is given everything later, by the streamer.
rename $offsite->{directory}, "$offsite->{directory}.away" or die;
my $first = current();
write_wal(250);
ok(Archive::wait_archived($node), 'some segments of 64 MB are archived');
is_below_64('S3');
is_got($first, 64 * 2**20, 'a segment');
my $lsn = Archive::wait_durable($node);
ok(defined $lsn, 'and the beginning of another is streamed');
write_wal(20);
$lsn = Archive::wait_durable($node);
is_got(current(), Ledger::number($lsn) % (64 * 2**20), 'what was streamed');
rename "$offsite->{directory}.away", $offsite->{directory} or die;
ok(Dbops::wait_for($node, q{SELECT state FROM dbops.archive_status WHERE repository = 'offsite'}, 'up to date'), 'the offsite store has caught up')
  or diag Archive::report($node);
my ($object) = glob "$offsite->{directory}/*/wal/*/*/$first.zst";
cmp_ok(-s $object, '>', 32 * 2**20, 'with objects that are large');
is_below_64('copying from S3');
$node->stop;
done_testing();
