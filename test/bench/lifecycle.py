"""dbops.retain beside plain DELETE, and deletion with foreign keys beside ordered DELETEs written by hand; prints the figures
and their ratios.

Cases: ttl (a share of a big table has expired, an application writes to it meanwhile), partitions (some of many have
expired), children (two levels of foreign keys below the table). Each variant starts from a fresh copy; variants run in
turn, --rounds times, and medians are compared.
"""

import argparse
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
autovacuum = off
"""

TTL_TABLE = """
DROP TABLE IF EXISTS t;
CREATE TABLE t (id bigint PRIMARY KEY, at timestamptz NOT NULL, amount int, pad text);
INSERT INTO t SELECT i, now() - ({rows} - i) * interval '1 day' * 100 / {rows}, i % 1000, repeat('x', 60)
  FROM generate_series(1, {rows}) i;
CREATE INDEX t_at ON t (at);
VACUUM (ANALYZE, FREEZE) t;
CHECKPOINT;
"""

# Touches rows that are kept, as an application would.
APPLICATION = """
\\set id random({first}, {rows})
UPDATE t SET amount = amount + 1 WHERE id = :id;
"""

PARTITIONS = """
DROP TABLE IF EXISTS p;
CREATE TABLE p (id bigint NOT NULL, day date NOT NULL, pad text) PARTITION BY RANGE (day);
CREATE INDEX ON p (day);
SELECT format('CREATE TABLE p_%s PARTITION OF p FOR VALUES FROM (%L) TO (%L)', i, current_date - i, current_date - i + 1)
  FROM generate_series(0, 99) i \\gexec
