#include "cli/command_line.h"

#include "cli/exit_status.h"
#include "cli/migration_options.h"
#include "core/job/state.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <iostream>
#include <map>

namespace dbops::cli {

namespace {

const char* const manual = R"(The connection:
  As with psql: PGHOST, PGPORT, PGUSER, PGDATABASE, PGSERVICE and the other PG* variables, service files and .pgpass
  apply. --dbname takes the name of a database, "host=db1 dbname=shop sslmode=require", or
  "postgresql://ann@db1:5432/shop". Jobs belong to one database: connect to the one that they are in. Options of the
  connection may stand before or after the command.

Who may:
  One sees one's own jobs, and steers them; members of dbops_monitor see all, members of dbops_admin also steer all.

Exit status:
  0  all is well; of watch: every job succeeded
  1  a job failed or was cancelled, or could not be paused, resumed, cancelled or retried; wal-list: WAL is missing;
     check: a check failed
  2  wrong usage, no connection, no store, or the extension is not in the database
  3  watch --once: no job failed, and not all have finished
  130 and other values over 128: ended by a signal, Ctrl-C for example

Examples:
  dbops jobs                       what is there to do
  dbops watch                      everything, until Ctrl-C
  dbops watch 12 && ./deploy.sh    wait for job 12, go on if it succeeded
  dbops pause 12 13 --reason "sale until noon"
  dbops errors 12 --json           the rows that job 12 set aside

"dbops COMMAND --help" tells more of each. wal-get has exit statuses of its own.)";

const char* const watch_manual = R"(Output:
  On a terminal, bars that are redrawn in place (in ASCII unless the locale is UTF-8; NO_COLOR=1 for no colours). Each
  job has: number, table, state, percent, rows done of how many there probably are, rows a second, time to go (ETA),
  rows set aside because of an error, median and 99th percentile of the times of its batches, and what it waits for,
  how long and since when. A job that has finished moves up and stays on the screen.

  Into a file or a pipe, a line of text for each change of state, and one an interval for a job that gets on.
  With --json the same as JSON, one object a line, keys named like the columns of dbops.jobs and dbops.progress;
  durations are in seconds (eta_seconds, waited_seconds, ...), times in UTC.

Without JOB: the jobs that are queued, running or paused (the first 50, running ones first), new ones, and those that
finish while watching; ends with Ctrl-C. With JOB: ends when all of them have finished.

When the server goes away, watch says so and connects again as soon as it can; jobs go on without it in any case.

Exit status: 0 when all succeeded, 1 when one failed or was cancelled, 2 for wrong usage or no connection,
3 with --once when none failed and not all have finished, 130 after Ctrl-C.)";

const char* const wal_get_manual = R"(In postgresql.conf:
  restore_command = 'dbops wal-get %f %p'

Takes the whole segment; else, for the last one of its timeline, what was streamed of it, filled up with zeros.

Exit status:
  0    the file is in place
  1    there is no such file: the word of every store that is named
  200  wrong usage, setting, permission or key        201  a store could not be reached within --retry-time
  202  WAL is missing in the middle                   203  the copies of the file are damaged
  204  the file could not be written here             205  its WAL creates a tablespace where files are already
PostgreSQL ends recovery at 1, and stops at 200 and above, so that an outage never looks like the end of WAL.)";

void add_connection_options(CLI::App& app, ConnectionSettings& settings) {
  const auto add = [&app](const char* names, std::optional<std::string>& value, const char* type, const char* what) {
    app.add_option(names, value, what)->type_name(type)->group("Connection options");
  };
  add("-d,--dbname", settings.dbname, "DBNAME", "database, conninfo string or URI");
  add("-h,--host", settings.host, "HOST", "host name or directory of the socket");
  add("-p,--port", settings.port, "PORT", "port");
  add("-U,--username", settings.user, "ROLE", "role to connect as");
}

// Checked here so that a typing error does not have to go to the server to be found. CLI11's own checks would print
// their ranges into the manual.
std::string check_job(const std::string& text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool valid = error == std::errc() && end == text.data() + text.size() && number > 0;
  return valid ? "" : "\"" + text + "\" is not the number of a job";
}

