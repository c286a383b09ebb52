-- What the texts of a job mean is what they meant to the session that made it, whatever the session that runs it has set.
\set ECHO none
\i sql/include/setup.sql
\set ECHO all
CREATE SCHEMA first;
CREATE SCHEMA "Second, ""one""";
CREATE FUNCTION first.which() RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ''first''';
CREATE FUNCTION "Second, ""one""".which() RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ''second''';
CREATE TABLE first.names (name text);
CREATE TABLE "Second, ""one""".names (name text);
INSERT INTO first.names VALUES ('first');
INSERT INTO "Second, ""one""".names VALUES ('second');
CREATE TABLE t (id integer PRIMARY KEY, v text, at timestamptz, day date, length interval, n integer);
INSERT INTO t SELECT i FROM generate_series(1, 100) i;

-- search_path
SET search_path = "Second, ""one""", public;
SELECT dbops.backfill('t', 'v = which() || (SELECT name FROM names)') AS job \gset
SET search_path = first;
CALL dbops.run(:job);
SHOW search_path;
SELECT DISTINCT v FROM public.t;
SET search_path = first, public;
SELECT dbops.backfill('t', 'v = which()') AS job \gset
SET search_path = '';
CALL dbops.run(:job);
SELECT DISTINCT v FROM public.t;
SELECT dbops.backfill('public.t', 'v = upper(''none'')') AS job \gset
RESET search_path;
CALL dbops.run(:job);
SELECT DISTINCT v FROM t;

-- Dates and times
SET DateStyle = 'ISO, DMY';
SET TimeZone = 'Asia/Tokyo';
SET IntervalStyle = 'sql_standard';
SELECT dbops.backfill('t', 'at = ''2024-06-01 00:00'', day = (''03/04/'' || 2000 + id % 2)::date, length = ''-1 2:03:04'', v = now()::date::text < '''' || interval ''-1 2:03:04''')
  AS job \gset
SET DateStyle = 'SQL, MDY';
SET TimeZone = 'UTC';
SET IntervalStyle = 'iso_8601';
CALL dbops.run(:job);
SET DateStyle = 'ISO';
SET IntervalStyle = 'postgres';
SELECT DISTINCT at, day, length FROM t ORDER BY day;

-- How quotes and NULL are read
SET standard_conforming_strings = off;
SET escape_string_warning = off;
SELECT dbops.backfill('t', 'v = ''a\\''b\\\\n''') AS job \gset
SET standard_conforming_strings = on;
RESET escape_string_warning;
CALL dbops.run(:job);
SELECT v, count(*) FROM t GROUP BY v;
SET transform_null_equals = on;
UPDATE t SET n = NULL;
SELECT dbops.backfill('t', 'n = id', 'n = NULL') AS job \gset
RESET transform_null_equals;
CALL dbops.run(:job);
SELECT count(n) FROM t;
-- the other way round
UPDATE t SET n = NULL;
SELECT dbops.backfill('t', 'n = id', 'n = NULL') AS job \gset
SELECT dbops.backfill('t', $$v = 'it''s \n'$$) AS quotes \gset
SET transform_null_equals = on;
SET standard_conforming_strings = off;
SET backslash_quote = on;
CALL dbops.run(:job);
CALL dbops.run(:quotes);
SET standard_conforming_strings = on;
RESET transform_null_equals;
RESET backslash_quote;
SELECT count(n) FROM t;
SELECT DISTINCT v FROM t;

-- Settings that would change what a batch does or sees
SET default_transaction_isolation = 'serializable';
SET statement_timeout = '1 min';
SET lock_timeout = '1 min';
SET row_security = off;
SET enable_tidscan = off;
SET plan_cache_mode = force_generic_plan;
SET session_replication_role = replica;
SELECT dbops.backfill('t', 'n = id + 1', 'n IS DISTINCT FROM id + 1') AS job \gset
CALL dbops.run(:job);
SELECT count(*) FROM t WHERE n = id + 1;
RESET ALL;
SET default_transaction_read_only = on;
SELECT refused_backfill('t', 'n = id + 2');
RESET default_transaction_read_only;
SELECT dbops.backfill('t', 'n = id + 2') AS job \gset
SET default_transaction_read_only = on;
CALL dbops.run(:job);
RESET default_transaction_read_only;
SELECT state FROM dbops.jobs WHERE job_id = :job;
SELECT count(*) FROM t WHERE n = id + 2;
-- A prepared statement, a cursor, a savepoint, a function: any place where a SELECT can stand
PREPARE make(text) AS SELECT dbops.backfill('t', $1) IS NOT NULL;
EXECUTE make('n = 5');
EXECUTE make('n = 6');
DEALLOCATE make;
BEGIN;
SAVEPOINT s;
SELECT dbops.backfill('t', 'n = 7') IS NOT NULL;
ROLLBACK TO s;
SELECT dbops.backfill('t', 'n = 8') IS NOT NULL;
COMMIT;
SELECT spec ->> 'assignments' FROM dbops.jobs ORDER BY job_id DESC LIMIT 3;

DROP TABLE t;
SET client_min_messages = warning;
DROP SCHEMA first, "Second, ""one""" CASCADE;
