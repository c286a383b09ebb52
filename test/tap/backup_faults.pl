# What goes wrong: backups and restores that are killed, a server that is corrupt, directories that must not be touched,
# damage in the store, and WAL that is missing.
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

my $store = Archive::store('file');
my $node = Archive::primary('origin', $store, init => [ '--data-checksums', '--wal-segsize=1' ]);
$node->safe_psql('postgres', q{
	CREATE TABLE account (id int PRIMARY KEY, note text);
	INSERT INTO account SELECT g, repeat(md5(g::text), 10) FROM generate_series(1, 60000) g;
	CHECKPOINT;
});

# --- killed while it runs, and used by the next -----------------------------------------------------------------------
my $killed = IPC::Run::start([ $ENV{DBOPS_CLI}, 'backup', '-d', $node->connstr('postgres'), '--max-rate', '1MB', Backup::store_options($store) ],
	'<', \undef, '>', \my $killed_out, '2>', \my $killed_err);
for (1 .. 1800) { $killed->pump_nb; last if my @begun = Backup::objects($store, q{backup}); sleep 0.1; }
sleep 2;    # into the copying
$killed->kill_kill(grace => 0);
is(scalar(@{ JSON::PP::decode_json(Backup::dbops('list', '--json', Backup::store_options($store))->{out}) }), 1, 'a killed backup was begun');
my $first = Backup::take($node, $store, what => 'the backup after it');
my $list = JSON::PP::decode_json(Backup::dbops('list', '--json', Backup::store_options($store))->{out});
is(join(' ', map { $_->{state} } @$list), 'unfinished ok', 'the list tells them apart');
is(Dbops::value($node, 'SELECT pg_is_in_recovery()'), 'f', 'the server is as it was');

# --- directories ------------------------------------------------------------------------------------------------------
my $run = Backup::dbops('restore', '-D', $node->data_dir, '--delta', Backup::store_options($store));
is($run->{status}, 2, 'not into the directory of a running server');
like($run->{err}, qr/a server is running/, 'it says so');
is(Dbops::value($node, 'SELECT count(*) FROM account'), 60000, 'which is unharmed');
my $letters = File::Temp::tempdir(CLEANUP => 1);
append_to_file("$letters/letter.txt", 'dear');
is(Backup::dbops('restore', '-D', $letters, Backup::store_options($store))->{status}, 2, 'not into a directory with other things');
is(Backup::dbops('restore', '-D', $letters, '--delta', Backup::store_options($store))->{status}, 2, 'not with --delta either');
is(slurp_file("$letters/letter.txt"), 'dear', 'they are as they were');

# --- a restore that is killed -----------------------------------------------------------------------------------------
my $copy = PostgreSQL::Test::Cluster->new('killed_copy');
File::Path::make_path($copy->basedir);
{
	local @ENV{qw(LD_PRELOAD FAIL_BELOW FAIL_AT)} = (Dbops::fault_library('failing_files'), $copy->data_dir, 300);
	is(Backup::dbops('restore', '-D', $copy->data_dir, Backup::store_options($store))->{signal}, 9, 'a restore is killed');
}
ok(-e $copy->data_dir . '/dbops.restore' && !-e $copy->data_dir . '/global/pg_control', 'in the middle: there is no pg_control');
isnt(system('pg_ctl', '-s', '-w', '-t', '20', '-D', $copy->data_dir, '-l', $copy->logfile, 'start'), 0, 'and no server starts');
Archive::wait_durable($node);
my $dump = Archive::dump_of($node);
Backup::restore('killed_copy', $store, node => $copy);
$copy->start;
Archive::wait_promoted($copy);
Archive::is_same_content($copy, $dump, 'the same command goes on, and the result equals the source');

# --- delta: what has diverged is put right ------------------------------------------------------------------------------
$copy->safe_psql('postgres', q{DELETE FROM account WHERE id % 1000 = 7; CREATE TABLE stray (n int); CHECKPOINT});
$copy->stop;
# pg_wal on another disk, as it may be another server's in a copy of its data directory.
my $elsewhere = $copy->basedir . '/wal';
rename $copy->data_dir . '/pg_wal', $elsewhere or die;
symlink $elsewhere, $copy->data_dir . '/pg_wal' or die;
my @wal = sort map { s{.*/}{}r } glob "$elsewhere/*";
Backup::restore('killed_copy', $store, node => $copy, arguments => ['--delta']);
like($copy->{restore_messages}, qr/were there/, 'delta says what it kept');
ok(-d $copy->data_dir . '/pg_wal' && !-l $copy->data_dir . '/pg_wal', 'pg_wal is a directory');
is_deeply([ sort map { s{.*/}{}r } glob "$elsewhere/*" ], \@wal, 'what it was a link to stays as it was');
$copy->start;
Archive::wait_promoted($copy);
Archive::is_same_content($copy, $dump, 'after --delta it equals the source');
Archive::is_sound($copy, 'and is sound');
Backup::checksums_are_right($copy, 'and its checksums are right');
$copy->clean_node;

