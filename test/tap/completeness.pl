# The completeness checker: random inserts, updates, deletes, changes of keys and, in some of the rounds, moves between partitions
# while a job runs, and afterwards the account: a trigger has written down every change of every row and whether the job made
# it. What is checked is what docs/backfill.md promises in "What is guaranteed".
#
# Environment: DBOPS_SEED repeats the parameters of a run, DBOPS_ROUNDS sets how many rounds, DBOPS_NIGHTLY=1 does
# thousands.
use strict;
use warnings;
use IPC::Run qw(start);
use List::Util qw(shuffle);
use Time::HiRes qw(time);
use Test::More;
use Dbops;

my $seed    = $ENV{DBOPS_SEED} // (time() * 1000) % 1_000_000_007;
my $nightly = $ENV{DBOPS_NIGHTLY};
my $rounds  = $ENV{DBOPS_ROUNDS} // ($nightly ? 5000 : 80);
my $seconds = $ENV{DBOPS_ROUNDS} || $nightly ? 1e9 : 75;    # at most, in the short mode, but for ten rounds on a slow machine
diag "DBOPS_SEED=$seed";
srand($seed);

my $node = Dbops::node('main', conf => "autovacuum_naptime = 1s\nmax_connections = 40\n");

# columns, their names, a value made of a number, the index
my %keys = (
	bigint    => [ 'id bigint', 'id', '$1 * 7 - 5000', 'PRIMARY KEY (id)' ],
	composite => [ 'a int, b text COLLATE "C"', 'a, b', q{$1 % 13, 'k' || ($1 / 13)}, 'PRIMARY KEY (a, b)' ],
	uuid      => [ 'id uuid', 'id', 'md5($1::text)::uuid', 'PRIMARY KEY (id)' ],
	text      => [ 'id text', 'id', q{substr(md5($1::text), 1, 3) || E' \\\\\'",{}()NULL' || $1}, 'PRIMARY KEY (id)' ],
	time      => [ 'id timestamptz NOT NULL', 'id', q{'2001-01-01'::timestamptz + $1 * interval '1.000001 s'}, 'UNIQUE (id)' ],
	float     => [ 'id float8', 'id', '$1::float8 / 7', 'PRIMARY KEY (id)' ],
	none      => [ undef, undef, undef, undef ],
);

# What a job does, and which rows it is to change.
#   falsified: the assignments make the condition false; else each row is to be changed once
#   matches:   which rows are to be changed, over the state at the start
my %kinds = (
	falsified => { call => q{'val = 2 * src', 'val IS NULL'}, falsified => 1, walks => [qw(auto key block stripe)] },
	all       => { call => q{'n = n + 1'}, matches => 'true', walks => [qw(auto key stripe)] },
	kept      => { call => q{'n = n + 1', 'src % 2 = 0'}, matches => 'src % 2 = 0', walks => [qw(auto key stripe)] },
	partly    => { call => q{'n = n + 1', 'n < 3'}, matches => 'n < 3', walks => [qw(auto key block stripe)] },
	delete    => { call => q{'val IS NULL'}, falsified => 1, delete => 1, walks => [qw(auto key block)] },
);

# Every combination of kind, walk, key and number of workers, in random order.
sub combinations
{
	my @all;
	for my $kind (sort keys %kinds)
	{
		for my $walk (@{ $kinds{$kind}{walks} })
		{
			for my $key (sort keys %keys)
			{
				next if $key eq 'none' && ($walk eq 'key' || !$kinds{$kind}{falsified});
				push @all, map { { kind => $kind, walk => $walk, key => $key, parallel => $_ } } (1, 3);
			}
		}
	}
	return shuffle @all;
}

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE control (
  appear float8 NOT NULL,  -- share of the changes that make the condition true
  top bigint NOT NULL,     -- numbers that keys are made of
  columns text, value text, -- of the key
  partitions int            -- 0: it is one table
);
CREATE UNLOGGED TABLE audit (
  seq bigserial, at timestamptz DEFAULT clock_timestamp(), by_job boolean, op text, uid bigint, gen int,
  old_key text, new_key text, old_n int, new_n int, old_val int, new_val int, old_src int,
  xact xid8 DEFAULT pg_current_xact_id(), seen pg_snapshot DEFAULT pg_current_snapshot());
