-- Who may do what: privileges on the table, roles, row-level security, and what a text argument can not be made to reach.
\set ECHO none
\i sql/include/setup.sql
\set ECHO all
CREATE ROLE regress_dbops_alice LOGIN;
CREATE ROLE regress_dbops_bob LOGIN;
CREATE ROLE regress_dbops_team NOLOGIN;
CREATE ROLE regress_dbops_chief LOGIN;
CREATE ROLE regress_dbops_watcher LOGIN;
CREATE ROLE regress_dbops_sees_all LOGIN BYPASSRLS;
GRANT dbops_admin TO regress_dbops_chief;
GRANT dbops_monitor TO regress_dbops_watcher;
CREATE SCHEMA shop;
GRANT USAGE, CREATE ON SCHEMA shop TO regress_dbops_alice, regress_dbops_bob;
GRANT CREATE ON SCHEMA public TO regress_dbops_alice, regress_dbops_bob;
SET ROLE regress_dbops_alice;
CREATE TABLE shop.t (id integer PRIMARY KEY, a integer, b integer, secret text);
INSERT INTO shop.t SELECT i, i, NULL, 'secret ' || i FROM generate_series(1, 100) i;

-- No privilege, some, all
SET ROLE regress_dbops_bob;
SELECT refused_backfill('shop.t', 'b = a');
SELECT refused($$SELECT dbops.batch_delete('shop.t', 'true')$$);
SELECT refused($$SELECT dbops.backfill_preview('shop.t', 'b = a')$$);
SET ROLE regress_dbops_alice;
GRANT UPDATE (b) ON shop.t TO regress_dbops_bob;
SET ROLE regress_dbops_bob;
SELECT refused_backfill('shop.t', 'b = a');
SELECT refused_backfill('shop.t', 'a = 1');
SET ROLE regress_dbops_alice;
GRANT SELECT (id, a, b) ON shop.t TO regress_dbops_bob;
SET ROLE regress_dbops_bob;
SELECT refused_backfill('shop.t', 'a = 1');
SELECT refused_backfill('shop.t', 'b = length(secret)');
SELECT refused_backfill('shop.t', 'b = a', 'secret = ''secret 1''');
SELECT refused_backfill('shop.t', 'b = a', 't IS NOT NULL');
SELECT refused($$SELECT dbops.batch_delete('shop.t', 'a = 1')$$);
-- (a walk by blocks reads ctid, which takes the privilege on the whole table)
SELECT refused_backfill('shop.t', 'b = a', 'b IS NULL', 'strategy => ''block''');
SELECT refused($$SELECT dbops.backfill_preview('shop.t', 'b = a', 'b IS NULL', strategy => 'block')$$);
SELECT dbops.backfill('shop.t', 'b = a', 'b IS NULL', strategy => 'key') AS job \gset
CALL dbops.run(:job);
SELECT state, rows_done, owner FROM dbops.jobs WHERE job_id = :job;
-- Taken away between two batches, or before the first
SELECT dbops.backfill('shop.t', 'b = a + 1') AS job \gset
SET ROLE regress_dbops_alice;
REVOKE UPDATE (b) ON shop.t FROM regress_dbops_bob;
SET ROLE regress_dbops_bob;
CALL dbops.run(:job);
SELECT state, last_sqlstate, last_error FROM dbops.jobs WHERE job_id = :job;
RESET ROLE;
SELECT count(*) FROM shop.t WHERE b = a;

-- A superuser's job on somebody's table runs as that somebody: its functions get no more rights
SET ROLE regress_dbops_alice;
CREATE FUNCTION shop.whoami(integer) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN current_user || ' ' || session_user; END $$;
RESET ROLE;
SELECT dbops.backfill('shop.t', 'secret = shop.whoami(id)') AS job \gset
CALL dbops.run(:job);
SELECT owner FROM dbops.jobs WHERE job_id = :job;
SELECT DISTINCT split_part(secret, ' ', 1) FROM shop.t;
-- run_as: a role that one is a member of
SET ROLE regress_dbops_bob;
SELECT refused_backfill('shop.t', 'b = a', NULL, 'run_as => ''regress_dbops_alice''');
SELECT replace(refused_backfill('shop.t', 'b = a', NULL, format('run_as => %L', rolname)), rolname, 'SUPERUSER') FROM pg_roles WHERE oid = 10;
SELECT refused_backfill('shop.t', 'b = a', NULL, 'run_as => ''pg_read_server_files''');
RESET ROLE;
SELECT owner FROM dbops.backfill_preview('shop.t', 'b = a', run_as => 'regress_dbops_alice');
GRANT regress_dbops_team TO regress_dbops_alice, regress_dbops_bob;
GRANT USAGE, CREATE ON SCHEMA shop TO regress_dbops_team;
SET ROLE regress_dbops_alice;
ALTER TABLE shop.t OWNER TO regress_dbops_team;
SET ROLE regress_dbops_bob;
SELECT owner FROM dbops.backfill_preview('shop.t', 'b = a', run_as => 'regress_dbops_team');
SELECT refused_backfill('shop.t', 'b = a', NULL, 'run_as => ''regress_dbops_sees_all''');
RESET ROLE;

