# No secret is in the log, a view, an error, the title of a process or the output of the command: access key, secret, session
# token and encryption keys are looked for while everything about them fails, with all that the server can be made to log.
use strict;
use warnings;
use File::Temp ();
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);
use Archive;

plan skip_all => 'no radosgw: the S3 server is not installed' unless Archive::has_s3();

delete $ENV{$_} for grep { /^(DBOPS_(?!CLI)|AWS_)/ } keys %ENV;
my $directory = File::Temp::tempdir(CLEANUP => 1);
my $store = Archive::store('s3');
sub written { my ($name, $text) = @_; open my $file, '>', "$directory/$name" or die; print $file $text; close $file; chmod 0600, "$directory/$name"; return "$directory/$name"; }

my ($real) = PostgreSQL::Test::Utils::slurp_file($store->{credentials}) =~ /^aws_secret_access_key *= *(\S+)/m or die;
my ($id)   = PostgreSQL::Test::Utils::slurp_file($store->{credentials}) =~ /^aws_access_key_id *= *(\S+)/m or die;
my %canary = (
	'the real secret'     => $real,
	'an access key'       => 'AKIACANARYOFACCESS00',
	'a secret'            => 'canarySecretOfTheStore/0123456789+abcdefg',
	'a session token'     => 'canaryTokenOfASession0123456789abcdefghij',
	'a wrong secret'      => 'canaryWrongSecret9876543210zyxwvutsrqpon',
	'an encryption key'   => 'c0ffeecafe' x 6 . 'c0ff',
	'another one'         => 'deadbeef00' x 6 . 'dead');
sub profile { my ($id, $secret, $token) = @_; return "[default]\naws_access_key_id = $id\naws_secret_access_key = $secret\n" . (defined $token ? "aws_session_token = $token\n" : ''); }
my $keys = written('keys', "k = $canary{'an encryption key'}\ncurrent = k\n");
my $credentials = written('credentials', profile($id, $real));
my $node = Archive::primary('secrets', { %$store, credentials => $credentials }, key_file => $keys, init => ['--wal-segsize=1'],
	conf => "dbops.stream_interval = '100ms'\nlog_min_messages = debug5\nlog_statement = all\nlog_error_verbosity = verbose\ndbops.upload_timeout = '5s'\n");
my $identifier = Dbops::value($node, 'SELECT system_identifier FROM pg_control_system()');

