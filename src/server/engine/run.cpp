#include "server/engine/run.h"

#include <algorithm>

#include "server/backfill/work.h"
#include "server/backup/work.h"
#include "server/compat.h"
#include "server/ddl/spec.h"
#include "server/ddl/work.h"
#include "server/engine/control.h"
#include "server/engine/processes.h"
#include "server/engine/shared.h"
#include "server/engine/wait.h"
#include "server/engine/wake.h"
#include "server/engine/window.h"
#include "server/lifecycle/retention_run.h"

extern "C" {
#include "executor/spi.h"
#include "nodes/parsenodes.h"
#include "storage/ipc.h"
#include "utils/timeout.h"
}

namespace dbops::server {

namespace {

using core::JobAction;
using core::JobState;

// Somebody has the job's row in an open transaction, and will have changed its state when he commits. True: come again.
bool being_steered(Session& session, const Assignment& assignment) {
  if (!session.top_level()) return false; // a session can wait: its user can cancel
  try {
    in_savepoint([&] {
      lock_at_most("500ms"); // other workers of the job have it for a moment
      return bookkeep("SELECT 1 FROM dbops.job WHERE job_id = $1::bigint FOR NO KEY UPDATE", {to_text(assignment.job)});
    });
    lock_at_most("0");
    return false;
  } catch (const SqlError& error) {
    if (error.code != ERRCODE_LOCK_NOT_AVAILABLE) throw;
  }
  bookkeep("UPDATE dbops.job_slice SET launches = 0, not_before = clock_timestamp() + interval '1 second'"
           " WHERE job_id = $1::bigint AND slice = $2::integer",
           {to_text(assignment.job), to_text(assignment.slice)});
  return true;
}

// In the first transaction of a run, with the slice's lock held: the job as it is now, marked as running; nothing when
// it is not to be run.
std::optional<Job> take_slice(Session& session, const Assignment& assignment) {
  // A start that a crash takes back is one of the launches that dispatch() has counted, so it cannot go on for ever.
  commit_without_waiting();
  const std::string id = to_text(assignment.job);
  const std::string slice = to_text(assignment.slice);
  if (bookkeep("SELECT 1 FROM dbops.job WHERE job_id = $1::bigint", {id}).empty()) return std::nullopt;
  if (being_steered(session, assignment)) return std::nullopt;
  Job job = read_job(assignment.job, true);
  if (job.state != JobState::queued && job.state != JobState::running) return std::nullopt;
  const Rows open = bookkeep(
      "SELECT 1 FROM dbops.job_slice WHERE job_id = $1::bigint AND slice = $2::integer AND NOT done", {id, slice});
  if (open.empty()) return std::nullopt;
  note_lost_run(assignment.job, assignment.slice);
  // Its other slices may start now; the dispatcher that sent this worker has gone.
  if (job.state == JobState::queued && job.parallel > 1) announce_at_commit();
  change_state(job, JobAction::start, "dbops", std::string(session.mode()) + " with process id " + to_text(MyProcPid));
  // Losses count in a row: a run of this slice in between that got on, however it ended, begins the count anew.
  bookkeep("UPDATE dbops.job SET losses = 0 WHERE job_id = $1::bigint AND losses > 0 AND (SELECT s.batches FROM "
           "dbops.job_slice s"
           " WHERE s.job_id = $1::bigint AND s.slice = $2::integer) > (SELECT r.batches_before FROM dbops.job_run r"
           " WHERE r.job_id = $1::bigint AND r.slice = $2::integer ORDER BY r.run_id DESC LIMIT 1)",
           {id, slice});
  bookkeep("INSERT INTO dbops.job_run (job_id, slice, mode, pid, rows_before, batches_before)"
           " SELECT job_id, slice, $3, $4::integer, rows_done, batches FROM dbops.job_slice WHERE job_id = $1::bigint "
           "AND slice "
           "= $2::integer",
           {id, slice, session.mode(), to_text(MyProcPid)});
  bookkeep(
      "UPDATE dbops.job_slice SET launches = 0, not_before = NULL WHERE job_id = $1::bigint AND slice = $2::integer"
      " AND (launches > 0 OR not_before IS NOT NULL)",
      {id, slice});
  return job;
}

void end_run(const Assignment& assignment, const char* outcome, const Value& sqlstate, const Value& message) {
  bookkeep("UPDATE dbops.job_run r SET outcome = $3, finished_at = clock_timestamp(), rows_done = s.rows_done - "
           "r.rows_before,"
           " sqlstate = $4, message = $5"
           " FROM dbops.job_slice s WHERE r.outcome = 'running' AND s.job_id = r.job_id AND s.slice = r.slice"
           " AND r.job_id = $1::bigint AND r.slice = $2::integer",
           {to_text(assignment.job), to_text(assignment.slice), outcome, sqlstate, message});
  bookkeep("UPDATE dbops.job_slice SET waiting_for = NULL, waiting_since = NULL, rate = 0"
           " WHERE job_id = $1::bigint AND slice = $2::integer",
           {to_text(assignment.job), to_text(assignment.slice)});
}

const char* outcome_of(SliceEnd end) {
  return end == SliceEnd::slice_done || end == SliceEnd::job_done ? "finished" : "stopped";
}

void wait_for_window(Job& job) {
  const std::optional<JobWindow::Closed> closed = JobWindow(job).closed();
  change_state(job, JobAction::requeue, "dbops", "outside of its time windows");
  if (closed)
    bookkeep(
        "UPDATE dbops.job SET not_before = to_timestamp($2::bigint), not_before_reason = $3 WHERE job_id = $1::bigint",
        {to_text(job.id), to_text(closed->opens), "time window " + closed->windows});
  announce_at_commit();
}

void record_end(const Assignment& assignment, SliceEnd end) {
  Job job = read_job(assignment.job, true);
  end_run(assignment, outcome_of(end), std::nullopt, std::nullopt);
  if (job.state != JobState::running) return; // paused or cancelled meanwhile: that word stands
  if (end == SliceEnd::job_done) {
    bookkeep("UPDATE dbops.job_slice SET done = true WHERE job_id = $1::bigint", {to_text(job.id)});
    bookkeep("UPDATE dbops.job SET losses = 0, last_sqlstate = NULL, last_error = NULL, last_hint = NULL WHERE job_id "
             "= $1::bigint",
             {to_text(job.id)});
    change_state(job, JobAction::finish, "dbops", std::nullopt);
  } else if (end == SliceEnd::slice_done) {
    // Unless no other is open any more: the one that it has left the rest to was given up meanwhile.
    if (bookkeep("UPDATE dbops.job_slice SET done = true WHERE job_id = $1::bigint AND slice = $2::integer AND EXISTS"
                 " (SELECT FROM dbops.job_slice o WHERE o.job_id = $1::bigint AND o.slice <> $2::integer AND NOT "
                 "o.done)",
                 {to_text(job.id), to_text(assignment.slice)})
            .processed == 0)
      announce_at_commit();
  } else if (end == SliceEnd::leave) {
    change_state(
        job, JobAction::requeue, "dbops",
        "its worker had to leave: the database is to be dropped, renamed, moved or copied, or dbops was upgraded");
    announce_at_commit();
  } else if (end == SliceEnd::window) {
    wait_for_window(job);
  } else if (end == SliceEnd::give_way) {
    // Others may go on with their slices. Who is the last is decided under the lock of the job's row.
    if (bookkeep("SELECT 1 FROM dbops.job_run WHERE job_id = $1::bigint AND outcome = 'running' LIMIT 1",
                 {to_text(job.id)})
            .empty())
      change_state(job, JobAction::requeue, "dbops",
                   has_surplus_slot() ? "there are more workers than dbops.max_workers"
                                      : "gave its slot to a scheduled command");
    announce_at_commit();
  }
}

void record_failure(const Assignment& assignment, const SqlError& error) {
  Job job = read_job(assignment.job, true);
  end_run(assignment, "failed", error.sqlstate(), error.message);
  if (job.state != JobState::running) return;
  record_error(job.id, error);
  change_state(job, JobAction::fail, "dbops", error.message);
  for (const int pid : workers_of(job.id))
    interrupt_at_commit(pid, job.id);
}

// Has somebody stopped the job, or another of its workers failed it, since this run began? Then the cancel came from
// there, also when the job has been brought back meanwhile and another of its workers has made it run again.
bool steered_since_start(const Assignment& assignment) {
  return !bookkeep(
              "SELECT 1 FROM dbops.job_run r JOIN dbops.job_event e ON e.job_id = r.job_id AND e.at >= r.started_at"
              " WHERE r.job_id = $1::bigint AND r.slice = $2::integer AND r.outcome = 'running' AND e.action IN "
              "('pause', 'cancel', 'fail') LIMIT 1",
              {to_text(assignment.job), to_text(assignment.slice)})
              .empty();
}

// Somebody cancelled the statement from outside while the job was to run: that person wants it to stop.
void record_interruption(const Assignment& assignment) {
  Job job = read_job(assignment.job, true);
  const bool steered = steered_since_start(assignment);
  end_run(assignment, "stopped", std::nullopt, "statement cancelled");
  if (job.state != JobState::running) return;
  if (steered)
    announce_at_commit(); // for this slice
  else
    change_state(job, JobAction::pause, "dbops",
                 "its statement was cancelled (pg_cancel_backend or the session's own cancel)");
}

// After a deadlock: whom the engine has given way to has to come to what he waits for, before it is asked for again.
void stand_back(int attempt) {
  try {
    sleep_whole(std::chrono::milliseconds(50 << attempt));
  } catch (const SqlError& error) {
    if (error.code != ERRCODE_QUERY_CANCELED) throw;
  }
}

// The last word on a run must not be lost to a cancel that arrives at the same moment, nor to a deadlock, of which the
// engine is the victim. It does not wait for ever for somebody who steers the job in an open transaction: false then,
// the run is over, and the next one finds the state that he has left.
template <typename F>
bool persist(Session& session, const Assignment& assignment, F&& body) {
  bool word = true;
  for (int attempt = 0;; ++attempt) {
    try {
      session.transaction([&] {
        if (session.top_level()) lock_at_most("2s"); // a session can wait: its user can cancel
        if (word)
          body();
        else
          end_run(assignment, "stopped", std::nullopt, "another session has the job in an open transaction");
      });
      return word;
    } catch (const SqlError& error) {
      if (error.code == ERRCODE_LOCK_NOT_AVAILABLE && word)
        word = false;
      else if (attempt == 5 || (error.code != ERRCODE_QUERY_CANCELED && error.code != ERRCODE_T_R_DEADLOCK_DETECTED))
        throw;
      if (error.code == ERRCODE_T_R_DEADLOCK_DETECTED) stand_back(attempt);
    }
  }
}

// Somebody else has the slice. That is no worker that could not begin.
void report_for_duty(Session& session, const Assignment& assignment) {
  try {
    session.transaction([&] {
      lock_at_most("1s");
      bookkeep(
          "UPDATE dbops.job_slice SET launches = 0 WHERE job_id = $1::bigint AND slice = $2::integer AND launches > 0",
          {to_text(assignment.job), to_text(assignment.slice)});
    });
  } catch (const SqlError& error) {
    if (error.code != ERRCODE_LOCK_NOT_AVAILABLE) throw;
  }
}

bool extension_unchanged(Session& session, Oid extension) {
  return session.transaction([extension] { return extension_oid() == extension; });
}

} // namespace

SliceBody slice_body(const std::string& kind) {
  if (kind == "backfill" || kind == "batch_delete") return backfill::work;
  if (kind == "retain") return lifecycle::work_on_retention;
  if (kind == "backup") return backup::work;
  if (ddl::is_ddl(kind)) return ddl::work;
  return nullptr;
}

bool asked_to_leave() {
  if (shared() == nullptr) return false;
  SharedLock lock;
  for (const Slot& slot : shared()->slots)
    if (slot.pid == MyProcPid) return slot.leave;
  return false;
}

bool run_assignment(Session& session, const Assignment& assignment) {
  if (!SliceLock::acquire(assignment.job, assignment.slice, 5'000)) {
    report_for_duty(session, assignment);
    return true;
  }
  bool go_on = true;
  std::exception_ptr failure;
  try {
    const Oid extension = session.transaction([] { return extension_oid(); });
    const std::optional<Job> job = session.transaction([&] { return take_slice(session, assignment); });
    if (job) {
      try {
        const SliceBody body = slice_body(job->kind);
        if (body == nullptr)
          throw SqlError(ERRCODE_FEATURE_NOT_SUPPORTED,
                         "this version of the dbops library cannot run jobs of kind " + job->kind,
                         "Restart the server so that it loads the installed library.");
        const SliceEnd end = body(session, *job, assignment.slice);
        go_on = end != SliceEnd::leave;
        // Rows of another installation may have the same job id.
        if (!extension_unchanged(session, extension))
          go_on = false;
        else if (!persist(session, assignment, [&] { record_end(assignment, end); }))
          go_on = false;
      } catch (const SqlError& error) {
        if (!extension_unchanged(session, extension))
          go_on = false; // the rows went with the extension: nothing to record
        else if (error.code == ERRCODE_QUERY_CANCELED) {
          go_on = false;
          if (asked_to_leave())
            persist(session, assignment, [&] { record_end(assignment, SliceEnd::leave); });
          else
            persist(session, assignment, [&] { record_interruption(assignment); });
        } else if (!persist(session, assignment, [&] { record_failure(assignment, error); }))
          go_on = false;
      }
    }
  } catch (...) { // of any kind: a session must not keep the lock
    failure = std::current_exception();
  }
  SliceLock::release(assignment.job, assignment.slice);
  if (failure) std::rethrow_exception(failure);
  return go_on;
}

} // namespace dbops::server

using namespace dbops::server;

void dbops::server::require_top_level(FunctionCallInfo fcinfo, const char* what) {
  const bool atomic = fcinfo->context == nullptr || !IsA(fcinfo->context, CallContext) ||
                      reinterpret_cast<CallContext*>(fcinfo->context)->atomic;
  if (atomic)
    throw SqlError(ERRCODE_ACTIVE_SQL_TRANSACTION,
                   std::string("CALL ") + what + " cannot run inside a transaction block",
                   "Call it by itself, outside of BEGIN and of functions.");
}

namespace {

bool running_here = false;

// A session that leaves in the middle, by an error or by its death, leaves a job to be found: one that was resumed
// while the session still had its slice was announced to a dispatcher that could not start it.
void leave_job() {
  if (std::exchange(running_here, false)) announce_work(MyDatabaseId);
}

void session_ended(int, Datum) {
  leave_job();
}

// Once a process: an entry can only be taken back while it is the latest, and jobs may add others.
void watch_session_end() {
  static bool registered = false;
  if (std::exchange(registered, true)) return;
  // Not before_shmem_exit: the lock of the slice must be gone by then.
  call_pg([] { on_shmem_exit(session_ended, static_cast<Datum>(0)); });
}

// The job's fate, as an error of this session unless it succeeded; false when it has none yet.
bool raise_fate(Session& session, std::int64_t id) {
  const Rows fate = session.transaction([id] {
    return bookkeep(
        "SELECT state, last_error, last_hint, last_sqlstate, spec ? 'asks' FROM dbops.job WHERE job_id = $1::bigint",
        {to_text(id)});
  });
  if (fate.empty()) throw SqlError(ERRCODE_UNDEFINED_OBJECT, "job " + to_text(id) + " does not exist");
  const std::string state = fate.text(0, 0);
  if (state == "failed") {
    const std::string code = fate.text(0, 3);
    const int packed =
        code.size() == 5 ? MAKE_SQLSTATE(code[0], code[1], code[2], code[3], code[4]) : ERRCODE_INTERNAL_ERROR;
    throw SqlError(packed, "job " + to_text(id) + " failed: " + fate.text(0, 1), fate.text(0, 2));
  }
  if (state == "cancelled") throw SqlError(ERRCODE_QUERY_CANCELED, "job " + to_text(id) + " was cancelled");
  if (state == "paused") {
    const bool asks = fate.boolean(0, 4); // it has stopped at its maximum: to be resumed is not enough
    throw SqlError(ERRCODE_QUERY_CANCELED, "job " + to_text(id) + " was paused",
                   asks ? fate.text(0, 2)
                        : "SELECT dbops.resume(" + to_text(id) + "), then CALL dbops.run(" + to_text(id) + ").");
  }
  return state == "succeeded";
}

// The batches run as the job's owner, in this session: what it has made beforehand, a temporary table above all, could
// be met by the owner's code. So the session's role has to be one that may become the owner anyway.
void require_becoming(const Job& job) {
  if (!call_pg([&job] { return superuser() || compat::may_become(GetUserId(), job.owner); }))
    throw SqlError(ERRCODE_INSUFFICIENT_PRIVILEGE,
                   "permission denied for job " + to_text(job.id) + ": it runs as " + role_name(job.owner),
                   "Only that role, roles that may SET ROLE to it and superusers may run it in their session.");
}

// The first slice that is not done and that nobody works on.
std::optional<int> free_slice(std::int64_t id) {
  const Rows open =
      bookkeep(std::string("SELECT min(slice) FROM dbops.job_slice s WHERE job_id = $1::bigint AND NOT done"
                           " AND NOT EXISTS (SELECT FROM ") +
                   dbops::server::held_slices_sql + " h WHERE h.job_id = s.job_id AND h.slice = s.slice)",
               {to_text(id)});
  if (open.is_null(0, 0)) return std::nullopt;
  return static_cast<int>(open.integer(0, 0));
}

// Until the job is over: its other slices, those that workers have, and what is left when it was paused and resumed.
void run_slices(Session& session, std::int64_t id, std::optional<int> slice) {
  for (std::chrono::milliseconds pause{1};; pause = std::min(pause * 2, std::chrono::milliseconds(200))) {
    // False: it was interrupted, and the job is queued.
    const bool ours = !slice || run_assignment(session, {id, *slice});
    if (raise_fate(session, id)) break;
    if (!ours)
      throw SqlError(ERRCODE_QUERY_CANCELED, "job " + to_text(id) + " was interrupted and is queued again",
                     "CALL dbops.run(" + to_text(id) + ") goes on from its last batch.");
    nap(pause);
    slice = session.transaction([id] { return free_slice(id); });
  }
}

} // namespace

void dbops::server::run_in_session(Session& session, std::int64_t id) {
  call_pg([] { disable_timeout(STATEMENT_TIMEOUT, false); }); // the batches have none
  const std::optional<int> slice = session.transaction([id] {
    Job job = read_job(id, true);
    require_control(job);
    require_becoming(job);
    if (job.kind == "schedule")
      throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                     "job " + to_text(id) + " is a schedule, which background workers run",
                     "SELECT dbops.run_now(" + quote_text(job.target_name) + ").");
    // No worker can be started for its owner: this session is the way out that the HINT has named. Not announced, so
    // that the dispatcher does not find it first.
    if (job.state == dbops::core::JobState::failed &&
        !bookkeep("SELECT 1 FROM dbops.job WHERE job_id = $1::bigint AND last_sqlstate = '28000'", {to_text(id)})
             .empty())
      change_state(job, dbops::core::JobAction::retry, role_name(GetUserId()), "CALL dbops.run()");
    if (job.state != dbops::core::JobState::queued && job.state != dbops::core::JobState::running)
      throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                     "job " + to_text(id) + " is " + std::string(dbops::core::to_string(job.state)) + ", not queued",
                     "dbops.resume() and dbops.retry() queue it again.");
    // Not preloaded, no dispatcher looks for them: such as ended after their job, of which another had the last word.
    if (shared() == nullptr) note_lost_runs();
    const std::optional<int> open = free_slice(id);
    if (!open)
      throw SqlError(ERRCODE_OBJECT_IN_USE, "job " + to_text(id) + " is being worked on by another process",
                     "CALL dbops.wait(" + to_text(id) + ") waits for it.");
    return open;
  });
  watch_session_end();
  running_here = true;
  try {
    run_slices(session, id, slice);
    running_here = false;
  } catch (...) {
    leave_job();
    throw;
  }
}

