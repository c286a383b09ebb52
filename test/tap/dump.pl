# Logical backups: dumps in the store, streamed and by directory, encrypted; restored whole and in part; verified, expired,
# interrupted, damaged.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Archive;
use Backup;
use Dbops;
use File::Temp ();
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $scratch = File::Temp::tempdir(CLEANUP => 1);
my $key_file = Archive::key_file('old', 'new');
my $store = Archive::store('file');
my @store = Backup::store_options($store, key_file => $key_file);
my $node = Archive::primary('origin', $store, key_file => $key_file);
$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('postgres', "CREATE DATABASE $_") for qw(copy parallel part other);
$node->safe_psql('shop', q{
	CREATE TABLE account (id int PRIMARY KEY, note text);
	INSERT INTO account SELECT g, repeat(md5(g::text), 10) FROM generate_series(1, 60000) g;
	CREATE SCHEMA stock;
	CREATE TABLE stock.item (n int, secret text);
	INSERT INTO stock.item SELECT g, 'SECRET' || g FROM generate_series(1, 100) g;
	CREATE INDEX ON account (note);
	SELECT lo_from_bytea(0, decode(repeat('ab', 100000), 'hex'));
});

sub shop { my ($database) = @_; return ('-d', $node->connstr($database)); }
sub dump_database
{
	my ($database) = @_;
	my $out = '';
	IPC::Run::run([ 'pg_dump', '-d', $node->connstr($database), '--no-sync' ], '<', \undef, '>', \$out) or die 'pg_dump failed';
	$out =~ s/^\\(un)?restrict .*\n//mg;
	return $out;
}
sub dumps { return JSON::PP::decode_json(Backup::dbops('dumps', '--json', @store)->{out}); }

my $expected = dump_database('shop');

# --- whole --------------------------------------------------------------------------------------------------------------
my $run = Backup::dbops('dump', shop('shop'), '--json', '--label', 'nightly', '--annotation', 'ticket=OPS-12', @store);
is($run->{status}, 0, 'a dump') or diag $run->{err};
my $first = JSON::PP::decode_json($run->{out});
is("$first->{database} $first->{format} $first->{label} $first->{annotations}{ticket}", 'shop custom nightly OPS-12', 'what it says of itself');
cmp_ok($first->{bytes}, '>', 16 << 20, 'it has more than one piece');
cmp_ok($first->{stored_bytes}, '<', $first->{bytes} / 2, 'it is compressed');
is(scalar(grep { slurp_file($_) =~ /SECRET/ } Backup::objects($store, 'dump')), 0, 'and encrypted');
is(Backup::dbops('undump', '-d', $node->connstr('copy'), @store)->{status}, 0, 'restored');
ok(dump_database('copy') eq $expected, 'it equals the source');

$run = Backup::dbops('dump', shop('shop'), '--json', '-F', 'directory', '-j', 2, '--scratch', $scratch, @store);
is($run->{status}, 0, 'by directory') or diag $run->{err};
my $directory = JSON::PP::decode_json($run->{out});
cmp_ok($directory->{files}, '>', 3, 'with a file for each table');
is(Backup::dbops('undump', $directory->{dump}, '-j', 2, '--scratch', $scratch, '-d', $node->connstr('parallel'), @store)->{status}, 0, 'restored by two connections');
ok(dump_database('parallel') eq $expected, 'it equals the source');
is(join(' ', glob "$scratch/*"), '', 'nothing is left in the scratch directory');
$node->safe_psql('postgres', 'DROP DATABASE shop');
is(Backup::dbops('undump', $first->{dump}, '--create', '-d', $node->connstr('postgres'), @store)->{status}, 0, 'with --create');
ok(dump_database('shop') eq $expected, 'the database is back');

# --- in part --------------------------------------------------------------------------------------------------------------
is(Backup::dbops('undump', $first->{dump}, '-t', 'account', '-d', $node->connstr('part'), @store)->{status}, 0, 'one table');
is(Dbops::value($node, q{SELECT string_agg(relname, ' ') FROM pg_stat_user_tables}, 'part'), 'account', 'is what comes back');
is(Dbops::value($node, q{SELECT count(*) FROM account}, 'part'), 60000, 'with its rows');
$node->safe_psql('part', 'DROP TABLE account; CREATE SCHEMA stock');
is(Backup::dbops('undump', $first->{dump}, '-n', 'stock', '-d', $node->connstr('part'), @store)->{status}, 0, 'one schema');
is(Dbops::value($node, q{SELECT string_agg(schemaname || '.' || relname, ' ') FROM pg_stat_user_tables}, 'part'), 'stock.item', 'is what comes back');
is(Dbops::value($node, q{SELECT count(*) FROM stock.item}, 'part'), 100, 'with its rows');
$node->safe_psql('copy', q{DELETE FROM account WHERE id > 10; DROP TABLE stock.item});
is(Backup::dbops('undump', $first->{dump}, '--clean', '-d', $node->connstr('copy'), @store)->{status}, 0, '--clean over what is there');
ok(dump_database('copy') eq $expected, 'it equals the source');

