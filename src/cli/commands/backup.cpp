#include "cli/commands/backup.h"

#include "cli/background.h"
#include "cli/exit_status.h"
#include "cli/json.h"
#include "cli/progress_line.h"
#include "cli/repository.h"
#include "cli/signals.h"
#include "cli/terminal.h"
#include "core/backup/backup_lock.h"
#include "core/backup/backup_run.h"
#include "core/backup/backup_wal.h"
#include "core/backup/control_file.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/wal/cluster_identity.h"
#include "core/wal/instance.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdio>

namespace dbops::cli {

namespace {

using core::Error;
using core::ErrorKind;

struct Server {
  std::uint64_t system_identifier = 0;
  core::BackupStart start;
  std::uint64_t bytes = 0; // of all databases, about
  core::TimelineId timeline = 0;
};

void say(const std::string& text) {
  tell("dbops backup", text);
}

Server look_at(Connection& connection, const BackupCommand& command) {
  const Result result = connection.execute(
      "SELECT pg_catalog.pg_is_in_recovery() AS recovery,"
      " (SELECT s.system_identifier FROM pg_catalog.pg_control_system() s)::pg_catalog.text AS identifier,"
      " pg_catalog.current_setting('data_directory') AS directory,"
      " pg_catalog.current_setting('server_version_num') AS version,"
      " pg_catalog.current_setting('data_checksums') AS checksums,"
      " pg_catalog.current_setting('archive_mode') AS archive_mode,"
      " CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN"
      " ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8))"
      "::pg_catalog.bit(32)::pg_catalog.int8 END AS timeline,"
      " (SELECT pg_catalog.sum(pg_catalog.pg_database_size(d.oid)) FROM pg_catalog.pg_database d)::pg_catalog.int8"
      " AS bytes");
  const auto text = [&](const char* name) { return result.text(0, result.column(name)); };
  if (result.boolean(0, result.column("recovery")))
    throw Error(ErrorKind::configuration, "the server is a standby, and backups are taken from a primary only",
                "Connect to the primary, and run this command there.");
  if (text("archive_mode") == "off")
    throw Error(ErrorKind::configuration, "archive_mode is off: the WAL that a backup needs would not reach the store",
                "Set archive_mode = on, archive_library = 'dbops' and dbops.store, and restart the server.");
  Server server;
  server.system_identifier = std::stoull(text("identifier"));
  server.start.data_directory = command.data_directory.empty() ? text("directory") : command.data_directory;
  server.start.server_version = std::uint32_t(std::stoul(text("version")));
  server.start.page_checksums = text("checksums") == "on";
  server.timeline = core::TimelineId(result.integer(0, result.column("timeline")));
  server.bytes = std::uint64_t(result.integer(0, result.column("bytes")));
  const auto here = core::read_cluster_identity(server.start.data_directory);
  if (!here || here->system_identifier != server.system_identifier)
    throw Error(ErrorKind::configuration,
                "\"" + server.start.data_directory.string() + "\" is not the data directory of this server",
                "Run the command on the server's machine as a user who may read it, or give --pgdata.");
  return server;
}

// Whether the directory is that of the server: a standby and a clone have the same system identifier. Only the server
// that runs in it has the checkpoint of the backup's start in pg_control, and is no standby.
bool is_directory_of(Connection& connection, const core::BackupStart& start) {
  const core::ControlState here = core::control_state(core::read_control_file(start.data_directory));
  const Result there = connection.execute("SELECT c.checkpoint_lsn::pg_catalog.text, c.redo_lsn::pg_catalog.text,"
                                          " c.timeline_id FROM pg_catalog.pg_control_checkpoint() c");
  return here.in_production && here.redo >= start.lsn && here.checkpoint == *core::parse_lsn(there.text(0, 0)) &&
         here.redo == *core::parse_lsn(there.text(0, 1)) && here.timeline == core::TimelineId(there.integer(0, 2));
}

void require_directory_of(Connection& connection, const core::BackupStart& start) {
  constexpr int looks = 5; // a checkpoint may end between the two halves of one
  for (int look = 0; look < looks; ++look) {
    if (look > 0) core::SystemClock().sleep_for(core::milliseconds(1000), {});
    if (is_directory_of(connection, start)) return;
  }
  throw Error(ErrorKind::configuration,
              "\"" + start.data_directory.string() + "\" is not the directory of the server that is connected to",
              "It is that of a standby or of another copy of the cluster. Run the command on the server's machine, and "
              "look at the host and the data directory that it is given.");
}

class Backup {
 public:
  Backup(const BackupCommand& command, Connection& connection, Server server)
      : command_(command), connection_(connection), server_(std::move(server)),
        lock_(core::lock_for_backup(server_.start.data_directory)),
        repository_(command.stores, server_.system_identifier, command.compression_level) {}

