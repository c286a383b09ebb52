-- Kinds of tables: those that a job changes row by row, and those that it refuses.
\set ECHO none
\i sql/include/setup.sql
CREATE PROCEDURE do_backfill(target text, assignments text, condition text DEFAULT NULL, options text DEFAULT '') LANGUAGE plpgsql AS $$
DECLARE
  job bigint;
BEGIN
  EXECUTE format('SELECT dbops.backfill(%L, %L, %L%s)', target, assignments, condition, options) INTO job;
  COMMIT;
  CALL dbops.run(job);
  RAISE NOTICE '%', (SELECT format('%s by %s: %s rows', j.state, j.strategy, j.rows_done) FROM dbops.jobs j WHERE j.job_id = job);
END
$$;
\set ECHO all

-- Partitions of several levels, in another schema, with other columns in another order, one empty, a default one
CREATE SCHEMA "Other ""schema""";
CREATE TABLE sales (id bigint, day date, region text, amount numeric, n integer NOT NULL DEFAULT 0, PRIMARY KEY (id, day, region))
  PARTITION BY RANGE (day);
CREATE TABLE sales_2023 PARTITION OF sales FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
CREATE TABLE sales_2024 PARTITION OF sales FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY LIST (region);
CREATE TABLE "Other ""schema"""."sales 2024 north" PARTITION OF sales_2024 FOR VALUES IN ('north');
CREATE TABLE sales_2024_rest PARTITION OF sales_2024 DEFAULT PARTITION BY HASH (id);
CREATE TABLE sales_2024_rest_0 PARTITION OF sales_2024_rest FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE sales_2024_rest_1 PARTITION OF sales_2024_rest FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE sales_empty PARTITION OF sales FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE attached (gone integer, n integer NOT NULL DEFAULT 0, amount numeric, region text NOT NULL, id bigint NOT NULL, day date NOT NULL);
ALTER TABLE attached DROP COLUMN gone;
ALTER TABLE sales ATTACH PARTITION attached FOR VALUES FROM ('2022-01-01') TO ('2023-01-01');
CREATE TABLE sales_default PARTITION OF sales DEFAULT;
INSERT INTO sales SELECT i, date '2021-06-01' + i, (ARRAY['north', 'south', 'east'])[1 + i % 3], i FROM generate_series(1, 1300) i;
SELECT tableoid::regclass, count(*) FROM sales GROUP BY 1 ORDER BY tableoid::regclass::text;
CALL do_backfill('sales', 'n = n + 1');
SELECT n, count(*) FROM sales GROUP BY n;
CALL do_backfill('sales', 'n = n + 1', 'n = 1', ', parallel => 2, max_batch_rows => 50');
SELECT n, count(*) FROM sales GROUP BY n;
CALL do_backfill('sales', 'n = n + 1', 'n = 2', ', strategy => ''block''');
SELECT n, count(*) FROM sales GROUP BY n;
CALL do_backfill('sales_2024', 'n = n + 1');
SELECT n, count(*), min(day), max(day) FROM sales GROUP BY n ORDER BY n;
CALL do_backfill('sales_2023', 'n = 7');
SELECT n, count(*), min(day), max(day) FROM sales GROUP BY n ORDER BY n;
SELECT tables, walks_by FROM dbops.backfill_preview('sales', 'n = n + 1');
-- Rows would move from one partition to another, at any level
SELECT refused_backfill('sales', 'day = day + 1');
SELECT refused_backfill('sales_2024', 'region = ''west''', 'region <> ''west''');
SELECT refused_backfill('sales', 'region = ''north''', 'region = ''south''');
SELECT refused_backfill('sales_2024', 'day = day + 1', 'day < ''2024-02-01''');
SELECT refused_backfill('sales_2023', 'day = day + 1', 'day < ''2023-02-01''');
SELECT refused_backfill('sales_2024_rest_0', 'region = ''west''', 'region <> ''west''');
-- One partition that is not a table of this server
CREATE FOREIGN DATA WRAPPER nothing;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;
CREATE TABLE spread (id integer, n integer) PARTITION BY RANGE (id);
CREATE TABLE spread_here PARTITION OF spread FOR VALUES FROM (0) TO (10);
CREATE FOREIGN TABLE spread_abroad PARTITION OF spread FOR VALUES FROM (10) TO (20) SERVER nowhere;
SELECT refused_backfill('spread', 'n = 1', 'n IS NULL');
SELECT refused($$SELECT dbops.batch_delete('spread', 'n = 1')$$);
DROP FOREIGN TABLE spread_abroad;
-- No partition, no rows
CREATE TABLE bare (id integer PRIMARY KEY, n integer) PARTITION BY RANGE (id);
CALL do_backfill('bare', 'n = 1');

