# What holds a job back, that it says so, and that it holds nothing itself meanwhile.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(time sleep);
use Dbops;

my $node = Dbops::node('throttle', init => [ has_archiving => 1, allows_streaming => 1 ], conf => "archive_command = 'false'\ndbops.max_workers = 12\nautovacuum = off\n");
$node->safe_psql('postgres', 'SET client_min_messages = error; CREATE TABLE t (id int PRIMARY KEY, n int) WITH (fillfactor = 50); INSERT INTO t SELECT generate_series(1, 500), 0');

# No limit but that; "name => value, ..."
sub make
{
	my ($options) = @_;
	my $none = join '', map { $options =~ /$_/ ? '' : "$_ => NULL, " } qw(max_archive_backlog max_replica_lag max_lock_waiters);
	return Dbops::backfill($node, "'t', 'n = n + 1', nice_ratio => 0, $none$options");
}

# The job stops for that reason, says so, and holds no snapshot.
sub waits
{
	my ($job, $what, $pattern) = @_;
	my $reason = "SELECT waiting_for ~ '$pattern' AND waiting_since <= clock_timestamp() FROM dbops.progress WHERE job_id = $job";
	ok(Dbops::wait_for($node, $reason, 't', 60), "$what: the job waits, and says for what");
	my ($samples, $held, $held_before) = (0, 0, 0);
	for (1 .. 10)
	{
		my ($n, $h) = split /\|/, Dbops::value($node, 'SELECT count(*), count(coalesce(backend_xmin::text, backend_xid::text)) FROM pg_stat_activity a JOIN dbops.job_runs r USING (pid)'
			  . " WHERE r.job_id = $job AND r.outcome = 'running' AND a.wait_event_type = 'Extension'");
		$samples += $n;
		# Where a process waits, and what it holds, are not read at one moment: one that holds something all the time is met again.
		$held += $h > 0 && $held_before;
		$held_before = $h > 0;
	}
	ok($samples > 0 && $held == 0, "$what: without a snapshot or a transaction id ($samples samples, $held held)");
	is(Dbops::job_state($node, $job), 'running', "$what: it is running");
	return;
}
sub untouched
{
	my ($job, $what) = @_;
	is(Dbops::value($node, "SELECT rows_done FROM dbops.jobs WHERE job_id = $job"), 0, "$what: nothing was done");
	return;
}
sub goes_on { my ($job, $what) = @_; is(Dbops::wait_job($node, $job, 60), 'succeeded', "$what: then it goes on"); return; }
sub stop_job
{
	my ($job, $what) = @_;
	my $begin = time();
	is(Dbops::value($node, "SELECT dbops.cancel($job)"), 'cancelled', "$what: it can be cancelled");
	ok(Dbops::wait_for($node, "SELECT count(*) FROM dbops.job_runs WHERE job_id = $job AND outcome = 'running'", 0, 30), "$what: at once");
	return;
}

