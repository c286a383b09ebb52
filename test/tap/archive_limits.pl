# What is full, missing, wrong or not allowed: nothing is acknowledged that is not stored, the view says what to do, all goes on
# by itself when it is mended; and wal-get never says that there is no such file when it cannot know.
use strict;
use warnings;
use File::Temp ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use Archive;

my $directory = File::Temp::tempdir(CLEANUP => 1);
my $store = Archive::store('file');
my $key_file = Archive::key_file('k1');
my $node = Archive::primary('limits', $store, key_file => $key_file, init => ['--wal-segsize=1'], conf => "dbops.stream_interval = '200ms'\n");
my $identifier = Dbops::value($node, 'SELECT system_identifier FROM pg_control_system()');
$node->safe_psql('postgres', 'CREATE TABLE t (n int PRIMARY KEY, pad text)');
my $written = 0;

sub write_rows
{
	my $first = $written + 1;
	$written += 20;
	$node->safe_psql('postgres', "INSERT INTO t SELECT n, (SELECT string_agg(md5(random()::text || n || g), '') FROM generate_series(1, 50) g) FROM generate_series($first, $written) n");
	return Dbops::value($node, 'SELECT pg_walfile_name(pg_current_wal_insert_lsn())');
}

sub write_segment { my $segment = write_rows(); $node->safe_psql('postgres', 'SELECT pg_switch_wal()'); return $segment; }
sub archived { my ($segment) = @_; return -e $node->data_dir . "/pg_wal/archive_status/$segment.done"; }

sub configure
{
	my (%settings) = @_;
	$node->safe_psql('postgres', join ' ', map { "ALTER SYSTEM SET $_ = '$settings{$_}';\n" } sort keys %settings);
	$node->reload;
	return;
}

