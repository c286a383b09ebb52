-- Triggers and foreign keys of the table: they fire, they can tell a job's change, and can be left out.
\set ECHO none
\i sql/include/setup.sql
CREATE PROCEDURE do_backfill(assignments text, condition text DEFAULT NULL, skip boolean DEFAULT false) LANGUAGE plpgsql AS $$
DECLARE
  job bigint := dbops.backfill('t', assignments, condition, strategy => 'key', skip_triggers => skip);
BEGIN
  COMMIT;
  CALL dbops.run(job);
END
$$;
\set ECHO all

CREATE TABLE t (id integer PRIMARY KEY, a integer, b integer, touched text, other integer);
CREATE TABLE log (what text, in_job text, who text);
INSERT INTO t SELECT i, i FROM generate_series(1, 100) i;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.touched := TG_NAME;
  RETURN NEW;
END
$$;
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO log VALUES (TG_NAME || ' ' || TG_WHEN || ' ' || TG_LEVEL, current_setting('dbops.in_job'), current_user);
  RETURN NULL;
END
$$;
CREATE TRIGGER row_before BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER row_after AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER statement_after AFTER UPDATE ON t EXECUTE FUNCTION note();
CREATE TRIGGER of_other AFTER UPDATE OF other ON t FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER outside_jobs AFTER UPDATE ON t FOR EACH ROW WHEN (current_setting('dbops.in_job') = '') EXECUTE FUNCTION note();
CREATE CONSTRAINT TRIGGER later AFTER UPDATE ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note();

-- They fire, and see the job's number
CALL do_backfill('b = a', 'b IS NULL');
SELECT touched, count(*) FROM t GROUP BY 1;
SELECT what, in_job, who = current_user, count(*) > 0, CASE WHEN what LIKE '%ROW' THEN count(*) END FROM log GROUP BY 1, 2, 3 ORDER BY 1;
-- Outside of a job the setting is empty
TRUNCATE log;
UPDATE t SET b = NULL, touched = NULL WHERE id = 1;
SELECT what, in_job, count(*) FROM log GROUP BY 1, 2 ORDER BY 1;
SHOW dbops.in_job;

-- Left out by the option, all but those that fire always
TRUNCATE log;
ALTER TABLE t DISABLE TRIGGER row_before;
UPDATE t SET touched = NULL;
ALTER TABLE t ENABLE TRIGGER row_before;
TRUNCATE log;
CALL do_backfill('b = a + 1', skip => true);
SELECT touched, count(*) FROM t WHERE b = a + 1 GROUP BY 1;
SELECT count(*) FROM log;
ALTER TABLE t ENABLE ALWAYS TRIGGER row_after;
ALTER TABLE t ENABLE REPLICA TRIGGER statement_after;
CALL do_backfill('b = a + 2', skip => true);
SELECT what, count(*) FROM log GROUP BY 1 ORDER BY 1;
-- Only for the job's own statement: what a trigger changes elsewhere has its triggers
CREATE TABLE elsewhere (id integer, touched text);
INSERT INTO elsewhere VALUES (1);
CREATE TRIGGER elsewhere_before BEFORE UPDATE ON elsewhere FOR EACH ROW EXECUTE FUNCTION touch();
CREATE FUNCTION spread() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE elsewhere SET id = id + 1;
  RETURN NULL;
END
$$;
CREATE TRIGGER spreads AFTER UPDATE ON t EXECUTE FUNCTION spread();
ALTER TABLE t ENABLE ALWAYS TRIGGER spreads;
CALL do_backfill('b = a + 3', skip => true);
SELECT touched FROM elsewhere;
-- and the session's next statement has them all
TRUNCATE log;
UPDATE t SET b = 0 WHERE id = 1;
SELECT touched FROM t WHERE id = 1;
SELECT what, count(*) FROM log GROUP BY 1 ORDER BY 1;
-- The option is the table owner's
CREATE ROLE regress_dbops_user;
GRANT SELECT, UPDATE ON t TO regress_dbops_user;
SET ROLE regress_dbops_user;
SELECT refused_backfill('t', 'b = a', NULL, 'skip_triggers => true');
RESET ROLE;
DROP TABLE elsewhere;
DROP FUNCTION spread CASCADE;

-- A trigger that suppresses the change, or takes it back: said, not repeated for ever
CREATE FUNCTION suppress() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RETURN CASE WHEN NEW.id <> 50 THEN NEW END;
END
$$;
CREATE TRIGGER suppresses BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION suppress();
UPDATE t SET other = NULL;
CALL do_backfill('other = a', 'other IS NULL');
SELECT count(*) FROM t WHERE other IS NULL;
DROP TRIGGER suppresses ON t;
CREATE FUNCTION take_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.other := OLD.other;
  RETURN NEW;
END
$$;
CREATE TRIGGER takes_back BEFORE UPDATE OF other ON t FOR EACH ROW WHEN (OLD.id = 50) EXECUTE FUNCTION take_back();
CALL do_backfill('other = a', 'other IS NULL');
SELECT count(*) FROM t WHERE other IS NULL;
DROP TRIGGER takes_back ON t;

-- A trigger that wants to end the transaction
CREATE FUNCTION commits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  COMMIT;
  RETURN NEW;
END
$$;
CREATE TRIGGER wants_to_commit BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION commits();
CALL do_backfill('other = a + 1');
DROP TRIGGER wants_to_commit ON t;

