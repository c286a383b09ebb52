# Whose rights a job has, who sees and steers it, and what an unprivileged role cannot make of it.
use strict;
use warnings;
use Test::More;
use Dbops;

my $node  = Dbops::node('roles', conf => "dbops.max_workers = 4\n");
my $me    = Dbops::default_role();
my $major = int(Dbops::value($node, 'SHOW server_version_num') / 10000);

$node->safe_psql('postgres', q{
	CREATE ROLE ann LOGIN; CREATE ROLE mal LOGIN; CREATE ROLE eve LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE viewer LOGIN;
	CREATE ROLE team NOLOGIN; GRANT team TO ann; CREATE ROLE rick LOGIN; CREATE ROLE rita LOGIN; CREATE ROLE outsider LOGIN;
	GRANT dbops_admin TO bob; GRANT dbops_monitor TO viewer;
	CREATE SCHEMA open; GRANT ALL ON SCHEMA open TO PUBLIC;
	ALTER DATABASE postgres SET search_path = open;
	CREATE TABLE open.pace (seconds float8); INSERT INTO open.pace VALUES (0.02); GRANT SELECT ON open.pace TO PUBLIC;
	CREATE FUNCTION open.slowly(v int) RETURNS int LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(seconds) FROM open.pace; RETURN v; END$$;
});

