-- Soft delete in tombstone mode: a real DELETE, whose rows are kept
\set ECHO none
\i sql/include/setup.sql
SET client_min_messages = warning;
TRUNCATE dbops.soft_deletion, dbops.soft_delete_rule CASCADE;
SELECT setval('dbops.soft_deletion_deletion_id_seq', 1, false) AS begin \gset
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS stone CASCADE;
CREATE SCHEMA stone;
SET search_path = stone, public;
RESET client_min_messages;
\set ECHO all
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TABLE users (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text UNIQUE, n numeric, f float8, t timestamptz,
  j json, a text[], b bytea, m mood, iv interval, doubled integer GENERATED ALWAYS AS (id * 2) STORED, gone text);
CREATE TABLE orders (id integer PRIMARY KEY, user_id integer NOT NULL CONSTRAINT orders_user REFERENCES users ON DELETE CASCADE);
SELECT dbops.soft_delete_enable('users', mode => 'tombstone');
SELECT target, problem, detail FROM dbops.soft_delete_problems ORDER BY 1, 2, 3;
SELECT dbops.soft_delete_enable('orders', mode => 'tombstone');
SELECT target, problem, detail FROM dbops.soft_delete_problems ORDER BY 1, 2, 3;
INSERT INTO users (email, n, f, t, j, a, b, m, iv, gone) VALUES
  ('a@x', 'NaN', 'infinity', 'infinity', '{"b": 1,   "a": 1, "a": 2}', '{"x y",NULL,"\"q\\"}', '\x00ff', 'happy', '1 mon -3 days 04:05:06.7', 'g'),
  ('b@x', 1.2300, 0.1::float8 + 0.2, '2024-03-31 01:30:00.123456+00', 'null', '{}', '', 'sad', '0', NULL);
INSERT INTO orders SELECT 10 + i, 1 + i % 2 FROM generate_series(0, 5) i;
CREATE TABLE users_before AS TABLE users;

-- With what goes along by its foreign keys; and back, every value as it was, under other settings
SELECT dbops.soft_delete('users', 1);
SELECT id FROM users;
SELECT id, user_id FROM orders ORDER BY 1;
SELECT deletion_id, target, key, state, rows FROM dbops.soft_deletions ORDER BY 1;
SET timezone = 'Asia/Tokyo';
SET datestyle = 'German';
SET intervalstyle = 'sql_standard';
SET extra_float_digits = -5;
SELECT dbops.undelete(1);
RESET extra_float_digits;
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
SET intervalstyle = 'postgres';
SELECT count(*) FROM (SELECT users::text FROM users EXCEPT SELECT users_before::text FROM users_before) d;
SELECT id, user_id FROM orders ORDER BY 1;

-- A DELETE of the application's: one deletion for a transaction; upserts, foreign keys and counts are as ever
BEGIN;
DELETE FROM users WHERE email = 'a@x' RETURNING id;
SELECT dbops.soft_delete('users', 2);
SAVEPOINT s;
DELETE FROM orders;
ROLLBACK TO s;
COMMIT;
SELECT deletion_id, target, key, state, rows FROM dbops.soft_deletions ORDER BY 1;
INSERT INTO users (email) VALUES ('a@x') ON CONFLICT (email) DO UPDATE SET n = 1;
SELECT refused('SELECT dbops.undelete(2)');
DELETE FROM users WHERE email = 'a@x';
SELECT refused('SELECT dbops.undelete(99)');
SELECT deletion_id, rows, state FROM dbops.soft_deletions ORDER BY 1;

-- The table may have changed meanwhile
ALTER TABLE users DROP COLUMN gone, ADD COLUMN new text DEFAULT 'new', ALTER COLUMN n TYPE text;
SELECT refused('SELECT dbops.undelete(2)');
SELECT dbops.undelete(2, lossy => true), dbops.undelete(3);
SELECT id, email, n, doubled, new FROM users ORDER BY id;

-- Nobody reads what is kept
CREATE ROLE six_reader;
SET ROLE six_reader;
SELECT refused('SELECT * FROM dbops.deleted_row');
SELECT count(*) FROM dbops.soft_deletions;
RESET ROLE;
DROP ROLE six_reader;
SELECT refused('TRUNCATE users CASCADE');

