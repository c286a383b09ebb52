# What another role's code may leave behind in a session, who is held up by whom, and a key that changes under a worker.
use strict;
use warnings;

use Dbops;
use Test::More;

my $node = Dbops::node('main');

# --- A superuser's session and functions of the table's owner ----------------------------------------------------------
$node->safe_psql('postgres', q{
	CREATE ROLE mal LOGIN; CREATE SCHEMA mal AUTHORIZATION mal; SET ROLE mal;
	CREATE TABLE mal.t (id int PRIMARY KEY, a int, b int);
	INSERT INTO mal.t SELECT i, i FROM generate_series(1, 100) i;
	CREATE FUNCTION mal.f(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
	  $$BEGIN PERFORM set_config('search_path', 'mal', false); RETURN $1; END$$;
});
my $session = $node->safe_psql('postgres', q{
	SELECT dbops.backfill('mal.t', 'b = mal.f(a)', 'b IS DISTINCT FROM mal.f(a)') AS job \gset
	SHOW search_path;
	SELECT dbops.pause(:job); SELECT dbops.resume(:job);
});
like($session, qr/^"\$user", public$/m, 'what functions of the owner SET does not stay when a job is made');
my $job = Dbops::value($node, q{BEGIN; SELECT dbops.backfill('mal.t', 'b = mal.f(a) + 1'); UPDATE dbops.job SET not_before = 'infinity' WHERE job_id = (SELECT max(job_id) FROM dbops.job); COMMIT});
is($node->safe_psql('postgres', "CALL dbops.run($job);\nSHOW search_path"), '"$user", public', 'nor when it is run');

# --- Temporary views of whoever calls dbops.run() ----------------------------------------------------------------------
$node->safe_psql('postgres', q{
	CREATE ROLE vic LOGIN; CREATE ROLE adm LOGIN; GRANT dbops_admin TO adm; CREATE SCHEMA vic AUTHORIZATION vic; SET ROLE vic;
	CREATE TABLE vic.t (id int PRIMARY KEY, a int, b int); INSERT INTO vic.t VALUES (1, 1);
	CREATE TABLE vic.lookup (id int); INSERT INTO vic.lookup VALUES (1);
});
$job = Dbops::value_as($node, 'vic', q{SET search_path = vic; SELECT dbops.backfill('t', 'b = a', 'b IS NULL AND id IN (SELECT id FROM lookup)', windows => 'Mon 00:00-00:01', timezone => 'Europe/Zurich')});
$node->safe_psql('postgres', "SELECT dbops.pause($job)");
$node->safe_psql('postgres', "UPDATE dbops.job SET spec = spec || '{\"windows\": \"\"}' WHERE job_id = $job");
my (undef, undef, $said) = $node->psql('postgres', qq{
	CREATE FUNCTION pg_temp.evil() RETURNS int LANGUAGE plpgsql AS \$\$BEGIN RAISE WARNING 'evil runs as %', current_user; RETURN 1; END\$\$;
	CREATE TEMP VIEW lookup AS SELECT pg_temp.evil() AS id;
	GRANT ALL ON lookup TO PUBLIC;
	BEGIN; SELECT dbops.resume($job); COMMIT; CALL dbops.run($job)}, extra_params => [ '-U', 'adm' ]);
unlike($said, qr/evil runs/, 'temporary objects of the caller do not stand before those of the job');

# --- Jobs that cannot be started, and an open transaction, hold up nobody ----------------------------------------------
$node->safe_psql('postgres', q{
	CREATE ROLE nologin; CREATE TABLE n (id int PRIMARY KEY, b int); INSERT INTO n SELECT generate_series(1, 10);
	GRANT ALL ON n TO nologin; CREATE TABLE good (id int PRIMARY KEY, b int); INSERT INTO good SELECT generate_series(1, 10);
});
SKIP:
{
	skip 'a worker needs no LOGIN from 17 on', 1 if $node->pg_version >= 17;
	$job = $node->safe_psql('postgres', q{BEGIN; SELECT count(dbops.backfill('n', 'b = 1', run_as => 'nologin')) AS c FROM generate_series(1, 12) \gset
	SELECT dbops.backfill('good', 'b = 1'); COMMIT});
	is(Dbops::wait_job($node, $job, 30), 'succeeded', 'jobs that cannot be started do not stop the one behind them');
}
my $stuck = Dbops::backfill($node, q{'n', 'b = 2', max_batch_rows => 1, max_rows_per_second => 1});
ok(Dbops::wait_for($node, "SELECT count(*) FROM dbops.job_runs WHERE job_id = $stuck AND outcome = 'running'", 1), 'a job runs');
my $holder = Dbops::start_sql($node, "BEGIN; SELECT dbops.pause($stuck); SELECT pg_terminate_backend(pid) FROM dbops.job_runs WHERE job_id = $stuck; SELECT pg_sleep(60); ROLLBACK");
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND wait_event = 'PgSleep'", 1), 'somebody holds its row while its worker is gone');
$job = Dbops::backfill($node, q{'good', 'b = 3'});
is(Dbops::wait_job($node, $job, 30), 'succeeded', 'other jobs go on meanwhile');
let_go($holder);

# --- A job steered in an open transaction, and the only worker ----------------------------------------------------------
sub setting { my ($text) = @_; $node->safe_psql('postgres', "ALTER SYSTEM SET $text"); $node->reload; return; }
sub holder
{
	my ($id) = @_;
	my $open = Dbops::start_sql($node, "BEGIN; SELECT dbops.pause($id); SELECT pg_sleep(60); ROLLBACK");
	ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND wait_event = 'PgSleep'}, 1), "somebody holds the row of job $id");
	return $open;
}
sub let_go
{
	my ($open) = @_;
	$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()});
	Dbops::finish_sql($open);
	return;
}
setting('dbops.max_workers = 0');
ok(Dbops::wait_for($node, 'SHOW dbops.max_workers', 0), 'no worker');
my $first = Dbops::backfill($node, q{'n', 'b = 5', priority => 10});
$holder = holder($first);
setting('dbops.max_workers = 1');
$job = Dbops::backfill($node, q{'good', 'b = 5'});
is(Dbops::wait_job($node, $job, 30), 'succeeded', 'before its start: the worker does others meanwhile');
let_go($holder);
is(Dbops::wait_job($node, $first, 30), 'succeeded', 'and comes back to it');
is(Dbops::value($node, "SELECT count(*) FROM dbops.job_runs WHERE job_id = $first"), 1, 'in one run');
# At its end: the rows are done, and the word of it cannot be said.
$node->safe_psql('postgres', q{CREATE TABLE gate (shut boolean); INSERT INTO gate VALUES (true);
	CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN WHILE (SELECT shut FROM gate) LOOP PERFORM pg_sleep(0.02); END LOOP; RETURN NEW; END$$;
	CREATE TABLE gated (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO gated SELECT 1;
	CREATE TRIGGER pass BEFORE UPDATE ON gated FOR EACH ROW EXECUTE FUNCTION pass()});
$first = Dbops::backfill($node, q{'gated', 'n = n + 1'});
ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'dbops worker' AND wait_event = 'PgSleep'}, 1), 'a job before its last batch');
$holder = holder($first);
$job = Dbops::backfill($node, q{'good', 'b = 6'});
$node->safe_psql('postgres', 'UPDATE gate SET shut = false');
is(Dbops::wait_job($node, $job, 30), 'succeeded', 'at its end: the worker does others meanwhile');
let_go($holder);
is(Dbops::wait_job($node, $first, 30), 'succeeded', 'and the job ends');
is(Dbops::value($node, 'SELECT n FROM gated'), 1, 'its row was done once');
setting('dbops.max_workers = 4');