-- Whose jobs one sees and may steer
SET client_min_messages = error; -- a role without LOGIN
SET ROLE regress_dbops_bob;
SELECT dbops.backfill('shop.t', 'b = a', run_as => 'regress_dbops_team', label => 'of the team') AS teams \gset
RESET ROLE;
RESET client_min_messages;
CREATE TABLE shop.of_alice (id integer PRIMARY KEY, b integer);
ALTER TABLE shop.of_alice OWNER TO regress_dbops_alice;
SET ROLE regress_dbops_alice;
SELECT dbops.backfill('shop.of_alice', 'b = id', label => 'of alice') AS alices \gset
SELECT label, owner FROM dbops.jobs WHERE job_id >= :teams ORDER BY job_id;
SELECT count(DISTINCT job_id) FROM dbops.progress WHERE job_id >= :teams;
SELECT count(*) FROM dbops.job_events WHERE job_id >= :teams;
SET ROLE regress_dbops_bob;
SELECT label, owner FROM dbops.jobs WHERE job_id >= :teams ORDER BY job_id;
SELECT count(*) FROM dbops.progress WHERE job_id = :alices;
SELECT count(*) FROM dbops.job_events WHERE job_id = :alices;
SELECT count(*) FROM dbops.job_runs WHERE job_id = :alices;
SELECT count(*) FROM dbops.job_errors WHERE job_id = :alices;
SELECT refused(format('SELECT dbops.pause(%s)', :alices));
SELECT refused(format('SELECT dbops.resume(%s)', :alices));
SELECT refused(format('SELECT dbops.cancel(%s)', :alices));
SELECT refused(format('SELECT dbops.retry(%s)', :alices));
CALL dbops.run(:alices);
CALL dbops.wait(:alices, '1 s');
SELECT dbops.pause(:teams, 'by a member');
SET ROLE regress_dbops_watcher;
SELECT label, state FROM dbops.jobs WHERE job_id >= :teams ORDER BY job_id;
SELECT count(*) > 0 FROM dbops.progress WHERE job_id = :alices;
SELECT refused(format('SELECT dbops.pause(%s)', :alices));
SELECT refused(format('SELECT dbops.cancel(%s)', :teams));
CALL dbops.run(:alices);
SET ROLE regress_dbops_chief;
SELECT label, state FROM dbops.jobs WHERE job_id >= :teams ORDER BY job_id;
SELECT dbops.resume(:teams, 'by an admin');
SELECT dbops.pause(:alices);
SELECT dbops.resume(:alices);
-- an admin's session cannot run it: the owner's code would meet what that session has made
CALL dbops.run(:alices);
SELECT state, owner FROM dbops.jobs WHERE job_id = :alices;
SELECT refused_backfill('shop.of_alice', 'b = id');
RESET ROLE;
SELECT actor, action, reason FROM dbops.job_events WHERE job_id IN (:teams, :alices) AND actor <> 'dbops' ORDER BY event_id;
SELECT dbops.cancel(:teams, NULL);

