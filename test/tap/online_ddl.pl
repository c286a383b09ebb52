# Online DDL: each function, its safe sequence, locks that are not to be had, failures, cancels, input, privileges.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Dbops;

my $node = Dbops::node('online_ddl', conf => "max_worker_processes = 20\nmax_prepared_transactions = 5\nautovacuum = off\ndbops.max_workers = 8\n");
sub sql { return $node->safe_psql('postgres', $_[0]); }
sub job { return sql("SELECT dbops.$_[0]"); }
sub succeeds
{
	my ($call, $what) = @_;
	my $job = job($call);
	is(Dbops::wait_job($node, $job), 'succeeded', $what // $call) or diag sql("SELECT * FROM dbops.ddl_steps WHERE job_id = $job");
	return $job;
}
sub statements { return sql("SELECT string_agg(statement, E'\\n' ORDER BY step_id) FROM dbops.ddl_steps WHERE job_id = $_[0] AND state = 'done'"); }
# All there is, as text: what a refused call or a clean-up must leave as it was.
sub catalog
{
	return sql(q{SELECT string_agg(t, E'\n' ORDER BY t) FROM (
		SELECT format('%s %s valid %s ready %s', i.indexrelid::regclass, pg_get_indexdef(i.indexrelid), indisvalid, indisready) AS t FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE c.relnamespace = 'public'::regnamespace
		UNION ALL SELECT format('%s %s %s valid %s', conrelid::regclass, conname, pg_get_constraintdef(oid), convalidated) FROM pg_constraint WHERE connamespace = 'public'::regnamespace
		UNION ALL SELECT format('%s.%s %s', attrelid::regclass, attname, attnotnull) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND attnum > 0
		UNION ALL SELECT format('%s in %s', inhrelid::regclass, inhparent::regclass) FROM pg_inherits) x});
}
sub cleaned { return Dbops::wait_for($node, "SELECT count(*) FROM dbops.jobs WHERE kind = 'clean_up' AND state NOT IN ('succeeded')", 0); }

sql(q{CREATE TABLE parent (id int PRIMARY KEY, code text UNIQUE);
      INSERT INTO parent SELECT i, 'c' || i FROM generate_series(1, 100) i;
      CREATE TABLE t (id int PRIMARY KEY, a int, b text, "Mixed Case" int, dup int, parent_id int);
      INSERT INTO t SELECT i, i, 'x' || i, i, i % 10, 1 + i % 100 FROM generate_series(1, 2000) i;
      CREATE TABLE "Odd Name" ("a b" int, "select" int); INSERT INTO "Odd Name" SELECT i, i FROM generate_series(1, 10) i});

# --- each of them ------------------------------------------------------------------------------------------------------
my $job = succeeds("create_index('t', 'a')");
is(statements($job), 'CREATE INDEX CONCURRENTLY t_a_idx ON public.t USING btree (a)', 'outside of a transaction, with the name that PostgreSQL gives');
is(sql("SELECT percent || ' ' || rows_done FROM dbops.progress WHERE job_id = $job"), '100.0 1', 'its progress counts steps');
succeeds(q{create_index('t', 'lower(t.b) text_pattern_ops, a DESC', name => 'Two', is_unique => true, include => '"Mixed Case"', condition => 'a > 0', options => 'fillfactor = 80')});
is(sql(q{SELECT pg_get_indexdef('"Two"'::regclass)}), 'CREATE UNIQUE INDEX "Two" ON public.t USING btree (lower(b) text_pattern_ops, a DESC) INCLUDE ("Mixed Case") WITH (fillfactor=\'80\') WHERE (a > 0)', 'all options');
succeeds(q{create_index('"Odd Name"', '"a b", "select"')}, 'odd names');
succeeds("create_index('t', 'a', method => 'hash')");
$job = succeeds("drop_index('t_a_idx')");
is(sql("SELECT to_regclass('t_a_idx')"), '', 'dropped');
$job = succeeds("set_not_null('t', 'a')");
is(statements($job), "ALTER TABLE public.t ADD CONSTRAINT dbops_not_null_$job CHECK ((a IS NOT NULL)) NOT VALID\nALTER TABLE public.t VALIDATE CONSTRAINT dbops_not_null_$job\n"
	. "ALTER TABLE public.t ALTER COLUMN a SET NOT NULL;\nALTER TABLE public.t DROP CONSTRAINT dbops_not_null_$job", 'the safe sequence of NOT NULL');
is(sql("SELECT attnotnull, (SELECT count(*) FROM pg_constraint WHERE conname LIKE 'dbops%') FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'a'"), 't|0', 'NOT NULL, and no CHECK left');
$job = succeeds(q{set_not_null('t', 'Mixed Case')});
$job = succeeds("set_not_null('t', 'a')", 'NOT NULL already');
is(statements($job), '', 'is nothing to do');
$job = succeeds("add_check('t', 'a >= 0 AND t.b <> ''''')");
is(sql("SELECT conname, convalidated FROM pg_constraint WHERE conrelid = 't'::regclass AND contype = 'c'"), 't_check|t', 'a CHECK, valid');
$job = succeeds("add_foreign_key('t', 'parent_id', 'parent', on_delete => 'CASCADE')");
is(sql("SELECT conname, convalidated, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 't'::regclass AND contype = 'f'"),
	't_parent_id_fkey|t|FOREIGN KEY (parent_id) REFERENCES parent(id) ON DELETE CASCADE', 'a foreign key, valid');
like(statements($job), qr/NOT VALID\nALTER TABLE public.t VALIDATE CONSTRAINT t_parent_id_fkey$/, 'validated by itself');
$job = succeeds(q{add_unique('t', 'b', deferral => 'initially deferred')});
is(sql("SELECT conname, condeferred FROM pg_constraint WHERE conrelid = 't'::regclass AND contype = 'u'"), 't_b_key|t', 'a unique constraint');
$job = succeeds(q{set_not_null('"Odd Name"', 'a b')});
$job = succeeds(q{add_unique('"Odd Name"', '"a b"', primary_key => true)});
is(sql(q{SELECT conname, contype FROM pg_constraint WHERE conrelid = '"Odd Name"'::regclass AND contype = 'p'}), 'Odd Name_pkey|p', 'a primary key');
sql('ALTER TABLE t ADD CONSTRAINT later CHECK (a < 1000000) NOT VALID');
succeeds("validate_constraint('t', 'later')");
is(sql("SELECT convalidated FROM pg_constraint WHERE conname = 'later'"), 't', 'validated');
my $before = sql("SELECT string_agg(indexrelid::regclass::text, ' ' ORDER BY indexrelid::regclass::text) FROM pg_index WHERE indrelid = 't'::regclass");
my $files = sql("SELECT string_agg(pg_relation_filepath(indexrelid), ' ' ORDER BY pg_relation_filepath(indexrelid)) FROM pg_index WHERE indrelid = 't'::regclass");
$job = succeeds("reindex('t')");
is(sql("SELECT string_agg(indexrelid::regclass::text, ' ' ORDER BY indexrelid::regclass::text) FROM pg_index WHERE indrelid = 't'::regclass"), $before, 'the same indexes');
isnt(sql("SELECT string_agg(pg_relation_filepath(indexrelid), ' ' ORDER BY pg_relation_filepath(indexrelid)) FROM pg_index WHERE indrelid = 't'::regclass"), $files, 'built anew');
is(sql("SELECT count(*) FROM dbops.ddl_steps WHERE job_id = $job AND state = 'done'"), scalar(split / /, $before), 'each once');
succeeds("reindex('t_pkey')");

# --- partitioned tables ---------------------------------------------------------------------------------------------------
sql(q{CREATE TABLE p (k int, v int, parent_id int) PARTITION BY RANGE (k);
      CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100);
      CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (100) TO (200) PARTITION BY RANGE (k);
      CREATE TABLE p2a PARTITION OF p2 FOR VALUES FROM (100) TO (150);
      CREATE TABLE p2b (v int, parent_id int, k int); ALTER TABLE p2 ATTACH PARTITION p2b FOR VALUES FROM (150) TO (200);
      CREATE TABLE pd PARTITION OF p DEFAULT;
      INSERT INTO p SELECT i % 300, i, 1 + i % 100 FROM generate_series(0, 999) i;
      CREATE INDEX p1_same ON p1 (v)});
