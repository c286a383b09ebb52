-- Backups: taking them as jobs, and what the store holds. What a backup is lies in the store; nothing here is a table.

CREATE FUNCTION dbops.backup(
  kind text DEFAULT 'incremental',
  label text DEFAULT NULL,
  annotations jsonb DEFAULT NULL,
  threads integer DEFAULT 2,
  max_bytes_per_second double precision DEFAULT NULL,
  max_replica_lag interval DEFAULT NULL,
  max_archive_backlog bigint DEFAULT NULL,
  archive_timeout interval DEFAULT '10 min',
  priority integer DEFAULT 0) RETURNS bigint
  AS 'MODULE_PATHNAME', 'dbops_backup' LANGUAGE C;
COMMENT ON FUNCTION dbops.backup(text, text, jsonb, integer, double precision, interval, bigint, interval, integer) IS
  'Back up this server into dbops.store, as a job: SELECT dbops.backup(label => ''before the upgrade''). kind: incremental stores the blocks that no earlier backup has, full all of them; either restores by itself. Returns the job id. Raises 55000 on a standby, without archiving or without a store, 55006 while another backup job is not finished, 22023 for a bad option. Superusers and dbops_admin.';

CREATE FUNCTION dbops.stored_backups(
    OUT backup text, OUT state text, OUT label text, OUT annotations jsonb, OUT base text, OUT started_at timestamptz,
    OUT finished_at timestamptz, OUT timeline bigint, OUT start_lsn pg_lsn, OUT stop_lsn pg_lsn, OUT server_version bigint,
    OUT page_checksums boolean, OUT files bigint, OUT bytes bigint, OUT new_blocks bigint, OUT new_bytes bigint,
    OUT stored_bytes bigint, OUT damaged_blocks bigint, OUT verified_at timestamptz, OUT deeply_verified_at timestamptz,
    OUT drilled_at timestamptz, OUT pinned boolean, OUT pin_reason text, OUT problem text)
  RETURNS SETOF record AS 'MODULE_PATHNAME', 'dbops_stored_backups' LANGUAGE C VOLATILE ROWS 100;
COMMENT ON FUNCTION dbops.stored_backups() IS
  'What dbops.backups shows. Asks dbops.store; the session keeps what it has read, since no backup ever changes.';

CREATE VIEW dbops.backups WITH (security_barrier) AS
  SELECT backup, state, label, annotations, base, started_at, finished_at, finished_at - started_at AS duration, timeline,
         start_lsn, stop_lsn, server_version, page_checksums, files, bytes, new_blocks, new_bytes, stored_bytes, damaged_blocks,
         verified_at, deeply_verified_at, drilled_at, pinned, pin_reason, problem
  FROM dbops.stored_backups();
COMMENT ON VIEW dbops.backups IS
  'One row a backup in dbops.store, oldest first: state (ok, damaged, corrupt pages, unfinished, unreadable, no key), when, how large, how much was new, when it was last verified and restored by a drill, whether it is pinned.';

CREATE FUNCTION dbops.stored_windows(
    OUT timeline bigint, OUT from_time timestamptz, OUT to_time timestamptz, OUT from_lsn pg_lsn, OUT to_lsn pg_lsn,
    OUT backups bigint, OUT first_backup text, OUT last_backup text, OUT gap_until pg_lsn)
  RETURNS SETOF record AS 'MODULE_PATHNAME', 'dbops_stored_windows' LANGUAGE C VOLATILE ROWS 10;
COMMENT ON FUNCTION dbops.stored_windows() IS
  'What dbops.recovery_windows shows. Lists all WAL of the timelines that have backups, 1,000 segments a request.';

CREATE VIEW dbops.recovery_windows WITH (security_barrier) AS SELECT * FROM dbops.stored_windows();
COMMENT ON VIEW dbops.recovery_windows IS
  'One row a stretch of WAL without a gap that begins with a backup: recovery reaches any moment from from_time (from_lsn) to to_lsn, which was stored at to_time. gap_until: where the store has WAL of the timeline again; NULL: nowhere, the stretch is the last.';

CREATE FUNCTION dbops.stored_drills(
    OUT at timestamptz, OUT backup text, OUT target_time text, OUT succeeded boolean, OUT rto_seconds double precision,
    OUT recovered_to pg_lsn, OUT phases jsonb, OUT failure text)
  RETURNS SETOF record AS 'MODULE_PATHNAME', 'dbops_stored_drills' LANGUAGE C VOLATILE ROWS 100;
