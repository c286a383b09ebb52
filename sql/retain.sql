-- Retention rules
\set ECHO none
\i sql/include/setup.sql
DELETE FROM dbops.legal_hold;
SELECT setval('dbops.legal_hold_hold_id_seq', 1, false) AS begin \gset
DELETE FROM dbops.retention_rule;
SELECT setval('dbops.retention_rule_rule_id_seq', 1, false) AS begin \gset
CREATE PROCEDURE run_rule(rule bigint) LANGUAGE plpgsql AS $$
DECLARE
  job bigint := dbops.run_retention(rule);
BEGIN
  COMMIT;
  IF job IS NOT NULL THEN
    BEGIN
      CALL dbops.run(job);
    END;
    RAISE NOTICE '%', (SELECT format('%s: %s rows, %s others', d.state, d.rows, d.dependent_rows) FROM dbops.deletions d WHERE d.job_id = job);
  END IF;
END
$$;
\set ECHO all
CREATE TABLE events (id integer PRIMARY KEY, at timestamptz, day date, stamp timestamp, what text);
INSERT INTO events SELECT i, now() - i * interval '1 day', current_date - i, localtimestamp - i * interval '1 day', 'x'
  FROM generate_series(1, 100) i;
INSERT INTO events VALUES (0, NULL, NULL, NULL, 'never'), (-1, 'infinity', 'infinity', 'infinity', 'never');

-- What is refused changes nothing
SELECT refused('SELECT dbops.retain(NULL, ''at'', ''1 day'', ''@daily'')');
SELECT refused('SELECT dbops.retain(0::oid::regclass, ''at'', ''1 day'', ''@daily'')');
SELECT refused('SELECT dbops.retain(''events'', NULL, ''1 day'', ''@daily'')');
SELECT refused('SELECT dbops.retain(''events'', ''at'', NULL, ''@daily'')');
SELECT refused('SELECT dbops.retain(''events'', ''at'', ''1 day'', NULL)');
SELECT refused('SELECT dbops.retain(''events'', ''no'', ''1 day'', ''@daily'')');
SELECT refused('SELECT dbops.retain(''events'', ''what'', ''1 day'', ''@daily'')');
SELECT refused('SELECT dbops.retain(''events'', ''ctid'', ''1 day'', ''@daily'')');
SELECT refused('SELECT dbops.retain(''events'', ''at'', ''0'', ''@daily'')');
SELECT refused('SELECT dbops.retain(''events'', ''at'', ''-1 day'', ''@daily'')');
SELECT refused('SELECT dbops.retain(''events'', ''at'', ''1 mon -29 days'', ''@daily'')');
SELECT refused('SELECT dbops.retain(''events'', ''at'', ''1 day -1 hour'', ''@daily'')');
SELECT refused('SELECT dbops.retain(''events'', ''at'', ''1001 years'', ''@daily'')');
SELECT refused('SELECT dbops.retain(''events'', ''at'', ''1 day'', ''@daily'', restore_grace => ''2 mon -50 days'')');
SELECT refused('SELECT dbops.retain(''events'', ''at'', ''1 day'', ''@daily'', dry_run => NULL)');
SELECT refused('SELECT dbops.retain(''events'', ''at'', ''1 day'', ''at noon'')');
SELECT refused('SELECT dbops.retain(''events'', ''at'', ''1 day'', ''@daily'', children => ''eat'')');
SELECT refused('SELECT dbops.retain(''events'', ''at'', ''1 day'', ''@daily'', partitions => ''burn'')');
SELECT refused('SELECT dbops.retain(''events'', ''at'', ''1 day'', ''@daily'', max_rows => 0)');
SELECT refused('SELECT dbops.retain(''events'', ''at'', ''1 day'', ''@daily'', max_share => 1.1)');
SELECT refused('SELECT dbops.retain(''events'', ''at'', ''1 day'', ''@daily'', restore_grace => ''-1 s'')');
SELECT refused('SELECT dbops.retain(''events'', ''at'', ''1 day'', ''@daily'', restore_grace => NULL)');
SELECT refused('SELECT dbops.retain(''events'', ''at'', ''1 day'', ''@daily'', nice_ratio => -1)');
SELECT refused('SELECT dbops.retain(''events'', ''at'', ''1 day'', ''@daily'', timezone => ''Mars'')');
SELECT refused('SELECT dbops.retain(''events'', ''at'', ''1 day'', ''@daily'', windows => ''at night'')');
SELECT refused('SELECT dbops.retain(''events'', ''at'', ''1 day'', ''@daily'', run_as => ''nobody'')');
SELECT refused('SELECT dbops.retain(''events'', ''at'', ''1 day'', ''@daily'', priority => 5000)');
SELECT refused('SELECT dbops.retain(''pg_class'', ''oid'', ''1 day'', ''@daily'')');
SELECT refused('SELECT dbops.retain(''dbops.job'', ''created_at'', ''1 day'', ''@daily'')');
SELECT refused('SELECT dbops.run_retention(NULL)');
SELECT refused('SELECT dbops.run_retention(4711)');
SELECT refused('SELECT dbops.unretain(4711)');
SELECT refused('SELECT dbops.confirm_retention(4711)');
SELECT count(*) FROM dbops.retention_rule;
SELECT count(*) FROM dbops.schedules;

