# The archive module and the streamer, with a file:// store: what the server offers arrives, whole and once, and nothing is
# acknowledged that is not there.
use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use File::Basename qw(basename);
use File::Find ();
use File::Path qw(make_path);

use FindBin;
use lib $FindBin::RealBin;
use Dbops;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $stores = PostgreSQL::Test::Utils::tempdir();
my $stores_made = 0;

sub new_store
{
	my $path = "$stores/" . ++$stores_made;
	mkdir $path or die;
	return $path;
}

# A server that archives to $store.
sub archiving
{
	my ($name, $store, %options) = @_;
	# No segment is recycled before the test has looked at it, but where it says so.
	my $conf = "wal_keep_size = 1GB\nwal_level = replica\narchive_mode = on\narchive_library = 'dbops'\ndbops.store = 'file://$store'\n" . ($options{conf} // '');
	return Dbops::node($name, %options, conf => $conf);
}

# Names of the objects below the cluster, without the suffix of the codec.
sub objects
{
	my ($store) = @_;
	my @found;
	File::Find::find({ no_chdir => 1, wanted => sub { push @found, $_ if -f && !m{/\.} } }, $store);
	s{^\Q$store\E/[0-9]+/}{} for @found;
	return sort @found;
}

sub has_object
{
	my ($store, $pattern) = @_;
	return scalar grep { /$pattern/ } objects($store);
}

sub wait_until
{
	my ($what, $condition, $timeout) = @_;
	my $end = time() + ($timeout // $PostgreSQL::Test::Utils::timeout_default);
	while (time() < $end)
	{
		return 1 if $condition->();
		sleep 0.05;
	}
	diag "waited in vain for: $what";
	return 0;
}

# Ends the current segment and returns its name.
sub switch_wal
{
	my ($node) = @_;
	return Dbops::value($node, "CREATE TABLE IF NOT EXISTS w (x text); INSERT INTO w VALUES ('x');"
		  . " SELECT pg_walfile_name(pg_switch_wal())") =~ s/.*\n//sr;
}

sub archived { my ($node, $file) = @_; return -e $node->data_dir . "/pg_wal/archive_status/$file.done"; }

subtest 'segments, history, label, chunks' => sub {
	my $store = new_store();
	my $node = archiving('main', $store, conf => "dbops.stream_interval = '100ms'\n", init => [ allows_streaming => 1 ]);
	my $segment = switch_wal($node);
	ok(wait_until("$segment is archived", sub { archived($node, $segment) }), 'a segment is archived');
	ok(has_object($store, qr{^wal/00000001/00000000/\Q$segment\E\.zst$}), 'and is in the store');
	ok(has_object($store, qr{^repository\.json$}) && has_object($store, qr{^wal/00000001/owner\.json$}), 'with its owner');

	Dbops::value($node, "INSERT INTO w SELECT repeat('y', 100) FROM generate_series(1, 100)");
	my $current = Dbops::value($node, 'SELECT pg_walfile_name(pg_current_wal_lsn())');
	ok(wait_until('a chunk', sub { has_object($store, qr{\Q$current\E/[0-9A-F]{8}-[0-9A-F]{8}\.zst$}) }),
		'the unfinished segment is shipped');

	$node->backup('base');
	ok(wait_until('a label', sub { has_object($store, qr{\.backup$}) }), 'the label of a base backup is archived');
	ok(Dbops::wait_for($node, "SELECT state || ' ' || rpo_seconds || ' ' || (durable_lsn = flush_lsn) FROM dbops.archive_status",
			'up to date 0 true'), 'all is durable, and the view says so');
	# What is in the store may have to be acknowledged yet.
	ok(Dbops::wait_for($node, 'SELECT repository, backlog_files, last_error FROM dbops.archive_status', 'primary|0|'), 'no backlog, no error');
	$node->stop;
};

# How many files wait to be archived.
sub ready { my ($node) = @_; my @files = glob $node->data_dir . '/pg_wal/archive_status/*.ready'; return scalar @files; }

sub system_identifier { my ($node) = @_; return unpack 'Q', slurp_file($node->data_dir . '/global/pg_control'); }

# All segments that the server has acknowledged are in the store, with the bytes that it has; returns how many.
sub verify_acknowledged
{
	my ($node, $store) = @_;
	my $wal = $node->data_dir . '/pg_wal';
	my ($count, @wrong) = (0);
	local $ENV{DBOPS_STORE} = "file://$store";
	for my $done (glob "$wal/archive_status/*.done")
	{
		my $file = basename($done, '.done');
		next unless $file =~ /^[0-9A-F]{24}$/ && -e "$wal/$file";
		++$count;
		my $copy = "$stores/copy";
		unlink $copy;
		my $status = system($ENV{DBOPS_CLI}, 'wal-get', '--system-identifier', system_identifier($node), $file, $copy);
		push @wrong, $file unless $status == 0 && slurp_file($copy) eq slurp_file("$wal/$file");
	}
	is("@wrong", '', 'what was acknowledged is in the store, byte for byte');
	return $count;
}

sub status
{
	my ($node, $columns, $repository) = @_;
	return Dbops::value($node, "SELECT $columns FROM dbops.archive_status WHERE repository = '" . ($repository // 'primary') . "'");
}

subtest 'an outage: nothing is lost, nobody waits, it recovers by itself' => sub {
	my $store = new_store();
	my $node = archiving('outage', $store,
		init => [ extra => ['--wal-segsize=1'] ],
		conf => "dbops.stream_interval = '100ms'\ndbops.archive_shutdown_timeout = '2s'\n");
	switch_wal($node);
	ok(wait_until('all archived', sub { !ready($node) }), 'it works at first');
	rename $store, "$store.away" or die;
	switch_wal($node) for 1 .. 20;
	ok(Dbops::wait_for($node, "SELECT state FROM dbops.archive_status", 'failing'), 'the view says that it fails');
	like(status($node, 'last_error'), qr/is not there/, 'and why');
	like(status($node, 'last_hint'), qr/mount/, 'and what to do');
	cmp_ok(status($node, 'rpo_seconds'), '>', 0, 'commits are at risk');
	cmp_ok(status($node, 'backlog_files'), '>=', 20, 'the backlog is counted');

	Dbops::value($node, 'CREATE DATABASE d');
	is(Dbops::refusal($node, 'DROP DATABASE d'), '', 'DROP DATABASE does not wait for the store');

	my $begin = time();
	$node->stop('fast');
	# One that waited for the store would wait for ever.
	cmp_ok(time() - $begin, '<', 60, 'a shutdown waits no longer than it may');
	ok(ready($node) > 0, 'what is not stored is not acknowledged');
	$node->start;
	rename "$store.away", $store or die;
	switch_wal($node);
	ok(wait_until('all archived', sub { !ready($node) }), 'it recovers by itself');
	cmp_ok(verify_acknowledged($node, $store), '>=', 20, 'all that waited');
	ok(Dbops::wait_for($node, "SELECT state FROM dbops.archive_status WHERE durable_lsn = flush_lsn", 'up to date'), 'up to date again');
	$node->stop;
	$node->start;
	ok(wait_until('streams again', sub { status($node, 'durable_lsn = flush_lsn') eq 't' }), 'after a restart it goes on');
	is(status($node, 'last_error'), '', 'without an error');
	$node->stop;
};

subtest 'a crash: what was shipped is gone on with' => sub {
	my $store = new_store();
	my $node = archiving('crash', $store, init => [ extra => ['--wal-segsize=1'] ], conf => "dbops.stream_interval = '50ms'\n");
	for my $round (1 .. 3)
	{
		Dbops::value($node, "CREATE TABLE IF NOT EXISTS w (x text)");
		Dbops::value($node, "INSERT INTO w SELECT md5(i::text) FROM generate_series(1, 3000) i") for 1 .. 5;
		$node->stop('immediate');
		$node->start;
	}
	ok(wait_until('durable', sub { status($node, 'durable_lsn = flush_lsn') eq 't' }), 'all is durable after crashes');
	is(status($node, 'last_error'), '', 'no error');
	verify_acknowledged($node, $store);
	$node->stop;
};

subtest 'a clone is refused, until it takes over' => sub {
	my $store = new_store();
	my $conf = "dbops.stream_interval = '100ms'\n";
	my $node = archiving('original', $store, conf => $conf);
	switch_wal($node);
	ok(wait_until('chunks', sub { status($node, 'durable_lsn = flush_lsn') eq 't' }), 'the original archives');
	my $archived = switch_wal($node);
	ok(wait_until('archived', sub { archived($node, $archived) }), 'a segment');
	$node->stop;

	my $clone = PostgreSQL::Test::Cluster->new('clone');
	system('cp', '-a', $node->data_dir, $clone->data_dir) == 0 or die;
	$clone->append_conf('postgresql.conf', 'port = ' . $clone->port);
	$clone->start;
	my $refused = switch_wal($clone);
	ok(Dbops::wait_for($clone, "SELECT last_error LIKE '%belongs to another server%' FROM dbops.archive_status", 't'), 'the clone is refused');
	like(status($clone, 'last_hint'), qr/take_over_archive/, 'with a hint');
	ok(!archived($clone, $refused), 'and acknowledges nothing');
	ok(!has_object($store, qr/\Q$refused\E/), 'and has written nothing');
	like(Dbops::value($clone, "SELECT ok || ' ' || hint FROM dbops.check() WHERE check_name = 'primary store owner'"),
		qr/^false .*take_over_archive/, 'dbops.check() says so');

	like(Dbops::value($clone, 'SELECT dbops.take_over_archive()'), qr/epoch 2/, 'it takes over');
	switch_wal($clone);
	ok(wait_until('archived', sub { archived($clone, $refused) }), 'and archives');
	$node->start;
	my $late = switch_wal($node);
	ok(Dbops::wait_for($node, "SELECT last_error LIKE '%belongs to another server%' FROM dbops.archive_status", 't'),
		'the original is refused then');
	ok(!archived($node, $late), 'and acknowledges nothing');
	verify_acknowledged($clone, $store);
	$clone->stop;
	$node->stop;
};

subtest 'the same name with another content is refused' => sub {
	my $store = new_store();
	my $node = archiving('conflict', $store, conf => "dbops.stream_interval = 0\n");
	my $first = switch_wal($node);
	ok(wait_until('archived', sub { archived($node, $first) }), 'one segment');
	# The next segment's name is taken by the first one's object: it does not say what its name says.
	my $next = switch_wal($node);
	ok(wait_until('archived', sub { archived($node, $next) }), 'another');
	my $wal = $node->data_dir . '/pg_wal';
	rename "$wal/archive_status/$next.done", "$wal/archive_status/$next.ready" or die;
	switch_wal($node);
	ok(wait_until('archived', sub { archived($node, $next) }), 'offered again with the same content: success');
	my ($object) = glob "$store/*/wal/00000001/00000000/$next.zst";
	my ($other) = glob "$store/*/wal/00000001/00000000/$first.zst";
	unlink $object or die;
	system('cp', $other, $object) == 0 or die;
	rename "$wal/archive_status/$next.done", "$wal/archive_status/$next.ready" or die;
	switch_wal($node);
	ok(Dbops::wait_for($node, "SELECT last_error LIKE '%has other content%written by host=%this is host=%' FROM dbops.archive_status", 't'),
		'with another content: refused, and both servers are named');
	ok(!archived($node, $next), 'not acknowledged');
	$node->stop('immediate');
};

subtest 'settings that change' => sub {
	my ($one, $two) = (new_store(), new_store());
	my $node = archiving('settings', $one, conf => "dbops.stream_interval = '100ms'\n");
	switch_wal($node);
	my $key = "$stores/key";
	append_to_file($key, 'k1 = ' . ('ab' x 32) . "\n");
	chmod 0600, $key;
	$node->append_conf('postgresql.conf', "dbops.store = 'file://$two'\ndbops.key_file = '$key'\ndbops.compression_level = 1\ndbops.archive_workers = 2\n");
	$node->reload;
	my $segment = switch_wal($node);
	ok(wait_until('archived', sub { archived($node, $segment) }), 'archived');
	ok(has_object($two, qr/\Q$segment\E\.zst/), 'to the new store');
	rename $two, "$two.away" or die;
	Dbops::value($node, "INSERT INTO w VALUES ('to be lost')");
	$node->append_conf('postgresql.conf', "dbops.store = 'file://$two.not-there'\n");
	$node->reload;
	ok(Dbops::wait_for($node, "SELECT durable_lsn IS NULL OR durable_lsn < flush_lsn FROM dbops.archive_status", 't'),
		'what the old store has is not durable in the new one');
	rename "$two.away", $two or die;
	$node->append_conf('postgresql.conf', "dbops.store = 'file://$two'\n");
	$node->reload;
	my ($object) = glob "$two/*/wal/00000001/00000000/$segment.zst";
	is(unpack('x14 C', slurp_file($object)), 1, 'encrypted');
	is(Dbops::refusal($node, q{ALTER SYSTEM SET dbops.store = 'ftp://x'}) =~ s/ .*//r, '22023:', 'a URL that is none is refused');
	is(Dbops::refusal($node, q{ALTER SYSTEM SET dbops.stream_interval = '5ms'}) =~ s/ .*//r, '22023:', 'an interval below 10 ms');
	is(Dbops::refusal($node, q{ALTER SYSTEM SET dbops.key_file = 'key'}) =~ s/ .*//r, '22023:', 'a relative path');
	is(Dbops::refusal($node, "ALTER SYSTEM SET dbops.key_file = '" . $node->data_dir . "/key'") =~ s/ .*//r, '22023:', 'a key in the data directory');
	$node->stop;
};

# Peak of resident memory, KiB.
sub peak_memory
{
	my ($pid) = @_;
	my ($peak) = slurp_file("/proc/$pid/status") =~ /^VmHWM:\s+(\d+) kB/m;
	return $peak;
}

subtest 'memory is bounded, whatever waits' => sub {
	my $store = new_store();
	my $node = archiving('memory', $store, conf => "dbops.stream_interval = '100ms'\nmax_wal_size = 4GB\n");
	switch_wal($node);
	ok(wait_until('archived', sub { !ready($node) }), 'it works at first');
	rename $store, "$store.away" or die;
	Dbops::value($node, "CREATE TABLE m AS SELECT md5(i::text) || md5((i + 1)::text) AS x FROM generate_series(1, 600000) i");
	my $last = switch_wal($node);
	# 100,000 names behind the real ones, which come first and fail; PostgreSQL drops those without a segment when it comes to
	# them.
	my $status = $node->data_dir . '/pg_wal/archive_status';
	for my $i (0 .. 99_999)
	{
		open my $handle, '>', sprintf("$status/%08X%08X%08X.ready", 1, 0x1000 + int($i / 256), $i % 256) or die;
	}
	ok(Dbops::wait_for($node, 'SELECT state FROM dbops.archive_status', 'failing'), 'the store is out');
	cmp_ok(status($node, 'backlog_files'), '>', 100_000, '100,000 files wait');
	rename "$store.away", $store or die;
	switch_wal($node);
	ok(wait_until('archived', sub { archived($node, $last) }), 'the segments are archived');
	my $archiver = Dbops::value($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'archiver'");
	my ($streamer) = Dbops::value($node, "SELECT detail FROM dbops.check('1s') WHERE check_name = 'streamer'") =~ /(\d+)/;
	cmp_ok(peak_memory($archiver), '<', 64 * 1024, 'the archiver stays below 64 MiB');
	cmp_ok(peak_memory($streamer), '<', 64 * 1024, 'the streamer, too');
	diag 'peak KiB: archiver ' . peak_memory($archiver) . ', streamer ' . peak_memory($streamer);
	unlink glob "$status/000000010000[1-9A-F]*.ready";
	$node->stop('immediate');
};

subtest 'two stores' => sub {
	my ($store, $offsite) = (new_store(), new_store());
	my $node = archiving('offsite', $store, init => [ extra => ['--wal-segsize=1'] ],
		conf => "wal_keep_size = 0\ndbops.offsite_store = 'file://$offsite'\ndbops.stream_interval = '100ms'\ndbops.offsite_max_backlog = '5MB'\n");
	my $segment = switch_wal($node);
	ok(wait_until('archived', sub { archived($node, $segment) }), 'archived');
	ok(has_object($store, qr/\Q$segment\E\.zst/) && has_object($offsite, qr/\Q$segment\E\.zst/), 'to both');
	ok(wait_until('durable in both', sub { Dbops::value($node, 'SELECT bool_and(durable_lsn = flush_lsn) FROM dbops.archive_status') eq 't' }),
		'both are up to date');

	rename $offsite, "$offsite.away" or die;
	my $held = switch_wal($node);
	ok(wait_until('stored', sub { has_object($store, qr/\Q$held\E\.zst/) }), 'the first store gets a segment although the other is out');
	ok(!archived($node, $held), 'which is not acknowledged yet');
	my @more = map { switch_wal($node) } 1 .. 12;
	ok(wait_until('acknowledged', sub { archived($node, $held) }), 'beyond the backlog it is');
	my $is_behind = sub { return slurp_file($node->data_dir . '/dbops.offsite_backlog') =~ /^after = /m };
	ok($is_behind->(), 'and it is written down');
	ok(wait_until('stored', sub { has_object($store, qr/\Q$more[-1]\E\.zst/) }), 'the first store has all');
	cmp_ok(status($node, 'rpo_seconds', 'offsite'), '>', 0, 'the offsite store does not');
	Dbops::value($node, 'CHECKPOINT') for 1 .. 2; # recycles what was acknowledged
	$node->restart;
	rename "$offsite.away", $offsite or die;
	ok(wait_until('caught up', sub { !$is_behind->() }), 'it catches up');
	switch_wal($node);
	ok(wait_until('all archived', sub { !ready($node) }), 'all is acknowledged');
	my @segments = grep { m{/[0-9A-F]{24}\.zst$} } objects($store);
	is_deeply([ grep { m{/[0-9A-F]{24}\.zst$} } objects($offsite) ], \@segments, 'and has every segment');
	verify_acknowledged($node, $offsite);
	$node->stop;
};

subtest 'without preloading' => sub {
	my $store = new_store();
	my $node = archiving('library', $store, preload => 0);
	my $segment = switch_wal($node);
	ok(wait_until('archived', sub { archived($node, $segment) }), 'whole segments are archived');
	ok(has_object($store, qr/\Q$segment\E\.zst/), 'into the store');
	is(Dbops::value($node, "SELECT ok FROM dbops.check() WHERE check_name = 'preload'"), 'f', 'dbops.check() says what is missing');
	$node->append_conf('postgresql.conf', "dbops.store = ''\n");
	$node->reload;
	my $waits = switch_wal($node);
	ok(wait_until('a message', sub { slurp_file($node->logfile) =~ /dbops\.store is not set/ }), 'without a store the log says so');
	ok(!archived($node, $waits), 'and nothing is acknowledged');
	$node->stop;
};

subtest 'a promoted standby' => sub {
	my $store = new_store();
	my $primary = archiving('upstream', $store, init => [ allows_streaming => 1 ], conf => "dbops.stream_interval = '100ms'\n");
	$primary->backup('base');
	my $standby = PostgreSQL::Test::Cluster->new('standby');
	$standby->init_from_backup($primary, 'base', has_streaming => 1);
	$standby->start;
	switch_wal($primary);
	Dbops::value($primary, "INSERT INTO w VALUES ('last')");
	$primary->wait_for_catchup($standby);
	$primary->stop('immediate');
	$standby->promote;
	ok(wait_until('history', sub { has_object($store, qr{^wal/00000002\.history$}) }), 'the history is archived');
	my $segment = switch_wal($standby);
	ok(wait_until('archived', sub { archived($standby, $segment) }), 'and the new timeline');
	like($segment, qr/^00000002/, 'which is 2');
	ok(wait_until('the partial segment', sub { has_object($store, qr{\.partial$}) }), 'and the unfinished segment of the old one');
	ok(wait_until('durable', sub { status($standby, 'durable_lsn = flush_lsn') eq 't' }), 'streamed as well');
	is(status($standby, 'last_error'), '', 'without an error');
	$primary->start;
	Dbops::value($primary, "INSERT INTO w VALUES ('split brain')");
	my $old = switch_wal($primary);
	ok(wait_until('archived', sub { archived($primary, $old) }), 'the old primary goes on on its own timeline');
	verify_acknowledged($standby, $store);
	verify_acknowledged($primary, $store);
	$primary->stop;
	$standby->stop;
};

subtest 'checks and roles' => sub {
	my $store = new_store();
	my $node = archiving('checks', $store, conf => "dbops.stream_interval = '100ms'\n");
	ok(wait_until('the streamer is at work', sub { status($node, 'durable_lsn = flush_lsn') eq 't' }), 'the server is well');
	is(Dbops::value($node, "SELECT string_agg(check_name, ', ') FROM dbops.check('2 min') WHERE NOT ok AND check_name <> 'fsync'"), '',
		'a server that is well has nothing to complain of');
	is(Dbops::value($node, "SELECT ok FROM dbops.check('2 min') WHERE check_name = 'primary store read-back'"), 't', 'a segment was read back');
	Dbops::value($node, 'CREATE ROLE nobody LOGIN; CREATE ROLE watcher LOGIN IN ROLE dbops_monitor; CREATE ROLE admin LOGIN IN ROLE dbops_admin');
	for my $sql ('SELECT * FROM dbops.check()', 'SELECT dbops.take_over_archive()', 'SELECT * FROM dbops.archive_status',
		'SELECT * FROM dbops.archive_repositories()', 'SELECT dbops.reset_archive_counters()')
	{
		like(Dbops::refusal($node, $sql, role => 'nobody'), qr/^42501/, "nobody: $sql");
	}
	is(Dbops::value_as($node, 'watcher', 'SELECT count(*) FROM dbops.archive_status'), '1', 'dbops_monitor sees');
	like(Dbops::refusal($node, 'SELECT * FROM dbops.check()', role => 'watcher'), qr/^42501/, 'and does not check');
	is(Dbops::value_as($node, 'admin', "SELECT count(*) > 5 FROM dbops.check('2 min')"), 't', 'dbops_admin checks');
	like(Dbops::refusal($node, 'SELECT dbops.take_over_archive()', role => 'admin'), qr/^42501/, 'and does not take over');
	Dbops::value($node, 'SELECT dbops.reset_archive_counters()');
	is(status($node, 'files'), '0', 'counters are reset');

	rename $store, "$store.away" or die;
	like(Dbops::value($node, "SELECT string_agg(check_name || ': ' || hint, ', ') FROM dbops.check('3s') WHERE NOT ok"),
		qr/primary store: .*mount.*archive a segment: /, 'an outage is found, with hints');
	$node->stop('immediate');
};

done_testing();
