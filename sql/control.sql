-- States of a job: pause, resume, cancel, retry, run, wait, and what each refuses.
\set ECHO none
\i sql/include/setup.sql
\set ECHO all
CREATE TABLE t (id integer PRIMARY KEY, a integer, b integer);
INSERT INTO t SELECT i, i FROM generate_series(1, 100) i;

-- Jobs that are not
SELECT refused('SELECT dbops.pause(99)');
SELECT refused('SELECT dbops.resume(99)');
SELECT refused('SELECT dbops.cancel(99)');
SELECT refused('SELECT dbops.retry(99)');
CALL dbops.run(99);
CALL dbops.wait(99);
SELECT refused('SELECT dbops.pause(NULL)');
SELECT refused('SELECT dbops.cancel(NULL)');
CALL dbops.run(NULL);
CALL dbops.wait(NULL);

-- Created and rolled back: no trace
BEGIN;
SELECT dbops.backfill('t', 'b = a');
SELECT state FROM dbops.jobs;
ROLLBACK;
SELECT count(*) FROM dbops.jobs;

SELECT dbops.backfill('t', 'b = a', 'b IS NULL', label => 'the first') AS job \gset
SELECT state, rows_done, rows_total, label, owner = current_user, started_at, finished_at FROM dbops.jobs;
-- queued
SELECT dbops.retry(:job);
SELECT dbops.resume(:job);
SELECT dbops.pause(:job, 'the boss said so');
-- paused
SELECT dbops.pause(:job);
SELECT refused(format('SELECT dbops.retry(%s)', :job));
CALL dbops.run(:job);
SELECT waiting_for FROM dbops.progress WHERE job_id = :job;
CALL dbops.wait(:job, '10 ms');
SELECT dbops.resume(:job, 'the boss is gone');
SELECT dbops.cancel(:job, 'not needed');
-- cancelled
SELECT dbops.cancel(:job);
SELECT refused(format('SELECT dbops.pause(%s)', :job));
SELECT refused(format('SELECT dbops.resume(%s)', :job));
CALL dbops.run(:job);
CALL dbops.wait(:job);
SELECT state, finished_at IS NOT NULL FROM dbops.jobs;
SELECT dbops.retry(:job, 'after all');
SELECT state, finished_at FROM dbops.jobs;
CALL dbops.run(:job);
-- succeeded
SELECT state, rows_done, started_at <= finished_at FROM dbops.jobs;
SELECT count(*) FROM t WHERE b = a;
CALL dbops.wait(:job);
CALL dbops.run(:job);
SELECT refused(format('SELECT dbops.pause(%s)', :job));
SELECT refused(format('SELECT dbops.resume(%s)', :job));
SELECT refused(format('SELECT dbops.cancel(%s)', :job));
SELECT waiting_for, waiting_since, percent, eta FROM dbops.progress WHERE job_id = :job;
-- Every change is recorded: who, what, why
SELECT replace(actor, current_user, 'me'), action, from_state, to_state, regexp_replace(reason, '\d+', 'N') FROM dbops.job_events WHERE job_id = :job ORDER BY event_id;
SELECT slice, mode, outcome, rows_done, finished_at >= started_at, sqlstate, message FROM dbops.job_runs WHERE job_id = :job;

-- failed
ALTER TABLE t ADD CONSTRAINT small CHECK (b < 1000);
SELECT dbops.backfill('t', 'b = b + 1000', strategy => 'key') AS job \gset
CALL dbops.run(:job);
SELECT state, last_sqlstate, last_error, last_hint FROM dbops.jobs WHERE job_id = :job;
CALL dbops.wait(:job);
CALL dbops.run(:job);
SELECT refused(format('SELECT dbops.pause(%s)', :job));
SELECT refused(format('SELECT dbops.resume(%s)', :job));
SELECT dbops.retry(:job);
SELECT state, last_sqlstate, last_error, last_hint FROM dbops.jobs WHERE job_id = :job;
CALL dbops.run(:job);
SELECT dbops.cancel(:job);
SELECT outcome, rows_done, sqlstate FROM dbops.job_runs WHERE job_id = :job ORDER BY run_id;
SELECT count(*) FROM t WHERE b = a;

-- Paused before it was ever seen: in the transaction that makes it
BEGIN;
SELECT dbops.backfill('t', 'b = a + 1') AS job \gset
SELECT dbops.pause(:job);
COMMIT;
SELECT state FROM dbops.jobs WHERE job_id = :job;
-- A change of state that is rolled back
BEGIN;
SELECT dbops.resume(:job);
ROLLBACK;
SELECT state FROM dbops.jobs WHERE job_id = :job;
SELECT dbops.cancel(:job);

