# Retention by schedule: partitions detached while in use, a detach that was interrupted, holds that come during a run, rows
# whose age changes meanwhile, a restored and a promoted server, owners that come and go.
use strict;
use warnings;
use Test::More;
use IPC::Run ();
use Time::HiRes qw(sleep);
use PostgreSQL::Test::Cluster;
use Dbops;

my $node = Dbops::node('primary', init => [ allows_streaming => 1 ], conf => "autovacuum = off\n");
sub sql { return Dbops::value($node, $_[0]); }
# Runs a rule once by its schedule, as its time would; the state of the job.
sub run_rule
{
	my ($rule) = @_;
	my $last = sql("SELECT coalesce(last_job, 0) FROM dbops.retention_status WHERE rule = $rule");
	sql("SELECT dbops.run_now('retain $rule')");
	Dbops::wait_for($node, "SELECT last_job > $last FROM dbops.retention_status WHERE rule = $rule", 't') or return 'not begun';
	return Dbops::wait_job($node, sql("SELECT last_job FROM dbops.retention_status WHERE rule = $rule"), undef,
		states => [qw(succeeded failed cancelled paused)]);
}
sub partitions { return sql("SELECT string_agg(inhrelid::regclass::text, ' ' ORDER BY inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = '$_[0]'::regclass"); }

# --- partitions, without a default one: detached concurrently ---------------------------------------------------------------
sql(<<'SQL');
CREATE TABLE p (id int, day date NOT NULL, note text) PARTITION BY RANGE (day);
CREATE INDEX ON p (day);
SELECT format('CREATE TABLE p_%s PARTITION OF p FOR VALUES FROM (%L) TO (%L)', i, current_date - 10 * (i + 1), current_date - 10 * i)
  FROM generate_series(0, 9) i \gexec
INSERT INTO p SELECT i, current_date - i FROM generate_series(1, 100) i;
ANALYZE p;
SQL
my $p = sql(q{SELECT rule FROM dbops.retain('p', 'day', '55 days', '@yearly', max_share => NULL)});
# A transaction that reads the table holds nobody up, and is waited for.
my $reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN; SELECT count(*) FROM p');
sql("SELECT dbops.run_now('retain $p')");
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_activity WHERE query ~ 'DETACH PARTITION' AND wait_event_type = 'Lock'", 1), 'the detach waits for it');
is(sql(q{SET lock_timeout = '2s'; INSERT INTO p VALUES (1000, current_date - 1); SELECT count(*) FROM p WHERE id = 1000}), 1, 'others read and write meanwhile');

# --- interrupted half way ---------------------------------------------------------------------------------------------------
my $job = sql("SELECT last_job FROM dbops.retention_status WHERE rule = $p");
sql("SELECT dbops.pause($job)");
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_activity WHERE query ~ 'DETACH PARTITION' AND backend_type = 'dbops worker' AND state = 'active'", 0), 'paused');
is(sql("SELECT count(*) FROM pg_inherits WHERE inhdetachpending"), 1, 'one partition is half detached');
$reader->query_safe('COMMIT');
sql("SELECT dbops.resume($job)");
is(Dbops::wait_job($node, $job), 'succeeded', 'resumed, the run ends');
is(partitions('p'), 'p_0 p_1 p_2 p_3 p_4 p_5', 'expired partitions have gone');
is(sql("SELECT count(*) FROM pg_class WHERE relname LIKE 'p\\_%' AND relkind = 'r'"), 6, '... and are dropped, the half detached one too');
is(sql('SELECT max(current_date - day) FROM p'), 55, 'the boundary is swept');
is(sql("SELECT count(*) FROM dbops.retention_partition WHERE state = 'dropped'"), 4, 'there is a record of each');
# crashed half way
sql("CREATE TABLE p_old PARTITION OF p FOR VALUES FROM ('2001-01-01') TO ('2001-02-01'); INSERT INTO p VALUES (7, '2001-01-07')");
$reader->query_safe('BEGIN; SELECT count(*) FROM p');
sql("SELECT dbops.run_now('retain $p')");
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_inherits WHERE inhdetachpending", 1), 'again half detached');
$node->stop('immediate');
$reader->quit;
$node->start;
$job = sql("SELECT last_job FROM dbops.retention_status WHERE rule = $p");
is(Dbops::wait_job($node, $job), 'succeeded', 'after a crash the run goes on');
is(sql("SELECT to_regclass('p_old') IS NULL AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhdetachpending)"), 't', '... and finishes the detach');