INSERT INTO p SELECT i, current_date - i % 100, repeat('x', 60) FROM generate_series(1, {rows}) i;
VACUUM (ANALYZE, FREEZE) p;
CHECKPOINT;
"""

CHILDREN = """
DROP TABLE IF EXISTS grandchild, child, parent;
CREATE TABLE parent (id bigint PRIMARY KEY, at timestamptz NOT NULL, pad text);
CREATE TABLE child (id bigint PRIMARY KEY, parent bigint NOT NULL REFERENCES parent, pad text);
CREATE TABLE grandchild (id bigint PRIMARY KEY, child bigint NOT NULL REFERENCES child, pad text);
INSERT INTO parent SELECT i, now() - ({rows} - i) * interval '1 day' * 100 / {rows}, repeat('x', 60) FROM generate_series(1, {rows}) i;
INSERT INTO child SELECT i, 1 + (i - 1) / 3, repeat('x', 60) FROM generate_series(1, {rows} * 3) i;
INSERT INTO grandchild SELECT i, 1 + (i - 1) / 2, repeat('x', 60) FROM generate_series(1, {rows} * 6) i;
CREATE INDEX ON parent (at);
CREATE INDEX ON child (parent);
CREATE INDEX ON grandchild (child);
VACUUM (ANALYZE, FREEZE) parent, child, grandchild;
CHECKPOINT;
"""

BY_HAND = """
BEGIN;
DELETE FROM grandchild WHERE child IN (SELECT c.id FROM child c JOIN parent p ON p.id = c.parent WHERE p.at < now() - interval '80 days');
DELETE FROM child WHERE parent IN (SELECT id FROM parent WHERE at < now() - interval '80 days');
DELETE FROM parent WHERE at < now() - interval '80 days';
COMMIT;
"""


class Bench:
    def __init__(self, arguments):
        self.arguments = arguments
        self.server = Server("bench", SETTINGS)
        self.server.sql("CREATE EXTENSION dbops")
        self.server.wait_for_launcher()
        self.figures = {}

    def retain(self, call):
        """Seconds from the start of the rule's run to its end; without the pauses between batches that are the default."""
        rule = self.server.sql(f"SELECT rule FROM dbops.retain({call}, max_share => NULL, nice_ratio => 0)")
        start = time.time()
        self.server.sql(f"SELECT dbops.run_retention({rule}) AS job \\gset\nCALL dbops.wait(:job);")
        end = time.time()
        self.server.sql(f"SELECT dbops.unretain({rule})")
        return start, end

    def plain(self, statement):
        start = time.time()
        self.server.sql(statement)
        return start, time.time()

    def keep(self, name, **figures):
        for what, value in figures.items():
            self.figures.setdefault((name, what), []).append(value)
        print(f"  {name:34} " + "  ".join(f"{what} {value:.2f}" for what, value in figures.items()), flush=True)

    def median(self, name, what):
        return statistics.median(self.figures[name, what])

    def verdict(self, title, value, target, unit="x"):
        print(f"{title:66} {value:5.2f}{unit}  (target {target}{unit}) " + ("ok" if value <= target else "MISSED"), flush=True)

    def check(self, sql, wanted):
        found = self.server.sql(sql)
        if found != str(wanted):
            raise RuntimeError(f"{sql}: {found}, not {wanted}")

    def ttl(self):
        rows = self.arguments.rows
        plain = "DELETE FROM t WHERE at < now() - interval '80 days'"
        call = "'t', 'at', '80 days', '@yearly'"
        left = f"SELECT abs(count(*) - {rows * 4 // 5}) <= {rows // 1000 + 2} FROM t" # time goes on meanwhile
        for _ in range(self.arguments.rounds):
            for name, work in (("one plain DELETE", lambda: self.plain(plain)), ("dbops.retain", lambda: self.retain(call))):
                self.server.sql(TTL_TABLE.format(rows=rows))
                start, end = work()
                self.check(left, "t")
                self.keep(name, seconds=end - start)
            for name, work in (("one plain DELETE, with load", lambda: self.plain(plain)),
                               ("dbops.retain, with load", lambda: self.retain(call))):
                self.server.sql(TTL_TABLE.format(rows=rows))
                application = Load(self.server, APPLICATION.format(first=rows // 5 + 1000, rows=rows), self.arguments.rate)
                time.sleep(self.arguments.idle + 2)
                start, end = work()
                application.stop()
                idle = percentile(application.latencies(start - self.arguments.idle, start), 0.99)
                busy = percentile(application.latencies(start, end), 0.99)
                self.keep(name, seconds=end - start, idle_p99_ms=idle, p99_ms=busy, p99_ratio=busy / idle)
        print()
        self.verdict("wall time, dbops.retain to one plain DELETE",
                     self.median("dbops.retain", "seconds") / self.median("one plain DELETE", "seconds"), 1.1)
        self.verdict("p99 of the application, during dbops.retain to idle", self.median("dbops.retain, with load", "p99_ratio"), 1.2)

    def partitions(self):
        rows = self.arguments.partition_rows
        for _ in range(self.arguments.rounds):
            self.server.sql(PARTITIONS.format(rows=rows))
            # What the run reads of tables, whoever runs it: a scan would be a multiple of the table's blocks.
            self.server.sql("SELECT pg_stat_reset()")
            start, end = self.retain("'p', 'day', '79 days', '@yearly'")
            self.check("SELECT count(*) FROM pg_inherits WHERE inhparent = 'p'::regclass", 80)
            time.sleep(1)
            scans = float(self.server.sql("SELECT coalesce(sum(seq_tup_read), 0) FROM pg_stat_user_tables"))
            self.keep("20 of 100 partitions expired", seconds=end - start, rows_scanned=scans)
        print()
        self.verdict("20 of 100 partitions, seconds", self.median("20 of 100 partitions expired", "seconds"), 1.0, " s")
        self.verdict("rows read by sequential scans", self.median("20 of 100 partitions expired", "rows_scanned"), 0, "")

    def children(self):
        rows = self.arguments.parents
        for _ in range(self.arguments.rounds):
            for name, work in (("ordered DELETEs by hand", lambda: self.plain(BY_HAND)),
                               ("dbops.retain, children", lambda: self.retain("'parent', 'at', '80 days', '@yearly', children => 'delete'"))):
                self.server.sql(CHILDREN.format(rows=rows))
                start, end = work()
                self.check("SELECT (SELECT count(*) FROM child WHERE NOT EXISTS (SELECT FROM parent p WHERE p.id = child.parent))"
                           " + (SELECT count(*) FROM grandchild WHERE NOT EXISTS (SELECT FROM child c WHERE c.id = grandchild.child))"
                           f" + (SELECT (count(*) NOT BETWEEN {rows * 4 // 5 - rows // 1000 - 2} AND {rows * 4 // 5 + 2})::int FROM parent)", 0)
                self.keep(name, seconds=end - start)
        print()
        self.verdict("two levels of foreign keys, dbops.retain to ordered DELETEs",
                     self.median("dbops.retain, children", "seconds") / self.median("ordered DELETEs by hand", "seconds"), 1.3)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="of the table of case ttl; a fifth has expired")
    parser.add_argument("--partition-rows", type=int, default=2_000_000)
    parser.add_argument("--parents", type=int, default=500_000, help="with 3 children and 6 grandchildren each")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=int, default=100, help="transactions a second of the application")
    parser.add_argument("--idle", type=int, default=10, help="seconds of load before the deletion, for comparison")
    parser.add_argument("cases", nargs="*", default=[], help="ttl partitions children")
    arguments = parser.parse_args()
    bench = Bench(arguments)
    try:
        version = bench.server.sql("SELECT current_setting('server_version')")
        print(f"PostgreSQL {version}, {os.cpu_count()} cores, {platform.machine()}, {arguments.rounds} rounds, "
              f"{time.strftime('%Y-%m-%d')}\n")
        for case in arguments.cases or ["ttl", "partitions", "children"]:
            print(f"== {case}", flush=True)
            getattr(bench, case)()
            print()
    finally:
        bench.server.remove()
    return 0


if __name__ == "__main__":
    sys.exit(main())
