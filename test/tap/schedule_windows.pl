# Nothing but a person's word begins a run outside of its windows; what a run leaves of the times that come during it; a
# single time that was missed.
use strict;
use warnings;
use Test::More;
use Dbops;

my $node = Dbops::node('windows', conf => "autovacuum = off\n");
sub sql { return Dbops::value($node, $_[0]); }
sub runs_until { my ($name, $runs) = @_; return Dbops::wait_for($node, "SELECT runs >= $runs FROM dbops.schedules WHERE name = '$name'", 't'); }
my $closed = q{timezone => 'UTC', windows => to_char(now() AT TIME ZONE 'UTC' - interval '2 hours', 'HH24:MI') || '-' || to_char(now() AT TIME ZONE 'UTC' - interval '1 hour', 'HH24:MI')};
sub schedule { my ($name, $rest) = @_; return sql("SELECT dbops.schedule('$name', $rest)"); }
sub waits
{
	my ($name) = @_;
	return Dbops::wait_for($node, "SELECT state = 'queued' AND next_run BETWEEN now() + interval '21 hours' AND now() + interval '23 hours' FROM dbops.schedules WHERE name = '$name'", 't');
}
my $wakes = 0;
# The launcher looks, and another schedule of the same role gets its turn.
sub wake { sql("SELECT dbops.run_now('wake')"); return runs_until('wake', ++$wakes); }
schedule('wake', q{'@yearly', 'SELECT 1'});

schedule('first', q{'@yearly', 'SELECT 1'});
schedule('follower', qq{NULL, 'SELECT 1', after => 'first', $closed});
sql(q{SELECT dbops.run_now('first')});
ok(runs_until('first', 1) && wake() && waits('follower'), 'a run after another one waits for its window');
is(sql("SELECT runs FROM dbops.schedules WHERE name = 'follower'"), 0, 'without a run');
sql(q{SELECT dbops.run_now('follower')});
ok(runs_until('follower', 1), 'a person can have it at once');

schedule('again', qq{'\@yearly', 'SELECT 1/0', retries => 3, retry_delay => '0 s', $closed});
sql(q{SELECT dbops.run_now('again')});
ok(runs_until('again', 1) && wake() && waits('again'), 'a retry waits for its window');
is(sql("SELECT runs FROM dbops.schedules WHERE name = 'again'"), 1, 'without a run');

# Its moment was within a window, but nobody came before the window closed.
my $late = schedule('late', qq{'\@yearly', 'SELECT 1', $closed});
sql("UPDATE dbops.schedule SET pending_slot = now() - interval '91 minutes', pending_at = now() - interval '90 minutes', pending_why = 'retry', attempt = 2, due_at = now() WHERE job_id = $late");
ok(wake() && waits('late'), 'a retry that was not looked at before its window closed waits for the next one');
is(sql("SELECT runs FROM dbops.schedules WHERE name = 'late'"), 0, 'without a run');

schedule('queue', qq{'every second', 'SELECT pg_sleep(2.2)', overlap => 'queue', $closed});
sql(q{SELECT dbops.run_now('queue')});
ok(runs_until('queue', 1) && wake() && waits('queue'), 'what came during a run waits for its window');
is(sql("SELECT runs FROM dbops.schedules WHERE name = 'queue'"), 1, 'without a run');

sql('CREATE TABLE gate (shut boolean); INSERT INTO gate VALUES (true)');
schedule('cancel', qq{'every second', 'DO \$\$BEGIN WHILE (SELECT shut FROM gate) LOOP PERFORM pg_sleep(0.05); END LOOP; END\$\$', overlap => 'cancel', $closed});
sql(q{SELECT dbops.run_now('cancel')});
ok(Dbops::wait_for($node, "SELECT state FROM dbops.schedules WHERE name = 'cancel'", 'running'), 'a run that its next one cancels');
ok(Dbops::wait_for($node, "SELECT next_slot < now() FROM dbops.schedule WHERE name = 'cancel'", 't'), 'when its time comes');
ok(wake() && wake(), 'the launcher looks');
ok(Dbops::wait_for($node, "SELECT running AND due_at BETWEEN now() + interval '21 hours' AND now() + interval '23 hours' FROM dbops.schedule WHERE name = 'cancel'", 't'), 'and will look again when the window opens');
is(sql("SELECT state, next_run BETWEEN now() + interval '21 hours' AND now() + interval '23 hours' FROM dbops.schedules WHERE name = 'cancel'"), 'running|t', 'which is when the next one runs, as the view says');
schedule('idle', q{'every second', 'DO $$BEGIN WHILE (SELECT shut FROM gate) LOOP PERFORM pg_sleep(0.05); END LOOP; END$$'});
ok(Dbops::wait_for($node, "SELECT state FROM dbops.schedules WHERE name = 'idle'", 'running'), 'one without windows runs');
is(sql("SELECT v.next_run = s.next_slot AND v.next_run > s.slot FROM dbops.schedules v JOIN dbops.schedule s USING (job_id) WHERE v.name = 'idle'"), 't', 'its next run is at its next time');
sql("SELECT dbops.unschedule('idle')");
sql('UPDATE gate SET shut = false');
ok(runs_until('cancel', 1) && waits('cancel'), 'ends, as the next one waits for its window');
is(sql("SELECT last_result FROM dbops.schedules WHERE name = 'cancel'"), 'finished', 'by itself');

schedule('skip', q{'every second', 'SELECT pg_sleep(1.5), 1/(random() * 0)::int', retries => 1, retry_delay => '1 hour', overlap => 'skip'});
ok(runs_until('skip', 3), 'one that fails, and is to be retried');
is(sql(q{SELECT count(*) FROM (SELECT scheduled_at > lag(started_at) OVER r AND scheduled_at < lag(finished_at) OVER r AS during FROM dbops.job_runs JOIN dbops.schedules s USING (job_id) WHERE s.name = 'skip' WINDOW r AS (ORDER BY run_id)) r WHERE during}), 0, 'leaves out what came during its runs');
is(sql("SELECT skipped_runs >= 2 FROM dbops.schedules WHERE name = 'skip'"), 't', 'and says so');
sql("SELECT dbops.unschedule('skip')");

my $job = schedule('gone', q{'at 2100-01-01 00:00', 'SELECT 1', missed => 'skip'});
sql(qq{BEGIN; SELECT 1 FROM dbops.schedule WHERE job_id = $job FOR NO KEY UPDATE; UPDATE dbops.job SET spec = spec || '{"schedule": "at 2020-01-01 00:00"}' WHERE job_id = $job;
	UPDATE dbops.schedule SET accounted = '2019-01-01', next_slot = '2020-01-01', due_at = '2020-01-01' WHERE job_id = $job; COMMIT});
wake();
ok(Dbops::wait_for($node, "SELECT state, next_run IS NULL, missed_runs, runs FROM dbops.schedules WHERE job_id = $job", 'cancelled|t|1|0'), 'a single time that was missed ends its schedule');
is(sql("SELECT reason FROM dbops.job_events WHERE job_id = $job AND to_state = 'cancelled'"), 'its only time was missed', 'which says why');
ok(schedule('gone', q{'@yearly', 'SELECT 1'}) > $job, 'its name is free again');

$node->stop;
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/PANIC|TRAP:|terminated by signal|duplicate key/, 'nothing untoward in the log');
done_testing();
