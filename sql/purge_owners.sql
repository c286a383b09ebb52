-- Rows of another owner's table that are purged along: whose code runs, and what a row that cannot go keeps from going
\set ECHO none
\i sql/include/setup.sql
SET client_min_messages = warning;
TRUNCATE dbops.soft_deletion, dbops.soft_delete_rule, dbops.purge_origin CASCADE;
SELECT setval('dbops.soft_deletion_deletion_id_seq', 1, false) AS begin \gset
DROP SCHEMA IF EXISTS lodge CASCADE;
CREATE SCHEMA lodge;
CREATE ROLE purge_keeper;
CREATE ROLE purge_lodger;
GRANT USAGE, CREATE ON SCHEMA lodge TO purge_keeper, purge_lodger;
SET search_path = lodge, public;
\set ECHO all
SET ROLE purge_keeper;
CREATE TABLE items (id integer PRIMARY KEY);
SELECT dbops.soft_delete_enable('items', purge_schedule => NULL);
GRANT REFERENCES ON items TO purge_lodger;
SET ROLE purge_lodger;
CREATE TABLE notes (id integer PRIMARY KEY, item integer REFERENCES items ON DELETE CASCADE);
CREATE INDEX ON notes (item);
SELECT dbops.soft_delete_enable('notes', purge_schedule => NULL);
GRANT SELECT ON notes TO purge_keeper;
CREATE TABLE ran (who name);
GRANT INSERT ON ran TO purge_keeper;
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO lodge.ran VALUES (current_user); RETURN NULL; END$$;
CREATE CONSTRAINT TRIGGER look AFTER DELETE ON notes INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION look();
RESET ROLE;
INSERT INTO items SELECT generate_series(1, 5);
INSERT INTO notes SELECT i, 1 + i % 5 FROM generate_series(1, 3000) i;

-- A deferred trigger of the other owner runs as he, not as who purges
SET ROLE purge_keeper;
SELECT dbops.soft_delete('items', 1);
CALL dbops.purge('items', older_than => '0', nice_ratio => 0);
RESET ROLE;
SELECT who, count(*) FROM ran GROUP BY 1;
SELECT (SELECT count(*) FROM items), (SELECT count(*) FROM notes), (SELECT state FROM dbops.soft_deletion WHERE deletion_id = 1);
-- which rows went, as whom and for whom: both owners see it, and nobody else
SELECT job_id, target, rule, condition, owner, created_by, state, rows, dependent_rows, first_key, last_key, finished_at >= started_at, duration >= '0' FROM dbops.deletions WHERE kind = 'purge';
SET ROLE purge_keeper;
SELECT kind, target, rows FROM dbops.deletions ORDER BY 1;
SET ROLE purge_lodger;
SELECT kind, target, rows FROM dbops.deletions;
RESET ROLE;
CREATE ROLE purge_nobody;
SET ROLE purge_nobody;
SELECT count(*) FROM dbops.deletions;
RESET ROLE;
DROP ROLE purge_nobody;

-- nor does he get there by deferring it again
SET ROLE purge_lodger;
TRUNCATE ran;
CREATE FUNCTION put_off() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN SET CONSTRAINTS ALL DEFERRED; RETURN OLD; END$$;
CREATE TRIGGER put_off BEFORE DELETE ON notes FOR EACH ROW WHEN (OLD.id = 1) EXECUTE FUNCTION put_off();
SET ROLE purge_keeper;
SELECT dbops.soft_delete('items', 2);
CALL dbops.purge('items', older_than => '0', nice_ratio => 0);
RESET ROLE;
SELECT who, count(*) FROM ran GROUP BY 1;
SELECT (SELECT count(*) FROM items), (SELECT count(*) FROM notes), (SELECT array_agg(id) FROM notes WHERE deleted_at IS NOT NULL), (SELECT state FROM dbops.soft_deletion WHERE deletion_id = 2);
DROP TRIGGER put_off ON notes;

-- A row at which a trigger raises is set aside: the others go, and the next purge tries it again
SET ROLE purge_lodger;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'note % is mine', OLD.id; END$$;
CREATE TRIGGER refuse BEFORE DELETE ON notes FOR EACH ROW WHEN (OLD.id IN (2, 702, 1502, 3)) EXECUTE FUNCTION refuse();
SET ROLE purge_keeper;
SELECT dbops.soft_delete('items', 3), dbops.soft_delete('items', 4), dbops.soft_delete('items', 5);
CALL dbops.purge('items', older_than => '0', nice_ratio => 0);
RESET ROLE;
SELECT id FROM items ORDER BY 1;
SELECT id, item, deletion_id FROM notes ORDER BY 1;
SELECT deletion_id, state FROM dbops.soft_deletion ORDER BY 1;
SELECT refused('SELECT dbops.undelete(3)');
SELECT problem, detail, remedy FROM dbops.soft_delete_problems WHERE problem = 'purge blocked';
DROP TRIGGER refuse ON notes;
SET ROLE purge_keeper;
CALL dbops.purge('items', nice_ratio => 0);
RESET ROLE;
SELECT (SELECT count(*) FROM items), (SELECT count(*) FROM notes), (SELECT count(*) FROM dbops.purging);

