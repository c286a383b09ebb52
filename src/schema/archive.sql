-- WAL archiving: sight and checks. What is archived is in the store; nothing here is a table.

CREATE FUNCTION dbops.archive_repositories(
    OUT repository text, OUT store text, OUT state text, OUT timeline bigint, OUT flush_lsn pg_lsn, OUT durable_lsn pg_lsn,
    OUT rpo_seconds double precision, OUT backlog_files bigint, OUT backlog_bytes bigint, OUT oldest_unarchived_wal text,
    OUT last_archived_wal text, OUT last_archived_at timestamptz, OUT last_streamed_at timestamptz,
    OUT files bigint, OUT file_bytes bigint, OUT chunks bigint, OUT merges bigint, OUT chunk_bytes bigint,
    OUT stored_bytes bigint, OUT stored_bytes_per_second double precision, OUT retries bigint, OUT failures bigint,
    OUT last_error text, OUT last_hint text, OUT last_error_at timestamptz, OUT stats_reset timestamptz)
  RETURNS SETOF record AS 'MODULE_PATHNAME', 'dbops_archive_repositories' LANGUAGE C VOLATILE ROWS 2;
COMMENT ON FUNCTION dbops.archive_repositories() IS
  'What dbops.archive_status shows. Reads shared memory, the directory of files to be archived, and WAL to find the oldest commit that is not durable; no store is asked.';

CREATE VIEW dbops.archive_status WITH (security_barrier) AS SELECT * FROM dbops.archive_repositories();
COMMENT ON VIEW dbops.archive_status IS
  'One row a repository: how far WAL is durable there, seconds of commits that would be lost with this server (rpo_seconds), the files that it lacks, counters since stats_reset, the last error and what to do.';

CREATE FUNCTION dbops.reset_archive_counters() RETURNS void
  AS 'MODULE_PATHNAME', 'dbops_reset_archive_counters' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION dbops.reset_archive_counters() IS
  'Sets the counters of dbops.archive_status to zero; positions and errors stay.';

REVOKE ALL ON FUNCTION dbops.archive_repositories(), dbops.reset_archive_counters() FROM PUBLIC;
REVOKE ALL ON dbops.archive_status FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbops.archive_repositories() TO dbops_monitor, dbops_admin;
GRANT SELECT ON dbops.archive_status TO dbops_monitor, dbops_admin;
GRANT EXECUTE ON FUNCTION dbops.reset_archive_counters() TO dbops_admin;

CREATE FUNCTION dbops.check(timeout interval DEFAULT '1 minute',
    OUT check_name text, OUT ok boolean, OUT severity text, OUT detail text, OUT hint text)
  RETURNS SETOF record AS 'MODULE_PATHNAME', 'dbops_check' LANGUAGE C VOLATILE ROWS 20;
COMMENT ON FUNCTION dbops.check(interval) IS
  'One row a check of archiving: settings, key, stores, owner; ends a WAL segment and follows it through the archiver into each store and back; clock, streamer, backlog, errors. Then one a purge, rule of retention or batch_delete of this database that waits for a confirmation. Waits at most timeout in all. severity (info, warning, error) says how bad a check is that is not ok.';

CREATE FUNCTION dbops.take_over_archive() RETURNS text
  AS 'MODULE_PATHNAME', 'dbops_take_over_archive' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION dbops.take_over_archive() IS
  'Makes this server the owner of its timeline in dbops.store and dbops.offsite_store, after a data directory was moved to another place or machine. The server that owned it stops archiving within half a minute: be sure that it is gone for good. Superusers only.';

REVOKE ALL ON FUNCTION dbops.check(interval), dbops.take_over_archive() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbops.check(interval) TO dbops_admin;
