// When the ranges of a pass are used up: what was put off, what others left, and whether the job is done.
#include "server/backfill/slice_work.h"

#include "core/job/error_class.h"
#include "core/text/json_text.h"

namespace dbops::server::backfill {

using nlohmann::json;
using std::chrono::milliseconds;

namespace {

constexpr int max_passes = 10;
constexpr int moving_passes = 3; // where rows come to match as time goes by, and never all are gone

// A row that was set aside keeps the rows that match from being counted, and not each table has a key to sweep by
// instead.
SqlError unprovable(SqlError error) {
  error.hint = "The condition itself raises this at a row, so that it cannot be told whether others are left. Mend the "
               "row, then SELECT "
               "dbops.retry(); or write the condition so that it does not raise.";
  return error;
}

} // namespace

// The cursor is at its end (and locked by this transaction): revisits, orphans, the next pass, or the end.
Step SliceWork::out_of_work() {
  const Rows due =
      bookkeep("DELETE FROM dbops.job_revisit WHERE revisit_id = (SELECT revisit_id FROM dbops.job_revisit"
               " WHERE job_id = $1::bigint AND not_before <= clock_timestamp() ORDER BY not_before LIMIT 1)"
               " RETURNING unit",
               {to_text(job_.id)});
  if (!due.empty()) {
    work_.push_back(unit_from_json(core::parse_json_text(due.text(0, 0))));
    store_work();
    return Step::worked;
  }
  const Rows others = bookkeep("SELECT slice FROM dbops.job_slice WHERE job_id = $1::bigint AND slice <> $2::integer"
                               " AND work <> '[]' ORDER BY slice",
                               ids());
  for (std::size_t i = 0; i < others.size(); ++i) {
    const int other = static_cast<int>(others.integer(i, 0));
    if (!SliceLock::acquire(job_.id, other, 0)) continue; // somebody is at it
    adopted_ = other; // step() gives the lock back, when what is done here is committed
    // Read now: before the lock was had its worker may have gone on, and what it has done since must not be done again.
    const Rows left = bookkeep("SELECT work FROM dbops.job_slice WHERE job_id = $1::bigint AND slice = $2::integer",
                               {to_text(job_.id), to_text(other)});
    const json units = left.empty() ? json::array() : core::parse_json_text(left.text(0, 0));
    if (units.empty()) return Step::worked; // nothing is left of it: look again what there is
    // Its worker died and no new one has come: take over what it left.
    note_lost_run(job_.id, other);
    for (const json& unit : units)
      work_.push_back(unit_from_json(unit));
    bookkeep("UPDATE dbops.job_slice SET work = '[]', done = true WHERE job_id = $1::bigint AND slice = $2::integer",
             {to_text(job_.id), to_text(other)});
    store_work();
    return Step::worked;
  }
  if (!others.empty()) return Step::slice_done;
  if (!bookkeep("SELECT 1 FROM dbops.job_revisit WHERE job_id = $1::bigint LIMIT 1", {to_text(job_.id)}).empty())
    return Step::nothing_now;
  Cursor cursor = lock_cursor(job_.id);
  return advance(cursor) ? Step::job_done : Step::worked;
}

// Whether counting takes too long for one snapshot, where a sweep by key can tell without one. Looks at each table, so
// that one that is locked is waited for before anything is counted.
bool SliceWork::too_big_for_one_snapshot() {
  std::int64_t blocks = 0;
  for (const Oid relation : family(job_.target)) {
    runner_.forget(relation); // its size, as it is now
    if (const Table* table = described(relation)) blocks += table->blocks;
  }
  return spec_.keyed && blocks >= spec_.snapshot_blocks;
}

const Table* SliceWork::described(Oid relation) {
  locking_table_ = true;
  const Table* table = runner_.table(relation);
  locking_table_ = false;
  return table;
}

// How many rows still match, counted to `limit` under the active snapshot, so that a row that moves from one partition
// to another is seen in one of them. uncounted: not all were, as the condition raises at a row; then the sweep by key
// has to tell.
std::int64_t SliceWork::still_matching(std::int64_t limit, bool& uncounted) {
  std::int64_t rows = 0;
  for (const Oid relation : family(job_.target)) {
    const Table* table = described(relation);
    if (table == nullptr) continue;
    const std::string name = table->name;
    try {
      rows += in_savepoint([&] { return runner_.matching(*table, limit - rows); });
    } catch (const SqlError& error) {
      // Dropped, or renamed, between the look at it and the statement: counted anew with the tables that there are.
      if (error.code == ERRCODE_UNDEFINED_TABLE && qualified_name(relation) != name)
        throw SqlError(ERRCODE_LOCK_NOT_AVAILABLE, error.message);
      if (core::classify(error.sqlstate()) != core::ErrorClass::row) throw;
      if (!spec_.keyed) throw unprovable(error);
      uncounted = true;
    }
    if (rows >= limit) break;
  }
  return rows;
}

// At the end of a pass: is the job done, or is there to be another pass? Which rows a walk by blocks can miss, and how
// often it is repeated: docs/backfill.md, "What is guaranteed".
bool SliceWork::advance(Cursor& cursor) {
  if (!spec_.falsifiable || spec_.one_pass) return true;
  const Rows sums = bookkeep("SELECT (SELECT sum(rows_kept) FROM dbops.job_slice WHERE job_id = $1::bigint),"
                             " (SELECT count(*) FROM dbops.job_error WHERE job_id = $1::bigint)",
                             {to_text(job_.id)});
  if (sums.integer(0, 0) > 0) return true; // not every row stops matching: each was met once, by key
  const std::int64_t aside = sums.integer(0, 1);
  bool uncounted = too_big_for_one_snapshot();
  const std::int64_t left = uncounted ? 0 : under_one_snapshot([&] { return still_matching(aside + 1, uncounted); });
  const bool nothing_found = cursor.pass > 0 && cursor.pass_rows == 0;
  // Rows set aside may have been mended or deleted since, and so must not stand for others: where there are some, a
  // pass that found nothing else has to say so.
  if (left <= aside && (left == 0 || nothing_found) && (!uncounted || (nothing_found && cursor.order == Order::key)))
    return true;
  // Once or twice may be chance: what was left was changed elsewhere before the pass came by, or moved away from it.
  if (left > aside && nothing_found && cursor.pass >= 3)
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                   "rows still match the condition, but the statement changes none of them",
                   "Does a trigger suppress the change, or restore the old value?");
  // What has come to match since is for another job.
  if (spec_.moving && cursor.pass >= moving_passes) {
    bookkeep(
        "INSERT INTO dbops.job_event (job_id, actor, action, from_state, to_state, reason) VALUES"
        " ($1::bigint, 'dbops', 'passes', 'running', 'running', 'ends with rows that match: the condition moves with"
        " time, and each pass has found new ones')",
        {to_text(job_.id)});
    return true;
  }
  if (cursor.pass >= max_passes)
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                   "rows that match the condition keep appearing after " + to_text(max_passes) + " passes",
                   "Let new rows be right from the start (a trigger, or the application), then SELECT dbops.retry().");
  ++cursor.pass;
  cursor.pass_rows = 0;
  if (uncounted) cursor.order = Order::key; // which spec_.keyed is a condition of
  cursor.position = json::object();
  store_cursor(job_.id, cursor);
  if (job_.parallel > 1) open_slices(job_.id); // those that had ended for lack of work
  return false;
}

