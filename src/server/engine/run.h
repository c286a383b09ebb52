// Working on one slice of a job, in whatever process: taking it, doing it, and saying how it ended.
#pragma once

#include "server/engine/dispatch.h"
#include "server/engine/job_record.h"
#include "server/engine/session.h"

namespace dbops::server {

// How the work on a slice ended when no error ended it.
enum class SliceEnd {
  slice_done, // nothing left for this slice; others still work
  job_done,   // nothing left at all
  stopped,    // the job is not to run any more (paused, cancelled), its state says so
  leave,      // this process must leave the database; the job goes on elsewhere or later
  window,     // the job's time windows are closed; it goes on when one opens
  give_way,   // a scheduled command needs the slot; the job goes on when one is free
};

// What runs a slice of a kind of job. Raises when the job fails.
using SliceBody = SliceEnd (*)(Session& session, const Job& job, int slice);

// The body of a kind; null for a kind that this library does not know.
SliceBody slice_body(const std::string& kind);

// Takes the slice, works on it, records the end. False: the process had better not go on (interrupted from outside,
// extension gone or upgraded). Raises nothing but what makes the process useless.
bool run_assignment(Session& session, const Assignment& assignment);

// CALL dbops.run(): works on a queued job in this session until it has ended, and raises its error.
void run_in_session(Session& session, std::int64_t job);

// Raises 25001 unless the procedure was called outside of a transaction block. `what` is its name, with ().
void require_top_level(FunctionCallInfo fcinfo, const char* what);

// A worker that has been asked to leave its database (DROP DATABASE and the like).
bool asked_to_leave();

} // namespace dbops::server