# --- archive backlog ---------------------------------------------------------------------------------------------------
$node->safe_psql('postgres', 'SELECT pg_switch_wal(); CREATE TABLE x1 (); SELECT pg_switch_wal(); CREATE TABLE x2 (); SELECT pg_switch_wal();');
ok(Dbops::wait_for($node, q{SELECT count(*) >= 2 FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'}, 't'), 'segments wait for the archiver');
my $job = make('max_archive_backlog => 1');
waits($job, 'archive backlog', '^archive backlog \d+ segments, limit 1 segment');
untouched($job, 'archive backlog');
$node->safe_psql('postgres', q{ALTER SYSTEM SET archive_command = 'true'});
$node->reload;
goes_on($job, 'archive backlog');

# --- a signal that cannot be read -----------------------------------------------------------------------------------------
my $status = $node->data_dir . '/pg_wal/archive_status';
chmod 0, $status or die "chmod: $!";
$job = make('max_archive_backlog => 1000');
waits($job, 'no signal', '^archive backlog cannot be read');
untouched($job, 'no signal');
chmod 0700, $status or die "chmod: $!";
goes_on($job, 'no signal');
rename $status, "$status.away" or die "rename: $!";
$job = make('max_archive_backlog => 1000');
waits($job, 'no directory', '^archive backlog cannot be read');
untouched($job, 'no directory');
rename "$status.away", $status or die "rename: $!";
goes_on($job, 'no directory');

# --- active sessions ----------------------------------------------------------------------------------------------------
my @busy = map { Dbops::start_sql($node, 'SELECT pg_sleep(300)') } 1 .. 2;
ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(300)' AND state = 'active'}, 2), 'two active sessions');
$job = make('max_active_sessions => 1');
waits($job, 'active sessions', '^active sessions [23], limit 1');
untouched($job, 'active sessions');
$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(300)'});
Dbops::finish_sql($_, 30) for @busy;
# This test's own questions are active sessions as well: fewer of them.
for (1 .. 60) { last if Dbops::job_state($node, $job) eq 'succeeded'; sleep 1; }
is(Dbops::job_state($node, $job), 'succeeded', 'active sessions: then it goes on');

# What cannot be seen is not taken for zero.
$node->safe_psql('postgres', 'CREATE ROLE shy SUPERUSER LOGIN; ALTER ROLE shy SET track_activities = off');
my $hidden = Dbops::start_sql($node, 'SELECT pg_sleep(300)', role => 'shy');
ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_stat_activity WHERE state = 'disabled'}, 1), 'a session that does not tell');
$job = make('max_active_sessions => 100');
waits($job, 'hidden session', '^active sessions cannot be read');
untouched($job, 'hidden session');
$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'disabled'});
Dbops::finish_sql($hidden, 30);
goes_on($job, 'hidden session');

# --- nice_ratio ----------------------------------------------------------------------------------------------------------
$node->safe_psql('postgres', q{CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END';
	CREATE TABLE nice (id int PRIMARY KEY, n int); INSERT INTO nice SELECT generate_series(1, 10), 0;
	CREATE TRIGGER slow AFTER UPDATE ON nice FOR EACH STATEMENT EXECUTE FUNCTION slow()});
$job = Dbops::backfill($node, q{'nice', 'n = n + 1', nice_ratio => 100, max_batch_rows => 5, max_archive_backlog => NULL, max_replica_lag => NULL, max_lock_waiters => NULL});
waits($job, 'nice_ratio', '^nice_ratio$');
is(Dbops::value($node, "SELECT rows_done FROM dbops.jobs WHERE job_id = $job"), 5, 'nice_ratio: after the first batch');
stop_job($job, 'nice_ratio');

# --- lock waiters ---------------------------------------------------------------------------------------------------------
# Each batch stays at its last row until the gate lets it pass, with another session waiting for that row meanwhile. The job
# stops for half a second after such a batch: a session beside it looks all the time, should it be missed at the next batch again.
$node->safe_psql('postgres', q{CREATE TABLE gate (upto int, looked int); INSERT INTO gate VALUES (0, 0);
	CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN WHILE (SELECT upto FROM gate) < NEW.id LOOP PERFORM pg_sleep(0.01); END LOOP; RETURN NEW; END$$;
	CREATE TABLE wanted (id int PRIMARY KEY, n int, m int); INSERT INTO wanted SELECT generate_series(1, 10), 0, 0;
	CREATE TRIGGER pass BEFORE UPDATE ON wanted FOR EACH ROW WHEN (NEW.n <> OLD.n) EXECUTE FUNCTION pass()});
