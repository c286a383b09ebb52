-- What deletes by rules, and what must not be deleted.

-- pg_dump writes holds and rules with the database, those of tables that were dropped left out: hence regclass and regrole,
-- which it writes as names.
CREATE TABLE dbops.legal_hold (
  hold_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  target regclass NOT NULL,
  target_name text NOT NULL,               -- as it was when the hold was placed; for people
  condition text,                          -- NULL: all rows
  settings jsonb NOT NULL,                 -- search_path and formats that the condition is read with
  reason text NOT NULL,
  placed_by text NOT NULL,
  placed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  released_by text,                        -- holds are released, never removed
  released_at timestamptz,
  release_reason text
);
CREATE INDEX legal_hold_active_idx ON dbops.legal_hold (hold_id) WHERE released_at IS NULL;
REVOKE ALL ON dbops.legal_hold FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('dbops.legal_hold', 'WHERE EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = target)');
SELECT pg_catalog.pg_extension_config_dump('dbops.legal_hold_hold_id_seq', '');
COMMENT ON TABLE dbops.legal_hold IS 'Rows that nothing in dbops may delete. Read it through dbops.holds; change it through dbops.hold and dbops.release.';

CREATE VIEW dbops.holds WITH (security_barrier) AS
  SELECT h.hold_id, coalesce(c.oid::pg_catalog.regclass::text, h.target_name) AS target, h.condition, h.reason, h.placed_by, h.placed_at,
         h.released_at IS NULL AS active, h.released_by, h.released_at, h.release_reason
  FROM dbops.legal_hold h LEFT JOIN pg_catalog.pg_class c ON c.oid = h.target
  WHERE dbops.may_see(c.relowner);
COMMENT ON VIEW dbops.holds IS
  'One row a legal hold, released ones included: on which rows of which table, why, who placed and who released it. Shows those on tables of roles that one is a member of.';
GRANT SELECT ON dbops.holds TO PUBLIC;

CREATE FUNCTION dbops.hold(target regclass, condition text DEFAULT NULL, reason text DEFAULT NULL) RETURNS bigint
  AS 'MODULE_PATHNAME', 'dbops_hold' LANGUAGE C;
COMMENT ON FUNCTION dbops.hold(regclass, text, text) IS
  'Keep rows of a table from being deleted by anything in dbops, those of its partitions included: rows for which the condition is true, or all. Once it has returned, nothing that it covers is deleted. Returns the hold''s number. Needs ownership of the table or membership in dbops_admin. Raises 22004 without a reason, 22023 unless the condition is immutable and of columns and superusers'' functions alone.';

CREATE FUNCTION dbops.release(hold bigint, reason text DEFAULT NULL) RETURNS bigint
  AS 'MODULE_PATHNAME', 'dbops_release' LANGUAGE C;
COMMENT ON FUNCTION dbops.release(bigint, text) IS
  'End a legal hold; it stays in dbops.holds, with who released it and why. Returns its number.';

CREATE FUNCTION dbops.is_held(tableoid oid, "row" record) RETURNS boolean
  AS 'MODULE_PATHNAME', 'dbops_is_held' LANGUAGE C STABLE PARALLEL RESTRICTED COST 100;
COMMENT ON FUNCTION dbops.is_held(oid, record) IS
  'Whether a row is under a legal hold: SELECT * FROM t WHERE dbops.is_held(t.tableoid, t.*).';

CREATE FUNCTION dbops.hold_guard() RETURNS trigger
  AS 'MODULE_PATHNAME', 'dbops_hold_guard' LANGUAGE C;
COMMENT ON FUNCTION dbops.hold_guard() IS
  'Trigger function, BEFORE DELETE FOR EACH ROW: raises 23001 for a row under a legal hold. dbops adds it to its own statements by itself; as a trigger of a table it keeps everybody to holds.';

