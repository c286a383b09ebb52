# What the documentation shows works, and it names everything there is.
#
# Every ```sql block of README.md and docs/*.md is run, in order, each page in one session of a database of its own. A
# statement must succeed, except after a line "-- ERROR 22023": then it must fail with that SQLSTATE. Not run: blocks that
# begin with ```sql no-run. An HTML comment <!-- setup: ... --> is run in its place and not shown to the reader.
use strict;
use warnings;
use Test::More;
use File::Basename qw(basename dirname);
use Dbops;

my $top = dirname(__FILE__) . '/../..';
my @pages = ("$top/README.md", sort glob("$top/docs/*.md"));
plan skip_all => 'no documentation beside the tests' unless -e $pages[0];

sub text_of
{
	my ($file) = @_;
	open my $handle, '<', $file or die "$file: $!";
	local $/;
	return scalar <$handle>;
}

# Pieces of SQL of a page: [ line of its start, text ].
sub blocks
{
	my ($text) = @_;
	my @found;
	while ($text =~ /^```sql[ \t]*\n(.*?)^```|<!--\s*setup:(.*?)-->/msg)
	{
		my $line = 1 + (substr($text, 0, $-[0]) =~ tr/\n//);
		push @found, [ $line, $1 // $2 ];
	}
	return @found;
}

# Statements of a block: [ line, SQLSTATE expected or 00000, text ]. One ends with a line that ends with a semicolon, and
# maybe a comment, outside of $$ ... $$, or with \gset.
sub statements
{
	my ($line, $block) = @_;
	my @found;
	my ($text, $expected, $start) = ('', '00000', undef);
	for (split /\n/, $block)
	{
		$line++;
		if (/^\s*--\s*ERROR (\w{5})/) { $expected = $1; next; }
		next if $text eq '' && /^\s*(--.*)?$/;
		$start //= $line;
		$text .= "$_\n";
		my $bare = $text =~ s/--[^\n]*//gr;
		next unless $bare =~ /(?:;|\\gset\b.*)\s*\z/;
		next if (() = $bare =~ /\$\$/g) % 2;
		push @found, [ $start, $expected, $text ];
		($text, $expected, $start) = ('', '00000', undef);
	}
	push @found, [ $start, $expected, $text ] if $text =~ /\S/;    # without its end: will fail, and say where
	return @found;
}

my $node = Dbops::node('documentation');
my $all = '';
my $number = 0;
for my $page (@pages)
{
	my $text = text_of($page);
	$all .= $text;
	my @run = map { statements(@$_) } blocks($text);
	next unless @run;
	my $name = basename($page);
	my $database = 'page' . ++$number;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	Dbops::create_extension($node, $database);

	# psql's own variables say how each ended; the marks tell them apart.
	my $script = '';
	for my $i (0 .. $#run)
	{
		$script .= "$run[$i][2]\n\\echo '\@\@' $i :SQLSTATE\n";
	}
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $node->connstr($database) ],
		'<', \$script, '>', \$out, '2>', \$err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default * 2));
	my %ended = $out =~ /^\@\@ (\d+) (\w{5})$/mg;
	my @wrong;
	for my $i (0 .. $#run)
	{
		my ($line, $expected, $sql) = @{ $run[$i] };
		my $got = $ended{$i} // 'nothing';
		push @wrong, "$name, line $line: expected $expected, got $got: $sql" if $got ne $expected;
	}
	is(scalar @wrong, 0, "$name: " . scalar(@run) . ' statements do what the page says') or diag(join("\n", @wrong), "\n$err");
	unlike($text, qr/^```sql(?!\s*$| no-run\s*$)/m, "$name: no other kind of SQL block");
}
ok($number >= 3, 'some pages show SQL');

# --- links ----------------------------------------------------------------------------------------------------------
for my $page (@pages)
{
	my $text = text_of($page);
	my @dead;
	while ($text =~ /\]\(([^)#:\s]+)?(?:#([^)\s]*))?\)/g)
	{
		my ($file, $anchor) = ($1, $2);
		my $target = defined $file ? dirname($page) . "/$file" : $page;
		next if defined $file && $file !~ /\.md$/;    # sources are not beside the tests
		if (!-e $target) { push @dead, $file; next; }
		next unless defined $anchor;
		my %anchors = map { my $a = lc; $a =~ s/[^\w\- ]//g; $a =~ tr/ /-/; ($a => 1) } text_of($target) =~ /^#+ +(.*?)\s*$/mg;
		push @dead, ($file // '') . "#$anchor" unless $anchors{$anchor};
	}
	is("@dead", '', basename($page) . ': links lead somewhere');
}

# --- everything is mentioned --------------------------------------------------------------------------------------------
sub mentioned
{
	my ($what, $pattern, $sql) = @_;
	my @missing;
	for my $item (split /\n/, Dbops::value($node, $sql))
	{
		my $wanted = sprintf($pattern, quotemeta $item);
		push @missing, $item unless $all =~ /$wanted/;
	}
	is("@missing", '', "$what are documented");
	return;
}
my $ours = "SELECT oid FROM pg_extension WHERE extname = 'dbops'";
mentioned('settings', '%s\b', q{SELECT name FROM pg_settings WHERE name LIKE 'dbops.%'});
mentioned('functions and procedures', '%s\b', "SELECT DISTINCT 'dbops.' || proname FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid"
	  . " AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e' WHERE d.refobjid = ($ours)");
mentioned('arguments of functions', '`%s\b', "SELECT DISTINCT a FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid"
	  . " AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e', unnest(proargnames) a WHERE d.refobjid = ($ours) AND a <> ''"
	  . " AND has_function_privilege('public', p.oid, 'EXECUTE')");
mentioned('tables and views', '%s\b', "SELECT 'dbops.' || relname FROM pg_class c JOIN pg_depend d ON d.objid = c.oid"
	  . " AND d.classid = 'pg_class'::regclass AND d.deptype = 'e' WHERE d.refobjid = ($ours) AND relkind IN ('r', 'v')");
mentioned('columns of views', '`%s`', "SELECT DISTINCT attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
	  . " JOIN pg_depend d ON d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'e'"
	  . " WHERE d.refobjid = ($ours) AND relkind = 'v' AND attnum > 0");
mentioned('states', '`%s`', "SELECT unnest(regexp_matches(pg_get_constraintdef(oid), '''(\\w+)''', 'g')) FROM pg_constraint"
	  . " WHERE conname IN ('job_state_check', 'job_run_outcome_check', 'job_kind_check')");

$node->stop;
done_testing();