$job = succeeds("create_index('p', 'v')");
is(sql("SELECT count(*), bool_and(indisvalid) FROM pg_partition_tree('p_v_idx') t JOIN pg_index i ON i.indexrelid = t.relid"), '6|t', 'an index of all partitions, valid');
is(sql("SELECT count(*) FROM pg_inherits WHERE inhrelid = 'p1_same'::regclass"), 1, 'one that was there is used');
$job = succeeds("add_unique('p', 'k, v')");
is(sql("SELECT count(*), bool_and(indisvalid), count(*) FILTER (WHERE c.oid IS NOT NULL) FROM pg_partition_tree('p_k_v_key') t JOIN pg_index i ON i.indexrelid = t.relid LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid"), '6|t|6', 'a unique constraint of all partitions');
$job = succeeds("add_foreign_key('p', 'parent_id', 'parent')");
is(sql("SELECT count(*), bool_and(convalidated) FROM pg_constraint WHERE conname = 'p_parent_id_fkey'"), '6|t', 'a foreign key of all partitions');
is(sql("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conrelid = 'p1'::regclass"), 1, 'each has one');
$job = succeeds("add_check('p', 'v >= 0', name => 'p_check')");
is(sql("SELECT count(*), bool_and(convalidated) FROM pg_constraint WHERE conname = 'p_check'"), '6|t', 'a CHECK of all partitions');
is(sql("SELECT count(*) FROM dbops.ddl_steps WHERE job_id = $job AND statement LIKE '%VALIDATE%'"), 6, 'validated one by one');
$job = succeeds("set_not_null('p', 'v')");
is(sql("SELECT count(*) FROM pg_attribute WHERE attname = 'v' AND attnotnull AND attrelid::regclass::text IN ('p', 'p1', 'p2', 'p2a', 'p2b', 'pd')"), 6, 'NOT NULL in all partitions');
succeeds("reindex('p_v_idx')");

