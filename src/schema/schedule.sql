-- Schedules: commands that run at their time.

CREATE FUNCTION dbops.next_runs(schedule text, n integer DEFAULT 5, timezone text DEFAULT NULL, from_time timestamptz DEFAULT NULL)
  RETURNS SETOF timestamptz AS 'MODULE_PATHNAME', 'dbops_next_runs' LANGUAGE C STABLE ROWS 5;
COMMENT ON FUNCTION dbops.next_runs(text, integer, text, timestamptz) IS
  'The next n times that a schedule means, after from_time (now), in that time zone (the session''s). An interval counts from from_time. Raises 22023, with the position and what was expected, for what is no schedule or can never fire.';

-- One row a schedule, beside its row of dbops.job, which says what it runs (spec), as whom, and whether it is active. Rewritten
-- twice by every run.
CREATE TABLE dbops.schedule (
  job_id bigint PRIMARY KEY REFERENCES dbops.job ON DELETE CASCADE,
  name text NOT NULL UNIQUE,
  owner_oid oid NOT NULL,                  -- as in dbops.job
  priority integer NOT NULL,               -- as in dbops.job
  overlap text NOT NULL CHECK (overlap IN ('skip', 'queue', 'cancel')), -- as in spec
  after_job bigint REFERENCES dbops.schedule,
  anchor timestamptz NOT NULL,             -- intervals are counted from here
  accounted timestamptz NOT NULL,          -- slots up to here are dealt with
  next_slot timestamptz,                   -- the one after that
  due_at timestamptz,                      -- when it may be started next; NULL: no time is known
  pending_slot timestamptz,                -- a run that is owed besides the slots
  pending_at timestamptz,
  pending_why text CHECK (pending_why IN ('now', 'retry', 'after', 'queued')),
  attempt integer NOT NULL DEFAULT 1,      -- of the run under way, or of the one that is pending
  running boolean NOT NULL DEFAULT false,  -- not cleared by a crash: that is how a loss is found
  run_id bigint,                           -- of the run under way
  run_why text,
  slot timestamptz,                        -- of the run under way
  began_at timestamptz,
  stop_for_next boolean NOT NULL DEFAULT false,
  launches integer NOT NULL DEFAULT 0,     -- workers sent since one last reported for duty
  not_before timestamptz,                  -- when the next one may be sent
  runs bigint NOT NULL DEFAULT 0,
  failures bigint NOT NULL DEFAULT 0,
  missed bigint NOT NULL DEFAULT 0,
  skipped bigint NOT NULL DEFAULT 0,
  last_slot timestamptz,
  last_began timestamptz,
  last_ended timestamptz,
  last_outcome text,
  last_error text
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
CREATE INDEX schedule_due_idx ON dbops.schedule (owner_oid, priority DESC, due_at, job_id);
CREATE INDEX schedule_after_idx ON dbops.schedule (after_job) WHERE after_job IS NOT NULL;
REVOKE ALL ON dbops.schedule FROM PUBLIC;
COMMENT ON TABLE dbops.schedule IS 'When a scheduled command runs next, and how it went. Read it through dbops.schedules; change it through the functions.';

-- No slot of a schedule is started twice, whoever believes to be the launcher.
CREATE UNIQUE INDEX job_run_slot_idx ON dbops.job_run (job_id, scheduled_at, attempt) WHERE scheduled_at IS NOT NULL;

CREATE FUNCTION dbops.schedule(
  name text, schedule text, command text,
  timezone text DEFAULT NULL,
  overlap text DEFAULT 'skip',
  missed text DEFAULT 'once',
  max_missed integer DEFAULT 10,
  retries integer DEFAULT 0,
  retry_delay interval DEFAULT '10 s',
  time_limit interval DEFAULT NULL,
  windows text DEFAULT NULL,
  priority integer DEFAULT 0,
  after text DEFAULT NULL,
  settings jsonb DEFAULT NULL,
  jitter interval DEFAULT NULL,
  max_output integer DEFAULT 65536,
  run_as name DEFAULT NULL) RETURNS bigint
  AS 'MODULE_PATHNAME', 'dbops_schedule' LANGUAGE C;
COMMENT ON FUNCTION dbops.schedule(text, text, text, text, text, text, integer, integer, interval, interval, text, integer, text, jsonb, interval, integer, name) IS
  'Run a command at its time, as the current user, in this database: dbops.schedule(''nightly'', ''30 3 * * *'', ''VACUUM t''). Returns the job id. Raises 22023 for a bad schedule or option, 42601 for a bad command, 42710 when the name is taken. See dbops.schedules, dbops.job_runs, docs/schedules.md.';

CREATE FUNCTION dbops.alter_schedule(
  name text, schedule text DEFAULT NULL, command text DEFAULT NULL,
  timezone text DEFAULT NULL,
  overlap text DEFAULT NULL,
  missed text DEFAULT NULL,
  max_missed integer DEFAULT NULL,
  retries integer DEFAULT NULL,
  retry_delay interval DEFAULT NULL,
  time_limit interval DEFAULT NULL,
  windows text DEFAULT NULL,
  priority integer DEFAULT NULL,
  after text DEFAULT NULL,
  settings jsonb DEFAULT NULL,
  jitter interval DEFAULT NULL,
  max_output integer DEFAULT NULL,
  new_name text DEFAULT NULL) RETURNS bigint
  AS 'MODULE_PATHNAME', 'dbops_alter_schedule' LANGUAGE C;
COMMENT ON FUNCTION dbops.alter_schedule(text, text, text, text, text, text, integer, integer, interval, interval, text, integer, text, jsonb, interval, integer, text) IS
  'Change what is given of a schedule; NULL leaves the rest as it is, '''' takes windows or after away. A run under way goes on as it was. Command and settings need membership in the owner''s role. Returns the job id.';

CREATE FUNCTION dbops.unschedule(name text) RETURNS bigint
  AS 'MODULE_PATHNAME', 'dbops_unschedule' LANGUAGE C;
COMMENT ON FUNCTION dbops.unschedule(text) IS
  'Remove a schedule, and cancel its run if one is under way. Its history stays, as that of the cancelled job whose id is returned.';

CREATE FUNCTION dbops.run_now(name text) RETURNS bigint
  AS 'MODULE_PATHNAME', 'dbops_run_now' LANGUAGE C;
COMMENT ON FUNCTION dbops.run_now(text) IS
  'Run a schedule once as soon as possible, besides its times; after the run that is under way, if there is one. Returns the job id.';

CREATE VIEW dbops.schedules WITH (security_barrier) AS
  SELECT s.job_id, s.name, nullif(j.spec ->> 'schedule', '') AS schedule, j.spec ->> 'timezone' AS timezone, j.spec ->> 'command' AS command,
         coalesce((SELECT r.rolname::text FROM pg_catalog.pg_roles r WHERE r.oid = j.owner_oid), j.owner_name) AS owner,
         CASE WHEN j.state = 'queued' AND s.running THEN 'running' ELSE j.state END AS state,
         CASE WHEN j.state <> 'queued' THEN NULL
              WHEN NOT s.running THEN s.due_at
              -- due_at is that of the run under way, or the moment at which a window opens for the next one
              WHEN s.pending_at IS NOT NULL OR s.next_slot IS NOT NULL THEN greatest(coalesce(s.pending_at, s.next_slot), s.due_at) END AS next_run,
         CASE WHEN s.running THEN s.began_at ELSE s.last_began END AS last_run,
         CASE WHEN s.running THEN 'running' ELSE s.last_outcome END AS last_result,
         s.last_error, s.last_ended - s.last_began AS last_duration,
         s.runs, s.failures, s.missed AS missed_runs, s.skipped AS skipped_runs,
         CASE WHEN s.attempt > 1 THEN s.attempt - 1 ELSE 0 END AS retries_made,
         (SELECT a.name FROM dbops.schedule a WHERE a.job_id = s.after_job) AS after,
         s.priority, s.overlap, j.spec ->> 'missed' AS missed, (j.spec ->> 'max_missed')::integer AS max_missed,
         (j.spec ->> 'retries')::integer AS retries,
         make_interval(secs => (j.spec ->> 'retry_delay')::float8) AS retry_delay,
         make_interval(secs => nullif((j.spec ->> 'time_limit')::float8, 0)) AS time_limit,
         make_interval(secs => nullif((j.spec ->> 'jitter')::float8, 0)) AS jitter,
         nullif(j.spec ->> 'windows', '') AS windows, 
         (SELECT coalesce(jsonb_object_agg(e ->> 0, e ->> 1), '{}') FROM jsonb_array_elements(j.spec -> 'settings') e) AS settings, (j.spec ->> 'max_output')::integer AS max_output,
         j.created_at, j.created_by
  FROM dbops.schedule s JOIN dbops.job j USING (job_id) WHERE dbops.may_see(j.owner_oid);
COMMENT ON VIEW dbops.schedules IS
  'One row a schedule: what it runs, when, as whom; its state, next and last run, last result, and how many runs were missed or skipped.';
GRANT SELECT ON dbops.schedules TO PUBLIC;

-- Newer versions of pg_cron show their settings to superusers alone; which zone its schedules are meant in is no secret.
CREATE FUNCTION dbops.cron_timezone() RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  RETURN coalesce(nullif(current_setting('cron.timezone', true), ''), 'GMT');
COMMENT ON FUNCTION dbops.cron_timezone() IS
  'The time zone that schedules of pg_cron are meant in, for dbops.adopt_pg_cron(): cron.timezone, which newer versions of pg_cron show to superusers alone.';

CREATE FUNCTION dbops.adopt_pg_cron(dry_run boolean DEFAULT false,
  OUT jobid bigint, OUT name text, OUT schedule text, OUT adopted boolean, OUT job_id bigint, OUT remarks text) RETURNS SETOF record
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  entry record;
  message text;
  hint text;
  fields text[];
  otherwise text;
  zone text := dbops.cron_timezone();
BEGIN
  IF dry_run IS NULL THEN
    RAISE EXCEPTION 'dry_run must not be null' USING ERRCODE = 'null_value_not_allowed';
  END IF;
  IF to_regclass('cron.job') IS NULL OR NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron') THEN
    RAISE EXCEPTION 'extension "pg_cron" is not installed in this database'
      USING ERRCODE = 'undefined_object', HINT = 'Call it in the database that cron.database_name names.';
  END IF;
  FOR entry IN EXECUTE 'SELECT jobid, to_jsonb(j) ->> ''jobname'' AS jobname, schedule, command, database, username, active,'
                       ' nodename FROM cron.job j ORDER BY jobid' LOOP
    jobid := entry.jobid;
    name := coalesce(entry.jobname, 'cron job ' || entry.jobid);
    schedule := regexp_replace(btrim(entry.schedule, E' \t\r\n'), '^([0-9]+) +seconds?$', 'every \1 seconds', 'i');
    -- pg_cron reads five fields and ignores the rest, of which a sixth one would make seconds here.
    fields := regexp_match(schedule, '^([^@[:space:]]\S*(?:\s+\S+){4})\s+(\S.*)$');
    schedule := coalesce(fields[1], schedule);
    otherwise := CASE WHEN fields IS NOT NULL THEN format('pg_cron does not read what follows the fifth field: "%s" is left out', fields[2])
                      WHEN schedule IN ('@yearly', '@annually') THEN format('pg_cron never runs %s, here it runs on 1 January', schedule) END;
    adopted := false;
    job_id := NULL;
    remarks := NULL;
    IF entry.database <> current_database() THEN
      remarks := format('runs in database %I: make it there with dbops.schedule()', entry.database);
    ELSIF entry.nodename NOT IN ('localhost', '127.0.0.1', '::1', '') AND entry.nodename NOT LIKE '/%' THEN
      remarks := format('runs on another server, %s', entry.nodename);
    ELSE
      BEGIN
        -- As pg_cron has it: one more run after one that takes long, and none for the time that the server was down.
        job_id := dbops.schedule(name, schedule, entry.command, timezone => zone, overlap => 'queue', missed => 'skip',
                                 run_as => entry.username::name);
        IF NOT entry.active THEN
          PERFORM dbops.pause(job_id, 'was not active in pg_cron');
          remarks := 'was not active: dbops.resume() starts it';
        END IF;
        IF dry_run THEN
          RAISE EXCEPTION USING ERRCODE = 'DBOPS';
        END IF;
        IF entry.active THEN
          EXECUTE 'SELECT cron.alter_job($1, active := false)' USING entry.jobid;
        END IF;
        adopted := true;
        remarks := nullif(concat_ws('; ', remarks, otherwise), '');
      EXCEPTION
        WHEN SQLSTATE 'DBOPS' THEN
          job_id := NULL;
          remarks := concat_ws('; ', 'can be adopted', remarks, otherwise);
        WHEN OTHERS THEN
          GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
          job_id := NULL;
          remarks := message || CASE WHEN hint <> '' THEN ' (' || hint || ')' ELSE '' END;
      END;
    END IF;
    RETURN NEXT;
  END LOOP;
END
$$;
COMMENT ON FUNCTION dbops.adopt_pg_cron(boolean) IS
  'Make a schedule of each entry of cron.job that the current user sees, as the role of the entry, and deactivate the entry. One row for each, which says what could not be taken over and why. dry_run says it and changes nothing.';