-- Whatever a session's DateStyle: CST is a zone in America and one in China
CREATE TABLE zones (id integer PRIMARY KEY, at timestamptz);
INSERT INTO zones VALUES (1, now() - interval '20 hours'), (2, now() - interval '28 hours');
SET datestyle = 'Postgres, DMY';
SELECT action, rows FROM dbops.retain('zones', 'at', '1 day', '@daily', timezone => 'Asia/Shanghai', dry_run => true);
SET datestyle = 'ISO, MDY';
DROP TABLE zones;

-- The first one, without an index; dry run first
SELECT rule, action, relation, rows, detail ~ 'at OPERATOR' FROM dbops.retain('events', 'at', '30 days', '@daily', dry_run => true);
SELECT rule, action, relation, rows, detail FROM dbops.retain('events', 'at', '60 days', '@daily');
SELECT target, column_name, keep, schedule_name, schedule, children, partitions, max_share, backlog_rows > 0, waiting_for, last_job FROM dbops.retention_status;
CALL run_rule(1);
SELECT count(*), min(at) > now() - interval '60 days 1 hour', count(*) FILTER (WHERE at IS NULL) FROM events;
-- changed, with an index
CREATE INDEX events_at ON events (at);
SELECT rule, action, relation FROM dbops.retain('events', 'at', '40 days', '@weekly', max_rows => 30);
CALL run_rule(1);
SELECT count(*) FROM events;
SELECT target, keep, schedule, last_state, last_rows, last_job IS NOT NULL, oldest > now() - interval '41 days', behind FROM dbops.retention_status;
SELECT kind, target, rule, condition ~ 'OPERATOR', owner = current_user, state, rows, dependent_rows, first_key, last_key ~ '^\(', partitions FROM dbops.deletions ORDER BY job_id;

-- More than the maximum: stops before, and asks
SELECT rule FROM dbops.retain('events', 'at', '10 days', '@weekly', max_rows => 7, max_batch_rows => 5);
SELECT dbops.run_retention(1) AS job \gset
\set VERBOSITY terse
CALL dbops.run(:job);
\set VERBOSITY default
SELECT count(*) FROM events;
SELECT waiting_for FROM dbops.progress WHERE job_id = :job;
SELECT last_state, waiting_for FROM dbops.retention_status;
CALL run_rule(1);
SELECT dbops.confirm_retention(1);
CALL dbops.run(:job);
SELECT count(*), min(at) > now() - interval '11 days' FROM events;
-- a share of the table
SELECT rule FROM dbops.retain('events', 'at', '1 hour', '@weekly', max_share => 0.2);
SELECT dbops.run_retention(1) AS job \gset
\set VERBOSITY terse
CALL dbops.run(:job);
\set VERBOSITY default
SELECT dbops.cancel(:job);
-- the rule keeps rows for longer than when the run began: nothing goes any more
SELECT rule FROM dbops.retain('events', 'at', '5 days', '@weekly', max_share => 1);
SELECT dbops.run_retention(1) AS job \gset
SELECT rule FROM dbops.retain('events', 'at', '50 days', '@weekly');
\set VERBOSITY terse
CALL dbops.run(:job);
\set VERBOSITY default
SELECT reason FROM dbops.job_events WHERE job_id = :job AND to_state = 'cancelled';
SELECT count(*) FROM events;

-- Dates and timestamps
SELECT rule AS day FROM dbops.retain('events', 'day', '5 days', '@daily', max_share => NULL) \gset
CALL run_rule(:day);
SELECT min(day) - current_date FROM events;
SELECT rule AS stamp FROM dbops.retain('events', 'stamp', '3 days', '@daily', max_share => NULL) \gset
CALL run_rule(:stamp);
SELECT count(*) FROM events;
SELECT dbops.unretain(:day) = :day, dbops.unretain(:stamp) = :stamp;
SELECT name FROM dbops.schedules;