// A walk by blocks may meet the new version of a row again, which is only right if it does not match any more. It has
// turned out that some do. Nothing of the kind was committed: from here on by key, from the start; rows already changed
// do not match and are passed over.
//
// Batches by blocks and by key never run side by side: a row that the one has changed could match for the other again.
bool SliceWork::overtaken_by_key_walk() {
  if (!spec_.keyed || spec_.erase || job_.parallel == 1) return false;
  lock_course(job_.id, false);
  return bookkeep("SELECT position ->> 'order' FROM dbops.job_cursor WHERE job_id = $1::bigint", {to_text(job_.id)})
             .text(0, 0) == "key";
}

void SliceWork::walk_by_key_instead() {
  if (!spec_.keyed)
    throw SqlError(
        ERRCODE_INVALID_PARAMETER_VALUE, "a row still matches the condition after the assignments",
        "Without a primary or unique key each row can be changed once only if the change makes the condition false: "
        "narrow the condition, or add a key.");
  session_.transaction([this] {
    lock_course(job_.id, true); // before the cursor: who holds that may be in a batch by blocks
    Cursor cursor = lock_cursor(job_.id);
    work_.clear();
    store_work();
    if (cursor.order == Order::key) return; // another worker of this job was first
    cursor.order = Order::key;
    if (cursor.strategy == "block") cursor.strategy = "key";
    cursor.position = json::object();
    store_cursor(job_.id, cursor);
    // What blocks have left behind is met again by key. A place from before would not be that row's any more.
    bookkeep("DELETE FROM dbops.job_revisit WHERE job_id = $1::bigint", {to_text(job_.id)});
    bookkeep("DELETE FROM dbops.job_error WHERE job_id = $1::bigint", {to_text(job_.id)});
    bookkeep(
        "INSERT INTO dbops.job_event (job_id, actor, action, from_state, to_state, reason) VALUES"
        " ($1::bigint, 'dbops', 'strategy', 'running', 'running', 'a row still matches the condition after the change:"
        " walking by key, where each row is met once')",
        {to_text(job_.id)});
  });
}

} // namespace dbops::server::backfill