$job = Dbops::backfill($node, q{'wanted', 'n = n + 1', strategy => 'key', max_batch_rows => 1, nice_ratio => 0, max_archive_backlog => NULL, max_replica_lag => NULL});
my $at_gate = "SELECT count(*) FROM pg_stat_activity a JOIN dbops.job_runs r USING (pid) WHERE r.job_id = $job AND r.outcome = 'running' AND a.wait_event = 'PgSleep'";
my $seen = '';
my $row = 0;
while ($seen eq '' && ++$row < 10)
{
	ok(Dbops::wait_for($node, $at_gate, 1), "lock waiters: the job is at row $row");
	my $other = Dbops::start_sql($node, "UPDATE wanted SET m = 1 WHERE id = $row");
	ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_locks l JOIN dbops.job_runs r ON r.pid = ANY (pg_blocking_pids(l.pid)) WHERE NOT l.granted AND r.job_id = $job AND r.outcome = 'running'", 1), "lock waiters: a session waits for row $row");
	my $look = Dbops::start_sql($node, qq{DO \$\$
		DECLARE p record;
		BEGIN
			SET LOCAL application_name = 'looks';
			LOOP
				SELECT waiting_for, waiting_since, rows_done INTO p FROM dbops.progress WHERE job_id = $job;
				EXIT WHEN (p.waiting_for ~ 'lock waiter' AND p.rows_done >= $row) OR (SELECT looked FROM gate) >= $row;
				PERFORM pg_sleep(0.005), pg_stat_clear_snapshot();
			END LOOP;
			IF p.waiting_since <= clock_timestamp() AND p.rows_done >= $row THEN RAISE EXCEPTION USING ERRCODE = 'ZZ002', MESSAGE = format('%s after %s rows', p.waiting_for, p.rows_done); END IF;
		END\$\$});
	ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'looks'}, 1), 'lock waiters: somebody looks');
	$node->safe_psql('postgres', "UPDATE gate SET upto = $row");
	is((Dbops::finish_sql($other))[1], '', 'lock waiters: the other session has its row after the batch');
	# The next batch is at the gate: the job has gone on.
	ok(Dbops::wait_for($node, "SELECT rows_done = $row FROM dbops.jobs WHERE job_id = $job", 't') && Dbops::wait_for($node, $at_gate, 1), 'lock waiters: the job goes on');
	$node->safe_psql('postgres', "UPDATE gate SET looked = $row");
	my $said = (Dbops::finish_sql($look))[1];
	$seen = $1 if $said =~ /^ZZ002: (.*)/;
}
is($seen, "lock waiters 1, limit 0 after $row rows", 'lock waiters: the job waits, and says for what');
$node->safe_psql('postgres', 'UPDATE gate SET upto = 10');
goes_on($job, 'lock waiters');
is(Dbops::value($node, 'SELECT string_agg(DISTINCT n::text, NULL), sum(m) FROM wanted'), "1|$row", 'lock waiters: each row once, and the changes of the others');
cmp_ok(Dbops::value($node, "SELECT lock_waits FROM dbops.progress WHERE job_id = $job"), '>=', 1, 'lock waiters: they are counted');

# --- load, WAL rate ------------------------------------------------------------------------------------------------------
SKIP:
{
	skip 'no /proc/loadavg', 6 unless -r '/proc/loadavg';
	open my $f, '<', '/proc/loadavg' or die;
	skip 'the machine is idle', 6 if (split ' ', <$f>)[0] < 0.1;
	$job = make('max_load => 0.0001');
	waits($job, 'load', '^load [\d.]+ a core, limit 0\.0 a core');
	untouched($job, 'load') ;
	stop_job($job, 'load');
}
$job = make('max_wal_rate => 1, max_batch_rows => 20, max_rows_per_second => 50');
waits($job, 'WAL rate', '^WAL rate [\d.]+ MB/s, limit 0\.0 MB/s');
stop_job($job, 'WAL rate');

# --- vacuum of the table ---------------------------------------------------------------------------------------------------
$node->safe_psql('postgres', q{CREATE TABLE v (id int PRIMARY KEY, n int, t text) WITH (fillfactor = 50);
	INSERT INTO v SELECT i, 0, repeat('x', 500) FROM generate_series(1, 5000) i; DELETE FROM v WHERE id % 2 = 0;});
my $vacuum = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', 'SET vacuum_cost_delay = 100', '-c', 'SET vacuum_cost_limit = 1', '-c', 'VACUUM v' ], '>', \my $vacuum_out, '2>', \my $vacuum_err);
ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_stat_progress_vacuum WHERE relid = 'v'::regclass}, 1), 'a slow VACUUM');
$job = Dbops::backfill($node, q{'v', 'n = n + 1', pause_for_autovacuum => true, max_archive_backlog => NULL});
waits($job, 'vacuum', '^vacuum is running on the table');
untouched($job, 'vacuum');
$node->safe_psql('postgres', q{SELECT pg_cancel_backend(pid) FROM pg_stat_progress_vacuum});
$vacuum->finish;
goes_on($job, 'vacuum');