# Exit status and file of dbops wal-get.
sub wal_get
{
	my ($file, $from, %options) = @_;
	my $target = "$directory/target";
	unlink $target;
	my ($out, $err) = ('', '');
	my @command = (@{ $options{before} // [] }, $ENV{DBOPS_CLI}, 'wal-get', '--store', $from->{url}, '--system-identifier', $options{identifier} // $identifier,
		'--retry-time', '2', '--gap-time', '0', '--spool-size', '0');
	push @command, '--credentials-file', $from->{credentials} if $from->{credentials};
	push @command, '--key-file', $options{key_file} if $options{key_file};
	IPC::Run::run([ @command, $file, $target ], '<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout(120));
	return ($? & 127 ? 128 + ($? & 127) : $? >> 8, -e $target, $err);
}

sub never_ends_recovery
{
	my ($what, $file, $from, %options) = @_;
	my ($status, $there, $err) = wal_get($file, $from, %options);
	cmp_ok($status, '>=', 126, "wal-get, $what: a failure ($status)") or diag $err;
	ok(!$there, "wal-get, $what: no file");
	isnt($err, '', "wal-get, $what: it says why");
	unlike($err, qr/testsecretkey|6b31{8}/, "wal-get, $what: without a secret");
	return $err;
}

# A state that fails: the segment is not acknowledged, the view names it; then it is mended, and everything arrives.
sub fails_until_mended
{
	my ($what, $pattern, $mend) = @_;
	my $segment = write_segment();
	ok(Dbops::wait_for($node, "SELECT state = 'failing' AND last_error ~ '$pattern' FROM dbops.archive_status WHERE repository = 'primary'", 't'), "$what: the view says it")
	  or diag Archive::report($node);
	ok(!archived($segment), "$what: nothing is acknowledged");
	cmp_ok(Archive::status($node, 'backlog_files'), '>=', 1, "$what: the backlog is counted");
	is(Archive::status($node, "coalesce(last_hint, '') <> ''"), 't', "$what: there is a hint") or diag Archive::report($node);
	unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/testsecretkey/, "$what: no secret in the log");
	$mend->();
	ok(Archive::wait_archived($node), "$what: mended, everything is archived");
	ok(archived($segment), "$what: this segment, too");
	ok(Dbops::wait_for($node, 'SELECT state FROM dbops.archive_status', 'up to date'), "$what: and all is well") or diag Archive::report($node);
	return $segment;
}

my $segment = write_segment();
ok(Archive::wait_archived($node), 'it works at first');
my ($status, $there) = wal_get($segment, $store, key_file => $key_file);
is("$status $there", '0 1', 'and back');
my ($absent) = wal_get('0000000100000000000000F0', $store, key_file => $key_file);
is($absent, 1, 'a segment that is not there: 1');

# --- keys ------------------------------------------------------------------------------------------------------------------
like(never_ends_recovery('no key', $segment, $store), qr/key/, 'which names the key');
never_ends_recovery('another key', $segment, $store, key_file => Archive::key_file('k2'));
my $wrong = "$directory/wrong-key";
PostgreSQL::Test::Utils::append_to_file($wrong, 'k1 = ' . ('7' x 64) . "\n");
never_ends_recovery('the wrong key of that name', $segment, $store, key_file => $wrong);
never_ends_recovery('a key file that is not there', $segment, $store, key_file => "$directory/none");
rename $key_file, "$key_file.away";
configure('dbops.archive_workers' => 3);    # whatever: the file is looked at again
fails_until_mended('the key file is missing', 'key', sub { rename "$key_file.away", $key_file; $node->reload; });

# --- the directory -----------------------------------------------------------------------------------------------------------
rename $store->{directory}, "$store->{directory}.away";
never_ends_recovery('the directory is not mounted', $segment, $store, key_file => $key_file);
fails_until_mended('the directory is not mounted', 'place', sub { rename "$store->{directory}.away", $store->{directory}; });
my $cluster = "$store->{directory}/$identifier";
rename $cluster, "$directory/cluster" or die;
fails_until_mended('a directory of the store is gone', 'is gone|has none now|No such file', sub { rmdir $cluster; rename "$directory/cluster", $cluster or die $!; });
mkdir "$directory/empty";
never_ends_recovery('an empty directory', $segment, { url => "file://$directory/empty" }, key_file => $key_file);
never_ends_recovery('another cluster', '0000000100000000000000F0', $store, key_file => $key_file, identifier => '42');

# A disk that is full: a process may write no more than so many bytes to a file, and gets an error, not a signal.
{
	never_ends_recovery('the disk is full', $segment, $store, key_file => $key_file, before => [ 'bash', '-c', 'trap "" XFSZ; ulimit -f 100; exec "$@"', 'bash' ]);
	is(scalar(grep { !m{/(wrong-key|empty)$} } glob "$directory/*"), 0, 'wal-get, the disk is full: nothing is left behind') or diag join ' ', glob "$directory/*";
}
chmod 0500, $store->{directory}, glob "$store->{directory}/*/wal $store->{directory}/*/wal/* $store->{directory}/*/wal/*/*";
fails_until_mended('no permission to write', 'ermission', sub { chmod 0700, $store->{directory}, glob "$store->{directory}/*/wal $store->{directory}/*/wal/* $store->{directory}/*/wal/*/*"; });

SKIP:
{
	skip 'no radosgw: the S3 server is not installed', 1 unless Archive::has_s3();
	my $server = Archive::s3();

	# --- credentials, permissions, clock -----------------------------------------------------------------------------------
	my $s3 = Archive::store('s3');
	configure('dbops.store' => $s3->{url}, 'dbops.credentials_file' => $s3->{credentials});
	my $first = write_segment();
	ok(Archive::wait_archived($node), 'to S3');
	my ($got) = wal_get($first, $s3, key_file => $key_file);
	is($got, 0, 'and back');
	my $mine = "$directory/mine";
	PostgreSQL::Test::Utils::append_to_file($mine, PostgreSQL::Test::Utils::slurp_file($s3->{credentials}));
	chmod 0600, $mine;
	configure('dbops.credentials_file' => $mine);
	write_segment();
	ok(Archive::wait_archived($node), 'with another file of credentials');
	rename $mine, "$mine.away" or die;
	$node->reload;
	fails_until_mended('the file of credentials is missing', 'mine', sub { rename "$mine.away", $mine or die; $node->reload; });
	unlink $mine;
	configure('dbops.credentials_file' => $s3->{credentials});
	my %profile = (
		'a wrong secret' => "[default]\naws_access_key_id = $server->{S3_ACCESS_KEY}\naws_secret_access_key = wrong\n",
		'an unknown key id' => "[default]\naws_access_key_id = nobody\naws_secret_access_key = $server->{S3_SECRET_KEY}\n");
	my $credentials = "$directory/credentials";
	for my $what (sort keys %profile)
	{
		unlink $credentials;
		PostgreSQL::Test::Utils::append_to_file($credentials, $profile{$what});
		chmod 0600, $credentials;
		for my $file ($first, '0000000100000000000000F0', '00000002.history')
		{
			never_ends_recovery("$what, $file", $file, { %$s3, credentials => $credentials }, key_file => $key_file);
		}
		configure('dbops.credentials_file' => $credentials);
		fails_until_mended($what, '403|denied|AccessKey|Signature', sub { configure('dbops.credentials_file' => $s3->{credentials}); });
	}
	never_ends_recovery('a bucket that does not exist', $first, Archive::store('s3', bucket => 'nowhere'), key_file => $key_file);
	never_ends_recovery('another prefix', $first, Archive::store('s3'), key_file => $key_file);
	never_ends_recovery('an authority that signed nothing', $first,
		{ %$s3, url => $s3->{url} =~ s/endpoint=[^&]*/endpoint=$server->{S3_TLS_ENDPOINT}&ca-file=$server->{S3_OTHER_CA_FILE}/r }, key_file => $key_file);
	never_ends_recovery('nobody listens', $first, { %$s3, url => $s3->{url} =~ s/endpoint=[^&]*/endpoint=http:\/\/127.0.0.1:9/r }, key_file => $key_file);

	# Two hours off: the store refuses, says what time it is, and gets requests that are signed with that.
	for my $offset ('+2h', '-2h')
	{
		for my $file ($first, '0000000100000000000000F0')
		{
			my ($right) = wal_get($file, $s3, key_file => $key_file);
			my ($status, $there, $err) = wal_get($file, $s3, key_file => $key_file, before => [ 'faketime', '--exclude-monotonic', '-f', $offset ]);
			is($status, $right, "a clock that is wrong by $offset, $file: as with a right one") or diag $err;
		}
	}

	# May get and put, not list: S3 says 403 for what is not there, and that is not "not there".
	my $nolist = "$directory/nolist";
	PostgreSQL::Test::Utils::append_to_file($nolist, "[default]\naws_access_key_id = nolist\naws_secret_access_key = $server->{S3_SECRET_KEY}\n");
	chmod 0600, $nolist;
	my $blind = Archive::store('s3', bucket => 'dbops-nolist', credentials => $nolist);
	never_ends_recovery('without permission to list, a segment', '0000000100000000000000F0', $blind, key_file => $key_file);
	never_ends_recovery('without permission to list, a history', '00000002.history', $blind, key_file => $key_file);

	# --- a store that is full ----------------------------------------------------------------------------------------------
	my $small = Archive::store('s3', bucket => 'dbops-small');
	configure('dbops.store' => $small->{url});
	my @more;
	for (1 .. 15)
	{
		push @more, write_segment();
		sleep 0.1;
	}
	fails_until_mended('the store is full', 'QuotaExceeded|full|quota', sub { configure('dbops.store' => $s3->{url}); });
	my @missing = grep { (wal_get($_, $s3, key_file => $key_file))[0] != 0 && (wal_get($_, $small, key_file => $key_file))[0] != 0 } @more;
	is("@missing", '', 'every segment that was acknowledged is in one of the two');
}
ok(defined Archive::wait_durable($node), 'in the end all is durable');
$node->stop;
done_testing();