std::string check_interval(const std::string& text) {
  double seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  const bool valid = error == std::errc() && end == text.data() + text.size() && seconds >= 0.1 && seconds <= 86400;
  return valid ? "" : "\"" + text + "\" is not a number of seconds from 0.1 to 86400";
}

std::string check_duration(const std::string& text) {
  double seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  const bool valid = error == std::errc() && end == text.data() + text.size() && seconds >= 0 && seconds <= 31536000;
  return valid ? "" : "\"" + text + "\" is not a number of seconds";
}

std::string check_state(const std::string& text) {
  return core::job_state(text) ? "" : "\"" + text + "\" is no state of a job";
}

CLI::Option* add_jobs(CLI::App& app, std::vector<std::int64_t>& jobs, const char* description) {
  return app.add_option("JOB", jobs, description)->type_name("")->check(check_job);
}

CLI::App* add_watch(CLI::App& app, WatchCommand& command) {
  CLI::App* watch = app.add_subcommand("watch", "Show the progress of jobs, and wait for them");
  add_jobs(*watch, command.jobs, "numbers of jobs; without, all that are not finished");
  watch->add_option("-i,--interval", command.interval, "between two looks; default 1 on a terminal, else 10")
      ->type_name("SECONDS")
      ->check(check_interval);
  watch->add_flag("--once", command.once, "show how things are now, and end");
  watch->add_flag("--json", command.json, "JSON, one object a line");
  watch->footer(watch_manual);
  return watch;
}

CLI::App* add_jobs_list(CLI::App& app, JobsCommand& command) {
  CLI::App* jobs = app.add_subcommand("jobs", "List jobs");
  jobs->add_flag("-a,--all", command.all, "finished ones too");
  jobs->add_option("-s,--state", command.states, "jobs in that state only; may be given several times")
      ->type_name("STATE")
      ->allow_extra_args(false)
      ->check(check_state);
  jobs->add_flag("--json", command.json, "an array of JSON objects, keys named like the columns of dbops.jobs");
  jobs->footer("States: queued, running, paused, succeeded, failed, cancelled.\n"
               "The last column is the last error, or the label that the job was given.");
  return jobs;
}

CLI::App* add_errors(CLI::App& app, ErrorsCommand& command) {
  CLI::App* errors = app.add_subcommand("errors", "List the rows that a job set aside because they raised an error");
  errors->add_option("JOB", command.job, "number of the job")->type_name("")->required()->check(check_job);
  errors->add_flag("--json", command.json, "an array of JSON objects, keys named like the columns of dbops.job_errors");
  errors->footer("\"dbops retry JOB\" does these rows again once their cause is mended.");
  return errors;
}

struct SteeringWords {
  Steering action;
  const char* name;
  const char* description;
  const char* footer;
};

constexpr std::array<SteeringWords, 4> steering{{
    {Steering::pause, "pause", "Stop jobs until they are resumed",
     "Takes effect within a second: the batch under way is rolled back, finished ones stay."},
    {Steering::resume, "resume", "Let paused jobs go on", "They continue from their last batch."},
    {Steering::cancel, "cancel", "Stop jobs for good",
     "Takes effect within a second. Batches that were done stay done; \"dbops retry\" brings a job back."},
    {Steering::retry, "retry", "Try failed or cancelled jobs again",
     "They continue from their last batch, and do the rows again that were set aside, also of a job that succeeded\n"
     "without them."},
}};

CLI::App* add_steering(CLI::App& app, const SteeringWords& words, SteerCommand& command) {
  CLI::App* steer = app.add_subcommand(words.name, words.description);
  add_jobs(*steer, command.jobs, "numbers of jobs")->required();
  steer->add_option("-r,--reason", command.reason, "kept in dbops.job_events")->type_name("TEXT");
  steer->footer(std::string(words.footer) +
                "\nPrints the new state of each job; exit status 1 when one could not be changed.");
  return steer;
}