CREATE FUNCTION dbops.deletion_condition(target regclass, alias text) RETURNS text
  AS 'MODULE_PATHNAME', 'dbops_deletion_condition' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION dbops.deletion_condition(regclass, text) IS
  'What the WHERE of a statement that deletes rows of a table must add to keep to legal holds: empty, or '' AND NOT ...''. Until the end of the transaction no new hold can be placed, and a held row that is deleted all the same raises 23001.';

-- Rules that say how long rows are kept. Each has a schedule, whose command is dbops.run_retention(rule).
CREATE TABLE dbops.retention_rule (
  rule_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  target regclass NOT NULL,
  column_number integer NOT NULL,          -- pg_attribute.attnum
  column_name name NOT NULL,               -- of the last run: by which a copy of the database finds the number that it has there
  target_name text NOT NULL,               -- as it was when the rule was made; for people
  owner regrole NOT NULL,                  -- runs as this role
  owner_name text NOT NULL,
  keep interval NOT NULL,
  partitions text NOT NULL CHECK (partitions IN ('drop', 'detach', 'rows')),
  max_rows bigint,                         -- that one run may delete
  max_share double precision,              -- of the table, likewise
  restore_grace interval NOT NULL,
  options jsonb NOT NULL,                  -- of its batches, resolved
  revision bigint NOT NULL DEFAULT 1,      -- raised when it says otherwise what is to be deleted, or how much
  schedule text NOT NULL,                  -- as given to dbops.retain
  timezone text NOT NULL,
  priority integer NOT NULL,
  schedule_job bigint NOT NULL DEFAULT 0,  -- that it is run by; 0: none, in a copy of the database
  last_job bigint,                         -- its newest run
  run_revision bigint,                     -- that this one goes by
  origin jsonb NOT NULL DEFAULT '{}',      -- server, timeline and clock by which it was last run; {}: never, in this database
  doubt text,                              -- why it is not run at present: a restore, a leap of the clock
  doubt_since timestamptz,                 -- its restore_grace begins
  doubt_origin jsonb,                      -- the server and clock that it began with
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  changed_by text NOT NULL,
  UNIQUE (target, column_number)
);
SELECT pg_catalog.pg_extension_config_dump('dbops.retention_rule', 'WHERE EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = target) AND EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.oid = owner)');
SELECT pg_catalog.pg_extension_config_dump('dbops.retention_rule_rule_id_seq', '');
COMMENT ON TABLE dbops.retention_rule IS 'How long the rows of a table are kept. Read it through dbops.retention_status; change it through dbops.retain and dbops.unretain.';

-- A dump has rules, and neither their jobs nor the numbers of columns.
CREATE FUNCTION dbops.settle_retention_rule() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  SELECT a.attnum INTO NEW.column_number FROM pg_attribute a
    WHERE a.attrelid = NEW.target AND a.attname = NEW.column_name AND a.attnum > 0 AND NOT a.attisdropped;
  IF NEW.column_number IS NULL THEN
    RAISE WARNING 'retention rule % of % is left out: it has no column "%"', NEW.rule_id, NEW.target, NEW.column_name
      USING HINT = 'Make it again with dbops.retain().';
    RETURN NULL;
  END IF;
  NEW.schedule_job := 0;
  NEW.last_job := NULL;
  NEW.origin := '{}';
  NEW.doubt := NULL;
  NEW.doubt_since := NULL;
  NEW.doubt_origin := NULL;
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION dbops.settle_retention_rule() IS
  'Trigger of dbops.retention_rule: a rule that comes from a dump finds its column by name, and does nothing before dbops.confirm_retention().';
CREATE TRIGGER settle BEFORE INSERT ON dbops.retention_rule FOR EACH ROW EXECUTE FUNCTION dbops.settle_retention_rule();

