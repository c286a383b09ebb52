# What PostgreSQL raises while a file is archived: the archiver goes on living, nothing is acknowledged, the view says it, and the
# file is archived after the archiver's own pause.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use Archive;

my $store = Archive::store('file');
my $node = Archive::primary('main', $store, init => ['--wal-segsize=1'],
	conf => "dbops.stream_interval = '100ms'\nautovacuum = off\ncheckpoint_timeout = 1h\nmax_wal_size = 1GB\n");
$node->safe_psql('postgres', 'CREATE TABLE t (v text)');

sub switch_wal { return Dbops::value($node, q{INSERT INTO t VALUES ('x'); SELECT pg_walfile_name(pg_switch_wal())}) =~ s/\n//gr; }
sub archived   { my ($segment) = @_; return -e $node->data_dir . "/pg_wal/archive_status/$segment.done"; }
sub archiver   { return Dbops::value($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'archiver'}); }

switch_wal();
ok(Archive::wait_archived($node), 'it works at first');
my $pid = archiver();

# The archiver looks at the control file, to know whether the server is shut down: a file that cannot be opened is an ERROR.
my $control = $node->data_dir . '/global/pg_control';
chmod 0, $control or die;
# It does so twice a second at most: what is archived in between is well.
my $segment;
my $end = time() + 120;
while (!$segment && time() < $end)
{
	switch_wal();
	sleep 0.3;
	($segment) = slurp_file($node->logfile) =~ /archiving "(\w+)" failed: could not open file "[^"]*pg_control"/;
}
ok($segment, 'an ERROR: the log says it') or BAIL_OUT('without that, nothing is tested');
ok(Dbops::wait_for($node, q{SELECT state = 'failing' AND last_error ~ 'pg_control' FROM dbops.archive_status}, 't'), 'so does the view')
  or diag Archive::report($node);
# Three tries, and PostgreSQL's pause of a minute, which nothing cuts short: no WAL is written meanwhile.
ok(Archive::wait_log($node, qr/archiving write-ahead log file "$segment" failed too many times/), 'PostgreSQL tries again, and later');
sub longest_pause
{
	my ($longest, $last) = (0);
	for (slurp_file($node->logfile) =~ /^\S+ (\d+:\d+:\d+)\S* .*archiving "$segment" failed: could not open/mg)
	{
		my ($hours, $minutes, $seconds) = split /:/;
		my $now = ($hours * 60 + $minutes) * 60 + $seconds;
		my $pause = defined $last ? ($now - $last) % 86400 : 0;
		$longest = $pause if $pause > $longest;
		$last = $now;
	}
	return $longest;
}
$end = time() + 180;
sleep 1 while longest_pause() < 30 && time() < $end;
cmp_ok(longest_pause(), '>=', 30, 'not before its pause');
ok(!archived($segment), 'nothing is acknowledged');
is(archiver(), $pid, 'the archiver is the same process');
chmod 0600, $control or die;
switch_wal();    # wakes it
ok(Archive::wait_archived($node), 'it is mended: everything is archived') or diag Archive::report($node);
ok(archived($segment), 'the file that failed, too');
is(archiver(), $pid, 'by the same process');
ok(Dbops::wait_for($node, 'SELECT state FROM dbops.archive_status', 'up to date'), 'and all is well') or diag Archive::report($node);
$node->stop;
done_testing();
