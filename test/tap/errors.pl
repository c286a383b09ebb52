# What a job does about errors: rows are found by halving and set aside with key, SQLSTATE and message; a job beyond
# max_errors fails and can be continued; what is not a row's fault is tried again, or ends the job at once.
use strict;
use warnings;
use Test::More;
use Dbops;

my $node = Dbops::node('main');
my $fast = q{nice_ratio => 0, max_batch_rows => 60, lock_timeout => '20 ms'};

sub sql   { return $node->safe_psql('postgres', $_[0]) }
sub state { return Dbops::wait_job($node, $_[0]) }
sub job   { return Dbops::backfill($node, "$_[0], $fast") }
sub errors { return sql("SELECT row_key || ' ' || sqlstate || ' ' || message FROM dbops.job_errors WHERE job_id = $_[0] ORDER BY row_key COLLATE \"C\"") }
sub fault { return sql("SELECT last_sqlstate || ' ' || last_error FROM dbops.jobs WHERE job_id = $_[0]") }

# --- one bad row, and more, by every walk ---

my $bad = q{22P02 invalid input syntax for type integer: "bad"};
for my $case (
	[ 'key', 'id int PRIMARY KEY', 'i', q{b IS NULL}, '(77)', '(1500)' ],
	[ 'block', 'id int PRIMARY KEY', 'i', q{b IS NULL}, '(77)', '(1500)' ],
	[ 'stripe', 'id int PRIMARY KEY', 'i', q{b IS NULL}, '(77)', '(1500)' ],
	[ 'stripe', 'id int PRIMARY KEY', 'i', q{pad <> 'no'}, '(77)', '(1500)' ],
	[ 'key', 'x int, y text, PRIMARY KEY (x, y)', q{i % 10, 'k' || i}, q{b IS NULL}, '(7, k77)', '(0, k1500)' ],
	[ 'stripe', 'x int, y text, PRIMARY KEY (x, y)', q{i % 10, 'k' || i}, undef, '(7, k77)', '(0, k1500)' ],
	[ 'block', 'nokey int', 'i', q{b IS NULL}, undef, undef ])
{
	my ($walk, $key, $value, $condition, @bad_keys) = @$case;
	for my $parallel (1, 3)
	{
		my $name = "$walk, $key, " . ($condition // 'no condition') . ", parallel $parallel";
		my $arguments = "'t', 'b = a::int'" . (defined $condition ? ", \$c\$$condition\$c\$" : '') . ", strategy => '$walk', parallel => $parallel";
		sql("DROP TABLE IF EXISTS t; CREATE TABLE t ($key, a text, b int, i int, pad text) WITH (fillfactor = 10);"
			  . " INSERT INTO t SELECT $value, CASE WHEN i IN (77, 1500) THEN 'bad' ELSE i::text END, NULL, i, 'pad' FROM generate_series(1, 2000) i");
		my $job = job("$arguments, max_errors => 2");
		is(state($job), 'succeeded', "$name: it goes on past two rows");
		is(sql('SELECT count(*) FROM t WHERE b = i'), 1998, "$name: all others are done");
		if ($bad_keys[0]) { is(errors($job), join("\n", sort map { "$_ $bad" } @bad_keys), "$name: the rows are named") }
		else { like(errors($job), qr/^ctid \(\d+,\d+\) \Q$bad\E\nctid \(\d+,\d+\) \Q$bad\E$/, "$name: the rows are named by their place") }

		sql("UPDATE t SET a = i::text WHERE a = 'bad'; SELECT dbops.retry($job)");
		is(state($job), 'succeeded', "$name: the rows are mended and tried again");
		is(sql('SELECT count(*) FROM t WHERE b = i'), 2000, "$name: and done");
		is(errors($job), '', "$name: and not in job_errors any more");

		sql("UPDATE t SET b = NULL; UPDATE t SET a = 'bad' WHERE i IN (77, 1500)");
		$job = job($arguments);
		is(state($job), 'failed', "$name: without max_errors it fails");
		like(fault($job), qr/^\Q$bad\E \(.*Row .* of public\.t\.\)$/, "$name: and says at which row");
		# By one snapshot: others may be about to end their last batches.
		my ($done, $said) = split /\|/, sql("SELECT (SELECT count(*) FROM t WHERE b = i), rows_done FROM dbops.jobs WHERE job_id = $job");
		is($said, $done, "$name: rows_done is right");
		sql("UPDATE t SET a = i::text WHERE a = 'bad'; SELECT dbops.retry($job)");
		is(state($job), 'succeeded', "$name: it continues when the row is mended");
		is(sql('SELECT count(*) FROM t WHERE b = i'), 2000, "$name: to the end");
		is(sql("SELECT rows_done FROM dbops.jobs WHERE job_id = $job"), 2000, "$name: with no row done twice");
	}
}

# --- who raises ---

sub numbers
{
	sql('DROP TABLE IF EXISTS t, parent CASCADE; CREATE TABLE t (id int PRIMARY KEY, a int, b int); INSERT INTO t SELECT i, i FROM generate_series(1, 1000) i');
	return;
}

numbers();
my $job = job(q{'t', 'b = a', 'b IS NULL AND 100 / (id - 500) < 1000', strategy => 'key', max_errors => 1});
is(state($job), 'succeeded', 'a condition that raises');
is(errors($job), '(500) 22012 division by zero', 'the row at which the condition raises');
is(sql('SELECT count(*) FROM t WHERE b = a'), 999, 'the others are done');

numbers();
sql(q{CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
	  IF NEW.id IN (300, 301) THEN RAISE EXCEPTION 'not this one' USING ERRCODE = 'ZX123'; END IF;
	  RETURN NEW;
	END $$; CREATE TRIGGER refuse BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION refuse()});
$job = job(q{'t', 'b = a', 'b IS NULL', max_errors => 5});
is(state($job), 'succeeded', 'a trigger that raises');
is(errors($job), "(300) ZX123 not this one\n(301) ZX123 not this one", 'the rows, with the SQLSTATE of the trigger');
sql("DROP TRIGGER refuse ON t; SELECT dbops.retry($job)");
is(state($job), 'succeeded', 'again without the trigger');
is(sql('SELECT count(*) FROM t WHERE b = a'), 1000, 'all done');

numbers();
sql(q{CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent SELECT i FROM generate_series(1, 1000) i WHERE i <> 42;
	ALTER TABLE t ADD FOREIGN KEY (b) REFERENCES parent DEFERRABLE INITIALLY DEFERRED});
for my $walk (qw(key block))
{
	sql('UPDATE t SET b = NULL');
	$job = job("'t', 'b = a', 'b IS NULL', max_errors => 1, strategy => '$walk'");
	is(state($job), 'succeeded', "$walk: a deferred constraint, which raises at COMMIT");
	is(errors($job), q{(42) 23503 insert or update on table "t" violates foreign key constraint "t_b_fkey"}, "$walk: the row");
	is(sql('SELECT count(*) FROM t WHERE b = a'), 999, "$walk: the others are done");
}

numbers();
sql('ALTER TABLE t ADD CHECK (b IS NULL OR b <> 17)');
$job = job(q{'t', 'b = a', 'b IS NULL'});
is(state($job), 'failed', 'a CHECK constraint');
like(fault($job), qr/^23514 .*Row \(17\) of public\.t/, 'the row and why');
sql("UPDATE t SET a = 1700 WHERE id = 17; SELECT dbops.retry($job)");
is(state($job), 'succeeded', 'the row is mended');

# Rows set aside do not stand for others: 10 rows fail, are then deleted, and 10 other rows begin to match.
numbers();
sql(q{UPDATE t SET a = -1 WHERE id <= 10; ALTER TABLE t ADD CHECK (b > 0)});
$job = job(q{'t', 'b = a', 'b IS NULL', max_errors => 20});
is(state($job), 'succeeded', 'ten rows set aside');
sql("BEGIN; DELETE FROM t WHERE id <= 5; UPDATE t SET b = NULL WHERE id > 990; SELECT dbops.retry($job); COMMIT");
is(state($job), 'succeeded', 'half of them deleted');
is(sql('SELECT count(*) FROM t WHERE b IS NULL'), 5, 'others that match are found all the same');
is(sql("SELECT count(*) FROM dbops.job_errors WHERE job_id = $job"), 5, 'and only what is left is listed');

# --- not a row's fault ---

numbers();
sql('CREATE ROLE clerk LOGIN; GRANT SELECT, UPDATE ON t TO clerk');
$job = Dbops::value($node, "SET ROLE clerk; SELECT dbops.backfill('t', 'b = a', 'b IS NULL', windows => to_char(now() + interval '12 hours', 'HH24:MI') || '-' || to_char(now() + interval '13 hours', 'HH24:MI'), timezone => 'UTC', $fast)");
$job = (split /\n/, $job)[-1];
sql("SELECT dbops.pause($job)");
sql("UPDATE dbops.job SET spec = spec || '{\"windows\": \"\"}' WHERE job_id = $job; REVOKE UPDATE ON t FROM clerk; SELECT dbops.resume($job)");
is(state($job), 'failed', 'a privilege that was taken away');
like(fault($job), qr/^42501 permission denied/, 'fails at once');
is(errors($job), '', 'no row is blamed');
sql("GRANT UPDATE ON t TO clerk; SELECT dbops.retry($job)");
is(state($job), 'succeeded', 'and can be continued when it is back');

# The order of keys that the job remembers means nothing in another key.
sql('DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, other int NOT NULL, b int CHECK (b <> 900)); INSERT INTO t SELECT i, 3000 - i FROM generate_series(1, 2000) i');
$job = job(q{'t', 'b = id', strategy => 'key'});
is(state($job), 'failed', 'fails at a row in the middle');
sql("ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (other), DROP CONSTRAINT t_b_check; SELECT dbops.retry($job)");
is(state($job), 'failed', 'another key meanwhile');
like(fault($job), qr/^55000 table public\.t has another key/, 'it says so');
sql("ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id); SELECT dbops.retry($job)");
is(state($job), 'succeeded', 'the old key again');
is(sql('SELECT count(*) FROM t WHERE b = id'), 2000, 'every row is done');

# --- isolation of the role: batches under load must not fail for it ---

for my $level ('repeatable read', 'serializable')
{
	numbers();
	sql("ALTER ROLE clerk SET default_transaction_isolation = '$level'; GRANT SELECT, UPDATE ON t TO clerk");
	$job = (split /\n/, Dbops::value($node, "SET ROLE clerk; SELECT dbops.backfill('t', 'b = a', strategy => 'key', parallel => 3, nice_ratio => 0, max_batch_rows => 5, lock_timeout => '20 ms')"))[-1];
	sql("UPDATE t SET a = a WHERE id = $_") for 1 .. 20;
	is(state($job), 'succeeded', "a role that defaults to $level");
	is(sql('SELECT count(*) FROM t WHERE b = a'), 1000, "$level: every row is done");
}

# --- short of resources: 53 is waited out, not blamed on rows ---

numbers();
sql(q{CREATE TABLE disk (is_full boolean); INSERT INTO disk VALUES (true);
	CREATE FUNCTION write_somewhere() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
	  IF (SELECT is_full FROM disk) THEN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END IF;
	  RETURN NEW;
	END $$; CREATE TRIGGER write_somewhere BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION write_somewhere()});
$job = job(q{'t', 'b = a', 'b IS NULL'});
ok(Dbops::wait_for($node, "SELECT coalesce(waiting_for, '') ~ 'No space left' FROM dbops.progress WHERE job_id = $job", 't'), 'disk full: it waits and says for what');
is(Dbops::job_state($node, $job), 'running', 'it has not failed');
sql('UPDATE disk SET is_full = false');
is(state($job), 'succeeded', 'there is room again');
is(sql('SELECT count(*) FROM t WHERE b = a'), 1000, 'every row is done');
is(errors($job), '', 'no row is blamed');

# A real one: the sort of a subquery exceeds temp_file_limit.
numbers();
sql(q{ALTER ROLE clerk RESET default_transaction_isolation; GRANT SELECT, UPDATE ON t TO clerk; GRANT SELECT ON disk TO clerk;
	ALTER ROLE clerk SET temp_file_limit = '64kB'; ALTER ROLE clerk SET work_mem = '64kB'});
$job = (split /\n/, Dbops::value($node, "SET ROLE clerk; SELECT dbops.backfill('t', 'b = a + (SELECT count(*) FROM (SELECT i FROM generate_series(1, 20000) i ORDER BY md5(i::text) OFFSET 1) s)::int', 'b IS NULL', $fast)"))[-1];
ok(Dbops::wait_for($node, "SELECT coalesce(waiting_for, '') ~ 'temp_file_limit' FROM dbops.progress WHERE job_id = $job", 't'), 'temp_file_limit (53400) is waited out');
sql("SELECT dbops.pause($job); ALTER ROLE clerk RESET temp_file_limit; SELECT dbops.resume($job)");
is(state($job), 'succeeded', 'a new worker has the new limit');

$node->stop;
done_testing;