# --- a hold that comes between the detach and the drop ------------------------------------------------------------------------
sql("CREATE TABLE p_old PARTITION OF p FOR VALUES FROM ('2001-01-01') TO ('2001-02-01'); INSERT INTO p VALUES (7, '2001-01-07')");
$reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN; SELECT count(*) FROM p');
sql("SELECT dbops.run_now('retain $p')");
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_inherits WHERE inhdetachpending", 1), 'a detach under way');
my $hold = sql("SELECT dbops.hold('p', 'id = 7', 'came late')");
$reader->query_safe('COMMIT');
$job = sql("SELECT last_job FROM dbops.retention_status WHERE rule = $p");
is(Dbops::wait_job($node, $job), 'succeeded', 'the run ends');
is(sql(q{SELECT count(*) FROM p WHERE day = '2001-01-07'}), 1, 'the held row is there, in its table');
is(partitions('p'), 'p_0 p_1 p_2 p_3 p_4 p_5 p_old', '... whose partition is attached again');
like(sql("SELECT partitions FROM dbops.deletions WHERE job_id = $job"), qr/p_old kept \(rows are under legal hold $hold/, 'and the record says so');
is(Dbops::wait_job($node, Dbops::batch_delete($node, q{'p_old', 'true'})), 'succeeded', 'what deletes from the partition');
is(sql('SELECT count(*) FROM p_old'), 1, '... keeps to the hold too');
sql("SELECT dbops.release($hold, 'over')");
is(run_rule($p), 'succeeded', 'released, the next run');
is(sql("SELECT to_regclass('p_old') IS NULL"), 't', '... drops it');

# ... by a rule that leaves expired partitions as tables, and where only a word is missing to attach it
my $make_old = "CREATE TABLE p_old PARTITION OF p FOR VALUES FROM ('2001-01-01') TO ('2001-02-01'); INSERT INTO p VALUES (7, '2001-01-07')";
for my $partitions ('detach', 'drop') {
	sql($make_old);
	sql(qq{SELECT rule FROM dbops.retain('p', 'day', '55 days', '\@yearly', max_share => NULL, partitions => '$partitions')});
	$reader->query_safe('BEGIN; SELECT count(*) FROM p');
	sql("SELECT dbops.run_now('retain $p')");
	ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_inherits WHERE inhdetachpending", 1), "a detach under way, by a rule to $partitions");
	$hold = sql("SELECT dbops.hold('p', 'id = 7', 'came late')");
	sql("CREATE FUNCTION not_now() RETURNS event_trigger LANGUAGE plpgsql AS \$\$BEGIN RAISE 'not now'; END\$\$; CREATE EVENT TRIGGER not_now ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION not_now()") if $partitions eq 'drop';
	$reader->query_safe('COMMIT');
	$job = sql("SELECT last_job FROM dbops.retention_status WHERE rule = $p");
	is(Dbops::wait_job($node, $job), 'succeeded', 'the run ends');
	if ($partitions eq 'drop') {
		like(sql("SELECT partitions FROM dbops.deletions WHERE job_id = $job"), qr/p_old detached \(rows are under legal hold $hold.*could not be attached again: not now/, 'what cannot be attached again stays');
		sql('DROP EVENT TRIGGER not_now; DROP FUNCTION not_now()');
		is(run_rule($p), 'succeeded', 'the next run');
	}
	is(sql(q{SELECT count(*) FROM p WHERE day = '2001-01-07'}), 1, 'it is put back');
	sql("SELECT dbops.release($hold, 'over'); DROP TABLE p_old");
}

# --- a rule that is changed between the detach and the drop ---------------------------------------------------------------------
sub again { return sql(qq{SELECT rule FROM dbops.retain('p', 'day', '$_[0]', '\@yearly', max_share => NULL)}); }
sql($make_old);
$reader->query_safe('BEGIN; SELECT count(*) FROM p');
sql("SELECT dbops.run_now('retain $p')");
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_inherits WHERE inhdetachpending", 1), 'a detach under way');
is(again('100 years'), $p, 'the rule is made to keep rows for longer');
$reader->query_safe('COMMIT');
is(Dbops::wait_job($node, sql("SELECT last_job FROM dbops.retention_status WHERE rule = $p"), undef, states => [qw(succeeded failed cancelled)]), 'cancelled', 'the run ends by that');
is(sql('SELECT count(*) FROM p_old'), 1, '... and has not dropped what is to be kept now');
is(run_rule($p), 'succeeded', 'the next run');
is(sql('SELECT count(*) FROM p_old'), 1, '... neither');
is(sql("SELECT state || ' ' || detail FROM dbops.retention_partition WHERE relation_oid = 'p_old'::regclass"), 'kept detached, and by the rule as it is now not expired: attach it again', '... and says what to do');
sql('DROP TABLE p_old');
again('55 days');

# --- a partition that somebody else detaches, while dbops was about to ------------------------------------------------------------
sql($make_old);
$reader->query_safe('BEGIN; LOCK TABLE p_old IN SHARE UPDATE EXCLUSIVE MODE');
sql("SELECT dbops.run_now('retain $p')");
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_activity WHERE query ~ 'DETACH PARTITION' AND backend_type = 'dbops worker' AND wait_event_type = 'Lock'", 1), 'a detach is about to begin');
$job = sql("SELECT last_job FROM dbops.retention_status WHERE rule = $p");
sql("SELECT dbops.pause($job)");
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_activity WHERE query ~ 'DETACH PARTITION' AND backend_type = 'dbops worker' AND state = 'active'", 0), '... and is paused');
$reader->query_safe('COMMIT');
sql('ALTER TABLE p DETACH PARTITION p_old');
sql("SELECT dbops.resume($job)");
is(Dbops::wait_job($node, $job), 'succeeded', 'resumed, the run ends');
is(run_rule($p), 'succeeded', 'and the next one');
is(sql('SELECT count(*) FROM p_old'), 1, 'what a person has detached is there');
is(sql("SELECT state FROM dbops.retention_partition WHERE relation_oid = 'p_old'::regclass"), 'kept', 'and the record says so');
sql('DROP TABLE p_old');

# --- names that change hands while the table is waited for ------------------------------------------------------------------------
sql(q{CREATE TABLE w (id int, day date NOT NULL) PARTITION BY RANGE (day); CREATE TABLE w_rest PARTITION OF w DEFAULT; CREATE INDEX ON w (day);
	CREATE TABLE w_old PARTITION OF w FOR VALUES FROM ('2001-01-01') TO ('2001-02-01'); INSERT INTO w VALUES (1, '2001-01-07')});
sql("SELECT format('CREATE TABLE w_new PARTITION OF w FOR VALUES FROM (%L) TO (%L)', current_date - 10, current_date + 10) \\gexec");
sql('INSERT INTO w SELECT 2, current_date');
my $w = sql(q{SELECT rule FROM dbops.retain('w', 'day', '55 days', '@yearly', max_share => NULL, lock_timeout => '60 s')});
$reader->query_safe('BEGIN; SELECT count(*) FROM w');
sql("SELECT dbops.run_now('retain $w')");
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'w'::regclass", 1), 'a run waits for the table');
$reader->query_safe('ALTER TABLE w_new RENAME TO w_x; ALTER TABLE w_old RENAME TO w_new; ALTER TABLE w_x RENAME TO w_old; COMMIT');
is(Dbops::wait_job($node, sql("SELECT last_job FROM dbops.retention_status WHERE rule = $w")), 'succeeded', 'it goes on');
is(sql('SELECT string_agg(id::text, \',\') FROM w'), '2', 'the young partition stays under its new name');
is(partitions('w'), 'w_old w_rest', '... and the expired one has gone, under its');
sql("SELECT dbops.unretain($w); DROP TABLE w");

# --- a run that waits for a word, and a rule that is changed meanwhile ------------------------------------------------------------
sql(q{CREATE TABLE q (id int PRIMARY KEY, at timestamptz); CREATE TABLE q_child (id int PRIMARY KEY, q int REFERENCES q); CREATE INDEX ON q_child (q);
	INSERT INTO q SELECT i, now() - interval '9 days' FROM generate_series(1, 50) i; INSERT INTO q_child SELECT i, i FROM generate_series(1, 50) i});
my $q = sql(q{SELECT rule FROM dbops.retain('q', 'at', '5 days', '@yearly', children => 'delete', max_share => NULL, max_rows => 5)});
is(run_rule($q), 'paused', 'a run stops at its maximum');
my $children = sql('SELECT count(*) FROM q_child');
sql(q{SELECT rule FROM dbops.retain('q', 'at', '5 days', '@yearly', children => 'restrict', max_share => NULL, max_rows => 5)});
$job = sql("SELECT last_job FROM dbops.retention_status WHERE rule = $q");
sql("SELECT dbops.confirm_retention($q)");
is(Dbops::wait_job($node, $job, undef, states => [qw(succeeded failed cancelled)]), 'cancelled', 'confirmed after its rule was changed, it ends');
is(sql('SELECT count(*) FROM q_child'), $children, '... and has deleted no row that is to stay by the rule as it is now');
is(sql("SELECT reason FROM dbops.job_event WHERE job_id = $job AND action = 'cancel'"), 'its retention rule was changed', '... and says why');
sql("SELECT dbops.unretain($q); DROP TABLE q_child, q");
# A time zone is part of what a rule says; and its schedule may have another name
sql(q{CREATE TABLE q (id int PRIMARY KEY, at timestamp); CREATE INDEX ON q (at); INSERT INTO q SELECT i, now() - interval '9 days' FROM generate_series(1, 50) i});
$q = sql(q{SELECT rule FROM dbops.retain('q', 'at', '5 days', '@yearly', max_share => NULL, max_rows => 5, timezone => 'UTC')});
is(run_rule($q), 'paused', 'a run stops at its maximum');
$job = sql("SELECT last_job FROM dbops.retention_status WHERE rule = $q");
my $left = sql('SELECT count(*) FROM q');
sql("SELECT dbops.alter_schedule('retain $q', new_name => 'mine'); SELECT dbops.schedule('retain $q', '\@yearly', 'SELECT 1')");
sql(q{SELECT rule FROM dbops.retain('q', 'at', '5 days', '@monthly', max_share => NULL, max_rows => 5, timezone => 'Pacific/Kiritimati')});
is(sql("SELECT string_agg(schedule, ',' ORDER BY name) FROM dbops.schedules WHERE name IN ('mine', 'retain $q')"), '@monthly,@yearly', 'a rule finds its schedule under another name');
sql("SELECT dbops.confirm_retention($q)");
is(Dbops::wait_job($node, $job, undef, states => [qw(succeeded failed cancelled)]), 'cancelled', 'another time zone ends a run');
is(sql('SELECT count(*) FROM q'), $left, '... which has deleted nothing more');
sql("SELECT dbops.unretain($q); DROP TABLE q");
is(sql("SELECT string_agg(name, ',') FROM dbops.schedules WHERE name IN ('mine', 'retain $q')"), "retain $q", 'only its own schedule goes with a rule');
sql("SELECT dbops.unschedule('retain $q')");

# --- rows whose age changes while they are deleted ----------------------------------------------------------------------------
sql(<<'SQL');
CREATE TABLE t (id int PRIMARY KEY, at timestamptz, alive boolean DEFAULT false);
INSERT INTO t SELECT i, now() - interval '10 days' - i * interval '1 second' FROM generate_series(1, 20000) i;
CREATE INDEX ON t (at);
ANALYZE t;
SQL
# The run takes some seconds, as rows are to be saved from it meanwhile.
my $t = sql(q{SELECT rule FROM dbops.retain('t', 'at', '5 days', '@yearly', max_share => NULL, max_batch_rows => 100, max_rows_per_second => 4000)});
sql("SELECT dbops.run_now('retain $t')");
my $saver = Dbops::start_sql($node, <<'SQL');
DO $$
BEGIN
  FOR i IN 1..1500 LOOP
    UPDATE t SET at = now(), alive = true WHERE id = 1 + (i * 7919) % 20000;
    INSERT INTO t VALUES (100000 + i, now() - interval '6 days' + (i % 2) * interval '6 days', i % 2 = 1);
    COMMIT;
  END LOOP;
END $$
SQL
ok(Dbops::wait_for($node, "SELECT last_job IS NOT NULL FROM dbops.retention_status WHERE rule = $t", 't'), 'a run begins');
is(Dbops::wait_job($node, sql("SELECT last_job FROM dbops.retention_status WHERE rule = $t")), 'succeeded', '... and ends');
is((Dbops::finish_sql($saver))[1], '', 'rows were made younger meanwhile');
is(run_rule($t), 'succeeded', 'once more');
is(sql("SELECT count(*) FILTER (WHERE at < now() - interval '5 days'), bool_and(alive) FROM t"), '0|t', 'no expired row is left');
# Each row that was saved says so; none of them may have been deleted after that.
my ($saved, $there) = split /\|/, sql("SELECT (SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 't'), (SELECT count(*) FROM t WHERE id <= 20000)");
cmp_ok($there, '>', 0, 'some were saved in time');
ok(Dbops::wait_for($node, "SELECT n_tup_upd = (SELECT count(*) FROM t WHERE id <= 20000) FROM pg_stat_user_tables WHERE relname = 't'", 't'), 'and every one of these is there');

# --- many rows of one age: batches end between two of them, or within one -------------------------------------------------------
# Whatever the index is like: batches are told by its entries, of which many are of rows that are dead already.
for my $index ('(day)', '(day DESC)', '(day NULLS FIRST)', '(day DESC NULLS LAST, id)', '(day) WHERE day IS NOT NULL') {
	sql(qq{DROP TABLE IF EXISTS ties; CREATE TABLE ties (id int PRIMARY KEY, day date) WITH (autovacuum_enabled = false);
		CREATE INDEX ON ties $index;
		INSERT INTO ties SELECT -i, current_date - 40 - i % 3 FROM generate_series(10, 500) i;
		DELETE FROM ties; -- these stay in the index
		INSERT INTO ties SELECT i, current_date - CASE WHEN i % 3 = 0 THEN 40 WHEN i % 100 = 1 THEN 10 + i % 30 ELSE i % 3 END FROM generate_series(1, 3000) i;
		INSERT INTO ties VALUES (-1, NULL), (-2, '-infinity'), (-3, 'infinity'), (-4, NULL)});
	my $ties = sql(q{SELECT rule FROM dbops.retain('ties', 'day', '5 days', '@yearly', max_share => NULL, max_batch_rows => 70)});
	my $expired = sql("SELECT count(*) FROM ties WHERE day < current_date - 5");
	is(run_rule($ties), 'succeeded', "a run over days of many rows, and of few, by an index $index");
	is(sql("SELECT count(*) FILTER (WHERE day < current_date - 5), count(*) FROM ties"), '0|' . (3004 - $expired), '... has deleted what has expired, and nothing else');
	my $job = "(SELECT max(job_id) FROM dbops.deletions WHERE rule = $ties)";
	cmp_ok(sql("SELECT sum(batches) FROM dbops.job_slice WHERE job_id = $job"), '>=', $expired / 70, '... in batches that are not longer for that');
	is(sql("SELECT (spec ->> 'by_age') || ' ' || (SELECT strategy FROM dbops.job_cursor c WHERE c.job_id = j.job_id) FROM dbops.job j WHERE job_id = $job"), 'true key', '... by the index');
	sql("SELECT dbops.unretain($ties)");
}

# --- several workers: the range is that of the walk, not of the texts of its keys -------------------------------------------------
sql('CREATE TABLE many (id int PRIMARY KEY); INSERT INTO many SELECT generate_series(1, 12000)');
my $several = Dbops::batch_delete($node, q{'many', 'id > 0', strategy => 'key', parallel => 3, max_batch_rows => 50, nice_ratio => 0});
is(Dbops::wait_job($node, $several), 'succeeded', 'a deletion by several workers');
is(sql("SELECT first_key, last_key, rows FROM dbops.deletions WHERE job_id = $several"), 'beginning|(12000)|12000', '... by all of them together');
is(sql("SELECT count(*) FILTER (WHERE first_place <= last_place) = count(first_key) AND min(first_place) = 1 FROM dbops.job_slice WHERE job_id = $several"), 't', '... each with its own');

# --- owners -------------------------------------------------------------------------------------------------------------------
sql("CREATE ROLE keeper LOGIN; CREATE TABLE k (id int PRIMARY KEY, at timestamptz); INSERT INTO k VALUES (1, now() - interval '9 days'), (2, now());"
	  . " GRANT SELECT, DELETE ON k TO keeper");
my $k = Dbops::value_as($node, 'keeper', q{SELECT rule FROM dbops.retain('k', 'at', '1 day', '@yearly', max_share => NULL)});
sql("CREATE TABLE spy (who text); GRANT INSERT ON spy TO PUBLIC; CREATE FUNCTION spy() RETURNS trigger LANGUAGE plpgsql AS"
	  . ' $$ BEGIN INSERT INTO spy VALUES (current_user); RETURN OLD; END $$; CREATE TRIGGER spy BEFORE DELETE ON k FOR EACH ROW EXECUTE FUNCTION spy()');
is(run_rule($k), 'succeeded', 'a rule of a role that does not own the table');
is(sql('SELECT string_agg(id::text, \',\') FROM k'), '2', 'the expired row has gone');
is(sql('SELECT who FROM spy'), 'keeper', '... by that role');
sql("INSERT INTO k VALUES (3, now() - interval '9 days'); REVOKE DELETE ON k FROM keeper");
sql("SELECT dbops.run_now('retain $k')");
ok(Dbops::wait_for($node, "SELECT last_result FROM dbops.schedules WHERE name = 'retain $k'", 'failed'), 'without the privilege the run fails');
is(sql('SELECT count(*) FROM k WHERE id = 3'), 1, '... and nothing goes');
sql("DROP OWNED BY keeper; DROP ROLE keeper; CREATE ROLE keeper LOGIN SUPERUSER");
sql("SELECT dbops.run_now('retain $k')");
ok(Dbops::wait_for($node, "SELECT state FROM dbops.schedules WHERE name = 'retain $k'", 'failed'), 'a dropped role runs nothing, and one of the same name inherits nothing');
is(sql('SELECT count(*) FROM k WHERE id = 3'), 1, '... and nothing goes');
sql("SELECT dbops.unretain($k)");

# --- a scheduled DELETE of a user's keeps to holds ----------------------------------------------------------------------------
sql("CREATE TABLE s (id int); INSERT INTO s SELECT generate_series(1, 5); SELECT dbops.hold('s', 'id = 4', 'case')");
sql(q{SELECT dbops.schedule('delete', '@yearly', 'DELETE FROM s'); SELECT dbops.run_now('delete')});
ok(Dbops::wait_for($node, "SELECT last_result FROM dbops.schedules WHERE name = 'delete'", 'failed'), 'a scheduled DELETE of a held row fails');
is(sql('SELECT count(*) FROM s'), 5, '... and deletes nothing');
sql(q{SELECT dbops.alter_schedule('delete', command => 'DELETE FROM s WHERE id <> 4'); SELECT dbops.run_now('delete')});
ok(Dbops::wait_for($node, "SELECT last_result FROM dbops.schedules WHERE name = 'delete'", 'finished'), 'of others it does not');
is(sql('SELECT string_agg(id::text, \',\') FROM s'), '4', 'they have gone');
# ... and its TRUNCATE and DROP, whatever they are called by
sql(q{CREATE SCHEMA held; CREATE TABLE held.x (id int PRIMARY KEY, long text); INSERT INTO held.x SELECT 1, string_agg(md5(i::text), '') FROM generate_series(1, 999) i;
	ALTER TABLE held.x ALTER long SET STORAGE EXTERNAL; SELECT dbops.hold('held.x', 'long IS NOT NULL AND length(long) > 5', 'case');
	CREATE TABLE s_child (id int); ALTER TABLE s ADD PRIMARY KEY (id); ALTER TABLE s_child ADD FOREIGN KEY (id) REFERENCES s;
	CREATE TABLE free (id int); INSERT INTO free VALUES (1); SELECT dbops.hold('free', 'id = 2', 'case')});
sql(q{CREATE TABLE top (id int PRIMARY KEY); CREATE TABLE below (id int PRIMARY KEY REFERENCES top ON DELETE CASCADE); INSERT INTO top VALUES (1), (2); INSERT INTO below VALUES (1), (2);
	SELECT dbops.hold('below', 'id = 2', 'case')});
my $number = 0;
for my $command ('DELETE FROM top', 'MERGE INTO below USING top ON top.id = below.id WHEN MATCHED THEN DELETE', 'WITH gone AS (DELETE FROM below RETURNING id) SELECT count(*) FROM gone', q{DO 'BEGIN DELETE FROM below; END'})
{
	my $name = 'by the way ' . ++$number;
	sql("SELECT dbops.schedule('$name', '\@yearly', \$\$$command\$\$); SELECT dbops.run_now('$name')");
	ok(Dbops::wait_for($node, "SELECT last_result FROM dbops.schedules WHERE name = '$name'", 'failed'), "a scheduled $command fails");
	like(sql("SELECT last_error FROM dbops.schedules WHERE name = '$name'"), qr/a row of public\.below must not be deleted: it is under legal hold/, '... and says why');
}
# ... and after a job that it has done in its own session
sql(q{CREATE TABLE filled (id int PRIMARY KEY, n int); INSERT INTO filled VALUES (1)});
my $filling = sql(q{SELECT dbops.pause(dbops.backfill('filled', 'n = 1')) = 'paused'}) eq 't' && sql('SELECT max(job_id) FROM dbops.jobs');
sql(qq{SELECT dbops.schedule('by the way 5', '\@yearly', 'SELECT dbops.resume($filling); CALL dbops.run($filling); DELETE FROM below'); SELECT dbops.run_now('by the way 5')});
ok(Dbops::wait_for($node, "SELECT last_result FROM dbops.schedules WHERE name = 'by the way 5'", 'failed'), 'a scheduled DELETE after a job in its session fails');
like(sql("SELECT last_error FROM dbops.schedules WHERE name = 'by the way 5'"), qr/under legal hold|other processes/, '... and says why');
is(sql('SELECT (SELECT count(*) FROM top), (SELECT count(*) FROM below)'), '2|2', 'nothing has gone');
for my $command ('TRUNCATE s, s_child', 'DROP TABLE s CASCADE', 'DROP SCHEMA held CASCADE', q{DO 'BEGIN TRUNCATE held.x; END'})
{
	my $name = 'empty ' . ++$number;
	sql("SELECT dbops.schedule('$name', '\@yearly', \$\$$command\$\$); SELECT dbops.run_now('$name')");
	ok(Dbops::wait_for($node, "SELECT last_result FROM dbops.schedules WHERE name = '$name'", 'failed'), "a scheduled $command fails");
	like(sql("SELECT last_error FROM dbops.schedules WHERE name = '$name'"), qr/must not be truncated or dropped: it is under legal hold/, '... and says why');
}
is(sql("SELECT (SELECT string_agg(id::text, ',') FROM s), (SELECT count(*) FROM held.x)"), '4|1', 'the held rows are there');
sql(q{SELECT dbops.schedule('free', '@yearly', 'TRUNCATE free; DROP TABLE free'); SELECT dbops.run_now('free')});
ok(Dbops::wait_for($node, "SELECT last_result FROM dbops.schedules WHERE name = 'free'", 'finished'), 'a table without a held row may go');
sql('DROP TABLE s_child');
# ... nor does a partition or a child take its rows out of the hold
sql(q{CREATE TABLE v (id int, url text) PARTITION BY RANGE (id); CREATE TABLE v1 PARTITION OF v FOR VALUES FROM (0) TO (10); CREATE TABLE v2 PARTITION OF v FOR VALUES FROM (10) TO (20);
	INSERT INTO v SELECT i, CASE WHEN i = 3 THEN 'held' END FROM generate_series(1, 15) i; SELECT dbops.hold('v', $$url = 'held'$$, 'case');
	CREATE TABLE i (id int); CREATE TABLE i1 () INHERITS (i); INSERT INTO i1 VALUES (1); SELECT dbops.hold('i', 'id = 1', 'case')});
for my $command ('ALTER TABLE v DETACH PARTITION v1; DROP TABLE v1', 'ALTER TABLE v DETACH PARTITION v1 CONCURRENTLY', 'ALTER TABLE i1 NO INHERIT i; DROP TABLE i1', q{DO 'BEGIN ALTER TABLE v DETACH PARTITION v1; DROP TABLE v1; END'})
{
	my $name = 'detach ' . ++$number;
	sql("SELECT dbops.schedule('$name', '\@yearly', \$\$$command\$\$); SELECT dbops.run_now('$name')");
	ok(Dbops::wait_for($node, "SELECT last_result FROM dbops.schedules WHERE name = '$name'", 'failed'), "a scheduled $command fails");
	like(sql("SELECT last_error FROM dbops.schedules WHERE name = '$name'"), qr/must stay a part of public\.[vi]: it has rows under legal hold/, '... and says why');
}
is(sql('SELECT (SELECT count(*) FROM v), (SELECT count(*) FROM i)'), '15|1', 'their rows are where they were');
sql(q{SELECT dbops.schedule('detach v2', '@yearly', 'ALTER TABLE v DETACH PARTITION v2; DROP TABLE v2'); SELECT dbops.run_now('detach v2')});
ok(Dbops::wait_for($node, "SELECT last_result FROM dbops.schedules WHERE name = 'detach v2'", 'finished'), 'a partition without a held row may go');
# What comes under a hold is no detach.
sql(q{CREATE TABLE w (id int) PARTITION BY RANGE (id); CREATE TABLE w1 PARTITION OF w FOR VALUES FROM (0) TO (10); INSERT INTO w VALUES (1); SELECT dbops.hold('w', NULL, 'case');
	CREATE TABLE w3 (id int); INSERT INTO w3 VALUES (25); CREATE TABLE v3 (id int, url text); INSERT INTO v3 VALUES (25, 'held'); CREATE TABLE i3 (id int); INSERT INTO i3 VALUES (1)});
for my $command ('CREATE TABLE w2 PARTITION OF w FOR VALUES FROM (10) TO (20)', 'ALTER TABLE w ATTACH PARTITION w3 FOR VALUES FROM (20) TO (30)', 'ALTER TABLE v ATTACH PARTITION v3 FOR VALUES FROM (20) TO (30)',
	'ALTER TABLE i3 INHERIT i', 'CREATE TABLE i4 () INHERITS (i)')
{
	my $name = 'attach ' . ++$number;
	sql("SELECT dbops.schedule('$name', '\@yearly', \$\$$command\$\$); SELECT dbops.run_now('$name')");
	ok(Dbops::wait_for($node, "SELECT last_result, last_error IS NULL FROM dbops.schedules WHERE name = '$name'", 'finished|t'), "a scheduled $command succeeds");
}
is(sql(q{SELECT string_agg(inhrelid::regclass::text, ',' ORDER BY inhrelid::regclass::text) FROM pg_inherits WHERE inhparent IN ('w'::regclass, 'v'::regclass, 'i'::regclass)}), 'i1,i3,i4,v1,v3,w1,w2,w3', 'what is new is under the hold');
sql(q{SELECT dbops.schedule('back and forth', '@yearly', 'ALTER TABLE w DETACH PARTITION w2; ALTER TABLE w ATTACH PARTITION w2 FOR VALUES FROM (10) TO (20)'); SELECT dbops.run_now('back and forth')});
ok(Dbops::wait_for($node, "SELECT last_result FROM dbops.schedules WHERE name = 'back and forth'", 'failed'), '... and stays there');

# --- a table or a column that is dropped ends its rule, and says so -------------------------------------------------------------
sql("CREATE TABLE d (id int PRIMARY KEY, at timestamptz, other date)");
my %ending = map { $_ => sql("SELECT rule FROM dbops.retain('d', '$_', '1 day', '\@yearly')") } qw(at other);
for my $case ([ 'other', 'ALTER TABLE d DROP COLUMN other', 'the column of the retention rule of public.d was dropped' ], [ 'at', 'DROP TABLE d', 'table public.d was dropped' ])
{
	my ($column, $ddl, $why) = @$case;
	my $schedule = sql("SELECT job_id FROM dbops.schedules WHERE name = 'retain $ending{$column}'");
	sql($ddl);
	sql("SELECT dbops.run_now('retain $ending{$column}')");
	ok(Dbops::wait_for($node, "SELECT state, last_result, failures FROM dbops.schedules WHERE job_id = $schedule", 'cancelled|finished|0'), "$ddl: its schedule ends, without an error");
	is(sql("SELECT actor, reason FROM dbops.job_event WHERE job_id = $schedule AND action = 'cancel'"), "dbops|$why", '... its history says why');
	like(sql("SELECT notices FROM dbops.job_runs WHERE job_id = $schedule"), qr/\Q$why\E/, '... and so does the run');
	is(sql("SELECT count(*) FROM dbops.retention_rule WHERE rule_id = $ending{$column}"), 0, '... and there is no rule');
}
is(sql('SELECT count(*) FROM dbops.schedules WHERE failures > 0 AND name ~ \'^retain\' AND job_id > 0 AND last_error ~ \'dropped\''), 0, 'none has failed for that');

# --- rules and holds are in a dump: in a copy the hold holds, and the rule waits for a word -----------------------------------
sql(q{CREATE TABLE r (gone int, id int PRIMARY KEY, at timestamptz NOT NULL, touched timestamptz); ALTER TABLE r DROP COLUMN gone; CREATE INDEX ON r (at);
	INSERT INTO r SELECT i, now() - i * interval '1 day', now() - interval '99 days' FROM generate_series(0, 9) i;
	CREATE TABLE x (id int); SELECT dbops.hold('x', reason => 'all of it'); DROP TABLE x; SELECT dbops.hold('r', 'id = 9', 'case 9')});
my $r = sql(q{SELECT rule FROM dbops.retain('r', 'at', '5 days', '@yearly', max_share => NULL, priority => 7)});
# It waits at the time of the dump, and its grace period is over: which says nothing of the copy.
sql("UPDATE dbops.retention_rule SET doubt = 'something', doubt_since = now() - interval '9 days', doubt_origin = origin WHERE rule_id = $r");
my $dump = $node->backup_dir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $dump ], 'pg_dump');
sql('CREATE DATABASE restored');
$node->command_ok([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ], 'and psql');
sub restored { return Dbops::value($node, $_[0], 'restored'); }
is(restored("SELECT count(*) FILTER (WHERE reason = 'all of it'), count(*) FILTER (WHERE target = 'r' AND active AND reason = 'case 9') FROM dbops.holds"), '0|1', 'the hold is there, that on a dropped table is not');
is(restored("SELECT target, column_name, keep, owner = current_user, schedule_name FROM dbops.retention_status WHERE rule = $r"), 'r|at|5 days|t|', 'and the rule, for the same column under another number');
like(restored("SELECT waiting_for FROM dbops.retention_status WHERE rule = $r"), qr/^its schedule/, 'which has no schedule');
is(restored("SELECT dbops.run_retention($r)"), '', 'run by hand, it waits');
is(restored('SELECT count(*) FROM r'), 10, '... and deletes nothing');
restored("SELECT dbops.confirm_retention($r)");
is(restored("SELECT schedule, priority, command FROM dbops.schedules WHERE name = 'retain $r'"), "\@yearly|7|SELECT dbops.run_retention($r)", 'confirmed, it has its schedule again');
restored("SELECT dbops.run_now('retain $r')");
ok(Dbops::wait_for($node, q{SELECT string_agg(id::text, ',' ORDER BY id) FROM r}, '0,1,2,3,4,9', undef, 'restored'), '... goes on, and keeps what is held');
restored('CREATE TABLE y (id int PRIMARY KEY, at date)');
cmp_ok(restored(q{SELECT rule FROM dbops.retain('y', 'at', '5 days', '@yearly')}), '>', $r, 'and numbers go on');
is(sql('SELECT count(*) FROM r'), 10, 'the original is as it was');
sql("SELECT dbops.unretain($r)");
sql('DROP DATABASE restored');

