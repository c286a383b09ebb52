-- Joined from src/schema/*.sql by the build; do not edit dbops--*.sql.
\echo Use "CREATE EXTENSION dbops" to load this file. \quit

-- A schema that somebody else made beforehand would let its owner drop or replace what dbops trusts.
DO $$
BEGIN
  IF (SELECT nspowner FROM pg_catalog.pg_namespace WHERE nspname = 'dbops')
     <> (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
    RAISE EXCEPTION 'schema "dbops" belongs to another role'
      USING ERRCODE = 'insufficient_privilege', HINT = 'Drop or rename the schema, then CREATE EXTENSION dbops again.';
  END IF;
END
$$;

-- Roles belong to the cluster, not to the extension: they stay when it is dropped, and another database may have them.
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'dbops_admin') THEN
    CREATE ROLE dbops_admin NOLOGIN;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'dbops_monitor') THEN
    CREATE ROLE dbops_monitor NOLOGIN;
  END IF;
END
$$;

GRANT USAGE ON SCHEMA dbops TO PUBLIC;
COMMENT ON SCHEMA dbops IS 'dbops: jobs, backfills, and what else lets the server look after itself';
