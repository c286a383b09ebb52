# dbops wal-get and wal-list on a real archive: what the exit statuses mean, segments fetched ahead, what is left by a
# process that is killed, and the segment in which a timeline begins.
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
my $node  = Archive::primary('main', $store, init => ['--wal-segsize=1'], conf => "autovacuum = off\n");    # its WAL would be more than the last segment
my $identifier = Dbops::value($node, 'SELECT system_identifier FROM pg_control_system()');
my $cluster    = "$store->{directory}/$identifier";

# Runs the command; ( exit status, standard output, standard error ).
sub dbops
{
	my (@arguments) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ $ENV{DBOPS_CLI}, @arguments ], '<', \undef, '>', \$out, '2>', \$err);
	return ($? & 127 ? 128 + ($? & 127) : $? >> 8, $out, $err);
}

# wal-get of that file to $place/got, from the store.
sub get
{
	my ($file, @options) = @_;
	unlink "$place/got";
	return dbops('wal-get', '--store', $store->{url}, '--system-identifier', $identifier, @options, $file, "$place/got");
}

sub is_status
{
	my ($expected, $what, $status, $out, $err) = @_;
	is($status, $expected, $what) or diag $err;
	is($out, '', "$what: nothing on standard output");
	is(-e "$place/got" ? 'there' : 'not there', $expected == 0 ? 'there' : 'not there', "$what: the file");
	is(join(' ', glob "$place/got.*"), '', "$what: nothing is left over");
	return $err;
}

