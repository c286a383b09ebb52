# Soft delete in both modes: insertions, deletions, restorations and purges in random order, beside a model.
use strict;
use warnings;
use Test::More;
use Dbops;

my $node = Dbops::node('model', conf => "autovacuum = off\n");
sub sql { return Dbops::value($node, $_[0]); }
sub refused { my ($sql) = @_; return Dbops::refusal($node, $sql); }

my $seed = $ENV{SOFT_DELETE_SEED} // time;
diag "SOFT_DELETE_SEED=$seed";
srand $seed;
my $steps = $ENV{SOFT_DELETE_STEPS} // 250;

# A row is "a1": table and key. The model knows which rows are live, with the rows that they refer to, and which ones belong to
# each deletion. In mode tombstone several deletions may have a row of the same name: its key is free again.
my ($mode, %live, %deletions, $next, @wrong);
my %refers_to = (a => [], b => [ 'a', 'b' ], c => [ 'b', 'a' ]);

sub pick { my @from = @_; return @from ? $from[ rand @from ] : undef; }
sub number { return substr $_[0], 1; }
sub dead_rows { return map { keys %$_ } values %deletions; }
sub newest_deletion { return sql('SELECT coalesce(max(deletion_id), 0) FROM dbops.soft_deletion'); }

sub make_tables
{
	my $tables = join ', ', map { "'$mode.$_'" } qw(a b c);
	sql(qq{CREATE SCHEMA "$mode"; SET search_path = "$mode"; CREATE TABLE a (id int PRIMARY KEY, code text UNIQUE);
		CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a ON DELETE CASCADE, up int REFERENCES b ON DELETE CASCADE);
		CREATE TABLE c (id int PRIMARY KEY, b int NOT NULL REFERENCES b ON DELETE CASCADE, a int REFERENCES a ON DELETE CASCADE);
		CREATE INDEX ON b (a); CREATE INDEX ON b (up); CREATE INDEX ON c (b); CREATE INDEX ON c (a);
		SELECT dbops.soft_delete_enable(t::regclass, mode => '$mode', purge_schedule => NULL) FROM unnest(ARRAY[$tables]) t});
	return;
}

