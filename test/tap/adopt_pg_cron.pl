# Entries of a real pg_cron become schedules, with a word on each that cannot.
use strict;
use warnings;
use Test::More;
use PostgreSQL::Test::Cluster;
use Dbops;

my $node = Dbops::node('cron', start => 0);
$node->start;
plan skip_all => 'pg_cron is not installed'
  if Dbops::value($node, "SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_cron'") == 0;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbops, pg_cron'\ncron.timezone = 'Europe/Berlin'\ncron.host = ''\n");
$node->restart;
Dbops::create_extension($node);
sub sql { return Dbops::value($node, $_[0]); }

like(Dbops::refusal($node, 'SELECT * FROM dbops.adopt_pg_cron()'), qr/^42704: extension "pg_cron" is not installed/, 'without pg_cron: says so');
sql('CREATE EXTENSION pg_cron; CREATE ROLE ann LOGIN; GRANT USAGE ON SCHEMA cron TO ann; CREATE DATABASE other');
sql(q{SELECT cron.schedule('nightly', '30 3 * * *', 'VACUUM')});
sql(q{SELECT cron.schedule('*/5 * * * *', 'SELECT 1')});
sql(q{SELECT cron.schedule('monthly', '0 0 1 * *', 'SELECT 2')});
sql(q{SELECT cron.schedule('never', '0 0 31 2 *', 'SELECT 3')});
sql(q{SELECT cron.schedule('reboot', '@reboot', 'SELECT 4')});
sql(q{SELECT cron.schedule('hash', '0 0 * * 5#2', 'SELECT 5')});
sql(q{SELECT cron.schedule_in_database('elsewhere', '0 0 * * *', 'SELECT 6', 'other')});
sql(q{SELECT cron.schedule('asleep', '0 0 * * *', 'SELECT 7')});
sql(q{SELECT cron.alter_job(jobid, active := false) FROM cron.job WHERE jobname = 'asleep'});
sql(q{SELECT cron.schedule('bad sql', '0 0 * * *', 'SELEC 8')});
sql(q{SELECT cron.schedule('six', '0 3 * * * *', 'SELECT 10')});
sql(q{SELECT cron.schedule('years', '@yearly', 'SELECT 11')});
Dbops::value_as($node, 'ann', q{SELECT cron.schedule('of ann', '0 4 * * 1', 'SELECT 9')});

is(sql('SELECT count(*), count(*) FILTER (WHERE adopted), count(*) FILTER (WHERE remarks LIKE \'can be adopted%\') FROM dbops.adopt_pg_cron(dry_run => true)'), '12|0|7', 'a dry run says what would be');
is(sql('SELECT count(*) FROM dbops.schedules'), 0, 'and changes nothing');
is(sql('SELECT count(*) FROM cron.job WHERE active'), 11, 'nor there');

is(Dbops::value_as($node, 'ann', 'SELECT name, adopted, job_id IS NOT NULL FROM dbops.adopt_pg_cron(dry_run => true)'), 'of ann|f|f', 'a role sees its own');
sql('CREATE TABLE report AS SELECT * FROM dbops.adopt_pg_cron()');
is(sql('SELECT string_agg(name, \',\' ORDER BY jobid) FROM report WHERE adopted'), 'nightly,cron job 2,monthly,asleep,six,years,of ann', 'those that can be are adopted');
is(sql(q{SELECT name, schedule, timezone, command, owner = current_user, state, overlap, missed FROM dbops.schedules WHERE name = 'nightly'}),
	'nightly|30 3 * * *|Europe/Berlin|VACUUM|t|queued|queue|skip', 'with what they run, when and how');
is(sql(q{SELECT schedule, remarks FROM report WHERE name = 'six'}), '0 3 * * *|pg_cron does not read what follows the fifth field: "*" is left out', 'a sixth field stays without a meaning');
is(sql(q{SELECT schedule FROM dbops.schedules WHERE name = 'six'}), '0 3 * * *', 'for the schedule, too');
is(sql(q{SELECT remarks FROM report WHERE name = 'years'}), 'pg_cron never runs @yearly, here it runs on 1 January', 'what begins to run says so');
is(sql(q{SELECT remarks IS NULL FROM report WHERE name = 'nightly'}), 't', 'what is the same has no remark');
is(sql(q{SELECT owner FROM dbops.schedules WHERE name = 'of ann'}), 'ann', 'as their role');
is(sql(q{SELECT state FROM dbops.schedules WHERE name = 'asleep'}), 'paused', 'inactive ones are paused');
is(sql('SELECT string_agg(jobname, \',\' ORDER BY jobid) FROM cron.job WHERE active'), 'never,reboot,hash,elsewhere,bad sql', 'and deactivated there');
my %remark = map { /^([^|]*)\|(.*)/ ? ($1 => $2) : () } split /\n/, sql('SELECT name, remarks FROM dbops.adopt_pg_cron() WHERE NOT adopted');
like($remark{never}, qr/never comes at position 5/, 'what never runs');
like($remark{reboot}, qr/expected hourly, daily/, 'what there is not');
like($remark{hash}, qr/at position 10/, 'what does not mean what it says');
like($remark{elsewhere}, qr/database other/, 'what runs elsewhere');
like($remark{'bad sql'}, qr/syntax error/, 'what is no SQL');
like($remark{nightly}, qr/exists already/, 'and what was adopted before');
$node->stop;
done_testing();