COMMENT ON FUNCTION dbops.stored_drills() IS
  'What dbops.drills shows. Asks dbops.store; the session keeps what it has read.';

CREATE VIEW dbops.drills WITH (security_barrier) AS SELECT * FROM dbops.stored_drills();
COMMENT ON VIEW dbops.drills IS
  'One row for each "dbops drill": which backup, whether all of it succeeded, seconds until the restored server answered (rto_seconds) and of each phase, how far it was recovered, and what failed.';

CREATE FUNCTION dbops.check_backups(
    max_backup_age interval DEFAULT '25 hours', max_verify_age interval DEFAULT '8 days', max_drill_age interval DEFAULT '35 days',
    OUT check_name text, OUT ok boolean, OUT severity text, OUT detail text, OUT hint text)
  RETURNS SETOF record LANGUAGE sql VOLATILE ROWS 5
  BEGIN ATOMIC
    WITH stored AS MATERIALIZED (SELECT * FROM dbops.stored_backups()),
    newest AS (SELECT * FROM stored WHERE finished_at IS NOT NULL ORDER BY backup DESC LIMIT 1),
    drilled AS (SELECT max(at) AS at FROM dbops.stored_drills() WHERE succeeded AND at <= clock_timestamp() + interval '1 hour'),
    -- A time of a clock that was ahead says nothing until the next one.
    last(check_name, severity, at, allowed, detail, hint) AS (
      SELECT 'last backup', 'error', (SELECT finished_at FROM newest), max_backup_age, (SELECT backup FROM newest),
             'SELECT dbops.backup(), and look at dbops.jobs and dbops.schedules for why none was taken.'
      UNION ALL SELECT 'last verification', 'warning', (SELECT max(verified_at) FROM stored WHERE verified_at <= clock_timestamp() + interval '1 hour'), max_verify_age, NULL,
             'Run "dbops verify --deep" where the store can be reached.'
      UNION ALL SELECT 'last drill', 'warning', (SELECT at FROM drilled), max_drill_age, NULL,
             'Run "dbops drill"; dbops.drills has those that failed.')
    SELECT check_name, coalesce(at >= clock_timestamp() - allowed, false), severity,
           coalesce(concat_ws(' ', detail, 'at ' || at::text), 'none') || ', allowed is ' || allowed::text,
           CASE WHEN at >= clock_timestamp() - allowed THEN NULL ELSE hint END
    FROM last WHERE allowed IS NOT NULL
    UNION ALL
    SELECT 'corrupt pages', damaged_blocks = 0, 'error', damaged_blocks || ' in backup ' || backup,
           CASE WHEN damaged_blocks > 0 THEN 'The server''s log names them. Restore the relations from a backup before, or repair them.' END
    FROM newest
    UNION ALL
    SELECT 'damaged backups', count(*) = 0, 'error', concat_ws(': ', count(*), string_agg(backup, ', ' ORDER BY backup)),
           CASE WHEN count(*) > 0 THEN 'dbops.backups says what is wrong with them. Take a new backup, and mend or remove what is damaged.' END
    FROM stored WHERE state = 'damaged';
  END;
COMMENT ON FUNCTION dbops.check_backups(interval, interval, interval) IS
  'One row a check of backups: when the last one was taken, when one was last verified, when one was last restored by a drill, each no longer ago than allowed (NULL: not checked); whether the newest has corrupt pages; and whether a verification has found damage in any. Columns as of dbops.check().';

REVOKE ALL ON FUNCTION dbops.check_backups(interval, interval, interval), dbops.backup(text, text, jsonb, integer, double precision, interval, bigint, interval, integer),
  dbops.stored_backups(), dbops.stored_windows(), dbops.stored_drills() FROM PUBLIC;
REVOKE ALL ON dbops.backups, dbops.recovery_windows, dbops.drills FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbops.backup(text, text, jsonb, integer, double precision, interval, bigint, interval, integer) TO dbops_admin;
GRANT EXECUTE ON FUNCTION dbops.check_backups(interval, interval, interval), dbops.stored_backups(), dbops.stored_windows(), dbops.stored_drills() TO dbops_monitor, dbops_admin;
GRANT SELECT ON dbops.backups, dbops.recovery_windows, dbops.drills TO dbops_monitor, dbops_admin;
