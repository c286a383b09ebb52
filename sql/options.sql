-- Options out of range, of unknown names, of the wrong type.
\set ECHO none
\i sql/include/setup.sql

CREATE TABLE t (id integer PRIMARY KEY, a integer, b integer);
CREATE TABLE keyless (id integer, a integer, b integer);

SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'strategy => ''fast''');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'strategy => ''''');
SELECT refused_backfill('keyless', 'b = a', 'b IS NULL', 'strategy => ''key''');
SELECT refused_backfill('keyless', 'b = a');
SELECT refused_backfill('t', 'b = a', NULL, 'strategy => ''block''');
SELECT refused_backfill('t', 'b = a', 'a > 5', 'strategy => ''block''');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'stripes => 0');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'stripes => 65');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'parallel => 0');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'parallel => 65');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'parallel => NULL');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'target_batch_time => ''0''');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'target_batch_time => ''-1 s''');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'target_batch_time => ''61 s''');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'target_batch_time => ''100 years''');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'target_batch_time => NULL');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'max_batch_rows => 0');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'max_batch_rows => 10000001');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'max_batch_rows => NULL');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'nice_ratio => -0.1');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'nice_ratio => 100.1');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'nice_ratio => ''NaN''');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'nice_ratio => ''infinity''');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'max_rows_per_second => 0');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'max_rows_per_second => -1');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'max_rows_per_second => ''NaN''');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'max_bytes_per_second => 0');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'max_replica_lag => ''0''');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'max_replica_lag => ''-1 s''');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'max_wal_rate => 0');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'max_archive_backlog => -1');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'max_lock_waiters => -1');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'max_active_sessions => 0');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'max_load => 0');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'max_load => ''NaN''');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'lock_timeout => ''0''');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'lock_timeout => ''61 s''');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'lock_timeout => NULL');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'max_errors => -1');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'max_errors => 1000001');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'max_errors => NULL');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'vacuum_every => -0.1');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'vacuum_every => 1.1');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'priority => 1001');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'priority => -1001');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'priority => NULL');

-- Windows and time zone
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'windows => ''always''');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'windows => ''25:00-26:00''');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'windows => ''22:00''');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'windows => ''24:00-06:00''');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'windows => ''Mon-Fri 20:00-24:00, Someday 00:00-24:00''');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'windows => ''22:00-06:00; DROP TABLE t''');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'windows => ''22:00-06:00'', timezone => ''Moon/Crater''');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'timezone => ''Moon/Crater''');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'windows => ''22:00-06:00'', timezone => ''../../../etc/passwd''');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'windows => ''22:00-06:00'', timezone => ''''''; DROP TABLE t; --''');

-- Roles
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'run_as => ''no_such_role''');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'run_as => ''''');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'run_as => ''public''');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'run_as => ''none''');

-- Names and types
SELECT left(line, 45) FROM refused_backfill('t', 'b = a', 'b IS NULL', 'paralel => 2') line LIMIT 1;
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'parallel => ''many''');
SELECT refused_backfill('t', 'b = a', 'b IS NULL', 'lock_timeout => ''soon''');
SELECT refused_backfill(NULL, 'b = a');
SELECT refused_backfill('no_such_table', 'b = a');
SELECT line ~ '^(3F000|42P01)' FROM refused_backfill('no_such_schema.t', 'b = a') line;
SELECT refused_backfill('0', 'b = a');
SELECT refused_backfill('4294967295', 'b = a');
SELECT refused_backfill('t; DROP TABLE t', 'b = a');

-- The same for the others
SELECT refused($$SELECT dbops.batch_delete('t', 'true', parallel => 0)$$);
SELECT refused($$SELECT dbops.batch_delete('t', 'true', strategy => 'fast')$$);
SELECT refused($$SELECT dbops.backfill_preview('t', 'b = a', parallel => 0)$$);
SELECT refused($$SELECT dbops.batch_delete_preview('t', 'true', windows => 'always')$$);

SELECT count(*) FROM dbops.jobs;

-- The ends of each range
SELECT dbops.backfill('t', 'b = a', 'b IS NULL', stripes => 1, parallel => 1, target_batch_time => '1 ms', max_batch_rows => 1,
  nice_ratio => 0, max_rows_per_second => 0.001, max_bytes_per_second => 0.001, max_replica_lag => '1 us', max_wal_rate => 1,
  max_archive_backlog => 0, max_lock_waiters => 0, max_active_sessions => 1, max_load => 0.001, lock_timeout => '1 ms',
  max_errors => 0, vacuum_every => 0, priority => -1000) AS low \gset
SELECT dbops.backfill('t', 'b = a', 'b IS NULL', stripes => 64, parallel => 64, target_batch_time => '60 s', max_batch_rows => 10000000,
  nice_ratio => 100, max_rows_per_second => 1e300, max_bytes_per_second => 1e300, max_replica_lag => '1000 years',
  max_wal_rate => 9223372036854775807, max_archive_backlog => 9223372036854775807, max_lock_waiters => 9223372036854775807,
  max_active_sessions => 9223372036854775807, max_load => 1e300, lock_timeout => '60 s', max_errors => 1000000, vacuum_every => 1,
  priority => 1000, label => repeat('long ', 1000), windows => 'Mon-Sun 10:00-10:00', timezone => 'Asia/Tokyo') AS high \gset
SELECT dbops.backfill('t', 'b = a', 'b IS NULL', strategy => NULL, stripes => NULL, max_rows_per_second => NULL,
  max_bytes_per_second => NULL, max_replica_lag => NULL, max_wal_rate => NULL, max_archive_backlog => NULL, max_lock_waiters => NULL,
  max_active_sessions => NULL, max_load => NULL, pause_for_autovacuum => NULL, windows => NULL, timezone => NULL,
  skip_triggers => NULL, run_as => NULL, label => NULL) AS nulls \gset
SELECT state, strategy, parallel, priority, length(label) FROM dbops.jobs WHERE job_id IN (:low, :high, :nulls) ORDER BY job_id;

-- They run; the first would take its time
INSERT INTO t SELECT i, i FROM generate_series(1, 500) i;
CALL dbops.run(:high);
SELECT count(*) FROM t WHERE b = a;
UPDATE t SET b = NULL;
CALL dbops.run(:nulls);
SELECT count(*) FROM t WHERE b = a;
SELECT state, rows_done FROM dbops.jobs WHERE job_id IN (:low, :high, :nulls) ORDER BY job_id;

DROP TABLE t, keyless;
