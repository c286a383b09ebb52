# What the tests of backups share: dbops backup and restore as commands, and servers made from what they wrote.
package Backup;

use strict;
use warnings;

use File::Basename ();
use File::Path ();
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Archive;
use Dbops;

# Runs the command line; returns { status, out, err }.
sub dbops
{
	my (@arguments) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ $ENV{DBOPS_CLI}, @arguments ], '<', \undef, '>', \$out, '2>', \$err);
	return { status => $? >> 8, signal => $? & 127, out => $out, err => $err };
}

# Options that name a store.
sub store_options
{
	my ($store, %options) = @_;
	my @words = ('--store', $store->{url});
	push @words, '--credentials-file', $store->{credentials} if defined $store->{credentials};
	push @words, '--key-file', $options{key_file} if defined $options{key_file};
	return @words;
}

# A backup that must succeed; returns what --json says of it.
sub take
{
	my ($node, $store, %options) = @_;
	my $run = dbops('backup', '-d', $node->connstr('postgres'), '--json', store_options($store, %options), @{ $options{arguments} // [] });
	is($run->{status}, $options{status} // 0, $options{what} // 'a backup') or diag $run->{err};
	return if $run->{out} eq '';
	my $result = JSON::PP::decode_json($run->{out});
	$result->{messages} = $run->{err};
	return $result;
}

# Restores into the directory of a new server, which is not started; returns it.
#   arguments => [...]: of dbops restore; node => the one of an earlier try; status: what is expected
sub restore
{
	my ($name, $store, %options) = @_;
	my $node = $options{node} // PostgreSQL::Test::Cluster->new($name);
	File::Path::make_path($node->basedir);
	my $run = dbops('restore', '-D', $node->data_dir, store_options($store, %options), @{ $options{arguments} // [] });
	is($run->{status}, $options{status} // 0, "$name: restore") or diag $run->{err};
	$node->{restore_messages} = $run->{err} . $run->{out};
	return $node if $run->{status} != 0;
	$node->append_conf('postgresql.conf',
		sprintf("\nport = %d\nlisten_addresses = ''\nunix_socket_directories = '%s'\n", $node->port, $node->host));
	return $node;
}

# The same, started, and recovery has ended.
sub restored
{
	my ($name, $store, %options) = @_;
	my $node = restore($name, $store, %options);
	$node->start;
	Archive::wait_promoted($node) or diag slurp_file($node->logfile);
	return $node;
}

# Checks the page checksums of a server, which is stopped for it.
sub checksums_are_right
{
	my ($node, $what) = @_;
	$node->stop;
	my ($out, $err) = ('', '');
	my $ok = IPC::Run::run([ 'pg_checksums', '--check', '-D', $node->data_dir ], '<', \undef, '>', \$out, '2>', \$err);
	return ok($ok, $what) || diag $out . $err;
}

# Paths of the objects of the cluster below `part`, e.g. "pack"; for a directory.
sub objects
{
	my ($store, $part) = @_;
	return sort grep { -f } glob("$store->{directory}/*/$part/*"), glob("$store->{directory}/*/$part/*/*"), glob("$store->{directory}/*/$part/*/*/*");
}

1;
