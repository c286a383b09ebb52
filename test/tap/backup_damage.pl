# What a verification has found is known afterwards to all that decide by it; keys that do not fit are no damage; and no clock that
# is ahead lets a backup expire.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Archive;
use Backup;
use Dbops;
use File::Path ();
use File::Temp ();
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $directory = File::Temp::tempdir(CLEANUP => 1);
my $store = Archive::store('file');
my $keys = Archive::key_file('mine');
my $node = Archive::primary('origin', $store, init => ['--wal-segsize=1'], key_file => $keys);
$node->safe_psql('postgres', 'CREATE TABLE account AS SELECT g AS id, md5(g::text) AS note FROM generate_series(1, 1000) g; CHECKPOINT');
my $first = Backup::take($node, $store, key_file => $keys);
my %old = map { $_ => 1 } Backup::objects($store, 'pack');
$node->safe_psql('postgres', 'CREATE TABLE later AS SELECT g AS id, md5(g::text) AS note FROM generate_series(1, 1000) g; CHECKPOINT');
my $second = Backup::take($node, $store, key_file => $keys);
Archive::wait_durable($node);

sub run { my ($command, @arguments) = @_; return Backup::dbops($command, @arguments, Backup::store_options($store, key_file => $keys)); }
sub states { return join ' ', map { $_->{state} } @{ JSON::PP::decode_json(run('list', '--json')->{out}) }; }
sub kept
{
	my (@rules) = @_;
	my $run = run('expire', '--dry-run', @rules);
	is($run->{status}, 0, "expire @rules") or diag $run->{err};
	return join ' ', $run->{out} =~ /^keep +(\S+)/mg;
}
sub restored
{
	my (@arguments) = @_;
	return run('restore', '-D', "$directory/to", @arguments);
}
sub cleared { File::Path::remove_tree("$directory/to"); return; }

# --- keys ---------------------------------------------------------------------------------------------------------------
my $before = join ' ', map { Backup::objects($store, $_) } qw(backup pack verify damaged);
my $other = Archive::key_file('another');
# Another key under the same id.
my $same = "$directory/same";
append_to_file($same, 'mine = ' . 'ab' x 32 . "\n");
chmod 0600, $same;
my ($segment) = grep { /^[0-9A-F]{24}$/ } map { m{/([0-9A-F]{24})\.zst[^/]*$} ? $1 : () } glob "$store->{directory}/*/wal/*/*/*";
my ($identifier) = map { m{/(\d+)$} ? $1 : () } glob "$store->{directory}/*";
for (['no key file'], [ 'a key file without the key', $other ], [ 'another key of the same id', $same ])
{
	my ($what, $file) = @$_;
	my @options = Backup::store_options($store, key_file => $file);
	for my $command ([ 'list' ], [ 'list', '--json' ], [ 'list', '--windows' ], [ 'verify' ], [ 'verify', '--deep' ], [ 'verify', '--backup', $first->{label} ],
		[ 'restore', '-D', "$directory/to" ], [ 'restore', '-D', "$directory/to", '--backup', $first->{label} ], [ 'expire', '--keep-last', 1 ],
		[ 'backup', '-d', $node->connstr('postgres') ])
	{
		my $run = Backup::dbops(@$command, @options);
		is($run->{status}, 2, "$what: @$command[0 .. ($#$command > 1 ? 1 : $#$command)]");
		like($run->{err}, qr/key.*\nHINT: /s, "$what: it says so");
		unlike($run->{err} . $run->{out}, qr/damage|corrupt/i, "$what: and speaks of no damage");
	}
	my $get = Backup::dbops('wal-get', @options, '--system-identifier', $identifier, '--spool-size', 0, $segment, "$directory/got");
	is($get->{status}, 200, "$what: wal-get says that somebody has to act");
	like($get->{err}, qr/key/, "$what: it says so");
}
is(join(' ', map { Backup::objects($store, $_) } qw(backup pack verify damaged)), $before, 'nothing was stored, and nothing is gone');
ok(!-e "$directory/to", 'nothing was restored');

