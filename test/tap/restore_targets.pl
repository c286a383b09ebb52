# Where recovery may be told to end: by LSN, transaction, name, at once, on another timeline; and what is refused before anything
# is written.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Archive;
use Backup;
use Dbops;
use File::Basename qw(basename);
use File::Temp ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $directory = File::Temp::tempdir(CLEANUP => 1);
my $store = Archive::store('file');
my $node = Archive::primary('origin', $store, init => ['--wal-segsize=1']);
$node->safe_psql('postgres', 'CREATE TABLE step (n int)');
my $backup = Backup::take($node, $store);
my %at;
sub step { my ($n) = @_; return $node->safe_psql('postgres', "INSERT INTO step VALUES ($n)"); }
step(1);
$at{lsn} = Dbops::value($node, 'SELECT pg_current_wal_insert_lsn()');
step(2);
$at{xid} = Dbops::value($node, 'WITH i AS (INSERT INTO step VALUES (3) RETURNING 1) SELECT pg_current_xact_id()::text::bigint % 4294967296 FROM i');
step(4);
Dbops::value($node, q{SELECT pg_create_restore_point('before it')});
step(5);
Archive::wait_durable($node);

my $messages;
sub reaches
{
	my ($name, $expected, @arguments) = @_;
	my $copy = Backup::restored($name, $store, arguments => \@arguments);
	$messages = $copy->{restore_messages};
	is(Dbops::value($copy, 'SELECT coalesce(max(n), 0) FROM step'), $expected, "$name: it ends there");
	is(Dbops::value($copy, 'SHOW archive_mode'), 'off', "$name: and does not archive");
	$copy->stop;
	$copy->clean_node;
	return;
}
reaches('lsn', 1, '--target-lsn', $at{lsn});
reaches('xid', 3, '--target-xid', $at{xid});
reaches('name', 4, '--target-name', 'before it');
reaches('immediate', 0, '--target-immediate');

# It waits at the target when it is told to.
my $paused = Backup::restore('paused', $store, arguments => [ '--target-lsn', $at{lsn}, '--target-action', 'pause' ]);
$paused->start;
ok(Dbops::wait_for($paused, 'SELECT pg_get_wal_replay_pause_state()', 'paused'), 'pause: it waits at the target');
is(Dbops::value($paused, 'SELECT max(n) FROM step'), 1, 'pause: where one may look');
$paused->stop('immediate');
$paused->clean_node;

# A timeline of its own, made by a restore that is to stay.
my $second = Backup::restore('second', $store, arguments => [ '--target-lsn', $at{lsn}, '--keep-archiving' ]);
$second->start;
Archive::wait_promoted($second);
$second->safe_psql('postgres', 'INSERT INTO step VALUES (22)');
$at{later} = Dbops::value($second, 'SELECT clock_timestamp()');
Dbops::value($second, q{SELECT pg_create_restore_point('on the second')});
Archive::wait_durable($second);
$second->stop;
reaches('latest', 22);
reaches('current', 5, '--timeline', 'current');
reaches('first', 5, '--timeline', 1);
reaches('numbered', 22, '--timeline', 2);

sub refused
{
	my ($what, $why, @arguments) = @_;
	my $run = Backup::dbops('restore', '-D', "$directory/new", '--gap-time', 0, @arguments, Backup::store_options($store));
	is($run->{status}, 2, "$what is refused");
	like($run->{err}, $why, "$what: it says why");
	ok(!-e "$directory/new", "$what: and makes nothing");
	return;
}
refused('an LSN before the backup', qr/no backup was complete at the recovery target.*reaches from/s, '--target-lsn', '0/100');
refused('a timeline that is not there', qr/no backup lies on the history/, '--timeline', 7);
refused('two targets', qr/./, '--target-immediate', '--target-xid', 5);

