#include "server/engine/job_record.h"

#include <algorithm>
#include <utility>

#include "core/text/json_text.h"
#include "server/compat.h"
#include "server/ddl/clean_up.h"
#include "server/engine/shared.h"
#include "server/engine/slice_tag.h"
#include "server/engine/wake.h"
#include "server/schedule/record.h"

extern "C" {
#include "commands/async.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/fmgrprotos.h"
#include "utils/timeout.h"
}

namespace dbops::server {

namespace {

constexpr std::uint16_t course_lock_class = 0xDC; // beside slice_lock_class

// The worker whose slot bears the schedule's number; 0: none. Its command may have given back the lock of its run, by
// DISCARD ALL or pg_advisory_unlock_all().
int process_at_schedule(std::int64_t job) {
  if (shared() == nullptr) return 0;
  const SharedLock lock;
  for (const Slot& slot : shared()->slots)
    if (slot.state == Slot::State::running && slot.database == MyDatabaseId && slot.job == job &&
        slot.slice == schedule::any_due)
      return slot.pid;
  return 0;
}

} // namespace

const char* const held_slices_sql =
    "(SELECT classid::pg_catalog.int8 | ((objid::pg_catalog.int8 & 65535) << 32) AS job_id,"
    "        (objid::pg_catalog.int8 >> 16)::pg_catalog.int4 AS slice, pid"
    " FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND objsubid = 219 AND granted"
    "  AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))";

Job read_job(std::int64_t id, bool for_update) {
  const Rows found = bookkeep(
      std::string("SELECT kind, target_oid, target_name, owner_oid, state, parallel, rows_total, spec, priority"
                  " FROM dbops.job WHERE job_id = $1::bigint") +
          (for_update ? " FOR NO KEY UPDATE" : ""),
      {to_text(id)});
  if (found.empty())
    throw SqlError(ERRCODE_UNDEFINED_OBJECT, "job " + to_text(id) + " does not exist",
                   "See dbops.jobs for the jobs there are.");
  Job job;
  job.id = id;
  job.kind = found.text(0, 0);
  job.target = static_cast<Oid>(found.integer(0, 1));
  job.target_name = found.text(0, 2);
  job.owner = static_cast<Oid>(found.integer(0, 3));
  job.state = core::job_state(found.text(0, 4)).value();
  job.parallel = static_cast<int>(found.integer(0, 5));
  job.rows_total = found.integer(0, 6);
  job.spec = core::parse_json_text(found.text(0, 7));
  job.priority = static_cast<int>(found.integer(0, 8));
  return job;
}

std::optional<core::JobState> read_state(std::int64_t id) {
  const Rows found = bookkeep("SELECT state FROM dbops.job WHERE job_id = $1::bigint", {to_text(id)});
  if (found.empty()) return std::nullopt;
  return core::job_state(found.text(0, 0));
}

namespace {

// A full queue refuses every COMMIT that notifies, and fills while one session that listens stays in a transaction: no
// job could start or end. What is left of it above this is for notifications of others, and of commits that come
// together.
constexpr double notify_queue_limit = 0.9;

// A process says so once each time that it finds it full.
bool has_room_for_notifications() {
  static bool said = false;
  const double used =
      call_pg([] { return DatumGetFloat8(DirectFunctionCall1(pg_notification_queue_usage, static_cast<Datum>(0))); });
  if (used < notify_queue_limit) {
    said = false;
    return true;
  }
  if (!std::exchange(said, true))
    call_pg([used] {
      ereport(WARNING, (errmsg("changes of dbops jobs are not notified: the queue of NOTIFY is %d %% full",
                               static_cast<int>(used * 100)),
                        errhint("It is emptied when each session that listens, to any channel of any database, has "
                                "ended its transaction: see xact_start in pg_stat_activity.")));
    });
  return false;
}

} // namespace

void notify_state(std::int64_t job, const std::string& kind, const Value& from, const std::string& to) {
  if (!has_room_for_notifications()) return;
  nlohmann::json message{{"job_id", job}, {"kind", kind}, {"state", to}};
  if (from) message["from"] = *from;
  const std::string payload = message.dump();
  call_pg([&payload] { Async_Notify("dbops", payload.c_str()); });
}

core::JobState change_state(Job& job, core::JobAction action, const std::string& actor, const Value& reason) {
  const std::optional<core::JobState> next = core::next_state(job.state, action);
  if (!next)
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                   "cannot " + std::string(core::to_string(action)) + " job " + to_text(job.id) + ": it is " +
                       std::string(core::to_string(job.state)),
                   "See dbops.job_events for what has happened to it.");
  if (*next == job.state) return *next;
  const std::string from(core::to_string(job.state));
  const std::string to(core::to_string(*next));
  bookkeep("UPDATE dbops.job SET state = $2,"
           " started_at = CASE WHEN $2 = 'running' THEN coalesce(started_at, clock_timestamp()) ELSE started_at END,"
           " finished_at = CASE WHEN $2 IN ('succeeded', 'failed', 'cancelled') THEN clock_timestamp() END,"
           " not_before = NULL, not_before_reason = NULL WHERE job_id = $1::bigint",
           {to_text(job.id), to});
  bookkeep("INSERT INTO dbops.job_event (job_id, actor, action, from_state, to_state, reason)"
           " VALUES ($1::bigint, $2, $3, $4, $5, $6)",
           {to_text(job.id), actor, std::string(core::to_string(action)), from, to, reason});
  notify_state(job.id, job.kind, from, to);
  job.state = *next;
  // Of those that died between two batches, and left no work that another would have met.
  if (core::is_terminal(*next)) note_lost_runs(job.id);
  if (*next == core::JobState::failed || *next == core::JobState::cancelled || *next == core::JobState::paused)
    ddl::submit_clean_up(job);
  return *next;
}

