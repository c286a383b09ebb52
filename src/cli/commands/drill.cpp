#include "cli/commands/drill.h"

#include "cli/background.h"
#include "cli/commands/restore.h"
#include "cli/drill_scratch.h"
#include "cli/exit_status.h"
#include "cli/local_time.h"
#include "cli/program.h"
#include "cli/progress_line.h"
#include "cli/repository.h"
#include "cli/server_programs.h"
#include "cli/signals.h"
#include "cli/terminal.h"
#include "cli/visibility_check.h"
#include "core/backup/catalogue.h"
#include "core/backup/evidence.h"
#include "core/backup/target_time.h"
#include "core/base/error.h"
#include "core/base/file.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace dbops::cli {

namespace {

namespace fs = std::filesystem;
using core::Error;
using core::ErrorKind;

// The source may have limits for its roles and databases, which would cancel what checks a large table.
constexpr const char* without_limits = "-c statement_timeout=0";

std::string in_conninfo(const std::string& value) {
  std::string text = "'";
  for (const char c : value) {
    if (c == '\'' || c == '\\') text += '\\';
    text += c;
  }
  return text + "'";
}

class Drill {
 public:
  explicit Drill(const DrillCommand& command) : command_(command), repository_(command.stores, {}) {
    remove_dead_drills(
        command.scratch, [this](const fs::path& data) { return stop_left_server(data); },
        [](const std::string& text) { tell("dbops drill", text); });
    scratch_.emplace(command.scratch);
  }
  ~Drill() {
    try {
      if (running_) run_program({program("pg_ctl"), "-D", data(), "-m", "immediate", "-w", "stop"}, log());
    } catch (const std::exception&) { // it was said already what went wrong
    }
    if (command_.keep)
      scratch_->keep();
    else
      scratch_->remove();
  }
  Drill(const Drill&) = delete;
  Drill& operator=(const Drill&) = delete;

  void run(const std::stop_token& stop) {
    stop_ = stop;
    try {
      phase("fetch", [&] { fetch(); });
      recover();
      phase("amcheck", [&] { amcheck(); });
      phase("visibility", [&] { visibility(); });
      if (!command_.check_sql.empty()) phase("checks", [&] { checks(); });
      finish_server();
      record_.succeeded = true;
    } catch (const std::exception& error) {
      record_.failure = error.what();
      keep_evidence();
      throw;
    }
    keep_evidence();
  }

  [[nodiscard]] const core::DrillRecord& record() const noexcept { return record_; }

  void show() const {
    const std::string phase = phase_.load();
    const bool fetches = phase == "fetch";
    show_progress("dbops drill", fetches ? fraction_of(fetched_.bytes, fetched_.bytes_total) : std::nullopt,
                  fetches ? fmt::format("{}, {}", phase, size_text(fetched_.bytes)) : phase);
  }

 private:
  [[nodiscard]] const fs::path& place() const { return scratch_->path(); }
  [[nodiscard]] std::string data() const { return DrillScratch::data_of(place()).string(); }
  [[nodiscard]] fs::path log() const { return place() / "log"; }
  [[nodiscard]] fs::path server_log() const { return place() / "server.log"; }
  [[nodiscard]] std::string program(const char* name) const { return programs_.path(name); }

  // That of a drill that was killed. The number in its file may be another process's by now, which must not be
  // signalled: a server has its data directory as its working directory.
  [[nodiscard]] bool stop_left_server(const fs::path& data) const {
    pid_t process = 0;
    std::ifstream(data / "postmaster.pid") >> process;
    std::error_code error;
    const fs::path place = fs::canonical(data, error);
    if (error) return error == std::errc::no_such_file_or_directory;
    if (process <= 0 || fs::read_symlink(fmt::format("/proc/{}/cwd", process), error) != place) return true;
    unsigned major = 0;
    std::ifstream(data / "PG_VERSION") >> major;
    try {
      return run_program({find_server_programs(command_.programs, major).path("pg_ctl"), "-D", data.string(), "-m",
                          "immediate", "-w", "stop"},
                         data.parent_path() / "log") == 0;
    } catch (const Error&) { // there is no pg_ctl
      return false;
    }
  }