CREATE TABLE dbops.retention_partition (
  rule_id bigint NOT NULL,
  relation_oid oid NOT NULL,
  job_id bigint NOT NULL,                  -- the run that has looked at it last
  relation text NOT NULL,
  upper_bound text NOT NULL,
  bound text NOT NULL,                     -- FOR VALUES ...: by which it is attached again when a hold comes between
  rows bigint NOT NULL,                    -- estimate
  bytes bigint NOT NULL,
  state text NOT NULL CHECK (state IN ('detaching', 'detached', 'dropped', 'kept', 'gone')),
  detail text,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (rule_id, relation_oid)
);
CREATE INDEX ON dbops.retention_partition (job_id);
COMMENT ON TABLE dbops.retention_partition IS 'What became of partitions that had expired. Read it through dbops.deletions.';
REVOKE ALL ON dbops.retention_rule, dbops.retention_partition FROM PUBLIC;

CREATE FUNCTION dbops.retain(
  target regclass, column_name name, keep interval, schedule text,
  children text DEFAULT 'restrict',
  partitions text DEFAULT 'drop',
  max_rows bigint DEFAULT NULL,
  max_share double precision DEFAULT 0.5,
  restore_grace interval DEFAULT '1 day',
  target_batch_time interval DEFAULT '100 ms',
  max_batch_rows bigint DEFAULT 50000,
  nice_ratio double precision DEFAULT 0.05,
  max_rows_per_second double precision DEFAULT NULL,
  max_bytes_per_second double precision DEFAULT NULL,
  max_replica_lag interval DEFAULT '10 s',
  max_wal_rate bigint DEFAULT NULL,
  max_archive_backlog bigint DEFAULT 100,
  max_lock_waiters bigint DEFAULT 0,
  max_active_sessions bigint DEFAULT NULL,
  max_load double precision DEFAULT NULL,
  pause_for_autovacuum boolean DEFAULT false,
  windows text DEFAULT NULL,
  timezone text DEFAULT NULL,
  lock_timeout interval DEFAULT '200 ms',
  max_errors bigint DEFAULT 0,
  vacuum_every double precision DEFAULT 0,
  skip_triggers boolean DEFAULT false,
  run_as name DEFAULT NULL,
  priority integer DEFAULT 0,
  dry_run boolean DEFAULT false,
  OUT rule bigint, OUT action text, OUT relation text, OUT rows bigint, OUT detail text)
  RETURNS SETOF record AS 'MODULE_PATHNAME', 'dbops_retain' LANGUAGE C VOLATILE ROWS 10;
COMMENT ON FUNCTION dbops.retain(regclass, name, interval, text, text, text, bigint, double precision, interval, interval, bigint, double precision, double precision, double precision, interval, bigint, bigint, bigint, bigint, double precision, boolean, text, text, interval, bigint, double precision, boolean, name, integer, boolean) IS
  'Keep rows of a table for so long, by a column that tells a time; older ones are deleted by schedule, in batches, and expired partitions dropped. Called again for the same column, it changes the rule. Returns its number; with dry_run what would go, and changes nothing. Raises 22023 for a bad option, 42501 without the privileges, 0A000 for a circle of foreign keys. See dbops.retention_status, docs/lifecycle.md.';

CREATE FUNCTION dbops.unretain(rule bigint) RETURNS bigint
  AS 'MODULE_PATHNAME', 'dbops_unretain' LANGUAGE C;
COMMENT ON FUNCTION dbops.unretain(bigint) IS
  'Remove a retention rule with its schedule, and cancel its run if one is under way. Returns its number.';

CREATE FUNCTION dbops.confirm_retention(rule bigint) RETURNS bigint
  AS 'MODULE_PATHNAME', 'dbops_confirm_retention' LANGUAGE C;
COMMENT ON FUNCTION dbops.confirm_retention(bigint) IS
  'Let a retention rule go on that waits for somebody''s word: after a restore, a promotion or a leap of the clock; or because its run would exceed max_rows or max_share, which goes on without a limit then; or because its database was restored from a dump, where it has no schedule: that is made again. Returns its number.';

CREATE FUNCTION dbops.run_retention(rule bigint) RETURNS bigint
  AS 'MODULE_PATHNAME', 'dbops_run_retention' LANGUAGE C;
COMMENT ON FUNCTION dbops.run_retention(bigint) IS
  'What the schedule of a retention rule calls: starts a run as a job and returns its number; NULL, with a NOTICE that says why, when the rule waits or its last run is not over, and when its table or column was dropped: then rule and schedule end.';

