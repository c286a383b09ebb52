# dbops check on the command line, in order and not; a server whose clock is not the store's; and how much an outage writes
# into the log.
use strict;
use warnings;
use File::Temp ();
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use Archive;

delete $ENV{$_} for grep { /^(DBOPS_(?!CLI)|AWS_)/ } keys %ENV;
my $place = File::Temp::tempdir(CLEANUP => 1);
mkdir "$place/store" or die;
my $store = { url => "file://$place/store", directory => "$place/store" };
my $offset_file = "$place/clock_offset";
sub set_clock
{
	my ($seconds) = @_;
	open my $file, -e $offset_file ? '+<' : '>', $offset_file or die $!;
	syswrite $file, pack('q', $seconds);
	close $file;
	return;
}
set_clock(0);
my $key = Archive::key_file('k');
my $node = Dbops::node('check', start => 0, init => [ allows_streaming => 1, extra => ['--wal-segsize=1'] ],
	conf => Archive::settings($store, key_file => $key, conf => "fsync = on\ndbops.stream_interval = '200ms'\nautovacuum = off\ndbops.upload_timeout = '5s'\n"));
{
	local $ENV{LD_PRELOAD} = Dbops::fault_library('clock_offset');
	local $ENV{CLOCK_OFFSET_FILE} = $offset_file;
	$node->start;
}
Dbops::create_extension($node);
$node->safe_psql('postgres', 'CREATE TABLE t (n int)');

# ( exit status, standard output, standard error )
sub check
{
	my (@arguments) = @_;
	my ($out, $err) = ('', '');
	push @arguments, '--dbname', $node->connstr('postgres') unless grep { $_ eq '--dbname' } @arguments;
	IPC::Run::run([ $ENV{DBOPS_CLI}, 'check', @arguments ], '<', \undef, '>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}
sub rows { my ($out) = @_; return map { $_->{check_name} => $_ } @{ JSON::PP::decode_json($out) }; }
sub row { my ($name) = @_; return Dbops::value($node, "SELECT ok, severity, detail, hint FROM dbops.check('1 minute') WHERE check_name = '$name'"); }

# --- all is well ---------------------------------------------------------------------------------------------------------
ok(defined Archive::wait_durable($node), 'it works');
my ($status, $out, $err) = check();
is($status, 0, 'all is well: exit status') or diag $out, $err;
is($err, '', 'nothing on standard error');
for my $name ('store', 'archive_mode', 'archive_library', 'wal_level', 'preload', 'version', 'encryption', 'primary store', 'primary store owner',
	'archive a segment', 'primary store read-back', 'primary store clock', 'streamer', 'durable', 'primary store backlog')
{
	like($out, qr/^\Q$name\E +ok /m, "a line says that $name is well");
}
unlike($out, qr/HINT/, 'without a hint');
($status, $out, $err) = check('--json');
is($status, 0, 'JSON: exit status');
my %rows = rows($out);
is(join(' ', grep { !$rows{$_}{ok} } sort keys %rows), '', 'JSON: every check is ok');
is(join(' ', sort keys %{ $rows{store} }), 'check_name detail hint ok severity', 'JSON: the columns of dbops.check()');
is($rows{store}{detail}, $store->{url}, 'JSON: with its detail');

# --- a failure -----------------------------------------------------------------------------------------------------------
rename $key, "$key.away" or die;
($status, $out, $err) = check('--timeout', 5);
is($status, 1, 'no key file: exit status');
like($out, qr/^encryption +error +key file "\Q$key\E" does not exist *\n +HINT: \S/m, 'no key file: a line says so, and a hint what to do');
like($out, qr/^store +ok /m, 'no key file: what is well is well');
($status, $out, $err) = check('--timeout', 5, '--json');
is($status, 1, 'no key file, JSON: exit status');
%rows = rows($out);
ok(!$rows{encryption}{ok} && $rows{encryption}{severity} eq 'error' && $rows{encryption}{hint} ne '', 'no key file, JSON: the row has severity and hint');
rename "$key.away", $key or die;
is((check('--timeout', 'soon'))[0], 2, 'wrong usage');
($status, $out, $err) = check('--dbname', 'host=/nowhere');
is($status, 2, 'no server');
isnt($err, '', 'no server: it is said on standard error');
$node->safe_psql('postgres', 'CREATE DATABASE other');
($status, $out, $err) = check('--dbname', $node->connstr('other'));
is($status, 2, 'a database without the extension');
like($err, qr/CREATE EXTENSION/, 'and what to do');
($status, $out) = check();
is($status, 0, 'the key file is back: all is well') or diag $out;

# --- clocks --------------------------------------------------------------------------------------------------------------
for my $seconds (-400, 400, 100000)
{
	set_clock($seconds);
	like(row('primary store clock'), qr/^f\|warning\|the store's clock and this server's differ by @{[ -$seconds < 0 ? '-' : '' ]}\d+\.\d s, upload included\|.*NTP/,
		"a clock that is off by $seconds seconds");
}
set_clock(200);
like(row('primary store clock'), qr/^t\|warning\|.*differ by -\d+\.\d s/, 'one that is off by 200 seconds is no matter');
set_clock(400);
($status, $out) = check();
is($status, 1, 'on the command line: exit status');
like($out, qr/^primary store clock +warning .*\n +HINT: .*NTP/m, 'and a hint');
set_clock(0);

# --- what an outage writes into the log -----------------------------------------------------------------------------------
# Two kinds of failure in turn, of several files, for a time in which each is tried again and again.
my $from = -s $node->logfile;
my $begin = time();
my $failures = Archive::status($node, 'failures');
for my $way ('gone', 'closed', 'gone', 'closed', 'gone')
{
	# At no moment can it be used.
	if ($way eq 'gone') { rename "$place/store", "$place/away" or die; chmod 0, "$place/away"; }
	else                { rename "$place/away", "$place/store" or die; }
	my $seen = Archive::status($node, 'failures');
	$node->safe_psql('postgres', 'INSERT INTO t VALUES (1); SELECT pg_switch_wal()') for 1 .. 3;
	ok(Dbops::wait_for($node, "SELECT failures >= $seen + 3 FROM dbops.archive_status", 't'), "the store is $way: it is tried again and again");
}
chmod 0700, "$place/away";
rename "$place/away", "$place/store" or die;
my $tries = Archive::status($node, 'failures') - $failures;
my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile, $from);
my @warnings = $log =~ /^.*WARNING:  dbops: .*$/mg;
# Archiver and streamer, two messages each, once a minute.
my $bound = 4 * (1 + int((time() - $begin) / 60));
cmp_ok(scalar @warnings, '<=', $bound, "$tries failures: at most $bound warnings") or diag join "\n", @warnings;
cmp_ok(scalar @warnings, '>=', 2, 'but each is told of');
ok(Archive::wait_archived($node), 'the store is back: everything is archived');
ok(Dbops::wait_for($node, 'SELECT state FROM dbops.archive_status', 'up to date'), 'and all is well');
$from = -s $node->logfile;
rename "$place/store", "$place/away" or die;
$node->safe_psql('postgres', 'INSERT INTO t VALUES (1); SELECT pg_switch_wal()');
ok(Archive::wait_log($node, qr/WARNING:  dbops: .*is not there/, undef, $from), 'the next outage is told of');
rename "$place/away", "$place/store" or die;
$node->stop;
done_testing();
