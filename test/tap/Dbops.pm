# What the tests of whole servers share. Needs the environment that test/run-tests.sh gives.
#
#   use Dbops;
#   my $node = Dbops::node('main');
#   my $job = Dbops::backfill($node, q{target => 't', assignments => 'b = a', condition => 'b IS NULL'});
#   is(Dbops::wait_job($node, $job), 'succeeded', 'it ends');
package Dbops;

use strict;
use warnings;

use File::Basename ();
use File::Path ();
use IPC::Run ();

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC sleep time);

# A started server with dbops preloaded and, in database postgres, created.
#   conf => text         added to postgresql.conf
#   init => [ ... ]      arguments of PostgreSQL::Test::Cluster->init, e.g. [ allows_streaming => 1 ]
#   preload => 0         without shared_preload_libraries: no launcher
#   start => 0           leaves it stopped and without the extension
#   extension => 0       started, without the extension
sub node
{
	my ($name, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(@{ $options{init} // [] });
	$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n") unless $options{preload} // 1;
	$node->append_conf('postgresql.conf', $options{conf}) if defined $options{conf};
	return $node unless $options{start} // 1;
	$node->start;
	create_extension($node) if $options{extension} // 1;
	return $node;
}

sub create_extension
{
	my ($node, $database) = @_;
	$node->safe_psql($database // 'postgres', 'CREATE EXTENSION dbops');
	return;
}

# A library for shared_preload_libraries that makes faults, from NAME.c beside the tests; the path of it.
sub fault_library
{
	my ($name) = @_;
	my $include = `pg_config --includedir-server`;
	chomp $include;
	my $library = PostgreSQL::Test::Utils::tempdir() . "/$name.so";
	system('cc', '-shared', '-fPIC', '-O1', "-I$include", '-D_GNU_SOURCE', '-DPGDLLEXPORT=__attribute__((visibility("default")))',
		'-o', $library, File::Basename::dirname(__FILE__) . "/$name.c") == 0 or die "cc $name.c";
	return $library;
}

# The result of one statement of one value, by default in database postgres.
sub value
{
	my ($node, $sql, $database) = @_;
	return $node->safe_psql($database // 'postgres', $sql);
}

# The same of a server that may not be there: undefined when it gives no answer.
sub ask
{
	my ($node, $sql, $database) = @_;
	my ($out, $err) = ('', '');
	# By an argument: writing to a psql that has already failed to connect would end the test.
	IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($database // 'postgres'), '-c', $sql ], '<', \undef, '>', \$out, '2>', \$err)
	  or return;
	chomp $out;
	return $out;
}

# A directory with these files, by name; returns it.
sub directory
{
	my ($path, %files) = @_;
	File::Path::make_path($path);
	for my $name (keys %files)
	{
		open my $handle, '>:raw', "$path/$name" or die "$path/$name: $!";
		print $handle $files{$name};
		close $handle;
	}
	return $path;
}

# The command dbops with these arguments, in database postgres: its status, what it has printed, and its errors.
sub cli
{
	my ($node, @arguments) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ $ENV{DBOPS_CLI}, '--dbname', $node->connstr('postgres'), @arguments ], '<', \undef, '>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}

# The same, to go on beside the test: with output and errors in {out}. To be ended with finish_cli.
sub start_cli
{
	my ($node, @arguments) = @_;
	my $command = { out => '' };
	$command->{run} = IPC::Run::start([ $ENV{DBOPS_CLI}, '--dbname', $node->connstr('postgres'), @arguments ],
		'<', \undef, '>&', \$command->{out}, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return $command;
}

# Waits until such a command has said something, or has ended; whether it has.
sub says
{
	my ($command, $what) = @_;
	$command->{run}->pump until $command->{out} =~ $what || !$command->{run}->pumpable;
	return $command->{out} =~ $what;
}

# Waits for its end: its status, and what it has said.
sub finish_cli
{
	my ($command) = @_;
	$command->{run}->finish;
	return ($? >> 8, $command->{out});
}

# A job of dbops.backfill or batch_delete with these SQL arguments; returns its id.
sub backfill     { my ($node, $arguments, $database) = @_; return value($node, "SELECT dbops.backfill($arguments)", $database); }
sub batch_delete { my ($node, $arguments, $database) = @_; return value($node, "SELECT dbops.batch_delete($arguments)", $database); }

sub job_state
{
	my ($node, $job, $database) = @_;
	return value($node, "SELECT state FROM dbops.jobs WHERE job_id = $job", $database);
}

# Waits until the query gives the answer; true when it did within the time (seconds).
sub wait_for
{
	my ($node, $sql, $answer, $timeout, $database) = @_;
	my $end = clock_gettime(CLOCK_MONOTONIC) + ($timeout // $PostgreSQL::Test::Utils::timeout_default);
	my $got;
	for (my $over = 0;; sleep 0.05)
	{
		$got = value($node, $sql, $database);
		return 1 if $got eq $answer;
		last if $over;
		$over = clock_gettime(CLOCK_MONOTONIC) > $end;    # looks once more
	}
	diag "waited in vain for '$answer', last '$got', of: $sql";
	return 0;
}

# Waits until the job is in one of the states, by default one of those that end it; returns the state that it is in then.
sub wait_job
{
	my ($node, $job, $timeout, %options) = @_;
	my %wanted = map { $_ => 1 } @{ $options{states} // [qw(succeeded failed cancelled)] };
	my $end = time() + ($timeout // $PostgreSQL::Test::Utils::timeout_default);
	my $state;
	do
	{
		$state = job_state($node, $job, $options{database});
		return $state if $wanted{$state};
		sleep 0.05;
	} while (time() < $end);
	diag "job $job is still $state:";
	diag explain_job($node, $job, $options{database});
	return $state;
}

# Text about a job, for diag.
sub explain_job
{
	my ($node, $job, $database) = @_;
	return join "\n", map { value($node, $_, $database) } (
		"SELECT state, rows_done, rows_total, last_sqlstate, last_error, last_hint FROM dbops.jobs WHERE job_id = $job",
		"SELECT waiting_for, waiting_since, strategy, pass, current_range, batches, hindrances, lock_waits, ranges_to_revisit"
		  . " FROM dbops.progress WHERE job_id = $job",
		"SELECT run_id, slice, mode, pid, outcome, rows_done, sqlstate, message FROM dbops.job_runs WHERE job_id = $job ORDER BY 1",
		"SELECT at, actor, action, from_state, to_state, reason FROM dbops.job_events WHERE job_id = $job ORDER BY event_id");
}

# Process ids of the workers that work on a job now.
sub workers
{
	my ($node, $job, $database) = @_;
	return split /\n/, value($node,
		"SELECT r.pid FROM dbops.job_runs r JOIN pg_stat_activity a USING (pid)"
		  . " WHERE r.job_id = $job AND r.outcome = 'running' ORDER BY 1", $database);
}

sub launcher
{
	my ($node) = @_;
	return value($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'dbops launcher'");
}

# Waits until dbops has nothing left to do: no process of it but the launcher, which sleeps, and nothing wakes it for a second.
# (Asked when a busy machine has not let it run yet, it is about to: it does not sleep then.)
sub at_rest
{
	my ($node) = @_;
	my $launcher = launcher($node);
	my ($postmaster) = PostgreSQL::Test::Utils::slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
	my $asleep = sub {
		for my $pid ($launcher, $postmaster)
		{
			return '' if PostgreSQL::Test::Utils::slurp_file("/proc/$pid/status") !~ /^State:\s+S/m;
		}
		return '' if value($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('dbops dispatcher', 'dbops worker')") ne '0';
		return PostgreSQL::Test::Utils::slurp_file("/proc/$launcher/status") =~ /^voluntary_ctxt_switches:\s+(\d+)/m ? $1 : '';
	};
	my $end = clock_gettime(CLOCK_MONOTONIC) + $PostgreSQL::Test::Utils::timeout_default;
	for (my $last = ''; clock_gettime(CLOCK_MONOTONIC) < $end; sleep 1)
	{
		my $now = $asleep->();
		return 1 if $now ne '' && $now eq $last;
		$last = $now;
	}
	return 0;
}

# The history of a job as one line: "create>queued by ann, start>running by dbops, ...".
sub events
{
	my ($node, $job, $database) = @_;
	return value($node, "SELECT string_agg(action || '>' || to_state || ' by ' || actor, ', ' ORDER BY event_id)"
		  . " FROM dbops.job_events WHERE job_id = $job", $database);
}

# What the server says against a statement: "SQLSTATE: message" and its hint; empty when it has none. As that role.
sub refusal
{
	my ($node, $sql, %options) = @_;
	my ($status, $out, $err) = $node->psql($options{database} // 'postgres', $sql,
		extra_params => [ '-v', 'VERBOSITY=verbose', '-U', $options{role} // default_role() ]);
	return '' if $status == 0;
	my ($code, $message) = $err =~ /(?:ERROR|FATAL): +(\w{5}): ([^\n]*)/;
	return $err unless defined $code;
	my ($hint) = $err =~ /\nHINT: +([^\n]*)/;
	return "$code: $message" . (defined $hint ? " [$hint]" : '');
}

sub default_role { return scalar getpwuid($<); }

# The result of a statement as a role of the server.
sub value_as
{
	my ($node, $role, $sql, $database) = @_;
	return $node->safe_psql($database // 'postgres', $sql, extra_params => [ '-U', $role ]);
}

# Starts a statement in a session of its own, and comes back at once; to be ended with finish_sql.
sub start_sql
{
	my ($node, $sql, %options) = @_;
	my $session = { out => '', err => '' };
	my @command = ('psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-v', 'ON_ERROR_STOP=1', '-U', $options{role} // default_role(),
		'-d', $node->connstr($options{database} // 'postgres'), '-c', $sql);
	$session->{run} = IPC::Run::start(\@command, '<', \'', '>', \$session->{out}, '2>', \$session->{err});
	return $session;
}

# Waits for the end of such a statement: its output and what it was refused with, as above. Kills it after the time.
sub finish_sql
{
	my ($session, $timeout) = @_;
	my $end = time() + ($timeout // $PostgreSQL::Test::Utils::timeout_default);
	while ($session->{run}->pumpable && time() < $end)
	{
		$session->{run}->pump_nb;
		sleep 0.02;
	}
	if ($session->{run}->pumpable)
	{
		$session->{run}->kill_kill;
		return ('', 'not finished in time');
	}
	$session->{run}->finish;
	chomp $session->{out};
	my ($code, $message) = $session->{err} =~ /(?:ERROR|FATAL): +(\w{5}): ([^\n]*)/;
	return ($session->{out}, defined $code ? "$code: $message" : $session->{err});
}

1;