-- After a restore, a promotion or a leap of the clock it waits
UPDATE dbops.retention_rule SET origin = jsonb_set(origin, '{timeline}', '77');
SELECT rule FROM dbops.retain('events', 'at', '1 day', '@daily', max_share => NULL);
SELECT dbops.run_retention(1) IS NULL;
SELECT waiting_for ~ 'restored or promoted' FROM dbops.retention_status;
SELECT count(*) FROM events;
SELECT dbops.confirm_retention(1);
SELECT waiting_for FROM dbops.retention_status;
CALL run_rule(1);
SELECT count(*) FROM events;
UPDATE dbops.retention_rule SET origin = jsonb_set(origin, '{clock}', to_jsonb((origin ->> 'clock')::float8 - 86400));
SELECT dbops.run_retention(1) IS NULL;
SELECT waiting_for ~ 'clock was set forward' FROM dbops.retention_status;
UPDATE dbops.retention_rule SET doubt_since = now() - interval '23 hours';
SELECT dbops.run_retention(1) IS NULL;
-- ... whose grace period begins again with another restore
UPDATE dbops.retention_rule SET doubt_since = now() - interval '25 hours', doubt_origin = jsonb_set(doubt_origin, '{timeline}', '78');
SELECT dbops.run_retention(1) IS NULL;
SELECT doubt_since > now() - interval '1 hour' FROM dbops.retention_rule;
UPDATE dbops.retention_rule SET doubt_since = now() - interval '25 hours';
SELECT dbops.run_retention(1) IS NULL;
SELECT doubt FROM dbops.retention_rule;
-- a run that the restore has brought back
UPDATE dbops.retention_rule SET origin = jsonb_set(origin, '{system}', '"1"');
SELECT last_job AS job FROM dbops.retention_rule \gset
\set VERBOSITY terse
CALL dbops.run(:job);
\set VERBOSITY default
SELECT reason FROM dbops.job_events WHERE job_id = :job AND to_state = 'cancelled';
SELECT dbops.unretain(1);

-- Children
CREATE TABLE orders (id integer PRIMARY KEY, at timestamptz NOT NULL);
CREATE TABLE lines (id integer PRIMARY KEY, order_id integer NOT NULL REFERENCES orders);
CREATE TABLE parcels (id integer PRIMARY KEY, line_id integer REFERENCES lines);
CREATE INDEX ON orders (at);
CREATE INDEX ON lines (order_id);
CREATE INDEX ON parcels (line_id);
CREATE PROCEDURE fill() LANGUAGE sql AS $$
  TRUNCATE orders, lines, parcels;
  INSERT INTO orders SELECT i, now() - i * interval '1 day' FROM generate_series(1, 20) i;
  INSERT INTO lines SELECT i, 1 + i % 15 FROM generate_series(1, 60) i;
  INSERT INTO parcels SELECT i, i % 50 + 1 FROM generate_series(1, 100) i;
$$;
CALL fill();
SELECT rule, action, relation, rows, regexp_replace(detail, '''.*''', '...') FROM dbops.retain('orders', 'at', '10 days', '@daily', dry_run => true);
SELECT rule AS r FROM dbops.retain('orders', 'at', '10 days', '@daily', max_share => NULL) \gset
CALL run_rule(:r);
SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM lines), (SELECT count(*) FROM parcels);
SELECT rule, action, relation, rows, regexp_replace(detail, '''.*''', '...') FROM dbops.retain('orders', 'at', '10 days', '@daily', children => 'delete', dry_run => true);
-- ... with a hold below
SELECT dbops.hold('parcels', 'id = 11', 'case') AS hold \gset
SELECT rule, action, relation, rows, regexp_replace(detail, '''.*''', '...') FROM dbops.retain('orders', 'at', '10 days', '@daily', children => 'delete', dry_run => true);
SELECT rule, action, relation, rows, regexp_replace(detail, '''.*''', '...') FROM dbops.retain('orders', 'at', '3 days', '@daily', dry_run => true);
SELECT dbops.release(:hold, 'over') = :hold;
SELECT rule = :r FROM dbops.retain('orders', 'at', '10 days', '@daily', children => 'delete', max_share => NULL);
CALL run_rule(:r);
SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM lines), (SELECT count(*) FROM parcels);
SELECT count(*) FROM lines WHERE order_id NOT IN (SELECT id FROM orders);
-- held grandchildren keep their order, and all of it
CALL fill();
SELECT dbops.hold('parcels', 'id = 11', 'case') AS hold \gset
CALL run_rule(:r);
SELECT (SELECT array_agg(id) FROM orders WHERE at < now() - interval '10 days'), (SELECT count(*) FROM lines WHERE order_id = 13), (SELECT count(*) FROM parcels WHERE id = 11);
SELECT dbops.release(:hold, 'over') = :hold;
-- set null
SELECT refused('SELECT dbops.retain(''orders'', ''at'', ''10 days'', ''@daily'', children => ''set null'')');
ALTER TABLE lines ALTER order_id DROP NOT NULL;
SELECT rule = :r FROM dbops.retain('orders', 'at', '10 days', '@daily', children => 'set null', max_share => NULL);
CALL fill();
CALL run_rule(:r);
SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM lines), (SELECT count(*) FROM lines WHERE order_id IS NULL), (SELECT count(*) FROM parcels);
-- a held row that would lose its reference keeps it, and the order that it is to; so does a held order
CALL fill();
SELECT dbops.hold('lines', 'id = 27', 'case') AS held_line, dbops.hold('orders', 'id = 14', 'case') AS held_order \gset
CALL run_rule(:r);
SELECT (SELECT array_agg(id ORDER BY id) FROM orders WHERE at < now() - interval '10 days'), (SELECT order_id FROM lines WHERE id = 27);
SELECT dbops.release(:held_line, 'over') = :held_line, dbops.release(:held_order, 'over') = :held_order;
CALL run_rule(:r);
SELECT (SELECT count(*) FROM orders WHERE at < now() - interval '10 days'), (SELECT order_id FROM lines WHERE id = 27);
SELECT dbops.unretain(:r) = :r;
-- a circle
ALTER TABLE lines ADD parcel integer REFERENCES parcels;
SELECT refused('SELECT dbops.retain(''orders'', ''at'', ''10 days'', ''@daily'', children => ''delete'')');
SELECT count(*) FROM dbops.retention_rule;
ALTER TABLE lines DROP parcel;