CREATE FUNCTION dbops.retention_backlog(rule bigint, OUT cutoff timestamptz, OUT oldest timestamptz, OUT backlog_rows bigint, OUT behind interval)
  AS 'MODULE_PATHNAME', 'dbops_retention_backlog' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION dbops.retention_backlog(bigint) IS
  'How far a retention rule is behind: from when on rows are kept, the oldest row, how many have expired (the planner''s estimate), and by how much the oldest. NULLs when that cannot be found out.';

CREATE VIEW dbops.retention_status WITH (security_barrier) AS
  SELECT r.rule_id AS rule, coalesce(c.oid::pg_catalog.regclass::text, r.target_name) AS target,
         (SELECT a.attname::text FROM pg_catalog.pg_attribute a WHERE a.attrelid = r.target AND a.attnum = r.column_number) AS column_name,
         r.keep, coalesce((SELECT o.rolname::text FROM pg_catalog.pg_roles o WHERE o.oid = r.owner), r.owner_name) AS owner,
         s.name AS schedule_name, s.schedule, s.state AS schedule_state, s.next_run,
         b.oldest, b.backlog_rows, b.behind,
         CASE WHEN s.job_id IS NULL THEN 'its schedule, which is not there: SELECT dbops.confirm_retention(' || r.rule_id || ') makes it again'
              WHEN r.doubt IS NOT NULL THEN r.doubt || ': SELECT dbops.confirm_retention(' || r.rule_id || '), or until '
                || pg_catalog.to_char(r.doubt_since + r.restore_grace, 'YYYY-MM-DD HH24:MI')
              WHEN j.state = 'paused' THEN coalesce(j.last_error || ': ' || j.last_hint, 'SELECT dbops.resume(' || j.job_id || ')') END AS waiting_for,
         j.job_id AS last_job, j.created_at AS last_run, j.state AS last_state, j.finished_at - j.started_at AS last_duration,
         (SELECT pg_catalog.sum(l.rows_done)::bigint FROM dbops.job_slice l WHERE l.job_id = j.job_id) AS last_rows,
         (SELECT pg_catalog.count(*) FROM dbops.retention_partition p WHERE p.job_id = j.job_id AND p.state = 'dropped') AS last_partitions,
         coalesce(j.last_error, s.last_error) AS last_error,
         coalesce(r.options ->> 'children', 'as declared') AS children, r.partitions, r.max_rows, r.max_share, r.restore_grace,
         r.created_at, r.changed_at, r.changed_by
  FROM dbops.retention_rule r LEFT JOIN pg_catalog.pg_class c ON c.oid = r.target
  LEFT JOIN dbops.schedules s ON s.job_id = r.schedule_job LEFT JOIN dbops.job j ON j.job_id = r.last_job,
  LATERAL dbops.retention_backlog(r.rule_id) b
  WHERE dbops.may_see(r.owner);
COMMENT ON VIEW dbops.retention_status IS
  'One row a retention rule: what it keeps, its next and last run, the oldest row, its backlog in rows (an estimate) and time, and what it waits for.';

-- What dbops.purge deletes without a job: rows of tables of other owners, and tombstones.
CREATE TABLE dbops.deletion_record (
  record_id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  target_oid oid NOT NULL,
  target_name text NOT NULL,
  condition text NOT NULL,                 -- which rows; for people
  owner_oid oid NOT NULL,                  -- as whom they went
  owner_name text NOT NULL,
  actor_oid oid NOT NULL,                  -- who called
  actor_name text NOT NULL,
  pid integer NOT NULL,                    -- of the session; when it has gone, what is running here has ended
  state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'succeeded', 'failed', 'cancelled')),
  started_at timestamptz NOT NULL,
  last_at timestamptz NOT NULL DEFAULT clock_timestamp(), -- its last batch, or its end
  rows bigint NOT NULL,
  first_key text,
  last_key text,
  last_error text
);
CREATE INDEX ON dbops.deletion_record (last_at);
REVOKE ALL ON dbops.deletion_record FROM PUBLIC;
COMMENT ON TABLE dbops.deletion_record IS 'What was deleted without a job: one row a table and call of dbops.purge. Read it through dbops.deletions.';

