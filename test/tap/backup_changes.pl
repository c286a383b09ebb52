# What changes under a backup while it is copied: rewritten, truncated, growing, dropped relations; databases copied by files,
# moved, dropped. And what changes between two: another primary, whose history left that of the first.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Archive;
use Backup;
use Dbops;
use File::Temp ();
use IPC::Run ();
use Ledger;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $directory = File::Temp::tempdir(CLEANUP => 1);
my $store = Archive::store('file');
my $node = Archive::primary('origin', $store, init => ['--data-checksums'], conf => "autovacuum_naptime = 1\n");
mkdir "$directory/space" or die;
$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '$directory/space'");
$node->safe_psql('postgres', q{
	CREATE TABLE steady AS SELECT g AS id, md5(g::text) AS note FROM generate_series(1, 200000) g;
	CREATE TABLE shrinking (n int, t text);
	CREATE TABLE moving AS SELECT g AS n, md5(g::text) AS t FROM generate_series(1, 20000) g;
	CREATE TABLE growing (n int, t text);
	CREATE UNLOGGED TABLE fleeting (n int);
	INSERT INTO shrinking SELECT g, repeat('x', 500) FROM generate_series(1, 20000) g;
	CREATE INDEX ON steady (note);
});
$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('shop', 'CREATE TABLE item AS SELECT g AS n, md5(g::text) AS t FROM generate_series(1, 20000) g');
my $oid = Dbops::value($node, q{SELECT oid FROM pg_tablespace WHERE spcname = 'elsewhere'});

# Each once, over and over, until the backup has ended; says how often.
sub upheaval
{
	my ($backup, $round) = @_;
	my @steps = (
		'VACUUM FULL shrinking', 'DELETE FROM shrinking WHERE n % 3 = 0', 'VACUUM shrinking',
		'TRUNCATE shrinking; INSERT INTO shrinking SELECT g, repeat(md5(g::text), 15) FROM generate_series(1, 5000) g',
		'INSERT INTO growing SELECT g, repeat(md5(g::text), 10) FROM generate_series(1, 20000) g',
		'CREATE TABLE passing AS SELECT g FROM generate_series(1, 30000) g', 'DROP TABLE passing',
		'ALTER TABLE moving SET TABLESPACE elsewhere', 'UPDATE moving SET n = n + 1', 'ALTER TABLE moving SET TABLESPACE pg_default',
		'UPDATE steady SET note = md5(note) WHERE id % 97 = 0', 'REINDEX INDEX steady_note_idx', 'CLUSTER steady USING steady_note_idx',
		'INSERT INTO fleeting SELECT generate_series(1, 1000)', 'CHECKPOINT',
		"CREATE DATABASE copied$round TEMPLATE shop STRATEGY file_copy", "CREATE DATABASE logged$round TEMPLATE shop STRATEGY wal_log",
		"ALTER DATABASE logged$round SET TABLESPACE elsewhere", "DROP DATABASE copied$round",
		"CREATE DATABASE copied$round TEMPLATE logged$round STRATEGY file_copy TABLESPACE elsewhere", "DROP DATABASE logged$round");
	my $done = 0;
	my $pid = $backup->{KIDS}[0]{PID};
	while ($backup->pumpable)
	{
		for my $step (@steps)
		{
			last unless $backup->pumpable;
			# Some of them come before its end, however long they take.
			my $held = $done < 6 && kill 'STOP', $pid;
			$node->safe_psql('postgres', $step);
			if ($held) { kill 'CONT', $pid; sleep 0.1; }
			$backup->pump_nb;
			++$done;
		}
		$node->safe_psql('postgres', $_) for map { "DROP DATABASE IF EXISTS $_$round" } qw(copied logged);
		$node->safe_psql('postgres', 'DROP TABLE IF EXISTS passing');
	}
	$backup->finish;
	return $done;
}