# --- time windows -----------------------------------------------------------------------------------------------------------
# A window of two hours that begins in two hours, and one that is open now, each in a zone of its own.
my $window = q{SELECT to_char(t + interval '%s hours', 'HH24:MI') || '-' || to_char(t + interval '%s hours', 'HH24:MI') FROM (SELECT now() AT TIME ZONE '%s' AS t) x};
my $closed = Dbops::value($node, sprintf $window, 2, 4, 'Asia/Kathmandu');
# A worker looks and leaves; nothing of the job is touched until it opens.
sub stays_away
{
	my ($job, $what, $pattern) = @_;
	ok(Dbops::wait_for($node, "SELECT waiting_for ~ '$pattern' AND waiting_since <= clock_timestamp() FROM dbops.progress WHERE job_id = $job", 't', 60), "$what: the job waits, and says for what");
	ok(Dbops::wait_for($node, "SELECT count(*) FROM dbops.job_runs WHERE job_id = $job AND outcome = 'running'", 0, 30), "$what: no worker stays for it");
	ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'dbops worker'}, 0, 30), "$what: its slot is free");
	is(Dbops::job_state($node, $job), 'queued', "$what: it is queued");
	my $rows = "SELECT j.xmin, s.xmin, (SELECT count(*) FROM dbops.job_run r WHERE r.job_id = $job) FROM dbops.job j JOIN dbops.job_slice s USING (job_id) WHERE job_id = $job";
	my $before = Dbops::value($node, $rows);
	sleep 3;    # the time that is looked at
	is(Dbops::value($node, $rows), $before, "$what: its rows are left alone");
	return;
}
$job = make("windows => '$closed', timezone => 'Asia/Kathmandu'");
stays_away($job, 'window', "^time window $closed, opens in 1[12][0-9] min\$");
untouched($job, 'window');
is(Dbops::value($node, "SELECT extract(epoch FROM not_before - clock_timestamp())::int / 60 BETWEEN 115 AND 121, extract(second FROM not_before) = 0 FROM dbops.jobs WHERE job_id = $job"), 't|t', 'window: to be started when it opens');
is(Dbops::value($node, "SELECT dbops.pause($job)"), 'paused', 'window: it can be paused');
is(Dbops::value($node, "SELECT dbops.resume($job)"), 'queued', 'window: and resumed');
stays_away($job, 'window resumed', "^time window $closed, opens in");
stop_job($job, 'window');
my $open = Dbops::value($node, sprintf $window, -1, 1, 'Asia/Kathmandu');
goes_on(make("windows => '$open', timezone => 'Asia/Kathmandu'"), 'an open window');
$job = make("windows => '$open', timezone => 'America/New_York'");
stays_away($job, 'window elsewhere', "^time window $open");
stop_job($job, 'window elsewhere');
# A zone whose clocks are put back by an hour in ten minutes: what is to open in five minutes opens then, and not when the
# same time comes a second time.
my $zone = Dbops::value($node, q{SELECT format('AAA0BBB-1,%s/0,%s/%s', (extract(doy FROM t)::int + 180) % 365, extract(doy FROM t)::int - 1, to_char(t, 'HH24:MI:SS'))
	FROM (SELECT now() AT TIME ZONE 'UTC' + interval '70 minutes' AS t) x});
my $twice = Dbops::value($node, "SELECT to_char(t + interval '5 minutes', 'HH24:MI') || '-' || to_char(t + interval '6 minutes', 'HH24:MI') FROM (SELECT now() AT TIME ZONE '$zone' AS t) x");
$job = make("windows => '$twice', timezone => '$zone'");
ok(Dbops::wait_for($node, "SELECT not_before BETWEEN now() + interval '3 minutes' AND now() + interval '6 minutes' FROM dbops.jobs WHERE job_id = $job", 't'), 'a window that is there twice: the first one counts');
stop_job($job, 'a window that is there twice');
# One that closes in 20 to 80 seconds while the job is at work and waits for something else.
my $closing = Dbops::value($node, q{SELECT to_char(t - interval '1 hour', 'HH24:MI') || '-' || to_char(t + interval '80 seconds', 'HH24:MI') FROM (SELECT now() AT TIME ZONE 'UTC' AS t) x});
$job = make("windows => '$closing', timezone => 'UTC', max_batch_rows => 1, max_rows_per_second => 2");
ok(Dbops::wait_for($node, "SELECT rows_done > 2 FROM dbops.jobs WHERE job_id = $job", 't'), 'a window that is about to close: the job is at work');
ok(Dbops::wait_for($node, "SELECT state FROM dbops.jobs WHERE job_id = $job", 'queued', 120), 'it has closed: the job is queued');
stays_away($job, 'window that has closed', "^time window $closing");
$node->safe_psql('postgres', "SELECT dbops.cancel($job)");
# One that opens: the clock stands still, so the window is changed.
$job = make("windows => '$closed', timezone => 'Asia/Kathmandu'");
stays_away($job, 'window that opens', "^time window $closed");
$node->safe_psql('postgres', "UPDATE dbops.job SET spec = spec || '{\"windows\": \"$open\"}', not_before = clock_timestamp() + interval '4 s' WHERE job_id = $job; SELECT dbops.backfill('t', 'n = n')");
goes_on($job, 'window that opens');
is(Dbops::value($node, "SELECT count(*) FROM dbops.job_events WHERE job_id = $job AND action = 'requeue' AND reason = 'outside of its time windows'"), 1, 'window: the history says why it waited');
like(Dbops::refusal($node, q{SELECT dbops.backfill('t', 'n = 1', windows => '25:00-26:00')}), qr/^22023:/, 'a window that is none');
like(Dbops::refusal($node, q{SELECT dbops.backfill('t', 'n = 1', windows => '20:00-22:00', timezone => 'Atlantis')}), qr/^22023:/, 'a zone that is none');

