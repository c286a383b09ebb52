-- batch_delete
\set ECHO none
\i sql/include/setup.sql
CREATE PROCEDURE do_delete(target text, condition text, options text DEFAULT '') LANGUAGE plpgsql AS $$
DECLARE
  job bigint;
BEGIN
  EXECUTE format('SELECT dbops.batch_delete(%L, %L%s)', target, condition, options) INTO job;
  COMMIT;
  CALL dbops.run(job);
  RAISE NOTICE '%', (SELECT format('%s by %s: %s rows', j.state, j.strategy, j.rows_done) FROM dbops.jobs j WHERE j.job_id = job);
END
$$;
\set ECHO all
CREATE TABLE t (id integer PRIMARY KEY, a integer);
INSERT INTO t SELECT i, i % 10 FROM generate_series(1, 2000) i;
CALL do_delete('t', 'a = 3');
SELECT count(*), count(*) FILTER (WHERE a = 3) FROM t;
CALL do_delete('t', 'a = 3');
CALL do_delete('t', 'a = 4', ', strategy => ''key'', max_batch_rows => 100');
CALL do_delete('t', 'a = 5', ', strategy => ''stripe'', stripes => 4, max_batch_rows => 100');
CALL do_delete('t', 'a = 6', ', parallel => 3, max_batch_rows => 100');
CALL do_delete('t', 'a < 2 AND EXISTS (SELECT FROM generate_series(1, 1000) i WHERE i = t.id)');
CALL do_delete('t', 'id IN (7, 8, 9) -- just these');
SELECT a, count(*) FROM t GROUP BY a ORDER BY a;
CALL do_delete('t', 'true');
SELECT count(*) FROM t;

-- Rows that are the same, without a key
CREATE TABLE keyless (a integer);
INSERT INTO keyless SELECT i % 3 FROM generate_series(1, 300) i;
CALL do_delete('keyless', 'a = 1');
SELECT a, count(*) FROM keyless GROUP BY a ORDER BY a;

-- Partitions, inheritance
CREATE TABLE parts (id integer, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
CREATE TABLE parts_2 PARTITION OF parts DEFAULT;
INSERT INTO parts SELECT i, date '2024-01-01' + i FROM generate_series(1, 60) i;
CALL do_delete('parts', 'day < ''2024-02-10''');
SELECT tableoid::regclass, count(*) FROM parts GROUP BY 1;
CREATE TABLE parent (id integer);
CREATE TABLE child () INHERITS (parent);
INSERT INTO parent SELECT i FROM generate_series(1, 10) i;
INSERT INTO child SELECT i FROM generate_series(1, 10) i;
CALL do_delete('parent', 'id <= 5');
SELECT tableoid::regclass, count(*) FROM parent GROUP BY 1 ORDER BY tableoid::regclass::text;

-- Foreign keys: cascades are done, and said when they are slow
CREATE TABLE colours (id integer PRIMARY KEY);
CREATE TABLE things (id integer, colour integer REFERENCES colours ON DELETE CASCADE);
CREATE TABLE indexed (id integer, colour integer REFERENCES colours ON DELETE SET NULL);
CREATE INDEX ON indexed (colour);
INSERT INTO colours SELECT i FROM generate_series(1, 10) i;
INSERT INTO things SELECT i, 1 + i % 10 FROM generate_series(1, 100) i;
INSERT INTO indexed SELECT * FROM things;
CALL do_delete('colours', 'id <= 5');
SELECT count(*) FROM things;
SELECT count(*), count(colour) FROM indexed;

-- Triggers, left out or not
CREATE TABLE log (what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO log VALUES (TG_TABLE_NAME || ' in ' || (current_setting('dbops.in_job') <> ''));
  RETURN OLD;
END
$$;
CREATE TRIGGER noted BEFORE DELETE ON colours FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER noted BEFORE DELETE ON things FOR EACH ROW EXECUTE FUNCTION note();
CALL do_delete('colours', 'id = 6');
SELECT what, count(*) FROM log GROUP BY what ORDER BY what;
TRUNCATE log;
CALL do_delete('colours', 'id = 7', ', skip_triggers => true');
SELECT what, count(*) FROM log GROUP BY what ORDER BY what;
SELECT count(*) FROM things WHERE colour IN (6, 7);
-- A trigger that keeps rows
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER kept BEFORE DELETE ON colours FOR EACH ROW WHEN (OLD.id = 9) EXECUTE FUNCTION keep();
CALL do_delete('colours', 'id > 7');
SELECT id FROM colours;

SELECT job_id, kind, state, rows_done FROM dbops.jobs ORDER BY job_id;
DROP TABLE t, keyless, parts, parent, child, colours, things, indexed, log;
DROP FUNCTION note, keep;
DROP PROCEDURE do_delete;
