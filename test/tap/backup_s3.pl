# All that there is to a backup, on a real S3 server, encrypted: backup, list, verify, dump, expire, drill, restore. The server's credentials
# may create and read, and not delete; expiry has its own.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Archive;
use Backup;
use Dbops;
use File::Temp ();
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'no S3 server' unless Archive::has_s3();

my $scratch = File::Temp::tempdir(CLEANUP => 1);
my $server = Archive::s3();
my $writer = "$scratch/writer";
append_to_file($writer, "[default]\naws_access_key_id = writer\naws_secret_access_key = $server->{S3_SECRET_KEY}\n");
chmod 0600, $writer;
my $store = Archive::store('s3', tls => 1, bucket => 'dbops-keep', credentials => $writer);
my $keys = Archive::key_file('k1');
my @server = Backup::store_options($store, key_file => $keys);
my @owner = Backup::store_options({ %$store, credentials => $server->{S3_CREDENTIALS_FILE} }, key_file => $keys);
sub list { my ($what) = @_; return @{ JSON::PP::decode_json(Backup::dbops($what, '--json', @server)->{out}) }; }
sub dump_database
{
	my ($node, $database) = @_;
	my $out = '';
	IPC::Run::run([ 'pg_dump', '-d', $node->connstr($database), '--no-sync' ], '<', \undef, '>', \$out) or die 'pg_dump failed';
	$out =~ s/^\\(un)?restrict .*\n//mg;
	return $out;
}

# --- backups --------------------------------------------------------------------------------------------------------------
my $node = Archive::primary('origin', $store, init => ['--wal-segsize=1'], key_file => $keys);
my @role = ('--role', Dbops::value($node, 'SELECT current_user'));
$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('postgres', q{CREATE TABLE account AS SELECT g AS id, md5(g::text) AS note FROM generate_series(1, 20000) g});
$node->safe_psql('shop', q{CREATE SCHEMA stock; CREATE TABLE stock.item AS SELECT generate_series(1, 5000) AS id; CREATE TABLE account (id int)});
my $first = Backup::take($node, $store, key_file => $keys, what => 'the first backup');
is(Backup::dbops('dump', '-d', $node->connstr('shop'), @server)->{status}, 0, 'a dump');
$node->safe_psql('postgres', q{UPDATE account SET note = 'changed' WHERE id % 1000 = 0});
my $second = Backup::take($node, $store, key_file => $keys, what => 'an incremental one');
is($second->{base}, $first->{label}, 'which is compared with the first');
cmp_ok($second->{new_bytes}, '<', $first->{new_bytes} / 2, 'and stores less');
$node->safe_psql('postgres', q{DELETE FROM account WHERE id > 15000; VACUUM FULL account});
my $third = Backup::take($node, $store, key_file => $keys, what => 'a third one');
$node->safe_psql('shop', q{INSERT INTO account SELECT generate_series(1, 100)});
is(Backup::dbops('dump', '-d', $node->connstr('shop'), '-F', 'directory', '-j', 2, '--scratch', $scratch, @server)->{status}, 0, 'a dump by directory');
is(join(' ', map { "$_->{label} $_->{state}" } list('list')), "$first->{label} ok $second->{label} ok $third->{label} ok", 'the list has them');
is(scalar(my @dumps = list('dumps')), 2, 'and that of dumps');
like(Backup::dbops('list', Backup::store_options($store, key_file => Archive::key_file('k2')))->{err}, qr/key "k1"/, 'nothing is read without the key');
my $run = Backup::dbops('verify', '--deep', '--gap-time', 30, @server);
is($run->{status}, 0, 'all of it is whole') or diag $run->{out} . $run->{err};

# --- expiry ---------------------------------------------------------------------------------------------------------------
$run = Backup::dbops('expire', '--keep-last', 1, @server);
is($run->{status}, 2, 'the credentials of the server cannot delete');
like($run->{err}, qr/denied/i, 'it says so');
is(scalar(my @backups = list('list')), 3, 'nothing is gone');
is(Backup::dbops('verify', @server)->{status}, 0, 'nor damaged');
$run = Backup::dbops('expire', '--keep-last', 1, '--dry-run', '--json', @server);
is($run->{status}, 0, 'they may look what would go') or diag $run->{err};
my $plan = JSON::PP::decode_json($run->{out});
$run = Backup::dbops('expire', '--keep-last', 1, '--json', @owner);
is($run->{status}, 0, 'those of the owner can') or diag $run->{err};
my $done = JSON::PP::decode_json($run->{out});
delete @$_{qw(dry_run)} for $plan, $done;
is_deeply($done, $plan, 'what goes is what was said');
is(join(' ', map { $_->{label} } list('list')), $third->{label}, 'the last backup is kept');
is(join(' ', map { $_->{dump} } list('dumps')), $dumps[1]{dump}, 'and the last dump');
$run = Backup::dbops('verify', '--deep', @server);
is($run->{status}, 0, 'what is left is whole') or diag $run->{out} . $run->{err};
$run = Backup::dbops('restore', '-D', "$scratch/gone", '-b', $first->{label}, @server);
is($run->{status}, 2, 'what has gone cannot be restored');

# --- what is left comes back -------------------------------------------------------------------------------------------------
Archive::wait_durable($node);
append_to_file("$scratch/check.sql", q{SELECT 1 / (count(*) = 15000)::int FROM account;});
$run = Backup::dbops('drill', '--json', @role, '--scratch', $scratch, '--check-sql', "$scratch/check.sql", @server);
is($run->{status}, 0, 'a drill') or diag $run->{err};
is(Dbops::value($node, 'SELECT string_agg(backup, $$ $$) FROM dbops.drills WHERE succeeded'), $third->{label}, 'which the server sees');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$run = Backup::dbops('undump', '--database', 'shop', '-j', 2, '--scratch', $scratch, '-d', $node->connstr('copy'), @server);
is($run->{status}, 0, 'a dump comes back') or diag $run->{err};
ok(dump_database($node, 'copy') eq dump_database($node, 'shop'), 'it equals the source');
$node->safe_psql('postgres', 'DROP DATABASE copy');
Archive::wait_durable($node);
my $dump = Archive::dump_of($node);
$node->stop;
my $copy = Backup::restored('copy', $store, key_file => $keys);
Archive::is_same_content($copy, $dump, 'a restore equals the source');
$copy->stop;

done_testing();
