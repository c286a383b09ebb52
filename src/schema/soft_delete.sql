-- Soft delete: rows that are deleted for the application, can come back for a grace period, and go for good after it.

-- pg_dump writes the first three tables with the database, so that what was deleted can still be restored in a copy: hence
-- regclass, which it writes as a name.
CREATE TABLE dbops.soft_delete_rule (
  target regclass PRIMARY KEY,
  mode text NOT NULL CHECK (mode IN ('column', 'tombstone')),
  state text NOT NULL CHECK (state IN ('building', 'enabled', 'disabling')),
  grace interval NOT NULL,
  unique_keys text NOT NULL DEFAULT 'partial' CHECK (unique_keys IN ('partial', 'keep')),
  live_view regclass,
  indexes jsonb NOT NULL DEFAULT '[]',     -- unique indexes that were made partial: name, as they were, how they are built
  max_rows bigint,                         -- that one purge may delete
  max_share double precision NOT NULL DEFAULT 0.5, -- of a table, likewise; 1: all
  restore_grace interval NOT NULL DEFAULT '1 day', -- how long no purge runs after a restore
  purge_schedule text,                     -- name of the schedule that purges, see dbops.schedules
  job_id bigint,                           -- that builds the indexes
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  created_by text NOT NULL
);

CREATE TABLE dbops.soft_deletion (
  deletion_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  target regclass NOT NULL,                -- of the row that was asked for
  key text,                                -- of that row; NULL: a DELETE of the application's
  state text NOT NULL DEFAULT 'deleted' CHECK (state IN ('deleted', 'undeleted', 'purging', 'purged')),
  deleted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  deleted_by text NOT NULL,
  actor oid NOT NULL,
  tables regclass[] NOT NULL DEFAULT '{}', -- with rows in it, and how many each
  counts bigint[] NOT NULL DEFAULT '{}',
  detached text[],                         -- rows that refer to a deleted one ON DELETE SET NULL or SET DEFAULT
  ended_at timestamptz,                    -- undeleted or purged
  ended_by text,
  open boolean NOT NULL DEFAULT true,      -- its transaction may add rows
  transaction_id xid8 NOT NULL,
  transaction_start timestamptz NOT NULL
);
CREATE INDEX soft_deletion_open_idx ON dbops.soft_deletion (transaction_id) WHERE open;
CREATE INDEX soft_deletion_due_idx ON dbops.soft_deletion (target, deleted_at) WHERE state = 'deleted';
CREATE INDEX soft_deletion_purging_idx ON dbops.soft_deletion (deletion_id) WHERE state = 'purging';
CREATE INDEX soft_deletion_ended_idx ON dbops.soft_deletion (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE dbops.deleted_row (
  row_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  deletion_id bigint NOT NULL REFERENCES dbops.soft_deletion ON DELETE CASCADE,
  target regclass NOT NULL,
  image jsonb NOT NULL                     -- each column's value as text
);
CREATE INDEX deleted_row_deletion_idx ON dbops.deleted_row (deletion_id, target);

-- Not in dumps: a copy has deletions whose grace period is over, and nobody's word that they may go there. A row a rule,
-- apart from it because open deletions hold that in share.
CREATE TABLE dbops.purge_origin (
  target oid PRIMARY KEY,
  origin jsonb NOT NULL DEFAULT '{}',      -- server, timeline and clock by which it was last purged; {}: never, in this database
  doubt text,                              -- why nothing is purged at present: a restore, a leap of the clock
  doubt_since timestamptz,                 -- restore_grace begins
  doubt_origin jsonb,                      -- the server and clock that it began with
  too_many text,                           -- what a purge would have deleted beyond max_rows or max_share
  confirmed boolean NOT NULL DEFAULT false -- the next one may
);

REVOKE ALL ON dbops.soft_delete_rule, dbops.soft_deletion, dbops.deleted_row, dbops.purge_origin FROM PUBLIC;
-- Those of tables that were dropped would be written with a number, which in the copy may be another table's.
SELECT pg_catalog.pg_extension_config_dump('dbops.soft_delete_rule', 'WHERE EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = target)');
SELECT pg_catalog.pg_extension_config_dump('dbops.soft_deletion', 'WHERE EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = target)');
SELECT pg_catalog.pg_extension_config_dump('dbops.deleted_row', 'WHERE EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = target) AND EXISTS (SELECT FROM dbops.soft_deletion d JOIN pg_catalog.pg_class c ON c.oid = d.target WHERE d.deletion_id = deleted_row.deletion_id)');
SELECT pg_catalog.pg_extension_config_dump('dbops.soft_deletion_deletion_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('dbops.deleted_row_row_id_seq', '');

COMMENT ON TABLE dbops.soft_delete_rule IS 'Which tables have soft delete, and how. Read it through dbops.soft_delete_status; change it through the functions.';
COMMENT ON TABLE dbops.soft_deletion IS 'Every deletion. Read it through dbops.soft_deletions.';
COMMENT ON TABLE dbops.purge_origin IS 'Where each table with soft delete was last purged, and what its next purge waits for. Read it through dbops.soft_delete_status; dbops.confirm_purge lets it go on.';
COMMENT ON TABLE dbops.deleted_row IS 'Rows that were deleted in tombstone mode, until they are restored or purged. Nobody may read it: dbops.undelete() brings them back.';

-- --- triggers of the tables ------------------------------------------------------------------------------------------

CREATE FUNCTION dbops.refuse_dead_parent() RETURNS trigger
  AS 'MODULE_PATHNAME', 'dbops_refuse_dead_parent' LANGUAGE C;
COMMENT ON FUNCTION dbops.refuse_dead_parent() IS
  'Trigger of tables that refer to one with soft delete: a live row cannot refer to a deleted one (23503). Its argument is the foreign key.';

CREATE FUNCTION dbops.keep_tombstone() RETURNS trigger
  AS 'MODULE_PATHNAME', 'dbops_keep_tombstone' LANGUAGE C;
COMMENT ON FUNCTION dbops.keep_tombstone() IS 'Trigger of tables with soft delete in tombstone mode: keeps the row that is deleted.';

CREATE FUNCTION dbops.delete_live() RETURNS trigger
  AS 'MODULE_PATHNAME', 'dbops_delete_live' LANGUAGE C;
COMMENT ON FUNCTION dbops.delete_live() IS 'Trigger of the view of live rows: DELETE from it is a soft delete of each row.';

CREATE FUNCTION dbops.guard_soft_delete_columns() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT pg_has_role((SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'USAGE') THEN
    RAISE EXCEPTION 'columns deleted_at, deleted_by and deletion_id of "%" are set by dbops alone', TG_TABLE_NAME
      USING ERRCODE = 'insufficient_privilege', HINT = 'SELECT dbops.soft_delete(...), dbops.undelete(...).';
  END IF;
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION dbops.guard_soft_delete_columns() IS
  'Trigger of tables with soft delete: only the owner, and dbops, may write deleted_at, deleted_by and deletion_id (42501).';

CREATE FUNCTION dbops.refuse_truncate() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'table "%" has soft delete: TRUNCATE would remove its rows for good', TG_TABLE_NAME
    USING ERRCODE = 'object_not_in_prerequisite_state',
          HINT = 'DELETE the rows, or dbops.soft_delete_disable() first.';
END
$$;
COMMENT ON FUNCTION dbops.refuse_truncate() IS 'Trigger of tables with soft delete: refuses TRUNCATE (55000).';

-- --- use ---------------------------------------------------------------------------------------------------------------

CREATE FUNCTION dbops.soft_delete(target regclass, VARIADIC key "any") RETURNS bigint
  AS 'MODULE_PATHNAME', 'dbops_soft_delete' LANGUAGE C;
COMMENT ON FUNCTION dbops.soft_delete(regclass, "any") IS
  'Delete one row so that it can come back: dbops.soft_delete(''users'', 42). Its primary key, column by column. What refers to it ON DELETE CASCADE goes with it. Returns the deletion id, for dbops.undelete(). Locks the rows FOR UPDATE. Raises P0002 when there is no such live row, 23503 when other rows refer to it, 2BP01 when some of these have no soft delete, 42501 without the privilege DELETE.';

CREATE FUNCTION dbops.undelete(deletion bigint, lossy boolean DEFAULT false) RETURNS bigint
  AS 'MODULE_PATHNAME', 'dbops_undelete' LANGUAGE C;
COMMENT ON FUNCTION dbops.undelete(bigint, boolean) IS
  'Restore exactly the rows of one deletion; returns how many. Raises 23505 with the key when one would collide with a newer row, 23503 when one refers to a row that is deleted, 55000 when the deletion is undone or purged already, 22000 when the table has changed so that it cannot take all that the rows held, unless lossy is true; 27000 when a trigger keeps a row back, 42501 without DELETE and INSERT on the table.';

CREATE FUNCTION dbops.soft_delete_enable(
  target regclass,
  mode text DEFAULT NULL,
  grace interval DEFAULT NULL,
  unique_keys text DEFAULT NULL,
  purge_schedule text DEFAULT '',
  lock_timeout interval DEFAULT '2 s',
  concurrently boolean DEFAULT NULL,
  max_share double precision DEFAULT NULL,
  restore_grace interval DEFAULT NULL,
  max_rows bigint DEFAULT NULL) RETURNS bigint
  AS 'MODULE_PATHNAME', 'dbops_soft_delete_enable' LANGUAGE C;
COMMENT ON FUNCTION dbops.soft_delete_enable(regclass, text, interval, text, text, interval, boolean, double precision, interval, bigint) IS
  'Give a table soft delete: mode column (deleted_at, partial unique keys, a view of live rows) or tombstone (rows leave the table and are kept). What is not given is as it is: at first column, 30 days, partial unique keys, a purge @hourly of at most half a table (max_share) and any number of rows (max_rows), and none for a day after a restore (restore_grace); a purge_schedule of NULL is none. Called again, it mends what has changed since. Returns the job that builds the indexes of a table above 8 MB, else NULL. Takes ACCESS EXCLUSIVE for a moment, under lock_timeout (55P03). For the owner.';

CREATE FUNCTION dbops.soft_delete_preview(
  target regclass,
  mode text DEFAULT NULL,
  grace interval DEFAULT NULL,
  unique_keys text DEFAULT NULL,
  purge_schedule text DEFAULT '',
  lock_timeout interval DEFAULT '2 s',
  concurrently boolean DEFAULT NULL,
  max_share double precision DEFAULT NULL,
  restore_grace interval DEFAULT NULL,
  max_rows bigint DEFAULT NULL) RETURNS text
  AS 'MODULE_PATHNAME', 'dbops_soft_delete_preview' LANGUAGE C;
COMMENT ON FUNCTION dbops.soft_delete_preview(regclass, text, interval, text, text, interval, boolean, double precision, interval, bigint) IS
  'The statements that dbops.soft_delete_enable with the same arguments would run. It does and undoes them, with the same locks; raises what that would raise.';

CREATE FUNCTION dbops.soft_delete_finish(target oid, lock_timeout interval DEFAULT '2 s') RETURNS void
  AS 'MODULE_PATHNAME', 'dbops_soft_delete_finish' LANGUAGE C;
COMMENT ON FUNCTION dbops.soft_delete_finish(oid, interval) IS
  'What the job of dbops.soft_delete_enable and _disable does last: puts the indexes that it has built in the place of the old ones. For the owner.';

CREATE FUNCTION dbops.soft_delete_disable(
  target regclass,
  deleted_rows text DEFAULT 'refuse',
  lock_timeout interval DEFAULT '2 s',
  concurrently boolean DEFAULT NULL) RETURNS bigint
  AS 'MODULE_PATHNAME', 'dbops_soft_delete_disable' LANGUAGE C;
COMMENT ON FUNCTION dbops.soft_delete_disable(regclass, text, interval, boolean) IS
  'Take soft delete away from a table. deleted_rows: refuse raises 55000 when there are any, restore brings them back, keep leaves columns, partial unique keys and rows as they are. Otherwise columns go and unique keys are complete again. Returns the job that builds indexes of a big table, else NULL. For the owner.';

CREATE PROCEDURE dbops.purge(target regclass, older_than interval DEFAULT NULL, nice_ratio double precision DEFAULT 0.2)
  AS 'MODULE_PATHNAME', 'dbops_purge' LANGUAGE C;
COMMENT ON PROCEDURE dbops.purge(regclass, interval, double precision) IS
  'Delete for good what was deleted from the table longer ago than its grace period (or older_than), with the rows that went along, children first, in batches. Does nothing, with a WARNING, while it waits for dbops.confirm_purge(). dbops.soft_delete_enable schedules it. Not inside a transaction block. For the owner.';

CREATE FUNCTION dbops.confirm_purge(target regclass) RETURNS boolean
  AS 'MODULE_PATHNAME', 'dbops_confirm_purge' LANGUAGE C;
COMMENT ON FUNCTION dbops.confirm_purge(regclass) IS
  'Let purges of a table go on that wait for somebody''s word: after a restore, a promotion or a leap of the clock, or because the next one would delete more than max_rows or max_share. Returns whether they waited. For the owner.';

-- --- sight -------------------------------------------------------------------------------------------------------------

CREATE VIEW dbops.purging WITH (security_barrier) AS SELECT deletion_id FROM dbops.soft_deletion WHERE state = 'purging';
COMMENT ON VIEW dbops.purging IS 'Deletions that are being purged: their grace period is over, they cannot be undeleted.';
GRANT SELECT ON dbops.purging TO PUBLIC;

CREATE FUNCTION dbops.is_purging(deletion bigint) RETURNS boolean
  AS 'MODULE_PATHNAME', 'dbops_is_purging' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 5;
COMMENT ON FUNCTION dbops.is_purging(bigint) IS
  'Whether a deletion is one of dbops.purging. For a statement that asks it of many rows, best in the order of their deletions.';

CREATE FUNCTION dbops.owner_of(relation oid) RETURNS oid
  LANGUAGE sql STABLE
  RETURN (SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid = relation);
COMMENT ON FUNCTION dbops.owner_of(oid) IS 'The owner of a table, NULL when it is gone.';

CREATE VIEW dbops.soft_deletions WITH (security_barrier) AS
  SELECT d.deletion_id, d.target::text AS target, d.key, d.state, d.deleted_at, d.deleted_by,
         (SELECT coalesce(sum(n), 0)::bigint FROM unnest(d.tables, d.counts) c(k, n)
            WHERE d.state <> 'deleted' OR NOT EXISTS (SELECT FROM dbops.soft_delete_rule r WHERE r.target = k AND r.mode = 'tombstone'))
         + (SELECT count(*) FROM dbops.deleted_row r WHERE d.state = 'deleted' AND r.deletion_id = d.deletion_id) AS rows,
         (SELECT jsonb_object_agg(k::text, n) FROM unnest(d.tables, d.counts) c(k, n)) AS tables,
         d.detached,
         CASE WHEN d.state = 'deleted' THEN d.deleted_at + (SELECT max(r.grace) FROM dbops.soft_delete_rule r
           WHERE r.target = d.target OR r.target = ANY (d.tables)
              OR EXISTS (SELECT FROM dbops.deleted_row t WHERE t.deletion_id = d.deletion_id AND t.target = r.target)) END AS purge_after,
         d.ended_at, d.ended_by
  FROM dbops.soft_deletion d
  WHERE dbops.may_see(dbops.owner_of(d.target)) OR dbops.may_see(d.actor);
COMMENT ON VIEW dbops.soft_deletions IS
  'One row a deletion: what, when, by whom, how many rows in which tables, until when it can be undeleted, what became of it.';

CREATE VIEW dbops.soft_delete_status WITH (security_barrier) AS
  SELECT r.target::text AS target, r.mode, r.state, r.grace, r.unique_keys, r.live_view::text AS live_view, r.job_id,
         (SELECT array_agg(i ->> 'name' ORDER BY i ->> 'name') FROM jsonb_array_elements(r.indexes) i) AS partial_keys,
         (SELECT count(*) FROM dbops.soft_deletion d WHERE d.target = r.target AND d.state = 'deleted') AS deletions,
         (SELECT min(d.deleted_at) FROM dbops.soft_deletion d WHERE d.target = r.target AND d.state = 'deleted') AS oldest,
         (SELECT count(*) FROM dbops.soft_deletion d WHERE d.target = r.target AND d.state = 'purging') AS being_purged,
         coalesce(s.name, r.purge_schedule) AS purge_schedule, s.next_run AS next_purge,
         CASE WHEN s.running THEN s.began_at ELSE s.last_began END AS last_purge,
         CASE WHEN s.running THEN 'running' ELSE s.last_outcome END AS last_purge_result,
         r.max_rows, r.max_share, r.restore_grace,
         CASE WHEN o.target IS NULL THEN 'it comes from a dump'
              WHEN o.doubt IS NOT NULL THEN o.doubt || ', until ' || pg_catalog.to_char(o.doubt_since + r.restore_grace, 'YYYY-MM-DD HH24:MI')
              ELSE o.too_many END || ': SELECT dbops.confirm_purge(' || pg_catalog.quote_literal(r.target::text) || ')' AS waiting_for,
         r.created_at, r.created_by
  FROM dbops.soft_delete_rule r LEFT JOIN dbops.purge_origin o ON o.target = r.target::oid
  LEFT JOIN LATERAL (SELECT s.*, CASE WHEN j.state <> 'queued' THEN NULL
              WHEN NOT s.running THEN s.due_at
              WHEN s.pending_at IS NOT NULL OR s.next_slot IS NOT NULL THEN greatest(coalesce(s.pending_at, s.next_slot), s.due_at) END AS next_run -- as in dbops.schedules
    FROM dbops.schedule s JOIN dbops.job j USING (job_id)
    WHERE j.spec ->> 'command' = 'CALL dbops.purge(' || r.target::oid || ')' ORDER BY s.job_id LIMIT 1) s ON true
  WHERE dbops.may_see(dbops.owner_of(r.target));
COMMENT ON VIEW dbops.soft_delete_status IS
  'One row a table with soft delete: its mode and grace period, how many deletions can be undeleted, and when it is purged.';

CREATE VIEW dbops.soft_delete_problems WITH (security_barrier) AS
  WITH rule AS MATERIALIZED (
    SELECT r.target, r.mode, r.state, r.live_view, r.unique_keys FROM dbops.soft_delete_rule r
    WHERE dbops.may_see(dbops.owner_of(r.target)) AND EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = r.target)),
  member AS (SELECT r.target, f AS relid FROM rule r, dbops.family(r.target) f),
  foreign_key AS (
    SELECT m.target, r.mode, k.oid, k.conname, k.conrelid, k.confdeltype, coalesce(pg_partition_root(k.conrelid), k.conrelid) AS child
    FROM member m JOIN rule r USING (target) JOIN pg_catalog.pg_constraint k ON k.confrelid = m.relid
    WHERE k.contype = 'f' AND k.conparentid = 0)
  SELECT f.target::text AS target, 'unguarded foreign key' AS problem,
         format('rows of %s can refer to deleted rows by %I', f.conrelid::regclass, f.conname) AS detail,
         format('SELECT dbops.soft_delete_enable(%L)', f.target::text) AS remedy
  FROM foreign_key f WHERE f.mode = 'column' AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = f.conrelid AND t.tgenabled IN ('O', 'A')
      AND t.tgfoid = 'dbops.refuse_dead_parent()'::regprocedure AND t.tgargs = convert_to(f.conname, getdatabaseencoding()) || '\x00'::bytea)
  UNION ALL
  SELECT f.target::text, 'child without soft delete',
         format('a row that rows of %s refer to by %I ON DELETE CASCADE is %s', f.conrelid::regclass, f.conname,
                CASE f.mode WHEN 'column' THEN 'not deleted' ELSE 'deleted with them, and they for good' END),
         format('SELECT dbops.soft_delete_enable(%L%s)', f.child::regclass::text, CASE f.mode WHEN 'tombstone' THEN ', mode => ''tombstone''' ELSE '' END)
  FROM foreign_key f WHERE f.confdeltype = 'c' AND NOT EXISTS (
    SELECT FROM dbops.soft_delete_rule c WHERE c.target = f.child AND (f.mode = 'column' OR c.mode = 'tombstone'))
  UNION ALL
  SELECT r.target::text, 'unique key of deleted rows',
         format('%s still counts deleted rows', i.indexrelid::regclass),
         CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.contype = 'f' AND k.conindid = i.indexrelid)
              THEN 'foreign keys refer to it: mode tombstone would free the key'
              ELSE format('SELECT dbops.soft_delete_enable(%L)', r.target::text) END
  FROM rule r JOIN pg_catalog.pg_index i ON i.indrelid = r.target
  WHERE r.mode = 'column' AND r.state = 'enabled' AND r.unique_keys = 'partial' AND i.indisunique AND NOT i.indisprimary
    AND coalesce(pg_get_expr(i.indpred, i.indrelid), '') !~ 'deleted_at IS NULL'
  UNION ALL
  SELECT r.target::text, 'column not in the view', format('%s lacks %s', r.live_view, string_agg(quote_ident(a.attname), ', ')),
         format('SELECT dbops.soft_delete_enable(%L)', r.target::text)
  FROM rule r JOIN pg_catalog.pg_attribute a ON a.attrelid = r.target AND a.attnum > 0 AND NOT a.attisdropped
  WHERE r.mode = 'column' AND r.live_view IS NOT NULL AND a.attname NOT IN ('deleted_at', 'deleted_by', 'deletion_id')
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute v WHERE v.attrelid = r.live_view AND v.attname = a.attname)
  GROUP BY r.target, r.live_view
  UNION ALL
  SELECT m.target::text, 'TRUNCATE not refused', format('%s can be truncated', m.relid::regclass),
         format('SELECT dbops.soft_delete_enable(%L)', m.target::text)
  FROM member m WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t
    WHERE t.tgrelid = m.relid AND t.tgname = 'dbops_soft_delete_truncate' AND t.tgenabled IN ('O', 'A'))
  UNION ALL
  SELECT m.target::text, 'tombstones not kept', format('rows that are deleted from %s are gone for good', m.relid::regclass),
         format('SELECT dbops.soft_delete_enable(%L)', m.target::text)
  FROM member m JOIN rule r USING (target) WHERE r.mode = 'tombstone' AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t
    WHERE t.tgrelid = m.relid AND t.tgfoid = 'dbops.keep_tombstone()'::regprocedure AND t.tgenabled IN ('O', 'A'))
  UNION ALL
  SELECT r.target::text, 'purge blocked', format('%s deletions are past their grace period and keep rows: live rows refer to them, they are held, or their triggers refuse', count(*)),
         format('CALL dbops.purge(%L) tries again', r.target::text)
  FROM rule r JOIN dbops.soft_deletion d USING (target) WHERE d.state = 'purging' GROUP BY r.target
  UNION ALL
  SELECT r.target::text, 'purge waits', coalesce(o.doubt, o.too_many, 'it comes from a dump'), format('SELECT dbops.confirm_purge(%L)', r.target::text)
  FROM rule r LEFT JOIN dbops.purge_origin o ON o.target = r.target::oid
  WHERE o.target IS NULL OR o.doubt IS NOT NULL OR o.too_many IS NOT NULL
  UNION ALL
  SELECT r.target::text, 'purge failed',
         concat_ws(': ', format('the schedule %I, last at %s', s.name, to_char(s.last_ended, 'YYYY-MM-DD HH24:MI')),
                   CASE WHEN dbops.may_see(j.owner_oid) THEN coalesce(CASE j.state WHEN 'failed' THEN j.last_error END, s.last_error) END),
         CASE j.state WHEN 'failed' THEN format('SELECT dbops.retry(%s) lets it go on, as its owner', j.job_id)
                      ELSE format('SELECT dbops.run_now(%L) tries again', s.name) END
  FROM rule r JOIN dbops.job j ON j.spec ->> 'command' = 'CALL dbops.purge(' || r.target::oid || ')' JOIN dbops.schedule s USING (job_id)
  WHERE j.state = 'failed' OR j.state IN ('queued', 'paused') AND s.last_outcome IN ('failed', 'lost');
COMMENT ON VIEW dbops.soft_delete_problems IS
  'What keeps soft delete from doing as it should: foreign keys, columns, partitions and unique keys that came later, children without it, deletions that cannot be purged, purges that wait for somebody''s word or have failed. remedy is what to do.';
GRANT SELECT ON dbops.soft_deletions, dbops.soft_delete_status, dbops.soft_delete_problems TO PUBLIC;
