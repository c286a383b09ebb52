-- Included by every file of this suite, with ECHO off. The server of the suite has dbops.max_workers = 0: a job stays queued
-- until CALL dbops.run() does it.
DELETE FROM dbops.job;
DELETE FROM dbops.deletion_record;
SELECT setval('dbops.job_job_id_seq', 1, false) AS begin \gset
\pset format unaligned
\pset tuples_only on
\pset null NULL
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
SET intervalstyle = 'postgres';

-- Runs a statement that is to be refused, and says how it was. Nothing of it remains, as of any statement that fails.
CREATE OR REPLACE FUNCTION refused(statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  state text;
  message text;
  detail text;
  hint text;
  result text;
BEGIN
  IF statement ~ '^SELECT' THEN EXECUTE statement INTO result;
  ELSE EXECUTE statement;
  END IF;
  RETURN NEXT 'NOT REFUSED, result ' || coalesce(result, 'NULL');
EXCEPTION WHEN OTHERS OR QUERY_CANCELED THEN
  GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
  RETURN NEXT state || ' ' || message;
  IF detail <> '' THEN RETURN NEXT '  DETAIL ' || detail; END IF;
  IF hint <> '' THEN RETURN NEXT '  HINT ' || hint; END IF;
END
$$;

-- The same for the arguments of dbops.backfill(), after what was tried.
CREATE OR REPLACE FUNCTION refused_backfill(target text, assignments text, condition text DEFAULT NULL, options text DEFAULT NULL)
  RETURNS SETOF text LANGUAGE sql AS $$
  SELECT refused(format('SELECT dbops.backfill(%L, %L, %L%s)', target, assignments, condition, ', ' || options))
$$;
\set ECHO all
