# Backups from SQL: as jobs, from a schedule, steered, refused; the views of what the store has.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Archive;
use Backup;
use Dbops;
use File::Path ();
use File::Temp ();
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $store = Archive::store('file');
my $node = Archive::primary('origin', $store, init => [ '--data-checksums', '--wal-segsize=1', '--encoding=UTF8', '--no-locale' ], conf => "restart_after_crash = on\n");
$node->safe_psql('postgres', q{
	CREATE TABLE account (id int PRIMARY KEY, note text);
	INSERT INTO account SELECT g, repeat(md5(g::text), 10) FROM generate_series(1, 60000) g;
	CREATE ROLE operator LOGIN IN ROLE dbops_admin;
	CREATE ROLE watcher LOGIN IN ROLE dbops_monitor;
	CREATE ROLE stranger LOGIN;
	CREATE ROLE former LOGIN IN ROLE dbops_admin;
	CHECKPOINT;
});

sub error_of { my ($job) = @_; return Dbops::value($node, "SELECT last_sqlstate || ' ' || last_error FROM dbops.jobs WHERE job_id = $job"); }
sub list { return JSON::PP::decode_json(Backup::dbops('list', '--json', Backup::store_options($store))->{out}); }
# The server keeps no process in backup mode: the next backup of the same worker would be refused.
sub no_backup_mode
{
	my ($what) = @_;
	return is(Dbops::value($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'dbops worker'}), 0, $what)
	  if Dbops::wait_for($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'dbops worker'}, 0);
	return fail($what);
}

# --- a job ------------------------------------------------------------------------------------------------------------
my $job = Dbops::value($node, q{SELECT dbops.backup(label => 'the first, é', annotations => '{"ticket": "OPS-12", "n": 3}')});
is(Dbops::wait_job($node, $job), 'succeeded', 'a backup from SQL') or diag Dbops::explain_job($node, $job);
is(Dbops::events($node, $job), 'create>queued by ' . Dbops::default_role() . ', start>running by dbops, finish>succeeded by dbops', 'its history');
my ($first) = @{ list() };
is("$first->{state} $first->{user_label} $first->{annotations}{ticket} $first->{annotations}{n}", "ok the first, \x{e9} OPS-12 3", 'the command line sees it');
is(Dbops::value($node, "SELECT kind || ' ' || target || ' ' || (spec ->> 'backup') FROM dbops.jobs WHERE job_id = $job"), "backup the server $first->{label}", 'the job names it');
is(Dbops::value($node, "SELECT unit || ' ' || (rows_done = rows_total) || ' ' || (rows_done = $first->{bytes}) || ' ' || percent FROM dbops.progress WHERE job_id = $job"),
	'bytes true true 100.0', 'progress is in bytes');
like(Backup::dbops('jobs', '--all', '-d', $node->connstr('postgres'))->{out}, qr/backup/, 'dbops jobs shows it');

# --- who may, and when --------------------------------------------------------------------------------------------------
like(Dbops::refusal($node, 'SELECT dbops.backup()', role => 'stranger'), qr/^42501/, 'not everybody may');
like(Dbops::refusal($node, 'SELECT dbops.backup()', role => 'watcher'), qr/^42501/, 'who may only look may not');
like(Dbops::refusal($node, "SELECT * FROM dbops.$_", role => 'stranger'), qr/^42501/, "nor look at dbops.$_") for qw(backups recovery_windows drills);
like(Dbops::refusal($node, q{SELECT dbops.backup('differential')}), qr/^22023: kind "differential"/, 'an unknown kind');
like(Dbops::refusal($node, q{SELECT dbops.backup(annotations => '[1]')}), qr/^22023: annotations/, 'annotations that are no object');
like(Dbops::refusal($node, q{SELECT dbops.backup(annotations => '{"a": {}}')}), qr/^22023: annotations/, 'or have no text');
like(Dbops::refusal($node, q{SELECT dbops.backup(threads => 0)}), qr/^22023: threads/, 'no threads');
like(Dbops::refusal($node, q{SELECT dbops.backup(max_bytes_per_second => 'nan')}), qr/^22023: max_bytes/, 'a rate that is no number');
like(Dbops::refusal($node, q{SELECT dbops.backup(max_replica_lag => '0 s')}), qr/^22023: max_replica_lag/, 'no lag at all');
like(Dbops::refusal($node, q{SELECT dbops.backup(archive_timeout => '-1 s')}), qr/^22023: archive_timeout/, 'no time');
is(Dbops::value($node, q{SELECT count(*) FROM dbops.jobs WHERE kind = 'backup'}), 1, 'what is refused makes no job');