-- The tables behind the views are nobody's but the owner's; functions that look take nothing from others
SET ROLE regress_dbops_alice;
SELECT refused('SELECT count(*) FROM dbops.job');
SELECT refused('SELECT count(*) FROM dbops.job_error');
SELECT refused('UPDATE dbops.job SET owner_oid = 10');
SELECT refused($$INSERT INTO dbops.job_event (job_id, actor, action, to_state) VALUES (1, 'me', 'create', 'queued')$$);
SELECT refused('DELETE FROM dbops.job_run');
SELECT refused('UPDATE dbops.jobs SET state = ''failed''');
SELECT refused('CREATE FUNCTION dbops.mine() RETURNS integer LANGUAGE sql AS ''SELECT 1''');
SELECT refused('CREATE TABLE dbops.mine ()');
SELECT refused('SELECT nextval(''dbops.job_job_id_seq'')');
-- A leaky function in a query on a view sees one's own rows only
CREATE FUNCTION leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN INSERT INTO seen VALUES ($1); RETURN true; END $$;
SET ROLE regress_dbops_bob;
CREATE TEMP TABLE seen (what text);
SELECT label FROM dbops.jobs WHERE leak(label) AND job_id >= :teams;
SELECT reason FROM dbops.job_events WHERE leak(reason) AND job_id >= :teams ORDER BY event_id;
SELECT DISTINCT what FROM seen ORDER BY what;
DROP TABLE seen;