-- so is one of a table without a key that can be walked by
SET ROLE purge_lodger;
CREATE TYPE colour AS ENUM ('red', 'green', 'blue');
CREATE TABLE hues (colour colour PRIMARY KEY, item integer REFERENCES items ON DELETE CASCADE);
CREATE INDEX ON hues (item);
SELECT dbops.soft_delete_enable('hues', purge_schedule => NULL);
GRANT SELECT ON hues TO purge_keeper;
CREATE FUNCTION refuse_hue() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE '% is mine', OLD.colour; END$$;
CREATE TRIGGER refuse BEFORE DELETE ON hues FOR EACH ROW WHEN (OLD.colour = 'green') EXECUTE FUNCTION refuse_hue();
RESET ROLE;
INSERT INTO items VALUES (9);
INSERT INTO hues VALUES ('red', 9), ('green', 9), ('blue', 9);
SET ROLE purge_keeper;
SELECT dbops.soft_delete('items', 9);
CALL dbops.purge('items', older_than => '0', nice_ratio => 0);
RESET ROLE;
SELECT colour FROM hues;
DROP TRIGGER refuse ON hues;

-- A row of that owner under a legal hold stays, and what it refers to; released, it goes
INSERT INTO items VALUES (11);
INSERT INTO hues VALUES ('red', 11), ('blue', 11);
SELECT dbops.hold('hues', $$colour = 'red'$$, 'case') AS hold \gset
SET ROLE purge_keeper;
SELECT dbops.soft_delete('items', 11) AS deletion \gset
CALL dbops.purge('items', older_than => '0', nice_ratio => 0);
RESET ROLE;
SELECT (SELECT array_agg(colour ORDER BY colour) FROM hues WHERE item = 11), (SELECT count(*) FROM items WHERE id = 11), (SELECT state FROM dbops.soft_deletion WHERE deletion_id = :deletion);
SELECT dbops.release(:hold, 'over') = :hold;
SET ROLE purge_keeper;
CALL dbops.purge('items', older_than => '0', nice_ratio => 0);
RESET ROLE;
SELECT (SELECT count(*) FROM hues WHERE item = 11), (SELECT count(*) FROM items WHERE id = 11), (SELECT state FROM dbops.soft_deletion WHERE deletion_id = :deletion);

-- A tree of that owner goes in one purge, with the jobs of one
SET ROLE purge_lodger;
CREATE TABLE twigs (id integer PRIMARY KEY, item integer REFERENCES items ON DELETE CASCADE, up integer REFERENCES twigs ON DELETE CASCADE);
CREATE INDEX ON twigs (item);
CREATE INDEX ON twigs (up);
SELECT dbops.soft_delete_enable('twigs', purge_schedule => NULL);
GRANT SELECT ON twigs TO purge_keeper;
RESET ROLE;
DELETE FROM dbops.job;
INSERT INTO items VALUES (10);
INSERT INTO twigs SELECT i, 10, nullif(i - 1, 0) FROM generate_series(1, 30) i;
SET ROLE purge_keeper;
SELECT dbops.soft_delete('items', 10) > 0;
CALL dbops.purge('items', older_than => '0', nice_ratio => 0);
RESET ROLE;
SELECT (SELECT count(*) FROM twigs), (SELECT count(*) FROM hues), (SELECT count(*) FROM items), (SELECT count(*) FROM dbops.purging), (SELECT count(*) FROM dbops.jobs);

-- Rows of a third owner that row-level security hides from him keep his, which would take them along
CREATE ROLE purge_guest;
GRANT USAGE, CREATE ON SCHEMA lodge TO purge_guest;
SET ROLE purge_lodger;
CREATE TABLE shelves (id integer PRIMARY KEY, item integer REFERENCES items ON DELETE CASCADE);
CREATE INDEX ON shelves (item);
SELECT dbops.soft_delete_enable('shelves', purge_schedule => NULL);
GRANT SELECT ON shelves TO purge_keeper;
GRANT REFERENCES ON shelves TO purge_guest;
RESET ROLE;
INSERT INTO items VALUES (12);
INSERT INTO shelves VALUES (1, 12);
SET ROLE purge_keeper;
SELECT dbops.soft_delete('items', 12) AS deletion \gset
SET ROLE purge_guest;
CREATE TABLE books (id integer PRIMARY KEY, shelf integer REFERENCES shelves ON DELETE CASCADE);
CREATE INDEX ON books (shelf);
ALTER TABLE books ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON books TO purge_lodger;
INSERT INTO books VALUES (1, 1);
SET ROLE purge_keeper;
CALL dbops.purge('items', older_than => '0', nice_ratio => 0);
RESET ROLE;
SELECT (SELECT count(*) FROM books), (SELECT count(*) FROM shelves), (SELECT state FROM dbops.soft_deletion WHERE deletion_id = :deletion);
ALTER ROLE purge_lodger BYPASSRLS;
SET ROLE purge_keeper;
CALL dbops.purge('items', older_than => '0', nice_ratio => 0);
RESET ROLE;
SELECT (SELECT count(*) FROM books), (SELECT count(*) FROM shelves), (SELECT state FROM dbops.soft_deletion WHERE deletion_id = :deletion);
DELETE FROM books;
SET ROLE purge_keeper;
CALL dbops.purge('items', older_than => '0', nice_ratio => 0);
RESET ROLE;
SELECT (SELECT count(*) FROM shelves), (SELECT count(*) FROM items WHERE id = 12), (SELECT state FROM dbops.soft_deletion WHERE deletion_id = :deletion);

SELECT dbops.soft_delete_disable(t::regclass, deleted_rows => 'keep') FROM unnest(ARRAY['shelves', 'twigs', 'hues', 'notes', 'items']) t;
DROP SCHEMA lodge CASCADE;
DROP ROLE purge_keeper, purge_lodger, purge_guest;
