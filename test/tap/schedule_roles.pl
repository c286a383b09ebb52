# Whose rights what runs by a schedule has, when roles change: a role that may not connect any more or log in, that has left
# another one, that is dropped; a table that has another owner. Others go on, and nobody gets rights that he has not.
use strict;
use warnings;
use Test::More;
use Dbops;

my $node = Dbops::node('roles', conf => "autovacuum = off\n");
sub sql { return Dbops::value($node, $_[0]); }
sub as { my ($role, $sql) = @_; return Dbops::value_as($node, $role, $sql); }
sub refused { my ($role, $sql) = @_; return Dbops::refusal($node, $sql, role => $role); }
sub error_of { my ($job) = @_; return sql("SELECT last_sqlstate, last_error, last_hint FROM dbops.jobs WHERE job_id = $job"); }
sub goes_on { my ($name) = @_; my $runs = sql("SELECT runs FROM dbops.schedules WHERE name = '$name'"); return Dbops::wait_for($node, "SELECT runs > $runs + 1 FROM dbops.schedules WHERE name = '$name'", 't'); }
my $major = int(sql('SHOW server_version_num') / 10000);
sql(q{CREATE ROLE clock LOGIN; CREATE ROLE other LOGIN; CREATE ROLE old LOGIN; CREATE ROLE new LOGIN; CREATE ROLE stranger LOGIN; CREATE ROLE team LOGIN; CREATE ROLE member LOGIN;
	GRANT team TO member; CREATE SCHEMA open; GRANT ALL ON SCHEMA open TO PUBLIC; ALTER DATABASE postgres SET search_path = open;
	GRANT CONNECT ON DATABASE postgres TO other});

# --- a role that may not connect any more: although its process is there, and would be for as long as each second something is due
my $clock = as('clock', q{SELECT dbops.schedule('clock', 'every second', 'SELECT 1')});
as('other', q{SELECT dbops.schedule('other', 'every second', 'SELECT 1')});
ok(goes_on('clock') && goes_on('other'), 'two roles have something to run each second');
my $obstacle = sub
{
	my ($take, $give, $error) = @_;
	sql($take);
	is(Dbops::wait_job($node, $clock), 'failed', "$take: the schedule fails");
	like(error_of($clock), $error, '... and says why, and what to do');
	ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_stat_activity WHERE usename = 'clock'}, 0), '... no process of that role is left');
	ok(goes_on('other'), '... that of another role goes on');
	sql("$give; SELECT dbops.retry($clock)");
	ok(goes_on('clock'), "$give: retried, it goes on");
	return;
};
$obstacle->('REVOKE CONNECT ON DATABASE postgres FROM PUBLIC', 'GRANT CONNECT ON DATABASE postgres TO PUBLIC', qr/^28000\|role "clock" may not connect to the database\|GRANT CONNECT/);
if ($major < 17)
{
	$obstacle->('ALTER ROLE clock NOLOGIN', 'ALTER ROLE clock LOGIN', qr/^28000\|role "clock" is not permitted to log in.*\|ALTER ROLE clock LOGIN/);
}
else
{
	sql('ALTER ROLE clock NOLOGIN');
	ok(goes_on('clock'), 'from 17 on a role without LOGIN runs its schedules');
}
# A run that has begun goes on.
sql('CREATE TABLE open.gate (shut boolean); INSERT INTO open.gate VALUES (true); GRANT SELECT ON open.gate TO PUBLIC');
as('clock', q{SELECT dbops.unschedule('clock')}) if $major < 17;
sql(q{SELECT dbops.unschedule('clock')}) if $major >= 17;
sql(q{ALTER ROLE clock LOGIN; SELECT dbops.schedule('long', '@yearly', 'DO $$BEGIN WHILE (SELECT shut FROM open.gate) LOOP PERFORM pg_sleep(0.05); END LOOP; END$$', run_as => 'clock'); SELECT dbops.run_now('long')});
ok(Dbops::wait_for($node, q{SELECT state FROM dbops.schedules WHERE name = 'long'}, 'running'), 'a run is under way');
sql('REVOKE CONNECT ON DATABASE postgres FROM PUBLIC; UPDATE open.gate SET shut = false');
ok(Dbops::wait_for($node, q{SELECT last_result FROM dbops.schedules WHERE name = 'long'}, 'finished'), 'when CONNECT is revoked it goes on to its end');
sql('GRANT CONNECT ON DATABASE postgres TO PUBLIC');
sql(q{SELECT dbops.unschedule(name) FROM dbops.schedules});

# --- one who has left the role as which his schedule runs ------------------------------------------------------------------------
sql('CREATE TABLE open.ran (who text); GRANT INSERT, SELECT ON open.ran TO PUBLIC');
as('member', q{SELECT dbops.schedule('of team', '@yearly', 'INSERT INTO open.ran VALUES (current_user)', run_as => 'team')});
like(refused('stranger', q{SELECT dbops.schedule('as team', '@yearly', 'SELECT 1', run_as => 'team')}), qr/^42501:/, 'who is not a member schedules nothing as a role');
sql('REVOKE team FROM member');
like(refused('member', qq{SELECT dbops.$_}), qr/^42501:/, "who has left may not: $_") for q{run_now('of team')}, q{alter_schedule('of team', command => 'SELECT 1')}, q{alter_schedule('of team', schedule => '@daily')}, q{unschedule('of team')};
is(as('member', 'SELECT count(*) FROM dbops.schedules'), 0, '... nor see it');
as('team', q{SELECT dbops.run_now('of team')});
ok(Dbops::wait_for($node, q{SELECT last_result FROM dbops.schedules WHERE name = 'of team'}, 'finished'), 'the role itself has it run');
is(sql('SELECT string_agg(who, \',\') FROM open.ran'), 'team', '... as that role');

