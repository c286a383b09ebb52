# dbops adopt: the histories that real Liquibase, Alembic and sqitch have written (test/peers, by test/peers/record.sh); Flyway's are in flyway.pl.
use strict;
use warnings;
use File::Basename qw(dirname);
use File::Copy qw(copy);
use File::Path qw(make_path);
use PostgreSQL::Test::Utils;
use Test::More;
use Dbops;

my $peers = dirname(__FILE__) . '/../peers';
my $node = Dbops::node('adopt_real');
my $place = PostgreSQL::Test::Utils::tempdir();
sub sql { return $node->safe_psql('postgres', $_[0]); }
sub load { return $node->command_ok([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', "$peers/$_[0]" ], "the history that the tool has written: $_[0]"); }
sub cli { return Dbops::cli($node, @_); }
sub adopted { my ($status, $out, $err) = cli('adopt', @_); diag $err if $status; return "$status\n$out"; }
sub history { return sql("SELECT string_agg(concat_ws(' ', installed_rank, type, description, CASE WHEN live THEN 'live' END), ', ' ORDER BY installed_rank) FROM dbops.migration_history WHERE project = '$_[0]'"); }
sub content { return sql(join ' UNION ALL ', map { "(SELECT string_agg(md5(t::text), ' ' ORDER BY t::text) FROM $_ t)" } @_); }

# New migrations follow in files of their own.
make_path("$place/next");
append_to_file("$place/next/V1__Next.sql", "SELECT 1;\n");
sub goes_on
{
	my ($project) = @_;
	my ($status, $out, $err) = cli('migrate', '--dir', "$place/next", '--project', $project);
	is("$status $out" =~ s/\d+ ms/N ms/r, "0 V1__Next.sql  N ms\n", "$project: dbops goes on") or diag $err;
	is((cli('validate', '--dir', "$place/next", '--project', $project))[0], 0, "$project: and all is valid");
	return;
}

# --- Liquibase: changesets in the order in which they were executed; one that always runs has run again ------------------------------------
load('liquibase/history.sql');
my $before = content('databasechangelog', 'databasechangeloglock');
is(adopted('--from', 'liquibase', '--project', 'liquibase'), "0\n" . join('', map { "adopted  $_\n" } ('changelog.yaml') x 3, ('more.sql') x 2, ('changelog.yaml') x 2, 'more.sql'), 'Liquibase');
is(history('liquibase'), '1 LIQUIBASE 1::ann live, 2 LIQUIBASE add-email::bob live, 3 LIQUIBASE already-there::bob live, 4 LIQUIBASE größe::Ümit live, 5 LIQUIBASE index::bob live,'
	  . ' 6 LIQUIBASE view::ann live, 7 LIQUIBASE tag::ann live, 8 LIQUIBASE function::bob live', 'each changeset');
is(sql("SELECT string_agg(imported_from, ', ' ORDER BY installed_rank) FROM dbops.migration_history WHERE project = 'liquibase'"),
	sql("SELECT string_agg('liquibase ' || liquibase || ' ' || md5sum || coalesce(' tag ' || tag, ''), ', ' ORDER BY orderexecuted) FROM databasechangelog"), 'with versions, checksums and tags');
is(sql("SELECT count(*) FROM dbops.migration_history h JOIN databasechangelog d ON h.description = d.id || '::' || d.author AND h.installed_on::timestamp = d.dateexecuted WHERE project = 'liquibase'"), 8, 'and times');
is(content('databasechangelog', 'databasechangeloglock'), $before, 'its tables are as they were');
goes_on('liquibase');
# Changesets in formatted SQL are compared where their file is given: by what Liquibase's own checksum is of.
my $changelogs = "$place/changelogs";
make_path($changelogs);
my $more = slurp_file("$peers/liquibase/more.sql");
append_to_file("$changelogs/more.sql", $more);
sub of_sql { my ($status, $out, $err) = cli('adopt', '--from', 'liquibase', '--dir', $changelogs, '--project', @_); return join ' ', map { /^(.*)  more\.sql$/ ? $1 : () } split /\n/, $out; }
is(of_sql('liquibase verified'), 'verified verified verified', 'the checksums that Liquibase has written are computed again');
unlink "$changelogs/more.sql";
append_to_file("$changelogs/more.sql", $more =~ s/person_name ON/person_name  ON/r =~ s/RETURN 1/RETURN 2/r);
is(of_sql('liquibase differs'), 'verified verified differs', 'another text differs, other spaces do not');
unlink "$changelogs/more.sql";
append_to_file("$changelogs/more.sql", $more =~ s/CREATE INDEX/-- a comment\nCREATE INDEX/r =~ s/numeric/\${type}/r);
is(of_sql('liquibase comments'), 'adopted adopted verified', 'what may be another one for its comments or parameters is not said to differ');

# --- Alembic: where it stands: on one revision, on two branches, behind their merge -----------------------------------------------------------
for ([ 1, '27c6a30d7c24' ], [ 2, 'b1a' ], [ 3, 'b1a', 'b2a' ], [ 4, 'fe3merge' ])
{
	my ($step, @heads) = @{$_};
	sql('DROP TABLE IF EXISTS alembic_version');
	load("alembic/$step.sql");
	is(adopted('--from', 'alembic', '--project', "alembic $step"), "0\n" . join('', map { "adopted  $_\n" } @heads), "Alembic: @heads");
	is(sql("SELECT string_agg(version_num, ' ' ORDER BY 1) FROM alembic_version"), "@heads", 'its table is as it was');
}
goes_on('alembic 4');

# --- sqitch: changes in the order in which they were deployed; its scripts are compared with what was --------------------------------------------
load('sqitch/history.sql');
my @tables = map { "sqitch.$_" } qw(changes dependencies events projects releases tags);
$before = content(@tables);
is(adopted('--from', 'sqitch', '--project', 'sqitch', '--dir', "$peers/sqitch"),
	"0\n" . join('', map { "verified  deploy/$_.sql\n" } 'appschema', 'users@v1.0', 'größe', 'users'), 'sqitch: every script is the one that was deployed, a reworked one too');
is(history('sqitch'), '1 SQITCH flipr:appschema live, 2 SQITCH flipr:users live, 3 SQITCH flipr:größe live, 4 SQITCH flipr:users live', 'each change; what was reverted and deployed again once');
is(sql("SELECT string_agg(imported_from, ', ' ORDER BY installed_rank) FROM dbops.migration_history WHERE project = 'sqitch'"),
	sql("SELECT string_agg('sqitch ' || change_id || ' script ' || script_hash, ', ' ORDER BY committed_at) FROM sqitch.changes"), 'with their ids and hashes');
is(content(@tables), $before, 'its tables are as they were');
goes_on('sqitch');
is(adopted('--from', 'sqitch', '--project', 'sqitch without files'), "0\n" . join('', map { "adopted  deploy/$_.sql\n" } qw(appschema users größe users)), 'without its scripts nothing is compared');
make_path("$place/sqitch/deploy");
copy("$peers/sqitch/deploy/$_.sql", "$place/sqitch/deploy/$_.sql") or die "$_: $!" for 'appschema', 'users@v1.0', 'users';
append_to_file("$place/sqitch/deploy/users.sql", '-- edited');
my (undef, $out, $err) = cli('adopt', '--from', 'sqitch', '--project', 'sqitch edited', '--dir', "$place/sqitch");
is($out, "verified  deploy/appschema.sql\nverified  deploy/users\@v1.0.sql\nno file  deploy/größe.sql\ndiffers  deploy/users.sql\n", 'a script that was edited, and one that is not there');
like($err, qr/deploy\/users\.sql: the script is another one than was deployed \(005418893e2c/, 'it is said why');

$node->stop;
done_testing();