# --- A job that no worker can begin for, and that a session works on ------------------------------------------------------
SKIP:
{
	skip 'a worker needs no LOGIN from 17 on', 4 if $node->pg_version >= 17;
	$node->safe_psql('postgres', 'UPDATE gate SET shut = true; GRANT ALL ON gated TO nologin; GRANT SELECT ON gate TO nologin');
	$job = Dbops::backfill($node, q{'gated', 'n = n + 1', parallel => 2, run_as => 'nologin'});
	is(Dbops::wait_job($node, $job), 'failed', 'a parallel job of a role that may not log in');
	my $session = Dbops::start_sql($node, "CALL dbops.run($job)");
	ok(Dbops::wait_for($node, "SELECT count(*) FROM dbops.job_events WHERE job_id = $job AND action = 'slice'", 1), 'goes on in a session without its other worker');
	$node->safe_psql('postgres', 'UPDATE gate SET shut = false');
	is((Dbops::finish_sql($session))[1], '', 'which is not stopped for that');
	is(Dbops::value($node, 'SELECT state FROM dbops.jobs WHERE job_id = ' . $job), 'succeeded', 'and does all of it');
}

# --- Deferred triggers ----------------------------------------------------------------------------------------------------
# They run at COMMIT, and see the settings that the batch had, not those of the role.
$node->safe_psql('postgres', q{
	CREATE ROLE def LOGIN; ALTER ROLE def SET search_path = pg_catalog; ALTER ROLE def SET DateStyle = 'German'; CREATE SCHEMA def AUTHORIZATION def;
	SET ROLE def; SET search_path = def, public; CREATE TABLE d (id int PRIMARY KEY, n int); INSERT INTO d VALUES (1, 0);
	CREATE TABLE seen (deferred boolean, settings text);
	CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
	  INSERT INTO def.seen VALUES (TG_ARGV[0]::boolean, concat_ws(' ', current_setting('search_path'), current_setting('datestyle'),
	    current_setting('lock_timeout'), current_setting('dbops.in_job'), current_setting('row_security')));
	  RETURN NEW;
	END$$;
	CREATE TRIGGER now BEFORE UPDATE ON d FOR EACH ROW EXECUTE FUNCTION look('false');
	CREATE CONSTRAINT TRIGGER later AFTER UPDATE ON d DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION look('true')});
