#include "server/ddl/work.h"

#include <algorithm>
#include <climits>
#include <cmath>
#include <random>

#include "core/job/error_class.h"
#include "server/compat.h"
#include "server/ddl/blockers.h"
#include "server/ddl/catalog.h"
#include "server/engine/time_limit.h"
#include "server/engine/toplevel.h"
#include "server/engine/wait.h"
#include "server/engine/window.h"

extern "C" {
#include "pgstat.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/lsyscache.h"
}

namespace dbops::server::ddl {

namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds look_again{500};       // at who holds a lock
constexpr milliseconds longest_pause{10'000}; // between two tries
constexpr int top_level_tries = 10;           // of a statement that was the victim of a deadlock
// For a statement that should take a moment; on a machine that is overloaded, a moment may be that long.
constexpr milliseconds shortest_hold{1'000};
constexpr int overrun_tries = 3; // each of them has stopped the application for as long as a statement may hold a lock

// A lock of the session, of a class of its own (beside those of job_record.cpp, history.cpp and holds.cpp): user code
// cannot have it, and it is gone with the process.
class Turn {
 public:
  enum class Of : std::uint16_t {
    job = 0xDF,   // a job and the clean-up of what it has left; who steers the job does not interrupt its clean-up
    table = 0xE0, // statements outside of transactions on one table: two of them would wait for each other's snapshot
  };
  Turn(Of what, std::int64_t id) {
    SET_LOCKTAG_ADVISORY(tag_, MyDatabaseId, static_cast<std::uint32_t>(id & 0xffffffff),
                         static_cast<std::uint32_t>((id >> 32) & 0xffff), static_cast<std::uint16_t>(what));
  }
  ~Turn() {
    if (!held_) return;
    try {
      call_pg([this] { LockRelease(&tag_, ExclusiveLock, true); });
    } catch (...) { // the end of the process releases it
    }
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

  // Does not wait: who waits in a transaction holds a snapshot.
  bool take() {
    held_ = call_pg([this] { return LockAcquire(&tag_, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL; });
    return held_;
  }

 private:
  LOCKTAG tag_;
  bool held_ = false;
};

LOCKMODE mode_of(Lock lock) {
  switch (lock) {
  case Lock::access_exclusive:
    return AccessExclusiveLock;
  case Lock::share_row_exclusive:
    return ShareRowExclusiveLock;
  case Lock::share:
    return ShareLock;
  case Lock::share_update_exclusive:
    break;
  }
  return ShareUpdateExclusiveLock;
}

// By OID: a statement says names, which may come to mean other tables.
std::string names_of(const std::vector<Oid>& relations) {
  return ask_catalog(
             "SELECT pg_catalog.string_agg(pg_catalog.format('%s %I.%I', c.oid, n.nspname, c.relname), ', ' ORDER "
             "BY c.oid) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
             "WHERE c.oid = ANY ($1::oid[])",
             {oid_array(relations)})
      .text(0, 0);
}

// Error that is not one: the lock was not to be had.
bool is_contention(const SqlError& error) {
  return core::classify(error.sqlstate()) == core::ErrorClass::contention;
}

// Definitions are read and repeated under these: a date means the same, and a name what it meant.
const Settings& pinned() {
  static const Settings settings = [] {
    Settings all = canonical_text();
    all.emplace_back("search_path", "pg_catalog, pg_temp");
    return all;
  }();
  return settings;
}

class DdlWork {
 public:
  DdlWork(Session& session, const Job& job, int slice)
      : session_(session), job_(job), slice_(slice), spec_(from_json(job.spec)), window_(job) {}

  SliceEnd run();

 private:
  std::optional<SliceEnd> end();
  std::optional<Step> plan();
  bool still_due(const Step& step);
  void perform(const Step& step);
  void begin(const Step& step);
  void finish();
  void failed(const SqlError& error);
  void changed_meanwhile();
  void in_transaction(const Step& step);
  void at_top_level(const Step& step);
  bool await_holders(const Step& step, milliseconds older_than);
  void give_up_if_due(const Step& step, const std::string& who);
  [[noreturn]] void give_up(const std::string& what, const std::string& who) const;
  [[nodiscard]] std::string patience() const;
  void waits(const std::string& what);
  void take_locks(const Step& step);
  void run_all(const std::vector<std::string>& statements);
  void run_in_time(const std::vector<std::string>& statements);
  void execute(const Step& step);
  void note_indexes();
  void note_unfinished();

  template <typename F>
  auto as_owner(F&& fn) {
    const int flags = GetUserId() == job_.owner ? 0 : SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION;
    return as_role(job_.owner, flags, std::forward<F>(fn));
  }

  Session& session_;
  const Job& job_;
  const int slice_;
  const Spec spec_;
  JobWindow window_;
  Oid extension_ = InvalidOid;
  std::string version_;
  std::int64_t row_ = 0; // of dbops.ddl_step
  int tries_ = 0;        // of the step under way
  int overruns_ = 0;     // of them: it has held its locks for too long
  std::string statement_;
  std::optional<Clock::time_point> waiting_since_; // for the lock of that step
  std::string waits_for_;
  std::minstd_rand random_{std::random_device{}()};
};

// Shown in dbops.progress.
void DdlWork::waits(const std::string& what) {
  if (what == waits_for_) return;
  session_.transaction([&] {
    commit_without_waiting();
    bookkeep("UPDATE dbops.job_slice SET waiting_for = nullif($3, ''), updated_at = clock_timestamp(),"
             " waiting_since = CASE WHEN $3 <> '' THEN coalesce(waiting_since, clock_timestamp()) END"
             " WHERE job_id = $1::bigint AND slice = $2::integer",
             {to_text(job_.id), to_text(slice_), what});
  });
  waits_for_ = what;
}

// Whether the run ends before the next step.
std::optional<SliceEnd> DdlWork::end() {
  if (window_.closed_now(session_)) return SliceEnd::window;
  return session_.transaction([&]() -> std::optional<SliceEnd> {
    if (extension_oid() != extension_ || extension_version() != version_) return SliceEnd::leave;
    if (read_state(job_.id) != core::JobState::running) return SliceEnd::stopped;
    return std::nullopt;
  });
}

std::optional<Step> DdlWork::plan() {
  return session_.transaction([&] {
    const int nest_level = enter_settings(pinned());
    std::optional<Step> step = as_owner([&] { return next_step(job_, spec_); });
    if (step) step->names = names_of(step->relations);
    undo_settings(nest_level);
    return step;
  });
}

// After it has been waited for: tables may have been renamed or dropped, an index been made by somebody else.
bool DdlWork::still_due(const Step& step) {
  const std::optional<Step> now = plan();
  return now && now->statements == step.statements && now->names == step.names;
}

void DdlWork::changed_meanwhile() {
  failed(SqlError(ERRCODE_OBJECT_IN_USE, "the table was changed meanwhile"));
}

void DdlWork::begin(const Step& step) {
  std::string text;
  for (const std::string& statement : step.statements)
    text += (text.empty() ? "" : ";\n") + statement;
  if (text != statement_) {
    statement_ = text;
    tries_ = 0;
    overruns_ = 0;
    waiting_since_.reset();
  }
  ++tries_;
  row_ = session_.transaction([&] {
    // The row of an earlier try, or of a run that was lost; of one whose work was taken back nothing is ours any more.
    const Rows known = bookkeep("UPDATE dbops.ddl_step SET state = 'running', attempts = attempts + 1, error = NULL,"
                                " finished_at = NULL, makes = $3, indexes_before = CASE makes WHEN $3 THEN "
                                "indexes_before END WHERE job_id = $1::bigint AND statement = $2"
                                " AND state <> 'done' RETURNING step_id",
                                {to_text(job_.id), text, to_string(step.makes)});
    if (!known.empty()) return known.integer(0, 0);
    return bookkeep(
               "INSERT INTO dbops.ddl_step (job_id, statement, lock, makes, relation_oid, name, object_oid)"
               " VALUES ($1::bigint, $2, $3, $4, nullif($5::oid, 0), nullif($6, ''), nullif($7::oid, 0)) RETURNING "
               "step_id",
               {to_text(job_.id), text, to_string(step.lock), to_string(step.makes), to_text(step.relation), step.name,
                to_text(step.object)})
        .integer(0, 0);
  });
}

// Just before an index is made: one of its name that is not among these is ours, whatever becomes of the statement.
void DdlWork::note_indexes() {
  session_.transaction([&] {
    bookkeep("UPDATE dbops.ddl_step SET object_oid = NULL, indexes_before = ARRAY(SELECT indexrelid FROM "
             "pg_catalog.pg_index WHERE indrelid = relation_oid) WHERE step_id = $1::bigint",
             {to_text(row_)});
  });
}

// The INVALID index that a failed statement has left, so that one that gets its name later is not taken for it.
void DdlWork::note_unfinished() {
  session_.transaction([&] {
    bookkeep(
        "UPDATE dbops.ddl_step s SET object_oid = i.indexrelid FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class "
        "c ON c.oid = i.indexrelid WHERE s.step_id = $1::bigint AND i.indrelid = s.relation_oid AND c.relname = "
        "s.name AND NOT i.indisvalid AND i.indexrelid <> ALL (s.indexes_before) AND NOT EXISTS (SELECT FROM "
        "pg_catalog.pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)",
        {to_text(row_)});
  });
}

// In the transaction of the step where it has one.
void DdlWork::finish() {
  bookkeep(
      "UPDATE dbops.ddl_step SET state = 'done', finished_at = clock_timestamp(), object_oid = CASE makes"
      "   WHEN 'index' THEN (SELECT i.indexrelid FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = "
      "i.indexrelid WHERE i.indrelid = relation_oid AND c.relname = name AND i.indexrelid <> ALL (indexes_before))"
      "   WHEN 'constraint' THEN (SELECT k.oid FROM pg_catalog.pg_constraint k WHERE k.conrelid = relation_oid AND "
      "k.conname = name) ELSE object_oid END WHERE step_id = $1::bigint",
      {to_text(row_)});
  bookkeep("UPDATE dbops.job_slice SET rows_done = rows_done + 1, batches = batches + 1, waiting_for = NULL,"
           " waiting_since = NULL, updated_at = clock_timestamp() WHERE job_id = $1::bigint AND slice = $2::integer",
           {to_text(job_.id), to_text(slice_)});
}

void DdlWork::failed(const SqlError& error) {
  session_.transaction([&] {
    bookkeep("UPDATE dbops.ddl_step SET state = 'failed', finished_at = clock_timestamp(), error = $2 WHERE step_id = "
             "$1::bigint",
             {to_text(row_), error.sqlstate() + ": " + error.message});
    if (is_contention(error))
      bookkeep("UPDATE dbops.job_slice SET hindrances = hindrances + 1 WHERE job_id = $1::bigint AND slice = "
               "$2::integer",
               {to_text(job_.id), to_text(slice_)});
  });
}

void DdlWork::give_up(const std::string& what, const std::string& who) const {
  throw SqlError(ERRCODE_LOCK_NOT_AVAILABLE, what,
                 "End what holds the table, then SELECT dbops.retry(" + to_text(job_.id) + ").",
                 who.empty() ? "" : "held by " + who);
}

void DdlWork::give_up_if_due(const Step& step, const std::string& who) {
  const Clock::time_point now = Clock::now();
  if (!waiting_since_) waiting_since_ = now;
  if (!spec_.give_up_after || std::chrono::duration<double>(now - *waiting_since_).count() < *spec_.give_up_after)
    return;
  give_up(std::string("could not get ") + to_string(step.lock) + " on " +
              session_.transaction([&] { return qualified_name(step.relations.front()); }) + " in time",
          who);
}

// While a transaction that has been running for longer than a lock would be waited for holds the table, it is not asked
// for: nobody has to queue behind a request that would time out. Whether it has waited.
bool DdlWork::await_holders(const Step& step, milliseconds older_than) {
  for (bool waited = false;; waited = true) {
    const std::string who = session_.transaction([&] { return holders(step.relations, step.lock, older_than); });
    if (who.empty()) return waited;
    waits(std::string(to_string(step.lock)) + " held up by " + who);
    give_up_if_due(step, who);
    nap(look_again);
  }
}

// All of them before anything is done, within lock_timeout for all of them: who queues behind the first one does not
// wait longer than that. What the role does not own, a referenced table, is left to its statement and what is left of
// the time.
void DdlWork::take_locks(const Step& step) {
  const Clock::time_point until = Clock::now() + milliseconds(spec_.lock_timeout_ms);
  const auto at_most_until = [until] {
    const auto left = std::chrono::duration_cast<milliseconds>(until - Clock::now()).count();
    lock_at_most((to_text(std::max<std::int64_t>(left, 1)) + "ms").c_str());
  };
  for (const Oid relation : step.relations) {
    at_most_until();
    call_pg([&] {
      if (get_rel_relkind(relation) != '\0' && compat::owns_relation(relation, job_.owner))
        LockRelationOid(relation, mode_of(step.lock));
    });
  }
  at_most_until();
  if (names_of(step.relations) != step.names ||
      (OidIsValid(step.same_leaves_of) && leaves(step.same_leaves_of) != step.leaves))
    throw SqlError(ERRCODE_OBJECT_IN_USE, "the table, or one of its partitions, was changed meanwhile");
}

void DdlWork::run_all(const std::vector<std::string>& statements) {
  const int nest_level = enter_settings(pinned());
  as_owner([&] {
    for (const std::string& statement : statements) {
      call_pg([&statement] { pgstat_report_activity(STATE_RUNNING, statement.c_str()); });
      query(statement);
    }
  });
  undo_settings(nest_level);
}

// With the locks. Each of these should take a moment; one that reads the table after all is stopped.
void DdlWork::run_in_time(const std::vector<std::string>& statements) {
  const TimeLimit limit(std::max(milliseconds(spec_.lock_timeout_ms), shortest_hold));
  try {
    run_all(statements);
  } catch (const SqlError& error) {
    if (error.code != ERRCODE_QUERY_CANCELED || !limit.over()) throw;
    const char* const what = "it has held its locks for too long";
    if (++overruns_ < overrun_tries) throw SqlError(ERRCODE_LOCK_NOT_AVAILABLE, what);
    throw SqlError(ERRCODE_PROGRAM_LIMIT_EXCEEDED, what,
                   "It may hold them for lock_timeout, and for a second at least. Give a new job a longer one.");
  }
}

void DdlWork::execute(const Step& step) {
  if (step.lock == Lock::share_update_exclusive) { // in the way of no read or write, and may take its time
    lock_at_most((to_text(spec_.lock_timeout_ms) + "ms").c_str());
    run_all(step.statements);
  } else {
    take_locks(step);
    run_in_time(step.statements);
  }
  finish();
}

void DdlWork::in_transaction(const Step& step) {
  if (await_holders(step, milliseconds(spec_.lock_timeout_ms)) && !still_due(step)) return changed_meanwhile();
  waits("");
  try {
    session_.transaction([&] { execute(step); });
  } catch (const SqlError& error) {
    if (!is_contention(error)) throw;
    failed(error);
    const std::string who = session_.transaction([&] { return holders(step.relations, step.lock, milliseconds(0)); });
    waits(std::string("another try for ") + to_string(step.lock) + ": " + error.message +
          (who.empty() ? "" : ", held by " + who));
    give_up_if_due(step, who);
    // Back-off with jitter, so that several jobs do not meet again.
    const milliseconds pause = std::min(milliseconds(100) * (1 << std::min(tries_, 10)), longest_pause);
    sleep_whole(pause / 2 + milliseconds(std::uniform_int_distribution<std::int64_t>(0, pause.count())(random_)));
  }
}

// lock_timeout of a statement that waits for others inside of it.
std::string DdlWork::patience() const {
  if (!spec_.give_up_after) return "0";
  return to_text(static_cast<std::int64_t>(std::clamp(std::ceil(*spec_.give_up_after * 1000), 1.0, double(INT_MAX)))) +
         "ms";
}

// Waits for others inside the statement: nobody queues behind it, as what it asks for conflicts with no read or write,
// and a short lock_timeout would only leave an INVALID index.
void DdlWork::at_top_level(const Step& step) {
  if (!session_.top_level())
    throw SqlError(ERRCODE_FEATURE_NOT_SUPPORTED, "a session cannot run " + step.statements.front(),
                   "It needs a background worker: shared_preload_libraries = 'dbops', then SELECT dbops.retry(" +
                       to_text(job_.id) + ").");
  // Another statement of the kind holds a snapshot that this one would wait for, and waits for the table itself.
  Turn turn(Turn::Of::table, step.relations.front());
  bool waited = false;
  for (; !turn.take(); waited = true) {
    waits("another job that works on the table");
    nap(look_again);
  }
  waited = await_holders(step, milliseconds(0)) || waited;
  if (waited && !still_due(step)) return changed_meanwhile();
  waits("");
  if (step.makes == Makes::index) note_indexes();
  try {
    Settings settings = pinned();
    settings.insert(settings.end(), {{"lock_timeout", patience()}, {"statement_timeout", "0"}});
    if (!step.tablespace.empty()) settings.emplace_back("default_tablespace", step.tablespace);
    run_top_level(step.statements.front(), settings, false);
  } catch (const SqlError& error) {
    // Somebody has made one of that name at the same moment.
    if (error.code == ERRCODE_DUPLICATE_TABLE && step.makes == Makes::index) note_indexes();
    if (error.code != ERRCODE_DUPLICATE_TABLE && step.makes == Makes::index) note_unfinished();
    if (error.code == ERRCODE_LOCK_NOT_AVAILABLE)
      give_up("other transactions did not end in time for " + step.statements.front(), "");
    if (!is_contention(error) || tries_ >= top_level_tries) throw;
    failed(error);
    sleep_whole(milliseconds(200 + static_cast<int>(random_() % 800)));
    return;
  }
  session_.transaction([&] { finish(); });
}

void DdlWork::perform(const Step& step) {
  if (!step.waits_for.empty()) {
    waits(step.waits_for);
    give_up_if_due(step, step.waits_for);
    nap(look_again);
    return;
  }
  begin(step);
  try {
    if (step.top_level)
      at_top_level(step);
    else
      in_transaction(step);
  } catch (const SqlError& error) {
    try {
      failed(error);
    } catch (const SqlError&) { // the rows may have gone with the extension; the error counts
    }
    throw;
  }
}

SliceEnd DdlWork::run() {
  Turn turn(Turn::Of::job, job_.kind == "clean_up" ? spec_.of : job_.id);
  while (!turn.take())
    nap(look_again);
  session_.transaction([&] {
    extension_ = extension_oid();
    version_ = extension_version();
  });
  for (;;) {
    if (const std::optional<SliceEnd> over = end()) return *over;
    const std::optional<Step> step = plan();
    if (!step) return SliceEnd::job_done;
    perform(*step);
  }
}

} // namespace

SliceEnd work(Session& session, const Job& job, int slice) {
  return DdlWork(session, job, slice).run();
}

} // namespace dbops::server::ddl
