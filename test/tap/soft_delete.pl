# Soft delete on a whole server: big tables, locks, privileges, row-level security, purge by its schedule, dump and restore.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);
use Dbops;

my $node = Dbops::node('soft', init => [ allows_streaming => 1 ], conf => "autovacuum = off\narchive_mode = on\narchive_command = 'true'\n");
sub sql { return Dbops::value($node, $_[0]); }
sub as  { my ($role, $sql) = @_; return Dbops::value_as($node, $role, $sql); }
sub refused { my ($sql, $role) = @_; return Dbops::refusal($node, $sql, defined $role ? (role => $role) : ()); }

# --- a big table: indexes are built while it is written to, columns come without a rewrite -----------------------------------
sql('CREATE TABLE big (id int PRIMARY KEY, code text CONSTRAINT big_code_key UNIQUE, name text);
	CREATE UNIQUE INDEX big_name_idx ON big (lower(name)) WHERE name IS NOT NULL;
	INSERT INTO big SELECT i, i::text, repeat(md5(i::text), 3) FROM generate_series(1, 60000) i');
my $file = sql("SELECT pg_relation_filenode('big')");
my $writer = $node->background_psql('postgres');
$writer->query_safe('BEGIN; INSERT INTO big VALUES (-1, \'-1\')');
like(refused("SELECT dbops.soft_delete_enable('big', lock_timeout => '100 ms')"), qr/^55P03:/, 'a writer is not waited for longer than lock_timeout');
is(sql("SELECT count(*) FROM dbops.soft_delete_rule") . sql("SELECT count(*) FROM pg_attribute WHERE attrelid = 'big'::regclass AND attname = 'deleted_at'"), '00', 'and nothing has changed');
$writer->query_safe('COMMIT');
sql('ALTER SYSTEM SET dbops.max_workers = 0');
$node->reload;
ok(Dbops::wait_for($node, 'SHOW dbops.max_workers', 0), 'no worker for now');
my $job = sql("SELECT dbops.soft_delete_enable('big')");
like($job, qr/^\d+$/, 'a job builds the indexes');
like(refused("SELECT dbops.soft_delete('big', 1)"), qr/^55000:.*building/, 'until then nothing is deleted');
sql('ALTER SYSTEM RESET dbops.max_workers');
$node->reload;
is(Dbops::wait_job($node, $job, 120), 'succeeded', 'it ends');
is(sql("SELECT state, partial_keys FROM dbops.soft_delete_status WHERE target = 'big'"), 'enabled|{big_code_key,big_name_idx}', 'and soft delete is enabled');
is(sql("SELECT pg_relation_filenode('big')"), $file, 'the table was not rewritten');
is(sql("SELECT string_agg(pg_get_expr(indpred, indrelid), ' / ' ORDER BY indexrelid::regclass::text) FROM pg_index WHERE indrelid = 'big'::regclass AND indisunique AND NOT indisprimary AND indisvalid"),
	'(deleted_at IS NULL) / ((name IS NOT NULL) AND (deleted_at IS NULL))', 'its unique keys hold for live rows');
sql("SELECT dbops.soft_delete('big', 7)");
sql("INSERT INTO big VALUES (100007, '7')");
like(refused("SELECT dbops.undelete(max(deletion_id)) FROM big WHERE id = 7"), qr/^23505: deletion \d+ cannot be undone/, 'a collision is refused');
sql('DELETE FROM big WHERE id = 100007');
$job = sql("SELECT dbops.soft_delete_disable('big', deleted_rows => 'restore')");
is(Dbops::wait_job($node, $job, 120), 'succeeded', 'disabled by a job as well');
is(sql("SELECT string_agg(conname, ',' ORDER BY conname) FROM pg_constraint WHERE conrelid = 'big'::regclass AND contype <> 'n'"), 'big_code_key,big_pkey', 'the constraint is there again');
is(sql("SELECT count(*) FROM pg_attribute WHERE attrelid = 'big'::regclass AND attnum > 0 AND NOT attisdropped"), 3, 'without its columns');
is(sql("SELECT count(*) FROM dbops.soft_delete_rule"), 0, 'and no rule');
$writer->quit;

# --- a unique key that is violated by then: the job fails, and can be repeated ---------------------------------------------------
# (a partial key cannot be violated where the complete one was not; the way back can)
sql("CREATE TABLE back (id int PRIMARY KEY, code text UNIQUE); SELECT dbops.soft_delete_enable('back', purge_schedule => NULL);
	INSERT INTO back VALUES (1, 'x'); SELECT dbops.soft_delete('back', 1); INSERT INTO back VALUES (2, 'x')");
like(refused("SELECT dbops.soft_delete_disable('back', deleted_rows => 'restore')"), qr/^23505: deletion \d+ cannot be undone/, 'rows that collide are not restored by disabling');
is(sql("SELECT state FROM dbops.soft_delete_status WHERE target = 'back'") . sql('SELECT count(*) FROM back_live'), 'enabled1', 'and all is as before');

# --- privileges --------------------------------------------------------------------------------------------------------------------
sql('CREATE ROLE owner LOGIN; CREATE ROLE app LOGIN; CREATE ROLE reader LOGIN; CREATE ROLE writer LOGIN;
	CREATE SCHEMA shop AUTHORIZATION owner; GRANT USAGE ON SCHEMA shop TO PUBLIC');
as('owner', q{CREATE TABLE shop.item (id int PRIMARY KEY, name text UNIQUE, touched_by text);
	CREATE TABLE shop.part (id int PRIMARY KEY, item int REFERENCES shop.item ON DELETE CASCADE);
	CREATE FUNCTION shop.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.touched_by := current_user || current_schema(); RETURN NEW; END';
	CREATE TRIGGER touch BEFORE UPDATE ON shop.item FOR EACH ROW EXECUTE FUNCTION shop.touch();
	GRANT SELECT, INSERT, DELETE ON shop.item TO app; GRANT SELECT ON shop.item TO reader; GRANT SELECT, UPDATE, INSERT ON shop.item, shop.part TO writer;
	INSERT INTO shop.item SELECT i, 'i' || i FROM generate_series(1, 9) i; INSERT INTO shop.part SELECT i, i FROM generate_series(1, 9) i});
like(refused("SELECT dbops.soft_delete_enable('shop.item')", 'app'), qr/^42501: must be owner/, 'only the owner enables it');
as('owner', "SELECT dbops.soft_delete_enable('shop.item', grace => '1 day'), dbops.soft_delete_enable('shop.part')");
like(refused("SELECT dbops.soft_delete('shop.item', 1)", $_), qr/^42501: permission denied for table item/, "$_ may not DELETE, so not soft-delete") for qw(reader writer);
like(refused("UPDATE shop.item SET deleted_at = now() WHERE id = 1", 'writer'), qr/^42501:/, 'nor by an UPDATE');
like(refused("INSERT INTO shop.part VALUES (100, 100, now())", 'writer'), qr/^42501:/, 'nor by an INSERT');
my $deletion = as('app', "SELECT dbops.soft_delete('shop.item', 1)");
is(sql("SELECT touched_by, deleted_by FROM shop.item WHERE id = 1"), 'ownershop|app', 'who may DELETE may; triggers run as the owner, who deleted is known');
is(sql('SELECT count(*) FROM shop.part_live'), 8, 'what refers to it goes along, without a privilege on it, as with ON DELETE CASCADE');
is(as('reader', 'SELECT count(*) FROM shop.item_live'), 8, 'who may read the table may read its live rows');
like(refused("SELECT dbops.undelete($deletion)", 'writer'), qr/^42501:/, 'who may not DELETE may not undelete');
is(as('app', "SELECT count(*) FROM dbops.soft_deletions") . as('reader', "SELECT count(*) FROM dbops.soft_deletions"), '10', 'deletions are seen by who made them and by the owner');
is(as('app', "SELECT dbops.undelete($deletion)"), 2, 'restored');
like(refused("CALL dbops.purge('shop.item')", 'app'), qr/^42501: must be owner/, 'only the owner purges');
like(refused("SELECT dbops.soft_delete_disable('shop.item')", 'app'), qr/^42501: must be owner/, 'or disables');
like(refused("SELECT dbops.soft_delete_finish('shop.item'::regclass)", 'app'), qr/^(42501|55000):/, 'or finishes');
for my $table (qw(soft_delete_rule soft_deletion deleted_row))
{
	like(refused("SELECT * FROM dbops.$table", 'owner'), qr/^42501:/, "nobody reads dbops.$table");
}

# --- row-level security -----------------------------------------------------------------------------------------------------------
as('owner', q{ALTER TABLE shop.item ENABLE ROW LEVEL SECURITY; ALTER TABLE shop.item FORCE ROW LEVEL SECURITY;
	CREATE POLICY see ON shop.item FOR SELECT TO app, reader USING (deleted_at IS NULL AND id < 8);
	CREATE POLICY remove ON shop.item FOR DELETE TO app USING (name <> 'i2');
	CREATE POLICY never ON shop.item AS RESTRICTIVE FOR DELETE TO app USING (id <> 4)});
like(refused("SELECT dbops.soft_delete('shop.item', $_)", 'app'), qr/^P0002:/, "row $_, which a policy hides from DELETE") for 2, 4, 8;
$deletion = as('app', "SELECT dbops.soft_delete('shop.item', 3)");
is(as('app', 'SELECT count(*) FROM shop.item') . as('app', 'SELECT count(*) FROM shop.item_live'), '66', 'one that may be deleted, although the new row would be hidden');
is(as('app', "DELETE FROM shop.item_live WHERE id = 5 RETURNING id"), 5, 'through the view as well');
sql("SELECT dbops.soft_delete('shop.item', 8)");
like(refused('SELECT dbops.undelete(' . sql('SELECT max(deletion_id) FROM dbops.soft_deletion') . ')', 'app'), qr/^42501:/, "not another user's deletion");
is(as('app', "SELECT dbops.undelete($deletion)"), 2, 'his own he may restore');
as('owner', 'ALTER TABLE shop.item DISABLE ROW LEVEL SECURITY; ALTER TABLE shop.item NO FORCE ROW LEVEL SECURITY');

# --- purge --------------------------------------------------------------------------------------------------------------------------
sub age { my ($deletion, $by) = @_; sql("UPDATE dbops.soft_deletion SET deleted_at = deleted_at - interval '$by' WHERE deletion_id = $deletion"); return; }
my $old = sql("SELECT dbops.soft_delete('shop.item', 1)");
my $young = sql("SELECT dbops.soft_delete('shop.item', 2)");
age($old, '2 days');
as('owner', "CALL dbops.purge('shop.item')");
is(sql("SELECT state FROM dbops.soft_deletions WHERE deletion_id = $old"), 'deleted', 'the longest grace period of the tables counts (30 days, of part)');
age($old, '29 days');
as('owner', "CALL dbops.purge('shop.item')");
is(sql("SELECT state, rows, purge_after IS NULL FROM dbops.soft_deletions WHERE deletion_id = $old"), 'purged|2|t', 'then it goes');
is(sql('SELECT count(*) FROM shop.item WHERE id = 1') . sql('SELECT count(*) FROM shop.part WHERE item = 1'), '00', 'with its children');
is(sql("SELECT state FROM dbops.soft_deletions WHERE deletion_id = $young"), 'deleted', 'a younger one stays');
like(refused("SELECT dbops.undelete($old)"), qr/^55000:.*purged/, 'it cannot come back');
is(sql("SELECT bool_and(kind = 'batch_delete' AND owner = 'owner' AND state = 'succeeded'), count(*) FROM dbops.jobs WHERE label LIKE 'purge of%'"), 't|2', 'as jobs of the owner');
like(refused("BEGIN; CALL dbops.purge('shop.item'); COMMIT"), qr/^25001:/, 'not in a transaction block');
like(refused("CALL dbops.purge('shop.item', older_than => '-1 s')"), qr/^22023:/, 'a time of the future');
like(refused("CALL dbops.purge('shop.item', nice_ratio => -1)"), qr/^22023:/, 'a bad nice_ratio');
like(refused("CALL dbops.purge('pg_class')"), qr/^55000:/, 'a table without soft delete');
# A live row that refers to a deleted one all the same (the guard was switched off) keeps it; so nothing live is lost.
sql(q{ALTER TABLE shop.part DISABLE TRIGGER USER; INSERT INTO shop.part VALUES (500, 2); ALTER TABLE shop.part ENABLE TRIGGER USER});
age($young, '40 days');
as('owner', "CALL dbops.purge('shop.item')");
is(sql("SELECT state FROM dbops.soft_deletions WHERE deletion_id = $young") . sql('SELECT count(*) FROM shop.part WHERE id = 500'), 'purging1', 'a live row that refers to it keeps a row');
is(sql("SELECT count(*) FROM dbops.soft_delete_problems WHERE problem = 'purge blocked' AND target = 'shop.item'"), 1, 'which is said');
like(refused("SELECT dbops.undelete($young)"), qr/^55000:.*purging/, 'undeleting it is refused, as rows may be gone');
sql('DELETE FROM shop.part WHERE id = 500');
# By its schedule, which fails first
my $failed = q{SELECT problem, detail ~ '^the schedule "purge shop.item", last at [-0-9 :]+: no purge today$', remedy FROM dbops.soft_delete_problems WHERE target = 'shop.item' AND problem = 'purge failed'};
sql(q{CREATE FUNCTION shop.not_today() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'no purge today'; END$$;
	CREATE TRIGGER not_today BEFORE UPDATE ON dbops.soft_deletion FOR EACH STATEMENT EXECUTE FUNCTION shop.not_today(); SELECT dbops.run_now('purge shop.item')});
ok(Dbops::wait_for($node, "SELECT last_result FROM dbops.schedules WHERE name = 'purge shop.item'", 'failed'), 'a scheduled purge fails');
is(sql($failed), q{purge failed|t|SELECT dbops.run_now('purge shop.item') tries again}, 'which is said, and what to do');
sql('DROP TRIGGER not_today ON dbops.soft_deletion; DROP FUNCTION shop.not_today()');
sql("SELECT dbops.run_now('purge shop.item')");
ok(Dbops::wait_for($node, "SELECT last_result FROM dbops.schedules WHERE name = 'purge shop.item'", 'finished'), 'the schedule purges');
is(sql($failed), '', 'and it is no problem any more');
is(sql("SELECT owner, command ~ '^CALL dbops.purge' FROM dbops.schedules WHERE name = 'purge shop.item'"), 'owner|t', 'as the owner');
is(sql("SELECT state FROM dbops.soft_deletions WHERE deletion_id = $young"), 'purged', 'what was kept');
like(sql("SELECT notices FROM dbops.job_runs r JOIN dbops.schedules s USING (job_id) WHERE s.name = 'purge shop.item' ORDER BY run_id DESC LIMIT 1"), qr/1 rows purged/, 'and says how much');

# A tree in one table: in several passes, in any order of keys
sql(q{CREATE TABLE tree (id int PRIMARY KEY, up int REFERENCES tree ON DELETE CASCADE); CREATE INDEX ON tree (up); SELECT dbops.soft_delete_enable('tree', purge_schedule => NULL);
	INSERT INTO tree VALUES (1, NULL), (50, 1), (2, 50), (40, 2), (3, 40), (9, 9)});
age(sql("SELECT dbops.soft_delete('tree', 1)"), '31 days');
age(sql("SELECT dbops.soft_delete('tree', 9)"), '31 days');
sql("CALL dbops.purge('tree')");
is(sql('SELECT count(*) FROM tree'), 0, 'a tree is purged');
# Tombstones
sql(q{CREATE TABLE stone (id int PRIMARY KEY); SELECT dbops.soft_delete_enable('stone', mode => 'tombstone'); INSERT INTO stone SELECT generate_series(1, 20); DELETE FROM stone});
age(sql('SELECT max(deletion_id) FROM dbops.soft_deletion'), '31 days');
sql("CALL dbops.purge('stone')");
is(sql("SELECT count(*) FROM dbops.deleted_row WHERE target = 'stone'::regclass") . sql('SELECT state FROM dbops.soft_deletion ORDER BY deletion_id DESC LIMIT 1'), '0purged', 'tombstones are purged');
# A purge whose session ends is over: no worker goes on with it, whoever may have been asked since
sql(q{CREATE TABLE gate (shut boolean); INSERT INTO gate VALUES (true); CREATE TABLE slow (id int PRIMARY KEY); SELECT dbops.soft_delete_enable('slow', purge_schedule => NULL);
	INSERT INTO slow SELECT generate_series(1, 10);
	CREATE FUNCTION wait_for_gate() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN WHILE (SELECT shut FROM public.gate) LOOP PERFORM pg_sleep(0.05); END LOOP; RETURN OLD; END$$;
	CREATE TRIGGER waits BEFORE DELETE ON slow FOR EACH ROW EXECUTE FUNCTION wait_for_gate()});
sql('DELETE FROM slow_live');
my $session = Dbops::start_sql($node, q{CALL dbops.purge('slow', older_than => '0')});
ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%purge%'}, 1), 'a purge is under way');
my $ended = sql(q{SELECT max(job_id) FROM dbops.jobs WHERE label LIKE 'purge of %slow'});
is(sql(q{SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE '%CALL dbops.purge(''slow''%' AND pid <> pg_backend_pid()}), 1, '... in one session');
Dbops::finish_sql($session);
is(Dbops::wait_job($node, $ended, 120, states => [qw(cancelled succeeded failed)]), 'cancelled', 'its session is terminated: its job ends');
sql('UPDATE gate SET shut = false');
is(sql('SELECT count(*) FROM slow'), 10, 'no row has gone');
sql(q{CALL dbops.purge('slow', older_than => '0')});
is(sql('SELECT count(*) FROM slow'), 0, 'the next purge goes on');
# When it is purged next is said of a purge under way as well, one that its next time would cancel in a window
sql(q{CREATE TABLE busy (id int PRIMARY KEY); SELECT dbops.soft_delete_enable('busy', purge_schedule => 'every second', grace => '0');
	SELECT dbops.alter_schedule('purge public.busy', jitter => '0', overlap => 'cancel', timezone => 'UTC',
		windows => to_char(now() AT TIME ZONE 'UTC' - interval '2 hours', 'HH24:MI') || '-' || to_char(now() AT TIME ZONE 'UTC' - interval '1 hour', 'HH24:MI'));
	CREATE TRIGGER waits BEFORE DELETE ON busy FOR EACH ROW EXECUTE FUNCTION wait_for_gate(); INSERT INTO busy VALUES (1); UPDATE gate SET shut = true});
sql(q{SELECT dbops.soft_delete('busy', 1)});
sql(q{SELECT dbops.run_now('purge public.busy')});
ok(Dbops::wait_for($node, q{SELECT s.last_purge_result, s.next_purge = v.next_run, v.next_run BETWEEN now() + interval '21 hours' AND now() + interval '23 hours', s.last_purge = v.last_run
	FROM dbops.soft_delete_status s JOIN dbops.schedules v ON v.name = s.purge_schedule WHERE s.target = 'busy'}, 'running|t|t|t'), 'a purge under way: the next one is in its next window');
sql('UPDATE gate SET shut = false');
ok(Dbops::wait_for($node, q{SELECT last_purge_result FROM dbops.soft_delete_status WHERE target = 'busy'}, 'finished'), 'it ends');
sql(q{SELECT dbops.soft_delete_disable('busy'); DROP TABLE busy});
# The schedule of a purge may have another name, and somebody else its name
sql(q{CREATE TABLE moved (id int PRIMARY KEY); SELECT dbops.soft_delete_enable('moved', purge_schedule => '@yearly');
	SELECT dbops.alter_schedule('purge public.moved', new_name => 'mine'); SELECT dbops.schedule('purge public.moved', '@daily', 'SELECT 1')});
is(sql("SELECT purge_schedule, next_purge > now() + interval '2 days' OR next_purge > date_trunc('year', now() + interval '1 year') FROM dbops.soft_delete_status WHERE target = 'moved'"), 'mine|t', 'a purge knows its schedule under another name');
sql(q{SELECT dbops.soft_delete_disable('moved')});
is(sql(q{SELECT string_agg(name, ',') FROM dbops.schedules WHERE name IN ('mine', 'purge public.moved')}), 'purge public.moved', 'and takes that along when it ends');
sql(q{SELECT dbops.unschedule('purge public.moved'); DROP TABLE moved});
# A table that was dropped ends the schedule of its purge
sql(q{CREATE TABLE brief (id int PRIMARY KEY); SELECT dbops.soft_delete_enable('brief')});
my $brief = sql("SELECT job_id FROM dbops.schedules WHERE name = 'purge public.brief'");
sql(q{DROP TABLE brief CASCADE; SELECT dbops.run_now('purge public.brief')});
ok(Dbops::wait_for($node, "SELECT state, last_result, failures FROM dbops.schedules WHERE job_id = $brief", 'cancelled|finished|0'), 'a dropped table ends the schedule of its purge, without an error');
is(sql("SELECT actor, reason FROM dbops.job_event WHERE job_id = $brief AND action = 'cancel'"), 'dbops|its table was dropped', '... which says why');
like(sql("SELECT notices FROM dbops.job_runs WHERE job_id = $brief"), qr/table \d+ was dropped/, '... as its run does');
is(sql("SELECT count(*) FROM dbops.soft_delete_rule r WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = r.target)"), 0, '... and takes the rule with it');
# Early, when that is said
$old = sql("SELECT dbops.soft_delete('shop.item', 6)");
sql("CALL dbops.purge('shop.item', older_than => '0')");
is(sql("SELECT state FROM dbops.soft_deletions WHERE deletion_id = $old"), 'purged', 'earlier than the grace period, when older_than says so');

# --- tables of several owners ---------------------------------------------------------------------------------------------------------------
sql('CREATE ROLE lodger LOGIN; GRANT CREATE ON SCHEMA shop TO lodger; GRANT REFERENCES ON shop.item TO lodger');
as('lodger', q{CREATE TABLE shop.note (id int PRIMARY KEY, item int REFERENCES shop.item ON DELETE CASCADE); CREATE INDEX ON shop.note (item);
	SELECT dbops.soft_delete_enable('shop.note', purge_schedule => NULL)});
sql(q{INSERT INTO shop.item (id, name) VALUES (40, 'noted')});
as('lodger', 'INSERT INTO shop.note SELECT i, CASE WHEN i <= 2500 THEN 40 END FROM generate_series(1, 5500) i');
$old = as('owner', "SELECT dbops.soft_delete('shop.item', 40)");
age($old, '40 days');
like(refused("CALL dbops.purge('shop.item')", 'owner'), qr/^42501: the owner of shop.item cannot see/, 'a purge that cannot ask for children is refused');
is(as('owner', "SELECT state FROM dbops.soft_deletions WHERE deletion_id = $old"), 'deleted', '... before anything is marked');
as('lodger', 'GRANT SELECT ON shop.note TO owner');
as('owner', "CALL dbops.purge('shop.item')");
is(sql("SELECT (SELECT count(*) FROM shop.item WHERE id = 40), (SELECT count(*) FROM shop.note), (SELECT state FROM dbops.soft_deletions WHERE deletion_id = $old)"), '0|3000|purged', "the rows of another owner's table go along");

# They are gone through with the pauses of nice_ratio: the first batch takes a second, so its pause two minutes.
as('lodger', q{CREATE FUNCTION shop.slow_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF (SELECT count(*) FROM shop.note) >= 5000 THEN PERFORM pg_sleep(1.2); END IF; RETURN NULL; END $$;
	CREATE TRIGGER slow_once AFTER DELETE ON shop.note FOR EACH STATEMENT EXECUTE FUNCTION shop.slow_once()});
sub noted
{
	my ($item) = @_;
	sql("INSERT INTO shop.item (id, name) VALUES ($item, 'noted $item')");
	as('lodger', "INSERT INTO shop.note SELECT 10000 * $item + i, $item FROM generate_series(1, 3000) i");
	my $deletion = as('owner', "SELECT dbops.soft_delete('shop.item', $item)");
	age($deletion, '40 days');
	return $deletion;
}
my $purging = q{query LIKE 'CALL dbops.purge(''shop.item''%' AND backend_type = 'client backend' AND pid <> pg_backend_pid()};
sub interrupt
{
	my ($session) = @_;
	is(sql("SELECT count(*) FILTER (WHERE pg_cancel_backend(pid)) FROM pg_stat_activity WHERE $purging AND state = 'active'"), 1, 'it is cancelled while it waits');
	like((Dbops::finish_sql($session))[1], qr/^57014:/, '... at once');
	return;
}
$old = noted(41);
my $slow = Dbops::start_sql($node, "CALL dbops.purge('shop.item', nice_ratio => 100)", role => 'owner');
ok(Dbops::wait_for($node, 'SELECT count(*) < 6000 FROM shop.note', 't'), "the first batch of another owner's rows is done");
is(sql('SELECT count(*) FROM shop.note'), 5000, 'and none after it');
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_activity WHERE $purging AND wait_event_type = 'Extension' AND backend_xmin IS NULL AND backend_xid IS NULL", 1), 'in the pause it holds no snapshot');
my $record = sql('SELECT max(record_id) FROM dbops.deletion_record');
my $shown = "SELECT state FROM dbops.deletions WHERE kind = 'purge' AND started_at = (SELECT started_at FROM dbops.deletion_record WHERE record_id = $record)";
is(sql($shown), 'running', 'it is shown as under way');
# Its process id may be that of another session by the time that somebody looks.
my $later = $node->background_psql('postgres');
is(sql("BEGIN; UPDATE dbops.deletion_record SET pid = " . $later->query_safe('SELECT pg_backend_pid()') . " WHERE record_id = $record; $shown; ROLLBACK"), 'cancelled', '... but not by a session that has come later');
$later->quit;
interrupt($slow);
is(sql('SELECT count(*) FROM shop.note'), 5000, 'during the pause nothing goes');
as('owner', "CALL dbops.purge('shop.item', nice_ratio => 0)");
is(sql("SELECT (SELECT count(*) FROM shop.note), (SELECT state FROM dbops.soft_deletions WHERE deletion_id = $old)"), '3000|purged', 'without pauses the rest goes');

# And under the limits of a job: more segments wait for the archiver than are allowed.
as('lodger', 'DROP TRIGGER slow_once ON shop.note');
$old = noted(42);
my @waiting = map { $node->data_dir . "/pg_wal/archive_status/test_$_.ready" } 1 .. 101; # no name that the archiver would look at
append_to_file($_, '') for @waiting;
my $limited = Dbops::start_sql($node, "CALL dbops.purge('shop.item', nice_ratio => 0)", role => 'owner');
ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_activity WHERE $purging AND wait_event_type = 'Extension'", 1), 'a purge that finds too many segments waits');
is(sql('SELECT count(*) FROM shop.note'), 6000, 'and deletes nothing');
unlink @waiting;
like((Dbops::finish_sql($limited))[1], qr{dbops: 3001 rows purged}, 'when they are archived it goes on');
is(sql("SELECT (SELECT count(*) FROM shop.note), (SELECT state FROM dbops.soft_deletions WHERE deletion_id = $old)"), '3000|purged', 'to its end');

# --- legal holds --------------------------------------------------------------------------------------------------------------------------
sql(q{INSERT INTO shop.item (id, name) VALUES (20, 'held'), (21, 'free'); INSERT INTO shop.part VALUES (20, 20), (21, 21), (22, 20)});
my $hold = sql(q{SELECT dbops.hold('shop.part', 'id = 20', 'case 7')});
my ($held, $free) = map { sql("SELECT dbops.soft_delete('shop.item', $_)") } 20, 21;
age($_, '40 days') for $held, $free;
sql("CALL dbops.purge('shop.item')");
is(sql('SELECT string_agg(id::text, \',\' ORDER BY id) FROM shop.part WHERE id BETWEEN 20 AND 22') . '|' . sql('SELECT string_agg(id::text, \',\') FROM shop.item WHERE id IN (20, 21)'), '20|20', 'a held row stays, and what it refers to');
is(sql("SELECT string_agg(state, ' ' ORDER BY deletion_id) FROM dbops.soft_deletions WHERE deletion_id IN ($held, $free)"), 'purging purged', 'and its deletion is not over');
sql("SELECT dbops.release($hold, 'over')");
sql("CALL dbops.purge('shop.item')");
is(sql("SELECT state FROM dbops.soft_deletions WHERE deletion_id = $held") . sql('SELECT count(*) FROM shop.item WHERE id = 20'), 'purged0', 'released, it goes');
sql(q{INSERT INTO stone VALUES (30), (31); DELETE FROM stone WHERE id = 30});
age(sql('SELECT max(deletion_id) FROM dbops.soft_deletion'), '31 days');
$hold = sql(q{SELECT dbops.hold('stone', 'id >= 30', 'case 8')});
sql("CALL dbops.purge('stone')");
is(sql("SELECT image FROM dbops.deleted_row WHERE target = 'stone'::regclass"), '{"id": "30"}', 'a tombstone of a held row stays');
like(refused("SELECT dbops.soft_delete('stone', 31)"), qr/^23001:/, 'no held row becomes one');
sql("SELECT dbops.release($hold, 'over')");
sql("CALL dbops.purge('stone')");
is(sql("SELECT count(*) FROM dbops.deleted_row WHERE target = 'stone'::regclass"), 0, 'released, it goes');

# --- dump and restore ---------------------------------------------------------------------------------------------------------------
my $kept = sql("SELECT dbops.soft_delete('shop.item', 7)");
sql(q{INSERT INTO stone VALUES (1); DELETE FROM stone WHERE id = 1});
my $stone = sql('SELECT max(deletion_id) FROM dbops.soft_deletion');
# Tables that were dropped: their numbers may be other tables' in the copy, which would inherit rule and rows
sql(q{CREATE TABLE lost_stone (id int PRIMARY KEY); CREATE TABLE lost_column (id int PRIMARY KEY); INSERT INTO lost_stone VALUES (1); INSERT INTO lost_column VALUES (1);
	CREATE TABLE root_stone (id int PRIMARY KEY); CREATE TABLE leaf_stone (id int PRIMARY KEY REFERENCES root_stone ON DELETE CASCADE); INSERT INTO root_stone VALUES (1), (2); INSERT INTO leaf_stone VALUES (1), (2);
	SELECT dbops.soft_delete_enable('lost_column', purge_schedule => NULL);
	SELECT dbops.soft_delete_enable(t, mode => 'tombstone', purge_schedule => NULL) FROM unnest(ARRAY['lost_stone', 'leaf_stone', 'root_stone']::regclass[]) t});
sql(q{SELECT dbops.soft_delete('lost_column', 1); DELETE FROM lost_stone; DELETE FROM root_stone WHERE id = 1; DROP TABLE lost_column, lost_stone CASCADE});
sql(q{DELETE FROM leaf_stone WHERE id = 2; DROP TABLE leaf_stone});
my $dump = $node->backup_dir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $dump ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('copy'), '-f', $dump ], 'and psql');
is(Dbops::value($node, "SELECT dbops.undelete($kept)", 'copy') . Dbops::value($node, "SELECT dbops.undelete($stone)", 'copy'), '21', 'the copy can restore what was deleted');
is(Dbops::value($node, "SELECT (SELECT count(*) FROM dbops.soft_delete_rule WHERE target::text ~ '^\\d+\$'), (SELECT count(*) FROM dbops.soft_deletion WHERE target::text ~ '^\\d+\$'), (SELECT count(*) FROM dbops.deleted_row WHERE target::text ~ '^\\d+\$')", 'copy'),
	'0|0|0', 'what was of dropped tables is not in the dump');
is(Dbops::value($node, "SELECT count(*) FROM dbops.deleted_row WHERE target = 'root_stone'::regclass", 'copy'), 1, '... the rest is');
cmp_ok(Dbops::value($node, "SELECT dbops.soft_delete('shop.item', 7)", 'copy'), '>', $stone, 'and goes on counting');
Dbops::value($node, "UPDATE dbops.soft_deletion SET deleted_at = deleted_at - interval '99 days'; CALL dbops.purge('shop.item')", 'copy');
is(Dbops::value($node, 'SELECT count(*) FROM shop.item WHERE id = 7', 'copy'), 1, 'which it does not purge ...');
Dbops::value($node, "SELECT dbops.confirm_purge('shop.item'); CALL dbops.purge('shop.item')", 'copy');
is(Dbops::value($node, 'SELECT count(*) FROM shop.item WHERE id = 7', 'copy'), 0, '... before somebody says so');

# --- what a table's owner has written runs as him, whoever deletes -----------------------------------------------------------------
sql(q{CREATE ROLE mallory LOGIN; CREATE ROLE bob LOGIN; CREATE SCHEMA trap AUTHORIZATION mallory; GRANT USAGE, CREATE ON SCHEMA trap TO bob});
my $as = sub { my ($role, $sql) = @_; my ($code, $out, $err) = $node->psql('postgres', "SET ROLE $role; SET client_min_messages = warning; $sql", on_error_stop => 1); return $err; };
is($as->('mallory', q{
	CREATE FUNCTION trap.evil(text) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS
	$$BEGIN IF current_user <> 'mallory' THEN RAISE 'evil() ran as %', current_user; END IF; RETURN true; END$$;
	CREATE FUNCTION trap.evil() RETURNS bool IMMUTABLE LANGUAGE sql AS $$SELECT trap.evil('x')$$;
	CREATE DOMAIN trap.number AS int CHECK (trap.evil(VALUE::text));
	CREATE TABLE trap.marked (id trap.number PRIMARY KEY, v text CHECK (trap.evil(v)));
	CREATE INDEX ON trap.marked (v) WHERE trap.evil('x');
	CREATE TABLE trap.kept (id int PRIMARY KEY, n trap.number);
	INSERT INTO trap.marked SELECT i, i FROM generate_series(1, 9) i;
	INSERT INTO trap.kept SELECT i, i FROM generate_series(1, 9) i;
	GRANT REFERENCES ON trap.marked TO bob;
	SELECT dbops.soft_delete_enable('trap.marked', purge_schedule => NULL);
	SELECT dbops.soft_delete_enable('trap.kept', mode => 'tombstone', purge_schedule => NULL)}), '', 'traps are laid');
like($as->('mallory', "SELECT dbops.hold('trap.kept', $_, 'x')"), qr/must not call functions or use domains of users/, "a hold by $_ is refused")
  for q{'trap.evil()'}, q{$$trap.evil('y')$$}, q{'n = 4::trap.number'};
# What is read from a text runs the constraints of a domain inside of an array or a row: as the owner of the table, whoever asks.
is($as->('mallory', q{CREATE TYPE trap.pair AS (a trap.number, b int); CREATE TABLE trap.nested (id int PRIMARY KEY, list trap.number[], pair trap.pair); INSERT INTO trap.nested VALUES (1)}), '', 'domains in arrays and rows');
for my $condition (q{'{4}'::trap.number[] IS NULL}, q{'(4,5)'::trap.pair IS NULL}, q{list = '{4}'}, q{pair = '(4,5)'})
{
	is($as->('mallory', "SELECT count(dbops.release(hold_id, 'x')) FROM dbops.holds WHERE reason = 'nested' AND released_at IS NULL"), '', 'no other hold');
	my $placed = $as->('mallory', "SELECT dbops.hold('trap.nested', \$\$$condition\$\$, 'nested')");
	unlike($placed, qr/evil\(\) ran/, "a hold by $condition: placed or refused");
	unlike($as->(Dbops::default_role(), 'SELECT count(*) FROM trap.nested t WHERE dbops.is_held(t.tableoid, t.*)'), qr/evil\(\) ran/, 'and nothing of it runs as a superuser');
	unlike($as->('bob', "SELECT dbops.hold('trap.nested', \$\$$condition\$\$, 'bob')"), qr/evil\(\) ran/, 'nor as somebody else');
}
like($as->('mallory', q{SELECT dbops.hold('trap.kept', $$tableoid = 'trap.kept'::regclass$$, 'x')}), qr/must not name a system column/, 'one by a system column, too');
is($as->('bob', q{CREATE TABLE trap.child (id int PRIMARY KEY, parent int REFERENCES trap.marked ON DELETE CASCADE); GRANT SELECT, DELETE ON trap.child TO mallory}), '', 'another role refers to the table');
sql(q{SELECT dbops.soft_delete_enable('trap.child', purge_schedule => NULL); SELECT dbops.soft_delete_enable('trap.marked', purge_schedule => NULL)});
is($as->('bob', q{INSERT INTO trap.child VALUES (1, 1), (2, 2)}), '', 'and has rows');
sql(q{SELECT dbops.hold('trap.kept', 'id = 9', 'case')});
my $superuser = Dbops::default_role();
for my $role ($superuser, 'mallory')
{
	my $name = $role eq $superuser ? 'a superuser' : 'the owner';
	is($as->($role, q{SELECT dbops.soft_delete('trap.marked', 1)}), '', "$name deletes");
	is($as->($role, q{SELECT dbops.undelete(max(deletion_id)) FROM dbops.soft_deletions WHERE state = 'deleted'}), '', "$name restores");
	is($as->($role, q{SELECT dbops.soft_delete('trap.marked', 3)}), '', "$name deletes once more") if $role eq $superuser;
	is($as->($role, q{DELETE FROM trap.kept WHERE id < 4; CALL dbops.purge('trap.kept', older_than => '0')}), '', "$name purges what was kept") if $role eq 'mallory';
}
is($as->($superuser, q{CALL dbops.purge('trap.marked', older_than => '0')}), '', 'a superuser purges');
like($as->('bob', q{INSERT INTO trap.child VALUES (3, 3)}), qr/refers to a soft-deleted row|violates foreign key/, 'a reference to a deleted row is refused');
$node->stop;
done_testing();
