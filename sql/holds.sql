-- Legal holds: nothing that dbops deletes passes them
\set ECHO none
\i sql/include/setup.sql
DELETE FROM dbops.legal_hold;
SELECT setval('dbops.legal_hold_hold_id_seq', 1, false) AS begin \gset
CREATE PROCEDURE do_delete(target text, condition text, options text DEFAULT '') LANGUAGE plpgsql AS $$
DECLARE
  job bigint;
BEGIN
  EXECUTE format('SELECT dbops.batch_delete(%L, %L%s)', target, condition, options) INTO job;
  COMMIT;
  CALL dbops.run(job);
  RAISE NOTICE '%', (SELECT format('%s: %s rows, pass %s', j.state, j.rows_done, j.pass) FROM dbops.jobs j WHERE j.job_id = job);
END
$$;
\set ECHO all
CREATE TABLE t (id integer PRIMARY KEY, customer integer, at timestamptz DEFAULT '2026-01-01 00:00+00');
INSERT INTO t SELECT i, i % 10 FROM generate_series(1, 1000) i;

-- What is refused changes nothing
SELECT refused('SELECT dbops.hold(0::oid::regclass, NULL, ''x'')');
SELECT refused('SELECT dbops.hold(NULL, NULL, ''x'')');
SELECT refused('SELECT dbops.hold(''t'')');
SELECT refused('SELECT dbops.hold(''t'', NULL, ''  '')');
SELECT refused('SELECT dbops.hold(''no_such'', NULL, ''x'')');
SELECT refused('SELECT dbops.hold(''pg_class'', NULL, ''x'')');
SELECT refused('SELECT dbops.hold(''dbops.holds'', NULL, ''x'')');
SELECT refused('SELECT dbops.hold(''t'', '''', ''x'')');
SELECT refused('SELECT dbops.hold(''t'', ''customer = '', ''x'')');
SELECT refused('SELECT dbops.hold(''t'', ''true; DROP TABLE t'', ''x'')');
SELECT refused('SELECT dbops.hold(''t'', ''customer'', ''x'')');
SELECT refused('SELECT dbops.hold(''t'', ''nobody = 1'', ''x'')');
SELECT refused('SELECT dbops.hold(''t'', ''id IN (SELECT 1)'', ''x'')');
SELECT refused('SELECT dbops.hold(''t'', ''at < now()'', ''x'')');
CREATE ROLE hold_user;
GRANT CREATE ON SCHEMA public TO hold_user;
SET ROLE hold_user;
CREATE FUNCTION own(integer) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN true;
CREATE DOMAIN small AS integer CHECK (own(VALUE));
CREATE TABLE mine (id integer);
SELECT refused('SELECT dbops.hold(''mine'', ''own(id)'', ''x'')');
SELECT refused('SELECT dbops.hold(''mine'', ''1::small = id'', ''x'')');
SELECT refused('SELECT dbops.hold(''t'', NULL, ''x'')');
SELECT dbops.hold('mine', 'id > 1', 'mine');
SELECT hold_id, target, condition, reason, placed_by, active FROM dbops.holds;
RESET ROLE;
SELECT refused('SELECT dbops.release(NULL, ''x'')');
SELECT refused('SELECT dbops.release(1)');
SELECT refused('SELECT dbops.release(4711, ''x'')');
SELECT dbops.release(1, 'done');
SELECT refused('SELECT dbops.release(1, ''again'')');
SELECT target, condition, reason, placed_by, active, released_by = current_user AS by_me, release_reason FROM dbops.holds;
DROP TABLE mine;
DROP DOMAIN small;
DROP FUNCTION own;

-- Rows of a condition, then of another, then all of them
SELECT dbops.hold('t', 't.customer = 3', 'case 12/26') AS hold \gset
SELECT count(*) FROM t WHERE dbops.is_held(t.tableoid, t.*);
CALL do_delete('t', 'customer < 6');
SELECT customer, count(*) FROM t GROUP BY customer ORDER BY customer;
SELECT dbops.hold('t', 'at >= ''2026-01-01''', 'by time') AS all_of_them \gset
CALL do_delete('t', 'true');
SELECT count(*) FROM t;
SELECT dbops.release(:all_of_them, 'a mistake') = :all_of_them;
CALL do_delete('t', 'true');
SELECT customer, count(*) FROM t GROUP BY customer ORDER BY customer;
SELECT (dbops.batch_delete_preview('t', 'true')).warnings;
SELECT dbops.release(:hold, 'settled') = :hold;
CALL do_delete('t', 'true');
SELECT count(*) FROM t;

-- A condition that cannot be read any more: nothing is deleted
INSERT INTO t SELECT i, i % 10 FROM generate_series(1, 10) i;
SELECT dbops.hold('t', 'customer = 3', 'case 12/26') AS hold \gset
ALTER TABLE t DROP COLUMN customer;
SELECT dbops.batch_delete('t', 'true') AS job \gset
CALL dbops.run(:job);
SELECT count(*) FROM t;
SELECT dbops.release(:hold, 'settled') = :hold;

