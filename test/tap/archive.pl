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
	my $conf = "archive_mode = on\narchive_library = 'dbops'\ndbops.store = 'file://$store'\n" . ($options{conf} // '');
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
	is(Dbops::value($node, 'SELECT repository, backlog_files, last_error FROM dbops.archive_status'),
		'primary|0|', 'no backlog, no error');
	$node->stop;
};

done_testing();
