# Two databases and one slot between them: whoever leaves it wakes the other one, also when that was just about to say that
# it waits.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(sleep time);
use Dbops;

my $rounds = 150;
my $node = Dbops::node('databases', conf => "autovacuum = off\ndbops.max_workers = 1\ndbops.housekeeping_interval = '1d'\n");
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION dbops');
my %session;
for my $database ('postgres', 'other')
{
	$node->safe_psql($database, q{SELECT dbops.schedule('short', '@yearly', 'SELECT 1')});
	$session{$database} = $node->background_psql($database);
}
# Both at once; then each has run once more.
my ($late, $longest) = (0, 0);
for my $round (1 .. $rounds)
{
	$session{$_}->query_safe(q{SELECT dbops.run_now('short')}) for $round % 2 ? ('postgres', 'other') : ('other', 'postgres');
	my $begin = time;
	for my $database ('postgres', 'other')
	{
		my $runs = 0;
		while (($runs = $session{$database}->query_safe(q{SELECT runs FROM dbops.schedules WHERE name = 'short'})) < $round)
		{
			if (time - $begin > 60) { diag("round $round: $database waits"); $late++; last; }
			sleep 0.01;
		}
		last if $late;
	}
	my $took = time - $begin;
	$longest = $took if $took > $longest;
	last if $late;
}
note(sprintf 'the longest round took %.2f s', $longest);
is($late, 0, "$rounds times both have their turn");
$_->quit for values %session;
done_testing();
