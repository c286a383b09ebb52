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

done_testing();
