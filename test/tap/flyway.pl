# What real Flyway has done with directories of migrations (test/peers/flyway, written by test/peers/record.sh), and dbops with the same ones:
# names, order, checksums, states, what is pending, what is wrong; each for itself, and dbops with the histories that Flyway has written.
use strict;
use warnings;
use File::Basename qw(dirname);
use IPC::Run qw(run);
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Dbops;

my $cases = dirname(__FILE__) . '/../peers/flyway';
my $node = Dbops::node('flyway');
$node->safe_psql('postgres', 'CREATE ROLE postgres SUPERUSER LOGIN') unless Dbops::default_role() eq 'postgres'; # ${flyway:user} is said in a migration

# Where dbops does something else, and wants to (docs/migrations.md).
my %differs = (
	'odd 18' => 'versions have no sign',
	'odd 24' => 'a file with a zero byte cannot be sent to the server',
	'failed 4' => 'what is applied in part is gone on with, no repair is needed', 'failed 5' => 'it was already', 'failed 6' => 'it was already',
	'baseline_files 1' => 'a baseline above the target is not applied', 'baseline_target 1' => 'a baseline above the target is not applied', 'baseline_target 2' => 'another baseline was applied');

my %option = (
	outOfOrder => sub { $_[0] eq 'true' ? '--out-of-order' : () }, target => sub { ('--target', $_[0]) }, ignoreMigrationPatterns => sub { ('--ignore', $_[0]) },
	placeholderReplacement => sub { '--no-placeholders' }, sqlMigrationPrefix => sub { ('--versioned-prefix', $_[0]) }, sqlMigrationSeparator => sub { "--separator=$_[0]" },
	repeatableSqlMigrationPrefix => sub { ('--repeatable-prefix', $_[0]) }, sqlMigrationSuffixes => sub { map { ('--suffix', $_) } split /,/, $_[0] },
	baselineVersion => sub { ('--baseline-version', $_[0]) }, baselineDescription => sub { ('--baseline-description', $_[0]) }, transactionalLock => sub { () });
sub options
{
	return map { my ($name, $value) = split /=/, $_, 2; $name =~ /^placeholders\.(.*)/ ? ('--placeholder', "$1=$value") : $option{$name}->($value) } @_;
}

