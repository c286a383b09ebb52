# Several databases; too few slots and processes; what happens to jobs when their database, the extension or their table is
# dropped, renamed, copied or changed while they run.
use strict;
use warnings;
use File::Copy ();
use File::Path ();
use Test::More;
use Time::HiRes qw(time sleep);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Dbops;

# Slow until hurry(): long enough for what is done to a job meanwhile, on a slow machine as well.
my $slow = q{CREATE TABLE pace (seconds float8); INSERT INTO pace VALUES (0.02);
	CREATE FUNCTION slowly(v int) RETURNS int LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(seconds) FROM public.pace WHERE seconds > 0; RETURN v; END$$;};
my $pace = q{max_batch_rows => 50, stripes => 1, nice_ratio => 0};
my $node = Dbops::node('databases', conf => "dbops.max_workers = 3\nlog_min_messages = debug1\nautovacuum = off\n");

sub sql { my ($database, $sql) = @_; return $node->safe_psql($database, $sql); }
sub database
{
	my ($name, $rows) = @_;
	sql('postgres', "CREATE DATABASE $name");
	sql($name, "CREATE EXTENSION dbops; $slow CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0) WITH (fillfactor = 50);"
		  . " INSERT INTO t (id) SELECT generate_series(1, $rows)");
	return;
}
sub hurry { my (@databases) = @_; sql($_, 'UPDATE pace SET seconds = 0') for @databases; return; }
sub dawdle { my (@databases) = @_; sql($_, 'UPDATE pace SET seconds = 0.02') for @databases; return; }
sub slow_job { my ($database) = @_; return Dbops::backfill($node, "'t', 'n = slowly(n + 1)', $pace", $database); }
sub under_way { my ($job, $database) = @_; return ok(Dbops::wait_for($node, "SELECT state = 'running' AND rows_done > 0 FROM dbops.jobs WHERE job_id = $job", 't', 60, $database), ($database // 'postgres') . ": job $job is under way"); }
sub once { my ($database, $what, $table) = @_; $table //= 't'; return is(sql($database, "SELECT count(*) FILTER (WHERE n <> 1) FROM $table"), 0, $what); }
sub ends { my ($job, $database, $what) = @_; return is(Dbops::wait_job($node, $job, 90, database => $database), 'succeeded', $what); }
sub in_time { my ($what, $code) = @_; my $begin = time(); $code->(); my $took = time() - $begin; ok($took < 20, sprintf('%s: in %.1f s', $what, $took)); return; }
sub workers_setting { my ($n) = @_; sql('postgres', "ALTER SYSTEM SET dbops.max_workers = $n"); $node->reload; Dbops::wait_for($node, 'SHOW dbops.max_workers', $n); return; }

# --- several at once, more than there are slots ------------------------------------------------------------------------------
database("d$_", 300) for 1 .. 4;
my %job = map { ("d$_" => slow_job("d$_")) } 1 .. 4;
hurry(map { "d$_" } 1 .. 4);
ends($job{$_}, $_, "$_: done") for sort keys %job;
once($_, "$_: each row once") for sort keys %job;

workers_setting(1);
my $first = Dbops::backfill($node, q{'t', 'n = 1 + (pg_sleep(600) IS NULL)::int', 'n = 1'}, 'd1');
ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'dbops worker' AND wait_event = 'PgSleep'}, 1), 'one job has the only slot');
my $second = Dbops::backfill($node, q{'t', 'n = 2', 'n = 1'}, 'd2');
is(Dbops::value($node, "SELECT waiting_for FROM dbops.progress WHERE job_id = $second", 'd2'), 'a free worker', 'a job in another database waits for it');
my $third = Dbops::backfill($node, q{'t', 'n = 2', 'n = 1'}, 'd3');
is(Dbops::refusal($node, "CALL dbops.run($third)", database => 'd3'), '', 'CALL dbops.run needs none');
sql('d1', "SELECT dbops.cancel($first)");
ends($second, 'd2', 'the slot becomes free: it runs');
workers_setting(3);

# --- databases dropped, renamed, copied ------------------------------------------------------------------------------------------
# d1 to d3 run a job; it is in the middle of a batch nearly always.
sql($_, 'UPDATE t SET n = 0; INSERT INTO t (id) SELECT generate_series(301, 1500)') for qw(d1 d2 d3);
dawdle(qw(d1 d2 d3));
$job{$_} = slow_job($_) for qw(d1 d2 d3);
under_way($job{$_}, $_) for qw(d1 d2 d3);
in_time('DROP DATABASE', sub { sql('postgres', 'DROP DATABASE d1') });
in_time('ALTER DATABASE RENAME', sub { sql('postgres', 'ALTER DATABASE d2 RENAME TO renamed') });
in_time('CREATE DATABASE TEMPLATE', sub { sql('postgres', 'CREATE DATABASE copy TEMPLATE d3') });
is(sql('postgres', q{SELECT string_agg(datname, ',' ORDER BY datname) FROM pg_database WHERE NOT datistemplate}), 'copy,d3,d4,postgres,renamed', 'all three have been done');
hurry(qw(renamed d3 copy));
ends($job{d2}, 'renamed', 'renamed: the job goes on');
once('renamed', 'renamed: each row once');
ends($job{d3}, 'd3', 'copied: the job goes on');
once('d3', 'copied: each row once');

# Templates are databases too: after a start jobs there are found as well.
sql('postgres', 'ALTER DATABASE d4 IS_TEMPLATE true');
sql('d4', 'UPDATE t SET n = 0');
dawdle('d4');
$job{d4} = slow_job('d4');
under_way($job{d4}, 'd4');
$node->restart;
hurry('d4');
ends($job{d4}, 'd4', 'a template: the job goes on after a restart');
once('d4', 'a template: each row once');
sql('postgres', 'ALTER DATABASE d4 IS_TEMPLATE false');
# What is copied when nothing is said.
sql('template1', "CREATE EXTENSION dbops; $slow CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t (id) SELECT generate_series(1, 1000)");
my $common = slow_job('template1');
under_way($common, 'template1');
in_time('CREATE DATABASE', sub { sql('postgres', 'CREATE DATABASE plain') });
sql('postgres', 'DROP DATABASE plain');
hurry('template1');
ends($common, 'template1', 'template1: the job goes on');
once('template1', 'template1: each row once');
sql('template1', 'DROP EXTENSION dbops; DROP TABLE t, pace; DROP FUNCTION slowly');
# The copy has the rows and the cursor of one moment: its job is a job like any other.
ends($job{d3}, 'copy', 'in the copy as well');
once('copy', 'the copy: each row once');
like(Dbops::events($node, $job{d3}, 'd3'), qr/start>running by dbops, requeue>queued by dbops, start>running by dbops/, 'the history says that the worker had to leave');
is(sql('d3', "SELECT count(*) FROM dbops.job_runs WHERE job_id = $job{d3} AND outcome = 'lost'"), 0, 'nothing was lost by that');
sql('postgres', 'DROP DATABASE copy; DROP DATABASE renamed; DROP DATABASE d4');
# Moved to another tablespace, and back.
database('moving', 900);
sql('postgres', q{SET allow_in_place_tablespaces = on; CREATE TABLESPACE elsewhere LOCATION ''});
$first = slow_job('moving');
for my $place (qw(elsewhere pg_default))
{
	under_way($first, 'moving');
	in_time("ALTER DATABASE SET TABLESPACE $place", sub { sql('postgres', "ALTER DATABASE moving SET TABLESPACE $place") });
	is(sql('postgres', q{SELECT t.spcname FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace WHERE datname = 'moving'}), $place, "it is in $place");
}
hurry('moving');
ends($first, 'moving', 'moved: the job goes on');
once('moving', 'moved: each row once');
is(sql('moving', "SELECT count(*) FILTER (WHERE outcome = 'lost'), count(*) > 2 FROM dbops.job_runs WHERE job_id = $first"), '0|t', 'nothing was lost by that');
sql('postgres', 'DROP DATABASE moving');
# A statement of ten minutes is ended for it.
$first = Dbops::backfill($node, q{'t', 'n = 1 + (pg_sleep(600) IS NULL)::int', 'n = 1'}, 'd3');
ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'dbops worker' AND wait_event = 'PgSleep'}, 1), 'a long statement');
in_time('DROP DATABASE in a long statement', sub { sql('postgres', 'DROP DATABASE d3') });
# Who may not drop it disturbs nobody.
database('mine', 400);
sql('postgres', 'CREATE ROLE eve LOGIN');
$first = slow_job('mine');
under_way($first, 'mine');
like(Dbops::refusal($node, 'DROP DATABASE mine', role => 'eve'), qr/^42501:/, 'DROP DATABASE by a stranger is refused');
hurry('mine');
ends($first, 'mine', 'the job goes on');
is(sql('mine', "SELECT count(*) FROM dbops.job_runs WHERE job_id = $first"), 1, 'undisturbed');
once('mine', 'each row once');

