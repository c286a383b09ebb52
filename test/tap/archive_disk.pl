# What disks do: one that does not answer any more holds up nobody but the archive, one that is full is no end of anything. Nothing is
# acknowledged that is not stored, and all goes on by itself afterwards.
use strict;
use warnings;
use File::Temp ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use Archive;

my $directory = File::Temp::tempdir(CLEANUP => 1);
my $conf = "dbops.stream_interval = '100ms'\ndbops.archive_shutdown_timeout = '2s'\ndbops.upload_timeout = '10min'\nautovacuum = off\nwal_level = replica\n";

# Ends a segment that does not compress; returns its name.
sub switch_wal
{
	my ($node) = @_;
	return Dbops::value($node, q{INSERT INTO t SELECT string_agg(md5(random()::text || g), '') FROM generate_series(1, 20000) g; SELECT pg_walfile_name(pg_switch_wal())}) =~ s/\n//gr;
}

sub archived { my ($node, $segment) = @_; return -e $node->data_dir . "/pg_wal/archive_status/$segment.done"; }

sub is_archived
{
	my ($node, $segment, $what) = @_;
	my $end = time() + $PostgreSQL::Test::Utils::timeout_default;
	while (time() < $end && !archived($node, $segment)) { sleep 0.05; }
	return ok(archived($node, $segment), $what) || diag Archive::report($node);
}

sub says
{
	my ($node, $pattern, $what) = @_;
	return ok(Dbops::wait_for($node, "SELECT state = 'failing' AND last_error ~ '$pattern' FROM dbops.archive_status WHERE repository = 'primary'", 't'), $what)
	  || diag Archive::report($node);
}

sub set { my ($node, $setting) = @_; $node->safe_psql('postgres', "ALTER SYSTEM SET $setting"); $node->reload; return; }

# Every process of the server answers. One that waited for the store would do so until the time for an upload is over, or for ever.
sub answers
{
	my ($node, $what) = @_;
	Dbops::value($node, 'CREATE DATABASE d');
	my ($out, $error) = Dbops::finish_sql(Dbops::start_sql($node, 'DROP DATABASE d'));
	return is($error, '', "$what: DROP DATABASE does not wait");
}

sub touch { my ($file) = @_; PostgreSQL::Test::Utils::append_to_file($file, ''); return; }

# --- a disk that does not answer ------------------------------------------------------------------------------------------------
{
	my $place = "$directory/place";
	my $hangs = "$place.hangs";
	mkdir $place and mkdir "$place/store" or die;
	my $store = { url => "file://$place/store", directory => "$place/store" };
	my $node = Dbops::node('hanging', start => 0, conf => Archive::settings($store, conf => $conf));
	{
		local $ENV{LD_PRELOAD} = Dbops::fault_library('hanging_file');
		local $ENV{HANGING_PLACE} = $place;
		$node->start;
	}
	Dbops::create_extension($node);
	$node->safe_psql('postgres', 'CREATE TABLE t (v text)');
	is_archived($node, switch_wal($node), 'hanging: it works at first');
	touch($hangs);
	my $segment = switch_wal($node);
	sleep 1;
	answers($node, 'hanging');
	set($node, 'dbops.compression_level = 5');
	sleep 0.5;
	answers($node, 'hanging, settings change');
	says($node, 'does not answer', 'hanging: the view says it');
	ok(!archived($node, $segment), 'hanging: nothing is acknowledged');
	unlink $hangs or die;
	switch_wal($node);    # wakes the archiver
	is_archived($node, $segment, 'it answers again: everything is archived');
	ok(Dbops::wait_for($node, 'SELECT state FROM dbops.archive_status', 'up to date'), 'and all is well') or diag Archive::report($node);

	# The key file hangs, the store does not.
	mkdir "$directory/store" or die;
	my $key = Archive::key_file('k');
	rename $key, "$place/key" or die;
	$node->append_conf('postgresql.conf', "dbops.store = 'file://$directory/store'\ndbops.key_file = '$place/key'\n");
	$node->reload;
	is_archived($node, switch_wal($node), 'another store and a key file on that disk');
	touch($hangs);
	$segment = switch_wal($node);
	answers($node, 'the key file hangs');
	set($node, 'dbops.compression_level = 4');
	sleep 0.5;
	answers($node, 'the key file hangs, settings change');
	says($node, 'does not answer', 'the key file hangs: the view says it');
	like(Dbops::value($node, q{SELECT detail FROM dbops.check('3 s') WHERE check_name = 'encryption' AND NOT ok}), qr/does not answer/,
		'the key file hangs: dbops.check() keeps its time and says it');
	for my $call ('count(*) FROM dbops.check()', 'dbops.take_over_archive()')
	{
		my (undef, undef, $said) = $node->psql('postgres', "SET statement_timeout = '1s'; SELECT $call");
		like($said, qr/canceling statement due to statement timeout/, "the key file hangs: $call can be cancelled");
	}
	my $begin = time();
	$node->stop('fast');
	cmp_ok(time() - $begin, '<', 60, 'the key file hangs: a shutdown waits no longer than it may');
	unlink $hangs or die;
	$node->start;
	is_archived($node, $segment, 'and everything is archived');
	$node->stop;
}

