-- Rows that fail by themselves: found, set aside up to max_errors, and tried again.
\set ECHO none
\i sql/include/setup.sql
\set ECHO all
CREATE TABLE t (id integer PRIMARY KEY, a text, b integer);
INSERT INTO t SELECT i, CASE WHEN i IN (13, 77, 500, 999) THEN 'x' || i ELSE i::text END FROM generate_series(1, 1000) i;

-- None allowed: the job fails at the first, what was done stays, and the error names the row
SELECT dbops.backfill('t', 'b = a::integer', 'b IS NULL', strategy => 'key', max_batch_rows => 100) AS job \gset
CALL dbops.run(:job);
SELECT state, rows_done > 0, rows_failed, last_sqlstate, last_error, last_hint FROM dbops.jobs WHERE job_id = :job;
SELECT count(*) = (SELECT rows_done FROM dbops.jobs WHERE job_id = :job) FROM t WHERE b = id;
SELECT relation, row_key, sqlstate, message FROM dbops.job_errors WHERE job_id = :job ORDER BY error_id;
-- Mended and tried again, to the next one
UPDATE t SET a = 13 WHERE id = 13;
SELECT dbops.retry(:job);
SELECT count(*) FROM dbops.job_errors WHERE job_id = :job;
CALL dbops.run(:job);
SELECT row_key FROM dbops.job_errors WHERE job_id = :job;
UPDATE t SET a = id WHERE a LIKE 'x%';
SELECT dbops.retry(:job);
CALL dbops.run(:job);
SELECT state, rows_done, rows_failed, last_error FROM dbops.jobs WHERE job_id = :job;
SELECT count(*) FROM t WHERE b = id;

-- Some allowed
UPDATE t SET b = NULL, a = CASE WHEN id IN (1, 2, 3, 500, 1000) THEN 'x' ELSE id::text END;
SELECT dbops.backfill('t', 'b = a::integer', 'b IS NULL', max_errors => 5) AS job \gset
CALL dbops.run(:job);
SELECT state, rows_done, rows_failed, last_error FROM dbops.jobs WHERE job_id = :job;
SELECT row_key, sqlstate, message FROM dbops.job_errors WHERE job_id = :job ORDER BY row_key;
SELECT count(*) FILTER (WHERE b = id), count(*) FILTER (WHERE b IS NULL) FROM t;
-- A job that succeeded without some rows does them when asked
UPDATE t SET a = id WHERE id < 10;
SELECT dbops.retry(:job);
CALL dbops.run(:job);
SELECT state, rows_done, rows_failed FROM dbops.jobs WHERE job_id = :job;
SELECT row_key FROM dbops.job_errors WHERE job_id = :job ORDER BY row_key;
SELECT count(*) FILTER (WHERE b = id), count(*) FILTER (WHERE b IS NULL) FROM t;

-- One more than allowed
UPDATE t SET b = NULL, a = CASE WHEN id <= 6 THEN 'x' ELSE id::text END;
SELECT dbops.backfill('t', 'b = a::integer', 'b IS NULL', max_errors => 5, strategy => 'key', max_batch_rows => 100) AS job \gset
CALL dbops.run(:job);
SELECT state, rows_failed, last_sqlstate FROM dbops.jobs WHERE job_id = :job;

-- Each row fails: no more than the limit is looked for
UPDATE t SET a = 'x';
SELECT dbops.backfill('t', 'b = a::integer', 'b IS NULL', max_errors => 3, strategy => 'key') AS job \gset
CALL dbops.run(:job);
SELECT state, rows_done, rows_failed FROM dbops.jobs WHERE job_id = :job;

-- Without a condition, walked by key, each of the others once
ALTER TABLE t ADD n integer NOT NULL DEFAULT 0;
ALTER TABLE t ADD CONSTRAINT no_sevens CHECK (n = 0 OR id % 100 <> 7);
SELECT dbops.backfill('t', 'n = n + 1', max_errors => 10, parallel => 2, max_batch_rows => 64) AS job \gset
CALL dbops.run(:job);
SELECT n, count(*) FROM t GROUP BY n ORDER BY n;
SELECT row_key, sqlstate, message FROM dbops.job_errors WHERE job_id = :job ORDER BY row_key::text;
ALTER TABLE t DROP CONSTRAINT no_sevens;
SELECT dbops.retry(:job);
CALL dbops.run(:job);
SELECT n, count(*) FROM t GROUP BY n ORDER BY n;
SELECT state, rows_done, rows_failed FROM dbops.jobs WHERE job_id = :job;

-- Keys of several columns, quoted texts; no key at all; a partition
CREATE TABLE many (a text, b text, v text, n integer, PRIMARY KEY (a, b));
INSERT INTO many SELECT 'a' || i % 3, 'it''s, "' || i || '"', CASE WHEN i = 5 THEN 'five' ELSE i::text END FROM generate_series(1, 10) i;
SELECT dbops.backfill('many', 'n = v::integer', 'n IS NULL', max_errors => 1) AS job \gset
CALL dbops.run(:job);
SELECT relation, row_key, message FROM dbops.job_errors WHERE job_id = :job;
CREATE TABLE keyless AS SELECT v, n + 0 AS n FROM many;
UPDATE keyless SET n = NULL;
SELECT dbops.backfill('keyless', 'n = v::integer', 'n IS NULL', max_errors => 1) AS job \gset
CALL dbops.run(:job);
SELECT relation, row_key ~ '^ctid \(0,\d+\)$', message FROM dbops.job_errors WHERE job_id = :job;
SELECT count(n), count(*) FROM keyless;
CREATE TABLE parts (id integer PRIMARY KEY, v text, n integer) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (50);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (50) TO (1000);
INSERT INTO parts SELECT i, CASE WHEN i IN (5, 95) THEN 'x' ELSE i::text END FROM generate_series(1, 100) i;
SELECT dbops.backfill('parts', 'n = v::integer', 'n IS NULL', max_errors => 2) AS job \gset
CALL dbops.run(:job);
SELECT relation, row_key FROM dbops.job_errors WHERE job_id = :job ORDER BY relation;
SELECT count(n) FROM parts;

