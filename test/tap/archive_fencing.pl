# Two servers with one history and one store: a clone that takes over, with the old server at rest and under load; a data
# directory that was set back in its place; a standby that archives too; a smart shutdown. Whatever they do, what is in the
# store is never changed, and nobody acknowledges what is not there with his own bytes.
use strict;
use warnings;
use Digest::SHA ();
use File::Find ();
use File::Temp ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use Archive;

my $directory = File::Temp::tempdir(CLEANUP => 1);
my @kinds = Archive::has_s3() ? qw(file s3) : qw(file);
# No segment is recycled before the test has looked at it, whenever the checkpoint of a promotion comes.
my $conf = "dbops.stream_interval = '100ms'\nautovacuum = off\nwal_keep_size = 1GB\n";

sub switch_wal
{
	my ($node, $value) = @_;
	return Dbops::value($node, "INSERT INTO t VALUES ('$value'); SELECT pg_walfile_name(pg_switch_wal())") =~ s/\n//gr;
}

sub archived { my ($node, $segment) = @_; return -e $node->data_dir . "/pg_wal/archive_status/$segment.done"; }

sub is_archived
{
	my ($node, $segment, $what) = @_;
	my $end = time() + $PostgreSQL::Test::Utils::timeout_default;
	while (time() < $end && !archived($node, $segment)) { sleep 0.05; }
	return ok(archived($node, $segment), $what) || diag Archive::report($node);
}

sub state_is
{
	my ($node, $condition, $what) = @_;
	return ok(Dbops::wait_for($node, "SELECT $condition FROM dbops.archive_status WHERE repository = 'primary'", 't'), $what) || diag Archive::report($node);
}

# A segment as the store has it, undef when it has not.
sub fetched
{
	my ($store, $node, $segment) = @_;
	my $identifier = Dbops::value($node, 'SELECT system_identifier FROM pg_control_system()');
	my ($out, $err) = ('', '');
	unlink "$directory/got";
	IPC::Run::run([ $ENV{DBOPS_CLI}, 'wal-get', '--store', $store->{url}, '--system-identifier', $identifier, '--spool-size', '0', '--gap-time', '0',
			($store->{credentials} ? ('--credentials-file', $store->{credentials}) : ()), $segment, "$directory/got" ], '<', \undef, '>', \$out, '2>', \$err)
	  or return;
	return PostgreSQL::Test::Utils::slurp_file("$directory/got");
}

