# Migrations beside each other, under locks, through PgBouncer, and after kills of clients and servers.
use strict;
use warnings;
use IPC::Run qw(start);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);
use Dbops;

my $node = Dbops::node('migrate_crash', conf => "autovacuum = off\n"); # else an index build may wait for that, before it has begun
my $place = PostgreSQL::Test::Utils::tempdir();

sub directory { my ($name, %files) = @_; return Dbops::directory("$place/$name", %files); }

# A running dbops migrate; finish() gives status and what it said.
sub migrate
{
	my ($name, $dir, @arguments) = @_;
	my $run = { out => '' };
	$run->{run} = start([ $ENV{DBOPS_CLI}, '--dbname', $node->connstr('postgres'), 'migrate', '--dir', $dir, '--project', $name, @arguments ],
		'<', \undef, '>&', \$run->{out}, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return $run;
}
sub finish
{
	my ($run) = @_;
	$run->{run}->finish;
	my $status = $?;
	return (($status >> 8), $run->{out}, $status & 127);
}
sub history { return $node->safe_psql('postgres', "SELECT string_agg(coalesce(version, description) || ' ' || success, ', ' ORDER BY installed_rank) FROM dbops.migration_history WHERE project = '$_[0]'"); }
sub invalid { return $node->safe_psql('postgres', 'SELECT count(*) FROM pg_index WHERE NOT indisvalid'); }

# --- twenty at once ------------------------------------------------------------------------------------------------------
my $many = directory('many', map { ("V${_}__x.sql" => "CREATE TABLE many_$_ (x int);\nINSERT INTO counted VALUES ($_);\n") } 1 .. 15);
$node->safe_psql('postgres', 'CREATE TABLE counted (n int)');
my @runs = map { migrate('many', $many) } 1 .. 20;
my @status = map { (finish($_))[0] } @runs;
is("@status", join(' ', (0) x 20), 'twenty runners at once end well') or diag map { $_->{out} } @runs;
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT n) FROM counted'), '15|15', 'each migration took effect once');
is(history('many'), join(', ', map { "$_ true" } 1 .. 15), 'in order');

# --- twenty at once, some of them killed: clients, their sessions, the server ----------------------------------------------
sub applied { return "SELECT count(*) >= $_[1] FROM dbops.migration_history WHERE project = '$_[0]'"; }
my $killed = directory('killed', map { ("V${_}__x.sql" => "CREATE TABLE killed_$_ (x int);\nINSERT INTO counted VALUES (1000 + $_);\nSELECT pg_sleep(0.1);\n") } 1 .. 30);
@runs = map { migrate('killed', $killed) } 1 .. 20;
for my $victim (0 .. 5)
{
	ok(Dbops::wait_for($node, applied('killed', 2 * $victim + 1), 't'), 'they are at work');
	if ($victim % 2) { $node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%apply_migration%' AND state = 'active' AND pid <> pg_backend_pid()"); }
	else { $runs[$victim]{run}->kill_kill; }
	push @runs, migrate('killed', $killed);    # on a busy machine all of them may be at the server at once, and ended
}
ok(Dbops::wait_for($node, applied('killed', 15), 't'), 'they go on');
$node->stop('immediate');
finish($_) for @runs;
$node->start;
my $rest = $node->safe_psql('postgres', "SELECT 30 - count(*) FROM dbops.migration_history WHERE project = 'killed'");
note "the server was killed with $rest migrations to go";
is($node->safe_psql('postgres', 'SELECT (SELECT count(*) FROM counted WHERE n > 1000) - (SELECT count(*) FROM dbops.migration_history WHERE project = \'killed\')'), 0, 'what is recorded took effect, and nothing else');
@runs = map { migrate('killed', $killed) } 1 .. 20;
@status = map { (finish($_))[0] } @runs;
is("@status", join(' ', (0) x 20), 'twenty new ones end well') or diag map { $_->{out} } @runs;
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT n) FROM counted WHERE n > 1000'), '30|30', 'each migration took effect once');
is(history('killed'), join(', ', map { "$_ true" } 1 .. 30), 'in order, each recorded once');
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", 0), 'no lock is left');

