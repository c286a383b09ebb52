#include "server/schedule/runs.h"

#include <algorithm>
#include <random>

#include "core/job/error_class.h"
#include "server/engine/shared.h"
#include "server/engine/wake.h"
#include "server/guc.h"

namespace dbops::server::schedule {

namespace {

using core::JobAction;
using core::Overlap;

constexpr std::int64_t microseconds_a_second = 1'000'000;
constexpr int prune_every = 100; // runs of a schedule

double random_share() {
  static std::minstd_rand& generator = *new std::minstd_rand(static_cast<std::uint32_t>(MyProcPid));
  return std::uniform_real_distribution<double>(0, 1)(generator);
}

// Decides what of a due schedule is run now; counts what is passed over. Nothing: not now.
struct Choice {
  TimestampTz slot;
  std::string why;
};

struct PassedOver {
  std::int64_t missed = 0;
  std::int64_t skipped = 0;
};

std::optional<Choice> choose(Record& record, const Timing& timing, TimestampTz now, PassedOver& passed) {
  const bool closed = timing.in_window(now) > now;
  const auto take_pending = [&record] {
    Choice choice{record.pending->slot, record.pending->why};
    record.pending.reset();
    return choice;
  };
  if (record.pending && record.pending->why == "now" && record.pending->at <= now) return take_pending();
  if (closed) return std::nullopt;
  // What waited for its turn goes before the slots. A retry does not outlive the next slot; nor does what waited for a
  // window, as all that does is run once.
  const bool pending = record.pending && due_of(*record.pending, timing) <= now;
  const bool for_window =
      pending && record.pending->why == "queued" && timing.in_window(record.pending->at) > record.pending->at;
  if (pending && record.pending->why != "retry" && !for_window) return take_pending();
  if (record.spec.schedule.empty()) return pending ? std::optional(take_pending()) : std::nullopt;
  std::int64_t jitter = 0;
  bool by_window = false; // it is late because a window was waited for: once, whatever was wished for other cases
  if (record.next_slot) {
    const core::sys_seconds next = to_instant(*record.next_slot);
    jitter = timing.jitter_of(next);
    by_window = timing.in_window(timing.due_at(next)) > timing.due_at(next);
  }
  const core::Missed policy = by_window ? core::Missed::once : record.spec.missed;
  const core::sys_seconds accounted = to_instant(record.accounted);
  core::sys_seconds until = to_instant(now - jitter);
  // Jitter that puts the next time off beyond what has been accounted for (while a retry of that waits) is no clock
  // that was set back.
  if (accounted <= to_instant(now)) until = std::max(until, accounted);
  const core::Decision due = timing.planner().due(accounted, until, policy, record.spec.max_missed);
  record.accounted = to_timestamp(due.accounted);
  (by_window ? passed.skipped : passed.missed) = due.passed_over;
  if (!due.run) return pending ? std::optional(take_pending()) : std::nullopt;
  if (for_window) ++passed.skipped;
  record.pending.reset();
  record.attempt = 1;
  return Choice{to_timestamp(*due.run), "slot"};
}

// False: this slot and attempt is in the history already, as when the clock was set back.
bool insert_run(Record& record, const Choice& choice, const PassedOver& passed) {
  static const std::string& begin = *new std::string(
      "WITH run AS (INSERT INTO dbops.job_run (job_id, slice, mode, pid, scheduled_at, attempt, started_at)"
      " VALUES ($1::bigint, 0, 'worker', $2::integer, " +
      from_micros("$3") + ", $4::integer, " + from_micros("$12") +
      ") ON CONFLICT (job_id, scheduled_at, attempt) WHERE scheduled_at IS NOT NULL DO NOTHING RETURNING run_id)"
      " UPDATE dbops.schedule SET running = true, run_id = (SELECT run_id FROM run), run_why = $5, slot = " +
      from_micros("$3") + ", began_at = " + from_micros("$12") +
      ", attempt = $4::integer, accounted = " + from_micros("$6") + ", next_slot = " + from_micros("$7") +
      ", pending_slot = " + from_micros("$8") + ", pending_at = " + from_micros("$9") +
      ", pending_why = $10, missed = missed + $11::bigint,"
      " skipped = skipped + $13::bigint, stop_for_next = false, launches = 0, not_before = NULL WHERE job_id = "
      "$1::bigint AND EXISTS (SELECT FROM run) RETURNING run_id");
  const std::optional<Pending>& pending = record.pending;
  record.began = GetCurrentTimestamp();
  const Rows run = bookkeep(
      begin, {to_text(record.job), to_text(MyProcPid), to_value(choice.slot), to_text(record.attempt), choice.why,
              to_value(record.accounted), to_value(record.next_slot), pending ? to_value(pending->slot) : std::nullopt,
              pending ? to_value(pending->at) : std::nullopt, pending ? Value(pending->why) : std::nullopt,
              to_text(passed.missed), to_value(record.began), to_text(passed.skipped)});
  if (!run.empty()) record.run = run.integer(0, 0);
  return !run.empty();
}

void begin_run(Record& record, Choice choice, const PassedOver& passed, const Timing& timing) {
  plan_next(record, timing);
  if (!insert_run(record, choice, passed)) {
    choice.slot = record.began; // which no run had before: it is due, whatever the history says of its time
    if (!insert_run(record, choice, passed))
      throw SqlError(ERRCODE_UNIQUE_VIOLATION, "a run that began at the same microsecond is recorded already");
  }
  record.slot = choice.slot;
  record.why = choice.why;
  record.running = true;
}

// --- the end of a run
// -------------------------------------------------------------------------------------------------

const char* name_of(Outcome outcome) {
  switch (outcome) {
  case Outcome::succeeded:
    return "finished";
  case Outcome::failed:
    return "failed";
  case Outcome::lost:
    return "lost";
  default:
    return "stopped";
  }
}

std::string why_stopped(const std::optional<Record>& record) {
  if (!record) return "cancelled: the schedule was removed";
  if (record->state != "queued") return "cancelled: the schedule is " + record->state;
  return record->stop_for_next ? "cancelled: the next run is due" : "cancelled by a user";
}

void record_run(std::int64_t run, Outcome outcome, const CommandResult& result) {
  Value sqlstate;
  Value message;
  if (result.error) {
    sqlstate = result.error->sqlstate();
    message = result.error->message + (result.error->detail.empty() ? "" : " (" + result.error->detail + ")");
  }
  const auto text = [](const std::string& captured) { return captured.empty() ? Value() : Value(captured); };
  bookkeep("UPDATE dbops.job_run SET outcome = $2, finished_at = clock_timestamp(), rows_done = $3::bigint, sqlstate = "
           "$4, message = $5,"
           " output = $6, notices = $7 WHERE run_id = $1::bigint",
           {to_text(run), name_of(outcome), to_text(result.rows), sqlstate, message, text(result.output),
            text(result.notices)});
}

// Slots that came during the run, and the one that a policy keeps of them.
std::int64_t after_overlap(Record& record, const Timing& timing, TimestampTz now) {
  if (record.spec.schedule.empty()) return 0;
  const core::Decision decision = timing.planner().after_run(to_instant(record.accounted), to_instant(record.began),
                                                             to_instant(now), record.spec.overlap);
  record.accounted = to_timestamp(decision.accounted);
  if (decision.run && !record.pending) record.pending = Pending{to_timestamp(*decision.run), now, "queued"};
  return decision.passed_over;
}

// Schedules that run after this one.
void start_followers(std::int64_t job) {
  // Locked by a statement of their own: after a wait the next one sees the state of their jobs as it is then.
  if (bookkeep("SELECT s.job_id FROM dbops.schedule s WHERE s.after_job = $1::bigint ORDER BY s.job_id FOR NO KEY "
               "UPDATE OF s",
               {to_text(job)})
          .empty())
    return;
  const Rows started =
      bookkeep("UPDATE dbops.schedule s SET pending_slot = clock_timestamp(), pending_at = clock_timestamp(), "
               "pending_why = 'after',"
               " due_at = clock_timestamp(), attempt = 1 FROM dbops.job j"
               " WHERE s.after_job = $1::bigint AND j.job_id = s.job_id AND j.state = 'queued' RETURNING 1",
               {to_text(job)});
  if (started.empty()) return;
  announce_at_commit();
  // Of what a crash takes back, nobody would know afterwards that the others are to run. Whatever was said before.
  call_pg([] {
    set_config_option("synchronous_commit", "local", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
  });
}

// A schedule that will never fire again is over: its job ends as its last run did.
void end_job(const Record& record, bool well, const CommandResult& result) {
  Job job = read_job(record.job, true);
  if (job.state != core::JobState::queued) return;
  change_state(job, JobAction::start, "dbops", "its only run");
  if (!well && result.error) record_error(record.job, *result.error);
  change_state(job, well ? JobAction::finish : JobAction::fail, "dbops",
               well ? Value() : Value(result.error ? result.error->message : "lost"));
}

void prune_own_runs(std::int64_t job) {
  if (guc::run_history < 0) return;
  bookkeep(
      "DELETE FROM dbops.job_run WHERE job_id = $1::bigint AND outcome <> 'running' AND run_id <="
      " (SELECT run_id FROM dbops.job_run WHERE job_id = $1::bigint ORDER BY run_id DESC OFFSET $2::integer LIMIT 1)",
      {to_text(job), to_text(guc::run_history)});
}

void store_end(const Record& record, Outcome outcome, const CommandResult& result, std::int64_t skipped) {
  static const std::string& update = *new std::string(
      "UPDATE dbops.schedule SET running = false, run_id = NULL, stop_for_next = false, accounted = " +
      from_micros("$2") + ", next_slot = " + from_micros("$3") + ", due_at = " + from_micros("$4") +
      ", pending_slot = " + from_micros("$5") + ", pending_at = " + from_micros("$6") +
      ", pending_why = $7, attempt = $8::integer, skipped = skipped + $9::bigint, runs = runs + 1, failures = failures "
      "+ $10::integer,"
      " last_slot = slot, last_began = began_at, last_ended = clock_timestamp(), last_outcome = $11, last_error = $12"
      " WHERE job_id = $1::bigint RETURNING runs");
  const std::optional<Pending>& pending = record.pending;
  const bool failed = outcome == Outcome::failed || outcome == Outcome::lost;
  const Rows runs = bookkeep(
      update, {to_text(record.job), to_value(record.accounted), to_value(record.next_slot), to_value(record.due_at),
               pending ? to_value(pending->slot) : std::nullopt, pending ? to_value(pending->at) : std::nullopt,
               pending ? Value(pending->why) : std::nullopt, to_text(record.attempt), to_text(skipped),
               to_text(failed ? 1 : 0), name_of(outcome), result.error ? Value(result.error->message) : std::nullopt});
  if (runs.integer(0, 0) % prune_every == 0) prune_own_runs(record.job);
}

// Does a process work on the run of this schedule? The caller has locked its row, so the run cannot end meanwhile. The
// process has the lock of the slice from its claim until the command has given back all locks, and its slot bears the
// schedule's number from before that until the end is recorded: asked in this order, one of the two is there.
bool is_worked_on(std::int64_t job) {
  if (!workers_of(job).empty()) return true;
  if (shared() == nullptr) return false;
  const SharedLock lock;
  return std::any_of(std::begin(shared()->slots), std::end(shared()->slots), [job](const Slot& slot) {
    return slot.state != Slot::State::free && slot.database == MyDatabaseId && slot.job == job && slot.slice == any_due;
  });
}

// The first in the order of schedule_due_idx, read there: the planner, which knows nothing of how many are due, would
// rather read all of them and sort, once for each that is run.
std::vector<std::int64_t> lock_first_due(Oid owner, TimestampTz now) {
  static const std::string& condition = *new std::string(
      "s.owner_oid = $1::oid AND s.due_at <= " + from_micros("$2") +
      " AND NOT s.running AND j.state = 'queued' ORDER BY s.priority DESC, s.due_at, s.job_id LIMIT 1");
  static const Settings& by_index =
      *new Settings{{"enable_sort", "off"},       {"enable_incremental_sort", "off"}, {"enable_seqscan", "off"},
                    {"enable_bitmapscan", "off"}, {"enable_hashjoin", "off"},         {"enable_mergejoin", "off"}};
  const int nest_level = enter_settings(by_index);
  std::vector<std::int64_t> found = lock_unclaimed(condition, {to_text(owner), to_value(now)});
  leave_settings(nest_level);
  return found;
}

// What the planning leaves due at a moment at which nothing was chosen would be found again at once, for ever.
void postpone(Record& record, const Timing& timing, TimestampTz accounted_before, TimestampTz now) {
  if (!record.due_at) return;
  if (const TimestampTz opens = timing.in_window(now); opens > now) {
    // What is pending may have been due in a window that has closed since; only a person's word waits for none.
    const bool by_word = record.pending && record.pending->why == "now";
    record.due_at = std::max(*record.due_at, by_word ? std::min(opens, record.pending->at) : opens);
  }
  if (*record.due_at <= now && record.accounted == accounted_before) record.due_at = now + microseconds_a_second;
}

// looked_at: it was seen to be due then. Nothing: it is not to be run now, and planned for when it is.
std::optional<Record> begin_if_due(std::int64_t job, TimestampTz looked_at, bool& leave) {
  std::optional<Record> found = lock_record(job);
  if (!found || found->state != "queued" || found->running || !found->due_at || *found->due_at > looked_at)
    return std::nullopt; // the search has seen an older state of the job
  Record& record = *found;
  const Timing timing(record.spec, record.job, record.anchor);
  const TimestampTz accounted_before = record.accounted;
  PassedOver passed;
  const auto choice = choose(record, timing, looked_at, passed);
  if (!choice) {
    plan_next(record, timing);
    postpone(record, timing, accounted_before, looked_at);
    store_plan(record, passed.missed, passed.skipped);
    if (record.launches > 0) forget_launches(job); // its worker has come, and had nothing to do
    if (!record.due_at && record.spec.after.empty()) {
      Job over = read_job(job, true);
      change_state(over, JobAction::cancel, "dbops", "its only time was missed");
    }
    return std::nullopt;
  }
  leave = !SliceLock::acquire(job, run_slice, 0); // its last worker is about to go
  if (leave) return std::nullopt;
  begin_run(record, *choice, passed, timing);
  return found;
}

// A schedule that cannot be planned or begun fails alone: the others of its role, or of the database, go on.
void fail_schedule(std::int64_t id, const SqlError& error) {
  Job job = read_job(id, true);
  if (job.state != core::JobState::queued) return;
  record_error(id, error);
  change_state(job, JobAction::fail, "dbops", error.message);
  bookkeep("UPDATE dbops.schedule SET due_at = NULL, pending_slot = NULL, pending_at = NULL, pending_why = NULL,"
           " launches = 0, not_before = NULL WHERE job_id = $1::bigint",
           {to_text(id)});
}

// Says nothing of the schedule: a cancel, a deadlock, a lock that is held too long, a full disk, a server that stops.
bool is_passing(const SqlError& error) {
  const core::ErrorClass is = core::classify(error.sqlstate());
  return is == core::ErrorClass::contention || is == core::ErrorClass::resource || is == core::ErrorClass::interrupted;
}

template <typename F>
auto alone(std::int64_t job, F&& work) -> std::invoke_result_t<F&> {
  try {
    return in_savepoint(work);
  } catch (const SqlError& error) {
    if (SliceLock::held(job, run_slice)) SliceLock::release(job, run_slice); // no rollback gives it back
    if (is_passing(error)) throw;
    fail_schedule(job, error);
    return {};
  }
}

} // namespace

std::optional<Record> claim_due(Oid owner) {
  for (;;) {
    const TimestampTz now = GetCurrentTimestamp();
    const std::vector<std::int64_t> found = lock_first_due(owner, now);
    if (found.empty()) return std::nullopt;
    bool leave = false;
    std::optional<Record> begun = alone(found.front(), [&] { return begin_if_due(found.front(), now, leave); });
    if (begun || leave) return begun;
  }
}

TimestampTz end_run(std::int64_t job, std::int64_t run, Outcome outcome, CommandResult result) {
  std::optional<Record> found = lock_record(job);
  if (outcome == Outcome::stopped && result.error) result.error->message = why_stopped(found);
  record_run(run, outcome, result);
  if (!found || !found->running || found->run != run) return DT_NOEND; // unscheduled meanwhile
  Record& record = *found;
  const TimestampTz now = GetCurrentTimestamp();
  const Timing timing(record.spec, job, record.anchor);
  std::int64_t skipped = 0;
  const bool queued = record.state == "queued";
  const bool retry = (outcome == Outcome::failed || outcome == Outcome::lost) && record.attempt <= record.spec.retries;
  if (!queued) {
    record.pending.reset();
    record.attempt = 1;
  } else if (outcome == Outcome::left && !record.pending) {
    record.pending = Pending{record.slot, now, record.why == "slot" ? "queued" : record.why};
    ++record.attempt;
  } else {
    // Nobody knows how long a lost run went on: what it would have made skip was missed.
    if (outcome != Outcome::lost || record.spec.overlap != core::Overlap::skip)
      skipped = after_overlap(record, timing, now);
    if (retry && !record.pending) {
      const auto delay =
          core::retry_delay(std::chrono::duration<double>(record.spec.retry_delay), record.attempt, random_share());
      record.pending =
          Pending{record.slot, now + static_cast<std::int64_t>(delay.count() * microseconds_a_second), "retry"};
      ++record.attempt;
    } else
      record.attempt = 1;
  }
  plan_next(record, timing);
  if (!queued) record.due_at.reset();
  store_end(record, outcome, result, skipped);
  if (outcome == Outcome::succeeded) start_followers(job);
  if (queued && !record.due_at && record.spec.after.empty()) end_job(record, outcome == Outcome::succeeded, result);
  if (record.due_at && *record.due_at <= now) announce_at_commit();
  return record.due_at.value_or(DT_NOEND);
}

std::vector<DueSchedule> due_schedules(int limit, const std::string& left_out) {
  const Rows rows = bookkeep("SELECT s.job_id, s.owner_oid, s.priority, " + micros("s.due_at") +
                                 ", r.rolname, r.rolcanlogin,"
                                 " CASE WHEN r.oid IS NOT NULL THEN has_database_privilege(r.oid, current_database(), "
                                 "'CONNECT') END, s.launches"
                                 " FROM dbops.schedule s JOIN dbops.job j USING (job_id) LEFT JOIN pg_catalog.pg_roles "
                                 "r ON r.oid = s.owner_oid"
                                 " WHERE s.due_at <= clock_timestamp() AND NOT s.running AND j.state = 'queued'"
                                 " AND (s.not_before IS NULL OR s.not_before <= clock_timestamp())"
                                 " AND (s.job_id || ':-1') <> ALL ($1::text[])"
                                 " ORDER BY s.priority DESC, s.due_at, s.job_id LIMIT $2::bigint",
                             {left_out, to_text(limit)});
  std::vector<DueSchedule> due;
  for (std::size_t i = 0; i < rows.size(); ++i)
    due.push_back({rows.integer(i, 0), static_cast<Oid>(rows.integer(i, 1)), static_cast<int>(rows.integer(i, 2)),
                   rows.integer(i, 3), rows.text(i, 4), rows.boolean(i, 5), rows.boolean(i, 6), rows.integer(i, 7)});
  return due;
}

TimestampTz next_due(TimestampTz looked_at) {
  const Rows next = bookkeep(
      "SELECT " + micros("min(due)") +
          " FROM (SELECT CASE WHEN NOT running THEN greatest(due_at, not_before) WHEN overlap = 'cancel' AND NOT "
          "stop_for_next THEN greatest(next_slot, due_at) END AS due"
          " FROM dbops.schedule) s WHERE due > " +
          from_micros("$1"),
      {to_value(looked_at)});
  return next.is_null(0, 0) ? DT_NOEND : next.integer(0, 0);
}

namespace {

// True: the schedule was changed.
bool settle_lost(std::int64_t job) {
  const std::optional<Record> record = lock_record(job);
  // What the search knew is older than the lock of the row.
  if (!record || !record->running || is_worked_on(job)) return false;
  CommandResult result;
  result.error = SqlError(ERRCODE_CRASH_SHUTDOWN, "the process ended without a report");
  end_run(job, record->run, Outcome::lost, result);
  return true;
}

bool settle_clock(std::int64_t job) {
  std::optional<Record> found = lock_record(job);
  const TimestampTz now = GetCurrentTimestamp();
  if (!found || found->running || found->state != "queued" || found->accounted <= now + microseconds_a_second)
    return false;
  Record& record = *found;
  const Timing timing(record.spec, job, record.anchor);
  record.accounted = to_timestamp(
      timing.planner().due(to_instant(record.accounted), to_instant(now), record.spec.missed, 1).accounted);
  plan_next(record, timing);
  store_plan(record, 0, 0);
  return true;
}

// Not for a successor that has to wait for its window.
bool settle_overlap(std::int64_t job) {
  const std::optional<Record> record = lock_record(job);
  const TimestampTz now = GetCurrentTimestamp();
  if (!record || !record->running || record->spec.overlap != Overlap::cancel || record->stop_for_next ||
      !record->next_slot || *record->next_slot > now)
    return false;
  if (const TimestampTz opens = Timing(record->spec, job, record->anchor).in_window(now); opens > now) {
    if (record->due_at != opens) // for next_due; the end of the run plans anew
      bookkeep("UPDATE dbops.schedule SET due_at = " + from_micros("$2") + " WHERE job_id = $1::bigint",
               {to_text(job), to_value(opens)});
    return false;
  }
  bookkeep("UPDATE dbops.schedule SET stop_for_next = true WHERE job_id = $1::bigint", {to_text(job)});
  for (const int pid : workers_of(job))
    interrupt_at_commit(pid, job);
  return true;
}

} // namespace

bool settle(const std::string& in_slots) {
  bool all = true;
  const auto each = [&all](const std::string& condition, const std::vector<Value>& parameters, auto&& settle_one) {
    const std::vector<std::int64_t> jobs = lock_unclaimed(condition, parameters);
    all = all && jobs.size() == count_schedules(condition, parameters);
    for (const std::int64_t job : jobs)
      alone(job, [&settle_one, job] { return settle_one(job); });
  };
  each(std::string("s.running AND (s.job_id || ':-1') <> ALL ($1::text[]) AND NOT EXISTS (SELECT FROM ") +
           held_slices_sql + " h WHERE h.job_id = s.job_id)",
       {in_slots}, settle_lost);
  each("NOT s.running AND j.state = 'queued' AND s.accounted > clock_timestamp() + interval '1 second'", {},
       settle_clock);
  each("s.running AND s.overlap = 'cancel' AND NOT s.stop_for_next AND s.next_slot <= clock_timestamp()", {},
       settle_overlap);
  return all;
}

bool count_launch(std::int64_t job) {
  return !bookkeep("UPDATE dbops.schedule SET launches = launches + 1, not_before = clock_timestamp()"
                   " + ('{1,5,30,120,300}'::integer[])[least(launches + 1, 5)] * interval '1 second' WHERE job_id ="
                   " (SELECT job_id FROM dbops.schedule WHERE job_id = $1::bigint FOR NO KEY UPDATE SKIP LOCKED) "
                   "RETURNING 1",
                   {to_text(job)})
              .empty();
}

void forget_launches(std::int64_t job) {
  bookkeep("UPDATE dbops.schedule SET launches = 0, not_before = NULL WHERE job_id = $1::bigint", {to_text(job)});
}

void prune_runs() {
  if (guc::history_retention_days < 0) return;
  bookkeep("DELETE FROM dbops.job_run WHERE run_id IN (SELECT r.run_id FROM dbops.job_run r JOIN dbops.schedule s "
           "USING (job_id)"
           " WHERE r.outcome <> 'running' AND r.finished_at < clock_timestamp() - $1::integer * interval '1 day' LIMIT "
           "10000)",
           {to_text(guc::history_retention_days)});
}

void hold_still(std::int64_t job) {
  bookkeep("SELECT 1 FROM dbops.schedule WHERE job_id = $1::bigint FOR NO KEY UPDATE", {to_text(job)});
}

void steered(std::int64_t job, core::JobState state) {
  std::optional<Record> record = lock_record(job);
  if (!record) {
    if (state != core::JobState::queued) return;
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "the schedule of job " + to_text(job) + " was removed",
                   "Make it again with dbops.schedule().");
  }
  forget_launches(job);
  const TimestampTz now = GetCurrentTimestamp();
  start_counting(*record, now);
  if (state == core::JobState::queued && !record->due_at &&
      record->spec.after.empty()) { // its only moment is over: once more, now
    record->pending = Pending{now, now, "now"};
    record->due_at = now;
  }
  if (state != core::JobState::queued) record->due_at.reset();
  store_plan(*record, 0, 0);
}

bool end_schedule(std::int64_t job, const std::string& why) {
  std::optional<Record> record = lock_record(job);
  if (!record || (record->state != "queued" && record->state != "paused")) return false;
  Job ended = read_job(job, true);
  change_state(ended, JobAction::cancel, "dbops", why);
  record->pending.reset();
  record->due_at.reset();
  store_plan(*record, 0, 0);
  return true;
}

} // namespace dbops::server::schedule