my $seen = '';    # all that anybody could read
sub look
{
	my ($what, @options) = @_;
	my $said = '';
	for my $sql ('SELECT s::text FROM dbops.archive_status s', q{SELECT c::text FROM dbops.check('3 s') c}, 'SELECT dbops.take_over_archive()',
		"SELECT name, setting, reset_val FROM pg_settings WHERE name LIKE 'dbops.%'", 'SELECT * FROM pg_file_settings', 'SELECT * FROM pg_stat_activity',
		'SELECT * FROM dbops.backups', 'SELECT * FROM pg_stat_archiver')
	{
		my (undef, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
		$said .= "$out\n$err\n";
	}
	for my $arguments ([ 'wal-get', '--retry-time', 1, '--gap-time', 0, '--system-identifier', $identifier, '000000010000000000000001', "$directory/got" ],
		['wal-list'], ['list'], ['verify'])
	{
		my ($command, @rest) = @$arguments;
		my ($out, $err) = ('', '');
		IPC::Run::run([ $ENV{DBOPS_CLI}, $command, '--store', $store->{url}, @options, @rest ], '<', \undef, '>', \$out, '2>', \$err);
		$said .= "$out\n$err\n";
	}
	# The titles of the server's processes; nobody else's belong into the output of a test.
	my ($postmaster) = PostgreSQL::Test::Utils::slurp_file($node->data_dir . '/postmaster.pid') =~ /^([0-9]+)/ or die;
	for my $process (grep { -d } glob '/proc/[0-9]*')
	{
		my $status = eval { PostgreSQL::Test::Utils::slurp_file("$process/status") } // next;
		next unless $status =~ /^P(?:id|Pid):\s+$postmaster$/m;
		my $title = eval { PostgreSQL::Test::Utils::slurp_file("$process/cmdline") } // next;
		$said .= ($title =~ tr/\0/ /r) . "\n";
	}
	$seen .= $said;
	is(join(', ', grep { index($said, $canary{$_}) >= 0 } sort keys %canary), '', "$what: no secret is in a view, an error, a title or the output of the command");
	return $said;
}
sub set
{
	my (%settings) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET $_ = '$settings{$_}'") for sort keys %settings;
	$node->reload;
	$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
	$node->safe_psql('postgres', 'CREATE TABLE IF NOT EXISTS t (n int); INSERT INTO t VALUES (1); SELECT pg_switch_wal()');
	return;
}
sub fails
{
	my ($pattern, $what) = @_;
	ok(Dbops::wait_for($node, "SELECT coalesce(last_error ~ '$pattern', false) AND state = 'failing' FROM dbops.archive_status", 't'), "$what: archiving fails, and why")
	  or diag Archive::report($node);
	return;
}

ok(defined Archive::wait_durable($node), 'it works at first');
ok(Dbops::wait_for($node, 'SELECT state FROM dbops.archive_status', 'up to date'), 'and is up to date');
my @options = ('--credentials-file', $credentials, '--key-file', $keys);
my $in_order = look('in order', @options);
like($in_order, qr/was acknowledged after/, 'there is something to see');
like($in_order, qr{postgres: secrets: archiver}, 'and titles of processes');

my @cases = (
	[ 'a wrong secret', 'status 403', { 'dbops.credentials_file' => written('wrong', profile($id, $canary{'a wrong secret'})) } ],
	[ 'an unknown access key', 'status 403', { 'dbops.credentials_file' => written('unknown', profile($canary{'an access key'}, $canary{'a secret'})) } ],
	[ 'a session token that is none', 'status 4', { 'dbops.credentials_file' => written('token', profile($canary{'an access key'}, $canary{'a secret'}, $canary{'a session token'})) } ],
	[ 'a credentials file that is damaged', 'line 2', { 'dbops.credentials_file' => written('damaged', "[default]\naws_secret_access_key $canary{'a secret'}\n") } ],
	[ 'an endpoint that nobody listens at', 'onnect', { 'dbops.credentials_file' => $credentials, 'dbops.store' => $store->{url} =~ s/endpoint=[^&]*/endpoint=http:\/\/127.0.0.1:1/r } ],
	[ 'a key file that is damaged', 'key', { 'dbops.store' => $store->{url}, 'dbops.credentials_file' => $credentials,
			'dbops.key_file' => written('bad-keys', "k = $canary{'another one'}zz\ncurrent = k\n") } ],
	[ 'a key file without the current key', 'key', { 'dbops.key_file' => written('no-current', "k = $canary{'another one'}\ncurrent = other\n") } ]);
for my $case (@cases)
{
	my ($what, $pattern, $settings) = @$case;
	set(%$settings);
	fails($pattern, $what);
	look($what, '--credentials-file', $settings->{'dbops.credentials_file'} // $credentials, '--key-file', $settings->{'dbops.key_file'} // $keys);
}

# In the environment of the command.
{
	local %ENV = (%ENV, AWS_ACCESS_KEY_ID => $canary{'an access key'}, AWS_SECRET_ACCESS_KEY => $canary{'a secret'}, AWS_SESSION_TOKEN => $canary{'a session token'});
	look('credentials in the environment', '--key-file', $keys);
}
# Another key of the same name does not open what is there.
look('a key that is another', '--credentials-file', $credentials, '--key-file', written('other-keys', "k = $canary{'another one'}\ncurrent = k\n"));

set('dbops.key_file' => $keys);
ok(Archive::wait_archived($node), 'in order again');
$node->stop;
my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile);
like($log, qr/DEBUG:/, 'the log has everything');
is(join(', ', grep { index($log, $canary{$_}) >= 0 } sort keys %canary), '', 'and no secret');
my $stats = PostgreSQL::Test::Utils::slurp_file($node->data_dir . '/pg_stat/dbops_archive.stat');
is(join(', ', grep { index($stats, $canary{$_}) >= 0 } sort keys %canary), '', 'nor has the file of the counters');
# They would have been found.
isnt(index($seen, $store->{url}), -1, 'what is looked at has the URL of the store');
done_testing();