# Attaching: the partition lacks indexes, the unique constraint, the foreign key.
sql('CREATE TABLE p3 (parent_id int, k int, v int NOT NULL, CONSTRAINT p_check CHECK (v >= 0)); INSERT INTO p3 SELECT 1 + i % 100, 1000 + i % 100, i FROM generate_series(0, 999) i');
$job = job("attach_partition('p', 'p3', 'FOR VALUES FROM (1000) TO (1100)')");
is(Dbops::wait_job($node, $job), 'succeeded', 'a partition is attached') or diag sql("SELECT * FROM dbops.ddl_steps WHERE job_id = $job");
is(sql("SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'p3'"), 'FOR VALUES FROM (1000) TO (1100)', 'with its bounds');
is(sql("SELECT count(*) FROM pg_constraint WHERE conname LIKE 'dbops%'"), 0, 'no helper is left');
is(sql("SELECT count(*), bool_and(indisvalid) FROM pg_index WHERE indrelid = 'p3'::regclass"), '2|t', 'its indexes are the ones made before');
like(statements($job), qr/CREATE INDEX CONCURRENTLY.*CREATE UNIQUE INDEX CONCURRENTLY.*USING INDEX.*FOREIGN KEY.*NOT VALID.*VALIDATE/s, 'built and proved beforehand');
$node->append_conf('postgresql.conf', 'log_min_messages = debug1');
$node->reload;
sql('CREATE TABLE p4 (LIKE p3 INCLUDING ALL); INSERT INTO p4 SELECT 1, 1100 + i, i FROM generate_series(0, 9) i');
my $log_start = -s $node->logfile;
succeeds("attach_partition('p', 'p4', 'FOR VALUES FROM (1100) TO (1200)')");
succeeds("set_not_null('p', 'parent_id')");
my $log = slurp_file($node->logfile, $log_start);
like($log, qr/partition constraint for table "p4" is implied by existing constraints/, 'ATTACH did not read the partition');
like($log, qr/updated partition constraint for default partition "pd" is implied by existing constraints/, 'nor the default one');
like($log, qr/existing constraints on column "p1.parent_id" are sufficient to prove that it does not contain nulls/, 'SET NOT NULL did not read the table');
$node->append_conf('postgresql.conf', 'log_min_messages = warning');
$node->reload;

# --- what does not succeed leaves nothing ----------------------------------------------------------------------------------
sub fails
{
	my ($call, $sqlstate, $what) = @_;
	my $was = catalog();
	my $failed = job($call);
	is(Dbops::wait_job($node, $failed), 'failed', "$what: fails");
	is(sql("SELECT last_sqlstate FROM dbops.jobs WHERE job_id = $failed"), $sqlstate, "$what: with its SQLSTATE") or diag sql("SELECT last_error FROM dbops.jobs WHERE job_id = $failed");
	cleaned();
	is(catalog(), $was, "$what: leaves nothing");
	return $failed;
}
fails(q{create_index('t', 'dup', is_unique => true)}, '23505', 'unique index on duplicates');
fails("add_unique('t', 'dup')", '23505', 'unique constraint on duplicates');
fails("add_check('t', 'a <> 77')", '23514', 'a CHECK that a row violates');
sql('CREATE TABLE orphans (id int, parent_id int); INSERT INTO orphans VALUES (1, 1), (2, 999), (3, NULL)');
fails("add_foreign_key('orphans', 'parent_id', 'parent')", '23503', 'a foreign key with an orphan');
my $failed = fails("set_not_null('orphans', 'parent_id')", '23514', 'NOT NULL with a null');
fails("create_index('t', '(1 / (a - 5))')", '22012', 'an expression that raises');
sql('CREATE TABLE p5 (LIKE p3 INCLUDING ALL); INSERT INTO p5 VALUES (1, 5, 5)');
fails("attach_partition('p', 'p5', 'FOR VALUES FROM (2000) TO (2100)')", '23514', 'a partition with a row of elsewhere');
sql('DELETE FROM p5; INSERT INTO p VALUES (2050, 1, 1)');
fails("attach_partition('p', 'p5', 'FOR VALUES FROM (2000) TO (2100)')", '23514', 'a row of the new partition in the default one');
sql('INSERT INTO p VALUES (150, 5001, 1), (160, 5002, 1); INSERT INTO p2b SELECT 5000, 1, 170; INSERT INTO p2b SELECT 5000, 1, 171');
fails("add_check('p', 'v <> 5000')", '23514', 'a CHECK that a partition violates');
sql('DELETE FROM orphans WHERE parent_id IS NULL');
sql("SELECT dbops.retry($failed)");
is(Dbops::wait_job($node, $failed), 'succeeded', 'when the row is gone, dbops.retry does it');

# --- INVALID leftovers of others ----------------------------------------------------------------------------------------------
$node->psql('postgres', 'CREATE UNIQUE INDEX CONCURRENTLY leftover ON t (dup)');
is(sql(q{SELECT index, "table", remedy FROM dbops.invalid_indexes}), "leftover|t|SELECT dbops.drop_index('leftover')", 'it is shown');
like(Dbops::refusal($node, "SELECT dbops.create_index('t', 'a', name => 'leftover')"), qr/^42P07: .*INVALID/, 'another definition: refused');
sql('UPDATE t SET dup = id');
$job = succeeds(q{create_index('t', 'dup', name => 'leftover', is_unique => true)}, 'the same definition: built anew');
like(statements($job), qr/^DROP INDEX CONCURRENTLY public.leftover\nCREATE/, 'after the leftover was dropped');

