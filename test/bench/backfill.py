"""dbops.backfill beside what a user would pick instead, in one run on one server; prints the figures and their ratios.

Cases: plain UPDATE, a loop of keyset batches, pgroll's way, an indexed column, two workers, latency of the application,
many small jobs. Each variant starts from a fresh copy of the same table. Seconds are noisy on a shared machine: the cases
run in turn, --rounds times, and medians are compared; WAL and sizes are exact to a few per cent.
"""

import argparse
import itertools
import os
import platform
import statistics
import sys
import time

from server import Load, Server, percentile

SETTINGS = """
shared_buffers = 2GB
max_wal_size = 16GB
checkpoint_timeout = 30min
max_worker_processes = 16
autovacuum = on
"""

MAKE_TABLE = """
CREATE EXTENSION IF NOT EXISTS dbops;
CREATE TABLE original (id bigint PRIMARY KEY, key uuid NOT NULL, amount int, name text, pad text, touched timestamptz,
                       full_name text);
INSERT INTO original SELECT g, gen_random_uuid(), g % 100000, 'name ' || g, repeat('x', 80), now(), NULL
  FROM generate_series(1, {rows}) g;
CREATE UNIQUE INDEX ON original (key);
CREATE INDEX ON original (amount);
CREATE INDEX ON original (name);
VACUUM (ANALYZE, FREEZE) original;
"""

FRESH_COPY = """
DROP TABLE IF EXISTS t;
CREATE TABLE t (LIKE original INCLUDING ALL);
INSERT INTO t SELECT * FROM original ORDER BY id;
VACUUM (ANALYZE, FREEZE) t;
CHECKPOINT;
"""

# The way of a hand-written loop: keyset batches with a commit after each.
LOOP = """
CREATE OR REPLACE PROCEDURE loop_{size}() LANGUAGE plpgsql AS $$
DECLARE last bigint := 0; upto bigint;
BEGIN
  LOOP
    SELECT max(id) INTO upto FROM (SELECT id FROM t WHERE id > last ORDER BY id LIMIT {size}) b;
    EXIT WHEN upto IS NULL;
    UPDATE t SET full_name = name WHERE id > last AND id <= upto AND full_name IS NULL;
    COMMIT;
    last := upto;
  END LOOP;
END $$;
"""

# pgroll's way: a flag column with a default of true, and batches of 1,000 by key that touch the rows which need it; a
# trigger does the assignment and clears the flag.
PGROLL = """
ALTER TABLE t ADD COLUMN needs_backfill boolean DEFAULT true;
CREATE OR REPLACE FUNCTION t_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.full_name := NEW.name; NEW.needs_backfill := false; RETURN NEW; END $$;
CREATE TRIGGER t_up BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION t_up();
CREATE OR REPLACE PROCEDURE pgroll_way() LANGUAGE plpgsql AS $$
DECLARE last bigint := 0; upto bigint;
BEGIN
  LOOP
    WITH batch AS (SELECT id FROM t WHERE id > last AND needs_backfill IS DISTINCT FROM false ORDER BY id LIMIT 1000 FOR NO KEY UPDATE),
         done AS (UPDATE t SET id = t.id FROM batch WHERE t.id = batch.id RETURNING t.id)
    SELECT max(id) INTO upto FROM done;
    EXIT WHEN upto IS NULL;
    COMMIT;
    last := upto;
  END LOOP;
END $$;
"""

# A light write load: one row in a hundredth of a second or so, one column that is not indexed.
APPLICATION = """
\\set id random(1, {rows})
UPDATE t SET touched = now() WHERE id = :id;
SELECT name FROM t WHERE id = :id;
"""