# --- a table that has another owner: what its old owner has scheduled has no more rights than he ---------------------------------
sub run_once { my ($name) = @_; my $runs = sql("SELECT runs FROM dbops.schedules WHERE name = '$name'"); sql("SELECT dbops.run_now('$name')"); return Dbops::wait_for($node, "SELECT runs > $runs FROM dbops.schedules WHERE name = '$name'", 't'); }
as('old', q{CREATE TABLE open.t (id int PRIMARY KEY, at timestamptz); INSERT INTO open.t SELECT i, now() - interval '9 days' FROM generate_series(1, 9) i;
	CREATE TABLE open.sd (id int PRIMARY KEY); INSERT INTO open.sd VALUES (1), (2); SELECT dbops.schedule('plain', '@yearly', 'DELETE FROM open.t WHERE id = 1')});
my $rule = as('old', q{SELECT rule FROM dbops.retain('open.t', 'at', '1 day', '@yearly', max_share => NULL)});
as('old', q{SELECT dbops.soft_delete_enable('open.sd', purge_schedule => '@yearly', grace => '0'); SELECT dbops.soft_delete('open.sd', 1)});
sql('ALTER TABLE open.t OWNER TO new; ALTER TABLE open.sd OWNER TO new; ALTER VIEW open.sd_live OWNER TO new');
for my $name ('plain', "retain $rule", 'purge open.sd')
{
	ok(run_once($name), "$name, of the old owner, runs");
	is(sql("SELECT last_result FROM dbops.schedules WHERE name = '$name'"), 'failed', '... and fails');
	like(sql("SELECT last_error FROM dbops.schedules WHERE name = '$name'"), qr/permission denied|must be owner/, '... as it has no right any more');
}
is(sql('SELECT (SELECT count(*) FROM open.t), (SELECT count(*) FROM open.sd)'), '9|2', 'nothing has gone');
for my $case ([ 'stranger', "SELECT dbops.unretain($rule)" ], [ 'stranger', "SELECT dbops.confirm_retention($rule)" ], [ 'stranger', "SELECT dbops.run_retention($rule)" ],
	[ 'stranger', q{SELECT dbops.retain('open.t', 'at', '1 hour', '@yearly')} ], [ 'old', q{SELECT dbops.soft_delete_enable('open.sd')} ], [ 'old', q{SELECT dbops.confirm_purge('open.sd')} ],
	[ 'old', q{CALL dbops.purge('open.sd')} ], [ 'old', q{SELECT dbops.soft_delete('open.sd', 2)} ], [ 'old', q{SELECT dbops.hold('open.t', NULL, 'mine')} ], [ 'stranger', q{SELECT dbops.soft_delete_disable('open.sd')} ])
{
	my ($role, $statement) = @$case;
	like(refused($role, $statement), qr/^42501:/, "$role may not: $statement");
}
# The new owner has both work again, without asking anybody.
as('new', q{SELECT dbops.soft_delete_enable('open.sd', purge_schedule => '@yearly')});
is(sql(q{SELECT string_agg(owner, ',') FROM dbops.schedules WHERE command ~ 'purge'}), 'new', 'the new owner has it purged');
ok(run_once('purge open.sd'), '... by a schedule of his');
is(sql('SELECT string_agg(id::text, \',\') FROM open.sd'), '2', '... and what was deleted goes');
is(as('new', q{SELECT rule FROM dbops.retain('open.t', 'at', '1 day', '@yearly', max_share => NULL)}), $rule, 'a rule that the new owner changes');
is(sql("SELECT r.owner, s.owner FROM dbops.retention_status r JOIN dbops.schedules s ON s.name = r.schedule_name WHERE rule = $rule"), 'new|new', '... is his');
ok(run_once("retain $rule"), '... and is run as him');
ok(Dbops::wait_for($node, 'SELECT count(*) FROM open.t', 0), '... and what has expired goes');

sql('ALTER TABLE open.t OWNER TO other');
is(as('other', "SELECT dbops.unretain($rule)"), $rule, 'who owns the table then may remove it');
is(sql("SELECT count(*) FROM dbops.schedules WHERE name = 'retain $rule'"), 0, '... with its schedule');

# --- and when the old one is dropped, with all that he owned given away ----------------------------------------------------------
sql('REASSIGN OWNED BY new TO other; DROP OWNED BY new; DROP ROLE new');
sql(q{SELECT dbops.run_now('purge open.sd')});
my $purge = sql(q{SELECT job_id FROM dbops.schedules WHERE name = 'purge open.sd'});
is(Dbops::wait_job($node, $purge), 'failed', 'a schedule of a role that was dropped fails');
like(error_of($purge), qr/^28000\|role with OID \d+, the owner of the job, was dropped/, '... and says why');
as('other', q{SELECT dbops.soft_delete_enable('open.sd', purge_schedule => '@yearly')});
is(sql(q{SELECT string_agg(owner, ',') FROM dbops.schedules WHERE command ~ 'purge' AND state = 'queued'}), 'other', 'whose table it is now has it purged again');
$node->stop;
done_testing();