void add_store_options(CLI::App& app, StoreSettings& settings) {
  const auto add = [&app](const char* name, std::string& value, const char* variable, const char* type,
                          const char* what) {
    app.add_option(name, value, what)->type_name(type)->envname(variable)->group("Store options");
  };
  add("--store", settings.store, "DBOPS_STORE", "URL", "file:///path or s3://bucket/prefix?endpoint=...");
  add("--offsite-store", settings.offsite_store, "DBOPS_OFFSITE_STORE", "URL", "a second one with the same content");
  add("--key-file", settings.key_file, "DBOPS_KEY_FILE", "PATH", "keys of encrypted objects");
  add("--credentials-file", settings.credentials_file, "DBOPS_CREDENTIALS_FILE", "PATH",
      "for S3, in AWS's format; without, AWS's variables and roles apply");
  app.add_option("--system-identifier", settings.system_identifier,
                 "of the cluster; default: of the data directory that the command runs in")
      ->type_name("NUMBER")
      ->group("Store options");
}

void add_spool_options(CLI::App& app, SpoolSettings& settings) {
  app.add_option("--spool-dir", settings.directory,
                 "where segments are kept that were fetched ahead; default TMPDIR or /tmp")
      ->type_name("PATH");
  app.add_option("--spool-size", settings.size,
                 "how much is fetched ahead at most, e.g. 1GB; default 256MB, 0 for nothing")
      ->type_name("SIZE")
      ->transform(CLI::AsSizeValue(false));
}

CLI::App* add_wal_get(CLI::App& app, WalGetCommand& command) {
  CLI::App* get = app.add_subcommand("wal-get", "Fetch a WAL file from the archive: restore_command of PostgreSQL");
  get->add_option("FILE", command.file, "name of the file, %f")->type_name("")->required();
  get->add_option("PATH", command.target, "where to put it, %p")->type_name("")->required();
  add_store_options(*get, command.stores);
  get->add_option("--retry-time", command.retry_time,
                  "how long to try again when a store cannot be reached; default 300")
      ->type_name("SECONDS")
      ->check(check_duration);
  get->add_option("--gap-time", command.gap_time,
                  "how long to wait for a segment that only later WAL is there of; default 30")
      ->type_name("SECONDS")
      ->check(check_duration);
  static const std::map<std::string, HolePolicy> policies{
      {"crash", HolePolicy::crash}, {"stop", HolePolicy::stop}, {"end", HolePolicy::end}};
  get->add_option_function<std::string>(
         "--at-hole", [&command](const std::string& name) { command.at_hole = policies.at(name); },
         "when it does not come: end WAL there if a crash explains the hole (crash, the default), never "
         "(stop), or always (end)")
      ->type_name("crash|stop|end")
      ->check(CLI::IsMember(policies)); // CLI11's transformers take the values of an enum, too
  get->add_flag("--no-new-tablespaces", command.no_new_tablespaces,
                "refuse WAL that creates a tablespace, also where nothing is yet");
  add_spool_options(*get, command.spool);
  get->footer(wal_get_manual);
  return get;
}

CLI::App* add_wal_list(CLI::App& app, WalListCommand& command) {
  CLI::App* list = app.add_subcommand("wal-list", "List the WAL in the archive: timelines, ranges, what is missing");
  add_store_options(*list, command.stores);
  list->add_flag("--garbage", command.garbage,
                 "instead: pieces of segments that are there as a whole, and their bytes");
  list->add_flag("--json", command.json, "an array of JSON objects, one a store");
  list->footer(
      "States: archived; streamed, a segment of which there are pieces; incomplete, the same with later WAL behind\n"
      "it; missing. Exit status 1 when something is incomplete or missing. Without --system-identifier: the\n"
      "cluster of the data directory that the command runs in, or the only one that the store has.");
  return list;
}

CLI::App* add_check(CLI::App& app, CheckCommand& command) {
  CLI::App* check = app.add_subcommand("check", "Check archiving: settings, permissions, a segment there and back");
  check->add_option("--timeout", command.timeout, "for all checks; default 60")
      ->type_name("SECONDS")
      ->check(check_duration);
  check->add_flag("--json", command.json, "an array of JSON objects, one a check");
  check->footer("Runs dbops.check() in the server. Exit status 1 when a check found an error or a warning.");
  return check;
}

