-- What dbops.progress makes of the engine's rows.
\set ECHO none
\i sql/include/setup.sql

CREATE TABLE parts (id integer PRIMARY KEY, n integer) PARTITION BY RANGE (id);
CREATE TABLE part1 PARTITION OF parts FOR VALUES FROM (0) TO (1000) WITH (autovacuum_enabled = off);
CREATE TABLE part2 PARTITION OF parts FOR VALUES FROM (1000) TO (2000) WITH (autovacuum_enabled = off);
INSERT INTO parts SELECT i FROM generate_series(0, 1999) i;
SELECT dbops.backfill('parts', 'n = id', 'n IS NULL') AS job \gset

-- The rate fades while no batch is committed, and with it the time that is left
-- (in a transaction, as a dispatcher would find out that nobody is at it)
BEGIN;
UPDATE dbops.job SET state = 'running', rows_total = 2000;
UPDATE dbops.job_slice SET rows_done = 1000, rate = 100, batches = 10, busy_ms = 1000, rate_at = clock_timestamp();
SELECT rows_per_second, eta = '10 s' FROM dbops.progress;
UPDATE dbops.job_slice SET rate_at = clock_timestamp() - interval '31 s';
SELECT rows_per_second BETWEEN 12 AND 15, eta BETWEEN '60 s' AND '90 s' FROM dbops.progress;
UPDATE dbops.job_slice SET rate_at = clock_timestamp() - interval '1 year';
SELECT rows_per_second, eta FROM dbops.progress;
-- not while a batch of the usual length may be under way
UPDATE dbops.job_slice SET rate_at = clock_timestamp() - interval '31 s', busy_ms = 300000;
SELECT rows_per_second, eta FROM dbops.progress;
ROLLBACK;
SELECT rows_per_second, eta FROM dbops.progress;

-- Growth and dead rows are those of all partitions, as the server counts them itself
CALL dbops.run(:job);
SELECT pg_stat_force_next_flush();
SELECT dead_tuples >= 2000, bytes_grown > 0 FROM dbops.progress;
CREATE TABLE wide (id integer PRIMARY KEY, t text);
INSERT INTO wide SELECT i, (SELECT string_agg(md5((i * j)::text), '') FROM generate_series(1, 300) j) FROM generate_series(1, 200) i;
CREATE INDEX ON wide (left(t, 20));
VACUUM wide;
SELECT dbops.family_size('wide'::regclass) = pg_total_relation_size('wide'), dbops.relation_bytes('wide'::regclass) = pg_table_size('wide') - pg_total_relation_size((SELECT reltoastrelid FROM pg_class WHERE oid = 'wide'::regclass)) AS heap;
SELECT dbops.family_size('parts'::regclass) = (SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('parts'));
SELECT dbops.relation_bytes('parts'::regclass), dbops.relation_bytes(0), dbops.family_size(0), dbops.family_dead_tuples(0);
SELECT array_agg(f::regclass) FROM dbops.family('parts'::regclass) f;
DROP TABLE parts, wide;
SELECT dead_tuples, bytes_grown FROM dbops.progress;
