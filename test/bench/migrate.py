"""Migrations beside psql: 1,000 small files, validate of 10,000 applied, lint of 10,000 statements, an index, and what
the application feels.

  many      1,000 pending migrations: dbops migrate, and psql with the same files in one session, a commit each; in turn.
            With FLYWAY=DIRECTORY (mvn -f test/peers/flyway/pom.xml dependency:copy-dependencies -DoutputDirectory=DIRECTORY)
            real Flyway too
  validate  dbops validate of 10,000 applied ones
  lint      dbops.lint of 10,000 statements on 100 tables
  index     dbops.create_index beside CREATE INDEX CONCURRENTLY, on --rows rows
  load      latency of an application at 200 transactions a second on a table: beside migrations that change it, beside
            psql with the same statements, and without either
"""

import argparse
import os
import pathlib
import platform
import socket
import statistics
import subprocess
import sys
import time

from server import Load, Server, percentile

COMMAND = os.environ["DBOPS_COMMAND"]


class Bench:
    def __init__(self, arguments):
        self.arguments = arguments
        with socket.socket() as probe: # JDBC needs TCP; on loopback
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.server = Server("bench-migrate", f"listen_addresses = '127.0.0.1'\nport = {self.port}\nmax_wal_size = 8GB\n")
        self.server.environment["PGPORT"] = str(self.port)
        self.round = 0
        self.flyway_path = os.environ.get("FLYWAY")
        if self.flyway_path:
            source = pathlib.Path(__file__).parent.parent / "peers/flyway/FlywayMigrate.java"
            subprocess.run(["javac", "-cp", f"{self.flyway_path}/*", "-d", self.server.home, source], check=True)

    def files(self, count, width=2):
        self.round += 1
        place = self.server.home / f"migrations-{self.round}"
        place.mkdir()
        for i in range(1, count + 1):
            statements = [f"CREATE TABLE m{i} (id bigint PRIMARY KEY, name text);", f"INSERT INTO m{i} VALUES (1, 'a');",
                          f"CREATE INDEX m{i}_name ON m{i} (name);"][:width]
            (place / f"V{i}__m.sql").write_text("\n".join(statements) + "\n", encoding="utf-8")
        return place

    def database(self):
        name = f"d{self.round}"
        self.server.sql(f"CREATE DATABASE {name}")
        self.server.sql("CREATE EXTENSION dbops", name)
        return name

    def dbops(self, database, *arguments):
        begin = time.monotonic()
        done = subprocess.run([COMMAND, "--dbname", database, *map(str, arguments)], env=self.server.environment,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return time.monotonic() - begin

    def psql(self, database, place, count):
        arguments = []
        for i in range(1, count + 1):
            arguments += ["-c", "BEGIN", "-f", place / f"V{i}__m.sql", "-c", "COMMIT"]
        begin = time.monotonic()
        self.server.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, *arguments, quiet=True)
        return time.monotonic() - begin

    def flyway(self, database, place):
        begin = time.monotonic()
        subprocess.run(["java", "-cp", f"{self.flyway_path}/*:{self.server.home}", "FlywayMigrate",
                        f"jdbc:postgresql://127.0.0.1:{self.port}/{database}", place],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        return time.monotonic() - begin

    def many(self):
        count = self.arguments.count
        times = {"psql": [], "dbops": [], "dbops --no-lint": []}
        if self.flyway_path:
            times["flyway"] = []
        # Nothing is deleted between two rounds: ext4 does not use an inode again for minutes, and who makes files next
        # searches past those.
        for _ in range(self.arguments.rounds):
            for name in times:
                place = self.files(count)
                database = self.database()
                if name == "psql":
                    times[name].append(self.psql(database, place, count))
                elif name == "flyway":
                    times[name].append(self.flyway(database, place))
                else:
                    extra = ["--no-lint"] if name.endswith("lint") else []
                    times[name].append(self.dbops(database, "migrate", "--dir", place, *extra))
        for name, values in times.items():
            print(f"{name:16} {min(values):7.2f} s (best of {values and ', '.join(f'{v:.2f}' for v in values)})")
        print(f"ratio dbops / psql {min(times['dbops']) / min(times['psql']):.2f} (target at most 1.3), "
              f"without lint {min(times['dbops --no-lint']) / min(times['psql']):.2f}")
        if self.flyway_path:
            print(f"ratio flyway / dbops {min(times['flyway']) / min(times['dbops']):.2f} (target at least 5), "
                  f"without lint {min(times['flyway']) / min(times['dbops --no-lint']):.2f}")

    def validate(self):
        place = self.files(10_000, width=0)
        database = self.database()
        print(f"migrate 10,000 empty files  {self.dbops(database, 'migrate', '--dir', place):.2f} s")
        print(f"validate 10,000 applied     {min(self.dbops(database, 'validate', '--dir', place) for _ in range(5)):.2f} s")

    def lint(self):
        self.round += 1
        database = self.database()
        self.server.sql("\n".join(f"CREATE TABLE l{i} (id bigint PRIMARY KEY, a int);" for i in range(100)), database)
        script = pathlib.Path(self.server.home / "lint.sql")
        script.write_text("\n".join(f"ALTER TABLE l{i % 100} ADD CHECK (a > {i});" for i in range(10_000)), encoding="utf-8")
        print(f"lint 10,000 statements      {min(self.dbops(database, 'lint', script) for _ in range(3)):.2f} s")

    TABLE = """
CREATE TABLE t (id bigint PRIMARY KEY, amount int, name text, touched timestamptz);
INSERT INTO t SELECT g, g % 100000, 'name ' || g, now() FROM generate_series(1, {rows}) g;
VACUUM (ANALYZE, FREEZE) t;
CHECKPOINT;
"""

    def index(self):
        self.round += 1
        database = self.database()
        self.server.sql(self.TABLE.format(rows=self.arguments.rows), database)
        times = {"CREATE INDEX CONCURRENTLY": [], "dbops.create_index": []}
        for _ in range(self.arguments.rounds):
            for name, values in times.items():
                self.server.sql("DROP INDEX IF EXISTS t_i; CHECKPOINT", database)
                begin = time.monotonic()
                if name.startswith("dbops"):
                    job = self.server.sql("SELECT dbops.create_index('t', 'name', name => 't_i')", database)
                    self.server.sql(f"CALL dbops.wait({job})", database)
                else:
                    self.server.sql("CREATE INDEX CONCURRENTLY t_i ON t (name)", database)
                values.append(time.monotonic() - begin)
                if self.server.sql("SELECT indisvalid FROM pg_index WHERE indexrelid = 't_i'::regclass", database) != "t":
                    raise RuntimeError("no valid index")
        for name, values in times.items():
            print(f"{name:28} {statistics.median(values):7.2f} s (of {', '.join(f'{v:.2f}' for v in values)})")
        medians = [statistics.median(values) for values in times.values()]
        print(f"ratio {medians[1] / medians[0]:.2f} (target at most 1.05)")

    # What a release does to a table in use: columns, a constraint, an index, a foreign key; each in its safe form.
    CHANGES = [
        "ALTER TABLE t ADD COLUMN note{i} text;", "ALTER TABLE t ADD COLUMN n{i} int NOT NULL DEFAULT 7;",
        "CREATE INDEX CONCURRENTLY t_name{i} ON t (name);",
        "ALTER TABLE t ADD CONSTRAINT c{i} CHECK (amount >= 0) NOT VALID;", "ALTER TABLE t VALIDATE CONSTRAINT c{i};",
        "ALTER TABLE t DROP COLUMN note{i};", "DROP INDEX CONCURRENTLY t_name{i};"]

    def load(self):
        self.round += 1
        database = self.database()
        rows = self.arguments.rows
        self.server.sql(self.TABLE.format(rows=rows), database)
        self.server.environment["PGDATABASE"] = database # for pgbench
        application = Load(self.server, f"\\set id random(1, {rows})\nUPDATE t SET touched = now() WHERE id = :id;\n"
                           "SELECT name FROM t WHERE id = :id;\n", 200)
        spans = {"beside migrations": [], "beside psql": [], "without": []}
        version = 0
        place = self.server.home / "under-load"
        place.mkdir()
        time.sleep(2)
        for i in range(4 * self.arguments.rounds):
            changes = [change.format(i=i) for change in self.CHANGES]
            begin = time.time()
            if i % 2 == 0:
                for change in changes:
                    version += 1
                    (place / f"V{version}__m.sql").write_text(change + "\n", encoding="utf-8")
                self.dbops(database, "migrate", "--dir", place)
            else:
                self.server.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database,
                                *(word for change in changes for word in ("-c", change)), quiet=True)
            end = time.time()
            spans["beside psql" if i % 2 else "beside migrations"].append((begin, end))
            time.sleep(max(1.0, end - begin))
            spans["without"].append((end, time.time()))
        alive = application.alive()
        application.stop()
        if not alive:
            raise RuntimeError("the application has failed")
        result = {}
        for name, parts in spans.items():
            ordered = sorted(value for part in parts for value in application.latencies(*part))
            result[name] = percentile(ordered, 0.99)
            print(f"{name:20} p50 {percentile(ordered, 0.5):7.2f} ms  p99 {percentile(ordered, 0.99):7.2f} ms  "
                  f"max {ordered[-1]:7.1f} ms  {len(ordered)} transactions")
        print(f"ratio of p99 to none {result['beside migrations'] / result['without']:.2f}, "
              f"to psql {result['beside migrations'] / result['beside psql']:.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("cases", nargs="*", default=[], help="many validate lint index load")
    arguments = parser.parse_args()
    bench = Bench(arguments)
    try:
        version = bench.server.sql("SELECT current_setting('server_version')")
        print(f"PostgreSQL {version}, {os.cpu_count()} cores, {platform.machine()}, {time.strftime('%Y-%m-%d')}\n")
        for case in arguments.cases or ["many", "validate", "lint", "index", "load"]:
            print(f"== {case}", flush=True)
            getattr(bench, case)()
            print()
    finally:
        bench.server.remove()
    return 0


if __name__ == "__main__":
    sys.exit(main())
