// The WAL streamer: one process, connected to no database, on a primary. It looks at the flush position every
// dbops.stream_interval and has what is new shipped, by one thread for each repository.

#include "server/archive/streamer.h"

#include <algorithm>
#include <array>
#include <memory>

#include "core/base/allocator.h"
#include "core/wal/archive_marks.h"
#include "core/wal/offsite_backlog.h"
#include "core/wal/wal_shipper.h"
#include "server/archive/catch_up.h"
#include "server/archive/lineage_watch.h"
#include "server/archive/opening.h"
#include "server/archive/shared.h"
#include "server/archive/threads.h"
#include "server/compat.h"
#include "server/guc.h"

extern "C" {
#include "access/xlog.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "postmaster/pgarch.h"
#include "storage/ipc.h"

PGDLLEXPORT void dbops_streamer_main(Datum argument);
}

namespace dbops::server::archive {

namespace {

using core::milliseconds;

constexpr milliseconds unconfigured_wake{60'000};
constexpr milliseconds longest_pause{30'000};
constexpr milliseconds conflict_pause{60'000};

// One repository. What its thread works on is owned by the task, so that a thread can be left behind.
class Stream {
 public:
  explicit Stream(int repository) : repository_(repository) {}

  void open(const std::string& url, const Settings& settings, const Cluster& cluster);
  void request_stop() { task_.request_stop(); }
  [[nodiscard]] bool ended() const { return task_.ended(); }
  void close(core::SteadyTime deadline);
  // Takes the result of what was shipped, if it is there.
  void collect();
  // Has what is new shipped, unless something is under way.
  void drive(const core::ShipTarget& target, const ThreadEvent& event);

 private:
  struct Work {
    std::string url;
    Settings settings;
    Cluster cluster;
    std::optional<RepositoryAccess> access;
    std::optional<core::WalShipper> shipper;
    // Opens what is not open yet. Throws core::Error.
    void prepare();
  };
  struct Result {
    core::ShippedRange shipped;
    bool pending = false;
    core::ShipperCounters counters;
    std::uint64_t retries = 0;
    std::optional<core::Lsn> diverged; // the store has WAL at least up to here
    std::optional<ThreadFailure> failure;
  };
  static Result run(Work& work, const core::ShipTarget& target, const std::stop_token& stop);
  void take(const Result& result);
  void look_again();
  void fail(const ThreadFailure& failure, bool diverged);
  [[nodiscard]] core::SteadyTime now() const { return thread_clock().steady_now(); }

  int repository_;
  std::string url_;
  std::shared_ptr<Work> work_; // the thread's while one runs
  BackgroundTask<Result> task_;
  core::ShippedRange shipped_;
  bool pending_ = false; // the end of the segment before
  core::ShipperCounters published_;
  std::uint64_t published_retries_ = 0;
  RateLimit warnings_;
  milliseconds pause_{0};
  core::SteadyTime not_before_{};
};

void Stream::open(const std::string& url, const Settings& settings, const Cluster& cluster) {
  if (url_ != url)
    with_archive_shared([&](ArchiveShared& memory) { enter_store(memory.repository[repository_], store_hash(url)); });
  url_ = url;
  work_ = std::make_shared<Work>();
  work_->url = url;
  work_->settings = settings;
  work_->cluster = cluster;
  published_ = {};
  published_retries_ = 0;
  pause_ = milliseconds(0);
  not_before_ = {};
}

void Stream::close(core::SteadyTime deadline) {
  task_.stop(deadline);
  work_.reset();
  shipped_ = {};
  pending_ = false;
}

void Stream::Work::prepare() {
  if (!access) access = open_repository(url, settings, cluster);
  if (shipper) return;
  shipper.emplace(core::ShipperSetup{
      .store = access->store,
      .fence = access->fence,
      .keys = access->keys,
      .clock = thread_clock(),
      .random = thread_random(),
      .writer = {.system_identifier = cluster.system_identifier,
                 .origin = cluster.owner.description,
                 .encoding = {.compression_level = settings.compression_level}},
      .directory = std::filesystem::path(cluster.data_directory) / "pg_wal",
      .segment_size = core::SegmentSize(cluster.segment_size),
      .timeout = settings.upload_timeout,
  });
}

// What is not known to be a file that answers is opened here, too.
Stream::Result Stream::run(Work& work, const core::ShipTarget& target, const std::stop_token& stop) {
  Result result;
  try {
    work.prepare();
    work.shipper->advance(target, {.stop = stop});
  } catch (const core::Diverged& error) {
    result.failure = describe_thread_failure();
    result.diverged = error.seen();
  } catch (...) {
    result.failure = describe_thread_failure();
  }
  if (work.access) result.retries = work.access->retries->load();
  if (work.shipper) {
    result.shipped = work.shipper->shipped();
    result.pending = work.shipper->pending();
    result.counters = work.shipper->counters();
  }
  return result;
}

// The next shipper finds out from the store where it is.
void Stream::look_again() {
  work_->shipper.reset();
  published_ = {};
}

void Stream::fail(const ThreadFailure& failure, bool diverged) {
  const bool conflict = failure.kind == core::ErrorKind::conflict;
  // The segment was archived and recycled: there is nothing to ship of it.
  const bool recycled = failure.gone;
  pause_ = conflict ? conflict_pause : std::clamp(pause_ * 2, milliseconds(guc::stream_interval), longest_pause);
  not_before_ = now() + pause_;
  if (conflict || recycled) look_again();
  if (recycled || failure.kind == core::ErrorKind::cancelled) return;
  with_archive_shared([&](ArchiveShared& memory) {
    RepositoryStatus& status = memory.repository[repository_];
    note_error(status, failure.message.c_str(), failure.hint.c_str());
    status.streamer_failing = true;
    status.diverged = diverged;
    ++status.failures;
  });
  if (warnings_.pass(std::to_string(static_cast<int>(failure.kind))))
    log_line(true,
             std::string("streaming WAL to the ") + repository_name(repository_) + " store fails: " + failure.message,
             failure.hint);
}

void Stream::take(const Result& result) {
  const core::ShipperCounters before = std::exchange(published_, result.counters);
  const std::uint64_t retries = result.retries;
  const std::uint64_t retries_before = std::exchange(published_retries_, retries);
  const bool moved = result.shipped.to != shipped_.to || result.shipped.timeline != shipped_.timeline;
  shipped_ = result.shipped;
  pending_ = result.pending;
  with_archive_shared([&](ArchiveShared& memory) {
    RepositoryStatus& status = memory.repository[repository_];
    if (moved) {
      note_streamed(status, store_hash(url_), shipped_.timeline, shipped_.from, shipped_.to);
      status.last_chunk_at = GetCurrentTimestamp();
    }
    status.chunks += static_cast<std::int64_t>(result.counters.chunks - before.chunks);
    status.merges += static_cast<std::int64_t>(result.counters.merges - before.merges);
    status.chunk_bytes += static_cast<std::int64_t>(result.counters.bytes - before.bytes);
    note_stored(status, static_cast<std::int64_t>(result.counters.object_bytes - before.object_bytes));
    status.retries += static_cast<std::int64_t>(retries - retries_before);
    if (!result.failure) status.streamer_failing = status.diverged = false;
  });
  // The server went on while the store was looked at, and what was found there is its own.
  const bool overtaken = result.diverged && *result.diverged <= GetFlushRecPtr(nullptr);
  if (overtaken) {
    look_again();
  } else if (result.failure) {
    fail(*result.failure, result.diverged.has_value());
  } else {
    // The archiver sleeps up to a minute after a failure: the store answers again.
    if (pause_ > milliseconds(0)) call_pg([] { PgArchWakeup(); });
    pause_ = milliseconds(0);
    if (moved) warnings_.clear(); // else there was nothing to ship, and no store was asked
  }
}

void Stream::collect() {
  if (const auto result = task_.take()) take(*result);
}

void Stream::drive(const core::ShipTarget& target, const ThreadEvent& event) {
  const bool nothing_new = !pending_ && shipped_.timeline == target.timeline && shipped_.to >= target.flushed;
  if (task_.running() || url_.empty() || nothing_new || now() < not_before_) return;
  task_.start([work = work_, target](const std::stop_token& stop) { return run(*work, target, stop); }, event);
}

struct Position {
  core::TimelineId timeline;
  core::Lsn flushed;
};

// Stored, and not acknowledged yet. Under the lock of `status`.
bool has_file(const RepositoryStatus& status, const char* name) {
  return std::any_of(status.ahead.others, status.ahead.others + status.ahead.other_files,
                     [name](const char* other) { return std::strcmp(name, other) == 0; });
}

// look_again: what PostgreSQL holds to be archived is in the offsite repository, too, from now on.
std::array<core::Lsn, repositories> archived_positions(const Cluster& cluster, const Settings& settings,
                                                       const Position& position, bool look_again,
                                                       bool offsite_is_known) {
  std::array<core::Lsn, repositories> archived{};
  const auto look = [&](ArchiveShared& memory) {
    for (int i = 0; i < repositories; ++i)
      if (memory.repository[i].timeline == position.timeline)
        archived.at(static_cast<std::size_t>(i)) = memory.repository[i].archived;
  };
  with_archive_shared(look);
  const bool two = offsite_is_known;
  const auto is_behind = [&] {
    return two && core::OffsiteBacklogFile(cluster.data_directory).read(settings.offsite_store).has_value();
  };
  if (!look_again && archived[primary] != 0 && (archived[offsite] != 0 || !two || is_behind())) return archived;
  // Without its history nobody follows a timeline.
  const std::string history = core::history_name(position.timeline);
  const bool history_waits =
      core::history_waits(std::filesystem::path(cluster.data_directory) / "pg_wal", position.timeline);
  std::array<bool, repositories> may_note{!history_waits, !history_waits};
  with_archive_shared([&](ArchiveShared& memory) {
    for (std::size_t i = 0; i < repositories; ++i)
      may_note.at(i) = may_note.at(i) || has_file(memory.repository[i], history.c_str());
  });
  if (!may_note[primary] && !may_note[offsite]) return archived;
  const core::Lsn start = archived_by_status(cluster, position.timeline, position.flushed);
  const bool behind = is_behind(); // after the look: that a file is let go is written down before it is archived
  with_archive_shared([&](ArchiveShared& memory) {
    if (may_note[primary])
      note_archived(memory.repository[primary], store_hash(settings.store), position.timeline, start);
    if (two && !behind && may_note[offsite])
      note_archived(memory.repository[offsite], store_hash(settings.offsite_store), position.timeline, start);
    look(memory);
  });
  return archived;
}

bool is_configured() {
  return guc::store != nullptr && guc::store[0] != '\0' && XLogArchiveLibrary != nullptr &&
         std::strcmp(XLogArchiveLibrary, "dbops") == 0 && !RecoveryInProgress();
}

class Streamer {
 public:
  Streamer()
      : cluster_(this_cluster()), streams_{Stream(primary), Stream(offsite)},
        catch_up_(cluster_), lineages_{LineageWatch(primary, cluster_), LineageWatch(offsite, cluster_)} {}

  void work() {
    while (!ShutdownRequestPending) {
      if (ConfigReloadPending)
        call_pg([] {
          ConfigReloadPending = false;
          ProcessConfigFile(PGC_SIGHUP);
        });
      milliseconds pause = unconfigured_wake;
      if (is_configured()) {
        step();
        pause = milliseconds(guc::stream_interval > 0 ? guc::stream_interval : 1000);
      } else if (settings_) {
        stop_and_answer();
      }
      if (!wait(pause)) return;
    }
  }

  // Ends the threads, within two seconds.
  void stop() {
    const core::SteadyTime deadline = thread_clock().steady_now() + thread_stop_time;
    watch_.request_stop();
    request_stop();
    watch_.stop(deadline);
    close(deadline);
  }

 private:
  void request_stop() {
    for (Stream& stream : streams_)
      stream.request_stop();
    for (LineageWatch& lineage : lineages_)
      lineage.request_stop();
    catch_up_.request_stop();
  }

  void close(core::SteadyTime deadline) {
    for (Stream& stream : streams_)
      stream.close(deadline);
    for (LineageWatch& lineage : lineages_)
      lineage.stop(deadline);
    catch_up_.stop(deadline);
    settings_.reset();
  }

  // While the server goes on.
  void stop_and_answer() {
    request_stop();
    wait_for_threads(event_, [this] {
      return catch_up_.ended() && std::ranges::all_of(streams_, [](const Stream& stream) { return stream.ended(); }) &&
             std::ranges::all_of(lineages_, [](const LineageWatch& lineage) { return lineage.ended(); });
    });
    close(thread_clock().steady_now());
  }

  void step() {
    try {
      look_and_ship();
    } catch (const core::Error& error) { // of a file in the data directory
      if (step_warnings_.pass(error.what()))
        log_line(true, std::string("streaming WAL: ") + error.what(), error.hint());
    }
  }

  void look_and_ship() {
    std::optional<Settings> now = watch_.read(event_);
    if (!now) {
      const ThreadFailure failure = no_answer();
      if (step_warnings_.pass(failure.message)) log_line(true, failure.message, failure.hint);
      return;
    }
    if (!settings_ || !(*now == *settings_)) {
      stop_and_answer();
      settings_ = std::make_unique<const Settings>(std::move(*now));
      streams_[primary].open(settings_->store, *settings_, cluster_);
      streams_[offsite].open(settings_->offsite_store, *settings_, cluster_);
    }
    collect();
    Position position{};
    position.flushed = GetFlushRecPtr(&position.timeline);
    offer_what_waits(position);
    const bool with_offsite = remember_offsite(position.timeline);
    const auto archived =
        archived_positions(cluster_, *settings_, position, std::exchange(caught_up_, false), with_offsite);
    const std::size_t streams = with_offsite ? repositories : offsite;
    for (std::size_t i = 0; i < streams && guc::stream_interval > 0; ++i)
      streams_.at(i).drive({.timeline = position.timeline, .flushed = position.flushed, .archived = archived.at(i)},
                           event_);
    if (with_offsite) catch_up_.drive(*settings_, event_);
    lineages_[primary].drive(settings_->store, *settings_, position.timeline, archived[primary], event_);
    if (with_offsite)
      lineages_[offsite].drive(settings_->offsite_store, *settings_, position.timeline, archived[offsite], event_);
    // What was flushed at the last look is durable by now: no commit of before that look is at risk.
    with_archive_shared([&](ArchiveShared& memory) {
      for (RepositoryStatus& status : memory.repository)
        if (status.timeline == looked_.timeline && status.durable >= looked_.flushed)
          status.caught_up = std::max(status.caught_up, looked_at_);
    });
    looked_ = position;
    looked_at_ = GetCurrentTimestamp();
  }

  // All at first, then what was finished since the last look.
  void offer_what_waits(const Position& position) {
    const core::SegmentNumber end = core::SegmentSize(cluster_.segment_size).segment_of(position.flushed);
    const bool is_new = offered_timeline_ != position.timeline;
    if (!is_new && offered_up_to_ >= end) return;
    bool offered = !is_new || offer_ancestors(cluster_, position.timeline);
    const std::size_t forgotten = offer_forgotten(cluster_, position.timeline, position.flushed,
                                                  is_new ? std::nullopt : std::optional(offered_up_to_));
    // The history may have been among them.
    if (is_new && forgotten > 0) offered = offer_ancestors(cluster_, position.timeline);
    if (!offered) return;
    offered_timeline_ = position.timeline;
    offered_up_to_ = end;
  }

  // False: there is no offsite store, or it cannot be written down what it may lack. The first one is not held up.
  bool remember_offsite(core::TimelineId timeline) {
    if (settings_->offsite_store.empty()) return false;
    try {
      check_offsite(cluster_, settings_->offsite_store, timeline, core::OffsiteBacklogFile::Asker::other);
      return true;
    } catch (const core::Error& error) {
      if (step_warnings_.pass(error.what()))
        log_line(true, std::string("the offsite store has to wait: ") + error.what(), error.hint());
      return false;
    }
  }

  void collect() {
    for (Stream& stream : streams_)
      stream.collect();
    for (LineageWatch& lineage : lineages_)
      lineage.collect();
    if (catch_up_.collect()) caught_up_ = true;
  }

  // Until the next look; a result of a thread is taken at once.
  bool wait(milliseconds pause) {
    const core::SteadyTime end = thread_clock().steady_now() + pause;
    for (;;) {
      const core::SteadyTime now = thread_clock().steady_now();
      if (now >= end || ShutdownRequestPending || ConfigReloadPending) return true;
      if (!event_.wait(std::chrono::ceil<milliseconds>(end - now))) return false;
      collect();
    }
  }

  Cluster cluster_;
  ThreadEvent event_;
  std::array<Stream, repositories> streams_;
  CatchUp catch_up_;
  std::array<LineageWatch, repositories> lineages_;
  SettingsWatch watch_;
  RateLimit step_warnings_;
  std::unique_ptr<const Settings> settings_;
  bool caught_up_ = false; // the offsite repository, since the last look
  Position looked_{};
  core::TimelineId offered_timeline_ = 0; // what waited on it was offered,
  core::SegmentNumber offered_up_to_ = 0; // up to here
  TimestampTz looked_at_ = 0;
};

Streamer* streamer = nullptr; // never freed: a thread may be left behind

void announce(bool here) {
  with_archive_shared([here](ArchiveShared& memory) {
    memory.streamer = here ? MyLatch : nullptr;
    memory.streamer_pid = here ? MyProcPid : 0;
  });
}

void at_exit(int, Datum) {
  announce(false);
  if (streamer != nullptr) streamer->stop();
}

} // namespace

void register_streamer() {
  if (XLogArchiveMode == ARCHIVE_MODE_OFF) return;
  BackgroundWorker worker{};
  worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
  worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
  worker.bgw_restart_time = 1;
  strlcpy(worker.bgw_library_name, "dbops", sizeof worker.bgw_library_name);
  strlcpy(worker.bgw_function_name, "dbops_streamer_main", sizeof worker.bgw_function_name);
  strlcpy(worker.bgw_name, "dbops WAL streamer", sizeof worker.bgw_name);
  strlcpy(worker.bgw_type, "dbops WAL streamer", sizeof worker.bgw_type);
  RegisterBackgroundWorker(&worker);
}

} // namespace dbops::server::archive

void dbops_streamer_main(Datum) {
  using namespace dbops::server;
  using namespace dbops::server::archive;
  pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
  pqsignal(SIGHUP, SignalHandlerForConfigReload);
  before_shmem_exit(at_exit, static_cast<Datum>(0));
  BackgroundWorkerUnblockSignals();
  announce(true);
  boundary([] {
    dbops::core::return_large_buffers();
    streamer = new Streamer();
    streamer->work();
  });
  // Exit code 1: started again after bgw_restart_time, unless the server is shutting down.
  proc_exit(1);
}
