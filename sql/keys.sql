-- Keys of every kind: each row is changed exactly once, whatever the rows are walked by.
\set ECHO none
\i sql/include/setup.sql
CREATE TYPE colour AS ENUM ('red', 'green', 'blue', 'black', 'white');
CREATE TYPE pair AS (a integer, b text);
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);

-- Makes a table with the key and rows, and adds 1 to n in every row in batches of 7, by each walk. Says what was walked by.
CREATE PROCEDURE check_key(columns text, key text, rows text) LANGUAGE plpgsql AS $$
DECLARE
  strategy text;
  walk text;
  options text;
  job bigint;
  wrong bigint;
  total bigint;
  said text := '';
BEGIN
  EXECUTE format('CREATE TABLE keyed (%s, n integer NOT NULL DEFAULT 0); INSERT INTO keyed %s; %s; ANALYZE keyed', columns, rows, key);
  SELECT walks_by INTO walk FROM dbops.backfill_preview('keyed', 'n = n + 1');
  FOREACH options IN ARRAY ARRAY['strategy => ''key''', 'strategy => ''stripe'', stripes => 3',
                                 'strategy => ''key'', parallel => 2', 'condition => ''n < 100''']
  LOOP
    EXECUTE format('SELECT dbops.backfill(''keyed'', ''n = n + 1'', max_batch_rows => 7, nice_ratio => 0, %s)', options) INTO job;
    COMMIT;
    CALL dbops.run(job);
    SELECT count(*), count(*) FILTER (WHERE n <> 1) INTO total, wrong FROM keyed;
    IF wrong > 0 THEN RAISE WARNING '%: % of % rows wrong', options, wrong, total; END IF;
    SELECT said || ' ' || j.strategy INTO said FROM dbops.jobs j WHERE job_id = job;
    UPDATE keyed SET n = 0;
  END LOOP;
  RAISE NOTICE '% by %:% % rows', rpad(columns, 30), walk, said, total;
  DROP TABLE keyed;
END
$$;
\set ECHO all

