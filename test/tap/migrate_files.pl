# Files of migrations: callbacks (when, in which transaction, names that are none), several directories, prefixes, separators, suffixes.
use strict;
use warnings;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;
use Dbops;

my $node = Dbops::node('migrate_files');
my $place = PostgreSQL::Test::Utils::tempdir();
sub value { return $node->safe_psql('postgres', $_[0]); }
sub directory { my ($name, %files) = @_; return Dbops::directory("$place/$name", %files); }
sub dbops_in
{
	my ($folder, @arguments) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ $ENV{DBOPS_CLI}, '--dbname', $node->connstr('postgres'), @arguments ], '<', \undef, '>', \$out, '2>', \$err, init => sub { chdir $folder or die $! },
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return ($? >> 8, $out, $err);
}
sub dbops { return dbops_in($place, @_); }
sub history { return value("SELECT string_agg(coalesce(version, description) || ' ' || type || ' ' || success, ', ' ORDER BY installed_rank) FROM dbops.migration_history WHERE project = '$_[0]'"); }
my ($status, $out, $err);

# --- callbacks: each event at its time -------------------------------------------------------------------------------------------
value('CREATE TABLE log (n serial, what text, transaction xid8 DEFAULT pg_current_xact_id())');
my @events = qw(beforeMigrate afterMigrate afterMigrateApplied afterMigrateError afterMigrateOperationFinish beforeEachMigrate afterEachMigrate afterEachMigrateError beforeRepeatables afterVersioned
  beforeEachMigrateStatement afterEachMigrateStatement afterEachMigrateStatementError beforeValidate afterValidate afterValidateError afterValidateOperationFinish
  beforeUndo afterUndo afterUndoError afterUndoOperationFinish beforeEachUndo afterEachUndo afterEachUndoError beforeEachUndoStatement afterEachUndoStatement afterEachUndoStatementError
  beforeBaseline afterBaseline afterBaselineError afterBaselineOperationFinish beforeRepair afterRepair afterRepairError afterRepairOperationFinish beforeInfo afterInfo afterInfoError afterInfoOperationFinish);
my %all = map { ("${_}__x.sql" => "INSERT INTO log (what) VALUES ('$_')") } @events;
sub logged { my $what = value("SELECT string_agg(what, ' ' ORDER BY n) FROM log"); value('TRUNCATE log'); return $what; }
sub run_with
{
	my ($name, @arguments) = @_;
	($status, $out, $err) = dbops(@arguments, '--dir', "$place/$name", '--project', $name);
	return logged();
}
my $each = 'beforeEachMigrate beforeEachMigrateStatement %s afterEachMigrateStatement afterEachMigrate';
sub each_of { my ($what) = @_; return sprintf($each, $what); }

directory('all', %all, 'V2__x.sql' => "BEGIN;\nINSERT INTO log (what) VALUES ('2');\nCOMMIT;\n", 'U2__x.sql' => "INSERT INTO log (what) VALUES ('u2')");
is(run_with('all', 'baseline'), 'beforeBaseline afterBaseline afterBaselineOperationFinish', 'baseline') or diag $err;
is(run_with('all', 'baseline', '--baseline-version', '7'), 'beforeBaseline afterBaselineError', 'baseline that is refused');
is(run_with('all', 'info'), 'beforeInfo afterInfo afterInfoOperationFinish', 'info');
is(run_with('all', 'info', '--target', '77'), 'beforeInfo afterInfoError', 'info with a target that is not there');
is(run_with('all', 'validate'), 'beforeValidate afterValidateError', 'validate that finds something');
is(run_with('all', 'migrate'), 'beforeValidate afterValidate afterValidateOperationFinish beforeMigrate ' . each_of('2') . ' afterVersioned afterMigrateApplied afterMigrate afterMigrateOperationFinish', 'migrate') or diag $err;
is(run_with('all', 'migrate'), 'beforeValidate afterValidate afterValidateOperationFinish beforeMigrate afterVersioned afterMigrate afterMigrateOperationFinish', 'migrate with nothing to do');
is(run_with('all', 'migrate', '--dry-run') . $status, '0', 'a dry run executes none');
is(run_with('all', 'validate'), 'beforeValidate afterValidate afterValidateOperationFinish', 'validate');
is(run_with('all', 'undo'), 'beforeUndo beforeEachUndo beforeEachUndoStatement u2 afterEachUndoStatement afterEachUndo afterUndo afterUndoOperationFinish', 'undo') or diag $err;
is(run_with('all', 'repair'), 'beforeRepair afterRepair afterRepairOperationFinish', 'repair');
directory('all', 'V3__x.sql' => 'SELECT 1/0', 'R__r.sql' => "INSERT INTO log (what) VALUES ('r')");
is(run_with('all', 'migrate'), 'beforeValidate afterValidate afterValidateOperationFinish beforeMigrate ' . each_of('2') . ' afterEachMigrateStatementError afterEachMigrateError afterMigrateError', 'migrate that fails: what its transaction has logged is gone');
directory('all', 'V3__x.sql' => "INSERT INTO log (what) VALUES ('3'), ('3')");
is(run_with('all', 'migrate'), 'beforeValidate afterValidate afterValidateOperationFinish beforeMigrate ' . each_of('3 3') . ' afterVersioned beforeRepeatables ' . each_of('r') . ' afterMigrateApplied afterMigrate afterMigrateOperationFinish', 'and then does not');
directory('all', 'V3__x.sql' => 'SELECT 3');
is(run_with('all', 'migrate'), 'beforeValidate afterValidateError', 'files that do not agree');
is($status, 1, 'stop it before the others');

