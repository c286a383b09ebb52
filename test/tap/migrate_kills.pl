# dbops migrate, killed at each statement of a migration: its session, its client, the server. The next run goes on, and
# each statement takes effect once.
use strict;
use warnings;
use IPC::Run qw(start);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);
use Dbops;

my $node = Dbops::node('migrate_kills', conf => "restart_after_crash = on\nautovacuum = off\n");
my $place = PostgreSQL::Test::Utils::tempdir();

my @at = 1 .. 6;    # the statement at which a migration is killed; each in a database of its own, as an index build waits for snapshots

sub value { my ($at, $sql) = @_; return $node->safe_psql("at_$at", $sql); }
sub migrate
{
	my ($at, $name) = @_;
	my $run = { out => '' };
	$run->{run} = start([ $ENV{DBOPS_CLI}, '--dbname', $node->connstr("at_$at"), 'migrate', '--dir', "$place/$name", '--project', $name, '--no-lint', '--lock-timeout', '600', '--wait-for-transactions', '0' ],
		'<', \undef, '>&', \$run->{out}, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return $run;
}
sub finish
{
	my ($run) = @_;
	$run->{run}->finish;
	return ($? >> 8);
}
# After a crash: psql() would die of EPIPE.
sub wait_for_server
{
	for (1 .. 1200)
	{
		return 1 if defined Dbops::ask($node, 'SELECT 1');
		sleep 0.1;
	}
	return 0;
}

# Each statement stops at a gate of its number.
$node->safe_psql('postgres', 'CREATE DATABASE origin');
Dbops::create_extension($node, 'origin');
$node->safe_psql('origin', q{
	CREATE FUNCTION gate(number int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$BEGIN PERFORM pg_advisory_xact_lock(number); RETURN number; END$$;
	CREATE FUNCTION gate_of_row() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM public.gate(NEW.x); RETURN NEW; END$$;
});
Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_activity WHERE datname = 'origin'", 0);
$node->safe_psql('postgres', "CREATE DATABASE at_$_ TEMPLATE origin") for @at;

my $waiting = q{FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '/* dbops %'};
for my $victim ('client', 'session', 'server')
{
	Dbops::directory("$place/$victim", 'V1__x.sql' => "INSERT INTO ${victim}_log VALUES (1);\nCREATE INDEX CONCURRENTLY ${victim}_x ON $victim (gate(2), x);\nINSERT INTO ${victim}_log VALUES (3);\nINSERT INTO ${victim}_log VALUES (4);\nVACUUM ${victim}_v;\nINSERT INTO ${victim}_log VALUES (6);\n");
	my (@keepers, @runs);
	for my $at (@at)
	{
		value($at, "CREATE TABLE $victim (x int); INSERT INTO $victim VALUES (1); CREATE TABLE ${victim}_v (x int); CREATE TABLE ${victim}_log (x int); CREATE TRIGGER g BEFORE INSERT ON ${victim}_log FOR EACH ROW EXECUTE FUNCTION gate_of_row()");
		push @keepers, Dbops::start_sql($node, "SET application_name = 'keeper'; BEGIN; " . ($at == 5 ? "LOCK ${victim}_v IN SHARE UPDATE EXCLUSIVE MODE" : "SELECT gate($at)") . '; SELECT pg_sleep(1000)', database => "at_$at");
	}
	ok(Dbops::wait_for($node, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'keeper' AND wait_event = 'PgSleep'", scalar @at), "$victim: the gates are closed");
	@runs = map { migrate($_, $victim) } @at;
	ok(Dbops::wait_for($node, "SELECT count(*) $waiting", scalar @at), 'each migration waits at its own');
	if ($victim eq 'client')
	{
		$_->{run}->kill_kill for @runs;
		$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'keeper'");
	}
	elsif ($victim eq 'session') { kill 'KILL', split(/\n/, $node->safe_psql('postgres', "SELECT pid $waiting")); }
	else { $node->stop('immediate'); }
	Dbops::finish_sql($_) for @keepers;    # they end with the server, or were ended
	for my $run (@runs) { eval { finish($run) }; }
	$node->start if $victim eq 'server';
	ok(wait_for_server(), 'the server is there');
	my @again = map { migrate($_, $victim) } @at;
	for my $at (@at)
	{
		my $run = $again[ $at - 1 ];
		is(finish($run), 0, "$victim killed at statement $at: the next run ends it") or diag $run->{out};
		is(value($at, "SELECT string_agg(success::text, ' ') FROM dbops.migration_history WHERE project = '$victim'"), 'true', 'it is recorded once');
		is(value($at, "SELECT string_agg(state, ' ' ORDER BY statement_number) FROM dbops.migration_steps WHERE project = '$victim'"), join(' ', ('done') x @at), 'with all of its statements');
		is(value($at, "SELECT string_agg(x::text, ' ' ORDER BY x) FROM ${victim}_log"), '1 3 4 6', 'each took effect once');
		is(value($at, "SELECT string_agg(indisvalid::text, ' ') FROM pg_index WHERE indrelid = '$victim'::regclass"), 'true', 'as did the index');
	}
}
ok(Dbops::wait_for($node, q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'}, 0), 'no lock is left');
$node->stop;
done_testing();
