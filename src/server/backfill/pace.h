// When a slice may start its next transaction: throttle, token buckets, nice ratio, time windows. Everything is waited for
// outside of transactions, and what is waited for can be seen in dbops.progress.
#pragma once

#include "core/job/throttle.h"
#include "core/schedule/window.h"
#include "server/backfill/batch.h"
#include "server/engine/job_record.h"
#include "server/engine/session.h"
#include "server/engine/signals.h"

namespace dbops::server::backfill {

class Pace {
 public:
  Pace(Session& session, const Job& job, int slice, const Spec& spec);

  // Returns when the next transaction may start; false when the job is not to run any more.
  bool wait_for_turn();

  void batch_took(std::chrono::steady_clock::duration time); // the whole transaction, for the nice ratio
  void batch_done(const BatchResult& result);                // for the buckets

  // dbops.progress.waiting_for, until the next batch is committed.
  void say_waiting(const std::string& reason);

 private:
  using Clock = std::chrono::steady_clock;
  std::string reason_to_wait(std::chrono::milliseconds& at_most);
  std::optional<std::string> outside_window();
  void read_signals();

  Session& session_;
  const Job& job_;
  const int slice_;
  const Spec& spec_;
  core::Throttle throttle_;
  std::optional<core::TokenBucket> rows_, bytes_;
  std::optional<core::Windows> windows_;
  SignalReader reader_;
  core::ThrottleSignals signals_;
  bool has_limits_;
  Clock::time_point signals_at_{};
  Clock::time_point batch_at_{}; // the last batch, and how many waited for it
  int last_waiters_ = 0;
  Clock::time_point not_before_{};   // nice ratio
};

} // namespace dbops::server::backfill