-- In a cascade from a table in column mode
CREATE TABLE teams (id integer PRIMARY KEY);
CREATE TABLE members (id integer PRIMARY KEY, team integer CONSTRAINT members_team REFERENCES teams ON DELETE CASCADE);
INSERT INTO teams VALUES (1), (2);
INSERT INTO members VALUES (1, 1), (2, 1), (3, 2);
SELECT dbops.soft_delete_enable('teams', purge_schedule => NULL), dbops.soft_delete_enable('members', mode => 'tombstone', purge_schedule => NULL);
SELECT dbops.soft_delete('teams', 1) AS deletion \gset
SELECT id FROM teams_live;
SELECT id FROM members;
SELECT rows, tables FROM dbops.soft_deletions WHERE deletion_id = :deletion;
SELECT dbops.undelete(:deletion);
SELECT id FROM members ORDER BY 1;
-- The other way round, rows in column mode would go for good: refused
CREATE TABLE leaf (id integer PRIMARY KEY, member integer CONSTRAINT leaf_member REFERENCES members ON DELETE CASCADE);
INSERT INTO leaf VALUES (1, 1);
SELECT refused('SELECT dbops.soft_delete(''members'', 1)');

-- A row does not come back under a deleted parent, but together with it
DROP TABLE leaf;
SELECT dbops.soft_delete('members', 3) AS deletion \gset
SELECT dbops.soft_delete('teams', 2) AS team \gset
SELECT refused(format('SELECT dbops.undelete(%s)', :deletion));
SELECT dbops.undelete(:team), dbops.undelete(:deletion);
SELECT id FROM members ORDER BY 1;
-- Nothing is lost by a trigger that keeps rows back, nor by one that is switched off
CREATE FUNCTION keep_back() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF NEW.id = 1 THEN RETURN NULL; END IF; RETURN NEW; END$$;
CREATE TRIGGER keep_back BEFORE INSERT ON members FOR EACH ROW EXECUTE FUNCTION keep_back();
SELECT dbops.soft_delete('teams', 1) AS deletion \gset
SELECT refused(format('SELECT dbops.undelete(%s)', :deletion));
SELECT count(*) FROM dbops.deleted_row WHERE deletion_id = :deletion;
DROP TRIGGER keep_back ON members;
CREATE TRIGGER keep_back BEFORE UPDATE ON teams FOR EACH ROW EXECUTE FUNCTION keep_back();
SELECT refused(format('SELECT dbops.undelete(%s)', :deletion));
DROP TRIGGER keep_back ON teams;
SELECT dbops.undelete(:deletion);
ALTER TABLE members DISABLE TRIGGER dbops_soft_delete_row;
SELECT refused('SELECT dbops.soft_delete(''members'', 1)');
SELECT target, problem, detail FROM dbops.soft_delete_problems WHERE target = 'members';
ALTER TABLE members ENABLE TRIGGER dbops_soft_delete_row;
SELECT id FROM members ORDER BY 1;
-- What its table cannot take any more is not cut, nor left out, unasked
CREATE TABLE odd (id integer PRIMARY KEY, code varchar(8), padded char(4), n numeric(8,3), at timestamp(6), price money, class regclass, nick text, days varchar(5)[]);
SELECT dbops.soft_delete_enable('odd', mode => 'tombstone', purge_schedule => NULL);
INSERT INTO odd VALUES (1, 'abcdefgh', 'ab', 1.250, '2026-01-02 03:04:05.678', 1234.56, 'odd', 'nick', '{"mon","tue"}');
CREATE TABLE odd_before AS TABLE odd;
SELECT dbops.soft_delete('odd', 1) AS deletion \gset
SELECT image ->> 'price' AS price, image ->> 'class' AS class FROM dbops.deleted_row WHERE deletion_id = :deletion;
ALTER TABLE odd ALTER code TYPE varchar(3);
SELECT refused(format('SELECT dbops.undelete(%s)', :deletion));
ALTER TABLE odd ALTER code TYPE text, ALTER n TYPE numeric(8,1);
SELECT refused(format('SELECT dbops.undelete(%s)', :deletion));
ALTER TABLE odd ALTER n TYPE numeric(12,5), ALTER at TYPE timestamp(0);
SELECT refused(format('SELECT dbops.undelete(%s)', :deletion));
ALTER TABLE odd ALTER at TYPE date;
SELECT refused(format('SELECT dbops.undelete(%s)', :deletion));
ALTER TABLE odd ALTER at TYPE timestamp, ALTER days TYPE varchar(2)[];
SELECT refused(format('SELECT dbops.undelete(%s)', :deletion));
ALTER TABLE odd ALTER days TYPE text[], ALTER padded TYPE char(9);
ALTER TABLE odd RENAME nick TO nickname;
SELECT refused(format('SELECT dbops.undelete(%s)', :deletion));
SELECT count(*) FROM odd;
ALTER TABLE odd RENAME nickname TO nick;
SET search_path = public;
SELECT dbops.undelete(:deletion);
SET search_path = stone, public;
SELECT o.code = b.code AND o.padded = b.padded AND o.n = b.n AND o.at = b.at AND o.price = b.price AND o.class = b.class
  AND o.nick = b.nick AND o.days::text = b.days::text AS as_before FROM odd o, odd_before b;

