"""A private server for the demo and the benchmarks: made, started and stopped here, in the workplace of workplace.sh.

Environment: DBOPS_WORKPLACE (a directory that the current user may write below tmp/), DBOPS_SETTINGS (lines for
postgresql.conf that make the server find dbops), PGBIN (the server's programs).
"""

import os
import pathlib
import shutil
import subprocess
import time

BIN = os.environ["PGBIN"]


class Server:
    def __init__(self, name, settings=""):
        self.home = pathlib.Path(os.environ["DBOPS_WORKPLACE"]) / "tmp" / name
        self.data = self.home / "data"
        self.home.mkdir()
        self.environment = dict(os.environ, PGHOST=str(self.home), PGPORT="5432", PGUSER="postgres",
                                PGDATABASE="postgres", PGOPTIONS="--client-min-messages=warning")
        self.run("initdb", "-D", self.data, "-A", "trust", "-U", "postgres", "--no-locale", "-E", "UTF8", quiet=True)
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as conf:
            conf.write(f"listen_addresses = ''\nunix_socket_directories = '{self.home}'\n"
                       "shared_preload_libraries = 'dbops'\n" + os.environ["DBOPS_SETTINGS"] + "\n" + settings)
        self.start()

    def run(self, program, *arguments, quiet=False, check=True, **options):
        if quiet:
            options.setdefault("stdout", subprocess.DEVNULL)
        return subprocess.run([f"{BIN}/{program}", *map(str, arguments)], env=self.environment, check=check, text=True,
                              **options)

    def start(self):
        self.run("pg_ctl", "-D", self.data, "-l", self.home / "log", "-w", "-t", "120", "start", quiet=True)

    def stop(self):
        self.run("pg_ctl", "-D", self.data, "-m", "fast", "-w", "-t", "120", "stop", quiet=True, check=False)

    def remove(self):
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def sql(self, text, database="postgres"):
        """Runs statements, each by itself; returns the last result as text, columns separated by |."""
        done = self.run("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, input=text,
                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip() + "\n" + text)
        return done.stdout.strip()

    def background(self, program, *arguments, **options):
        return subprocess.Popen([f"{BIN}/{program}", *map(str, arguments)], env=self.environment, text=True, **options)

    def wait_for_launcher(self):
        while self.sql("SELECT dbops.has_launcher()") != "t":
            time.sleep(0.05)


class Load:
    """pgbench with a script of its own, at a fixed rate; keeps the latency of every transaction."""

    def __init__(self, server, script, rate, clients=2, seconds=3600):
        self.server = server
        self.arguments = (script, rate, clients, seconds)
        self.prefix = server.home / f"load-{time.monotonic_ns()}"
        path = pathlib.Path(f"{self.prefix}.sql")
        path.write_text(script, encoding="utf-8")
        # Latency counts from the moment that the transaction was due, so a stall is felt by all that queue behind it.
        self.process = server.background(
            "pgbench", "-n", "-M", "prepared", "-c", clients, "-j", 1, "-R", rate, "-T", seconds, "-f", path, "-l",
            "--log-prefix", self.prefix, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def alive(self):
        return self.process.poll() is None

    def again(self):
        return Load(self.server, *self.arguments)

    def latencies(self, start=0.0, end=float("inf")):
        """Milliseconds of the transactions that ended between two times of the epoch, sorted."""
        found = []
        for log in self.server.home.glob(f"{self.prefix.name}.[0-9]*"):
            for line in log.read_text(encoding="utf-8").splitlines():
                fields = line.split()
                if len(fields) >= 6 and start <= int(fields[4]) + int(fields[5]) / 1e6 <= end:
                    found.append(int(fields[2]) / 1000)
        return sorted(found)

    def stop(self):
        self.process.terminate()
        self.process.wait()


def percentile(ordered, quantile):
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]
