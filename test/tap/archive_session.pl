# A session that waits for a store is terminated, while the thread that works for it hangs: it leaves in order.
use strict;
use warnings;
use File::Temp ();
use IPC::Run ();
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Archive;

my $directory = File::Temp::tempdir(CLEANUP => 1);
# Nobody writes into it: whoever opens it hangs.
POSIX::mkfifo("$directory/credentials", 0600) or die;
my $node = Dbops::node('session', conf => "dbops.store = 's3://bucket/place?endpoint=http://127.0.0.1:9&region=us-east-1'\ndbops.credentials_file = '$directory/credentials'\n");
my $started = Dbops::value($node, 'SELECT pg_postmaster_start_time()');
my $waiting = q{FROM pg_stat_activity WHERE query ~ '^SELECT dbops.take_over' AND state = 'active'};
my ($out, $err) = ('', '');
my $session = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', 'SELECT dbops.take_over_archive()' ], '<', \undef, '>', \$out, '2>', \$err);
ok(Dbops::wait_for($node, "SELECT count(*) $waiting", 1), q{a session waits}) or die $err;
Dbops::value($node, "SELECT pg_terminate_backend(pid) $waiting");
$session->finish;
like($err, qr/terminating connection/, 'it is terminated');
ok(Archive::wait_log($node, qr/did not stop in time and is left behind/), 'and has waited for its thread');
ok(Dbops::wait_for($node, "SELECT count(*) $waiting", 0), 'its process is gone');
is(Dbops::value($node, 'SELECT pg_postmaster_start_time()'), $started, 'the server is well');
unlike(slurp_file($node->logfile), qr/terminated by signal|server process .* exited/, 'no process has crashed');
$node->stop;
done_testing();