for my $how ('in a worker', 'in a session')
{
	setting('dbops.max_workers = ' . ($how eq 'in a worker' ? 4 : 0));
	$job = Dbops::value_as($node, 'def', q{SET search_path = def, public; SET DateStyle = 'SQL, DMY'; SELECT dbops.backfill('d', 'n = n + 1')});
	is(Dbops::refusal($node, "CALL dbops.run($job)", role => 'def'), '', "deferred triggers $how: run") if $how eq 'in a session';
	is(Dbops::wait_job($node, $job), 'succeeded', "deferred triggers $how: done");
	is(Dbops::value($node, 'SELECT count(*), count(DISTINCT settings) FROM def.seen'), '2|1', "deferred triggers $how: the same settings");
	like(Dbops::value($node, 'SELECT settings FROM def.seen LIMIT 1'), qr/^def, public.* SQL, DMY .* $job off$/, "deferred triggers $how: those of the job");
	$node->safe_psql('postgres', 'TRUNCATE def.seen');
}
setting('dbops.max_workers = 4');

# --- A key that changes under a running worker -------------------------------------------------------------------------
$node->safe_psql('postgres', q{CREATE TABLE k (id int PRIMARY KEY, a int NOT NULL, b int); INSERT INTO k SELECT i, i FROM generate_series(1, 20000) i});
$job = Dbops::backfill($node, q{'k', 'b = a', max_rows_per_second => 2000, max_batch_rows => 50});
ok(Dbops::wait_for($node, "SELECT rows_done > 100 FROM dbops.jobs WHERE job_id = $job", 't'), 'a walk by key is under way');
$node->safe_psql('postgres', 'ALTER TABLE k DROP CONSTRAINT k_pkey; CREATE UNIQUE INDEX ON k (a, id)');
is(Dbops::wait_job($node, $job, 30), 'failed', 'another key ends it');
is(Dbops::value($node, "SELECT last_sqlstate FROM dbops.jobs WHERE job_id = $job"), '55000', 'with 55000');

# --- Deferred constraints ----------------------------------------------------------------------------------------------
# They wait at COMMIT, with the rows of the batch locked: no longer than lock_timeout.
$node->safe_psql('postgres', q{
	CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1), (2);
	CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES parent DEFERRABLE INITIALLY DEFERRED, x int);
	INSERT INTO child SELECT i, 1 FROM generate_series(1, 100) i;
});
$holder = Dbops::start_sql($node, 'BEGIN; SELECT FROM parent WHERE id = 2 FOR UPDATE; SELECT pg_sleep(300)');
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(300)%' AND wait_event = 'PgSleep'", 1), 'a row that is referred to is locked');
$job = Dbops::backfill($node, q{'child', 'p = 2', 'p = 1', lock_timeout => '50 ms'});
ok(Dbops::wait_for($node, "SELECT hindrances > 1 FROM dbops.progress WHERE job_id = $job", 't', 30), 'a batch that waits for it at COMMIT is rolled back');
is(Dbops::refusal($node, 'SET statement_timeout = 5000; UPDATE child SET x = 1'), '', 'and nobody waits behind it');
$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(300)%' AND pid <> pg_backend_pid()});
Dbops::finish_sql($holder);
is(Dbops::wait_job($node, $job, 30), 'succeeded', 'when the row is free the job goes on');
is(Dbops::value($node, 'SELECT count(*) FROM child WHERE p = 2 AND x = 1'), 100, 'every row');