-- Partitions: expired ones are dropped, the boundary is swept, the default one as well
CREATE TABLE parts (id integer, day date) PARTITION BY RANGE (day);
DO $$ BEGIN
  FOR i IN 0..5 LOOP
    EXECUTE format('CREATE TABLE parts_%s PARTITION OF parts FOR VALUES FROM (%L) TO (%L)', i, current_date - 10 * (i + 1), current_date - 10 * i);
  END LOOP;
END $$;
INSERT INTO parts SELECT i, current_date - i FROM generate_series(1, 60) i;
ANALYZE parts;
SELECT rule, action, relation, rows FROM dbops.retain('parts', 'day', '25 days', '@daily', dry_run => true);
SELECT rule AS r FROM dbops.retain('parts', 'day', '25 days', '@daily', max_share => NULL) \gset
SELECT dbops.hold('parts', 'id = 45', 'case') AS hold \gset
SELECT rule, action, relation, rows, CASE WHEN action ~ 'partition' THEN regexp_replace(detail, '\d+', 'N', 'g') END FROM dbops.retain('parts', 'day', '25 days', '@daily', dry_run => true);
CALL run_rule(:r);
SELECT tableoid::regclass, count(*) FROM parts GROUP BY 1 ORDER BY 1;
SELECT partitions::text ~ 'hold', partition_rows, rows, cardinality(partitions) FROM dbops.deletions ORDER BY job_id DESC LIMIT 1;
SELECT dbops.release(:hold, 'over') = :hold;
CREATE TABLE parts_rest PARTITION OF parts DEFAULT;
INSERT INTO parts VALUES (1000, current_date - 1000);
CALL run_rule(:r);
SELECT tableoid::regclass, count(*) FROM parts GROUP BY 1 ORDER BY 1;
SELECT to_regclass('parts_4'), partitions, partition_rows, rows FROM dbops.deletions ORDER BY job_id DESC LIMIT 1;
SELECT dbops.unretain(:r) = :r;
-- only detached
CREATE TABLE parts_9 PARTITION OF parts FOR VALUES FROM ('2001-01-01') TO ('2001-02-01');
INSERT INTO parts VALUES (7, '2001-01-07');
SELECT rule AS r FROM dbops.retain('parts', 'day', '25 days', '@daily', partitions => 'detach', max_share => NULL) \gset
CALL run_rule(:r);
SELECT (SELECT count(*) FROM parts_9), (SELECT count(*) FROM pg_inherits WHERE inhrelid = 'parts_9'::regclass);

