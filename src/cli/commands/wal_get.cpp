#include "cli/commands/wal_get.h"

#include "cli/exit_status.h"
#include "cli/recovery_process.h"
#include "cli/tablespace_guard.h"
#include "core/base/error.h"
#include "core/wal/archive_reader.h"
#include "core/wal/cluster_identity.h"
#include "core/wal/local_segment.h"
#include "core/wal/page_header.h"

#include <fmt/format.h>

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <thread>

namespace dbops::cli {

namespace fs = std::filesystem;
using core::Error;
using core::ErrorKind;
using core::LocalSegment;
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
  core::RestoreFile::expect_signals();
  struct sigaction action {};
  action.sa_handler = end_by_signal;
  sigfillset(&action.sa_mask);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT})
    sigaction(signal, &action, nullptr);
}

core::ClusterIdentity cluster(const WalGetCommand& command) {
  const auto here = core::read_cluster_identity(fs::current_path());
  const auto named = command.stores.system_identifier;
  if (here && (!named || here->system_identifier == *named)) return *here;
  if (named) return {*named, {}};
  throw Error(ErrorKind::configuration,
              "the system identifier is not known: \"" + fs::current_path().string() + "\" is not a data directory",
              "Run it as restore_command, or give --system-identifier.");
}

void check_content(const WalFileName& file, const core::RestoreFile& out, std::uint64_t identifier) {
  if (file.kind != WalFileKind::segment && file.kind != WalFileKind::partial) return;
  core::check_segment(out.start(512), out.written(), identifier, file.segment);
}

// Of a timeline that begins with this segment and has nothing of it yet.
bool is_padding_only(const core::RestoreFile& out) {
  return std::ranges::all_of(out.start(512), [](std::byte byte) { return byte == std::byte(0); });
}

core::milliseconds milliseconds_of(double seconds) {
  return core::milliseconds(std::int64_t(seconds * 1000));
}

// One call: what it is for, and what it works with.
class WalGet {
 public:
  WalGet(const WalGetCommand& command, WalFileName file)
      : command_(command), file_(std::move(file)), cluster_(cluster(command)), out_(command.target) {
    open_spool();
  }

  int run() {
    if (take_from_spool()) return restore_done;
    const int status = fetch();
    if (status == restore_done && whole_ && spool_) read_ahead(spool_->tell(file_.segment));
    return status;
  }

 private:
  void open_spool();
  bool take_from_spool();
  bool wait_for_segment_under_way();
  void read_ahead(bool told);
  using Readers = std::vector<std::unique_ptr<core::WalReader>>;
  std::vector<core::WalReader*> in_their_order(const Readers& readers) const;
  void note(const core::RepositoryFailure& failure, const Readers& readers) const;
  int fetch();
  int commit();
  int end_of(WalFetchResult result);
  int at_hole(core::ArchiveReader& archive);
  int end_at_hole(WalFetchResult end, std::uint64_t covered, const core::LaterWal& later);
  [[nodiscard]] static std::string why_it_ends(std::uint64_t covered, const core::LaterWal& later);
  [[nodiscard]] bool is_kept(WalFetchResult end) const;
  [[nodiscard]] core::CallContext context() const;
  [[nodiscard]] std::string position(std::uint64_t covered) const;

  const WalGetCommand& command_;
  WalFileName file_;
  RecoveryProcess recovery_ = RecoveryProcess::of_this_session();
  core::ClusterIdentity cluster_;
  core::RestoreFile out_;
  std::string spool_key_;
  std::optional<core::Spool> spool_;
  bool whole_ = false; // as it was archived: there may be more behind it
  fs::path pg_wal_;    // of the recovery that asks
  LocalSegment local_ = LocalSegment::none;
};

