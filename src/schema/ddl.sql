-- Online DDL: changes of a schema as jobs that do not stop the application. docs/online_ddl.md explains each.

-- One row a step of a job. What a step makes is written down before it begins, so that it can be taken back.
CREATE TABLE dbops.ddl_step (
  step_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  job_id bigint NOT NULL REFERENCES dbops.job ON DELETE CASCADE,
  statement text NOT NULL,                 -- several in one transaction: one a line
  lock text NOT NULL,                      -- the strongest that it takes
  state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'failed')),
  attempts integer NOT NULL DEFAULT 1,
  started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  finished_at timestamptz,
  error text,
  makes text NOT NULL CHECK (makes IN ('nothing', 'index', 'constraint', 'reindex', 'drop')),
  relation_oid oid,                        -- the table; of drop the index
  name text,                               -- of what it makes; of reindex the index
  object_oid oid,                          -- the constraint; of reindex the old index
  indexes_before oid[]
);
CREATE INDEX ON dbops.ddl_step (job_id, step_id);
COMMENT ON TABLE dbops.ddl_step IS 'What jobs of online DDL have done, step by step. Read it through dbops.ddl_steps.';
REVOKE ALL ON dbops.ddl_step FROM PUBLIC;

CREATE VIEW dbops.ddl_steps WITH (security_barrier) AS
  SELECT s.job_id, s.step_id, s.statement, s.lock, s.state, s.attempts, s.started_at, s.finished_at,
         coalesce(s.finished_at, clock_timestamp()) - s.started_at AS duration, s.error
  FROM dbops.ddl_step s JOIN dbops.job j USING (job_id) WHERE dbops.may_see(j.owner_oid);
COMMENT ON VIEW dbops.ddl_steps IS
  'One row a step of an online DDL job: the statement, the strongest lock that it takes, state (running, done, failed), attempts, times, the last error.';
GRANT SELECT ON dbops.ddl_steps TO PUBLIC;

CREATE VIEW dbops.invalid_indexes WITH (security_barrier) AS
  SELECT i.indexrelid::regclass AS index, i.indrelid::regclass AS "table", i.indisready AS maintained,
         dbops.relation_bytes(i.indexrelid) AS bytes,
         (SELECT min(p.pid) FROM pg_catalog.pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid) AS built_by,
         pg_catalog.format('SELECT dbops.drop_index(%L)', i.indexrelid::regclass) AS remedy
  FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid AND c.relkind = 'i'
  WHERE NOT i.indisvalid;
COMMENT ON VIEW dbops.invalid_indexes IS
  'INVALID indexes of this database: what a CREATE INDEX or REINDEX CONCURRENTLY that failed has left. No query uses them; maintained ones cost every write. built_by: the process that is at it now.';
GRANT SELECT ON dbops.invalid_indexes TO PUBLIC;

CREATE FUNCTION dbops.create_index(
  target regclass,
  columns text,
  name name DEFAULT NULL,
  is_unique boolean DEFAULT false,
  method name DEFAULT 'btree',
  include text DEFAULT NULL,
  condition text DEFAULT NULL,
  options text DEFAULT NULL,
  nulls_not_distinct boolean DEFAULT false,
  tablespace name DEFAULT NULL,
  lock_timeout interval DEFAULT '2 s',
  give_up_after interval DEFAULT '1 h',
  windows text DEFAULT NULL,
  timezone text DEFAULT NULL,
  run_as name DEFAULT NULL,
  label text DEFAULT NULL,
  priority integer DEFAULT 0) RETURNS bigint
  AS 'MODULE_PATHNAME', 'dbops_create_index' LANGUAGE C;