# --- from a schedule, as a role that is no superuser ----------------------------------------------------------------------
Dbops::value_as($node, 'operator', q{SELECT dbops.schedule('nightly', '0 3 * * *', 'SELECT dbops.backup(label => ''nightly'')'); SELECT dbops.run_now('nightly')});
ok(Dbops::wait_for($node, q{SELECT count(*) FROM dbops.jobs WHERE kind = 'backup' AND owner = 'operator' AND state = 'succeeded'}, 1), 'a schedule of a member of dbops_admin takes one')
  or diag Dbops::value($node, q{SELECT jsonb_agg(j) FROM dbops.jobs j}) . Dbops::value($node, q{SELECT jsonb_agg(j) FROM dbops.job_runs j});
is(scalar(my @ok = grep { $_->{state} eq 'ok' } @{ list() }), 2, 'which is in the store');
Dbops::value($node, q{SELECT dbops.unschedule('nightly')});

# Who had the right when the job was made, and has lost it: no backup.
$node->safe_psql('postgres', q{ALTER SYSTEM SET dbops.max_workers = 0; SELECT pg_reload_conf()});
$job = Dbops::value_as($node, 'former', 'SELECT dbops.backup()');
$node->safe_psql('postgres', q{REVOKE dbops_admin FROM former; ALTER SYSTEM RESET dbops.max_workers; SELECT pg_reload_conf()});
Dbops::ask($node, "SELECT dbops.resume($job)");    # unless it was quicker
is(Dbops::wait_job($node, $job), 'failed', 'a role that has lost the right');
like(error_of($job), qr/^42501/, 'and it says why');

# --- steering -----------------------------------------------------------------------------------------------------------
my $before = @{ list() };
$job = Dbops::value($node, q{SELECT dbops.backup('full', max_bytes_per_second => 2000000)});
ok(Dbops::wait_for($node, "SELECT rows_done > 3000000 AND rows_per_second > 0 AND eta > '0' FROM dbops.progress WHERE job_id = $job", 't'), 'it shows how far it is')
  or diag Dbops::explain_job($node, $job);
like(Dbops::refusal($node, 'SELECT dbops.backup()'), qr/^55006: a backup is running already: job $job/, 'one at a time');
is(Backup::dbops('backup', '-d', $node->connstr('postgres'), Backup::store_options($store))->{status}, 2, 'nor does the command line take one meanwhile');
is(Dbops::value($node, "SELECT dbops.pause($job)"), 'paused', 'pause');
no_backup_mode('nobody works on it');
is(Dbops::value($node, "SELECT outcome FROM dbops.job_runs WHERE job_id = $job"), 'stopped', 'its run has ended');
like(Dbops::refusal($node, 'SELECT dbops.backup()'), qr/^55006: a backup is paused already/, 'it still counts');
is(scalar(@{ list() }), $before + 1, 'what it has begun is seen');
Dbops::value($node, "SELECT dbops.resume($job)");
ok(Dbops::wait_for($node, "SELECT rows_done > 1000000 FROM dbops.progress WHERE job_id = $job AND state = 'running'", 't'), 'it goes on');
is(Dbops::value($node, "SELECT dbops.cancel($job)"), 'cancelled', 'cancel');
no_backup_mode('nobody works on it');
$job = Dbops::value($node, 'SELECT dbops.backup()');
is(Dbops::wait_job($node, $job), 'succeeded', 'the next one is taken') or diag Dbops::explain_job($node, $job);

# --- the archiver cannot follow -------------------------------------------------------------------------------------------
my $archiver = Dbops::value($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'archiver'});
kill 'STOP', $archiver;
$node->safe_psql('postgres', "INSERT INTO account VALUES (-$_, 'x'); SELECT pg_switch_wal()") for 1 .. 3;
$job = Dbops::value($node, q{SELECT dbops.backup(max_archive_backlog => 1, max_bytes_per_second => 8000000)});
ok(Dbops::wait_for($node, "SELECT waiting_for LIKE '%archive backlog%' FROM dbops.progress WHERE job_id = $job", 't'), 'it waits for the archiver')
  or diag Dbops::explain_job($node, $job);
