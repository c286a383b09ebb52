# Backups, restores, expiry and verification at the same time, killed with kill -9 at any moment, and on a disk that is full.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Archive;
use Backup;
use Dbops;
use File::Temp ();
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $store = Archive::store('file');
my @store = Backup::store_options($store);
my $node = Archive::primary('origin', $store, init => [ '--data-checksums', '--wal-segsize=1' ]);
$node->safe_psql('postgres', q{
	CREATE TABLE account (id int PRIMARY KEY, note text);
	INSERT INTO account SELECT g, repeat(md5(g::text), 10) FROM generate_series(1, 30000) g;
	CHECKPOINT;
});
srand(1);    # the same moments in each run, as far as the machine allows

sub start { my (@words) = @_; my $run = { out => '', err => '' }; $run->{run} = IPC::Run::start([ $ENV{DBOPS_CLI}, @words ], '<', \undef, '>', \$run->{out}, '2>', \$run->{err}); return $run; }
sub finish { my ($run) = @_; $run->{run}->finish; return $run->{run}->full_result; }
sub list { return @{ JSON::PP::decode_json(Backup::dbops('list', '--json', @store)->{out}) }; }
sub change { my ($n) = @_; return $node->safe_psql('postgres', "UPDATE account SET note = md5(note || $n) WHERE id % 100 = $n % 100"); }
my @backup = ('backup', '-d', $node->connstr('postgres'), @store);

