# `make demo` on little data: to its end, and to its proof.
use strict;
use warnings;
use File::Basename ();
use IPC::Run ();
use Test::More;

my $demo = File::Basename::dirname(__FILE__) . '/../demo/demo.sh';
# 20 seconds at least: it is looked at every second, and its worker is ended at 30 and at 60 per cent.
my @command = ($demo, '--scale', $ENV{DBOPS_NIGHTLY} ? 10 : 1, '--rate', 50, '--max-rows-per-second', $ENV{DBOPS_NIGHTLY} ? 50_000 : 5_000);
my $output = '';
my $ended = IPC::Run::run(\@command, '<', \undef, '>&', \$output);
my $status = $? >> 8;
ok($ended, 'the demo ends well') or diag "status $status";
like($output, qr/^  the worker, process \d+, was ended by pg_terminate_backend\(\)$/m, 'its worker was ended');
like($output, qr/^  the worker, process \d+, was killed: kill -9\n  the server has recovered after [\d.]+ s/m, 'and killed');
like($output, qr/^  runs: lost \(\d+ rows\), .*finished \(\d+ rows\)$/m, 'more than one run has done the job');
like($output, qr/^  0 rows differ$/m, 'both columns are alike');
like($output, qr/^  [1-9]\d* transactions ran meanwhile; \d+ accounts, 0 with a wrong balance$/m, 'the balances are right');
like($output, qr/\n  every row is right; the application was cut off by the kill -9 alone\s*\z/, 'the proof is its last line') or diag $output;
done_testing;
