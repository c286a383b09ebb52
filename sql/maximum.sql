-- A maximum of rows, beyond which what deletes stops and asks
\set ECHO none
\i sql/include/setup.sql
SET client_min_messages = warning;
TRUNCATE dbops.soft_deletion, dbops.soft_delete_rule, dbops.purge_origin CASCADE;
DROP SCHEMA IF EXISTS most CASCADE;
CREATE SCHEMA most;
SET search_path = most, public;
\set ECHO all
\set VERBOSITY terse
-- batch_delete: it stops before it does too much, and what is done stays done
CREATE TABLE t (id integer PRIMARY KEY, a integer);
INSERT INTO t SELECT i, i % 10 FROM generate_series(1, 2000) i;
SELECT dbops.batch_delete('t', 'a < 5', strategy => 'key', max_rows => 700, max_batch_rows => 100) AS job \gset
CALL dbops.run(:job);
SELECT count(*) FROM t;
SELECT state, rows_done, last_sqlstate, last_error, last_hint = format('SELECT dbops.confirm_deletion(%s) lets it go on, dbops.cancel(%1$s) ends it.', :job) FROM dbops.jobs WHERE job_id = :job;
SELECT check_name, ok, severity, detail, replace(hint, :'job', 'JOB') AS hint FROM dbops.check() WHERE check_name ~ '^job';
-- to resume it is not a word on that
SELECT dbops.resume(:job);
CALL dbops.run(:job);
SELECT count(*) FROM t;
SELECT dbops.confirm_deletion(:job) = :job;
SELECT refused(format('SELECT dbops.confirm_deletion(%s)', :job));
CALL dbops.run(:job);
SELECT count(*), count(*) FILTER (WHERE a < 5) FROM t;
SELECT state, rows_done, last_error FROM dbops.jobs WHERE job_id = :job;
-- just as many as there are
SELECT dbops.batch_delete('t', 'a = 5', max_rows => 200, max_batch_rows => 30) AS job \gset
CALL dbops.run(:job);
SELECT state, rows_done FROM dbops.jobs WHERE job_id = :job;
-- a share of the table as it is now: 200 of 800 rows are too many for 0.2
SELECT dbops.batch_delete('t', 'a = 6', max_share => 0.2) AS job \gset
CALL dbops.run(:job);
SELECT last_error FROM dbops.jobs WHERE job_id = :job;
SELECT dbops.cancel(:job);
SELECT dbops.batch_delete('t', 'a = 6', max_share => 0.25) AS job \gset
CALL dbops.run(:job);
SELECT count(*) FROM t;
-- both: the smaller one
SELECT dbops.batch_delete('t', 'a = 7', max_share => 1, max_rows => 10) AS job \gset
CALL dbops.run(:job);
SELECT last_error FROM dbops.jobs WHERE job_id = :job;
SELECT dbops.cancel(:job);
SELECT count(*) FROM t;
-- a preview says so; other workers count
SELECT warnings FROM dbops.batch_delete_preview('t', 'a = 7', max_rows => 199);
SELECT warnings FROM dbops.batch_delete_preview('t', 'a = 7', max_rows => 200);
SELECT dbops.batch_delete('t', 'a >= 7', strategy => 'key', parallel => 3, max_rows => 450, max_batch_rows => 50) AS job \gset
CALL dbops.run(:job);
SELECT state, rows_done <= 450, rows_done = (SELECT 600 - count(*) FROM t) FROM dbops.jobs WHERE job_id = :job;
SELECT dbops.cancel(:job);

-- a share is not taken from statistics, which may be of another time: of 100,000 rows 19,000 are left
CREATE TABLE stale (id integer PRIMARY KEY, old boolean, at timestamptz, filler text DEFAULT repeat('x', 100)) WITH (autovacuum_enabled = false);
INSERT INTO stale SELECT i, i % 10 < 3, now() - i * interval '1 minute' FROM generate_series(1, 100000) i;
CREATE INDEX ON stale (at);
ANALYZE stale;
DELETE FROM stale WHERE id % 10 <> 0 AND id < 90000;
SELECT relpages >= 1000, reltuples FROM pg_class WHERE oid = 'stale'::regclass;
SELECT count(*), count(*) FILTER (WHERE id < 90000) FROM stale;
SELECT dbops.batch_delete('stale', 'id < 90000', strategy => 'key', max_share => 0.4) AS job \gset
CALL dbops.run(:job);
SELECT state, last_error FROM dbops.jobs WHERE job_id = :job;
SELECT count(*) >= 19000 * 0.6 FROM stale;
SELECT dbops.cancel(:job);
SELECT rule FROM dbops.retain('stale', 'at', '62 days', '@yearly', max_share => 0.4) \gset
SELECT dbops.run_retention(:rule) AS job \gset
CALL dbops.run(:job);
SELECT state FROM dbops.jobs WHERE job_id = :job;
SELECT dbops.unretain(:rule) = :rule;
-- nor does it stop before its share, where a sample says less than there is
TRUNCATE stale;
INSERT INTO stale SELECT i, i % 100 < 39 FROM generate_series(1, 100000) i;
SELECT dbops.batch_delete('stale', 'old', strategy => 'key', max_share => 0.39) AS job \gset
CALL dbops.run(:job);
SELECT state, rows_done, last_error FROM dbops.jobs WHERE job_id = :job;
DROP TABLE stale;

