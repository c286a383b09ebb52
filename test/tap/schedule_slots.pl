# Who gets a slot: schedules by their priority, before backfills that hold all of them; and what becomes of runs when their
# database goes, and of old runs.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(sleep);
use Dbops;

my $node = Dbops::node('slots', conf => "autovacuum = off\ndbops.max_workers = 1\n");
sub sql { return Dbops::value($node, $_[0]); }
sql('CREATE TABLE log (n int GENERATED ALWAYS AS IDENTITY, what text)');

# --- priority ---------------------------------------------------------------------------------------------------------------
sql(q{SELECT dbops.schedule('first of all', '@yearly', $$SELECT pg_sleep(2)$$); SELECT dbops.run_now('first of all')});
ok(Dbops::wait_for($node, "SELECT state FROM dbops.schedules WHERE name = 'first of all'", 'running'), 'the only slot is taken');
sql(qq{SELECT dbops.schedule('p $_', '\@yearly', \$\$INSERT INTO log (what) VALUES ('$_')\$\$, priority => $_)}) for (0, 5, -3, 1000, 7);
sql("SELECT dbops.run_now(name) FROM dbops.schedules WHERE name LIKE 'p %'");
ok(Dbops::wait_for($node, 'SELECT count(*) FROM log', 5), 'then the others run');
is(sql("SELECT string_agg(what, ' ' ORDER BY n) FROM log"), '1000 7 5 0 -3', 'the highest priority first');
sql("SELECT dbops.unschedule(name) FROM dbops.schedules");

# --- many that are due at once: each is found without reading the others -----------------------------------------------------------
my $read = "SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) FROM pg_stat_all_tables WHERE relid IN ('dbops.job'::regclass, 'dbops.schedule'::regclass)";
sql(q{SELECT dbops.schedule('first of all', '@yearly', $$SELECT pg_sleep(2)$$); SELECT dbops.run_now('first of all')});
ok(Dbops::wait_for($node, "SELECT state FROM dbops.schedules WHERE name = 'first of all'", 'running'), 'the only slot is taken again');
sql(q{TRUNCATE log; SELECT count(dbops.schedule('m ' || i, '@yearly', 'INSERT INTO log (what) VALUES (' || i || ')')) FROM generate_series(1, 600) i});
sql("SELECT count(dbops.run_now(name)) FROM dbops.schedules WHERE name LIKE 'm %'");
my $before = sql($read);
ok(Dbops::wait_for($node, 'SELECT count(*) FROM log', 600, 180), 'all run');
is(sql('SELECT count(DISTINCT what) FROM log'), 600, 'each of them');
my $rows = sql($read) - $before;
cmp_ok($rows, '<', 600 * 100, "rows of schedules that were read for that: $rows");
sql("SELECT count(dbops.unschedule(name)) FROM dbops.schedules");

# --- a long backfill gives its slot back between two batches --------------------------------------------------------------------
sql('CREATE TABLE big (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO big SELECT i FROM generate_series(1, 4000) i');
my $job = Dbops::backfill($node, q{target => 'big', assignments => 'n = n + 1', max_rows_per_second => 200});
is(Dbops::wait_job($node, $job, undef, states => ['running']), 'running', 'a backfill holds the only slot');
ok(Dbops::wait_for($node, "SELECT rows_done > 0 FROM dbops.jobs WHERE job_id = $job", 't'), 'and works');
sql(q{SELECT dbops.schedule('tick', 'every 2 seconds', $$INSERT INTO log (what) VALUES ('tick')$$)});
ok(Dbops::wait_for($node, "SELECT runs >= 3 FROM dbops.schedules WHERE name = 'tick'", 't', 60), 'a schedule runs beside it');
is(Dbops::job_state($node, $job) eq 'succeeded' ? 1 : 0, 0, 'which has not ended');
sql("SELECT dbops.unschedule('tick')");
is(Dbops::wait_job($node, $job, 120), 'succeeded', 'it ends');
is(sql('SELECT count(*) FILTER (WHERE n = 1), count(*) FROM big'), '4000|4000', 'and has changed each row once');
is(sql("SELECT count(*) FROM dbops.job_runs WHERE job_id = $job AND outcome NOT IN ('stopped', 'finished')"), 0, 'none of its runs was lost');
cmp_ok(sql("SELECT count(*) FROM dbops.job_events WHERE job_id = $job AND reason = 'gave its slot to a scheduled command'"), '>=', 1, 'its history says what it did');