void forget_launches(std::int64_t job) {
  bookkeep("UPDATE dbops.job_slice SET launches = 0, not_before = NULL WHERE job_id = $1::bigint"
           " AND (launches > 0 OR not_before IS NOT NULL)",
           {to_text(job)});
}

void open_slices(std::int64_t job) {
  bookkeep(
      "UPDATE dbops.job_slice SET done = false, launches = 0, not_before = NULL WHERE job_id = $1::bigint AND done",
      {to_text(job)});
  announce_at_commit();
}

namespace {

constexpr const char* lost_run_sql =
    "UPDATE dbops.job_run r SET outcome = 'lost', finished_at = clock_timestamp(),"
    " rows_done = s.rows_done - r.rows_before, message = 'the process ended without a report'"
    " FROM dbops.job_slice s WHERE r.outcome = 'running' AND s.job_id = r.job_id AND s.slice = r.slice";

} // namespace

void note_lost_run(std::int64_t job, int slice) {
  bookkeep(std::string(lost_run_sql) + " AND r.job_id = $1::bigint AND r.slice = $2::integer",
           {to_text(job), to_text(slice)});
}

Rows note_lost_runs(std::optional<std::int64_t> job) {
  return bookkeep(std::string(lost_run_sql) +
                      " AND r.run_id IN (SELECT l.run_id FROM dbops.job_run l WHERE l.outcome = 'running'"
                      " AND ($1::bigint IS NULL OR l.job_id = $1::bigint) AND NOT EXISTS (SELECT FROM " +
                      held_slices_sql +
                      " h WHERE h.job_id = l.job_id AND h.slice = l.slice) FOR NO KEY UPDATE SKIP LOCKED)"
                      " RETURNING r.job_id, (s.batches > r.batches_before)",
                  {job ? Value(to_text(*job)) : Value()});
}

bool has_lost_runs() {
  return !bookkeep(std::string("SELECT 1 FROM dbops.job_run r JOIN dbops.job_slice s USING (job_id, slice)"
                               " WHERE r.outcome = 'running' AND NOT EXISTS (SELECT FROM ") +
                   held_slices_sql + " h WHERE h.job_id = r.job_id AND h.slice = r.slice) LIMIT 1")
              .empty();
}

void record_error(std::int64_t job, const SqlError& error) {
  bookkeep(
      "UPDATE dbops.job SET last_sqlstate = $2, last_error = $3, last_hint = nullif($4, '') WHERE job_id = $1::bigint",
      {to_text(job), error.sqlstate(), error.message + (error.detail.empty() ? "" : " (" + error.detail + ")"),
       error.hint});
}

bool SliceLock::acquire(std::int64_t job, int slice, int wait_ms) {
  const LOCKTAG tag = slice_tag(job, slice);
  // A worker that was told to stop gives the lock back within a second or so; polling keeps lock_timeout out of it.
  for (int waited = 0;; waited += 20) {
    const bool got = call_pg([&tag] { return LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL; });
    if (got) return true;
    if (waited >= wait_ms) return false;
    call_pg([] {
      (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 20, PG_WAIT_EXTENSION);
      ResetLatch(MyLatch);
      CHECK_FOR_INTERRUPTS();
    });
  }
}

bool SliceLock::held(std::int64_t job, int slice) {
  const LOCKTAG tag = slice_tag(job, slice);
  return call_pg([&tag] { return compat::holds_lock(tag, ExclusiveLock); });
}

void SliceLock::release(std::int64_t job, int slice) noexcept {
  try {
    const LOCKTAG tag = slice_tag(job, slice);
    call_pg([&tag] { LockRelease(&tag, ExclusiveLock, true); });
  } catch (...) { // the end of the process releases it
  }
}

void lock_course(std::int64_t job, bool exclusive) {
  LOCKTAG tag = slice_tag(job, 0);
  tag.locktag_field4 = course_lock_class;
  call_pg([&tag, exclusive] { (void)LockAcquire(&tag, exclusive ? ExclusiveLock : ShareLock, false, false); });
}

std::vector<int> workers_of(std::int64_t job) {
  const Rows found =
      bookkeep(std::string("SELECT DISTINCT pid FROM ") + held_slices_sql + " h WHERE h.job_id = $1::pg_catalog.int8",
               {to_text(job)});
  std::vector<int> pids;
  for (std::size_t i = 0; i < found.size(); ++i)
    pids.push_back(static_cast<int>(found.integer(i, 0)));
  const int commanding = process_at_schedule(job);
  if (commanding != 0 && std::ranges::find(pids, commanding) == pids.end() &&
      !bookkeep("SELECT 1 FROM dbops.job_run WHERE job_id = $1::bigint AND outcome = 'running' AND pid = $2::integer",
                {to_text(job), to_text(commanding)})
           .empty())
    pids.push_back(commanding);
  return pids;
}

} // namespace dbops::server
