// The WAL streamer: one process, connected to no database, on a primary. It looks at the flush position every
// dbops.stream_interval and has what is new shipped, by one thread for each repository.

#include "server/archive/streamer.h"

#include <algorithm>
#include <array>

#include "core/wal/offsite_backlog.h"
#include "core/wal/ready_files.h"
#include "core/wal/wal_shipper.h"
#include "server/archive/catch_up.h"
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

constexpr std::size_t names_in_memory = 4096; // of files that are ready
constexpr milliseconds unconfigured_wake{60'000};
constexpr milliseconds longest_pause{30'000};
constexpr milliseconds conflict_pause{60'000};

// One repository. What its thread works on is owned by the task, so that a thread can be left behind.
class Stream {
 public:
  explicit Stream(int repository) : repository_(repository) {}

  void open(const std::string& url, const Settings& settings, const Cluster& cluster);
  void close();
  // Takes the result of what was shipped, if it is there.
  void collect();
  // Has what is new shipped, unless something is under way.
  void drive(const core::ShipTarget& target, const ThreadEvent& event);

 private:
  struct Work {
    explicit Work(core::ShipperSetup setup) : shipper(std::move(setup)) {}
    core::WalShipper shipper;
  };
  struct Result {
    core::ShippedRange shipped;
    bool pending = false;
    core::ShipperCounters counters;
    std::optional<core::Lsn> diverged; // the store has WAL at least up to here
    std::optional<ThreadFailure> failure;
  };
  static Result run(Work& work, const core::ShipTarget& target, const std::stop_token& stop);
  void take(const Result& result);
  void prepare();
  void fail(const ThreadFailure& failure, bool diverged);
  [[nodiscard]] core::SteadyTime now() const { return thread_clock().steady_now(); }

  int repository_;
  std::string url_;
  Settings settings_;
  Cluster cluster_;
  std::optional<RepositoryAccess> access_;
  std::shared_ptr<Work> work_;
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
  close();
  if (url_ != url)
    with_archive_shared([&](ArchiveShared& memory) { enter_store(memory.repository[repository_], store_hash(url)); });
  url_ = url;
  settings_ = settings;
  cluster_ = cluster;
  pause_ = milliseconds(0);
  not_before_ = {};
}

void Stream::close() {
  task_.stop();
  work_.reset();
  access_.reset();
  shipped_ = {};
  pending_ = false;
}

Stream::Result Stream::run(Work& work, const core::ShipTarget& target, const std::stop_token& stop) {
  Result result;
  try {
    work.shipper.advance(target, {.stop = stop});
  } catch (const core::Diverged& error) {
    result.failure = describe_thread_failure();
    result.diverged = error.seen();
  } catch (...) {
    result.failure = describe_thread_failure();
  }
  result.shipped = work.shipper.shipped();
  result.pending = work.shipper.pending();
  result.counters = work.shipper.counters();
  return result;
}

void Stream::fail(const ThreadFailure& failure, bool diverged) {
  const bool conflict = failure.kind == core::ErrorKind::conflict;
  // The segment was archived and recycled: there is nothing to ship of it.
  const bool recycled = failure.gone;
  pause_ = conflict ? conflict_pause : std::clamp(pause_ * 2, milliseconds(guc::stream_interval), longest_pause);
  not_before_ = now() + pause_;
  if (conflict || recycled) work_.reset();
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
  const std::uint64_t retries = access_ ? access_->retries->load() : 0;
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
    work_.reset();
  } else if (result.failure) {
    fail(*result.failure, result.diverged.has_value());
  } else {
    // The archiver sleeps up to a minute after a failure: the store answers again.
    if (pause_ > milliseconds(0)) call_pg([] { PgArchWakeup(); });
    pause_ = milliseconds(0);
    warnings_.clear();
  }
}

void Stream::collect() {
  if (const auto result = task_.take()) take(*result);
}

// Opens what is not open yet. Throws core::Error.
void Stream::prepare() {
  if (!access_) {
    access_ = open_repository(url_, settings_, cluster_);
    published_retries_ = 0;
  }
  if (work_) return;
  published_ = {};
  work_ = std::make_shared<Work>(core::ShipperSetup{
      .store = access_->store,
      .fence = access_->fence,
      .keys = access_->keys,
      .clock = thread_clock(),
      .random = thread_random(),
      .writer = {.system_identifier = cluster_.system_identifier,
                 .origin = cluster_.owner.description,
                 .encoding = {.compression_level = settings_.compression_level}},
      .directory = std::filesystem::path(cluster_.data_directory) / "pg_wal",
      .segment_size = core::SegmentSize(cluster_.segment_size),
      .timeout = settings_.upload_timeout,
  });
}

void Stream::drive(const core::ShipTarget& target, const ThreadEvent& event) {
  const bool nothing_new = !pending_ && shipped_.timeline == target.timeline && shipped_.to >= target.flushed;
  if (task_.running() || url_.empty() || nothing_new || now() < not_before_) return;
  try {
    prepare();
  } catch (const core::Error& error) {
    fail({.kind = error.kind(), .message = error.what(), .hint = error.hint()}, false);
    return;
  }
  task_.start([work = work_, target](const std::stop_token& stop) { return run(*work, target, stop); }, event);
}

// Where archiving stands, when no archiver has said so since the start: all before the oldest segment that is ready, or
// before the unfinished one when none is.
core::Lsn archived_by_status(const Cluster& cluster, core::TimelineId timeline, core::Lsn flushed) {
  const core::SegmentSize size(cluster.segment_size);
  core::Lsn oldest = size.start_of(size.segment_of(flushed));
  const core::ReadyFiles ready =
      core::list_ready_files(std::filesystem::path(cluster.data_directory) / "pg_wal/archive_status", names_in_memory);
  // What is of an older timeline is an ancestor's, which a promoted server sees to.
  for (const core::WalFileName& file : ready.first)
    if (const auto id = core::parse_segment_name(file.name, size); id && id->timeline <= timeline)
      oldest = std::min(oldest, size.start_of(id->number));
  return oldest;
}

struct Position {
  core::TimelineId timeline;
  core::Lsn flushed;
};

std::array<core::Lsn, repositories> archived_positions(const Cluster& cluster, const Settings& settings,
                                                       const Position& position) {
  std::array<core::Lsn, repositories> archived{};
  const auto look = [&](ArchiveShared& memory) {
    for (int i = 0; i < repositories; ++i)
      if (memory.repository[i].timeline == position.timeline)
        archived.at(static_cast<std::size_t>(i)) = memory.repository[i].archived;
  };
  with_archive_shared(look);
  const bool two = !settings.offsite_store.empty();
  const bool behind = two && core::OffsiteBacklogFile(cluster.data_directory).read(settings.offsite_store).has_value();
  if (archived[primary] != 0 && (archived[offsite] != 0 || !two || behind)) return archived;
  const core::Lsn start = archived_by_status(cluster, position.timeline, position.flushed);
  with_archive_shared([&](ArchiveShared& memory) {
    note_archived(memory.repository[primary], store_hash(settings.store), position.timeline, start);
    if (two && !behind)
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
  Streamer() : cluster_(this_cluster()), streams_{Stream(primary), Stream(offsite)}, catch_up_(cluster_) {}

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
      } else {
        stop();
      }
      if (!wait(pause)) return;
    }
  }

  void stop() {
    for (Stream& stream : streams_)
      stream.close();
    catch_up_.stop();
    settings_.reset();
  }

 private:
  void step() {
    Settings now = current_settings();
    if (!settings_ || !(now == *settings_)) {
      stop();
      settings_ = std::move(now);
      streams_[primary].open(settings_->store, *settings_, cluster_);
      streams_[offsite].open(settings_->offsite_store, *settings_, cluster_);
    }
    collect();
    Position position{};
    position.flushed = GetFlushRecPtr(&position.timeline);
    if (looked_.timeline != position.timeline) offer_ancestors(cluster_, position.timeline);
    const auto archived = archived_positions(cluster_, *settings_, position);
    for (std::size_t i = 0; i < repositories && guc::stream_interval > 0; ++i)
      streams_.at(i).drive({.timeline = position.timeline, .flushed = position.flushed, .archived = archived.at(i)},
                           event_);
    catch_up_.drive(*settings_, event_);
    // What was flushed at the last look is durable by now: no commit of before that look is at risk.
    with_archive_shared([&](ArchiveShared& memory) {
      for (RepositoryStatus& status : memory.repository)
        if (status.timeline == looked_.timeline && status.durable >= looked_.flushed)
          status.caught_up = std::max(status.caught_up, looked_at_);
    });
    looked_ = position;
    looked_at_ = GetCurrentTimestamp();
  }

  void collect() {
    for (Stream& stream : streams_)
      stream.collect();
    catch_up_.collect();
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
  std::optional<Settings> settings_;
  Position looked_{};
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
    streamer = new Streamer();
    streamer->work();
  });
  // Exit code 1: started again after bgw_restart_time, unless the server is shutting down.
  proc_exit(1);
}