CREATE UNLOGGED TABLE trouble (state text, message text, detail text);
CREATE UNLOGGED TABLE quarrel (detail text); -- deadlocks among transactions of the application

-- Whether a process that a deadlock's detail names is not a session of the application.
CREATE FUNCTION has_other_process(detail text) RETURNS boolean LANGUAGE sql AS $$
  SELECT count(*) = 0 OR NOT bool_and(EXISTS (SELECT FROM pg_stat_activity a
                                              WHERE a.pid = m[1]::int AND a.backend_type = 'client backend' AND a.application_name = 'pgbench'))
  FROM regexp_matches(detail, 'rocess (\d+)', 'g') m
$$;

-- One transaction of the application. Rows are locked in the order of uid. (Among themselves these transactions can only have
-- a deadlock over keys: one changes its row's key to that of a row which another has changed, and which then wants that row.)
CREATE FUNCTION step() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  c control;
  u bigint; rows bigint[]; kind float8 := random(); dice float8; message text; detail text;
BEGIN
  PERFORM pg_advisory_xact_lock_shared(1);
  SELECT * INTO c FROM control;
  IF NOT FOUND THEN RETURN; END IF;
  rows := ARRAY(SELECT DISTINCT 1 + floor(random() * (SELECT last_value FROM uids))::bigint AS r
                FROM generate_series(1, 1 + floor(random() ^ 4 * 8)::int) ORDER BY r);
  BEGIN
    IF kind < 0.12 THEN     -- insert
      EXECUTE format('INSERT INTO t (%s src, val, pad) SELECT %s s, CASE WHEN $2 THEN NULL ELSE 2 * s END, repeat(''x'', $3)'
                     ' FROM (SELECT floor(random() * 1000)::int AS s) x', c.columns || ',', c.value || ',')
        USING 1 + floor(random() * c.top)::bigint, random() < c.appear, floor(random() * 100)::int;
    ELSIF kind < 0.2 THEN   -- change of key
      IF c.columns IS NOT NULL THEN
        EXECUTE format('UPDATE t SET (%s) = ROW(%s) WHERE uid = $2', c.columns, c.value)
          USING 1 + floor(random() * c.top)::bigint, rows[1];
      END IF;
    ELSIF kind < 0.24 THEN  -- away and back again under the same key
      IF c.columns IS NOT NULL THEN
        EXECUTE format('WITH d AS (DELETE FROM t WHERE uid = $1 RETURNING %1$s, src, val)'
                       ' INSERT INTO again (%1$s, src, val) SELECT * FROM d', c.columns) USING rows[1];
        EXECUTE format('WITH d AS (DELETE FROM again RETURNING %1$s, src, val) INSERT INTO t (%1$s, src, val) SELECT * FROM d', c.columns);
      END IF;
    ELSIF kind < 0.32 AND c.partitions > 0 THEN -- to another partition, as it is or changed on the way
      dice := random();
      IF dice < 0.6 THEN
        UPDATE t SET part = (part + 1 + floor(random() * (c.partitions - 1))::int) % c.partitions WHERE uid = rows[1];
      ELSIF dice < 0.8 THEN
        UPDATE t SET part = floor(random() * c.partitions)::int, src = src + 2, val = CASE WHEN val IS NOT NULL THEN 2 * (src + 2) END WHERE uid = rows[1];
      ELSE -- there and back again
        UPDATE t SET part = (part + 1) % c.partitions WHERE uid = rows[1];
        UPDATE t SET part = (part + c.partitions - 1) % c.partitions WHERE uid = rows[1];
      END IF;
    ELSE
      FOREACH u IN ARRAY rows LOOP
        dice := random();
        IF dice < c.appear THEN
          UPDATE t SET val = NULL, gen = gen + 1 WHERE uid = u AND val IS NOT NULL;
        ELSIF dice < 0.5 THEN
          UPDATE t SET pad = repeat('y', floor(random() * 150)::int) WHERE uid = u;
        ELSIF dice < 0.7 THEN -- as the application's own dual write would
          UPDATE t SET src = src + 2, val = CASE WHEN val IS NOT NULL THEN 2 * (src + 2) END WHERE uid = u;
        ELSIF dice < 0.75 THEN
          DELETE FROM t WHERE uid = u;
        ELSIF dice < 0.85 THEN
          PERFORM FROM t WHERE uid = u FOR UPDATE;
        ELSIF dice < 0.95 THEN
          PERFORM FROM t WHERE uid = u FOR KEY SHARE;
        ELSE
          UPDATE t SET pad = pad WHERE uid = u;
          UPDATE t SET src = src + 2, val = CASE WHEN val IS NOT NULL THEN 2 * (src + 2) END WHERE uid = u;
        END IF;
      END LOOP;
      IF random() < 0.01 THEN PERFORM pg_sleep(random() * 0.2); END IF; -- a slow application
      IF random() < 0.002 THEN PERFORM pg_sleep(0.7); END IF; -- one that makes the job come back later
      IF random() < 0.05 THEN RAISE EXCEPTION USING ERRCODE = 'ZZ001'; END IF; -- that changes its mind
    END IF;
  EXCEPTION WHEN unique_violation OR SQLSTATE 'ZZ001' THEN NULL;
            -- It waited for a row that another transaction of the application has moved; the job moves none.
            WHEN serialization_failure THEN IF c.partitions = 0 THEN INSERT INTO trouble VALUES (SQLSTATE, SQLERRM); END IF;
            WHEN deadlock_detected THEN
              GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
              IF has_other_process(detail) THEN INSERT INTO trouble VALUES ('40P01', message, detail);
              ELSE INSERT INTO quarrel VALUES (detail); END IF;
            WHEN OTHERS THEN INSERT INTO trouble VALUES (SQLSTATE, SQLERRM);
  END;
END $$;
SQL

my $script = PostgreSQL::Test::Utils::tempdir() . '/step.sql';
PostgreSQL::Test::Utils::append_to_file($script, "SELECT step()\n");
my $load_output = '';
# The job breaks a deadlock within some 10 ms of having closed it, before the application looks: however seldom a busy
# machine lets the job's process run.
$ENV{PGOPTIONS} = '-c deadlock_timeout=20s';
my $load = start [
	'pgbench', '-n', '-c', '3', '-T', '100000', '-f', $script, '-h', $node->host, '-p', $node->port,
	'-U', $node->connstr =~ /user=(\S+)/ ? $1 : scalar getpwuid($>), 'postgres' ], '>&', \$load_output;
delete $ENV{PGOPTIONS};

# Changes `control` while no transaction of the load is under way.
sub between_steps
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', "BEGIN; SELECT FROM pg_advisory_xact_lock(1); $sql; COMMIT;");
}