# --- within the migration's transaction ----------------------------------------------------------------------------------------------
value('CREATE ROLE app; CREATE SCHEMA app AUTHORIZATION app');
my $within = directory('within', 'V1__x.sql' => 'CREATE TABLE by_app (x int)', 'beforeEachMigrate__a.sql' => 'SET ROLE app', 'beforeEachMigrate__b.sql' => 'SET search_path = app',
	'afterEachMigrate.sql' => "DO \$\$BEGIN IF (SELECT count(*) FROM app.by_app) > 0 THEN RAISE EXCEPTION 'rows'; END IF; END\$\$;\n");
($status, $out, $err) = dbops('migrate', '--dir', $within, '--project', 'within');
is($status . value("SELECT tableowner FROM pg_tables WHERE schemaname = 'app' AND tablename = 'by_app'"), '0app', 'what they set is there in the migration') or diag $err;
is(history('within') . value("SELECT installed_by FROM dbops.migration_history WHERE project = 'within'"), '1 SQL true' . Dbops::default_role(), 'and not in its record');
directory('within', 'V2__x.sql' => "INSERT INTO by_app VALUES (1);\n");
($status, $out, $err) = dbops('migrate', '--dir', $within, '--project', 'within');
like("$status $err", qr/^1 .*callback afterEachMigrate\.sql, line 1, column 1: rows/, 'one that fails fails the migration');
is(history('within') . value('SELECT count(*) FROM app.by_app'), '1 SQL true0', 'which has not taken effect');
is(value("SELECT sqlstate || ' ' || error FROM dbops.migration_attempts WHERE project = 'within'"), 'P0001 callback afterEachMigrate.sql, line 1, column 1: rows', 'the attempt says so');
directory('within', 'afterEachMigrate.sql' => "SELECT 1;\nSELEC 2;\n");
like((dbops('migrate', '--dir', $within, '--project', 'within'))[2], qr/callback afterEachMigrate\.sql, line 2, column 1: syntax error/, 'one that cannot be read');
directory('within', 'afterEachMigrate.sql' => 'VACUUM');
like((dbops('migrate', '--dir', $within, '--project', 'within'))[2], qr/0A000: callback afterEachMigrate\.sql has a statement that cannot be in a transaction/, 'one that cannot be in a transaction');
like(Dbops::refusal($node, q{SELECT dbops.apply_migration('V1__x.sql', '', project => 'c', callbacks => '[{"event": "beforeMigrate", "script": "x", "sql": ""}]')}), qr/^22023: "beforeMigrate" is not an event within a migration/, 'an event that is none within a migration');
like(Dbops::refusal($node, q{SELECT dbops.apply_migration('V1__x.sql', '', project => 'c', callbacks => '[{"event": "beforeEachMigrate"}]')}), qr/^22023: each of callbacks must have script/, 'a callback without a script');

