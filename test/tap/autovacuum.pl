# An autovacuum that has locked the table against all others is waited for as any lock is, and not cancelled for it at once.
use strict;
use warnings;

use Dbops;
use Test::More;

my $node = Dbops::node('autovacuum', conf => "autovacuum_naptime = 1\nlog_autovacuum_min_duration = 0\n");

# What autovacuum evaluates of an index takes the lock, and keeps it until the gate is opened.
my $gate = $node->background_psql('postgres');
$gate->query_safe('SELECT pg_advisory_lock(9)');
$node->safe_psql('postgres', q{
	CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0) WITH (autovacuum_enabled = off, autovacuum_analyze_threshold = 0);
	INSERT INTO t (id) SELECT generate_series(1, 100);
	CREATE FUNCTION take() RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
	  LOCK TABLE public.t IN ACCESS EXCLUSIVE MODE;
	  PERFORM pg_advisory_xact_lock_shared(9);
	END$$;
	CREATE FUNCTION hold(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
	BEGIN
	  IF (SELECT backend_type FROM pg_stat_activity WHERE pid = pg_backend_pid()) = 'autovacuum worker' THEN PERFORM public.take(); END IF;
	  RETURN i;
	END$$;
	CREATE INDEX ON t (hold(id));
});
# Making it needs the table for a moment. It is not to start yet.
my $job = Dbops::value($node, q{BEGIN; SELECT dbops.backfill('t', 'n = n + 1', nice_ratio => 0, lock_timeout => '100 ms') AS job \gset
	UPDATE dbops.job SET not_before = now() + interval '1 hour' WHERE job_id = :job; COMMIT; SELECT :job});
$node->safe_psql('postgres', q{
	ALTER TABLE t SET (autovacuum_enabled = on);
	UPDATE t SET n = 0;
});
ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass AND mode = 'AccessExclusiveLock' AND granted}, 1), 'autovacuum has the table');
my $holder = Dbops::value($node, q{SELECT pid FROM pg_locks WHERE relation = 't'::regclass AND mode = 'AccessExclusiveLock' AND granted});
$node->safe_psql('postgres', "SELECT dbops.resume($job)");
ok(Dbops::wait_for($node, "SELECT hindrances >= 5 FROM dbops.progress WHERE job_id = $job", 't'), 'a job waits for it, and gives way');
is(Dbops::value($node, "SELECT waiting_for FROM dbops.progress WHERE job_id = $job"), 'a lock on the table', 'and says so');
is(Dbops::value($node, q{SELECT pid FROM pg_locks WHERE relation = 't'::regclass AND mode = 'AccessExclusiveLock' AND granted}), $holder, 'autovacuum goes on');
ok(!$node->log_contains(qr/canceling autovacuum task/), 'nobody has cancelled it');
$gate->query_safe('SELECT pg_advisory_unlock(9)');
is(Dbops::wait_job($node, $job), 'succeeded', 'then it is the turn of the job');
is(Dbops::value($node, 'SELECT n, count(*) FROM t GROUP BY n'), '1|100', 'each row once');
$gate->quit;
$node->stop;
done_testing();