# --- the extension ------------------------------------------------------------------------------------------------------------
database('ext', 1500);
$first = slow_job('ext');
under_way($first, 'ext');
in_time('DROP EXTENSION', sub { sql('ext', 'DROP EXTENSION dbops') });
ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'ext' AND backend_type LIKE 'dbops%'}, 0, 30), 'the worker leaves');
my $left = sql('ext', 'SELECT sum(n) FROM t');
cmp_ok($left, '<', 1500, 'the job is gone with it');

# A statement of ten minutes is ended for it; also by a DROP OWNED, and for nobody who may not.
sub long_statement
{
	my $id = Dbops::backfill($node, q{'t', 'n = 1 + (pg_sleep(600) IS NULL)::int'}, 'ext');
	ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'dbops worker' AND wait_event = 'PgSleep'}, 1), 'a long statement');
	return $id;
}
sql('ext', 'CREATE EXTENSION dbops');
$first = long_statement();
like(Dbops::refusal($node, 'DROP EXTENSION dbops', role => 'eve', database => 'ext'), qr/^42501:/, 'DROP EXTENSION by a stranger is refused');
like(Dbops::refusal($node, 'DROP OWNED BY eve', role => 'eve', database => 'ext'), qr/^$/, 'DROP OWNED by a stranger');
is(sql('ext', "SELECT count(*), min(outcome) FROM dbops.job_runs WHERE job_id = $first"), '1|running', 'the job is undisturbed by both');
in_time('BEGIN; DROP EXTENSION; ROLLBACK', sub { sql('ext', 'BEGIN; DROP EXTENSION dbops; ROLLBACK') });
ok(Dbops::wait_for($node, "SELECT outcome FROM dbops.job_runs WHERE job_id = $first ORDER BY run_id DESC LIMIT 1", 'running', 30, 'ext'), 'rolled back: the job goes on');
ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'dbops worker' AND wait_event = 'PgSleep'}, 1), 'in its long statement');
in_time('DROP EXTENSION in a long statement', sub { sql('ext', 'DROP EXTENSION dbops') });
is(sql('ext', 'SELECT count(*) FROM t WHERE n = 1'), $left, 'whose batch was rolled back');
sql('postgres', 'CREATE ROLE su SUPERUSER LOGIN');
sql('ext', 'DROP SCHEMA dbops');
Dbops::value_as($node, 'su', 'CREATE EXTENSION dbops', 'ext');
long_statement();
in_time('DROP OWNED', sub { sql('ext', 'DROP OWNED BY su') });
is(sql('ext', q{SELECT count(*) FROM pg_extension WHERE extname = 'dbops'}), 0, 'and it is gone');
sql('postgres', 'DROP ROLE su');

