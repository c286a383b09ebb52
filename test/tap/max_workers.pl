# dbops.max_workers is lowered while jobs run: workers that are too many leave after the batch under way.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(sleep);
use Dbops;

my $node = Dbops::node('max_workers', conf => "dbops.max_workers = 3\nautovacuum = off\n");
sub sql { my ($text) = @_; return $node->safe_psql('postgres', $text); }
sub workers_setting { my ($n) = @_; sql("ALTER SYSTEM SET dbops.max_workers = $n"); $node->reload; return Dbops::wait_for($node, 'SHOW dbops.max_workers', $n); }
my $rows = 3000;
# No row passes by itself, however long a test takes: those that wait are let through, again and again, until it is so.
sub let_through { sql('UPDATE gate SET upto = (SELECT last_value FROM turn)'); return; }
sub let_through_until
{
	my ($sql, $answer) = @_;
	for (1 .. $rows / 3)    # three workers at most, so that there are rows left
	{
		return 1 if sql($sql) eq $answer;
		let_through();
		sleep 0.05;
	}
	return 0;
}
my $workers = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'dbops worker'};

sql(qq{CREATE SEQUENCE turn; CREATE TABLE gate (upto bigint); INSERT INTO gate VALUES (0);
	CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS \$\$
	DECLARE mine bigint := nextval('turn'); BEGIN WHILE mine > (SELECT upto FROM gate) LOOP PERFORM pg_sleep(0.02); END LOOP; RETURN NEW; END\$\$;
	CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT generate_series(1, $rows);
	CREATE TRIGGER pass BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION pass()});
my $job = Dbops::backfill($node, q{'t', 'n = n + 1', parallel => 3, strategy => 'key', max_batch_rows => 1, nice_ratio => 0});
my $at_it = "SELECT count(*) FROM dbops.job_runs r JOIN pg_stat_activity a USING (pid) WHERE r.job_id = $job AND r.outcome = 'running' AND a.wait_event = 'PgSleep'";
ok(Dbops::wait_for($node, $at_it, 3), 'three workers are at a job');
ok(workers_setting(1), 'one is to be left');
is(sql($at_it), 3, 'no batch is cut short');
ok(let_through_until("SELECT count(*) FROM dbops.job_runs WHERE job_id = $job AND outcome = 'stopped'", 2), 'two leave');
is(Dbops::job_state($node, $job), 'running', 'the job runs on');
ok(workers_setting(0), 'none is to be left');
ok(let_through_until("SELECT state FROM dbops.jobs WHERE job_id = $job", 'queued'), 'the job is queued');
is(sql("SELECT reason FROM dbops.job_events WHERE job_id = $job AND action = 'requeue'"), 'there are more workers than dbops.max_workers', 'for that reason');
ok(Dbops::wait_for($node, $workers, 0), 'no worker is left');
cmp_ok(sql('SELECT count(*) FROM t WHERE n = 0'), '>', 0, 'before all is done');

# A worker that waits for the next run of its role leaves as well.
sql(q{SELECT dbops.schedule('often', 'every second', 'SELECT 1')});
sql(q{UPDATE gate SET upto = 1e18});
ok(workers_setting(2), 'two may come');
is(Dbops::wait_job($node, $job), 'succeeded', 'the job ends');
is(sql('SELECT n, count(*) FROM t GROUP BY n'), "1|$rows", 'each row once');
is(sql("SELECT count(*) FROM dbops.job_runs WHERE job_id = $job AND outcome NOT IN ('stopped', 'finished')"), 0, 'no run was lost');
ok(Dbops::wait_for($node, q{SELECT runs > 0 FROM dbops.schedules WHERE name = 'often'}, 't'), 'a schedule runs each second');
ok(workers_setting(0), 'none may stay');
ok(Dbops::wait_for($node, $workers, 0), 'its worker leaves');
is(sql("SELECT count(*) FROM dbops.job_runs WHERE outcome NOT IN ('stopped', 'finished')"), 0, 'no run was lost');
$node->stop;
done_testing();