sub object { my ($segment) = @_; return "$cluster/wal/" . substr($segment, 0, 8) . '/' . substr($segment, 8, 8) . "/$segment.zst"; }
sub wait_for(&) { my ($condition) = @_; my $end = time() + $PostgreSQL::Test::Utils::timeout_default; while (!$condition->()) { return 0 if time() > $end; sleep 0.02; } return 1; }
sub prefetchers { return grep { my $line = eval { PostgreSQL::Test::Utils::slurp_file("/proc/$_/cmdline") } // ''; $line =~ /\0wal-prefetch\0/ && $line =~ /\Q$store->{url}\E/ } map { m{(\d+)$} } glob '/proc/[0-9]*'; }

# --- an archive of some segments ---------------------------------------------------------------------------------------

Archive::base_backup($node, 'b');
$node->safe_psql('postgres', 'CREATE TABLE fact (id int, filler text)');
my @segments;
for my $i (1 .. 12)
{
	$node->safe_psql('postgres', "INSERT INTO fact SELECT $i, repeat(md5(g::text), 3) FROM generate_series(1, 800) g");
	push @segments, Dbops::value($node, 'SELECT pg_walfile_name(pg_current_wal_lsn())');
	$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
}
@segments = do { my %seen; grep { !$seen{$_}++ } @segments };
Archive::wait_archived($node);
$node->safe_psql('postgres', "INSERT INTO fact VALUES (100, 'streamed')");
ok(defined Archive::wait_durable($node), 'the archive has segments and the beginning of one more');
my $last = Dbops::value($node, 'SELECT pg_walfile_name(pg_current_wal_lsn())');

my ($status, $out, $err) = dbops('wal-list', '--store', $store->{url});
is($status, 0, 'wal-list: nothing is missing') or diag $out, $err;
like($out, qr/^ +1 +archived +\S+ +\Q$segments[-1]\E /m, 'wal-list shows the segments');
like($out, qr/streamed +\Q$last\E/, 'and the one that is streamed');
($status, $out) = dbops('wal-list', '--store', $store->{url}, '--json');
my $json = JSON::PP::decode_json($out)->[0];
is($json->{system_identifier}, $identifier, 'JSON names the cluster');
is($json->{wal_segment_size}, 1 << 20, 'and the size of its segments');
is($json->{timelines}[0]{parts}[-1]{last_segment}, $last, 'and its last segment');

# Pieces of segments that are there as a whole: none of a segment that is not, and what is left can be restored.
my $pieces = $node->safe_psql('postgres', 'SELECT chunks > 0 FROM dbops.archive_status');
is($pieces, 't', 'pieces were stored');
File::Path::make_path("$cluster/wal/00000001/00000000/$segments[4]");
my ($own_piece) = glob object($last) =~ s{\.zst$}{/*}r;
my $redundant = "$cluster/wal/00000001/00000000/$segments[4]/" . (split m{/}, $own_piece)[-1];
File::Copy::copy($own_piece, $redundant) or die;
($status, $out, $err) = dbops('wal-list', '--store', $store->{url}, '--garbage');
is($status, 0, 'wal-list --garbage: exit status') or diag $err;
my %garbage = map { my ($key, $bytes) = split /\t/; ($key => $bytes) } split /\n/, $out;
my $redundant_key = $redundant =~ s{^\Q$store->{directory}\E/}{}r;
is($garbage{$redundant_key}, -s $redundant, 'wal-list --garbage: a piece of a segment that is there as a whole, and its bytes');
is(join(' ', grep { !m{/(\w{24})/[^/]+$} || !-e object($1) || -s "$store->{directory}/$_" != $garbage{$_} } sort keys %garbage), '', 'wal-list --garbage: nothing else');
is(join(' ', grep { m{/$last/} } sort keys %garbage), '', 'nor what is needed of the last one');
($status, $out) = dbops('wal-list', '--store', $store->{url}, '--garbage', '--json');
is(join(' ', sort map { "$_->{key}=$_->{bytes}" } @{ JSON::PP::decode_json($out)->[0]{garbage} }), join(' ', map { "$_=$garbage{$_}" } sort keys %garbage),
	'wal-list --garbage --json: the same');
unlink map { "$store->{directory}/$_" } keys %garbage;

# --- exit statuses -----------------------------------------------------------------------------------------------------

is_status(0, 'a segment', get($segments[3], '--spool-size', 0));
is(-s "$place/got", 1 << 20, 'of its size');
is(is_status(0, 'the last segment', get($last, '--spool-size', 0)), '', 'quiet');
is(-s "$place/got", 1 << 20, 'is filled up to its size');
my ($number) = $last =~ /(.{8})$/;
my $next = substr($last, 0, 16) . sprintf('%08X', hex($number) + 1);
is(is_status(1, 'a segment that does not exist yet', get($next)), '', 'quiet');
is(is_status(1, 'a history that does not exist', get('00000007.history')), '', 'quiet');
is_status(1, 'a partial segment that does not exist', get("$segments[3].partial"));

like(is_status(200, 'a name that is none', get('nonsense')), qr/not the name of a WAL file/, 'is said');
is_status(200, 'another cluster', dbops('wal-get', '--store', $store->{url}, '--system-identifier', 42, $segments[3], "$place/got"));
is_status(200, 'no store', dbops('wal-get', '--system-identifier', $identifier, $segments[3], "$place/got"));
is_status(200, 'no data directory and no identifier', dbops('wal-get', '--store', $store->{url}, $segments[3], "$place/got"));
is_status(200, 'a URL that is none', dbops('wal-get', '--store', 'ftp://x', '--system-identifier', $identifier, $segments[3], "$place/got"));
is_status(200, 'an option that is none', get($segments[3], '--no-such-option'));
is_status(200, 'a missing argument', dbops('wal-get', $segments[3]));
is_status(200, 'a command that is none', dbops('walget', $segments[3], "$place/got"));
is_status(200, 'a key file that is not there', get($segments[3], '--key-file', "$place/no-keys", '--spool-size', 0));
is_status(201, 'a store that is not mounted', dbops('wal-get', '--store', "$store->{url}/nothing", '--system-identifier', $identifier, '--retry-time', 1, '00000007.history', "$place/got"));
is_status(201, '"not there" is the word of both stores', get($next, '--offsite-store', "$store->{url}/nothing", '--retry-time', 1));
is_status(0, 'one store is enough for what it has', get($segments[3], '--offsite-store', "$store->{url}/nothing", '--retry-time', 1, '--spool-size', 0));
unlink "$place/got";
is_status(204, 'no directory to write to', dbops('wal-get', '--store', $store->{url}, '--system-identifier', $identifier, '--spool-size', 0, $segments[3], "$place/none/got"));

for my $i (5, 6)
{
	is_status(0, 'a segment', get($segments[$i], '--spool-size', 0));
	rename "$place/got", "$place/whole$i";
}
rename object($segments[5]), "$place/hidden";
# The pieces, which are all of it when the archiver was slow.
File::Path::remove_tree(object($segments[5]) =~ s/\.zst$//r);
like(is_status(202, 'a gap', get($segments[5], '--gap-time', 1)), qr/later WAL/, 'is said');
($status, $out) = dbops('wal-list', '--store', $store->{url});
is($status, 1, 'wal-list: exit status of a gap');
like($out, qr/missing +\Q$segments[5]\E +\Q$segments[5]\E|incomplete +\Q$segments[5]\E/, 'wal-list shows it');
{
	# A standby does not end recovery by that answer.
	my $here = Cwd::getcwd();
	mkdir "$place/standby";
	chdir "$place/standby";
	PostgreSQL::Test::Utils::append_to_file('standby.signal', '');
	like(is_status(1, 'a gap, to a standby', get($segments[5], '--gap-time', 1)), qr/standby waits/, 'is said');
	chdir $here;
}
{
	# What PostgreSQL has itself it may take: then the gap is none. Half a segment would end recovery.
	my $wal = "$place/pg_wal";
	mkdir $wal;
	File::Copy::copy("$place/whole$_", "$wal/$segments[$_]") for 5, 6;
	my $get = sub { dbops('wal-get', '--store', $store->{url}, '--system-identifier', $identifier, @_, $segments[5], "$wal/GOT") };
	my ($found, undef, $said) = $get->('--gap-time', 600);
	is($found, 1, 'a gap that pg_wal fills');
	like($said, qr/takes its own from pg_wal/, 'is said');
	my $whole = PostgreSQL::Test::Utils::slurp_file("$place/whole5");
	for my $size (8192, length($whole) / 16)
	{
		open my $file, '>', "$wal/$segments[5]" or die;
		print $file substr($whole, 0, $size) . "\0" x (length($whole) - $size);
		close $file;
		($found) = $get->('--gap-time', 1);
		is($found, 202, "a gap that pg_wal has $size bytes of");
	}
	ok(!-e "$wal/GOT", 'no file');
}
{
	# It comes while it is waited for.
	my $run = IPC::Run::start([ $ENV{DBOPS_CLI}, 'wal-get', '--store', $store->{url}, '--system-identifier', $identifier, '--spool-size', 0,
			$segments[5], "$place/got" ]);
	sleep 0.5;
	rename "$place/hidden", object($segments[5]);
	$run->finish;
	is($run->result(0), 0, 'a segment on its way is waited for');
}
{
	open my $file, '+<', object($segments[6]) or die;
	seek $file, 5000, 0;
	read $file, my $byte, 1;
	seek $file, 5000, 0;
	print $file $byte ^ "\1";
	close $file;
	like(is_status(203, 'damage', get($segments[6], '--spool-size', 0)), qr/\Q$segments[6]\E\.zst/, 'is named');
	open $file, '+<', object($segments[6]) or die;
	seek $file, 5000, 0;
	print $file $byte;
	close $file;
	is_status(0, 'and without damage', get($segments[6], '--spool-size', 0));
}
{
	unlink "$place/got";
	my $run = IPC::Run::start([ $ENV{DBOPS_CLI}, 'wal-get', '--store', "$store->{url}/nothing", '--system-identifier', $identifier, $segments[3], "$place/got" ], '2>', \my $ignored);
	ok(wait_for { my @files = glob "$place/got.*"; @files == 1 }, 'wal-get waits for a store that is out');
	my $begin = time();
	$run->signal('TERM');
	eval { $run->finish };
	is($? & 127 ? 128 + ($? & 127) : $run->result(0), 143, 'SIGTERM: the exit status that PostgreSQL expects');
	cmp_ok(time() - $begin, '<', 120, 'and it does not go on until the time for retries is over');
	is(join(' ', glob "$place/got*"), '', 'and nothing is left');
}

{
	# A file system of the network: what it says while its server is away is neither "not there" nor the end of it.
	my $library = Dbops::fault_library('failing_reads');
	my %errno = (EIO => 5, ESTALE => 116, ETIMEDOUT => 110, ENOTCONN => 107);
	for my $name (sort keys %errno)
	{
		local %ENV = (%ENV, LD_PRELOAD => $library, FAIL_BELOW => $store->{directory}, FAIL_ERRNO => $errno{$name}, FAIL_FROM => 0, FAIL_CALLS => 1 << 30);
		for my $file ($segments[3], $next, '00000007.history')
		{
			like(is_status(201, "$name that stays, $file", get($file, '--spool-size', 0, '--retry-time', 1)), qr/could not|is not there/, 'is said');
		}
		$ENV{FAIL_CALLS} = 2;
		for my $from (0 .. 9)
		{
			$ENV{FAIL_FROM} = $from;
			is_status(0, "$name that passes, call $from, a segment", get($segments[3], '--spool-size', 0));
			is_status(0, "$name that passes, call $from, pieces", get($last, '--spool-size', 0));
			is_status(1, "$name that passes, call $from, nothing", get($next, '--spool-size', 0));
		}
	}
}

# --- segments fetched ahead --------------------------------------------------------------------------------------------

my @spool = ('--spool-dir', $place);
sub spooled { my ($segment) = @_; return (glob "$place/dbops-*/*/$segment")[0]; }

is_status(0, 'a first segment', get($segments[0], @spool));
ok(wait_for { 4 == grep { spooled($segments[$_]) } 1 .. 4 }, 'those behind it are fetched ahead');
is(scalar(prefetchers()), 1, 'by one process');
rename $cluster, "$cluster.away";
is_status(0, 'the next one needs no store', get($segments[1], @spool));
is(-s "$place/got", 1 << 20, 'and is whole');
my $got = PostgreSQL::Test::Utils::slurp_file("$place/got");
rename "$cluster.away", $cluster;
is_status(0, 'from the store', get($segments[1], '--spool-size', 0));
ok($got eq PostgreSQL::Test::Utils::slurp_file("$place/got"), 'it is the same');
ok(!spooled($segments[1]), 'what was taken is not in the spool any more');

my ($pid) = prefetchers();
kill 'KILL', $pid;
ok(wait_for { !prefetchers() }, 'the process is killed');
is_status(0, 'what it had fetched serves', get($segments[2], @spool));
is_status(0, 'and so does the next one', get($segments[3], @spool));
ok(wait_for { prefetchers() == 1 }, 'another process has taken its place');
is_status(0, 'a jump back', get($segments[0], @spool));
is_status(0, 'and forth', get($segments[8], @spool));
ok(wait_for { !spooled($segments[4]) }, 'what was passed is removed');
{
	chmod 0755, glob("$place/dbops-*");
	my (undef, undef, $said) = get('00000007.history', @spool);
	like($said, qr/no read-ahead: .* can be read by other users/, 'a spool that is not private is not used, and that is said');
	is(is_status(0, 'without it', get($segments[9], @spool)), '', 'quiet');
	chmod 0700, glob("$place/dbops-*");
}
ok((wait_for { !prefetchers() }), 'the process ends by itself');
is(join(' ', glob "$place/dbops-*/*"), '', 'and leaves nothing');

# In a container whose shell was started from outside nobody there leads the session.
SKIP:
{
	skip 'no process namespaces here', 1 if system('unshare -Urmpf --mount-proc true 2>/dev/null') != 0;
	my $other = File::Temp::tempdir(CLEANUP => 1);
	my $script = 'spool=$1 segment=$2; shift 2; "$@" || exit 8; for i in $(seq 600); do ls "$spool"/dbops-*/*/$segment 2>/dev/null && exit 0; sleep 0.1; done; exit 9';
	IPC::Run::run([ qw(unshare -Urmpf --mount-proc sh -c), $script, 'sh', $other, $segments[4], $ENV{DBOPS_CLI}, 'wal-get', '--store', $store->{url},
			'--system-identifier', $identifier, '--spool-dir', $other, $segments[0], "$place/got" ], '<', \undef, '>', \my $out, '2>', \my $err);
	is($? >> 8, 0, 'in a container, too, segments are fetched ahead') or diag $err;
}

# --- recovery ----------------------------------------------------------------------------------------------------------

my $copy = Archive::restore('copy', $node, 'b', $store, arguments => "--spool-dir \"$place\"");
is(Dbops::value($copy, 'SELECT count(*) FROM fact'), 12 * 800 + 1, 'recovery with read-ahead: all is back');
ok((wait_for { !prefetchers() }), 'with the end of recovery the process has ended');
is(join(' ', glob "$place/dbops-*/*"), '', 'and the spool is gone');
$copy->stop;

# The archive holds WAL of a timeline behind the point where another branched off, and of that one nothing but its
# history: the server that was promoted died at once. What the old one went on to write is no part of the new timeline.
my $standby = Archive::restore('standby', $node, 'b', $store, standby => 1, archive => Archive::settings($store));
ok(Dbops::wait_for($standby, 'SELECT count(*) FROM fact', 12 * 800 + 1), 'a standby follows the store');
$standby->promote;
Archive::wait_promoted($standby);
Archive::wait_archived($standby);
ok(wait_for { -e "$cluster/wal/00000002.history" }, 'it is promoted');
Archive::destroy($standby);
$node->safe_psql('postgres', "INSERT INTO fact SELECT 200, 'behind the switch' FROM generate_series(1, 100)");
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
$node->safe_psql('postgres', "INSERT INTO fact SELECT 201, 'behind the switch' FROM generate_series(1, 100)");
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
Archive::wait_archived($node);
File::Path::remove_tree("$cluster/wal/00000002");
my $branch = Archive::restore('branch', $node, 'b', $store);
is(Dbops::value($branch, 'SELECT max(id) FROM fact'), 100, 'along the new timeline: nothing from behind the switch');
is(Dbops::value($branch, 'SELECT timeline_id FROM pg_control_checkpoint()'), 3, 'on a timeline of its own');
like(PostgreSQL::Test::Utils::slurp_file($branch->data_dir . '/pg_wal/00000003.history'), qr/^2\t/m, 'whose parent is the new one');
$branch->stop;
my $old = Archive::restore('old', $node, 'b', $store, conf => "recovery_target_timeline = '1'");
is(Dbops::value($old, 'SELECT max(id) FROM fact'), 201, 'along the old timeline: all of it');
$old->stop;
$node->stop;

# The same with a switch right at the end of a segment. Without a file for the first segment of the new timeline
# PostgreSQL would take the one that the old primary went on to write.
my $edge_store = Archive::store('file');
my $not_streamed = "dbops.stream_interval = 0\n";
my $edge = Archive::primary('edge', $edge_store, init => ['--wal-segsize=1'], conf => $not_streamed);
my $edge_wal = "$edge_store->{directory}/" . Dbops::value($edge, 'SELECT system_identifier FROM pg_control_system()') . '/wal';
$edge->safe_psql('postgres', 'CREATE TABLE fact (id int)');
Archive::base_backup($edge, 'b');
$edge->safe_psql('postgres', 'INSERT INTO fact VALUES (1)');
$edge->safe_psql('postgres', 'SELECT pg_switch_wal()');
Archive::wait_archived($edge);
my $edge_standby = Archive::restore('edge_standby', $edge, 'b', $edge_store, standby => 1, archive => Archive::settings($edge_store, conf => $not_streamed));
ok(Dbops::wait_for($edge_standby, 'SELECT count(*) FROM fact', 1), 'a standby at the end of a segment');
$edge_standby->promote;
Archive::wait_promoted($edge_standby);
ok(wait_for { -e "$edge_wal/00000002.history" }, 'it is promoted');
my ($switch) = PostgreSQL::Test::Utils::slurp_file($edge_standby->data_dir . '/pg_wal/00000002.history') =~ m{^1\t(\S+)}m;
like($switch, qr/00000$/, 'at the start of a segment');
Archive::destroy($edge_standby);
$edge->safe_psql('postgres', 'INSERT INTO fact VALUES (2)');
$edge->safe_psql('postgres', 'SELECT pg_switch_wal()');
Archive::wait_archived($edge);
File::Path::remove_tree("$edge_wal/00000002");
my $edge_branch = Archive::restore('edge_branch', $edge, 'b', $edge_store);
is(Dbops::value($edge_branch, 'SELECT max(id) FROM fact'), 1, 'along the new timeline: nothing from behind the switch');
like(PostgreSQL::Test::Utils::slurp_file($edge_branch->data_dir . '/pg_wal/00000003.history'), qr/^2\t\Q$switch\E\t/m, 'which ended where it began');
$edge_branch->stop;

# A server that is restored in its own place, with the WAL in pg_wal that it had not shipped: that is kept and replayed.
$edge->safe_psql('postgres', "ALTER SYSTEM SET dbops.stream_interval = '100ms'");
$edge->reload;
$edge->safe_psql('postgres', 'INSERT INTO fact VALUES (3)');
ok(defined Archive::wait_durable($edge), 'a part of the segment is in the archive');
rename $edge_store->{directory}, "$edge_store->{directory}.away";
$edge->safe_psql('postgres', 'INSERT INTO fact VALUES (4)');
my $unshipped = Dbops::value($edge, 'SELECT pg_walfile_name(pg_current_wal_lsn())');
Archive::crash($edge);
rename "$edge_store->{directory}.away", $edge_store->{directory};
my $own = Archive::restore('own', $edge, 'b', $edge_store, conf => "recovery_target_timeline = '1'", start => 0);
File::Copy::copy($edge->data_dir . "/pg_wal/$unshipped", $own->data_dir . "/pg_wal/$unshipped");
$own->start;
Archive::wait_promoted($own);
is(Dbops::value($own, 'SELECT max(id) FROM fact'), 4, 'WAL in pg_wal that goes on behind what was shipped is kept');
$own->stop;
done_testing();