COMMENT ON FUNCTION dbops.create_index(regclass, text, name, boolean, name, text, text, text, boolean, name, interval, interval, text, text, name, text, integer) IS
  'Build an index without blocking reads or writes, by a job: CREATE INDEX CONCURRENTLY outside of any transaction of the caller''s. columns, include, options and condition are what stands between parentheses in CREATE INDEX. A partitioned table gets one for each partition, which are joined at the end. An INVALID index of that name and definition is removed and built anew. SHARE UPDATE EXCLUSIVE. Needs ownership of the table. Returns the job.';

CREATE FUNCTION dbops.add_unique(
  target regclass,
  columns text,
  name name DEFAULT NULL,
  primary_key boolean DEFAULT false,
  include text DEFAULT NULL,
  nulls_not_distinct boolean DEFAULT false,
  deferral text DEFAULT NULL,
  tablespace name DEFAULT NULL,
  lock_timeout interval DEFAULT '2 s',
  give_up_after interval DEFAULT '1 h',
  windows text DEFAULT NULL,
  timezone text DEFAULT NULL,
  run_as name DEFAULT NULL,
  label text DEFAULT NULL,
  priority integer DEFAULT 0) RETURNS bigint
  AS 'MODULE_PATHNAME', 'dbops_add_unique' LANGUAGE C;
COMMENT ON FUNCTION dbops.add_unique(regclass, text, name, boolean, text, boolean, text, name, interval, interval, text, text, name, text, integer) IS
  'Add a unique constraint or a primary key by a job: a unique index CONCURRENTLY, then the constraint that uses it, ACCESS EXCLUSIVE for a moment. For a primary key the columns must be NOT NULL already. deferral: deferrable or initially deferred. Returns the job.';

CREATE FUNCTION dbops.drop_index(
  target regclass,
  lock_timeout interval DEFAULT '2 s',
  give_up_after interval DEFAULT '1 h',
  windows text DEFAULT NULL,
  timezone text DEFAULT NULL,
  run_as name DEFAULT NULL,
  label text DEFAULT NULL,
  priority integer DEFAULT 0) RETURNS bigint
  AS 'MODULE_PATHNAME', 'dbops_drop_index' LANGUAGE C;
COMMENT ON FUNCTION dbops.drop_index(regclass, interval, interval, text, text, name, text, integer) IS
  'Drop an index by a job: DROP INDEX CONCURRENTLY. SHARE UPDATE EXCLUSIVE on its table. Not one of a constraint, nor one of a partitioned table. Returns the job.';

CREATE FUNCTION dbops.reindex(
  target regclass,
  lock_timeout interval DEFAULT '2 s',
  give_up_after interval DEFAULT '1 h',
  windows text DEFAULT NULL,
  timezone text DEFAULT NULL,
  run_as name DEFAULT NULL,
  label text DEFAULT NULL,
  priority integer DEFAULT 0) RETURNS bigint
  AS 'MODULE_PATHNAME', 'dbops_reindex' LANGUAGE C;
COMMENT ON FUNCTION dbops.reindex(regclass, interval, interval, text, text, name, text, integer) IS
  'Rebuild an index, or all indexes of a table and its partitions, by a job: REINDEX INDEX CONCURRENTLY for one after the other; what an interrupted one has left is removed. Indexes of TOAST tables and of exclusion constraints are left out. Returns the job.';

CREATE FUNCTION dbops.set_not_null(
  target regclass,
  column_name name,
  lock_timeout interval DEFAULT '2 s',
  give_up_after interval DEFAULT '1 h',
  windows text DEFAULT NULL,
  timezone text DEFAULT NULL,
  run_as name DEFAULT NULL,
  label text DEFAULT NULL,
  priority integer DEFAULT 0) RETURNS bigint
  AS 'MODULE_PATHNAME', 'dbops_set_not_null' LANGUAGE C;
COMMENT ON FUNCTION dbops.set_not_null(regclass, name, interval, interval, text, text, name, text, integer) IS
  'Make a column NOT NULL by a job: CHECK (column_name IS NOT NULL) NOT VALID, VALIDATE CONSTRAINT of each partition, then SET NOT NULL, which need not read the table any more, and the CHECK is dropped. Returns the job.';