class Bench:
    def __init__(self, arguments):
        self.rows = arguments.rows
        self.rounds = arguments.rounds
        self.rate = arguments.rate
        self.server = Server("bench", SETTINGS)
        self.server.sql(MAKE_TABLE.format(rows=self.rows))
        self.server.wait_for_launcher()
        self.figures = {}

    def job(self, call):
        job = self.server.sql(f"SELECT dbops.{call}")
        self.server.sql(f"CALL dbops.wait({job})")
        return job

    def measure(self, name, work, prepare="", load=True, done="SELECT count(*) FROM t WHERE full_name IS DISTINCT FROM name"):
        """One variant, once: seconds, WAL, size of table and indexes, share of HOT updates."""
        server = self.server
        server.sql(FRESH_COPY + prepare)
        application = Load(server, APPLICATION.format(rows=self.rows), self.rate) if load else None
        if application:
            time.sleep(1)
        before = server.sql("SELECT pg_current_wal_insert_lsn()")
        start = time.time()
        work()
        end = time.time()
        wal = int(server.sql(f"SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '{before}')::bigint"))
        if application:
            application.stop()
        size = int(server.sql("SELECT pg_total_relation_size('t')"))
        if server.sql(done) != "0":
            raise RuntimeError(f"{name}: rows are wrong")
        figure = {"seconds": end - start, "wal": wal / 2**20, "size": size / 2**20}
        if application:
            figure["p99"] = percentile(application.latencies(start, end), 0.99)
        self.figures.setdefault(name, []).append(figure)
        print(f"  {name:34} {figure['seconds']:7.1f} s {figure['wal']:7.0f} MB WAL {figure['size']:7.0f} MB", flush=True)

    def median(self, name, what):
        return statistics.median(figure[what] for figure in self.figures[name])

    def ratio(self, title, name, base, what, target):
        value = self.median(name, what) / self.median(base, what)
        verdict = "ok" if value <= target else "MISSED"
        print(f"{title:66} {value:5.2f}x  (target {target}x) {verdict}", flush=True)

    def throughput(self):
        self.server.sql(LOOP.format(size=10000))
        plain = "UPDATE t SET full_name = name WHERE full_name IS NULL"
        call = "backfill('t', 'full_name = name', 'full_name IS NULL', nice_ratio => 0, max_lock_waiters => NULL)"
        for _ in range(self.rounds):
            self.measure("plain UPDATE", lambda: self.server.sql(plain))
            self.measure("dbops.backfill", lambda: self.job(call))
            self.measure("loop of 10,000 by key", lambda: self.server.sql("CALL loop_10000()"))
            self.measure("pgroll's way", lambda: self.server.sql("CALL pgroll_way()"), prepare=PGROLL)
        print()
        self.ratio("wall time, dbops to one plain UPDATE", "dbops.backfill", "plain UPDATE", "seconds", 0.75)
        self.ratio("WAL, dbops to one plain UPDATE", "dbops.backfill", "plain UPDATE", "wal", 0.7)
        self.ratio("table and indexes afterwards, dbops to one plain UPDATE", "dbops.backfill", "plain UPDATE", "size", 0.75)
        self.ratio("wall time, dbops to a loop of 10,000 by key", "dbops.backfill", "loop of 10,000 by key", "seconds", 0.5)
        self.ratio("wall time, dbops to pgroll's way", "dbops.backfill", "pgroll's way", "seconds", 0.35)

    def indexed(self):
        plain = "UPDATE t SET amount = amount + 1"
        check = "SELECT count(*) FROM t JOIN original o USING (id) WHERE t.amount <> o.amount + 1"
        call = "backfill('t', 'amount = amount + 1', nice_ratio => 0{})"
        for _ in range(self.rounds):
            self.measure("indexed column, plain UPDATE", lambda: self.server.sql(plain), load=False, done=check)
            self.measure("indexed column, dbops", lambda: self.job(call.format("")), load=False, done=check)
            self.measure("indexed column, dbops, parallel 2", lambda: self.job(call.format(", parallel => 2")), load=False, done=check)
        print()
        self.ratio("wall time, indexed column, dbops to one plain UPDATE", "indexed column, dbops", "indexed column, plain UPDATE", "seconds", 1.05)
        self.ratio("wall time, parallel 2 to parallel 1", "indexed column, dbops, parallel 2", "indexed column, dbops", "seconds", 0.65)

    def latency(self):
        """The application's p99 while a job runs and while the same job is paused, in turn, every few seconds: what the
        disk and the machine do meanwhile is felt by both sides alike."""
        batches = "backfill('t', 'full_name = name', 'full_name IS NULL'{})"
        unthrottled = ", nice_ratio => 0, max_lock_waiters => NULL, max_replica_lag => NULL, max_archive_backlog => NULL"
        targets = {"default throttle": (batches.format(""), 1.2), "not throttled": (batches.format(unthrottled), 2.0)}
        ratios = {name: [] for name in targets}
        for _ in range(self.rounds):
            for name, (call, _) in targets.items():
                during, beside = self.run_and_pause(call)
                ratios[name].append(percentile(during, 0.99) / percentile(beside, 0.99))
                self.print_latency(f"{name}, running", during)
                self.print_latency(f"{name}, paused", beside)
        self.plain_update_latency()
        print()
        for name, (_, target) in targets.items():
            value = statistics.median(ratios[name])
            print(f"{'p99 of the application, ' + name + ', running to paused':66} {value:5.2f}x  (target {target}x) "
                  + ("ok" if value <= target else "MISSED"), flush=True)

    def run_and_pause(self, call, seconds=4):
        """Sorted latencies of the application while the job runs, and while it is paused."""
        server = self.server
        server.sql(FRESH_COPY)
        application = Load(server, APPLICATION.format(rows=self.rows), self.rate)
        time.sleep(3)
        job = server.sql(f"SELECT dbops.{call}")
        windows = {"running": [], "paused": []}
        state = "running"
        while server.sql(f"SELECT state FROM dbops.jobs WHERE job_id = {job}") not in ("succeeded", "failed"):
            start = time.time()
            time.sleep(seconds)
            if server.sql(f"SELECT state FROM dbops.jobs WHERE job_id = {job}") in ("succeeded", "failed"):
                break # the last window is not a whole one
            windows[state].append((start, time.time()))
            server.sql(f"SELECT dbops.{'pause' if state == 'running' else 'resume'}({job})")
            state = "paused" if state == "running" else "running"
            time.sleep(1) # until the worker has stopped, or has begun
        application.stop()
        return [sorted(itertools.chain.from_iterable(application.latencies(*window) for window in windows[side]))
                for side in ("running", "paused")]

    def plain_update_latency(self):
        self.server.sql(FRESH_COPY)
        application = Load(self.server, APPLICATION.format(rows=self.rows), self.rate)
        time.sleep(3)
        start = time.time()
        self.server.sql("UPDATE t SET full_name = name WHERE full_name IS NULL")
        # Whoever was kept waiting until now is counted as well: that is the worst of it.
        time.sleep(1)
        end = time.time()
        application.stop()
        self.print_latency("one plain UPDATE, for comparison", application.latencies(start, end))

    @staticmethod
    def print_latency(name, ordered):
        print(f"  {name:34} p50 {percentile(ordered, 0.5):8.2f} ms  p95 {percentile(ordered, 0.95):8.2f} ms  "
              f"p99 {percentile(ordered, 0.99):8.2f} ms  max {ordered[-1]:8.1f} ms  {len(ordered)} transactions", flush=True)

    def many_jobs(self):
        server = self.server
        server.sql("CREATE TABLE small (job int, id int, done boolean, PRIMARY KEY (job, id));"
                   "INSERT INTO small SELECT j, i, NULL FROM generate_series(1, 1000) j, generate_series(1, 1000) i;"
                   "VACUUM ANALYZE small; ALTER SYSTEM SET dbops.max_workers = 0; SELECT pg_reload_conf();")
        # One table each, so that each job is a whole one.
        server.sql("SELECT format('CREATE TABLE small_%s (id int PRIMARY KEY, done boolean); INSERT INTO small_%s SELECT i, NULL"
                   " FROM generate_series(1, 1000) i', j, j) FROM generate_series(1, 1000) j \\gexec\nVACUUM ANALYZE;")
        server.sql("DO $$ BEGIN FOR j IN 1..1000 LOOP PERFORM dbops.backfill('small_' || j, 'done = true', 'done IS NULL',"
                   " nice_ratio => 0); END LOOP; END $$")
        start = time.time()
        server.sql("ALTER SYSTEM SET dbops.max_workers = 2; SELECT pg_reload_conf();"
                   "SELECT dbops.resume(min(job_id)) FROM dbops.jobs WHERE state = 'queued'")
        while server.sql("SELECT count(*) FROM dbops.jobs WHERE label IS NULL AND target LIKE 'small\\_%' AND state <> 'succeeded'") != "0":
            time.sleep(0.1)
        seconds = time.time() - start
        verdict = "ok" if 1000 / seconds >= 100 else "MISSED"
        print(f"{'1,000 jobs of 1,000 rows through 2 slots, jobs a second':66} {1000 / seconds:5.0f}   (target 100) {verdict}", flush=True)
        server.sql("ALTER SYSTEM SET dbops.max_workers = 0; SELECT pg_reload_conf();")
        server.sql("DO $$ BEGIN FOR j IN 1..10000 LOOP PERFORM dbops.backfill('small_1', 'done = true', 'done IS NULL'); END LOOP; END $$")
        time.sleep(3)
        cpu = self.cpu_seconds()
        time.sleep(20)
        print(f"{'CPU of launcher and dispatchers with 10,000 queued jobs, ms in 20 s':66} {(self.cpu_seconds() - cpu) * 1000:5.0f}", flush=True)
        server.sql("DO $$ BEGIN PERFORM dbops.cancel(job_id) FROM dbops.jobs WHERE state = 'queued'; END $$;"
                   "ALTER SYSTEM RESET dbops.max_workers; SELECT pg_reload_conf();")

    def cpu_seconds(self):
        pids = self.server.sql("SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'dbops%'").split()
        total = 0
        for pid in pids:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
                total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=int, default=100, help="transactions a second of the application")
    parser.add_argument("cases", nargs="*", default=[], help="throughput indexed latency many_jobs")
    arguments = parser.parse_args()
    bench = Bench(arguments)
    try:
        version = bench.server.sql("SELECT current_setting('server_version')")
        print(f"PostgreSQL {version}, {os.cpu_count()} cores, {platform.machine()}, {arguments.rows} rows, "
              f"{arguments.rounds} rounds, {time.strftime('%Y-%m-%d')}\n")
        for case in arguments.cases or ["throughput", "indexed", "latency", "many_jobs"]:
            print(f"== {case}", flush=True)
            getattr(bench, case)()
            print()
    finally:
        bench.server.remove()
    return 0


if __name__ == "__main__":
    sys.exit(main())