void WalGet::open_spool() {
  if (command_.spool.size == 0 || (file_.kind != WalFileKind::segment && file_.kind != WalFileKind::history)) return;
  try {
    spool_key_ = core::Spool::key_of(cluster_.system_identifier, fs::current_path(), command_.stores.urls());
    spool_.emplace(command_.spool.base(), spool_key_);
  } catch (const Error& error) {
    // A recovery begins with history files, so it is said about once.
    if (file_.kind == WalFileKind::history)
      say(file_.name, std::string("no read-ahead: ") + error.what(), error.hint());
  }
}

bool WalGet::take_from_spool() {
  if (!spool_ || file_.kind != WalFileKind::segment) return false;
  if (!spool_->has(file_.segment) && !spool_->progress_of(file_.segment)) return false;
  const bool told = spool_->tell(file_.segment); // before it is taken, or it would be fetched again
  try {
    if (!(told ? wait_for_segment_under_way() : spool_->take(file_.segment, out_))) return false;
    check_content(file_, out_, cluster_.system_identifier);
  } catch (const Error&) { // the spool's file is damaged, or it cannot be copied: try without
    return false;
  }
  if (commit() != restore_done) return false;
  whole_ = true;
  read_ahead(told);
  return true;
}

// As long as it grows: it has a lead over a fetch that would begin now.
bool WalGet::wait_for_segment_under_way() {
  using std::chrono::steady_clock;
  std::optional<std::uint64_t> last;
  auto grown = steady_clock::now();
  for (;;) {
    if (spool_->take(file_.segment, out_)) return true;
    const auto progress = spool_->progress_of(file_.segment);
    if (!progress) return spool_->take(file_.segment, out_); // finished in between, or given up
    const auto now = steady_clock::now();
    if (progress != last) grown = now;
    if (now - grown > std::chrono::seconds(2)) return false;
    last = progress;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

void WalGet::read_ahead(bool told) {
  if (told) return;
  StoreSettings stores = command_.stores;
  stores.system_identifier = cluster_.system_identifier;
  start_prefetch({.stores = std::move(stores),
                  .spool = command_.spool,
                  .key = spool_key_,
                  .segment = file_.segment,
                  .segment_size = out_.written(),
                  .recovery = recovery_.pid(),
                  .recovery_started = recovery_.started()});
}

int WalGet::commit() {
  if (recovery_.has_ended()) return restore_local;
  if (file_.kind == WalFileKind::segment || file_.kind == WalFileKind::partial) {
    const TablespaceGuard guard(fs::current_path(), command_.no_new_tablespaces);
    if (const auto refusal = guard.look_at(out_, fs::path(command_.target).parent_path(), file_.segment)) {
      say(file_.name, refusal->what, refusal->hint);
      return restore_tablespace;
    }
  }
  out_.commit();
  return restore_done;
}

// One that was out a moment ago comes last: to find out that it still is takes half a minute.
std::vector<core::WalReader*> WalGet::in_their_order(const Readers& readers) const {
  std::vector<core::WalReader*> order, last;
  for (std::size_t i = 0; i < readers.size(); ++i)
    (spool_ && spool_->is_out(i) ? last : order).push_back(readers[i].get());
  order.insert(order.end(), last.begin(), last.end());
  return order;
}

// Another repository had the file.
void WalGet::note(const core::RepositoryFailure& failure, const Readers& readers) const {
  say(file_.name, std::string("taken from another repository: ") + failure.error.what());
  for (std::size_t i = 0; spool_ && i < readers.size(); ++i)
    if (readers[i].get() == failure.repository) spool_->note_outage(i);
}

// It does not end recovery by itself: it asks again, until somebody promotes it. The primary's archiver may take long
// to catch up after an outage.
bool is_standby() {
  return fs::exists("standby.signal");
}

int WalGet::fetch() {
  // Few tries for one repository, so that another is asked soon; then all of them again, until the time is up.
  Stores stores(command_.stores, {.max_attempts = 3, .max_delay = core::milliseconds(2000)});
  Readers readers;
  for (const auto& store : stores.all())
    readers.push_back(
        std::make_unique<core::WalReader>(*store, cluster_.system_identifier, stores.keys(), cluster_.segment_size));
  core::ArchiveReader archive(in_their_order(readers), stores.clock(), stores.random(),
                              [&](const core::RepositoryFailure& failure) { note(failure, readers); });
  // Of a segment that is only begun here nobody can say that recovery does not end in it; a standby asks again.
  pg_wal_ = fs::path(command_.target).parent_path();
  local_ = core::look_at_local_segment(pg_wal_, file_, cluster_.system_identifier);
  const bool is_local = local_ == LocalSegment::complete || (local_ == LocalSegment::begun && is_standby());
  const core::RecoveryPatience patience{.outage = milliseconds_of(command_.retry_time), .gap = core::milliseconds(0)};
  const WalFetchResult result = archive.fetch_patiently(file_, out_, patience, context());
  if (result != WalFetchResult::gap) return end_of(result);
  if (is_local) {
    say(file_.name, "the archive has later WAL, but not this segment; PostgreSQL takes its own from pg_wal");
    return restore_absent;
  }
  return at_hole(archive);
}

// For what begins now. For a transfer that was begun in time, a minute more.
core::CallContext WalGet::context() const {
  return {.stop = {},
          .deadline = core::SystemClock().steady_now() + milliseconds_of(command_.retry_time) +
                      2 * milliseconds_of(command_.gap_time) + std::chrono::minutes(1)};
}

// A server that is destroyed leaves uploads that overtook each other: the end that can be reached is before the hole.
// One that still stores what is behind it is not destroyed, and may yet store this.
int WalGet::at_hole(core::ArchiveReader& archive) {
  const bool asks_again = is_standby(); // and is promoted, or streams, as long as this does not wait
  const auto mode = command_.at_hole == HolePolicy::end ? core::AtHole::end_always : core::AtHole::end;
  const core::RecoveryPatience once{.outage = milliseconds_of(command_.retry_time), .gap = core::milliseconds(0)};
  const core::RecoveryPatience waiting{.outage = once.outage, .gap = milliseconds_of(command_.gap_time)};
  const bool watches = !asks_again && command_.at_hole == HolePolicy::crash;
  const core::SystemClock clock;
  const core::SteadyTime give_up = clock.steady_now() + once.outage;
  for (;;) {
    core::LaterWal seen;
    if (watches) seen = archive.later_wal(file_, false, once, context());
    if (!asks_again)
      if (const WalFetchResult result = archive.fetch_patiently(file_, out_, waiting, context());
          result != WalFetchResult::gap)
        return end_of(result);
    if (command_.at_hole == HolePolicy::stop) return end_of(WalFetchResult::gap);
    const WalFetchResult end = archive.fetch_patiently(file_, out_, once, context(), mode);
    if (end != WalFetchResult::padded && end != WalFetchResult::absent) return end_of(end);
    const std::uint64_t covered = archive.covered();
    if (asks_again) return end_at_hole(end, covered, {});
    const core::LaterWal later = archive.later_wal(file_, !watches, once, context());
    if (!watches || later == seen) return end_at_hole(end, covered, later);
    if (clock.steady_now() >= give_up) {
      say(file_.name, "a server stores later WAL all the while, but not this segment",
          "find out there why not (dbops.archive_status), or stop that server; then start this one again");
      return restore_gap;
    }
  }
}

// Where WAL of the segment ends when so much of it is there.
std::string WalGet::position(std::uint64_t covered) const {
  if (!cluster_.segment_size) return file_.segment + " + " + std::to_string(covered);
  const auto id = core::parse_segment_name(file_.segment, *cluster_.segment_size);
  return id ? core::to_string(cluster_.segment_size->start_of(id->number) + covered) : file_.segment;
}

std::string WalGet::why_it_ends(std::uint64_t covered, const core::LaterWal& later) {
  if (later.objects > 0)
    return fmt::format("the archive has later WAL, up to segment {}, the last of it stored at {}; it cannot be "
                       "replayed, as the rest of this segment is not there",
                       later.last, core::iso8601_basic(later.modified));
  if (later.pieces_to > covered)
    return "the archive has later pieces of this segment; they cannot be replayed, as the one before them is not there";
  return "another timeline goes on from a later point of this one, and WAL up to there is not there";
}

int WalGet::end_at_hole(WalFetchResult end, std::uint64_t covered, const core::LaterWal& later) {
  if (is_standby()) {
    say(file_.name, "the archive has later segments, but not all of this one: the standby waits for it");
    return end_of(end);
  }
  const char* const though =
      command_.at_hole == HolePolicy::end ? " (--at-hole end)" : " and has not come while this waited";
  const std::string advice =
      "if another store or the pg_wal of the server that wrote it has the segment, put it and the next into pg_wal and "
      "recover from the base backup again; with --at-hole stop recovery stops here instead of opening the server";
  if (is_kept(end)) {
    say(file_.name,
        "WAL ENDS IN THIS SEGMENT of pg_wal, which PostgreSQL takes, as it has all that the archive has of it, unless "
        "it "
        "is whole: " +
            why_it_ends(covered, later) + though,
        advice);
    return restore_absent;
  }
  say(file_.name, "WAL ENDS HERE, at " + position(covered) + ": " + why_it_ends(covered, later) + though, advice);
  return end_of(end);
}

// PostgreSQL would replace its own by ours, and with it what was never shipped.
bool WalGet::is_kept(WalFetchResult end) const {
  if (local_ == LocalSegment::none) return false;
  return end == WalFetchResult::absent || core::local_segment_has(pg_wal_, file_, out_);
}

int WalGet::end_of(WalFetchResult result) {
  switch (result) {
  case WalFetchResult::whole:
    whole_ = file_.kind == WalFileKind::segment;
    check_content(file_, out_, cluster_.system_identifier);
    return commit();
  case WalFetchResult::padded:
    if (!is_padding_only(out_)) check_content(file_, out_, cluster_.system_identifier);
    if (is_kept(result)) {
      if (!is_standby())
        say(file_.name, "pg_wal has all that the archive has of this segment; PostgreSQL takes its own");
      return restore_absent;
    }
    return commit();
  case WalFetchResult::absent:
    return restore_absent;
  case WalFetchResult::gap:
    break;
  }
  if (is_standby()) {
    say(file_.name, "the archive has later segments, but not all of this one: the standby waits for it");
    return restore_absent;
  }
  say(file_.name, "the archive has later WAL, but not all of this segment: recovery would end too early",
      "\"dbops wal-list\" shows what is there; put the segment and the next one into pg_wal if another store or the "
      "server that wrote it has it, or open the server without what is behind it, with --at-hole end in "
      "restore_command");
  return restore_gap;
}

int status_of(const Error& error) {
  if (dynamic_cast<const core::RestoreFileError*>(&error) != nullptr) return restore_local;
  switch (error.kind()) {
  case ErrorKind::unavailable:
  case ErrorKind::cancelled:
  case ErrorKind::no_space:
  case ErrorKind::io: // of a repository in a directory
    return restore_unavailable;
  case ErrorKind::corrupt:
    return restore_damaged;
  default:
    return restore_misconfigured;
  }
}

} // namespace

int run(const WalGetCommand& command) noexcept {
  try {
    end_quickly_by_signals();
    const auto file = core::parse_wal_file_name(command.file);
    if (!file) {
      say(command.file, "this is not the name of a WAL file");
      return restore_misconfigured;
    }
    try {
      return WalGet(command, *file).run();
    } catch (const Error& error) {
      say(file->name, error.what(), error.hint());
      return status_of(error);
    }
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "dbops wal-get: %s\n", failure.what());
    return restore_local;
  }
}

} // namespace dbops::cli
