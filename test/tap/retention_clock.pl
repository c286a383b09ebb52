# The machine is started again, with a clock that is wrong, or after a long time: nothing goes by a rule before somebody has said
# so, or before its grace period is over.
use strict;
use warnings;
use Test::More;
use Time::HiRes ();
use PostgreSQL::Test::Utils;
use Dbops;

my $place = PostgreSQL::Test::Utils::tempdir();
my ($offset_file, $boot_file) = ("$place/clock_offset", "$place/boot_id");
my $boots = 0;
sub put { my ($path, $bytes) = @_; open my $file, '>', $path or die $!; syswrite $file, $bytes; close $file; return; }

my $node = Dbops::node('machine', start => 0, conf => "autovacuum = off\n");
# CLOCK_BOOTTIME, as of now, which a machine that was started again begins anew.
sub uptime { return (split ' ', PostgreSQL::Test::Utils::slurp_file('/proc/uptime'))[0]; }
my $library = Dbops::fault_library('clock_offset');
sub start_machine
{
	my ($seconds) = @_;
	$boots++;
	put($boot_file, "boot-$boots\n");
	put($offset_file, pack('qq', $seconds, int uptime()));
	start_server();
	return;
}
sub start_server
{
	local $ENV{LD_PRELOAD} = $library;
	local $ENV{CLOCK_OFFSET_FILE} = $offset_file;
	local $ENV{BOOT_ID_FILE} = $boot_file;
	$node->start;
	return;
}
sub noted { return -e $node->data_dir . '/dbops.clock' && PostgreSQL::Test::Utils::slurp_file($node->data_dir . '/dbops.clock') =~ /^boot-$boots /m; }
sub wait_noted
{
	# The launcher does it first of all; it is asked for what comes after that.
	ok(Dbops::wait_for($node, 'SELECT true FROM pg_stat_activity WHERE backend_type = \'dbops launcher\'', 't'), 'the launcher is there');
	for (1 .. 1000) { last if noted(); Time::HiRes::usleep(20_000); }
	ok(noted(), 'the clock is noted');
	return;
}
sub sql { return Dbops::value($node, $_[0]); }
my $day = 86_400;

start_machine(0);
Dbops::create_extension($node);
wait_noted();
sql(q{CREATE TABLE t (id int PRIMARY KEY, at timestamptz); CREATE INDEX ON t (at); INSERT INTO t SELECT i, now() + interval '12 hours' - i * interval '1 day' FROM generate_series(1, 100) i;
	CREATE TABLE s (id int PRIMARY KEY); INSERT INTO s SELECT generate_series(1, 100); SELECT dbops.soft_delete_enable('s', grace => '30 days', purge_schedule => NULL);
	SELECT dbops.soft_delete('s', 1)});
my $rule = sql(q{SELECT rule FROM dbops.retain('t', 'at', '50 days', 'at 2100-01-01 00:00', max_share => NULL)});
sub run_rule
{
	my $job = sql("SELECT dbops.run_retention($rule)");
	return 'waits' if $job eq '';
	return Dbops::wait_job($node, $job);
}
sub left { return sql('SELECT count(*) FROM t') . '|' . sql('SELECT count(*) FROM s'); }
sub waits_for { return sql("SELECT waiting_for FROM dbops.retention_status WHERE rule = $rule"); }
is(run_rule(), 'succeeded', 'a rule is run');
sql("CALL dbops.purge('s')");
is(left(), '50|100', '... and deletes what has expired');

# --- a clock that is 40 days ahead when the machine comes up --------------------------------------------------------------------
$node->stop;
start_machine(40 * $day);
is(run_rule(), 'waits', 'by a clock that has leapt, a run waits');
like(waits_for(), qr/the server was down for 9[56]\d hours when the machine was started again, or the clock was set forward/, '... and says why');
sql("CALL dbops.purge('s')");
is(left(), '50|100', 'and nothing goes, purges neither');
wait_noted();
# ... whether the server is started again, or the machine
$node->stop;
start_server();
is(run_rule(), 'waits', 'restarted, it waits as well');
$node->stop('immediate');
start_machine(40 * $day);
wait_noted();
is(run_rule(), 'waits', '... and after a crash of the machine');
sql("CALL dbops.purge('s')");
is(left(), '50|100', 'nothing has gone');

# --- it is put right: by itself, nothing has to be said --------------------------------------------------------------------------
$node->stop;
start_machine(0);
is(run_rule(), 'succeeded', 'with the clock put right, the rule goes on');
sql("CALL dbops.purge('s')");
is(left(), '50|100', '... and keeps what is to be kept');
is(waits_for(), '', '... and waits for nothing');

# --- a night without the server ----------------------------------------------------------------------------------------------------
wait_noted();
$node->stop;
start_machine(10 * 3600);
is(run_rule(), 'succeeded', 'off for some hours');
is(left(), '50|100', '... nothing has expired');

# --- a month without it, and somebody says so ------------------------------------------------------------------------------------
wait_noted();
$node->stop;
start_machine(31 * $day);
is(run_rule(), 'waits', 'off for a month, a run waits');
sql("CALL dbops.purge('s')");
is(left(), '50|100', '... and so does a purge');
sql("SELECT dbops.confirm_retention($rule); SELECT dbops.confirm_purge('s')");
is(run_rule(), 'succeeded', 'confirmed, it goes on');
sql("CALL dbops.purge('s')");
is(left(), '19|99', '... and deletes what has expired meanwhile');

# --- without a word, after the grace period ---------------------------------------------------------------------------------------
wait_noted();
$node->stop;
start_machine(41 * $day);
is(run_rule(), 'waits', 'again off for days');
sql("UPDATE dbops.retention_rule SET doubt_since = doubt_since - restore_grace");
is(run_rule(), 'succeeded', 'when its grace period is over, it goes on by itself');
is(left(), '9|99', '... and deletes what has expired');
$node->stop;
done_testing();