-- Disabling
SELECT dbops.soft_delete('members', 2) AS deletion \gset
SELECT refused('SELECT dbops.soft_delete_disable(''members'')');
SELECT dbops.soft_delete_disable('members', deleted_rows => 'keep');
SELECT refused(format('SELECT dbops.undelete(%s)', :deletion));
SELECT dbops.soft_delete_enable('members', mode => 'tombstone', purge_schedule => NULL);
SELECT dbops.soft_delete_disable('members', deleted_rows => 'restore');
SELECT id FROM members ORDER BY 1;
DELETE FROM members;
SELECT count(*) FROM dbops.deleted_row WHERE target = 'members'::regclass;

-- An UPDATE that moves a row to another partition deletes nothing
CREATE TABLE parts (id integer, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE parts_2 PARTITION OF parts DEFAULT;
SELECT dbops.soft_delete_enable('parts', mode => 'tombstone', purge_schedule => NULL);
INSERT INTO parts VALUES (1, '2024-05-01');
UPDATE parts SET day = '2026-01-01';
SELECT count(*) FROM dbops.deleted_row WHERE target = 'parts'::regclass;
DELETE FROM parts_2;
SELECT image FROM dbops.deleted_row WHERE target = 'parts'::regclass;
SELECT dbops.undelete(max(deletion_id)) FROM dbops.soft_deletions;
SELECT tableoid::regclass, * FROM parts;
SELECT refused('TRUNCATE parts_1');

-- What goes along with a row is kept for the longest of the grace periods
CREATE TABLE cart (id integer PRIMARY KEY);
CREATE TABLE customers (id integer PRIMARY KEY REFERENCES cart ON DELETE CASCADE);
SELECT dbops.soft_delete_enable('cart', mode => 'tombstone', grace => '1 day', purge_schedule => NULL),
  dbops.soft_delete_enable('customers', mode => 'tombstone', grace => '90 days', purge_schedule => NULL);
INSERT INTO cart VALUES (1);
INSERT INTO customers VALUES (1);
DELETE FROM cart;
SELECT max(deletion_id) AS deletion FROM dbops.soft_deletions \gset
SELECT target, rows, purge_after - deleted_at AS grace FROM dbops.soft_deletions WHERE deletion_id = :deletion;
UPDATE dbops.soft_deletion SET deleted_at = deleted_at - interval '2 days' WHERE deletion_id = :deletion;
CALL dbops.purge('cart');
SELECT state, rows FROM dbops.soft_deletions WHERE deletion_id = :deletion;
-- ... and longer where one of them was to be kept without soft delete
SELECT dbops.soft_delete_disable('customers', deleted_rows => 'keep');
CALL dbops.purge('cart');
SELECT state, rows FROM dbops.soft_deletions WHERE deletion_id = :deletion;
SELECT dbops.soft_delete_enable('customers', mode => 'tombstone', grace => '90 days', purge_schedule => NULL);
SELECT dbops.undelete(:deletion);
SELECT (SELECT count(*) FROM cart), (SELECT count(*) FROM customers);
ALTER TABLE customers DROP CONSTRAINT customers_id_fkey;
-- The same for what dbops.soft_delete takes along
CREATE TABLE orphans (id integer PRIMARY KEY, cart integer REFERENCES cart ON DELETE CASCADE);
SELECT dbops.soft_delete_enable('orphans', mode => 'tombstone', grace => '60 days', purge_schedule => NULL);
INSERT INTO orphans VALUES (1, 1);
SELECT dbops.soft_delete('cart', 1) AS deletion \gset
SELECT purge_after - deleted_at AS grace FROM dbops.soft_deletions WHERE deletion_id = :deletion;
UPDATE dbops.soft_deletion SET deleted_at = deleted_at - interval '2 days' WHERE deletion_id = :deletion;
CALL dbops.purge('cart');
UPDATE dbops.soft_deletion SET deleted_at = deleted_at - interval '59 days' WHERE deletion_id = :deletion;
SELECT state, rows FROM dbops.soft_deletions WHERE deletion_id = :deletion;
CALL dbops.purge('cart');
SELECT state, rows FROM dbops.soft_deletions WHERE deletion_id = :deletion;
SELECT count(*) FROM dbops.deleted_row WHERE deletion_id = :deletion;
-- Rows of a table that has nothing to do with it are a deletion of their own: nobody restores or purges them by his own table
CREATE TABLE unrelated (id integer PRIMARY KEY);
SELECT dbops.soft_delete_enable('unrelated', mode => 'tombstone', grace => '90 days', purge_schedule => NULL);
CREATE ROLE regress_dbops_cart LOGIN;
ALTER TABLE cart OWNER TO regress_dbops_cart;
GRANT USAGE ON SCHEMA stone TO regress_dbops_cart;
GRANT SELECT ON orphans TO regress_dbops_cart;
INSERT INTO cart VALUES (2);
INSERT INTO orphans VALUES (2, 2);
INSERT INTO unrelated VALUES (2);
BEGIN;
DELETE FROM cart WHERE id = 2;
DELETE FROM unrelated;
COMMIT;
SELECT target, rows FROM dbops.soft_deletions WHERE state = 'deleted' ORDER BY deletion_id DESC LIMIT 2;
SELECT max(deletion_id) AS deletion FROM dbops.soft_deletions \gset
SET ROLE regress_dbops_cart;
SELECT refused('SELECT dbops.undelete(' || :deletion || ')');
CALL dbops.purge('cart', older_than => '0');
RESET ROLE;
SELECT target, image FROM dbops.deleted_row WHERE target IN ('cart'::regclass, 'orphans'::regclass, 'unrelated'::regclass);
SELECT dbops.undelete(:deletion);
-- A hold on a partition, or on a table that was dropped, keeps tombstones of it
SELECT dbops.hold('parts_1', 'id = 2', 'case') AS hold \gset
INSERT INTO parts SELECT i, '2024-05-01' FROM generate_series(1, 3) i ON CONFLICT DO NOTHING;
DELETE FROM parts;
CALL dbops.purge('parts', older_than => '0');
SELECT image FROM dbops.deleted_row WHERE target = 'parts'::regclass;
SELECT dbops.release(:hold, 'over') = :hold AS released;
CALL dbops.purge('parts', older_than => '0');
SELECT count(*) FROM dbops.deleted_row WHERE target = 'parts'::regclass;
INSERT INTO cart VALUES (3);
INSERT INTO orphans VALUES (3, 3), (4, 3);
SELECT dbops.hold('orphans', 'id = 4', 'case') AS hold \gset
DELETE FROM cart WHERE id = 3;
SELECT max(deletion_id) AS deletion FROM dbops.soft_deletions \gset
DROP TABLE orphans;
CALL dbops.purge('cart', older_than => '0');
SELECT count(*) FROM dbops.deleted_row WHERE deletion_id = :deletion;
SELECT dbops.release(:hold, 'over') = :hold AS released;
CALL dbops.purge('cart', older_than => '0');
SELECT count(*) FROM dbops.deleted_row WHERE deletion_id = :deletion;
-- what has gone without a job is known, also of a table that is not there any more
SELECT condition, target ~ '^\d+$' AS dropped, created_by = current_user AS mine, state, rows, first_key = 'deletion ' || :deletion AND last_key = first_key AS keys, finished_at >= started_at
  FROM dbops.deletions WHERE kind = 'purge' AND first_key = 'deletion ' || :deletion ORDER BY 2, started_at;
-- A hold on what would go along keeps all of it; a tombstone under a hold can be restored
CREATE TABLE crate (id integer PRIMARY KEY);
CREATE TABLE bottle (id integer PRIMARY KEY, crate integer REFERENCES crate ON DELETE CASCADE);
SELECT dbops.soft_delete_enable('crate', mode => 'tombstone', purge_schedule => NULL), dbops.soft_delete_enable('bottle', mode => 'tombstone', purge_schedule => NULL);
INSERT INTO crate VALUES (1), (2);
INSERT INTO bottle SELECT i, 1 + i % 2 FROM generate_series(1, 6) i;
SELECT dbops.hold('bottle', 'id = 3', 'case') AS hold \gset
SELECT regexp_replace(said, '(hold |release\()\d+', '\1N') FROM refused('SELECT dbops.soft_delete(''crate'', 2)') said;
SELECT refused('SELECT dbops.soft_delete(''crate'', 1)') ~ 'NOT REFUSED' AS the_other_one_goes;
SELECT (SELECT count(*) FROM crate), (SELECT array_agg(id ORDER BY id) FROM bottle);
DELETE FROM crate WHERE id = 2;
SELECT max(deletion_id) AS deletion FROM dbops.soft_deletions \gset
CALL dbops.purge('crate', older_than => '0');
SELECT target, image ->> 'id' AS id FROM dbops.deleted_row WHERE deletion_id = :deletion;
SELECT dbops.release(:hold, 'over') = :hold AS released;
CALL dbops.purge('crate', older_than => '0');
SELECT count(*) FROM dbops.deleted_row;
INSERT INTO bottle VALUES (9);
SELECT dbops.hold('bottle', NULL, 'all of them') AS hold \gset
DELETE FROM bottle WHERE id = 9;
SELECT dbops.undelete(max(deletion_id)) FROM dbops.soft_deletions WHERE target = 'bottle';
SELECT count(*) FROM bottle WHERE id = 9;
SELECT dbops.release(:hold, 'over') = :hold AS released;
-- ... and one on what would lose its reference, at any depth, keeps what it refers to
CREATE TABLE label (id integer PRIMARY KEY, bottle integer REFERENCES bottle ON DELETE SET NULL);
INSERT INTO crate VALUES (3), (4);
INSERT INTO bottle VALUES (10, 3), (11, 3), (12, 4);
INSERT INTO label VALUES (1, 10), (2, 12);
SELECT dbops.hold('label', 'bottle = 10', 'case') AS hold \gset
SELECT refused('SELECT dbops.soft_delete(''bottle'', 10)');
SELECT refused('SELECT dbops.soft_delete(''crate'', 3)');
SELECT refused('SELECT dbops.soft_delete(''bottle'', 11)') ~ 'NOT REFUSED' AS one_that_has_no_label_goes, refused('SELECT dbops.soft_delete(''crate'', 4)') ~ 'NOT REFUSED' AS one_whose_label_is_not_held_goes;
SELECT array_agg(l.* ORDER BY l.id) FROM label l;
SELECT dbops.release(:hold, 'over') = :hold AS released;
SELECT dbops.soft_delete('crate', 3) > 0 AS then_it_goes;
SELECT array_agg(l.* ORDER BY l.id) FROM label l;
SET client_min_messages = warning;
DROP SCHEMA stone CASCADE;
DROP ROLE regress_dbops_cart;