# What the server acknowledged and still has is in the store with its bytes.
sub is_faithful
{
	my ($node, $store, $what) = @_;
	my $wal = $node->data_dir . '/pg_wal';
	my ($count, @wrong) = (0);
	for my $segment (map { m{([0-9A-F]{24})\.done$} } glob "$wal/archive_status/*.done")
	{
		my $own = eval { PostgreSQL::Test::Utils::slurp_file("$wal/$segment") };
		next unless defined $own && archived($node, $segment);    # else it was recycled a moment ago
		++$count;
		push @wrong, $segment if (fetched($store, $node, $segment) // '') ne $own;
	}
	return is("@wrong", '', "$what: all $count segments that it has acknowledged are its own");
}

# Objects of a directory by name, with their content's hash.
sub objects
{
	my ($store) = @_;
	return {} unless $store->{directory};
	my %objects;
	File::Find::find({ no_chdir => 1, wanted => sub { $objects{$_} = Digest::SHA->new(256)->addfile($_)->hexdigest if -f && !m{/\.dbops-} } }, $store->{directory});    # not what is being written
	return \%objects;
}

sub unchanged
{
	my ($store, $before, $what) = @_;
	my $after = objects($store);
	my @changed = grep { ($after->{$_} // '') ne $before->{$_} } sort keys %$before;
	return is("@changed", '', "$what: no object of the store was changed or removed");
}

# A copy of the data directory, made while the server was stopped.
sub copy_of
{
	my ($node, $name) = @_;
	my $clone = PostgreSQL::Test::Cluster->new($name);
	system('cp', '-a', $node->data_dir, $clone->data_dir) == 0 or die;
	$clone->append_conf('postgresql.conf', 'port = ' . $clone->port);
	return $clone;
}

# A file system that is not mounted leaves an empty directory: nothing is acknowledged to it.
{
	my $store = Archive::store('file');
	my $node = Archive::primary('unmounted', $store, conf => $conf);
	$node->safe_psql('postgres', 'CREATE TABLE t (v text)');
	is_archived($node, switch_wal($node, 'before'), 'a store in a directory');
	$node->stop;
	my $away = "$store->{directory}.away";
	rename $store->{directory}, $away or die;
	mkdir $store->{directory} or die;
	$node->start;
	my $waiting = switch_wal($node, 'unmounted');
	state_is($node, "last_error ~ 'has held WAL of this cluster'", 'a store that is empty all of a sudden is refused');
	ok(!archived($node, $waiting), 'and nothing is acknowledged');
	is(join(' ', glob "$store->{directory}/*"), '', 'nor written');
	rmdir $store->{directory} or die;
	rename $away, $store->{directory} or die;
	switch_wal($node, 'again'); # wakes the archiver
	is_archived($node, $waiting, 'when it is back');
	rename $store->{directory}, $away or die;
	mkdir $store->{directory} or die;
	$node->restart;
	$waiting = switch_wal($node, 'emptied');
	state_is($node, "last_error ~ 'has held WAL of this cluster'", 'it is emptied on purpose');
	Dbops::value($node, 'SELECT dbops.take_over_archive()');
	switch_wal($node, 'again');
	is_archived($node, $waiting, 'and that is said');
	$node->stop;
	File::Path::remove_tree($away);
}

for my $kind (@kinds)
{
	my $store = Archive::store($kind);
	my $node = Archive::primary("${kind}_old", $store, conf => $conf);
	$node->safe_psql('postgres', 'CREATE TABLE t (v text)');
	is_archived($node, switch_wal($node, 'common'), "$kind: the old server archives");
	Archive::wait_durable($node);
	$node->stop;
	my $clone = copy_of($node, "${kind}_clone");

	# At rest: the old one has nothing that the clone has not. It runs when it is taken over from.
	$node->start;
	state_is($node, "state = 'up to date'", "$kind: the old server is well");
	$clone->start;
	my $refused = switch_wal($clone, 'clone');
	state_is($clone, "last_error ~ 'belongs to another server'", "$kind: the clone is refused");
	ok(!archived($clone, $refused), "$kind: and acknowledges nothing");
	my $before = objects($store);
	my $contested = Dbops::value($node, 'SELECT pg_walfile_name(pg_current_wal_insert_lsn())');
	like(Dbops::value($clone, 'SELECT dbops.take_over_archive()'), qr/epoch 2/, "$kind: it takes over while the old server runs");
	sleep 31;    # the old owner may not have noticed for so long
	my $late = switch_wal($node, 'too late');
	state_is($node, "last_error ~ 'belongs to another server'", "$kind: the old server is refused");
	ok(!archived($node, $late), "$kind: and acknowledges nothing more");
	# A checkpoint of the old server may have come first with the contested segment's pieces: then the clone's is another.
	if (fetched($store, $clone, $contested) && !archived($clone, $refused))
	{
		state_is($clone, "state IN ('diverged', 'failing')", "$kind: the clone has other WAL than the old server has stored, and says so");
	}
	else
	{
		is_archived($clone, $refused, "$kind: the clone archives");
		is_archived($clone, switch_wal($clone, 'more'), "$kind: and goes on");
	}
	unchanged($store, $before, "$kind, take-over");
	is_faithful($node, $store, "$kind, the old server");
	is_faithful($clone, $store, "$kind, the clone");
	$_->stop('immediate') for $node, $clone;

	next if $kind ne 'file';    # what follows asks nothing else of the store

	# Under load: the old server is ahead of the clone, which can never own those segments.
	$store = Archive::store($kind);
	$node = Archive::primary("${kind}_busy", $store, conf => $conf, init => ['--wal-segsize=1']);
	$node->safe_psql('postgres', 'CREATE TABLE t (v text)');
	is_archived($node, switch_wal($node, 'common'), "$kind, busy: the old server archives");
	$node->stop;
	$clone = copy_of($node, "${kind}_late");
	$node->start;
	mkdir "$directory/$kind";
	my $ledger = Ledger->start($node, directory => "$directory/$kind", filler => 5000);
	Dbops::wait_for($node, q{SELECT count(*) >= 3 FROM pg_ls_archive_statusdir() WHERE name LIKE '%.done'}, 't');
	$clone->start;
	my $foreign = switch_wal($clone, 'clone');
	state_is($clone, "last_error <> ''", "$kind, busy: the clone is refused");
	is_archived($node, $foreign, "$kind, busy: the old server has stored what the clone has otherwise");
	$before = objects($store);
	Dbops::value($clone, 'SELECT dbops.take_over_archive()');
	state_is($node, "last_error ~ 'belongs to another server'", "$kind, busy: the old server is told");
	$ledger->stop;
	sleep 31;    # the streamer has been told, the archiver may not have noticed for so long
	my $next = switch_wal($node, 'after');
	state_is($clone, "state IN ('diverged', 'failing') AND last_error <> ''", "$kind, busy: the clone cannot archive over what is there");
	ok(!archived($clone, $foreign), "$kind, busy: it acknowledges nothing");
	ok(!archived($node, $next), "$kind, busy: nor does the old server any longer");
	unchanged($store, $before, "$kind, busy");
	is_faithful($node, $store, "$kind, busy, the old server");
	is_faithful($clone, $store, "$kind, busy, the clone");
	$_->stop('immediate') for $node, $clone;

	# The data directory is set back in its place, as by a snapshot of the volume: the identity is the same.
	$store = Archive::store($kind);
	$node = Archive::primary("${kind}_back", $store, conf => $conf);
	$node->safe_psql('postgres', 'CREATE TABLE t (v text)');
	is_archived($node, switch_wal($node, 'common'), "$kind, set back: it archives");
	$node->stop;
	my $data = $node->data_dir;
	my $snapshot = "$directory/snapshot-$kind";
	system('cp', '-a', $data, $snapshot) == 0 or die;
	$node->start;
	my $future = switch_wal($node, 'future');
	is_archived($node, $future, "$kind, set back: what is gone afterwards was archived");
	Dbops::value($node, q{INSERT INTO t VALUES ('and streamed')});
	Archive::wait_durable($node);
	$node->stop;
	system('bash', '-c', 'find "$1" -mindepth 1 -maxdepth 1 ! -name dbops.instance -exec rm -rf {} + && cd "$0" && find . -mindepth 1 -maxdepth 1 ! -name dbops.instance -exec cp -a {} "$1/" ";"', $snapshot, $data) == 0 or die;
	$before = objects($store);
	$node->start;
	my $stored = fetched($store, $node, $future);
	my $again = switch_wal($node, 'another future');
	is($again, $future, "$kind, set back: the same segment is written once more");
	state_is($node, "state IN ('diverged', 'failing') AND last_error <> ''", "$kind, set back: the view says so");
	ok(!archived($node, $again), "$kind, set back: nothing is acknowledged");
	ok($stored eq fetched($store, $node, $future), "$kind, set back: the store has what it had");
	unchanged($store, $before, "$kind, set back");
	$node->stop('immediate');
	# From the snapshot once more, with what the store has, to a new timeline: and all is well.
	system('rm', '-rf', $data) == 0 && system('cp', '-a', $snapshot, $data) == 0 or die;
	$node->set_recovery_mode;
	$node->append_conf('postgresql.conf', "restore_command = '" . Archive::restore_command($store) . "'\nrecovery_target_timeline = 'latest'\n");
	$node->start;
	Archive::wait_promoted($node);
	is_archived($node, switch_wal($node, 'again'), "$kind, set back: on a timeline of its own it archives");
	is(Dbops::value($node, q{SELECT string_agg(v, ', ') FROM t WHERE v <> 'again'}), 'common, future, and streamed', "$kind, set back: with what the store had of the lost future");
	is_faithful($node, $store, "$kind, set back");
	$node->stop;
}

# Set back to a place within the segment that is being written: its name is free, and what was streamed of it is of the
# lost history. The archiver alone, without a streamer, must find out.
{
	my $store = Archive::store('file');
	my $node = Archive::primary('within', $store, conf => $conf);
	$node->safe_psql('postgres', 'CREATE TABLE t (v text)');
	is_archived($node, switch_wal($node, 'common'), 'set back within a segment: it archives');
	Dbops::value($node, q{INSERT INTO t VALUES ('kept')});
	$node->stop;
	my ($data, $snapshot) = ($node->data_dir, "$directory/snapshot-within");
	system('cp', '-a', $data, $snapshot) == 0 or die;
	$node->start;
	my $contested = Dbops::value($node, 'SELECT pg_walfile_name(pg_current_wal_insert_lsn())');
	Dbops::value($node, q{INSERT INTO t SELECT 'lost ' || g FROM generate_series(1, 1000) g});
	ok(defined Archive::wait_durable($node), 'set back within a segment: what is gone afterwards was streamed');
	is(Dbops::value($node, 'SELECT pg_walfile_name(pg_current_wal_insert_lsn())'), $contested, 'set back within a segment: it is all in one');
	Archive::crash($node);
	system('bash', '-c', 'find "$1" -mindepth 1 -maxdepth 1 ! -name dbops.instance -exec rm -rf {} + && cd "$0" && find . -mindepth 1 -maxdepth 1 ! -name dbops.instance -exec cp -a {} "$1/" ";"', $snapshot, $data) == 0 or die;
	$node->append_conf('postgresql.conf', "dbops.stream_interval = 0\n");
	my $before = objects($store);
	$node->start;
	is(switch_wal($node, 'another history'), $contested, 'set back within a segment: the same segment is ended');
	state_is($node, "state IN ('diverged', 'failing') AND last_error ~ '$contested'", 'set back within a segment: the archiver finds out, and says so');
	ok(!archived($node, $contested), 'set back within a segment: nothing is acknowledged');
	ok(!grep({ m{/\Q$contested\E\.zst} } keys %{ objects($store) }), 'set back within a segment: nor stored under the name that is free');
	my $next = switch_wal($node, 'more');
	$node->safe_psql('postgres', q{ALTER SYSTEM SET dbops.stream_interval = '100ms'});
	$node->reload;
	state_is($node, "state = 'diverged'", 'set back within a segment: the streamer finds out, too');
	ok(!archived($node, $_), "set back within a segment: $_ is not acknowledged") for $contested, $next;
	unchanged($store, $before, 'set back within a segment');
	$node->stop('immediate');
}

# A standby that archives as well stores, or finds there, what its primary wrote; promoted, it goes on.
{
	my $store = Archive::store('file');
	my $primary = Archive::primary('always_primary', $store, conf => $conf);
	$primary->safe_psql('postgres', 'CREATE TABLE t (v text)');
	$primary->backup('b');
	my $standby = PostgreSQL::Test::Cluster->new('always_standby');
	$standby->init_from_backup($primary, 'b', has_streaming => 1);
	$standby->append_conf('postgresql.conf', 'archive_mode = always');
	$standby->start;
	my $segment = switch_wal($primary, 'one');
	is_archived($primary, $segment, 'always: the primary archives');
	is_archived($standby, $segment, 'always: the standby does too');
	# The primary cannot, for a while: the standby does it alone.
	$primary->safe_psql('postgres', q{ALTER SYSTEM SET dbops.store = 'file:///nonexistent/place'});
	$primary->reload;
	$segment = switch_wal($primary, 'two');
	is_archived($standby, $segment, 'always: the standby alone');
	$primary->safe_psql('postgres', q{ALTER SYSTEM RESET dbops.store});
	$primary->reload;
	is_archived($primary, $segment, 'always: the primary finds it there');
	is_faithful($primary, $store, 'always, primary');
	is_faithful($standby, $store, 'always, standby');
	Archive::crash($primary);
	$standby->promote;
	Archive::wait_promoted($standby);
	$segment = switch_wal($standby, 'three');
	like($segment, qr/^00000002/, 'always: promoted, on a new timeline');
	is_archived($standby, $segment, 'always: which it archives');
	is_faithful($standby, $store, 'always, promoted');
	$standby->stop;
}

# A smart shutdown archives what is left.
{
	my $store = Archive::store('file');
	my $node = Archive::primary('smart', $store, conf => $conf);
	$node->safe_psql('postgres', 'CREATE TABLE t (v text)');
	my $segment = switch_wal($node, 'one');
	$node->stop('smart');
	# The shutdown checkpoint may have recycled what was archived before it, and removed its .done.
	ok(!-e $node->data_dir . "/pg_wal/archive_status/$segment.ready" && grep({ m{/\Q$segment\E\.} } keys %{ objects($store) }),
		'smart shutdown: what was complete is archived');
	rename $store->{directory}, "$store->{directory}.away";
	$node->append_conf('postgresql.conf', "dbops.archive_shutdown_timeout = '2s'\n");
	$node->start;
	$segment = switch_wal($node, 'two');
	$node->stop('smart');
	ok(!archived($node, $segment), 'smart shutdown in an outage: it ends, and nothing is acknowledged');
	rename "$store->{directory}.away", $store->{directory};
	$node->start;
	is_archived($node, $segment, 'it is archived after the next start');
	$node->stop;
}
done_testing();
