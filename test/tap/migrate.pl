# dbops migrate, info, validate, undo, repair, baseline: on a real server, with real files.
use strict;
use warnings;
use IPC::Run ();
use JSON::PP qw(decode_json);
use PostgreSQL::Test::Utils;
use Test::More;
use Dbops;

my $node = Dbops::node('migrate');
my $place = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('postgres', 'CREATE ROLE ann LOGIN; CREATE ROLE bob LOGIN; CREATE DATABASE shop OWNER ann');
Dbops::create_extension($node, 'shop');
$node->safe_psql('shop', 'GRANT ALL ON SCHEMA public TO ann, bob');

# Files of a directory, by name.
sub directory { my ($name, %files) = @_; return Dbops::directory("$place/$name", %files); }

sub write_file
{
	my ($path, $text) = @_;
	open my $handle, '>:raw', $path or die "$path: $!";
	print $handle $text;
	close $handle;
	return;
}

# Status, standard output, standard error of dbops as a role, ann by default.
sub dbops_as
{
	my ($role, @arguments) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ $ENV{DBOPS_CLI}, '--dbname', $node->connstr('shop') . " user=$role", @arguments ], '<', \undef, '>', \$out, '2>', \$err,
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return ($? >> 8, $out, $err);
}
sub dbops { return dbops_as('ann', @_); }
sub value { return $node->safe_psql('shop', $_[0]); }
sub history { return value("SELECT string_agg(coalesce(version, description) || ' ' || type || ' ' || success, ', ' ORDER BY installed_rank) FROM dbops.migration_history WHERE project = '$_[0]'"); }

# --- the plain case ---------------------------------------------------------------------------------------------------
my $dir = directory('plain',
	'V1__Create_users.sql' => "CREATE TABLE users (id int PRIMARY KEY, name text);\n-- a comment; with a semicolon\nINSERT INTO users VALUES (1, 'a;b'), (2, \$\$x;y\$\$);\n",
	'V2__Copy.sql' => "COPY users (id, name) FROM stdin;\n3\tthree\n4\t\\N\n\\.\nCOPY users FROM STDIN WITH (FORMAT csv) WHERE id > 5;\n5,five\n6,\"six;\n\"\n\\.\n",
	'V10__Function.sql' => "BEGIN;\nCREATE FUNCTION one() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; END;\nDO \$\$BEGIN RAISE NOTICE 'hello'; END\$\$;\nCOMMIT;\n",
	'V9.1__Settings.sql' => "SET search_path = pg_catalog;\nCREATE TABLE public.t (x int);\n",
	'R__View.sql' => "CREATE OR REPLACE VIEW names AS SELECT name FROM users;\n",
	'U10__Function.sql' => 'DROP FUNCTION one();',
	'README.md' => 'not a migration');