sub literal { my ($text) = @_; return defined $text ? "\$lit\$$text\$lit\$" : 'NULL' }

# Creates the table as it is before the job; returns how many rows it has.
sub make_table
{
	my ($r)    = @_;
	my ($definition, $columns, $value, $index) = @{ $keys{ $r->{key} } };
	my $place = join ', ', grep { defined } $columns, $r->{partitions} ? 'part' : undef;
	my $key_of = sub { $place ? 'ROW(' . join(', ', map { "$_[0].$_" } split /, /, $place) . ')::text' : "''" };
	my $storage = "WITH (fillfactor = $r->{fillfactor}, autovacuum_vacuum_threshold = 50)";
	my ($extra, $partitioning, $unique, $leaves) = ('', $storage, $index ? ", $index" : '', '');
	if ($r->{partitions})
	{
		$extra = "part int NOT NULL DEFAULT floor(random() * $r->{partitions}),";
		$partitioning = 'PARTITION BY LIST (part)';
		if ($r->{indexes} eq 'root') { $unique =~ s/\)$/, part)/; }
		else { $unique = ''; }
		for my $i (0 .. $r->{partitions} - 1)
		{
			$leaves .= "CREATE TABLE t$i PARTITION OF t FOR VALUES IN ($i) $storage;\n";
			$leaves .= "ALTER TABLE t$i ADD $index;\n" if $index && $unique eq '';
		}
	}
	my $rows   = 200 + int rand 800;
	my $lead   = $columns ? "$columns," : '';
	my $values = $columns ? "$value,"   : '';
	$values =~ s/\$1/i/g;
	between_steps(<<"SQL");