CALL check_key('k smallint PRIMARY KEY', '', 'SELECT i FROM generate_series(-50, 50) i');
CALL check_key('k integer PRIMARY KEY', '', 'SELECT i * 1000 FROM generate_series(-50, 50) i UNION VALUES (-2147483648), (2147483647)');
CALL check_key('k bigint PRIMARY KEY', '', 'SELECT i FROM generate_series(1, 100) i UNION VALUES (-9223372036854775808), (9223372036854775807)');
CALL check_key('k numeric PRIMARY KEY', '', 'SELECT i / 7.0 FROM generate_series(-50, 50) i UNION VALUES (numeric ''NaN''), (''Infinity''), (''-Infinity'')');
CALL check_key('k real PRIMARY KEY', '', 'SELECT (i / 7.0)::real FROM generate_series(-50, 50) i UNION VALUES (real ''NaN''), (''Infinity''), (''-Infinity'')');
CALL check_key('k double precision PRIMARY KEY', '', 'SELECT i / 7.0::float8 FROM generate_series(-50, 50) i UNION VALUES (float8 ''NaN''), (''Infinity''), (''1e-300'')');
CALL check_key('k text PRIMARY KEY', '', 'SELECT chr(39 + i) || i FROM generate_series(1, 100) i UNION VALUES (''''), (''''''''), (E''\\''), (''a"b,(c)'')');
CALL check_key('k text COLLATE "C.utf8" PRIMARY KEY', '', 'SELECT chr(192 + i) || i FROM generate_series(1, 100) i');
CALL check_key('k varchar(20) PRIMARY KEY', '', 'SELECT ''x'' || i FROM generate_series(1, 100) i');
CALL check_key('k char(5) PRIMARY KEY', '', 'SELECT i::text FROM generate_series(1, 100) i');
CALL check_key('k name PRIMARY KEY', '', 'SELECT ''n'' || i FROM generate_series(1, 100) i');
CALL check_key('k bytea PRIMARY KEY', '', 'SELECT decode(md5(i::text), ''hex'') FROM generate_series(1, 100) i UNION VALUES (''''::bytea), (''\x00'')');
CALL check_key('k uuid PRIMARY KEY', '', 'SELECT md5(i::text)::uuid FROM generate_series(1, 100) i');
CALL check_key('k boolean PRIMARY KEY', '', 'VALUES (true), (false)');
CALL check_key('k date PRIMARY KEY', '', 'SELECT date ''2000-01-01'' + i FROM generate_series(1, 100) i UNION VALUES (date ''infinity''), (''-infinity''), (''4713-01-01 BC'')');
CALL check_key('k time PRIMARY KEY', '', 'SELECT time ''00:00'' + i * interval ''11 s'' FROM generate_series(1, 100) i UNION VALUES (time ''24:00'')');
CALL check_key('k timestamp PRIMARY KEY', '', 'SELECT timestamp ''2000-01-01'' + i * interval ''1.000001 h'' FROM generate_series(1, 100) i');
CALL check_key('k timestamptz PRIMARY KEY', '', 'SELECT timestamptz ''2024-03-30 UTC'' + i * interval ''1.000001 h'' FROM generate_series(1, 100) i UNION VALUES (timestamptz ''infinity''), (''-infinity'')');
CALL check_key('k interval PRIMARY KEY', '', 'SELECT make_interval(months => i % 5, days => i, secs => i / 3.0) FROM generate_series(1, 100) i');
CALL check_key('k colour PRIMARY KEY', '', 'SELECT unnest(enum_range(NULL::colour))');
CALL check_key('k inet PRIMARY KEY', '', 'SELECT inet ''10.0.0.0'' + i FROM generate_series(1, 100) i UNION VALUES (inet ''::1/64'')');
CALL check_key('k macaddr PRIMARY KEY', '', 'SELECT (''08:00:2b:01:02:'' || to_hex(i % 16) || to_hex(i / 16))::macaddr FROM generate_series(1, 100) i');
CALL check_key('k oid PRIMARY KEY', '', 'SELECT i FROM generate_series(1, 100) i UNION VALUES (4294967295)');
CALL check_key('k money PRIMARY KEY', '', 'SELECT (i * 1000.01)::numeric::money FROM generate_series(1, 100) i');
CALL check_key('k bit(8) PRIMARY KEY', '', 'SELECT i::bit(8) FROM generate_series(1, 100) i');
CALL check_key('k integer[] PRIMARY KEY', '', 'SELECT ARRAY[i, NULL, i] FROM generate_series(1, 100) i UNION VALUES (''{}''::integer[])');
CALL check_key('k int4range PRIMARY KEY', '', 'SELECT int4range(i, i + 3) FROM generate_series(1, 100) i UNION VALUES (int4range ''empty''), (''(,)'')');
CALL check_key('k jsonb PRIMARY KEY', '', 'SELECT jsonb_build_object(''k'', i) FROM generate_series(1, 100) i UNION VALUES (jsonb ''null'')');
CALL check_key('k positive PRIMARY KEY', '', 'SELECT i FROM generate_series(1, 100) i');
CALL check_key('k pair PRIMARY KEY', '', 'SELECT ROW(i, ''x,)"'' || i)::pair FROM generate_series(1, 100) i UNION VALUES (ROW(1, NULL)::pair)');
CALL check_key('k pg_lsn PRIMARY KEY', '', 'SELECT pg_lsn ''1/0'' + i FROM generate_series(1, 100) i');

-- Several columns: one bound for the row
CALL check_key('a integer, b text, PRIMARY KEY (a, b)', '', 'SELECT i % 5, ''b'' || i FROM generate_series(1, 100) i');
CALL check_key('a integer, b text, PRIMARY KEY (b, a)', '', 'SELECT i, ''b'' || i % 5 FROM generate_series(1, 100) i');
CALL check_key('a uuid, b timestamptz, c smallint, PRIMARY KEY (a, b, c)', '',
  'SELECT md5((i % 3)::text)::uuid, timestamptz ''2024-01-01'' + i % 4 * interval ''1 h'', i FROM generate_series(1, 100) i');