# --- all at the same time ---------------------------------------------------------------------------------------------------
Backup::take($node, $store);
my (%count, %wrong);
my %running;
my $end = time() + 25;
while (time() < $end || %running)
{
	for my $what (qw(backup expire verify))
	{
		if (!$running{$what})
		{
			next if time() >= $end;
			change(++$count{$what}) if $what eq 'backup';
			$running{$what} = $what eq 'backup' ? start(@backup) : $what eq 'expire' ? start('expire', '--keep-last', 2, @store) : start('verify', '--deep', @store);
		}
		$running{$what}{run}->pump_nb if $running{$what}{run}->pumpable;
		next if $running{$what}{run}->pumpable;
		push @{ $wrong{$what} }, "$running{$what}{out}$running{$what}{err}" if finish($running{$what}) != 0;
		++$count{$what} if $what ne 'backup';
		delete $running{$what};
	}
	sleep 0.02;
}
is(join('', @{ $wrong{$_} // [] }), '', "$_ beside the others, $count{$_} times") for qw(backup expire verify);
my $verify = Backup::dbops('verify', '--deep', @store);
is($verify->{status}, 0, 'what is left is whole') or diag $verify->{out};
cmp_ok(scalar(list()), '>=', 2, 'and that is two backups at least');

# --- kill -9 at any moment ------------------------------------------------------------------------------------------------------
sub killed
{
	my ($run, $longest) = @_;
	my $moment = rand($longest);
	my $until = time() + $moment;
	while (time() < $until && $run->{run}->pumpable) { $run->{run}->pump_nb; sleep 0.005; }
	my $early = $run->{run}->pumpable;
	$run->{run}->kill_kill(grace => 0) if $early;
	$run->{run}->finish unless $early;
	return $early ? 1 : 0;
}
my $kills = 0;
for my $i (1 .. 12)
{
	change(100 + $i);
	$kills += killed(start(@backup, $i % 3 == 0 ? '--full' : ()), 1.2);
	$kills += killed(start('expire', '--keep-last', 2, @store), 0.2) if $i % 2;
	$kills += killed(start('verify', '--deep', @store), 0.3) if $i % 4 == 0;
}
cmp_ok($kills, '>', 6, "$kills processes were killed");
my $last = Backup::take($node, $store, what => 'after that a backup');
is(Backup::dbops('expire', '--keep-last', 1, @store)->{status}, 0, 'and expiry');
is(join(' ', map { "$_->{label} $_->{state}" } list()), "$last->{label} ok", 'which leaves one backup, and no rest of another');
$verify = Backup::dbops('verify', '--deep', @store);
is($verify->{status}, 0, 'the store is whole') or diag $verify->{out};
is(Dbops::value($node, 'SELECT pg_is_in_recovery()'), 'f', 'the server has noticed nothing');

Archive::wait_durable($node);
my $dump = Archive::dump_of($node);
my $copy = PostgreSQL::Test::Cluster->new('copy');
# Everything below, but for what a restore that goes on removes.
sub state_of
{
	my $out = '';
	IPC::Run::run([ 'sh', '-c', q{cd "$1" && set -- ! -name 'dbops.restore*' ! -name '*.dbops' ! -name postmaster.pid &&
		find . -type f "$@" -exec sha256sum {} + | sort -k2 && find . "$@" -printf '%p %y %m\n' | sort},
		'sh', $copy->data_dir ], '>', \$out);
	return $out;
}
my %left;    # by those that had put pg_control in its place, which comes last
$kills = 0;
for my $i (1 .. 8)
{
	File::Path::make_path($copy->basedir);
	if (killed(start('restore', '-D', $copy->data_dir, @store), 0.5))
	{
		++$kills;
		$left{$i} = state_of() if -e $copy->data_dir . '/global/pg_control';
	}
	else { File::Path::remove_tree($copy->data_dir); }
}
note "$kills restores were killed";
File::Path::remove_tree($copy->data_dir) unless -e $copy->data_dir . '/dbops.restore';
my $again = Backup::dbops('restore', '-D', $copy->data_dir, @store);
is($again->{status}, 0, 'the same command goes on') or diag $again->{err};
my $whole = state_of();
ok($left{$_} eq $whole, "kill $_: there is pg_control, and all else") for sort keys %left;
File::Path::remove_tree($copy->data_dir);
Backup::restore('copy', $store, node => $copy);
$copy->start;
Archive::wait_promoted($copy);
Archive::is_same_content($copy, $dump, 'the result equals the source');
Archive::is_sound($copy, 'and is sound');
$copy->stop;
$copy->clean_node;

# --- a disk that is full --------------------------------------------------------------------------------------------------------
# In a mount namespace of its own the directory is a small disk.
SKIP:
{
	skip 'no mount namespaces here', 1 if system('unshare -Urm true 2>/dev/null') != 0;
	my $small = sub {
		my ($place, $size, @words) = @_;
		my ($out, $err) = ('', '');
		IPC::Run::run([ 'unshare', '-Urm', 'sh', '-c', 'mount -t tmpfs -o size=$1 tmpfs "$2" || exit 99; shift 2; exec "$@"', 'sh', $size, $place, $ENV{DBOPS_CLI}, @words ],
			'<', \undef, '>', \$out, '2>', \$err);
		return { status => $? >> 8, err => $err };
	};
	my ($pack) = map { m{^(.*/pack)/} } Backup::objects($store, 'pack');
	$node->safe_psql('postgres', q{INSERT INTO account SELECT -g, repeat(md5(random()::text), 10) FROM generate_series(1, 60000) g; CHECKPOINT});
	my $run = $small->($pack, '3m', @backup, '-U', Dbops::default_role(), '--full');
	is($run->{status}, 2, 'a store that is full: there is no backup') or diag $run->{err};
	like($run->{err}, qr/No space left/, 'it says so');
	is((list())[-1]{state}, 'unfinished', 'the list says so');
	my $next = Backup::take($node, $store, what => 'with room again there is one');
	is(Backup::dbops('verify', '--deep', '-b', $next->{label}, @store)->{status}, 0, 'which is whole');

	my $place = File::Temp::tempdir(CLEANUP => 1);
	$run = $small->($place, '10m', 'restore', '-D', "$place/data", @store);
	is($run->{status}, 2, 'a disk that is too small to restore to');
	like($run->{err}, qr/bytes free, and the backup needs/, 'is refused before anything is written');
	# What is there already makes room for itself alone. (A disk that fills up meanwhile: restore_faults.pl.)
	my $with_file = sub
	{
		my ($file, @option) = @_;
		IPC::Run::run([ 'unshare', '-Urm', 'sh', '-c', 'mount -t tmpfs -o size=10m tmpfs "$1" && mkdir "$1/data" && echo 15 >"$1/data/$2" || exit 99; place=$1; shift 2
				"$@"; status=$?; echo "left: $(ls -A "$place/data" | tr "\n" " ")"; exit $status',
				'sh', $place, $file, $ENV{DBOPS_CLI}, 'restore', '-D', "$place/data", @option, @store ], '<', \undef, '>', \my $out, '2>', \my $err);
		return ($? >> 8, $out, $err);
	};
	my ($status, $out, $err) = $with_file->('PG_VERSION', '--delta');
	is($status, 2, 'a delta to such a disk is refused') or diag $err;
	like($err, qr/bytes free, and the backup needs/, 'it says why');
	like($out, qr/^left: PG_VERSION $/m, 'before anything is written');
	# How much of an interrupted one is there is not known: it is told of, and goes as far as it can.
	($status, $out, $err) = $with_file->('dbops.restore');
	is($status, 2, 'a restore that goes on on such a disk fails') or diag $err;
	like($err, qr/WARNING: .*bytes free, and the backup needs/, 'it is warned of at the beginning');
	like($err, qr/No space left/, 'it says why it ended');
	like($out, qr/^left: .*\bdbops\.restore\b/m, 'and is an interrupted one still');
}

done_testing();
