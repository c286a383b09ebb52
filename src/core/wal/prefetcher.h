// Fetches the segments behind the one that replay has come to, so that replay does not wait for the store.
#pragma once

#include "core/base/clock.h"
#include "core/wal/restore_file.h"
#include "core/wal/spool.h"

#include <condition_variable>
#include <functional>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

namespace dbops::core {

class Prefetcher {
 public:
  // Puts the segment into the file; false: it is not there as a whole. May throw Error. Called by several threads.
  using Fetch = std::function<bool(const WalFileName& segment, RestoreFile& out, const CallContext& context)>;

  // ahead: segments to fetch behind the one that replay has come to. threads: fetches at a time. spool and fetch must
  // outlive the prefetcher.
  Prefetcher(const Spool& spool, SegmentSize size, std::size_t ahead, std::size_t threads, Fetch fetch);
  // Stops fetches under way and waits for them.
  ~Prefetcher();
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;

  // Replay has come to this segment: those behind it on its timeline are wanted, and nothing else. A segment that was
  // not there or could not be fetched is asked for again, and only now: that it was not there is never remembered.
  void advance(const std::string& segment);

  // Nothing is being fetched, and there is nothing left to fetch.
  [[nodiscard]] bool idle() const;

 private:
  void work(const std::stop_token& stop);
  [[nodiscard]] std::optional<std::string> next_to_fetch() const;
  bool fetch_one(const std::string& segment, const std::stop_token& stop);
  [[nodiscard]] std::vector<std::string> wanted() const;

  const Spool& spool_;
  SegmentSize size_;
  std::size_t ahead_;
  Fetch fetch_;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::optional<SegmentId> position_;
  std::uint64_t round_ = 0; // number of calls of advance()
  std::size_t end_ = 0;     // of the wanted ones, as far as the store has them
  std::set<std::string, std::less<>> under_way_;
  std::vector<std::jthread> threads_;
};

} // namespace dbops::core
