"""Migrations beside psql: 1,000 small files, validate of 10,000 applied, lint of 10,000 statements.

  many      1,000 pending migrations: dbops migrate, and psql with the same files in one session, a commit each; in turn
  validate  dbops validate of 10,000 applied ones
  lint      dbops.lint of 10,000 statements on 100 tables
"""

import argparse
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import time

from server import Server

COMMAND = os.environ["DBOPS_COMMAND"]


class Bench:
    def __init__(self, arguments):
        self.arguments = arguments
        self.server = Server("bench-migrate")
        self.round = 0

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

    def many(self):
        count = self.arguments.count
        times = {"psql": [], "dbops": [], "dbops --no-lint": []}
        for _ in range(self.arguments.rounds):
            for name in times:
                place = self.files(count)
                database = self.database()
                if name == "psql":
                    times[name].append(self.psql(database, place, count))
                else:
                    extra = ["--no-lint"] if name.endswith("lint") else []
                    times[name].append(self.dbops(database, "migrate", "--dir", place, *extra))
                self.server.sql(f"DROP DATABASE {database}")
                shutil.rmtree(place)
        for name, values in times.items():
            print(f"{name:16} {min(values):7.2f} s (best of {values and ', '.join(f'{v:.2f}' for v in values)})")
        print(f"ratio dbops / psql {min(times['dbops']) / min(times['psql']):.2f}, "
              f"without lint {min(times['dbops --no-lint']) / min(times['psql']):.2f}")

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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("cases", nargs="*", default=[], help="many validate lint")
    arguments = parser.parse_args()
    bench = Bench(arguments)
    try:
        version = bench.server.sql("SELECT current_setting('server_version')")
        print(f"PostgreSQL {version}, {os.cpu_count()} cores, {platform.machine()}, {time.strftime('%Y-%m-%d')}\n")
        for case in arguments.cases or ["many", "validate", "lint"]:
            print(f"== {case}", flush=True)
            getattr(bench, case)()
            print()
    finally:
        bench.server.remove()
    return 0


if __name__ == "__main__":
    sys.exit(main())
