# When the launcher acts: at the time that a job is due, now and then, and not for databases that are none of its business.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(time sleep);
use PostgreSQL::Test::Utils;
use Dbops;

my $node = Dbops::node('launcher', conf => "log_min_messages = debug1\ndbops.max_workers = 2\nautovacuum = off\n");
sub sql { my ($database, $sql) = @_; return $node->safe_psql($database, $sql); }
sub database { my ($name) = @_; sql('postgres', "CREATE DATABASE $name"); return Dbops::value($node, "SELECT oid FROM pg_database WHERE datname = '$name'"); }
sub looks_at { my ($oid) = @_; my $n = () = PostgreSQL::Test::Utils::slurp_file($node->logfile) =~ /starting background worker process "dbops dispatcher for database $oid"/g; return $n; }
sub setting { my ($text) = @_; sql('postgres', "ALTER SYSTEM SET $text"); $node->reload; return; }

# --- a job that becomes due while the workers go on ---------------------------------------------------------------------
sql('postgres', q{
	CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t (id) SELECT generate_series(1, 1000);
	CREATE FUNCTION slowly(v int, s float8) RETURNS int LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(s); RETURN v; END$$;
	CREATE TABLE gate (shut boolean); INSERT INTO gate VALUES (true);
	CREATE FUNCTION pass(v int) RETURNS int LANGUAGE plpgsql AS $$BEGIN WHILE (SELECT shut FROM gate) LOOP PERFORM pg_sleep(0.02); END LOOP; RETURN v; END$$});
# Known to nobody but who looks: put into the tables by hand.
sub quietly
{
	my ($like, $not_before) = @_;
	return (split /\n/, sql('postgres', qq{
		CREATE TEMP TABLE made AS SELECT 0::bigint AS job_id;
		WITH j AS (INSERT INTO dbops.job (kind, target_oid, target_name, owner_oid, owner_name, created_by, spec, rows_total, not_before)
		  SELECT kind, target_oid, target_name, owner_oid, owner_name, created_by, spec, rows_total, $not_before FROM dbops.job WHERE job_id = $like RETURNING job_id)
		UPDATE made SET job_id = j.job_id FROM j;
		INSERT INTO dbops.job_slice (job_id, slice) SELECT job_id, 0 FROM made;
		INSERT INTO dbops.job_cursor (job_id, strategy, position) SELECT made.job_id, c.strategy, '{}' FROM made, dbops.job_cursor c WHERE c.job_id = $like;
		SELECT job_id FROM made}))[-1];
}
my $long  = Dbops::backfill($node, q{'t', 'n = slowly(n + 1, 0.04)', max_batch_rows => 20, stripes => 1, priority => -1});
my $short = Dbops::backfill($node, q{'t', 'n = pass(n + 1)', max_batch_rows => 20, stripes => 1});
ok(Dbops::wait_for($node, "SELECT string_agg(state, ',') FROM dbops.jobs WHERE job_id IN ($long, $short)", 'running,running'), 'both slots are in use');
my $next = quietly($long, 'NULL');
my $due  = quietly($short, q{clock_timestamp() + interval '6 s'});
sql('postgres', 'UPDATE gate SET shut = false');
is(Dbops::wait_job($node, $short, 60), 'succeeded', 'one is free');
ok(Dbops::wait_for($node, "SELECT state FROM dbops.jobs WHERE job_id = $next", 'running', 10), 'and taken by the next job at once');
sql('postgres', "SELECT dbops.cancel($long)");
ok(Dbops::wait_for($node, "SELECT state IN ('running', 'succeeded') FROM dbops.jobs WHERE job_id = $due", 't', 60), 'a job with a time starts');
is(Dbops::value($node, "SELECT extract(epoch FROM started_at - (SELECT max(at) FROM dbops.job_events WHERE job_id = $short)) BETWEEN 0 AND 15 FROM dbops.jobs WHERE job_id = $due"), 't', 'when it is due, not when the launcher wakes anyway');
sql('postgres', "SELECT dbops.cancel(job_id) FROM dbops.jobs WHERE state IN ('queued', 'running')");
ok(Dbops::at_rest($node), 'at rest');

