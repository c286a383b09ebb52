# The file system of pg_wal fills up because the store is out: PostgreSQL stops, as it must, and dbops has given nothing away for it.
# With room again it starts, everything is archived, and every commit that was acknowledged is there.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use Archive;

my ($uid, $gid) = ($>, $) + 0);
plan skip_all => 'no mount namespaces here' if system("unshare -Urm unshare -U --map-user=$uid --map-group=$gid true 2>/dev/null") != 0;

my $store = Archive::store('file');
my $node = Dbops::node('full', start => 0, init => [ extra => ['--wal-segsize=1'] ],
	conf => Archive::settings($store, conf => "dbops.stream_interval = '100ms'\nautovacuum = off\nwal_level = replica\nwal_keep_size = 0\nmin_wal_size = 2MB\nmax_wal_size = 3MB\nrestart_after_crash = off\n"));
my $wal = $node->data_dir . '/pg_wal';

# A namespace in which pg_wal is on a small disk; it lasts as long as its first process.
my $holder = fork() // die;
if ($holder == 0)
{
	exec 'unshare', '-Urm', 'sh', '-c',
	  'mkdir "$1.disk" && mount -t tmpfs -o size=120m tmpfs "$1.disk" && head -c 96000000 /dev/zero >"$1.disk/filler" && cp -a "$1" "$1.disk/wal" && mv "$1" "$1.away" && ln -s "$1.disk/wal" "$1" && touch "$1.ready" && exec sleep 1800', 'sh', $wal;
}
END { kill 'KILL', $holder if $holder; }
my $end = time() + $PostgreSQL::Test::Utils::timeout_default;
sleep 0.1 while time() < $end && !-e "$wal.ready";
ok(-e "$wal.ready", 'pg_wal is on a small disk');

sub inside { my (@command) = @_; return system('nsenter', '-t', $holder, '-U', '-m', '--preserve-credentials', @command); }
sub start
{
	my $status = inside('unshare', '-U', "--map-user=$uid", "--map-group=$gid", 'pg_ctl', '-s', '-w', '-t', '120', '-D', $node->data_dir, '-l', $node->logfile, 'start');
	$node->_update_pid(1) if $status == 0;
	return $status;
}

is(start(), 0, 'the server starts') or diag slurp_file($node->logfile);
Dbops::create_extension($node);
$node->safe_psql('postgres', 'CREATE TABLE t (id int, v text)');
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
ok(Archive::wait_archived($node), 'it archives at first');
my $identifier = Dbops::value($node, 'SELECT system_identifier FROM pg_control_system()');

rename $store->{directory}, "$store->{directory}.away" or die;
my $acknowledged = 0;
for my $id (1 .. 200)
{
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-c',
		"INSERT INTO t SELECT $id, string_agg(md5(random()::text || g), '') FROM generate_series(1, 10000) g" ], '<', \undef, '>', \$out, '2>', \$err) or last;
	$acknowledged = $id;
}
cmp_ok($acknowledged, '>', 5, "$acknowledged commits");
cmp_ok($acknowledged, '<', 200, 'until the disk is full');
ok(Archive::wait_log($node, qr/No space left on device/), 'which the server says');
$end = time() + $PostgreSQL::Test::Utils::timeout_default;
sleep 0.1 while time() < $end && -e $node->data_dir . '/postmaster.pid';
$node->_update_pid(-1);

rename "$store->{directory}.away", $store->{directory} or die;
ok(unlink("/proc/$holder/root$wal.disk/filler"), 'there is room again') or diag $!;
is(start(), 0, 'the server starts again') or diag slurp_file($node->logfile);
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
ok(Archive::wait_archived($node), 'everything is archived') or diag Archive::report($node);
is(Dbops::value($node, "SELECT count(DISTINCT id) FROM t WHERE id <= $acknowledged"), $acknowledged, 'every commit is there');
ok(Dbops::wait_for($node, 'SELECT state FROM dbops.archive_status', 'up to date'), 'and all is well') or diag Archive::report($node);
is(scalar(() = glob "$store->{directory}/$identifier/wal/*.history"), 0, 'on the same timeline');
my @segments = sort map { m{/([0-9A-F]{24})\.zst$} ? $1 : () } glob "$store->{directory}/$identifier/wal/*/*/*.zst";
my ($first, $last) = map { hex(substr($_, 8, 8)) * 4096 + hex substr($_, 16) } @segments[ 0, -1 ];
is(scalar @segments, $last - $first + 1, 'the store has ' . @segments . ' segments without a gap');
$node->stop;
done_testing();