-- Other tables, files, programs, other roles: by no text argument
SET ROLE regress_dbops_bob;
CREATE TABLE public.mine (id integer PRIMARY KEY, v text);
INSERT INTO mine SELECT i FROM generate_series(1, 10) i;
SELECT refused_backfill('mine', 'v = (SELECT b FROM shop.of_alice LIMIT 1)');
SELECT refused_backfill('mine', 'v = ''x''', 'EXISTS (SELECT FROM shop.of_alice)');
SELECT refused_backfill('mine', 'v = pg_read_file(''PG_VERSION'')');
SELECT refused_backfill('mine', 'v = pg_read_file(''PG_VERSION'')', 'pg_read_file(''PG_VERSION'') <> ''''');
SELECT refused_backfill('mine', 'v = (SELECT string_agg(f, '','') FROM pg_ls_dir(''.'') f)');
SELECT refused_backfill('mine', 'v = lo_export(1, ''/tmp/x'')::text');
SELECT refused_backfill('mine', 'v = (SELECT rolpassword FROM pg_authid LIMIT 1)');
SELECT refused_backfill('mine', 'v = (SELECT state FROM dbops.job LIMIT 1)');
SELECT refused_backfill('mine', 'v = (WITH x AS (DELETE FROM shop.of_alice RETURNING id) SELECT max(id) FROM x)');
SELECT refused_backfill('mine', 'v = (WITH x AS (UPDATE mine SET v = ''x'' RETURNING id) SELECT max(id) FROM x)');
SELECT refused_backfill('mine', 'v = ''x''', NULL, 'strategy => ''key; DROP TABLE mine''');
SELECT refused_backfill('mine', 'v = ''x''', NULL, 'run_as => ''regress_dbops_alice"; --''');
SELECT refused_backfill('mine', 'v = ''x''', NULL, 'windows => pg_read_file(''PG_VERSION'')');
SELECT refused_backfill('mine', 'v = ''x''', NULL, 'windows => ''00:00-24:00'', timezone => ''/etc/passwd''');
SELECT refused($$SELECT dbops.backfill('shop.of_alice'::regclass::oid, 'b = 1')$$);
-- a label is text and stays it; so is a reason
SELECT dbops.backfill('mine', 'v = id', label => $$'); DROP TABLE mine; -- \x00 $(id) {"a": 1}$$) AS job \gset
SELECT dbops.pause(:job, $$'); DROP TABLE mine; --$$);
SELECT dbops.resume(:job, $${"a": "b"}'$$);
CALL dbops.run(:job);
SELECT label, state, rows_done FROM dbops.jobs WHERE job_id = :job;
SELECT reason FROM dbops.job_events WHERE job_id = :job AND action IN ('pause', 'resume') ORDER BY event_id;
-- another role can not be put on while a job runs
SET client_min_messages = error;
SELECT dbops.backfill('mine', 'v = set_config(''session_authorization'', (SELECT rolname FROM pg_roles WHERE oid = 10), false)') AS job \gset
RESET client_min_messages;
RESET ROLE;
CALL dbops.run(:job);
SELECT current_user = session_user;
SET ROLE regress_dbops_bob;
-- what the functions of an assignment do at run time they do as the owner, when a superuser's session runs it, too
CREATE FUNCTION escalate(integer) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  said text := '';
  attempt text;
BEGIN
  FOREACH attempt IN ARRAY ARRAY['SELECT rolpassword FROM pg_authid LIMIT 1', 'SELECT pg_read_file(''PG_VERSION'')', 'RESET ROLE',
      'SET SESSION AUTHORIZATION DEFAULT', 'SET LOCAL ROLE NONE', 'SELECT state FROM dbops.job LIMIT 1', 'COPY (SELECT 1) TO PROGRAM ''true''',
      'ALTER ROLE regress_dbops_bob SUPERUSER', 'CREATE TEMPORARY TABLE planted (id integer)',
      'CREATE OR REPLACE FUNCTION public.escalate(integer) RETURNS text LANGUAGE sql AS ''SELECT NULL::text''',
      'PREPARE planted AS SELECT 1', 'LISTEN planted', 'DECLARE planted CURSOR WITH HOLD FOR SELECT 1'] LOOP
    BEGIN
      EXECUTE attempt;
      said := said || current_user || ' did: ' || attempt || E'\n';
      RAISE EXCEPTION 'take it back' USING ERRCODE = 'TB000';
    EXCEPTION WHEN SQLSTATE 'TB000' THEN NULL;
      WHEN OTHERS THEN NULL;
    END;
  END LOOP;
  RETURN said;
END
$$;
SET client_min_messages = error;
SELECT dbops.backfill('mine', 'v = escalate(id)') AS job \gset
RESET client_min_messages;
RESET ROLE;
CALL dbops.run(:job);
SELECT DISTINCT v FROM public.mine;
SELECT current_user = session_user, count(*) FROM pg_prepared_statements;
-- and those of its triggers, the deferred among them; they see the job's number
CREATE TABLE public.seen (who text, in_job text);
GRANT INSERT ON public.seen TO PUBLIC;
SET ROLE regress_dbops_bob;
CREATE FUNCTION note_who() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO public.seen VALUES (TG_NAME || ' as ' || current_user, current_setting('dbops.in_job'));
  RETURN NULL;
END
$$;
CREATE TRIGGER after_row AFTER UPDATE ON mine FOR EACH ROW EXECUTE FUNCTION note_who();
CREATE CONSTRAINT TRIGGER at_commit AFTER UPDATE ON mine DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note_who();
SELECT dbops.backfill('mine', 'v = id') AS job \gset
RESET ROLE;
CALL dbops.run(:job);
SELECT who, in_job = :'job', count(*) FROM public.seen GROUP BY 1, 2 ORDER BY 1;
-- a job of a role that has no business in the session's schemas: search_path is that of the session that made it
SET ROLE regress_dbops_bob;
DROP TRIGGER after_row ON mine;
DROP TRIGGER at_commit ON mine;
CREATE FUNCTION shop.shout(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ''shop''';
CREATE FUNCTION public.shout(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ''public''';
SELECT dbops.backfill('mine', 'v = shout(v)') AS job \gset
RESET ROLE;
SET search_path = shop, public;
CALL dbops.run(:job);
SELECT DISTINCT v FROM mine;
RESET search_path;

-- Row-level security: all rows, or nothing
CREATE TABLE guarded (id integer PRIMARY KEY, owner name, n integer DEFAULT 0);
INSERT INTO guarded SELECT i, CASE WHEN i % 2 = 0 THEN 'regress_dbops_alice' ELSE 'regress_dbops_bob' END FROM generate_series(1, 100) i;
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON guarded USING (owner = current_user);
ALTER TABLE guarded OWNER TO regress_dbops_alice;
GRANT SELECT, UPDATE, DELETE ON guarded TO regress_dbops_bob, regress_dbops_sees_all;
SET ROLE regress_dbops_bob;
SELECT refused_backfill('guarded', 'n = n + 1');
SELECT refused($$SELECT dbops.batch_delete('guarded', 'true')$$);
SELECT refused($$SELECT dbops.backfill_preview('guarded', 'n = n + 1')$$);
-- as the owner
SET ROLE regress_dbops_alice;
SELECT dbops.backfill('guarded', 'n = n + 1') AS job \gset
CALL dbops.run(:job);
RESET ROLE;
SELECT n, count(*) FROM guarded GROUP BY n;
-- with BYPASSRLS; by a superuser
SET ROLE regress_dbops_sees_all;
SELECT dbops.backfill('guarded', 'n = n + 1', 'n = 1') AS job \gset
CALL dbops.run(:job);
RESET ROLE;
SELECT dbops.backfill('guarded', 'n = n + 1') AS job \gset
CALL dbops.run(:job);
SELECT n, count(*) FROM guarded GROUP BY n;
-- forced on the owner
ALTER TABLE guarded FORCE ROW LEVEL SECURITY;
SET ROLE regress_dbops_alice;
SELECT refused_backfill('guarded', 'n = n + 1');
RESET ROLE;
SELECT refused_backfill('guarded', 'n = n + 1');
SELECT dbops.backfill('guarded', 'n = n + 1', run_as => 'regress_dbops_sees_all') AS job \gset
CALL dbops.run(:job);
SELECT n, count(*) FROM guarded GROUP BY n;
-- switched on after the job was made: the job fails, and has not skipped a row
ALTER TABLE guarded NO FORCE ROW LEVEL SECURITY;
ALTER TABLE guarded DISABLE ROW LEVEL SECURITY;
SET ROLE regress_dbops_bob;
SELECT dbops.backfill('guarded', 'n = n + 1') AS job \gset
RESET ROLE;
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
SET ROLE regress_dbops_bob;
CALL dbops.run(:job);
RESET ROLE;
SELECT state, last_sqlstate, last_error FROM dbops.jobs WHERE job_id = :job;
SELECT n, count(*) FROM guarded GROUP BY n;
-- on one partition
CREATE TABLE parts (id integer PRIMARY KEY, n integer) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (50);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (50) TO (1000);
ALTER TABLE parts_2 ENABLE ROW LEVEL SECURITY;
GRANT ALL ON parts, parts_1, parts_2 TO regress_dbops_bob;
SET ROLE regress_dbops_bob;
SELECT refused_backfill('parts', 'n = 1');
RESET ROLE;
-- on a table that only a subquery reads: refused as well, and not left to the first batch
CREATE TABLE looks (id integer PRIMARY KEY, n integer);
GRANT ALL ON looks TO regress_dbops_bob;
SET ROLE regress_dbops_bob;
SELECT refused_backfill('looks', 'n = (SELECT g.n FROM guarded g WHERE g.id = looks.id)');
SELECT refused_backfill('looks', 'n = 1', 'EXISTS (SELECT FROM guarded g WHERE g.id = looks.id)');
SELECT refused($$SELECT dbops.batch_delete('looks', 'EXISTS (SELECT FROM guarded g WHERE g.id = looks.id)')$$);
SELECT refused($$SELECT dbops.backfill_preview('looks', 'n = (SELECT g.n FROM guarded g WHERE g.id = looks.id)')$$);
SHOW row_security;
RESET ROLE;
DROP TABLE looks;

-- A role that is gone
CREATE ROLE regress_dbops_passing LOGIN;
CREATE TABLE left_behind (id integer PRIMARY KEY, n integer);
ALTER TABLE left_behind OWNER TO regress_dbops_passing;
INSERT INTO left_behind VALUES (1);
SET ROLE regress_dbops_passing;
SELECT dbops.backfill('left_behind', 'n = 1') AS job \gset
RESET ROLE;
ALTER TABLE left_behind OWNER TO CURRENT_USER;
DROP ROLE regress_dbops_passing;
SELECT owner, state FROM dbops.jobs WHERE job_id = :job;
CREATE ROLE regress_dbops_passing LOGIN;
SET ROLE regress_dbops_passing;
SELECT count(*) FROM dbops.jobs WHERE job_id = :job;
SELECT refused(format('SELECT dbops.cancel(%s)', :job));
RESET ROLE;
CALL dbops.run(:job);
SELECT state, last_sqlstate, last_error FROM dbops.jobs WHERE job_id = :job;
SELECT n FROM left_behind;

DROP TABLE left_behind, parts, guarded, mine, seen;
DROP FUNCTION escalate, note_who, leak, public.shout;
SET client_min_messages = warning;
DROP SCHEMA shop CASCADE;
DROP OWNED BY regress_dbops_alice, regress_dbops_bob, regress_dbops_team, regress_dbops_chief, regress_dbops_watcher, regress_dbops_sees_all;
DROP ROLE regress_dbops_alice, regress_dbops_bob, regress_dbops_team, regress_dbops_chief, regress_dbops_watcher, regress_dbops_sees_all,
  regress_dbops_passing;
