// What a batch that failed means: wait, halve, set a row aside, or fail.
#include "server/backfill/slice_work.h"

#include <algorithm>

#include "core/job/error_class.h"
#include "core/text/json_text.h"
#include "server/backfill/bisect.h"
#include "server/engine/wait.h"

namespace dbops::server::backfill {

using nlohmann::json;
using std::chrono::milliseconds;

namespace {

constexpr std::int64_t few_rows = 100; // a unit this small is set aside, not halved, when it cannot be locked
constexpr int max_resource_failures = 10;

} // namespace

void SliceWork::failed(const SqlError& error) {
  if (error.code == ERRCODE_QUERY_CANCELED) {
    // pause(), cancel() and the like have changed the state before they interrupted; the next step sees it. Anything
    // else is somebody's wish to stop this process.
    const std::optional<core::JobState> state = session_.transaction(
        [this] { return extension_oid() == extension_ ? read_state(job_.id) : std::optional<core::JobState>(); });
    if (asked_to_leave() || (state && *state != core::JobState::running)) return;
    throw error;
  }
  switch (core::classify(error.sqlstate())) {
  case core::ErrorClass::contention:
    hindered(error);
    break;
  case core::ErrorClass::resource:
    short_of_resources(error);
    break;
  case core::ErrorClass::row:
    row_failed(error);
    break;
  default:
    throw error;
  }
}

void SliceWork::hindered(const SqlError& error) {
  controller_.hindered();
  session_.transaction([this] {
    bookkeep("UPDATE dbops.job_slice SET hindrances = hindrances + 1 WHERE job_id = $1::bigint AND slice = $2::integer",
             ids());
  });
  const bool on_table = std::exchange(locking_table_, false) || (work_.empty() && claim_apart_);
  claim_apart_ = claim_apart_ || (work_.empty() && !on_table);
  int tries = ++hindered_;
  if (!work_.empty()) tries = ++work_.back().tries;
  if (on_table) {
    pace_.say_waiting("a lock on the table");
  } else if (tries >= 3 && !work_.empty()) {
    const bool small = work_.back().rows / std::max(work_.back().stripes, 1) <= few_rows;
    if (small || !halve()) revisit_later(error);
    return;
  }
  // Out of step with whoever holds the lock, and longer each time.
  const int ceiling = std::min(2'000, 50 << std::min(tries, 6));
  sleep_whole(milliseconds(std::uniform_int_distribution<int>(ceiling / 2, ceiling)(random_)));
}

void SliceWork::short_of_resources(const SqlError& error) {
  if (++resource_failures_ > max_resource_failures) throw error;
  pace_.say_waiting(error.message);
  sleep_whole(milliseconds(std::min(60'000, 500 << std::min(resource_failures_, 7))));
}

// Replaces the unit at the back by the halves of its next stripe, what remains of it below. False: one row or none.
bool SliceWork::halve() {
  const bool halved = session_.transaction([this] { return halve_in_transaction(); });
  if (halved) hindered_ = 0; // what comes next is another unit, with tries of its own
  return halved;
}

bool SliceWork::halve_in_transaction() {
  const Unit unit = work_.back();
  locking_table_ = true;
  const Table* table = runner_.lock_table(unit.relation);
  locking_table_ = false;
  if (table == nullptr) return false;
  if (unit.order == Order::key) require_key(*table, unit.key);
  const std::optional<Halves> halves = bisect(runner_, *table, unit);
  if (!halves) return false;
  if (++work_.back().next >= work_.back().end) work_.pop_back();
  work_.push_back(halves->right);
  work_.push_back(halves->left);
  store_work();
  return true;
}

void SliceWork::revisit_later(const SqlError& error) {
  session_.transaction([this, &error] {
    Unit unit = first_stripe(work_.back());
    unit.tries = 0;
    if (++work_.back().next >= work_.back().end) work_.pop_back();
    bookkeep("INSERT INTO dbops.job_revisit (job_id, unit, not_before, reason)"
             " VALUES ($1::bigint, $2::jsonb, clock_timestamp() + interval '1 second', $3)",
             {to_text(job_.id), core::json_text(to_json(unit)), error.message});
    store_work();
  });
  hindered_ = 0;
}

void SliceWork::row_failed(const SqlError& error) {
  if (work_.empty()) {
    if (std::exchange(claim_apart_, true)) throw error; // not from a batch
    return;
  }
  if (!std::exchange(retried_row_, true)) return;
  retried_row_ = false;
  if (halve()) {
    retried_row_ = true; // the cause is known by now: no second try at each half
    return;
  }
  const Unit unit = first_stripe(work_.back());
  std::optional<SqlError> too_many;
  session_.transaction([&] {
    if (unit.order == Order::block && overtaken_by_key_walk()) { // its place says nothing to a walk by key
      work_.clear();
      store_work();
      return;
    }
    const Table* table = runner_.table(unit.relation);
    if (++work_.back().next >= work_.back().end) work_.pop_back();
    if (table != nullptr) set_row_aside(*table, unit, error);
    store_work();
    if (rows_set_aside() > spec_.max_errors) {
      too_many = error;
      too_many->detail = (error.detail.empty() ? "" : error.detail + " ") + "Row " +
                         (table == nullptr ? "" : runner_.first_row(*table, unit) + " of " + table->name) + ".";
      too_many->hint = "See dbops.job_errors; mend the row or the assignments' input, then SELECT dbops.retry(" +
                       to_text(job_.id) + "). max_errors lets a job go on past such rows.";
    }
  });
  if (too_many) throw *too_many;
}

// Of the job. One worker alone counts on from what it knew, and makes sure where that would be too many: counting them
// all for each would take longer with each.
std::int64_t SliceWork::rows_set_aside() {
  if (job_.parallel == 1 && aside_known_ && ++*aside_known_ <= spec_.max_errors) return *aside_known_;
  aside_known_ =
      bookkeep("SELECT count(*) FROM dbops.job_error WHERE job_id = $1::bigint", {to_text(job_.id)}).integer(0, 0);
  return *aside_known_;
}

void SliceWork::set_row_aside(const Table& table, const Unit& unit, const SqlError& error) {
  const std::string key = runner_.first_row(table, unit);
  if (key.empty()) return; // deleted meanwhile
  bookkeep("INSERT INTO dbops.job_error (job_id, relation_oid, relation, row_key, unit, sqlstate, message)"
           " VALUES ($1::bigint, $2::oid, $3, $4, $5::jsonb, $6, $7)"
           " ON CONFLICT (job_id, relation_oid, hashtextextended(row_key, 0), hashtextextended(row_key, 1))"
           " DO UPDATE SET unit = excluded.unit, sqlstate = excluded.sqlstate,"
           " message = excluded.message, at = clock_timestamp()",
           {to_text(job_.id), to_text(table.oid), table.name, key, core::json_text(to_json(unit)), error.sqlstate(),
            error.message});
}

} // namespace dbops::server::backfill
