# Two repositories: an outage of one does not hold the other back, whichever it is, and a promoted server makes up for what
# its old primary let go, of which its data directory knows nothing.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use Archive;

my $conf = "dbops.stream_interval = '100ms'\nautovacuum = off\n";

# Ends that many segments; returns their names.
sub switch_wal
{
	my ($node, $count) = @_;
	my $script = "INSERT INTO t VALUES ('x');\nSELECT pg_walfile_name(pg_switch_wal());\n" x $count;
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres') ], '<', \$script, '>', \$out, '2>', \$err) or die $err;
	return split /\n/, $out;
}

sub wait_until
{
	my ($condition, $timeout) = @_;
	my $end = time() + ($timeout // $PostgreSQL::Test::Utils::timeout_default);
	while (time() < $end)
	{
		return 1 if $condition->();
		sleep 0.1;
	}
	return 0;
}

# The whole segments that a store has, by name.
sub segments { my ($store) = @_; return { map { m{([0-9A-F]{24})\.zst$} ? ($1 => $_) : () } glob "$store->{directory}/*/wal/*/*/*.zst" }; }
sub lacks { my ($store, @names) = @_; my $there = segments($store); return join ' ', grep { !$there->{$_} } @names; }
sub go_out { my ($store) = @_; rename $store->{directory}, "$store->{directory}.away" or die; return; }
sub come_back { my ($store) = @_; rename "$store->{directory}.away", $store->{directory} or die; return; }
# While it is out, too.
sub at_rest { my ($store) = @_; return { directory => "$store->{directory}.away" }; }
sub ready { my ($node) = @_; my @files = glob $node->data_dir . '/pg_wal/archive_status/*.ready'; return scalar @files; }
sub archived { my ($node, $file) = @_; return -e $node->data_dir . "/pg_wal/archive_status/$file.done"; }
# What the view says that a store lacks: number and first file.
sub lacks_by_view
{
	my ($node, $repository) = @_;
	return Dbops::value($node, "SELECT backlog_files, oldest_unarchived_wal FROM dbops.archive_status WHERE repository = '$repository'");
}
sub is_up_to_date
{
	my ($node, $what) = @_;
	# What is durable in pieces may have to be archived yet.
	Archive::wait_archived($node);
	return ok(Dbops::wait_for($node, "SELECT count(*) FROM dbops.archive_status WHERE state = 'up to date' AND durable_lsn = flush_lsn", 2), $what)
	  || diag Archive::report($node);
}

{
	my ($store, $offsite) = (Archive::store('file'), Archive::store('file'));
	my $node = Archive::primary('two', $store, offsite => $offsite, conf => $conf, init => ['--wal-segsize=1']);
	$node->safe_psql('postgres', 'CREATE TABLE t (v text)');
	is_up_to_date($node, 'both stores work at first');

	go_out($store);
	my @names = switch_wal($node, 300);
	ok(wait_until(sub { lacks($offsite, @names) eq '' }), 'the first store is out: the offsite store gets all 300 segments')
	  or diag lacks($offsite, @names), Archive::report($node);
	is(scalar(grep { archived($node, $_) } @names), 0, 'of which none is acknowledged');
	ok(Dbops::wait_for($node, q{SELECT durable_lsn = flush_lsn FROM dbops.archive_status WHERE repository = 'offsite'}, 't'), 'all is durable there')
	  or diag Archive::report($node);
	ok(Dbops::wait_for($node, q{SELECT string_agg(repository || ': ' || state, ', ' ORDER BY repository DESC) FROM dbops.archive_status},
		'primary: failing, offsite: up to date'), 'and the view says so');
	like(lacks_by_view($node, 'primary'), qr/^3\d\d\|$names[0]$/, 'it says what the first store lacks');
	ok(Dbops::wait_for($node, q{SELECT backlog_files = 0 AND oldest_unarchived_wal IS NULL FROM dbops.archive_status WHERE repository = 'offsite'}, 't'),
		'and that the offsite store lacks nothing') or diag lacks_by_view($node, 'offsite');
	$node->restart;
	my @more = switch_wal($node, 20);
	ok(wait_until(sub { lacks($offsite, @more) eq '' }), 'after a restart it goes on') or diag lacks($offsite, @more), Archive::report($node);
	come_back($store);
	switch_wal($node, 1);
	ok(Archive::wait_archived($node), 'the first store is back: it catches up by itself');
	is(lacks($store, @names, @more), '', 'and has all');
	is_up_to_date($node, 'both have');

	# 1 GB may wait for the offsite store: nothing is let go.
	go_out($offsite);
	@names = switch_wal($node, 300);
	ok(wait_until(sub { lacks($store, @names) eq '' }), 'the offsite store is out: the first one gets all 300 segments')
	  or diag lacks($store, @names), Archive::report($node);
	is(scalar(grep { archived($node, $_) } @names), 0, 'of which none is acknowledged');
	ok(Dbops::wait_for($node, q{SELECT durable_lsn = flush_lsn FROM dbops.archive_status WHERE repository = 'primary'}, 't'), 'all is durable there')
	  or diag Archive::report($node);
	like(lacks_by_view($node, 'offsite'), qr/^3\d\d\|$names[0]$/, 'the view says what the offsite store lacks');
	ok(Dbops::wait_for($node, q{SELECT backlog_files < 3 FROM dbops.archive_status WHERE repository = 'primary'}, 't'), 'and that the first one has all')
	  or diag lacks_by_view($node, 'primary');
	is(Dbops::value($node, q{SELECT string_agg(check_name || ' ' || ok, ', ' ORDER BY check_name DESC) FROM dbops.check('1s') WHERE check_name LIKE '%backlog'}),
		'primary store backlog true, offsite store backlog false', 'and so does dbops.check()');
	come_back($offsite);
	switch_wal($node, 1);
	ok(Archive::wait_archived($node), 'the offsite store is back: it catches up by itself');
	is(lacks($offsite, @names), '', 'and has all');
	is_up_to_date($node, 'both have');

	# Another store for a while. What has expired in the offsite store stays gone.
	my $other = Archive::store('file');
	my @oldest = (sort keys %{ segments($offsite) })[ 0 .. 2 ];
	my ($streamer) = grep { slurp_file("/proc/$_/cmdline") =~ /dbops WAL streamer/ } Archive::processes($node);
	unlink map { segments($offsite)->{$_} } @oldest or die;
	unlink grep { m{/([0-9A-F]{24})/} && $1 le $oldest[-1] } glob "$offsite->{directory}/*/wal/*/*/*/*.zst";    # and the pieces
	$node->append_conf('postgresql.conf', "dbops.offsite_store = '$other->{url}'\n");
	kill 'STOP', $streamer or die;    # who compares: the archiver is there first
	$node->reload;
	@names = switch_wal($node, 5);
	ok(Archive::wait_archived($node), 'another offsite store for a while');
	isnt(lacks($other, sort keys %{ segments($store) }), '', 'which has the latest segments first');
	kill 'CONT', $streamer or die;
	ok(wait_until(sub { lacks($other, sort keys %{ segments($store) }) eq '' }), 'which gets all that the first store has')
	  or diag lacks($other, sort keys %{ segments($store) }), Archive::report($node);
	$node->append_conf('postgresql.conf', "dbops.offsite_store = '$offsite->{url}'\n");
	$node->reload;
	ok(wait_until(sub { lacks($offsite, @names) eq '' }), 'the old one again: it gets what it has missed') or diag Archive::report($node);
	is_up_to_date($node, 'and is up to date');
	is(lacks($offsite, @oldest), "@oldest", 'and not what has expired there');

	# No offsite store for a while, and the same one again.
	$node->append_conf('postgresql.conf', "dbops.offsite_store = ''\n");
	$node->reload;
	@names = switch_wal($node, 5);
	ok(Archive::wait_archived($node), 'no offsite store for a while');
	is(lacks($offsite, @names), "@names", 'which gets nothing');
	$node->append_conf('postgresql.conf', "dbops.offsite_store = '$offsite->{url}'\n");
	$node->reload;
	ok(wait_until(sub { lacks($offsite, @names) eq '' }), 'the same one again: it gets what it has missed') or diag Archive::report($node);
	is_up_to_date($node, 'and is up to date');

	# A data directory in which nothing can be written any more; for what both stores have no note is needed.
	my $note = $node->data_dir . '/dbops.offsite_backlog';
	mkdir "$note.tmp" or die;
	$node->append_conf('postgresql.conf', "dbops.offsite_store = '$other->{url}'\n");
	$node->reload;
	@names = switch_wal($node, 5);
	ok(Archive::wait_archived($node), 'no note can be written: segments are acknowledged') or diag Archive::report($node);
	is(lacks($store, @names) . lacks($other, @names), '', 'and both stores have them');
	ok(Dbops::wait_for($node, q{SELECT durable_lsn = flush_lsn FROM dbops.archive_status WHERE repository = 'primary'}, 't'),
		'streaming to the first one goes on');
	unlike(slurp_file($note), qr/\Q$other->{url}\E/, 'without a note');
	rmdir "$note.tmp" or die;
	is_up_to_date($node, 'it can: the other store is compared');
	like(slurp_file($note), qr/\Q$other->{url}\E/, 'as the note says');
	is(lacks($other, grep { $_ gt $oldest[-1] } sort keys %{ segments($store) }), '', 'and has what went to the first one meanwhile');
	$node->stop;
}

# A segment that waits to be archived is in neither store, while the first one has what is behind it: what the offsite store
# gets from there does not make that durable.
{
	my ($store, $offsite) = (Archive::store('file'), Archive::store('file'));
	my $node = Archive::primary('hole', $store, offsite => $offsite, conf => "$conf\ndbops.offsite_max_backlog = '2MB'\n", init => ['--wal-segsize=1']);
	$node->safe_psql('postgres', 'CREATE TABLE t (v text)');
	is_up_to_date($node, 'hole: both stores work at first');
	go_out($offsite);
	my @names = switch_wal($node, 12);
	ok(wait_until(sub { archived($node, $names[8]) }), 'hole: segments go without the offsite store');
	# In the way of the next but one.
	my $hole = sprintf '%s%08X', substr($names[11], 0, 16), hex(substr($names[11], 16)) + 2;
	(my $object = segments($store)->{ $names[11] }) =~ s/$names[11]/$hole/g;
	mkdir $object or die "$object: $!";
	append_to_file("$object/in_the_way", '');
	push @names, switch_wal($node, 40);
	ok(wait_until(sub { lacks($store, @names) eq '' }), 'hole: the first store has what is behind it') or diag lacks($store, @names);
	ok(-d $object && !archived($node, $hole), 'hole: and not that');
	my ($archiver) = grep { slurp_file("/proc/$_/cmdline") =~ /archiver/ } Archive::processes($node);
	kill 'STOP', $archiver or die;    # who would put it into the offsite store
	come_back($offsite);
	ok(wait_until(sub { lacks($offsite, @names) eq $hole }), 'hole: the offsite store gets what the first one has') or diag lacks($offsite, @names);
	ok(Archive::wait_log($node, qr/the offsite store has caught up/), 'hole: and has caught up with it');
	cmp_ok(Dbops::value($node, q{SELECT pg_walfile_name(durable_lsn) FROM dbops.archive_status WHERE repository = 'offsite'}), 'le', $hole,
		'hole: WAL is durable there before it') or diag Archive::report($node);
	kill 'CONT', $archiver or die;
	unlink "$object/in_the_way" or die;
	rmdir $object or die;
	is_up_to_date($node, 'hole: it goes on when nothing is in the way');
	is(lacks($store, @names) . lacks($offsite, @names), '', 'hole: both stores have it');
	$node->stop;
}

# A new offsite store that does not answer yet. When it does, the archiver puts something there before anybody has looked at
# what it lacks.
{
	my ($store, $offsite) = (Archive::store('file'), Archive::store('file'));
	go_out($offsite);
	my $node = Archive::primary('new', $store, offsite => $offsite, conf => "$conf\ndbops.offsite_max_backlog = '2MB'\n", init => ['--wal-segsize=1']);
	$node->safe_psql('postgres', 'CREATE TABLE t (v text)');
	my @names = switch_wal($node, 12);
	ok(wait_until(sub { archived($node, $names[8]) }), 'new: segments go without a new offsite store that is out');
	my ($streamer) = grep { slurp_file("/proc/$_/cmdline") =~ /dbops WAL streamer/ } Archive::processes($node);
	kill 'STOP', $streamer or die;
	come_back($offsite);
	my ($later) = switch_wal($node, 1);
	ok(wait_until(sub { lacks($offsite, $later) eq '' }), 'new: it is there, and has a later segment first');
	isnt(lacks($offsite, @names), '', 'new: and not those that went without it');
	kill 'CONT', $streamer or die;
	is_up_to_date($node, 'new: it catches up');
	is(lacks($offsite, sort keys %{ segments($store) }), '', 'new: and has every segment of the first store') or diag Archive::report($node);
	$node->stop;
}

# An object that is damaged in the first store does not keep the offsite store from getting the others.
{
	my ($store, $offsite) = (Archive::store('file'), Archive::store('file'));
	my $node = Archive::primary('damage', $store, offsite => $offsite, conf => "$conf\ndbops.offsite_max_backlog = '2MB'\n", init => ['--wal-segsize=1']);
	$node->safe_psql('postgres', 'CREATE TABLE t (v text)');
	is_up_to_date($node, 'damage: both stores work at first');
	go_out($offsite);
	my @names = switch_wal($node, 12);
	ok(wait_until(sub { archived($node, $names[8]) }), 'damage: segments go without the offsite store');
	ok(wait_until(sub { lacks($store, @names) eq '' }), 'damage: the first one has them');
	my ($count, $first) = split /\|/, lacks_by_view($node, 'offsite');
	cmp_ok($first, 'le', $names[0], 'damage: the view says from where on the offsite store lacks them');
	cmp_ok($count, '>=', 12, 'damage: and how many');
	my $object = segments($store)->{ $names[4] };
	my $good = slurp_file($object);
	my $damaged = $good;
	substr($damaged, length($good) / 2, 1) ^= "\x01";
	my $write = sub { my ($content) = @_; open my $out, '>:raw', $object or die; print $out $content; close $out or die; };
	$write->($damaged);
	come_back($offsite);
	switch_wal($node, 1);
	my $status = q{SELECT state, backlog_files, oldest_unarchived_wal FROM dbops.archive_status WHERE repository = 'offsite'};
	ok(Dbops::wait_for($node, $status, "gap|1|$names[4]"), 'damage: the view names the segment that the offsite store cannot get') or diag Archive::report($node);
	is(lacks($offsite, sort keys %{ segments($store) }), $names[4], 'damage: the offsite store has all the others');
	ok(Dbops::wait_for($node, q{SELECT durable_lsn = flush_lsn FROM dbops.archive_status WHERE repository = 'offsite'}, 't'), 'damage: and what comes later');
	like(Dbops::value($node, q{SELECT last_error, last_hint FROM dbops.archive_status WHERE repository = 'offsite'}), qr/$names[4].*is not copied.*\|Put a good copy/,
		'damage: it says why, and what to do');
	like(Dbops::value($node, q{SELECT ok, severity, detail FROM dbops.check() WHERE check_name = 'offsite store damage'}), qr/^f\|error\|1 objects .*$names[4]/,
		'damage: dbops.check() says it');
	ok(Archive::wait_log($node, qr/WARNING: .*$names[4].* is not copied/), 'damage: so does the log');
	$node->restart;
	ok(Dbops::wait_for($node, $status, "gap|1|$names[4]"), 'damage: it is known after a restart') or diag Archive::report($node);
	$write->($good);
	is_up_to_date($node, 'damage: it is tried again by itself');
	is(lacks($offsite, sort keys %{ segments($store) }), '', 'damage: and the offsite store has everything');
	is(slurp_file(segments($offsite)->{ $names[4] }), $good, 'damage: byte for byte');
	$node->stop;
}

# A standby that archives has no streamer to copy anything later.
{
	my ($store, $offsite) = (Archive::store('file'), Archive::store('file'));
	my $primary = Archive::primary('upstream', $store, offsite => $offsite, conf => "$conf\ndbops.offsite_max_backlog = '2MB'\n", init => ['--wal-segsize=1']);
	$primary->safe_psql('postgres', 'CREATE TABLE t (v text)');
	$primary->backup('b');
	my $standby = PostgreSQL::Test::Cluster->new('always');
	$standby->init_from_backup($primary, 'b', has_streaming => 1);
	$standby->append_conf('postgresql.conf', "archive_mode = always\n");
	$standby->start;
	go_out($offsite);
	my @names = switch_wal($primary, 12);
	ok(wait_until(sub { archived($primary, $names[0]) }), 'standby: its primary lets segments go');
	$primary->wait_for_catchup($standby);
	ok(Archive::wait_log($standby, qr/archiving to the offsite store fails/), 'standby: it lacks the offsite store, too');
	ok(Dbops::wait_for($standby, q{SELECT files >= 12 FROM dbops.archive_status WHERE repository = 'primary'}, 't'), 'standby: and has the first one');
	switch_wal($primary, 1);
	is(scalar(grep { archived($standby, $_) } @names), 0, 'standby: it lets nothing go') or diag Archive::report($standby);
	come_back($offsite);
	ok(wait_until(sub { archived($standby, $names[-1]) }), 'standby: the offsite store is back');
	is(lacks($offsite, @names), '', 'standby: and has all');
	$standby->stop;
	$primary->stop;
}

# The old primary has let segments go without the offsite store, and is lost with its note.
{
	my ($store, $offsite) = (Archive::store('file'), Archive::store('file'));
	my $primary = Archive::primary('lost', $store, offsite => $offsite, conf => "$conf\ndbops.offsite_max_backlog = '2MB'\n", init => ['--wal-segsize=1']);
	$primary->safe_psql('postgres', 'CREATE TABLE t (v text)');
	$primary->backup('b');
	is_up_to_date($primary, 'failover: both stores work at first');
	my $standby = PostgreSQL::Test::Cluster->new('promoted');
	$standby->init_from_backup($primary, 'b', has_streaming => 1);
	$standby->start;
	go_out($offsite);
	my @names = switch_wal($primary, 12);
	ok(wait_until(sub { archived($primary, $names[0]) }), 'failover: the offsite store is out, beyond the backlog segments go without it');
	ok(wait_until(sub { lacks($store, @names) eq '' }), 'failover: the first store has them');
	$primary->safe_psql('postgres', 'CHECKPOINT');
	$primary->wait_for_catchup($standby);
	$standby->safe_psql('postgres', 'CHECKPOINT') for 1 .. 2;    # recycles
	ok(!-e $standby->data_dir . "/pg_wal/$names[0]", 'failover: the standby has not kept them');
	Archive::destroy($primary);
	$standby->promote;
	Archive::wait_promoted($standby);
	ok(Dbops::wait_for($standby, q{SELECT state IN ('failing', 'catching up') FROM dbops.archive_status WHERE repository = 'offsite'}, 't'),
		'failover: the promoted server does not take the offsite store for complete');
	is(lacks(at_rest($offsite), @names), "@names", 'failover: which lacks all of them');
	come_back($offsite);
	switch_wal($standby, 1);
	is_up_to_date($standby, 'failover: it catches up');
	ok(Archive::wait_archived($standby), 'failover: all is acknowledged');
	is(lacks($offsite, sort keys %{ segments($store) }), '', 'failover: and has every segment of the first store') or diag Archive::report($standby);
	$standby->stop;
}
done_testing();
