# PostgreSQL forgot that a finished segment is to be archived: a crash loses .ready files, which are not fsynced, and a kill
# between the end of a segment and its .ready leaves none.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Archive;

# Only whole segments tell how far the store is.
my $conf = "dbops.stream_interval = 0\nautovacuum = off\nwal_keep_size = 1GB\n";

sub switch_wal
{
	my ($node) = @_;
	return Dbops::value($node, 'INSERT INTO t VALUES (1); SELECT pg_walfile_name(pg_switch_wal())') =~ s/\n//gr;
}

sub mark
{
	my ($node, $file) = @_;
	my ($mark) = grep { -e $node->data_dir . "/pg_wal/archive_status/$file.$_" } qw(done ready);
	return $mark // 'none';
}

sub forget
{
	my ($node, $file) = @_;
	unlink $node->data_dir . "/pg_wal/archive_status/$file.ready" or die "$file.ready: $!";
	return;
}

sub position_of { my ($node, $segment) = @_; return Dbops::value($node, "SELECT '0/0'::pg_lsn + ('x' || right('$segment', 8))::bit(32)::bigint * 16777216"); }

sub is_stored { my ($store, $segment) = @_; return scalar grep { /\Q$segment\E/ } glob "$store->{directory}/*/wal/*/*/*.zst"; }

# With the store out, so that it can be seen what is said meanwhile.
{
	my $store = Archive::store('file');
	my $node = Archive::primary('forgetful', $store, conf => $conf);
	$node->safe_psql('postgres', 'CREATE TABLE t (v int)');
	my $first = switch_wal($node);
	Archive::wait_archived($node);
	rename $store->{directory}, "$store->{directory}.away" or die $!;
	my @segments = map { switch_wal($node) } 1 .. 3;
	is(mark($node, $segments[0]), 'ready', 'crash: segments wait for a store that is out');
	Archive::crash($node);
	forget($node, $segments[0]);
	$node->start;
	ok(Dbops::wait_for($node, "SELECT durable_lsn IS NOT NULL FROM dbops.archive_status WHERE repository = 'primary'", 't'),
		'crash: after it, a position is known');
	is(Archive::status($node, 'durable_lsn'), position_of($node, $segments[0]), 'crash: the one before the segment that was forgotten');
	is(mark($node, $segments[0]), 'ready', 'crash: which waits again');
	is(Archive::status($node, 'oldest_unarchived_wal'), $segments[0], 'crash: as the view says');
	is(mark($node, $first), 'done', 'crash: what was archived is left alone');
	rename "$store->{directory}.away", $store->{directory} or die $!;
	ok(Archive::wait_archived($node), 'crash: the store is back');
	ok(is_stored($store, $segments[0]), 'crash: and has the segment');
	is(mark($node, $segments[0]), 'done', 'crash: which is acknowledged');
	my $last = switch_wal($node);
	Archive::wait_archived($node);
	ok(Dbops::wait_for($node, "SELECT durable_lsn > '" . position_of($node, $last) . "' FROM dbops.archive_status WHERE repository = 'primary'", 't'),
		'crash: the position goes on');
	# While the server runs: there was no space for the .ready.
	rename $store->{directory}, "$store->{directory}.away" or die $!;
	my $lost = switch_wal($node);
	forget($node, $lost) if mark($node, $lost) eq 'ready';
	my $next = switch_wal($node);
	rename "$store->{directory}.away", $store->{directory} or die $!;
	$node->restart;
	ok(Dbops::wait_for($node, "SELECT durable_lsn > '" . position_of($node, $next) . "' FROM dbops.archive_status WHERE repository = 'primary'", 't'),
		'start: the position goes over a segment that was forgotten') || diag Archive::report($node);
	ok(is_stored($store, $lost), 'start: when that is stored');
	$node->stop;
}

# The history of a new timeline: as if the crash had come before it was stored.
{
	my $store = Archive::store('file');
	my $old = Archive::primary('old', $store, conf => $conf);
	$old->safe_psql('postgres', 'CREATE TABLE t (v int)');
	Archive::base_backup($old, 'b');
	switch_wal($old);
	Archive::wait_archived($old);
	Archive::destroy($old);
	my $node = Archive::restore('new', $old, 'b', $store, archive => Archive::settings($store, conf => $conf));
	switch_wal($node);
	ok(Archive::wait_archived($node), 'history: a new timeline is archived');
	my $history = '00000002.history';
	is(mark($node, $history), 'done', 'history: and its history');
	rename $store->{directory}, "$store->{directory}.away" or die $!;
	Archive::crash($node);
	unlink $node->data_dir . "/pg_wal/archive_status/$history.done" or die $!;
	unlink glob "$store->{directory}.away/*/wal/$history*" or die $!;
	$node->start;
	ok(Archive::wait_log($node, qr/neither archived nor waiting to be.*\Q$history\E/), 'history: that it was forgotten is found out');
	is(mark($node, $history), 'ready', 'history: it waits again');
	is(Archive::status($node, 'durable_lsn'), '', 'history: without it nothing counts as durable');
	rename "$store->{directory}.away", $store->{directory} or die $!;
	ok(Dbops::wait_for($node, "SELECT durable_lsn IS NOT NULL FROM dbops.archive_status WHERE repository = 'primary'", 't'), 'history: the store is back');
	ok(scalar(() = glob "$store->{directory}/*/wal/$history*"), 'history: and has it');
	$node->stop;
}

done_testing();