# --- one of several workers is enough ----------------------------------------------------------------------------------------------
sql('ALTER SYSTEM SET dbops.max_workers = 2; SELECT pg_reload_conf()');
$job = Dbops::backfill($node, q{target => 'big', assignments => 'n = n + 1', condition => 'id > 0', max_rows_per_second => 300, parallel => 2});
ok(Dbops::wait_for($node, "SELECT count(*) FROM dbops.job_runs WHERE job_id = $job AND outcome = 'running'", 2), 'a job with two workers');
sql(q{SELECT dbops.schedule('tock', '@yearly', 'SELECT pg_sleep(1)'); SELECT dbops.run_now('tock')});
ok(Dbops::wait_for($node, "SELECT runs FROM dbops.schedules WHERE name = 'tock'", 1), 'a schedule runs');
is(Dbops::wait_job($node, $job, 120), 'succeeded', 'and so does the job');
is(sql('SELECT count(*) FILTER (WHERE n = 2), count(*) FROM big'), '4000|4000', 'each row once');
is(sql("SELECT coalesce(string_agg(reason, ', '), '') FROM dbops.job_events WHERE job_id = $job AND action = 'requeue'"), '', 'the other worker went on');

# --- a job of a higher priority keeps its slot ----------------------------------------------------------------------------------------
sql('ALTER SYSTEM SET dbops.max_workers = 1; SELECT pg_reload_conf()');
$job = Dbops::backfill($node, q{target => 'big', assignments => 'n = n + 1', condition => 'id > 0', max_rows_per_second => 1000, priority => 1});
is(Dbops::wait_job($node, $job, undef, states => ['running']), 'running', 'a job of priority 1');
sql(q{SELECT dbops.run_now('tock')});
is(Dbops::wait_job($node, $job, 120), 'succeeded', 'ends');
is(sql("SELECT count(*) FROM dbops.job_events WHERE job_id = $job AND action = 'requeue'"), 0, 'undisturbed');
ok(Dbops::wait_for($node, "SELECT runs FROM dbops.schedules WHERE name = 'tock'", 2), 'then the schedule runs');
sql("SELECT dbops.unschedule('tock')");

# --- DROP DATABASE during a run ---------------------------------------------------------------------------------------------------------
sql('ALTER SYSTEM SET dbops.max_workers = 4; SELECT pg_reload_conf()');
$node->safe_psql('postgres', 'CREATE DATABASE gone');
Dbops::create_extension($node, 'gone');
Dbops::value($node, q{SELECT dbops.schedule('long', '@yearly', 'SELECT pg_sleep(600)'); SELECT dbops.run_now('long')}, 'gone');
Dbops::value($node, q{SELECT dbops.schedule('often', 'every second', 'SELECT 1')}, 'gone');
ok(Dbops::wait_for($node, "SELECT state FROM dbops.schedules WHERE name = 'long'", 'running', undef, 'gone'), 'a long run in another database');
my $holder = $node->background_psql('gone', on_error_die => 0) if $node->can('background_psql');
$holder->query_safe('SELECT 1') if $holder;
like(Dbops::refusal($node, 'DROP DATABASE gone'), qr/^55006:/, 'a session keeps it from being dropped');
ok(Dbops::wait_for($node, "SELECT count(*) FROM dbops.job_runs r JOIN dbops.schedules s USING (job_id) WHERE s.name = 'long' AND r.outcome = 'stopped' AND r.message LIKE '%had to leave%'", 1, undef, 'gone'), 'the run was cancelled for that');
ok(Dbops::wait_for($node, "SELECT state FROM dbops.schedules WHERE name = 'long'", 'running', 90, 'gone'), 'and is done again');
$holder->quit if $holder;
$node->safe_psql('postgres', 'DROP DATABASE gone');
is(sql("SELECT count(*) FROM pg_database WHERE datname = 'gone'"), 0, 'without the session it is dropped during the run');
sql(q{SELECT dbops.schedule('here', 'every second', 'SELECT 1')});
ok(Dbops::wait_for($node, "SELECT runs > 1 FROM dbops.schedules WHERE name = 'here'", 't'), 'and schedules of other databases run');
is(sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'dbops worker' AND query LIKE '%pg_sleep%'"), 0, 'nothing of it is left');

# --- old runs ----------------------------------------------------------------------------------------------------------------------------
sql('ALTER SYSTEM SET dbops.run_history = 7; SELECT pg_reload_conf()');
sql(q{SELECT dbops.schedule('many', '@yearly', 'SELECT 1/0', retries => 100, retry_delay => '0'); SELECT dbops.run_now('many')});
ok(Dbops::wait_for($node, "SELECT runs FROM dbops.schedules WHERE name = 'many'", 101, 120), 'a hundred attempts');
is(sql("SELECT count(*) BETWEEN 7 AND 9, max(attempt) FROM dbops.job_runs JOIN dbops.schedules USING (job_id) WHERE name = 'many'"), 't|101', 'of which the newest are kept');
sql("UPDATE dbops.job_run r SET finished_at = now() - interval '2 years', started_at = now() - interval '2 years' FROM dbops.schedule s WHERE s.job_id = r.job_id AND s.name = 'many' AND r.attempt < 101");
sql(q{SELECT dbops.run_now('here')});
ok(Dbops::wait_for($node, "SELECT min(attempt) FROM dbops.job_runs JOIN dbops.schedules USING (job_id) WHERE name = 'many'", 101), 'and none that is older than dbops.history_retention');
$node->stop;
done_testing();