CREATE FUNCTION dbops.add_check(
  target regclass,
  condition text,
  name name DEFAULT NULL,
  lock_timeout interval DEFAULT '2 s',
  give_up_after interval DEFAULT '1 h',
  windows text DEFAULT NULL,
  timezone text DEFAULT NULL,
  run_as name DEFAULT NULL,
  label text DEFAULT NULL,
  priority integer DEFAULT 0) RETURNS bigint
  AS 'MODULE_PATHNAME', 'dbops_add_check' LANGUAGE C;
COMMENT ON FUNCTION dbops.add_check(regclass, text, name, interval, interval, text, text, name, text, integer) IS
  'Add a CHECK by a job: NOT VALID first, ACCESS EXCLUSIVE for a moment, then VALIDATE CONSTRAINT of each partition in a transaction of its own. When a row violates it, the job fails and the constraint is dropped again. Returns the job.';

CREATE FUNCTION dbops.add_foreign_key(
  target regclass,
  columns text,
  referenced regclass,
  referenced_columns text DEFAULT NULL,
  name name DEFAULT NULL,
  on_delete text DEFAULT NULL,
  on_update text DEFAULT NULL,
  deferral text DEFAULT NULL,
  lock_timeout interval DEFAULT '2 s',
  give_up_after interval DEFAULT '1 h',
  windows text DEFAULT NULL,
  timezone text DEFAULT NULL,
  run_as name DEFAULT NULL,
  label text DEFAULT NULL,
  priority integer DEFAULT 0) RETURNS bigint
  AS 'MODULE_PATHNAME', 'dbops_add_foreign_key' LANGUAGE C;
COMMENT ON FUNCTION dbops.add_foreign_key(regclass, text, regclass, text, name, text, text, text, interval, interval, text, text, name, text, integer) IS
  'Add a foreign key by a job: NOT VALID first, SHARE ROW EXCLUSIVE on both tables for a moment, then VALIDATE CONSTRAINT in a transaction of its own. The partitions of a partitioned table get theirs one by one. on_delete and on_update as in SQL: CASCADE, SET NULL (a). Returns the job.';

CREATE FUNCTION dbops.validate_constraint(
  target regclass,
  name name,
  lock_timeout interval DEFAULT '2 s',
  give_up_after interval DEFAULT '1 h',
  windows text DEFAULT NULL,
  timezone text DEFAULT NULL,
  run_as name DEFAULT NULL,
  label text DEFAULT NULL,
  priority integer DEFAULT 0) RETURNS bigint
  AS 'MODULE_PATHNAME', 'dbops_validate_constraint' LANGUAGE C;
COMMENT ON FUNCTION dbops.validate_constraint(regclass, name, interval, interval, text, text, name, text, integer) IS
  'Validate a constraint that is NOT VALID, by a job: each partition in a transaction of its own. SHARE UPDATE EXCLUSIVE. Returns the job.';

CREATE FUNCTION dbops.attach_partition(
  target regclass,
  partition regclass,
  bounds text,
  lock_timeout interval DEFAULT '2 s',
  give_up_after interval DEFAULT '1 h',
  windows text DEFAULT NULL,
  timezone text DEFAULT NULL,
  run_as name DEFAULT NULL,
  label text DEFAULT NULL,
  priority integer DEFAULT 0) RETURNS bigint
  AS 'MODULE_PATHNAME', 'dbops_attach_partition' LANGUAGE C;
COMMENT ON FUNCTION dbops.attach_partition(regclass, regclass, text, interval, interval, text, text, name, text, integer) IS
  'Attach a table to a partitioned one by a job: constraints on it and on the default partition that prove the bounds, the indexes and foreign keys that it lacks, each without blocking, then ATTACH PARTITION, which need not read anything. bounds as in SQL: FOR VALUES FROM (1) TO (10). Returns the job.';
