// One slice of a backfill or batch_delete. Its definition is in three rooms: work.cpp takes ranges and does batches,
// setbacks.cpp knows what a failed batch means, pass_end.cpp what is left to do when the ranges are used up.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/job/batch_controller.h"
#include "core/job/duration_histogram.h"
#include "server/backfill/batch.h"
#include "server/backfill/claim.h"
#include "server/backfill/pace.h"
#include "server/backfill/spec.h"
#include "server/backfill/wal_ahead.h"
#include "server/backfill/work.h"

namespace dbops::server::backfill {

// The batch would take more rows than a run of its rule may. It is rolled back.
struct TooMany {
  std::int64_t rows;
};

// A block range met a row that still matches the condition after the assignments. The batch is rolled back.
struct StillMatches {};

enum class Step {
  worked,      // a batch was committed, or something was moved
  nothing_now, // all that is left is to be revisited later
  slice_done,
  job_done,
  stopped, // the job's state says so
  leave,   // dbops was dropped or upgraded under this process
};

struct Progress {
  core::DurationHistogram times;
  double rate = 0; // rows a second, smoothed over some 15 s
  std::chrono::steady_clock::time_point rate_at = std::chrono::steady_clock::now();
  double watched = 0; // seconds that the rate has been taken over
};

// Where a batch has deleted rows, for the record of the run.
struct Range {
  Value first = std::nullopt, last = std::nullopt;
  Value place = std::nullopt; // see Unit; NULL: of a later pass
};

class SliceWork {
 public:
  SliceWork(Session& session, const Job& job, int slice);

  SliceEnd run();

 private:
  void load();
  Step step();
  Step step_in_transaction();
  Step out_of_work();
  bool advance(Cursor& cursor);
  bool too_big_for_one_snapshot();
  std::int64_t still_matching(std::int64_t limit, bool& uncounted);
  const Table* described(Oid relation);
  void run_unit();
  std::int64_t deleted_by_job();
  void checkpoint(const BatchResult& result, std::chrono::microseconds took, const Range& range);
  void require_slice_lock() const;
  void store_work(bool goes_on = false); // goes_on: what was waited for is there
  bool committed_after_all();
  ChunkWish wish(const Cursor& cursor) const;
  [[nodiscard]] std::optional<std::int64_t> next_batch_rows() const;
  bool horizon_is_held(Oid relation) const;

  void failed(const SqlError& error);
  void hindered(const SqlError& error);
  void short_of_resources(const SqlError& error);
  void row_failed(const SqlError& error);
  std::int64_t rows_set_aside();
  void set_row_aside(const Table& table, const Unit& unit, const SqlError& error);
  void revisit_later(const SqlError& error);
  bool halve();
  bool halve_in_transaction();
  void walk_by_key_instead();
  bool ask_for_more(const TooMany& wanted); // false: the job is paused
  [[nodiscard]] bool rule_allows();
  bool overtaken_by_key_walk();
  void vacuum_if_due();
  void keep_wal_ahead();
  void give_back_lock() {
    if (const std::optional<int> slice = std::exchange(adopted_, std::nullopt)) SliceLock::release(job_.id, *slice);
  }

  [[nodiscard]] std::vector<Value> ids() const { return {to_text(job_.id), to_text(slice_)}; }

  Session& session_;
  const Job& job_;
  const int slice_;
  Spec spec_;
  const std::string job_text_ = to_text(job_.id);
  const std::string lock_timeout_ = to_text(spec_.lock_timeout_ms);
  BatchRunner runner_;
  core::BatchController controller_;
  Pace pace_;
  Progress progress_;
  std::vector<Unit>
      work_; // a stack: the unit under way is at the back; equals dbops.job_slice.work between transactions
  std::int64_t batches_ = 0; // committed in this slice; equals dbops.job_slice.batches as well
  std::int64_t deleted_ = 0; // rows, those of other tables included; only for a run with a maximum
  std::set<Oid> left_out_;   // partitions in which nothing can match
  Oid extension_ = InvalidOid;
  std::string version_;
  TransactionId chunk_began_ = InvalidTransactionId; // the first transaction of the last chunk
  bool sparse_ = false;                              // the last chunk had few rows that matched
  std::int64_t chunk_rows_ = 0;                      // changed in the chunk under way
  int pass_ = 0;
  bool locking_table_ = false;
  std::optional<std::int64_t> aside_known_; // no fewer than the rows of the job that are set aside
  bool retried_row_ = false;                // the unit at the back failed for a row's sake once already
  bool claim_apart_ =
      false;               // a claim with its first batch was rolled back: claim first, so that the unit can be halved
  bool ran_batch_ = false; // in the transaction under way
  int resource_failures_ = 0;
  int hindered_ = 0;            // transactions in a row that met a lock
  std::uint64_t wal_bytes_ = 0; // written by this run
  WalAhead wal_ahead_;
  std::optional<int> adopted_;    // slice whose work this transaction takes over
  std::int64_t since_vacuum_ = 0; // rows changed here since it was last asked whether VACUUM is due
  std::minstd_rand random_{static_cast<std::uint32_t>(MyProcPid)};
};

} // namespace dbops::server::backfill
