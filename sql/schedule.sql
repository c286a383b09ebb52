-- Schedules: what is refused, with nothing left behind; what alter_schedule changes; who may. Nothing runs in this suite.
\set ECHO none
\i sql/include/setup.sql
CREATE OR REPLACE FUNCTION refused_schedule(arguments text) RETURNS SETOF text LANGUAGE sql AS $$
  SELECT refused('SELECT dbops.schedule(' || arguments || ')')
$$;

-- Bad input of each argument
SELECT refused_schedule($$NULL, '@daily', 'SELECT 1'$$);
SELECT refused_schedule($$'', '@daily', 'SELECT 1'$$);
SELECT refused_schedule($$repeat('x', 201), '@daily', 'SELECT 1'$$);
SELECT refused_schedule($$'a', NULL, 'SELECT 1'$$);
SELECT refused_schedule($$'a', '', 'SELECT 1'$$);
SELECT refused_schedule($$'a', '0 0 31 2 *', 'SELECT 1'$$);
SELECT refused_schedule($$'a', '5;30 * * * *', 'SELECT 1'$$);
SELECT refused_schedule($$'a', 'at 2020-01-01 00:00', 'SELECT 1'$$);
SELECT refused_schedule($$'a', '@daily', NULL$$);
SELECT refused_schedule($$'a', '@daily', ''$$);
SELECT refused_schedule($$'a', '@daily', ' ; -- nothing'$$);
SELECT refused_schedule($$'a', '@daily', 'SELEC 1'$$);
SELECT refused_schedule($$'a', '@daily', 'SELECT 1; COPY t TO STDOUT'$$);
SELECT refused_schedule($$'a', '@daily', 'COPY t FROM STDIN'$$);
SELECT refused_schedule($$'a', '@daily', 'SELECT 1', timezone => 'Mars/Base'$$);
SELECT refused_schedule($$'a', '@daily', 'SELECT 1', overlap => 'always'$$);
SELECT refused_schedule($$'a', '@daily', 'SELECT 1', missed => 'some'$$);
SELECT refused_schedule($$'a', '@daily', 'SELECT 1', max_missed => 0$$);
SELECT refused_schedule($$'a', '@daily', 'SELECT 1', max_missed => 1001$$);
SELECT refused_schedule($$'a', '@daily', 'SELECT 1', retries => -1$$);
SELECT refused_schedule($$'a', '@daily', 'SELECT 1', retries => 101$$);
SELECT refused_schedule($$'a', '@daily', 'SELECT 1', retry_delay => '-1 s'$$);
SELECT refused_schedule($$'a', '@daily', 'SELECT 1', retry_delay => '31 days'$$);
SELECT refused_schedule($$'a', '@daily', 'SELECT 1', time_limit => '-1 s'$$);
SELECT refused_schedule($$'a', '@daily', 'SELECT 1', jitter => '-1 s'$$);
SELECT refused_schedule($$'a', '@daily', 'SELECT 1', windows => 'night'$$);
SELECT refused_schedule($$'a', '@daily', 'SELECT 1', priority => 1001$$);
SELECT refused_schedule($$'a', '@daily', 'SELECT 1', after => 'b'$$);
SELECT refused_schedule($$'a', NULL, 'SELECT 1', after => 'b'$$);
SELECT refused_schedule($$'a', '@daily', 'SELECT 1', settings => '[]'$$);
SELECT refused_schedule($$'a', '@daily', 'SELECT 1', settings => '{"work_mem": [1]}'$$);
SELECT refused_schedule($$'a', '@daily', 'SELECT 1', settings => '{"work_mem": "much"}'$$);
SELECT refused_schedule($$'a', '@daily', 'SELECT 1', settings => '{"no_such_setting": 1}'$$);
SELECT refused_schedule($$'a', '@daily', 'SELECT 1', settings => '{"max_connections": 1}'$$);
SELECT refused_schedule($$'a', '@daily', 'SELECT 1', settings => '{"role": "ann"}'$$);
SELECT refused_schedule($$'a', '@daily', 'SELECT 1', settings => '{"dbops.in_job": "1"}'$$);
SELECT refused_schedule($$'a', '@daily', 'SELECT 1', max_output => -1$$);
SELECT refused_schedule($$'a', '@daily', 'SELECT 1', run_as => 'nobody_of_this_name'$$);
SELECT refused($$SELECT dbops.unschedule('a')$$);
SELECT refused($$SELECT dbops.unschedule(NULL)$$);
SELECT refused($$SELECT dbops.run_now('a')$$);
SELECT refused($$SELECT dbops.alter_schedule('a', schedule => '@daily')$$);
SELECT count(*) FROM dbops.schedules;
SELECT count(*) FROM dbops.jobs;

-- One, as it is shown
SELECT dbops.schedule('one', '30 3 * * *', 'SELECT 1', timezone => 'Europe/Berlin', time_limit => '1 min', settings => '{"work_mem": "1MB", "enable_seqscan": false}');
SELECT job_id, name, schedule, timezone, command, state, last_run, last_result, runs, failures, missed_runs, skipped_runs, retries_made, after,
  priority, overlap, missed, max_missed, retries, retry_delay, time_limit, jitter, windows, settings, max_output FROM dbops.schedules;
