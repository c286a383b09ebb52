# The clock of a running server is set: back by less than three hours, by more, and forward.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(sleep);
use Dbops;

my $offset_file = PostgreSQL::Test::Utils::tempdir() . '/clock_offset';

# In one write, as the server reads it all the time.
sub set_clock
{
	my ($seconds) = @_;
	open my $file, -e $offset_file ? '+<' : '>', $offset_file or die $!;
	syswrite $file, pack('q', $seconds);
	close $file;
	return;
}
set_clock(0);
my $node = Dbops::node('clock', start => 0, conf => "autovacuum = off\n");
{
	local $ENV{LD_PRELOAD} = Dbops::fault_library('clock_offset');
	local $ENV{CLOCK_OFFSET_FILE} = $offset_file;
	$node->start;
}
Dbops::create_extension($node);
sub sql { return Dbops::value($node, $_[0]); }
# A run for a time that the history has already is recorded with the moment at which it began.
sub twice { return sql("SELECT count(*) FROM dbops.job_runs JOIN dbops.schedules s USING (job_id) WHERE s.name = 'cron' AND scheduled_at = started_at"); }
sub runs { return sql("SELECT runs FROM dbops.schedules WHERE name = '$_[0]'"); }
sub wake { return sql(q{SELECT dbops.run_now('wake')}); }    # the launcher looks at the clock once a minute, and when it is woken

sql(q{SELECT dbops.schedule('cron', '* * * * * *', 'SELECT 1', missed => 'all', max_missed => 1000);
	SELECT dbops.schedule('interval', 'every 1 second', 'SELECT 1', missed => 'all', max_missed => 1000);
	SELECT dbops.schedule('wake', '@yearly', 'SELECT 1')});
ok(Dbops::wait_for($node, 'SELECT min(runs) > 2 FROM dbops.schedules WHERE name <> \'wake\'', 't'), 'schedules run');

# --- back by less than a minute, and paused meanwhile -----------------------------------------------------------------------
set_clock(-40);
sql(q{SELECT dbops.pause(job_id) FROM dbops.schedules WHERE name = 'cron'; SELECT dbops.resume(job_id) FROM dbops.schedules WHERE name = 'cron'});
sql(q{SELECT dbops.alter_schedule('cron', jitter => '0.1 s'); SELECT dbops.alter_schedule('cron', jitter => '0')});
# Nor does a run that had begun.
ok(Dbops::wait_for($node, "SELECT count(*) FROM dbops.job_runs JOIN dbops.schedules s USING (job_id) WHERE s.name = 'cron' AND outcome = 'running'", 0), 'cron is at rest');
my $before = runs('interval');
my $paused = runs('cron');
wake();
ok(Dbops::wait_for($node, "SELECT runs > $before + 2 FROM dbops.schedules WHERE name = 'interval'", 't'), 'back by 40 seconds: an interval goes on');
is(runs('cron'), $paused, 'cron waits, whoever has paused or altered it meanwhile');
set_clock(0);
wake();
$before = runs('cron');
ok(Dbops::wait_for($node, "SELECT runs > $before + 3 FROM dbops.schedules WHERE name = 'cron'", 't'), 'cron does when the clock has caught up');
is(twice(), 0, 'nothing twice');

# --- back by two hours --------------------------------------------------------------------------------------------------
my $shown = sql('SELECT now()');
set_clock(-7200);
is(sql("SELECT now() < '$shown'::timestamptz - interval '1 hour 50 minutes'"), 't', 'the clock is set back');
wake();
my $interval = runs('interval');
ok(Dbops::wait_for($node, "SELECT runs > $interval + 3 FROM dbops.schedules WHERE name = 'interval'", 't'), 'an interval goes on');
my $cron = runs('cron');
sleep 3;
is(runs('cron'), $cron, 'cron waits until the clock has caught up');
is(twice(), 0, 'nothing twice');
set_clock(0);
wake();
ok(Dbops::wait_for($node, "SELECT runs > $cron + 3 FROM dbops.schedules WHERE name = 'cron'", 't'), 'when it has, cron goes on');
is(twice(), 0, 'nothing twice');

# --- back by a day --------------------------------------------------------------------------------------------------------
$cron = runs('cron');
set_clock(-86_400);
wake();
ok(Dbops::wait_for($node, "SELECT runs > $cron + 3 FROM dbops.schedules WHERE name = 'cron'", 't'), 'back by a day: cron begins anew');
is(twice(), 0, 'nothing twice');
is(sql("SELECT count(*) FROM dbops.schedules WHERE state = 'queued' OR state = 'running'"), 3, 'all go on');

# --- forward --------------------------------------------------------------------------------------------------------------
sql(q{SELECT dbops.alter_schedule('cron', missed => 'once')});
my $missed = sql("SELECT missed_runs FROM dbops.schedules WHERE name = 'cron'");
$cron = runs('cron');
set_clock(-86_400 + 600);
wake();
ok(Dbops::wait_for($node, "SELECT missed_runs >= $missed + 590 FROM dbops.schedules WHERE name = 'cron'", 't'), 'forward by ten minutes: those times are missed');
ok(Dbops::wait_for($node, "SELECT runs > $cron + 2 FROM dbops.schedules WHERE name = 'cron'", 't'), 'and it goes on');
is(twice(), 0, 'nothing twice');
$node->stop;
done_testing();