sub cli
{
	my ($database, @arguments) = @_;
	my ($out, $err) = ('', '');
	run([ $ENV{DBOPS_CLI}, '--dbname', $node->connstr($database) . ' user=postgres', @arguments ], '<', \undef, '>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}
sub json
{
	my (@arguments) = @_;
	my ($status, $out, $err) = cli(@arguments, '--json');
	return ($out =~ /^\{/ ? decode_json($out) : undef, $status, $err);
}

# One line a migration. Undo scripts are dbops' alone; that something was marked as deleted is a row in dbops, and in Flyway of repeatable ones only;
# what was deleted keeps the checksum that it was applied with in dbops, and gets that of a file of its version in Flyway.
sub lines
{
	return join "\n", map { join ' | ', map { $_ // '' } $_->{state} eq 'Deleted' ? () : $_->{checksum}, @{$_}{qw(version description type script state)} }
	  grep { $_->{type} !~ /^UNDO_|^DELETE$/ } @{ $_[0] };
}
sub info
{
	my ($info, $status, $err) = json(@_);
	return $status == 0 ? lines($info->{migrations}) : 'refused';
}
sub infos_of_flyway { return ref $_[0] eq 'ARRAY' ? lines($_[0]) : 'refused'; }
sub unique { my %seen; return join "\n", sort grep { !$seen{$_}++ } @_; }

sub compare
{
	my ($name, $got, $expected) = @_;
	is($got, $expected, $name);
	return;
}

sub replay
{
	my ($case) = @_;
	my @steps = map { [split] } grep { !/^#|^\s*$/ } split /\n/, slurp_file("$cases/$case/steps");
	my @expected = JSON::PP->new->utf8->incr_parse(slurp_file("$cases/$case/expected.json"));
	is(@expected, @steps, "$case: Flyway's answer to each step");
	$node->safe_psql('postgres', "CREATE DATABASE own_$case; CREATE DATABASE adopted_$case");
	Dbops::create_extension($node, $_) for "own_$case", "adopted_$case";
	my $dump;
	for my $number (1 .. @steps)
	{
		my ($command, $directory, @settings) = @{ $steps[ $number - 1 ] };
		my $flyway = $expected[ $number - 1 ];
		my $name = "$case $number: @{ $steps[$number - 1] }";
		my @files = ('--dir', "$cases/$case/$directory", options(grep { !/^baseline|^transactional/ } @settings));
		$dump = "$cases/$case/$number.sql" if -e "$cases/$case/$number.sql";
		if ($differs{"$case $number"})
		{
			note "$name: not compared: $differs{\"$case $number\"}";
			$command eq 'baseline' ? 0 : cli("own_$case", $command, @files, $command eq 'migrate' ? '--no-lint' : ());
			next;
		}
		compare("$name: before", info("own_$case", 'info', @files), infos_of_flyway($flyway->{before})) unless $command eq 'info'; # the same as after
		my ($validation, $status, $err) = json("own_$case", 'validate', @files);
		compare("$name: problems", $validation ? unique(map { "$_->{version} $_->{description}" } @{ $validation->{invalidMigrations} }) : 'refused',
			ref $flyway->{problems} eq 'ARRAY' ? unique(map { s/: \w+$//r } @{ $flyway->{problems} }) : 'refused');
		if ($command eq 'migrate')
		{
			(my $done, $status, $err) = json("own_$case", 'migrate', '--no-lint', @files);
			my $said = $status ? 'refused' : join "\n", map { "$_->{version} $_->{description}" } @{ $done->{migrations} };
			is($said, $flyway->{result}{error} ? 'refused' : join("\n", @{ $flyway->{result}{done} }), "$name: what is applied, in which order") or diag $err;
		}
		elsif ($command ne 'info')
		{
			($status, undef, $err) = cli("own_$case", $command, $command eq 'baseline' ? options(@settings) : @files);
			is($status ? 'refused' : 'done', $flyway->{result}{error} ? 'refused' : 'done', $name) or diag $err;
		}
		compare("$name: after", info("own_$case", 'info', @files), infos_of_flyway($flyway->{after}));
		if (@{ $flyway->{said} })
		{
			my $said = $node->safe_psql("own_$case", 'SELECT number, what FROM said ORDER BY number');
			is($said =~ s/\|/ /gr, join("\n", @{ $flyway->{said} }), "$name: what the migrations have done");
		}
		adopt($case, $name, $number, $dump, $flyway, [ '--dir', "$cases/$case/$directory", options(grep { /^placeholder|^sqlM|^repeatableSql/ } @settings) ], @files)
		  if $dump && ref $flyway->{after} eq 'ARRAY' && ($command eq 'info' || -e "$cases/$case/$number.sql");
	}
	return;
}

# The history that Flyway has written until then, taken over.
sub adopt
{
	my ($case, $name, $number, $dump, $flyway, $of_files, @files) = @_;
	my $database = "adopted_$case";
	$node->safe_psql($database, 'DROP TABLE IF EXISTS flyway_schema_history');
	$node->command_ok([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($database), '-f', $dump ], "$name: Flyway's history");
	my ($status, $out, $err) = cli($database, 'adopt', '--from', 'flyway', '--project', "step $number", @{$of_files});
	if (grep { $_->{state} =~ /^Failed/ } @{ $flyway->{after} })
	{
		like("$status $err", qr/^2 .*has failed/s, "$name: a history with a failed migration is not adopted");
		return;
	}
	is($status, 0, "$name: adopted") or diag $err;
	compare("$name: adopted", info($database, 'info', '--project', "step $number", @files), infos_of_flyway($flyway->{after}));
	return;
}

opendir my $folder, $cases or die "$cases: $!";
replay($_) for grep { -e "$cases/$_/steps" } sort readdir $folder;
$node->stop;
done_testing();
