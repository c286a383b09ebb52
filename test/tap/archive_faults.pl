# Each fault of the network and of the store, by the proxy of test/s3, while the server archives, streams and restores: what
# is acknowledged is in the store byte for byte, what is restored is what was written, and an outage is never the end of WAL.
#
# A connection that stalls is given up after 20 s, so what would meet such a fault after the others meets two at once; with
# DBOPS_NIGHTLY=1 it is met everywhere by itself, and stays in more ways.
use strict;
use warnings;
use File::Temp ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use Archive;

plan skip_all => 'no radosgw: the S3 server is not installed' unless Archive::has_s3();

my $nightly = $ENV{DBOPS_NIGHTLY};
my $directory = File::Temp::tempdir(CLEANUP => 1);
my $key_file = Archive::key_file('k');
my $store = Archive::store('s3', proxy => 1);
my $direct = Archive::by_way($store, Archive::s3()->{S3_ENDPOINT});
my $node = Archive::primary('faults', $store, key_file => $key_file, init => ['--wal-segsize=1'],
	conf => "dbops.stream_interval = '200ms'\nwal_keep_size = 512MB\ndbops.archive_workers = 2\n");
my $identifier = Dbops::value($node, 'SELECT system_identifier FROM pg_control_system()');
$node->safe_psql('postgres', 'CREATE TABLE t (n int PRIMARY KEY, pad text)');
ok(defined Archive::wait_durable($node), 'it works without faults');
Archive::base_backup($node, 'b');
my $written = 0;

# Some rows that do not compress; returns the segment that they are in.
sub write_rows
{
	my $first = $written + 1;
	$written += 20;
	$node->safe_psql('postgres', "INSERT INTO t SELECT n, (SELECT string_agg(md5(random()::text || n || g), '') FROM generate_series(1, 50) g) FROM generate_series($first, $written) n");
	return Dbops::value($node, 'SELECT pg_walfile_name(pg_current_wal_insert_lsn())');
}

# dbops wal-get into a file: exit status, content, what it said.
sub wal_get
{
	my ($from, $file, @options) = @_;
	return start_wal_get($from, $file, @options)->();
}

