-- How large batches are, and when a job has done enough
\set ECHO none
\i sql/include/setup.sql
\set ECHO all
CREATE FUNCTION slow(n integer, seconds float8) RETURNS integer LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(seconds); RETURN n; END $$;
CREATE TABLE t (id integer PRIMARY KEY, n integer, pad text) WITH (autovacuum_enabled = off);
INSERT INTO t (id, pad) SELECT i, repeat('x', 200) FROM generate_series(1, 8000) i;
SET client_min_messages = error;

-- They follow the time that they take: from 1,000 rows down to what rows of 0.3 ms at least allow in 50 ms.
SELECT dbops.backfill('t', 'n = slow(id, 0.0003)', strategy => 'key', target_batch_time => '50 ms') AS job \gset
CALL dbops.run(:job);
SELECT batch_rows <= 200 AS small, batches > 5 AS many FROM dbops.job_slice WHERE job_id = :job;
-- Where they take next to nothing of their time, they double.
SELECT dbops.backfill('t', 'n = id', strategy => 'key', target_batch_time => '60 s') AS job \gset
CALL dbops.run(:job);
SELECT batch_rows, batches FROM dbops.job_slice WHERE job_id = :job;

-- A chunk of stripes was cut before anything was known: what is left of it is halved, and each row is changed once.
UPDATE t SET n = 0;
VACUUM FULL t;
SELECT dbops.backfill('t', 'n = n + slow(1, 0.0002)', stripes => 8, strategy => 'stripe', target_batch_time => '20 ms') AS job \gset
CALL dbops.run(:job);
SELECT batches > 30 AS many FROM dbops.job_slice WHERE job_id = :job;
SELECT n, count(*) FROM t GROUP BY n;

-- Rows that come to match as time goes by: the job ends, with what matched when it began.
CREATE TABLE e (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL, made integer NOT NULL DEFAULT 0);
INSERT INTO e (at) SELECT now() - interval '40 days' FROM generate_series(1, 100);
INSERT INTO e (at) VALUES (now());
CREATE FUNCTION another() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO e (at, made) VALUES (OLD.at, OLD.made + 1);
  RETURN NULL;
END $$;
CREATE TRIGGER another AFTER DELETE ON e FOR EACH ROW WHEN (OLD.made < 1000) EXECUTE FUNCTION another();
SELECT dbops.batch_delete('e', $$at < now() - interval '30 days'$$) AS job \gset
CALL dbops.run(:job);
SELECT state, last_error FROM dbops.jobs WHERE job_id = :job;
SELECT reason FROM dbops.job_events WHERE job_id = :job AND action = 'passes';
SELECT count(*), count(*) FILTER (WHERE made = 0) AS of_the_first, min(made) > 0 AS later FROM e WHERE at < now() - interval '30 days';
-- Where time has no say, somebody adds rows all the time, and that is said.
SELECT dbops.batch_delete('e', 'made > 0') AS job \gset
CALL dbops.run(:job);
SELECT state, last_error FROM dbops.jobs WHERE job_id = :job;

-- What the session has set, and the job will not have.
RESET client_min_messages;
SET app.tenant = '7';
SELECT dbops.backfill('t', 'n = 1', $$id = current_setting('app.tenant')::integer$$) AS job \gset
SELECT dbops.cancel(:job);
DROP TABLE t, e;
DROP FUNCTION slow, another;
