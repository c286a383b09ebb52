// When a slice may start its next transaction: throttle, token buckets, nice ratio, time windows. Everything is waited
// for outside of transactions, and what is waited for can be seen in dbops.progress.
#pragma once

#include "core/job/throttle.h"
#include "server/backfill/batch.h"
#include "server/engine/job_record.h"
#include "server/engine/session.h"
#include "server/engine/signals.h"
#include "server/engine/window.h"

namespace dbops::server::backfill {

class Pace {
 public:
  Pace(Session& session, const Job& job, int slice, const Spec& spec);

  // Returns when the next transaction may start; false when the job is not to run any more. rows: what its batch will
  // look at, for which tokens are taken; nothing when it runs none. Returns as well when the process had better go:
  // asked_to_leave(), outside_window().
  bool wait_for_turn(std::optional<std::int64_t> rows);
  // A worker gives its slot to others until the job's window opens; a session waits.
  bool outside_window();
  // A worker gives its slot to a scheduled command that waits for one, when it has done a batch or has to wait itself.
  [[nodiscard]] bool gives_way() const noexcept { return gives_way_; }

  // Most rows that a batch should look at, so that it never costs more tokens than a second brings.
  [[nodiscard]] std::int64_t most_rows() const;
  // Whether batches are paid for beforehand: then the size of a batch has to be known before its transaction.
  [[nodiscard]] bool prepays() const noexcept { return rows_ || bytes_; }

  void batch_took(std::chrono::steady_clock::duration time);        // the whole transaction, for the nice ratio
  void batch_done(const BatchResult& result, std::int64_t visited); // for the buckets

  // dbops.progress.waiting_for, until the next batch is committed.
  void say_waiting(const std::string& reason);

 private:
  using Clock = std::chrono::steady_clock;
  struct Tokens {
    double rows = 0;
    double bytes = 0;
  };
  std::string reason_to_wait(const Tokens& wanted, std::chrono::milliseconds& at_most);
  [[nodiscard]] Tokens cost_of(std::int64_t rows) const;
  void take(const Tokens& tokens);
  void settle(const Tokens& cost);
  void read_signals();

  Session& session_;
  const Job& job_;
  const int slice_;
  const Spec& spec_;
  core::Throttle throttle_;
  std::optional<core::TokenBucket> rows_, bytes_;
  Tokens taken_;               // for the batch that is to come
  double bytes_a_row_ = 1'024; // WAL for a row that is looked at, smoothed; at first a guess on the safe side
  JobWindow window_;
  SignalReader reader_;
  core::ThrottleSignals signals_;
  std::string waited_for_; // the kind of reason that was said last
  bool has_limits_;
  Clock::time_point signals_at_{};
  Clock::time_point batch_at_{}; // the last batch, and how many waited for it
  int last_waiters_ = 0;
  Clock::time_point not_before_{}; // nice ratio
  bool worked_ = false;
  bool gives_way_ = false;
};

} // namespace dbops::server::backfill