my $ledger = Ledger->start($node, directory => $directory, filler => 500);
for my $round (1 .. 3)
{
	my ($out, $err) = ('', '');
	my $backup = IPC::Run::start([ $ENV{DBOPS_CLI}, 'backup', '-d', $node->connstr('postgres'), '--json', '--max-rate', $round == 1 ? '12MB' : '25MB', Backup::store_options($store) ],
		'<', \undef, '>', \$out, '2>', \$err);
	my $steps = upheaval($backup, $round);
	is($backup->full_result || 0, 0, "round $round: a backup in the middle of it") or diag $err;
	cmp_ok($steps, '>', 5, "round $round: $steps statements");
	is(JSON::PP::decode_json($out)->{damaged_blocks}, 0, "round $round: no page is taken for corrupt");
}
$ledger->stop;
Archive::wait_durable($node);
$node->safe_psql('postgres', 'TRUNCATE fleeting; CHECKPOINT');
Archive::wait_durable($node);
my $dump = Archive::dump_of($node);
my @labels = map { $_->{label} } @{ JSON::PP::decode_json(Backup::dbops('list', '--json', Backup::store_options($store))->{out}) };
is(Backup::dbops('verify', '--deep', Backup::store_options($store))->{status}, 0, 'the store is whole');
for my $i (0 .. $#labels)
{
	my $copy = Backup::restored("copy$i", $store, arguments => [ '-b', $labels[$i], '--tablespace', "$oid=$directory/space$i" ]);
	(my $expected = $dump) =~ s{\Q$directory/space\E'}{$directory/space$i'}g;
	Archive::is_same_content($copy, $expected, "backup $i: the restored server equals the source");
	Archive::is_restored($copy, $ledger, "backup $i");
	$copy->safe_psql('postgres', 'CREATE EXTENSION IF NOT EXISTS pg_visibility');
	is(Dbops::value($copy, q{SELECT count(*) FROM pg_class c, pg_check_visible(c.oid) WHERE c.relkind IN ('r', 'm', 't')}), 0, "backup $i: no page is all-visible that is not");
	Backup::checksums_are_right($copy, "backup $i: pg_checksums");
	$copy->clean_node;
}

# --- the next backup is another server's ----------------------------------------------------------------------------------
# The standby ends before what the first server wrote last, of which its last backup has the pages. These lie in the same
# files, and have later positions in WAL than what the second server writes in their place.
$node->safe_psql('postgres', 'CREATE TABLE split AS SELECT g AS id, 0 AS n, repeat(md5(g::text), 5) AS t FROM generate_series(1, 20000) g; CHECKPOINT');
Backup::take($node, $store, what => 'a backup for the standby');
Archive::wait_durable($node);
my $standby = Backup::restore('standby', $store, arguments => [ '--standby', '--keep-archiving', '--tablespace', "$oid=$directory/standby_space" ]);
$standby->start;
ok(Dbops::wait_for($standby, q{SELECT to_regclass('split') IS NOT NULL}, 't'), 'a standby follows the archive');
$standby->stop;
$node->safe_psql('postgres', q{UPDATE split SET n = 1; VACUUM split; UPDATE split SET n = 2 WHERE id % 2 = 0; CREATE TABLE lost AS SELECT generate_series(1, 5000) AS n; CHECKPOINT});
my $last = Backup::take($node, $store, what => 'the last backup of the first server');
Archive::destroy($node);
$standby->append_conf('postgresql.auto.conf', "restore_command = 'false'\n");
$standby->start;
$standby->promote;
Archive::wait_promoted($standby);
is(Dbops::value($standby, q{SELECT max(n) || ' ' || (to_regclass('lost') IS NULL) FROM split}), '0 true', 'the second server knows nothing of that');
Archive::wait_durable($standby);
my $early = Backup::restored('early', $store, arguments => [ '--tablespace', "$oid=$directory/early_space" ]);
is(Dbops::value($early, q{SELECT max(n) || ' ' || (to_regclass('lost') IS NULL) FROM split}), '0 true', 'a restore follows the second server, from a backup before the split');
$early->stop;
$early->clean_node;
my $off = Backup::dbops('restore', '-D', "$directory/off", '-b', $last->{label}, '--tablespace', "$oid=$directory/off_space", Backup::store_options($store));
is($off->{status}, 2, 'the last one of the first server is refused');
like($off->{err}, qr/was left before/, 'it says why');
is(Backup::dbops('restore', '-D', "$directory/off", '-b', $last->{label}, '--timeline', 'current', '--tablespace', "$oid=$directory/off_space", Backup::store_options($store))->{status},
	0, 'unless its own timeline is asked for');
$standby->safe_psql('postgres', q{UPDATE split SET n = 7 WHERE id % 5 = 0; CREATE TABLE mine AS SELECT generate_series(1, 3000) AS n});
my $next = Backup::take($standby, $store, what => 'the first backup of the second server');
is($next->{base}, $last->{label}, 'is compared with it');
is($next->{timeline}, 2, 'and is of another timeline');
$standby->safe_psql('postgres', q{UPDATE split SET n = 8 WHERE id % 7 = 0});
Archive::wait_durable($standby);
$standby->safe_psql('postgres', 'TRUNCATE fleeting');
Archive::wait_durable($standby);
$dump = Archive::dump_of($standby);
my $after = Backup::restored('after', $store, arguments => [ '--tablespace', "$oid=$directory/after_space" ]);
(my $expected = $dump) =~ s{\Q$directory/standby_space\E'}{$directory/after_space'}g;
Archive::is_same_content($after, $expected, 'which restores to what it was');
Archive::is_sound($after, 'and is sound');
is(Dbops::value($after, q{SELECT count(*) FROM pg_class c, pg_check_visible(c.oid) WHERE c.relkind IN ('r', 'm', 't')}), 0, 'no page is all-visible that is not')
  if $after->psql('postgres', 'CREATE EXTENSION IF NOT EXISTS pg_visibility') == 0;
Backup::checksums_are_right($after, 'pg_checksums');
$standby->stop;

done_testing();