# --- rates -------------------------------------------------------------------------------------------------------------------
my $rows = Dbops::value($node, 'SELECT count(*) FROM t');
$job = make('max_rows_per_second => 200, max_batch_rows => 20');
ok(Dbops::wait_for($node, "SELECT rows_done > 0 FROM dbops.jobs WHERE job_id = $job", 't'), 'it runs');
goes_on($job, 'max_rows_per_second');
my $took = Dbops::value($node, "SELECT extract(epoch FROM finished_at - started_at) FROM dbops.jobs WHERE job_id = $job");
cmp_ok($took, '>', $rows / 200 * 0.99, "max_rows_per_second: $rows rows at 200 a second took $took s");
# Tokens are taken before a batch: no row is for free, not in the first batch either, and no batch has more than a second brings.
for my $strategy (qw(key block))
{
	$node->safe_psql('postgres', 'DROP TABLE IF EXISTS few; CREATE TABLE few (id int PRIMARY KEY, n int); INSERT INTO few SELECT generate_series(1, 300); ANALYZE few');
	$job = Dbops::backfill($node, "'few', 'n = id', 'n IS NULL', strategy => '$strategy', max_rows_per_second => 100, max_archive_backlog => NULL, max_replica_lag => NULL, nice_ratio => 0");
	goes_on($job, "300 rows at 100 a second, by $strategy");
	cmp_ok(Dbops::value($node, "SELECT extract(epoch FROM finished_at - started_at) FROM dbops.jobs WHERE job_id = $job"), '>', 2.97, "by $strategy: it took its time");
	is(Dbops::value($node, 'SELECT max(count) <= 100 FROM (SELECT count(*) FROM few GROUP BY xmin::text) b'), 't', "by $strategy: no batch had more than 100 rows") if $strategy eq 'key';
	is(Dbops::value($node, 'SELECT count(*) FROM few WHERE n = id'), 300, "by $strategy: every row");
}
# Rows that are looked at and do not match cost nothing.
$node->safe_psql('postgres', 'UPDATE few SET n = -1 WHERE id <> 300');
$job = Dbops::backfill($node, q{'few', 'n = 0', 'n > 0', strategy => 'key', max_rows_per_second => 20, max_archive_backlog => NULL, max_replica_lag => NULL, nice_ratio => 0});
goes_on($job, '1 row of 300 at 20 a second');
cmp_ok(Dbops::value($node, "SELECT extract(epoch FROM finished_at - started_at) FROM dbops.jobs WHERE job_id = $job"), '<', 13, 'without the time of 300');
$job = make('max_bytes_per_second => 2000, max_batch_rows => 50');
waits($job, 'max_bytes_per_second', '^max_bytes_per_second');
stop_job($job, 'max_bytes_per_second');
# One long batch is a debt that has to be paid off before the next.
$job = make('max_rows_per_second => 10, max_batch_rows => 100, stripes => 1');
waits($job, 'max_rows_per_second', '^max_rows_per_second');
stop_job($job, 'max_rows_per_second');

$node->stop;
done_testing();