# --- a disk that is full --------------------------------------------------------------------------------------------------------
# In a mount namespace of its own the store is a small disk; the server sees it, and runs as an ordinary user in there.
SKIP:
{
	my ($uid, $gid) = ($>, $) + 0);
	skip 'no mount namespaces here', 1 if system("unshare -Urm unshare -U --map-user=$uid --map-group=$gid true 2>/dev/null") != 0;
	my $store = Archive::store('file');
	my $node = Dbops::node('full', start => 0, init => [ extra => ['--wal-segsize=1'] ],
		conf => Archive::settings({ url => "$store->{url}/store" }, conf => $conf . "wal_keep_size = 200MB\nmax_wal_size = 256MB\n"));
	my $status = system('unshare', '-Urm', 'sh', '-c', 'mount -t tmpfs -o size=24m tmpfs "$1" && head -c 12000000 /dev/zero >"$1/.filler" && mkdir "$1/store" && shift && exec "$@"', 'sh',
		$store->{directory}, 'unshare', '-U', "--map-user=$uid", "--map-group=$gid", 'pg_ctl', '-s', '-w', '-D', $node->data_dir, '-l', $node->logfile, 'start');
	is($status, 0, 'full: the server starts') or diag PostgreSQL::Test::Utils::slurp_file($node->logfile);
	$node->_update_pid(1);
	Dbops::create_extension($node);
	$node->safe_psql('postgres', 'CREATE TABLE t (v text)');
	my @segments;
	# Half of their 640 KB is left of each.
	push @segments, switch_wal($node) for 1 .. 60;
	says($node, 'No space left', 'full: the view says it');
	ok(!archived($node, $segments[-1]), 'full: the last segment is not acknowledged');
	my @acknowledged = grep { archived($node, $_) } @segments;
	cmp_ok(scalar @acknowledged, '>', 0, 'full: ' . @acknowledged . ' are');
	answers($node, 'full');
	# As seen by the server.
	my ($pid) = PostgreSQL::Test::Utils::slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
	my $disk = "/proc/$pid/root$store->{directory}";
	my $identifier = Dbops::value($node, 'SELECT system_identifier FROM pg_control_system()');
	my $got = sub {
		my ($segment) = @_;
		unlink "$directory/got";
		system($ENV{DBOPS_CLI}, 'wal-get', '--store', "file://$disk/store", '--system-identifier', $identifier, '--spool-size', '0', $segment, "$directory/got") == 0 or return '';
		return PostgreSQL::Test::Utils::slurp_file("$directory/got");
	};
	my $is_there = sub { my ($segment) = @_; return $got->($segment) eq PostgreSQL::Test::Utils::slurp_file($node->data_dir . "/pg_wal/$segment"); };
	my @wrong = grep { !$is_there->($_) } @acknowledged;
	is("@wrong", '', 'full: those are there, byte for byte');
	is(join(' ', glob "$disk/store/*/wal/*/*/.dbops-*"), '', 'full: nothing half written is left behind');
	# There is room again.
	unlink "$disk/.filler" or die $!;
	switch_wal($node);    # wakes the archiver
	my ($after) = grep { !archived($node, $_) } @segments;
	is_archived($node, $after, 'full: with room again it goes on by itself') if defined $after;
	ok($is_there->($_), "full: $_ is there") for grep { defined && archived($node, $_) } $after;
	$node->stop('immediate');
}
done_testing();
