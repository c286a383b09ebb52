-- Purges that wait for somebody's word: after a restore, a leap of the clock, from a dump, and beyond a share of the table
\set ECHO none
\i sql/include/setup.sql
SET client_min_messages = warning;
TRUNCATE dbops.soft_deletion, dbops.soft_delete_rule, dbops.purge_origin CASCADE;
SELECT setval('dbops.soft_deletion_deletion_id_seq', 1, false) AS begin \gset
DROP SCHEMA IF EXISTS waits CASCADE;
CREATE SCHEMA waits;
SET search_path = waits, public;
\set ECHO all
CREATE TABLE users (id integer PRIMARY KEY);
CREATE TABLE stones (id integer PRIMARY KEY);
INSERT INTO users SELECT generate_series(1, 300);
INSERT INTO stones SELECT generate_series(1, 300);
SELECT dbops.soft_delete_enable('users', purge_schedule => NULL), dbops.soft_delete_enable('stones', mode => 'tombstone', purge_schedule => NULL);
SELECT target, max_share, restore_grace, waiting_for FROM dbops.soft_delete_status ORDER BY 1;
SELECT dbops.soft_delete('users', 1);
UPDATE dbops.soft_deletion SET deleted_at = deleted_at - interval '31 days';

-- A server on another timeline
UPDATE dbops.purge_origin SET origin = jsonb_set(origin, '{timeline}', '77');
CALL dbops.purge('users');
SELECT count(*) FROM users;
SELECT regexp_replace(waiting_for, '\d{4}-\d\d-\d\d \d\d:\d\d', 'TIME') FROM dbops.soft_delete_status WHERE target = 'users';
SELECT target, problem, detail, remedy FROM dbops.soft_delete_problems WHERE target = 'users';
UPDATE dbops.purge_origin SET doubt_since = doubt_since - interval '23 hours' WHERE doubt IS NOT NULL;
CALL dbops.purge('users', older_than => '0');
SELECT count(*) FROM users;
-- restored once more meanwhile: its grace period begins again
UPDATE dbops.purge_origin SET doubt_since = doubt_since - interval '2 hours', doubt_origin = jsonb_set(doubt_origin, '{timeline}', '78') WHERE doubt IS NOT NULL;
CALL dbops.purge('users');
SELECT count(*) FROM users;
UPDATE dbops.purge_origin SET doubt_since = doubt_since - interval '25 hours' WHERE doubt IS NOT NULL;
CALL dbops.purge('users');
SELECT count(*) FROM users;
SELECT waiting_for FROM dbops.soft_delete_status WHERE target = 'users';

-- A leap of the clock; somebody's word ends it
SELECT dbops.soft_delete('users', 2);
UPDATE dbops.soft_deletion SET deleted_at = deleted_at - interval '31 days';
UPDATE dbops.purge_origin SET origin = jsonb_set(origin, '{clock}', to_jsonb((origin ->> 'clock')::float8 - 86400)) WHERE target = 'users'::regclass;
SET client_min_messages = error;
CALL dbops.purge('users');
RESET client_min_messages;
SET client_min_messages = warning;
SELECT count(*) FROM users;
SELECT waiting_for ~ 'clock was set forward' FROM dbops.soft_delete_status WHERE target = 'users';
SELECT dbops.confirm_purge('users'), dbops.confirm_purge('users');
CALL dbops.purge('users');
SELECT count(*) FROM users;

-- A rule that comes from a dump
DELETE FROM dbops.purge_origin WHERE target = 'users'::regclass;
SELECT dbops.soft_delete('users', 3);
UPDATE dbops.soft_deletion SET deleted_at = deleted_at - interval '31 days';
SELECT waiting_for FROM dbops.soft_delete_status WHERE target = 'users';
CALL dbops.purge('users');
SELECT dbops.soft_delete_enable('users');
CALL dbops.purge('users');
SELECT count(*) FROM users;
SELECT dbops.confirm_purge('users');
CALL dbops.purge('users');
SELECT count(*) FROM users;