# Only who is at it for longer than the lock_timeout (seconds) is waited for before a try, and named.
sub grown_old
{
	my ($pid, $seconds) = @_;
	ok(Dbops::wait_for($node, "SELECT clock_timestamp() - xact_start > interval '$seconds s' FROM pg_stat_activity WHERE pid = $pid", 't'), "the transaction is older than $seconds s");
	return;
}

# --- somebody holds the table ----------------------------------------------------------------------------------------------------
sql('CREATE TABLE held (x int, y int); INSERT INTO held SELECT i, i FROM generate_series(1, 100) i');
my $holder = $node->background_psql('postgres');
$holder->query_safe("SET application_name = 'reporter'; BEGIN; SELECT count(*) FROM held");
my $holder_pid = $holder->query_safe('SELECT pg_backend_pid()');
grown_old($holder_pid, 1);
$job = job("set_not_null('held', 'x', lock_timeout => '1 s')");
ok(Dbops::wait_for($node, "SELECT waiting_for ~ 'ACCESS EXCLUSIVE held up by process $holder_pid .*reporter' FROM dbops.progress WHERE job_id = $job", 't'), 'who holds the table is named');
is(sql("SELECT count(*) FROM pg_locks WHERE relation = 'held'::regclass AND NOT granted"), 0, 'nobody queues behind the job');
is(sql('SELECT count(*) FROM held'), 100, 'the application goes on');
$holder->query_safe('COMMIT');
is(Dbops::wait_job($node, $job), 'succeeded', 'when it has ended, the job goes on');
$holder->query_safe('BEGIN; SELECT count(*) FROM held');
grown_old($holder_pid, 0.2);
my $was = catalog();
$job = job("add_check('held', 'x > 0', lock_timeout => '0.2 s', give_up_after => '1 s')");
is(Dbops::wait_job($node, $job), 'failed', 'give_up_after');
like(sql("SELECT last_sqlstate || last_error FROM dbops.jobs WHERE job_id = $job"), qr/^55P03could not get ACCESS EXCLUSIVE on public.held in time \(held by process $holder_pid /, 'says who');
is(catalog(), $was, 'and has changed nothing');
$holder->query_safe('COMMIT');
# A prepared transaction, which has no process.
sql("BEGIN; SELECT count(*) FROM held; PREPARE TRANSACTION 'forgotten'");
ok(Dbops::wait_for($node, "SELECT clock_timestamp() - prepared > interval '0.2 s' FROM pg_prepared_xacts", 't'), 'it is older than the lock_timeout');
$job = job("add_check('held', 'x > 0', lock_timeout => '0.2 s')");
ok(Dbops::wait_for($node, "SELECT waiting_for ~ 'prepared transaction ''forgotten''' FROM dbops.progress WHERE job_id = $job", 't'), 'a prepared transaction is named');
sql("COMMIT PREPARED 'forgotten'");
is(Dbops::wait_job($node, $job), 'succeeded', 'and waited for');

# --- an old snapshot elsewhere, cancel, pause ------------------------------------------------------------------------------------------
sql('CREATE TABLE elsewhere (x int)');
$holder->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM elsewhere');
$job = job("create_index('held', 'y')");
ok(Dbops::wait_for($node, "SELECT waiting_for ~ 'process $holder_pid .*reporter' FROM dbops.progress WHERE job_id = $job", 't'), 'whose snapshot the build waits for is named');
sql('INSERT INTO held VALUES (101, 101); UPDATE held SET y = y + 1 WHERE x = 1; DELETE FROM held WHERE x = 2');
ok(sql("SELECT percent > 0 AND percent < 100 AND current_range ->> 'phase' IS NOT NULL FROM dbops.progress WHERE job_id = $job") eq 't', 'its progress is that of the server');
sql("SELECT dbops.pause($job)");
ok(Dbops::wait_for($node, 'SELECT count(*) FROM dbops.invalid_indexes', 0), 'paused, its INVALID index goes');
is(Dbops::job_state($node, $job), 'paused', 'and it stays paused');
sql("SELECT dbops.resume($job)");
ok(Dbops::wait_for($node, 'SELECT count(*) FROM dbops.invalid_indexes', 1), 'resumed, it builds again');
sql("SELECT dbops.cancel($job)");
ok(Dbops::wait_for($node, 'SELECT count(*) FROM dbops.invalid_indexes', 0), 'cancelled, nothing stays');
is(sql("SELECT to_regclass('held_y_idx')"), '', 'no index');
cleaned();
is(Dbops::job_state($node, $job), 'cancelled', 'cancelled for good');
$job = job("create_index('held', 'y')");
ok(Dbops::wait_for($node, 'SELECT count(*) FROM dbops.invalid_indexes', 1), 'another one builds');
$holder->query_safe('COMMIT');
is(Dbops::wait_job($node, $job), 'succeeded', 'and ends when the snapshot has gone');
is(sql('SET enable_seqscan = off; SELECT count(*) FROM held WHERE y > 0'), 100, 'with what was written meanwhile');
# The same with an end of the patience.
$holder->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM elsewhere');
$was = catalog();
$job = job("create_index('held', 'x', give_up_after => '0.5 s')");
is(Dbops::wait_job($node, $job), 'failed', 'a build waits for a snapshot no longer than give_up_after');
is(sql("SELECT last_sqlstate FROM dbops.jobs WHERE job_id = $job"), '55P03', 'and says so');
ok(cleaned(), 'its INVALID index is removed while that transaction goes on');
is(catalog(), $was, 'nothing is left');

# --- what others do meanwhile ----------------------------------------------------------------------------------------------
$holder->query_safe('COMMIT');
sql('CREATE TABLE swap (x int); CREATE TABLE swap_new (x int); INSERT INTO swap VALUES (1); INSERT INTO swap_new VALUES (1)');
# Somebody has made an index of the same name: it is his, also when the job is cancelled.
$holder->query_safe('BEGIN; LOCK TABLE swap IN SHARE UPDATE EXCLUSIVE MODE');
$job = job("create_index('swap', 'x', name => 'mine')");
ok(Dbops::wait_for($node, "SELECT waiting_for ~ 'SHARE UPDATE EXCLUSIVE held up by' FROM dbops.progress WHERE job_id = $job", 't'), 'a job waits');
$holder->query_safe('CREATE UNIQUE INDEX mine ON swap (x)');
$holder->query_safe('COMMIT');
is(Dbops::wait_job($node, $job), 'failed', 'an index of the same name and another definition');
ok(cleaned(), 'cleaned up');
is(sql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'mine'::regclass"), 't', 'what somebody else has made stays');
sql("DROP INDEX mine; CREATE INDEX mine ON swap (x DESC); SELECT dbops.retry($job)");
is(Dbops::wait_job($node, $job), 'failed', 'the same, tried again');
ok(cleaned(), 'cleaned up');
is(sql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'mine'::regclass"), 't', 'stays again');
# A unique index of somebody else, over which a constraint was laid: the clean-up leaves it.
sql(q{CREATE TABLE laid (k int, x int) PARTITION BY LIST (k); CREATE TABLE laid_1 PARTITION OF laid FOR VALUES IN (1); CREATE TABLE laid_2 PARTITION OF laid FOR VALUES IN (2);
      CREATE UNIQUE INDEX laid_mine ON laid_1 (k, x); INSERT INTO laid VALUES (1, 1), (2, 2), (2, 2)});
my $laid = sql("SELECT 'laid_mine'::regclass::oid");
is(Dbops::wait_job($node, job("add_unique('laid', 'k, x')")), 'failed', 'a constraint that fails on the second partition');
ok(cleaned(), 'cleaned up');
is(sql("SELECT indexrelid FROM pg_index WHERE indrelid = 'laid_1'::regclass AND indisvalid"), $laid, 'the index that was there before stays');
is(sql("SELECT count(*) FROM pg_index WHERE indrelid = 'laid_2'::regclass"), 0, 'what the job has made goes');
# The INVALID index of a job was replaced by a valid one of that name before the clean-up could begin.
sql('CREATE TABLE replaced (x int); INSERT INTO replaced VALUES (1), (1)');
$job = job("create_index('replaced', 'x', name => 'replaced_i', is_unique => true)");
is(Dbops::wait_job($node, $job), 'failed', 'an index fails on the data');
ok(cleaned(), 'cleaned up');
sql("DROP INDEX IF EXISTS replaced_i; CREATE INDEX replaced_i ON replaced (x)");
sql("UPDATE dbops.ddl_step SET makes = 'index' WHERE job_id = $job AND name = 'replaced_i'");
sql("INSERT INTO dbops.job (kind, target_oid, target_name, owner_oid, owner_name, created_by, label, priority, spec, rows_total) SELECT 'clean_up', target_oid, target_name, owner_oid, owner_name, 'dbops', 'again', priority, spec || jsonb_build_object('of', job_id), 1 FROM dbops.job WHERE job_id = $job");
sql("INSERT INTO dbops.job_slice (job_id, slice) SELECT job_id, 0 FROM dbops.job WHERE label = 'again'");
succeeds("create_index('replaced', 'x', name => 'replaced_j')");    # which sends a dispatcher
is(Dbops::wait_job($node, sql("SELECT job_id FROM dbops.job WHERE label = 'again'")), 'succeeded', 'a clean-up that comes late');
is(sql("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('replaced_i')"), 't', 'leaves the index that has got the name meanwhile');

# --- texts mean what they mean to the caller, in any session --------------------------------------------------------------------
sql(q{CREATE TABLE dated (d date) PARTITION BY RANGE (d); CREATE TABLE dated_1 (d date); CREATE TABLE undated (d date);
      CREATE FUNCTION array_length(text[], integer) RETURNS integer IMMUTABLE LANGUAGE sql AS 'SELECT 99'; CREATE TABLE words (w text[]); INSERT INTO words VALUES ('{a,b}')});
$job = sql("SET datestyle = 'SQL, DMY'; SELECT dbops.attach_partition('dated', 'dated_1', \$\$FOR VALUES FROM ('01/02/2026') TO ('01/03/2026')\$\$)");
is(Dbops::wait_job($node, $job), 'succeeded', 'bounds in a DateStyle of the caller');
is(sql("SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'dated_1'"), "FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')", 'are the dates that he meant');
$job = sql("SET datestyle = 'SQL, DMY'; SELECT dbops.add_check('undated', \$\$d > '01/02/2026'\$\$)");
is(Dbops::wait_job($node, $job), 'succeeded', 'and so in a CHECK');
is(sql("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'undated'::regclass AND contype = 'c'"), "CHECK ((d > '2026-02-01'::date))", 'the same');
succeeds("add_check('words', 'pg_catalog.array_length(w, 1) < 10')");
succeeds("create_index('words', 'pg_catalog.array_length(w, 1)', name => 'words_length')");
is(sql("SET search_path = pg_catalog; SELECT pg_get_indexdef('public.words_length'::regclass)"), 'CREATE INDEX words_length ON public.words USING btree (array_length(w, 1))', 'and a function is the one that was meant');
sql('DROP FUNCTION array_length(text[], integer)');

# The table is exchanged for another while the job waits for its lock.
$holder->query_safe('BEGIN; SELECT count(*) FROM swap');
grown_old($holder_pid, 0.2);
$job = job("add_check('swap', 'x > 0', name => 'positive', lock_timeout => '0.2 s')");
ok(Dbops::wait_for($node, "SELECT waiting_for ~ 'ACCESS EXCLUSIVE held up by' FROM dbops.progress WHERE job_id = $job", 't'), 'a job waits for its table');
$holder->query_safe('ALTER TABLE swap RENAME TO swap_old; ALTER TABLE swap_new RENAME TO swap; COMMIT');
is(Dbops::wait_job($node, $job), 'succeeded', 'it goes on');
is(sql("SELECT string_agg(conrelid::regclass::text, ' ') FROM pg_constraint WHERE conname = 'positive'"), 'swap_old', 'with the table that was meant');
# A constraint of the same name that is not the same.
$holder->query_safe('BEGIN; SELECT count(*) FROM swap_old');
grown_old($holder_pid, 0.2);
$job = job("add_check('swap_old', 'x > -1', name => 'taken', lock_timeout => '0.2 s')");
ok(Dbops::wait_for($node, "SELECT waiting_for ~ 'ACCESS EXCLUSIVE held up by' FROM dbops.progress WHERE job_id = $job", 't'), 'a job waits again');
$holder->query_safe('ALTER TABLE swap_old ADD CONSTRAINT taken CHECK (x < 1000000); COMMIT');
is(Dbops::wait_job($node, $job), 'failed', 'a constraint of the same name is not taken for its own');
ok(cleaned(), 'cleaned up');
is(sql("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'taken'"), 'CHECK ((x < 1000000))', 'it stays');
# One lock_timeout for all partitions together: transactions that read one partition each.
sql('CREATE TABLE many (k int) PARTITION BY LIST (k)');
sql("CREATE TABLE many_$_ PARTITION OF many FOR VALUES IN ($_)") for 1 .. 3;
my @readers = map { my $reader = $node->background_psql('postgres'); $reader->query_safe("BEGIN; SELECT count(*) FROM many_$_"); $reader } 1 .. 3;
$job = job("add_check('many', 'k > 0', name => 'positive_k', lock_timeout => '1 s')");
ok(Dbops::wait_for($node, "SELECT waiting_for ~ 'ACCESS EXCLUSIVE held up by process' FROM dbops.progress WHERE job_id = $job", 't'), 'partitions that are read are waited for');
is(sql("SELECT count(*) FROM dbops.ddl_steps WHERE job_id = $job AND state = 'done'"), 0, 'while they are read, nothing is done');
is(sql('SET lock_timeout = 0; SELECT count(*) FROM many'), 0, 'and the application goes on');
for my $reader (@readers) { $reader->query_safe('COMMIT'); $reader->quit; }
is(Dbops::wait_job($node, $job), 'succeeded', 'then it is') or diag sql("SELECT * FROM dbops.ddl_steps WHERE job_id = $job");
# A statement that should take a moment reads the table after all: it is stopped.
sql(q{CREATE TABLE slow (x int); INSERT INTO slow VALUES (1);
      CREATE FUNCTION slow_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() WHERE object_identity = 'public.slow') THEN PERFORM pg_sleep(20); END IF; END$$;
      CREATE EVENT TRIGGER slow_ddl ON ddl_command_end EXECUTE FUNCTION slow_ddl()});
$job = job("add_check('slow', 'x > 0', name => 'held_for_long', lock_timeout => '0.5 s')");
is(Dbops::wait_job($node, $job), 'failed', 'a statement that holds its locks for too long is stopped');
is(sql("SELECT last_sqlstate FROM dbops.jobs WHERE job_id = $job"), '54000', 'in the end the job is, too');
is(sql("SELECT count(*) FROM pg_constraint WHERE conname = 'held_for_long'"), 0, 'and nothing is left');
sql('DROP EVENT TRIGGER slow_ddl');
$holder->quit;

# --- twenty at once -----------------------------------------------------------------------------------------------------------------------
sql('CREATE TABLE busy AS SELECT ' . join(', ', map { "i AS c$_" } 1 .. 20) . ' FROM generate_series(1, 1000) i');
my @sessions = map { Dbops::start_sql($node, "SELECT dbops.create_index('busy', 'c$_', name => 'busy_$_')") } 1 .. 20;
my @jobs = map { (Dbops::finish_sql($_))[0] } @sessions;
is(scalar(grep { Dbops::wait_job($node, $_) eq 'succeeded' } @jobs), 20, 'twenty indexes of one table at once');
is(sql("SELECT count(*), bool_and(indisvalid) FROM pg_index WHERE indrelid = 'busy'::regclass"), '20|t', 'all valid');
@sessions = map { Dbops::start_sql($node, "SELECT dbops.create_index('busy', 'c1, c2', name => 'same')") } 1 .. 20;
@jobs = grep { /^\d+$/ } map { (Dbops::finish_sql($_))[0] } @sessions;
Dbops::wait_job($node, $_) for @jobs;
is(sql("SELECT count(*), bool_and(indisvalid) FROM pg_index WHERE indexrelid = 'same'::regclass"), '1|t', 'the same by twenty: one index');
is(sql('SELECT count(*) FROM dbops.invalid_indexes'), 0, 'nothing INVALID');

# --- input ------------------------------------------------------------------------------------------------------------------------------
sql(q{CREATE VIEW v AS SELECT 1 AS x; CREATE TEMP TABLE gone (x int); CREATE TABLE parts (k int) PARTITION BY LIST (k); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
      CREATE TABLE other (k int, extra int); CREATE TABLE like_parts (k int)});
$was = catalog();
my $jobs = sql('SELECT count(*) FROM dbops.jobs');
for (
	[ "create_index(NULL, 'a')", '22004' ],
	[ "create_index('t', NULL)", '22004' ],
	[ "create_index('t', ' ')", '22023' ],
	[ "create_index('no_such_table', 'a')", '42P01' ],
	[ "create_index(1::oid::regclass, 'a')", '42P01' ],
	[ "create_index('v', 'x')", '42809' ],
	[ "create_index('pg_class', 'relname')", '42501' ],
	[ "create_index('t', 'nothing')", '42703' ],
	[ "create_index('t', 'a); DROP TABLE t; --')", '42601' ],
	[ "create_index('t', 'a) INCLUDE (b')", '42601' ],
	[ "create_index('t', 'a) WHERE (a > 0')", '42601' ],
	[ "create_index('t', 'a --')", undef ],
	[ "create_index('t', 'a', condition => 'nothing > 0')", '42703' ],
	[ "create_index('t', 'a', condition => 'a > 0) TABLESPACE x WHERE (a > 0')", '42601' ],
	[ "create_index('t', 'random()')", '42P17' ],
	[ "create_index('t', 'a', method => 'no_such')", '42704' ],
	[ "create_index('t', 'a', method => NULL)", '22004' ],
	[ "create_index('t', 'a', options => 'no_such = 1')", '22023' ],
	[ "create_index('t', 'a', name => 't')", '42P07' ],
	[ "create_index('t', 'a', name => 'leftover')", '42P07' ],
	[ "create_index('t', 'a', tablespace => 'no_such')", '42704' ],
	[ "create_index('t', 'a', lock_timeout => '0 s')", '22023' ],
	[ "create_index('t', 'a', lock_timeout => NULL)", '22023' ],
	[ "create_index('t', 'a', lock_timeout => '2 days')", '22023' ],
	[ "create_index('t', 'a', give_up_after => '-1 s')", '22023' ],
	[ "create_index('t', 'a', windows => 'whenever')", '22023' ],
	[ "create_index('t', 'a', timezone => 'Nowhere')", '22023' ],
	[ "create_index('t', 'a', run_as => 'no_such')", '42704' ],
	[ "create_index('t', 'a', priority => 100000)", '22023' ],
	[ "create_index('t', 'a', priority => NULL)", '22023' ],
	[ q{create_index('p', 'v', is_unique => true)}, '0A000' ],
	[ "add_unique('t', 'lower(b)')", '42809' ],
	[ "add_unique('t', 'a', primary_key => true)", '42P16' ],
	[ "add_unique('orphans', 'id', primary_key => true)", '55000' ],
	[ "add_unique('t', 'a', deferral => 'sometimes')", '22023' ],
	[ "add_unique('t', 'a', name => 't_b_key')", '42P07' ],
	[ "drop_index(NULL)", '22004' ],
	[ "drop_index('t')", '42809' ],
	[ "drop_index('t_pkey')", '2BP01' ],
	[ "drop_index('p_v_idx')", '0A000' ],
	[ "drop_index('p1_same')", '2BP01' ],
	[ "drop_index(1::oid::regclass)", '42P01' ],
	[ "reindex('v')", '42809' ],
	[ "set_not_null('t', NULL)", '22004' ],
	[ "set_not_null('t', 'nothing')", '42703' ],
	[ "set_not_null('t', 'ctid')", '42703' ],
	[ "add_check('t', 'nothing > 0')", '42703' ],
	[ "add_check('t', 'a')", '42804' ],
	[ "add_check('t', 'a > 0) NOT VALID, ADD CHECK (a < 5')", '42601' ],
	[ "add_check('t', 'a > 0) NO INHERIT; SELECT (1')", '42601' ],
	[ "add_check('t', 'a > (SELECT 1)')", '0A000' ],
	[ "add_check('t', 'a > 5', name => 'later')", '42710' ],
	[ "add_foreign_key('t', 'a', NULL)", '22004' ],
	[ "add_foreign_key('t', 'nothing', 'parent')", '42703' ],
	[ "add_foreign_key('t', 'a, id', 'parent')", '42830' ],
	[ "add_foreign_key('t', 'a', 'held')", '42704' ],
	[ "add_foreign_key('t', 'a', 'parent', 'nothing')", '42703' ],
	[ "add_foreign_key('t', 'a', 'held', 'x')", '42830' ],
	[ "add_foreign_key('t', 'a', 'parent', on_delete => 'EXPLODE')", '42601' ],
	[ "add_foreign_key('t', 'a', 'parent', on_delete => 'CASCADE, DROP COLUMN b')", '42601' ],
	[ "validate_constraint('t', 'no_such')", '42704' ],
	[ "attach_partition('t', 'like_parts', 'DEFAULT')", '42809' ],
	[ "attach_partition('parts', 'parts_1', 'FOR VALUES IN (3)')", '42809' ],
	[ "attach_partition('parts', 'other', 'FOR VALUES IN (3)')", '42804' ],
	[ "attach_partition('parts', 'like_parts', 'FOR VALUES IN (1)')", '42P17' ],
	[ "attach_partition('parts', 'like_parts', 'FOR VALUES FROM (1) TO (2)')", '42P16' ],
	[ "attach_partition('parts', 'like_parts', 'FOR VALUES IN (1), DROP COLUMN k')", '42601' ],
	[ "attach_partition('parts', 'like_parts', NULL)", '22004' ],
	[ "attach_partition('parts', NULL, 'DEFAULT')", '22004' ])
{
	my ($call, $expected) = @$_;
	next unless defined $expected;
	like(Dbops::refusal($node, "SELECT dbops.$call"), qr/^$expected: /, $call);
}
is(catalog(), $was, 'none of them has changed anything');
is(sql('SELECT count(*) FROM dbops.jobs'), $jobs, 'nor made a job');

# --- privileges ---------------------------------------------------------------------------------------------------------------------------
sql(q{CREATE ROLE owner LOGIN; CREATE ROLE stranger LOGIN; CREATE SCHEMA s AUTHORIZATION owner; CREATE TABLE s.mine (x int, y int); ALTER TABLE s.mine OWNER TO owner;
      INSERT INTO s.mine SELECT i, i FROM generate_series(1, 10) i; GRANT USAGE ON SCHEMA s TO stranger; GRANT ALL ON s.mine TO stranger; CREATE TABLE s.target (x int PRIMARY KEY)});
like(Dbops::refusal($node, "SELECT dbops.$_", role => 'stranger'), qr/^42501: /, "not the owner's: $_")
	for "create_index('s.mine', 'x')", "add_unique('s.mine', 'x')", "set_not_null('s.mine', 'x')", "add_check('s.mine', 'x > 0')", "add_foreign_key('s.mine', 'x', 's.target')",
	"reindex('s.mine')", "create_index('s.mine', 'x', run_as => 'owner')", "attach_partition('p', 's.mine', 'DEFAULT')";
like(Dbops::refusal($node, "SELECT dbops.add_foreign_key('s.mine', 'x', 's.target')", role => 'owner'), qr/^42501: .*REFERENCES/, 'REFERENCES is needed');
$job = Dbops::value_as($node, 'owner', "SELECT dbops.create_index('s.mine', 'x')");
is(Dbops::wait_job($node, $job), 'succeeded', 'its owner may');
$job = job("create_index('s.mine', 'y, x')");
is(Dbops::wait_job($node, $job) . sql("SELECT owner FROM dbops.jobs WHERE job_id = $job"), 'succeededowner', "a superuser's job runs as the owner");
sql(q{CREATE FUNCTION s.who(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$BEGIN IF current_user <> 'owner' THEN RAISE 'as %', current_user; END IF; RETURN $1; END$$; ALTER FUNCTION s.who OWNER TO owner});
succeeds("create_index('s.mine', 's.who(x)', condition => 's.who(5) = 5 AND x > 0')", 'functions run as the owner alone');
is(Dbops::value_as($node, 'stranger', 'SELECT count(*) FROM dbops.ddl_steps'), 0, 'strangers do not see the steps');
isnt(Dbops::value_as($node, 'owner', 'SELECT count(*) FROM dbops.ddl_steps'), 0, 'the owner does');
sql('REVOKE TEMPORARY ON DATABASE postgres FROM PUBLIC');
like(Dbops::refusal($node, "SELECT dbops.create_index('s.mine', 'x')", role => 'owner'), qr/^42501: permission denied to create temporary tables/, 'without TEMPORARY it says so');
sql('GRANT TEMPORARY ON DATABASE postgres TO PUBLIC');

# --- in a session ------------------------------------------------------------------------------------------------------------------------
$node->append_conf('postgresql.conf', 'dbops.max_workers = 0');
$node->reload;
sql('CREATE TABLE here (x int); INSERT INTO here VALUES (1)');
$job = job("set_not_null('here', 'x')");
sql("CALL dbops.run($job)");
is(Dbops::job_state($node, $job), 'succeeded', 'CALL dbops.run makes a column NOT NULL');
$job = job("create_index('here', 'x')");
like(Dbops::refusal($node, "CALL dbops.run($job)"), qr/^0A000: /, 'an index needs a worker');

$node->stop;
done_testing();