sub insert_row
{
	my $table = pick(qw(a b c));
	my @dead = dead_rows();
	my $id = $mode eq 'tombstone' && rand() < 0.3 ? pick(map { number($_) } grep { /^$table/ } sort @dead) : undef;
	$id //= ++$next;
	my @all = (sort(keys %live), sort(@dead));
	my @parents = map { my $kind = $_; $table eq 'b' && rand() < 0.3 ? undef : pick(grep { /^$kind/ } @all) } @{ $refers_to{$table} };
	return if $table eq 'c' && !defined $parents[0];
	my $code = 'k' . int rand 6;
	my $values = $table eq 'a' ? "$id, '$code'" : join ', ', $id, map { defined $_ ? number($_) : 'NULL' } @parents;
	my $refusal = refused("INSERT INTO \"$mode\".$table VALUES ($values)");
	my $ok = !(grep { defined && !$live{$_} && !($table eq 'b' && $_ eq "b$id" && $mode eq 'tombstone') } @parents)
	  && !($table eq 'a' && grep { ($_->{code} // '') eq $code } values %live) && !$live{"$table$id"};
	push @wrong, "INSERT INTO $table VALUES ($values): $refusal" if $ok != ($refusal eq '');
	$live{"$table$id"} = { parents => [ grep { defined } @parents ], $table eq 'a' ? (code => $code) : () } if $refusal eq '';
	return;
}

# With those rows go all that refer to them, directly or not.
sub take_along
{
	my %set = map { $_ => 1 } @_;
	for (my $grown = 1; $grown;)
	{
		$grown = 0;
		for my $other (keys %live)
		{
			next if $set{$other} || !grep { $set{$_} } @{ $live{$other}{parents} };
			$set{$other} = $grown = 1;
		}
	}
	return keys %set;
}

sub delete_row
{
	my $row = pick(sort(keys %live), sort(dead_rows())) // return;
	my ($table, $id) = (substr($row, 0, 1), number($row));
	my ($status, $out, $err) = $node->psql('postgres', "SELECT dbops.soft_delete('\"$mode\".$table', $id)");
	push @wrong, "delete $row: $status $err" if ($status == 0) != exists $live{$row};
	return unless $status == 0;
	$deletions{$out}{$_} = delete $live{$_} for take_along($row);
	return;
}

# Mode tombstone: what one transaction deletes from a table by plain DELETE, with what goes along, is one deletion. In mode
# column that goes through the view, and each row is one.
sub delete_plainly
{
	my $table = pick(qw(a b c));
	my @rows = grep { defined } map { pick(grep { /^$table/ } sort keys %live) } 1, 2;
	return unless @rows;
	my $before = newest_deletion();
	my $ids = join ', ', map { number($_) } @rows;
	my $refusal = refused($mode eq 'tombstone' ? qq{DELETE FROM "$mode".$table WHERE id IN ($ids)} : qq{DELETE FROM "$mode".${table}_live WHERE id = } . number($rows[0]));
	push @wrong, "DELETE FROM $table of $ids: $refusal" if $refusal ne '';
	return if $refusal ne '';
	my $deletion = newest_deletion();
	push @wrong, "DELETE FROM $table of $ids made more than one deletion" if sql("SELECT count(*) FROM dbops.soft_deletion WHERE deletion_id > $before") != 1;
	$deletions{$deletion}{$_} = delete $live{$_} for take_along($mode eq 'tombstone' ? @rows : $rows[0]);
	return;
}

sub undelete_rows
{
	my $deletion = pick(sort keys %deletions) // return;
	my $set = $deletions{$deletion};
	my $ok = 1;
	for my $name (keys %$set)
	{
		my $row = $set->{$name};
		$ok = 0 if $live{$name};
		$ok = 0 if grep { !$live{$_} && !$set->{$_} } @{ $row->{parents} };
		$ok = 0 if defined $row->{code} && grep { ($_->{code} // '') eq $row->{code} } values %live;
	}
	my $refusal = refused("SELECT dbops.undelete($deletion)");
	push @wrong, "undelete $deletion: $refusal" if $ok != ($refusal eq '');
	return if $refusal ne '';
	$live{$_} = $set->{$_} for keys %$set;
	delete $deletions{$deletion};
	return;
}

# What is due cannot be undone any more. In mode column a row of it may stay until no other deleted row refers to it.
sub purge_rows
{
	my $root = pick(qw(a b c));
	my @due = grep { rand() < 0.5 } sort keys %deletions;
	my $of_root = @due ? sql(qq{SELECT string_agg(deletion_id::text, ',') FROM dbops.soft_deletion WHERE target = '"$mode".$root'::regclass AND deletion_id IN (} . join(',', @due) . ')') : '';
	@due = split /,/, $of_root;
	sql("UPDATE dbops.soft_deletion SET deleted_at = deleted_at - interval '31 days' WHERE deletion_id IN ($of_root)") if @due;
	my %due = map { $_ => 1 } @due;
	sql(qq{CALL dbops.purge('"$mode".$root')});
	my %gone = map { $_ => 1 } split /\n/, sql("SELECT deletion_id FROM dbops.soft_deletion WHERE state IN ('purging', 'purged')");
	my %expected = map { $_ => 1 } grep { $due{$_} } keys %deletions;
	push @wrong, "purge of $root: due were @due, gone are " . join ' ', sort grep { $deletions{$_} } keys %gone
	  if join(' ', sort keys %expected) ne join(' ', sort grep { $deletions{$_} } keys %gone);
	if ($mode eq 'tombstone')
	{
		my $left = sql("SELECT count(*) FROM dbops.deleted_row JOIN dbops.soft_deletion USING (deletion_id) WHERE state <> 'deleted'");
		push @wrong, "$left tombstones are left of a purge" if $left;
	}
	delete @deletions{ keys %gone };
	return;
}

sub compare
{
	my $suffix = $mode eq 'column' ? '_live' : '';
	my $got = sql('SELECT ' . join(' UNION ALL SELECT ', map { qq{'$_' || id FROM "$mode".$_$suffix} } qw(a b c)) . ' ORDER BY 1');
	my $wanted = join "\n", sort keys %live;
	push @wrong, "live rows: got $got, wanted $wanted" if join("\n", sort split /\n/, $got) ne $wanted;
	my $dead = $mode eq 'column'
	  ? join(' UNION ALL ', map { qq{SELECT deletion_id, '$_' || id AS r FROM "$mode".$_ WHERE deletion_id IS NOT NULL} } qw(a b c))
	  : "SELECT deletion_id, (SELECT relname FROM pg_class WHERE oid = target) || (image ->> 'id') AS r FROM dbops.deleted_row WHERE (SELECT relnamespace FROM pg_class WHERE oid = target) = '$mode'::regnamespace";
	$got = sql("SELECT deletion_id || ':' || r FROM ($dead) x JOIN dbops.soft_deletion USING (deletion_id) WHERE state = 'deleted'");
	$wanted = join "\n", sort map { my $deletion = $_; map { "$deletion:$_" } keys %{ $deletions{$deletion} } } keys %deletions;
	push @wrong, "deleted rows: got $got, wanted $wanted" if join("\n", sort split /\n/, $got) ne $wanted;
	return if $mode eq 'tombstone';    # the foreign keys themselves see to it
	my $orphans = sql(qq{SELECT (SELECT count(*) FROM "$mode".b_live b JOIN "$mode".a ON a.id = b.a WHERE a.deleted_at IS NOT NULL)
		+ (SELECT count(*) FROM "$mode".c_live c JOIN "$mode".b ON b.id = c.b WHERE b.deleted_at IS NOT NULL)});
	push @wrong, "$orphans live rows refer to deleted ones" if $orphans;
	return;
}

# When everything is due, everything goes, in one or two rounds: children of other roots before their parents.
sub purge_all
{
	sql("UPDATE dbops.soft_deletion SET deleted_at = deleted_at - interval '99 days' WHERE state = 'deleted'");
	for (1 .. 3) { sql(qq{CALL dbops.purge('"$mode".$_')}) for qw(c b a); }
	my $dead = $mode eq 'tombstone' ? 'SELECT count(*) FROM dbops.deleted_row' : 'SELECT ' . join ' + ', map { qq{(SELECT count(*) FROM "$mode".$_ WHERE deleted_at IS NOT NULL)} } qw(a b c);
	is(sql($dead), 0, "$mode: all deletions can be purged");
	is(sql('SELECT ' . join ' + ', map { qq{(SELECT count(*) FROM "$mode".$_)} } qw(a b c)), scalar(keys %live), "$mode: and no live row goes with them");
	return;
}

for (qw(column tombstone))
{
	$mode = $_;
	%live = ();
	%deletions = ();
	@wrong = ();
	$next = 0;
	make_tables();
	for my $step (1 .. $steps)
	{
		my $dice = rand;
		if    ($dice < 0.45) { insert_row() }
		elsif ($dice < 0.60) { delete_row() }
		elsif ($dice < 0.70) { delete_plainly() }
		elsif ($dice < 0.93) { undelete_rows() }
		else                 { purge_rows() }
		compare() if $step % 10 == 0;
		last if @wrong;
	}
	compare() unless @wrong;
	is(join("\n", @wrong), '', "$mode: $steps random steps equal a model (seed $seed)");
	purge_all();
}
$node->stop;
done_testing();
