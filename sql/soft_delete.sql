-- Soft delete. Each trap of hand-made soft deletes has its case here.
\set ECHO none
\i sql/include/setup.sql
SET client_min_messages = warning;
TRUNCATE dbops.soft_deletion, dbops.soft_delete_rule CASCADE;
SELECT setval('dbops.soft_deletion_deletion_id_seq', 1, false) AS begin \gset
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS soft CASCADE;
CREATE SCHEMA soft;
SET search_path = soft, public;
RESET client_min_messages;
\set ECHO all
CREATE TABLE users (id integer PRIMARY KEY, email text NOT NULL, tenant integer, CONSTRAINT users_email_key UNIQUE (email));
CREATE UNIQUE INDEX users_tenant_idx ON users (tenant, lower(email)) WHERE tenant > 0;
CREATE TABLE orders (id integer PRIMARY KEY, user_id integer NOT NULL CONSTRAINT orders_user REFERENCES users ON DELETE CASCADE, note text);
CREATE TABLE lines (order_id integer CONSTRAINT lines_order REFERENCES orders ON DELETE CASCADE, n integer, PRIMARY KEY (order_id, n));
CREATE INDEX ON orders (user_id);
INSERT INTO users VALUES (1, 'a@x', 1), (2, 'b@x', 1), (3, 'c@x', NULL);
INSERT INTO orders VALUES (10, 1), (11, 1), (20, 2);
INSERT INTO lines VALUES (10, 1), (10, 2), (20, 1);

-- Enabling: what it would do, and does
SELECT regexp_replace(dbops.soft_delete_preview('users'), '\d{4,}', 'N', 'g');
SELECT count(*) FROM dbops.soft_delete_rule;
SELECT dbops.soft_delete_enable('users', grace => '10 days');
\d users
SELECT target, mode, state, grace, live_view, partial_keys, purge_schedule FROM dbops.soft_delete_status;
SELECT name, schedule FROM dbops.schedules;

-- A child ON DELETE CASCADE without soft delete stops it; so does one that restricts
SELECT target, problem, detail FROM dbops.soft_delete_problems ORDER BY 1, 2, 3;
SELECT refused('SELECT dbops.soft_delete(''users'', 1)');
SELECT dbops.soft_delete_enable('orders'), dbops.soft_delete_enable('lines');
SELECT target, problem, detail FROM dbops.soft_delete_problems ORDER BY 1, 2, 3;

-- One deletion, along foreign keys; exactly that set comes back
SELECT dbops.soft_delete('lines', 10, 2) AS before \gset
SELECT dbops.soft_delete('users', 1) AS deletion \gset
SELECT id, deletion_id, deleted_by = current_user AS by_me, deleted_at IS NOT NULL AS at FROM users ORDER BY id;
SELECT id FROM orders_live ORDER BY id;
SELECT * FROM lines_live ORDER BY 1, 2;
SELECT deletion_id, target, key, state, rows, tables, detached, purge_after - deleted_at AS grace FROM dbops.soft_deletions ORDER BY 1;
SELECT refused('SELECT dbops.soft_delete(''users'', 1)');
SELECT refused('SELECT dbops.undelete(99)');
SELECT dbops.undelete(:deletion);
SELECT order_id, n, deletion_id FROM lines ORDER BY 1, 2;
SELECT refused(format('SELECT dbops.undelete(%s)', :deletion));
SELECT dbops.undelete(:before);

-- What something else has deleted of it for good is said, and the rest comes back where that is asked for
SELECT dbops.soft_delete('users', 1) AS deletion \gset
DELETE FROM lines WHERE order_id = 10 AND n = 1;
SELECT refused(format('SELECT dbops.undelete(%s)', :deletion));
SELECT id FROM orders_live ORDER BY id;
SELECT dbops.undelete(:deletion, lossy => true);
SELECT rows, tables FROM dbops.soft_deletions WHERE deletion_id = :deletion;
INSERT INTO lines VALUES (10, 1);
-- who deletes otherwise is warned
SELECT warnings FROM dbops.batch_delete_preview('lines', 'n = 1');
-- a row that its owner has made live by himself is there
SELECT dbops.soft_delete('lines', 10, 1) AS deletion \gset
UPDATE lines SET deleted_at = NULL WHERE deletion_id = :deletion;
SELECT dbops.undelete(:deletion);
UPDATE lines SET deletion_id = NULL, deleted_by = NULL WHERE deletion_id = :deletion;

