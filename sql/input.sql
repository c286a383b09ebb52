-- Assignments and conditions: exactly that, of columns and types that exist, or refused before there is a job.
\set ECHO none
\i sql/include/setup.sql

CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TYPE place AS (street text, town text);
CREATE TABLE people (
  id integer PRIMARY KEY, name text, full_name text, born date, amount numeric, feeling mood, home place, tags text[],
  twice numeric GENERATED ALWAYS AS (amount * 2) STORED, number integer GENERATED ALWAYS AS IDENTITY);
INSERT INTO people (id, name, amount) SELECT i, 'name ' || i, i FROM generate_series(1, 10) i;
CREATE TABLE other (id integer, name text);

-- No assignments
SELECT refused_backfill('people', NULL);
SELECT refused_backfill('people', '');
SELECT refused_backfill('people', E' \t\n');
SELECT refused_backfill('people', '-- nothing');
SELECT refused_backfill('people', '/* nothing */');
SELECT refused_backfill('people', 'full_name');
SELECT refused_backfill('people', 'full_name = ');
SELECT refused_backfill('people', 'full_name = name,');
SELECT refused_backfill('people', 'full_name == name');

-- More than assignments
SELECT refused_backfill('people', 'full_name = name WHERE id = 1');
SELECT refused_backfill('people', 'full_name = name WHERE CURRENT OF c');
SELECT refused_backfill('people', 'full_name = other.name FROM other');
SELECT refused_backfill('people', 'full_name = other.name FROM other WHERE other.id = people.id');
SELECT refused_backfill('people', 'full_name = name RETURNING id');
SELECT refused_backfill('people', 'full_name = name RETURNING id', 'full_name IS NULL');
SELECT refused_backfill('people', 'full_name = name; DROP TABLE other');
SELECT refused_backfill('people', 'full_name = name; DROP TABLE other', 'full_name IS NULL');
SELECT refused_backfill('people', 'full_name = name; UPDATE people SET name = NULL', 'full_name IS NULL');
SELECT refused_backfill('people', 'full_name = name;');
SELECT refused_backfill('people', 'full_name = name;', 'full_name IS NULL');
SELECT refused_backfill('people', ';');
SELECT refused_backfill('people', 'full_name = name ORDER BY id');
SELECT refused_backfill('people', 'full_name = name LIMIT 1');
SELECT refused_backfill('people', 'full_name = name) SELECT (1');
SELECT refused_backfill('people', 'SET full_name = name');
SELECT refused_backfill('people', 'WITH x AS (SELECT 1) full_name = name');

-- Quotes and comments that do not end
SELECT refused_backfill('people', 'full_name = ''name');
SELECT refused_backfill('people', 'full_name = $$name');
SELECT refused_backfill('people', 'full_name = $a$name$b$');
SELECT refused_backfill('people', 'full_name = "name');
SELECT refused_backfill('people', 'full_name = name /*');
SELECT refused_backfill('people', 'full_name = name /* /* */');
SELECT refused_backfill('people', 'full_name = name /*', '*/ true');
SELECT refused_backfill('people', 'full_name = ''name', ''' IS NULL');
SELECT refused_backfill('people', 'full_name = (name', 'true)');

-- Parameters and other things that have no meaning there
SELECT refused_backfill('people', 'full_name = $1');
SELECT refused_backfill('people', 'full_name = name', 'full_name = $1');
SELECT refused_backfill('people', 'full_name = :name');
SELECT refused_backfill('people', 'full_name = max(name)');
SELECT refused_backfill('people', 'amount = rank() OVER ()');
SELECT refused_backfill('people', 'amount = generate_series(1, 2)');
SELECT refused_backfill('people', 'full_name = excluded.name');

-- Columns
SELECT refused_backfill('people', 'nickname = name');
SELECT refused_backfill('people', 'full_name = nickname');
SELECT line FROM refused_backfill('people', 'people.full_name = name') line LIMIT 1; -- 16 has a hint besides
SELECT refused_backfill('people', 'full_name = name, full_name = NULL');
SELECT refused_backfill('people', 'ctid = NULL');
SELECT refused_backfill('people', 'twice = 1');
SELECT refused_backfill('people', 'number = 1');
SELECT refused_backfill('people', '(name, full_name) = (1, 2, 3)');
SELECT refused_backfill('people', 'full_name = other.name');
SELECT refused_backfill('people', 'id = id + 100');

-- Types and values
SELECT refused_backfill('people', 'born = name');
SELECT refused_backfill('people', 'born = ''yesterweek''');
SELECT refused_backfill('people', 'amount = ''much''');
SELECT refused_backfill('people', 'amount = 1 / 0');
SELECT refused_backfill('people', 'feeling = ''furious''');
SELECT refused_backfill('people', 'home.street.number = ''1''');
SELECT refused_backfill('people', 'full_name[1] = ''1''');
SELECT refused_backfill('people', 'full_name = no_such_function(name)');
SELECT refused_backfill('people', 'full_name = name COLLATE "no such collation"');
SELECT refused_backfill('people', 'full_name = (SELECT name FROM no_such_table)');
SELECT refused_backfill('people', 'full_name = (SELECT id, name FROM other)');

