-- The extension itself: everything says what it is, nothing is open that need not be; it goes and comes back.
\set ECHO none
\i sql/include/setup.sql
\set ECHO all

-- Every object of the extension that a person uses has a comment: functions, procedures, views, tables, the schema
SELECT pg_describe_object(d.classid, d.objid, 0) FROM pg_depend d
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'dbops')
  AND d.classid IN ('pg_proc'::regclass, 'pg_class'::regclass, 'pg_namespace'::regclass)
  AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = d.objid AND d.classid = 'pg_class'::regclass AND c.relkind NOT IN ('r', 'v', 'm', 'p'))
  AND obj_description(d.objid, d.classid::regclass::name) IS NULL
ORDER BY 1;
SELECT count(*) > 20 FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
  AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'dbops');

-- Everything of it is in its schema, and the schema belongs to it
SELECT DISTINCT pronamespace::regnamespace FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
WHERE d.deptype = 'e' AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'dbops');
SELECT refused('DROP TABLE dbops.job');

-- What PUBLIC may do: look at the views, call the functions; no table, no sequence
SELECT table_name, string_agg(privilege_type, ', ') FROM information_schema.role_table_grants
WHERE table_schema = 'dbops' AND grantee = 'PUBLIC' GROUP BY 1 ORDER BY 1;
SELECT oid::regclass FROM pg_class c WHERE relnamespace = 'dbops'::regnamespace
  AND CASE WHEN relkind = 'S' THEN has_sequence_privilege('public', oid, 'USAGE, SELECT, UPDATE') END ORDER BY 1;
SELECT has_schema_privilege('public', 'dbops', 'USAGE'), has_schema_privilege('public', 'dbops', 'CREATE');
-- nothing runs with its owner's rights in a caller's search_path, no SECURITY DEFINER without a search_path of its own
SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'dbops'::regnamespace AND prosecdef
  AND NOT coalesce(array_to_string(proconfig, ',') LIKE '%search_path=%', false);
SELECT c.relname FROM pg_class c WHERE relnamespace = 'dbops'::regnamespace AND relkind = 'v'
  AND NOT coalesce('security_barrier=true' = ANY (reloptions), false) ORDER BY 1;

-- The roles
SELECT rolname, rolcanlogin, rolsuper, rolbypassrls, rolinherit FROM pg_roles WHERE rolname IN ('dbops_admin', 'dbops_monitor') ORDER BY 1;

-- Settings: described, with their units and bounds
SELECT name, setting, unit, context, vartype, min_val, max_val, short_desc <> '' AS described FROM pg_settings
WHERE name LIKE 'dbops.%' AND name NOT IN ('dbops.max_workers') ORDER BY name;
SELECT refused('SET dbops.no_such_setting = 1');
SELECT refused('SET dbops.max_workers = 1');

-- The names that are kept
SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'dbops.jobs'::regclass AND attnum > 0;
SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'dbops.progress'::regclass AND attnum > 0;
SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'dbops.job_runs'::regclass AND attnum > 0;
SELECT oid::regprocedure, pg_get_function_result(oid) FROM pg_proc WHERE pronamespace = 'dbops'::regnamespace
  AND proname IN ('pause', 'resume', 'cancel', 'retry', 'run', 'wait') ORDER BY 1::text;

-- Dropped with jobs in it, and made again: no job is left, and the numbers begin anew. The empty schema and the roles stay
CREATE TABLE t (id integer PRIMARY KEY, n integer);
INSERT INTO t VALUES (1);
SELECT dbops.backfill('t', 'n = 1');
CREATE VIEW mine AS SELECT * FROM dbops.jobs;
SELECT refused('DROP EXTENSION dbops');
DROP VIEW mine;
DROP EXTENSION dbops;
SELECT count(*) FROM pg_depend WHERE refclassid = 'pg_namespace'::regclass AND refobjid = (SELECT oid FROM pg_namespace WHERE nspname = 'dbops');
SELECT count(*) FROM pg_roles WHERE rolname LIKE 'dbops\_%';
CREATE EXTENSION dbops;
SELECT count(*) FROM dbops.jobs;
SELECT dbops.backfill('t', 'n = 2') AS job \gset
SELECT :job;
CALL dbops.run(:job);
SELECT n FROM t;
SELECT refused('CREATE EXTENSION dbops');
SELECT refused('ALTER EXTENSION dbops SET SCHEMA public');

-- In another schema than its own, or in a schema that somebody else has prepared
DROP EXTENSION dbops;
SELECT refused('CREATE EXTENSION dbops SCHEMA public');
CREATE ROLE regress_dbops_squatter;
DROP SCHEMA dbops;
CREATE SCHEMA dbops AUTHORIZATION regress_dbops_squatter;
SELECT refused('CREATE EXTENSION dbops');
DROP SCHEMA dbops;
DROP ROLE regress_dbops_squatter;
-- by a role that is no superuser
CREATE ROLE regress_dbops_nobody;
GRANT CREATE ON DATABASE dbops_regress TO regress_dbops_nobody;
SET ROLE regress_dbops_nobody;
SELECT refused('CREATE EXTENSION dbops');
RESET ROLE;
REVOKE CREATE ON DATABASE dbops_regress FROM regress_dbops_nobody;
DROP ROLE regress_dbops_nobody;
CREATE EXTENSION dbops;
DROP TABLE t;