kill 'CONT', $archiver;
is(Dbops::wait_job($node, $job), 'succeeded', 'and goes on when that has followed') or diag Dbops::explain_job($node, $job);

# --- the worker is killed: the server restarts, and the job is done again ---------------------------------------------------
$job = Dbops::value($node, q{SELECT dbops.backup('full', max_bytes_per_second => 8000000)});
ok(Dbops::wait_for($node, "SELECT rows_done > 1000000 FROM dbops.progress WHERE job_id = $job", 't'), 'it works');
my ($worker) = Dbops::workers($node, $job);
kill 'KILL', $worker or die 'nobody works on it';
# Until the server has seen it; then it restarts.
for (1 .. 1800) { last unless kill 0, $worker; sleep 0.1; }
for (1 .. 1800) { last if defined Dbops::ask($node, 'SELECT 1'); sleep 0.1; }
is(Dbops::wait_job($node, $job), 'succeeded', 'after a kill -9 of its worker it is done again') or diag Dbops::explain_job($node, $job);
is(Dbops::value($node, "SELECT string_agg(outcome, ' ' ORDER BY run_id) FROM dbops.job_runs WHERE job_id = $job"), 'lost finished', 'and the first run is lost');

# --- in a session -------------------------------------------------------------------------------------------------------------
$node->safe_psql('postgres', q{ALTER SYSTEM SET dbops.max_workers = 0; SELECT pg_reload_conf()});
$job = Dbops::value($node, q{SELECT dbops.backup(label => 'the last')});
is(Dbops::refusal($node, "CALL dbops.run($job)"), '', 'CALL dbops.run()');
is(Dbops::job_state($node, $job), 'succeeded', 'takes one too');
$node->safe_psql('postgres', q{ALTER SYSTEM RESET dbops.max_workers; SELECT pg_reload_conf()});

# --- what the views say ---------------------------------------------------------------------------------------------------------
my $list = list();
is(Dbops::value($node, q{SELECT string_agg(backup || ' ' || state, ', ' ORDER BY backup) FROM dbops.backups}),
	join(', ', map { "$_->{label} $_->{state}" } @$list), 'dbops.backups has what dbops list has');
my $row = Dbops::value_as($node, 'watcher', qq{SELECT label, annotations, base IS NULL, started_at <= finished_at, duration >= '0', timeline, start_lsn < stop_lsn,
	server_version = current_setting('server_version_num')::int, page_checksums, files = $first->{files}, bytes = $first->{bytes}, new_blocks = $first->{new_blocks},
	new_bytes = $first->{new_bytes}, stored_bytes = $first->{stored_bytes}, damaged_blocks, verified_at, drilled_at, problem FROM dbops.backups WHERE backup = '$first->{label}'});
is($row, "the first, é|{\"n\": \"3\", \"ticket\": \"OPS-12\"}|t|t|t|1|t|t|t|t|t|t|t|t|0|||", 'a member of dbops_monitor sees all of it');
is(Backup::dbops('verify', Backup::store_options($store))->{status}, 0, 'verification');
is(Dbops::value($node, q{SELECT count(*) FROM dbops.backups WHERE state = 'ok' AND verified_at IS NULL OR deeply_verified_at IS NOT NULL}), 0, 'shows in the view');
is(Backup::dbops('verify', '--deep', '-b', $first->{label}, Backup::store_options($store))->{status}, 0, 'a deep one of one backup');
is(Dbops::value($node, q{SELECT string_agg(backup, ' ') FROM dbops.backups WHERE deeply_verified_at IS NOT NULL}), $first->{label}, 'shows as well');
Archive::wait_durable($node);
is(Dbops::value_as($node, 'watcher', qq{SELECT timeline, backups, first_backup = '$first->{label}', from_lsn = '$first->{stop_lsn}', to_lsn >= '$list->[-1]{stop_lsn}',
	from_time <= to_time, gap_until FROM dbops.recovery_windows}), join('|', 1, scalar(grep { $_->{state} eq 'ok' } @$list), 't', 't', 't', 't', ''), 'one recovery window');