sub table
{
	my ($name, $owner, $rows) = @_;
	$node->safe_psql('postgres', "CREATE TABLE open.$name (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);"
		  . " INSERT INTO open.$name (id) SELECT generate_series(1, " . ($rows // 100) . "); ALTER TABLE open.$name OWNER TO $owner");
	return;
}
sub once { my ($name) = @_; return Dbops::value($node, "SELECT count(*) FILTER (WHERE n <> 1) FROM open.$name"); }
sub as { my ($role, $sql) = @_; return Dbops::value_as($node, $role, $sql); }
sub workers_setting
{
	my ($n) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET dbops.max_workers = $n");
	$node->reload;
	Dbops::wait_for($node, 'SHOW dbops.max_workers', $n);
	return;
}
sub error_of { my ($job) = @_; return Dbops::value($node, "SELECT last_sqlstate, last_error, last_hint FROM dbops.jobs WHERE job_id = $job"); }

# --- a role without LOGIN -------------------------------------------------------------------------------------------------
table('teams', 'team');
my ($status, $job, $err) = $node->psql('postgres', q{SELECT dbops.backfill('teams', 'n = n + 1')});
is($status, 0, q{a job as a role without LOGIN: the table's owner, when a superuser makes it});
is(Dbops::value($node, "SELECT owner, created_by FROM dbops.jobs WHERE job_id = $job"), "team|$me", 'so dbops.jobs says');
if ($major < 17)
{
	like($err, qr/WARNING: .*role "team" has no LOGIN/, 'a warning at once');
	is(Dbops::wait_job($node, $job), 'failed', 'before 17 no worker can do it');
	like(error_of($job), qr/^28000\|role "team" is not permitted to log in.*\|ALTER ROLE team LOGIN/, 'and the error says what to do');
	is(Dbops::refusal($node, "CALL dbops.run($job)", role => 'ann'), '', 'a member runs it in a session');
}
is(Dbops::wait_job($node, $job), 'succeeded', 'it is done');
is(once('teams'), 0, 'each row once');

# --- roles dropped ----------------------------------------------------------------------------------------------------------
table("granted$_", 'ann', 1000) for 1, 2, 3;
$node->safe_psql('postgres', 'GRANT SELECT, UPDATE ON granted1, granted2, granted3 TO rick, rita, outsider');
workers_setting(0);
$job = as('rick', q{SELECT dbops.backfill('granted1', 'n = n + 1')});
$node->safe_psql('postgres', 'DROP OWNED BY rick; DROP ROLE rick');
is(Dbops::value($node, "SELECT owner, state FROM dbops.jobs WHERE job_id = $job"), 'rick|queued', 'the role of a queued job was dropped');
workers_setting(4);
is(Dbops::wait_job($node, $job), 'failed', 'the job fails');
like(error_of($job), qr/^28000\|role with OID \d+, the owner of the job, was dropped\|Create the job again as another role/, 'and says why');
is(Dbops::value($node, 'SELECT count(*) FROM granted1 WHERE n <> 0'), 0, 'nothing was done');
$job = as('rita', q{SELECT dbops.backfill('granted1', 'n = slowly(n + 1)', max_batch_rows => 50, stripes => 1)});
ok(Dbops::wait_for($node, "SELECT rows_done > 0 FROM dbops.jobs WHERE job_id = $job", 't'), 'a job runs');
$node->safe_psql('postgres', 'DROP OWNED BY rita; DROP ROLE rita');
is(Dbops::wait_job($node, $job), 'failed', 'its role was dropped: it fails');
like(error_of($job), qr/^(42704|42501|28000)\|/, 'with an error of its own: ' . error_of($job));
is(Dbops::value($node, "SELECT count(*) FROM granted1 WHERE n <> 0"), Dbops::value($node, "SELECT rows_done FROM dbops.jobs WHERE job_id = $job"),
	'what it had committed is what it says');

# --- privileges revoked in the middle ------------------------------------------------------------------------------------------
$job = as('outsider', q{SELECT dbops.backfill('granted2', 'n = slowly(n + 1)', max_batch_rows => 50, stripes => 1)});
ok(Dbops::wait_for($node, "SELECT rows_done > 0 FROM dbops.jobs WHERE job_id = $job", 't'), 'a job runs');
$node->safe_psql('postgres', 'REVOKE UPDATE ON granted2 FROM outsider');
is(Dbops::wait_job($node, $job), 'failed', 'its privilege was revoked: it fails');
like(error_of($job), qr/^42501\|permission denied for table granted2/, 'with that error');
$node->safe_psql('postgres', 'GRANT UPDATE ON granted2 TO outsider; UPDATE open.pace SET seconds = 0');
$node->safe_psql('postgres', "SELECT dbops.retry($job)");
is(Dbops::wait_job($node, $job), 'succeeded', 'granted again, it goes on');
is(once('granted2'), 0, 'each row once');
like(Dbops::refusal($node, q{SELECT dbops.backfill('teams', 'n = n + 1')}, role => 'eve'), qr/^42501:/, 'no job on a table without the privilege');
like(Dbops::refusal($node, q{SELECT dbops.batch_delete('granted3', 'n = 0')}, role => 'outsider'), qr/^42501:/, 'UPDATE is not DELETE');

# --- a role without CONNECT -----------------------------------------------------------------------------------------------------
$job = as('outsider', q{SELECT dbops.pause(dbops.backfill('granted3', 'n = n + 1')) = 'paused', max(job_id) FROM dbops.jobs}) =~ s/.*\|//r;
$job = Dbops::value($node, q{SELECT max(job_id) FROM dbops.jobs WHERE owner = 'outsider'});
$node->safe_psql('postgres', "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC; SELECT dbops.resume($job)");
is(Dbops::wait_job($node, $job), 'failed', 'a role without CONNECT: the job fails');
like(error_of($job), qr/^28000\|role "outsider" may not connect to the database\|GRANT CONNECT/, 'and the error says what to do');
$node->safe_psql('postgres', "GRANT CONNECT ON DATABASE postgres TO outsider; SELECT dbops.retry($job)");
is(Dbops::wait_job($node, $job), 'succeeded', 'granted, it ends');
is(once('granted3'), 0, 'each row once');
$node->safe_psql('postgres', "GRANT CONNECT ON DATABASE postgres TO PUBLIC");

# --- run_as, and who the triggers meet -------------------------------------------------------------------------------------------
table('anns', 'ann');
$node->safe_psql('postgres', q{
	CREATE TABLE open.seen (who text, session text, job text); GRANT ALL ON open.seen TO PUBLIC;
	CREATE FUNCTION open.see() RETURNS trigger LANGUAGE plpgsql AS
	  $$BEGIN INSERT INTO open.seen VALUES (current_user, session_user, current_setting('dbops.in_job')); RETURN NEW; END$$;
	CREATE TRIGGER see BEFORE UPDATE ON anns FOR EACH ROW EXECUTE FUNCTION open.see()});
$job = Dbops::backfill($node, q{'anns', 'n = n + 1'});
is(Dbops::wait_job($node, $job), 'succeeded', q{a superuser's job on ann's table});
is(Dbops::value($node, 'SELECT DISTINCT who, session, job FROM seen'), "ann|ann|$job", 'its triggers run as ann, in a session of ann');
like(Dbops::refusal($node, q{SELECT dbops.backfill('anns', 'n = n + 1', run_as => 'ann')}, role => 'mal'), qr/^42501:/, 'run_as: only for members');
like(Dbops::refusal($node, qq{SELECT dbops.backfill('anns', 'n = n + 1', run_as => '$me')}, role => 'ann'), qr/^42501:/, 'nobody becomes superuser by it');
like(Dbops::refusal($node, q{SELECT dbops.backfill('anns', 'n = n + 1', run_as => 'nobody_here')}), qr/^42704:/, 'a role that is not there');
$node->safe_psql('postgres', 'TRUNCATE seen; GRANT SELECT, UPDATE ON anns TO eve');
$job = Dbops::backfill($node, q{'anns', 'n = n + 1', run_as => 'eve'});
is(Dbops::wait_job($node, $job), 'succeeded', 'run_as another role');
is(Dbops::value($node, 'SELECT DISTINCT who FROM seen'), 'eve', 'the triggers meet that role');
$node->safe_psql('postgres', 'REVOKE ALL ON anns FROM eve');

# --- who sees and steers --------------------------------------------------------------------------------------------------------
workers_setting(0);
$job = as('ann', q{SELECT dbops.backfill('anns', 'n = n + 1')});
my $team_job = Dbops::value($node, q{SELECT dbops.backfill('teams', 'n = n + 1')});
my %views = (jobs => 1, job_events => 1, progress => 1);
for my $view (sort keys %views)
{
	for my $case ([ ann => 1 ], [ eve => 0 ], [ mal => 0 ], [ viewer => 1 ], [ bob => 1 ], [ $me => 1 ])
	{
		is(as($case->[0], "SELECT count(*) FROM dbops.$view WHERE job_id = $job"), $case->[1], "dbops.$view: $case->[0] sees $case->[1]");
	}
}
is(as('ann', "SELECT count(*) FROM dbops.jobs WHERE job_id = $team_job"), 1, q{a member sees her team's job});
is(as('mal', 'SELECT (SELECT count(*) FROM dbops.job_runs) + (SELECT count(*) FROM dbops.job_errors)'), 0, 'nor runs and errors');
# A function in the query must not get to see the rows that the view hides.
as('eve', q{CREATE FUNCTION open.leak(bigint, text) RETURNS boolean COST 0.0001 LANGUAGE plpgsql AS $$BEGIN RAISE WARNING 'leak % %', $1, $2; RETURN true; END$$});
my (undef, undef, $leak) = $node->psql('postgres', 'SELECT count(*) FROM dbops.jobs WHERE open.leak(job_id, target)', extra_params => [ '-U', 'mal' ]);
unlike($leak, qr/leak/, 'not through a cheap function either');
for my $table (qw(job job_slice job_cursor job_revisit job_run job_event job_error))
{
	for my $role (qw(eve ann viewer bob))
	{
		like(Dbops::refusal($node, "SELECT count(*) FROM dbops.$table", role => $role), qr/^42501:/, "dbops.$table is not for $role");
	}
}
like(Dbops::refusal($node, "UPDATE dbops.jobs SET state = 'succeeded'", role => 'ann'), qr/^(42501|55000):/, 'views are for reading');
for my $role (qw(eve viewer))
{
	like(Dbops::refusal($node, "SELECT dbops.cancel($job)", role => $role), qr/^42501:/, "$role may not steer it");
}
is(as('bob', "SELECT dbops.pause($job, 'by bob')"), 'paused', 'dbops_admin may');
is(as('ann', "SELECT actor, reason FROM dbops.job_events WHERE job_id = $job AND action = 'pause'"), 'bob|by bob', 'and the owner sees who it was');
is(as('ann', "SELECT dbops.resume($job)"), 'queued', 'the owner may');
is(as('ann', "SELECT dbops.cancel($team_job)"), 'cancelled', q{a member may, with her team's});
$node->safe_psql('postgres', "SELECT dbops.cancel($job)");

# --- no way out of the role ------------------------------------------------------------------------------------------------------
# Each attempt is made by a trigger function of mal, and its fate written down.
$node->safe_psql('postgres', qq{
	CREATE TABLE open.attempt (mode text, what text, fate text, who text, session text); GRANT ALL ON open.attempt TO PUBLIC;
	CREATE TABLE open.secret (t text); INSERT INTO open.secret VALUES ('x');});
my @attempts = (
	"SET ROLE $me", 'SET ROLE NONE', 'RESET ROLE', "SET SESSION AUTHORIZATION $me", 'RESET SESSION AUTHORIZATION', 'SET SESSION AUTHORIZATION DEFAULT',
	"SELECT set_config('role', '$me', false)", "SELECT set_config('role', 'none', false)", "SELECT set_config('session_authorization', '$me', false)",
	'ALTER ROLE mal SUPERUSER', 'GRANT dbops_admin TO mal', 'SELECT * FROM open.secret', 'UPDATE dbops.job SET owner_oid = 10', 'DELETE FROM dbops.job_event',
	q{COPY open.attempt TO PROGRAM 'true'}, q{SELECT pg_read_file('PG_VERSION')}, 'CREATE EXTENSION plpython3u', 'COMMIT', 'ROLLBACK');
my $body = join "\n", map {
	my $sql = $_;
	qq{BEGIN EXECUTE \$x\$$sql\$x\$; fate := 'done'; EXCEPTION WHEN OTHERS THEN fate := SQLSTATE; END;
	   INSERT INTO open.attempt VALUES (current_setting('open.mode', true), \$x\$$sql\$x\$, fate, current_user, session_user);}
} @attempts;
as('mal', "CREATE TABLE open.mals (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO open.mals VALUES (1);"
	  . "CREATE FUNCTION open.escape() RETURNS trigger LANGUAGE plpgsql AS \$\$DECLARE fate text; BEGIN $body RETURN NEW; END\$\$;"
	  . "CREATE TRIGGER escape BEFORE UPDATE ON open.mals FOR EACH ROW EXECUTE FUNCTION open.escape();");

sub nothing_gained
{
	my ($how, $session) = @_;
	is(Dbops::value($node, 'SELECT count(*) FROM open.attempt'), scalar @attempts, "$how: every attempt was made");
	is(Dbops::value($node, "SELECT string_agg(DISTINCT who, ',') FROM open.attempt"), 'mal', "$how: always as mal");
	is(Dbops::value($node, "SELECT string_agg(what, '; ') FROM open.attempt WHERE fate = 'done' AND what NOT IN ('SET ROLE NONE', 'RESET ROLE',"
		  . " 'RESET SESSION AUTHORIZATION', 'SET SESSION AUTHORIZATION DEFAULT', \$\$SELECT set_config('role', 'none', false)\$\$)"), '', "$how: none gave mal anything");
	is(Dbops::value($node, "SELECT rolsuper, pg_has_role('mal', 'dbops_admin', 'MEMBER') FROM pg_roles WHERE rolname = 'mal'"), 'f|f', "$how: mal is who he was");
	$node->safe_psql('postgres', 'TRUNCATE open.attempt');
	return;
}
workers_setting(4);
$job = as('mal', q{SELECT dbops.backfill('mals', 'n = n + 1')});
is(Dbops::wait_job($node, $job), 'succeeded', 'in a worker');
is(Dbops::value($node, "SELECT string_agg(DISTINCT session, ',') FROM open.attempt"), 'mal', 'the session is his own as well');
nothing_gained('in a worker');
workers_setting(0);
$node->safe_psql('postgres', 'CREATE ROLE boss LOGIN; GRANT mal TO boss');
for my $role ($me, 'boss')
{
	$job = as('mal', q{SELECT dbops.backfill('mals', 'n = n + 1')});
	like(Dbops::refusal($node, "CALL dbops.run($job)", role => 'bob'), qr/^42501:/, 'an admin steers the job, and may not run it in his session');
	is(Dbops::refusal($node, "CALL dbops.run($job)", role => $role), '', "$role runs his job");
	nothing_gained("run by $role");
}
# What waits for the end of the transaction would run with the rights of the session.
as('mal', q{DROP TRIGGER escape ON open.mals;
	CREATE CONSTRAINT TRIGGER escape AFTER UPDATE ON open.mals DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION open.escape();});
for my $role ($me, 'boss')
{
	$job = as('mal', q{SELECT dbops.backfill('mals', 'n = n + 1')});
	is(Dbops::refusal($node, "CALL dbops.run($job)", role => $role), '', "$role runs his job with a deferred trigger");
	is(Dbops::value($node, "SELECT count(*) FROM open.attempt WHERE who <> 'mal'"), 0, 'it did not fire with other rights');
	is(Dbops::job_state($node, $job), 'succeeded', "run by $role: its deferred trigger fired at the end of the statement");
}
is(Dbops::value($node, "SELECT rolsuper FROM pg_roles WHERE rolname = 'mal'"), 'f', 'mal is who he was');
workers_setting(4);
$node->safe_psql('postgres', "SELECT dbops.retry($job)");
is(Dbops::wait_job($node, $job), 'succeeded', 'a worker, whose session is his own, does it');
$node->safe_psql('postgres', 'TRUNCATE open.attempt');

# --- planted objects -----------------------------------------------------------------------------------------------------------
# Functions and operators of mal, before pg_catalog in the search_path of the job, that write down who called them.
$node->safe_psql('postgres', q{
	CREATE TABLE open.called (what text, who text); GRANT ALL ON open.called TO PUBLIC; CREATE SCHEMA evil AUTHORIZATION mal});
my @plants;
my $number = 0;
for my $op ([ '=', 'bigint', 'bigint' ], [ '=', 'int', 'int' ], [ '>', 'int', 'int' ], [ '<', 'int', 'int' ], [ '>=', 'int', 'int' ], [ '<=', 'int', 'int' ],
	[ '<=', 'int', 'bigint' ], [ '=', 'text', 'text' ], [ '<>', 'text', 'text' ], [ '=', 'oid', 'oid' ], [ '=', 'name', 'text' ], [ '=', 'name', 'name' ],
	[ '>=', 'tid', 'tid' ], [ '<', 'tid', 'tid' ], [ '<=', 'timestamptz', 'timestamptz' ], [ '>', 'timestamptz', 'timestamptz' ])
{
	my $name = 'op' . ++$number;
	push @plants, "CREATE FUNCTION evil.$name($op->[1], $op->[2]) RETURNS boolean LANGUAGE plpgsql AS"
	  . " \$\$BEGIN INSERT INTO open.called VALUES ('$op->[0] $op->[1]', current_user); RETURN true; END\$\$;"
	  . " CREATE OPERATOR evil.$op->[0] (FUNCTION = evil.$name, LEFTARG = $op->[1], RIGHTARG = $op->[2]);";
}
for my $function ([ 'clock_timestamp()', 'timestamptz', 'pg_catalog.now()' ], [ 'now()', 'timestamptz', 'pg_catalog.transaction_timestamp()' ], [ 'timezone(text, timestamptz)', 'timestamp', 'pg_catalog.localtimestamp' ],
	[ 'current_database()', 'name', q{'postgres'::name} ], [ 'pg_backend_pid()', 'int', '1' ], [ 'current_setting(text)', 'text', q{'off'} ],
	[ 'generate_series(int, int)', 'int', '1' ], [ 'has_database_privilege(oid, name, text)', 'boolean', 'true' ], [ 'hashint4(int)', 'int', '1' ],
	[ 'tid_stripe(tid, int)', 'int', '0' ], [ 'family_size(oid)', 'bigint', '1' ], [ 'pg_current_wal_flush_lsn()', 'pg_lsn', q{'0/0'::pg_lsn} ])
{
	push @plants, "CREATE FUNCTION evil.$function->[0] RETURNS $function->[1] LANGUAGE plpgsql AS"
	  . " \$\$BEGIN INSERT INTO open.called VALUES (\$x\$$function->[0]\$x\$, current_user); RETURN $function->[2]; END\$\$;";
}
push @plants, 'CREATE TABLE evil.pg_class (oid oid, relname name); CREATE TABLE evil.pg_roles (oid oid, rolname name); CREATE TABLE evil.pg_locks (pid int); CREATE TABLE evil.pg_stat_activity (pid int)';
as('mal', "SET search_path = pg_catalog;\n" . join("\n", @plants));
$node->safe_psql('postgres', 'ALTER ROLE mal SET search_path = evil, pg_catalog, open; GRANT USAGE ON SCHEMA evil TO PUBLIC');
as('mal', q{SET search_path = pg_catalog; DROP TRIGGER escape ON open.mals; TRUNCATE open.mals;
	INSERT INTO open.mals SELECT i, 0 FROM generate_series(1, 20000) i; CREATE TABLE open.mals2 (a int, b text, n int, PRIMARY KEY (a, b));
	INSERT INTO open.mals2 SELECT i, i::text, 0 FROM generate_series(1, 20000) i; ANALYZE open.mals; ANALYZE open.mals2});
$node->safe_psql('postgres', 'TRUNCATE open.called');
for my $arguments (q{', 'n = 1', strategy => 'key}, q{', 'n = 2', 'n IS NOT NULL', strategy => 'stripe}, q{2', 'n = NULL', 'n IS NOT NULL', strategy => 'block},
	q{2', 'n = 5', strategy => 'stripe', windows => 'Mon-Sun 00:00-24:00', max_active_sessions => 1000, max_wal_rate => 1000000000, pause_for_autovacuum => true, label => 'x})
{
	$job = as('mal', "SELECT dbops.backfill('open.mals$arguments')");
	is(Dbops::wait_job($node, $job), 'succeeded', "among planted functions: open.mals$arguments");
}
is(Dbops::value($node, 'SELECT DISTINCT n FROM open.mals2'), 5, 'the data are as they should be');
is(Dbops::value($node, "SELECT count(*), string_agg(DISTINCT what || ' as ' || who, '; ') FROM open.called"), '0|', 'none of them was called');
workers_setting(0);
$node->safe_psql('postgres', "ALTER ROLE $me SET search_path = evil, pg_catalog, open; ALTER ROLE boss SET search_path = evil, pg_catalog, open");
for my $role ($me, 'boss')
{
	$node->safe_psql('postgres', 'SET search_path = pg_catalog; TRUNCATE open.called');
	$job = as('mal', q{SELECT dbops.backfill('open.mals', 'n = 3')});
	is(Dbops::refusal($node, "CALL dbops.run($job)", role => $role), '', "$role with mal's search_path runs his job");
	as($role, "SELECT state FROM dbops.jobs");
	as($role, "SELECT waiting_for, eta FROM dbops.progress");
	as($role, "SELECT outcome FROM dbops.job_runs");
	is(Dbops::value($node, "SET search_path = pg_catalog; SELECT count(*), string_agg(DISTINCT what || ' as ' || who, '; ') FROM open.called"), '0|', 'none of them was called');
}
$node->safe_psql('postgres', "SET search_path = pg_catalog; ALTER ROLE $me RESET search_path");

# --- a schema made beforehand -----------------------------------------------------------------------------------------------------
$node->safe_psql('postgres', 'CREATE DATABASE planted; GRANT CREATE ON DATABASE planted TO mal');
Dbops::value_as($node, 'mal', 'CREATE SCHEMA dbops; CREATE FUNCTION dbops.may_see(oid) RETURNS boolean LANGUAGE sql RETURN true', 'planted');
like(Dbops::refusal($node, 'CREATE EXTENSION dbops', database => 'planted'), qr/^42501: schema "dbops" belongs to another role \[Drop or rename the schema/, 'CREATE EXTENSION into a schema of another role');
is(Dbops::value($node, 'SELECT count(*) FROM pg_extension', 'planted'), 1, 'is refused');
$node->safe_psql('planted', 'DROP SCHEMA dbops CASCADE; CREATE EXTENSION dbops');
is(Dbops::value($node, q{SELECT count(*) FROM pg_extension WHERE extname = 'dbops'}, 'planted'), 1, 'and works when that is gone');
like(Dbops::refusal($node, 'CREATE TABLE dbops.mine ()', role => 'mal', database => 'planted'), qr/^42501:/, 'nobody else makes anything in it');

# --- the roles of dbops itself renamed ------------------------------------------------------------------------------------
workers_setting(0);
my $anns = as('ann', q{SELECT dbops.backfill('open.anns', 'n = n + 1')});
$node->safe_psql('postgres', 'ALTER ROLE dbops_monitor RENAME TO watchers; ALTER ROLE dbops_admin RENAME TO rulers');
for my $view (qw(jobs job_runs job_events job_errors progress))
{
	is(Dbops::refusal($node, "SELECT * FROM dbops.$view", role => 'ann'), '', "dbops.$view works without them");
}
is(as('ann', "SELECT count(*) FROM dbops.jobs WHERE job_id = $anns"), 1, 'the owner sees the job');
is(as('eve', "SELECT count(*) FROM dbops.jobs WHERE job_id = $anns"), 0, 'others do not');
is(as('viewer', "SELECT count(*) FROM dbops.jobs WHERE job_id = $anns"), 0, 'nor a member of what was dbops_monitor');
is(Dbops::value($node, "SELECT count(*) FROM dbops.jobs WHERE job_id = $anns"), 1, 'a superuser does');
is(as('ann', "SELECT dbops.cancel($anns)"), 'cancelled', 'the owner steers it');

$node->stop;
ok(!$node->log_contains(qr/PANIC|TRAP|was terminated by signal/), 'no crash in the server log');
done_testing();