CLI::App* add_wal_prefetch(CLI::App& app, WalPrefetchCommand& command) {
  CLI::App* prefetch = app.add_subcommand("wal-prefetch", "")->group("");
  add_store_options(*prefetch, command.stores);
  add_spool_options(*prefetch, command.spool);
  prefetch->add_option("--recovery", command.recovery);
  prefetch->add_option("--recovery-started", command.recovery_started);
  prefetch->add_option("KEY", command.key)->required();
  prefetch->add_option("SEGMENT", command.segment)->required();
  prefetch->add_option("SEGMENT_SIZE", command.segment_size)->required();
  return prefetch;
}

constexpr const char* backup_manual =
    R"(Runs on the server's machine as a user who may read the data directory, and connects
as a superuser or a role that may execute pg_backup_start() and pg_backup_stop().

Only blocks that no earlier backup has are stored; each backup restores by itself. What an interrupted backup has
stored, the next one uses.

Exit status: 0 when all is well, 1 when pages were corrupt in the source (the backup has them as they are, and names
them), 2 when there is no backup.)";

constexpr const char* restore_manual =
    R"(On an empty machine the URL of the store, and the key file if there is one, are enough.
Before anything is written: the directory is empty, no server runs in it, there is space, all objects of the backup are
there, and WAL reaches to the target as far as can be told. A restore that was interrupted cannot be started as a
server; the same command goes on from there.

The server recovers to the target when it is started. Its archive_mode is off then, in postgresql.auto.conf, until you
remove that line.)";

std::string check_level(const std::string& text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool valid = error == std::errc() && end == text.data() + text.size() && number >= 1 && number <= 19;
  return valid ? "" : "\"" + text + "\" is not a number from 1 to 19";
}

std::string check_annotation(const std::string& text) {
  return text.find('=') == std::string::npos ? "\"" + text + "\" is not NAME=VALUE" : "";
}

std::string check_threads(const std::string& text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool valid = error == std::errc() && end == text.data() + text.size() && number >= 1 && number <= 64;
  return valid ? "" : "\"" + text + "\" is not a number from 1 to 64";
}

CLI::App* add_backup(CLI::App& app, BackupCommand& command) {
  CLI::App* backup = app.add_subcommand("backup", "Back up the server into the store");
  backup->add_option("-D,--pgdata", command.data_directory, "data directory; default: as the server says")
      ->type_name("DIRECTORY");
  backup->add_flag("--full", command.full, "store all blocks again, whatever earlier backups have");
  backup->add_option("-l,--label", command.label, "kept with the backup")->type_name("TEXT");
  backup->add_option("--annotation", command.annotations, "kept with the backup; may be given several times")
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false)
      ->check(check_annotation);
  backup->add_option("-j,--jobs", command.jobs, "threads; default 2")->type_name("NUMBER")->check(check_threads);
  backup->add_option("--compression-level", command.compression_level, "of zstd, 1 to 19; default 3")
      ->type_name("NUMBER")
      ->check(check_level);
  backup->add_option("--max-rate", command.max_rate, "bytes read a second, e.g. 50MB; default: no limit")
      ->type_name("SIZE")
      ->check(
          [](const std::string& text) { return parse_size(text) ? "" : "\"" + text + "\" is not a size like 50MB"; });
  backup
      ->add_option("--archive-timeout", command.archive_timeout,
                   "how long to wait for the backup's WAL in the store; default 600")
      ->type_name("SECONDS")
      ->check(check_duration);
  backup->add_flag("--json", command.json, "the result as a JSON object");
  add_store_options(*backup, command.stores);
  backup->footer(backup_manual);
  return backup;
}

void add_gap_time(CLI::App& command, double& value) {
  command
      .add_option("--gap-time", value,
                  "how long to wait for WAL that the target needs and that may be on its way; default 30")
      ->type_name("SECONDS")
      ->check(check_duration);
}

void add_no_space_check(CLI::App& command, bool& value) {
  command.add_flag("--no-space-check", value, "also where there seems to be too little space: on one that compresses");
}