# --- what fails changes nothing -------------------------------------------------------------------------------------------
$node->safe_psql('copy', q{DELETE FROM account WHERE id > 10; DROP TABLE stock.item});
my $before = dump_database('copy');
$run = Backup::dbops('undump', $first->{dump}, '-d', $node->connstr('copy'), @store);
is($run->{status}, 2, 'over what is there, without --clean');
like($run->{err}, qr/as it was/, 'it says that nothing has changed');
ok(dump_database('copy') eq $before, 'and nothing has');
my ($piece) = (grep { m{/pieces/} } Backup::objects($store, "dump/$first->{dump}"))[1];
my $good = slurp_file($piece);
my $number = () = dumps();
for my $case ([ 'cut short', sub { truncate $piece, 1000 } ], [ 'changed', sub { open my $f, '+<', $piece; seek $f, length($good) / 2, 0; print $f 'DAMAGE' } ],
	[ 'gone', sub { unlink $piece } ])
{
	my ($what, $damage) = @$case;
	chmod 0600, $piece;
	$damage->();
	is(Backup::dbops('undump', $first->{dump}, '--clean', '-d', $node->connstr('copy'), @store)->{status}, 2, "a piece is $what: refused");
	ok(dump_database('copy') eq $before, "a piece is $what: and nothing has changed");
	$run = Backup::dbops('verify', '--deep', '-b', $first->{dump}, @store);
	is($run->{status}, 1, "a piece is $what: verification finds it");
	like($run->{out}, qr/\Q$first->{dump}\E: dump of database "shop"/, "a piece is $what: and names the dump");
	unlink $piece;
	append_to_file($piece, $good);
}
is(Backup::dbops('verify', '--deep', @store)->{status}, 0, 'all is well again');
is(Backup::dbops('undump', $first->{dump}, @store)->{status}, 2, 'a database must be named to restore into');
is(Backup::dbops('undump', '20010101T000000Z', '-d', $node->connstr('copy'), @store)->{status}, 2, 'one that is not there');
is(Backup::dbops('undump', $first->{dump}, '-d', $node->connstr('copy'), Backup::store_options($store))->{status}, 2, 'without the key');
$run = Backup::dbops('undump', $first->{dump}, '-o', "$scratch/archive", @store);
is($run->{status}, 0, 'what pg_dump wrote');
like(scalar(`pg_restore --list $scratch/archive`), qr/TABLE DATA public account/, 'is an archive of its own');
is(Backup::dbops('undump', $first->{dump}, '-o', "$scratch/archive", @store)->{status}, 2, 'and no file is replaced');
my ($identifier) = map { m{/(\d+)$} } glob "$store->{directory}/[0-9]*";
is(system('/usr/bin/python3', "$FindBin::RealBin/../format/backup_reader.py", '--dump', '--keys', $key_file, $store->{directory}, $identifier, $first->{dump}, "$scratch/other"),
	0, 'the program that was written from docs/format.md reads it');
is(system('cmp', "$scratch/archive", "$scratch/other/dump"), 0, 'and gets the same');