CREATE VIEW dbops.deletions WITH (security_barrier) AS
  SELECT j.job_id, j.kind, coalesce(c.oid::pg_catalog.regclass::text, j.target_name) AS target, (j.spec ->> 'rule')::bigint AS rule,
         j.spec ->> 'condition' AS condition,
         coalesce((SELECT o.rolname::text FROM pg_catalog.pg_roles o WHERE o.oid = j.owner_oid), j.owner_name) AS owner, j.created_by,
         j.state, j.started_at, j.finished_at, coalesce(j.finished_at, clock_timestamp()) - j.started_at AS duration,
         s.rows, s.dependent_rows, s.first_key, s.last_key,
         (SELECT pg_catalog.array_agg(p.relation || ' ' || p.state || coalesce(' (' || p.detail || ')', '') ORDER BY p.at)
            FROM dbops.retention_partition p WHERE p.job_id = j.job_id) AS partitions,
         (SELECT coalesce(pg_catalog.sum(p.rows), 0)::bigint FROM dbops.retention_partition p
            WHERE p.job_id = j.job_id AND p.state = 'dropped') AS partition_rows,
         j.last_error
  FROM dbops.job j LEFT JOIN pg_catalog.pg_class c ON c.oid = j.target_oid,
  LATERAL (SELECT pg_catalog.sum(l.rows_done)::bigint AS rows, pg_catalog.sum(l.rows_dependent)::bigint AS dependent_rows,
             (pg_catalog.array_agg(l.first_key ORDER BY l.first_place) FILTER (WHERE l.first_key IS NOT NULL))[1] AS first_key,
             (pg_catalog.array_agg(l.last_key ORDER BY l.last_place DESC NULLS LAST) FILTER (WHERE l.last_key IS NOT NULL))[1] AS last_key FROM dbops.job_slice l WHERE l.job_id = j.job_id) s
  WHERE j.spec ->> 'erase' = 'true' AND dbops.may_see(j.owner_oid)
  UNION ALL
  SELECT NULL, 'purge', coalesce(c.oid::pg_catalog.regclass::text, r.target_name), NULL, r.condition,
         coalesce((SELECT o.rolname::text FROM pg_catalog.pg_roles o WHERE o.oid = r.owner_oid), r.owner_name), r.actor_name,
         s.state, r.started_at, CASE WHEN s.state <> 'running' THEN r.last_at END,
         CASE WHEN s.state = 'running' THEN clock_timestamp() ELSE r.last_at END - r.started_at,
         r.rows, 0, CASE WHEN dbops.may_see(r.owner_oid) THEN r.first_key END, CASE WHEN dbops.may_see(r.owner_oid) THEN r.last_key END, NULL, 0, r.last_error
  FROM dbops.deletion_record r LEFT JOIN pg_catalog.pg_class c ON c.oid = r.target_oid,
  -- A session that began later has but the same process id. Of another role's nobody may see when it began.
  LATERAL (SELECT CASE WHEN r.state = 'running' AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_get_activity(r.pid) a JOIN pg_catalog.pg_database d ON d.oid = a.datid
                              WHERE d.datname = pg_catalog.current_database() AND coalesce(a.backend_start <= r.last_at, true))
                       THEN 'cancelled' ELSE r.state END AS state) s
  WHERE dbops.may_see(r.owner_oid) OR dbops.may_see(r.actor_oid);
COMMENT ON VIEW dbops.deletions IS
  'One row for each job that has deleted rows, and for each table from which a purge has deleted rows without one: by which rule or condition, as whom and for whom, how many, where (first_key, last_key), which partitions, and how long it took.';
GRANT SELECT ON dbops.retention_status, dbops.deletions TO PUBLIC;
