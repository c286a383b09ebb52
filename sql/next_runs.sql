-- What a schedule means: dbops.next_runs() with the server's own time zones, and what is refused.
\set ECHO none
\i sql/include/setup.sql

SELECT * FROM dbops.next_runs('30 3 * * mon-fri', 3, 'UTC', '2026-01-01');
SELECT * FROM dbops.next_runs('*/20 * * * * *', 2, 'UTC', '2026-01-01');
SELECT * FROM dbops.next_runs('0 0 L * *', 2, 'UTC', '2026-01-01');
SELECT * FROM dbops.next_runs('@yearly', 2, 'UTC', '2026-06-01');
SELECT * FROM dbops.next_runs('every 90 seconds', 2, 'UTC', '2026-01-01 00:00:00.7');
SELECT * FROM dbops.next_runs('at 2026-03-01 04:05', 5, 'America/New_York', '2026-01-01');
SELECT * FROM dbops.next_runs('at 2026-03-01 04:05', 5, 'UTC', '2026-03-01 04:05');
SELECT count(*), min(r) > now() FROM dbops.next_runs('@hourly') r;
SELECT count(*) FROM dbops.next_runs('@hourly', 0);

-- The session's time zone is the default
SET timezone = 'Europe/Berlin';
SELECT * FROM dbops.next_runs('0 12 * * *', 1, from_time => '2026-07-01');
SET timezone = 'UTC';

-- Clocks that are set forward and back, a day that did not exist, half an hour
SELECT r AT TIME ZONE 'Europe/Berlin' FROM dbops.next_runs('30 2 * * *', 3, 'Europe/Berlin', '2026-03-27 12:00') r;
SELECT r, r AT TIME ZONE 'Europe/Berlin' FROM dbops.next_runs('30 2 * * *', 2, 'Europe/Berlin', '2026-10-24 12:00') r;
SELECT r AT TIME ZONE 'Pacific/Apia' FROM dbops.next_runs('0 12 * * *', 3, 'Pacific/Apia', '2011-12-29 20:00') r;
SELECT r AT TIME ZONE 'Australia/Lord_Howe' FROM dbops.next_runs('15 2 * * *', 2, 'Australia/Lord_Howe', '2026-10-03') r;
SELECT r AT TIME ZONE 'America/Santiago' FROM dbops.next_runs('@daily', 3, 'America/Santiago', '2026-09-05') r;
SELECT r AT TIME ZONE 'Asia/Kolkata' FROM dbops.next_runs('@daily', 1, 'Asia/Kolkata', '2026-09-05') r;

-- The first of each month for five years in each of the server's time zones, against the server's own arithmetic
SELECT name, count(*) FROM pg_timezone_names z,
  LATERAL (SELECT r, row_number() OVER () AS n FROM dbops.next_runs('0 12 1 * *', 60, z.name, '2025-12-15') r) runs
WHERE r IS DISTINCT FROM (timestamp '2025-12-01 12:00' + n * interval '1 month') AT TIME ZONE z.name AND name !~ '^posix'
  AND name NOT IN (SELECT abbrev FROM pg_timezone_abbrevs) GROUP BY name; -- AT TIME ZONE takes these for the abbreviation

-- Refused
SELECT refused($$SELECT count(*) FROM dbops.next_runs('0 0 31 2 *')$$);
SELECT refused($$SELECT count(*) FROM dbops.next_runs('0 0 * * 5#2')$$);
SELECT refused($$SELECT count(*) FROM dbops.next_runs('0 0 * *')$$);
SELECT refused($$SELECT count(*) FROM dbops.next_runs('@reboot')$$);
SELECT refused($$SELECT count(*) FROM dbops.next_runs('every 0 minutes')$$);
SELECT refused($$SELECT count(*) FROM dbops.next_runs('')$$);
SELECT refused($$SELECT count(*) FROM dbops.next_runs(NULL)$$);
SELECT refused($$SELECT count(*) FROM dbops.next_runs('@daily', NULL)$$);
SELECT refused($$SELECT count(*) FROM dbops.next_runs('@daily', -1)$$);
SELECT refused($$SELECT count(*) FROM dbops.next_runs('@daily', 10001)$$);
SELECT refused($$SELECT count(*) FROM dbops.next_runs('@daily', 1, 'Mars/Base')$$);
SELECT refused($$SELECT count(*) FROM dbops.next_runs('@daily', 1, 'UTC', 'infinity')$$);
