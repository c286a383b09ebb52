-- What a script locks, found by trying it. docs/lint.md explains it.

CREATE FUNCTION dbops.trace(sql text, lock_timeout interval DEFAULT '2 s')
  RETURNS TABLE (statement_number integer, line integer, command text, object text, lock text, rewrites boolean, scans boolean, bytes bigint,
                 invalidates text[], found_by text, problem text)
  AS 'MODULE_PATHNAME', 'dbops_trace' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION dbops.trace(text, interval) IS
  'What each statement of a script locks, writes anew and reads as a whole, one row a table or index; what depends on changed columns. Found by making it on empty temporary copies of the tables (found_by: copy), by the server''s analysis of a query (analysis), or in a subtransaction that is rolled back, with this lock_timeout (run), and is over, everything taken back (55P03), after twice lock_timeout at the latest; for what must not be in a transaction from the documentation. Needs the privileges that the statements need, and TEMPORARY on the database.';