-- How long is not told by months and days of both signs
SELECT refused('SELECT dbops.soft_delete_enable(''users'', grace => ''1 mon -29 days'')');
SELECT refused('SELECT dbops.soft_delete_enable(''users'', grace => ''-1 day'')');
SELECT refused('SELECT dbops.soft_delete_enable(''users'', restore_grace => ''1 day -1 hour'')');
\set VERBOSITY terse
CALL dbops.purge('users', older_than => '1 mon -29 days');
CALL dbops.purge('users', older_than => '-1 day');
\set VERBOSITY default

-- A unique key is free after a deletion; ON CONFLICT names the predicate; an undelete that would collide says so
SELECT dbops.soft_delete('users', 3) AS c \gset
INSERT INTO users VALUES (4, 'c@x', NULL);
INSERT INTO users VALUES (4, 'c@x', NULL) ON CONFLICT (email) WHERE deleted_at IS NULL DO NOTHING;
SELECT refused('INSERT INTO users VALUES (5, ''c@x'') ON CONFLICT (email) DO NOTHING');
SELECT refused('INSERT INTO users VALUES (5, ''c@x'')');
SELECT regexp_replace(refused(format('SELECT dbops.undelete(%s)', :c)), 'deletion \d+', 'deletion N');
SELECT dbops.soft_delete('users', 4) AS d \gset
SELECT dbops.undelete(:c);
SELECT regexp_replace(refused(format('SELECT dbops.undelete(%s)', :d)), 'deletion \d+', 'deletion N');
-- Twice the same key in one transaction
BEGIN;
SELECT dbops.soft_delete('users', 3) > 0 AS deleted;
INSERT INTO users VALUES (6, 'c@x');
SELECT dbops.soft_delete('users', 6) > 0 AS deleted;
COMMIT;

-- No live row refers to a deleted one
SELECT dbops.soft_delete('users', 2) > 0 AS deleted;
SELECT refused('INSERT INTO orders VALUES (21, 2)');
SELECT refused('UPDATE orders SET user_id = 2 WHERE id = 10');
SELECT refused('INSERT INTO lines VALUES (20, 9)');
INSERT INTO orders VALUES (12, 1);
SELECT refused('UPDATE orders SET deleted_at = NULL WHERE id = 20');
-- Nor does one that is restored: the parent comes first
SELECT dbops.soft_delete('orders', 12) AS child \gset
SELECT dbops.soft_delete('users', 1) AS parent \gset
SELECT regexp_replace(refused(format('SELECT dbops.undelete(%s)', :child)), '\d+', 'N', 'g');
SELECT dbops.undelete(:parent), dbops.undelete(:child);

-- SET NULL: the link stays until the purge, so that it can come back
CREATE TABLE notes (id integer PRIMARY KEY, user_id integer CONSTRAINT notes_user REFERENCES users ON DELETE SET NULL);
CREATE TABLE strict (id integer PRIMARY KEY, user_id integer CONSTRAINT strict_user REFERENCES users);
INSERT INTO notes VALUES (1, 1);
SELECT target, problem, detail FROM dbops.soft_delete_problems ORDER BY 1, 2, 3;
SELECT dbops.soft_delete_enable('users', grace => '10 days');
SELECT count(*) FROM dbops.soft_delete_problems;
SELECT dbops.soft_delete('users', 1) AS deletion \gset
SELECT detached FROM dbops.soft_deletions WHERE deletion_id = :deletion;
SELECT * FROM notes;
SELECT dbops.undelete(:deletion);
-- NO ACTION: refused
INSERT INTO strict VALUES (1, 1);
SELECT refused('SELECT dbops.soft_delete(''users'', 1)');
DELETE FROM strict;

-- The view of live rows: INSERT, UPDATE, DELETE with its count and RETURNING
INSERT INTO users_live (id, email) VALUES (7, 'd@x');
UPDATE users_live SET email = 'e@x' WHERE id = 7 RETURNING id, email;
DELETE FROM users_live WHERE id = 7 RETURNING id, email;
SELECT id, deletion_id IS NOT NULL AS deleted FROM users WHERE id = 7;
DELETE FROM users_live WHERE id = 7;

-- TRUNCATE is refused
SELECT refused('TRUNCATE lines');

-- A table that refers to itself, in a circle as well
CREATE TABLE tree (id integer PRIMARY KEY, up integer CONSTRAINT tree_up REFERENCES tree ON DELETE CASCADE);
SELECT dbops.soft_delete_enable('tree', purge_schedule => NULL);
INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2), (4, 3), (5, NULL);
UPDATE tree SET up = 4 WHERE id = 1;
SELECT dbops.soft_delete('tree', 2) AS deletion \gset
SELECT id, deletion_id IS NOT NULL AS deleted FROM tree ORDER BY id;
SELECT dbops.undelete(:deletion);
SELECT count(*) FROM tree_live;