-- run and wait are calls by themselves
SELECT dbops.backfill('t', 'b = a + 2') AS job \gset
BEGIN;
CALL dbops.run(:job);
ROLLBACK;
BEGIN;
CALL dbops.wait(:job);
ROLLBACK;
CREATE FUNCTION in_function(job bigint) RETURNS void LANGUAGE plpgsql AS $$ BEGIN CALL dbops.run(job); END $$;
SELECT in_function(:job);
CREATE OR REPLACE FUNCTION in_function(job bigint) RETURNS void LANGUAGE plpgsql AS $$ BEGIN CALL dbops.wait(job); END $$;
SELECT in_function(:job);
CREATE PROCEDURE in_handler(job bigint) LANGUAGE plpgsql AS $$ BEGIN CALL dbops.run(job); EXCEPTION WHEN division_by_zero THEN NULL; END $$;
CALL in_handler(:job);
SELECT state FROM dbops.jobs WHERE job_id = :job;
-- a procedure may call them
CREATE PROCEDURE in_procedure(job bigint) LANGUAGE plpgsql AS $$
BEGIN
  CALL dbops.run(job);
  CALL dbops.wait(job);
  RAISE NOTICE '% rows', (SELECT count(*) FROM t WHERE b = a + 2);
END
$$;
CALL in_procedure(:job);
-- DO, too
SELECT dbops.backfill('t', 'b = a + 3') AS job \gset
SELECT set_config('regress.job', :'job', false);
DO $$ BEGIN CALL dbops.run(current_setting('regress.job')::bigint); END $$;
SELECT state, rows_done FROM dbops.jobs WHERE job_id = :job;

-- Waiting with a limit
SELECT dbops.backfill('t', 'b = a + 4') AS job \gset
CALL dbops.wait(:job, '0');
CALL dbops.wait(:job, timeout => '20 ms');
CALL dbops.wait(:job, '-1 s');
SELECT dbops.cancel(:job);

-- The session that ran jobs is as it was
SHOW search_path;
SHOW lock_timeout;
SHOW synchronous_commit;
SELECT current_user = session_user, current_setting('dbops.in_job') = '';
SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory';

-- What the table became while a job was queued
CREATE TABLE doomed (id integer PRIMARY KEY, n integer DEFAULT 0);
INSERT INTO doomed SELECT i FROM generate_series(1, 10) i;
SELECT dbops.backfill('doomed', 'n = n + 1') AS job \gset
ALTER TABLE doomed RENAME TO renamed;
CREATE TABLE doomed (id integer PRIMARY KEY, n integer DEFAULT 0);
INSERT INTO doomed VALUES (1);
SELECT target FROM dbops.jobs WHERE job_id = :job;
CALL dbops.run(:job);
SELECT n, count(*) FROM renamed GROUP BY n;
SELECT n, count(*) FROM doomed GROUP BY n;
SELECT dbops.backfill('doomed', 'n = n + 1') AS job \gset
ALTER TABLE doomed DROP COLUMN n;
CALL dbops.run(:job);
SELECT state, last_sqlstate, last_error FROM dbops.jobs WHERE job_id = :job;
ALTER TABLE doomed ADD COLUMN n integer DEFAULT 5;
SELECT dbops.retry(:job);
CALL dbops.run(:job);
SELECT n FROM doomed;
SELECT dbops.backfill('doomed', 'n = n + 1') AS job \gset
ALTER TABLE doomed DROP CONSTRAINT doomed_pkey1;
CALL dbops.run(:job);
SELECT state, last_sqlstate, last_error FROM dbops.jobs WHERE job_id = :job;
DROP TABLE doomed;
SELECT dbops.retry(:job);
CALL dbops.run(:job);
SELECT state, last_sqlstate, last_error, target FROM dbops.jobs WHERE job_id = :job;
DROP TABLE renamed;

-- Parallel in one session: the slices one after another
SELECT dbops.backfill('t', 'b = a + 5', parallel => 3, max_batch_rows => 10) AS job \gset
CALL dbops.run(:job);
SELECT state, rows_done, parallel FROM dbops.jobs WHERE job_id = :job;
SELECT count(*) FROM t WHERE b = a + 5;

DROP TABLE t;
DROP FUNCTION in_function;
DROP PROCEDURE in_procedure, in_handler;
