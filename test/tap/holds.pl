# Legal holds against scheduled commands that empty a table: rows that row-level security hides from them, and rows that come while
# they wait for the table.
use strict;
use warnings;
use Test::More;
use Dbops;

my $node = Dbops::node('holds', conf => "autovacuum = off\n");
sub sql { return Dbops::value($node, $_[0]); }
sub as { my ($role, $sql) = @_; return Dbops::value_as($node, $role, $sql); }
# Begins a scheduled command, as that role; its name.
my $number = 0;
sub begin
{
	my ($role, $command, $settings) = @_;
	my $name = 'command ' . ++$number;
	as($role, "SELECT dbops.schedule('$name', '\@yearly', \$\$$command\$\$, settings => '" . ($settings // '{}') . "'); SELECT dbops.run_now('$name')");
	return $name;
}
# How it has ended.
sub result
{
	my ($name) = @_;
	Dbops::wait_for($node, "SELECT last_result IN ('failed', 'finished') FROM dbops.schedules WHERE name = '$name'", 't');
	return sql("SELECT last_result FROM dbops.schedules WHERE name = '$name'");
}
sub error_of { my ($name) = @_; return sql("SELECT last_error FROM dbops.schedules WHERE name = '$name'"); }

# --- rows that row-level security hides: it does not keep from TRUNCATE, DROP, DETACH and NO INHERIT ------------------------------
sql(q{CREATE ROLE owner LOGIN; CREATE ROLE emptier LOGIN; CREATE SCHEMA shop; GRANT ALL ON SCHEMA shop TO owner; GRANT USAGE ON SCHEMA shop TO emptier});
as('owner', q{CREATE TABLE shop.f (id int); INSERT INTO shop.f VALUES (1), (2); ALTER TABLE shop.f ENABLE ROW LEVEL SECURITY; GRANT SELECT, TRUNCATE ON shop.f TO emptier;
	SELECT dbops.hold('shop.f', 'id = 1', 'case')});
my $hidden = begin('emptier', 'TRUNCATE shop.f');
is(result($hidden), 'failed', 'TRUNCATE by who sees none of the rows: it fails');
like(error_of($hidden), qr/shop\.f has row-level security, which would hide rows from role "emptier"/, '... and says why');
is(sql('SELECT count(*) FROM shop.f'), 2, '... and the held row is there');

as('owner', q{ALTER TABLE shop.f FORCE ROW LEVEL SECURITY;
	CREATE TABLE shop.p (id int) PARTITION BY RANGE (id); CREATE TABLE shop.p1 PARTITION OF shop.p FOR VALUES FROM (0) TO (10); INSERT INTO shop.p VALUES (1);
	CREATE TABLE shop.i (id int); CREATE TABLE shop.i1 () INHERITS (shop.i); INSERT INTO shop.i1 VALUES (1);
	CREATE TABLE shop.free (id int); INSERT INTO shop.free VALUES (1); CREATE TABLE shop.empty (id int)});
as('owner', "ALTER TABLE shop.$_ ENABLE ROW LEVEL SECURITY; ALTER TABLE shop.$_ FORCE ROW LEVEL SECURITY") for qw(p1 i1 free empty);
as('owner', "SELECT dbops.hold('shop.$_', 'id = 1', 'case')") for qw(p i empty);
as('owner', q{SELECT dbops.hold('shop.free', 'id = 2', 'case')});
for my $command ('TRUNCATE shop.f', 'DROP TABLE shop.f', 'ALTER TABLE shop.p DETACH PARTITION shop.p1', 'ALTER TABLE shop.p DETACH PARTITION shop.p1 CONCURRENTLY', 'TRUNCATE shop.p', 'TRUNCATE shop.i',
	'ALTER TABLE shop.i1 NO INHERIT shop.i', 'DROP TABLE shop.i1')
{
	my $name = begin('owner', $command);
	is(result($name), 'failed', "$command by an owner whom row-level security is forced upon: it fails");
	like(error_of($name), qr/under legal hold/, '... and says why');
}
is(sql('SELECT (SELECT count(*) FROM shop.f), (SELECT count(*) FROM shop.p), (SELECT count(*) FROM shop.i)'), '2|1|1', 'the held rows are there');
is(result(begin('owner', $_)), 'finished', "$_: what is not held may go") for 'TRUNCATE shop.free', 'DROP TABLE shop.free', 'DROP TABLE shop.empty';

# --- held rows that come while TRUNCATE waits for the table, or after its transaction has begun to look -------------------------
# The tables have a page already: a first one is an invalidation, for which PostgreSQL would ask a second time.
sql(q{CREATE TABLE come (id int); INSERT INTO come VALUES (2); CREATE TABLE kin (id int); INSERT INTO kin VALUES (2); CREATE TABLE kin1 () INHERITS (kin); INSERT INTO kin1 VALUES (2)});
sql("SELECT dbops.hold('$_', 'id = 1', 'case')") for qw(come kin);
my $writer = $node->background_psql('postgres');
for my $case ([ 'come', 'TRUNCATE come' ], [ 'come', q{DO 'BEGIN TRUNCATE come; END'} ], [ 'kin', 'TRUNCATE kin' ], [ 'kin1', 'TRUNCATE kin' ])
{
	my ($table, $command) = @$case;
	$writer->query_safe("BEGIN; INSERT INTO $table VALUES (1)");
	my $name = begin(Dbops::default_role(), $command);
	ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_locks WHERE relation = '$table'::regclass AND mode = 'AccessExclusiveLock' AND NOT granted", 1), "$command waits for who writes to $table");
	$writer->query_safe('COMMIT');
	is(result($name), 'failed', '... and fails, as the row that came is held');
	like(error_of($name), qr/must not be truncated or dropped: it is under legal hold/, '... it says why');
	is(sql("SELECT count(*) FROM $table WHERE id = 1"), 1, '... and the row is there');
	sql("DELETE FROM $table WHERE id = 1");
}
# Of a partition that has partitions DETACH locks none of those: who writes into one by its name is waited for as well. With the
# first row the writer's session has read what the table is a partition of, which takes locks.
sql(q{CREATE TABLE tree (id int, part int) PARTITION BY LIST (part); CREATE TABLE tree1 PARTITION OF tree FOR VALUES IN (1) PARTITION BY RANGE (id);
	CREATE TABLE tree11 PARTITION OF tree1 FOR VALUES FROM (0) TO (10)});
sql(q{SELECT dbops.hold('tree', 'id = 1', 'case')});
for my $command ('ALTER TABLE tree DETACH PARTITION tree1', 'ALTER TABLE tree DETACH PARTITION tree1 CONCURRENTLY')
{
	$writer->query_safe("INSERT INTO tree11 VALUES (2, 1)");
	$writer->query_safe("BEGIN; INSERT INTO tree11 VALUES (1, 1)");
	my $name = begin(Dbops::default_role(), $command);
	ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_locks WHERE relation = 'tree11'::regclass AND mode = 'ShareLock' AND NOT granted", 1), "$command waits for who writes to a partition below");
	$writer->query_safe('COMMIT');
	is(result($name), 'failed', '... and fails, as the row that came is held');
	like(error_of($name), qr/tree1 must stay a part of .*tree: it has rows under legal hold/, '... it says why');
	is(sql('SELECT count(*) FROM tree11 WHERE id = 1'), 1, '... and the row is there');
	sql('DELETE FROM tree11');
}
is(sql(q{SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = 'tree1'::regclass}), 't', 'of DETACH ... CONCURRENTLY the first half had been done');
is(result(begin(Dbops::default_role(), 'ALTER TABLE tree DETACH PARTITION tree1 FINALIZE')), 'finished', '... FINALIZE does the rest when there is no such row');
for my $command ('TRUNCATE come', 'TRUNCATE kin', 'DROP TABLE come', 'DROP TABLE kin1', 'ALTER TABLE kin1 NO INHERIT kin')
{
	my ($table) = $command =~ /(come|kin1|kin)/;
	my $held = $table eq 'kin' ? 'kin1' : $table;
	sql("TRUNCATE $held");
	$writer->query_safe('SELECT pg_advisory_lock(7)');
	my $name = begin(Dbops::default_role(), "SELECT count(*) FROM $held; SELECT pg_advisory_xact_lock(7); $command", '{"default_transaction_isolation":"repeatable read"}');
	ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND objsubid = 1 AND NOT granted}, 1), "a transaction that is to $command has its snapshot");
	$writer->query_safe("INSERT INTO $held VALUES (1)");
	$writer->query_safe('SELECT pg_advisory_unlock(7)');
	is(result($name), 'failed', '... it fails, as the row that came is held');
	like(error_of($name), qr/under legal hold/, '... says why');
	is(sql("SELECT count(*) FROM $held WHERE id = 1"), 1, '... and the row is there');
}
# Who may not truncate waits for nobody.
$writer->query_safe('BEGIN; INSERT INTO come VALUES (3)');
sql('GRANT SELECT ON come TO emptier');
my $forbidden = begin('emptier', 'TRUNCATE come');
is(result($forbidden), 'failed', 'who may not truncate the table');
like(error_of($forbidden), qr/permission denied for table come/, '... is told so');
$writer->query_safe('ROLLBACK');
# Children that TRUNCATE leaves alone keep nobody waiting, and from nothing.
sql('TRUNCATE kin, kin1; INSERT INTO kin1 VALUES (1); INSERT INTO kin VALUES (2)');
$writer->query_safe('BEGIN; INSERT INTO kin1 VALUES (3)');
is(result(begin(Dbops::default_role(), 'TRUNCATE ONLY kin')), 'finished', 'TRUNCATE ONLY asks of that table alone');
$writer->query_safe('ROLLBACK');
is(sql('SELECT (SELECT count(*) FROM ONLY kin), (SELECT count(*) FROM kin1)'), '0|1', '... which is emptied');
$writer->quit;

done_testing();