-- Inheritance: the parent's own rows and the children's
CREATE TABLE parent (id integer PRIMARY KEY, n integer NOT NULL DEFAULT 0);
CREATE TABLE child (more text) INHERITS (parent);
CREATE TABLE aunt (id integer, other text);
CREATE TABLE grandchild () INHERITS (child, aunt);
INSERT INTO parent SELECT i FROM generate_series(1, 100) i;
INSERT INTO child SELECT i FROM generate_series(1, 100) i;
INSERT INTO grandchild SELECT i FROM generate_series(1, 100) i;
SELECT refused_backfill('parent', 'n = n + 1');
ALTER TABLE child ADD PRIMARY KEY (id);
ALTER TABLE grandchild ADD UNIQUE (id, more);
SELECT refused_backfill('parent', 'n = n + 1');
CALL do_backfill('parent', 'n = n + 1', 'n = 0');
SELECT tableoid::regclass, n, count(*) FROM parent GROUP BY 1, 2 ORDER BY tableoid::regclass::text, 2;
ALTER TABLE grandchild ADD PRIMARY KEY (id);
CALL do_backfill('parent', 'n = n + 1');
SELECT tableoid::regclass, n, count(*) FROM parent GROUP BY 1, 2 ORDER BY tableoid::regclass::text, 2;
CALL do_backfill('child', 'n = n + 1');
SELECT tableoid::regclass, n, count(*) FROM parent GROUP BY 1, 2 ORDER BY tableoid::regclass::text, 2;

-- Generated columns
CREATE TABLE generated (id integer PRIMARY KEY, a integer, twice integer GENERATED ALWAYS AS (a * 2) STORED, n integer DEFAULT 0);
INSERT INTO generated SELECT i, i FROM generate_series(1, 100) i;
CALL do_backfill('generated', 'a = a + 1');
SELECT count(*) FROM generated WHERE a = id + 1 AND twice = 2 * a;
-- the condition may be about them
CALL do_backfill('generated', 'a = -a', 'twice > 0', ', strategy => ''block''');
SELECT count(*) FROM generated WHERE twice < 0;
-- an index on one keeps updates from being HOT, so there are no stripes
SELECT strategy_used FROM dbops.backfill_preview('generated', 'a = a + 1');
CREATE INDEX ON generated (twice);
SELECT strategy_used FROM dbops.backfill_preview('generated', 'a = a + 1');
SELECT strategy_used FROM dbops.backfill_preview('generated', 'a = a + 1', 'a < 0');

-- No primary key: only where the change makes the condition false; rows may be equal
CREATE TABLE keyless (a integer, n integer NOT NULL DEFAULT 0);
INSERT INTO keyless SELECT i % 10 FROM generate_series(1, 1000) i;
CALL do_backfill('keyless', 'n = n + 1', 'n = 0');
SELECT n, count(*) FROM keyless GROUP BY n;
SELECT refused_backfill('keyless', 'n = n + 1');
SELECT refused_backfill('keyless', 'n = n + 1', 'a = 5');
-- it turns out only at the first batch that it does not: nothing of that batch remains
SELECT dbops.backfill('keyless', 'n = n + 1', 'n < 100') AS job \gset
CALL dbops.run(:job);
SELECT n, count(*) FROM keyless GROUP BY n;
SELECT state, last_sqlstate, last_error, last_hint FROM dbops.jobs WHERE job_id = :job;