-- A row's own errors: what a trigger raises, a constraint, a unique key, a value too long
CREATE TABLE kinds (id integer PRIMARY KEY, short varchar(3), u integer UNIQUE, positive integer CHECK (positive > 0), needed text NOT NULL DEFAULT '');
INSERT INTO kinds (id) SELECT i FROM generate_series(1, 20) i;
CREATE FUNCTION complain() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'not number %', NEW.id USING ERRCODE = 'AB123', DETAIL = 'a detail', HINT = 'a hint';
END
$$;
CREATE TRIGGER complains BEFORE UPDATE ON kinds FOR EACH ROW WHEN (NEW.id = 20) EXECUTE FUNCTION complain();
INSERT INTO kinds (id, u) VALUES (0, 16);
SELECT dbops.backfill('kinds', $$short = CASE id WHEN 4 THEN 'four' END, u = id, positive = 8 - id % 9, needed = CASE WHEN id <> 12 THEN '' END$$,
  'id > 0', strategy => 'key', max_errors => 10) AS job \gset
CALL dbops.run(:job);
SELECT row_key, sqlstate, message FROM dbops.job_errors WHERE job_id = :job ORDER BY error_id;
SELECT count(u) FROM kinds WHERE id > 0;
-- and when it is one too many, the job's error is the row's, with its detail
SELECT dbops.backfill('kinds', 'u = id', 'id = 20') AS job \gset
CALL dbops.run(:job);
SELECT last_sqlstate, last_error, last_hint FROM dbops.jobs WHERE job_id = :job;

-- Not a row's fault: the job fails at once and sets nothing aside
CREATE FUNCTION broken(integer) RETURNS integer LANGUAGE plpgsql AS $$ BEGIN RETURN no_such_function($1); END $$;
SELECT dbops.backfill('kinds', 'u = broken(id)', max_errors => 100) AS job \gset
CALL dbops.run(:job);
SELECT state, rows_failed, last_sqlstate FROM dbops.jobs WHERE job_id = :job;

-- Set aside by a walk by blocks, which is then begun again by key: such rows are known by their keys from then on
CREATE TABLE switched (id integer PRIMARY KEY, a text, b integer, times integer NOT NULL DEFAULT 0) WITH (fillfactor = 10);
INSERT INTO switched SELECT i, CASE i WHEN 77 THEN 'bad' WHEN 900 THEN NULL ELSE i::text END FROM generate_series(1, 1000) i;
SELECT dbops.backfill('switched', 'b = a::integer, times = times + 1', 'b IS NULL', strategy => 'block', max_batch_rows => 60, max_errors => 5) AS job \gset
CALL dbops.run(:job);
SELECT state, strategy, rows_failed FROM dbops.jobs WHERE job_id = :job;
SELECT row_key, sqlstate FROM dbops.job_errors WHERE job_id = :job;
UPDATE switched SET a = '77' WHERE id = 77;
SELECT dbops.retry(:job);
CALL dbops.run(:job);
SELECT state, rows_done, rows_failed FROM dbops.jobs WHERE job_id = :job;
SELECT id, b, times FROM switched WHERE b IS DISTINCT FROM id OR times <> 1;
DROP TABLE switched;

-- batch_delete: rows that are referred to
CREATE TABLE refers (kind integer REFERENCES kinds);
INSERT INTO refers VALUES (3), (4);
SELECT dbops.batch_delete('kinds', 'id <= 10', max_errors => 2) AS job \gset
CALL dbops.run(:job);
SELECT row_key, sqlstate FROM dbops.job_errors WHERE job_id = :job ORDER BY row_key;
SELECT id FROM kinds WHERE id <= 10 ORDER BY id;

-- A key that as text is longer than an entry of an index can be; another differs from it at the end alone
CREATE TABLE longs (id bytea PRIMARY KEY, n integer);
INSERT INTO longs SELECT string_agg(sha256(i::text::bytea), '' ORDER BY i) || last::bytea, 0 FROM generate_series(1, 62) i, (VALUES ('a'), ('b')) v (last)
  GROUP BY last;
SELECT dbops.backfill('longs', 'n = 1 / n', max_errors => 2) AS job \gset
CALL dbops.run(:job);
SELECT state, rows_failed, last_sqlstate FROM dbops.jobs WHERE job_id = :job;
SELECT e.row_key = '(' || l.id::text || ')' AS named, e.sqlstate, e.message FROM longs l LEFT JOIN dbops.job_errors e
  ON e.job_id = :job AND e.row_key LIKE '%' || right(l.id::text, 2) || ')' ORDER BY l.id;
DROP TABLE longs;

SELECT job_id, kind, state, rows_done, rows_failed FROM dbops.jobs ORDER BY job_id;
DROP TABLE t, many, keyless, parts, refers, kinds;
DROP FUNCTION complain, broken;
