# What the tests of archiving and restoring share: stores (a directory, a real S3 server, the proxy that fails on demand),
# servers that archive to them, their destruction, their restoration, and the comparison of what came back.
#
#   my $store = Archive::store('s3', tls => 1);            # or 'file'; a hash with url, credentials, ...
#   my $node = Archive::primary('main', $store);
#   Archive::base_backup($node, 'b');
#   Archive::destroy($node);
#   my $copy = Archive::restore('copy', $node, 'b', $store);
#
# Needs the environment that test/run-tests.sh gives.
package Archive;

use strict;
use warnings;

use Cwd ();
use File::Basename ();
use File::Path ();
use File::Temp ();
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

use Dbops;
use Ledger;

my $here = File::Basename::dirname(Cwd::abs_path(__FILE__));
my ($s3, $serial) = (undef, 0);
my @directories;

# --- stores ------------------------------------------------------------------------------------------------------------

# Whether a real S3 server can be started here.
sub has_s3 { return system('command -v radosgw >/dev/null 2>&1') == 0; }

# The variables of test/s3/serve.sh; the server is started by the first call, and ends with the test.
sub s3
{
	return $s3 if $s3;
	my $state = File::Temp::tempdir('s3.XXXXXX', DIR => $ENV{TMPDIR} // '/tmp');
	local $ENV{S3_STATE} = $state;
	my $out = '';
	IPC::Run::run([ "$here/../s3/serve.sh", 'start' ], '<', \undef, '>', \$out) or die 'the S3 server does not start';
	$s3 = { map { /^(\w+)=(.*)$/ } split /\n/, $out };
	return $s3;
}

END
{
	my $status = $?;
	if ($s3)
	{
		local $ENV{S3_STATE} = $s3->{S3_STATE};
		system("$here/../s3/serve.sh", 'stop');
	}
	File::Path::remove_tree(@directories) if @directories;
	$? = $status;
}

# A new, empty place: { url => ..., credentials => file or undef, directory => ... }.
#   'file'                 a directory
#   's3', tls => 1         over https; proxy => 1 through the fault proxy; bucket => ...; options => 'checksum=none&...'
sub store
{
	my ($kind, %options) = @_;
	my $name = sprintf 'place%d', ++$serial;
	if ($kind eq 'file')
	{
		my $directory = File::Temp::tempdir("$name.XXXXXX", DIR => $ENV{TMPDIR} // '/tmp');
		push @directories, $directory;
		return { url => "file://$directory", directory => $directory };
	}
	my $server   = s3();
	my $endpoint = $options{tls} ? $server->{S3_TLS_ENDPOINT} : $options{proxy} ? $server->{S3_PROXY_ENDPOINT} : $server->{S3_ENDPOINT};
	my $bucket   = $options{bucket} // 'dbops-test';
	my $query    = "endpoint=$endpoint&region=us-east-1";
	$query .= "&ca-file=$server->{S3_CA_FILE}" if $options{tls};
	$query .= "&$options{options}" if $options{options};
	return { url => "s3://$bucket/$name?$query", credentials => $options{credentials} // $server->{S3_CREDENTIALS_FILE},
		prefix => $name, bucket => $bucket };
}

# The same place by another way, e.g. the direct one of a store behind the proxy.
sub by_way
{
	my ($store, $endpoint) = @_;
	my %other = %$store;
	$other{url} =~ s/endpoint=[^&]*/endpoint=$endpoint/;
	return \%other;
}

# A file of keys, the last one current: key_file('a', 'b').
sub key_file
{
	my (@ids) = @_;
	my ($handle, $path) = File::Temp::tempfile('keys.XXXXXX', DIR => $ENV{TMPDIR} // '/tmp');
	print $handle map { my $id = $_; "$id = " . substr(unpack('H*', $id) x 64, 0, 64) . "\n" } @ids;
	print $handle "current = $ids[-1]\n";
	close $handle;
	return $path;
}

# Rules for the fault proxy (test/s3/fault_proxy.py); none: it passes everything on.
sub faults
{
	my (@rules) = @_;
	return control('-X', 'PUT', '-d', JSON::PP::encode_json(\@rules), 'rules');
}

# { requests => n, acted => { 0 => n, ... } } since the rules were set.
sub fault_counts { return control('stats'); }

sub control
{
	my (@arguments) = @_;
	my $path = pop @arguments;
	my $out  = '';
	IPC::Run::run([ 'curl', '-sf', @arguments, s3()->{S3_PROXY_CONTROL} . "/$path" ], '<', \undef, '>', \$out)
	  or die 'the fault proxy does not answer';
	return JSON::PP::decode_json($out);
}

# --- servers -----------------------------------------------------------------------------------------------------------

my $quick = q{
wal_retrieve_retry_interval = 100ms
max_wal_size = 256MB
checkpoint_timeout = 1h
full_page_writes = on
log_statement = none
};

# The settings of a server that archives to the store.
#   offsite => another store, key_file => path, conf => text
sub settings
{
	my ($store, %options) = @_;
	my $settings = "archive_mode = on\narchive_library = 'dbops'\ndbops.store = '$store->{url}'\n";
	my $credentials = $store->{credentials} // ($options{offsite} ? $options{offsite}{credentials} : undef);
	$settings .= "dbops.credentials_file = '$credentials'\n" if defined $credentials;
	$settings .= "dbops.key_file = '$options{key_file}'\n" if defined $options{key_file};
	$settings .= "dbops.offsite_store = '$options{offsite}{url}'\n" if $options{offsite};
	return $settings . ($options{conf} // '');
}

# A started server with archiving and streaming, and the extensions dbops and amcheck.
#   init => [...]: arguments of initdb, e.g. [ '--wal-segsize=1' ]; else as settings()
sub primary
{
	my ($name, $store, %options) = @_;
	my $node = Dbops::node($name, init => [ allows_streaming => 1, extra => $options{init} // [] ],
		conf => "wal_log_hints = off\nshared_buffers = 32MB\nmax_connections = 30\n" . $quick . settings($store, %options));
	$node->safe_psql('postgres', 'CREATE EXTENSION amcheck');
	return $node;
}

# With pg_basebackup and without any WAL in it: all of that has to come from the archive.
sub base_backup
{
	my ($node, $name) = @_;
	$node->backup($name, backup_options => [ '-X', 'none', '--no-manifest' ]);
	return;
}

# Ids of the processes whose data directory is the server's.
sub processes
{
	my ($node) = @_;
	return grep { (readlink("/proc/$_/cwd") // '') eq $node->data_dir } map { m{(\d+)$} } glob '/proc/[0-9]*';
}

# kill -9 of every process of it at once.
sub crash
{
	my ($node) = @_;
	my @pids = processes($node);
	$node->kill9;
	kill 'KILL', @pids if @pids;
	# One that nobody has waited for yet is taken for a living postmaster by the next.
	for (my $i = 0; $i < 1200 && grep { kill 0, $_ } @pids; ++$i) { sleep 0.05; }
	return;
}

# The same, and its data directory is removed. The base backups of it stay.
sub destroy
{
	my ($node) = @_;
	crash($node);
	File::Path::remove_tree($node->data_dir);
	return;
}

# restore_command for the store, with these options of wal-get; environment => 1 leaves everything to DBOPS_STORE and the
# like, set in %ENV by the caller.
sub restore_command
{
	my ($store, %options) = @_;
	my @words = ("\"$ENV{DBOPS_CLI}\"", 'wal-get');
	unless ($options{environment})
	{
		push @words, "--store \"$store->{url}\"";
		push @words, "--credentials-file \"$store->{credentials}\"" if defined $store->{credentials};
		push @words, "--key-file \"$options{key_file}\"" if defined $options{key_file};
		push @words, "--offsite-store \"$options{offsite}{url}\"" if $options{offsite};
	}
	push @words, $options{arguments} if defined $options{arguments};
	return join(' ', map { s/%/%%/gr } @words) . ' %f %p';
}

# A new server from a base backup of $origin, in recovery from the store. It is started and, unless standby => 1 or
# wait => 0, has ended recovery when this returns.
#   archive => settings   it goes on archiving, with these; default: archive_mode = off, as befits a drill
#   target => { time => ... } or lsn, name, xid, immediate; action => 'promote' (default), 'pause'
#   conf => text, start => 0; offsite, key_file, arguments: of restore_command
sub restore
{
	my ($name, $origin, $backup, $store, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init_from_backup($origin, $backup);
	my $conf = "restore_command = '" . restore_command($store, %options) . "'\n";
	$conf .= $options{archive} // "archive_mode = off\narchive_library = ''\ndbops.store = ''\ndbops.offsite_store = ''\n";
	if (my ($kind) = keys %{ $options{target} // {} })
	{
		my $setting = $kind eq 'immediate' ? "recovery_target = 'immediate'" : "recovery_target_$kind = '$options{target}{$kind}'";
		$conf .= "\n$setting\nrecovery_target_action = '" . ($options{action} // 'promote') . "'\n";
	}
	$conf .= "\n" . ($options{conf} // '') . "\n";
	$node->append_conf('postgresql.conf', $conf);
	if ($options{standby}) { $node->set_standby_mode; }
	else                   { $node->set_recovery_mode; }
	return $node unless $options{start} // 1;
	$node->start;
	wait_promoted($node) unless $options{standby} || !($options{wait} // 1);
	return $node;
}

sub wait_promoted
{
	my ($node, $timeout) = @_;
	return Dbops::wait_for($node, 'SELECT pg_is_in_recovery()', 'f', $timeout);
}

# Starts a server of which nobody knows whether it will answer; 0 when it could be started.
sub start_only
{
	my ($node) = @_;
	return system('pg_ctl', '-s', '-W', '-D', $node->data_dir, '-l', $node->logfile, 'start');
}


# Waits until the server's log has the pattern.
sub wait_log
{
	my ($node, $pattern, $timeout, $from) = @_;
	my $end = time() + ($timeout // $PostgreSQL::Test::Utils::timeout_default);
	while (time() < $end)
	{
		return 1 if -e $node->logfile && PostgreSQL::Test::Utils::slurp_file($node->logfile, $from // 0) =~ $pattern;
		sleep 0.1;
	}
	diag PostgreSQL::Test::Utils::slurp_file($node->logfile);
	return 0;
}

# --- what is said, and what is true --------------------------------------------------------------------------------------

# A column of dbops.archive_status.
sub status
{
	my ($node, $column, $repository) = @_;
	return Dbops::value($node, "SELECT $column FROM dbops.archive_status WHERE repository = '" . ($repository // 'primary') . "'");
}

# Waits until all that is committed by now is durable in the store; returns the position, undef when it is not in time.
sub wait_durable
{
	my ($node, %options) = @_;
	my $repository = $options{repository} // 'primary';
	# The next record goes behind the header of its page. The page of which that is all has not begun for who flushes.
	my $lsn = Dbops::value($node, q{SELECT CASE WHEN p.lsn % 8192 IN (24, 40) THEN '0/0'::pg_lsn + (p.lsn - p.lsn % 8192) ELSE '0/0'::pg_lsn + p.lsn END
		FROM (SELECT pg_current_wal_insert_lsn() - '0/0' AS lsn) p});
	# Nothing may be written behind the commit that is waited for; then only a flush makes it known.
	Dbops::value($node, 'SELECT pg_log_standby_snapshot()') if $node->pg_version >= 16 && $options{nudge};
	return $lsn if Dbops::wait_for($node, "SELECT coalesce(durable_lsn >= '$lsn', false) FROM dbops.archive_status WHERE repository = '$repository'",
		't', $options{timeout});
	diag report($node);
	return;
}

# Waits until no file waits for the archiver.
sub wait_archived
{
	my ($node, $timeout) = @_;
	my $done = eval { Dbops::wait_for($node, q{SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'}, 0, $timeout) };
	diag report($node) unless $done;
	return $done;
}

# Text about archiving, for diag.
sub report
{
	my ($node) = @_;
	my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile);
	return Dbops::value($node, 'SELECT a::text FROM dbops.archive_status a') . "\n"
	  . Dbops::value($node, 'SELECT s::text FROM pg_stat_archiver s') . "\n" . substr($log, -3000);
}

# The whole content as text, but what differs by design: nothing.
sub dump_of
{
	my ($node) = @_;
	my $out = '';
	IPC::Run::run([ 'pg_dumpall', '-d', $node->connstr('postgres'), '--no-sync' ], '<', \undef, '>', \$out) or die 'pg_dumpall failed';
	$out =~ s/^\\(un)?restrict .*\n//mg;    # a random key in newer minors
	return $out;
}

# Whether the content is the same; says where it begins to differ.
sub is_same_content
{
	my ($node, $expected, $what) = @_;
	my $got = dump_of($node);
	return pass($what) if $got eq $expected;
	my @got      = split /\n/, $got;
	my @expected = split /\n/, $expected;
	my ($line) = grep { ($got[$_] // '') ne ($expected[$_] // '') } 0 .. ($#got > $#expected ? $#got : $#expected);
	fail($what);
	diag sprintf "%d and %d lines; line %d is\n%s\nbut was\n%s", scalar @got, scalar @expected, $line + 1, $got[$line] // '-', $expected[$line] // '-';
	return 0;
}

# amcheck of every table and index of every database: no corruption, and each row is in each index.
sub is_sound
{
	my ($node, $what) = @_;
	my ($out, $err) = ('', '');
	my $ok = IPC::Run::run([ 'pg_amcheck', '--all', '--heapallindexed', '--parent-check', '--rootdescend', '--install-missing',
			'-h', $node->host, '-p', $node->port ], '<', \undef, '>', \$out, '2>', \$err);
	return ok($ok, $what) || diag $out . $err;
}

# After recovery: what was promised is there, nothing else is, and it is sound.
sub is_restored
{
	my ($node, $ledger, $what, $upto) = @_;
	my @missing  = $ledger->missing($node, $upto);
	my @invented = $ledger->invented($node);
	is(scalar @missing, 0, "$what: no commit that was durable is missing") or diag "missing: @missing[0 .. ($#missing > 9 ? 9 : $#missing)]";
	is(scalar @invented, 0, "$what: no row without its commit") or diag "invented: @invented[0 .. ($#invented > 9 ? 9 : $#invented)]";
	is_sound($node, "$what: amcheck");
	return;
}

1;
