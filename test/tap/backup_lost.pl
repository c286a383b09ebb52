# A backup whose directory is gone from the store, and a first store that is gone as a whole.
use strict;
use warnings;

use File::Path ();
use FindBin;
use lib $FindBin::RealBin;
use Archive;
use Backup;
use Dbops;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($store, $offsite) = (Archive::store('file'), Archive::store('file'));
my $node = Archive::primary('source', $store, init => ['--wal-segsize=1'], conf => "dbops.offsite_store = '$offsite->{url}'\n");
sub run { my (@words) = @_; return Backup::dbops(@words, Backup::store_options($store)); }
sub states { return join ' ', map { "$_->{label}:$_->{state}" } @{ JSON::PP::decode_json(run('list', '--json')->{out}) }; }
sub directory { my ($place, $label) = @_; my ($found) = glob "$place->{directory}/*/backup/$label"; return $found; }

# --- a backup's directory -----------------------------------------------------------------------------------------------
my @labels = map { Backup::take($node, $store)->{label} } 1 .. 3;
is(run('verify')->{status}, 0, 'all is well');
File::Path::remove_tree(directory($store, $labels[2]));
my $run = run('verify');
is($run->{status}, 1, 'the directory of the last one is gone: verify finds damage');
like($run->{out}, qr{^$labels[2]: its manifest: "backup/$labels[2]/manifest" was there, and is missing$}m, 'and names it');
is(run('verify', '-b', $labels[2])->{status}, 1, 'by its label, too');
is(states(), "$labels[0]:ok $labels[1]:ok $labels[2]:unreadable", 'list shows it');
is(Dbops::value($node, q{SELECT string_agg(backup || ':' || state, ' ' ORDER BY backup) FROM dbops.backups}), states(), 'as dbops.backups does');
$run = run('expire', '--keep-last', 1);
is($run->{status}, 2, 'expire refuses');
like($run->{err}, qr{^HINT: .*/backup/$labels[2]/.*/summary/$labels[2]"}m, 'and says what to remove');
is(scalar(grep { directory($store, $_) } @labels), 2, 'it has removed none of the others');
my $copy = Backup::restored('copy', $store);
like($copy->{restore_messages}, qr/WARNING: backup $labels[2] is newer, and is left out/, 'restore takes another one and says so');
$copy->stop;
$copy->clean_node;
unlink glob "$store->{directory}/*/summary/$labels[2]" or die;
is(run('expire', '--keep-last', 1)->{status}, 0, 'without what was left of it expire goes on');
is(states(), "$labels[1]:ok", 'and keeps the last one that is sound');

# --- the first store ----------------------------------------------------------------------------------------------------
Backup::take($node, $offsite, what => 'a backup into the offsite store, which gets all WAL');
$node->safe_psql('postgres', q{CREATE TABLE later AS SELECT 42 AS n; SELECT pg_switch_wal()});
Archive::wait_archived($node);
Archive::wait_durable($node);
$node->stop;
File::Path::remove_tree($store->{directory});
$copy = Backup::restored('elsewhere', $offsite);
is(Dbops::value($copy, 'SELECT n FROM later'), 42, 'backup and WAL of the offsite store alone bring it back');
$copy->stop;

done_testing();
