#include "cli/commands/restore.h"

#include "cli/background.h"
#include "cli/exit_status.h"
#include "cli/local_time.h"
#include "cli/progress_line.h"
#include "cli/repository.h"
#include "cli/server_programs.h"
#include "cli/signals.h"
#include "cli/terminal.h"
#include "core/backup/known_damage.h"
#include "core/backup/target_time.h"
#include "core/backup/wal_coverage.h"
#include "core/base/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>

namespace dbops::cli {

namespace {

namespace fs = std::filesystem;
using core::Error;
using core::ErrorKind;
using core::RecoveryTarget;

void say(const std::string& text) {
  tell("dbops restore", text);
}

RecoveryTarget target_of(const RestoreCommand& command) {
  RecoveryTarget target;
  int given = 0;
  const auto take = [&](RecoveryTarget::Kind kind, const std::optional<std::string>& value) {
    if (!value) return;
    target.kind = kind;
    target.value = *value;
    ++given;
  };
  take(RecoveryTarget::Kind::time, command.target_time);
  take(RecoveryTarget::Kind::lsn, command.target_lsn);
  take(RecoveryTarget::Kind::xid, command.target_xid);
  take(RecoveryTarget::Kind::name, command.target_name);
  if (command.target_immediate) take(RecoveryTarget::Kind::immediate, "immediate");
  if (given > 1) throw Error(ErrorKind::configuration, "more than one recovery target is given");
  if (given > 0 && command.standby)
    throw Error(ErrorKind::configuration, "a standby has no recovery target: it follows the archive");
  if (command.target_time) {
    target.time = core::parse_target_time(*command.target_time, LocalZone());
    target.value = core::target_time_text(*target.time);
  }
  if (command.target_lsn) {
    target.lsn = core::parse_lsn(*command.target_lsn);
    if (!target.lsn)
      throw Error(ErrorKind::configuration, "\"" + *command.target_lsn + "\" is not an LSN like 0/3000028");
  }
  target.timeline = command.timeline;
  target.action = command.target_action;
  target.standby = command.standby;
  return target;
}

std::string shell_quoted(std::string_view text) {
  std::string quoted = "'";
  for (const char c : text)
    if (c == '\'')
      quoted += "'\\''";
    else
      quoted += c;
  return quoted + "'";
}

// PostgreSQL replaces %p and %f, and %% by a percent sign.
std::string restore_command(const RestoreCommand& command, std::uint64_t identifier) {
  std::string text = shell_quoted(fs::read_symlink("/proc/self/exe").string()) + " wal-get";
  const auto add = [&text](const char* option, const std::string& value) {
    if (!value.empty()) text += fmt::format(" {} {}", option, shell_quoted(value));
  };
  const auto absolute = [](const std::string& path) { return path.empty() ? path : fs::absolute(path).string(); };
  add("--store", command.stores.store);
  add("--offsite-store", command.stores.offsite_store);
  add("--key-file", absolute(command.stores.key_file));
  add("--credentials-file", absolute(command.stores.credentials_file));
  add("--system-identifier", std::to_string(identifier));
  if (command.no_new_tablespaces) text += " --no-new-tablespaces";
  std::string escaped;
  for (const char c : text) {
    if (c == '%') escaped += '%';
    escaped += c;
  }
  return escaped + " %f %p";
}

std::map<std::uint32_t, std::string> tablespaces_of(const RestoreCommand& command) {
  std::map<std::uint32_t, std::string> places;
  for (const std::string& text : command.tablespaces) {
    std::uint32_t oid = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), oid);
    if (error != std::errc() || end == text.data() + text.size() || *end != '=')
      throw Error(ErrorKind::configuration, "\"" + text + "\" is not OID=PATH of a tablespace");
    places[oid] = fs::absolute(std::string(end + 1)).lexically_normal().string();
  }
  return places;
}

// Which backup it is to be, and what is said of those that it is not.
class Choice {
 public:
  Choice(const RestoreCommand& command, const core::BackupRepository& repository, const RecoveryTarget& target,
         const core::CallContext& context)
      : command_(command), repository_(repository), target_(target), context_(context), damage_(repository, context),
        catalogue_(core::read_catalogue(repository, 32, context)) {
    if (target.time) core::mend_times(repository, catalogue_, context);
  }

  [[nodiscard]] core::BackupHead backup() {
    if (!command_.backup.empty()) return named();
    const core::BackupHead* head = sound();
    if (head == nullptr) {
      head = &core::choose_backup(catalogue_, target_, [this](const auto& each) { return fits(each); });
      accept(*head);
    }
    warn_of_newer(*head);
    return *head;
  }

 private:
  [[nodiscard]] bool fits(const core::BackupHead& head) const {
    return core::recovery_path(repository_, head, target_, context_).has_value();
  }

