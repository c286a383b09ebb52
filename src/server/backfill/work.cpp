#include "server/backfill/slice_work.h"

#include <algorithm>
#include <cmath>

#include "core/job/error_class.h"
#include "core/text/json_text.h"
#include "server/compat.h"
#include "server/engine/toplevel.h"
#include "server/engine/wait.h"
#include "server/lifecycle/holds.h"
#include "server/lifecycle/retention_rule.h"

extern "C" {
#include "access/table.h"
#include "access/transam.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
}

namespace dbops::server::backfill {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;
using nlohmann::json;

namespace {

// A unit of this many times the rows that a batch is to have is halved before it is run.
constexpr double oversize = 1.5;

core::BatchLimits limits_of(const Spec& spec) {
  return {milliseconds(spec.target_ms), std::min<std::int64_t>(50, spec.max_batch_rows), spec.max_batch_rows,
          std::min<std::int64_t>(1'000, spec.max_batch_rows)};
}

std::int64_t visited_by_stripe(const Unit& unit) {
  return std::max<std::int64_t>(unit.rows / std::max(unit.stripes, 1), 1);
}

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

} // namespace

SliceWork::SliceWork(Session& session, const Job& job, int slice)
    : session_(session), job_(job), slice_(slice), spec_(from_json(job.spec)),
      runner_(spec_, job.target, job.owner, job.id), controller_(limits_of(spec_)), pace_(session, job, slice, spec_) {}

void SliceWork::load() {
  session_.transaction([this] {
    const Rows row = bookkeep("SELECT work, batch_rows, to_json(batch_times), batches, rows_done + rows_dependent + "
                              "coalesce((SELECT sum(p.rows)"
                              " FROM dbops.retention_partition p WHERE p.job_id = $1::bigint AND p.state <> 'kept'), "
                              "0)::bigint, (SELECT c.pass FROM dbops.job_cursor c WHERE c.job_id = $1::bigint)"
                              " FROM dbops.job_slice WHERE job_id = $1::bigint AND slice = $2::integer",
                              ids());
    for (const json& unit : core::parse_json_text(row.text(0, 0)))
      work_.push_back(unit_from_json(unit));
    if (row.integer(0, 1) > 0) controller_ = core::BatchController(limits_of(spec_), row.integer(0, 1));
    const auto counts = json::parse(row.text(0, 2)).get<std::vector<std::int64_t>>();
    progress_.times = core::DurationHistogram(counts);
    batches_ = row.integer(0, 3);
    deleted_ = row.integer(0, 4);
    pass_ = static_cast<int>(row.integer(0, 5)); // of the work that is there: a pass ends when nobody has any
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
    try {
      return ask_for_more(*too_many) ? Step::worked : Step::stopped;
    } catch (const SqlError& caught) { // a pause while it counts, say
      error = caught;
    }
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
    // Cut when batches were believed to be faster than they have turned out to be.
    const bool too_long =
        static_cast<double>(visited_by_stripe(work_.back())) > oversize * static_cast<double>(controller_.rows());
    if (!too_long || !halve_in_transaction()) run_unit();
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
      store_work(true);
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
  require_slice_lock();
  if (result.kept > 0 && current.order == Order::block) throw StillMatches{};
  if (result.moved > 0)
    throw SqlError(
        ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "a trigger of table " + table->name + " changes the key that the job walks by",
        "Rows would be met again under their new keys. Give the job a condition that its assignments make false, or "
        "skip_triggers => true.");
  const std::int64_t rows = result.rows + result.dependent_rows;
  if (spec_.max_rows && rows > 0)
    if (const std::int64_t all = deleted_by_job() + rows; all > *spec_.max_rows) throw TooMany{all};
  if (current.next == 0) chunk_began_ = GetCurrentTransactionIdIfAny();
  const auto took = std::chrono::duration_cast<microseconds>(Clock::now() - start);
  const std::int64_t visited = visited_by_stripe(current);
  chunk_rows_ += result.rows;
  deleted_ += rows;
  Range range = spec_.erase && result.rows > 0 ? range_of(current) : Range{};
  if (current.place > 0) range.place = to_text(current.place);
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

// Before this batch. With several workers the cursor stays locked to the end of the transaction: no two of them can
// take the last of what may be deleted.
std::int64_t SliceWork::deleted_by_job() {
  if (job_.parallel == 1) return deleted_;
  (void)lock_cursor(job_.id);
  return bookkeep("SELECT sum(rows_done + rows_dependent)::bigint FROM dbops.job_slice WHERE job_id = $1::bigint",
                  {to_text(job_.id)})
      .integer(0, 0);
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
      " batch_times = $11::bigint[], rows_dependent = rows_dependent + $12::bigint,"
      " first_key = CASE WHEN $13 IS NULL OR (first_key IS NOT NULL AND coalesce(first_place <= $15::bigint, true))"
      "   THEN first_key ELSE $13 END,"
      " last_key = CASE WHEN $14 IS NULL OR (last_key IS NOT NULL AND coalesce(last_place > $15::bigint, true))"
      "   THEN last_key ELSE $14 END,"
      " first_place = CASE WHEN $13 IS NULL THEN first_place ELSE least(first_place, $15::bigint) END,"
      " last_place = CASE WHEN $14 IS NULL THEN last_place ELSE greatest(last_place, $15::bigint) END,"
      " waiting_for = NULL, waiting_since = NULL, updated_at = clock_timestamp()"
      " WHERE job_id = $1::bigint AND slice = $2::integer",
      {to_text(job_.id), to_text(slice_), core::json_text(work), to_text(result.rows), to_text(result.kept),
       to_text(result.waiters > 0 ? 1 : 0), to_text(static_cast<std::int64_t>(result.wal_bytes)),
       std::to_string(static_cast<double>(took.count()) / 1000.0), to_text(controller_.rows()),
       std::to_string(progress_.rate), times, to_text(result.dependent_rows), range.first, range.last, range.place});
  if (pass_ > 0 && result.rows > 0)
    bookkeep("UPDATE dbops.job_cursor SET pass_rows = pass_rows + $2::bigint WHERE job_id = $1::bigint",
             {to_text(job_.id), to_text(result.rows)});
}

// pg_advisory_unlock_all() in a trigger lets go of it as well, a deferred one at COMMIT, and no rollback brings it
// back: then another worker may be at this slice already, and what is stored in it would be lost to one of the two.
void SliceWork::require_slice_lock() const {
  if (SliceLock::held(job_.id, slice_)) return;
  throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                 "a trigger or function of the statement has released the lock of the job",
                 "It must not call pg_advisory_unlock_all() or DISCARD ALL.");
}

void SliceWork::store_work(bool goes_on) {
  require_slice_lock();
  json work = json::array();
  for (const Unit& unit : work_)
    work.push_back(to_json(unit));
  bookkeep("UPDATE dbops.job_slice SET work = $3::jsonb, updated_at = clock_timestamp(),"
           " waiting_for = CASE WHEN NOT $4::boolean THEN waiting_for END,"
           " waiting_since = CASE WHEN NOT $4::boolean THEN waiting_since END"
           " WHERE job_id = $1::bigint AND slice = $2::integer",
           {to_text(job_.id), to_text(slice_), core::json_text(work), goes_on ? "true" : "false"});
}

// The run's rule is locked to the end of the transaction: once it has been changed, nothing goes by the old one.
bool SliceWork::rule_allows() {
  const std::string objection = lifecycle::objection_of_rule(spec_.rule, job_.owner, spec_.cutoff);
  if (objection.empty()) return true;
  Job job = read_job(job_.id, true);
  if (job.state == core::JobState::running) change_state(job, core::JobAction::cancel, "dbops", objection);
  return false;
}

bool SliceWork::ask_for_more(const TooMany& wanted) {
  return session_.transaction([&] {
    if (lifecycle::allowed_by_count(job_, spec_, wanted.rows)) return true;
    lifecycle::stop_and_ask(job_.id, spec_, wanted.rows);
    return false;
  });
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
    // A quota, say. Whoever needs the segment makes it, or says why it cannot be; tried again when as much was written.
    wal_bytes_ = 0;
    if (error.code == ERRCODE_QUERY_CANCELED) failed(error);
  }
}

SliceEnd work(Session& session, const Job& job, int slice) {
  try {
    const lifecycle::GuardedDeletions guarded; // what triggers delete of other tables
    return SliceWork(session, job, slice).run();
  } catch (...) {
    rethrow_as_sql_error(); // the job fails with a message, whatever has gone wrong
  }
}

} // namespace dbops::server::backfill