SELECT to_char(next_run AT TIME ZONE timezone, 'HH24:MI') FROM dbops.schedules;
SELECT job_id, kind, target, state, label FROM dbops.jobs;
SELECT state, waiting_for FROM dbops.progress;
SELECT refused_schedule($$'one', '@daily', 'SELECT 1'$$);

-- alter_schedule: what is given is changed, the rest stays; refused, nothing is
SELECT dbops.alter_schedule('one', schedule => 'every 2 hours', priority => 5, time_limit => '0', windows => '22:00-06:00', settings => '{}');
SELECT schedule, timezone, command, priority, time_limit, windows, settings, next_run - now() <= interval '24 hours' FROM dbops.schedules;
SELECT dbops.alter_schedule('one', command => 'SELECT 2', windows => '', new_name => 'two');
SELECT name, schedule, command, windows FROM dbops.schedules;
SELECT refused($$SELECT dbops.alter_schedule('two', command => 'SELEC')$$);
SELECT refused($$SELECT dbops.alter_schedule('two', schedule => 'never')$$);
SELECT refused($$SELECT dbops.alter_schedule('two', new_name => '')$$);
SELECT refused($$SELECT dbops.alter_schedule('two', after => 'two')$$);
SELECT refused($$SELECT dbops.alter_schedule('two', schedule => '', after => 'two')$$);
SELECT name, schedule, command FROM dbops.schedules;
SELECT action, from_state, to_state FROM dbops.job_events ORDER BY event_id;

-- Chains
SELECT dbops.schedule('next', NULL, 'SELECT 3', after => 'two');
SELECT name, schedule, after, next_run IS NULL FROM dbops.schedules ORDER BY name;
SELECT refused($$SELECT dbops.alter_schedule('two', schedule => '', after => 'next')$$);
SELECT refused($$SELECT dbops.unschedule('two')$$);
SELECT refused($$SELECT dbops.alter_schedule('next', after => '')$$);
SELECT dbops.alter_schedule('next', schedule => '@daily', after => '');
SELECT dbops.unschedule('two');
SELECT name, after FROM dbops.schedules;
SELECT job_id, state FROM dbops.jobs ORDER BY job_id;

-- Steering
SELECT dbops.pause(2);
SELECT state, next_run FROM dbops.schedules;
SELECT refused($$SELECT dbops.run_now('next')$$);
SELECT dbops.resume(2);
SELECT state, next_run > now() FROM dbops.schedules;
SELECT dbops.run_now('next');
SELECT next_run <= now() FROM dbops.schedules;
SELECT dbops.cancel(2);
SELECT state, next_run FROM dbops.schedules;
SELECT refused($$SELECT dbops.alter_schedule('next', command => 'SELECT 1')$$);
SELECT dbops.retry(2);
SELECT state, next_run > now() FROM dbops.schedules;
SELECT refused($$SELECT dbops.retry(1)$$);

-- Rolled back, nothing remains
BEGIN;
SELECT dbops.schedule('gone', '@daily', 'SELECT 1') > 2;
ROLLBACK;
SELECT count(*) FROM dbops.schedules WHERE name = 'gone';

-- Who may: the owner, members of his role, dbops_admin; but what is run is the owner's word
CREATE ROLE sched_ann LOGIN;
CREATE ROLE sched_ben LOGIN;
CREATE ROLE sched_admin LOGIN IN ROLE dbops_admin;
SET ROLE sched_ann;
SELECT dbops.schedule('of ann', '@daily', 'SELECT 1') > 0;
SELECT refused_schedule($$'as ben', '@daily', 'SELECT 1', run_as => 'sched_ben'$$);
SELECT refused_schedule($$'setting', '@daily', 'SELECT 1', settings => '{"log_min_messages": "debug5"}'$$);
SELECT name, owner FROM dbops.schedules;
SET ROLE sched_ben;
SELECT name FROM dbops.schedules;
SELECT refused($$SELECT dbops.unschedule('of ann')$$);
SELECT refused($$SELECT dbops.run_now('of ann')$$);
SELECT refused($$SELECT dbops.alter_schedule('of ann', command => 'SELECT 2')$$);
SELECT refused_schedule($$'of ann', '@daily', 'SELECT 1'$$);
SELECT refused_schedule($$'after ann', NULL, 'SELECT 1', after => 'of ann'$$);
SELECT refused('SELECT count(*) FROM dbops.schedule');
SELECT refused('UPDATE dbops.schedule SET name = name');
SET ROLE sched_admin;
SELECT name FROM dbops.schedules ORDER BY name;
SELECT refused($$SELECT dbops.alter_schedule('of ann', command => 'SELECT 2')$$);
SELECT refused($$SELECT dbops.alter_schedule('of ann', settings => '{"search_path": "x"}')$$);
SELECT dbops.alter_schedule('of ann', schedule => '@hourly') > 0;
SELECT dbops.unschedule('of ann') > 0;
RESET ROLE;
SELECT refused('SELECT count(*) FROM dbops.adopt_pg_cron()');
\set ECHO none
DROP ROLE sched_ann, sched_ben, sched_admin;
DELETE FROM dbops.job;