my $scratch = File::Temp::tempdir(CLEANUP => 1);
my @drill = ('drill', '--json', '--role', Dbops::default_role(), '--scratch', $scratch, '-b', $first->{label}, Backup::store_options($store));
append_to_file("$scratch/check.sql", 'SELECT 1 / (count(*) - count(*)) FROM account');
is(Backup::dbops(@drill)->{status}, 0, 'a drill');
is(Backup::dbops(@drill, '--check-sql', "$scratch/check.sql")->{status}, 2, 'and one that fails');
is(Dbops::value_as($node, 'watcher', q{SELECT string_agg(succeeded || ' ' || (rto_seconds > 0) || ' ' || (recovered_to IS NOT NULL) || ' ' || (SELECT string_agg(k, '+' ORDER BY k) FROM jsonb_object_keys(phases) k)
	|| ' ' || coalesce(substr(failure, 1, 9), '-'), ', ' ORDER BY at, succeeded DESC) FROM dbops.drills}), 'true true true amcheck+fetch+open+replay+visibility -, false true true amcheck+fetch+open+replay+visibility the check', 'dbops.drills has both');
is(Dbops::value($node, q{SELECT string_agg(backup, ' ') FROM dbops.backups WHERE drilled_at IS NOT NULL}), $first->{label}, 'the good one counts');

is(Dbops::value_as($node, 'watcher', q{SELECT string_agg(check_name || ' ' || ok, ', ') FROM dbops.check_backups()}),
	'last backup true, last verification true, last drill true, corrupt pages true, damaged backups true', 'dbops.check_backups is content');
is(Dbops::value_as($node, 'watcher', q{SELECT string_agg(check_name || ' ' || (hint IS NOT NULL), ', ') FROM dbops.check_backups('0 s', NULL, '0 s') WHERE NOT ok}),
	'last backup true, last drill true', 'or says what is too long ago');
like(Dbops::refusal($node, 'SELECT * FROM dbops.check_backups()', role => 'stranger'), qr/^42501/, 'not to everybody');

# Pins, which "dbops pin" makes.
is(Dbops::value($node, q{SELECT count(*) FROM dbops.backups WHERE pinned OR pin_reason IS NOT NULL}), 0, 'nothing is pinned');
is(Backup::dbops('pin', $first->{label}, '--reason', 'audit', Backup::store_options($store))->{status}, 0, 'pin');
is(Dbops::value_as($node, 'watcher', q{SELECT string_agg(backup || ' ' || pin_reason, ', ') FROM dbops.backups WHERE pinned}), "$first->{label} audit", 'the view shows it');
is(join(' ', map { $_->{label} } grep { $_->{pinned} } @{ list() }), $first->{label}, 'and the list');
is(Backup::dbops('unpin', $first->{label}, Backup::store_options($store))->{status}, 0, 'unpin');
is(Dbops::value($node, q{SELECT count(*) FROM dbops.backups WHERE pinned}), 0, 'it is seen as well');
is((list())->[0]{drilled_at} // '', Dbops::value($node, qq{SELECT to_char(drilled_at AT TIME ZONE 'UTC', 'YYYYMMDD"T"HH24MISS"Z"') FROM dbops.backups WHERE backup = '$first->{label}'}),
	'the list has what the view has of drills');

