// Reads what a throttle looks at: replicas, WAL, archive, sessions, machine.
#pragma once

#include <map>

#include "core/job/lag_estimator.h"
#include "core/job/throttle.h"
#include "server/engine/session.h"

namespace dbops::server {

class SignalReader {
 public:
  // Reads the signals that have a limit, in a transaction of its own; a signal that cannot be read stays absent.
  core::ThrottleSignals read(Session& session, const core::ThrottleLimits& limits, const std::vector<Oid>& relations);

 private:
  void read_replicas(core::ThrottleSignals& signals);
  void read_wal_rate(core::ThrottleSignals& signals);

  core::LagEstimator lag_;
  std::uint64_t last_insert_ = 0;
  std::chrono::steady_clock::time_point last_insert_at_{};
};

} // namespace dbops::server
