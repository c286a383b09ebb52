# Databases that are not UTF-8: names, keys, texts and messages of a job come back byte by byte, through a worker and
# through CALL dbops.run.
use strict;
use warnings;
use Test::More;
use PostgreSQL::Test::Utils;
use Dbops;

my $node = Dbops::node('main');

# Words of that encoding; those of SQL_ASCII are of none.
my %words = (
	LATIN1    => [ "schl\xFCssel", "M\xFCller", "\xE9t\xE9", "fa\xDF" ],
	EUC_JP    => [ "\xB8\xB0", "\xC6\xFC\xCB\xDC", "\x8E\xB1\xB2\xC6", "\x8F\xB0\xA1" ],
	SQL_ASCII => [ "k\xFF\xFE", "\x80\xC3", "\xE6\x97\xA5\xF0", "\xC2\xA9\xBF" ],
	UTF8      => [ "\xE9\x8D\xB5", "M\xC3\xBCller", "\xF0\x9F\x90\x98", "\xC2\xA9" ],
);

for my $encoding (sort keys %words)
{
	my ($key, $name, $value, $odd) = @{ $words{$encoding} };
	my $db = 'db_' . lc $encoding;
	$node->safe_psql('postgres', "CREATE DATABASE $db ENCODING '$encoding' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
	Dbops::create_extension($node, $db);
	my $sql = sub { return $node->safe_psql($db, "SET search_path = \"s$odd\", public; SET client_min_messages = error; $_[0]"); };
	$sql->(qq{
		CREATE SCHEMA "s$odd";
		CREATE TABLE "t$name" ("$key" text PRIMARY KEY, n int, "v$odd" text) WITH (fillfactor = 50);
		CREATE FUNCTION "f$name"(int) RETURNS text LANGUAGE plpgsql VOLATILE AS \$\$
		  BEGIN
		    IF \$1 % 100 = 37 THEN RAISE EXCEPTION USING MESSAGE = 'bad $value', ERRCODE = '22000'; END IF;
		    RETURN '$value';
		  END \$\$;
		INSERT INTO "t$name" SELECT '$name "\\' || lpad(i::text, 5, '0'), i FROM generate_series(1, 500) i;});

	for my $mode ('worker', 'session')
	{
		my $what = "$encoding, $mode";
		my $call = qq{dbops.backfill('"t$name"', '"v$odd" = ''$value'' || n || "f$name"(n) /* $odd */', '"v$odd" IS NULL AND "$key" > ''$name''',
			strategy => 'key', max_batch_rows => 20, max_errors => 10, label => '$odd $value')};
		my $hold = $mode eq 'session' ? "UPDATE dbops.job SET not_before = now() + interval '1 hour' WHERE job_id = :job;" : '';
		my ($job) = $sql->("BEGIN; SELECT $call AS job \\gset\n$hold COMMIT; SELECT :job;") =~ /(\d+)$/;
		if ($mode eq 'worker') { is(Dbops::wait_job($node, $job, 60, database => $db), 'succeeded', "$what: the job succeeds") }
		else { is($sql->("CALL dbops.run($job); SELECT state FROM dbops.jobs WHERE job_id = $job"), 'succeeded', "$what: the job succeeds") }
		is($sql->(qq{SELECT count(*) FILTER (WHERE "v$odd" = '$value' || n || '$value'), count(*) FILTER (WHERE "v$odd" IS NULL) FROM "t$name"}),
			'495|5', "$what: the rows are right, byte by byte");
		is($sql->("SELECT row_key, message, relation FROM dbops.job_errors WHERE job_id = $job ORDER BY error_id LIMIT 1"),
			qq{($name "\\00037)|bad $value|"s$odd"."t$name"}, "$what: so are keys and messages of rows set aside");
		is($sql->("SELECT label, spec ->> 'assignments' LIKE '%/* $odd */', spec #>> '{columns,0}' FROM dbops.jobs WHERE job_id = $job"),
			"$odd $value|t|v$odd", "$what: so are the arguments");
		is($sql->(qq{SELECT length(dbops.progress.current_range::text) > 0 FROM dbops.progress WHERE job_id = $job}), 't', "$what: the place can be read");
		is($sql->(qq{UPDATE "t$name" SET n = n + 1 WHERE n % 100 = 37; SELECT dbops.retry($job, reason => '$odd')}), 'queued', "$what: it can be tried again");
		is(Dbops::wait_job($node, $job, 60, database => $db), 'succeeded', "$what: which succeeds");
		is($sql->(qq{SELECT count(*) FROM "t$name" WHERE "v$odd" IS NULL}), 0, "$what: with the rows that were set aside");
		is($sql->("SELECT reason FROM dbops.job_events WHERE job_id = $job AND action = 'retry'"), $odd, "$what: and the reason");
		$sql->(qq{UPDATE "t$name" SET "v$odd" = NULL, n = substr("$key", length("$key") - 4)::int});
	}

	is($sql->(qq{SELECT warnings[1] LIKE '%"f$name"()%' OR warnings[1] LIKE '%f$name()%' FROM dbops.backfill_preview('"t$name"', '"v$odd" = "f$name"(n)')}),
		't', "$encoding: the preview's warnings");

	# A row that is locked is put aside as a range of keys.
	my $holder = $node->background_psql($db);
	$holder->query_safe(qq{BEGIN; SELECT FROM "s$odd"."t$name" WHERE n = 250 FOR UPDATE;});
	my $job = $sql->(qq{SELECT dbops.backfill('"t$name"', '"v$odd" = ''x$value''', strategy => 'key', max_batch_rows => 50, lock_timeout => '10 ms', nice_ratio => 0, parallel => 2)});
	ok(Dbops::wait_for($node, "SELECT ranges_to_revisit > 0 OR rows_done = 500 FROM dbops.progress WHERE job_id = $job", 't', 60, $db), "$encoding: a locked row is put aside");
	$holder->query_safe('COMMIT');
	$holder->quit;
	is(Dbops::wait_job($node, $job, 60, database => $db), 'succeeded', "$encoding: and done later");
	is($sql->(qq{SELECT count(*) FROM "t$name" WHERE "v$odd" = 'x$value'}), 500, "$encoding: every row");

	for my $command ([ 'jobs', '--all', '--json' ], [ 'watch', '--once', '--json', $job ], ['jobs', '--all'])
	{
		my ($out, $err);
		ok(IPC::Run::run([ $ENV{DBOPS_CLI}, @$command, '-d', $node->connstr($db) ], '>', \$out, '2>', \$err), "$encoding: dbops @$command") or diag $err;
		like($out, qr/succeeded/, "$encoding: shows the job");
	}
}

$node->stop;
done_testing();
