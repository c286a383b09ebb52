# Online DDL when its worker or the server is killed before each of its statements, and inside the concurrent ones: the job
# goes on to the same end, and nothing is left over; cancelled instead, everything is as it was. Each case has a database of
# its own, so that one crash serves them all.
use strict;
use warnings;
use List::Util qw(max);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use Dbops;

my $node = Dbops::node('online_ddl_crash', conf => "max_worker_processes = 40\nmax_connections = 60\nrestart_after_crash = on\nautovacuum = off\ndbops.max_workers = 16\n",
	extension => 0);
sub sql { my ($database, $sql) = @_; return $node->safe_psql($database, $sql); }

# A worker stops before the n-th DDL statement as long as stop_before says so. Not before DROP INDEX CONCURRENTLY, which is
# refused when a trigger has written something.
my $stop = q{CREATE EXTENSION dbops;
	CREATE TABLE stop_before (n int); INSERT INTO stop_before VALUES (0); CREATE SEQUENCE statements;
	CREATE FUNCTION hold() RETURNS event_trigger LANGUAGE plpgsql AS $$
	DECLARE statement int;
	BEGIN
	  IF (SELECT backend_type FROM pg_stat_activity WHERE pid = pg_backend_pid()) <> 'dbops worker' THEN RETURN; END IF;
	  statement := nextval('public.statements');
	  WHILE statement = (SELECT n FROM public.stop_before) LOOP PERFORM pg_sleep(0.02); END LOOP;
	END $$;
	CREATE EVENT TRIGGER hold ON ddl_command_start WHEN TAG IN ('CREATE INDEX', 'ALTER INDEX', 'ALTER TABLE') EXECUTE FUNCTION hold()};

my $all = q{SELECT string_agg(t, E'\n' ORDER BY t) FROM (
	SELECT format('%s valid %s', pg_get_indexdef(i.indexrelid), indisvalid) AS t FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE c.relnamespace = 'public'::regnamespace
	UNION ALL SELECT format('%s %s %s valid %s', conrelid::regclass, conname, pg_get_constraintdef(oid), convalidated) FROM pg_constraint WHERE connamespace = 'public'::regnamespace
	UNION ALL SELECT format('%s.%s %s', attrelid::regclass, attname, attnotnull) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND attnum > 0
	UNION ALL SELECT format('%s in %s', inhrelid::regclass, inhparent::regclass) FROM pg_inherits) x};

my $setup = q{DROP TABLE IF EXISTS t, parent, p, p_new CASCADE;
	CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent SELECT generate_series(1, 100);
	CREATE TABLE t (id int PRIMARY KEY, a int, b int); INSERT INTO t SELECT i, i, 1 + i % 100 FROM generate_series(1, 1000) i; CREATE INDEX t_b ON t (b);
	CREATE TABLE p (k int, v int) PARTITION BY RANGE (k); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); CREATE TABLE pd PARTITION OF p DEFAULT;
	INSERT INTO p SELECT i % 10, i FROM generate_series(1, 100) i; INSERT INTO p VALUES (99, 1);
	CREATE TABLE p_new (k int, v int); INSERT INTO p_new VALUES (15, 1)};
sub ready { my ($database, $n) = @_; sql($database, "SET client_min_messages = warning; UPDATE stop_before SET n = $n; SELECT setval('statements', 1, false); $setup"); return; }
sub go_on { my ($case) = @_; sql($case->{database}, 'UPDATE stop_before SET n = 0'); return; }
# A statement may hold its locks for lock_timeout, and these are held up.
sub submit { my ($case) = @_; $case->{job} = sql($case->{database}, "SELECT dbops." . $case->{call} =~ s/\)$/, lock_timeout => '10 min')/r); return; }
sub cleaned { my ($case) = @_; return Dbops::wait_for($node, "SELECT count(*) FROM dbops.jobs WHERE kind = 'clean_up' AND state <> 'succeeded'", 0, undef, $case->{database}); }
sub ends_as
{
	my ($case, $what) = @_;
	is(Dbops::wait_job($node, $case->{job}, undef, database => $case->{database}), 'succeeded', "$case->{call}, $what: goes on to its end")
	  or diag sql($case->{database}, "SELECT statement, state, error FROM dbops.ddl_steps WHERE job_id = $case->{job}");
	is(sql($case->{database}, $all), $case->{expected}, "$case->{call}, $what: the same as without");
	return;
}

# Of the whole server, but for 'terminate'.
sub crash
{
	my ($how, @cases) = @_;
	my $worker = q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'dbops worker' AND datname = current_database()};
	if ($how eq 'stop')
	{
		$node->stop('immediate');
		$node->start;
	}
	elsif ($how eq 'kill')
	{
		my $launcher = Dbops::launcher($node);
		my ($pid) = split /\n/, sql($cases[0]{database}, $worker);
		die 'no worker' unless $pid;
		kill 9, $pid;
		my $end = time() + 120;
		my $recovered = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'dbops launcher' AND pid <> $launcher";
		sleep 0.05 until (Dbops::ask($node, $recovered) // 0) == 1 || time() > $end;
		cmp_ok(time(), '<=', $end, 'the server has recovered');
	}
	else { sql($_->{database}, "SELECT pg_terminate_backend(pid) FROM ($worker) w") for @cases; }
	return;
}

