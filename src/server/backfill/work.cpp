#include "server/backfill/work.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <set>

#include "core/job/batch_controller.h"
#include "core/job/duration_histogram.h"
#include "core/job/error_class.h"
#include "core/text/json_text.h"
#include "server/backfill/bisect.h"
#include "server/backfill/claim.h"
#include "server/backfill/pace.h"
#include "server/backfill/wal_ahead.h"
#include "server/compat.h"
#include "server/engine/toplevel.h"
#include "server/engine/wait.h"
#include "server/lifecycle/retention_rule.h"

extern "C" {
#include "access/table.h"
#include "access/transam.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
}

namespace dbops::server::backfill {

namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;
using nlohmann::json;

constexpr int max_passes = 10;
constexpr std::int64_t few_rows = 100; // a unit this small is set aside, not halved, when it cannot be locked
constexpr int max_resource_failures = 10;

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
  Clock::time_point rate_at = Clock::now();
  double watched = 0; // seconds that the rate has been taken over
};

core::BatchLimits limits_of(const Spec& spec) {
  return {milliseconds(spec.target_ms), std::min<std::int64_t>(50, spec.max_batch_rows), spec.max_batch_rows,
          std::min<std::int64_t>(1'000, spec.max_batch_rows)};
}

// A row that was set aside keeps the rows that match from being counted, and not each table has a key to sweep by
// instead.
SqlError unprovable(SqlError error) {
  error.hint = "The condition itself raises this at a row, so that it cannot be told whether others are left. Mend the "
               "row, then SELECT "
               "dbops.retry(); or write the condition so that it does not raise.";
  return error;
}

std::int64_t visited_by_stripe(const Unit& unit) {
  return std::max<std::int64_t>(unit.rows / std::max(unit.stripes, 1), 1);
}

// Where a batch has deleted rows, for the record of the run.
struct Range {
  Value first, last;
};

Range range_of(const Unit& unit) {
  if (unit.order == Order::block)
    return {"ctid (" + std::to_string(unit.from.block) + "," + std::to_string(unit.from.offset) + ")",
            "ctid (" + std::to_string(unit.to.block) + "," + std::to_string(unit.to.offset) + ")"};
  const auto text = [](const Key& key) {
    std::string list;
    for (const std::string& part : key)
      list += (list.empty() ? "(" : ", ") + part;
    return list.empty() ? "beginning" : list + ")";
  };
  return {text(unit.after), text(unit.upto)};
}

class SliceWork {
 public:
  SliceWork(Session& session, const Job& job, int slice)
      : session_(session), job_(job), slice_(slice), spec_(from_json(job.spec)),
        runner_(spec_, job.target, job.owner, job.id), controller_(limits_of(spec_)),
        pace_(session, job, slice, spec_) {}

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
  void checkpoint(const BatchResult& result, microseconds took, const Range& range);
  void store_work();
  bool committed_after_all();
  ChunkWish wish(const Cursor& cursor) const;
  [[nodiscard]] std::optional<std::int64_t> next_batch_rows() const;
  bool horizon_is_held(Oid relation) const;

  void failed(const SqlError& error);
  void hindered(const SqlError& error);
  void short_of_resources(const SqlError& error);
  void row_failed(const SqlError& error);
  void set_row_aside(const Table& table, const Unit& unit, const SqlError& error);
  void revisit_later(const SqlError& error);
  bool halve();
  void walk_by_key_instead();
  void ask_for_more(const TooMany& wanted);
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
  const Spec spec_;
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
  bool retried_row_ = false; // the unit at the back failed for a row's sake once already
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

void SliceWork::load() {
  session_.transaction([this] {
    const Rows row = bookkeep("SELECT work, batch_rows, to_json(batch_times), batches, rows_done + rows_dependent + "
                              "coalesce((SELECT sum(p.rows)"
                              " FROM dbops.retention_partition p WHERE p.job_id = $1::bigint AND p.state <> 'kept'), "
                              "0)::bigint FROM dbops.job_slice"
                              " WHERE job_id = $1::bigint AND slice = $2::integer",
                              ids());
    for (const json& unit : core::parse_json_text(row.text(0, 0)))
      work_.push_back(unit_from_json(unit));
    if (row.integer(0, 1) > 0) controller_ = core::BatchController(limits_of(spec_), row.integer(0, 1));
    const auto counts = json::parse(row.text(0, 2)).get<std::vector<std::int64_t>>();
    progress_.times = core::DurationHistogram(counts);
    batches_ = row.integer(0, 3);
    deleted_ = row.integer(0, 4);
    if (spec_.rule != 0) left_out_ = lifecycle::too_young(job_.target, spec_);
    extension_ = extension_oid();
    version_ = extension_version();
  });
}

SliceEnd SliceWork::run() {
  load();
  for (;;) {
    if (asked_to_leave()) return SliceEnd::leave;
    if (!pace_.wait_for_turn(next_batch_rows())) return SliceEnd::stopped;
    if (pace_.outside_window()) return SliceEnd::window;
    if (pace_.gives_way()) return SliceEnd::give_way;
    switch (step()) {
    case Step::worked:
      break;
    case Step::nothing_now:
      pace_.say_waiting("rows that other sessions keep locked");
      nap(milliseconds(200));
      break;
    case Step::slice_done:
      return SliceEnd::slice_done;
    case Step::job_done:
      return SliceEnd::job_done;
    case Step::stopped:
      return SliceEnd::stopped;
    case Step::leave:
      return SliceEnd::leave;
    }
    vacuum_if_due();
    keep_wal_ahead();
  }
}

// One transaction, and what its failure means.
Step SliceWork::step() {
  const std::vector<Unit> before = work_;
  const std::int64_t batches_before = batches_;
  const std::int64_t deleted_before = deleted_;
  std::optional<SqlError> error;
  std::optional<TooMany> too_many;
  bool still_matches = false;
  bool committing = false;
  const Clock::time_point start = Clock::now();
  ran_batch_ = false;
  try {
    const Step done = session_.transaction([this, &committing] {
      const Step result = step_in_transaction();
      committing = true;
      return result;
    });
    hindered_ = 0;
    if (ran_batch_) { // committed: deferred constraints have had their say
      retried_row_ = claim_apart_ = false;
      resource_failures_ = 0;
    }
    give_back_lock();
    pace_.batch_took(Clock::now() - start);
    return done;
  } catch (const SqlError& caught) {
    error = caught;
  } catch (const StillMatches&) {
    still_matches = true;
  } catch (const TooMany& caught) {
    too_many = caught;
  }
  give_back_lock();
  work_ = before; // what the rolled back transaction had claimed is claimed by nobody
  batches_ = batches_before;
  deleted_ = deleted_before;
  if (too_many) {
    ask_for_more(*too_many);
    return Step::stopped;
  }
  if (committing && committed_after_all()) return Step::worked;
  const std::vector<Unit> claimed = work_;
  try {
    if (still_matches)
      walk_by_key_instead();
    else
      failed(*error);
  } catch (const SqlError& again) {
    if (core::classify(again.sqlstate()) != core::ErrorClass::contention) throw;
    work_ = claimed; // halving or setting aside met a lock itself
    (void)committed_after_all();
    nap(milliseconds(50));
  }
  return Step::worked;
}

// A COMMIT that raised may have been one all the same, when what failed came after its record. The table knows; doing
// its batch again would change rows twice. True: it was, and work_ is what it has left.
bool SliceWork::committed_after_all() {
  const auto comparable = [](std::vector<Unit> units) {
    json work = json::array();
    for (Unit& unit : units) {
      unit.tries = 0; // counted in memory alone
      work.push_back(to_json(unit));
    }
    return work;
  };
  for (int attempt = 0;; ++attempt) {
    try {
      return session_.transaction([&] {
        if (extension_oid() != extension_) return false; // the next step finds that out
        const Rows row =
            bookkeep("SELECT work, batches, rows_done + rows_dependent FROM dbops.job_slice WHERE job_id = $1::bigint"
                     " AND slice = $2::integer",
                     ids());
        if (row.empty()) return false;
        std::vector<Unit> stored;
        for (const json& unit : core::parse_json_text(row.text(0, 0)))
          stored.push_back(unit_from_json(unit));
        if (row.integer(0, 1) == batches_ && comparable(stored) == comparable(work_)) return false;
        work_ = std::move(stored);
        batches_ = row.integer(0, 1);
        deleted_ = std::max(deleted_, row.integer(0, 2));
        return true;
      });
    } catch (const SqlError& error) {
      // A pause() that has interrupted the COMMIT may do so here. Without an answer the run ends, and the next one
      // loads it.
      if (attempt == 5 || error.code != ERRCODE_QUERY_CANCELED) throw;
    }
  }
}

Step SliceWork::step_in_transaction() {
  if (extension_oid() != extension_ || extension_version() != version_) return Step::leave;
  if (read_state(job_.id) != core::JobState::running) return Step::stopped;
  if (role_name(job_.owner).empty())
    throw SqlError(ERRCODE_UNDEFINED_OBJECT, "the role that owns the job was dropped",
                   "Create the job again as another role.");
  if (spec_.rule != 0 && !rule_allows()) return Step::stopped;
  // Cursor and data are in the same transaction: what the last half second of a crash takes, it takes from both.
  commit_without_waiting();
  // For deferred triggers too, which run at COMMIT.
  call_pg([this] {
    set_config_option("dbops.in_job", job_text_.c_str(), PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
  });
  if (!work_.empty()) {
    run_unit();
    return Step::worked;
  }
  Cursor cursor = lock_cursor(job_.id);
  pass_ = cursor.pass;
  const bool done_before = cursor.position.value("done", false);
  if (std::optional<Unit> unit = claim(runner_, job_, cursor, wish(cursor), left_out_)) {
    store_cursor(job_.id, cursor);
    work_.push_back(*unit);
    chunk_rows_ = 0;
    // Alone, the first batch goes into the same transaction; others would wait for the cursor meanwhile. What it may
    // cost is waited for outside of one.
    if (job_.parallel == 1 && !claim_apart_ && !pace_.prepays())
      run_unit();
    else
      store_work();
    return Step::worked;
  }
  if (!done_before) store_cursor(job_.id, cursor);
  return out_of_work();
}

ChunkWish SliceWork::wish(const Cursor& cursor) const {
  const bool striped =
      spec_.stripes > 1 && pass_ == 0 && !sparse_ && !horizon_is_held(cursor.position.value("relation", InvalidOid));
  return {std::min(controller_.rows(), pace_.most_rows()), striped ? spec_.stripes : 1};
}

// What the next transaction's batch will look at; nothing when it first has to claim a unit.
std::optional<std::int64_t> SliceWork::next_batch_rows() const {
  if (work_.empty()) return std::nullopt;
  return visited_by_stripe(work_.back());
}

// Has anything kept the rows that the last chunk replaced from being pruned? Then stripes only cost.
bool SliceWork::horizon_is_held(Oid relation) const {
  if (!TransactionIdIsValid(chunk_began_) || !OidIsValid(relation)) return false;
  return call_pg([relation, began = chunk_began_] {
    if (!ConditionalLockRelationOid(relation, AccessShareLock)) return false; // it is being altered: no matter
    bool held = false;
    if (Relation table = try_table_open(relation, NoLock); table != nullptr) {
      held = TransactionIdPrecedesOrEquals(GetOldestNonRemovableTransactionId(table), began);
      table_close(table, NoLock);
    }
    UnlockRelationOid(relation, AccessShareLock);
    return held;
  });
}

void SliceWork::run_unit() {
  Unit& current = work_.back();
  locking_table_ = true;
  const Table* table = runner_.lock_table(current.relation);
  locking_table_ = false;
  if (table == nullptr) { // a partition that was dropped or detached; for the table itself claim() says so
    work_.pop_back();
    store_work();
    return;
  }
  if (current.order == Order::key)
    require_key(*table, current.key);
  else if (overtaken_by_key_walk()) {
    work_.clear();
    store_work();
    return;
  }
  const Clock::time_point start = Clock::now();
  const BatchResult result = runner_.run(*table, current);
  // Deferred constraints and triggers wait at COMMIT, with the rows of the batch locked: no longer than the batch may.
  call_pg([this] {
    set_config_option("lock_timeout", lock_timeout_.c_str(), PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0,
                      false);
  });
  // pg_advisory_unlock_all() in a trigger lets go of it as well: then another worker may be at this unit already.
  if (!SliceLock::held(job_.id, slice_))
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                   "a trigger or function of the statement has released the lock of the job",
                   "It must not call pg_advisory_unlock_all() or DISCARD ALL.");
  if (result.kept > 0 && current.order == Order::block) throw StillMatches{};
  if (result.moved > 0)
    throw SqlError(
        ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "a trigger of table " + table->name + " changes the key that the job walks by",
        "Rows would be met again under their new keys. Give the job a condition that its assignments make false, or "
        "skip_triggers => true.");
  const std::int64_t rows = result.rows + result.dependent_rows;
  if (spec_.max_rows && deleted_ + rows > *spec_.max_rows) throw TooMany{deleted_ + rows};
  if (current.next == 0) chunk_began_ = GetCurrentTransactionIdIfAny();
  const auto took = std::chrono::duration_cast<microseconds>(Clock::now() - start);
  const std::int64_t visited = visited_by_stripe(current);
  chunk_rows_ += result.rows;
  deleted_ += rows;
  const Range range = spec_.erase && result.rows > 0 ? range_of(current) : Range{};
  current.tries = 0;
  if (++current.next >= current.end) {
    sparse_ = chunk_rows_ * 10 < current.rows;
    work_.pop_back();
  }
  ran_batch_ = true;
  since_vacuum_ += result.rows;
  wal_bytes_ += result.wal_bytes;
  ++batches_;
  checkpoint(result, took, range);
  runner_.keep_settings_until_commit();
  controller_.committed(visited, took);
  if (result.waiters > 0) controller_.hindered();
  pace_.batch_done(result, visited);
}

void SliceWork::checkpoint(const BatchResult& result, microseconds took, const Range& range) {
  progress_.times.add(took);
  const Clock::time_point now = Clock::now();
  const double seconds = std::max(std::chrono::duration<double>(now - progress_.rate_at).count(), 1e-6);
  progress_.watched += seconds;
  // At first the plain average, so that the start does not weigh on it for long.
  const double weight = std::max(1.0 - std::exp(-seconds / 15.0), seconds / progress_.watched);
  progress_.rate += weight * (static_cast<double>(result.rows) / seconds - progress_.rate);
  progress_.rate_at = now;
  json work = json::array();
  for (const Unit& unit : work_)
    work.push_back(to_json(unit));
  std::string times = "{";
  for (const std::int64_t count : progress_.times.counts())
    times += (times.size() > 1 ? "," : "") + std::to_string(count);
  times += "}";
  bookkeep(
      "UPDATE dbops.job_slice SET work = $3::jsonb, rows_done = rows_done + $4::bigint, rows_kept = rows_kept + "
      "$5::bigint,"
      " batches = batches + 1, lock_waits = lock_waits + $6::bigint, wal_bytes = wal_bytes + $7::bigint,"
      " busy_ms = busy_ms + $8::float8, batch_rows = $9::bigint, rate = $10::float8, rate_at = clock_timestamp(),"
      " batch_times = $11::bigint[], rows_dependent = rows_dependent + $12::bigint, first_key = coalesce(first_key, "
      "$13),"
      " last_key = coalesce($14, last_key), waiting_for = NULL, waiting_since = NULL, updated_at = clock_timestamp()"
      " WHERE job_id = $1::bigint AND slice = $2::integer",
      {to_text(job_.id), to_text(slice_), core::json_text(work), to_text(result.rows), to_text(result.kept),
       to_text(result.waiters > 0 ? 1 : 0), to_text(static_cast<std::int64_t>(result.wal_bytes)),
       std::to_string(static_cast<double>(took.count()) / 1000.0), to_text(controller_.rows()),
       std::to_string(progress_.rate), times, to_text(result.dependent_rows), range.first, range.last});
  if (pass_ > 0 && result.rows > 0)
    bookkeep("UPDATE dbops.job_cursor SET pass_rows = pass_rows + $2::bigint WHERE job_id = $1::bigint",
             {to_text(job_.id), to_text(result.rows)});
}

void SliceWork::store_work() {
  json work = json::array();
  for (const Unit& unit : work_)
    work.push_back(to_json(unit));
  bookkeep("UPDATE dbops.job_slice SET work = $3::jsonb, updated_at = clock_timestamp() WHERE job_id = $1::bigint AND "
           "slice = $2::integer",
           {to_text(job_.id), to_text(slice_), core::json_text(work)});
}

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
  const Rows others =
      bookkeep("SELECT slice, work FROM dbops.job_slice WHERE job_id = $1::bigint AND slice <> $2::integer"
               " AND work <> '[]' ORDER BY slice",
               ids());
  for (std::size_t i = 0; i < others.size(); ++i) {
    const int other = static_cast<int>(others.integer(i, 0));
    if (!SliceLock::acquire(job_.id, other, 0)) continue; // somebody is at it
    // Its worker died and no new one has come: take over what it left. The lock is kept until that is committed.
    adopted_ = other;
    note_lost_run(job_.id, other);
    for (const json& unit : core::parse_json_text(others.text(i, 1)))
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
  } else if (tries >= 3) {
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
  return session_.transaction([this] {
    const Unit unit = work_.back();
    const Table* table = runner_.table(unit.relation);
    if (table == nullptr) return false;
    const std::optional<Halves> halves = bisect(runner_, *table, unit);
    if (!halves) return false;
    if (++work_.back().next >= work_.back().end) work_.pop_back();
    work_.push_back(halves->right);
    work_.push_back(halves->left);
    store_work();
    return true;
  });
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
    const Rows count = bookkeep("SELECT count(*) FROM dbops.job_error WHERE job_id = $1::bigint", {to_text(job_.id)});
    if (count.integer(0, 0) > spec_.max_errors) {
      too_many = error;
      too_many->detail = (error.detail.empty() ? "" : error.detail + " ") + "Row " +
                         (table == nullptr ? "" : runner_.first_row(*table, unit) + " of " + table->name) + ".";
      too_many->hint = "See dbops.job_errors; mend the row or the assignments' input, then SELECT dbops.retry(" +
                       to_text(job_.id) + "). max_errors lets a job go on past such rows.";
    }
  });
  if (too_many) throw *too_many;
}

void SliceWork::set_row_aside(const Table& table, const Unit& unit, const SqlError& error) {
  const std::string key = runner_.first_row(table, unit);
  if (key.empty()) return; // deleted meanwhile
  bookkeep(
      "INSERT INTO dbops.job_error (job_id, relation_oid, relation, row_key, unit, sqlstate, message)"
      " VALUES ($1::bigint, $2::oid, $3, $4, $5::jsonb, $6, $7)"
      " ON CONFLICT (job_id, relation_oid, row_key) DO UPDATE SET unit = excluded.unit, sqlstate = excluded.sqlstate,"
      " message = excluded.message, at = clock_timestamp()",
      {to_text(job_.id), to_text(table.oid), table.name, key, core::json_text(to_json(unit)), error.sqlstate(),
       error.message});
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

// The run's rule is locked to the end of the transaction: once it has been changed, nothing goes by the old one.
bool SliceWork::rule_allows() {
  const std::string objection = lifecycle::objection_of_rule(spec_.rule, job_.owner, spec_.cutoff);
  if (objection.empty()) return true;
  Job job = read_job(job_.id, true);
  if (job.state == core::JobState::running) change_state(job, core::JobAction::cancel, "dbops", objection);
  return false;
}

void SliceWork::ask_for_more(const TooMany& wanted) {
  session_.transaction([&] { lifecycle::stop_and_ask(job_.id, spec_, wanted.rows); });
}

// Between two chunks, when all workers together have changed that share of the job's rows since the last one.
void SliceWork::vacuum_if_due() {
  if (spec_.vacuum_every <= 0 || !session_.top_level() || !work_.empty()) return;
  const double share = spec_.vacuum_every * static_cast<double>(job_.rows_total);
  if (static_cast<double>(since_vacuum_) * job_.parallel * 10 < share) return; // not worth asking yet
  since_vacuum_ = 0;
  const std::string tables = session_.transaction([this] {
    // The worker that writes this has the turn.
    const Rows due =
        bookkeep("UPDATE dbops.job_cursor c SET rows_vacuumed = s.rows FROM"
                 " (SELECT sum(rows_done)::bigint AS rows FROM dbops.job_slice WHERE job_id = $1::bigint) s"
                 " WHERE c.job_id = $1::bigint AND s.rows > c.rows_vacuumed"
                 " AND s.rows - c.rows_vacuumed >= $2::float8 * greatest($3::bigint, s.rows) RETURNING 1",
                 {to_text(job_.id), std::to_string(spec_.vacuum_every), to_text(job_.rows_total)});
    std::string list;
    if (due.empty()) return list;
    // Each by its name: before 18 VACUUM of a table leaves out those that inherit from it. From 18 on they are looked
    // at twice, the second time with nothing to do.
    for (const Oid relation : family(job_.target))
      if (const std::string name = qualified_name(relation); !name.empty()) list += (list.empty() ? "" : ", ") + name;
    return list;
  });
  if (tables.empty()) return;
  pace_.say_waiting("VACUUM between two chunks");
  try {
    run_top_level("VACUUM (SKIP_LOCKED, PARALLEL 0) " + tables,
                  {{"lock_timeout", "1s"}, {"search_path", "pg_catalog, pg_temp"}}, true);
  } catch (const SqlError&) {
    // Worth having, not worth failing for. When it was cancelled, somebody needs the table, or has steered the job,
    // which the next step sees.
  }
}

void SliceWork::keep_wal_ahead() {
  try {
    while (const std::optional<std::uint64_t> segment = wal_ahead_.missing(wal_bytes_))
      session_.transaction([&segment] { make_wal_segment(*segment); });
  } catch (const SqlError& error) {
    // No space, say. Whoever needs the segment makes it, or says why it cannot be.
    if (error.code == ERRCODE_QUERY_CANCELED) failed(error);
  }
}

} // namespace

SliceEnd work(Session& session, const Job& job, int slice) {
  try {
    return SliceWork(session, job, slice).run();
  } catch (...) {
    rethrow_as_sql_error(); // the job fails with a message, whatever has gone wrong
  }
}

} // namespace dbops::server::backfill