namespace {

void wait_for(std::int64_t id, std::optional<std::chrono::milliseconds> timeout) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  call_pg([] { SPI_connect_ext(SPI_OPT_NONATOMIC); });
  ProcedureSession session;
  // Polls: at first often, for short jobs, then less, so that a long wait costs next to nothing; the end is seen within
  // 2 % of the time that it took.
  for (;;) {
    const bool ended = session.transaction([id] {
      const Job job = read_job(id, false);
      require_control(job);
      return dbops::core::is_terminal(job.state);
    });
    if (ended) break;
    if (timeout && Clock::now() - start >= *timeout)
      throw SqlError(ERRCODE_QUERY_CANCELED, "job " + to_text(id) + " has not finished in time",
                     "See dbops.progress; the job goes on.");
    nap(std::clamp(std::chrono::duration_cast<std::chrono::milliseconds>((Clock::now() - start) / 50),
                   std::chrono::milliseconds(5), std::chrono::milliseconds(200)));
  }
  raise_fate(session, id);
  call_pg([] { SPI_finish(); });
}

std::int64_t job_argument(FunctionCallInfo fcinfo) {
  if (PG_ARGISNULL(0)) throw SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, "job must not be null");
  return PG_GETARG_INT64(0);
}

} // namespace

DBOPS_SQL_FUNCTION(dbops_run) {
  return boundary([fcinfo]() -> Datum {
    require_top_level(fcinfo, "dbops.run()");
    const std::int64_t job = job_argument(fcinfo);
    call_pg([] { SPI_connect_ext(SPI_OPT_NONATOMIC); });
    ProcedureSession session;
    run_in_session(session, job);
    call_pg([] { SPI_finish(); });
    return static_cast<Datum>(0);
  });
}

DBOPS_SQL_FUNCTION(dbops_wait) {
  return boundary([fcinfo]() -> Datum {
    require_top_level(fcinfo, "dbops.wait()");
    std::optional<std::chrono::milliseconds> timeout;
    if (!PG_ARGISNULL(1)) {
      const Interval* interval = PG_GETARG_INTERVAL_P(1);
      const double days = interval->day + interval->month * 30.0;
      // Not beyond what a clock of nanoseconds can count.
      constexpr double longest = 100 * 365.0 * 86'400'000.0;
      timeout = std::chrono::milliseconds(static_cast<std::int64_t>(
          std::clamp(days * 86'400'000.0 + static_cast<double>(interval->time) / 1000.0, 0.0, longest)));
    }
    wait_for(job_argument(fcinfo), timeout);
    return static_cast<Datum>(0);
  });
}