my $databases = 0;
sub case
{
	my ($call, $count, $holds) = @_;
	my $case = { call => $call, count => $count, holds => $holds, database => 'case_' . ++$databases };
	sql('postgres', "CREATE DATABASE $case->{database}");
	sql($case->{database}, $stop);
	ready($case->{database}, 0);
	$case->{was} = sql($case->{database}, $all);
	submit($case);
	return $case;
}
# What it comes to when nothing happens.
sub expect
{
	my ($case) = @_;
	is(Dbops::wait_job($node, $case->{job}, undef, database => $case->{database}), 'succeeded', $case->{call});
	$case->{expected} = sql($case->{database}, $all);
	is(sql($case->{database}, 'SELECT last_value FROM statements'), $case->{count}, "$case->{call}: statements");
	return;
}

# --- before each statement ------------------------------------------------------------------------------------------------
my @cases = map { case(@$_) } (
	[ q{create_index('t', 'a')}, 1 ],
	[ q{add_unique('t', 'a')}, 2 ],
	[ q{set_not_null('t', 'a')}, 4 ],
	[ q{add_check('t', 'a > 0')}, 2 ],
	[ q{add_foreign_key('t', 'b', 'parent')}, 2 ],
	[ q{create_index('p', 'v')}, 5 ],
	[ q{add_foreign_key('p', 'v', 'parent')}, 5 ],
	[ q{attach_partition('p', 'p_new', 'FOR VALUES FROM (10) TO (20)')}, 7 ]);
expect($_) for @cases;
sub stop_before
{
	my ($n) = @_;
	my @these = grep { $_->{count} >= $n } @cases;
	for my $case (@these)
	{
		ready($case->{database}, $n);
		submit($case);
	}
	ok(Dbops::wait_for($node, "SELECT last_value = $n AND is_called FROM statements", 't', undef, $_->{database}), "$_->{call}: stops before statement $n") for @these;
	return @these;
}
for my $n (1 .. max map { $_->{count} } @cases)
{
	my $how = (qw(stop kill terminate))[ $n % 3 ];
	my @these = stop_before($n);
	crash($how, @these);
	go_on($_) for @these;
	ends_as($_, "killed before statement $n ($how)") for @these;

	# The same, and cancelled instead.
	@these = stop_before($n);
	sql($_->{database}, "SELECT dbops.cancel($_->{job})") for @these;
	go_on($_) for @these;
	for my $case (@these)
	{
		ok(Dbops::wait_for($node, "SELECT count(*) FROM dbops.job_runs WHERE job_id = $case->{job} AND outcome = 'running'", 0, undef, $case->{database}), 'cancelled');
		ok(cleaned($case), 'and cleaned up');
		is(Dbops::job_state($node, $case->{job}, $case->{database}), 'cancelled', "$case->{call}, cancelled before statement $n");
		is(sql($case->{database}, $all), $case->{was}, "$case->{call}, cancelled before statement $n: as it was");
	}
}

# --- inside a concurrent statement: while it waits for a transaction that has written to the table, or for an old snapshot ------
@cases = map { case(@$_) } (
	[ q{create_index('t', 'a')}, 1, 'INSERT INTO t VALUES (-1)' ],
	[ q{create_index('t', 'a')}, 1, 'SELECT count(*) FROM p_new' ],
	[ q{add_unique('t', 'a')}, 2, 'SELECT count(*) FROM p_new' ],
	[ q{reindex('t_b')}, 1, 'INSERT INTO t VALUES (-1)' ],
	[ q{reindex('t_b')}, 1, 'SELECT count(*) FROM t' ],
	[ q{drop_index('t_b')}, 1, 'SELECT count(*) FROM t' ]);
expect($_) for @cases;
my $waiting = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'dbops worker' AND wait_event_type = 'Lock' AND datname = current_database()};
for my $how ('kill', 'stop', 'cancel', 'terminate and cancel')
{
	my @holders;
	for my $case (@cases)
	{
		ready($case->{database}, 0);
		my $holder = $node->background_psql($case->{database}, on_error_stop => 0);
		$holder->query_safe("BEGIN ISOLATION LEVEL REPEATABLE READ; $case->{holds}");
		push @holders, $holder;
		submit($case);
	}
	ok(Dbops::wait_for($node, $waiting, 1, undef, $_->{database}), "$_->{call} waits") for @cases;
	crash($how =~ s/ .*//r, @cases) unless $how eq 'cancel';
	if ($how =~ /cancel/) { sql($_->{database}, "SELECT dbops.cancel($_->{job})") for @cases; }
	for my $holder (@holders) { eval { $holder->quit }; }
	for my $case (@cases)
	{
		if ($how !~ /cancel/) { ends_as($case, "killed inside ($how)"); }
		else
		{
			ok(cleaned($case), "$case->{call}, $how: cleaned up");
			is(Dbops::job_state($node, $case->{job}, $case->{database}), 'cancelled', "$case->{call}, $how: cancelled");
			# A drop that has begun is ended.
			my $now = sql($case->{database}, $all);
			ok($now eq $case->{was} || ($case->{call} =~ /drop/ && $now eq $case->{expected}), "$case->{call}, $how inside: as it was") or diag $now;
		}
		is(sql($case->{database}, 'SELECT count(*) FROM dbops.invalid_indexes'), 0, 'nothing INVALID');
	}
}
$node->stop;
done_testing();