-- Composite keys, other operators, odd names
CREATE TABLE "Odd ""one" ("a b" text, "C" date, PRIMARY KEY ("a b", "C"));
CREATE TABLE "odd child" (id integer PRIMARY KEY, "x y" text, "Z" date, CONSTRAINT "odd fk" FOREIGN KEY ("x y", "Z") REFERENCES "Odd ""one" ON DELETE CASCADE);
INSERT INTO "Odd ""one" VALUES ('it''s', '2024-02-29'), ('it''s', '2024-03-01');
INSERT INTO "odd child" VALUES (1, 'it''s', '2024-02-29'), (2, 'it''s', '2024-03-01'), (3, 'it''s', NULL);
SELECT dbops.soft_delete_enable('"Odd ""one"', purge_schedule => NULL), dbops.soft_delete_enable('"odd child"', purge_schedule => NULL);
SELECT dbops.soft_delete('"Odd ""one"', 'it''s', date '2024-02-29') AS deletion \gset
SELECT "a b", "C" FROM "Odd ""one_live";
SELECT id FROM "odd child_live" ORDER BY 1;
SELECT refused('INSERT INTO "odd child" VALUES (4, ''it''''s'', ''2024-02-29'')');
SELECT dbops.undelete(:deletion);

-- Enabling again changes nothing that is not named: not by what a remedy says, nor does a paused purge go on
CREATE TABLE slow (id integer PRIMARY KEY, code text UNIQUE);
CREATE TABLE slow_stone (id integer PRIMARY KEY, slow integer CONSTRAINT slow_stone_slow REFERENCES slow ON DELETE CASCADE);
CREATE VIEW slow_rules AS SELECT r.target, r.mode, r.grace, r.unique_keys, r.purge_schedule, s.schedule, s.state
  FROM dbops.soft_delete_status r LEFT JOIN dbops.schedules s ON s.name = r.purge_schedule WHERE r.target LIKE 'slow%';
SELECT dbops.soft_delete_enable('slow', grace => '365 days', unique_keys => 'keep', purge_schedule => NULL);
SELECT dbops.soft_delete_enable('slow_stone', mode => 'tombstone', grace => '90 days', purge_schedule => '@weekly');
SELECT dbops.pause(job_id) FROM dbops.schedules WHERE name = 'purge soft.slow_stone';
SELECT * FROM slow_rules ORDER BY 1;
ALTER TABLE slow ADD COLUMN name text UNIQUE;
CREATE TABLE slow_child (id integer PRIMARY KEY, slow integer CONSTRAINT slow_child_slow REFERENCES slow);
DROP TRIGGER dbops_soft_delete_truncate ON slow;
DROP TRIGGER dbops_soft_delete_truncate ON slow_stone;
SELECT problem, remedy FROM dbops.soft_delete_problems WHERE target LIKE 'slow%' ORDER BY 1, 2;
SELECT remedy FROM dbops.soft_delete_problems WHERE target LIKE 'slow%' ORDER BY 1 \gexec
SELECT count(*) FROM dbops.soft_delete_problems WHERE target LIKE 'slow%';
SELECT * FROM slow_rules ORDER BY 1;
-- What is named changes, and that alone
SELECT dbops.soft_delete_enable('slow', grace => '400 days');
SELECT dbops.soft_delete_enable('slow_stone', purge_schedule => '@daily');
SELECT * FROM slow_rules ORDER BY 1;
SELECT dbops.soft_delete_enable('slow', unique_keys => 'partial', purge_schedule => '@monthly');
SELECT dbops.soft_delete_enable('slow_stone', purge_schedule => NULL);
SELECT * FROM slow_rules ORDER BY 1;
SELECT partial_keys FROM dbops.soft_delete_status WHERE target = 'slow';
DROP VIEW slow_rules;
DROP TABLE slow_child;
SELECT dbops.soft_delete_disable('slow_stone'), dbops.soft_delete_disable('slow');
DROP TABLE slow_stone, slow;

-- A row that its owner has made live again stays when its deletion is purged
CREATE TABLE again (id integer PRIMARY KEY);
SELECT dbops.soft_delete_enable('again', purge_schedule => NULL);
INSERT INTO again VALUES (1), (2);
SELECT dbops.soft_delete('again', 1) > 0 AND dbops.soft_delete('again', 2) > 0 AS deleted;
UPDATE again SET deleted_at = NULL WHERE id = 1;
CALL dbops.purge('again', older_than => '0', nice_ratio => 0);
SELECT id FROM again_live;
SELECT id FROM again;
SELECT state FROM dbops.soft_deletions WHERE target = 'again';
SELECT dbops.soft_delete_disable('again');

-- Unique keys that stay complete, and why
CREATE TABLE kept (id integer PRIMARY KEY, a integer UNIQUE, b integer UNIQUE DEFERRABLE, c int4range, EXCLUDE USING gist (c WITH &&));
CREATE TABLE kept_child (a integer REFERENCES kept (a));
SELECT dbops.soft_delete_enable('kept', purge_schedule => NULL);
SELECT target, detail, remedy FROM dbops.soft_delete_problems WHERE target = 'kept' ORDER BY 2;

-- Partitions
CREATE TABLE parts (id integer, day date, name text, PRIMARY KEY (id, day), UNIQUE (name, day)) PARTITION BY RANGE (day);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE parts_2 PARTITION OF parts DEFAULT;
SELECT dbops.soft_delete_enable('parts', purge_schedule => NULL);
INSERT INTO parts VALUES (1, '2024-05-01', 'x'), (2, '2026-05-01', 'y');
SELECT dbops.soft_delete('parts_1', 1, '2024-05-01') AS deletion \gset
INSERT INTO parts VALUES (3, '2024-05-01', 'x');
SELECT regexp_replace(refused(format('SELECT dbops.undelete(%s)', :deletion)), 'deletion \d+', 'deletion N');
SELECT refused('TRUNCATE parts_1');
SELECT refused('SELECT dbops.soft_delete_enable(''parts_1'')');

-- Bad input: refused, and nothing changed
CREATE TABLE nokey (a integer);
CREATE TABLE clash (id integer PRIMARY KEY, deleted_at integer);
SELECT refused('SELECT dbops.soft_delete_enable(NULL)');
SELECT refused('SELECT dbops.soft_delete_enable(''nokey'')');
SELECT refused('SELECT dbops.soft_delete_enable(''clash'')');
SELECT refused('SELECT dbops.soft_delete_enable(''clash'', mode => ''magic'')');
SELECT refused('SELECT dbops.soft_delete_enable(''clash'', grace => ''-1 day'')');
SELECT refused('SELECT dbops.soft_delete_enable(''clash'', unique_keys => ''drop'')');
SELECT refused('SELECT dbops.soft_delete_enable(''clash'', lock_timeout => ''0'')');
SELECT refused('SELECT dbops.soft_delete_enable(''users_live'')');
SELECT refused('SELECT dbops.soft_delete_enable(''pg_class'')');
SELECT refused('SELECT dbops.soft_delete_enable(''users'', mode => ''tombstone'')');
SELECT refused('SELECT dbops.soft_delete_enable(''nokey'', purge_schedule => ''sometimes'')');
SELECT refused('SELECT dbops.soft_delete(''nokey'', 1)');
SELECT refused('SELECT dbops.soft_delete(NULL, 1)');
SELECT refused('SELECT dbops.soft_delete(''users'', NULL)');
SELECT refused('SELECT dbops.soft_delete(''users'', 1, 2)');
SELECT refused('SELECT dbops.soft_delete(''users'', ''one'')');
SELECT refused('SELECT dbops.soft_delete(''users'', 77)');
SELECT refused('SELECT dbops.undelete(NULL)');
SELECT refused('SELECT dbops.soft_delete_disable(''nokey'')');
SELECT refused('SELECT dbops.soft_delete_disable(''users'', deleted_rows => ''forget'')');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT refused('SELECT dbops.soft_delete(''users'', 1)');
COMMIT;
SELECT target FROM dbops.soft_delete_rule WHERE target IN ('nokey'::regclass, 'clash');

-- Disabling says what becomes of deleted rows
SELECT dbops.soft_delete('tree', 5) > 0 AS deleted;
SELECT refused('SELECT dbops.soft_delete_disable(''tree'')');
SELECT dbops.soft_delete_disable('tree', deleted_rows => 'restore');
\d tree
SELECT regexp_replace(refused('SELECT dbops.soft_delete_disable(''users'', deleted_rows => ''restore'')'), 'deletion \d+', 'deletion N');
SELECT dbops.soft_delete_disable('parts', deleted_rows => 'keep');
SELECT count(*), count(*) FILTER (WHERE deleted_at IS NULL) FROM parts;
UPDATE users SET email = id || '@x';
SELECT dbops.soft_delete_disable('users', deleted_rows => 'restore');
\d users
SELECT id, email FROM users ORDER BY id;
SELECT name FROM dbops.schedules ORDER BY name;
SET client_min_messages = warning;
DROP SCHEMA soft CASCADE;