# Statement by statement: around what is one transaction, and around what cannot be in one.
value('CREATE TABLE big (x int)');
logged();
my $steps = directory('steps', %all, 'V1__x.sql' => "INSERT INTO log (what) VALUES ('one');\nCREATE INDEX CONCURRENTLY big_x ON big (x);\nINSERT INTO log (what) VALUES ('two');\n");
delete $all{$_} for grep { !/Each/ } keys %all;
unlink "$steps/$_" for grep { !/^V|Each/ } map { s/.*\///r } glob "$steps/*";
is(run_with('steps', 'migrate'), 'beforeEachMigrate beforeEachMigrateStatement one afterEachMigrateStatement beforeEachMigrateStatement afterEachMigrateStatement beforeEachMigrateStatement two afterEachMigrateStatement afterEachMigrate',
	'a migration with a statement outside of transactions') or diag $err;
directory('steps', 'V2__x.sql' => "DROP INDEX CONCURRENTLY big_x;\nSELECT 1/0;\n");
is(run_with('steps', 'migrate'), 'beforeEachMigrate beforeEachMigrateStatement afterEachMigrateStatement afterEachMigrateStatementError afterEachMigrateError', 'one that fails behind it');
directory('steps', 'V2__x.sql' => "DROP INDEX CONCURRENTLY big_x;\nSELECT 1;\n");
is(run_with('steps', 'migrate'), 'beforeEachMigrate beforeEachMigrateStatement afterEachMigrateStatement afterEachMigrate', 'and is gone on with');
directory('steps', 'V3__x.sql' => "CREATE INDEX CONCURRENTLY big_x ON big (x);\n", 'beforeEachMigrate__set.sql' => "SELECT 1;\nSET search_path = app;\n");
($status, $out, $err) = dbops('migrate', '--dir', $steps, '--project', 'steps');
like("$status $err", qr/^1 .*0A000: callback beforeEachMigrate__set\.sql, line 2, column 1: SET before a statement that cannot be in a transaction/s, 'what it sets would be lost');
is(value("SELECT to_regclass('big_x') IS NULL"), 't', 'so nothing is done');

# The callback behind a statement outside of transactions fails: the statement is not executed again, the callback is.
value('CREATE TABLE switch AS SELECT 0 AS flag');
logged();
my $once = "CREATE DATABASE once;\n";
my %owed = ('beforeEachMigrate__x.sql' => $all{'beforeEachMigrate__x.sql'}, 'afterEachMigrateStatement__a.sql' => $all{'afterEachMigrateStatement__x.sql'}, 'afterEachMigrateStatement__b.sql' => 'SELECT 1 / flag FROM switch');
directory('owed', %owed, 'V1__x.sql' => $once);
is(run_with('owed', 'migrate'), 'beforeEachMigrate', 'a callback behind it fails') or diag $err;
like("$status $err", qr/^1 .*ERROR 22012: callback afterEachMigrateStatement__b\.sql, line 1/s, 'which is said');
is(value("SELECT state, finished_at IS NOT NULL FROM dbops.migration_steps WHERE project = 'owed'") . history('owed'), 'running|t1 SQL false', 'the statement has been executed, and is not done');
is(value("SELECT outcome FROM dbops.apply_migration('V1__x.sql', '$once', project => 'owed', callbacks => '[{\"event\": \"afterEachMigrateStatement\", \"script\": \"b\", \"sql\": \"SELECT 1/0\"}]')"), 'failed', 'as long as it fails');
directory('owed', 'V1__x.sql' => "CREATE DATABASE twice;\n");
is(run_with('owed', 'migrate'), '', 'another statement in its place is refused');
like($err, qr/statement 1 of V1__x\.sql has been executed, and was changed since/, 'as it was executed');
directory('owed', 'V1__x.sql' => $once);
value('UPDATE switch SET flag = 1');
is(run_with('owed', 'migrate') . " $status" . history('owed'), 'beforeEachMigrate afterEachMigrateStatement 01 SQL true', 'when it no longer fails, the callbacks are executed, and the statement is not') or diag $err;
# The same for one that was executed when the runner ended.
my $index = 'CREATE INDEX CONCURRENTLY owed_x ON big (x)';
is(value("SELECT outcome FROM dbops.apply_migration('V2__x.sql', '$index;', project => 'owed')"), 'execute', 'a runner that ends');
value($index);
value("UPDATE dbops.migration_step SET started_at = started_at - interval '1 min' WHERE state = 'running'");
directory('owed', 'V2__x.sql' => "$index;");
value('UPDATE switch SET flag = 0');
is(run_with('owed', 'migrate') . " $status", 'beforeEachMigrate 1', 'another finds the statement executed, and its callback fails');
value('UPDATE switch SET flag = 1');
is(run_with('owed', 'migrate') . " $status" . history('owed'), 'beforeEachMigrate afterEachMigrateStatement 01 SQL true, 2 SQL true', 'until it does not');

# --- names that look like callbacks ---------------------------------------------------------------------------------------------------
my %names = ('beforeMigrat__x.sql' => qr/named like a callback, but there is no such event, and it is not executed: is it beforeMigrate\? There are beforeMigrate afterMigrate /,
	'BeforeMigrate__x.sql' => qr/is it beforeMigrate\?/, 'beforeDeploy__x.sql' => qr/no such event, and it is not executed: There are beforeMigrate /, 'afterMigrate1__x.sql' => qr/is it afterMigrate\?/,
	'beforeClean__x.sql' => qr/an event that does not happen here: there is no command clean; it is not executed/, 'createSchema.sql' => qr/dbops creates no schemas/);
for my $name (sort keys %names)
{
	my $dir = directory("name_$name", $name => 'SELECT 1/0');
	($status, $out, $err) = dbops('migrate', '--dir', $dir, '--project', 'names');
	like("$status $err", qr/^0 .*\Q$name\E .*$names{$name}/, "$name is warned of");
	my $known = $name =~ /Clean|Schema/;
	is((dbops('migrate', '--dir', $dir, '--project', 'names', '--validate-naming'))[0], $known ? 0 : 2, $known ? 'and is no error, as it is Flyway\'s' : 'and an error when asked for');
}
($status, $out, $err) = dbops('migrate', '--dir', directory('others', 'afterthought.sql' => '', 'before_release.sql' => '', 'setup.sql' => '', 'beforeMigrate__x.txt' => ''), '--project', 'names');
is("$status $err", "0 dbops: nothing to do, everything is applied\n", 'other names are left alone');

# --- several directories ---------------------------------------------------------------------------------------------------------------------
value('CREATE TABLE seen (n serial, what text)');
sub seen { my $what = value("SELECT string_agg(what, ' ' ORDER BY n) FROM seen"); value('TRUNCATE seen'); return $what; }
sub says { return "INSERT INTO seen (what) VALUES ('$_[0]')"; }
directory('one', 'V1__a.sql' => says('1'), 'V3__c.sql' => says('3'), 'R__z.sql' => says('z'), 'beforeMigrate__b.sql' => says('cb'));
directory('two/deeper', 'V2__b.sql' => says('2'), 'R__a.sql' => says('a'), 'beforeMigrate__a.sql' => says('ca'));
($status, $out, $err) = dbops('migrate', '--dir', 'one', '--dir', 'two', '--project', 'dirs');
is($status . seen(), '0ca cb 1 2 3 a z', 'several directories, by relative paths: one order over all') or diag $err;
is(value("SELECT string_agg(script, ' ' ORDER BY installed_rank) FROM dbops.migration_history WHERE project = 'dirs'"), 'V1__a.sql deeper/V2__b.sql V3__c.sql deeper/R__a.sql R__z.sql', 'scripts are named below their directory');
is((dbops('validate', '--dir', "$place/two", '--dir', "$place/one/", '--project', 'dirs'))[0], 0, 'the same by absolute paths, in another order');
like((dbops('validate', '--dir', 'one', '--project', 'dirs'))[2], qr/applied, and not among the files: version 2/, 'without one of them files are missing');
($status, $out, $err) = dbops_in("$place/two", 'migrate', '--dir', '../one', '--dir', '.', '--project', 'dirs');
is($status . (seen() // ''), '0ca cb', 'from elsewhere') or diag $err;
directory('same_version', 'V1.0__other.sql' => says('other'));
($status, $out, $err) = dbops('migrate', '--dir', 'one', '--dir', 'same_version', '--project', 'dirs_bad');
like("$status $err", qr/^2 .*more than one file for version 1\.0: V1__a\.sql, V1\.0__other\.sql/, 'a version in two of them');
directory('same_file', 'V1__a.sql' => says('1'));
($status, $out, $err) = dbops('migrate', '--dir', 'one', '--dir', 'same_file', '--project', 'dirs_bad');
like("$status $err", qr/^2 .*more than one file V1__a\.sql: one\/V1__a\.sql, same_file\/V1__a\.sql/, 'a file in two of them');
directory('same_repeatable', 'R__z.sql' => says('z'));
like(join(' ', (dbops('migrate', '--dir', 'one', '--dir', 'same_repeatable', '--project', 'dirs_bad'))[ 0, 2 ]), qr/^2 .*more than one file R__z\.sql/, 'a repeatable migration in two of them');
symlink "$place/one", "$place/link" or die $!;
for my $twice ([ 'one', 'one' ], [ 'one', "$place/one" ], [ 'two', 'two/deeper' ], [ './two/deeper/', 'two' ], [ 'link', 'one' ])
{
	($status, $out, $err) = dbops('migrate', '--dir', $twice->[0], '--dir', $twice->[1], '--project', 'dirs_twice', '--dry-run');
	is($status, 0, "a directory that is there twice (@$twice) is there once") or diag $err;
	unlike($out, qr/deeper.*deeper.*deeper/s, 'and its files too');
}
is(seen() // '', '', 'nothing of that was done');

# --- prefixes, separator, suffixes -------------------------------------------------------------------------------------------------------------
directory('naming', 'mig-1.5--First.psql' => says('1.5'), 'mig-2--Second.DDL' => says('2'), 'back-2--Second.psql' => says('u2'), 'again--View.psql' => says('view'), 'from-1--All.psql' => says('b1'),
	'V9--Usual.psql' => says('9'), 'mig-3__Other.psql' => says('3'), 'mig-4--Other.sql' => says('4'), 'beforeMigrate--x.psql' => says('callback'));
my @naming = ('--dir', 'naming', '--project', 'naming', '--versioned-prefix', 'mig-', '--undo-prefix', 'back-', '--repeatable-prefix', 'again', '--baseline-prefix', 'from-', '--separator=--', '--suffix', '.psql', '--suffix', '.ddl');
($status, $out, $err) = dbops('migrate', @naming);
is($status . seen(), '0callback b1 1.5 2 view', 'other prefixes, separator and suffixes') or diag $err;
is(history('naming'), '1 SQL_BASELINE true, 1.5 SQL true, 2 SQL true, View SQL true', 'the history has versions and descriptions');
is((dbops('undo', @naming))[0] . seen(), '0u2', 'undo finds its file');
is((dbops('validate', @naming, '--ignore', '*:pending'))[0], 0, 'validate finds them too');
($status, $out, $err) = dbops('migrate', @naming, '--validate-naming');
like("$status $err", qr/^2 .*mig-3__Other\.psql what stands between prefix and separator is not a version|^2 .*V9--Usual\.psql its prefix is none/, 'what is named otherwise is an error when asked for');
directory('empty_prefix', '1__a.sql' => says('1'), 'R__r.sql' => says('r'), 'beforeMigrate.sql' => says('callback'));
($status, $out, $err) = dbops('migrate', '--dir', 'empty_prefix', '--project', 'empty_prefix', '--versioned-prefix', '');
is($status . seen(), '0callback r', 'an empty prefix is none: no file is of that kind') or diag $err;

# --- a repeatable migration that was interrupted -----------------------------------------------------------------------------------------------
value('CREATE TABLE half (x int); INSERT INTO half VALUES (1), (1)');
directory('half', 'V1__a.sql' => says('1'), 'R__b.sql' => says('b1') . ";\nCREATE UNIQUE INDEX CONCURRENTLY half_x ON half (x);\n" . says('b2'), 'R__c.sql' => says('c'));
is((dbops('migrate', '--dir', 'half', '--project', 'half', '--no-lint'))[0] . seen(), '11 b1', 'a repeatable migration fails in its middle');
value('DELETE FROM half WHERE ctid = (SELECT min(ctid) FROM half)');
directory('half', 'V2__b.sql' => says('2'), 'R__a.sql' => says('a'));
($status, $out, $err) = dbops('migrate', '--dir', 'half', '--project', 'half', '--no-lint');
is($status . seen(), '02 a b2 c', 'it is gone on with in its place, behind the versions') or diag $err;
$node->stop;
done_testing();
