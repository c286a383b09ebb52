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
  indexes_before oid[],                    -- what it takes away, or the indexes of the table it builds one on
  runner text,
  started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  finished_at timestamptz,
  error text,
  messages text[],
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
  SELECT p.name AS project, m.installed_rank, m.script, s.position + 1 AS statement_number, s.state, s.statement, s.started_at, s.finished_at, s.error, s.hash,
         round(extract(epoch FROM s.finished_at - s.started_at) * 1000)::integer AS execution_time, s.messages
  FROM dbops.migration_step s JOIN dbops.migration m USING (project_id, installed_rank) JOIN dbops.migration_project p USING (project_id)
  WHERE dbops.may_see(p.owner_oid);
COMMENT ON VIEW dbops.migration_steps IS 'Statements of migrations that cannot be one transaction: which are done, which one is running (with finished_at: it is executed, and a callback behind it is not) or has failed, how long it took (ms; of statements that were one transaction: all of them), what the server said to those outside of transactions.';

CREATE VIEW dbops.migration_attempts WITH (security_barrier) AS
  SELECT p.name AS project, a.attempt_id, a.version, a.description, a.type, a.script, a.checksum, a.role, a.at, a.execution_time, a.outcome,
         a.sqlstate, a.error, a.detail, a.hint, a.line, a."column", a.statement, a.messages, a.session_role, a.application, a.client, a.server_pid
  FROM dbops.migration_attempt a JOIN dbops.migration_project p USING (project_id) WHERE dbops.may_see(p.owner_oid);
COMMENT ON VIEW dbops.migration_attempts IS
  'Attempts that did not take effect: outcome (failed, lock_timeout, held_up, blocking, cancelled), error with line and column, who, when, from where.';

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
  messages text[],
  lock_timeout text                        -- of execute
);
COMMENT ON TYPE dbops.migration_result IS
  'How dbops.apply_migration ended: outcome (applied, already_applied, failed, lock_timeout, held_up, blocking, cancelled, locked, execute), the error with its place, what the server said. lock_timeout: that under which statement has to be executed; NULL: that of the session will do, as it shuts nobody out of a table.';

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
  runner text DEFAULT NULL,
  callbacks jsonb DEFAULT NULL,
  if_held_up text DEFAULT 'try',
  note text DEFAULT NULL,
  step_messages text[] DEFAULT NULL) RETURNS dbops.migration_result
  AS 'MODULE_PATHNAME', 'dbops_apply_migration' LANGUAGE C;
COMMENT ON FUNCTION dbops.apply_migration(text, text, text, integer, text, text, text, boolean, interval, bigint, text, text, text, jsonb, text, text, text[]) IS
  'Apply a migration as the current user: its statements and its record commit together, or its error is recorded and returned. script names it as a file would (V1.2__x.sql) unless version, description and type are given; checksum is that of the file, default that of sql. callbacks are executed within its transaction: [{"event": "beforeEachMigrate", "script": "...", "sql": "..."}, ...]. Outcome execute: run statement outside of a transaction, then call again with step. if_held_up: what to do when transactions older than lock_timeout hold what the statements will lock, as far as their texts tell: try all the same, report (outcome held_up, nothing is done) or fail; detail names them. note is kept among the messages. Raises 55000 when it must not be applied (changed, out of order), 42501 when the project is another role''s. Takes a lock of the project to the end of the transaction.';

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

CREATE FUNCTION dbops.set_migration_owner(project text, owner regrole) RETURNS void
  AS 'MODULE_PATHNAME', 'dbops_set_migration_owner' LANGUAGE C STRICT;
COMMENT ON FUNCTION dbops.set_migration_owner(text, regrole) IS
  'Give a history of migrations to another role. Needs membership in the role that has it and in the one that gets it, or in dbops_admin. Raises 42704 when there is no such project, 55P03 while another session is migrating it.';

CREATE FUNCTION dbops.validate_migrations(files jsonb, project text DEFAULT 'default', out_of_order boolean DEFAULT false, ignore text DEFAULT '*:future')
  RETURNS TABLE (script text, version text, state text, problem text)
  AS 'MODULE_PATHNAME', 'dbops_validate_migrations' LANGUAGE C STRICT;
COMMENT ON FUNCTION dbops.validate_migrations(jsonb, text, boolean, text) IS
  'Compare files with the history: [{"script": "V1__x.sql", "checksum": 123}, ...] gives the state of each, and the problem where there is one: changed, missing, not applied, out of order, failed. ignore: patterns like those of Flyway, *:missing,repeatable:pending.';

CREATE FUNCTION dbops.adopt_migrations(tool text DEFAULT NULL, project text DEFAULT 'default', files jsonb DEFAULT '[]', history_table regclass DEFAULT NULL)
  RETURNS TABLE (script text, version text, description text, state text, note text)
  AS 'MODULE_PATHNAME', 'dbops_adopt_migrations' LANGUAGE C;
COMMENT ON FUNCTION dbops.adopt_migrations(text, text, jsonb, regclass) IS
  'Take over the history that flyway, liquibase, alembic or sqitch has written into an empty project: under that tool''s own lock, its tables stay as they are. Files as in dbops.validate_migrations, with raw_checksum (of all bytes) for histories of Flyway 3, are compared with the checksums that were applied; scripts of sqitch as script and sha1; changesets of Liquibase as script, changeset (id::author), text (without spaces and line ends) and certain (no comments in it). Returns each entry: verified, adopted (nothing to compare), no file, differs, skipped. Raises 55P03 when that tool is at work, 55000 when the project is not empty or a migration has failed.';