-- With a key such a job walks by the key, and each row is changed once
CREATE TABLE counted (id integer PRIMARY KEY, n integer NOT NULL DEFAULT 0);
INSERT INTO counted SELECT i FROM generate_series(1, 1000) i;
CALL do_backfill('counted', 'n = n + 1', 'n < 100', ', strategy => ''block'', max_batch_rows => 100');
SELECT n, count(*) FROM counted GROUP BY n;

-- Rows that are stored out of line, and are not touched or are
CREATE TABLE toasted (id integer PRIMARY KEY, big text, copy text, n integer DEFAULT 0);
ALTER TABLE toasted ALTER big SET STORAGE EXTERNAL, ALTER copy SET STORAGE EXTERNAL;
INSERT INTO toasted SELECT i, repeat(md5(i::text), 500) FROM generate_series(1, 50) i;
CALL do_backfill('toasted', 'n = 1', 'n = 0');
CALL do_backfill('toasted', 'copy = big', 'copy IS NULL');
SELECT count(*) FROM toasted WHERE n = 1 AND copy = repeat(md5(id::text), 500);

-- Unlogged; dropped columns; quotes; no row; no column that is not key
CREATE UNLOGGED TABLE unlogged (id integer PRIMARY KEY, n integer);
INSERT INTO unlogged SELECT i FROM generate_series(1, 100) i;
CALL do_backfill('unlogged', 'n = id', 'n IS NULL');
SELECT count(*) FROM unlogged WHERE n = id;
CREATE TABLE "Other ""schema"""."the 'select'" ("from" integer, gone text, "a""b" integer, "where" integer, PRIMARY KEY ("where", "from"));
ALTER TABLE "Other ""schema"""."the 'select'" DROP COLUMN gone;
INSERT INTO "Other ""schema"""."the 'select'" ("from", "where") SELECT i, i % 5 FROM generate_series(1, 100) i;
CALL do_backfill('"Other ""schema"""."the ''select''"', '"a""b" = "from"', '"a""b" IS NULL');
CALL do_backfill('"Other ""schema"""."the ''select''"', '"a""b" = "a""b" + "where"');
SELECT count(*) FROM "Other ""schema"""."the 'select'" WHERE "a""b" = "from" + "where";
SELECT DISTINCT target FROM dbops.jobs WHERE target LIKE '%select%';
CREATE TABLE empty (id integer PRIMARY KEY, n integer);
CALL do_backfill('empty', 'n = 1');
CALL do_backfill('empty', 'n = 1', 'n IS NULL');
-- Columns with the names that the statements of a batch might use themselves
CREATE TABLE names (ctid_ integer, k integer PRIMARY KEY, key integer, t integer, s integer, r integer, stripes integer, kept integer,
  names integer, "row" integer, n integer);
INSERT INTO names SELECT i, i, i, i, i, i, i, i, i, i FROM generate_series(1, 100) i;
CALL do_backfill('names', 'n = ctid_ + k + key + t + s + r + stripes + kept + names + "row"');
CALL do_backfill('names', 'n = n + 1', 'n = 10 * k');
SELECT count(*) FROM names WHERE n = 10 * k + 1;

-- Rules
CREATE TABLE ruled (id integer PRIMARY KEY, n integer);
CREATE RULE instead AS ON UPDATE TO ruled DO INSTEAD NOTHING;
SELECT refused_backfill('ruled', 'n = 1');
DROP RULE instead ON ruled;
CREATE RULE also AS ON UPDATE TO ruled DO ALSO DELETE FROM empty;
SELECT refused_backfill('ruled', 'n = 1');
SELECT strategy_used FROM dbops.batch_delete_preview('ruled', 'n = 1');
CREATE RULE gone AS ON DELETE TO ruled DO INSTEAD UPDATE empty SET n = 1;
SELECT refused($$SELECT dbops.batch_delete('ruled', 'n = 1')$$);