# A gap in the WAL ends the window.
my ($missing) = (grep { /\.zst$/ } Backup::objects($store, 'wal'))[0];
my $tail = Dbops::value($node, q{SELECT pg_walfile_name(start_lsn) FROM dbops.backups WHERE label = 'the last'});
my @segments = grep { m{/([0-9A-F]{24})\.zst$} && $1 lt $tail } Backup::objects($store, 'wal');
unlink $segments[-1] or die;
File::Path::remove_tree($segments[-1] =~ s/\.zst$//r);    # the pieces, which are all of it when the archiver was slow
is(Dbops::value($node, q{SELECT string_agg((gap_until IS NOT NULL)::text || ' ' || (last_backup = (SELECT backup FROM dbops.backups WHERE label = 'the last'))::text, ', ' ORDER BY from_lsn) FROM dbops.recovery_windows}),
	'true false, false true', 'WAL that is missing divides the window');
my $verify = Backup::dbops('verify', '--gap-time', 0, Backup::store_options($store));
is($verify->{status}, 1, 'a verification finds the gap');
sub windows { return Dbops::value($node, q{SELECT string_agg((gap_until IS NOT NULL) || ' ' || backups || ' ' || to_lsn, ', ' ORDER BY from_lsn) FROM dbops.recovery_windows}) =~ s/true/t/gr =~ s/false/f/gr; }
my ($before, $listed);    # both at a moment at which no WAL was stored
for (1 .. 100)
{
	$before = windows();
	$listed = join(', ', map { (defined $_->{gap_until} ? 't' : 'f') . " $_->{backups} $_->{to_lsn}" } @{ JSON::PP::decode_json(Backup::dbops('list', '--windows', '--json', Backup::store_options($store))->{out}) });
	last if windows() eq $before;
}
is($listed, $before, 'the list of windows is the same');
like($verify->{out}, qr/^WAL: is missing from \S+ to \S+ of timeline 1/m, 'and names it');

# --- it restores ----------------------------------------------------------------------------------------------------------------
my $dump = Archive::dump_of($node);
my $copy = Backup::restored('copy', $store);
Archive::is_same_content($copy, $dump, 'the restored server equals the source');
Archive::is_sound($copy, 'and is sound');
$copy->stop;
$copy->clean_node;

# --- a standby, and servers that do not archive -----------------------------------------------------------------------------------
Archive::base_backup($node, 'b');
my $standby = Archive::restore('standby', $node, 'b', $store, standby => 1, archive => '', conf => "primary_conninfo = '" . $node->connstr . "'\n");
like(Dbops::refusal($standby, 'SELECT dbops.backup()'), qr/^55000: the server is a standby.*primary\.\]/, 'refused on a standby');
is(Dbops::value($standby, 'SELECT count(*) > 0 FROM dbops.backups'), 't', 'which may look');

# A backup waits for a standby that cannot follow.
ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'}, 1), 'the standby streams');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
ok(Dbops::wait_for($standby, 'SELECT pg_get_wal_replay_pause_state()', 'paused'), 'and is held');
$node->safe_psql('postgres', q{INSERT INTO account VALUES (-90, 'x')});
$job = Dbops::value($node, q{SELECT dbops.backup(max_replica_lag => '1 s', max_bytes_per_second => 4000000)});
ok(Dbops::wait_for($node, "SELECT waiting_for LIKE '%replica lag%' FROM dbops.progress WHERE job_id = $job", 't'), 'a backup waits for a standby')
  or diag Dbops::explain_job($node, $job);
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
is(Dbops::wait_job($node, $job), 'succeeded', 'and goes on when that has followed') or diag Dbops::explain_job($node, $job);
$standby->stop;

# A clone has the system identifier and the timeline of its origin, whose WAL must not be taken for its own.
$node->stop;
my $clone = PostgreSQL::Test::Cluster->new('clone');
system('mkdir', '-p', $clone->basedir) == 0 && system('cp', '-a', $node->data_dir, $clone->data_dir) == 0 or die;
$clone->append_conf('postgresql.conf', "port = " . $clone->port . "\nunix_socket_directories = '" . $clone->host . "'\n");
$node->start;
$node->safe_psql('postgres', "INSERT INTO account VALUES (-100 - $_, 'x'); SELECT pg_switch_wal()") for 1 .. 8;
Archive::wait_archived($node);
$clone->start;
my $run = Backup::dbops('backup', '-d', $clone->connstr('postgres'), '--archive-timeout', 5, Backup::store_options($store));
is($run->{status}, 2, 'a backup of a clone has no WAL of its own');
like($run->{err}, qr/belongs to/, 'and it says whose that is');
$job = Dbops::value($clone, q{SELECT dbops.backup(archive_timeout => '5 s')});
is(Dbops::wait_job($clone, $job), 'failed', 'nor one from SQL');
$clone->stop;

$node->safe_psql('postgres', q{ALTER SYSTEM SET archive_library = ''; SELECT pg_reload_conf()});
like(Dbops::refusal($node, 'SELECT pg_sleep(0.5), dbops.backup()'), qr/^55000: this server does not archive/, 'refused without archiving');
$node->safe_psql('postgres', q{ALTER SYSTEM RESET archive_library; ALTER SYSTEM SET dbops.store = ''; SELECT pg_reload_conf()});
like(Dbops::refusal($node, 'SELECT pg_sleep(0.5), dbops.backup()'), qr/^55000: dbops.store is not set/, 'and without a store');
is(Dbops::value($node, 'SELECT count(*) FROM dbops.backups'), 0, 'of which there is nothing to see');
$node->stop;

done_testing();