-- purge: rows of all tables together
CREATE TABLE users (id integer PRIMARY KEY);
CREATE TABLE orders (id integer PRIMARY KEY, u integer REFERENCES users ON DELETE CASCADE);
CREATE INDEX ON orders (u);
INSERT INTO users SELECT generate_series(1, 50);
INSERT INTO orders SELECT i, i FROM generate_series(1, 50) i;
SELECT dbops.soft_delete_enable('users', purge_schedule => NULL, max_rows => 5), dbops.soft_delete_enable('orders', purge_schedule => NULL);
SELECT count(dbops.soft_delete('users', i)) FROM generate_series(1, 3) i;
UPDATE dbops.soft_deletion SET deleted_at = deleted_at - interval '31 days' WHERE state = 'deleted';
CALL dbops.purge('users');
SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM orders);
SELECT max_rows, waiting_for FROM dbops.soft_delete_status WHERE target = 'users';
SELECT dbops.confirm_purge('users');
CALL dbops.purge('users');
SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM orders);
-- said once, it holds once; what is not named stays as it is; 0 takes the limit away
SELECT count(dbops.soft_delete('users', i)) FROM generate_series(4, 6) i;
UPDATE dbops.soft_deletion SET deleted_at = deleted_at - interval '31 days' WHERE state = 'deleted';
SELECT dbops.soft_delete_enable('users', max_share => 1);
CALL dbops.purge('users');
SELECT dbops.soft_delete_enable('users', max_rows => 6);
CALL dbops.purge('users');
SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM orders);
SELECT dbops.soft_delete_enable('users', max_rows => 0);
SELECT max_rows, waiting_for FROM dbops.soft_delete_status WHERE target = 'users';

-- an error of that class which somebody else raises is no maximum
CREATE FUNCTION too_long() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION USING ERRCODE = '54000', MESSAGE = 'too long'; END$$;
CREATE TRIGGER too_long BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION too_long();
SELECT dbops.batch_delete('t', 'true', max_rows => 100000) AS job \gset
\set VERBOSITY sqlstate
CALL dbops.run(:job);
\set VERBOSITY terse
SELECT dbops.retry(:job);
SELECT dbops.pause(:job);
SELECT refused(format('SELECT dbops.confirm_deletion(%s)', :job)), (SELECT waiting_for LIKE '%confirm%' FROM dbops.progress WHERE job_id = :job);
SELECT dbops.cancel(:job);
DROP TRIGGER too_long ON t;

-- Rows that go along by themselves do not count, which a warning says
CREATE TABLE top (id int PRIMARY KEY);
CREATE TABLE below (id int PRIMARY KEY, top int REFERENCES top ON DELETE CASCADE);
CREATE TABLE further (id int PRIMARY KEY, below int REFERENCES below ON DELETE CASCADE, top int REFERENCES top ON DELETE SET NULL);
CREATE TABLE other (id int PRIMARY KEY, top int REFERENCES top);
CREATE INDEX ON below (top);
CREATE INDEX ON further (below);
CREATE INDEX ON further (top);
CREATE INDEX ON other (top);
SELECT unnest(warnings) FROM dbops.batch_delete_preview('top', 'id < 3', max_rows => 5);
SELECT unnest(warnings) FROM dbops.batch_delete_preview('top', 'id < 3', max_share => 0.5);
SELECT unnest(warnings) FROM dbops.batch_delete_preview('top', 'id < 3');
INSERT INTO top SELECT generate_series(1, 4);
INSERT INTO below SELECT i, 1 + i % 2 FROM generate_series(1, 100) i;
SELECT dbops.batch_delete('top', 'id < 3', max_rows => 2) AS job \gset
CALL dbops.run(:job);
SELECT (SELECT count(*) FROM top) AS top, (SELECT count(*) FROM below) AS below;
DROP TABLE top, below, further, other;

-- Who may, and what is no maximum
CREATE ROLE most_stranger;
SELECT dbops.batch_delete('t', 'true', max_rows => 1) AS job \gset
CALL dbops.run(:job);
SET ROLE most_stranger;
SELECT refused(format('SELECT dbops.confirm_deletion(%s)', :job));
RESET ROLE;
DROP ROLE most_stranger;
SELECT refused('SELECT dbops.confirm_deletion(NULL)');
SELECT refused('SELECT dbops.confirm_deletion(999999)');
SELECT refused('SELECT dbops.batch_delete(''t'', ''true'', max_rows => 0)');
SELECT refused('SELECT dbops.batch_delete(''t'', ''true'', max_share => 0)');
SELECT refused('SELECT dbops.batch_delete(''t'', ''true'', max_share => ''NaN'')');
SELECT refused('SELECT dbops.soft_delete_enable(''users'', max_rows => -1)');
SELECT dbops.soft_delete_disable('users', deleted_rows => 'keep'), dbops.soft_delete_disable('orders', deleted_rows => 'keep');
DROP SCHEMA most CASCADE;
