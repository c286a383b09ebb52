// dbops.job and what belongs to it, as the engine sees them. Every function needs a transaction with SPI connected.
#pragma once

#include <nlohmann/json.hpp>

#include "core/job/state.h"
#include "server/engine/bookkeeping.h"

namespace dbops::server {

struct Job {
  std::int64_t id = 0;
  std::string kind;
  Oid target = InvalidOid;
  std::string target_name;
  Oid owner = InvalidOid;
  core::JobState state = core::JobState::queued;
  int parallel = 1;
  int priority = 0;
  std::int64_t rows_total = 0;
  nlohmann::json spec;
};

// Raises 42704 (undefined object) with a HINT when there is no such job. for_update locks the row.
Job read_job(std::int64_t id, bool for_update);
std::optional<core::JobState> read_state(std::int64_t id);

// Changes the state if the life of a job allows it, records who and why, and notifies channel dbops. The row must be
// locked (read_job with for_update). Returns the new state; raises 55000 when the change makes no sense.
core::JobState change_state(Job& job, core::JobAction action, const std::string& actor, const Value& reason);

// NOTIFY dbops, '{"job_id":1,"kind":"backfill","from":"queued","state":"running"}' at commit; a new job has no "from".
void notify_state(std::int64_t job, const std::string& kind, const Value& from, const std::string& to);

// Workers may be sent to all its slices at once, whatever became of those that were sent before: somebody has steered
// it.
void forget_launches(std::int64_t job);
// Slices that had ended have work again; at COMMIT the launcher is told.
void open_slices(std::int64_t job);
// The run of a slice whose lock the caller holds, if one is recorded as running: its process died.
void note_lost_run(std::int64_t job, int slice);
// The runs, of one job or of all, that are recorded as running and whose slices nobody has. Gives each job's id and
// whether the run got on. Those that somebody has in an open transaction are left for the next look.
Rows note_lost_runs(std::optional<std::int64_t> job = std::nullopt);
// Whether there are such runs now.
bool has_lost_runs();

// dbops.job.last_sqlstate, last_error, last_hint.
void record_error(std::int64_t job, const SqlError& error);

// A lock of the session that says "this slice is being worked on": survives commits, dies with the process.
class SliceLock {
 public:
  // Waits at most `wait_ms`; false when somebody else has it.
  static bool acquire(std::int64_t job, int slice, int wait_ms);
  static void release(std::int64_t job, int slice) noexcept;
  static bool held(std::int64_t job, int slice);
};
// Between what the workers of a job do side by side (shared) and what changes the ground under it (exclusive); to the
// end of the transaction.
void lock_course(std::int64_t job, bool exclusive);

// Process ids that hold a lock of the job in this database.
std::vector<int> workers_of(std::int64_t job);
// SQL: a subselect over pg_locks that gives (job_id, slice, pid) of all slices being worked on in this database.
extern const char* const held_slices_sql;

} // namespace dbops::server
