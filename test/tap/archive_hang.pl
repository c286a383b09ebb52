# A shutdown while the directory of the store does not answer any more, with files under way: it waits no longer than it may, and what
# waited is archived after the next start.
use strict;
use warnings;
use File::Temp ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use Archive;

my $directory = File::Temp::tempdir(CLEANUP => 1);
my $conf = "dbops.stream_interval = '100ms'\ndbops.archive_shutdown_timeout = '2s'\ndbops.upload_timeout = '5s'\nautovacuum = off\nwal_level = replica\n";

# Ends a segment that does not compress; returns its name.
sub switch_wal
{
	my ($node) = @_;
	return Dbops::value($node, q{INSERT INTO t SELECT string_agg(md5(random()::text || g), '') FROM generate_series(1, 20000) g; SELECT pg_walfile_name(pg_switch_wal())}) =~ s/\n//gr;
}

sub archived { my ($node, $segment) = @_; return -e $node->data_dir . "/pg_wal/archive_status/$segment.done"; }

sub is_archived
{
	my ($node, $segment, $what) = @_;
	my $end = time() + $PostgreSQL::Test::Utils::timeout_default;
	while (time() < $end && !archived($node, $segment)) { sleep 0.05; }
	return ok(archived($node, $segment), $what) || diag Archive::report($node);
}

sub says
{
	my ($node, $pattern, $what) = @_;
	return ok(Dbops::wait_for($node, "SELECT state = 'failing' AND last_error ~ '$pattern' FROM dbops.archive_status WHERE repository = 'primary'", 't'), $what)
	  || diag Archive::report($node);
}

sub touch { my ($file) = @_; PostgreSQL::Test::Utils::append_to_file($file, ''); return; }

my $place = "$directory/place";
my $hangs = "$place.hangs";
mkdir $place and mkdir "$place/store" or die;
my $store = { url => "file://$place/store", directory => "$place/store" };
my $node = Dbops::node('hanging', start => 0, conf => Archive::settings($store, conf => $conf));
sub start
{
	local $ENV{LD_PRELOAD} = Dbops::fault_library('hanging_file');
	local $ENV{HANGING_PLACE} = $place;
	$node->start;
	return;
}
start();
Dbops::create_extension($node);
$node->safe_psql('postgres', 'CREATE TABLE t (v text)');
is_archived($node, switch_wal($node), 'it works at first');
touch($hangs);
my $segment = switch_wal($node);
says($node, 'does not answer', 'the store hangs: the view says it');
my $begin = time();
$node->stop('fast');
cmp_ok(time() - $begin, '<', 60, 'a shutdown waits no longer than it may');
ok(-e $node->data_dir . "/pg_wal/archive_status/$segment.ready", 'nothing is acknowledged');
unlink $hangs or die;
start();
is_archived($node, $segment, 'what waited is archived after the next start');

# One store that hangs takes all the time of dbops.check(), and says nothing about the other.
mkdir "$directory/offsite" or die;
$node->append_conf('postgresql.conf', "dbops.offsite_store = 'file://$directory/offsite'");
$node->reload;
my $checked = q{SELECT check_name || ': ' || ok || ' ' || detail FROM dbops.check('3 s') WHERE check_name IN ('primary store', 'offsite store') ORDER BY 1 DESC};
ok(Dbops::wait_for($node, "SELECT string_agg(ok::text, ' ') FROM dbops.check('1 minute') WHERE check_name IN ('primary store', 'offsite store')", 'true true'), 'both stores answer');
touch($hangs);
like(Dbops::value($node, $checked), qr/^primary store: false .*does not answer.*\noffsite store: false not tried: no time was left$/, 'the first store hangs: the other one was not tried, and that is said');
unlink $hangs or die;
$node->stop;
done_testing();
