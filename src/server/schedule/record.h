// dbops.schedule and what belongs to it. Every function needs a transaction with SPI connected.
#pragma once

#include "server/engine/job_record.h"
#include "server/schedule/spec.h"

namespace dbops::server::schedule {

// dbops.job_run.slice of a run; and the slice of an assignment that means: whatever of this role's schedules is due.
inline constexpr int run_slice = 0;
inline constexpr int any_due = -1;

// A run that is owed besides the slots: asked for by run_now, a retry, after another schedule, or queued behind the run
// before.
struct Pending {
  TimestampTz slot = 0;
  TimestampTz at = 0; // not before
  std::string why;    // now, retry, after, queued
};

// A row of dbops.schedule, locked.
struct Record {
  std::int64_t job = 0;
  std::string name;
  Oid owner = InvalidOid;
  std::string state; // of the job
  Spec spec;
  TimestampTz anchor = 0;
  TimestampTz accounted = 0;
  std::optional<TimestampTz> next_slot;
  std::optional<TimestampTz> due_at;
  std::optional<Pending> pending;
  int attempt = 1; // of the run under way, or of the one that is pending
  bool running = false;
  std::int64_t run = 0;
  std::string why;      // of the run under way: slot, or as in Pending
  TimestampTz slot = 0; // of the run under way
  TimestampTz began = 0;
  bool stop_for_next = false; // the run under way has been cancelled for the next one
  std::int64_t launches = 0;
};

std::optional<Record> lock_record(std::int64_t job);
std::optional<Record> lock_record_by_name(const std::string& name);
// Locks those that meet a condition on s (dbops.schedule) and j (dbops.job) and that nobody else has locked. Whether
// they still meet it, lock_record tells: j may be older than the lock.
std::vector<std::int64_t> lock_unclaimed(const std::string& condition, const std::vector<Value>& parameters);
// Those that meet it, whoever has them locked.
std::size_t count_schedules(const std::string& condition, const std::vector<Value>& parameters);

// Writes what the planning has changed: accounted, next_slot, pending, attempt, due_at.
void store_plan(const Record& record, std::int64_t missed, std::int64_t skipped);

// When it may begin: only a person's word (now) goes beyond the windows.
TimestampTz due_of(const Pending& pending, const Timing& timing);
// Sets next_slot and due_at from `accounted` and `pending`; a schedule that follows another has neither of its own.
void plan_next(Record& record, const Timing& timing);
// Begins to count slots at this moment: a new schedule, one that was resumed or changed.
void start_counting(Record& record, TimestampTz now);

// As microseconds since 2000, exactly, for reading; and back, for writing.
std::string micros(const std::string& column);
std::string from_micros(const std::string& parameter);
Value to_value(const std::optional<TimestampTz>& time);

} // namespace dbops::server::schedule