DELETE FROM control;
DROP TABLE IF EXISTS t, again, before, calm;
DROP SEQUENCE IF EXISTS uids;
TRUNCATE audit, trouble;
CREATE SEQUENCE uids;
CREATE TABLE t (@{[ $definition ? "$definition," : '' ]} src int NOT NULL, uid bigint DEFAULT nextval('uids'), val int, n int NOT NULL DEFAULT 0,
  gen int NOT NULL DEFAULT 1, $extra pad text $unique) $partitioning;
${leaves}CREATE INDEX ON t (uid);
CREATE TABLE again (@{[ $definition ? "$definition," : '' ]} src int, val int);
INSERT INTO t ($lead src, val, n, pad) SELECT $values s, CASE WHEN random() < $r->{done} THEN 2 * s END, floor(random() * 5), repeat('z', floor(random() * $r->{pad})::int)
  FROM (SELECT i, floor(random() * 1000)::int AS s FROM generate_series(1, $rows) i ORDER BY random()) x;
CREATE OR REPLACE FUNCTION keep_account() RETURNS trigger LANGUAGE plpgsql AS \$\$
BEGIN
  INSERT INTO audit (by_job, op, uid, gen, old_key, new_key, old_n, new_n, old_val, new_val, old_src)
  VALUES (coalesce(current_setting('dbops.in_job', true), '') <> '', TG_OP, coalesce(NEW.uid, OLD.uid),
          coalesce(OLD.gen, NEW.gen), CASE WHEN TG_OP <> 'INSERT' THEN @{[ $key_of->('OLD') ]} END,
          CASE WHEN TG_OP <> 'DELETE' THEN @{[ $key_of->('NEW') ]} END, OLD.n, NEW.n, OLD.val, NEW.val, OLD.src);
  RETURN NULL;
END \$\$;
CREATE TRIGGER keep_account AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION keep_account();
@{[ $r->{analyzed} ? 'ANALYZE t;' : '' ]}
INSERT INTO control VALUES ($r->{appear}, @{[ 2 * $rows ]}, @{[ literal($columns) ]}, @{[ literal($value) ]}, $r->{partitions});
SQL
	return ($rows, $place ? "ROW($place)::text" : q{''});
}