# Dropped and made again in one go: the new job has the id of the old one, on another table.
sql('ext', 'CREATE EXTENSION dbops; UPDATE t SET n = 0; CREATE TABLE t2 (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t2 (id) SELECT generate_series(1, 300)');
for my $round (1 .. 3)
{
	$first = slow_job('ext');
	under_way($first, 'ext');
	my $new = (split /\n/, sql('ext', "BEGIN; DROP EXTENSION dbops; CREATE EXTENSION dbops;"
		  . " SELECT dbops.backfill('t2', 'n = n + 1'); COMMIT"))[-1];
	is($new, $first, "round $round: the new job has the old one's id");
	my $before = sql('ext', 'SELECT sum(n) FROM t');
	ends($new, 'ext', "round $round: the new job ends");
	is(sql('ext', "SELECT count(*) FILTER (WHERE n <> $round) FROM t2"), 0, "round $round: each row once");
	is(sql('ext', "SELECT sum(rows_done), count(*) FROM dbops.job_runs WHERE job_id = $new"), '300|1', "round $round: by one worker of its own");
	is(sql('ext', 'SELECT sum(n) FROM t'), $before, "round $round: the old one did no more");
	is(sql('ext', 'SELECT count(*) FROM dbops.jobs'), 1, "round $round: and left no trace");
	sql('ext', 'DROP EXTENSION dbops; CREATE EXTENSION dbops; UPDATE t SET n = 0');
}

