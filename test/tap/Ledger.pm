# A load whose every commit is known afterwards: clients that insert rows (client, seq) one transaction each, and keep with
# each commit the position in WAL by which it was certainly written, and what dbops.archive_status said was durable.
#
#   my $ledger = Ledger->start($node, clients => 2, directory => $dir);
#   ...
#   $ledger->stop;
#   $ledger->durable             the farthest durable_lsn that a client has seen, as a number
#   $ledger->missing($other)     commits up to that position that another server does not have: none, or a promise is broken
#   $ledger->invented($other)    rows that no client has inserted, or with a hole before them: none
#
# The writers are processes of their own, which connect again when the server goes away.
package Ledger;

use strict;
use warnings;

use IPC::Open2 ();
use POSIX ();
use Time::HiRes qw(sleep time);

my $table = q{
	CREATE TABLE ledger (client int, seq int, filler text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp(),
	                     PRIMARY KEY (client, seq));
	CREATE INDEX ledger_filler ON ledger (filler);
};

# Position in WAL as a number.
sub number
{
	my ($lsn) = @_;
	return 0 unless defined $lsn && $lsn =~ m{^([0-9A-F]+)/([0-9A-F]+)$}i;
	return hex($1) * 2**32 + hex($2);
}

#   clients => 2       how many at once
#   pause => 0.002     seconds between the transactions of one
#   filler => 300      bytes of a row that hardly compress, which sets the rate of WAL
#   directory => ...   where the logs go
sub start
{
	my ($class, $node, %options) = @_;
	my $self = bless {
		clients => $options{clients} // 2, pause => $options{pause} // 0.002, filler => $options{filler} // 300,
		log => $options{directory} . '/ledger', pids => [] }, $class;
	$node->safe_psql('postgres', $table) if $node->safe_psql('postgres', q{SELECT to_regclass('ledger') IS NULL}) eq 't';
	for my $client (1 .. $self->{clients})
	{
		my $first = $node->safe_psql('postgres', "SELECT coalesce(max(seq), 0) + 1 FROM ledger WHERE client = $client");
		my $pid = fork() // die "fork: $!";
		if ($pid == 0)
		{
			eval { write_ledger($node->connstr('postgres'), $client, $first, $self); 1 } or warn $@;
			POSIX::_exit(0);    # nothing of the test may run here
		}
		push @{ $self->{pids} }, $pid;
	}
	return $self;
}

my $stopping = 0;

sub write_ledger
{
	my ($connection, $client, $seq, $self) = @_;
	$SIG{TERM} = sub { $stopping = 1 };
	$SIG{PIPE} = 'IGNORE';
	$ENV{PGCONNECT_TIMEOUT} = 5;
	open my $log, '>>', "$self->{log}.$client" or die $!;
	$log->autoflush(1);
	while (!$stopping)
	{
		my $pid = IPC::Open2::open2(my $from, my $to, 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $connection);
		$to->autoflush(1);
		print $to "SET client_min_messages = error; SELECT coalesce(max(seq), 0) + 1 FROM ledger WHERE client = $client;\n";
		# After a crash a commit may be there whose answer got lost.
		my $next = <$from>;
		if (defined $next && $next =~ /^(\d+)$/)
		{
			$seq = $1;
			1 while !$stopping && transaction($from, $to, $log, $client, $seq++, $self);
		}
		close $to;
		kill 'TERM', $pid;
		waitpid $pid, 0;
		sleep 0.05;
	}
	return;
}

# False when the connection is gone.
sub transaction
{
	my ($from, $to, $log, $client, $seq, $self) = @_;
	print $log "? $client $seq\n";
	print $to "INSERT INTO ledger (client, seq, filler) SELECT $client, $seq, string_agg(md5(random()::text), '')"
	  . " FROM generate_series(1, " . POSIX::ceil($self->{filler} / 32) . ");\n"
	  . "SELECT pg_current_wal_insert_lsn(), (SELECT durable_lsn FROM dbops.archive_status WHERE repository = 'primary');\n"
	  or return 0;
	my $answer = <$from>;
	return 0 unless defined $answer && $answer =~ m{^([0-9A-F/]+)\|([0-9A-F/]*)$};
	print $log "= $client $seq $1 ", ($2 eq '' ? '0/0' : $2), ' ', time(), "\n";
	sleep $self->{pause};
	return 1;
}

sub stop
{
	my ($self) = @_;
	for my $pid (splice @{ $self->{pids} }) { kill 'TERM', $pid; waitpid $pid, 0; }
	return;
}

sub DESTROY { my ($self) = @_; local $?; $self->stop; return; }

# [client, seq, lsn, durable, time] of each acknowledged commit, in the order of each client.
sub commits
{
	my ($self) = @_;
	my @commits;
	for my $client (1 .. $self->{clients})
	{
		open my $log, '<', "$self->{log}.$client" or next;
		while (<$log>)
		{
			push @commits, [ $1, $2, number($3), number($4), $5 ] if m{^= (\d+) (\d+) ([0-9A-F/]+) ([0-9A-F/]+) ([\d.]+)$};
		}
	}
	return @commits;
}

# What was sent, acknowledged or not: "client,seq" => 1.
sub sent
{
	my ($self) = @_;
	my %sent;
	for my $client (1 .. $self->{clients})
	{
		open my $log, '<', "$self->{log}.$client" or next;
		while (<$log>) { $sent{"$1,$2"} = 1 if /^\? (\d+) (\d+)$/; }
	}
	return \%sent;
}

sub durable
{
	my ($self) = @_;
	my $durable = 0;
	for my $commit ($self->commits) { $durable = $commit->[3] if $commit->[3] > $durable; }
	return $durable;
}

sub rows
{
	my ($node) = @_;
	my %rows = map { $_ => 1 } split /\n/, $node->safe_psql('postgres', q{SELECT client || ',' || seq FROM ledger});
	return \%rows;
}

# upto: another position than the durable one
sub missing
{
	my ($self, $node, $upto) = @_;
	my $rows = rows($node);
	$upto //= $self->durable;
	return grep { !$rows->{$_} } map { "$_->[0],$_->[1]" } grep { $_->[2] <= $upto } $self->commits;
}

sub invented
{
	my ($self, $node) = @_;
	my ($rows, $sent) = (rows($node), $self->sent);
	my @invented = grep { !$sent->{$_} } keys %$rows;
	# Each client's rows begin at 1 and follow each other: a transaction that was lost in the middle would be a hole.
	push @invented, map { "hole before $_" } grep { /^(\d+),(\d+)$/ && $2 > 1 && !$rows->{ "$1," . ($2 - 1) } } keys %$rows;
	return sort @invented;
}

1;