# WAL that is missing: on a timeline, and exactly where one timeline goes over into the next.
sub stored { my ($timeline) = @_; return sort glob "$store->{directory}/*/wal/$timeline/*/*"; }
sub without
{
	my ($use, @paths) = @_;
	mkdir "$directory/aside" or die;
	rename $_, "$directory/aside/" . basename($_) or die "$_: $!" for @paths;
	$use->();
	rename "$directory/aside/" . basename($_), $_ or die "$_: $!" for @paths;
	rmdir "$directory/aside" or die;
	return;
}
$second->start;
for my $n (23 .. 25)
{
	$second->safe_psql('postgres', "INSERT INTO step VALUES ($n); SELECT pg_switch_wal()");
}
my $end = Dbops::value($second, 'SELECT pg_current_wal_lsn()');
$second->safe_psql('postgres', 'INSERT INTO step VALUES (26)');
Archive::wait_durable($second);
$second->stop;
my @of_second = stored('00000002');
my %names = map { m{/([0-9A-F]{24})} ? ($1 => 1) : () } @of_second;
my ($at_switch, $behind) = sort keys %names;
# What lies behind a hole was stored over an hour: no crash explains it.
sub long_ago
{
	my ($what, $why, @arguments) = @_;
	my ($seen, $modified) = (stat $of_second[-1])[8, 9];
	utime $seen, $modified + 3600, $of_second[-1] or die;
	refused($what, $why, @arguments);
	utime $seen, $modified, $of_second[-1] or die;
	return;
}
without(sub {
	long_ago('the end of a timeline of which the beginning is missing', qr/WAL is missing between .* of timeline 2/);
	refused('an LSN behind a hole at the switch', qr/WAL is missing between .* of timeline 2.*reaches from/s, '--target-lsn', $end);
	my $verify = Backup::dbops('verify', '--gap-time', 0, Backup::store_options($store));
	is($verify->{status}, 1, 'the hole at the switch is damage');
	like($verify->{out}, qr/WAL: is missing from .* of timeline 2: recovery from backup $backup->{label}/, 'it is named');
	reaches('before_the_hole', 1, '--timeline', 1, '--target-lsn', $at{lsn});
}, grep { /$at_switch/ } @of_second);
without(sub {
	refused('an LSN behind a hole', qr/WAL is missing between .* of timeline 2.*reaches from/s, '--target-lsn', $end);
}, grep { /$behind/ } @of_second);
# Where a time or a name lies, recovery finds out: what is missing behind it is no obstacle.
my $much_later = (sort keys %names)[-2];
without(sub {
	for my $target ([ 'a_name', '--target-name', 'on the second' ], [ 'a_time', '--target-time', $at{later} ])
	{
		my ($name, @arguments) = @$target;
		reaches("${name}_before_the_hole", 22, @arguments);
		like($messages, qr/WARNING: WAL is missing between .* of timeline 2 and .*If the target lies behind that/, "$name: it is warned of the hole");
	}
	like($messages, qr/to be recovered until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}\+00/, 'a time is said with its zone');
	# At the tail it is what a crash leaves, or what comes any moment: recovery ends there.
	reaches('to_the_hole', 24);
	like($messages, qr/WARNING: WAL is missing between .* of timeline 2 and .*: it is on its way, or .*Recovery ends at/, 'the end: it says where that is');
}, grep { /$much_later/ } @of_second);
my ($lost) = (sort keys %names)[-3];
without(sub {
	long_ago('the end, behind a hole of long ago', qr/WAL is missing between .* of timeline 2 and .*reaches from/s);
	refused('a time behind a hole', qr/WAL is missing between .*, and the target lies behind that.*reaches from/s, '--target-time', '2100-01-01 00:00:00Z');
}, grep { /$lost/ } @of_second);
# PostgreSQL needs a transaction behind the target, and says at the end of recovery only that there is none.
refused('a time behind the end', qr/the WAL in the store was written until \d{4}-.*and the target lies behind that.*reaches from.*Without a target/s,
	'--target-time', '2100-01-01 00:00:00Z');
refused('an LSN behind the end', qr/WAL is missing between .* and the target F\/0.*reaches from.*Without a target/s, '--target-lsn', 'F/0');
is(Backup::dbops('verify', '--gap-time', 0, Backup::store_options($store))->{status}, 0, 'nothing is missing');
reaches('over_the_switch', 26);
unlike($messages, qr/WARNING: backup/, 'no backup is left out');

# Both sides go on: the newest backup is not always on the way.
my $newer = Backup::take($node, $store, what => 'a backup of the first timeline');
reaches('beside_it', 26);
like($messages, qr/WARNING: backup \Q$newer->{label}\E is newer, and is left out: it is of timeline 1, .* --timeline 1/, 'a newer one of another timeline is named');
reaches('of_the_first', 5, '--timeline', 1);
unlike($messages, qr/WARNING: backup/, 'which is taken when its timeline is wanted');

$node->stop;

done_testing();
