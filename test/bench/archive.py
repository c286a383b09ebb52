"""Archiving, streaming and recovery beside what a user would pick instead, in one run on one machine; prints the figures
and their ratios.

Cases:
  backlog     segments of pgbench's WAL that wait, to an S3 server: dbops beside pgBackRest (archive-async, zst, the same
              number of processes), beside `zstd` alone on the same cores, and dbops to a directory
  recovery    replay of those segments: dbops wal-get from S3 beside a local copy as restore_command
  memory      the archiver with 100,000 files that wait, the streamer, wal-get
  rpo         from commit to durable in the store, under pgbench, at an interval of 1 s and of 100 ms
  throughput  pgbench with archiving and streaming, with archive_command = a plain copy, and without archiving

The S3 server is Ceph's, in memory, on the same machine: what it takes of the processors, it takes from all alike. Its
seconds are printed too.
"""

import argparse
import concurrent.futures
import contextlib
import ctypes
import os
import pathlib
import platform
import re
import shutil
import signal
import statistics
import subprocess
import threading
import time

import zstandard

from server import Server, percentile

HERE = pathlib.Path(__file__).resolve().parent
TICKS = os.sysconf("SC_CLK_TCK")
SEGMENT = 16 << 20
LEVEL = 3  # of zstd, for all

SETTINGS = """
shared_buffers = 1GB
max_wal_size = 64GB
wal_keep_size = 16GB
checkpoint_timeout = 1d
wal_level = replica
max_wal_senders = 4
log_checkpoints = off
archive_mode = on
archive_command = 'true'
"""


def processes():
    """Id, parent, name and CPU seconds (own, and of children that were waited for) of every process."""
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            stat = pathlib.Path(entry.path, "stat").read_text(encoding="latin1")
            head, _, tail = stat.rpartition(")")
            fields = tail.split()
            own, children = sum(map(int, fields[11:13])), sum(map(int, fields[13:15]))
            yield int(entry.name), int(fields[1]), head.split("(", 1)[1], own / TICKS, children / TICKS


class Orphans:
    """Adopts what the server's children leave behind, as pgBackRest's archiving process, and counts what it took."""

    def __init__(self):
        ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
        self.seconds = 0.0

    def wait(self, name):
        """Until no process of that name is left."""
        while any(found == name for _, _, found, _, _ in processes()):
            self.reap(name)
            time.sleep(0.02)

    def reap(self, name):
        for pid, parent, found, _, _ in processes():
            if parent == os.getpid() and found == name:
                with contextlib.suppress(ChildProcessError):
                    done, _, usage = os.wait4(pid, os.WNOHANG)
                    if done:
                        self.seconds += usage.ru_utime + usage.ru_stime


class S3:
    """The server of test/s3/serve.sh, for as long as the benchmark."""

    def __init__(self):
        self.environment = dict(os.environ, S3_STATE=os.environ["DBOPS_WORKPLACE"] + "/tmp/s3", S3_BYTES=str(8 << 30))
        out = subprocess.run([HERE / "../s3/serve.sh", "start"], env=self.environment, check=True, stdout=subprocess.PIPE,
                             text=True).stdout
        self.variables = dict(line.split("=", 1) for line in out.split())
        self.places = 0

    def __getitem__(self, name):
        return self.variables[name]

    def url(self, endpoint="S3_ENDPOINT"):
        self.places += 1
        return f"s3://dbops-test/place{self.places}?endpoint={self[endpoint]}&region=us-east-1"

    def seconds(self):
        return sum(own for _, _, name, own, _ in processes() if name in ("ceph-osd", "radosgw", "ceph-mon"))

    def stop(self):
        subprocess.run([HERE / "../s3/serve.sh", "stop"], env=self.environment, check=False)


def children(server, titles):
    """Ids of the server's processes by what their title begins with; the streamer is not in pg_stat_activity."""
    postmaster = int((server.data / "postmaster.pid").read_text(encoding="ascii").split("\n", 1)[0])
    found = []
    for pid, parent, _, _, _ in processes():
        if parent == postmaster:
            with contextlib.suppress(OSError):
                title = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
                found += [pid for wanted in titles if title.startswith(f"postgres: {wanted}")]
    return found