CLI::App* add_restore(CLI::App& app, RestoreCommand& command) {
  CLI::App* restore = app.add_subcommand("restore", "Restore a backup, and prepare recovery to a point in time");
  restore->add_option("-D,--pgdata", command.data_directory, "empty or new directory")
      ->type_name("DIRECTORY")
      ->required();
  restore->add_option("-b,--backup", command.backup, "default: the newest that leads to the target")
      ->type_name("BACKUP");
  const auto target = [&](const char* name, auto& value, const char* type, const char* what) {
    restore->add_option(name, value, what)->type_name(type)->group("Recovery target; without, all WAL there is");
  };
  target("--target-time", command.target_time, "TIME", "2026-11-21 14:32:01+01; without a zone, in this machine's");
  target("--target-lsn", command.target_lsn, "LSN", "0/3000028");
  target("--target-xid", command.target_xid, "XID", "just after this transaction");
  target("--target-name", command.target_name, "NAME", "of pg_create_restore_point()");
  restore->add_flag("--target-immediate", command.target_immediate, "as soon as it is consistent")
      ->group("Recovery target; without, all WAL there is");
  target("--timeline", command.timeline, "TIMELINE", "latest, current or a number");
  target("--target-action", command.target_action, "ACTION", "promote (default), pause or shutdown");
  restore->add_flag("--standby", command.standby, "a standby, which follows the archive");
  restore->add_flag("--accept-damage", command.accept_damage, "also a backup in which dbops verify has found damage");
  restore->add_flag("--delta", command.delta, "into a data directory: what is right there stays, the rest is replaced");
  restore->add_flag("--discard-wal", command.discard_wal, "with --delta: also where WAL was not archived yet");
  restore->add_option("--tablespace", command.tablespaces, "another place for a tablespace; may be given several times")
      ->type_name("OID=PATH")
      ->allow_extra_args(false);
  restore
      ->add_option("--bindir", command.programs,
                   "of the server; default: by PATH, or where packages put the backup's major version")
      ->type_name("DIRECTORY");
  restore->add_flag("--accept-major", command.accept_major, "also when that server is of another major version");
  add_gap_time(*restore, command.gap_time);
  add_no_space_check(*restore, command.ignore_space);
  restore->add_flag("--keep-archiving", command.keep_archiving, "leave archive_mode as it was in the source");
  restore->add_option("-j,--jobs", command.jobs, "threads; default 2")->type_name("NUMBER")->check(check_threads);
  add_store_options(*restore, command.stores);
  restore->footer(restore_manual);
  return restore;
}

CLI::App* add_list(CLI::App& app, ListCommand& command) {
  CLI::App* list = app.add_subcommand("list", "List backups");
  list->add_flag("--windows", command.windows, "instead: the moments that recovery from them can end at");
  list->add_flag("--json", command.json, "an array of JSON objects");
  add_store_options(*list, command.stores);
  return list;
}

constexpr const char* expire_manual =
    R"(The newest backup is always kept. Removed are backups that no rule keeps, packs that only they refer to, and WAL from
before the recovery window (without --pitr-window: from before the oldest backup that is kept) but that which a kept
backup needs to become consistent. What "dbops pin" has pinned is kept. Prints what and why. It may be interrupted, and may run beside a backup; it needs the
permissions to create and delete, and no server.)";

CLI::App* add_expire(CLI::App& app, ExpireCommand& command) {
  CLI::App* expire = app.add_subcommand("expire", "Remove backups that are not to be kept");
  const auto keep = [&](const char* name, unsigned& value, const char* what) {
    expire->add_option(name, value, what)->type_name("NUMBER")->check([](const std::string& text) {
      unsigned number = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
      const bool valid = error == std::errc() && end == text.data() + text.size() && number <= 100000;
      return valid ? "" : "\"" + text + "\" is not a number of backups";
    });
  };
  keep("--keep-last", command.rules.last, "the newest ones");
  keep("--keep-daily", command.rules.daily, "the last one of each of so many days (UTC)");
  keep("--keep-weekly", command.rules.weekly, "the last one of each of so many weeks");
  keep("--keep-monthly", command.rules.monthly, "the last one of each of so many months");
  keep("--keep-yearly", command.rules.yearly, "the last one of each of so many years");
  expire->add_option("--pitr-window", command.pitr_window, "what recovery to any time of it needs, e.g. '14 days'")
      ->type_name("DURATION")
      ->check([](const std::string& text) {
        return parse_window(text) ? "" : "\"" + text + "\" is not a duration like '14 days'";
      });
  expire->add_flag("--dry-run", command.dry_run, "only say what would be removed");
  expire->add_flag("--json", command.json, "the result as a JSON object");
  add_store_options(*expire, command.stores);
  expire->footer(expire_manual);
  return expire;
}

