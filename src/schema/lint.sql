-- What is dangerous in a script. docs/lint.md lists the rules.

CREATE FUNCTION dbops.lint(sql text, small_table bigint DEFAULT 1048576, qualified boolean DEFAULT false, name_pattern text DEFAULT '')
  RETURNS TABLE (statement_number integer, line integer, "column" integer, rule text, severity text, message text, object text, lock text,
                 rewrites boolean, scans boolean, bytes bigint, safe_sql text, suppressed text)
  AS 'MODULE_PATHNAME', 'dbops_lint' LANGUAGE C STRICT VOLATILE;
COMMENT ON FUNCTION dbops.lint(text, bigint, boolean, text) IS
  'What in a script would stop the application, fail, or break clients: by the server''s parser and the live catalog, as the current user. Each finding has its place, rule, severity (error, warning, notice), the lock, whether the table is rewritten or read as a whole and how many bytes that is, and where there is one the safe form as SQL. Tables below small_table bytes give notices alone. qualified: find names without a schema; name_pattern: find new names that do not match this regular expression. suppressed is the reason of a comment "-- dbops: ignore RULE REASON". Does not execute the script, and changes nothing; changes of columns are tried on an empty temporary copy that is rolled back, which calls no function of a role that is neither the caller nor a superuser.';
