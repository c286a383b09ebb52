"""Schedules beside pg_cron (background-worker mode), on one server, in turn. Needs Debian's postgresql-15-cron.

  seconds   N schedules of `every second` for a while: start delay, lost runs. Debian's pg_cron (1.4) has no such schedules.
  minute    N schedules of `* * * * *`, dbops and pg_cron: start delay of the same command by its own clock, lost runs
  launcher  CPU of the launcher while N schedules fall due each minute, and while nothing does

A run is lost when no command was run for its time. The delay is from that time to the command's own clock_timestamp().
"""

import argparse
import os
import pathlib
import sys
import time

from server import Server, percentile

TICKS = os.sysconf("SC_CLK_TCK")

LOG = "CREATE TABLE log (job int NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());"


def settings(workers):
    return f"""
shared_preload_libraries = 'dbops,pg_cron'
cron.use_background_workers = on
cron.max_running_jobs = {workers}
cron.log_run = on
dbops.max_workers = {workers}
max_worker_processes = {workers * 2 + 16}
shared_buffers = 512MB
"""


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def children_cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[13]) + int(fields[14])) / TICKS


class Bench:
    def __init__(self, arguments):
        self.arguments = arguments
        self.server = Server("bench-schedules", settings(arguments.workers))
        self.server.sql("CREATE EXTENSION dbops; CREATE EXTENSION pg_cron; " + LOG)
        self.server.wait_for_launcher()

    def launcher(self):
        return int(self.server.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'dbops launcher'"))

    def postmaster(self):
        return int((self.server.data / "postmaster.pid").read_text(encoding="ascii").split()[0])

    # Times that fall into [begin, end): each schedule is to have one command for each of them.
    def report(self, name, unit, begin, end):
        delays = [float(x) for x in self.server.sql(
            f"SELECT extract(epoch FROM min(at) - date_trunc('{unit}', at)) FROM log WHERE at >= to_timestamp({begin})"
            f" AND at < to_timestamp({end}) GROUP BY job, date_trunc('{unit}', at)").split()]
        delays.sort()
        step = 1 if unit == "second" else 60
        expected = self.arguments.schedules * round((end - begin) / step)
        twice = int(self.server.sql(
            f"SELECT coalesce(sum(n - 1), 0) FROM (SELECT count(*) AS n FROM log WHERE at >= to_timestamp({begin}) AND at <"
            f" to_timestamp({end}) GROUP BY job, date_trunc('{unit}', at)) g"))
        figures = [percentile(delays, q) for q in (0.5, 0.99, 1.0)]
        print(f"{name:24} runs {len(delays)} of {expected}, lost {expected - len(delays)}, twice {twice}; delay p50"
              f" {figures[0] * 1000:.0f} ms, p99 {figures[1] * 1000:.0f} ms, max {figures[2] * 1000:.0f} ms", flush=True)
        return figures[1]

    # By the times that dbops itself keeps: a run that is late is not taken for that of the next second.
    def report_slots(self, begin, end):
        delays = sorted(float(x) for x in self.server.sql(
            "SELECT extract(epoch FROM r.started_at - r.scheduled_at) FROM dbops.job_run r JOIN dbops.job j USING (job_id)"
            f" WHERE j.label LIKE 'bench %' AND r.scheduled_at >= to_timestamp({begin}) AND r.scheduled_at <"
            f" to_timestamp({end})").split())
        expected = self.arguments.schedules * round(end - begin)
        passed = self.server.sql("SELECT sum(missed_runs), sum(skipped_runs), sum(failures) FROM dbops.schedules")
        print(f"{'dbops, every second':24} runs {len(delays)} of {expected}, lost {expected - len(delays)} (missed, skipped,"
              f" failed: {passed}); delay p50 {percentile(delays, 0.5) * 1000:.0f} ms, p99"
              f" {percentile(delays, 0.99) * 1000:.0f} ms, max {percentile(delays, 1.0) * 1000:.0f} ms", flush=True)

    def schedule(self, when, options=""):
        self.server.sql("TRUNCATE log")
        self.server.sql(f"SELECT count(dbops.schedule('bench ' || i, '{when}', 'INSERT INTO log VALUES (' || i || ')'"
                        f"{options})) FROM generate_series(1, {self.arguments.schedules}) i")

    def unschedule(self):
        self.server.sql("SELECT count(dbops.unschedule(name)) FROM (SELECT name FROM dbops.schedules) s")
        while self.server.sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'dbops worker'") != "0":
            time.sleep(0.2)

    def seconds(self):
        self.schedule("every second", ", missed => 'all', overlap => 'queue', max_output => 0")
        begin = int(time.time()) + 5  # the first ones find no worker that is up
        end = begin + self.arguments.seconds
        cpu, at = cpu_seconds(self.launcher()), time.time()
        time.sleep(max(0.0, end + 5 - time.time()))
        share = (cpu_seconds(self.launcher()) - cpu) / (time.time() - at)
        self.report_slots(begin, end)
        print(f"{'':24} launcher {share * 100:.2f} % of a core", flush=True)
        self.unschedule()

    @staticmethod
    def minutes_from_now(minutes):
        begin = (int(time.time()) // 60 + 1) * 60
        if begin - time.time() < 10:  # time for the schedules to be made
            begin += 60
        return begin, begin + minutes * 60

    def minute(self):
        begin, end = self.minutes_from_now(self.arguments.minutes)
        self.schedule("* * * * *")
        time.sleep(max(0.0, end - 1 - time.time()))
        ours = self.report("dbops, * * * * *", "minute", begin, end)
        self.unschedule()
        begin, end = self.minutes_from_now(self.arguments.minutes)
        self.server.sql("TRUNCATE log")
        self.server.sql("SELECT count(cron.schedule('bench ' || i, '* * * * *', 'INSERT INTO log VALUES (' || i || ')'))"
                        f" FROM generate_series(1, {self.arguments.schedules}) i")
        time.sleep(max(0.0, end - 1 - time.time()))
        theirs = self.report("pg_cron, * * * * *", "minute", begin, end)
        self.server.sql("SELECT count(cron.unschedule(jobid)) FROM cron.job")
        print(f"ratio of the p99 of start delays, dbops / pg_cron: {ours / theirs:.2f}", flush=True)

    def idle_cpu(self, what, seconds):
        pid, parent = self.launcher(), self.postmaster()
        cpu, children, at = cpu_seconds(pid), children_cpu_seconds(parent), time.time()
        time.sleep(seconds)
        passed = time.time() - at
        print(f"launcher, {what}: {(cpu_seconds(pid) - cpu) / passed * 100:.3f} % of a core; all processes that ended:"
              f" {(children_cpu_seconds(parent) - children) / passed * 100:.2f} %", flush=True)

    def launcher_cpu(self):
        self.idle_cpu("nothing scheduled", self.arguments.minutes * 60)
        self.schedule("* * * * *")
        begin, _ = self.minutes_from_now(1)
        time.sleep(max(0.0, begin - 5 - time.time()))
        self.idle_cpu(f"{self.arguments.schedules} schedules a minute", self.arguments.minutes * 60)
        self.unschedule()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default="seconds,minute,launcher")
    parser.add_argument("--schedules", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=60, help="how long the case `seconds` is measured")
    parser.add_argument("--minutes", type=int, default=2, help="how long the others are")
    parser.add_argument("--workers", type=int, default=8, help="dbops.max_workers and cron.max_running_jobs")
    arguments = parser.parse_args()
    bench = Bench(arguments)
    try:
        print(bench.server.sql("SELECT version()"), f"{os.cpu_count()} processors, {arguments.workers} workers,"
              f" {arguments.schedules} schedules", flush=True)
        for case in arguments.cases.split(","):
            {"seconds": bench.seconds, "minute": bench.minute, "launcher": bench.launcher_cpu}[case]()
    finally:
        bench.server.remove()
    return 0


if __name__ == "__main__":
    sys.exit(main())
