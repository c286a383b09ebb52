# A restore that is killed, or whose disk is full or broken, at each kind of step: what it leaves never starts unless it is whole, and the
# same command goes on. Damage in the store as well.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Archive;
use Backup;
use Dbops;
use Errno ();
use File::Path ();
use File::Temp ();
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

my $directory = File::Temp::tempdir(CLEANUP => 1);
my $place = File::Temp::tempdir(CLEANUP => 1);
my $store = Archive::store('file');
my $node = Archive::primary('origin', $store, init => ['--wal-segsize=1']);
$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '$place'");
$node->safe_psql('postgres', q{
	CREATE TABLE account TABLESPACE elsewhere AS SELECT g AS id, repeat(md5(g::text), 10) AS note FROM generate_series(1, 5000) g;
	CHECKPOINT;
});
my $backup = Backup::take($node, $store);
Archive::wait_durable($node);
my ($space) = map { $_->{oid} } map { @{ $_->{tablespaces} } } @{ JSON::PP::decode_json(Backup::dbops('list', '--json', Backup::store_options($store))->{out}) };
$node->stop;

my $where = "$directory/try";
my $faults = Dbops::fault_library('failing_files');

# One thread, so that the steps come in one order.
sub restore
{
	my (%environment) = @_;
	local @ENV{ keys %environment } = values %environment;
	local $ENV{LD_PRELOAD} = $faults if %environment;
	return Backup::dbops('restore', '-j', 1, '-D', "$where/data", '--tablespace', "$space=$where/space", Backup::store_options($store));
}

# Everything below, but for what a restore that goes on removes.
sub state_of
{
	my $out = '';
	IPC::Run::run([ 'sh', '-c', q{cd "$1" && set -- ! -name 'dbops.restore*' ! -name '*.dbops' ! -name postmaster.pid &&
		find . -type f "$@" -exec sha256sum {} + | sort -k2 && find . "$@" -printf '%p %y %m\n' | sort},
		'sh', $where ], '>', \$out);
	return $out;
}

mkdir $where or die;
is(restore(FAIL_BELOW => $where, FAIL_COUNT => "$directory/count")->{status}, 0, 'a restore without a fault');
my $whole = state_of();
File::Path::remove_tree($where);
my $steps = slurp_file("$directory/count") + 0;
cmp_ok($steps, '>', 500, 'it is of many steps');

# What is left must not start, unless it is the whole.
my $starts = 0;
sub cannot_start
{
	my ($what) = @_;
	if (-e "$where/data/global/pg_control")
	{
		return is(state_of(), $whole, "$what: there is pg_control, and all else");
	}
	return pass("$what: there is no pg_control") if $starts++ % 8 != 0 || !-d "$where/data";
	return isnt(system("pg_ctl -s -w -t 20 -D $where/data -l $directory/log start >/dev/null 2>&1"), 0, "$what: no server starts");
}

# How it ends, at a step; and then the same command goes on.
sub fault
{
	my ($step, $what, @how) = @_;
	mkdir $where or die;
	my $run = restore(FAIL_BELOW => $where, FAIL_AT => $step, @how);
	ok(@how ? $run->{status} == 2 : $run->{signal} == 9, "$what: it fails") or diag "$run->{status} $run->{signal} $run->{err}";
	cannot_start($what);
	if (-e "$where/data/global/pg_control" && !-e "$where/data/dbops.restore")
	{
		# What was left to do is that its last word is durable.
		is(restore()->{status}, 2, "$what: it had ended, and is not done again");
	}
	else
	{
		$run = restore();
		is($run->{status}, 0, "$what: the same command goes on") or diag $run->{err};
	}
	is(state_of(), $whole, "$what: and gets to the whole");
	File::Path::remove_tree($where);
	return;
}
my @middle = map { int($steps * $_ / 3) } 1, 2;
for my $step (0, 2, 5, @middle, map { $steps - $_ } 18, 14, 12, 10, 8, 6, 4, 2, 1)
{
	fault($step, "killed at step $step of $steps");
}
for my $step (1, $middle[1], map { $steps - $_ } 12, 6)
{
	fault($step, "a disk that is full from step $step on", FAIL_ERRNO => Errno::ENOSPC);
}
fault($steps - 8, 'a disk that is broken at the end', FAIL_ERRNO => Errno::EIO);

# --- two of them, and a server that starts meanwhile --------------------------------------------------------------------
# Stops at a step; returns the process.
sub stopped
{
	my ($step, @arguments) = @_;
	local @ENV{qw(FAIL_BELOW FAIL_AT FAIL_STOPS LD_PRELOAD)} = ($where, $step, 1, $faults);
	my $messages = '';
	my $process = IPC::Run::start([ $ENV{DBOPS_CLI}, 'restore', '-j', 1, '-D', "$where/data", '--tablespace', "$space=$where/space", @arguments,
			Backup::store_options($store) ], '<', \undef, '>', \my $out, '2>', \$messages);
	my $pid = $process->{KIDS}[0]{PID};
	for (1 .. 1200)
	{
		last if slurp_file("/proc/$pid/stat") =~ /\) T /;
		Time::HiRes::sleep(0.05);
	}
	like(slurp_file("/proc/$pid/stat"), qr/\) T /, "a restore stops at step $step");
	return { process => $process, pid => $pid, messages => \$messages };
}

