// Decides whether a job may start its next transaction. Pure: signals and time come in, a verdict goes out.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace dbops::core {

// A limit that is absent is not looked at.
struct ThrottleLimits {
  std::optional<double> max_replica_lag{};     // seconds, worst of the connected standbys
  std::optional<double> max_wal_rate{};        // bytes a second, the whole server
  std::optional<double> max_archive_backlog{}; // segments waiting for the archiver
  std::optional<double> max_lock_waiters{};    // sessions that waited for the job's last batch
  std::optional<double> max_active_sessions{}; // client sessions running a statement
  std::optional<double> max_load{};            // 1-minute load average a core
  bool pause_for_autovacuum = false;           // (auto)vacuum running on the table
};

// What was read. A signal that could not be read is absent or NaN: that stops a job which has a limit for it.
struct ThrottleSignals {
  std::optional<double> replica_lag{};
  std::optional<double> wal_rate{};
  std::optional<double> archive_backlog{};
  std::optional<double> lock_waiters{};
  std::optional<double> active_sessions{};
  std::optional<double> load{};
  std::optional<bool> autovacuum{};
};

// Any one reason stops. Hysteresis: a limit that stopped the job lets it go on at 0.8 of its value.
class Throttle {
 public:
  explicit Throttle(ThrottleLimits limits) : limits_(limits) {}

  // Reasons to wait, as a person reads them: "replica lag 3.2 s, limit 1.5 s". Empty: go on.
  std::vector<std::string> reasons(const ThrottleSignals& signals);

 private:
  ThrottleLimits limits_;
  // Which limits are stopping at the moment, in the order of ThrottleLimits.
  std::array<bool, 6> stopped_{};
};

// A token bucket. What a batch is expected to cost is waited for and taken before its transaction starts; the
// difference to what it did cost is settled afterwards: given back, or taken as a debt that has to be paid before the
// next one.
class TokenBucket {
 public:
  using Clock = std::chrono::steady_clock;
  // rate: tokens a second, > 0. burst: what may be saved up while idle, in tokens (default: one second's worth). The
  // bucket starts empty.
  TokenBucket(double rate, Clock::time_point now, double burst = 0);
  // How long until so many are there; zero: now. More than the burst are saved up for when they are asked for. A clock
  // that goes backwards earns nothing until it is past where it was.
  [[nodiscard]] Clock::duration wait(double tokens, Clock::time_point now) const;
  void take(double tokens, Clock::time_point now);
  // cost: of what `taken` had been taken for.
  void settle(double taken, double cost, Clock::time_point now);
  [[nodiscard]] double burst() const noexcept { return burst_; }

 private:
  void refill(Clock::time_point now, double room);
  double rate_, burst_, tokens_ = 0;
  Clock::time_point last_;
};

} // namespace dbops::core
