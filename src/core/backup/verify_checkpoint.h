// What a deep verification has read already, so that one that was interrupted goes on from there.
#pragma once

#include "core/backup/manifest_store.h"
#include "core/base/log.h"

#include <array>
#include <mutex>
#include <string>
#include <vector>

namespace dbops::core {

// For any number of threads. 16 bytes an object, in memory and in the store ("verifying/<scope>/<run>/...").
class VerifyCheckpoint {
 public:
  // scope: a label, or "all". Goes on with the last run of that scope that did not end and has saved something within
  // `longest_pause`; restart: begins a new one. Without the permission to write, nothing is kept.
  VerifyCheckpoint(const BackupRepository& repository, const std::string& scope, bool restart, LogSink log,
                   const CallContext& context);

  static constexpr auto longest_pause = std::chrono::hours(7 * 24);

  // Objects that the interrupted run has found to be whole.
  [[nodiscard]] std::size_t resumed() const noexcept { return known_.size(); }
  [[nodiscard]] bool has(const std::string& name) const;
  // The object was read, and is whole.
  void add(const std::string& name);
  // Keeps what was added. once a minute: unless it was done less than a minute ago.
  void save(const CallContext& context, bool once_a_minute = false);
  // The run has read all: the next one begins anew.
  void finish(const CallContext& context);

 private:
  using Mark = std::array<std::byte, 16>; // of SHA-256 of the name
  static Mark mark_of(const std::string& name);
  void put(const std::string& name, ByteView content, const CallContext& context);

  const BackupRepository& repository_;
  LogSink log_;
  std::string run_;         // "verifying/<scope>/<run>/"
  std::vector<Mark> known_; // sorted
  std::mutex mutex_;
  Bytes added_;
  SteadyTime saved_;
  bool refused_ = false;
};

// For expiry: runs that ended, or that nobody goes on with.
void forget_verify_checkpoints(const BackupRepository& repository, const CallContext& context);

} // namespace dbops::core