class Archiver:
    """CPU seconds and memory of the server's archiver and of dbops' streamer."""

    def __init__(self, server):
        self.pids = children(server, ("archiver", "dbops WAL streamer"))

    def seconds(self):
        return sum(own + children for pid, _, _, own, children in processes() if pid in self.pids)

    def memory(self):
        """MiB that were resident at most, by name of the process."""
        found = {}
        for pid in self.pids:
            text = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
            title = re.sub(r"postgres: | (last was|failed on|archiving).*", "", pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()).strip()
            found[title] = int(re.search(r"VmHWM:\s+(\d+)", text).group(1)) / 1024
        return found


class Bench:
    def __init__(self, arguments):
        self.arguments = arguments
        self.orphans = Orphans()
        self.s3 = S3()
        self.server = Server("bench", SETTINGS)
        self.base = self.server.home / "base"
        self.ready = self.server.home / "ready"
        self.segments = []

    def close(self):
        self.server.remove()
        self.s3.stop()

    # --- the backlog ---------------------------------------------------------------------------------------------------

    def set(self, **settings):
        for name, value in settings.items():
            self.server.sql(f"ALTER SYSTEM SET {name.replace('__', '.')} = '{value}'")

    def restart(self, **settings):
        self.set(**settings)
        self.server.stop()
        self.server.start()
        self.server.sql("CHECKPOINT")
        wanted = {"archiver": self.server.sql("SHOW archive_mode") == "on",
                  "dbops WAL streamer": self.server.sql("SHOW archive_library") == "dbops"}
        for process in (name for name, is_wanted in wanted.items() if is_wanted):
            while not children(self.server, (process,)):
                time.sleep(0.1)

    def make_backlog(self):
        """A base backup, and then that many segments of pgbench's WAL, of which none is archived."""
        if self.segments:
            return
        server, wanted = self.server, self.arguments.segments
        server.run("pgbench", "-i", "-q", "-s", "50", quiet=True, stderr=subprocess.DEVNULL)
        server.sql("CHECKPOINT")
        server.run("pg_basebackup", "-D", self.base, "-X", "none", "--no-manifest", "--no-sync", "-c", "fast", quiet=True,
                   stderr=subprocess.DEVNULL)
        first = server.sql("SELECT pg_walfile_name(pg_switch_wal())")
        self.restart(archive_command="false", synchronous_commit="off")
        checkpoint = 0
        while self.waiting() < wanted:
            if self.waiting() >= checkpoint: # as often as max_wal_size = 1GB would have it
                server.sql("CHECKPOINT")
                checkpoint += 32
            server.run("pgbench", "-n", "-c", "4", "-j", "2", "-T", "5", "-M", "prepared", quiet=True, stderr=subprocess.DEVNULL)
        names = sorted(path.name[:24] for path in (server.data / "pg_wal/archive_status").glob("*.ready"))
        self.segments = [name for name in names if name > first][:wanted]
        for row in server.sql("SELECT count(*), sum(abalance) FROM pgbench_accounts").splitlines():
            self.expected = row
        # They wait outside until a run begins; then the archiver finds all of them at once.
        self.ready.mkdir()
        for path in (server.data / "pg_wal/archive_status").glob("*.ready"):
            path.rename(self.ready / path.name if path.name[:24] in self.segments else path.with_suffix(".done"))
        self.restart(archive_command="true", synchronous_commit="on")
        print(f"{len(self.segments)} segments of pgbench's WAL", flush=True)

    def waiting(self):
        return len(list((self.server.data / "pg_wal/archive_status").glob("*.ready")))

    def archive(self, name, finish=lambda: None):
        """Archives the backlog by what is set up; returns what it took."""
        server, status = self.server, self.server.data / "pg_wal/archive_status"
        for segment in self.segments:
            with contextlib.suppress(FileNotFoundError):
                (status / f"{segment}.done").unlink()
        archiver, store, self.orphans.seconds = Archiver(server), self.s3.seconds(), 0.0
        before, start = archiver.seconds(), time.monotonic()
        for segment in self.segments:
            (status / f"{segment}.ready").touch()
        server.sql("SELECT pg_switch_wal()")
        while any((status / f"{segment}.ready").exists() for segment in reversed(self.segments)):
            time.sleep(0.02)
            if time.monotonic() - start > 900:
                raise RuntimeError(f"{name}: the backlog is not archived: "
                                   + server.sql("SELECT s::text FROM pg_stat_archiver s") + self.log())
        seconds = time.monotonic() - start
        finish()
        figure = {"rate": len(self.segments) / seconds, "cpu": archiver.seconds() - before + self.orphans.seconds,
                  "store": self.s3.seconds() - store}
        print(f"  {name:34} {figure['rate']:7.1f} segments/s {figure['cpu']:7.2f} s CPU"
              f" ({figure['store']:.1f} s in the store)", flush=True)
        return figure

    def log(self):
        return "\n" + (self.server.home / "log").read_text(encoding="utf-8")[-2000:]

    def use_dbops(self, url, workers):
        self.restart(archive_command="", archive_library="dbops", dbops__store=url,
                     dbops__credentials_file=self.s3["S3_CREDENTIALS_FILE"], dbops__archive_workers=workers,
                     dbops__compression_level=LEVEL)

    def use_pgbackrest(self, workers):
        """A stanza of its own each time; the repository is in the same S3 server, by https: it knows no other way."""
        self.s3.places += 1
        place = self.server.home / f"pgbackrest{self.s3.places}"
        place.mkdir()
        port = self.s3["S3_TLS_ENDPOINT"].rsplit(":", 1)[1]
        (place / "conf").write_text(
            "[global]\nrepo1-type=s3\nrepo1-s3-bucket=dbops-test\nrepo1-s3-region=us-east-1\nrepo1-s3-uri-style=path\n"
            f"repo1-path=/pgbackrest{self.s3.places}\nrepo1-s3-endpoint=localhost\nrepo1-storage-port={port}\n"
            f"repo1-storage-ca-file={self.s3['S3_CA_FILE']}\nrepo1-s3-key={self.s3['S3_ACCESS_KEY']}\n"
            f"repo1-s3-key-secret={self.s3['S3_SECRET_KEY']}\narchive-async=y\ncompress-type=zst\ncompress-level={LEVEL}\n"
            f"process-max={workers}\nspool-path={place}/spool\nlog-path={place}\nlock-path={place}\nlog-level-console=off\n"
            f"log-level-file=error\n[main]\npg1-path={self.server.data}\npg1-socket-path={self.server.home}\npg1-port=5432\n"
            "pg1-user=postgres\n", encoding="ascii")
        command = f"pgbackrest --config={place}/conf --stanza=main"
        subprocess.run(f"{command} stanza-create", shell=True, check=True, env=self.server.environment)
        self.set(dbops__store="")
        self.restart(archive_library="", archive_command=f"{command} archive-push %p")

    def zstd_limit(self):
        """Segments a second that zstd does on all cores, from the page cache to nowhere."""
        wal = self.server.data / "pg_wal"

        def compress(segment):
            return len(zstandard.ZstdCompressor(level=LEVEL).compress((wal / segment).read_bytes()))

        start, before = time.monotonic(), time.process_time()
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            size = sum(pool.map(compress, self.segments))
        seconds = time.monotonic() - start
        figure = {"rate": len(self.segments) / seconds, "cpu": time.process_time() - before}
        print(f"  {'zstd alone, ' + str(os.cpu_count()) + ' threads':34} {figure['rate']:7.1f} segments/s {figure['cpu']:7.2f} s CPU,"
              f" to {size / len(self.segments) / SEGMENT:.2f} of the size", flush=True)
        return figure

    def backlog(self):
        self.make_backlog()
        workers, figures = self.arguments.workers, {}
        for _ in range(self.arguments.rounds):
            figures.setdefault("zstd", []).append(self.zstd_limit())
            self.use_pgbackrest(workers)
            figures.setdefault("pgbackrest", []).append(
                self.archive(f"pgBackRest, {workers} processes, https", lambda: self.orphans.wait("pgbackrest")))
            for name, url in (("https", self.s3.url("S3_TLS_ENDPOINT") + f"&ca-file={self.s3['S3_CA_FILE']}"),
                              ("http", self.s3.url()), ("directory", self.directory())):
                self.use_dbops(url, workers)
                figures.setdefault(name, []).append(self.archive(f"dbops, {workers} threads, {name}"))
                self.memory_line()

        def median(name, what):
            return statistics.median(figure[what] for figure in figures[name])

        print()
        report("segments/s to S3 by https, dbops to pgBackRest", median("https", "rate") / median("pgbackrest", "rate"), at_least=2)
        report("CPU seconds, dbops to pgBackRest", median("https", "cpu") / median("pgbackrest", "cpu"), at_most=0.7)
        report("segments/s to S3 by http, dbops to zstd alone", median("http", "rate") / median("zstd", "rate"), at_least=0.8)
        report("segments/s to a directory, dbops to zstd alone", median("directory", "rate") / median("zstd", "rate"), at_least=0.8)
        report("CPU seconds to S3 by http, dbops to zstd alone", median("http", "cpu") / median("zstd", "cpu"))

    def directory(self):
        self.s3.places += 1
        place = self.server.home / f"store{self.s3.places}"
        place.mkdir()
        return f"file://{place}"

    def memory_line(self):
        for title, size in Archiver(self.server).memory().items():
            print(f"      {title}: {size:.0f} MiB resident at most", flush=True)

    # --- recovery ------------------------------------------------------------------------------------------------------

    def replay(self, name, command, data):
        """Recovers a copy of the base backup to its end; returns seconds."""
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(self.base, data)
        (data / "recovery.signal").touch()
        with open(data / "postgresql.auto.conf", "a", encoding="ascii") as conf:
            conf.write(f"archive_mode = off\narchive_library = ''\nrestore_command = '{command}'\n"
                       f"recovery_target_name = 'end'\nrecovery_target_action = 'shutdown'\nport = 5433\nhot_standby = off\n")
        peak = Peak("dbops")
        start, store = time.monotonic(), self.s3.seconds()
        log = self.server.home / f"log-{data.name}"
        self.server.run("pg_ctl", "-D", data, "-l", log, "-W", "start", quiet=True)
        time.sleep(0.5)
        while (data / "postmaster.pid").exists():
            time.sleep(0.02)
        seconds = time.monotonic() - start
        memory = peak.stop()
        if "recovery stopping at restore point" not in log.read_text(encoding="utf-8"):
            raise RuntimeError(f"{name}: " + log.read_text(encoding="utf-8")[-2000:])
        log.unlink()
        print(f"  {name:34} {seconds:7.1f} s ({self.s3.seconds() - store:.1f} s CPU in the store)"
              + (f"; wal-get: {memory:.0f} MiB resident at most" if memory else ""), flush=True)
        return seconds

    def recovery(self):
        self.make_backlog()
        url = self.s3.url()
        self.use_dbops(url, self.arguments.workers)
        # From the base backup on, as the archive of a real server; the end has a name.
        status = self.server.data / "pg_wal/archive_status"
        for path in status.glob("0*.done"):
            path.rename(path.with_suffix(".ready"))
        self.server.sql("SELECT pg_create_restore_point('end'); SELECT pg_switch_wal()")
        while self.waiting():
            time.sleep(0.1)
        self.set(dbops__store="", archive_library="")
        self.restart(archive_command="true")
        get = (f'{os.environ["DBOPS_COMMAND"]} wal-get --store "{url}" --credentials-file "{self.s3["S3_CREDENTIALS_FILE"]}" %f "%p"')
        copy = f'cp "{self.server.data}/pg_wal/%f" "%p"'
        seconds = {"get": [], "cp": []}
        for _ in range(self.arguments.rounds):
            seconds["cp"].append(self.replay("restore_command = cp", copy, self.server.home / "by-cp"))
            seconds["get"].append(self.replay("restore_command = dbops wal-get", get, self.server.home / "by-get"))
        print()
        report("recovery, dbops wal-get from S3 to a local copy",
               statistics.median(seconds["get"]) / statistics.median(seconds["cp"]), at_most=1.1)

    # --- memory --------------------------------------------------------------------------------------------------------

    def memory(self):
        """The segments that wait are real, the other files are links to one of them, which nobody gets to read."""
        self.make_backlog()
        wal = self.server.data / "pg_wal"
        timeline, last = self.segments[-1][:8], int(self.segments[-1][8:16], 16) * 256 + int(self.segments[-1][16:], 16)
        fakes = [f"{timeline}{(last + 4096 + i) // 256:08X}{(last + 4096 + i) % 256:08X}" for i in range(self.arguments.files)]
        self.use_dbops(self.s3.url(), self.arguments.workers)
        for index, fake in enumerate(fakes):
            if index % 30000 == 0:  # a file may have so many links
                source = self.server.home / f"source{index}"
                shutil.copyfile(wal / self.segments[0], source)
            os.link(source, wal / fake)
            (wal / "archive_status" / f"{fake}.ready").touch()
        self.archive(f"dbops, beside {len(fakes):,} files")
        time.sleep(5)
        for title, size in Archiver(self.server).memory().items():
            report(f"MiB resident, {title}", size, at_most=64)
        for fake in fakes:
            (wal / "archive_status" / f"{fake}.ready").unlink(missing_ok=True)
            (wal / fake).unlink(missing_ok=True)

    # --- RPO -----------------------------------------------------------------------------------------------------------

    def rpo(self):
        server = self.server
        server.run("pgbench", "-i", "-q", "-s", "10", quiet=True, stderr=subprocess.DEVNULL)
        for interval, p50, p99 in (("1s", 1, 2), ("100ms", None, 0.5)):
            self.set(dbops__stream_interval=interval)
            self.use_dbops(self.s3.url(), self.arguments.workers)
            load = server.background("pgbench", "-n", "-c", "2", "-R", "300", "-T", str(self.arguments.seconds + 4), "-M", "prepared",
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(3)
            times = sorted(commit_to_durable(server, self.arguments.seconds))
            load.wait()
            print(f"  stream_interval = {interval}: p50 {percentile(times, 0.5):.2f} s, p99 {percentile(times, 0.99):.2f} s,"
                  f" longest {times[-1]:.2f} s, of {len(times)} commits", flush=True)
            if p50:
                report(f"s from commit to durable at {interval}, p50", percentile(times, 0.5), at_most=p50)
            report(f"s from commit to durable at {interval}, p99", percentile(times, 0.99), at_most=p99)
        self.server.sql("ALTER SYSTEM RESET dbops.stream_interval")
        self.memory_line()

    # --- throughput ----------------------------------------------------------------------------------------------------

    def throughput(self):
        server = self.server
        server.run("pgbench", "-i", "-q", "-s", "20", quiet=True, stderr=subprocess.DEVNULL)
        copies = server.home / "copies"
        copies.mkdir(exist_ok=True)
        self.set(wal_keep_size="1GB")
        cases = {
            "archive off": lambda: self.restart(archive_mode="off", archive_library="", archive_command="", dbops__store=""),
            "archive_command = cp": lambda: self.restart(archive_mode="on", archive_library="", dbops__store="",
                                                         archive_command=f'cp "%p" "{copies}/%f"'),
            "dbops to a directory": lambda: (self.set(archive_mode="on"), self.use_dbops(self.directory(), self.arguments.workers)),
            "dbops to S3": lambda: (self.set(archive_mode="on"), self.use_dbops(self.s3.url(), self.arguments.workers)),
        }
        rates = {name: [] for name in cases}
        for _ in range(max(3, self.arguments.rounds)):
            for name, prepare in cases.items():
                prepare()
                server.sql("CHECKPOINT")
                out = server.run("pgbench", "-n", "-c", "4", "-j", "1", "-T", str(self.arguments.seconds), "-M", "prepared",
                                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
                rates[name].append(float(re.search(r"tps = ([\d.]+)", out).group(1)))
                print(f"  {name:34} {rates[name][-1]:7.0f} transactions/s", flush=True)
        print()
        tps = {name: statistics.median(found) for name, found in rates.items()}
        report("transactions/s, dbops to a directory to archive_command = cp", tps["dbops to a directory"] / tps["archive_command = cp"], at_least=0.97)
        report("transactions/s, dbops to S3 (same machine) to archive_command = cp", tps["dbops to S3"] / tps["archive_command = cp"], at_least=0.97)
        report("transactions/s, dbops to a directory to archive off", tps["dbops to a directory"] / tps["archive off"])
        report("transactions/s, archive_command = cp to archive off", tps["archive_command = cp"] / tps["archive off"])


class Peak:
    """The largest resident memory (MiB) that a process of that name has while this runs."""

    def __init__(self, name):
        self.name, self.size, self.done = name, 0.0, threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()

    def watch(self):
        while not self.done.wait(0.01):
            for pid, _, name, _, _ in processes():
                if name == self.name:
                    with contextlib.suppress(OSError, AttributeError):
                        text = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
                        self.size = max(self.size, int(re.search(r"VmHWM:\s+(\d+)", text).group(1)) / 1024)

    def stop(self):
        self.done.set()
        self.thread.join()
        return self.size


class Session:
    """psql that stays: one statement, one line back."""

    def __init__(self, server):
        self.psql = server.background("psql", "-XAtq", stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1)

    def ask(self, sql):
        self.psql.stdin.write(sql + "\n")
        self.psql.stdin.flush()
        return self.psql.stdout.readline().strip()

    def close(self):
        self.psql.stdin.close()
        self.psql.wait()


def position(text):
    high, _, low = text.partition("/")
    return int(high, 16) << 32 | int(low, 16) if low else 0


def commit_to_durable(server, seconds):
    """Commits 20 times a second; how long each took until dbops.archive_status said that it is durable."""
    writer, watcher, waiting, times = Session(server), Session(server), [], []
    server.sql("CREATE TABLE IF NOT EXISTS mark (at timestamptz)")
    end = next_commit = time.monotonic()
    end += seconds
    while waiting or time.monotonic() < end:
        now = time.monotonic()
        if next_commit <= now < end:
            lsn = writer.ask("INSERT INTO mark VALUES (now()); SELECT pg_current_wal_insert_lsn();")
            waiting.append((position(lsn), time.monotonic()))
            next_commit = now + 0.05
        durable = position(watcher.ask("SELECT coalesce(durable_lsn, '0/0') FROM dbops.archive_status WHERE repository = 'primary';"))
        now = time.monotonic()
        times += [now - at for lsn, at in waiting if lsn <= durable]
        waiting = [(lsn, at) for lsn, at in waiting if lsn > durable]
        if waiting and now - waiting[0][1] > 60:
            raise RuntimeError("a commit is not durable after a minute")
        time.sleep(0.005)
    writer.close()
    watcher.close()
    return times


def report(title, value, at_least=None, at_most=None):
    bound = f"at least {at_least}" if at_least is not None else f"at most {at_most}" if at_most is not None else ""
    missed = at_least is not None and value < at_least or at_most is not None and value > at_most
    print(f"{title:66} {value:6.2f}" + (f"  (target {bound}) {'MISSED' if missed else 'ok'}" if bound else ""), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", type=int, default=200, help="of the backlog")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="threads of dbops, processes of pgBackRest")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=30, help="of a run of pgbench")
    parser.add_argument("--files", type=int, default=100_000, help="that wait, for the memory of the archiver")
    cases = ["backlog", "recovery", "memory", "rpo", "throughput"]
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(cases) + "; default: all")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: exit(143))
    bench = Bench(arguments)
    try:
        version = bench.server.sql("SELECT current_setting('server_version')")
        other = subprocess.run(["pgbackrest", "version"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        ceph = subprocess.run(["radosgw", "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()[2]
        print(f"PostgreSQL {version}, {other}, Ceph {ceph}, {os.cpu_count()} cores, {platform.machine()}, zstd level {LEVEL}, "
              f"{time.strftime('%Y-%m-%d')}, load {os.getloadavg()[0]:.1f}\n")
        bench.server.sql("CREATE EXTENSION dbops")
        for case in arguments.cases or cases:
            print(f"== {case}", flush=True)
            getattr(bench, case)()
            print()
    finally:
        bench.close()


if __name__ == "__main__":
    main()
