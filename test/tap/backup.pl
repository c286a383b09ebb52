# Backups under load into a directory and a real S3 server, encrypted and not; each restored with "dbops wal-get" alone, and
# what came back compared with the source: pg_dumpall, amcheck, pg_checksums.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Archive;
use Backup;
use Dbops;
use File::Temp ();
use Ledger;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $directory = File::Temp::tempdir(CLEANUP => 1);

sub fill
{
	my ($node, $space) = @_;
	$node->safe_psql('postgres', qq{
		CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL, note text);
		INSERT INTO account SELECT g, g % 100, md5(g::text) FROM generate_series(1, 30000) g;
		CREATE INDEX ON account (note);
		CREATE UNLOGGED TABLE fleeting (n int PRIMARY KEY);
		INSERT INTO fleeting SELECT generate_series(1, 1000);
		CREATE TABLE shrinking AS SELECT g AS n, repeat('x', 500) AS t FROM generate_series(1, 5000) g;
		CREATE TABLE empty (n int);
	});
	$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '$space'");
	$node->safe_psql('postgres', 'CREATE TABLE afar TABLESPACE elsewhere AS SELECT g AS n, md5(g::text) AS t FROM generate_series(1, 10000) g');
	$node->safe_psql('postgres', q{CREATE DATABASE shop});
	$node->safe_psql('shop', 'CREATE TABLE item AS SELECT generate_series(1, 100) AS n');
	return;
}

# Changes of the kind that file copies have to live with, while the backup runs.
sub change
{
	my ($node, $round) = @_;
	return "UPDATE account SET balance = balance + 1 WHERE id % 50 = $round % 50; VACUUM FULL shrinking;"
	  . "TRUNCATE empty; INSERT INTO empty SELECT generate_series(1, 500); DELETE FROM shrinking WHERE n % 7 = $round % 7;"
	  . "INSERT INTO afar SELECT g, 'r$round' FROM generate_series(1, 100) g;";
}

# The program that was written from docs/format.md alone gets the same files.
sub read_otherwise
{
	my ($name, $store, $label, %options) = @_;
	my ($identifier) = map { m{/(\d+)$} } glob "$store->{directory}/[0-9]*";
	my @keys = defined $options{key_file} ? ('--keys', $options{key_file}) : ();
	my ($other, $mine) = ("$directory/${name}_other", "$directory/${name}_mine");
	my $err = '';
	ok(IPC::Run::run([ '/usr/bin/python3', "$FindBin::RealBin/../format/backup_reader.py", @keys, $store->{directory}, $identifier, $label, $other ],
			'2>', \$err), "$name: the second reader") or diag $err;
	my $list = JSON::PP::decode_json(Backup::dbops('list', '--json', Backup::store_options($store, %options))->{out});
	my ($space) = map { @{ $_->{tablespaces} } } grep { $_->{label} eq $label } @$list;
	is(Backup::dbops('restore', '-D', $mine, '-b', $label, '--tablespace', "$space->{oid}=${mine}_space", Backup::store_options($store, %options))->{status},
		0, "$name: and dbops restore");
	unlink "$mine/pg_tblspc/$space->{oid}";
	rename "${mine}_space", "$mine/pg_tblspc/$space->{oid}" or die;
	my $out = '';
	IPC::Run::run([ 'diff', '-rq', $other, $mine ], '>', \$out);
	my @names = map { /^Only in .*: (.*)$/ ? $1 : m{^Files .*/([^/]+) differ$} ? $1 : $_ } split /\n/, $out;
	is(join(' ', sort @names),
		'pg_control postgresql.auto.conf recovery.signal tablespace_map', "$name: they write the same, but for what leads to recovery");
	return;
}

sub life
{
	my ($name, $store, %options) = @_;
	my $node = Archive::primary($name, $store, %options, init => [ '--data-checksums', @{ $options{init} // [] } ]);
	my $space = "$directory/${name}_space";
	mkdir $space or die;
	fill($node, $space);
	mkdir "$directory/$name" or die;
	# Few rows, so that what it adds between two backups is little, however long they take.
	my $ledger = Ledger->start($node, directory => "$directory/$name", filler => 1000, pause => 0.05);
	my $first = Backup::take($node, $store, %options, what => "$name: the first backup");
	is($first->{base}, '', "$name: compared with nothing");
	is($first->{damaged_blocks}, 0, "$name: no page is corrupt");
	$node->safe_psql('postgres', $_) for map { split /(?<=;)/, change($node, $_) } 1 .. 3;
	$node->safe_psql('postgres', q{CREATE DATABASE copied TEMPLATE shop STRATEGY file_copy});
	my $second = Backup::take($node, $store, %options, what => "$name: the second backup");
	is($second->{base}, $first->{label}, "$name: compared with the first");
	cmp_ok($second->{new_blocks}, '<', $first->{new_blocks} * 0.8, "$name: which has most of the blocks") or diag "$second->{new_blocks} of $first->{new_blocks}";
	$node->safe_psql('postgres', $_) for split /(?<=;)/, change($node, 4);
	$ledger->stop;
	$node->safe_psql('postgres', "INSERT INTO account VALUES (0, 0, 'the last one')");
	Archive::wait_durable($node);
	$node->safe_psql('postgres', 'TRUNCATE fleeting'); # as it will be
	my $dump = Archive::dump_of($node);
	my $list = JSON::PP::decode_json(Backup::dbops('list', '--json', Backup::store_options($store, %options))->{out});
	is_deeply([ map { "$_->{label} $_->{state}" } @$list ], [ "$first->{label} ok", "$second->{label} ok" ], "$name: the list");
	read_otherwise($name, $store, $second->{label}, %options) if $store->{directory};
	my $oid = Dbops::value($node, q{SELECT oid FROM pg_tablespace WHERE spcname = 'elsewhere'});
	Archive::destroy($node);

	for my $label ($second->{label}, $first->{label})
	{
		my $what = "${name}_" . ($label eq $first->{label} ? 'first' : 'second');
		my $copy = Backup::restored($what, $store, %options,
			arguments => [ '-b', $label, '--tablespace', "$oid=$directory/${what}_space" ]);
		is(Dbops::value($copy, 'SELECT note FROM account WHERE id = 0'), 'the last one', "$what: the last commit is back");
		is(Dbops::value($copy, 'SELECT count(*) FROM fleeting'), 0, "$what: an unlogged table is empty");
		is(Dbops::value($copy, 'SHOW archive_mode'), 'off', "$what: archiving is off");
		(my $expected = $dump) =~ s{\Q$space\E}{$directory/${what}_space}g;
		Archive::is_same_content($copy, $expected, "$what: the restored server equals the source");
		Archive::is_restored($copy, $ledger, $what);
		Backup::checksums_are_right($copy, "$what: pg_checksums");
		$copy->clean_node;
	}
	return;
}

life('plain', Archive::store('file'));
life('secret', Archive::store('file'), key_file => Archive::key_file('old', 'new'), init => ['--wal-segsize=1']);
SKIP:
{
	skip 'no radosgw: the S3 server is not installed', 1 unless Archive::has_s3();
	life('s3', Archive::store('s3'), key_file => Archive::key_file('only'));
}

done_testing();