CALL check_key('a boolean, b colour, c text, d numeric, PRIMARY KEY (a, b, c, d)', '',
  'SELECT i % 2 = 0, (enum_range(NULL::colour))[1 + i % 5], i % 3, i FROM generate_series(1, 100) i');

-- The other way round: an index all of whose columns descend
CALL check_key('k integer NOT NULL', 'CREATE UNIQUE INDEX ON keyed (k DESC)', 'SELECT i FROM generate_series(1, 100) i');
CALL check_key('k integer NOT NULL', 'CREATE UNIQUE INDEX ON keyed (k DESC NULLS LAST)', 'SELECT i FROM generate_series(1, 100) i');
CALL check_key('a integer NOT NULL, b text NOT NULL', 'CREATE UNIQUE INDEX ON keyed (a DESC, b DESC)', 'SELECT i % 5, i FROM generate_series(1, 100) i');

-- Columns that an index carries beside its key
CALL check_key('a integer NOT NULL, b text', 'CREATE UNIQUE INDEX ON keyed (a) INCLUDE (b)', 'SELECT i, i FROM generate_series(1, 100) i');
-- A primary key before a shorter unique one; of unique ones the shortest
CALL check_key('a integer, b integer, c integer NOT NULL UNIQUE, PRIMARY KEY (a, b)', '', 'SELECT i % 5, i, i FROM generate_series(1, 100) i');
CALL check_key('a integer NOT NULL, b integer NOT NULL, c integer NOT NULL UNIQUE, UNIQUE (a, b)', '', 'SELECT i % 5, i, i FROM generate_series(1, 100) i');

-- Not a key to walk by: partial, on an expression, of a nullable column, deferrable, ascending and descending, with another
-- collation or another order than the column's, not unique, not a btree, not valid
CREATE TABLE unkeyed (k integer NOT NULL, t text NOT NULL, nullable integer, n integer DEFAULT 0);
INSERT INTO unkeyed SELECT i, i, i FROM generate_series(1, 100) i;
CREATE UNIQUE INDEX ON unkeyed (k) WHERE k > 0;
SELECT refused_backfill('unkeyed', 'n = n + 1');
CREATE UNIQUE INDEX ON unkeyed ((k + 1));
CREATE UNIQUE INDEX ON unkeyed (nullable);
CREATE UNIQUE INDEX ON unkeyed (k, nullable);
ALTER TABLE unkeyed ADD UNIQUE (k) DEFERRABLE;
ALTER TABLE unkeyed ADD UNIQUE (t, k) DEFERRABLE INITIALLY DEFERRED;
CREATE UNIQUE INDEX ON unkeyed (t DESC, k);
CREATE UNIQUE INDEX ON unkeyed (t COLLATE "C.utf8");
CREATE UNIQUE INDEX ON unkeyed (t text_pattern_ops);
CREATE INDEX ON unkeyed (k);
CREATE INDEX ON unkeyed USING hash (k);
SELECT refused_backfill('unkeyed', 'n = n + 1');
ALTER TABLE unkeyed ADD PRIMARY KEY (k) DEFERRABLE;
SELECT refused_backfill('unkeyed', 'n = n + 1');
SELECT refused_backfill('unkeyed', 'n = n + 1', 'n = 0', 'strategy => ''key''');
-- but it can be walked by blocks
SELECT dbops.backfill('unkeyed', 'n = n + 1', 'n = 0') AS job \gset
CALL dbops.run(:job);
SELECT n, count(*) FROM unkeyed GROUP BY n;
-- A key that the job assigns is none; another one will do
CREATE UNIQUE INDEX ON unkeyed (k, t);
SELECT walks_by FROM dbops.backfill_preview('unkeyed', 'n = n + 1');
SELECT refused_backfill('unkeyed', 'n = n + 1, k = -k');
ALTER TABLE unkeyed ADD COLUMN u uuid NOT NULL UNIQUE DEFAULT gen_random_uuid();
SELECT walks_by FROM dbops.backfill_preview('unkeyed', 'n = n + 1, k = -k');
SELECT dbops.backfill('unkeyed', 'n = n + 1, k = -k', max_batch_rows => 7) AS job \gset
CALL dbops.run(:job);
SELECT n, count(*), max(k) FROM unkeyed GROUP BY n;