# The account. Each query gives what should not be there.
sub faults
{
	my ($r, $strict) = @_;
	my $kind  = $kinds{ $r->{kind} };
	my %query = (
		'the application was a deadlock victim, or met another error' => 'SELECT state, message, detail FROM trouble',
		'a change of the job is lost, or was made without a trace' => q{
			SELECT t.uid, t.n, b.n, a.count FROM t LEFT JOIN before b USING (uid)
			LEFT JOIN (SELECT uid, count(*) FROM audit WHERE by_job AND op = 'UPDATE' AND new_n = old_n + 1 GROUP BY 1) a USING (uid)
			WHERE t.n <> coalesce(b.n, 0) + coalesce(a.count, 0)},
		'a row has vanished or come back' => q{
			-- A move to another partition is a DELETE and an INSERT.
			SELECT uid, x.there, t.there FROM (SELECT uid, sum(there) AS there FROM (SELECT generate_series(1, :rows) AS uid, 1 AS there
			  UNION ALL SELECT uid, CASE op WHEN 'INSERT' THEN 1 WHEN 'DELETE' THEN -1 ELSE 0 END FROM audit) y GROUP BY uid) x
			FULL JOIN (SELECT uid, count(*) AS there FROM t GROUP BY uid) t USING (uid) WHERE coalesce(x.there, 0) <> coalesce(t.there, 0)});
	if ($kind->{falsified})
	{
		# Without a strict account only what the job could see at its last change must be gone. (By snapshots, not by clocks: a
		# transaction is seen a while after its time of commit.)
		my $still = $strict ? '' : q{ AND EXISTS (SELECT FROM audit a WHERE a.uid = t.uid AND NOT a.by_job AND a.new_val IS NULL
			AND (a.op = 'INSERT' AND t.gen = 1 OR a.op = 'UPDATE' AND a.old_val IS NOT NULL AND a.gen + 1 = t.gen)
			AND pg_visible_in_snapshot(a.xact, (SELECT seen FROM audit WHERE by_job ORDER BY pg_snapshot_xmax(seen) DESC LIMIT 1)))};
		$query{'rows still match the condition'} = "SELECT uid FROM t WHERE val IS NULL$still";
		$query{'the job changed a row that did not match'} = 'SELECT uid FROM audit WHERE by_job AND old_val IS NOT NULL';
		$query{'the job changed a row twice for one appearance of the condition'} =
		  'SELECT uid, gen, count(*) FROM audit WHERE by_job GROUP BY 1, 2 HAVING count(*) > 1';
		$query{'a value is wrong'} = 'SELECT uid, src, val FROM t WHERE val <> 2 * src';
	}
	else
	{
		$query{'a row whose key did not change was not changed exactly once'} = qq{
			SELECT uid, b.n, t.n, b.key FROM before b JOIN t USING (uid)
			WHERE uid NOT IN (SELECT uid FROM audit WHERE old_key <> new_key OR op = 'DELETE')
			AND t.n <> b.n + ($kind->{matches_before})::int};
		$query{'the job changed a row that did not match'} =
		  "SELECT uid, old_n, old_src FROM audit WHERE by_job AND NOT ($kind->{matches_audit})";
		$query{'the job changed a row twice under one key'} =
		  'SELECT uid, old_key, count(*) FROM audit WHERE by_job GROUP BY 1, 2 HAVING count(*) > 1';
	}
	my @found;
	for my $what (sort keys %query)
	{
		$query{$what} =~ s/:rows/$r->{rows}/;
		my $rows = $node->safe_psql('postgres', "SELECT q FROM ($query{$what}) q LIMIT 5");
		push @found, "$what: $rows" if $rows ne '';
	}
	return @found;
}