# Begins it; what is returned waits for it.
sub start_wal_get
{
	my ($from, $file, @options) = @_;
	my $target = "$directory/$file";
	unlink $target;
	my ($out, $err) = ('', '');
	my $run = IPC::Run::start([ $ENV{DBOPS_CLI}, 'wal-get', '--store', $from->{url}, '--credentials-file', $from->{credentials}, '--key-file', $key_file,
			'--system-identifier', $identifier, '--spool-size', '0', @options, $file, $target ], '<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout(120));
	return sub {
		$run->finish;
		# As a shell says it: of a signal, too.
		my $status = $? & 127 ? 128 + ($? & 127) : $? >> 8;
		return ($status, -e $target ? slurp_file($target) : undef, $err);
	};
}

# Whether a file came as the server has it: all of it, or for the segment in work up to what is durable.
sub is_as_written
{
	my ($file, $status, $content, $what, $upto) = @_;
	my $own = slurp_file($node->data_dir . "/pg_wal/$file");
	if (defined $upto)
	{
		$own = substr($own, 0, $upto);
		$content = substr($content // '', 0, $upto);
	}
	return ok($status == 0 && defined $content && $content eq $own, $what)
	  || diag "status $status, " . length($content // '') . ' bytes, not ' . length($own);
}

# Each acts on the first requests of its kind, which have to be made again.
my @up = (
	{ name => '503', action => 'status', code => 503, count => 3 },
	{ name => '429', action => 'status', code => 429, s3code => 'TooManyRequests', retry_after => 1, count => 2 },
	{ name => 'reset', action => 'reset', count => 2 },
	{ name => 'reset mid-body', action => 'reset_upload', bytes => 20000, count => 2 },
	{ name => 'half-open', action => 'stall_upload', bytes => 20000, seconds => 30, count => 1 },
	{ name => 'stall', action => 'stall_response', seconds => 25, count => 1 },
	{ name => 'lost response', action => 'lost_response', count => 2 },
	{ name => 'closed instead of a response', action => 'lost_fin', count => 2 },
	{ name => 'wrong checksum', action => 'corrupt_upload', bytes => 9000, count => 2 },
	{ name => 'slow', action => 'throttle', rate => 1_000_000, count => 4 });
my @down = (
	{ name => '503', action => 'status', code => 503, count => 3 },
	{ name => '429', action => 'status', code => 429, s3code => 'TooManyRequests', count => 2 },
	{ name => 'reset', action => 'reset', count => 2 },
	{ name => 'reset mid-body', action => 'reset_download', bytes => 5000, count => 2 },
	{ name => 'truncated', action => 'truncate_download', bytes => 5000, count => 2 },
	{ name => 'stall', action => 'stall_response', seconds => 25, count => 1 },
	{ name => 'stall mid-body', action => 'stall_download', bytes => 5000, seconds => 30, count => 1 },
	{ name => 'wrong checksum', action => 'corrupt_download', bytes => 5000, count => 2 },
	{ name => "a proxy's 404", action => 'html404', count => 3 },
	{ name => 'slow', action => 'throttle', rate => 1_000_000, count => 4 });

sub rule { my ($fault, %more) = @_; my %rule = (%$fault, %more); delete $rule{name}; return \%rule; }
sub acted { my $counts = Archive::fault_counts(); return $counts->{acted}{0}; }

# --- archive x each fault; stream x each fault -----------------------------------------------------------------------------
my (@segments, %tails);
for my $fault (@up)
{
	my $name = $fault->{name};
	my $slow = exists $fault->{seconds} && !$nightly;
	my $segment = write_rows();
	# Whole segments: their name ends in .zst; chunks have a directory of that name.
	my $acts = !($slow && $name eq 'stall');
	Archive::faults(rule($fault, method => 'PUT', path => "$segment\\.zst")) if $acts;
	$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
	ok(Archive::wait_archived($node), "archive, $name: the segment is acknowledged");
	cmp_ok(acted(), '>=', 1, "archive, $name: in spite of the fault") if $acts;
	Archive::faults();
	my ($status, $content) = wal_get($direct, $segment);
	is_as_written($segment, $status, $content, "archive, $name: the segment is in the store as it was written");
	push @segments, $segment;
	next if $slow && $name eq 'half-open';

	# The fault is that of small bodies here: the first bytes are enough.
	my %small = exists $fault->{bytes} ? (bytes => 100) : ();
	Archive::faults(rule($fault, %small, method => 'PUT', path => '[0-9A-F]{24}/[0-9A-F]{8}-'));
	my $current = write_rows();
	my $lsn = Archive::wait_durable($node);
	ok(defined $lsn, "stream, $name: the rows are durable");
	cmp_ok(acted(), '>=', 1, "stream, $name: in spite of the fault");
	Archive::faults();
	next unless defined $lsn;
	my $offset = Ledger::number($lsn) % 2**20;
	($status, $content) = wal_get($direct, $current);
	is_as_written($current, $status, $content, "stream, $name: and in the store as they were written", $offset);
	ok(length($content) == 2**20 && substr($content, -4096) !~ /[^\0]/, "stream, $name: filled up to a segment") if defined $content;
}
# What was left out above, at one time: the archiver's connection stalls while the streamer's is half open.
{
	my %fault = map { $_->{name} => $_ } @up;
	my $segment = write_rows();
	Archive::faults(rule($fault{stall}, method => 'PUT', path => "$segment\\.zst"),
		rule($fault{'half-open'}, bytes => 100, method => 'PUT', path => '[0-9A-F]{24}/[0-9A-F]{8}-'));
	$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
	my $current = write_rows();
	ok(Archive::wait_archived($node), 'archive, stall: the segment is acknowledged');
	my $lsn = Archive::wait_durable($node);
	ok(defined $lsn, 'stream, half-open: the rows are durable');
	my $acted = Archive::fault_counts()->{acted};
	cmp_ok($acted->{0}, '>=', 1, 'archive, stall: in spite of the fault');
	cmp_ok($acted->{1}, '>=', 1, 'stream, half-open: in spite of the fault');
	Archive::faults();
	my ($status, $content) = wal_get($direct, $segment);
	is_as_written($segment, $status, $content, 'archive, stall: the segment is in the store as it was written');
	($status, $content) = wal_get($direct, $current);
	is_as_written($current, $status, $content, 'stream, half-open: the rows are in the store as they were written', Ledger::number($lsn) % 2**20);
	push @segments, $segment;
}
is(Archive::status($node, 'failures > 0 OR retries > 0'), 't', 'the view has counted them');
ok(Dbops::wait_for($node, 'SELECT state FROM dbops.archive_status', 'up to date'), 'and says that all is well again');

# --- get x each fault: a whole segment, and one that is put together ---------------------------------------------------------
my $last = write_rows();
my $lsn = Archive::wait_durable($node);
my $offset = Ledger::number($lsn) % 2**20;
for my $fault (@down)
{
	my $name = $fault->{name};
	my $segment = shift @segments;
	my ($status, $content);
	if ($nightly || $name ne 'stall')
	{
		Archive::faults(rule($fault, method => 'GET', path => "$segment\\.zst"));
		($status, $content) = wal_get($store, $segment);
		is_as_written($segment, $status, $content, "get, $name: a segment");
		cmp_ok(acted(), '>=', 1, "get, $name: in spite of the fault");
	}
	next if $name eq 'stall mid-body' && !$nightly;
	# The list and the chunks of the last one.
	my %small = exists $fault->{bytes} ? (bytes => 120) : ();
	Archive::faults(rule($fault, %small, method => 'GET', path => "$last(/|%2F)"));
	($status, $content) = wal_get($store, $last);
	is_as_written($last, $status, $content, "get, $name: what was streamed", $offset);
	cmp_ok(acted(), '>=', 1, "get, $name: in spite of the fault, too");
}
# What was left out above, at one time.
unless ($nightly)
{
	my %fault = map { $_->{name} => $_ } @down;
	my $segment = shift @segments;
	Archive::faults(rule($fault{stall}, method => 'GET', path => "$segment\\.zst"),
		rule($fault{'stall mid-body'}, bytes => 120, method => 'GET', path => "$last(/|%2F)"));
	my @runs = map { start_wal_get($store, $_) } $segment, $last;
	my ($status, $content) = $runs[0]->();
	is_as_written($segment, $status, $content, 'get, stall: a segment');
	($status, $content) = $runs[1]->();
	is_as_written($last, $status, $content, 'get, stall mid-body: what was streamed', $offset);
	my $acted = Archive::fault_counts()->{acted};
	cmp_ok($acted->{$_}, '>=', 1, 'get: in spite of the fault') for 0, 1;
}
Archive::faults();

# --- a fault that stays: never exit status 1, no file ------------------------------------------------------------------------
my $next = sprintf '%s%08X', substr($last, 0, 16), 1 + hex substr($last, 16);
my ($status, $content, $said) = wal_get($direct, $next);
is($status, 1, 'a segment that is not there: 1, by the word of the store');
for my $fault (@down)
{
	my $name = $fault->{name};
	next if $name eq 'slow' || $name eq 'wrong checksum';    # nothing to be damaged in "not there"
	next if exists $fault->{seconds} && !$nightly;
	for my $file ($next, '00000002.history')
	{
		Archive::faults(rule($fault, method => 'GET|HEAD', path => '', count => 1000000, (exists $fault->{bytes} ? (bytes => 20) : ())));
		($status, $content, $said) = wal_get($store, $file, '--retry-time', '2', '--gap-time', '0');
		cmp_ok($status, '>=', 126, "$name that stays, $file: a failure ($status)") or diag $said;
		is($content, undef, "$name that stays, $file: no file");
	}
}
Archive::faults();

# --- an outage during recovery: nobody is promoted early ---------------------------------------------------------------------
my $dump = Archive::dump_of($node);
ok(defined Archive::wait_durable($node), 'everything is durable');
Archive::destroy($node);
for my $fault ({ action => 'status', code => 503 }, { action => 'html404' }, { action => 'reset' }, { action => 'truncate_download', bytes => 10 })
{
	next if !$nightly && $fault->{action} =~ /reset|truncate/;
	# From the tenth request on, in the middle of recovery.
	Archive::faults(rule($fault, method => 'GET', path => '', skip => 10));
	my $copy = Archive::restore("outage_$fault->{action}", $node, 'b', $store, key_file => $key_file, start => 0, arguments => '--retry-time 3 --gap-time 1');
	is(Archive::start_only($copy), 0, "outage by $fault->{action}: recovery is started");
	ok(Archive::wait_log($copy, qr/FATAL:  could not restore file .* from archive/), "outage by $fault->{action}: it stops, it does not end");
	for (1 .. 1800) { last unless Archive::processes($copy); sleep 0.1; }
	is(scalar(Archive::processes($copy)), 0, "outage by $fault->{action}: the server is down");
	unlike(PostgreSQL::Test::Utils::slurp_file($copy->logfile), qr/selected new timeline ID/, "outage by $fault->{action}: and was not promoted");
	Archive::faults();
	# The store is back: the same server is started again, and has everything.
	$copy->start;
	Archive::wait_promoted($copy);
	Archive::is_same_content($copy, $dump, "outage by $fault->{action}: after it everything is there");
	$copy->stop;
	$copy->clean_node;
}

# --- recovery by way of a bad network ----------------------------------------------------------------------------------------
my @bad = map { rule($down[$_], skip => 2 * $_, method => 'GET', path => '', count => 2, (exists $down[$_]{bytes} ? (bytes => 120) : ()), (exists $down[$_]{seconds} ? (seconds => 3) : ())) } 0 .. $#down;
Archive::faults(@bad);
my $copy = Archive::restore('bad_network', $node, 'b', $store, key_file => $key_file);
cmp_ok(scalar(grep { $_ > 0 } values %{ Archive::fault_counts()->{acted} }), '>=', 3, 'recovery met several faults');
Archive::is_same_content($copy, $dump, 'and everything is there');
Archive::is_sound($copy, 'amcheck');
$copy->stop;

done_testing();