-- Conditions
SELECT refused_backfill('people', 'full_name = name', '');
SELECT refused_backfill('people', 'full_name = name', E' \n\t ');
SELECT refused_backfill('people', 'full_name = name', '-- nothing');
SELECT refused_backfill('people', 'full_name = name', '/* nothing */');
SELECT refused_backfill('people', 'full_name = name', 'WHERE id = 1');
SELECT refused_backfill('people', 'full_name = name', 'id');
SELECT refused_backfill('people', 'full_name = name', 'people');
SELECT refused_backfill('people', 'full_name = name', '*');
SELECT refused_backfill('people', 'full_name = name', 'id = ''one''');
SELECT refused_backfill('people', 'full_name = name', 'nickname IS NULL');
SELECT refused_backfill('people', 'full_name = name', 'true; DROP TABLE other');
SELECT refused_backfill('people', 'full_name = name', 'true;');
SELECT refused_backfill('people', 'full_name = name', 'true) OR (true');
SELECT refused_backfill('people', 'full_name = name', 'true) RETURNING (id');
SELECT refused_backfill('people', 'full_name = name', 'true /*');
SELECT refused_backfill('people', 'full_name = name', 'full_name = ''');
SELECT refused_backfill('people', 'full_name = name', 'id = 1 RETURNING id');
SELECT refused_backfill('people', 'full_name = name', 'id = 1 LIMIT 1');
SELECT refused_backfill('people', 'full_name = name', 'id = 1 ORDER BY id');
SELECT refused_backfill('people', 'full_name = name', 'id = 1 FROM other');
SELECT refused_backfill('people', 'full_name = name', 'id = 1 UNION SELECT true');
SELECT refused_backfill('people', 'full_name = name', 'id = 1 GROUP BY id');
SELECT refused_backfill('people', 'full_name = name', 'id = 1 FOR UPDATE');
SELECT refused_backfill('people', 'full_name = name', 'id = 1 AS x');
SELECT refused_backfill('people', 'full_name = name', 'id = 1, id = 2');
SELECT refused_backfill('people', 'full_name = name', 'DISTINCT id = 1');
SELECT refused_backfill('people', 'full_name = name', 'ALL id = 1');
SELECT refused_backfill('people', 'full_name = name', 'SELECT true');
SELECT refused_backfill('people', 'full_name = name', 'CURRENT OF c');
SELECT refused_backfill('people', 'full_name = name', 'count(*) > 1');
SELECT refused_backfill('people', 'full_name = name', 'rank() OVER () > 1');
SELECT refused_backfill('people', 'full_name = name', 'generate_series(1, 2) = 1');

-- batch_delete
SELECT refused($$SELECT dbops.batch_delete('people', NULL)$$);
SELECT refused($$SELECT dbops.batch_delete('people', ' ')$$);
SELECT refused($$SELECT dbops.batch_delete('people', 'true; DROP TABLE other')$$);
SELECT refused($$SELECT dbops.batch_delete('people', 'true) OR (true')$$);
SELECT refused($$SELECT dbops.batch_delete('people', 'true RETURNING id')$$);
SELECT refused($$SELECT dbops.batch_delete('people', 'nickname IS NULL')$$);
SELECT refused($$SELECT dbops.batch_delete('people', 'id')$$);

-- The previews refuse the same
SELECT refused($$SELECT dbops.backfill_preview('people', 'full_name = name; DROP TABLE other')$$);
SELECT refused($$SELECT dbops.backfill_preview('people', 'full_name = name', 'true) OR (true')$$);
SELECT refused($$SELECT dbops.batch_delete_preview('people', 'true; DROP TABLE other')$$);

-- Too long a statement is an error, not a crash; which one, depends on who meets it first
SELECT left(line, 5) IN ('42601', '54001') FROM refused_backfill('people', 'amount = ' || repeat('(', 200000) || '1' || repeat(')', 200000)) line LIMIT 1;
SELECT left(line, 5) IN ('42601', '54001') FROM refused_backfill('people', 'amount = 1' || repeat(' + 1', 200000)) line LIMIT 1;

