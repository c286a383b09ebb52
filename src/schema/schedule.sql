-- Schedules: commands that run at their time.

CREATE FUNCTION dbops.next_runs(schedule text, n integer DEFAULT 5, timezone text DEFAULT NULL, from_time timestamptz DEFAULT NULL)
  RETURNS SETOF timestamptz AS 'MODULE_PATHNAME', 'dbops_next_runs' LANGUAGE C STABLE ROWS 5;
COMMENT ON FUNCTION dbops.next_runs(text, integer, text, timestamptz) IS
  'The next n times that a schedule means, after from_time (now), in that time zone (the session''s). An interval counts from from_time. Raises 22023, with the position and what was expected, for what is no schedule or can never fire.';