CLI::App* add_pin(CLI::App& app, PinCommand& command) {
  CLI::App* pin = app.add_subcommand("pin", "Keep a backup or dump, whatever the rules of expire say");
  pin->add_option("BACKUP", command.labels, "as \"dbops list\" and \"dbops dumps\" name them")
      ->type_name("")
      ->required();
  pin->add_option("-r,--reason", command.reason, "kept with the pin")->type_name("TEXT");
  pin->add_option("--for", command.hold_for, "a hold that ends by itself, e.g. '90 days'; default: until unpin")
      ->type_name("DURATION")
      ->check([](const std::string& text) {
        return parse_window(text) ? "" : "\"" + text + "\" is not a duration like '90 days'";
      });
  add_store_options(*pin, command.stores);
  pin->footer(
      "One may have several pins; it is kept as long as one of them holds. Needs the permission to create alone.");
  return pin;
}

CLI::App* add_unpin(CLI::App& app, UnpinCommand& command) {
  CLI::App* unpin = app.add_subcommand("unpin", "Release all pins of a backup or dump");
  unpin->add_option("BACKUP", command.labels, "as \"dbops list\" and \"dbops dumps\" name them")
      ->type_name("")
      ->required();
  add_store_options(*unpin, command.stores);
  unpin->footer("The next expire decides about it by its rules. Needs the permission to create alone.");
  return unpin;
}

CLI::App* add_verify(CLI::App& app, VerifyCommand& command) {
  CLI::App* verify = app.add_subcommand("verify", "Check whether backups can be restored");
  verify->add_option("-b,--backup", command.backup, "default: all")->type_name("BACKUP");
  verify->add_flag("--deep", command.deep, "read, decrypt and hash all, not only look whether it is there");
  verify->add_option("-j,--jobs", command.jobs, "threads; default 2")->type_name("NUMBER")->check(check_threads);
  verify->add_flag("--restart", command.restart, "do not go on with a deep one that was interrupted");
  verify
      ->add_option("--gap-time", command.gap_time,
                   "how long to wait for a segment that later WAL is there of; default 30")
      ->type_name("SECONDS")
      ->check(check_duration);
  verify->add_flag("--json", command.json, "the result as a JSON object");
  add_store_options(*verify, command.stores);
  verify->footer(
      "Exit status: 0 when all is well, 1 when something is damaged or missing, 2 when that is not known.\n"
      "The next backup stores blocks again whose packs are damaged. A deep verification that was interrupted within "
      "the\n"
      "last week is gone on with. --deep reads WAL, too; without --backup, gaps in a recovery window are damage.");
  return verify;
}

CLI::App* add_drill(CLI::App& app, DrillCommand& command) {
  CLI::App* drill = app.add_subcommand("drill", "Prove that a backup can be restored, and measure how long it takes");
  drill->add_option("-b,--backup", command.backup, "default: the newest that leads to the target")->type_name("BACKUP");
  drill->add_option("--target-time", command.target_time, "default: the end of the archived WAL")->type_name("TIME");
  drill->add_option("--check-sql", command.check_sql, "run by psql in the restored server; must succeed")
      ->type_name("FILE");
  drill->add_option("--scratch", command.scratch, "where the server is made, and removed at the end; default /tmp")
      ->type_name("DIRECTORY");
  drill->add_option("--bindir", command.programs, "of pg_ctl, pg_amcheck and psql; default: as of restore")
      ->type_name("DIRECTORY");
  drill->add_option("--role", command.role, "a superuser of the restored server; default postgres")->type_name("ROLE");
  drill->add_option("--recovery-timeout", command.recovery_timeout, "default 86400")
      ->type_name("SECONDS")
      ->check(check_duration);
  add_gap_time(*drill, command.gap_time);
  add_no_space_check(*drill, command.ignore_space);
  drill->add_flag("--keep", command.keep, "leave the directory where it is");
  drill->add_option("-j,--jobs", command.jobs, "threads; default 2")->type_name("NUMBER")->check(check_threads);
  drill->add_flag("--json", command.json, "the result as a JSON object");
  add_store_options(*drill, command.stores);
  drill->footer(
      "Restores into a scratch directory, starts a server on a private socket with archiving off, waits for the "
      "target,\nruns pg_amcheck and the check, and puts the times into the store (drill/<time>-<random>.json). Exit "
      "status: 0 when all of it\nsucceeded.");
  return drill;
}

