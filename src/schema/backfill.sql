-- Batched changes of data. The arguments after condition are named options, the same for all four functions; their
-- order is that of read_request() in src/server/backfill/create.cpp. docs/backfill.md explains each.

CREATE FUNCTION dbops.tid_stripe(tid, stripes integer) RETURNS integer
  AS 'MODULE_PATHNAME', 'dbops_tid_stripe' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION dbops.tid_stripe(tid, integer) IS 'Which sub-batch of a chunk of blocks a row belongs to, by its place in the page.';

CREATE FUNCTION dbops.key_stripe(stripes integer, VARIADIC key "any") RETURNS integer
  AS 'MODULE_PATHNAME', 'dbops_key_stripe' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION dbops.key_stripe(integer, "any") IS 'Which sub-batch of a chunk of keys a row belongs to, by a hash of its key.';

CREATE FUNCTION dbops.backfill(
  target regclass, assignments text, condition text DEFAULT NULL,
  strategy text DEFAULT 'auto',
  stripes integer DEFAULT NULL,
  parallel integer DEFAULT 1,
  target_batch_time interval DEFAULT '100 ms',
  max_batch_rows bigint DEFAULT 50000,
  nice_ratio double precision DEFAULT 0.2,
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
  label text DEFAULT NULL,
  priority integer DEFAULT 0) RETURNS bigint
  AS 'MODULE_PATHNAME', 'dbops_backfill' LANGUAGE C;
COMMENT ON FUNCTION dbops.backfill(regclass, text, text, text, integer, integer, interval, bigint, double precision, double precision, double precision, interval, bigint, bigint, bigint, bigint, double precision, boolean, text, text, interval, bigint, double precision, boolean, name, text, integer) IS
  'Change rows of a table in batches, in background workers, as a job: dbops.backfill(''users'', ''full_name = name'', ''full_name IS NULL''). Returns the job id. Locks only the rows of a batch, for about target_batch_time. Raises 42601 unless the texts are assignments and a condition, 42501 without the privileges, 22023 for a bad option. See dbops.backfill_preview, dbops.progress, docs/backfill.md.';

CREATE FUNCTION dbops.batch_delete(
  target regclass, condition text,
  strategy text DEFAULT 'auto',
  stripes integer DEFAULT NULL,
  parallel integer DEFAULT 1,
  target_batch_time interval DEFAULT '100 ms',
  max_batch_rows bigint DEFAULT 50000,
  nice_ratio double precision DEFAULT 0.2,
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
  label text DEFAULT NULL,
  priority integer DEFAULT 0,
  max_rows bigint DEFAULT NULL,
  max_share double precision DEFAULT NULL) RETURNS bigint
  AS 'MODULE_PATHNAME', 'dbops_batch_delete' LANGUAGE C;
COMMENT ON FUNCTION dbops.batch_delete(regclass, text, text, integer, integer, interval, bigint, double precision, double precision, double precision, interval, bigint, bigint, bigint, bigint, double precision, boolean, text, text, interval, bigint, double precision, boolean, name, text, integer, bigint, double precision) IS
  'Delete the rows that match a condition in batches, as a job, with a cursor that is remembered between batches. Beyond max_rows, or max_share of the table, it stops and asks: dbops.confirm_deletion(job). Other options and errors as in dbops.backfill. Returns the job id.';

CREATE FUNCTION dbops.backfill_preview(
  target regclass, assignments text, condition text DEFAULT NULL,
  strategy text DEFAULT 'auto',
  stripes integer DEFAULT NULL,
  parallel integer DEFAULT 1,
  target_batch_time interval DEFAULT '100 ms',
  max_batch_rows bigint DEFAULT 50000,
  nice_ratio double precision DEFAULT 0.2,
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
  label text DEFAULT NULL,
  priority integer DEFAULT 0,
  OUT strategy_used text, OUT walks_by text, OUT owner text, OUT tables integer, OUT estimated_rows bigint,
  OUT estimated_batches bigint, OUT estimated_wal_bytes bigint, OUT estimated_time interval, OUT locks text,
  OUT statement text, OUT warnings text[])
  AS 'MODULE_PATHNAME', 'dbops_backfill_preview' LANGUAGE C;
COMMENT ON FUNCTION dbops.backfill_preview(regclass, text, text, text, integer, integer, interval, bigint, double precision, double precision, double precision, interval, bigint, bigint, bigint, bigint, double precision, boolean, text, text, interval, bigint, double precision, boolean, name, text, integer) IS
  'What dbops.backfill with the same arguments would do: strategy, key, owner, estimates of rows, batches, WAL and time (without throttling other than nice_ratio and max_rows_per_second), locks, the statement of a batch, warnings. Changes nothing.';

CREATE FUNCTION dbops.batch_delete_preview(
  target regclass, condition text,
  strategy text DEFAULT 'auto',
  stripes integer DEFAULT NULL,
  parallel integer DEFAULT 1,
  target_batch_time interval DEFAULT '100 ms',
  max_batch_rows bigint DEFAULT 50000,
  nice_ratio double precision DEFAULT 0.2,
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
  label text DEFAULT NULL,
  priority integer DEFAULT 0,
  max_rows bigint DEFAULT NULL,
  max_share double precision DEFAULT NULL,
  OUT strategy_used text, OUT walks_by text, OUT owner text, OUT tables integer, OUT estimated_rows bigint,
  OUT estimated_batches bigint, OUT estimated_wal_bytes bigint, OUT estimated_time interval, OUT locks text,
  OUT statement text, OUT warnings text[])
  AS 'MODULE_PATHNAME', 'dbops_batch_delete_preview' LANGUAGE C;
COMMENT ON FUNCTION dbops.batch_delete_preview(regclass, text, text, integer, integer, interval, bigint, double precision, double precision, double precision, interval, bigint, bigint, bigint, bigint, double precision, boolean, text, text, interval, bigint, double precision, boolean, name, text, integer, bigint, double precision) IS
  'What dbops.batch_delete with the same arguments would do. Changes nothing.';

CREATE FUNCTION dbops.confirm_deletion(job bigint) RETURNS bigint
  AS 'MODULE_PATHNAME', 'dbops_confirm_deletion' LANGUAGE C;
COMMENT ON FUNCTION dbops.confirm_deletion(bigint) IS
  'Let a dbops.batch_delete go on, without a limit, that is paused because it would exceed its max_rows or max_share. Returns the job id. For its owner and dbops_admin. Raises 55000 when it does not wait for that.';
