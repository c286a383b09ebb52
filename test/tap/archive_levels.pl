# The highest compression level and eight threads: what docs/archive.md says of the archiver's memory.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Archive;

my $store = Archive::store('file');
my $node = Archive::primary('levels', $store,
	conf => "dbops.compression_level = 19\ndbops.archive_workers = 8\ndbops.stream_interval = 0\nautovacuum = off\nmax_wal_size = 2GB\nwal_keep_size = 2GB\n");
ok(Archive::wait_archived($node), 'it works');
# A backlog, so that there is something for each thread; of what is quick to compress.
rename $store->{directory}, "$store->{directory}.away" or die;
for (1 .. 32)
{
	$node->safe_psql('postgres', q{SELECT pg_logical_emit_message(false, 'rows', (SELECT string_agg(md5((g % 5000)::text), '') FROM generate_series(1, 400000) g)); SELECT pg_switch_wal()});
}
rename "$store->{directory}.away", $store->{directory} or die;
ok(Archive::wait_archived($node), '32 segments are archived');
my $pid = Dbops::value($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'archiver'});
my ($peak) = PostgreSQL::Test::Utils::slurp_file("/proc/$pid/status") =~ /^VmHWM:\s+(\d+) kB/m;
cmp_ok($peak, '<', 224 * 1024, "the archiver stays below 224 MiB");
note "peak: $peak KiB";
$node->stop;
done_testing();
