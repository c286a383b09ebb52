// Core's threads inside a PostgreSQL process: how they are opened, waited for, listened to and left.
#pragma once

#include <atomic>
#include <memory>

#include "core/base/log.h"
#include "core/base/random.h"
#include "core/crypto/key_file.h"
#include "core/store/object_store.h"
#include "core/wal/fence.h"
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
  // Until a signal, the process's latch or the timeout. Handles interrupts (barriers, termination). False: the postmaster
  // is gone. The latch is reset: an archive callback has to set it again before it returns (pgarch.c waits for it).
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

// Lets a message pass when it is another one than the last, or a minute has gone by.
class RateLimit {
 public:
  [[nodiscard]] bool pass(const std::string& message);
  void clear() { last_.clear(); }

 private:
  std::string last_;
  core::SteadyTime last_time_{};
};

} // namespace dbops::server::archive
