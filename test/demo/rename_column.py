"""The main job, on real data under load: rename pgbench_accounts.abalance to balance without stopping the application.

expand (add the column, a trigger that keeps both) -> dbops.backfill -> check -> the application moves over -> contract.
pgbench writes all the time; every change of a balance is also a row in pgbench_history, so at the end the balance of each
account can be proved to the last transaction. On the way the worker is ended twice: by pg_terminate_backend(), which the
application does not notice, and by kill -9, after which the server goes through crash recovery and cuts off all its sessions;
the application connects again, and the job continues from its last batch.
"""

import argparse
import json
import os
import signal
import sys
import time

from server import Load, Server, percentile

SETTINGS = """
shared_buffers = {buffers}
max_wal_size = 8GB
"""

APPLICATION = """
\\set aid random(1, 100000 * :scale)
\\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET {column} = {column} + :delta WHERE aid = :aid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 1, :aid, :delta, CURRENT_TIMESTAMP);
END;
"""

EXPAND = """
ALTER TABLE pgbench_accounts ADD COLUMN balance integer;
CREATE FUNCTION keep_both() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    NEW.balance := coalesce(NEW.balance, NEW.abalance);
    NEW.abalance := NEW.balance;
  ELSIF NEW.abalance IS DISTINCT FROM OLD.abalance THEN
    NEW.balance := NEW.abalance;
  ELSIF NEW.balance IS DISTINCT FROM OLD.balance THEN
    NEW.abalance := NEW.balance;
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER keep_both BEFORE INSERT OR UPDATE ON pgbench_accounts FOR EACH ROW EXECUTE FUNCTION keep_both();
"""

CONTRACT = """
SET lock_timeout = '2s';
BEGIN;
DROP TRIGGER keep_both ON pgbench_accounts;
DROP FUNCTION keep_both();
ALTER TABLE pgbench_accounts DROP COLUMN abalance;
COMMIT;
"""


def say(text):
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def at_top_of_queue(server, statements):
    """DDL that does not make the application wait: gives up the lock queue soon, and tries again."""
    for _ in range(20):
        try:
            return server.sql(statements)
        except RuntimeError as error:
            if "lock timeout" not in str(error):
                raise
            time.sleep(0.2)
    raise RuntimeError("no lock in 20 tries")


def bar(share, width=32):
    full = int(share * width)
    return "█" * full + "░" * (width - full)


def worker_of(server, job):
    return server.sql(f"SELECT r.pid FROM dbops.job_runs r JOIN pg_stat_activity a USING (pid)"
                      f" WHERE r.job_id = {job} AND r.outcome = 'running' LIMIT 1")


def terminate(server, job, application):
    worker = worker_of(server, job)
    if not worker:
        return None
    server.sql(f"SELECT pg_terminate_backend({worker})")
    print(f"  the worker, process {worker}, was ended by pg_terminate_backend()", flush=True)
    return application


def kill_9(server, job, application):
    """A process of the server that is killed may have damaged shared memory: the server ends all sessions and recovers."""
    worker = worker_of(server, job)
    if not worker:
        return None
    os.kill(int(worker), signal.SIGKILL)
    begin = time.time()
    print(f"  the worker, process {worker}, was killed: kill -9", flush=True)
    application.process.wait(timeout=300)
    while True:
        try:
            server.sql("SELECT 1")
            break
        except RuntimeError:
            if time.time() - begin > 300:
                raise
            time.sleep(0.1)
    print(f"  the server has recovered after {time.time() - begin:.1f} s; the application connects again", flush=True)
    return application.again()