-- What publishes its updates and cannot say which row it was
CREATE TABLE published (a integer, n integer);
SET client_min_messages = error;
CREATE PUBLICATION of_published FOR TABLE published;
RESET client_min_messages;
SELECT refused_backfill('published', 'n = 1', 'n IS NULL');
DROP PUBLICATION of_published;

-- Not tables, or not tables of their own
CREATE FOREIGN TABLE abroad (id integer, n integer) SERVER nowhere;
CREATE TEMPORARY TABLE passing (id integer PRIMARY KEY, n integer);
CREATE VIEW seen AS SELECT * FROM counted;
CREATE MATERIALIZED VIEW kept AS SELECT * FROM counted;
CREATE SEQUENCE numbers;
CREATE TYPE composite AS (id integer, n integer);
SELECT refused_backfill('abroad', 'n = 1');
SELECT regexp_replace(refused_backfill('passing', 'n = 1'), 'pg_temp_\d+', 'pg_temp_N');
SELECT refused_backfill('seen', 'n = 1');
SELECT refused_backfill('kept', 'n = 1');
SELECT refused_backfill('numbers', 'last_value = 1');
SELECT refused_backfill('counted_pkey', 'id = 1');
SELECT refused_backfill('composite', 'n = 1');
SELECT refused_backfill('pg_class', 'relname = relname');
SELECT refused_backfill('pg_catalog.pg_authid', 'rolsuper = true');
SELECT refused_backfill('pg_stat_activity', 'pid = 1');
SELECT refused_backfill('information_schema.sql_features', 'comments = ''''');
SELECT refused_backfill('dbops.job', 'label = ''''');
SELECT refused_backfill('dbops.jobs', 'label = ''''');
SELECT regexp_replace(refused_backfill(reltoastrelid::regclass::text, 'chunk_seq = 1'), '\d{5,}', 'N', 'g') FROM pg_class WHERE relname = 'toasted';
SELECT refused($$SELECT dbops.batch_delete('abroad', 'true')$$);
SELECT refused($$SELECT dbops.batch_delete('seen', 'true')$$);
SELECT refused($$SELECT dbops.batch_delete('pg_class', 'true')$$);
SELECT refused($$SELECT dbops.batch_delete('dbops.job', 'true')$$);
SELECT refused($$SELECT dbops.backfill_preview('seen', 'n = 1')$$);

SELECT state, count(*) FROM dbops.jobs GROUP BY state ORDER BY state;
-- A partition that is detached while the job is in it is left alone from then on
CREATE TABLE leaving (id integer PRIMARY KEY, n integer) PARTITION BY RANGE (id);
CREATE TABLE leaving_low PARTITION OF leaving FOR VALUES FROM (0) TO (50);
CREATE TABLE leaving_high PARTITION OF leaving DEFAULT;
INSERT INTO leaving SELECT i, CASE i WHEN 35 THEN 0 END FROM generate_series(0, 99) i;
SELECT dbops.backfill('leaving', 'n = 1 / coalesce(n, 1)', strategy => 'key', max_batch_rows => 10) AS job \gset
CALL dbops.run(:job);
SELECT count(n) FROM leaving WHERE id <> 35;
ALTER TABLE leaving DETACH PARTITION leaving_low;
UPDATE leaving_low SET n = NULL WHERE id = 35;
SELECT dbops.retry(:job);
CALL dbops.run(:job);
SELECT (SELECT count(n) FROM leaving_low), (SELECT count(n) FROM leaving);
DROP TABLE leaving, leaving_low;

-- In partitions, and after a change of name, the texts may call the table by its own name
CREATE TABLE "Named" (id integer PRIMARY KEY, n integer) PARTITION BY RANGE (id);
CREATE TABLE named_low PARTITION OF "Named" FOR VALUES FROM (0) TO (50);
CREATE TABLE named_high PARTITION OF "Named" DEFAULT;
INSERT INTO "Named" SELECT i FROM generate_series(1, 100) i;
CREATE TABLE looked_up (id integer PRIMARY KEY, x integer);
INSERT INTO looked_up SELECT i, i * 2 FROM generate_series(1, 100) i;
SELECT statement FROM dbops.backfill_preview('"Named"', 'n = (SELECT x FROM looked_up l WHERE l.id = "Named".id)', '"Named".n IS NULL', strategy => 'key');
SELECT dbops.backfill('"Named"', 'n = (SELECT x FROM looked_up l WHERE l.id = "Named".id)', '"Named".n IS NULL') AS job \gset
CALL dbops.run(:job);
SELECT count(*) FROM "Named" WHERE n = id * 2;
SELECT dbops.backfill('looked_up', 'x = 0', 'looked_up.x <> 0') AS job \gset
ALTER TABLE looked_up RENAME TO renamed;
CALL dbops.run(:job);
SELECT count(*) FROM renamed WHERE x = 0;
SELECT dbops.batch_delete('"Named"', '"Named".id > 10 AND NOT EXISTS (SELECT FROM renamed r WHERE r.id = "Named".id AND r.x <> 0)') AS job \gset
CALL dbops.run(:job);
SELECT count(*) FROM "Named";
DROP TABLE "Named", renamed;

-- Not every member has a key: a big one that has is counted all the same, as only a walk by key could do without
CREATE TABLE mixed (id integer, n integer) PARTITION BY RANGE (id);
CREATE TABLE mixed_keyed PARTITION OF mixed (PRIMARY KEY (id)) FOR VALUES FROM (0) TO (500);
CREATE TABLE mixed_keyless PARTITION OF mixed DEFAULT;
INSERT INTO mixed SELECT i FROM generate_series(1, 1000) i;
SELECT dbops.backfill('mixed', 'n = id', 'n IS NULL') AS job \gset
UPDATE dbops.job SET spec = spec || '{"snapshot_blocks": 1}' WHERE job_id = :job;
CALL dbops.run(:job);
SELECT state, pass FROM dbops.jobs WHERE job_id = :job;
SELECT count(*) FROM mixed WHERE n = id;
-- A row that the condition itself cannot be computed for is counted by nobody
UPDATE mixed SET n = NULL;
SELECT dbops.backfill('mixed', 'n = id', 'n IS NULL AND 1 / (id - 77) < 1', max_errors => 1) AS job \gset
CALL dbops.run(:job);
SELECT state, pass, last_sqlstate, last_hint FROM dbops.jobs WHERE job_id = :job;
DROP TABLE mixed;

-- Big is what all members are together: none of these alone
CREATE TABLE sum_of (id integer PRIMARY KEY, n integer) PARTITION BY RANGE (id);
CREATE TABLE sum_of_1 PARTITION OF sum_of FOR VALUES FROM (0) TO (400);
CREATE TABLE sum_of_2 PARTITION OF sum_of FOR VALUES FROM (400) TO (800);
CREATE TABLE sum_of_3 PARTITION OF sum_of DEFAULT;
INSERT INTO sum_of SELECT i FROM generate_series(1, 1000) i;
SELECT dbops.backfill('sum_of', 'n = id', 'n IS NULL') AS job \gset
UPDATE dbops.job SET spec = spec || '{"snapshot_blocks": 8}' WHERE job_id = :job;
CALL dbops.run(:job);
SELECT count(*) FROM sum_of WHERE n = id;
SELECT p.state, p.pass, p.current_range ->> 'order' AS "order", m.blocks >= 8 AS together, m.most < 8 AS alone FROM dbops.progress p,
  (SELECT sum(pg_relation_size(c)) / 8192 AS blocks, max(pg_relation_size(c)) / 8192 AS most FROM dbops.family('sum_of'::regclass) c) m WHERE p.job_id = :job;
DROP TABLE sum_of;

SET client_min_messages = warning;
DROP SCHEMA "Other ""schema""" CASCADE;
DROP TABLE sales, attached, spread, bare, parent, aunt, generated, keyless, counted, toasted, unlogged, empty, names, ruled, published CASCADE;
DROP SEQUENCE numbers;
DROP TYPE composite;
DROP SERVER nowhere CASCADE;
DROP FOREIGN DATA WRAPPER nothing;
DROP PROCEDURE do_backfill;