# --- which databases are looked at ----------------------------------------------------------------------------------------
my ($other, $plain) = (database('other'), database('plain'));
Dbops::create_extension($node, 'other');
sql('postgres', 'CREATE DATABASE copy TEMPLATE plain; DROP DATABASE copy');    # the new ones are known then
ok(Dbops::at_rest($node), 'at rest');
my @before = (looks_at($other), looks_at($plain));
sql('postgres', 'CREATE DATABASE copy TEMPLATE plain');
sql('postgres', 'ALTER DATABASE copy RENAME TO renamed');
sql('postgres', 'DROP DATABASE renamed');
sql('postgres', 'CREATE DATABASE copy TEMPLATE plain; DROP DATABASE copy');
ok(Dbops::at_rest($node), 'at rest again');
is(looks_at($other), $before[0], 'CREATE, ALTER and DROP DATABASE of others: nobody looks into a database that is not concerned');

# A copy has the jobs of its template.
sql('other', q{CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t (id) SELECT generate_series(1, 100)});
setting('dbops.max_workers = 0');
ok(Dbops::wait_for($node, 'SHOW dbops.max_workers', 0), 'no worker');
my $job = Dbops::backfill($node, q{'t', 'n = n + 1'}, 'other');
sql('postgres', 'CREATE DATABASE copy TEMPLATE other');
setting('dbops.max_workers = 2');
is(Dbops::wait_job($node, $job, 30, database => 'copy'), 'succeeded', 'the job of a copy is found');
is(Dbops::wait_job($node, $job, 30, database => 'other'), 'succeeded', 'and that of its template');

# --- two that want the same database ---------------------------------------------------------------------------------------
# Both wait some five seconds for a session in it, then fail; the first of them must not let the workers in for both.
sql('other', q{CREATE FUNCTION slowly(v int) RETURNS int LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(0.1); RETURN v; END$$});
$job = Dbops::backfill($node, q{'t', 'n = slowly(n + 1)', max_batch_rows => 2, stripes => 1}, 'other');
ok(Dbops::wait_for($node, "SELECT rows_done > 0 FROM dbops.jobs WHERE job_id = $job", 't', 30, 'other'), 'a job is under way');
my $guest = Dbops::start_sql($node, 'SELECT pg_sleep(60)', database => 'other');
ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'other' AND wait_event = 'PgSleep' AND backend_type = 'client backend'}, 1), 'so is a session');
my $one = Dbops::start_sql($node, 'ALTER DATABASE other RENAME TO another');
ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'ALTER DATABASE other%' AND pid <> pg_backend_pid()}, 1), 'the first');
sleep 2;
my $two = Dbops::start_sql($node, 'CREATE DATABASE copy2 TEMPLATE other');
ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE DATABASE copy2%' AND pid <> pg_backend_pid()}, 1), 'the second');
# In one session, which looks as often as the machine lets it: from when the first has given up to when the second does.
my ($wants, $back) = split /\|/, sql('postgres', q{
	CREATE TEMP TABLE seen (first boolean, second boolean, back bigint);
	DO $$
	DECLARE f boolean := true; s boolean := true; b bigint;
	BEGIN
	  WHILE f OR s LOOP
	    PERFORM pg_stat_clear_snapshot();
	    SELECT coalesce(bool_or(query LIKE 'ALTER DATABASE other%' AND state = 'active'), false), coalesce(bool_or(query LIKE 'CREATE DATABASE copy2%' AND state = 'active'), false),
	           count(*) FILTER (WHERE datname = 'other' AND backend_type LIKE 'dbops%')
	      INTO f, s, b FROM pg_stat_activity WHERE pid <> pg_backend_pid();
	    INSERT INTO seen VALUES (f, s, b);
	    PERFORM pg_sleep(0.01);
	  END LOOP;
	END$$;
	SELECT count(*), coalesce(sum(back), 0) FROM seen WHERE NOT first AND second});