sub show { my ($r) = @_; return join ' ', map { "$_=" . ($r->{$_} // 'default') } sort keys %$r }

my ($strict_rounds, $changes, $batches, $failed, $retried, $partitioned, $moves) = (0, 0, 0, 0, 0, 0, 0);

sub play
{
	my ($r) = @_;
	my $kind = $kinds{ $r->{kind} };
	# Stripes need at least 128 blocks.
	$r->{fillfactor} = (10, 10, 40, 100)[ int rand 4 ];
	$r->{pad}        = (20, 300)[ int rand 2 ];
	$r->{analyzed}   = int rand 2;
	$r->{done}       = (0, 0.3, 0.95)[ int rand 3 ];
	$r->{appear}     = $kind->{falsified} ? (0, 0.1, 0.4)[ int rand 3 ] : 0;
	$r->{batch}      = 1 + int rand 40;
	$r->{stripes}    = rand() < 0.3 ? 1 + int rand 8 : undef;
	$r->{pause}      = rand() < 0.15;
	$r->{partitions} = rand() < 0.4 ? 2 + int rand 3 : 0;
	$r->{indexes}    = (qw(root leaves))[ int rand 2 ];
	my ($rows, $key) = make_table($r);
	$r->{rows} = $rows;
	# Not one snapshot with the job, but no change is between the two.
	my $job = (split /\n/, between_steps(
			"CREATE TABLE before AS SELECT uid, n, src, $key AS key FROM t;"
			. "SELECT dbops." . ($kind->{delete} ? 'batch_delete' : 'backfill') . "('t', $kind->{call}, strategy => '$r->{walk}',"
			. " stripes => @{[ $r->{stripes} // 'NULL' ]}, parallel => $r->{parallel}, target_batch_time => '5 ms', max_batch_rows => $r->{batch},"
			. " lock_timeout => '5 ms', nice_ratio => 0, max_lock_waiters => @{[ int(rand 2) ? 0 : 'NULL' ]})"))[-1];
	my $strict = 1;
	# Let the job get somewhere, then let nothing appear any more. (Whatever it has reached by then, the account holds.)
	my $threshold = int rand($rows / 4);
	Dbops::wait_for($node, "SELECT rows_done >= $threshold OR state NOT IN ('queued', 'running') FROM dbops.progress WHERE job_id = $job", 't', 60)
	  if $r->{appear} > 0 || $r->{pause};
	if ($r->{pause} && $node->psql('postgres', "SELECT dbops.pause($job)", on_error_die => 0) == 0)
	{
		$node->safe_psql('postgres', "SELECT dbops.resume($job)");
	}
	if ($r->{appear} > 0)
	{
		between_steps('UPDATE control SET appear = 0; CREATE TABLE calm AS SELECT clock_timestamp() AS at');
	}
	my $state = Dbops::wait_job($node, $job, 180);
	# Rows that kept appearing until the ten passes of a small table were over: as documented, and now they do not any more.
	if ($r->{appear} > 0 && $state eq 'failed'
		&& $node->safe_psql('postgres', "SELECT last_error FROM dbops.jobs WHERE job_id = $job") =~ /^rows that match the condition keep appearing/)
	{
		++$retried;
		$node->safe_psql('postgres', "SELECT dbops.retry($job)");
		$state = Dbops::wait_job($node, $job, 180);
	}
	between_steps('DELETE FROM control');
	# A change after nothing appeared any more: the job has looked at everything after that, too.
	$strict = $node->safe_psql('postgres', 'SELECT max(a.at) > max(calm.at) FROM calm, audit a WHERE by_job') eq 't' if $r->{appear} > 0;
	my @faults = $state eq 'succeeded' ? () : ("the job is $state", Dbops::explain_job($node, $job));
	push @faults, faults($r, $strict);
	my ($done, $count) = split /\|/, $node->safe_psql('postgres',
		"SELECT (SELECT count(*) FROM audit WHERE by_job), (SELECT batches FROM dbops.progress WHERE job_id = $job)");
	$changes += $done;
	$partitioned += $r->{partitions} > 0;
	$moves += $node->safe_psql('postgres', q{SELECT count(*) FROM audit a JOIN t USING (uid) WHERE a.op = 'DELETE'});
	$batches += $count;
	$strict_rounds += $strict;
	$r->{strict} = $strict || 0;
	return @faults;
}

for my $kind (values %kinds)
{
	next unless $kind->{matches};
	($kind->{matches_before} = $kind->{matches}) =~ s/\b(src|n)\b/b.$1/g;
	($kind->{matches_audit}  = $kind->{matches}) =~ s/\b(src|n)\b/old_$1/g;
}

my @todo;
my $start  = time();
my $played = 0;
while ($played < $rounds && (time() - $start < $seconds || $played < 10) && $failed < 5)
{
	@todo = combinations() unless @todo;
	my $r      = shift @todo;
	my @faults = play($r);
	++$played;
	next unless @faults;
	++$failed;
	diag "round $played of seed $seed: " . show($r);
	diag "  $_" for @faults;
}

diag 'deadlocks of the application with itself: ' . $node->safe_psql('postgres', q{SELECT count(*) || coalesce(', as ' || min(detail), '') FROM quarrel});
$load->pump_nb;
ok($load->pumpable, 'the load ran to the end') or diag $load_output;
$load->kill_kill;
is($failed, 0, "$played rounds keep what docs/backfill.md promises");
cmp_ok($played, '>=', 10, "enough rounds: $played in " . int(time() - $start) . ' s');
cmp_ok($changes, '>', 100 * $played / 2, "$changes changes by jobs in $batches batches; $strict_rounds rounds held to the strict account, $retried jobs tried again");
cmp_ok($moves, '>=', $partitioned, "$moves rows moved between partitions in $partitioned of the rounds");
$node->stop;
done_testing;
