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
  // Remembers positions of the primary, at most one every `resolution`, for `horizon`; never more than 100 000 of them.
  explicit LagEstimator(Clock::duration resolution = std::chrono::milliseconds(100),
                        Clock::duration horizon = std::chrono::minutes(60));

  void primary_at(std::uint64_t lsn, Clock::time_point now); // lsn never goes back; a lower one starts afresh
  // Lag of a standby that has replayed up to `lsn`: since when has there been something to replay? Zero when it has all
  // that is known; when it is older than all that is remembered, the age of the oldest memory: a lower bound, which
  // grows from the first call of primary_at until it reaches the horizon. Too large by at most `resolution`, too small
  // by at most the time between two calls of primary_at.
  [[nodiscard]] Clock::duration lag(std::uint64_t lsn, Clock::time_point now) const;
  [[nodiscard]] std::size_t remembered() const noexcept { return samples_.size(); } // positions held

 private:
  struct Sample {
    std::uint64_t lsn;    // the furthest seen within `resolution` of `at`
    Clock::time_point at; // when the primary was first seen past the sample before
  };
  Clock::duration resolution_, horizon_;
  std::deque<Sample> samples_;
};

} // namespace dbops::core