my ($status, $out, $err) = dbops('migrate', '--dir', $dir, '--dry-run');
is($status, 0, 'dry run') or diag $err;
is(join(' ', $out =~ /^-- .*\/(\w[\w.]*)\.sql$/mg), 'V1__Create_users V2__Copy V9.1__Settings V10__Function R__View', 'dry run prints the files in order');
is(value('SELECT count(*) FROM dbops.migration_history'), 0, 'and does nothing');
($status, $out, $err) = dbops('migrate', '--dir', $dir, '--json');
is($status, 0, 'migrate') or diag $out . $err;
my $json = decode_json($out);
is($json->{migrationsExecuted}, 5, 'five are applied');
is($json->{targetSchemaVersion}, '10', 'up to 10');
is($json->{migrations}[1]{filepath}, "$dir/V2__Copy.sql", 'JSON names the file');
is(history('default'), '1 SQL true, 2 SQL true, 9.1 SQL true, 10 SQL true, View SQL true', 'the history has them in order');
is(value("SELECT string_agg(id || coalesce(name, '-'), ',' ORDER BY id) FROM users"), "1a;b,2x;y,3three,4-,6six;\n", 'the data are there, from COPY too');
is(value('SELECT one()'), 1, 'the function is there');
is(value("SELECT messages FROM dbops.migration_history WHERE version = '10'"), '{"NOTICE: hello"}', 'what the server said is kept');
is(value("SELECT installed_by || ' ' || application || ' ' || statements FROM dbops.migration_history WHERE version = '1'"), 'ann migrate.pl 2', 'who, with what, how many statements');
is(value("SELECT tableowner FROM pg_tables WHERE tablename = 'users'"), 'ann', 'tables belong to the caller');
is(value("SELECT checksum FROM dbops.migration_history WHERE version = '1'"), `python3 -c "import zlib; c=zlib.crc32(open('$dir/V1__Create_users.sql').read().replace('\\n','').encode()); print(c-(c>>31<<32))"` =~ s/\n//r, 'the checksum is the one of Flyway');
($status, $out, $err) = dbops('migrate', '--dir', $dir);
is($status . $out, '0', 'the same again does nothing');
like($err, qr/nothing to do/, 'and says so');
($status, $out, $err) = dbops('validate', '--dir', $dir);
is($status, 0, 'validate') or diag $err;
($status, $out) = dbops('info', '--dir', $dir, '--json');
is(join(',', map { "$_->{version}:$_->{state}" } @{ decode_json($out)->{migrations} }), '1:Success,2:Success,9.1:Success,10:Success,:Success,10:Available', 'info');
($status, $out) = dbops('info', '--dir', $dir);
like($out, qr/Versioned +9\.1 +Settings +SQL .* ann +\d+ +Success/, 'info for people');

# --- repeatable, placeholders, undo ------------------------------------------------------------------------------------
write_file("$dir/R__View.sql", "CREATE OR REPLACE VIEW names AS SELECT name FROM users WHERE name <> '\${word}';\n");
($status, $out, $err) = dbops('migrate', '--dir', $dir);
is($status, 2, 'a placeholder without a value is an error');
like($err, qr/R__View\.sql: line 1, column 71: no value for the placeholder \$\{word\}/, 'that says where');
($status, $out, $err) = dbops('migrate', '--dir', $dir, '--placeholder', 'WORD=secret');
is($status, 0, 'a changed repeatable migration is applied again') or diag $err;
like(value("SELECT pg_get_viewdef('names')"), qr/secret/, 'with the value');
is(value("SELECT count(*), count(*) FILTER (WHERE live) FROM dbops.migration_history WHERE description = 'View'"), '2|1', 'as another row');
($status, $out, $err) = dbops('undo', '--dir', $dir, '--placeholder', 'word=secret');
is($status, 0, 'undo') or diag $err;
is($node->psql('shop', 'SELECT one()'), 3, 'the function is gone');
($status, $out) = dbops('info', '--dir', $dir, '--json', '--placeholder', 'word=secret');
like(join(',', map { "$_->{version}:$_->{state}" } @{ decode_json($out)->{migrations} }), qr/10:Undone,.*10:Pending/, 'info says undone and pending');
($status, $out, $err) = dbops('undo', '--dir', $dir, '--placeholder', 'word=secret');
is($status, 2, 'without a file there is no undo');
like($err, qr/no undo migration for version 9\.1/, 'and it says so');
($status, $out, $err) = dbops('migrate', '--dir', $dir, '--placeholder', 'word=secret');
is($status . value('SELECT one()'), '01', 'migrate brings it back') or diag $err;

# --- refusals: nothing is changed ------------------------------------------------------------------------------------------
my %bad = (
	syntax => [ { 'V1__a.sql' => "CREATE TABLE bad1 (x int);\nSELECT 1;\n  SELEC 2;\n" }, 1, qr/V1__a\.sql:3:3: ERROR 42601: .*syntax error at or near "SELEC"/ ],
	run_time => [ { 'V1__a.sql' => "CREATE TABLE bad2 (x int);\nINSERT INTO bad2\n VALUES (1/0);" }, 1, qr/V1__a\.sql:2:1: ERROR 22012: division by zero/ ],
	name => [ { 'V1__a.sql' => "CREATE TABLE bad3 (x int);\nSELECT nope FROM bad3;" }, 1, qr/V1__a\.sql:2:8: ERROR 42703/ ],
	deferred => [ { 'V1__a.sql' => "CREATE TABLE bad4 (x int UNIQUE DEFERRABLE INITIALLY DEFERRED); INSERT INTO bad4 VALUES (1), (1);" }, 1, qr/ERROR 23505/ ],
	psql => [ { 'V1__a.sql' => "CREATE TABLE bad5 (x int);\n  \\connect other\n" }, 1, qr/V1__a\.sql:2:3: ERROR 42601: a backslash command/ ],
	savepoint => [ { 'V1__a.sql' => 'SELECT 1; SAVEPOINT a; SELECT 2;' }, 1, qr/V1__a\.sql:1:11: ERROR 0A000: SAVEPOINT in a migration/ ],
	half => [ { 'V1__a.sql' => 'BEGIN; CREATE TABLE bad6 (x int);' }, 1, qr/begins a transaction and does not end it/ ],
	utf8 => [ { 'V1__a.sql' => "CREATE TABLE bad7 (x int);\n-- \xe4\n" }, 2, qr/V1__a\.sql: line 2, column 4: byte 0xe4 is not UTF-8/ ],
	utf16 => [ { 'V1__a.sql' => "\xff\xfeC\0" }, 2, qr/is in UTF-16/ ],
	nul => [ { 'V1__a.sql' => "SELECT 1;\0" }, 2, qr/byte 0x00/ ],
	duplicate => [ { 'V1__a.sql' => '', 'V1.0__b.sql' => '' }, 2, qr/more than one file for version 1/ ],
	copy_end => [ { 'V1__a.sql' => "CREATE TABLE bad8 (x int); COPY bad8 FROM stdin;\n1\n" }, 1, qr/has no line \\\. at its end/ ],
	copy_row => [ { 'V1__a.sql' => "CREATE TABLE bad9 (x int);\nCOPY bad9 FROM stdin;\n1\nx\n\\.\n" }, 1, qr/V1__a\.sql:2:1: ERROR 22P02/ ],
);
for my $name (sort keys %bad)
{
	my ($files, $expected, $message) = @{ $bad{$name} };
	($status, $out, $err) = dbops('migrate', '--dir', directory("bad_$name", %$files), '--project', "bad_$name");
	is($status, $expected, "$name: exit status");
	like($err, $message, "$name: message");
	is(history("bad_$name"), '', "$name: no history");
}
is(value("SELECT count(*) FROM pg_class WHERE relname LIKE 'bad%'"), 0, 'none of them left a table');
is(value("SELECT sqlstate || ' ' || line || ' ' || \"column\" || ' ' || outcome || ' ' || role FROM dbops.migration_attempts WHERE project = 'bad_name'"), '42703 2 8 failed ann', 'the attempt is recorded');
($status, $out, $err) = dbops('migrate', '--dir', "$place/nowhere");
is($status, 2, 'no directory');
directory('bad_naming', 'Vacation.sql' => 'SELECT 1');
($status, $out, $err) = dbops('migrate', '--dir', "$place/bad_naming", '--validate-naming', '--project', 'naming');
like("$status $err", qr/^2 .*Vacation\.sql what stands between prefix and separator is not a version/, 'bad name, when asked for');

# --- what changes with the bytes of a file -----------------------------------------------------------------------------------
my $crlf = directory('crlf', 'V1__a.sql' => "\xef\xbb\xbfCREATE TABLE crlf (x text);\r\nINSERT INTO crlf VALUES ('a');\r\n", 'V2__empty.sql' => '', 'V3__comment.sql' => "-- nothing\n");
($status, $out, $err) = dbops('migrate', '--dir', $crlf, '--project', 'crlf');
is($status . history('crlf'), '01 SQL true, 2 SQL true, 3 SQL true', 'byte order mark, CRLF, empty file, comments alone') or diag $err;
write_file("$crlf/V1__a.sql", "CREATE TABLE crlf (x text);\nINSERT INTO crlf VALUES ('a');\n");
is((dbops('validate', '--dir', $crlf, '--project', 'crlf'))[0], 0, 'the same with other line endings');
write_file("$crlf/V1__a.sql", "CREATE TABLE crlf (x text); \nINSERT INTO crlf VALUES ('a');\n");
($status, $out, $err) = dbops('migrate', '--dir', $crlf, '--project', 'crlf');
like("$status $err", qr/^1 .*checksum of version 1 differs/, 'an edited file is refused');
($status, $out, $err) = dbops('repair', '--dir', $crlf, '--project', 'crlf');
like($out, qr/V1__a\.sql: aligned/, 'repair takes it over');
is((dbops('validate', '--dir', $crlf, '--project', 'crlf'))[0], 0, 'now it is valid');
unlink "$crlf/V2__empty.sql";
($status, $out, $err) = dbops('migrate', '--dir', $crlf, '--project', 'crlf');
like("$status $err", qr/^1 .*not among the files: version 2/, 'a missing file is refused');
is((dbops('migrate', '--dir', $crlf, '--project', 'crlf', '--ignore', '*:missing'))[0], 0, 'unless ignored');
dbops('repair', '--dir', $crlf, '--project', 'crlf');
is((dbops('validate', '--dir', $crlf, '--project', 'crlf'))[0], 0, 'or repaired');
write_file("$crlf/V2.5__late.sql", 'CREATE TABLE late (x int)');
($status, $out, $err) = dbops('migrate', '--dir', $crlf, '--project', 'crlf');
like("$status $err", qr/^1 .*not applied, and earlier than what is: version 2\.5/, 'out of order is refused');
is((dbops('migrate', '--dir', $crlf, '--project', 'crlf', '--out-of-order'))[0], 0, 'unless allowed');

# A file of 50 MB.
my $big = directory('big');
{
	open my $handle, '>', "$big/V1__big.sql" or die $!;
	print $handle "CREATE TABLE big (id int, filler text);\nCOPY big FROM stdin;\n";
	print $handle "$_\t" . ('x' x 100) . "\n" for 1 .. 480_000;
	print $handle "\\.\n";
	close $handle;
}
cmp_ok(-s "$big/V1__big.sql", '>', 50_000_000, '50 MB');
($status, $out, $err) = dbops('migrate', '--dir', $big, '--project', 'big');
is($status . value('SELECT count(*) FROM big'), '0480000', 'a file of 50 MB') or diag $err;

# --- baseline, target, callbacks -----------------------------------------------------------------------------------------------
my $steps = directory('steps', map { ("V${_}__x.sql" => "CREATE TABLE step$_ (x int)") } 1 .. 4);
($status, $out, $err) = dbops('baseline', '--baseline-version', '2', '--project', 'steps');
is($status, 0, 'baseline') or diag $err;
is((dbops('baseline', '--baseline-version', '2', '--project', 'steps'))[0], 0, 'the same again');
like((dbops('baseline', '--baseline-version', '3', '--project', 'steps'))[2], qr/another baseline/, 'another one is refused');
is((dbops('migrate', '--dir', $steps, '--project', 'steps', '--target', '3'))[0], 0, 'migrate to a target');
is(history('steps'), '2 BASELINE true, 3 SQL true', 'only what is between');

# The words of Flyway, and a version that is missing.
write_file("$steps/R__r.sql", 'CREATE TABLE IF NOT EXISTS step_r ()');
write_file("$steps/V${_}__x.sql", "CREATE TABLE step$_ (x int)") for 5, 7;
is((dbops('migrate', '--dir', $steps, '--project', 'steps', '--target', 'current'))[0], 0, 'migrate to the current version');
is(history('steps'), '2 BASELINE true, 3 SQL true, r SQL true', 'applies what is repeatable alone');
is((dbops('migrate', '--dir', $steps, '--project', 'steps', '--target', 'next'))[0], 0, 'migrate to the next version');
is(history('steps'), '2 BASELINE true, 3 SQL true, r SQL true, 4 SQL true', 'applies that one');
like(join(' ', (dbops('migrate', '--dir', $steps, '--project', 'steps', '--target', '6'))[ 0, 2 ]), qr/^2 .*no migration has the version 6/, 'a version that no migration has');
is((dbops('migrate', '--dir', $steps, '--project', 'steps', '--target', '6?'))[0], 0, 'that may be missing');
is(history('steps'), '2 BASELINE true, 3 SQL true, r SQL true, 4 SQL true, 5 SQL true', 'goes up to it');
like(join(' ', (dbops('migrate', '--dir', $steps, '--project', 'steps', '--target', 'newest'))[ 0, 2 ]), qr/^2 .*not a version, nor latest, current or next/, 'another word');
is((dbops('migrate', '--dir', $steps, '--project', 'steps', '--target', 'LATEST'))[0], 0, 'migrate to the latest version');
is(history('steps'), '2 BASELINE true, 3 SQL true, r SQL true, 4 SQL true, 5 SQL true, 7 SQL true', 'applies the rest');
write_file("$steps/U${_}__x.sql", "DROP TABLE step$_") for 5, 7;
like(join(' ', (dbops('undo', '--dir', $steps, '--project', 'steps', '--target', '6'))[ 0, 2 ]), qr/^2 .*no migration has the version 6/, 'undo to a version that no migration has');
is((dbops('undo', '--dir', $steps, '--project', 'steps', '--target', 'current'))[0], 0, 'undo to the current version');
is(value("SELECT to_regclass('step7') IS NULL AND to_regclass('step5') IS NOT NULL"), 't', 'takes the highest back');
is((dbops('undo', '--dir', $steps, '--project', 'steps', '--target', '4.5?'))[0], 0, 'undo to a version that may be missing');
is(value("SELECT to_regclass('step5') IS NULL AND to_regclass('step4') IS NOT NULL"), 't', 'goes down to it, not beyond');

my $callbacks = directory('callbacks', 'V1__x.sql' => "INSERT INTO log VALUES ('1')", 'V2__x.sql' => "INSERT INTO log VALUES ('2')",
	'R__r.sql' => "INSERT INTO log VALUES ('r')", 'beforeMigrate.sql' => 'CREATE TABLE IF NOT EXISTS log (what text, n serial)',
	(map { ("${_}__x.sql" => "INSERT INTO log VALUES ('$_')") } qw(beforeEachMigrate afterEachMigrate afterVersioned beforeRepeatables afterMigrate afterMigrateApplied)));
is((dbops('migrate', '--dir', $callbacks, '--project', 'callbacks'))[0], 0, 'callbacks');
is(value("SELECT string_agg(what, ' ' ORDER BY n) FROM log"), 'beforeEachMigrate 1 afterEachMigrate beforeEachMigrate 2 afterEachMigrate afterVersioned beforeRepeatables beforeEachMigrate r afterEachMigrate afterMigrateApplied afterMigrate', 'in their order');
is(history('callbacks'), '1 SQL true, 2 SQL true, r SQL true', 'they are not in the history');
my $with_b = directory('with_b', 'V1__x.sql' => 'SELECT 1/0', 'V2__x.sql' => 'SELECT 1/0', 'B2__all.sql' => 'CREATE TABLE from_b (x int)', 'V3__x.sql' => 'CREATE TABLE after_b (x int)');
($status, $out, $err) = dbops('migrate', '--dir', $with_b, '--project', 'with_b');
is($status, 0, 'a baseline migration') or diag "$out$err";
is(history('with_b'), '2 SQL_BASELINE true, 3 SQL true', 'stands for those before it');

# --- statements that cannot be in a transaction ------------------------------------------------------------------------------------
my $mixed = directory('mixed',
	'V1__mixed.sql' => "CREATE TABLE mixed (a int, b int);\nINSERT INTO mixed SELECT i, i % 5 FROM generate_series(1, 1000) i;\nCREATE INDEX CONCURRENTLY mixed_a ON mixed (a);\n"
	  . "REINDEX (CONCURRENTLY) INDEX mixed_a;\nVACUUM (ANALYZE) mixed;\nCREATE UNIQUE INDEX CONCURRENTLY mixed_b ON mixed (b);\nCREATE TABLE after_mixed (x int);\n");
($status, $out, $err) = dbops('migrate', '--dir', $mixed, '--project', 'mixed');
like("$status $err", qr/^1 .*V1__mixed\.sql:6:1: ERROR 23505/, 'the third of them fails');
is(history('mixed'), '1 SQL false', 'the migration is applied in part');
is(value("SELECT string_agg(statement_number || state, ',' ORDER BY statement_number) FROM dbops.migration_steps WHERE project = 'mixed'"), '1done,2done,3done,4done,5done,6failed', 'each statement is recorded');
is(value("SELECT string_agg(relname || i.indisvalid, ',' ORDER BY 1) FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid WHERE relname LIKE 'mixed%'"), 'mixed_atrue,mixed_bfalse', 'there is an INVALID index');
like((dbops('info', '--dir', $mixed, '--project', 'mixed'))[1], qr/Failed/, 'info says Failed');
$node->safe_psql('shop', 'DROP INDEX mixed_b; UPDATE mixed SET b = a');
$node->psql('shop', 'INSERT INTO mixed VALUES (2000, 1)');
($status, $out, $err) = dbops('migrate', '--dir', $mixed, '--project', 'mixed');
is($status, 1, 'still a duplicate');
$node->safe_psql('shop', 'UPDATE mixed SET b = a');
($status, $out, $err) = dbops('migrate', '--dir', $mixed, '--project', 'mixed');
is($status, 0, 'the next try goes on, over the INVALID index') or diag $err;
is(history('mixed'), '1 SQL true', 'and ends it');
is(value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'mixed_b'::regclass"), 't', 'the index is valid');
is(value("SELECT count(*) FROM pg_index WHERE NOT indisvalid"), 0, 'no INVALID index is left');

# What its first statements have made is there when the next try is linted.
$node->safe_psql('shop', 'CREATE TABLE linted (a int); INSERT INTO linted VALUES (1), (1); ALTER TABLE linted OWNER TO ann');
my $linted = directory('linted', 'V1__x.sql' => "ALTER TABLE linted ADD COLUMN b int DEFAULT 5;\nCREATE UNIQUE INDEX CONCURRENTLY linted_a ON linted (a);\n");
($status, $out, $err) = dbops('migrate', '--dir', $linted, '--project', 'linted');
like("$status $err", qr/^1 .*V1__x\.sql:2:1: ERROR 23505/s, 'its second statement fails');
$node->safe_psql('shop', 'DELETE FROM linted WHERE ctid = (SELECT min(ctid) FROM linted)');
($status, $out, $err) = dbops('migrate', '--dir', $linted, '--project', 'linted');
is($status . history('linted'), '01 SQL true', 'the next try goes on behind the first one') or diag $err;

# REINDEX and CLUSTER of what is partitioned: known by the catalog; tables of the migration itself included.
sub files_of { return value("SELECT string_agg(pg_relation_filenode(relid)::text, ' ' ORDER BY relid::text) FROM pg_partition_tree('$_[0]') WHERE isleaf"); }
$node->safe_psql('shop', 'CREATE TABLE parted (a int, b int) PARTITION BY RANGE (a); CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10); CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20);
	CREATE INDEX parted_b ON parted (b); INSERT INTO parted SELECT i % 20, -i FROM generate_series(1, 100) i; ALTER TABLE parted OWNER TO ann; ALTER TABLE parted_1 OWNER TO ann; ALTER TABLE parted_2 OWNER TO ann');
my ($tables_before, $indexes_before) = (files_of('parted'), files_of('parted_b'));
my $parted = directory('parted', 'V1__reindex.sql' => "INSERT INTO parted VALUES (1, 1);\nREINDEX TABLE parted;\nREINDEX INDEX parted_b;\nINSERT INTO parted VALUES (1, 2);\n",
	'V2__cluster.sql' => "CLUSTER parted USING parted_b;\nVACUUM parted;\nSELECT 1/0;\n");
($status, $out, $err) = dbops('migrate', '--dir', $parted, '--project', 'parted', '--no-lint');
like("$status $err", qr/^1 .*V2__cluster\.sql:3:1: ERROR 22012/, 'REINDEX and CLUSTER of a partitioned table run') or diag $out;
is(history('parted'), '1 SQL true, 2 SQL false', 'statement by statement');
is(value("SELECT string_agg(statement_number || state, ',' ORDER BY statement_number) FROM dbops.migration_steps WHERE project = 'parted' AND script = 'V2__cluster.sql'"), '1done,2done', 'with a record of each');
isnt(files_of('parted'), $tables_before, 'the tables are written anew');
isnt(files_of('parted_b'), $indexes_before, 'the indexes too');
is(value('SELECT count(*) FROM parted WHERE b > 0'), 2, 'what is around them took effect once');
($tables_before, $indexes_before) = (files_of('parted'), files_of('parted_b'));
write_file("$parted/V2__cluster.sql", "CLUSTER parted USING parted_b;\nVACUUM parted;\nSELECT 1;\n");
is((dbops('migrate', '--dir', $parted, '--project', 'parted', '--no-lint'))[0], 0, 'the next run goes on behind them');
is(files_of('parted'), $tables_before, 'and does not cluster again');
my $own_parted = directory('own_parted', 'V1__x.sql' => "CREATE TABLE own_parted (a int) PARTITION BY RANGE (a);\nCREATE TABLE own_parted_1 PARTITION OF own_parted FOR VALUES FROM (0) TO (10);\nINSERT INTO own_parted VALUES (1);\n"
	  . "CREATE INDEX own_parted_a ON own_parted (a);\nREINDEX INDEX own_parted_a;\nINSERT INTO own_parted VALUES (2);\nREINDEX (VERBOSE) TABLE own_parted;\nCREATE TABLE own_plain (a int PRIMARY KEY);\nREINDEX TABLE own_plain;\n");
($status, $out, $err) = dbops('migrate', '--dir', $own_parted, '--project', 'own_parted', '--no-lint');
is($status, 0, 'tables that the migration itself has made') or diag $err;
is(value('SELECT count(*) FROM own_parted'), 2, 'take effect once');
is(value("SELECT string_agg(statement_number || state, ',' ORDER BY statement_number) FROM dbops.migration_steps WHERE project = 'own_parted'"), join(',', map { "${_}done" } 1 .. 9), 'statement by statement');
like((dbops('migrate', '--dir', directory('parted_callback', 'beforeMigrate__x.sql' => 'REINDEX TABLE parted'), '--project', 'parted_callback'))[2], qr/cannot be in a transaction/, 'not in a callback');

# IF NOT EXISTS over an INVALID index of somebody else.
$node->safe_psql('shop', 'CREATE TABLE leftover (a int); INSERT INTO leftover VALUES (1), (1); ALTER TABLE leftover OWNER TO ann');
$node->psql('shop', 'CREATE UNIQUE INDEX CONCURRENTLY leftover_a ON leftover (a)');
$node->safe_psql('shop', 'UPDATE leftover SET a = 2 WHERE ctid = (SELECT max(ctid) FROM leftover)');
is((dbops('migrate', '--dir', directory('leftover', 'V1__x.sql' => 'CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS leftover_a ON leftover (a)'), '--project', 'leftover'))[0], 0, 'IF NOT EXISTS over an INVALID index');
is(value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'leftover_a'::regclass"), 't', 'builds it anew');

# An executed statement was edited.
my $edited = directory('edited', 'V1__x.sql' => "CREATE TABLE edited (a int);\nVACUUM edited;\nSELECT 1/0;");
is((dbops('migrate', '--dir', $edited, '--project', 'edited'))[0], 1, 'fails at the third statement');
write_file("$edited/V1__x.sql", "CREATE TABLE edited (a bigint);\nVACUUM edited;\nSELECT 1;");
like((dbops('migrate', '--dir', $edited, '--project', 'edited'))[2], qr/statement 1 of V1__x\.sql has been executed, and was changed since/, 'what is executed cannot be edited');
write_file("$edited/V1__x.sql", "CREATE TABLE edited (a int);\nVACUUM edited;\nSELECT 1;");
is((dbops('migrate', '--dir', $edited, '--project', 'edited'))[0], 0, 'what is not can');

# --- roles --------------------------------------------------------------------------------------------------------------------------
($status, $out, $err) = dbops_as('bob', 'migrate', '--dir', $dir, '--placeholder', 'word=secret');
isnt($status, 0, 'the project is of another role');
like($err, qr/migration project "default" belongs to another role/, 'and it says so');
is($node->safe_psql('shop', 'SET ROLE bob; SELECT count(*) FROM dbops.migration_history'), 0, 'who sees nothing of it');
($status, $out, $err) = dbops_as('bob', 'migrate', '--dir', directory('bob', 'V1__x.sql' => 'ALTER TABLE users ADD COLUMN y int'), '--project', 'bob');
like("$status $err", qr/^1 .*ERROR 42501: must be owner of table users/, 'a role migrates what it owns, and nothing else');
like((dbops_as('bob', 'migrate', '--dir', directory('bob2', 'V1__x.sql' => "COPY users FROM stdin;\n9\tx\n\\.\n"), '--project', 'bob'))[2], qr/ERROR 42501: permission denied for table users/, 'COPY needs its privileges');

# --- who may open a project, and to whom it can be given -----------------------------------------------------------------------------
$node->safe_psql('shop', 'CREATE ROLE eve LOGIN; CREATE ROLE carl LOGIN; CREATE ROLE dora LOGIN; CREATE SCHEMA of_dora; CREATE TABLE of_dora.t (x int); ALTER TABLE of_dora.t OWNER TO dora');
sub refused { my ($role, $sql) = @_; return Dbops::refusal($node, $sql, database => 'shop', role => $role); }
for my $sql (q{SELECT dbops.apply_migration('V1__x.sql', '', project => 'taken')}, q{SELECT dbops.baseline_migrations('999', project => 'taken')},
	q{CREATE TEMP TABLE mine (x int); SELECT dbops.apply_migration('V1__x.sql', '', project => 'taken')})
{
	like(refused('eve', $sql), qr/^42501: role "eve" may not open the migration project "taken"/, "who can change nothing takes no name: $sql");
}
is(value("SELECT count(*) FROM dbops.migration_projects WHERE name = 'taken'"), 0, 'so it is not taken');
is(refused('dora', q{SELECT dbops.apply_migration('V1__x.sql', 'ALTER TABLE of_dora.t ADD y int', project => 'taken')}), '', 'who has a table opens one');
like(refused('bob', q{SELECT dbops.apply_migration('V2__x.sql', '', project => 'taken')}), qr/^42501: .*belongs to another role/, 'which is not of others');
like(refused('bob', q{SELECT dbops.set_migration_owner('taken', 'bob')}), qr/^42501: .*belongs to another role/, 'who cannot take it');
like(refused('dora', q{SELECT dbops.set_migration_owner('taken', 'bob')}), qr/^42501: must be a member of role "bob"/, 'nor be given it by who is not a member');
$node->safe_psql('shop', 'GRANT dbops_admin TO carl');
is(refused('carl', q{SELECT dbops.set_migration_owner('taken', 'bob')}), '', 'an admin gives it');
is(value("SELECT owner FROM dbops.migration_projects WHERE name = 'taken'"), 'bob', 'so it has that owner');
like(refused('dora', q{SELECT dbops.apply_migration('V2__x.sql', '', project => 'taken')}), qr/^42501: .*belongs to another role/, 'and is no more of the one before');
is(refused('bob', q{SELECT dbops.apply_migration('V2__x.sql', '', project => 'taken')}), '', 'but of the new one');
like(refused('carl', q{SELECT dbops.set_migration_owner('nothing', 'bob')}), qr/^42704: /, 'no such project');

# --- in SQL -------------------------------------------------------------------------------------------------------------------------
is(value(q{SELECT outcome FROM dbops.apply_migration('V1__x.sql', 'CREATE TABLE by_sql (x int)', project => 'by_sql')}), 'applied', 'apply_migration in SQL');
is(value(q{SELECT outcome FROM dbops.apply_migration('V1__x.sql', 'CREATE TABLE by_sql (x int)', project => 'by_sql')}), 'already_applied', 'the same again');
like(Dbops::refusal($node, q{SELECT dbops.apply_migration('V1__x.sql', 'CREATE TABLE by_sql (y int)', project => 'by_sql')}, database => 'shop'), qr/^55000: version 1 is applied already/, 'another text is refused');
like(Dbops::refusal($node, q{SELECT dbops.apply_migration('V0.5__x.sql', '', project => 'by_sql')}, database => 'shop'), qr/^55000: version 0.5 is below 1/, 'as is a lower version');
like(Dbops::refusal($node, q{SELECT dbops.apply_migration('x.sql', '', project => 'by_sql')}, database => 'shop'), qr/^22023: script "x.sql" its prefix is none/, 'and a name that is none');
like(Dbops::refusal($node, q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT dbops.apply_migration('V2__x.sql', '', project => 'by_sql')}, database => 'shop'), qr/^25001/, 'REPEATABLE READ is refused');
is(value(q{SELECT string_agg(script || '=' || state || coalesce('!', ''), ',') FROM dbops.validate_migrations('[{"script": "V1__x.sql", "checksum": 1}, {"script": "V2__x.sql", "checksum": 1}]', 'by_sql') WHERE problem IS NOT NULL}),
	'V1__x.sql=Success!,V2__x.sql=Pending!', 'validate_migrations');
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", 0), 'no lock is left');
$node->stop;
done_testing();
