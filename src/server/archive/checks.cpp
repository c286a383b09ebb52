#include "server/archive/checks.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "core/wal/layout.h"
#include "core/wal/object_format.h"
#include "core/wal/repository.h"
#include "server/archive/backlog.h"
#include "server/archive/opening.h"
#include "server/archive/session_task.h"
#include "server/archive/shared.h"
#include "server/archive/threads.h"
#include "server/compat.h"
#include "server/engine/bookkeeping.h"
#include "server/guc.h"

extern "C" {
#include "access/xlog.h"
#include "access/xlog_internal.h"
}

namespace dbops::server::archive {

namespace {

using core::milliseconds;

constexpr std::int64_t many_waiting_files = 64;
constexpr std::size_t named_objects = 8; // of those that are damaged
constexpr double largest_skew = 300;     // seconds; S3 refuses requests that are 15 minutes off
// How much later than a thread that keeps its deadline one is given up that does not.
constexpr milliseconds time_to_notice{1000};

std::string seconds_text(double seconds) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f s", seconds);
  return text.data();
}

std::string failure_text(const ThreadFailure& failure) {
  return failure.message;
}

// One run of all checks: later ones use what earlier ones found.
class Run {
 public:
  explicit Run(milliseconds timeout)
      : deadline_(thread_clock().steady_now() + timeout), settings_(current_settings()) {}

  std::vector<Check> all() {
    check_settings();
    check_preload();
    check_key();
    if (!settings_.store.empty()) {
      cluster_ = this_cluster();
      check_store(primary, settings_.store);
      if (!settings_.offsite_store.empty()) check_store(offsite, settings_.offsite_store);
      check_segment();
      check_streamer();
      check_backlog();
      check_errors();
    }
    return std::move(checks_);
  }

 private:
  void add(std::string name, bool ok, Severity severity, std::string detail, std::string hint = {}) {
    checks_.push_back({.name = std::move(name),
                       .ok = ok,
                       .severity = severity,
                       .detail = std::move(detail),
                       .hint = ok ? std::string() : std::move(hint)});
  }
  // What it makes of a thread that fails or does not answer is for its caller. Results have a `failure`.
  template <typename Result, typename F>
  Result ask(F fn) const {
    Result none;
    if (thread_clock().steady_now() >= deadline_) {
      none.failure = {.kind = core::ErrorKind::unavailable,
                      .message = "not tried: no time was left",
                      .hint = "Mend what took the time, or give dbops.check() more of it."};
      return none;
    }
    auto result = in_thread_until<Result>(
        [fn = std::move(fn)](const std::stop_token& stop) {
          Result found;
          try {
            fn(found, stop);
          } catch (...) {
            found.failure = describe_thread_failure();
          }
          return found;
        },
        deadline_ + time_to_notice);
    if (result) return std::move(*result);
    none.failure = no_answer();
    return none;
  }
  [[nodiscard]] bool archiving() const {
    return XLogArchiveMode != ARCHIVE_MODE_OFF && XLogArchiveLibrary != nullptr &&
           std::strcmp(XLogArchiveLibrary, "dbops") == 0;
  }

  void check_settings() {
    add("store", !settings_.store.empty(), Severity::error,
        settings_.store.empty() ? "dbops.store is not set" : settings_.store,
        "Set dbops.store to file:///path or s3://bucket/prefix, and reload.");
    const std::string mode = call_pg([] { return GetConfigOption("archive_mode", false, false); });
    add("archive_mode", mode != "off", Severity::error, "archive_mode = " + mode, "Set archive_mode = on and restart.");
    const std::string library = XLogArchiveLibrary == nullptr ? "" : XLogArchiveLibrary;
    add("archive_library", library == "dbops", Severity::error, "archive_library = '" + library + "'",
        "Set archive_library = 'dbops' and reload.");
    const std::string level = call_pg([] { return GetConfigOption("wal_level", false, false); });
    add("wal_level", level != "minimal", Severity::error, "wal_level = " + level,
        "Set wal_level = replica and restart.");
    const std::string fsync = call_pg([] { return GetConfigOption("fsync", false, false); });
    add("fsync", fsync == "on", Severity::warning, "fsync = " + fsync,
        "What a power failure takes back may have been shipped already; then this server may not go on archiving.");
  }

  void check_preload() {
    const bool preloaded = archive_shared() != nullptr;
    add("preload", preloaded, Severity::warning,
        preloaded ? "dbops is in shared_preload_libraries" : "dbops is not in shared_preload_libraries",
        "Without it whole segments are archived, but nothing is streamed, dbops.archive_status knows little, and an "
        "offsite store "
        "that is out holds up archiving. Add dbops to shared_preload_libraries and restart.");
    const std::string version = extension_version();
    add("version", version == DBOPS_VERSION, Severity::warning, "extension " + version + ", library " + DBOPS_VERSION,
        "Drop the extension and create it again, or restart the server so that it loads the new library.");
  }

