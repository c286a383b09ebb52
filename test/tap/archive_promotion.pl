# Standbys that archive, and what a promotion leaves: segments that are not finished are never stored as if they were, each
# promoted server's last piece of the old timeline is kept.
use strict;
use warnings;
use File::Temp ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use Archive;

my $directory = File::Temp::tempdir(CLEANUP => 1);
# No segment is recycled before the test has looked at it, whenever the checkpoint of a promotion comes.
my $conf = "dbops.stream_interval = '100ms'\nautovacuum = off\nwal_keep_size = 1GB\n";

sub switch_wal
{
	my ($node, $value) = @_;
	return Dbops::value($node, "INSERT INTO t VALUES ('$value'); SELECT pg_walfile_name(pg_switch_wal())") =~ s/\n//gr;
}

sub wait_until
{
	my ($condition, $timeout) = @_;
	my $end = time() + ($timeout // $PostgreSQL::Test::Utils::timeout_default);
	while (time() < $end)
	{
		return 1 if $condition->();
		sleep 0.05;
	}
	return 0;
}

# 'ready', 'done' or ''.
sub archive_state
{
	my ($node, $file) = @_;
	my ($state) = grep { -e $node->data_dir . "/pg_wal/archive_status/$file.$_" } qw(done ready);
	return $state // '';
}

sub is_archived
{
	my ($node, $file, $what) = @_;
	return ok(wait_until(sub { archive_state($node, $file) eq 'done' }), $what) || diag Archive::report($node);
}

# Objects of the cluster whose key matches.
sub objects { my ($store, $pattern) = @_; return grep { /$pattern/ } glob "$store->{directory}/*/wal/* $store->{directory}/*/wal/*/*/*"; }

# The whole segment as the store has it, undef when it has not.
sub stored
{
	my ($store, $node, $segment) = @_;
	return unless objects($store, qr/\Q$segment\E\.zst$/);
	my $identifier = unpack 'Q', slurp_file($node->data_dir . '/global/pg_control');
	unlink "$directory/got";
	system($ENV{DBOPS_CLI}, 'wal-get', '--store', $store->{url}, '--system-identifier', $identifier, '--spool-size', '0', $segment, "$directory/got") == 0 or return;
	return slurp_file("$directory/got");
}

sub is_stored
{
	my ($node, $store, $segment, $what) = @_;
	my $got = stored($store, $node, $segment);
	return ok(defined $got && $got eq slurp_file($node->data_dir . "/pg_wal/$segment"), $what);
}

# Only what is replayed is known to be whole: wal-get pads the unfinished segment, and with archive_mode = always PostgreSQL
# offers what it has got.
{
	my $store = Archive::store('file');
	my $primary = Archive::primary('padded', $store, conf => $conf);
	$primary->safe_psql('postgres', 'CREATE TABLE t (v text)');
	Archive::base_backup($primary, 'b');
	is_archived($primary, switch_wal($primary, 'whole'), 'always, restoring: the primary archives');
	Dbops::value($primary, q{INSERT INTO t VALUES ('streamed')});
	Archive::wait_durable($primary);
	my $unfinished = Dbops::value($primary, 'SELECT pg_walfile_name(pg_current_wal_insert_lsn())');
	my $standby = Archive::restore('padding', $primary, 'b', $store, standby => 1, archive => Archive::settings($store) . "archive_mode = always\n");
	ok(wait_until(sub { archive_state($standby, $unfinished) ne '' }), 'always, restoring: PostgreSQL offers the padded segment');
	sleep 3;    # it would be stored at once
	is(scalar objects($store, qr/\Q$unfinished\E\.zst$/), 0, 'always, restoring: which is not stored');
	is(archive_state($standby, $unfinished), 'ready', 'always, restoring: nor acknowledged');
	is(switch_wal($primary, 'ended'), $unfinished, 'always, restoring: the primary ends it');
	is_archived($primary, $unfinished, 'always, restoring: and archives it');
	is_stored($primary, $store, $unfinished, 'always, restoring: with its own bytes');
	ok(Dbops::wait_for($standby, q{SELECT count(*) FROM t WHERE v = 'ended'}, 1), 'always, restoring: the standby follows');
	is_archived($standby, $unfinished, 'always, restoring: and acknowledges what it has replayed');
	# Promoted within a segment that it was offered: what it has of that is kept, under a name of its own.
	Dbops::value($primary, q{INSERT INTO t VALUES ('last')});
	Archive::wait_durable($primary);
	$unfinished = Dbops::value($primary, 'SELECT pg_walfile_name(pg_current_wal_insert_lsn())');
	ok(Dbops::wait_for($standby, q{SELECT count(*) FROM t WHERE v = 'last'}, 1), 'always, restoring: the standby has the last commit');
	ok(wait_until(sub { archive_state($standby, $unfinished) ne '' }), 'always, restoring: and is offered its segment');
	$standby->promote;
	Archive::wait_promoted($standby);
	my $segment = switch_wal($standby, 'promoted');
	like($segment, qr/^00000002/, 'always, restoring: promoted');
	is_archived($standby, $segment, 'always, restoring: the new timeline is archived');
	is(scalar objects($store, qr/\Q$unfinished\E\.zst$/), 0, 'always, restoring: the unfinished segment is not there as a whole');
	is(scalar objects($store, qr/\Q$unfinished\E\.partial/), 1, 'always, restoring: but as what it is');
	is(switch_wal($primary, 'old'), $unfinished, 'always, restoring: the old primary ends it');
	is_archived($primary, $unfinished, 'always, restoring: and archives it');
	is_stored($primary, $store, $unfinished, 'always, restoring: with its own bytes');
	$_->stop for $standby, $primary;
}

# Two promotions within one segment.
{
	my $store = Archive::store('file');
	my $primary = Archive::primary('first', $store, conf => $conf);
	$primary->safe_psql('postgres', 'CREATE TABLE t (v text)');
	$primary->backup('b');
	my ($second, $third) = map { PostgreSQL::Test::Cluster->new($_) } qw(second third);
	$_->init_from_backup($primary, 'b', has_streaming => 1) for $second, $third;
	# It learns which timelines there are, and stays on its own.
	my $script = "$directory/histories";
	PostgreSQL::Test::Utils::append_to_file($script, "case \$1 in *.history) exec $ENV{DBOPS_CLI} wal-get --store '$store->{url}' \"\$1\" \"\$2\";; *) exit 1;; esac\n");
	$third->append_conf('postgresql.conf', "restore_command = 'sh $script %f %p'\nrecovery_target_timeline = 'current'\n");
	$_->start for $second, $third;
	is_archived($primary, switch_wal($primary, 'one'), 'twice: the primary archives');
	Dbops::value($primary, q{INSERT INTO t VALUES ('two')});
	$primary->wait_for_catchup($_) for $second, $third;
	$third->stop;
	Dbops::value($primary, q{INSERT INTO t VALUES ('three')});
	$primary->wait_for_catchup($second);
	Archive::crash($primary);
	$second->promote;
	Archive::wait_promoted($second);
	ok(wait_until(sub { objects($store, qr/\.partial/) }), 'twice: the first one that is promoted has stored its part');
	Archive::crash($second);
	$third->start;
	$third->promote;
	Archive::wait_promoted($third);
	my $segment = switch_wal($third, 'third');
	like($segment, qr/^00000003/, 'twice: another one is promoted within the same segment');
	is_archived($third, $segment, 'twice: and archives');
	is(scalar objects($store, qr/\.partial/), 2, 'twice: both parts are kept');
	is(Archive::status($third, 'last_error'), '', 'twice: without an error');
	$third->stop;
}
# The old primary could not archive; the standby has what is missing.
{
	my $store = Archive::store('file');
	my $primary = Archive::primary('silent', $store, conf => $conf);
	$primary->safe_psql('postgres', 'CREATE TABLE t (v text)');
	Archive::base_backup($primary, 'b');
	my $standby = Archive::restore('heir', $primary, 'b', $store, standby => 1,
		archive => Archive::settings($store) . "primary_conninfo = '" . $primary->connstr . "'\n");
	is_archived($primary, switch_wal($primary, 'zero'), 'heir: the primary archives');
	$primary->safe_psql('postgres', q{ALTER SYSTEM SET dbops.store = 'file:///nonexistent/place'});
	$primary->reload;
	my @missing = map { switch_wal($primary, $_) } qw(one two three);
	Dbops::value($primary, q{INSERT INTO t VALUES ('last')});
	my $last = Dbops::value($primary, 'SELECT pg_current_wal_lsn()');
	ok(Dbops::wait_for($standby, "SELECT pg_last_wal_replay_lsn() >= '$last'", 't'), 'heir: the standby has received all');
	Archive::crash($primary);
	is(scalar(grep { my $name = $_; objects($store, qr/$name\.zst$/) } @missing), 0, 'heir: some segments are not archived');
	$standby->promote;
	Archive::wait_promoted($standby);
	my $segment = switch_wal($standby, 'promoted');
	is_archived($standby, $segment, 'heir: the new timeline is archived');
	is_stored($standby, $store, $_, "heir: and $_ of the old one, by who was promoted") for @missing;
	Archive::wait_durable($standby);
	my $restored = Archive::restore('again', $primary, 'b', $store);
	is(Dbops::value($restored, q{SELECT string_agg(v, ' ') FROM t}) =~ s/\n/ /gr, 'zero one two three last promoted', 'heir: a restore from before has all');
	$_->stop for $restored, $standby;
}
# The same, and when the new timeline is first looked at, nothing can be noted in archive_status for a while: as long as the
# history waits, what the standby has is not forgotten.
{
	my $store = Archive::store('file');
	my $primary = Archive::primary('mute', $store, conf => $conf);
	$primary->safe_psql('postgres', 'CREATE TABLE t (v text)');
	Archive::base_backup($primary, 'b');
	my $standby = Archive::restore('hindered', $primary, 'b', $store, standby => 1,
		archive => Archive::settings($store) . "primary_conninfo = '" . $primary->connstr . "'\n");
	is_archived($primary, switch_wal($primary, 'zero'), 'hindered: the primary archives');
	$primary->safe_psql('postgres', q{ALTER SYSTEM SET dbops.store = 'file:///nonexistent/place'});
	$primary->reload;
	my @missing = map { switch_wal($primary, $_) } qw(one two three);
	Dbops::value($primary, q{INSERT INTO t VALUES ('last')});
	my $last = Dbops::value($primary, 'SELECT pg_current_wal_lsn()');
	ok(Dbops::wait_for($standby, "SELECT pg_last_wal_replay_lsn() >= '$last'", 't'), 'hindered: the standby has received all');
	Archive::crash($primary);
	is(scalar(grep { my $name = $_; objects($store, qr/$name\.zst$/) } @missing), 0, 'hindered: some segments are not archived');
	my $mark = $standby->data_dir . "/pg_wal/archive_status/$missing[0]";
	unlink "$mark.done" or die "$mark.done: $!";
	symlink '/nonexistent/place/mark', "$mark.ready" or die $!;
	$standby->promote;
	Archive::wait_promoted($standby);
	ok(Archive::wait_log($standby, qr/cannot look for WAL that waits to be archived: .*\Q$missing[0]\E\.ready/), 'hindered: the log says that it cannot look');
	switch_wal($standby, 'before');
	is(archive_state($standby, '00000002.history'), 'ready', 'hindered: the history waits');
	unlink "$mark.ready" or die $!;
	my $segment = switch_wal($standby, 'promoted');
	is_archived($standby, $segment, 'hindered: the new timeline is archived');
	is_stored($standby, $store, $_, "hindered: and $_ of the old one, by who was promoted") for @missing;
	Archive::wait_durable($standby);
	my $restored = Archive::restore('anew', $primary, 'b', $store);
	is(Dbops::value($restored, q{SELECT string_agg(v, ' ') FROM t}) =~ s/\n/ /gr, 'zero one two three last before promoted', 'hindered: a restore from before has all');
	$_->stop for $restored, $standby;
}
done_testing();
