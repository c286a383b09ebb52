-- The same, in background workers: jobs run by themselves when there are slots. The last file of the suite, as it changes a
-- setting of the server.
\set ECHO none
\i sql/include/setup.sql
\set ECHO all
CREATE TABLE t (id integer PRIMARY KEY, a integer, b integer);
INSERT INTO t SELECT i, i FROM generate_series(1, 10000) i;
SELECT dbops.backfill('t', 'b = a', 'b IS NULL') AS job \gset
SELECT dbops.has_launcher();
CALL dbops.wait(:job, '50 ms');
SELECT state, waiting_for FROM dbops.progress WHERE job_id = :job;
ALTER SYSTEM SET dbops.max_workers = 3;
SELECT pg_reload_conf();
CALL dbops.wait(:job);
SELECT state, rows_done, rows_failed FROM dbops.jobs WHERE job_id = :job;
SELECT count(*) FROM t WHERE b = a;
SELECT slice, mode, outcome, rows_done FROM dbops.job_runs WHERE job_id = :job;
SELECT percent, eta, waiting_for, batch_time_p50 IS NOT NULL, batch_time_p99 >= batch_time_p50, wal_bytes > 0, busy_seconds > 0
FROM dbops.progress WHERE job_id = :job;

-- Several workers
SELECT dbops.backfill('t', 'b = a + 1', parallel => 3, max_batch_rows => 500) AS job \gset
CALL dbops.wait(:job);
SELECT state, rows_done FROM dbops.jobs WHERE job_id = :job;
SELECT count(*) FROM t WHERE b = a + 1;
-- The others end a moment later.
DO $$ BEGIN FOR i IN 1..6000 LOOP COMMIT; EXIT WHEN NOT EXISTS (SELECT FROM dbops.job_runs WHERE outcome = 'running'); PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT count(*) FROM dbops.job_runs WHERE job_id = :job AND outcome = 'running';
SELECT dbops.batch_delete('t', 'id > 5000', parallel => 2) AS job \gset
CALL dbops.wait(:job, '5 min');
SELECT count(*), max(id) FROM t;

-- More jobs than slots
SELECT count(dbops.backfill('t', format('b = b + %s', i), format('id %% 20 = %s', i))) FROM generate_series(0, 19) i;
DO $$
DECLARE
  job bigint;
BEGIN
  FOR job IN SELECT job_id FROM dbops.jobs WHERE state NOT IN ('succeeded') ORDER BY 1 LOOP
    CALL dbops.wait(job, '5 min');
  END LOOP;
END
$$;
SELECT state, count(*) FROM dbops.jobs GROUP BY state;
SELECT count(*) FROM t WHERE b = a + 1 + id % 20;

-- A failing job raises its own error in who waits for it
SELECT dbops.backfill('t', 'b = 1 / (id - 4000)') AS job \gset
CALL dbops.wait(:job);
SELECT state, last_sqlstate FROM dbops.jobs WHERE job_id = :job;

-- Paused, resumed, cancelled while it runs
SELECT dbops.backfill('t', 'b = a', max_rows_per_second => 100, max_batch_rows => 50) AS job \gset
DO $$
DECLARE
  this bigint := (SELECT max(job_id) FROM dbops.jobs);
BEGIN
  FOR i IN 1..6000 LOOP
    COMMIT;
    EXIT WHEN (SELECT rows_done > 0 FROM dbops.jobs WHERE job_id = this);
    PERFORM pg_sleep(0.01);
  END LOOP;
  PERFORM dbops.pause(this);
  COMMIT;
  FOR i IN 1..6000 LOOP
    COMMIT;
    EXIT WHEN NOT EXISTS (SELECT FROM dbops.job_runs WHERE job_id = this AND outcome = 'running');
    PERFORM pg_sleep(0.01);
  END LOOP;
END
$$;
SELECT j.state, j.rows_done BETWEEN 1 AND 4999, j.rows_done = (SELECT count(*) FROM t WHERE b = a), r.outcome
FROM dbops.jobs j JOIN dbops.job_runs r USING (job_id) WHERE job_id = :job;
SELECT dbops.resume(:job);
SELECT dbops.cancel(:job);
CALL dbops.wait(:job);
SELECT state FROM dbops.jobs WHERE job_id = :job;

-- A role whose own settings stand in the way of a worker
CREATE ROLE regress_dbops_odd LOGIN;
ALTER ROLE regress_dbops_odd SET default_transaction_isolation = 'serializable';
ALTER ROLE regress_dbops_odd SET default_transaction_read_only = on;
ALTER ROLE regress_dbops_odd SET default_transaction_deferrable = on;
ALTER ROLE regress_dbops_odd SET statement_timeout = '1 ms';
ALTER ROLE regress_dbops_odd SET lock_timeout = '1 ms';
ALTER ROLE regress_dbops_odd SET idle_in_transaction_session_timeout = '1 ms';
ALTER ROLE regress_dbops_odd SET search_path = 'nowhere';
ALTER ROLE regress_dbops_odd SET enable_tidscan = off;
ALTER ROLE regress_dbops_odd SET enable_indexscan = off;
ALTER ROLE regress_dbops_odd SET DateStyle = 'German';
ALTER ROLE regress_dbops_odd SET standard_conforming_strings = off;
ALTER ROLE regress_dbops_odd SET row_security = off;
ALTER ROLE regress_dbops_odd SET client_encoding = 'LATIN1';
ALTER TABLE t OWNER TO regress_dbops_odd;
SELECT dbops.backfill('t', 'b = a + 7', parallel => 2) AS job \gset
CALL dbops.wait(:job);
SELECT state, owner, rows_done, last_error FROM dbops.jobs WHERE job_id = :job;
SELECT count(*) FROM t WHERE b = a + 7;

ALTER SYSTEM RESET dbops.max_workers;
SELECT pg_reload_conf();
DROP TABLE t;
DROP ROLE regress_dbops_odd;