# --- damage -------------------------------------------------------------------------------------------------------------
is(run('verify', '--deep')->{status}, 0, 'all is well');
my ($pack) = grep { !$old{$_} } Backup::objects($store, 'pack');
my $content = slurp_file($pack);
sub overwrite
{
	my ($bytes) = @_;
	chmod 0600, $pack;
	open my $file, '>:raw', $pack or die "$pack: $!";
	print $file $bytes;
	close $file;
	return;
}
overwrite(substr($content, 0, length($content) - 6) . 'DAMAGE');
is(run('verify')->{status}, 0, 'damage that only reading finds');
is(run('verify', '--deep')->{status}, 1, 'a deep verification finds it');
overwrite($content);
my $verify = run('verify');
is($verify->{status}, 1, 'one that does not read knows of it');
like($verify->{out}, qr/\Q$second->{label}\E: .*DAMAGED/s, 'and which backup it is');
is(states(), 'ok damaged', 'dbops list shows it');
is(Dbops::value($node, q{SELECT string_agg(state || ' ' || (problem IS NOT NULL), ', ' ORDER BY backup) FROM dbops.backups}), 'ok false, damaged true', 'dbops.backups as well');
is(Dbops::value($node, q{SELECT detail FROM dbops.check_backups() WHERE check_name = 'damaged backups' AND NOT ok AND hint IS NOT NULL}), "1: $second->{label}", 'and dbops.check_backups()');

my $restore = restored('--backup', $second->{label});
is($restore->{status}, 2, 'it is not restored');
like($restore->{err}, qr/is damaged: .*HINT: .*--accept-damage/s, 'the message says how it is');
ok(!-e "$directory/to", 'and nothing was made');
$restore = restored();
is($restore->{status}, 0, 'the one before is') or diag $restore->{err};
like($restore->{out}, qr/^\Q$first->{label}\E:/m, 'the one before');
like($restore->{err}, qr/WARNING: backup \Q$second->{label}\E is newer, and is left out, as it is damaged/, 'with a warning');
cleared();
is(restored('--backup', $second->{label}, '--accept-damage')->{status}, 0, 'it is when that is asked for, and the damage has gone');
cleared();
is(kept('--keep-last', 1), "$first->{label} $second->{label}", 'expiry keeps the last good one');

is(run('verify', '--deep')->{status}, 0, 'a deep verification finds that the damage has gone');
is(run('verify')->{status}, 0, 'so nobody knows of any');
is(states(), 'ok ok', 'nor does dbops list');
is(kept('--keep-last', 1), $second->{label}, 'nor expiry');
like(restored()->{out}, qr/^\Q$second->{label}\E:/m, 'nor dbops restore');
cleared();

# --- a key that is given up -------------------------------------------------------------------------------------------------
# The last backup has the new key, and refers to blocks that have the old one.
{
	my $place = Archive::store('file');
	my ($old, $both, $new) = map { Archive::key_file(@$_) } ['k1'], [ 'k1', 'k2' ], ['k2'];
	my $server = Archive::primary('rotated', $place, init => ['--wal-segsize=1'], key_file => $old);
	Backup::take($server, $place, key_file => $old);
	$server->append_conf('postgresql.conf', "dbops.key_file = '$both'\n");
	$server->reload;
	$server->safe_psql('postgres', 'CREATE TABLE later AS SELECT g AS id, md5(g::text) AS note FROM generate_series(1, 1000) g; CHECKPOINT');
	my $between = Backup::take($server, $place, key_file => $both, what => 'a backup with a new key beside the old one');
	my $run = Backup::dbops('backup', '-d', $server->connstr('postgres'), Backup::store_options($place, key_file => $new));
	is($run->{status}, 2, 'without the old one: no backup');
	like($run->{err}, qr/would refer to: .*key "k1".*\nHINT: .*--full/s, 'it says which key is missing, and what can be done');
	my $full = Backup::take($server, $place, key_file => $new, arguments => ['--full'], what => 'a full one is taken');
	my $next = Backup::take($server, $place, key_file => $new, what => 'and others after it');
	is($next->{base}, $full->{label}, 'which build on it');
	is(Backup::dbops('verify', '--deep', '-b', $next->{label}, Backup::store_options($place, key_file => $new))->{status}, 0, 'and need no other key');
	$server->stop;
}

# --- clocks -------------------------------------------------------------------------------------------------------------
# The server's and this machine's are ten years ahead; the store's is right.
my $offset = "$directory/offset";
open my $file, '>:raw', $offset or die;
print $file pack('q', 10 * 366 * 86400);
close $file;
$node->stop;
{
	local $ENV{LD_PRELOAD} = Dbops::fault_library('clock_offset');
	local $ENV{CLOCK_OFFSET_FILE} = $offset;
	$node->start;
	my $third = Backup::take($node, $store, key_file => $keys);
	like($third->{label}, qr/^203/, 'a backup in the future');
	my $all = join ' ', map { $_->{label} } $first, $second, $third;
	is(kept('--pitr-window', '2 days'), $all, 'it expires nothing');
	is(kept('--pitr-window', '2 days', '--keep-daily', 1), $all, 'by no rule');
	$node->stop;
}
is(kept('--pitr-window', '2 days'), join(' ', map { $_->{label} } @{ JSON::PP::decode_json(run('list', '--json')->{out}) }), 'nor after the clock was set right');

done_testing();