-- Partitions: a hold on the whole, and one on a part
CREATE TABLE parts (id integer, day date) PARTITION BY RANGE (day);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
CREATE TABLE parts_2 (day date, id integer);
ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');
INSERT INTO parts SELECT i, date '2024-01-01' + i FROM generate_series(0, 59) i;
SELECT dbops.hold('parts', 'id % 10 = 0', 'whole') AS whole \gset
SELECT dbops.hold('parts_2', 'parts_2.id % 10 = 1', 'part') AS part \gset
CALL do_delete('parts', 'true');
SELECT tableoid::regclass, array_agg(id ORDER BY id) FROM parts GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM parts WHERE dbops.is_held(parts.tableoid, parts.*);
CALL do_delete('parts_2', 'true');
SELECT array_agg(id ORDER BY id) FROM parts_2;
DROP TABLE parts;

-- Foreign keys: a row stays when held rows would go, or change, with it
CREATE TABLE a (id integer PRIMARY KEY);
CREATE TABLE b (id integer PRIMARY KEY, a integer REFERENCES a ON DELETE CASCADE);
CREATE TABLE c (id integer PRIMARY KEY, b integer REFERENCES b ON DELETE CASCADE);
CREATE TABLE d (id integer PRIMARY KEY, a integer REFERENCES a ON DELETE SET NULL);
INSERT INTO a SELECT i FROM generate_series(1, 20) i;
INSERT INTO b SELECT i, i FROM generate_series(1, 20) i;
INSERT INTO c SELECT i, i FROM generate_series(1, 20) i;
INSERT INTO d SELECT i, i FROM generate_series(1, 20) i;
SELECT dbops.hold('b', 'id = 2', 'child') AS h1, dbops.hold('c', 'id = 3', 'grandchild') AS h2, dbops.hold('d', 'id = 4', 'other') AS h3 \gset
CALL do_delete('a', 'true');
SELECT (SELECT array_agg(id ORDER BY id) FROM a) AS a, (SELECT array_agg(id ORDER BY id) FROM b) AS b,
  (SELECT array_agg(id ORDER BY id) FROM c) AS c, (SELECT array_agg(a ORDER BY id) FILTER (WHERE a IS NOT NULL) FROM d) AS d;

-- A trigger of the table that deletes elsewhere does not pass either, in a batch
CREATE TABLE e (id integer PRIMARY KEY);
INSERT INTO e SELECT i FROM generate_series(1, 3) i;
CREATE FUNCTION also() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM c WHERE id = OLD.id; RETURN OLD; END $$;
CREATE TRIGGER also BEFORE DELETE ON e FOR EACH ROW EXECUTE FUNCTION also();
SELECT dbops.batch_delete('e', 'true') AS job \gset
\set VERBOSITY terse
CALL dbops.run(:job);
\set VERBOSITY default
SELECT row_key, sqlstate, message FROM dbops.job_errors WHERE job_id = :job;
SELECT array_agg(id ORDER BY id) FROM c;
-- nor in a backfill
CREATE TABLE f (id integer PRIMARY KEY, done boolean);
INSERT INTO f SELECT i FROM generate_series(1, 3) i;
CREATE TRIGGER also BEFORE UPDATE ON f FOR EACH ROW EXECUTE FUNCTION also();
INSERT INTO c (id) VALUES (1), (2);
CREATE OR REPLACE FUNCTION also() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM c WHERE id = OLD.id; RETURN NEW; END $$;
SELECT dbops.backfill('f', 'done = true', 'done IS NULL', max_errors => 5) AS job \gset
CALL dbops.run(:job);
SELECT row_key, sqlstate, message FROM dbops.job_errors WHERE job_id = :job;
SELECT (SELECT array_agg(id ORDER BY id) FROM c), (SELECT array_agg(id ORDER BY id) FROM f WHERE done);
-- in another form of the statement, by a foreign key of the row, in a block that catches other errors
BEGIN;
SELECT dbops.deletion_condition('t', 'x');
SAVEPOINT s;
SELECT refused('MERGE INTO c USING (VALUES (3)) v (id) ON c.id = v.id WHEN MATCHED THEN DELETE');
SELECT refused('DELETE FROM c USING b WHERE c.b = b.id');
SELECT refused('DELETE FROM a WHERE id = 3');
SELECT refused('DO $d$BEGIN DELETE FROM c; EXCEPTION WHEN division_by_zero THEN NULL; END$d$');
ROLLBACK;
-- outside of dbops it does, unless the guard is a trigger of the table
CREATE TRIGGER guard BEFORE DELETE ON c FOR EACH ROW EXECUTE FUNCTION dbops.hold_guard();
SELECT refused('DELETE FROM c');
DROP TRIGGER guard ON c;
SELECT refused('SELECT dbops.hold_guard()');
SELECT refused('SELECT dbops.is_held(1, ROW(1))');