  // The newest that leads to the target and is not known to be damaged. Null: there is none.
  [[nodiscard]] const core::BackupHead* sound() const {
    for (auto entry = catalogue_.rbegin(); entry != catalogue_.rend(); ++entry)
      if (entry->head && core::was_complete(*entry->head, target_) && fits(*entry->head) &&
          !damage_.of(*entry->head, context_))
        return &*entry->head;
    return nullptr;
  }

  [[nodiscard]] core::BackupHead named() const {
    const auto entry = std::ranges::find(catalogue_, command_.backup, &core::CatalogueEntry::label);
    if (entry == catalogue_.end())
      throw Error(ErrorKind::configuration, "the store has no backup " + command_.backup,
                  "\"dbops list\" shows what is there.");
    if (!entry->head)
      throw Error(entry->key_problem.value_or(ErrorKind::configuration),
                  "backup " + command_.backup + (entry->problem.empty() ? " was not finished" : ": " + entry->problem),
                  entry->hint);
    if (!fits(*entry->head))
      throw Error(ErrorKind::configuration,
                  fmt::format("timeline {} was left before backup {} was complete, so recovery cannot follow it",
                              entry->head->timeline, entry->label),
                  "Give --timeline current, or another backup.");
    accept(*entry->head);
    return *entry->head;
  }

  void accept(const core::BackupHead& head) const {
    const auto damage = damage_.of(head, context_);
    if (!damage) return;
    if (!command_.accept_damage)
      throw Error(
          ErrorKind::corrupt, "backup " + head.label + " is damaged: " + *damage,
          "Restore another one. If it was mended, \"dbops verify --deep\" finds that out. With --accept-damage it "
          "is tried, and fails at the first block that is still damaged.");
    say("WARNING: backup " + head.label + " is known to be damaged: " + *damage);
  }

  // Those that the target would have led to as well.
  void warn_of_newer(const core::BackupHead& head) const {
    for (const core::CatalogueEntry& entry : catalogue_) {
      if (entry.label <= head.label) continue;
      if (target_.time && entry.label > core::iso8601_basic(*target_.time)) continue; // begun behind it
      if (entry.key_problem && target_.kind == RecoveryTarget::Kind::latest) // recovery needs WAL of that key as well
        throw Error(*entry.key_problem, "backup " + entry.label + " is newer, and cannot be read: " + entry.problem,
                    entry.hint + " Or name an older backup with --backup.");
      if (!entry.problem.empty())
        say("WARNING: backup " + entry.label + " is newer, and is left out, as it cannot be read: " + entry.problem);
      if (!entry.head || !core::was_complete(*entry.head, target_)) continue;
      if (!fits(*entry.head))
        say(fmt::format(
            "WARNING: backup {} is newer, and is left out: it is of timeline {}, which the timeline that is "
            "recovered does not go through. --timeline {} or current recovers that one",
            entry.label, entry.head->timeline, entry.head->timeline));
      else if (const auto damage = damage_.of(*entry.head, context_))
        say("WARNING: backup " + entry.label + " is newer, and is left out, as it is damaged: " + *damage);
    }
  }

  const RestoreCommand& command_;
  const core::BackupRepository& repository_;
  const RecoveryTarget& target_;
  const core::CallContext& context_;
  core::KnownDamage damage_;
  std::vector<core::CatalogueEntry> catalogue_;
};

// A server of another major version does not start from it.
void check_major(const RestoreCommand& command, const core::BackupHead& head) {
  const unsigned wanted = head.server_version / 10000;
  const ServerPrograms programs = find_server_programs(command.programs, wanted);
  const std::string server = programs.path("postgres");
  if (!programs.major && (!command.programs.empty() || command.starts_server))
    throw Error(ErrorKind::configuration, "\"" + server + "\" cannot be run",
                fmt::format("Give the directory of PostgreSQL {}'s programs with --bindir.", wanted));
  if (!programs.major || *programs.major == wanted) return;
  const std::string message =
      fmt::format("backup {} is of PostgreSQL {}, and \"{}\" is {}", head.label, wanted, server, *programs.major);
  if (!command.accept_major)
    throw Error(ErrorKind::configuration, message,
                fmt::format("Install PostgreSQL {}, or name its programs with --bindir.{}", wanted,
                            command.starts_server ? "" : " If the server is to run elsewhere, use --accept-major."));
  say("WARNING: " + message + ", which cannot start from it");
}