-- A generated column that follows what is assigned is no key; one that does not is
CREATE TABLE following (g bigint GENERATED ALWAYS AS (n * 1000::bigint + id) STORED UNIQUE NOT NULL, id integer, n integer NOT NULL DEFAULT 0,
  h integer GENERATED ALWAYS AS (id * 2) STORED);
INSERT INTO following (id) SELECT i FROM generate_series(1, 100) i;
SELECT refused_backfill('following', 'n = n + 1');
SELECT walks_by FROM dbops.backfill_preview('following', 'n = n + 1', 'n < 1');
ALTER TABLE following ALTER h SET NOT NULL, ADD UNIQUE (h);
SELECT strategy_used, walks_by FROM dbops.backfill_preview('following', 'n = n + 1');
SELECT dbops.backfill('following', 'n = n + 1', max_batch_rows => 7) AS job \gset
CALL dbops.run(:job);
SELECT n, count(*) FROM following GROUP BY n;
DROP TABLE following;

-- Two rows that a collation takes for equal are one key
CREATE COLLATION ignoring_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CALL check_key('k text COLLATE ignoring_case PRIMARY KEY', '', 'SELECT chr(65 + i % 26 + i % 2 * 32) || i FROM generate_series(1, 100) i');

-- A column of another type is another key, where the texts of old bounds would be read as other values
CREATE TABLE retyped (k timestamp PRIMARY KEY, n integer NOT NULL DEFAULT 0, CONSTRAINT stop CHECK (n = 0 OR k <> '2026-01-03'));
INSERT INTO retyped SELECT '2026-01-01'::timestamp + i * interval '1 hour' FROM generate_series(1, 100) i;
SELECT dbops.backfill('retyped', 'n = n + 1', max_batch_rows => 10) AS job \gset
CALL dbops.run(:job);
ALTER TABLE retyped DROP CONSTRAINT stop;
SET timezone = 'America/New_York';
ALTER TABLE retyped ALTER k TYPE timestamptz;
SELECT dbops.retry(:job);
CALL dbops.run(:job);
-- and as it was, it is gone on with
ALTER TABLE retyped ALTER k TYPE timestamp;
SET timezone = 'UTC';
SELECT dbops.retry(:job);
CALL dbops.run(:job);
SELECT n, count(*) FROM retyped GROUP BY n;
-- Integers and texts keep their order, and their texts
CREATE TABLE widened (i smallint, t varchar(10) COLLATE "C", n integer NOT NULL DEFAULT 0, PRIMARY KEY (i, t), CONSTRAINT stop CHECK (n = 0 OR i <> 5));
INSERT INTO widened SELECT i % 10, i FROM generate_series(1, 100) i;
SELECT dbops.backfill('widened', 'n = n + 1', max_batch_rows => 10) AS job \gset
CALL dbops.run(:job);
ALTER TABLE widened DROP CONSTRAINT stop, ALTER i TYPE bigint, ALTER t TYPE text COLLATE "C";
SELECT dbops.retry(:job);
CALL dbops.run(:job);
SELECT n, count(*) FROM widened GROUP BY n;
DROP TABLE retyped, widened;

SELECT count(*), state FROM dbops.jobs GROUP BY state;
DROP TABLE unkeyed;
DROP PROCEDURE check_key;
DROP COLLATION ignoring_case;
DROP DOMAIN positive;
DROP TYPE colour, pair;
