# A server that archives is destroyed and comes back: from a directory and from a real S3 server, over http and https,
# encrypted and not, with segments of 1 MB and 64 MB; to the last commit that was shipped, to a time, an LSN, a name, a
# transaction; over timelines, from a restore of a restore; and as a standby that has nothing but the store.
use strict;
use warnings;
use File::Temp ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use Archive;

my $directory = File::Temp::tempdir(CLEANUP => 1);
my $content = q{
	CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL, note text);
	CREATE INDEX ON account (note);
	INSERT INTO account SELECT g, g % 100, md5(g::text) FROM generate_series(1, 5000) g;
	CREATE SEQUENCE counter;
	CREATE TYPE mood AS ENUM ('good', 'bad');
};

# One whole life: load, base backup under load, destruction in the middle of a segment, restoration, comparison.
sub life
{
	my ($name, $store, %options) = @_;
	my $node = Archive::primary($name, $store, %options);
	my $segment = Dbops::value($node, 'SHOW wal_segment_size');
	$node->safe_psql('postgres', $content);
	mkdir "$directory/$name";
	my $ledger = Ledger->start($node, directory => "$directory/$name", filler => 1000);
	Archive::base_backup($node, 'b');
	for my $i (1 .. 3)
	{
		$node->safe_psql('postgres', "UPDATE account SET balance = balance + 1, note = md5(balance::text || id) WHERE id % 3 = $i % 3; SELECT setval('counter', 10 * $i);");
		$node->safe_psql('postgres', 'SELECT pg_switch_wal()') if $i < 3;
		sleep 0.5;
	}
	$ledger->stop;
	# When the server itself has just filled the segment, once more.
	my ($lsn, $archived);
	for (1 .. 5)
	{
		$node->safe_psql('postgres', "INSERT INTO account VALUES (0, 0, 'the last one') ON CONFLICT (id) DO UPDATE SET note = excluded.note");
		$lsn = Archive::wait_durable($node) // last;
		$archived = Dbops::value($node, "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE pg_walfile_name('$lsn') || '%'");
		last unless $archived;
	}
	ok(defined $lsn, "$name: all is durable without a switch of segments");
	cmp_ok($ledger->durable, '>', 0, "$name: and was seen to be meanwhile");
	is($archived, 0, "$name: the last segment ($segment) has not been archived: the last commit is in a chunk only");
	my $dump = Archive::dump_of($node);
	Archive::destroy($node);
	my $copy = Archive::restore("${name}_back", $node, 'b', $store, %options);
	is(Dbops::value($copy, 'SELECT note FROM account WHERE id = 0'), 'the last one', "$name: the last commit is back");
	Archive::is_same_content($copy, $dump, "$name: the restored server equals the source");
	Archive::is_restored($copy, $ledger, $name);
	is(scalar(my @missing = $ledger->missing($copy, 9**20)), 0, "$name: not even a commit that was not known to be durable is missing");
	$copy->safe_psql('postgres', "INSERT INTO account VALUES (-1, 0, 'alive')");
	$copy->stop;
	$copy->clean_node;
	return;
}

life('plain_file', Archive::store('file'));
life('secret_file', Archive::store('file'), key_file => Archive::key_file('old', 'new'), init => ['--wal-segsize=1']);
SKIP:
{
	skip 'no radosgw: the S3 server is not installed', 1 unless Archive::has_s3();
	life('plain_s3', Archive::store('s3'), init => ['--wal-segsize=1']);
	life('secret_tls', Archive::store('s3', tls => 1), key_file => Archive::key_file('only'));
	life('large_tls', Archive::store('s3', tls => 1, options => 'multipart-threshold=5MB&part-size=5MB'), init => ['--wal-segsize=64'],
		conf => "min_wal_size = 192MB\nmax_wal_size = 512MB\n");
}

# --- points in time ------------------------------------------------------------------------------------------------------
my $store = Archive::store(Archive::has_s3() ? 's3' : 'file');
my $key_file = Archive::key_file('k1');
my $node = Archive::primary('origin', $store, key_file => $key_file, init => ['--wal-segsize=1']);
$node->safe_psql('postgres', 'CREATE TABLE step (n int PRIMARY KEY, xid xid8 DEFAULT pg_current_xact_id(), at timestamptz DEFAULT clock_timestamp())');
Archive::base_backup($node, 'b');
my (%dump, %xid, %after, %time);
for my $n (1 .. 6)
{
	$xid{$n} = Dbops::value($node, "INSERT INTO step VALUES ($n) RETURNING xid");
	$after{$n} = Dbops::value($node, 'SELECT pg_current_wal_insert_lsn()');
	sleep 0.1;
	$time{$n} = Dbops::value($node, 'SELECT clock_timestamp()');
	sleep 0.1;
	$node->safe_psql('postgres', "SELECT pg_create_restore_point('after $n')");
	$dump{$n} = Archive::dump_of($node);
	$node->safe_psql('postgres', 'SELECT pg_switch_wal()') if $n == 2 || $n == 4;
}
Archive::wait_durable($node);
# Key rotation: a new key is added and made current; what the old one wrote stays readable.
my $both = Archive::key_file('k1', 'k2');
$node->append_conf('postgresql.conf', "dbops.key_file = '$both'\n");
$node->reload;
$node->safe_psql('postgres', 'INSERT INTO step VALUES (7)');
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
$node->safe_psql('postgres', 'INSERT INTO step VALUES (8)');
Archive::wait_durable($node);
$dump{8} = Archive::dump_of($node);