# --- dbops watch shows schedules ----------------------------------------------------------------------------------------------
my ($shown, $said) = ('', '');
IPC::Run::run([ $ENV{DBOPS_CLI}, 'watch', '--once', '--json', '-d', $node->connstr('postgres') ], '>', \$shown, '2>', \$said);
like($shown, qr/"waiting_for": ?"its next run, \d{4}-\d\d-\d\d [\d:]+; the last one: finished"/, 'dbops watch says when a schedule runs next, and how it went') or diag "$shown$said";

# --- a promoted copy waits for a word -----------------------------------------------------------------------------------------
sql("INSERT INTO t VALUES (-1, now() - interval '50 days', true)");
sql(q{CREATE TABLE sd (id int PRIMARY KEY); SELECT dbops.soft_delete_enable('sd', purge_schedule => '@yearly'); INSERT INTO sd VALUES (1), (2);
	SELECT dbops.soft_delete('sd', 1); UPDATE dbops.soft_deletion SET deleted_at = deleted_at - interval '31 days'});
$node->backup('b');
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($node, 'b', has_streaming => 1);
$copy->start;
$node->stop;
$copy->promote;
$copy->safe_psql('postgres', "SELECT dbops.run_now('retain $t')");
ok(Dbops::wait_for($copy, "SELECT waiting_for ~ 'restored or promoted' FROM dbops.retention_status WHERE rule = $t", 't'), 'after a promotion the rule waits');
is($copy->safe_psql('postgres', 'SELECT count(*) FROM t WHERE id = -1'), 1, 'and nothing goes');
$copy->safe_psql('postgres', "SELECT dbops.run_now('purge public.sd')");
ok(Dbops::wait_for($copy, "SELECT waiting_for ~ 'restored or promoted' FROM dbops.soft_delete_status WHERE target = 'sd'", 't'), 'a purge waits as well');
is($copy->safe_psql('postgres', 'SELECT count(*) FROM sd'), 2, 'and nothing goes');
sub deletion_checks { return $_[0]->safe_psql('postgres', q{SELECT concat_ws(': ', check_name, ok, severity, detail, hint) FROM dbops.check() WHERE check_name ~ '^(purge|retention) |^deletions$' ORDER BY check_name}); }
my $promoted = 'f: warning: the server was restored or promoted: it is on timeline 2, the last run was on 1';
is(deletion_checks($copy), "purge of public.sd: $promoted: SELECT dbops.confirm_purge('public.sd') lets it go on; look first at what it would delete.\n"
	  . "retention of public.t: $promoted: SELECT dbops.confirm_retention($t) lets it go on; look first at what it would delete.", 'dbops.check() names both');