# --- to a point in time -------------------------------------------------------------------------------------------------
$node->safe_psql('postgres', q{CREATE TABLE step (n int); INSERT INTO step VALUES (1)});
sleep 0.2;
my $time = Dbops::value($node, 'SELECT clock_timestamp()');
sleep 0.2;
$node->safe_psql('postgres', q{INSERT INTO step VALUES (2); SELECT pg_switch_wal()});
Archive::wait_durable($node);
my $past = Backup::restored('past', $store, arguments => [ '--target-time', $time ]);
is(Dbops::value($past, 'SELECT max(n) FROM step'), 1, 'it ends at the time');
$past->stop;
$past->clean_node;
$run = Backup::dbops('restore', '-D', "$letters/new", '--target-time', '2001-01-01 00:00:00Z', Backup::store_options($store));
is($run->{status}, 2, 'a time before all backups is refused');
like($run->{err}, qr/reaches from/, 'saying from when on there is something');
ok(!-e "$letters/new", 'and nothing is made');

# --- a bar on a terminal ------------------------------------------------------------------------------------------------
{
	my $screen = '';
	local $ENV{TERM} = 'xterm';
	local $ENV{LC_ALL} = 'C';
	IPC::Run::run([ '/usr/bin/python3', '-c', 'import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))', $ENV{DBOPS_CLI}, 'backup',
			'-d', $node->connstr('postgres'), '--max-rate', '20MB', Backup::store_options($store) ], '<', \undef, '>', \$screen);
	is($? >> 8, 0, 'a backup on a terminal');
	like($screen, qr/\r\e\[K\[=*>? *\]  \d+ %, [\d.]+ .?B of about /, 'draws a bar');
}

# --- for another major version ------------------------------------------------------------------------------------------
my $major = $node->pg_version->major;
mkdir "$letters/bin" or die;
append_to_file("$letters/bin/postgres", qq{#!/bin/sh\necho "postgres (PostgreSQL) 99.1"\n});
chmod 0755, "$letters/bin/postgres";
$run = Backup::dbops('restore', '-D', "$letters/new", '--bindir', "$letters/bin", Backup::store_options($store));
is($run->{status}, 2, 'a server of another major version is refused');
like($run->{err}, qr/is of PostgreSQL \d+, and .* is 99/, 'it says so');
ok(!-e "$letters/new", 'and nothing is made');
my $packaged = -d "/usr/lib/postgresql/$major/bin";
SKIP:
{
	skip "no /usr/lib/postgresql/$major", 3 unless $packaged;
	local $ENV{PATH} = "$letters/bin:$ENV{PATH}";
	$run = Backup::dbops('restore', '-D', "$letters/new", Backup::store_options($store));
	is($run->{status}, 0, 'the one that is in PATH is not the one of the packages') or diag $run->{err};
	like($run->{err}, qr{start the server, PostgreSQL $major \(/usr/lib/postgresql/$major/bin/pg_ctl\)}, 'which is named');
	unlike($run->{err}, qr/WARNING: .*99/, 'and the other one is of no account');
	File::Path::remove_tree("$letters/new");
}
# Where there is no other one than that in PATH, and where there is none.
SKIP:
{
	my @hidden = grep { -d } '/usr/lib/postgresql', "/usr/pgsql-$major";
	my @alone = ('sh', '-c', join('', map { "mount -t tmpfs tmpfs $_ && " } @hidden) . 'PATH=$1; shift; exec "$@"', 'sh', "$letters/bin");
	unshift @alone, 'unshare', '-Urm' if @hidden;
	skip 'nothing can be mounted here', 1 if system(@alone, '/bin/true') != 0;
	my $alone = sub {
		my (@arguments) = @_;
		my ($out, $err) = ('', '');
		IPC::Run::run([ @alone, $ENV{DBOPS_CLI}, @arguments ], '<', \undef, '>', \$out, '2>', \$err);
		return { status => $? >> 8, out => $out, err => $err };
	};
	$run = $alone->('restore', '-D', "$letters/new", Backup::store_options($store));
	is($run->{status}, 2, 'the only server that is here is of another major version: refused');
	like($run->{err}, qr/is of PostgreSQL $major, and "postgres" is 99.*HINT: .*--accept-major/s, 'it says so');
	ok(!-e "$letters/new", 'and nothing is made');
	$run = $alone->('drill', '--scratch', $letters, Backup::store_options($store));
	is($run->{status}, 2, 'a drill is refused as well');
	like($run->{err}, qr/"postgres" is 99/, 'it says why');
	$run = $alone->('restore', '-D', "$letters/new", '--accept-major', Backup::store_options($store));
	is($run->{status}, 0, 'with --accept-major it is a warning') or diag $run->{err};
	like($run->{err}, qr/WARNING: .*99.*start the server, PostgreSQL $major \(there is none/s, 'which is said');
	File::Path::remove_tree("$letters/new");
	unlink "$letters/bin/postgres";
	$run = $alone->('restore', '-D', "$letters/new", Backup::store_options($store));
	is($run->{status}, 0, 'where there is no server at all') or diag $run->{err};
	like($run->{err}, qr/start the server, PostgreSQL $major \(there is none of that version here\)/, 'it says which is needed');
	File::Path::remove_tree("$letters/new");
	$run = $alone->('drill', '--scratch', $letters, Backup::store_options($store));
	is($run->{status}, 2, 'a drill needs one');
	like($run->{err}, qr/"postgres" cannot be run.*HINT: .*PostgreSQL $major/s, 'and says so before it fetches anything');
}

# --- pg_wal on a file system of its own ---------------------------------------------------------------------------------
SKIP:
{
	my $in = sub {
		my ($size, @command) = @_;
		my ($out, $err) = ('', '');
		IPC::Run::run([ 'unshare', '-Urm', 'sh', '-c', 'mount -t tmpfs -o size=$2 tmpfs "$1" && shift 2 && exec "$@"', 'sh', "$letters/new/pg_wal", $size, @command ],
			'<', \undef, '>', \$out, '2>', \$err);
		return { status => $? >> 8, out => $out, err => $err };
	};
	is(Backup::dbops('restore', '-D', "$letters/new", Backup::store_options($store))->{status}, 0, 'a restore');
	skip 'nothing can be mounted here', 4 if $in->('1m', '/bin/true')->{status} != 0;
	my @again = ($ENV{DBOPS_CLI}, 'restore', '--delta', '-D', "$letters/new", Backup::store_options($store));
	$run = $in->('2m', @again);
	is($run->{status}, 2, 'there is to be space for WAL where pg_wal is');
	like($run->{err}, qr{"\Q$letters\E/new/pg_wal" has \d+ bytes free}, 'it says where');
	is($in->('2m', @again, '--no-space-check')->{status}, 0, 'unless it is told not to look');
	$run = $in->('8m', @again);
	is($run->{status}, 0, 'with more space there it goes on') or diag $run->{err};
}
File::Path::remove_tree("$letters/new");

# --- a corrupt page in the server -----------------------------------------------------------------------------------------
my $path = Dbops::value($node, q{SELECT pg_relation_filepath('account')});
$node->stop;
open my $file, '+<', $node->data_dir . "/$path" or die;
seek $file, 8192 * 11 + 4000, 0;
print $file 'XXXXXXXX';
close $file;
$node->start;
my $corrupt = Backup::take($node, $store, status => 1, what => 'a backup of a corrupt server ends with 1');
is($corrupt->{damaged_blocks}, 1, 'one page is wrong');
like($corrupt->{messages}, qr/relation public\.account of database postgres, "\Q$path\E", fork main, block 11/, 'it is named');

# --- damage in the store ------------------------------------------------------------------------------------------------
my $verify = Backup::dbops('verify', '--deep', Backup::store_options($store));
is($verify->{status}, 0, 'the store is whole') or diag $verify->{out} . $verify->{err};
# Where the table lies in the packs depends on which thread came to what first.
my @places = map { my $pack = $_; map { [ $pack, $_ ] } 0.5, 0.75, 0.25, 0.9, 0.1 } sort { -s $b <=> -s $a } Backup::objects($store, 'pack');
my $place = shift @places;
sub change_pack
{
	my ($what) = @_;
	my ($pack, $where) = @$place;
	chmod 0600, $pack;
	open my $file, '+<:raw', $pack or die "$pack: $!";
	seek $file, int((-s $pack) * $where), 0;
	read $file, my $before, length $what;
	seek $file, int((-s $pack) * $where), 0;
	print $file $what;
	close $file;
	return $before;
}
my $content = change_pack('DAMAGE');
is(Backup::dbops('verify', Backup::store_options($store))->{status}, 0, 'which is not seen by looking at sizes');
$verify = Backup::dbops('verify', '--deep', Backup::store_options($store));
is($verify->{status}, 1, 'but by reading');
while (@places && $verify->{out} !~ /relation public\.account/)
{
	change_pack($content);
	$place = shift @places;
	$content = change_pack('DAMAGE');
	$verify = Backup::dbops('verify', '--deep', Backup::store_options($store));
}
like($verify->{out}, qr/$first->{label}: relation public\.account(_pkey)? of database postgres, ".*", fork \w+, block \d+/, 'what it means is named');
Backup::restore('damaged', $store, status => 2, arguments => [ '-b', $first->{label} ]);
my $mended = Backup::take($node, $store, status => 1, what => 'the next backup');
cmp_ok($mended->{new_blocks}, '>', 0, 'stores again what was damaged');
is(Backup::dbops('verify', '--deep', '-b', $mended->{label}, Backup::store_options($store))->{status}, 0, 'and is whole');

# --- expiry -----------------------------------------------------------------------------------------------------------------
is(Backup::dbops('expire', Backup::store_options($store))->{status}, 2, 'without a rule nothing expires');
my $dry = Backup::dbops('expire', '--keep-last', 1, '--dry-run', Backup::store_options($store));
is($dry->{status}, 0, 'a dry run');
like($dry->{out}, qr/remove  $first->{label}/, 'it tells what would go');
like($dry->{out}, qr/keep    $mended->{label}  newest, last 1/, 'and why what stays does');
is(scalar(@{ JSON::PP::decode_json(Backup::dbops('list', '--json', Backup::store_options($store))->{out}) }), 5, 'nothing has gone');
is(Backup::dbops('pin', $first->{label}, '--reason', 'to look at', Backup::store_options($store))->{status}, 0, 'pin');
is(Backup::dbops('pin', '20010101T000000Z', Backup::store_options($store))->{status}, 2, 'not what is not there');
is(Backup::dbops('expire', '--keep-last', 1, Backup::store_options($store))->{status}, 0, 'expiry');
is(join(' ', map { "$_->{label} $_->{pinned}" } @{ JSON::PP::decode_json(Backup::dbops('list', '--json', Backup::store_options($store))->{out}) }),
	"$first->{label} 1 $mended->{label} 0", 'leaves what is pinned');
is(Backup::dbops('unpin', $first->{label}, Backup::store_options($store))->{status}, 0, 'unpin');
is(Backup::dbops('expire', '--keep-last', 1, Backup::store_options($store))->{status}, 0, 'and again');
is(join(' ', map { $_->{label} } @{ JSON::PP::decode_json(Backup::dbops('list', '--json', Backup::store_options($store))->{out}) }),
	$mended->{label}, 'one backup is left');
is(Backup::dbops('verify', '--deep', Backup::store_options($store))->{status}, 0, 'with all that it needs');
my $last = Backup::restored('last', $store);
is(Dbops::value($last, 'SELECT max(n) FROM step'), 2, 'and it restores');

$last->stop;
$last->clean_node;

# --- a drill ----------------------------------------------------------------------------------------------------------------
Backup::take($node, $store, status => 1, what => 'a backup for the drill');
append_to_file("$letters/check.sql", 'SELECT 1 / count(*) FROM step');
my @drill = ('drill', '--json', '--role', Dbops::value($node, 'SELECT current_user'), '--scratch', $letters, Backup::store_options($store));
my $evidence = () = Backup::objects($store, 'drill');
my $drill = Backup::dbops(@drill, '--target-time', Dbops::value($node, 'SELECT clock_timestamp()'), '-b', $first->{label});
is($drill->{status}, 2, 'a drill of a backup that is not there fails');
$drill = Backup::dbops(@drill, '--check-sql', "$letters/check.sql");
is($drill->{status}, 2, 'a drill finds the corrupt page');
like($drill->{err}, qr/amcheck/, 'by pg_amcheck');
is(join(' ', glob "$letters/dbops-drill-*"), '', 'and leaves nothing behind');
is(scalar(my @evidence = Backup::objects($store, 'drill')) - $evidence, 2, 'but evidence');
my $sane_store = Archive::store('file');
my $sane = Archive::primary('sane', $sane_store);
$sane->safe_psql('postgres', 'CREATE TABLE step (n int); INSERT INTO step VALUES (1)');
Backup::take($sane, $sane_store);
@drill = ('drill', '--json', '--role', Dbops::value($sane, 'SELECT current_user'), '--scratch', $letters, Backup::store_options($sane_store));
$drill = Backup::dbops(@drill, '--check-sql', "$letters/check.sql");
is($drill->{status}, 0, 'a drill of a server that is well') or diag $drill->{err};
my $result = JSON::PP::decode_json($drill->{out});
ok($result->{succeeded} && $result->{rto_seconds} > 0, 'says how long it took');
is(join(' ', sort keys %{ $result->{phases} }), 'amcheck checks fetch open replay visibility', 'in each phase');
$sane->safe_psql('postgres', 'DELETE FROM step');
Archive::wait_durable($sane);
is(Backup::dbops(@drill, '--check-sql', "$letters/check.sql")->{status}, 2, 'a check that fails is a drill that fails');

done_testing();