# --- a lock that is not to be had -------------------------------------------------------------------------------------------
$node->safe_psql('postgres', 'CREATE TABLE busy (x int); INSERT INTO busy VALUES (1)');
my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN; SELECT * FROM busy');
my $ddl = migrate('busy', directory('busy', 'V1__x.sql' => "CREATE TABLE beside (x int);\nALTER TABLE busy ADD COLUMN y int;"), '--lock-timeout', '0.2', '--lock-retries', '100', '--wait-for-transactions', '0');
ok(Dbops::wait_for($node, "SELECT count(*) > 1 FROM dbops.migration_attempts WHERE project = 'busy' AND outcome = 'lock_timeout'", 't'), 'it tries, and tries again');
is($node->safe_psql('postgres', 'SELECT count(*) FROM busy'), 1, 'the application gets through between');
$holder->query_safe('COMMIT');
is((finish($ddl))[0], 0, 'when the lock is free it succeeds') or diag $ddl->{out};
is(history('busy'), '1 true', 'once');
$holder->query_safe('BEGIN; SELECT * FROM busy');
$ddl = migrate('busy', directory('busy', 'V2__x.sql' => 'ALTER TABLE busy ADD COLUMN z int;'), '--lock-timeout', '0.1', '--lock-retries', '1', '--wait-for-transactions', '0');
my ($status, $out) = finish($ddl);
like("$status $out", qr/^1 .*ERROR 55P03: canceling statement due to lock timeout.*DETAIL:  held by process \d+ \(role/s, 'after the last try it says so, and who has it');
$holder->query_safe('COMMIT');

# --- cancel --------------------------------------------------------------------------------------------------------------------
my $slow = migrate('slow', directory('slow', 'V1__x.sql' => 'CREATE TABLE slow (x int); SELECT pg_sleep(600);'));
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%apply_migration%' AND state = 'active' AND pid <> pg_backend_pid()", 1), 'a slow migration runs');
$slow->{run}->signal('INT');
($status) = finish($slow);
is($status, 130, 'Ctrl-C ends dbops');
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%apply_migration%' AND state = 'active' AND pid <> pg_backend_pid()", 0), 'and the statement on the server');
is($node->safe_psql('postgres', "SELECT to_regclass('slow')"), '', 'nothing of it stays');

# --- a server that is killed --------------------------------------------------------------------------------------------------------
# CREATE INDEX CONCURRENTLY waits for a transaction that writes to the table; the server dies meanwhile.
$node->safe_psql('postgres', 'CREATE TABLE crash (x int); INSERT INTO crash SELECT generate_series(1, 1000)');
my $crash = directory('crash', 'V1__x.sql' => "CREATE TABLE crash_before (x int);\nCREATE INDEX CONCURRENTLY crash_x ON crash (x);\nCREATE TABLE crash_after (x int);\n",
	'V2__x.sql' => "SELECT 1;");
sub block_and_start
{
	my ($sql, $name, $dir) = @_;
	my $writer = $node->background_psql('postgres');
	$writer->query_safe("BEGIN; $sql");
	my $run = migrate($name, $dir);
	ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '/* dbops step%' AND wait_event_type = 'Lock'", 1), "$name: the statement waits");
	return ($writer, $run);
}
my ($writer, $run) = block_and_start('INSERT INTO crash VALUES (1)', 'crash', $crash);
$node->stop('immediate');
finish($run);
eval { $writer->quit };
$node->start;
is(history('crash'), '1 false', 'the server was killed in the middle of an index build');
is(invalid(), 1, 'which left an INVALID index');
($status, $out) = finish(migrate('crash', $crash));
is($status, 0, 'the next run goes on') or diag $out;
is(history('crash'), '1 true, 2 true', 'to the end');
is(invalid() . $node->safe_psql('postgres', "SELECT indisvalid FROM pg_index WHERE indexrelid = 'crash_x'::regclass"), '0t', 'the index is valid');
is($node->safe_psql('postgres', "SELECT to_regclass('crash_after') IS NOT NULL"), 't', 'what comes after it is there');

# --- the server is killed when the index is built, and the record of that is not --------------------------------------------------------
$node->safe_psql('postgres', 'CREATE TABLE made (x int, y int, t text); INSERT INTO made SELECT i, i, i FROM generate_series(1, 100) i');
sub kill_behind_the_build
{
	my ($name, $dir) = @_;
	my ($write, $build) = block_and_start('INSERT INTO made VALUES (-1, -1)', $name, $dir);
	my $keeper = $node->background_psql('postgres');
	$keeper->query_safe('BEGIN; LOCK dbops.migration_step');
	$write->query_safe('ROLLBACK');
	ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%dbops.apply_migration%' AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()", 1), "$name: it is built, and that is about to be recorded");
	is($node->safe_psql('postgres', "SELECT count(*), count(*) FILTER (WHERE indisvalid) FROM pg_index WHERE indrelid = 'made'::regclass"), '1|1', "$name: the index is valid");
	$node->stop('immediate');
	finish($build);
	eval { $_->quit } for $write, $keeper;
	$node->start;
	is($node->safe_psql('postgres', "SELECT state FROM dbops.migration_steps WHERE project = '$name'"), 'running', "$name: the record says that it was begun");
	return;
}
sub indexes_of_made { return $node->safe_psql('postgres', "SELECT string_agg(indexrelid::text, ',') FROM pg_index WHERE indrelid = 'made'::regclass"); }
my $definition = 'public.made USING btree (x DESC, lower(t) COLLATE "C" text_pattern_ops) INCLUDE (y) WITH (fillfactor = 80) WHERE made.x > 0';
my $made = directory('made', 'V1__x.sql' => "CREATE UNIQUE INDEX CONCURRENTLY made_x ON $definition;\nCREATE TABLE made_after (x int);\n");
kill_behind_the_build('made', $made);
my $built = indexes_of_made();
($status, $out) = finish(migrate('made', $made));
is($status, 0, 'what is built is taken as done') or diag $out;
is(history('made') . indexes_of_made(), "1 true$built", 'and not built again');
is($node->safe_psql('postgres', "SELECT to_regclass('made_after') IS NOT NULL"), 't', 'what comes after it is there');
$node->safe_psql('postgres', 'DROP INDEX made_x');
my $unnamed = directory('unnamed', 'V1__x.sql' => "CREATE INDEX CONCURRENTLY ON made (y, x);\n");
kill_behind_the_build('unnamed', $unnamed);
$built = indexes_of_made();
is((finish(migrate('unnamed', $unnamed)))[0], 0, 'an index that the server has named');
is(history('unnamed') . indexes_of_made(), "1 true$built", 'is found too');
$node->safe_psql('postgres', 'DROP INDEX made_y_x_idx');
my $replaced = directory('replaced', 'V1__x.sql' => "CREATE INDEX CONCURRENTLY made_x ON made (x);\n");
kill_behind_the_build('replaced', $replaced);
for my $other ('INDEX made_x ON made (y)', 'UNIQUE INDEX made_x ON made (x)', 'INDEX made_x ON made (x) WHERE y > 0')
{
	$node->safe_psql('postgres', "DROP INDEX made_x; CREATE $other");
	$built = indexes_of_made();
	($status, $out) = finish(migrate('replaced', $replaced));
	like("$status $out", qr/^1 .*V1__x\.sql:1:1: ERROR 42P07: index public\.made_x is there already, with another definition.*Drop or rename/s, "CREATE $other by somebody is not taken for it");
	is(history('replaced') . indexes_of_made(), "1 false$built", 'and stays');
}
$node->safe_psql('postgres', 'DROP INDEX made_x');
is((finish(migrate('replaced', $replaced)))[0], 0, 'when it has gone, the migration goes on');
is($node->safe_psql('postgres', "SELECT pg_get_indexdef('made_x'::regclass)"), 'CREATE INDEX made_x ON public.made USING btree (x)', 'with its own');
# An expression on the whole row, whose type is the table's own: no copy of it can be asked for the definition.
$node->safe_psql('postgres', 'DROP INDEX made_x; CREATE FUNCTION of_row(made) RETURNS int IMMUTABLE LANGUAGE sql AS $$SELECT ($1).x$$');
my $of_row = directory('of_row', 'V1__x.sql' => "CREATE INDEX CONCURRENTLY made_row ON made (of_row(made));\n");
kill_behind_the_build('of_row', $of_row);
$built = indexes_of_made();
($status, $out) = finish(migrate('of_row', $of_row));
is($status, 0, 'an index on the whole row that is built') or diag $out;
is(history('of_row') . indexes_of_made(), "1 true$built", 'is taken as done');

# --- a client that is killed: the server goes on, and the next run waits for that -----------------------------------------------------
$node->safe_psql('postgres', 'CREATE TABLE orphan (x int)');
my $orphan = directory('orphan', 'V1__x.sql' => "CREATE INDEX CONCURRENTLY orphan_x ON orphan (x);\nVACUUM orphan;\n");
($writer, $run) = block_and_start('INSERT INTO orphan VALUES (1)', 'orphan', $orphan);
$run->{run}->kill_kill;
my $second = migrate('orphan', $orphan);
ok(Dbops::wait_for($node, "SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE '%dbops.apply_migration%' AND pid <> pg_backend_pid()", 't'), 'the second runner is there');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_index WHERE indrelid = 'orphan'::regclass"), 1, 'the second runner does not build beside the first');
$writer->query_safe('COMMIT');
is((finish($second))[0], 0, 'it goes on when the first has built') or diag $second->{out};
is(history('orphan') . invalid(), '1 true0', 'one index, valid');

# DETACH PARTITION CONCURRENTLY in two transactions, killed between.
$node->safe_psql('postgres', 'CREATE TABLE det (x int) PARTITION BY RANGE (x); CREATE TABLE det_1 PARTITION OF det FOR VALUES FROM (0) TO (9)');
my $detach = directory('detach', 'V1__x.sql' => "ALTER TABLE det DETACH PARTITION det_1 CONCURRENTLY;\n");
($writer, $run) = block_and_start('SELECT * FROM det', 'detach', $detach);
$node->stop('immediate');
finish($run);
eval { $writer->quit };
$node->start;
is((finish(migrate('detach', $detach)))[0], 0, 'a detach that was killed is ended');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_inherits WHERE inhparent = 'det'::regclass"), 0, 'the partition is detached');

# --- PgBouncer in transaction mode ----------------------------------------------------------------------------------------------------------
my ($pgbouncer) = grep { -x } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin', '/usr/local/sbin', '/usr/local/bin';
SKIP:
{
	skip 'no pgbouncer', 4 unless $pgbouncer;
	my $user = getpwuid($>);
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $socket = PostgreSQL::Test::Utils::tempdir_short();
	append_to_file("$socket/users", qq("$user" ""\n));
	append_to_file("$socket/pgbouncer.ini", <<"INI");
[databases]
postgres = host=@{[ $node->host ]} port=@{[ $node->port ]} dbname=postgres
[pgbouncer]
listen_addr =
unix_socket_dir = $socket
listen_port = $port
auth_type = trust
auth_file = $socket/users
pool_mode = transaction
default_pool_size = 3
logfile = $socket/log
pidfile = $socket/pid
INI
	my $bouncer = start([ $pgbouncer, "$socket/pgbouncer.ini" ], '<', \undef, '>&', \my $said);
	my $pooled = directory('pooled', 'V1__x.sql' => "CREATE TABLE pooled (x int);\nSET search_path = pg_catalog;\n", 'V2__x.sql' => "CREATE INDEX CONCURRENTLY pooled_x ON public.pooled (x);\nVACUUM public.pooled;\n",
		map { ("V${_}__x.sql" => "INSERT INTO pooled VALUES ($_)") } 3 .. 10);
	my @pooled_runs;
	for (1 .. 5)
	{
		my $pooled_run = { out => '' };
		for my $try (1 .. 600) { last if -S "$socket/.s.PGSQL.$port"; sleep 0.1; }
		$pooled_run->{run} = start([ $ENV{DBOPS_CLI}, '--dbname', "host=$socket port=$port dbname=postgres user=$user", 'migrate', '--dir', $pooled, '--project', 'pooled' ],
			'<', \undef, '>&', \$pooled_run->{out}, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
		push @pooled_runs, $pooled_run;
	}
	my @ended = map { (finish($_))[0] } @pooled_runs;
	is("@ended", '0 0 0 0 0', 'five runners through PgBouncer') or diag map { $_->{out} } @pooled_runs;
	is(history('pooled'), join(', ', map { "$_ true" } 1 .. 10), 'each migration once, in order');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM pooled'), 8, 'the data are there once');
	ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", 0), 'no lock is stranded');
	$bouncer->kill_kill;
}
$node->stop;
done_testing();