def watch(server, job, application, seconds_between=1.0):
    """A line a second until the job has ended; ends its worker twice. The application may be another one then."""
    blows = [(0.3, terminate), (0.6, kill_9)]
    shown = time.time()
    while True:
        row = json.loads(server.sql(f"SELECT row_to_json(p) FROM dbops.progress p WHERE job_id = {job}"))
        now = time.time()
        latencies = application.latencies(shown, now)
        shown = now
        total = max(row["rows_total"] or 1, 1)
        share = 1.0 if row["state"] == "succeeded" else min(row["rows_done"] / total, 0.999)
        waiting = f"  waits for {row['waiting_for']}" if row["waiting_for"] else ""
        print(f"  {bar(share)} {share * 100:5.1f} %  {row['rows_done']:>9} rows  {row['rows_per_second'] or 0:>8.0f}/s  "
              f"{row['state']:<9}  application p99 {percentile(latencies, 0.99):6.1f} ms{waiting}", flush=True)
        if row["state"] in ("succeeded", "failed", "cancelled"):
            return row, application, len(blows)
        if blows and share > blows[0][0]:
            after = blows[0][1](server, job, application)
            if after:
                application = after
                blows.pop(0)
        time.sleep(seconds_between)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=int, default=30, help="pgbench scale: 100,000 accounts each")
    parser.add_argument("--rate", type=int, default=200, help="transactions a second of the application")
    parser.add_argument("--max-rows-per-second", type=int, help="limit of the job")
    arguments = parser.parse_args()

    say(f"A server of its own, with {arguments.scale * 100_000:,} accounts")
    server = Server("demo", SETTINGS.format(buffers="1GB" if arguments.scale >= 10 else "128MB"))
    try:
        server.run("pgbench", "-i", "-q", "-s", arguments.scale, quiet=True, stderr=-3)
        server.sql("CHECKPOINT")
        server.sql("CREATE EXTENSION dbops")
        server.wait_for_launcher()

        def application(column):
            return Load(server, f"\\set scale {arguments.scale}\n" + APPLICATION.format(column=column), arguments.rate)

        old = application("abalance")
        time.sleep(4)
        quiet = percentile(old.latencies(time.time() - 3), 0.99)
        print(f"  pgbench writes {arguments.rate} transactions a second; p99 {quiet:.1f} ms before anything happens")

        say("Expand: the new column, and a trigger that keeps both")
        at_top_of_queue(server, "SET lock_timeout = '1s'; BEGIN;" + EXPAND + "COMMIT;")
        print("  SELECT * FROM dbops.backfill_preview('pgbench_accounts', 'balance = abalance', 'balance IS NULL')")
        preview = json.loads(server.sql("SELECT row_to_json(p) FROM dbops.backfill_preview("
                                        "'pgbench_accounts', 'balance = abalance', 'balance IS NULL') p"))
        for name in ("strategy_used", "estimated_rows", "estimated_batches", "estimated_time", "locks"):
            print(f"    {name:18} {preview[name]}")

        limit = f", max_rows_per_second => {arguments.max_rows_per_second}" if arguments.max_rows_per_second else ""
        statement = f"SELECT dbops.backfill('pgbench_accounts', 'balance = abalance', 'balance IS NULL'{limit})"
        say(statement)
        size = int(server.sql("SELECT pg_total_relation_size('pgbench_accounts')"))
        job = server.sql(statement)
        done, old, not_ended = watch(server, job, old)
        if done["state"] != "succeeded":
            raise RuntimeError("the job did not succeed: " + server.sql(f"SELECT last_error FROM dbops.jobs WHERE job_id = {job}"))
        grown = int(server.sql("SELECT pg_total_relation_size('pgbench_accounts')"))
        print(f"  {done['batches']} batches, p50 {done['batch_time_p50']}, p99 {done['batch_time_p99']}; "
              f"the table grew from {size / 2**20:.0f} to {grown / 2**20:.0f} MB")
        print("  runs: " + server.sql(f"SELECT string_agg(outcome || ' (' || rows_done || ' rows)', ', ' ORDER BY run_id)"
                                      f" FROM dbops.job_runs WHERE job_id = {job}"))

        say("Check, and forbid NULL without a scan under lock")
        left = server.sql("SELECT count(*) FROM pgbench_accounts WHERE balance IS DISTINCT FROM abalance")
        print(f"  {left} rows differ")
        at_top_of_queue(server, "SET lock_timeout = '1s'; ALTER TABLE pgbench_accounts ADD CONSTRAINT balance_set CHECK (balance IS NOT NULL) NOT VALID")
        server.sql("ALTER TABLE pgbench_accounts VALIDATE CONSTRAINT balance_set")

        say("The application moves over to the new column, then contract: trigger and old column go")
        new = application("balance")
        time.sleep(2)
        old_alive = old.alive()
        old.stop()
        at_top_of_queue(server, CONTRACT)
        time.sleep(2)
        new_alive = new.alive()
        new.stop()

        say("Proof")
        wrong = server.sql("SELECT count(*) FROM pgbench_accounts a LEFT JOIN (SELECT aid, sum(delta) AS total FROM pgbench_history"
                           " GROUP BY aid) h USING (aid) WHERE a.balance IS DISTINCT FROM coalesce(h.total, 0)")
        transactions, accounts = server.sql("SELECT count(*) FROM pgbench_history;").strip(), server.sql("SELECT count(*) FROM pgbench_accounts")
        print(f"  {transactions} transactions ran meanwhile; {accounts} accounts, {wrong} with a wrong balance")
        good = left == "0" and wrong == "0" and old_alive and new_alive
        if not_ended:
            print(f"  (the job was over before its worker could be ended {'again' if not_ended == 1 else 'at all'})")
        print("  every row is right; the application was cut off by the kill -9 alone" if good and not not_ended
              else "  every row is right" if good else "  SOMETHING IS WRONG")
        return 0 if good else 1
    finally:
        server.remove()


if __name__ == "__main__":
    sys.exit(main())
