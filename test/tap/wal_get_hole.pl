# A segment that the archive lacks although it has later WAL, as dbops wal-get meets it in a data directory: what ends
# recovery, what stops it, what is waited for, and that each is said.
use strict;
use warnings;
use Cwd ();
use File::Copy ();
use File::Path ();
use File::Temp ();
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use Archive;

delete $ENV{$_} for grep { /^(DBOPS_(?!CLI)|AWS_)/ } keys %ENV;
my $place = File::Temp::tempdir(CLEANUP => 1);
my $store = Archive::store('file');
my $node  = Archive::primary('main', $store, init => ['--wal-segsize=1'], conf => "dbops.stream_interval = '100ms'\nautovacuum = off\n");
my $identifier = Dbops::value($node, 'SELECT system_identifier FROM pg_control_system()');
my $cluster    = "$store->{directory}/$identifier";

sub object { my ($segment) = @_; return "$cluster/wal/" . substr($segment, 0, 8) . '/' . substr($segment, 8, 8) . "/$segment.zst"; }
sub pieces { my ($segment) = @_; return object($segment) =~ s/\.zst$//r; }
sub behind { my ($segment, $by) = @_; return sprintf '%s%08X', substr($segment, 0, 16), $by + hex substr($segment, 16); }
sub aged   { my ($seconds, @paths) = @_; utime time() - $seconds, time() - $seconds, @paths or die "$!"; return; }

# As PostgreSQL runs it: in the data directory, from which it has the size of segments.
my $data = $node->backup_dir . '/b';
sub get_command { my ($file, @options) = @_; return [ $ENV{DBOPS_CLI}, 'wal-get', '--store', $store->{url}, '--spool-size', 0, @options, $file, "$place/got" ]; }
sub get
{
	my ($file, @options) = @_;
	my $here = Cwd::getcwd();
	unlink "$place/got";
	chdir $data or die;
	my ($out, $err) = ('', '');
	IPC::Run::run(get_command($file, @options), '<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	my $status = $? & 127 ? 128 + ($? & 127) : $? >> 8;
	chdir $here;
	return ($status, $err);
}
sub is_answer
{
	my ($expected, $pattern, $what, $status, $said) = @_;
	is($status, $expected, $what) or diag $said;
	like($said, $pattern, "$what: what is said");
	is(-e "$place/got" ? 'file' : 'no file', $expected == 0 ? 'file' : 'no file', "$what: the file");
	return;
}

# --- a hole as a server leaves it that dies: its last segments, one of which is only there in part -----------------------
$node->safe_psql('postgres', 'CREATE TABLE fact (id int)');
Archive::base_backup($node, 'b');
my @segments;
for my $i (1 .. 5)
{
	$node->safe_psql('postgres', "INSERT INTO fact VALUES ($i)");
	ok(defined Archive::wait_durable($node), "row $i is durable");
	push @segments, Dbops::value($node, 'SELECT pg_walfile_name(pg_current_wal_lsn())');
	$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
	ok(Archive::wait_archived($node), 'and its segment archived');
}
Archive::destroy($node);
my ($hole, $last) = @segments[2, 4];
my %whole = map { $_ => PostgreSQL::Test::Utils::slurp_file(object($_)) } @segments;
unlink object($hole) or die;
ok(-d pieces($hole), 'there are pieces of it');

my $ends = qr/WAL ENDS HERE, at 0\/\w+: the archive has later WAL, up to segment $last, the last of it stored at \d{8}T\d{6}Z.*pg_wal of the server that wrote it.*--at-hole stop/;
is_answer(0, $ends, 'a crash explains it', get($hole, '--gap-time', 1));
is(-s "$place/got", 2**20, 'the segment is filled up');
is_answer(202, qr/later WAL, but not all of this segment.*--at-hole end/, 'a crash explains it, --at-hole stop', get($hole, '--gap-time', 1, '--at-hole', 'stop'));
is_answer(0, $ends, '--at-hole crash is the default', get($hole, '--gap-time', 0, '--at-hole', 'crash'));
for my $no_way ('guess', 2, 0, '') { is_answer(200, qr/at-hole/, "no such way: '$no_way'", get($hole, '--at-hole', $no_way)); }
rename pieces($hole), "$place/pieces" or die;
is_answer(1, $ends, 'nothing of the segment is there', get($hole, '--gap-time', 1));
is_answer(202, qr/recovery would end too early/, 'nothing of the segment is there, --at-hole stop', get($hole, '--gap-time', 1, '--at-hole', 'stop'));
is_answer(1, qr/^$/, 'behind the last one nothing is a hole', get(behind($last, 1), '--at-hole', 'stop'));
rename "$place/pieces", pieces($hole) or die;

# --- one that no crash explains ----------------------------------------------------------------------------------------
aged(400, object($segments[3]), glob(pieces($segments[3]) . '/*'));
my $stops = qr/later WAL, but not all of this segment: recovery would end too early.*wal-list.*--at-hole end/;
is_answer(202, $stops, 'what is behind it was stored over six minutes', get($hole, '--gap-time', 1));
is_answer(0, qr/WAL ENDS HERE, at .*--at-hole end/, 'the same, --at-hole end', get($hole, '--gap-time', 1, '--at-hole', 'end'));
aged(0, object($segments[3]), glob(pieces($segments[3]) . '/*'));
is_answer(0, $ends, 'it is the time that made it one', get($hole, '--gap-time', 0));

my @many = map { object(behind($last, $_)) } 1 .. 1200;    # and not in one answer to a question for a list
my $last_of_many = behind($last, 1200);
for my $copy (@many) { PostgreSQL::Test::Utils::append_to_file($copy, $whole{$last}); }
is_answer(202, $stops, 'more is behind it than is under way at one time', get($hole, '--gap-time', 1));
is_answer(0, qr/WAL ENDS HERE, at .*up to segment $last_of_many,/, 'the same, --at-hole end', get($hole, '--gap-time', 1, '--at-hole', 'end'));
unlink @many;

# --- pieces of the last segment, one of which is lost ------------------------------------------------------------------
{
	unlink object($last) or die;
	is_answer(0, qr/^$/, 'the pieces of the last segment', get($last, '--at-hole', 'stop'));
	my $end = (sort map { /-(\w{8})\.zst$/ ? hex $1 : () } glob pieces($last) . '/*')[-1];
	ok($end > 0, 'there are some');
	my $behind = sprintf '%s/%08X-%08X.zst', pieces($last), $end + 8192, $end + 16384;
	PostgreSQL::Test::Utils::append_to_file($behind, '');
	is_answer(202, $stops, "a lost piece, --at-hole $_", get($last, '--gap-time', 0, '--at-hole', $_)) for 'crash', 'stop';
	is_answer(0, qr/WAL ENDS HERE, at .*: the archive has later pieces of this segment; .*the one before them is not there.*--at-hole end/, 'a lost piece, --at-hole end',
		get($last, '--gap-time', 0, '--at-hole', 'end'));
	unlink $behind or die;
	PostgreSQL::Test::Utils::append_to_file(object($last), $whole{$last});
}

# --- pg_wal has as much of it ------------------------------------------------------------------------------------------
is((get($hole, '--gap-time', 0))[0], 0, 'as it is restored');
rename "$place/got", "$place/$hole" or die;
is_answer(1, qr/WAL ENDS IN THIS SEGMENT of pg_wal, which PostgreSQL takes.*the archive has later WAL, up to segment $last/, 'pg_wal has as much of it', get($hole, '--gap-time', 0));
unlink "$place/$hole" or die;

# --- the store fails for a moment while a hole is looked at ---------------------------------------------------------------
{
	local %ENV = (%ENV, LD_PRELOAD => Dbops::fault_library('failing_reads'), FAIL_BELOW => $store->{directory}, FAIL_ERRNO => 5, FAIL_FROM => 0, FAIL_CALLS => 1);
	for (my $from = 0; $from < 200; $from += 7)
	{
		$ENV{FAIL_FROM} = $from;
		is_answer(0, $ends, "EIO that passes, call $from", get($hole, '--gap-time', 0));
		is_answer(202, qr/later WAL, but not all of this segment/, "EIO that passes, call $from, --at-hole stop", get($hole, '--gap-time', 0, '--at-hole', 'stop'));
		is_answer(0, $ends, "EIO that passes, call $from, --at-hole end", get($hole, '--gap-time', 0, '--at-hole', 'end'));
	}
}

# --- a standby asks again, and must be free in between -------------------------------------------------------------------
PostgreSQL::Test::Utils::append_to_file("$data/standby.signal", '');
is_answer(0, qr/the standby waits for it/, 'a standby does not wait in here', get($hole, '--gap-time', 1e6));
is_answer(1, qr/the standby waits for it/, 'nor with --at-hole stop', get($hole, '--gap-time', 1e6, '--at-hole', 'stop'));
unlink "$data/standby.signal" or die;

# --- it is on its way --------------------------------------------------------------------------------------------------
sub start_get { my $here = Cwd::getcwd(); unlink "$place/got"; chdir $data; my $said = ''; my $run = IPC::Run::start(get_command($hole, @_), '<', \undef, '2>', \$said); chdir $here; return ($run, \$said); }
{
	my ($run) = start_get('--gap-time', 600);
	sleep 1;
	PostgreSQL::Test::Utils::append_to_file("$place/late", $whole{$hole});
	rename "$place/late", object($hole);
	$run->finish;
	is($run->result(0), 0, 'a segment that comes while it is waited for');
	is(-s "$place/got", 2**20, 'is taken');
	unlink object($hole) or die;
}
{
	# The server still runs: later WAL grows all the while. First the segment comes after all, then it does not.
	for my $comes (1, 0)
	{
		my ($run, $said) = start_get('--gap-time', 2, '--retry-time', $comes ? 600 : 6);
		my @grown;
		my $end = time() + $PostgreSQL::Test::Utils::timeout_default;
		while (time() < $end && $run->pumpable)
		{
			push @grown, object(behind($last, 1 + @grown));
			PostgreSQL::Test::Utils::append_to_file($grown[-1], $whole{$last});
			if ($comes && @grown == 20)    # later than the time for a gap
			{
				PostgreSQL::Test::Utils::append_to_file("$place/late", $whole{$hole});
				rename "$place/late", object($hole);
			}
			sleep 0.25;
			$run->pump_nb;
		}
		$run->finish;
		is($run->result(0), $comes ? 0 : 202, 'while later WAL grows, a hole is not the end; ' . ($comes ? 'it comes' : 'it does not come'));
		if ($comes) { is($$said, '', 'and nothing is said'); }
		else        { like($$said, qr/a server stores later WAL all the while, but not this segment.*dbops\.archive_status/, 'and that is said'); }
		unlink @grown;
		unlink object($hole) if $comes;
	}
}

# --- whole recoveries ----------------------------------------------------------------------------------------------------
my $copy = Archive::restore('crashed', $node, 'b', $store, arguments => '--gap-time 1');
is(Dbops::value($copy, 'SELECT max(id) FROM fact'), 3, 'recovery to a hole that a crash explains: what was streamed before it is there');
like(PostgreSQL::Test::Utils::slurp_file($copy->logfile), $ends, 'and the log says where WAL ends and what is behind it');
$copy->stop;
my $stopped = Archive::restore('stopped', $node, 'b', $store, arguments => '--gap-time 1 --at-hole stop', start => 0);
is(Archive::start_only($stopped), 0, 'with --at-hole stop recovery is started');
ok(Archive::wait_log($stopped, qr/FATAL:  could not restore file "$hole" from archive/), 'and stops at the hole');
for (1 .. 1800) { last unless Archive::processes($stopped); sleep 0.1; }
like(PostgreSQL::Test::Utils::slurp_file($stopped->logfile), $stops, 'the log says what to do');
unlike(PostgreSQL::Test::Utils::slurp_file($stopped->logfile), qr/selected new timeline ID/, 'it is not promoted');
# As it says: the segment is found, and put into pg_wal with the next one.
PostgreSQL::Test::Utils::append_to_file(object($hole), $whole{$hole});
for my $segment ($hole, $segments[3])
{
	is((get($segment))[0], 0, 'the segment is found');
	File::Copy::move("$place/got", $stopped->data_dir . "/pg_wal/$segment") or die;
}
unlink object($hole);
$stopped->start;
Archive::wait_promoted($stopped);
is(Dbops::value($stopped, 'SELECT max(id) FROM fact'), 5, 'and recovery goes on to the end');
$stopped->stop;
done_testing();