CLI::App* add_dump(CLI::App& app, DumpCommand& command) {
  CLI::App* dump = app.add_subcommand("dump", "Put what pg_dump says of a database into the store");
  dump->add_option("-F,--format", command.format, "custom (default), streamed; or directory, by way of --scratch")
      ->type_name("FORMAT")
      ->check([](const std::string& text) {
        return text == "custom" || text == "directory" ? "" : "\"" + text + "\" is neither custom nor directory";
      });
  dump->add_option("-t,--table", command.tables, "as of pg_dump; may be given several times")
      ->type_name("PATTERN")
      ->allow_extra_args(false);
  dump->add_option("-n,--schema", command.schemas, "as of pg_dump; may be given several times")
      ->type_name("PATTERN")
      ->allow_extra_args(false);
  dump->add_option("-l,--label", command.label, "kept with the dump")->type_name("TEXT");
  dump->add_option("--annotation", command.annotations, "kept with the dump; may be given several times")
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false)
      ->check(check_annotation);
  dump->add_option("-j,--jobs", command.jobs, "threads, and connections of format directory; default 2")
      ->type_name("NUMBER")
      ->check(check_threads);
  dump->add_option("--compression-level", command.compression_level, "of zstd, 1 to 19; default 3")
      ->type_name("NUMBER")
      ->check(check_level);
  dump->add_option("--scratch", command.scratch, "where format directory is collected; default /tmp")
      ->type_name("DIRECTORY");
  dump->add_option("--bindir", command.programs, "of pg_dump; default: by PATH")->type_name("DIRECTORY");
  dump->add_flag("--json", command.json, "the result as a JSON object");
  add_store_options(*dump, command.stores);
  dump->footer(
      "There is a dump when the command ends with 0, and none otherwise. \"dbops expire\" removes dumps by the same\n"
      "rules as backups, each database by itself; \"dbops verify\" looks at them too.");
  return dump;
}

CLI::App* add_undump(CLI::App& app, UndumpCommand& command) {
  CLI::App* undump = app.add_subcommand("undump", "Restore a dump by pg_restore");
  undump->add_option("DUMP", command.dump, "default: the newest")->type_name("");
  undump->add_option("--database", command.database, "the newest of that database")->type_name("NAME");
  undump->add_option("-t,--table", command.tables, "that table only; may be given several times")
      ->type_name("TABLE")
      ->allow_extra_args(false);
  undump->add_option("-n,--schema", command.schemas, "that schema only; may be given several times")
      ->type_name("SCHEMA")
      ->allow_extra_args(false);
  undump->add_flag("-c,--clean", command.clean, "drop what is to be restored first");
  undump->add_flag("-C,--create", command.create, "create the database; --dbname is one to connect to");
  undump->add_flag("-a,--data-only", command.data_only, "rows, no definitions");
  undump->add_option("-j,--jobs", command.jobs, "connections; default 1")->type_name("NUMBER")->check(check_threads);
  undump->add_option("-o,--output", command.output, "write what pg_dump wrote, and restore nothing")->type_name("PATH");
  undump->add_option("--scratch", command.scratch, "where a dump is put that cannot be streamed; default /tmp")
      ->type_name("DIRECTORY");
  undump->add_option("--bindir", command.programs, "of pg_restore; default: by PATH")->type_name("DIRECTORY");
  add_store_options(*undump, command.stores);
  undump->footer("All or nothing, in one transaction, unless --create or --jobs is given.");
  return undump;
}

CLI::App* add_dumps(CLI::App& app, DumpsCommand& command) {
  CLI::App* dumps = app.add_subcommand("dumps", "List dumps");
  dumps->add_flag("--json", command.json, "an array of JSON objects");
  add_store_options(*dumps, command.stores);
  return dumps;
}

