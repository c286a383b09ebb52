-- Sweeps, the passes after the first: what a run finds in one counts, also when another run has begun it
\set ECHO none
\i sql/include/setup.sql
\set ECHO all
CREATE TABLE t (id integer PRIMARY KEY, n integer);
INSERT INTO t SELECT generate_series(1, 1000);
-- The application, at moments that are certain: once the job has changed that row, others match again, and one may break.
CREATE TABLE deeds (at integer, first integer, last integer, breaks integer);
CREATE TABLE broken (id integer);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM broken WHERE id = NEW.id) THEN RAISE EXCEPTION 'row % is broken', NEW.id; END IF;
  RETURN NEW;
END $$;
CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  deed deeds;
BEGIN
  DELETE FROM deeds WHERE at = NEW.id RETURNING * INTO deed;
  UPDATE t SET n = NULL WHERE id = deed.breaks OR id BETWEEN deed.first AND deed.last;
  INSERT INTO broken SELECT deed.breaks WHERE deed.breaks IS NOT NULL;
  RETURN NULL;
END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON t FOR EACH ROW WHEN (NEW.n IS NOT NULL) EXECUTE FUNCTION refuse();
CREATE TRIGGER act AFTER UPDATE ON t FOR EACH ROW WHEN (NEW.n IS NOT NULL) EXECUTE FUNCTION act();
-- Somebody pauses the job when it looks at row 2 for the first time after row 1 was set aside.
CREATE SEQUENCE pauses;
CREATE FUNCTION look(id integer) RETURNS boolean LANGUAGE plpgsql STABLE COST 0.0001 AS $$
BEGIN
  IF id = 2 AND EXISTS (SELECT FROM dbops.job_error) AND nextval('pauses') = 1 THEN
    PERFORM dbops.pause(current_setting('dbops.in_job')::bigint);
  END IF;
  RETURN true;
END $$;

-- The sweep meets row 1, which fails, and halves its range down to it; then it is paused, and has changed nothing yet. What the
-- next run changes are rows of what is left of that range; at the last of them a row that it has passed matches again.
SELECT dbops.backfill('t', 'n = id', 'look(id) AND coalesce(n, 0) = 0', max_batch_rows => 100, target_batch_time => '60 s', max_errors => 1) AS job \gset
UPDATE dbops.job SET spec = spec || '{"snapshot_blocks": 0}' WHERE job_id = :job;
INSERT INTO deeds VALUES (1000, 10, 30, 1);
CALL dbops.run(:job);
SELECT j.state, j.pass, c.pass_rows, (s.work #>> '{0,upto,0}')::integer >= 30 AS rows_are_left FROM dbops.jobs j JOIN dbops.job_cursor c USING (job_id)
  JOIN dbops.job_slice s USING (job_id) WHERE job_id = :job;
SELECT count(*) AS left, min(id), max(id) FROM t WHERE n IS NULL;
INSERT INTO deeds VALUES (30, 20, 20, NULL);
SELECT dbops.resume(:job);
CALL dbops.run(:job);
SELECT count(*) AS undone FROM deeds;
SELECT id FROM t WHERE n IS NULL;
SELECT state, pass FROM dbops.jobs WHERE job_id = :job;
SELECT row_key, message FROM dbops.job_errors WHERE job_id = :job;

DROP TABLE t, deeds, broken;
DROP FUNCTION refuse, act, look;
DROP SEQUENCE pauses;