-- Nothing came of any of it
SELECT count(*) FROM dbops.jobs;
SELECT count(*), count(full_name), min(name) FROM people;
SELECT count(*) FROM other;

-- What is strange and allowed: comments, quotes, several columns at once, parts of columns, subqueries. And it does what
-- it says.
CREATE PROCEDURE accepted(assignments text, condition text DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
  job bigint;
BEGIN
  job := dbops.backfill('people', assignments, condition);
  COMMIT;
  CALL dbops.run(job);
END
$$;
CALL accepted('full_name = name -- to be continued');
SELECT count(*) FROM people WHERE full_name = name;
CALL accepted('full_name = NULL /* WHERE false */', 'id > 2 -- and no more');
SELECT count(*) FROM people WHERE full_name = name;
CALL accepted('full_name = ''; DROP TABLE other; --''', 'true OR name = '') OR (''');
CALL accepted('full_name = full_name || $q$ WHERE RETURNING ; -- $q$');
SELECT DISTINCT full_name FROM people;
CALL accepted('(name, full_name) = (full_name, name)', 'id = 3');
SELECT name, full_name FROM people WHERE id = 3;
INSERT INTO other VALUES (4, 'other');
CALL accepted('(name, full_name) = (SELECT o.id, o.name FROM other o WHERE o.id = people.id)');
SELECT id, name, full_name FROM people WHERE name IS NOT NULL;
CALL accepted('home.town = ''x'', tags[2] = id::text, feeling = DEFAULT, amount = DEFAULT, twice = DEFAULT');
SELECT DISTINCT home, tags[2] = id::text, feeling, amount, twice FROM people;
CALL accepted('"full_name"="name"', '((id) > (1))');
CALL accepted(E'full_name\n=\tname', E'\n\nid\n>\n1\n');
CALL accepted('full_name = (WITH w AS (SELECT name) SELECT w.name || id FROM w)', 'EXISTS (SELECT FROM other WHERE other.id = people.id)');
SELECT id, full_name FROM people WHERE full_name IS NOT NULL ORDER BY id;
SELECT job_id, kind, target, state, rows_done FROM dbops.jobs ORDER BY job_id;

-- Volatile functions are pointed out
CALL accepted('amount = random()');
SELECT count(DISTINCT amount) FROM people;
CALL accepted('full_name = gen_random_uuid()::text || clock_timestamp()', 'full_name IS NULL');
CALL accepted('full_name = ''x''', 'random() < 0');
CALL accepted('born = now()', 'born IS NULL');

-- What only this session sees, however it is named
CREATE TEMPORARY TABLE mine (id integer, name text);
CREATE TEMPORARY VIEW view_of_mine AS SELECT * FROM mine;
CREATE TEMPORARY SEQUENCE my_numbers;
CREATE FUNCTION pg_temp.my_function(text) RETURNS text LANGUAGE sql IMMUTABLE RETURN upper($1);
CREATE DOMAIN pg_temp.my_domain AS text;
CREATE TYPE pg_temp.my_mood AS ENUM ('ok');
SELECT refused_backfill('people', 'full_name = (SELECT m.name FROM mine m WHERE m.id = people.id)');
SELECT refused_backfill('people', 'full_name = ''x''', 'EXISTS (SELECT FROM pg_temp.mine m WHERE m.id = people.id)');
SELECT refused_backfill('people', 'full_name = (WITH w AS (SELECT name FROM view_of_mine) SELECT min(name) FROM w)');
SELECT refused_backfill('people', 'id = nextval(''my_numbers'')');
SELECT refused_backfill('people', 'full_name = pg_temp.my_function(name)');
SELECT refused_backfill('people', 'full_name = name::pg_temp.my_domain');
SELECT refused_backfill('people', 'full_name = name', 'name = ''ok''::pg_temp.my_mood::text');
SELECT refused('SELECT dbops.batch_delete(''people'', ''id IN (SELECT id FROM mine)'')');
SELECT refused('SELECT dbops.backfill_preview(''people'', ''full_name = (SELECT name FROM mine)'')');
-- A table of the same name that is not temporary is meant, where there is one
CREATE TABLE public.mine (id integer, name text);
INSERT INTO public.mine VALUES (3, 'public');
CALL accepted('full_name = (SELECT m.name FROM mine m WHERE m.id = people.id)', 'id = 3');
SELECT full_name FROM people WHERE id = 3;

DROP PROCEDURE accepted;
DROP TABLE people, other, public.mine;
DROP TYPE mood, place;
