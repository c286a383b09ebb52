-- Migrations: what has been applied, and the functions that apply. docs/migrations.md explains each.

CREATE TABLE dbops.migration_project (
  project_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL UNIQUE,
  owner_oid oid NOT NULL,                  -- by OID, so that a new role of the same name inherits nothing
  owner_name text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- One row a migration that took effect, in its own transaction.
CREATE TABLE dbops.migration (
  project_id integer NOT NULL REFERENCES dbops.migration_project ON DELETE CASCADE,
  installed_rank integer NOT NULL,
  version text,
  version_order numeric[],                 -- compares as Flyway compares versions
  description text NOT NULL,
  type text NOT NULL,
  script text NOT NULL,
  checksum integer,
  installed_by text NOT NULL,
  installed_on timestamptz NOT NULL DEFAULT clock_timestamp(),
  execution_time integer NOT NULL,         -- ms
  success boolean NOT NULL,                -- false: some of its statements are executed
  live boolean NOT NULL,                   -- not undone, deleted or replaced
  statements integer,
  messages text[],
  session_role text,
  application text,
  client text,
  server_pid integer,
  imported_from text,
  PRIMARY KEY (project_id, installed_rank)
);
CREATE UNIQUE INDEX migration_version_idx ON dbops.migration (project_id, version_order)
  WHERE live AND version_order IS NOT NULL AND type NOT IN ('BASELINE', 'SQL_BASELINE', 'DELETE', 'SCHEMA');
CREATE INDEX migration_order_idx ON dbops.migration (project_id, version_order) WHERE live AND version_order IS NOT NULL;
CREATE INDEX migration_description_idx ON dbops.migration (project_id, description) WHERE live AND version IS NULL;

-- Statements outside of transactions, and those beside them.
CREATE TABLE dbops.migration_step (
  step_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  project_id integer NOT NULL,
  installed_rank integer NOT NULL,
  position integer NOT NULL,               -- from 0
  hash text NOT NULL,
  state text NOT NULL CHECK (state IN ('running', 'done', 'failed')),
  statement text NOT NULL,
  indexes_before oid[],
  runner text,
  started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  finished_at timestamptz,
  error text,
  UNIQUE (project_id, installed_rank, position),
  FOREIGN KEY (project_id, installed_rank) REFERENCES dbops.migration ON DELETE CASCADE
);

CREATE TABLE dbops.migration_attempt (
  attempt_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  project_id integer NOT NULL REFERENCES dbops.migration_project ON DELETE CASCADE,
  version text,
  description text NOT NULL,
  type text NOT NULL,
  script text NOT NULL,
  checksum integer,
  role text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  execution_time integer NOT NULL,         -- ms
  outcome text NOT NULL,
  sqlstate text,
  error text,
  detail text,
  hint text,
  line integer,
  "column" integer,
  statement text,
  messages text[],
  session_role text,
  application text,
  client text,
  server_pid integer
);
CREATE INDEX ON dbops.migration_attempt (project_id, attempt_id);

COMMENT ON TABLE dbops.migration_project IS 'Histories of migrations: one a set of files. Read it through dbops.migration_projects.';
COMMENT ON TABLE dbops.migration IS 'Migrations that took effect. Read it through dbops.migration_history.';
COMMENT ON TABLE dbops.migration_step IS 'Statements of migrations that are executed one by one. Read it through dbops.migration_steps.';
COMMENT ON TABLE dbops.migration_attempt IS 'Attempts that failed. Read it through dbops.migration_attempts.';

REVOKE ALL ON dbops.migration_project, dbops.migration, dbops.migration_step, dbops.migration_attempt FROM PUBLIC;

CREATE VIEW dbops.migration_projects WITH (security_barrier) AS
  SELECT p.name, coalesce((SELECT r.rolname::text FROM pg_catalog.pg_roles r WHERE r.oid = p.owner_oid), p.owner_name) AS owner, p.created_at,
         (SELECT h.version FROM dbops.migration h WHERE h.project_id = p.project_id AND h.live AND h.success AND h.version_order IS NOT NULL
          ORDER BY h.version_order DESC LIMIT 1) AS current_version
  FROM dbops.migration_project p WHERE dbops.may_see(p.owner_oid);
COMMENT ON VIEW dbops.migration_projects IS 'Histories of migrations: name, owner, highest version that is applied.';

CREATE VIEW dbops.migration_history WITH (security_barrier) AS
  SELECT p.name AS project, m.installed_rank, m.version, m.description, m.type, m.script, m.checksum, m.installed_by, m.installed_on,
         m.execution_time, m.success, m.live, m.statements, m.messages, m.session_role, m.application, m.client, m.server_pid, m.imported_from
  FROM dbops.migration m JOIN dbops.migration_project p USING (project_id) WHERE dbops.may_see(p.owner_oid);
COMMENT ON VIEW dbops.migration_history IS
  'Migrations that took effect, in order: version, script, checksum, who, when, how long (ms), from where, what the server said. success is false while one is applied in part; live is false when it was undone, deleted or replaced.';

CREATE VIEW dbops.migration_steps WITH (security_barrier) AS
  SELECT p.name AS project, m.installed_rank, m.script, s.position + 1 AS statement_number, s.state, s.statement, s.started_at, s.finished_at, s.error, s.hash
  FROM dbops.migration_step s JOIN dbops.migration m USING (project_id, installed_rank) JOIN dbops.migration_project p USING (project_id)
  WHERE dbops.may_see(p.owner_oid);
COMMENT ON VIEW dbops.migration_steps IS 'Statements of migrations that cannot be one transaction: which are done, which one is running or has failed.';

CREATE VIEW dbops.migration_attempts WITH (security_barrier) AS
  SELECT p.name AS project, a.attempt_id, a.version, a.description, a.type, a.script, a.checksum, a.role, a.at, a.execution_time, a.outcome,
         a.sqlstate, a.error, a.detail, a.hint, a.line, a."column", a.statement, a.messages, a.session_role, a.application, a.client, a.server_pid
  FROM dbops.migration_attempt a JOIN dbops.migration_project p USING (project_id) WHERE dbops.may_see(p.owner_oid);
COMMENT ON VIEW dbops.migration_attempts IS
  'Attempts that did not take effect: outcome (failed, lock_timeout, cancelled), error with line and column, who, when, from where.';

GRANT SELECT ON dbops.migration_projects, dbops.migration_history, dbops.migration_steps, dbops.migration_attempts TO PUBLIC;

CREATE TYPE dbops.migration_result AS (
  outcome text,
  installed_rank integer,
  execution_time integer,
  step bigint,
  statement text,
  sqlstate text,
  error text,
  detail text,
  hint text,
  context text,
  line integer,
  "column" integer,
  messages text[]
);
COMMENT ON TYPE dbops.migration_result IS
  'How dbops.apply_migration ended: outcome (applied, already_applied, failed, lock_timeout, cancelled, locked, execute), the error with its place, what the server said.';

CREATE FUNCTION dbops.apply_migration(
  script text, sql text,
  project text DEFAULT 'default',
  checksum integer DEFAULT NULL,
  version text DEFAULT NULL,
  description text DEFAULT NULL,
  type text DEFAULT NULL,
  out_of_order boolean DEFAULT false,
  lock_timeout interval DEFAULT '2 s',
  step bigint DEFAULT NULL,
  step_sqlstate text DEFAULT NULL,
  step_error text DEFAULT NULL,
  runner text DEFAULT NULL) RETURNS dbops.migration_result
  AS 'MODULE_PATHNAME', 'dbops_apply_migration' LANGUAGE C;
COMMENT ON FUNCTION dbops.apply_migration(text, text, text, integer, text, text, text, boolean, interval, bigint, text, text, text) IS
  'Apply a migration as the current user: its statements and its record commit together, or its error is recorded and returned. script names it as a file would (V1.2__x.sql) unless version, description and type are given; checksum is that of the file, default that of sql. Outcome execute: run statement outside of a transaction, then call again with step. Raises 55000 when it must not be applied (changed, out of order), 42501 when the project is another role''s. Takes a lock of the project to the end of the transaction.';

CREATE FUNCTION dbops.baseline_migrations(
  version text, description text DEFAULT '<< dbops Baseline >>', project text DEFAULT 'default') RETURNS integer
  AS 'MODULE_PATHNAME', 'dbops_baseline_migrations' LANGUAGE C STRICT;
COMMENT ON FUNCTION dbops.baseline_migrations(text, text, text) IS
  'Say that a database has everything up to a version, before its first migration. Returns the rank of the record. The same again changes nothing; raises 55000 when there are migrations or another baseline.';

CREATE FUNCTION dbops.repair_migration(
  installed_rank integer, action text, project text DEFAULT 'default', checksum integer DEFAULT NULL, description text DEFAULT NULL) RETURNS text
  AS 'MODULE_PATHNAME', 'dbops_repair_migration' LANGUAGE C;
COMMENT ON FUNCTION dbops.repair_migration(integer, text, text, integer, text) IS
  'Mend a row of dbops.migration_history: remove_failed deletes one that is applied in part, mark_deleted says that its file is gone for good, align takes over checksum and description of its file. Returns what was done. Raises 42704 when there is no such row, 55000 when the action does not fit it.';

CREATE FUNCTION dbops.validate_migrations(files jsonb, project text DEFAULT 'default', out_of_order boolean DEFAULT false, ignore text DEFAULT '*:future')
  RETURNS TABLE (script text, version text, state text, problem text)
  AS 'MODULE_PATHNAME', 'dbops_validate_migrations' LANGUAGE C STRICT;
COMMENT ON FUNCTION dbops.validate_migrations(jsonb, text, boolean, text) IS
  'Compare files with the history: [{"script": "V1__x.sql", "checksum": 123}, ...] gives the state of each, and the problem where there is one: changed, missing, not applied, out of order, failed. ignore: patterns like those of Flyway, *:missing,repeatable:pending.';

CREATE FUNCTION dbops.adopt_migrations(tool text DEFAULT NULL, project text DEFAULT 'default', files jsonb DEFAULT '[]', history_table regclass DEFAULT NULL)
  RETURNS TABLE (script text, version text, description text, state text, note text)
  AS 'MODULE_PATHNAME', 'dbops_adopt_migrations' LANGUAGE C;
COMMENT ON FUNCTION dbops.adopt_migrations(text, text, jsonb, regclass) IS
  'Take over the history that flyway, liquibase, alembic or sqitch has written into an empty project: under that tool''s own lock, its tables stay as they are. Files as in dbops.validate_migrations, with raw_checksum (of all bytes) for histories of Flyway 3, are compared with the checksums that were applied; scripts of sqitch as script and sha1. Returns each entry: verified, adopted (nothing to compare), no file, differs, skipped. Raises 55P03 when that tool is at work, 55000 when the project is not empty or a migration has failed.';

-- What the schema looked like when the migrations of a project were last applied.
CREATE TABLE dbops.migration_schema (
  project_id integer NOT NULL REFERENCES dbops.migration_project ON DELETE CASCADE,
  kind text NOT NULL,
  identity text NOT NULL,
  definition text NOT NULL,
  PRIMARY KEY (project_id, kind, identity)
);
COMMENT ON TABLE dbops.migration_schema IS 'The schema as the migrations have left it, object by object. Read it through dbops.migration_schemas.';
REVOKE ALL ON dbops.migration_schema FROM PUBLIC;

CREATE VIEW dbops.migration_schemas WITH (security_barrier) AS
  SELECT p.name AS project, s.kind, s.identity, s.definition
  FROM dbops.migration_schema s JOIN dbops.migration_project p USING (project_id) WHERE dbops.may_see(p.owner_oid);
COMMENT ON VIEW dbops.migration_schemas IS 'The schema as the migrations of a project have left it: one row an object.';
GRANT SELECT ON dbops.migration_schemas TO PUBLIC;

CREATE FUNCTION dbops.schema_definition() RETURNS TABLE (kind text, identity text, definition text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $$
    WITH ours AS (
      SELECT n.oid, n.nspname, n.nspowner, n.nspacl FROM pg_namespace n
      WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'dbops')
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_namespace'::regclass AND d.objid = n.oid AND d.deptype = 'e')),
    of_extensions AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'),
    relation AS (
      SELECT c.*, format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c JOIN ours n ON n.oid = c.relnamespace
      WHERE NOT EXISTS (SELECT FROM of_extensions e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid))
    SELECT 'schema', quote_ident(nspname), concat_ws(' ', 'owner', nspowner::regrole, nspacl) FROM ours
    UNION ALL
    SELECT CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' WHEN 'f' THEN 'foreign table' WHEN 'c' THEN 'type' ELSE 'table' END, name,
           concat_ws(' ', 'owner', relowner::regrole, relacl, CASE relpersistence WHEN 'u' THEN 'unlogged' END, CASE WHEN relrowsecurity THEN 'row security' END,
             CASE WHEN relforcerowsecurity THEN 'forced' END, reloptions, CASE WHEN relkind = 'p' THEN 'partition by ' || pg_get_partkeydef(oid) END,
             (SELECT 'of ' || string_agg(inhparent::regclass::text, ', ' ORDER BY inhseqno) FROM pg_inherits WHERE inhrelid = oid), pg_get_expr(relpartbound, oid),
             CASE WHEN relkind IN ('v', 'm') THEN pg_get_viewdef(oid) END,
             CASE relreplident WHEN 'd' THEN NULL ELSE 'replica identity ' || relreplident::text END,
             (SELECT concat_ws(' ', format_type(seqtypid, NULL), 'start', seqstart, 'increment', seqincrement, seqmin, seqmax, 'cache', seqcache, CASE WHEN seqcycle THEN 'cycle' END)
              FROM pg_sequence WHERE seqrelid = oid))
    FROM relation WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
    UNION ALL
    SELECT 'column', r.name || '.' || quote_ident(a.attname),
           concat_ws(' ', format_type(a.atttypid, a.atttypmod), CASE WHEN a.attcollation <> 0 AND a.attcollation <> t.typcollation THEN 'collate ' || a.attcollation::regcollation END,
             CASE WHEN a.attnotnull THEN 'not null' END, CASE WHEN a.attgenerated <> '' THEN 'generated' WHEN d.oid IS NOT NULL THEN 'default' END, pg_get_expr(d.adbin, d.adrelid),
             CASE a.attidentity WHEN 'a' THEN 'identity always' WHEN 'd' THEN 'identity by default' END, a.attacl,
             -- without what the server notes there for itself (pg_attver)
             (SELECT array_agg(o ORDER BY o) FROM unnest(a.attoptions) o WHERE o !~ '^pg_'))
    FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum WHERE r.relkind IN ('r', 'p', 'f', 'c')
    UNION ALL
    SELECT 'index', r.name, concat_ws(' ', pg_get_indexdef(r.oid), CASE WHEN NOT i.indisvalid THEN 'INVALID' END, CASE WHEN i.indisreplident THEN 'replica identity' END)
    FROM relation r JOIN pg_index i ON i.indexrelid = r.oid
    UNION ALL
    SELECT 'constraint', coalesce(r.name, k.contypid::regtype::text) || '.' || quote_ident(k.conname), pg_get_constraintdef(k.oid)
    FROM pg_constraint k LEFT JOIN relation r ON r.oid = k.conrelid WHERE k.contype <> 't' AND (r.oid IS NOT NULL OR k.contypid <> 0 AND k.connamespace IN (SELECT oid FROM ours))
    UNION ALL
    SELECT 'trigger', r.name || '.' || quote_ident(g.tgname), concat_ws(' ', pg_get_triggerdef(g.oid), 'enabled', g.tgenabled)
    FROM relation r JOIN pg_trigger g ON g.tgrelid = r.oid AND NOT g.tgisinternal
    UNION ALL
    SELECT 'policy', r.name || '.' || quote_ident(p.polname), concat_ws(' ', p.polcmd, p.polpermissive, (SELECT array_agg(coalesce(m.rolname, 'public') ORDER BY 1) FROM unnest(p.polroles) o LEFT JOIN pg_roles m ON m.oid = o),
           pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid))
    FROM relation r JOIN pg_policy p ON p.polrelid = r.oid
    UNION ALL
    SELECT 'rule', r.name || '.' || quote_ident(w.rulename), pg_get_ruledef(w.oid) FROM relation r JOIN pg_rewrite w ON w.ev_class = r.oid AND w.rulename <> '_RETURN'
    UNION ALL
    SELECT 'statistics', format('%I.%I', n.nspname, s.stxname), pg_get_statisticsobjdef(s.oid) FROM pg_statistic_ext s JOIN ours n ON n.oid = s.stxnamespace
    UNION ALL
    SELECT CASE f.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END, f.oid::regprocedure::text,
           concat_ws(' ', 'owner', f.proowner::regrole, f.proacl, CASE WHEN f.prokind <> 'a' THEN pg_get_functiondef(f.oid) ELSE pg_get_function_result(f.oid) END)
    FROM pg_proc f JOIN ours n ON n.oid = f.pronamespace WHERE NOT EXISTS (SELECT FROM of_extensions e WHERE e.classid = 'pg_proc'::regclass AND e.objid = f.oid)
    UNION ALL
    SELECT CASE t.typtype WHEN 'd' THEN 'domain' ELSE 'type' END, t.oid::regtype::text,
           concat_ws(' ', t.typacl, CASE WHEN t.typtype = 'd' THEN concat_ws(' ', format_type(t.typbasetype, t.typtypmod), CASE WHEN t.typnotnull THEN 'not null' END, t.typdefault) END,
             (SELECT array_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid),
             (SELECT concat_ws(' ', 'range of', format_type(g.rngsubtype, NULL)) FROM pg_range g WHERE g.rngtypid = t.oid))
    FROM pg_type t JOIN ours n ON n.oid = t.typnamespace WHERE t.typtype IN ('d', 'e', 'r') AND NOT EXISTS (SELECT FROM of_extensions e WHERE e.classid = 'pg_type'::regclass AND e.objid = t.oid)
    UNION ALL
    SELECT 'extension', quote_ident(extname), 'version ' || extversion FROM pg_extension WHERE extname <> 'dbops'
  $$;
COMMENT ON FUNCTION dbops.schema_definition() IS
  'The schema of this database by its catalog, one row an object: tables, columns, indexes, constraints, views, functions, triggers, policies, types, privileges, ... without those of extensions.';

CREATE FUNCTION dbops.diff(project text DEFAULT 'default') RETURNS TABLE (change text, kind text, identity text, recorded text, live text)
  LANGUAGE sql STABLE
  BEGIN ATOMIC
    SELECT CASE WHEN r.kind IS NULL THEN 'added' WHEN l.kind IS NULL THEN 'removed' ELSE 'changed' END,
           coalesce(l.kind, r.kind), coalesce(l.identity, r.identity), r.definition, l.definition
    FROM (SELECT s.kind, s.identity, s.definition FROM dbops.migration_schemas s WHERE s.project = diff.project) r
    FULL JOIN dbops.schema_definition() l ON l.kind = r.kind AND l.identity = r.identity
    WHERE r.definition IS DISTINCT FROM l.definition AND EXISTS (SELECT FROM dbops.migration_schemas s WHERE s.project = diff.project)
    ORDER BY 2, 3;
  END;
COMMENT ON FUNCTION dbops.diff(text) IS
  'What is different in the schema from what the migrations of a project have left: added, removed or changed outside of them, with both definitions. Nothing when it was never recorded (dbops.record_schema).';

CREATE FUNCTION dbops.record_schema(project text DEFAULT 'default', drift jsonb DEFAULT '[]') RETURNS bigint
  AS 'MODULE_PATHNAME', 'dbops_record_schema' LANGUAGE C STRICT;
COMMENT ON FUNCTION dbops.record_schema(text, jsonb) IS
  'Record the schema as what the migrations of a project have left; dbops migrate does it after it has applied some. drift: rows of dbops.diff from before they were applied; what is still as it was then stays different. Returns how many objects. Needs membership in the project''s role.';