# --- damage that is known ---------------------------------------------------------------------------------------------------
$node->safe_psql('copy', q{DELETE FROM account WHERE id > 10});
$before = dump_database('copy');
my ($newer) = grep { m{/pieces/} } Backup::objects($store, "dump/$directory->{dump}");
$good = slurp_file($newer);
chmod 0600, $newer;
open my $file, '+<', $newer or die "$newer: $!";
seek $file, length($good) / 2, 0;
print $file 'DAMAGE';
close $file;
is(join(' ', map { $_->{state} } @{ dumps() }), 'ok ok', 'damage that nobody has looked for');
is(Backup::dbops('verify', '--deep', @store)->{status}, 1, 'a deep verification finds it');
is(join(' ', map { "$_->{dump} $_->{state}" } @{ dumps() }), "$first->{dump} ok $directory->{dump} damaged", 'dbops dumps shows it');
like((grep { $_->{dump} eq $directory->{dump} } @{ dumps() })[0]{problem}, qr/dump of database "shop": /, 'and what it is');
like(Backup::dbops('dumps', @store)->{out}, qr/^\Q$directory->{dump}\E .* damaged +.*dump of database "shop": /m, 'to people as well');
$run = Backup::dbops('verify', @store);
is($run->{status}, 1, 'a verification that does not read knows of it');
like($run->{out}, qr/\Q$directory->{dump}\E: .*dump of database "shop": /, 'and which dump it is');
$run = Backup::dbops('undump', '--clean', '--scratch', $scratch, '-d', $node->connstr('copy'), @store);
is($run->{status}, 2, 'the newest one is not restored');
like($run->{err}, qr/WARNING: dump \Q$directory->{dump}\E is damaged: /, 'after a warning');
ok(dump_database('copy') eq $before, 'and nothing has changed');
sub kept_dumps
{
	my $expire = Backup::dbops('expire', '--keep-last', 1, '--dry-run', @store);
	is($expire->{status}, 0, 'expiry') or diag $expire->{err};
	return join ' ', $expire->{out} =~ /^keep +dump (\S+)/mg;
}
is(kept_dumps(), "$first->{dump} $directory->{dump}", 'keeps the last good one beside it');
open $file, '>:raw', $newer or die "$newer: $!";
print $file $good;
close $file;
is(Backup::dbops('verify', @store)->{status}, 1, 'that it is mended only reading can find');
is(Backup::dbops('verify', '--deep', @store)->{status}, 0, 'a deep verification does');
is(join(' ', map { $_->{state} } @{ dumps() }), 'ok ok', 'then nobody knows of any');
is(kept_dumps(), $directory->{dump}, 'nor expiry');

# --- a dump that fails, or is killed, is none ---------------------------------------------------------------------------------
is(Backup::dbops('dump', shop('shop'), '-t', 'nothing_of_that_name', @store)->{status}, 2, 'pg_dump fails');
is(Backup::dbops('dump', shop('shop'), '--bindir', '/nowhere', @store)->{status}, 2, 'there is no pg_dump');
my $lock = $node->background_psql('shop');
$lock->query_safe('BEGIN; LOCK account');
my $waiting = q{FROM pg_stat_activity WHERE query LIKE 'LOCK TABLE%' AND wait_event_type = 'Lock'};
for my $signal (qw(INT KILL))
{
	my $dump = IPC::Run::start([ $ENV{DBOPS_CLI}, 'dump', shop('shop'), @store ], '<', \undef, '>', \my $out, '2>', \my $err);
	ok(Dbops::wait_for($node, "SELECT count(*) $waiting", 1), "$signal: pg_dump waits");
	$dump->signal($signal);
	# Nobody tells pg_dump when its parent is killed; its own end shows it the pipe that nobody reads.
	$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) $waiting") if $signal eq 'KILL';
	$dump->finish;
	isnt($dump->full_result, 0, "$signal: the command ends");
	ok(Dbops::wait_for($node, "SELECT count(*) $waiting", 0), "$signal: and so does pg_dump");
}
$lock->query_safe('ROLLBACK');
$lock->quit;
is(join(' ', map { $_->{state} } grep { $_->{dump} gt $directory->{dump} } @{ dumps() }), 'unfinished unfinished unfinished', 'the list tells: none of them is a dump');
is(Backup::dbops('verify', @store)->{status}, 0, 'which is no damage');

# --- retention ------------------------------------------------------------------------------------------------------------------
is(Backup::dbops('dump', shop('other'), @store)->{status}, 0, 'a dump of another database');
is(Backup::dbops('dump', shop('shop'), '-n', 'stock', @store)->{status}, 0, 'and of one schema');
$run = Backup::dbops('expire', '--keep-last', 1, '--dry-run', @store);
like($run->{out}, qr/^remove  dump $first->{dump} of "shop"/m, 'a dry run tells what would go');
is(scalar(grep { $_->{state} eq 'ok' } @{ dumps() }), 4, 'and nothing goes');
is(Backup::dbops('expire', '--keep-last', 1, @store)->{status}, 0, 'expiry');
is(join(' ', sort map { "$_->{database}" . (@{ $_->{schemas} } ? "/@{ $_->{schemas} }" : '') } grep { $_->{state} eq 'ok' } @{ dumps() }), 'other shop shop/stock',
	'keeps the newest of each database, and of each selection');
is(scalar(grep { $_->{state} eq 'unfinished' } @{ dumps() }), 3, 'and what may be under way');
is(join(' ', Backup::objects($store, "dump/$first->{dump}")), '', 'nothing is left of the other');
is(Backup::dbops('verify', '--deep', @store)->{status}, 0, 'the rest is whole');
is(Backup::dbops('undump', '--database', 'shop', '--clean', '-d', $node->connstr('copy'), @store)->{status}, 0, 'the newest of a database');
is(Dbops::value($node, 'SELECT count(*) FROM stock.item', 'copy'), 100, 'is restored');

$node->stop;
done_testing();