-- More than a share of the table
SELECT count(dbops.soft_delete('users', i)) FROM generate_series(4, 200) i;
UPDATE dbops.soft_deletion SET deleted_at = deleted_at - interval '31 days' WHERE state = 'deleted';
CALL dbops.purge('users');
SELECT count(*) FROM users;
SELECT detail, remedy FROM dbops.soft_delete_problems WHERE target = 'users';
SELECT state, count(*) FROM dbops.soft_deletion WHERE target = 'users'::regclass GROUP BY 1 ORDER BY 1;
SELECT dbops.soft_delete_enable('users', max_share => 0.7);
CALL dbops.purge('users');
SELECT count(*) FROM users;
DELETE FROM stones WHERE id <= 200;
UPDATE dbops.soft_deletion SET deleted_at = deleted_at - interval '31 days' WHERE state = 'deleted';
CALL dbops.purge('stones');
SELECT count(*) FROM dbops.deleted_row;
SELECT dbops.confirm_purge('stones');
CALL dbops.purge('stones');
SELECT count(*) FROM dbops.deleted_row;
SELECT dbops.confirm_purge('stones');
CALL dbops.purge('stones');
SELECT count(*) FROM dbops.deleted_row;
-- said once, it holds once; few rows, and what older_than says, need no word
DELETE FROM stones;
UPDATE dbops.soft_deletion SET deleted_at = deleted_at - interval '31 days' WHERE state = 'deleted';
CALL dbops.purge('stones');
SELECT count(*) FROM dbops.deleted_row;
INSERT INTO stones SELECT generate_series(1, 300);
DELETE FROM stones;
UPDATE dbops.soft_deletion SET deleted_at = deleted_at - interval '31 days' WHERE state = 'deleted';
CALL dbops.purge('stones');
SELECT count(*) FROM dbops.deleted_row;
-- a year of the calendar, not twelve months of 30 days
UPDATE dbops.soft_deletion SET deleted_at = deleted_at - interval '331 days' WHERE state = 'deleted';
CALL dbops.purge('stones', older_than => '1 year');
SELECT count(*) FROM dbops.deleted_row;
CALL dbops.purge('stones', older_than => '1 day');
SELECT count(*) FROM dbops.deleted_row;

-- A word that was given lasts until all that is due is marked: who has to begin again need not ask again
CREATE TABLE many (id integer PRIMARY KEY);
SELECT dbops.soft_delete_enable('many', mode => 'tombstone', max_share => 0.01, purge_schedule => NULL);
WITH deletion AS (INSERT INTO dbops.soft_deletion (target, key, deleted_at, deleted_by, actor, open, transaction_id, transaction_start)
  SELECT 'many', i, now() - interval '31 days' + i * interval '1 ms', 'me', 10, false, '3', now() FROM generate_series(1, 10200) i RETURNING deletion_id, key)
INSERT INTO dbops.deleted_row (deletion_id, target, image) SELECT deletion_id, 'many', jsonb_build_object('id', key) FROM deletion;
CREATE FUNCTION crash() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'the server has gone'; END$$;
CREATE TRIGGER crash BEFORE UPDATE ON dbops.soft_deletion FOR EACH ROW WHEN (OLD.key = '10100') EXECUTE FUNCTION crash();
CALL dbops.purge('many');
SELECT dbops.confirm_purge('many');
\set VERBOSITY terse
CALL dbops.purge('many');
\set VERBOSITY default
SELECT state, count(*) FROM dbops.soft_deletion WHERE target = 'many'::regclass GROUP BY 1 ORDER BY 1;
DROP TRIGGER crash ON dbops.soft_deletion;
CALL dbops.purge('many');
SELECT state, count(*) FROM dbops.soft_deletion WHERE target = 'many'::regclass GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM dbops.deleted_row;
-- and no longer
SELECT confirmed FROM dbops.purge_origin WHERE target = 'many'::regclass;
SELECT dbops.soft_delete_disable('many');

-- Who may
CREATE ROLE purge_stranger;
GRANT USAGE ON SCHEMA waits TO purge_stranger;
SET ROLE purge_stranger;
SELECT refused('SELECT dbops.confirm_purge(''users'')');
RESET ROLE;
REVOKE USAGE ON SCHEMA waits FROM purge_stranger;
DROP ROLE purge_stranger;
SELECT refused('SELECT dbops.confirm_purge(NULL)');
SELECT refused('SELECT dbops.confirm_purge(''pg_class'')');
SELECT refused('SELECT dbops.soft_delete_enable(''users'', max_share => 0)');
SELECT refused('SELECT dbops.soft_delete_enable(''users'', restore_grace => ''-1 s'')');
SELECT dbops.soft_delete_disable('users', deleted_rows => 'keep'), dbops.soft_delete_disable('stones');
SELECT count(*) FROM dbops.purge_origin;
DROP SCHEMA waits CASCADE;
