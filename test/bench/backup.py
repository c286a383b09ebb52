"""Backups and restores beside Debian's pgBackRest and pg_basebackup, in one run on one machine; prints the figures and their
ratios. Same store, same number of processes, same level of zstd.

Cases:
  backup   a whole backup; then pgbench's UPDATE changes rows in about 1 % of the pages, and an incremental one
  restore  into an empty directory; and, with --delta, from a state that differs by those pages
  latency  pgbench at a fixed rate, without and beside a backup with --max-rate

pg_basebackup writes a tar file of zstd level as the others to the same file system; it is one process, and knows no store.
pgBackRest has bundles and block incremental where its version has them.
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import signal
import statistics
import struct
import subprocess
import time

import zstandard
from archive import LEVEL, S3, report
from server import Load, Server, percentile

SETTINGS = """
shared_buffers = 1GB
max_wal_size = 64GB
checkpoint_timeout = 1d
wal_level = replica
max_wal_senders = 4
archive_mode = on
archive_command = 'true'
autovacuum = off
"""

# Rows of about one page in a hundred; pgbench's accounts have 61 of them in a page.
TOUCH = "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid % 6100 = {round}"


class Tool:
    """One way to take backups; each use of it begins with an empty repository."""

    def __init__(self, bench):
        self.bench = bench
        bench.places += 1
        self.place = bench.server.home / f"{self.name}{bench.places}"
        self.place.mkdir()

    def timed(self, words, **options):
        """Seconds, CPU seconds of it and its children, and what it printed."""
        start = time.monotonic()
        process = subprocess.Popen(list(map(str, words)), env=self.bench.server.environment, stdout=subprocess.PIPE,
                                   stderr=open(self.place / "messages", "a", encoding="utf-8"), text=True, **options)
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise RuntimeError(f"{words}: {process.returncode}\n{out}" + (self.place / "messages").read_text(encoding="utf-8")[-3000:])
        return time.monotonic() - start, usage.ru_utime + usage.ru_stime, out

    def show(self, what, seconds, cpu, size=None):
        print(f"  {self.name + ', ' + what:40} {seconds:7.1f} s {cpu:7.1f} s CPU" + (f" {size / 1e6:10.1f} MB" if size is not None else ""), flush=True)
        return {"seconds": seconds, "cpu": cpu, "bytes": size}


class Dbops(Tool):
    name = "dbops"

    def use(self):
        bench = self.bench
        url = f"file://{self.place}" if bench.arguments.store == "directory" else bench.s3.url("S3_TLS_ENDPOINT") + f"&ca-file={bench.s3['S3_CA_FILE']}"
        self.store = ["--store", url]
        if bench.arguments.store == "s3":
            self.store += ["--credentials-file", bench.s3["S3_CREDENTIALS_FILE"]]
        bench.restart(archive_command="", archive_library="dbops", dbops__store=url, dbops__compression_level=LEVEL,
                      dbops__credentials_file=bench.s3["S3_CREDENTIALS_FILE"] if bench.arguments.store == "s3" else "")

    def command(self, *words):
        return [os.environ["DBOPS_COMMAND"], *words, *self.store]

    def backup(self, what, *options):
        seconds, cpu, out = self.timed(self.command("backup", "-j", self.bench.arguments.workers, "--compression-level", LEVEL, "--json", *options))
        self.last = json.loads(out)
        return self.show(what, seconds, cpu, self.last["new_bytes"])

    def full(self):
        return self.backup("whole")

    def incremental(self):
        return self.backup("incremental")

    def labels(self):
        out = subprocess.run(list(map(str, self.command("list", "--json"))), env=self.bench.server.environment, check=True, stdout=subprocess.PIPE, text=True).stdout
        return [backup["label"] for backup in json.loads(out)]

    def restore(self, what, data, number, delta):
        words = self.command("restore", "-D", data, "-b", self.labels()[number], "-j", self.bench.arguments.workers, *(["--delta"] if delta else []))
        return self.show(what, *self.timed(words)[:2])


class PgBackRest(Tool):
    name = "pgBackRest"

    def use(self):
        bench, place = self.bench, self.place
        version = subprocess.run(["pgbackrest", "version"], check=True, stdout=subprocess.PIPE, text=True).stdout.split()[1]
        has_blocks = tuple(map(int, version.split(".")[:2])) >= (2, 46)
        if bench.arguments.store == "directory":
            repository = f"repo1-path={place}/repository\n"
        else:
            port = bench.s3["S3_TLS_ENDPOINT"].rsplit(":", 1)[1]
            repository = (f"repo1-type=s3\nrepo1-s3-bucket=dbops-test\nrepo1-s3-region=us-east-1\nrepo1-s3-uri-style=path\n"
                          f"repo1-path=/{place.name}\nrepo1-s3-endpoint=localhost\nrepo1-storage-port={port}\n"
                          f"repo1-storage-ca-file={bench.s3['S3_CA_FILE']}\nrepo1-s3-key={bench.s3['S3_ACCESS_KEY']}\n"
                          f"repo1-s3-key-secret={bench.s3['S3_SECRET_KEY']}\n")
        (place / "conf").write_text(
            "[global]\n" + repository + "repo1-bundle=y\n" + ("repo1-block=y\n" if has_blocks else "") +
            f"compress-type=zst\ncompress-level={LEVEL}\nprocess-max={bench.arguments.workers}\nstart-fast=y\narchive-async=y\n"
            f"spool-path={place}/spool\nlog-path={place}\nlock-path={place}\nlog-level-console=warn\nlog-level-file=error\n"
            f"[main]\npg1-path={bench.server.data}\npg1-socket-path={bench.server.home}\npg1-port=5432\npg1-user=postgres\n",
            encoding="ascii")
        self.command = ["pgbackrest", f"--config={place}/conf", "--stanza=main"]
        subprocess.run([*self.command, "stanza-create"], check=True, env=bench.server.environment)
        bench.set(dbops__store="")
        bench.restart(archive_library="", archive_command=" ".join(self.command) + " archive-push %p")

    def backups(self):
        out = subprocess.run([*self.command, "info", "--output=json"], check=True, env=self.bench.server.environment,
                             stdout=subprocess.PIPE, text=True).stdout
        return json.loads(out)[0]["backup"]

    def backup(self, what, kind):
        seconds, cpu, _ = self.timed([*self.command, "backup", f"--type={kind}"])
        return self.show(what, seconds, cpu, self.backups()[-1]["info"]["repository"]["delta"])

    def full(self):
        return self.backup("whole", "full")

    def incremental(self):
        return self.backup("incremental", "incr")

    def restore(self, what, data, number, delta):
        label = self.backups()[number]["label"]
        data.mkdir(mode=0o700, exist_ok=True)
        # A spool of its own: a restore clears it, and fails when the running server's archiving writes to it meanwhile.
        words = [*self.command, "restore", f"--pg1-path={data}", f"--spool-path={self.place}/restore-spool", f"--set={label}",
                 "--type=immediate", *(["--delta"] if delta else [])]
        return self.show(what, *self.timed(words)[:2])


class Bench:
    def __init__(self, arguments):
        self.arguments = arguments
        self.s3 = S3() if arguments.store == "s3" else None
        self.places = 0
        self.server = Server("bench", SETTINGS)
        self.touched = 0
        self.figures = {}

    def close(self):
        self.server.remove()
        if self.s3:
            self.s3.stop()

    def set(self, **settings):
        for name, value in settings.items():
            self.server.sql(f"ALTER SYSTEM SET {name.replace('__', '.')} = '{value}'")

    def restart(self, **settings):
        self.set(**settings)
        self.server.stop()
        self.server.start()
        self.server.sql("CHECKPOINT")

    def make_data(self):
        self.server.run("pgbench", "-i", "-q", "-s", str(self.arguments.scale), quiet=True, stderr=subprocess.DEVNULL)
        # Rows as an application has them: pgbench's are blanks, which zstd makes nothing of.
        self.server.sql("UPDATE pgbench_accounts SET filler = left(md5(aid::text) || md5((aid * 7)::text) || md5((aid * 13)::text), 84); VACUUM pgbench_accounts; CHECKPOINT")
        size = self.server.sql("SELECT pg_size_pretty(sum(pg_database_size(oid))) FROM pg_database")
        print(f"{size} of data, {self.arguments.workers} processes, store: {self.arguments.store}", flush=True)

    def touch(self):
        self.touched += 1
        self.server.sql(TOUCH.format(round=self.touched) + "; CHECKPOINT")

    def changed_pages(self, since):
        """Bytes of all pages with a later LSN, compressed as one stream at the level of the tools."""
        high, low = (int(half, 16) for half in since.split("/"))
        compressor, size = zstandard.ZstdCompressor(level=LEVEL).compressobj(), 0
        for path in sorted(pathlib.Path(self.server.data).glob("base/*/*")):
            if not path.name.split(".")[0].isdigit():
                continue
            with path.open("rb") as file:
                for chunk in iter(lambda file=file: file.read(1 << 20), b""):
                    for at in range(0, len(chunk), 8192):
                        if struct.unpack_from("=II", chunk, at) > (high, low):
                            size += len(compressor.compress(chunk[at : at + 8192]))
        return size + len(compressor.flush())

    def note(self, tool, what, figure):
        self.figures.setdefault((tool.name, what), []).append(figure)

    def median(self, name, what, key):
        return statistics.median(figure[key] for figure in self.figures[name, what])

    def ratio(self, title, what, key, at_most, other="pgBackRest"):
        report(f"{title}, dbops to {other}", self.median("dbops", what, key) / max(1e-9, self.median(other, what, key)), at_most=at_most)

    def one_round(self):
        """Both tools, one after the other, on the same data; the order changes from round to round."""
        order = [Dbops, PgBackRest] if self.touched % 2 == 0 else [PgBackRest, Dbops]
        for kind in order:
            tool = kind(self)
            tool.use()
            self.note(tool, "full", tool.full())
            since = self.server.sql("SELECT pg_current_wal_insert_lsn()")
            self.touch()
            changed = self.changed_pages(since)
            self.note(tool, "incremental", tool.incremental())
            self.figures[tool.name, "incremental"][-1]["changed"] = changed
            if "restore" in self.arguments.cases:
                data = self.server.home / "restored"
                self.note(tool, "restore", tool.restore("restore", data, 1, False))
                self.note(tool, "delta", tool.restore("delta restore", data, 0, True))
                shutil.rmtree(data)
            shutil.rmtree(tool.place, ignore_errors=True)

    def base_backup(self):
        tool = type("PgBaseBackup", (Tool,), {"name": "pg_basebackup"})(self)
        # It waits for its WAL to be archived, and the repository of the tool before it is gone.
        self.set(dbops__store="")
        self.restart(archive_library="", archive_command="true")
        seconds, cpu, _ = tool.timed([f"{os.environ['PGBIN']}/pg_basebackup", "-D", tool.place / "to", "-Ft", "-X", "none", "-c", "fast",
                                      f"--compress=client-zstd:{LEVEL}", "--no-sync"])
        size = sum(path.stat().st_size for path in (tool.place / "to").iterdir())
        self.note(tool, "full", tool.show("whole", seconds, cpu, size))
        shutil.rmtree(tool.place)

    def backup(self):
        for _ in range(self.arguments.rounds):
            self.one_round()
            self.base_backup()
        print()
        self.ratio("whole backup, seconds", "full", "seconds", 0.8)
        self.ratio("whole backup, CPU seconds", "full", "cpu", 0.8)
        self.ratio("whole backup, bytes stored", "full", "bytes", 1.02)
        self.ratio("whole backup, seconds", "full", "seconds", None, "pg_basebackup")
        self.ratio("incremental, seconds", "incremental", "seconds", 0.7)
        self.ratio("incremental, new bytes", "incremental", "bytes", 1)
        report("incremental, new bytes to compressed changed pages, dbops",
               self.median("dbops", "incremental", "bytes") / self.median("dbops", "incremental", "changed"), at_most=1.5)
        if "restore" in self.arguments.cases:
            self.ratio("restore, seconds", "restore", "seconds", 0.7)
            self.ratio("delta restore, seconds", "delta", "seconds", None)
            report("delta restore to whole restore, dbops, seconds",
                   self.median("dbops", "delta", "seconds") / self.median("dbops", "restore", "seconds"), at_most=0.2)

    def latency(self):
        """Without and with, in turns; the backup is a whole one each time, and goes on for as long as the measurement."""
        tool, script = Dbops(self), "\\set aid random(1, 100000 * :scale)\nUPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :aid;\n"
        tool.use()
        script = f"\\set scale {self.arguments.scale}\n" + script
        found = {"without": [], "beside": []}
        for _ in range(max(3, self.arguments.rounds)):
            for case in found:
                backup = None
                if case == "beside":
                    backup = subprocess.Popen(list(map(str, tool.command("backup", "--full", "-j", self.arguments.workers, "--max-rate", self.arguments.max_rate))),
                                              env=self.server.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                    time.sleep(2)
                load = Load(self.server, script, self.arguments.rate)
                time.sleep(1)
                begin = time.time()
                time.sleep(self.arguments.seconds)
                end = time.time()
                load.stop()
                if backup:
                    if backup.poll() is not None:
                        print("  (the backup ended before the measurement: raise --scale or lower --max-rate)", flush=True)
                    backup.send_signal(signal.SIGINT)
                    backup.wait()
                found[case].append(percentile(load.latencies(begin, end), 0.99))
                print(f"  pgbench {case:10} p99 {found[case][-1]:7.2f} ms", flush=True)
        print()
        report("p99 beside a backup to without", statistics.median(found["beside"]) / statistics.median(found["without"]), at_most=1.1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=int, default=200, help="of pgbench: 16 MB each")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="threads of dbops, processes of pgBackRest")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--store", choices=["directory", "s3"], default="directory")
    parser.add_argument("--seconds", type=int, default=30, help="of a measurement of latency")
    parser.add_argument("--rate", type=int, default=300, help="transactions a second for the latency")
    parser.add_argument("--max-rate", default="50MB", help="of the backup beside it")
    cases = ["backup", "restore", "latency"]
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(cases) + "; default: all")
    arguments = parser.parse_args()
    arguments.cases = arguments.cases or cases
    signal.signal(signal.SIGTERM, lambda *_: exit(143))
    bench = Bench(arguments)
    try:
        version = bench.server.sql("SELECT current_setting('server_version')")
        other = subprocess.run(["pgbackrest", "version"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        print(f"PostgreSQL {version}, {other}, {os.cpu_count()} cores, {platform.machine()}, zstd level {LEVEL}, "
              f"{time.strftime('%Y-%m-%d')}, load {os.getloadavg()[0]:.1f}\n")
        bench.make_data()
        if "backup" in arguments.cases or "restore" in arguments.cases:
            print("== backup and restore", flush=True)
            bench.backup()
            print()
        if "latency" in arguments.cases:
            print("== latency", flush=True)
            bench.latency()
    finally:
        bench.close()


if __name__ == "__main__":
    main()