  core::BackupHead run() {
    core::BackupOptions options{.full = command_.full,
                                .threads = command_.jobs,
                                .bytes_per_second = command_.max_rate.empty() ? 0 : *parse_size(command_.max_rate),
                                .user_label = command_.label,
                                .annotations = {}};
    for (const std::string& annotation : command_.annotations)
      options.annotations[annotation.substr(0, annotation.find('='))] = annotation.substr(annotation.find('=') + 1);
    // Found out before hours of copying. A data directory that is mounted elsewhere does not tell.
    if (const auto instance = core::known_instance_identity(server_.start.data_directory))
      core::refuse_wal_of_others(repository_.get(), server_.timeline, {.instance = *instance, .description = {}}, {});
    core::BackupRun run(repository_.get(), std::move(options),
                        [](const core::LogMessage& message) { say(message.text); }, {});
    say(fmt::format("backup {} to {}, {}", run.label(), repository_.store().describe(),
                    run.base().empty() ? "the first one" : "changes since " + run.base()));
    start(run.label());
    run_in_background([&](const std::stop_token& stop) { run.copy(server_.start, {.stop = stop, .deadline = {}}); },
                      progress_interval(), [&] { show(run.progress()); });
    const core::BackupStop stop = stop_backup();
    std::optional<core::BackupHead> head;
    run_in_background(
        [&](const std::stop_token& token) {
          wait_for_wal(stop, token);
          head = run.finish(stop, {.stop = token, .deadline = {}});
        },
        progress_interval(), [] { show_progress("dbops backup", {}, "waiting for the archive"); });
    return *head;
  }

 private:
  void start(const std::string& label) {
    const Result result = connection_.execute(
        "SELECT pg_catalog.pg_backup_start($1::pg_catalog.text, true)::pg_catalog.text", {"dbops " + label});
    server_.start.lsn = *core::parse_lsn(result.text(0, 0));
    require_directory_of(connection_, server_.start);
  }

  core::BackupStop stop_backup() {
    const Result result = connection_.execute("SELECT s.lsn::pg_catalog.text AS lsn, s.labelfile, s.spcmapfile,"
                                              " pg_catalog.to_char(pg_catalog.clock_timestamp() AT TIME ZONE 'UTC', "
                                              "'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS at"
                                              " FROM pg_catalog.pg_backup_stop(false) s");
    core::BackupStop stop;
    stop.lsn = *core::parse_lsn(result.text(0, 0));
    stop.backup_label = result.text(0, 1);
    stop.tablespace_map = result.text(0, 2);
    stop.time = *core::parse_iso8601(result.text(0, 3));
    const Result timeline =
        connection_.execute("SELECT ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name($1::pg_catalog.pg_lsn), 1, 8))"
                            "::pg_catalog.bit(32)::pg_catalog.int8",
                            {core::to_string(stop.lsn)});
    stop.timeline = core::TimelineId(timeline.integer(0, 0));
    return stop;
  }

  // A backup without the WAL from its start to its stop cannot be restored.
  void wait_for_wal(const core::BackupStop& stop, const std::stop_token& token) {
    const auto size = core::read_cluster_identity(server_.start.data_directory)->segment_size.value();
    const core::CallContext context{.stop = token, .deadline = {}};
    const auto give_up =
        repository_.clock().steady_now() + core::milliseconds(std::int64_t(command_.archive_timeout * 1000));
    core::wait_for_backup_wal(
        repository_.get(),
        {.start = server_.start.lsn, .stop = stop.lsn, .timeline = stop.timeline, .segment_size = size},
        repository_.clock(), give_up, context);
    // A data directory that is mounted elsewhere does not tell.
    if (const auto instance = core::known_instance_identity(server_.start.data_directory))
      core::require_own_wal(repository_.get(), stop.timeline, {.instance = *instance, .description = {}}, context);
  }

  void show(const core::BackupProgress& progress) const {
    const std::uint64_t read = progress.bytes_read;
    show_progress("dbops backup", fraction_of(read, server_.bytes),
                  fmt::format("{} of about {}, {} files, {} stored", size_text(read), size_text(server_.bytes),
                              progress.files.load(), size_text(progress.new_bytes)));
  }

  const BackupCommand& command_;
  Connection& connection_;
  Server server_;
  core::File lock_;
  Repository repository_;
};

void print_result(const core::BackupHead& head, bool json) {
  if (json) {
    const Json object = {{"label", head.label},
                         {"base", head.base},
                         {"start_lsn", core::to_string(head.start_lsn)},
                         {"stop_lsn", core::to_string(head.stop_lsn)},
                         {"timeline", head.timeline},
                         {"files", head.files},
                         {"bytes", head.bytes},
                         {"new_blocks", head.new_blocks},
                         {"new_bytes", head.new_bytes},
                         {"stored_bytes", head.stored_bytes},
                         {"damaged_blocks", head.damaged_blocks}};
    write_to_standard_output(dumped(object) + "\n");
    return;
  }
  write_to_standard_output(fmt::format("{}: {} in {} files, {} new\n", head.label, size_text(head.bytes), head.files,
                                       size_text(head.new_bytes)));
}

} // namespace

std::optional<std::uint64_t> parse_size(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value == 0) return {};
  const std::string_view unit(end, std::size_t(text.data() + text.size() - end));
  for (const auto& [name, shift] :
       {std::pair<std::string_view, int>{"", 0}, {"B", 0}, {"kB", 10}, {"MB", 20}, {"GB", 30}, {"TB", 40}})
    if (unit == name && value <= (std::uint64_t(1) << (62 - shift))) return value << shift;
  return {};
}

int run(const BackupCommand& command, const ConnectionSettings& settings) {
  try {
    Connection connection = Connector(settings).connect();
    const core::BackupHead head = Backup(command, connection, look_at(connection, command)).run();
    print_result(head, command.json);
    if (head.damaged_blocks == 0) return exit_success;
    say(fmt::format("{} blocks were corrupt in the source; the backup has them as they are", head.damaged_blocks));
    return exit_job;
  } catch (const Interrupted& signal) {
    say("interrupted; the next backup uses what was stored");
    return signal.exit_status();
  }
}

} // namespace dbops::cli