// What is to be done next.
void say_how_to_start(const RestoreCommand& command, const core::BackupHead& head) {
  const unsigned wanted = head.server_version / 10000;
  const ServerPrograms programs = find_server_programs(command.programs, wanted);
  const std::string which = programs.major != wanted     ? " (there is none of that version here)"
                            : programs.directory.empty() ? ""
                                                         : " (" + programs.path("pg_ctl") + ")";
  say(fmt::format("start the server, PostgreSQL {}{}{}{}", wanted, which,
                  command.standby ? "" : ": it recovers to the target by itself",
                  command.standby || command.keep_archiving
                      ? ""
                      : ". archive_mode is off in postgresql.auto.conf until you remove it"));
}

} // namespace

core::BackupHead restore_files(const RestoreCommand& command, const fs::path& all_tablespaces,
                               core::RestoreProgress& progress, const std::stop_token& stop) {
  const RecoveryTarget target = target_of(command);
  Repository repository(command.stores, {});
  const core::CallContext context{.stop = stop, .deadline = {}};
  core::BackupHead head = Choice(command, repository.get(), target, context).backup();
  check_major(command, head);
  const core::WalPatience patience{.time = core::milliseconds(std::int64_t(command.gap_time * 1000)),
                                   .log = [](const core::LogMessage& message) { say(message.text); }};
  if (const std::string warning = core::check_wal_coverage(repository.get(), head, target, patience, context);
      !warning.empty())
    say("WARNING: " + warning);
  if (target.timeline == "latest" || (target.timeline.empty() && target.kind != RecoveryTarget::Kind::immediate))
    for (const core::TimelineId timeline : core::timelines_without_history(repository.get(), head.timeline, context))
      say(fmt::format("WARNING: the store has timeline {}, but not its history file: recovery does not come to it",
                      timeline));
  core::RestoreOptions options{.data_directory = fs::absolute(command.data_directory).lexically_normal(),
                               .delta = command.delta,
                               .discard_wal = command.discard_wal,
                               .ignore_space = command.ignore_space,
                               .threads = command.jobs,
                               .tablespaces = tablespaces_of(command),
                               .recovery_settings = core::recovery_settings(
                                   target, restore_command(command, head.system_identifier),
                                   fmt::format("by dbops restore, of backup {}", head.label), command.keep_archiving),
                               .signal_file = command.standby ? "standby.signal" : "recovery.signal"};
  if (!all_tablespaces.empty())
    for (const core::TablespaceInfo& space : head.tablespaces)
      options.tablespaces[space.oid] = (all_tablespaces / std::to_string(space.oid)).string();
  say(fmt::format("backup {} ({}) into {}{}", head.label, size_text(head.bytes), options.data_directory.string(),
                  target.time ? ", to be recovered until " + target.value : ""));
  progress.bytes_total = head.bytes;
  core::restore_backup(
      repository.get(), head, options, progress,
      [](const core::LogMessage& message) {
        say((message.level == core::LogLevel::warning ? "WARNING: " : "") + message.text);
      },
      context);
  return head;
}

// What a server needs besides its data directory, and does not have here.
void warn_before_start(const RestoreCommand& command) {
  const auto lacks = [&](const char* name) { return !fs::exists(fs::path(command.data_directory) / name); };
  if (lacks("postgresql.conf") || lacks("pg_hba.conf"))
    say("WARNING: the source kept its configuration outside of its data directory, so that it is in no backup. Bring "
        "postgresql.conf and pg_hba.conf before the start; max_connections, max_worker_processes and the like must not "
        "be smaller than the source's");
  if (::geteuid() == 0) say("WARNING: what was restored belongs to root, as whom no server starts: chown it");
  const bool asks_s3 = command.stores.store.starts_with("s3:") || command.stores.offsite_store.starts_with("s3:");
  if (asks_s3 && command.stores.credentials_file.empty() && std::getenv("AWS_ACCESS_KEY_ID") != nullptr)
    say("WARNING: restore_command fetches WAL with the credentials of the server's environment, and those of this "
        "command were from its own: start the server with the same AWS variables, or restore with --credentials-file");
}

int run(const RestoreCommand& command) {
  core::RestoreProgress progress;
  std::optional<core::BackupHead> head;
  try {
    run_in_background([&](const std::stop_token& stop) { head = restore_files(command, {}, progress, stop); },
                      progress_interval(),
                      [&] {
                        show_progress("dbops restore", fraction_of(progress.bytes, progress.bytes_total),
                                      fmt::format("{} of {}, {} files", size_text(progress.bytes),
                                                  size_text(progress.bytes_total), progress.files.load()));
                      });
  } catch (const Interrupted& signal) {
    say("interrupted; the same command goes on from here");
    return signal.exit_status();
  }
  write_to_standard_output(fmt::format("{}: {} in {} files, {} fetched, {} were there\n", head->label,
                                       size_text(head->bytes), progress.files.load(), size_text(progress.bytes_read),
                                       size_text(progress.bytes_kept)));
  warn_before_start(command);
  say_how_to_start(command, *head);
  return exit_success;
}

} // namespace dbops::cli
