// The life of a run: claimed when it is due, worked on, ended; and what the engine asks about schedules.
#pragma once

#include "server/engine/session.h"
#include "server/schedule/command.h"
#include "server/schedule/record.h"

namespace dbops::server::schedule {

// Takes the next run that is due for that role and records it as begun. In a transaction.
std::optional<Record> claim_due(Oid owner);

enum class Outcome { succeeded, failed, stopped, left, lost };

// Records how a run ended, and what comes next: another attempt, the next slot, schedules that follow. In a
// transaction. When the schedule is due next; DT_NOEND: no time is known.
TimestampTz end_run(std::int64_t job, std::int64_t run, Outcome outcome, CommandResult result);

// Works on what is due for that role until nothing is, holding a slot of shared memory.
void work(Session& session, Oid owner, int slot);

// --- for the dispatcher and for steering, in a transaction
// --------------------------------------------------------------

struct DueSchedule {
  std::int64_t job;
  Oid owner;
  int priority;
  TimestampTz since;
  std::string role; // empty: it was dropped
  bool can_login;
  bool may_connect;
  std::int64_t launches;
};
// Best first; those left out are being started already (an array literal of "job:slice").
std::vector<DueSchedule> due_schedules(int limit, const std::string& left_out);
// When the next one will be due, of those that were not at `looked_at`; DT_NOEND: none.
TimestampTz next_due(TimestampTz looked_at);
// Runs whose process is gone; schedules that a clock set back has left behind; runs to be cancelled for the next one.
// False: somebody has one of them locked, who may leave it as it is without a word.
bool settle(const std::string& in_slots);
// Keeps the newest runs of each schedule, dbops.run_history of them, and none older than dbops.history_retention.
void prune_runs();
// Workers sent since one last took the schedule; the next one waits longer each time. False: somebody has the row
// locked.
bool count_launch(std::int64_t job);
void forget_launches(std::int64_t job);
// Before the job of a schedule is locked, which comes second everywhere: until the transaction ends no run of it begins
// or ends, and no process that works on one goes on to another schedule's. Nothing for other jobs.
void hold_still(std::int64_t job);
// A person has changed the state of the job: what is due now?
void steered(std::int64_t job, core::JobState state);
// As dbops.unschedule(), whoever asks: for what dbops has scheduled itself, once the caller may have it removed.
void remove_schedule(std::int64_t job);
// Ends a schedule whose command has nothing to do any more: its job is cancelled, and says why. Called by the command
// itself as well, whose run goes on to its own end. False: it has ended already, or was removed.
bool end_schedule(std::int64_t job, const std::string& why);

} // namespace dbops::server::schedule
