# The counters of dbops.archive_status are kept over a restart, as PostgreSQL keeps its cumulative statistics; a crash, a
# file that is damaged and a reset make them begin again.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);
use Archive;

my $store = Archive::store('file');
my $node = Archive::primary('counters', $store, init => ['--wal-segsize=1'], conf => "dbops.stream_interval = '100ms'\nautovacuum = off\nrestart_after_crash = on\n");
my $file = $node->data_dir . '/pg_stat/dbops_archive.stat';
$node->safe_psql('postgres', 'CREATE TABLE t (n int)');

sub write_segments
{
	for (1 .. 3)
	{
		$node->safe_psql('postgres', 'INSERT INTO t VALUES (1); SELECT pg_switch_wal()');
	}
	return Archive::wait_archived($node);
}
sub value { return Archive::status($node, @_); }
my @counters = qw(files file_bytes chunk_bytes stored_bytes chunks merges retries failures);
my %before;
sub remember { %before = map { $_ => value($_) } @counters, 'stats_reset', 'last_archived_wal'; return; }
sub are_kept
{
	my ($what) = @_;
	is(value('stats_reset'), $before{stats_reset}, "$what: stats_reset is that of before");
	cmp_ok(value($_), '>=', $before{$_}, "$what: $_ goes on") for @counters;
	isnt(value('last_archived_wal'), '', "$what: the last file is known");
	return;
}
sub begin_again
{
	my ($what) = @_;
	is(value("stats_reset > '$before{stats_reset}'"), 't', "$what: stats_reset is new");
	cmp_ok(value('files'), '<', $before{files}, "$what: files begin again");
	return;
}

ok(write_segments(), 'segments are archived');
ok(write_segments(), 'and more');
ok(!-e $file, 'no file before the first stop');
for my $mode ('fast', 'smart')
{
	remember();
	cmp_ok($before{files}, '>', 5, 'they are counted');
	$node->stop($mode);
	ok(-s $file, "stopped ($mode): the file is written");
	ok(!-e $node->data_dir . '/pg_stat/dbops_archive.tmp', 'under its own name');
	$node->start;
	are_kept("restart ($mode)");
}

# A start that fails when the file has been read.
remember();
$node->stop;
my $rules = PostgreSQL::Test::Utils::slurp_file($node->data_dir . '/pg_hba.conf');
$node->append_conf('pg_hba.conf', 'nonsense');
is($node->start(fail_ok => 1), 0, 'a start fails');
open my $hba, '>', $node->data_dir . '/pg_hba.conf' or die;
print $hba $rules;
close $hba;
$node->start;
are_kept('a start that failed');

# Without the library: what the server does then is not counted.
for my $mode ('fast', 'immediate')
{
	ok(write_segments(), 'segments are archived');
	remember();
	$node->stop;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
	$node->start;
	$node->stop($mode);
	$node->start if $mode eq 'immediate';
	$node->stop if $mode eq 'immediate';
	ok(-e $file, 'the file has stayed');
	$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "'dbops'");
	$node->start;
	begin_again("the server has run without the library, and was stopped ($mode)");
	ok(!-e $file, 'the file is gone');
}

ok(write_segments(), 'segments are archived');
remember();
$node->stop('immediate');
$node->start;
begin_again('stopped at once');

ok(write_segments(), 'segments are archived');
remember();
$node->safe_psql('postgres', 'SELECT dbops.reset_archive_counters()');
begin_again('reset');
remember();
$node->restart;
are_kept('restart after a reset');

ok(write_segments(), 'segments are archived');
remember();
Archive::crash($node);
$node->start;
begin_again('the server was killed');

# Its processes crash, and the postmaster starts them again.
ok(write_segments(), 'segments are archived');
remember();
my $backend = Dbops::value($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'});
kill 'KILL', $backend;
my $restarted = 0;
for (my $i = 0; $i < 10 * $PostgreSQL::Test::Utils::timeout_default && !$restarted; ++$i)
{
	sleep 0.1;
	$restarted = (Dbops::ask($node, "SELECT pid <> $backend FROM pg_stat_activity WHERE backend_type = 'checkpointer'") // '') eq 't';
}
ok($restarted, 'the server has restarted');
begin_again('a process was killed');

# A copy of an old file that somebody has put there before a crash recovery tells nothing about this server.
ok(write_segments(), 'segments are archived');
remember();
$node->stop;
my $saved = PostgreSQL::Test::Utils::slurp_file($file);
$node->start;
Archive::crash($node);
PostgreSQL::Test::Utils::append_to_file($file, $saved);
$node->start;
begin_again('a file of before the crash');

for my $damage ([ 'cut short', substr($saved, 0, 100) ], [ 'with another byte', $saved ^ ("\0" x 40 . "\1") ], [ 'longer', "$saved!" ], [ 'empty', '' ],
	[ 'of another version', "\0\0\0\0" . substr($saved, 4) ])
{
	my ($what, $content) = @$damage;
	ok(write_segments(), 'segments are archived');
	remember();
	$node->stop;
	open my $handle, '>', $file or die;
	print $handle $content;
	close $handle;
	my $from = -s $node->logfile;
	$node->start;
	begin_again("a file $what");
	like(PostgreSQL::Test::Utils::slurp_file($node->logfile, $from), qr/dbops_archive\.stat" is not readable: the archive's counters begin at 0/, 'and that is said');
	ok(!-e $file, 'it is gone');
}

# It cannot be written: the server stops all the same.
mkdir $node->data_dir . '/pg_stat/dbops_archive.tmp' or die;
my $from = -s $node->logfile;
$node->stop;
like(PostgreSQL::Test::Utils::slurp_file($node->logfile, $from), qr/could not open file "pg_stat\/dbops_archive\.tmp"/, 'a file that cannot be written is said');
rmdir $node->data_dir . '/pg_stat/dbops_archive.tmp';
$node->start;
is(value('files') >= 0, 1, 'and the server starts without');
$node->stop;
done_testing();