  core::SteadyTime begin_phase(const char* name) {
    if (stop_.stop_requested()) throw Error(ErrorKind::cancelled, "the drill was cancelled");
    tell("dbops drill", name);
    phase_ = name;
    return repository_.clock().steady_now();
  }

  [[nodiscard]] double seconds_since(core::SteadyTime begin) {
    return std::chrono::duration<double>(repository_.clock().steady_now() - begin).count();
  }

  template <class Work>
  void phase(const char* name, const Work& work) {
    const core::SteadyTime begin = begin_phase(name);
    work();
    record_.phases.emplace_back(name, seconds_since(begin));
  }

  // The end of it, for a message.
  [[nodiscard]] static std::string words_of(const fs::path& file, std::size_t most = 2000) {
    if (!fs::exists(file)) return {};
    const core::Bytes bytes = core::read_file(file, std::uint64_t(1) << 30);
    const std::string_view text = core::as_text(bytes);
    return std::string(text.substr(text.size() > most ? text.size() - most : 0));
  }

  void must(const std::vector<std::string>& words, const char* what) {
    const int status = run_program(words, log());
    if (status != 0)
      throw Error(ErrorKind::io, fmt::format("{} failed with status {}: {}", what, status, words_of(log())));
  }

  void fetch() {
    record_.at = repository_.clock().wall_now();
    if (command_.target_time)
      record_.target_time = core::target_time_text(core::parse_target_time(*command_.target_time, LocalZone()));
    RestoreCommand restore;
    restore.stores = command_.stores;
    restore.data_directory = data();
    restore.backup = command_.backup;
    restore.target_time = command_.target_time;
    restore.jobs = command_.jobs;
    restore.gap_time = command_.gap_time;
    restore.ignore_space = command_.ignore_space;
    restore.programs = command_.programs;
    restore.starts_server = true;
    restore.no_new_tablespaces = true; // replay would leave the scratch directory
    const core::BackupHead head = restore_files(restore, place() / "tablespaces", fetched_, stop_);
    record_.backup = head.label;
    programs_ = find_server_programs(command_.programs, head.server_version / 10000);
  }