-- Foreign keys hold, with and without the option
CREATE TABLE colours (id integer PRIMARY KEY);
INSERT INTO colours VALUES (1), (2);
ALTER TABLE t ADD colour integer REFERENCES colours;
CALL do_backfill('colour = 1 + a % 2', skip => true);
SELECT colour, count(*) FROM t GROUP BY 1 ORDER BY 1;
CALL do_backfill('colour = 3', 'colour = 2', skip => true);
SELECT colour, count(*) FROM t GROUP BY 1 ORDER BY 1;
UPDATE t SET b = id;
ALTER TABLE t ADD UNIQUE (b);
CREATE TABLE details (t integer REFERENCES t (b) ON UPDATE CASCADE, touched text);
INSERT INTO details SELECT i FROM generate_series(1, 100) i;
CREATE TRIGGER details_before BEFORE UPDATE ON details FOR EACH ROW EXECUTE FUNCTION touch();
CALL do_backfill('b = -a', 'b > 0', skip => true);
SELECT touched, count(*), max(t) FROM details GROUP BY 1;

-- Deferred constraints have their say before a batch counts
ALTER TABLE t ADD CONSTRAINT unique_other UNIQUE (other) DEFERRABLE INITIALLY DEFERRED;
CALL do_backfill('other = 1', 'other <> 1');
SELECT count(*) FROM t WHERE other = 1;

-- Triggers of a partitioned table and of one partition
CREATE TABLE parts (id integer PRIMARY KEY, n integer, touched text) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (50);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (50) TO (1000);
INSERT INTO parts SELECT i FROM generate_series(1, 100) i;
CREATE TRIGGER all_parts BEFORE UPDATE ON parts FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER one_part BEFORE UPDATE ON parts_2 FOR EACH ROW EXECUTE FUNCTION touch();
SELECT dbops.backfill('parts', 'n = 1', 'n IS NULL') AS job \gset
CALL dbops.run(:job);
SELECT touched, count(*) FROM parts GROUP BY 1 ORDER BY 1;
UPDATE parts SET touched = NULL, n = NULL;
SELECT dbops.backfill('parts', 'n = 1, touched = ''job''', 'n IS NULL', skip_triggers => true) AS job \gset
CALL dbops.run(:job);
SELECT touched, count(*) FROM parts GROUP BY 1 ORDER BY 1;

SELECT job_id, state, last_sqlstate FROM dbops.jobs ORDER BY job_id;
DROP TABLE details, t, colours, log, parts;
DROP FUNCTION touch, note, suppress, take_back, commits;
DROP PROCEDURE do_backfill;
DROP ROLE regress_dbops_user;

-- A trigger that changes the key that the job walks by: the row would be met again
SET client_min_messages = error;
CREATE TABLE moving (id integer PRIMARY KEY, n integer NOT NULL DEFAULT 0);
INSERT INTO moving SELECT i FROM generate_series(1, 100) i;
CREATE FUNCTION move() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.id := NEW.id + TG_ARGV[0]::integer; RETURN NEW; END $$;
CREATE TRIGGER move BEFORE UPDATE ON moving FOR EACH ROW EXECUTE FUNCTION move(1000);
SELECT dbops.backfill('moving', 'n = n + 1') AS job \gset
CALL dbops.run(:job);
SELECT dbops.backfill('moving', 'n = n + 1', 'n < 5', strategy => 'key') AS job \gset
CALL dbops.run(:job);
SELECT sum(n), max(id) FROM moving;
-- A row that is done wherever it goes, or stays among those of its batch, is not
SELECT dbops.backfill('moving', 'n = 7', 'n <> 7', strategy => 'key') AS job \gset
CALL dbops.run(:job);
SELECT min(n), max(n), min(id), max(id) FROM moving;
SELECT dbops.backfill('moving', 'n = n + 1', skip_triggers => true) AS job \gset
CALL dbops.run(:job);
CREATE OR REPLACE TRIGGER move BEFORE UPDATE ON moving FOR EACH ROW EXECUTE FUNCTION move(0);
SELECT dbops.backfill('moving', 'n = n + 1') AS job \gset
CALL dbops.run(:job);
SELECT min(n), max(n), min(id), max(id) FROM moving;
DROP TABLE moving;
DROP FUNCTION move;

-- A deferred trigger that lets go of the job's lock when a batch commits: nothing is claimed without it, as another worker
-- may have taken it; what was committed stays, and each row is done once
CREATE TABLE loose (id integer PRIMARY KEY, n integer NOT NULL DEFAULT 0);
INSERT INTO loose SELECT generate_series(1, 300);
CREATE FUNCTION let_go() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_unlock_all(); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER let_go AFTER UPDATE ON loose DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION let_go();
SELECT dbops.backfill('loose', 'n = n + 1', max_batch_rows => 100, parallel => 2) AS job \gset
CALL dbops.run(:job);
-- (A dispatcher that looks between the two takes the run for lost, and the session tries once more.)
SELECT state, rows_done IN (100, 200), last_sqlstate FROM dbops.jobs WHERE job_id = :job;
SELECT slice, work FROM dbops.job_slice WHERE job_id = :job ORDER BY slice;
SELECT max(n), count(*) FILTER (WHERE n = 1) = (SELECT rows_done FROM dbops.jobs WHERE job_id = :job), count(*) FROM loose;
DROP TRIGGER let_go ON loose;
SELECT dbops.retry(:job);
CALL dbops.run(:job);
SELECT n, count(*) FROM loose GROUP BY n ORDER BY n;
DROP TABLE loose;
DROP FUNCTION let_go;