  struct KeyAnswer {
    std::string id;
    std::optional<ThreadFailure> failure;
  };
  void check_key() {
    if (settings_.key_file.empty()) {
      add("encryption", true, Severity::info, "off: dbops.key_file is not set");
      return;
    }
    const auto key = ask<KeyAnswer>([file = settings_.key_file](KeyAnswer& answer, const std::stop_token&) {
      answer.id = core::KeyRing::read(file).current().id();
    });
    if (!key.failure)
      add("encryption", true, Severity::error, "new objects are encrypted with key \"" + key.id + "\"");
    else
      add("encryption", false, Severity::error, failure_text(*key.failure),
          key.failure->hint.empty() ? "See docs/format.md, \"Key file\"." : key.failure->hint);
  }

  struct StoreAnswer {
    std::optional<core::TimelineClaim> claim;
    std::optional<ThreadFailure> failure;
  };
  void check_store(int repository, const std::string& url) {
    const std::string name = std::string(repository_name(repository)) + " store";
    core::TimelineId timeline = 0;
    if (!RecoveryInProgress()) (void)GetFlushRecPtr(&timeline);
    const auto answer = ask<StoreAnswer>([settings = settings_, cluster = cluster_, url, timeline,
                                          deadline = deadline_](StoreAnswer& found, const std::stop_token& stop) {
      const RepositoryAccess access = open_repository(url, settings, cluster);
      const core::CallContext bounded{.stop = stop, .deadline = deadline};
      (void)core::read_repository(*access.store, cluster.system_identifier, bounded);
      if (timeline != 0)
        found.claim = core::read_claim(*access.store, cluster.system_identifier, timeline, cluster.owner, bounded);
    });
    if (answer.failure) {
      add(name, false, Severity::error, failure_text(*answer.failure),
          answer.failure->hint.empty() ? "See docs/stores.md for what the store has to grant." : answer.failure->hint);
      return;
    }
    add(name, true, Severity::error, url + " answers");
    if (timeline == 0) return;
    const bool ours = !answer.claim || answer.claim->ours;
    add(name + " owner", ours, Severity::error,
        !answer.claim ? "nobody owns timeline " + std::to_string(timeline) + " yet"
                      : "timeline " + std::to_string(timeline) + " belongs to " + answer.claim->owner.description +
                            ", instance " + answer.claim->owner.instance,
        "This server is instance " + cluster_.owner.instance +
            ". If the other one is gone for good, run SELECT dbops.take_over_archive(); otherwise give this server a "
            "store of its own.");
  }

  // A segment with a record of ours in it, ended.
  static core::SegmentId end_segment() {
    return call_pg([] {
      (void)XLogRestorePoint("dbops.check");
      const XLogRecPtr end = RequestXLogSwitch(false);
      core::SegmentId id;
      XLogSegNo segment = 0;
      XLByteToPrevSeg(end, segment, wal_segment_size);
      id.number = segment;
      (void)GetFlushRecPtr(&id.timeline);
      return id;
    });
  }

  bool wait_until(const std::function<bool()>& condition) const {
    while (!condition()) {
      if (thread_clock().steady_now() >= deadline_) return false;
      if (!session_event().wait(milliseconds(100))) return false;
    }
    return true;
  }

  void check_segment() {
    if (!archiving()) return;
    if (RecoveryInProgress()) {
      add("archive a segment", true, Severity::info, "not tried: the server is in recovery");
      return;
    }
    const core::SegmentSize size(cluster_.segment_size);
    const std::string segment = core::segment_name(end_segment(), size);
    const core::SteadyTime begin = thread_clock().steady_now();
    const std::string ready = cluster_.data_directory + "/pg_wal/archive_status/" + segment + ".ready";
    const bool archived = wait_until([&] { return ::access(ready.c_str(), F_OK) != 0; });
    const double took = std::chrono::duration<double>(thread_clock().steady_now() - begin).count();
    add("archive a segment", archived, Severity::error,
        archived ? segment + " was acknowledged after " + seconds_text(took)
                 : segment + " was not archived within " + seconds_text(took),
        "Look at last_error in dbops.archive_status and at the server's log; files before it are archived first.");
    if (!archived) return;
    read_back(primary, settings_.store, segment);
    if (!settings_.offsite_store.empty()) read_back(offsite, settings_.offsite_store, segment);
  }

  struct ReadBack {
    bool found = false;
    std::uint64_t size = 0; // bytes, decoded and verified
    core::WallTime written, modified;
    std::optional<ThreadFailure> failure;
  };
  static void fetch(ReadBack& result, const std::string& url, const Settings& settings, const Cluster& cluster,
                    const std::string& segment, const core::CallContext& context) {
    const RepositoryAccess access = open_repository(url, settings, cluster);
    const std::string key =
        core::cluster_prefix(cluster.system_identifier) + core::wal_file_key(*core::parse_wal_file_name(segment));
    const auto info = access.store->head(key, context);
    const auto object = info ? access.store->get(key, {}, context) : std::nullopt;
    if (!object) return;
    const core::ObjectHeader header = core::decode_object(*object, access.keys.get(), cluster.segment_size,
                                                          [&](core::ByteView bytes) { result.size += bytes.size(); });
    result.found = true;
    result.written = header.created;
    result.modified = info->modified;
  }