# How it ends then.
sub goes_on
{
	my ($run) = @_;
	kill 'CONT', $run->{pid};
	$run->{process}->finish;
	return $run->{process}->full_result(0) >> 8;
}

sub start_server
{
	unlink "$directory/log";
	return system("pg_ctl -s -w -t 60 -D $where/data -l $directory/log -o \"-k $directory -c listen_addresses=''\" start >/dev/null 2>&1") == 0;
}

mkdir $where or die;
my $first = stopped($middle[0]);
my $second = restore();
is($second->{status}, 2, 'a second restore into the same directory is refused');
like($second->{err}, qr/another restore into .* is running.*HINT/s, 'it says why');
my $elsewhere = Backup::dbops('restore', '-D', "$where/other", '--tablespace', "$space=$where/space", Backup::store_options($store));
is($elsewhere->{status}, 2, 'and one into the same place for a tablespace');
ok(!start_server(), 'no server starts from it');
is(goes_on($first), 0, 'the first one goes on') or diag ${ $first->{messages} };
File::Path::remove_tree("$where/other");
is(state_of(), $whole, 'and gets to the whole');
ok(!-e "$where/data/postmaster.pid", 'nothing is left that keeps a server out');

my $delta = stopped(2, '--delta');
ok(-e "$where/data/global/pg_control", 'with --delta there is a pg_control until the first change');
ok(!start_server(), 'but no server starts beside the restore');
like(slurp_file("$directory/log"), qr/lock file "postmaster.pid" already exists/, 'as it is in the way');
is(goes_on($delta), 0, 'which goes on') or diag ${ $delta->{messages} };
is(state_of(), $whole, 'and gets to the whole');

my $late = stopped(0, '--delta');
ok(start_server(), 'a server that starts between the checks and the first change');
is(goes_on($late), 2, 'ends the restore');
like(${ $late->{messages} }, qr/a server is running in/, 'it says why');
ok(-e "$where/data/global/pg_control" && !-e "$where/data/dbops.restore", 'nothing was changed');
is(system("pg_ctl -s -w -t 60 -D $where/data -m fast stop"), 0, 'and the server runs until it is stopped');
File::Path::remove_tree($where);

# --- damage in the store ------------------------------------------------------------------------------------------------
sub damaged
{
	my ($path) = @_;
	my $content = slurp_file($path);
	my $what = $path =~ s{.*/(pack|backup)/[^/]+/}{$1 }r;
	mkdir $where or die;
	chmod 0600, $path;
	open my $file, '+<:raw', $path or die "$path: $!";
	seek $file, int((-s $path) / 2), 0;
	print $file 'DAMAGE';
	close $file;
	my $run = restore();
	is($run->{status}, 2, "damage in $what: it fails");
	cannot_start("damage in $what");
	open $file, '>:raw', $path or die;
	print $file $content;
	close $file;
	$run = restore();
	is($run->{status}, 0, "damage in $what: mended, the same command goes on") or diag $run->{err};
	is(state_of(), $whole, "damage in $what: and gets to the whole");
	File::Path::remove_tree($where);
	return;
}
damaged($_) for (Backup::objects($store, 'pack'))[0], grep { m{/files/|/packs/} } Backup::objects($store, 'backup');

# --- a backup_label that somebody removes ------------------------------------------------------------------------------------
# Without it the server would begin at the last checkpoint that pg_control names, behind what must be replayed.
mkdir $where or die;
is(restore()->{status}, 0, 'a restore');
unlink "$where/data/backup_label" or die;
ok(!start_server(), 'no server starts without backup_label');
like(slurp_file("$directory/log"), qr/could not locate a valid checkpoint record/, 'it finds no checkpoint');
unlink "$where/data/recovery.signal" or die;
ok(!start_server(), 'nor without the signal file');
is(restore()->{status}, 2, 'it is a data directory, which is not restored into');
unlink "$where/data/postmaster.pid";
File::Path::remove_tree($where);

# --- and it is what it should be ----------------------------------------------------------------------------------------
$node->start;
my $dump = Archive::dump_of($node);
$node->stop;
my $copy = Backup::restored('copy', $store, arguments => [ '--tablespace', "$space=$directory/copy" ]);
Archive::is_same_content($copy, $dump =~ s/\Q$place\E/$directory\/copy/r, 'the whole equals the source');
$copy->stop;

done_testing();