like((Dbops::finish_sql($one, 30))[1], qr/^55006:/, 'the first gives up');
cmp_ok($wants, '>', 3, "the second still wants it ($wants samples)");
is($back, 0, 'and no process of dbops came back meanwhile');
like((Dbops::finish_sql($two, 30))[1], qr/^55006:/, 'the second gives up');
ok(Dbops::wait_for($node, "SELECT state FROM dbops.jobs WHERE job_id = $job", 'running', 15, 'other'), 'then the job goes on');
sql('other', "SELECT dbops.cancel($job)");
sql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'other' AND wait_event = 'PgSleep'});
Dbops::finish_sql($guest);

# --- now and then ------------------------------------------------------------------------------------------------------------
ok(Dbops::at_rest($node), 'at rest');
is(sql('postgres', 'SHOW dbops.housekeeping_interval'), '1d', 'each database is looked at once a day');
my $jobs = q{SELECT count(*) FROM dbops.jobs WHERE state NOT IN ('queued', 'running')};
cmp_ok(sql('other', $jobs), '>', 1, 'there is history');
# More of it than is deleted in one transaction.
sql('other', qq{INSERT INTO dbops.job (kind, target_oid, target_name, owner_oid, owner_name, created_by, spec, state, finished_at)
	SELECT kind, target_oid, target_name, owner_oid, owner_name, created_by, spec, 'failed', now() FROM dbops.job, generate_series(1, 3500) WHERE job_id = $job;
	UPDATE dbops.job SET finished_at = finished_at - interval '31 days'});
my $looks = looks_at($other);
setting(q{dbops.housekeeping_interval = '2s'});
ok(Dbops::wait_for($node, $jobs, 0, 60, 'other'), 'history is pruned in an idle server');
cmp_ok(looks_at($other), '>', $looks, 'because somebody looks');
setting(q{dbops.housekeeping_interval = '1d'});

# --- more databases than there are places for ---------------------------------------------------------------------------------
# Rows of pg_database that share the files of one; nobody writes to it.
my $many = 1_100;
$node->stop;
my $base = $node->data_dir . '/base';
symlink "$base/$plain", "$base/" . (200_000 + $_) or die "symlink: $!" for 1 .. $many;
$node->append_conf('postgresql.conf', "log_min_messages = warning\n");
$node->start;
sql('postgres', qq{SET allow_system_table_mods = on;
	INSERT INTO pg_database SELECT (jsonb_populate_record(d, jsonb_build_object('oid', 200000 + i, 'datname', 'many' || i))).*
	FROM pg_database d, generate_series(1, $many) i WHERE d.datname = 'plain'});
$node->restart;
my $launcher = Dbops::launcher($node);
sub wakeups { open my $f, '<', "/proc/$launcher/status" or die; return (join('', <$f>) =~ /^voluntary_ctxt_switches:\s+(\d+)/m)[0]; }
$job = Dbops::backfill($node, q{'t', 'n = n + 1'}, 'other');
is(Dbops::wait_job($node, $job, 60, database => 'other'), 'succeeded', "$many databases: a job runs at once");
my $rest = 0;
for (my ($last, $i) = (-1, 0); $i < 180 && !$rest; ++$i)
{
	my $now = wakeups();
	$rest = $now == $last;
	$last = $now;
	sleep 2;
}
ok($rest, "$many databases: the launcher comes to rest");
my $woken = wakeups();
sleep 5;    # the window that is measured
cmp_ok(wakeups() - $woken, '<=', 1, "$many databases: and stays there");
$job = Dbops::backfill($node, q{'t', 'n = n + 1'}, 'copy');
is(Dbops::wait_job($node, $job, 60, database => 'copy'), 'succeeded', "$many databases: each finds a place");
$node->stop;
ok(!$node->log_contains(qr/PANIC|TRAP|was terminated by signal/), 'no crash');
unlink glob "$base/2[0-9][0-9][0-9][0-9][0-9]";
done_testing();