// Than wal-get.
constexpr std::array<std::string_view, 29> other_commands{
    "watch",   "jobs",    "pause",  "resume",   "cancel", "retry",  "errors",   "check", "wal-list", "backup",
    "restore", "dump",    "undump", "dumps",    "list",   "expire", "verify",   "drill", "pin",      "unpin",
    "lint",    "migrate", "info",   "validate", "undo",   "repair", "baseline", "adopt", "diff"};

} // namespace

int usage_status(int count, const char* const* arguments) {
  for (int i = 1; i < count; ++i)
    if (std::ranges::find(other_commands, arguments[i]) != other_commands.end()) return exit_error;
  return count > 1 ? int(restore_misconfigured) : int(exit_error);
}

std::variant<CommandLine, int> parse_command_line(int count, const char* const* arguments) {
  CLI::App app("Watches and steers the jobs of the PostgreSQL extension dbops, and restores WAL.", "dbops");
  app.set_help_flag("--help", "print this manual and exit");
  app.set_version_flag("-V,--version", "dbops " DBOPS_VERSION, "print the version and exit");
  app.get_formatter()->column_width(32);
  app.require_subcommand(1);
  app.fallthrough();
  app.footer(manual);

  CommandLine line;
  add_connection_options(app, line.connection);
  // CLI11 keeps references: these live until the parse is over.
  WatchCommand watch;
  JobsCommand jobs;
  ErrorsCommand errors;
  WalGetCommand wal_get;
  BackupCommand backup;
  RestoreCommand restore;
  ListCommand list;
  ExpireCommand expire;
  VerifyCommand verify;
  DrillCommand drill;
  DumpCommand dump;
  UndumpCommand undump;
  DumpsCommand dumps;
  PinCommand pin;
  UnpinCommand unpin;
  WalPrefetchCommand wal_prefetch;
  WalListCommand wal_list;
  CheckCommand check;
  std::array<SteerCommand, steering.size()> steers;
  add_watch(app, watch)->final_callback([&] { line.command = watch; });
  add_jobs_list(app, jobs)->final_callback([&] { line.command = jobs; });
  for (std::size_t i = 0; i < steering.size(); ++i) {
    steers[i].action = steering[i].action;
    add_steering(app, steering[i], steers[i])->final_callback([&line, &steer = steers[i]] { line.command = steer; });
  }
  add_errors(app, errors)->final_callback([&] { line.command = errors; });
  add_wal_get(app, wal_get)->final_callback([&] { line.command = wal_get; });
  add_wal_list(app, wal_list)->final_callback([&] { line.command = wal_list; });
  add_check(app, check)->final_callback([&] { line.command = check; });
  add_wal_prefetch(app, wal_prefetch)->final_callback([&] { line.command = wal_prefetch; });
  const MigrationOptions migrations(
      app, [&line](const MigrationCommand& command) { line.command = command; },
      [&line](const LintCommand& command) { line.command = command; });
  add_backup(app, backup)->final_callback([&] { line.command = backup; });
  add_restore(app, restore)->final_callback([&] { line.command = restore; });
  add_list(app, list)->final_callback([&] { line.command = list; });
  add_expire(app, expire)->final_callback([&] { line.command = expire; });
  add_verify(app, verify)->final_callback([&] { line.command = verify; });
  add_drill(app, drill)->final_callback([&] { line.command = drill; });
  add_dump(app, dump)->final_callback([&] { line.command = dump; });
  add_undump(app, undump)->final_callback([&] { line.command = undump; });
  add_dumps(app, dumps)->final_callback([&] { line.command = dumps; });
  add_pin(app, pin)->final_callback([&] { line.command = pin; });
  add_unpin(app, unpin)->final_callback([&] { line.command = unpin; });
  for (CLI::App* command : app.get_subcommands({}))
    command->fallthrough();

  try {
    app.parse(count, arguments);
    return line;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) std::cerr << "dbops: ";
    return app.exit(error, std::cout, std::cerr) == 0 ? int(exit_success) : usage_status(count, arguments);
  }
}

} // namespace dbops::cli