my @targets = ([ time => $time{3}, 3 ], [ lsn => $after{4}, 4 ], [ name => 'after 1', 1 ], [ xid => $xid{5}, 5 ]);
for my $target (@targets)
{
	my ($kind, $value, $n) = @$target;
	my $copy = Archive::restore("to_$kind", $node, 'b', $store, key_file => $both, target => { $kind => $value });
	Archive::is_same_content($copy, $dump{$n}, "to a $kind: the state after step $n");
	is(Dbops::value($copy, q{SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)::int}), 2, "to a $kind: on a timeline of its own");
	$copy->stop;
	$copy->clean_node;
}
{
	my $copy = Archive::restore('to_the_end', $node, 'b', $store, key_file => $both);
	Archive::is_same_content($copy, $dump{8}, 'to the end, over the change of keys');
	$copy->stop;
	$copy->clean_node;
}

# --- a target that is not in the archive: PostgreSQL refuses, and is not promoted -------------------------------------------
{
	my $copy = Archive::restore('too_far', $node, 'b', $store, key_file => $both, target => { name => 'never made' }, start => 0);
	is(Archive::start_only($copy), 0, 'a server that looks for what is not there is started');
	ok(Archive::wait_log($copy, qr/recovery ended before configured recovery target was reached/), 'and ends, saying why');
	$copy->clean_node;
}

# --- timelines -------------------------------------------------------------------------------------------------------------
# The origin is destroyed; its restoration goes on archiving to the same place, on timeline 2; is destroyed in turn, and so on.
my $archiving = Archive::settings($store, key_file => $both);
my ($before, $origin) = ($node, $node);
for my $timeline (2 .. 4)
{
	Archive::wait_durable($before);
	my $dump = Archive::dump_of($before);
	Archive::destroy($before);
	my $next = Archive::restore("timeline$timeline", $origin, 'b', $store, key_file => $both, archive => $archiving);
	Archive::is_same_content($next, $dump, "timeline $timeline begins where the one before it ended");
	is(Dbops::value($next, q{SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)::int}), $timeline, "and it is timeline $timeline");
	$next->safe_psql('postgres', "INSERT INTO step VALUES ($timeline * 100)");
	# The third is restored from a base backup of the second, the fourth again from it, over two timelines.
	if ($timeline == 2)
	{
		Archive::base_backup($next, 'b');
		$origin = $next;
	}
	$next->safe_psql('postgres', "INSERT INTO step VALUES ($timeline * 100 + 1)");
	$before = $next;
}
Archive::wait_durable($before);
my $dump = Archive::dump_of($before);
{
	my $copy = Archive::restore('all_timelines', $node, 'b', $store, key_file => $both);
	Archive::is_same_content($copy, $dump, 'from the first base backup over four timelines');
	is(Dbops::value($copy, 'SELECT count(*) FROM step WHERE n >= 200'), 6, 'with what was written on each of them');
	$copy->stop;
	$copy->clean_node;
	my $old = Archive::restore('first_timeline', $node, 'b', $store, key_file => $both, conf => "recovery_target_timeline = '1'\n");
	Archive::is_same_content($old, $dump{8}, 'and the first timeline alone is as it was');
	$old->stop;
	$old->clean_node;
}

# --- a standby that has only the store ----------------------------------------------------------------------------------------
{
	my $standby = Archive::restore('standby', $node, 'b', $store, key_file => $both, standby => 1, archive => $archiving);
	$before->safe_psql('postgres', 'INSERT INTO step VALUES (1000)');
	ok(Dbops::wait_for($standby, 'SELECT count(*) FROM step WHERE n = 1000', 1), 'a standby sees a commit by way of the store alone');
	$before->safe_psql('postgres', "SELECT pg_switch_wal(); INSERT INTO step VALUES (1001)");
	ok(Dbops::wait_for($standby, 'SELECT count(*) FROM step WHERE n = 1001', 1), 'and the next, behind the end of a segment');
	$before->safe_psql('postgres', 'INSERT INTO step VALUES (1002)');
	Archive::wait_durable($before);
	$dump = Archive::dump_of($before);
	Archive::destroy($before);
	ok(Dbops::wait_for($standby, 'SELECT count(*) FROM step WHERE n = 1002', 1), 'the last commit of the primary arrives after its death');
	$standby->promote;
	Archive::wait_promoted($standby);
	Archive::is_same_content($standby, $dump, 'and the standby is promoted with everything');
	$standby->safe_psql('postgres', 'INSERT INTO step VALUES (1003)');
	ok(defined Archive::wait_durable($standby), 'it archives to the store in its turn');
	is(Dbops::value($standby, q{SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)::int}), 5, 'on timeline 5');
	Archive::is_sound($standby, 'amcheck');
	Archive::wait_durable($standby);
	my $end = Archive::dump_of($standby);
	Archive::destroy($standby);
	my $copy = Archive::restore('last', $node, 'b', $store, key_file => $both);
	Archive::is_same_content($copy, $end, 'and can be restored from it');
	$copy->stop;
}

done_testing();