SELECT dbops.unretain(:r) = :r;
-- no more of them than the maximum
CREATE TABLE many (id integer, day date) PARTITION BY RANGE (day);
CREATE TABLE many_1 PARTITION OF many FOR VALUES FROM ('2001-01-01') TO ('2001-02-01');
CREATE TABLE many_2 PARTITION OF many FOR VALUES FROM ('2001-02-01') TO ('2001-03-01');
CREATE TABLE many_3 PARTITION OF many FOR VALUES FROM ('2001-03-01') TO ('2001-04-01');
INSERT INTO many SELECT i, date '2001-01-01' + i % 90 FROM generate_series(0, 89) i;
ANALYZE many;
SELECT rule AS r FROM dbops.retain('many', 'day', '1 year', '@daily', max_rows => 60) \gset
SELECT dbops.run_retention(:r) AS job \gset
\set VERBOSITY terse
CALL dbops.run(:job);
\set VERBOSITY default
SELECT count(*), count(DISTINCT tableoid) FROM many;
SELECT last_error FROM dbops.jobs WHERE job_id = :job;
SELECT dbops.confirm_retention(:r) = :r;
CALL dbops.run(:job);
SELECT count(*) FROM many;
DROP TABLE many;
SELECT dbops.unretain(:r) = :r;
SELECT rule AS r FROM dbops.retain('parts', 'day', '25 days', '@daily', max_share => NULL) \gset

-- Privileges
CREATE ROLE keeper LOGIN;
CREATE ROLE other;
GRANT SELECT, DELETE ON parts, parts_0, parts_1, parts_2, parts_rest TO keeper;
SET ROLE other;
SELECT refused('SELECT dbops.retain(''parts'', ''day'', ''30 days'', ''@daily'')');
SELECT refused(format('SELECT dbops.unretain(%s)', :r));
SELECT refused(format('SELECT dbops.run_retention(%s)', :r));
SELECT refused(format('SELECT dbops.confirm_retention(%s)', :r));
SELECT count(*) FROM dbops.retention_status;
SELECT count(*) FROM dbops.deletions;
SET ROLE keeper;
SELECT refused('SELECT dbops.retain(''events'', ''at'', ''30 days'', ''@daily'')');
RESET ROLE;
SELECT dbops.unretain(:r) = :r;
SET ROLE keeper;
SELECT refused('SELECT dbops.retain(''parts'', ''day'', ''30 days'', ''@daily'')');
SELECT refused('SELECT dbops.retain(''parts'', ''day'', ''30 days'', ''@daily'', run_as => ''other'')');
SELECT rule AS r FROM dbops.retain('parts', 'day', '15 days', '@daily', partitions => 'rows') \gset
SELECT owner FROM dbops.retention_status;
RESET ROLE;
-- a privilege is revoked, the role dropped
REVOKE DELETE ON parts_1 FROM keeper;
SELECT refused(format('SELECT dbops.run_retention(%s)', :r));
GRANT DELETE ON parts_1 TO keeper;
REVOKE ALL ON parts, parts_0, parts_1, parts_2, parts_rest FROM keeper;
DROP ROLE keeper;
SELECT refused(format('SELECT dbops.run_retention(%s)', :r));
SELECT owner, backlog_rows FROM dbops.retention_status;
SELECT dbops.unretain(:r) = :r;
-- the table is gone
SELECT rule AS r FROM dbops.retain('parts', 'day', '15 days', '@daily') \gset
DROP TABLE parts, parts_9;
SELECT target, column_name, backlog_rows FROM dbops.retention_status;
SELECT dbops.run_retention(:r);
SELECT count(*) FROM dbops.retention_status;
SELECT state FROM dbops.schedules;
SELECT dbops.unschedule('retain ' || :r) > 0;

-- A foreign key of a table refers to no row of one that only inherits from it
CREATE TABLE kin (id integer PRIMARY KEY, at timestamptz);
CREATE TABLE heir (PRIMARY KEY (id)) INHERITS (kin);
CREATE INDEX ON heir (at);
CREATE TABLE kin_child (id integer PRIMARY KEY, kin integer REFERENCES kin);
INSERT INTO kin SELECT i, now() FROM generate_series(1, 3) i;
INSERT INTO heir SELECT i, now() - interval '9 days' FROM generate_series(1, 4) i;
INSERT INTO kin_child SELECT i, i FROM generate_series(1, 3) i;
SELECT rule AS r FROM dbops.retain('heir', 'at', '1 day', '@daily', max_share => NULL, children => 'delete') \gset
CALL run_rule(:r);
SELECT (SELECT count(*) FROM ONLY kin), (SELECT count(*) FROM heir), (SELECT count(*) FROM kin_child);
SELECT dbops.unretain(:r) = :r;
DROP TABLE kin_child, heir, kin;

DROP TABLE events, orders, lines, parcels;
DROP PROCEDURE fill, run_rule;
DROP ROLE other;
DELETE FROM dbops.legal_hold;
