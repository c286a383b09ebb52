// Core's threads inside a PostgreSQL process: how they are opened, waited for, listened to and left.
#pragma once

#include <atomic>
#include <future>
#include <map>
#include <memory>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/random.h"
#include "core/base/thread_pool.h"
#include "core/crypto/key_file.h"
#include "core/store/object_store.h"
#include "core/wal/fence.h"
#include "core/wal/offsite_backlog.h"
#include "server/archive/settings.h"
#include "server/guard.h"

namespace dbops::server::archive {

// Wakes the main thread out of wait(); signal() may be called from any thread, at any time until the process ends.
class ThreadEvent {
 public:
  ThreadEvent();
  ~ThreadEvent() = default; // lives as long as the process: a thread may be left behind
  ThreadEvent(const ThreadEvent&) = delete;
  ThreadEvent& operator=(const ThreadEvent&) = delete;
  void signal() const noexcept;
  // Until a signal, the process's latch or the timeout. Handles interrupts (barriers, termination). False: the
  // postmaster is gone. The latch is reset: an archive callback has to set it again before it returns (pgarch.c waits
  // for it).
  [[nodiscard]] bool wait(core::milliseconds timeout) const;

 private:
  int fd_ = -1;
};

// This process's clock and randomness, for threads: they outlive everything.
core::Clock& thread_clock();
core::Random& thread_random();

// What is known of this cluster. Call in the main thread, after the fork.
struct Cluster {
  std::uint64_t system_identifier = 0;
  std::uint64_t segment_size = 0; // bytes
  std::string data_directory;
  core::Owner owner; // its identity and its description
};
Cluster this_cluster();

// Before anything else is done on a timeline that this process has not seen: as core::offer_ancestor_segments(). Says
// so, or why not, in the log. False: it failed.
[[nodiscard]] bool offer_ancestors(const Cluster& cluster, core::TimelineId timeline) noexcept;

// Before anything is said about how far a primary is archived: core::unmarked_files() are offered to PostgreSQL's
// archiver again, durably, and the log says so. Returns how many. Throws core::Error.
std::size_t offer_forgotten(const Cluster& cluster, core::TimelineId timeline, core::Lsn flushed,
                            std::optional<core::SegmentNumber> from);

// Where archiving stands by what PostgreSQL holds for it: all before the oldest segment that is ready, or before the
// unfinished one when none is. Throws core::Error.
core::Lsn archived_by_status(const Cluster& cluster, core::TimelineId timeline, core::Lsn flushed);

// Before anything is said about the offsite repository on a timeline: what it lacks is known to this data directory on
// this timeline, or all of it is compared (core::OffsiteBacklogFile::require_check). Throws core::Error.
void check_offsite(const Cluster& cluster, const std::string& store, core::TimelineId timeline,
                   core::OffsiteBacklogFile::Asker asker);

// A repository as threads use it.
struct RepositoryAccess {
  std::shared_ptr<core::ObjectStore> store;
  std::shared_ptr<core::TimelineFence> fence;
  std::shared_ptr<const core::KeyRing> keys;
  std::shared_ptr<std::atomic<std::uint64_t>> retries;
};
// Makes no request. Throws core::Error. Initialises libcurl for s3://.
RepositoryAccess open_repository(const std::string& url, const Settings& settings, const Cluster& cluster);

// A thread did not end in time. Then the process must leave without running the exit handlers of libraries (OpenSSL's
// would free what the thread uses).
void leave_thread_behind();

// One line to the server's log, as LOG or WARNING; never raises.
void log_line(bool warning, const std::string& message, const std::string& hint = {}) noexcept;

// What a thread failed with, as plain values.
struct ThreadFailure {
  core::ErrorKind kind = core::ErrorKind::io;
  std::string message, hint;
  bool gone = false; // a file of pg_wal
};
// Call inside a catch block.
ThreadFailure describe_thread_failure();

// How long threads are waited for, all those of a process together, before they are left behind.
inline constexpr core::milliseconds thread_stop_time{2000};

// Waits for threads that were asked to stop, no longer than thread_stop_time, and handles interrupts meanwhile.
template <typename Ended>
void wait_for_threads(const ThreadEvent& event, const Ended& ended) {
  constexpr core::milliseconds step{20}; // the end of a thread comes without an event
  const core::SteadyTime end = thread_clock().steady_now() + thread_stop_time;
  while (!ended() && thread_clock().steady_now() < end)
    if (!event.wait(step)) return;
}

// One thing at a time that a thread does for the main thread. The task owns all that it refers to, so that the thread
// can be left behind.
template <typename Result>
class BackgroundTask {
 public:
  BackgroundTask() = default;
  ~BackgroundTask() { stop(); }
  BackgroundTask(BackgroundTask&&) noexcept = default;
  BackgroundTask& operator=(BackgroundTask&&) = delete;
  BackgroundTask(const BackgroundTask&) = delete;
  BackgroundTask& operator=(const BackgroundTask&) = delete;

  // fn(stop_token) -> Result, in the thread; must not throw. The event comes after the result.
  template <typename F>
  void start(F fn, const ThreadEvent& event) {
    if (!pool_) pool_ = std::make_unique<core::ThreadPool>(1);
    auto promise = std::make_shared<std::promise<Result>>();
    result_ = promise->get_future();
    pool_->submit([promise, fn = std::move(fn), &event](const std::stop_token& stop) mutable {
      promise->set_value(fn(stop));
      event.signal();
    });
  }
  [[nodiscard]] bool running() const { return result_.valid(); }
  // The result, once.
  std::optional<Result> take() {
    if (!result_.valid() || result_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) return std::nullopt;
    return result_.get();
  }
  // Asks the thread to stop; returns at once.
  void request_stop() {
    if (pool_) pool_->request_stop();
  }
  // After request_stop().
  [[nodiscard]] bool ended() const { return !pool_ || pool_->ended(); }
  // Asks the thread to stop and waits a little for it, at most until the deadline.
  void stop(core::SteadyTime deadline) {
    if (pool_ && !pool_->shutdown(deadline)) {
      leave_thread_behind();
      log_line(true, "a transfer did not stop in time and is left behind");
    }
    pool_.reset();
    result_ = {};
  }
  void stop() { stop(thread_clock().steady_now() + thread_stop_time); }

 private:
  std::unique_ptr<core::ThreadPool> pool_;
  std::future<Result> result_;
};

// Lets a message pass once a minute. An outage says different things in turn, each again and again.
class RateLimit {
 public:
  [[nodiscard]] bool pass(const std::string& message);
  void clear() { passed_.clear(); }

 private:
  std::map<std::string, core::SteadyTime> passed_; // within the last minute
};

} // namespace dbops::server::archive
