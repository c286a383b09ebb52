# kill -9 of the archiver, the streamer, the postmaster with everything, and of wal-get and its prefetcher, at random
# moments under load, over one restoration after the other; each time the restored server has every commit that the view
# said was durable, and is sound.
#
# Environment: DBOPS_SEED repeats the random choices, DBOPS_NIGHTLY=1 does many rounds.
use strict;
use warnings;
use File::Temp ();
use Test::More;
use Time::HiRes qw(time sleep);
use Archive;

my $seed   = $ENV{DBOPS_SEED} // (time() * 1000) % 1_000_000_007;
my $rounds = $ENV{DBOPS_NIGHTLY} ? 60 : 3;
diag "DBOPS_SEED=$seed";
srand($seed);

my $directory = File::Temp::tempdir(CLEANUP => 1);
my $key_file = Archive::key_file('k');
my @kinds = Archive::has_s3() ? qw(s3 file) : qw(file);
my %count;

# A process of the server by what it is for; pg_stat_activity does not show the streamer. The cluster's name may come first.
sub pid_of
{
	my ($node, $type) = @_;
	for (1 .. 600)    # the blow before may have ended it, and it is on its way
	{
		my ($pid) = grep { slurp("/proc/$_/cmdline") =~ /^postgres: (?:\S+: )?\Q$type\E/ } Archive::processes($node);
		return $pid if $pid;
		sleep 0.1;
	}
	return 0;
}

sub reachable
{
	my ($node) = @_;
	for (1 .. 1800)
	{
		return 1 if defined Dbops::ask($node, 'SELECT 1');
		sleep 0.1;
	}
	diag PostgreSQL::Test::Utils::slurp_file($node->logfile);
	return 0;
}

my %blow = (
	archiver => sub { my $pid = pid_of($_[0], 'archiver'); return $pid && kill 'KILL', $pid; },
	streamer => sub { my $pid = pid_of($_[0], 'dbops WAL streamer'); return $pid && kill 'KILL', $pid; },
	postmaster => sub { Archive::crash($_[0]); $_[0]->start; return 1; },
	immediate => sub { $_[0]->stop('immediate'); $_[0]->start; return 1; },
	restart => sub { $_[0]->stop('fast'); $_[0]->start; return 1; },
	none => sub { return 1; });
my @blows = qw(archiver streamer postmaster archiver streamer postmaster immediate restart none);

# Processes of the command line that work on this store; other tests have places of the same name at other endpoints.
sub getters
{
	my ($store) = @_;
	return grep { slurp("/proc/$_/cmdline") =~ /wal-(get|prefetch)\0.*\Q$store->{url}\E/s && slurp("/proc/$_/comm") =~ /^dbops/ } map { m{(\d+)$} } glob '/proc/[0-9]*';
}

sub slurp
{
	my ($path) = @_;
	open my $file, '<', $path or return '';
	local $/;
	return scalar(<$file>) // '';
}

# Recovery, while the processes that fetch are killed at random; it is started again each time that this ends it.
sub restore_under_fire
{
	my ($name, $origin, $store, %options) = @_;
	my $copy = Archive::restore($name, $origin, 'b', $store, %options, start => 0);
	my ($shots, $starts, $end) = (0, 0, time() + 180);
	my $last = time() + 5;    # then it is left in peace
	while (time() < $end)
	{
		if (!Archive::processes($copy))
		{
			++$starts;
			Archive::start_only($copy);
		}
		last if (Dbops::ask($copy, 'SELECT pg_is_in_recovery()') // '') eq 'f';
		if (time() < $last && rand() < 0.7)
		{
			my @found = getters($store);
			$shots += kill 'KILL', $found[ rand @found ] if @found;
		}
		sleep rand 0.2;
	}
	$copy->_update_pid(1);
	$count{wal_get} += $shots;
	$count{starts}  += $starts;
	return $copy;
}

for my $kind (@kinds)
{
	my $store = Archive::store($kind);
	my %setup = (key_file => $key_file, conf => "restart_after_crash = on\ndbops.stream_interval = '200ms'\n");
	my $node = Archive::primary("${kind}0", $store, %setup, init => ['--wal-segsize=1']);
	for my $round (1 .. $rounds)
	{
		my $what = "$kind, round $round";
		my $logs = "$directory/$kind$round";
		mkdir $logs;
		# A ledger of its own for each life, because rows of the one before may have been lost with what was not durable.
		$node->safe_psql('postgres', 'DROP TABLE IF EXISTS ledger');
		my $ledger = Ledger->start($node, directory => $logs, clients => 3, filler => 2000);
		Archive::base_backup($node, 'b');
		for (1 .. 600) { last if $ledger->durable; sleep 0.1; }
		for (1 .. 2 + int rand 3)
		{
			sleep(0.3 + rand 1.2);
			my $blow = $blows[ $round == 1 && $_ <= 2 ? $_ - 1 : rand @blows ];
			$count{$blow} += $blow{$blow}->($node) ? 1 : 0;
			sleep 0.05;
			reachable($node) or die 'the server does not come back';
		}
		sleep(rand 1.5);
		Archive::destroy($node);
		$ledger->stop;
		my $commits = () = $ledger->commits;
		my $durable = $ledger->durable;
		cmp_ok($durable, '>', 0, "$what: $commits commits, of which some are known to be durable");
		my $next = restore_under_fire("$kind$round", $node, $store, key_file => $key_file, archive => Archive::settings($store, %setup),
			arguments => '--gap-time 3');
		Archive::is_restored($next, $ledger, $what);
		my @lost = $ledger->missing($next, 9**20);
		note "$what: " . scalar(@lost) . ' commits after the last durable position are lost';
		$node = $next;
		last unless Test::More->builder->is_passing;
	}
	# Over all the timelines, from a base backup of the last but one, once more in peace.
	my $lsn = Archive::wait_durable($node);
	ok(defined $lsn, "$kind: in the end everything is durable");
	ok(Archive::wait_archived($node), "$kind: and nothing waits");
	ok(Dbops::wait_for($node, 'SELECT state FROM dbops.archive_status', 'up to date'), "$kind: and all is well") or diag Archive::report($node);
	$node->stop;
}
note join ', ', map { "$_: $count{$_}" } sort keys %count;
cmp_ok($count{$_} // 0, '>', 0, "$_ was hit") for qw(archiver streamer);
done_testing();
