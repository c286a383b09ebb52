-- Previews: what would be done, and nothing of it is.
\set ECHO none
\i sql/include/setup.sql
\set ECHO all
\pset expanded on
\pset tuples_only off
CREATE TABLE t (id integer PRIMARY KEY, a integer, b integer, c text) WITH (autovacuum_enabled = off);
INSERT INTO t SELECT i, i % 100, NULL, repeat('c', 50) FROM generate_series(1, 10000) i;
CREATE INDEX ON t (a);
VACUUM ANALYZE t;
SELECT strategy_used, walks_by, owner = current_user AS own, tables, estimated_rows, estimated_batches > 0 AS batches,
  estimated_wal_bytes BETWEEN 1e5 AND 1e8 AS wal, estimated_time > '0' AS time, locks, statement, warnings
FROM dbops.backfill_preview('t', 'b = a', 'b IS NULL');
SELECT strategy_used, walks_by, estimated_rows, statement, warnings FROM dbops.backfill_preview('t', 'b = a', 'a = 7');
SELECT strategy_used, walks_by, estimated_rows, statement, warnings FROM dbops.backfill_preview('t', 'b = a');
SELECT strategy_used, walks_by, estimated_rows, statement, warnings FROM dbops.backfill_preview('t', 'a = a + 1');
SELECT strategy_used, walks_by, statement, warnings FROM dbops.backfill_preview('t', 'a = a + 1', 'a < 0');
SELECT strategy_used, walks_by, statement, warnings FROM dbops.backfill_preview('t', 'b = random()', 'random() < 2');
SELECT strategy_used, walks_by, locks, statement, warnings
FROM dbops.backfill_preview('t', 'b = a', 'b IS NULL', strategy => 'key', target_batch_time => '2 s', lock_timeout => '50 ms');
SELECT strategy_used, walks_by, locks, statement, warnings FROM dbops.batch_delete_preview('t', 'a = 7 -- and no other');
\pset expanded off
\pset tuples_only on

-- Estimates follow the condition, the limits, the number of workers
SELECT a.estimated_rows > b.estimated_rows, a.estimated_wal_bytes > b.estimated_wal_bytes, a.estimated_time > b.estimated_time
FROM dbops.backfill_preview('t', 'b = a') a, dbops.backfill_preview('t', 'b = a', 'a < 5') b;
SELECT estimated_time = '10000 s' FROM dbops.backfill_preview('t', 'b = a', max_rows_per_second => 1);
SELECT a.estimated_time > b.estimated_time FROM dbops.backfill_preview('t', 'b = a') a, dbops.backfill_preview('t', 'b = a', parallel => 4) b;
SELECT a.estimated_batches < b.estimated_batches
FROM dbops.backfill_preview('t', 'b = a') a, dbops.backfill_preview('t', 'b = a', max_batch_rows => 10) b;

-- No rows, no table below
CREATE TABLE empty (id integer PRIMARY KEY, b integer);
SELECT strategy_used, tables, estimated_rows, estimated_wal_bytes, warnings FROM dbops.backfill_preview('empty', 'b = 1');
CREATE TABLE bare (id integer PRIMARY KEY, b integer) PARTITION BY RANGE (id);
SELECT strategy_used, tables, estimated_rows, estimated_wal_bytes, warnings FROM dbops.backfill_preview('bare', 'b = 1', 'b IS NULL');

-- Warnings with quotes and commas are still an array
CREATE FUNCTION "odd, ""name"" {of} \ function"() RETURNS integer LANGUAGE sql VOLATILE AS 'SELECT 1';
SELECT array_length(warnings, 1), warnings[1] FROM dbops.backfill_preview('t', 'b = "odd, ""name"" {of} \ function"()');
CREATE TABLE referring (t integer REFERENCES t);
SELECT warnings FROM dbops.batch_delete_preview('t', 'true');

-- Locks of rows: as the server will choose them
CREATE TABLE locked (id integer PRIMARY KEY, u integer UNIQUE, e integer, p integer, parent integer REFERENCES t, g integer GENERATED ALWAYS AS (e) STORED);
CREATE UNIQUE INDEX ON locked (p) WHERE p > 0;
CREATE UNIQUE INDEX ON locked ((e + 1));
SELECT locks FROM dbops.backfill_preview('locked', 'e = 1, p = 1', 'false');
SELECT locks FROM dbops.backfill_preview('locked', 'u = 1', 'false');
SELECT locks FROM dbops.backfill_preview('locked', 'parent = 1', 'false');
CREATE UNIQUE INDEX ON locked (g);
SELECT locks FROM dbops.backfill_preview('locked', 'e = 1', 'false');
CREATE TABLE cascading (t integer REFERENCES t ON DELETE CASCADE ON UPDATE CASCADE);
SELECT locks FROM dbops.batch_delete_preview('t', 'true');
-- An update that is done twice is another one than done once, and nothing tells
SELECT warnings FROM dbops.backfill_preview('locked', 'e = e + 1');
SELECT warnings FROM dbops.backfill_preview('locked', 'e = (SELECT max(n) + locked.e FROM generate_series(1, 3) n)', 'id > 3');
SELECT warnings FROM dbops.backfill_preview('locked', 'e = e + 1', 'e < 0');
SELECT warnings FROM dbops.backfill_preview('locked', 'e = id');

-- The statement is one that can be explained, if not run as it is
SELECT dbops.backfill_preview('t', 'b = a', 'b IS NULL') IS NOT NULL;

-- In a read-only transaction, on rows of another session's table lock: nothing is written
BEGIN READ ONLY;
SELECT strategy_used FROM dbops.backfill_preview('t', 'b = a', 'b IS NULL');
SELECT strategy_used FROM dbops.batch_delete_preview('t', 'b IS NULL');
COMMIT;

SELECT count(*) FROM dbops.jobs;
SELECT count(*), count(b) FROM t;
DROP TABLE cascading, locked, referring, t, empty, bare;
DROP FUNCTION "odd, ""name"" {of} \ function";