  void read_back(int repository, const std::string& url, const std::string& segment) {
    const std::string name = std::string(repository_name(repository)) + " store read-back";
    const auto result = ask<ReadBack>([settings = settings_, cluster = cluster_, url, segment,
                                       deadline = deadline_](ReadBack& found, const std::stop_token& stop) {
      fetch(found, url, settings, cluster, segment, {.stop = stop, .deadline = deadline});
    });
    if (result.failure) {
      add(name, false, Severity::error, failure_text(*result.failure),
          result.failure->hint.empty()
              ? "The segment was acknowledged, but could not be read: see that get is permitted, "
                "and that the object is not damaged."
              : result.failure->hint);
      return;
    }
    const bool whole = result.found && result.size == cluster_.segment_size;
    add(name, whole, Severity::error,
        !result.found ? segment + " is not there"
                      : segment + ": " + std::to_string(result.size) + " bytes, digest verified",
        "What was acknowledged is not there: stop and find out who deletes objects, or whether the URL leads "
        "elsewhere.");
    if (!result.found || result.modified == core::WallTime()) return;
    const double skew = std::chrono::duration<double>(result.modified - result.written).count();
    add(std::string(repository_name(repository)) + " store clock", std::abs(skew) < largest_skew, Severity::warning,
        "the store's clock and this server's differ by " + seconds_text(skew) + ", upload included",
        "Set this server's clock (NTP): S3 refuses requests that are 15 minutes off.");
  }

  void check_streamer() {
    if (archive_shared() == nullptr || RecoveryInProgress()) return;
    if (guc::stream_interval == 0) {
      add("streamer", true, Severity::info, "off: dbops.stream_interval = 0");
      return;
    }
    int pid = 0;
    with_archive_shared([&](ArchiveShared& memory) { pid = memory.streamer_pid; });
    add("streamer", pid != 0, Severity::error, pid != 0 ? "runs, process " + std::to_string(pid) : "does not run",
        "It is started with the server when archive_mode is on; it needs one of max_worker_processes.");
    if (pid == 0 || !archiving()) return;
    const core::Lsn target = GetFlushRecPtr(nullptr);
    core::Lsn durable = 0;
    const bool reached = wait_until([&] {
      with_archive_shared([&](ArchiveShared& memory) { durable = memory.repository[primary].durable; });
      return durable >= target;
    });
    add("durable", reached, Severity::error,
        "flushed " + core::to_string(target) + ", durable " + core::to_string(durable),
        "Look at last_error in dbops.archive_status.");
  }

  void check_backlog() {
    ArchiveShared copy{};
    with_archive_shared([&copy](ArchiveShared& memory) { copy = memory; });
    const std::array<Backlog, repositories> backlogs = read_backlogs(copy, settings_.offsite_store.c_str());
    check_backlog(primary, backlogs[primary]);
    if (settings_.offsite_store.empty()) return;
    check_backlog(offsite, backlogs[offsite]);
    check_damage(backlogs[offsite]);
  }

  void check_backlog(int repository, const Backlog& backlog) {
    add(std::string(repository_name(repository)) + " store backlog", backlog.files < many_waiting_files,
        Severity::warning,
        backlog.files == 0 ? "it lacks no file"
                           : "it lacks " + std::to_string(backlog.files) + " files, " + backlog.oldest + " first",
        "Archiving is slower than WAL is written, or fails. Raise dbops.archive_workers, or look at last_error.");
  }

  void check_damage(const Backlog& backlog) {
    if (backlog.damaged.empty()) return;
    std::string names;
    for (std::size_t i = 0; i < std::min(named_objects, backlog.damaged.size()); ++i)
      names.append(i == 0 ? "" : ", ").append(backlog.damaged.at(i));
    add("offsite store damage", false, Severity::error,
        std::to_string(backlog.damaged.size()) + " objects could not be copied, they are damaged in the first store: " +
            names + (backlog.damaged.size() > named_objects ? ", ..." : ""),
        damaged_object_hint);
  }

  void check_errors() {
    for (int i = 0; i < repositories; ++i) {
      RepositoryStatus status{};
      with_archive_shared([&](ArchiveShared& memory) { status = memory.repository[i]; });
      if (status.archiver_failing || status.streamer_failing)
        add(std::string(repository_name(i)) + " store errors", false, Severity::error, status.last_error,
            status.last_hint[0] != '\0' ? status.last_hint : "Look at the server's log; mend what the message names.");
      if (status.gap_to != 0)
        add(std::string(repository_name(i)) + " store lineage", false, Severity::error,
            "WAL from " + core::to_string(status.gap_from) + " to " + core::to_string(status.gap_to) +
                " is not there, and this timeline goes on from behind it",
            lineage_gap_hint);
    }
  }

  core::SteadyTime deadline_;
  Settings settings_;
  Cluster cluster_;
  std::vector<Check> checks_;
};

} // namespace

std::vector<Check> run_checks(milliseconds timeout) {
  return Run(timeout).all();
}

} // namespace dbops::server::archive