-- For statements of one's own
SELECT dbops.deletion_condition('d', 'x');
BEGIN;
SELECT dbops.deletion_condition('t', 'x');
SAVEPOINT s;
SELECT refused('DELETE FROM d WHERE id = 4');
ROLLBACK TO s;
SELECT refused('WITH gone AS (DELETE FROM d RETURNING id) SELECT count(*) FROM gone');
COMMIT;
DELETE FROM d WHERE id = 4;

-- What a trigger does in a soft delete, an undelete and a purge, whatever it does
CREATE TABLE kept (id integer PRIMARY KEY);
INSERT INTO kept SELECT i FROM generate_series(1, 3) i;
SELECT dbops.hold('kept', 'id = 2', 'kept') AS kept \gset
CREATE TABLE how (command text);
CREATE FUNCTION more() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE (SELECT command FROM how);
  IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
  RETURN NEW;
END $$;
CREATE TABLE soft_column (id integer PRIMARY KEY);
CREATE TABLE soft_stone (id integer PRIMARY KEY);
SELECT dbops.soft_delete_enable('soft_column', purge_schedule => NULL), dbops.soft_delete_enable('soft_stone', mode => 'tombstone', purge_schedule => NULL);
INSERT INTO soft_column SELECT generate_series(1, 3);
INSERT INTO soft_stone SELECT generate_series(1, 3);
SELECT dbops.soft_delete('soft_column', 3) AS in_column, dbops.soft_delete('soft_stone', 3) AS as_stone \gset
CREATE TRIGGER more BEFORE UPDATE OR DELETE ON soft_column FOR EACH ROW EXECUTE FUNCTION more();
CREATE TRIGGER more BEFORE INSERT OR DELETE ON soft_stone FOR EACH ROW EXECUTE FUNCTION more();
CREATE FUNCTION try_all() RETURNS TABLE (how text, what text, refused text) LANGUAGE plpgsql AS $$
BEGIN
  FOREACH how IN ARRAY ARRAY['DELETE FROM kept', 'TRUNCATE kept', 'DROP TABLE kept'] LOOP
    DELETE FROM how;
    INSERT INTO how VALUES (try_all.how);
    FOREACH what IN ARRAY ARRAY['dbops.soft_delete(''soft_column'', 1)', 'dbops.soft_delete(''soft_stone'', 1)',
      format('dbops.undelete(%s)', current_setting('test.in_column')), format('dbops.undelete(%s)', current_setting('test.as_stone'))] LOOP
      refused := (SELECT regexp_replace(string_agg(r, ' '), 'hold \d+', 'hold N') FROM refused('SELECT ' || what) r);
      what := regexp_replace(what, 'undelete\(\d+', 'undelete(N');
      RETURN NEXT;
    END LOOP;
  END LOOP;
END $$;
SET test.in_column = :'in_column';
SET test.as_stone = :'as_stone';
SELECT how, what, refused FROM try_all();
SELECT array_agg(id ORDER BY id) FROM kept;
DELETE FROM how;
INSERT INTO how VALUES ('TRUNCATE kept');
\set VERBOSITY terse
CALL dbops.purge('soft_column', older_than => '0', nice_ratio => 0);
\set VERBOSITY default
SELECT array_agg(id ORDER BY id) FROM kept;
-- ... and what the transaction does after dbops has deleted in it, by itself or by a trigger that was deferred
TRUNCATE how;
INSERT INTO how VALUES ('SELECT 1');
BEGIN;
SELECT dbops.soft_delete('soft_stone', 1) > 0;
SELECT refused('TRUNCATE kept');
SELECT refused('DROP TABLE kept');
ROLLBACK;
CREATE CONSTRAINT TRIGGER later AFTER UPDATE ON soft_column INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION more();
DROP TRIGGER more ON soft_column;
UPDATE how SET command = 'TRUNCATE kept';
\set VERBOSITY terse
SELECT dbops.soft_delete('soft_column', 1) > 0;
UPDATE how SET command = 'DELETE FROM kept';
SELECT dbops.soft_delete('soft_column', 1) > 0;
\set VERBOSITY default
SELECT array_agg(id ORDER BY id) FROM kept;
DROP TABLE soft_column, soft_stone CASCADE;
DROP TABLE how;
DROP FUNCTION more, try_all;

SELECT dbops.release(hold_id, 'end of test') > 0 FROM dbops.holds WHERE active ORDER BY hold_id;
DROP TABLE kept;
DROP TABLE t, a, b, c, d, e, f;
DROP FUNCTION also;
DROP PROCEDURE do_delete;
DELETE FROM dbops.legal_hold;
REVOKE CREATE ON SCHEMA public FROM hold_user;
DROP ROLE hold_user;
