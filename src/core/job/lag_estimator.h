// Replica lag in seconds from positions alone: how long ago was the primary where the standby is now?
// pg_stat_replication.replay_lag stands still while a standby stalls, and is empty on an idle one; this does neither.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>

namespace dbops::core {

class LagEstimator {
 public:
  using Clock = std::chrono::steady_clock;
  // Remembers positions of the primary, at most one every `resolution`, for `horizon`.
  explicit LagEstimator(Clock::duration resolution = std::chrono::milliseconds(100),
                        Clock::duration horizon = std::chrono::minutes(60));

  void primary_at(std::uint64_t lsn, Clock::time_point now); // lsn never goes back; a lower one starts afresh
  // Lag of a standby that has replayed up to `lsn`. Zero when it has all that is known; older than all that is
  // remembered: the age of the oldest memory (a lower bound that grows).
  [[nodiscard]] Clock::duration lag(std::uint64_t lsn, Clock::time_point now) const;

 private:
  struct Sample {
    std::uint64_t lsn;
    Clock::time_point at; // when the primary was first seen at or past lsn
  };
  Clock::duration resolution_, horizon_;
  std::deque<Sample> samples_;
};

} // namespace dbops::core