# --- the table ------------------------------------------------------------------------------------------------------------------
workers_setting(12);
sql('ext', q{
	CREATE TABLE parted (id int, n int NOT NULL DEFAULT 0, PRIMARY KEY (id)) PARTITION BY RANGE (id);
	CREATE TABLE parted1 PARTITION OF parted FOR VALUES FROM (0) TO (500);
	CREATE TABLE parted2 PARTITION OF parted FOR VALUES FROM (500) TO (1000);
	CREATE TABLE parted3 PARTITION OF parted FOR VALUES FROM (1000) TO (1500);
	INSERT INTO parted SELECT generate_series(1, 1400);
	CREATE TABLE late (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
	INSERT INTO late SELECT generate_series(2000, 2100)});
my %change = (
	dropped => 'DROP TABLE dropped', truncated => 'TRUNCATE truncated', renamed => 'ALTER TABLE renamed RENAME TO renamed_now',
	moved => 'CREATE SCHEMA s; ALTER TABLE moved SET SCHEMA s', column_dropped => 'ALTER TABLE column_dropped DROP COLUMN n',
	retyped => 'ALTER TABLE retyped ALTER n TYPE bigint', packed => 'VACUUM FULL packed', packed_block => 'VACUUM FULL packed_block',
	clustered => 'CLUSTER clustered USING clustered_pkey', parted => 'ALTER TABLE parted ATTACH PARTITION late FOR VALUES FROM (2000) TO (3000); DROP TABLE parted3');
my %on;
for my $table (sort keys %change)
{
	sql('ext', "CREATE TABLE $table (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO $table (id) SELECT generate_series(1, 1200)") unless $table eq 'parted';
	my $how = $table eq 'packed_block' || $table eq 'parted' ? "'n = slowly(1)', 'n = 0', strategy => 'block'" : "'n = slowly((n + 1)::int)', strategy => 'key'";
	$on{$table} = Dbops::backfill($node, "'$table', $how, " . ($pace =~ s/stripes => 1, //r), 'ext');
}
for my $table (sort keys %change)
{
	under_way($on{$table}, 'ext');
	in_time($change{$table}, sub { sql('ext', $change{$table}) });
}
hurry('ext');
sub fails
{
	my ($table, $pattern) = @_;
	is(Dbops::wait_job($node, $on{$table}, 90, database => 'ext'), 'failed', "$table: the job fails");
	like(sql('ext', "SELECT last_sqlstate, last_error FROM dbops.jobs WHERE job_id = $on{$table}"), $pattern, "$table: with a reason");
	return;
}
fails('dropped', qr/^42P01\|.*dropped/);
is(sql('ext', "SELECT target FROM dbops.jobs WHERE job_id = $on{dropped}"), 'public.dropped', 'its name is still known');
fails('column_dropped', qr/^42703\|.*"n"/);
sql('ext', "ALTER TABLE column_dropped ADD n int NOT NULL DEFAULT 0; SELECT dbops.retry($on{column_dropped})");
ends($on{column_dropped}, 'ext', 'column_dropped: mended and retried, it ends');
ends($on{$_}, 'ext', "$_: the job ends") for qw(truncated renamed moved retyped packed packed_block clustered parted);
is(sql('ext', 'SELECT count(*) FROM truncated'), 0, 'truncated: it is empty');
once('ext', "$_: each row once", $_) for qw(renamed_now s.moved retyped packed packed_block clustered parted);
is(sql('ext', 'SELECT count(*) FROM parted'), 1100, 'parted: one partition has come, one has gone');
is(sql('ext', "SELECT target FROM dbops.jobs WHERE job_id = $on{renamed}"), 'renamed_now', 'renamed: dbops.jobs shows the new name');
$node->stop;
ok(!$node->log_contains(qr/PANIC|TRAP|was terminated by signal|cache lookup failed|could not open relation with OID/), 'the server log is clean');

# --- the extension updated, by a script of this test's own -------------------------------------------------------------------------
my $share = `pg_config --sharedir`;
chomp $share;
$node->start;
my $major = int(Dbops::value($node, 'SHOW server_version_num') / 10000);
my $place = Dbops::value($node, $major >= 18 ? 'SHOW extension_control_path' : 'SHOW extension_destdir');
my ($stage) = $major >= 18 ? $place =~ /^(.*?)\Q$share\E/ : ($place);
my $private = PostgreSQL::Test::Utils::tempdir();
File::Path::make_path("$private$share/extension");
File::Copy::copy($_, "$private$share/extension/") for glob "$stage$share/extension/dbops*";
# Debian looks for the library in extension_destdir as well; a link, so that it is the same library.
my $library = `pg_config --pkglibdir`;
chomp $library;
File::Path::make_path("$private$library");
symlink "$stage$library/dbops.so", "$private$library/dbops.so" or die "symlink: $!";
my ($version) = PostgreSQL::Test::Utils::slurp_file("$private$share/extension/dbops.control") =~ /default_version = '([^']*)'/;
PostgreSQL::Test::Utils::append_to_file("$private$share/extension/dbops--$version--next.sql", "CREATE TABLE dbops.from_the_future ();\n");
$node->append_conf('postgresql.conf', $major >= 18 ? "extension_control_path = '$private$share:\$system'\n" : "extension_destdir = '$private'\n");
$node->restart;
sql('ext', 'UPDATE t SET n = 0');
dawdle('ext');
$first = slow_job('ext');
under_way($first, 'ext');
in_time('ALTER EXTENSION UPDATE', sub { sql('ext', q{ALTER EXTENSION dbops UPDATE TO 'next'}) });
hurry('ext');
ends($first, 'ext', 'updated: the job goes on');
once('ext', 'updated: each row once');
is(sql('ext', "SELECT string_agg(outcome, ',' ORDER BY run_id) FROM dbops.job_runs WHERE job_id = $first"), 'stopped,finished', 'updated: in a new worker');
$node->stop;

# --- no process to be had --------------------------------------------------------------------------------------------------------
sub starts { my ($n) = @_; return () = PostgreSQL::Test::Utils::slurp_file($n->logfile) =~ /starting background worker process "dbops|no free background worker/g; }
for my $processes (1, 2)
{
	my $few = Dbops::node("few$processes", conf => "max_worker_processes = $processes\nmax_logical_replication_workers = 0\nlog_min_messages = debug1\n");
	$few->safe_psql('postgres', 'CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t (id) SELECT generate_series(1, 100)');
	if ($processes == 2)    # the launcher's, and one more
	{
		$few->safe_psql('postgres', 'CREATE ROLE ann LOGIN; GRANT ALL ON t TO ann; CREATE DATABASE other');
		Dbops::create_extension($few, 'other');
		$few->safe_psql('other', 'CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t (id) SELECT generate_series(1, 100)');
		my @jobs = map { Dbops::backfill($few, q{'t', 'n = n + 1', parallel => 2}) } 1 .. 2;
		push @jobs, Dbops::value_as($few, 'ann', q{SELECT dbops.backfill('t', 'n = n + 1')});
		my $elsewhere = Dbops::backfill($few, q{'t', 'n = n + 1'}, 'other');
		is(Dbops::wait_job($few, $_, 60), 'succeeded', "one free process: job $_ is done") for @jobs;
		is(Dbops::wait_job($few, $elsewhere, 60, database => 'other'), 'succeeded', 'one free process: also in another database');
		is(Dbops::value($few, 'SELECT count(*) FROM t WHERE n = 3'), 100, 'each row once by each');
		$few->stop;
		next;
	}
	my @jobs = map { Dbops::backfill($few, q{'t', 'n = n + 1'}) } 1 .. 3;
	ok(Dbops::wait_for($few, "SELECT waiting_for FROM dbops.progress WHERE job_id = $jobs[0]", 'a free process: max_worker_processes is too low'), 'no free process: progress names the setting');
	my $before = starts($few);
	sleep 5;    # the time that is looked at
	my $tries = starts($few) - $before;
	cmp_ok($tries, '<=', 15, "max_worker_processes = $processes: no busy loop, $tries tries in five seconds");
	is(Dbops::value($few, q{SELECT string_agg(DISTINCT state, ',') FROM dbops.jobs}), 'queued', "max_worker_processes = $processes: the jobs stay queued");
	is(Dbops::refusal($few, "CALL dbops.run($_)"), '', "max_worker_processes = $processes: CALL dbops.run does one") for @jobs;
	is(Dbops::value($few, 'SELECT count(*) FROM t WHERE n = 3'), 100, 'each row once by each');
	$few->stop;
}
done_testing();