  // When the last record of WAL was replayed, by the server's log: seconds since 1970. Absent: there was none to
  // replay.
  [[nodiscard]] std::optional<double> replay_ended() const {
    std::istringstream log(words_of(server_log(), std::uint64_t(1) << 20));
    std::optional<double> at;
    for (std::string line; std::getline(log, line);) {
      double seconds = 0;
      const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), seconds);
      if (error == std::errc() && line.find("redo done at") != std::string::npos) at = seconds;
    }
    return at;
  }

  // Two phases, replay and open, which nobody can tell apart while the server is not open.
  void recover() {
    const core::SteadyTime begin = begin_phase("replay");
    const core::WallTime began = repository_.clock().wall_now();
    start_server();
    const double whole = seconds_since(begin);
    const auto ended = replay_ended();
    const double replay =
        ended ? std::clamp(*ended - std::chrono::duration<double>(began.time_since_epoch()).count(), 0.0, whole)
              : whole;
    record_.phases.emplace_back("replay", replay);
    record_.phases.emplace_back("open", whole - replay);
  }

  // Settings on the command line go before all files; nobody else can reach the server.
  void start_server() {
    std::ofstream(place() / "hba") << "local all all trust\n";
    std::ofstream(place() / "ident") << "";
    if (!fs::exists(fs::path(data()) / "postgresql.conf")) std::ofstream(fs::path(data()) / "postgresql.conf") << "";
    const std::string socket = place().string();
    const std::string options = fmt::format(
        "-c data_directory='{1}' -c listen_addresses='' -c port=5432 -c unix_socket_directories='{0}' -c "
        "hba_file='{0}/hba' "
        "-c ident_file='{0}/ident' -c archive_mode=off -c hot_standby=off -c logging_collector=off -c ssl=off "
        "-c log_destination=stderr -c log_line_prefix='%n ' -c lc_messages=C "
        "-c external_pid_file='' -c cluster_name=dbops_drill "
        // No launcher or scheduler may do the source's work, nobody be waited for or told.
        "-c max_worker_processes=0 -c max_logical_replication_workers=0 -c synchronous_standby_names='' "
        "-c archive_cleanup_command='' -c recovery_end_command='' -c primary_conninfo='' -c primary_slot_name=''",
        socket, data());
    running_ = true; // also when pg_ctl gives up waiting
    const int status =
        run_program({program("pg_ctl"), "-D", data(), "-w", "-t", fmt::format("{:.0f}", command_.recovery_timeout),
                     "-l", server_log().string(), "-o", options, "start"},
                    log());
    if (status != 0)
      throw Error(ErrorKind::io, fmt::format("starting the restored server failed with status {}: {}{}", status,
                                             words_of(log()), words_of(server_log())));
    Connection connection = connect();
    record_.rto_seconds = std::chrono::duration<double>(repository_.clock().wall_now() - record_.at).count();
    const Result result = connection.execute(
        "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text");
    if (result.boolean(0, 0)) throw Error(ErrorKind::io, "the restored server is still in recovery");
    record_.recovered_to = result.text(0, 1);
  }

  [[nodiscard]] Connector connector(const std::string& database) const {
    ConnectionSettings settings;
    settings.dbname = fmt::format("dbname={} options='{}'", in_conninfo(database), without_limits);
    settings.host = place().string();
    settings.port = "5432";
    settings.user = command_.role;
    return Connector(settings);
  }

  // Without hot standby, the first moment that it answers is the end of recovery.
  Connection connect() {
    const core::SteadyTime deadline =
        repository_.clock().steady_now() + core::milliseconds(std::int64_t(command_.recovery_timeout * 1000));
    for (;;) {
      try {
        return connector("postgres").connect();
      } catch (const ConnectionError& error) {
        if (run_program({program("pg_ctl"), "-D", data(), "status"}, log()) != 0)
          throw Error(ErrorKind::io, "the restored server has stopped: " + words_of(server_log()));
        if (repository_.clock().steady_now() > deadline)
          throw Error(ErrorKind::io, fmt::format("the restored server does not answer in time: {}", error.what()));
      }
      repository_.clock().sleep_for(core::milliseconds(200), stop_);
      if (stop_.stop_requested()) throw Error(ErrorKind::cancelled, "the drill was cancelled");
    }
  }

  void amcheck() {
    must({"env", std::string("PGOPTIONS=") + without_limits, program("pg_amcheck"), "--all", "--install-missing",
          "--heapallindexed", "-h", place().string(), "-p", "5432", "-U", command_.role},
         "pg_amcheck");
  }

  void visibility() {
    const std::string left_out =
        check_visibility_maps([this](const std::string& database) { return connector(database).connect(); }, stop_);
    if (!left_out.empty()) tell("dbops drill", "WARNING: not checked: " + left_out);
  }

  void checks() {
    must({program("psql"), "-X", "-v", "ON_ERROR_STOP=1", "-h", place().string(), "-p", "5432", "-U", command_.role,
          "-d", "postgres", "-f", command_.check_sql},
         "the check");
  }

  void finish_server() {
    must({program("pg_ctl"), "-D", data(), "-m", "fast", "-w", "stop"}, "stopping the restored server");
    running_ = false;
  }

  void keep_evidence() const { core::put_drill(repository_.get(), record_, {}); }

  const DrillCommand& command_;
  Repository repository_;
  std::optional<DrillScratch> scratch_;
  std::stop_token stop_;
  ServerPrograms programs_;
  bool running_ = false;
  core::RestoreProgress fetched_;
  std::atomic<const char*> phase_{"begin"};
  core::DrillRecord record_;
};

void print(const core::DrillRecord& record) {
  std::string text =
      fmt::format("backup {}: recovered to {} in {:.1f} s\n", record.backup, record.recovered_to, record.rto_seconds);
  for (const auto& [name, seconds] : record.phases)
    text += fmt::format("  {:<12}{:.1f} s\n", name, seconds);
  write_to_standard_output(text);
}

} // namespace

int run(const DrillCommand& command) {
  try {
    Drill drill(command);
    run_in_background([&](const std::stop_token& stop) { drill.run(stop); }, progress_interval(),
                      [&] { drill.show(); });
    if (command.json)
      write_to_standard_output(core::encode_drill(drill.record()) + "\n");
    else
      print(drill.record());
    return exit_success;
  } catch (const Interrupted& signal) {
    fmt::print(stderr, "dbops drill: interrupted\n");
    return signal.exit_status();
  }
}

} // namespace dbops::cli