# --- A job whose record is damaged: an error as any other, in a worker and in a session ------------------------------------
$node->safe_psql('postgres', 'CREATE TABLE r (id int PRIMARY KEY, n int); INSERT INTO r VALUES (1)');
$job = Dbops::value($node, q{BEGIN; SELECT dbops.backfill('r', 'n = 1') AS job \gset
	UPDATE dbops.job SET spec = spec - 'columns' WHERE job_id = :job; COMMIT; SELECT :job});
is(Dbops::wait_job($node, $job, 30), 'failed', 'a worker fails the job');
like(Dbops::value($node, "SELECT last_sqlstate || ' ' || last_error FROM dbops.jobs WHERE job_id = $job"), qr/^XX000 .*columns/, 'with a message');
is(Dbops::value($node, "SELECT outcome FROM dbops.job_runs WHERE job_id = $job"), 'failed', 'and its run');
(undef, undef, $said) = $node->psql('postgres', qq{
	BEGIN; SELECT dbops.retry($job); UPDATE dbops.job SET not_before = 'infinity' WHERE job_id = $job; COMMIT;
	CALL dbops.run($job);
	UPDATE dbops.job SET spec = spec || '{"columns": ["n"]}' WHERE job_id = $job;
	BEGIN; SELECT dbops.retry($job); UPDATE dbops.job SET not_before = 'infinity' WHERE job_id = $job; COMMIT;
	CALL dbops.run($job)}, on_error_stop => 0);
like($said, qr/^.*ERROR:  job $job failed: [^\n]*columns[^\n]*$/m, 'a session fails it, too');
is(() = $said =~ /ERROR/g, 1, 'and is not in its own way afterwards') or diag $said;
is(Dbops::job_state($node, $job), 'succeeded', 'when it is mended it can be done');

# --- Segments of WAL: commits wait for whoever makes one, so the job makes what it needs between two batches -------------------
my $full = PostgreSQL::Test::Utils::tempdir() . '/full';
my $segments = do {
	local $ENV{LD_PRELOAD} = Dbops::fault_library('nearly_full_disk');
	local $ENV{NEARLY_FULL} = $full;
	Dbops::node('segments', init => [ extra => ['--wal-segsize=1'] ],
	conf => "wal_recycle = off\ncheckpoint_timeout = 1h\nmax_wal_size = 4GB\nautovacuum = off\n");
};
$segments->safe_psql('postgres', 'CREATE TABLE w AS SELECT i AS id, 0 AS n FROM generate_series(1, 100000) i; ALTER TABLE w ADD PRIMARY KEY (id)');
my $ahead = q{SELECT count(*) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$' AND name > pg_walfile_name(pg_current_wal_insert_lsn())};
my $before = Dbops::value($segments, $ahead);    # those of the start
$job = Dbops::backfill($segments, q{'w', 'n = 1', 'n = 0 AND id <= 100'});
is(Dbops::wait_job($segments, $job), 'succeeded', 'a small job');
cmp_ok(Dbops::value($segments, $ahead), '<=', $before, 'makes none');
PostgreSQL::Test::Utils::append_to_file($full, '');
$job = Dbops::backfill($segments, q{'w', 'n = 1', 'n = 0', max_batch_rows => 1000});
is(Dbops::wait_job($segments, $job), 'succeeded', 'a larger one on a disk that is nearly full');
cmp_ok(Dbops::value($segments, $ahead), '<=', $before, 'takes none of the space that is left');
unlink $full or die;
$job = Dbops::backfill($segments, q{'w', 'n = 2', 'n <> 2', max_batch_rows => 1000});
is(Dbops::wait_job($segments, $job), 'succeeded', 'a larger one');
my $made = Dbops::value($segments, $ahead);
cmp_ok($made, '>=', $before + 5, "makes them: $before, then $made");
cmp_ok($made, '<=', 64, 'and not more than it may');
is(Dbops::value($segments, 'SELECT count(*) FROM w WHERE n = 2'), 100000, 'every row');
$segments->stop('immediate');
$segments->start;
is(Dbops::value($segments, 'SELECT count(*) FROM w WHERE n = 2'), 100000, 'and after a crash recovery does not mind them');
$segments->stop;
done_testing();