# Their grace periods are over, and then the server is restored once more.
$copy->safe_psql('postgres', "UPDATE dbops.$_ SET doubt_since = doubt_since - interval '2 days'") for qw(retention_rule purge_origin);
$copy->backup('again');
my $second = PostgreSQL::Test::Cluster->new('second');
$second->init_from_backup($copy, 'again', has_streaming => 1);
$second->start;
$copy->stop;
$second->promote;
$second->safe_psql('postgres', "SELECT dbops.run_now('retain $t'), dbops.run_now('purge public.sd')");
for my $table (qw(retention_rule purge_origin))
{
	ok(Dbops::wait_for($second, "SELECT bool_or(doubt_since > now() - interval '1 day') FROM dbops.$table", 't'), "another restore begins the grace period anew ($table)");
}
is($second->safe_psql('postgres', 'SELECT (SELECT count(*) FROM t WHERE id = -1), (SELECT count(*) FROM sd)'), '1|2', 'nothing goes');
$second->safe_psql('postgres', "SELECT dbops.confirm_retention($t); SELECT dbops.run_now('retain $t'); SELECT dbops.confirm_purge('sd'); SELECT dbops.run_now('purge public.sd')");
ok(Dbops::wait_for($second, 'SELECT count(*) FROM t WHERE id = -1', 0), 'confirmed, the rule goes on');
ok(Dbops::wait_for($second, 'SELECT count(*) FROM sd', 1), '... and the purge');
like(deletion_checks($second), qr/^deletions: t: warning: \d+ rules, none waits for a confirmation$/, 'dbops.check() says that none waits');
$second->stop;

done_testing();
