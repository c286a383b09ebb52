#include "cli/commands/wal_get.h"

#include "cli/exit_status.h"
#include "cli/recovery_process.h"
#include "core/base/error.h"
#include "core/wal/archive_reader.h"
#include "core/wal/cluster_identity.h"
#include "core/wal/page_header.h"

#include <fmt/format.h>

#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <limits>

namespace dbops::cli {

namespace fs = std::filesystem;
using core::Error;
using core::ErrorKind;
using core::WalFetchResult;
using core::WalFileKind;
using core::WalFileName;

namespace {

// For a message there is the log of the server alone: one line.
void say(const std::string& file, const std::string& text, const std::string& hint = {}) {
  fmt::print(stderr, "dbops wal-get {}: {}{}{}\n", file, text, hint.empty() ? "" : "; ", hint);
}

// SIGTERM ends the server: PostgreSQL expects the command to die of it (RestoreArchivedFile).
extern "C" void end_by_signal(int signal) {
  core::RestoreFile::remove_in_signal_handler();
  _exit(128 + signal);
}

void end_quickly_by_signals() {
  struct sigaction action {};
  action.sa_handler = end_by_signal;
  sigfillset(&action.sa_mask);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT})
    sigaction(signal, &action, nullptr);
}

std::uint64_t system_identifier(const WalGetCommand& command) {
  if (command.stores.system_identifier) return *command.stores.system_identifier;
  if (const auto here = core::read_cluster_identity(fs::current_path())) return here->system_identifier;
  throw Error(ErrorKind::configuration,
              "the system identifier is not known: \"" + fs::current_path().string() + "\" is not a data directory",
              "Run it as restore_command, or give --system-identifier.");
}

// A segment that archiving or streaming left here: PostgreSQL takes it from pg_wal when the archive does not have it.
bool is_in_pg_wal(const WalFileName& file, const fs::path& target, std::uint64_t identifier) {
  if (file.kind != WalFileKind::segment) return false;
  try {
    const auto local = core::File::open_if_exists(target.parent_path() / file.name, O_RDONLY);
    if (!local) return false;
    core::Bytes page(512);
    page.resize(local->read_at(0, page));
    core::check_segment(page, local->size(), identifier, file.segment);
    return true;
  } catch (const Error&) { // made for later use, and not begun
    return false;
  }
}

void check_content(const WalFileName& file, const core::RestoreFile& out, std::uint64_t identifier) {
  if (file.kind != WalFileKind::segment && file.kind != WalFileKind::partial) return;
  core::check_segment(out.start(512), out.written(), identifier, file.segment);
}

core::milliseconds milliseconds_of(double seconds) {
  return core::milliseconds(std::int64_t(seconds * 1000));
}

int get(const WalGetCommand& command, const WalFileName& file, const RecoveryProcess& recovery) {
  const std::uint64_t identifier = system_identifier(command);
  // Few tries for one repository, so that another is asked soon; then all of them again, until the time is up.
  Stores stores(command.stores, {.max_attempts = 3, .max_delay = core::milliseconds(2000)});
  std::vector<std::unique_ptr<core::WalReader>> readers;
  std::vector<core::WalReader*> repositories;
  for (const auto& store : stores.all())
    repositories.push_back(
        readers.emplace_back(std::make_unique<core::WalReader>(*store, identifier, stores.keys())).get());
  core::ArchiveReader archive(repositories, stores.clock(), stores.random(),
                              [&](const core::RepositoryFailure& failure) {
                                say(file.name, fmt::format("taken from another repository: {}", failure.error.what()));
                              });
  core::RestoreFile out(command.target);
  const core::RecoveryPatience patience{.outage = milliseconds_of(command.retry_time),
                                        .gap = is_in_pg_wal(file, command.target, identifier)
                                                   ? core::milliseconds(0)
                                                   : milliseconds_of(command.gap_time)};
  switch (archive.fetch_patiently(file, out, patience,
                                  {.stop = {}, .deadline = stores.clock().steady_now() + patience.outage})) {
  case WalFetchResult::whole:
  case WalFetchResult::padded:
    check_content(file, out, identifier);
    if (recovery.has_ended()) return restore_local;
    out.commit();
    return restore_done;
  case WalFetchResult::absent:
    return restore_absent;
  case WalFetchResult::gap:
    break;
  }
  if (is_in_pg_wal(file, command.target, identifier)) {
    say(file.name, "the archive has later WAL, but not this segment; PostgreSQL takes its own from pg_wal");
    return restore_absent;
  }
  say(file.name, "the archive has later WAL, but not all of this segment: recovery would end too early",
      "\"dbops wal-list\" shows what is there; to end recovery here, set a recovery target");
  return restore_gap;
}

int status_of(ErrorKind kind) {
  switch (kind) {
  case ErrorKind::unavailable:
  case ErrorKind::cancelled:
    return restore_unavailable;
  case ErrorKind::corrupt:
    return restore_damaged;
  case ErrorKind::no_space:
  case ErrorKind::io:
    return restore_local;
  default:
    return restore_misconfigured;
  }
}

} // namespace

int run(const WalGetCommand& command) noexcept {
  try {
    end_quickly_by_signals();
    const RecoveryProcess recovery = RecoveryProcess::of_this_session();
    const auto file = core::parse_wal_file_name(command.file);
    if (!file) {
      say(command.file, "this is not the name of a WAL file");
      return restore_misconfigured;
    }
    try {
      return get(command, *file, recovery);
    } catch (const Error& error) {
      say(file->name, error.what(), error.hint());
      return status_of(error.kind());
    }
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "dbops wal-get: %s\n", failure.what());
    return restore_local;
  }
}

} // namespace dbops::cli
