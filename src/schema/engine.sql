-- The job engine: what is to be done, what was done, and the functions that steer it.

CREATE TABLE dbops.job (
  job_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind text NOT NULL CHECK (kind IN ('backfill', 'batch_delete', 'retain', 'schedule', 'backup', 'create_index', 'add_unique', 'drop_index',
    'reindex', 'set_not_null', 'add_check', 'add_foreign_key', 'validate_constraint', 'attach_partition', 'clean_up')),
  target_oid oid NOT NULL,
  target_name text NOT NULL,               -- as it was when the job was made; for people
  owner_oid oid NOT NULL,                  -- runs as this role; by OID, so that a new role of the same name inherits nothing
  owner_name text NOT NULL,
  created_by text NOT NULL,
  label text,
  state text NOT NULL DEFAULT 'queued'
    CHECK (state IN ('queued', 'running', 'paused', 'succeeded', 'failed', 'cancelled')),
  priority integer NOT NULL DEFAULT 0,
  parallel integer NOT NULL DEFAULT 1 CHECK (parallel BETWEEN 1 AND 64),
  spec jsonb NOT NULL,                     -- the arguments, resolved: see docs/backfill.md
  rows_total bigint,                       -- planner's estimate when the job was made
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  started_at timestamptz,
  finished_at timestamptz,
  not_before timestamptz,                  -- back-off after a loss, or the next opening of its time windows
  not_before_reason text,                  -- NULL: the back-off
  losses integer NOT NULL DEFAULT 0,       -- runs lost in a row without progress
  last_sqlstate text,
  last_error text,
  last_hint text
) WITH (fillfactor = 70);
-- What the dispatcher looks for; finished jobs are not in it.
CREATE INDEX job_open_idx ON dbops.job (priority DESC, job_id) WHERE state IN ('queued', 'running');
CREATE INDEX job_finished_idx ON dbops.job (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX job_due_idx ON dbops.job (not_before) WHERE not_before IS NOT NULL;

-- A slice is the part of a job that one worker does at a time; `parallel` says how many there are.
-- The row is rewritten by every batch, in the batch's own transaction.
CREATE TABLE dbops.job_slice (
  job_id bigint NOT NULL REFERENCES dbops.job ON DELETE CASCADE,
  slice integer NOT NULL,
  done boolean NOT NULL DEFAULT false,
  launches integer NOT NULL DEFAULT 0,     -- workers sent since one last reported for duty
  not_before timestamptz,                  -- no other worker is sent before that
  work jsonb NOT NULL DEFAULT '[]',        -- stack of units claimed and not finished
  rows_done bigint NOT NULL DEFAULT 0,
  rows_kept bigint NOT NULL DEFAULT 0,     -- changed, and the condition still holds
  rows_dependent bigint NOT NULL DEFAULT 0,-- of other tables, that went or changed because they referred to deleted ones
  first_key text,                          -- where rows were deleted
  last_key text,
  first_place bigint,                      -- of those among the ranges of the walk; NULL: of a later pass
  last_place bigint,
  batches bigint NOT NULL DEFAULT 0,
  hindrances bigint NOT NULL DEFAULT 0,    -- lock time-outs, deadlocks: batches tried again
  lock_waits bigint NOT NULL DEFAULT 0,    -- batches that made somebody wait
  wal_bytes bigint NOT NULL DEFAULT 0,
  busy_ms double precision NOT NULL DEFAULT 0,
  batch_rows bigint NOT NULL DEFAULT 0,    -- size that the controller has reached
  rate double precision NOT NULL DEFAULT 0,-- rows a second, smoothed, waiting included
  rate_at timestamptz,
  batch_times bigint[] NOT NULL DEFAULT '{}',
  waiting_for text,
  waiting_since timestamptz,
  updated_at timestamptz,
  PRIMARY KEY (job_id, slice)
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

CREATE INDEX job_slice_due_idx ON dbops.job_slice (not_before) WHERE not_before IS NOT NULL;

-- Where the next chunk starts: one row a job, locked for the moment of a claim.
CREATE TABLE dbops.job_cursor (
  job_id bigint PRIMARY KEY REFERENCES dbops.job ON DELETE CASCADE,
  pass integer NOT NULL DEFAULT 0,         -- 0 the main pass, then sweeps
  strategy text NOT NULL,
  position jsonb NOT NULL DEFAULT '{}',
  pass_rows bigint NOT NULL DEFAULT 0,     -- rows changed by the sweep under way
  rows_vacuumed bigint NOT NULL DEFAULT 0  -- rows_done of all slices when the job last ran VACUUM
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- Units that could not be locked, to be done before the job may end.
CREATE TABLE dbops.job_revisit (
  revisit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  job_id bigint NOT NULL REFERENCES dbops.job ON DELETE CASCADE,
  unit jsonb NOT NULL,
  attempts integer NOT NULL DEFAULT 1,
  not_before timestamptz NOT NULL,
  since timestamptz NOT NULL DEFAULT clock_timestamp(),
  reason text
);
CREATE INDEX ON dbops.job_revisit (job_id, not_before);

CREATE TABLE dbops.job_run (
  run_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  job_id bigint NOT NULL REFERENCES dbops.job ON DELETE CASCADE,
  slice integer NOT NULL,
  mode text NOT NULL CHECK (mode IN ('worker', 'session')),
  pid integer NOT NULL,
  started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  finished_at timestamptz,
  outcome text NOT NULL DEFAULT 'running'
    CHECK (outcome IN ('running', 'finished', 'stopped', 'failed', 'lost')),
  rows_before bigint NOT NULL DEFAULT 0,   -- of the slice, when the run began
  batches_before bigint NOT NULL DEFAULT 0,
  rows_done bigint NOT NULL DEFAULT 0,
  sqlstate text,
  message text,
  scheduled_at timestamptz,                -- of a schedule: the slot; which attempt at it; what the command said
  attempt integer,
  output text,
  notices text
);
CREATE INDEX ON dbops.job_run (job_id, run_id);
CREATE INDEX ON dbops.job_run (job_id) WHERE outcome = 'running';

CREATE TABLE dbops.job_event (
  event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  job_id bigint NOT NULL REFERENCES dbops.job ON DELETE CASCADE,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  actor text NOT NULL,                     -- the role, or 'dbops' for the engine itself
  action text NOT NULL,
  from_state text,
  to_state text NOT NULL,
  reason text
);
CREATE INDEX ON dbops.job_event (job_id, event_id);

CREATE TABLE dbops.job_error (
  error_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  job_id bigint NOT NULL REFERENCES dbops.job ON DELETE CASCADE,
  relation_oid oid NOT NULL,
  relation text NOT NULL,
  row_key text NOT NULL,                   -- key columns as a row, or the ctid where the table has no key
  unit jsonb NOT NULL,
  sqlstate text NOT NULL,
  message text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- By hashes: a key may be as long as an index entry can be, and longer than that as text. (Not md5(), which fails in FIPS mode.)
CREATE UNIQUE INDEX job_error_row_idx ON dbops.job_error
  (job_id, relation_oid, hashtextextended(row_key, 0), hashtextextended(row_key, 1));

COMMENT ON TABLE dbops.job IS 'What is to be done: one row a job. Read it through dbops.jobs; change it through the functions.';
COMMENT ON TABLE dbops.job_slice IS 'The part of a job that one worker does at a time: units claimed, rows done, times. Rewritten by every batch.';
COMMENT ON TABLE dbops.job_cursor IS 'How far a job has claimed its tables.';
COMMENT ON TABLE dbops.job_revisit IS 'Ranges that could not be locked, to be done before the job may end.';
COMMENT ON TABLE dbops.job_run IS 'Each time that a process worked on a slice. Read it through dbops.job_runs.';
COMMENT ON TABLE dbops.job_event IS 'Every change of state. Read it through dbops.job_events.';
COMMENT ON TABLE dbops.job_error IS 'Rows set aside. Read it through dbops.job_errors.';

REVOKE ALL ON ALL TABLES IN SCHEMA dbops FROM PUBLIC;

-- Who may see a job: superusers, and members of the owner's role, of dbops_monitor and of dbops_admin. Each of these roles
-- may have been dropped or renamed.
CREATE FUNCTION dbops.may_see(owner oid) RETURNS boolean
  LANGUAGE sql STABLE
  RETURN EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = current_user AND r.rolsuper
                 OR r.rolname IN ('dbops_monitor', 'dbops_admin') AND pg_catalog.pg_has_role(r.oid, 'MEMBER'))
      OR EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.oid = owner AND pg_catalog.pg_has_role(r.oid, 'MEMBER'));
COMMENT ON FUNCTION dbops.may_see(oid) IS
  'Whether the current user may see the jobs of that role: superusers, its members, dbops_monitor and dbops_admin may.';

CREATE FUNCTION dbops.histogram_percentile(counts bigint[], quantile double precision) RETURNS interval
  AS 'MODULE_PATHNAME', 'dbops_histogram_percentile' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION dbops.histogram_percentile(bigint[], double precision) IS
  'Percentile of the batch times kept in dbops.job_slice.batch_times; relative error at most 9.5 %.';

CREATE FUNCTION dbops.has_launcher() RETURNS boolean
  AS 'MODULE_PATHNAME', 'dbops_has_launcher' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION dbops.has_launcher() IS
  'Whether the launcher runs: dbops is in shared_preload_libraries and the server is not in recovery.';

CREATE FUNCTION dbops.lacks_processes() RETURNS boolean
  AS 'MODULE_PATHNAME', 'dbops_lacks_processes' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION dbops.lacks_processes() IS
  'Whether jobs wait because the server had no free background worker process (max_worker_processes) when last asked for one.';

-- The next four take no lock on a user's table: who looks at dbops.progress never waits behind an ALTER TABLE.
CREATE FUNCTION dbops.relation_bytes(relation oid) RETURNS bigint
  AS 'MODULE_PATHNAME', 'dbops_relation_bytes' LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION dbops.relation_bytes(oid) IS
  'Bytes of one relation''s files in all their forks, without a lock on it; 0 when there are none.';

CREATE FUNCTION dbops.family(target oid) RETURNS SETOF oid
  LANGUAGE sql STABLE STRICT
  BEGIN ATOMIC
    WITH RECURSIVE family(relid) AS (
      SELECT target
      UNION
      SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN family f ON i.inhparent = f.relid)
    SELECT relid FROM family;
  END;
COMMENT ON FUNCTION dbops.family(oid) IS 'A table and all its partitions and inheritance children, of every level.';

CREATE FUNCTION dbops.family_size(target oid) RETURNS bigint
  LANGUAGE sql STABLE STRICT
  BEGIN ATOMIC
    WITH heap AS (
      SELECT c.oid FROM dbops.family(target) f JOIN pg_catalog.pg_class c ON c.oid = f
      UNION ALL
      SELECT c.reltoastrelid FROM dbops.family(target) f JOIN pg_catalog.pg_class c ON c.oid = f WHERE c.reltoastrelid <> 0),
    part AS (
      SELECT oid FROM heap
      UNION ALL
      SELECT i.indexrelid FROM heap JOIN pg_catalog.pg_index i ON i.indrelid = heap.oid)
    SELECT coalesce(sum(dbops.relation_bytes(oid)), 0)::bigint FROM part;
  END;
COMMENT ON FUNCTION dbops.family_size(oid) IS
  'Bytes of a table with its indexes and TOAST, partitions and inheritance children included. Takes no lock on them.';

CREATE FUNCTION dbops.family_dead_tuples(target oid) RETURNS bigint
  LANGUAGE sql STABLE STRICT
  BEGIN ATOMIC
    SELECT coalesce(sum(pg_catalog.pg_stat_get_dead_tuples(f)), 0)::bigint FROM dbops.family(target) f;
  END;
COMMENT ON FUNCTION dbops.family_dead_tuples(oid) IS
  'The server''s count of dead rows in a table, partitions and inheritance children included.';

CREATE FUNCTION dbops.describe_process(pid integer) RETURNS text
  LANGUAGE sql STABLE STRICT
  RETURN (SELECT pg_catalog.format('process %s (%s%s%s)', pid,
            coalesce('role ' || a.usename, a.backend_type, 'gone'),
            coalesce(', application ' || nullif(a.application_name, ''), ''),
            coalesce(', transaction since ' || pg_catalog.to_char(a.xact_start, 'YYYY-MM-DD HH24:MI:SS'), ''))
          FROM (SELECT 1) one LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = describe_process.pid);
COMMENT ON FUNCTION dbops.describe_process(integer) IS
  'A process of the server for people: role, application, since when its transaction runs (where the caller may see that).';

-- Of a statement that reports nothing by itself while it runs.
CREATE FUNCTION dbops.statement_progress(pid integer, OUT phase text, OUT fraction double precision, OUT counters jsonb, OUT waits_for text)
  LANGUAGE sql VOLATILE STRICT
  BEGIN ATOMIC
    SELECT p.phase,
           -- How the time of a concurrent build is spread, about: two reads of the table, a sort, the writing of the tree.
           CASE WHEN p.phase LIKE 'building index: scanning table%' THEN 0.5 * p.blocks_done / nullif(p.blocks_total, 0)
                WHEN p.phase LIKE 'building index: sorting%' THEN 0.5
                WHEN p.phase LIKE 'building index: loading%' THEN 0.6 + 0.15 * p.tuples_done / nullif(p.tuples_total, 0)
                WHEN p.phase LIKE 'building index%' THEN 0.5 * p.blocks_done / nullif(p.blocks_total, 0)
                WHEN p.phase LIKE '%before validation' THEN 0.75
                WHEN p.phase LIKE 'index validation: scanning index%' THEN 0.75 + 0.05 * p.blocks_done / nullif(p.blocks_total, 0)
                WHEN p.phase LIKE 'index validation: sorting%' THEN 0.8
                WHEN p.phase LIKE 'index validation%' THEN 0.8 + 0.19 * p.blocks_done / nullif(p.blocks_total, 0)
                WHEN p.phase LIKE 'waiting for old snapshots%' OR p.phase LIKE '%before marking dead' OR p.phase LIKE '%before dropping' THEN 0.99
           END,
           CASE WHEN p.phase IS NOT NULL THEN pg_catalog.jsonb_build_object('command', p.command, 'phase', p.phase,
             'blocks_done', p.blocks_done, 'blocks_total', p.blocks_total, 'tuples_done', p.tuples_done, 'tuples_total', p.tuples_total,
             'lockers_done', p.lockers_done, 'lockers_total', p.lockers_total) END,
           (SELECT 'the end of ' || pg_catalog.string_agg(CASE b WHEN 0 THEN 'a prepared transaction' ELSE dbops.describe_process(b) END, '; ')
            FROM pg_catalog.unnest(CASE WHEN a.wait_event_type = 'Lock' THEN pg_catalog.pg_blocking_pids(statement_progress.pid) END) b)
    FROM (SELECT 1) one
    LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = statement_progress.pid
    LEFT JOIN pg_catalog.pg_stat_progress_create_index p ON p.pid = statement_progress.pid;
  END;
COMMENT ON FUNCTION dbops.statement_progress(integer) IS
  'What the statement of a process is at, by the server''s own progress view for index builds: phase, done as a fraction (NULL: not known), its counters, and whose end it waits for.';

CREATE VIEW dbops.jobs WITH (security_barrier) AS
  SELECT j.job_id, j.kind,
         coalesce((SELECT c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_class c WHERE c.oid = j.target_oid),
                  j.target_name) AS target,
         coalesce((SELECT r.rolname::text FROM pg_catalog.pg_roles r WHERE r.oid = j.owner_oid), j.owner_name) AS owner,
         j.state,
         coalesce(s.rows_done, 0) AS rows_done, j.rows_total,
         (SELECT count(*) FROM dbops.job_error e WHERE e.job_id = j.job_id) AS rows_failed,
         j.created_at, j.started_at, j.finished_at, j.last_error, j.last_sqlstate, j.last_hint,
         j.label, j.priority, j.parallel, c.strategy, c.pass, j.created_by, j.not_before, j.spec
  FROM dbops.job j
  LEFT JOIN dbops.job_cursor c USING (job_id)
  LEFT JOIN LATERAL (SELECT sum(rows_done)::bigint AS rows_done FROM dbops.job_slice s WHERE s.job_id = j.job_id) s ON true
  WHERE dbops.may_see(j.owner_oid);
COMMENT ON VIEW dbops.jobs IS
  'One row a job: what it is, whose, its state (queued, running, paused, succeeded, failed, cancelled), rows done and the last error.';

CREATE VIEW dbops.job_runs WITH (security_barrier) AS
  SELECT r.run_id, r.job_id, r.slice, r.mode, r.pid, r.started_at, r.finished_at,
         coalesce(r.finished_at, clock_timestamp()) - r.started_at AS duration,
         r.outcome,
         CASE WHEN r.outcome = 'running' THEN s.rows_done - r.rows_before ELSE r.rows_done END AS rows_done,
         r.sqlstate, r.message, r.scheduled_at, r.attempt, r.output, r.notices
  FROM dbops.job_run r JOIN dbops.job j USING (job_id)
  LEFT JOIN dbops.job_slice s ON s.job_id = r.job_id AND s.slice = r.slice
  WHERE dbops.may_see(j.owner_oid);
COMMENT ON VIEW dbops.job_runs IS
  'One row for each time that a worker or session worked on a slice of a job: when, how long, how it ended (running, finished, stopped, failed, lost), rows done.';

CREATE VIEW dbops.job_events WITH (security_barrier) AS
  SELECT e.event_id, e.job_id, e.at, e.actor, e.action, e.from_state, e.to_state, e.reason
  FROM dbops.job_event e JOIN dbops.job j USING (job_id) WHERE dbops.may_see(j.owner_oid);
COMMENT ON VIEW dbops.job_events IS 'Every change of state of every job: when, by whom, from what to what, why.';

CREATE VIEW dbops.job_errors WITH (security_barrier) AS
  SELECT e.error_id, e.job_id, e.relation, e.row_key, e.sqlstate, e.message, e.at
  FROM dbops.job_error e JOIN dbops.job j USING (job_id) WHERE dbops.may_see(j.owner_oid);
COMMENT ON VIEW dbops.job_errors IS
  'Rows that a job set aside because they raised an error by themselves: key, SQLSTATE, message. dbops.retry(job) does them again.';

CREATE VIEW dbops.progress WITH (security_barrier) AS
  SELECT j.job_id, j.state, s.rows_done, greatest(j.rows_total, s.rows_done) AS rows_total,
         CASE WHEN j.state = 'succeeded' THEN 100.0
              WHEN j.rows_total IS NOT NULL
              THEN round(least(100.0 * (s.rows_done + coalesce(a.fraction, 0)) / nullif(greatest(j.rows_total, s.rows_done), 0), 99.9)::numeric, 1)
         END AS percent,
         round(s.rate::numeric, 1) AS rows_per_second,
         CASE WHEN j.state = 'running' AND s.rate > 1e-6
              THEN make_interval(secs => least(greatest(j.rows_total - s.rows_done, 0) / s.rate, 1e9)) END AS eta,
         CASE j.state
           WHEN 'queued' THEN CASE
             WHEN j.kind = 'schedule' THEN 'its time, see dbops.schedules'
             WHEN j.not_before > clock_timestamp() THEN
               coalesce(j.not_before_reason || ', opens in '
                          || ceil(extract(epoch FROM j.not_before - clock_timestamp()) / 60) || ' min',
                        'back-off until ' || to_char(j.not_before, 'HH24:MI:SS'))
             WHEN NOT dbops.has_launcher() THEN 'CALL dbops.run(' || j.job_id || '): no launcher, dbops is not in shared_preload_libraries'
             WHEN dbops.lacks_processes() THEN 'a free process: max_worker_processes is too low'
             ELSE coalesce(j.last_hint, 'a free worker') END
           WHEN 'running' THEN coalesce(s.waiting_for, a.waits_for)
           WHEN 'paused' THEN CASE WHEN j.spec ? 'asks' THEN j.last_hint ELSE 'SELECT dbops.resume(' || j.job_id || ')' END
         END AS waiting_for,
         CASE j.state
           WHEN 'queued' THEN (SELECT max(e.at) FROM dbops.job_event e WHERE e.job_id = j.job_id AND e.to_state = 'queued')
           WHEN 'running' THEN s.waiting_since
           WHEN 'paused' THEN (SELECT max(e.at) FROM dbops.job_event e WHERE e.job_id = j.job_id AND e.action = 'pause')
         END AS waiting_since,
         c.strategy, c.pass, coalesce(c.position, a.counters) AS current_range, s.batches, s.batch_rows,
         dbops.histogram_percentile(s.batch_times, 0.5) AS batch_time_p50,
         dbops.histogram_percentile(s.batch_times, 0.99) AS batch_time_p99,
         s.hindrances, s.lock_waits, s.wal_bytes,
         (SELECT count(*) FROM dbops.job_revisit v WHERE v.job_id = j.job_id) AS ranges_to_revisit,
         s.busy_ms / 1000.0 AS busy_seconds, s.workers,
         dbops.family_dead_tuples(j.target_oid) AS dead_tuples,
         CASE WHEN j.spec ? 'bytes_before' AND EXISTS (SELECT FROM pg_catalog.pg_class k WHERE k.oid = j.target_oid)
              THEN dbops.family_size(j.target_oid) - (j.spec ->> 'bytes_before')::bigint END AS bytes_grown,
         CASE WHEN j.kind = 'backup' THEN 'bytes' ELSE 'rows' END AS unit
  FROM dbops.job j
  LEFT JOIN dbops.job_cursor c USING (job_id)
  LEFT JOIN LATERAL (
    SELECT sum(rows_done)::bigint AS rows_done,
           -- Smoothed over some 15 s, as of the last batch (work.cpp): it fades from when another batch would have been due.
           sum(rate * exp(-least(50, greatest(0, (extract(epoch FROM clock_timestamp() - rate_at)::float8
                                                  - 1 - 2 * busy_ms / 1000 / greatest(batches, 1)) / 15)))) AS rate,
           sum(batches)::bigint AS batches,
           max(batch_rows) AS batch_rows, sum(hindrances)::bigint AS hindrances, sum(lock_waits)::bigint AS lock_waits,
           sum(wal_bytes)::bigint AS wal_bytes, sum(busy_ms) AS busy_ms, count(*) FILTER (WHERE NOT done) AS workers,
           (SELECT array_agg(total ORDER BY i) FROM (
              SELECT u.i, sum(u.n)::bigint AS total FROM dbops.job_slice t, unnest(t.batch_times) WITH ORDINALITY u(n, i)
              WHERE t.job_id = j.job_id GROUP BY u.i) h) AS batch_times,
           min(waiting_for) AS waiting_for, min(waiting_since) AS waiting_since
    FROM dbops.job_slice s WHERE s.job_id = j.job_id) s ON true
  -- Online DDL: one long statement.
  LEFT JOIN LATERAL (
    SELECT p.* FROM dbops.job_run r, dbops.statement_progress(r.pid) p
    WHERE r.job_id = j.job_id AND r.outcome = 'running' AND j.state = 'running'
      AND j.kind NOT IN ('backfill', 'batch_delete', 'retain', 'schedule', 'backup') LIMIT 1) a ON true
  WHERE dbops.may_see(j.owner_oid);

COMMENT ON VIEW dbops.progress IS
  'One row a job: rows done of how many (unit: or bytes, of a backup), rate, ETA, what it waits for and since when, batch times (p50, p99), hindrances, growth of the table.';

GRANT SELECT ON dbops.jobs, dbops.job_runs, dbops.job_events, dbops.job_errors, dbops.progress TO PUBLIC;

CREATE FUNCTION dbops.pause(job bigint, reason text DEFAULT NULL) RETURNS text
  AS 'MODULE_PATHNAME', 'dbops_pause' LANGUAGE C;
COMMENT ON FUNCTION dbops.pause(bigint, text) IS
  'Pause a queued or running job; a statement under way is cancelled and its batch rolled back. Takes effect at COMMIT, within a second. Returns the state. Needs membership in the owner''s role or in dbops_admin.';

CREATE FUNCTION dbops.resume(job bigint, reason text DEFAULT NULL) RETURNS text
  AS 'MODULE_PATHNAME', 'dbops_resume' LANGUAGE C;
COMMENT ON FUNCTION dbops.resume(bigint, text) IS
  'Queue a paused job again; it continues from its last batch. Returns the state.';

CREATE FUNCTION dbops.cancel(job bigint, reason text DEFAULT NULL) RETURNS text
  AS 'MODULE_PATHNAME', 'dbops_cancel' LANGUAGE C;
COMMENT ON FUNCTION dbops.cancel(bigint, text) IS
  'Cancel a job for good; batches that were committed stay. Takes effect at COMMIT, within a second. dbops.retry() can bring it back. Returns the state.';

CREATE FUNCTION dbops.retry(job bigint, reason text DEFAULT NULL) RETURNS text
  AS 'MODULE_PATHNAME', 'dbops_retry' LANGUAGE C;
COMMENT ON FUNCTION dbops.retry(bigint, text) IS
  'Queue a failed or cancelled job again, from its last batch; rows set aside in dbops.job_errors are tried again, also of a job that succeeded without them. Returns the state.';

CREATE PROCEDURE dbops.run(job bigint)
  AS 'MODULE_PATHNAME', 'dbops_run' LANGUAGE C;
COMMENT ON PROCEDURE dbops.run(bigint) IS
  'Run a queued job in this session, with a commit after every batch: needs no preload and no free worker. Not inside a transaction block. Raises the job''s error when it fails.';

CREATE PROCEDURE dbops.wait(job bigint, timeout interval DEFAULT NULL)
  AS 'MODULE_PATHNAME', 'dbops_wait' LANGUAGE C;
COMMENT ON PROCEDURE dbops.wait(bigint, interval) IS
  'Wait until a job has succeeded, holding no snapshot. Raises the job''s own error when it failed, 57014 when it was cancelled or the time is up. Not inside a transaction block.';
