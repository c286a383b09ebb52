#include "server/engine/dispatch.h"

#include <algorithm>
#include <array>
#include <csignal>

#include "server/compat.h"
#include "server/engine/job_record.h"
#include "server/engine/processes.h"
#include "server/engine/shared.h"
#include "server/guc.h"
#include "server/lifecycle/retention_rule.h"
#include "server/schedule/runs.h"

namespace dbops::server {

namespace {

// Seconds before the next try after the n-th loss in a row without progress, or after the n-th worker that ended before
// it could begin; one more fails the job. A job that kills the server each time must leave time to pause it.
constexpr std::array<int, 5> loss_backoff{1, 5, 30, 120, 300};
constexpr int max_launches = 5;
constexpr const char* backoff_array = "'{1,5,30,120,300}'::integer[]"; // the same for SQL

struct Candidate {
  Assignment assignment;
  Oid owner;
  int priority;
};

struct Reservation {
  Assignment assignment;
  SlotClaim slot;
};

// Of a job j that changes rows and is from before the server was restored, and about which nobody has said anything
// since.
constexpr const char* brought_by_restore =
    "(j.kind IN ('backfill', 'batch_delete') AND coalesce((j.spec ->> 'rule')::bigint, 0) = 0"
    " AND j.created_at < pg_catalog.pg_postmaster_start_time()"
    " AND NOT EXISTS (SELECT FROM dbops.job_event e WHERE e.job_id = j.job_id"
    " AND e.at >= pg_catalog.pg_postmaster_start_time()"
    " AND (e.action IN ('resume', 'retry') OR (e.action = 'pause' AND e.actor = 'dbops'))))";

// Under the lock.
bool in_slot(const Assignment& wanted) {
  for (const Slot& slot : shared()->slots)
    if (slot.state != Slot::State::free && slot.database == MyDatabaseId && slot.job == wanted.job &&
        slot.slice == wanted.slice)
      return true;
  return false;
}

// Slots in use by this database's jobs, and what is to be left out besides, as an array literal of "job:slice" for the
// query.
std::string slots_in_use(const std::vector<Assignment>& besides = {}) {
  std::string list = "{";
  const auto add = [&list](std::int64_t job, int slice) {
    list += (list.size() > 1 ? "," : "") + std::to_string(job) + ":" + std::to_string(slice);
  };
  for (const Assignment& one : besides)
    add(one.job, one.slice);
  SharedLock lock;
  for (const Slot& slot : shared()->slots)
    if (slot.state != Slot::State::free && slot.database == MyDatabaseId) add(slot.job, slot.slice);
  return list + "}";
}

// Under the lock.
int slots_left() {
  int used = 0;
  for (const Slot& slot : shared()->slots)
    used += slot.state != Slot::State::free ? 1 : 0;
  return std::max(0, guc::max_workers - used);
}

// A look at what is due. A database may be looked at by its dispatcher and by workers that are out of work at once.
struct Look {
  TimestampTz at = GetCurrentTimestamp();
  std::int64_t began = 0; // by Shared::looks
  std::int64_t over = 0;  // as DatabaseEntry::over
  int free_slots = 0;
};

Look begin_look() {
  Look look;
  SharedLock lock;
  look.began = ++shared()->looks;
  look.free_slots = slots_left();
  if (const DatabaseEntry* entry = find_database(MyDatabaseId, false)) look.over = entry->over;
  return look;
}

// What cannot be started at all fails at once, with the reason; what did not come up after some tries as well.
Value obstacle(Oid owner, const std::string& name, bool can_login, bool may_connect, std::int64_t launches,
               std::string& hint) {
  if (name.empty()) {
    hint = "Create the job again as another role.";
    return "role with OID " + to_text(owner) + ", the owner of the job, was dropped";
  }
  if (!can_login && !compat::nologin_workers) {
    hint = "ALTER ROLE " + quote_name(name) + " LOGIN, then SELECT dbops.retry(); or CALL dbops.run() in a session.";
    return "role \"" + name + "\" is not permitted to log in, which a background worker needs before PostgreSQL 17";
  }
  if (!may_connect) {
    hint = "GRANT CONNECT ON DATABASE to it, then SELECT dbops.retry().";
    return "role \"" + name + "\" may not connect to the database";
  }
  if (launches >= max_launches) {
    hint = "The server log has the reason; SELECT dbops.retry() tries again.";
    return "its worker ended before it could begin, " + to_text(launches) + " times in a row";
  }
  return std::nullopt;
}

void fail_unstartable(std::int64_t id, const std::string& message, const std::string& hint) {
  Job job = read_job(id, true);
  if (core::is_terminal(job.state) || job.state == core::JobState::paused) return;
  record_error(id, SqlError(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION, message, hint));
  change_state(job, core::JobAction::fail, "dbops", message);
  if (job.kind == "schedule") schedule::steered(id, job.state);
}

// A job that others work on goes on without the slice for which no worker comes up. What was begun of it they take
// over; not who has ended its own slice already, and holds the lock of it still.
bool give_up_slice(std::int64_t id, int slice, const std::string& message) {
  const Job job = read_job(id, true);
  if (job.state != core::JobState::running) return false;
  const Rows others = bookkeep(std::string("SELECT 1 FROM dbops.job_slice s JOIN ") + held_slices_sql +
                                   " h USING (job_id, slice) WHERE s.job_id = $1::bigint AND NOT s.done LIMIT 1",
                               {to_text(id)});
  if (others.empty()) return false;
  bookkeep("UPDATE dbops.job_slice SET done = true, launches = 0, not_before = NULL WHERE job_id = $1::bigint AND "
           "slice = $2::integer",
           {to_text(id), to_text(slice)});
  bookkeep("INSERT INTO dbops.job_event (job_id, actor, action, from_state, to_state, reason)"
           " VALUES ($1::bigint, 'dbops', 'slice', 'running', 'running', $2)",
           {to_text(id), "goes on without slice " + to_text(slice) + ": " + message});
  return true;
}

// The work of a session that has ended, and of no worker: whoever asks again makes another job.
void end_without_session(std::int64_t id) {
  Job job = read_job(id, true);
  if (core::is_terminal(job.state) || job.state == core::JobState::paused || !workers_of(id).empty()) return;
  change_state(job, core::JobAction::cancel, "dbops", "its session has ended");
}

// What was due and could not be started at all: there may be others behind it.
struct Unstartable {
  int failed = 0;
  std::vector<Assignment> held; // somebody is steering these at the moment: for a later look, the others do not wait
};

// Due and not being worked on, best first: priority, then a first worker for every job before second ones, then age.
std::vector<Candidate> candidates(int limit, Unstartable& unstartable) {
  const Rows due = bookkeep(std::string("SELECT j.job_id, s.slice, j.owner_oid, r.rolname, r.rolcanlogin,"
                                        " CASE WHEN r.oid IS NOT NULL THEN has_database_privilege(r.oid, "
                                        "current_database(), 'CONNECT') END, s.launches, j.priority,"
                                        " coalesce((j.spec ->> 'session_only')::boolean, false)"
                                        " FROM dbops.job j JOIN dbops.job_slice s USING (job_id)"
                                        " LEFT JOIN pg_catalog.pg_roles r ON r.oid = j.owner_oid"
                                        " WHERE j.state IN ('queued', 'running') AND NOT s.done"
                                        " AND (j.not_before IS NULL OR j.not_before <= clock_timestamp())"
                                        " AND (s.not_before IS NULL OR s.not_before <= clock_timestamp())"
                                        " AND (j.state = 'running' OR s.slice = (SELECT min(f.slice) FROM "
                                        "dbops.job_slice f WHERE f.job_id = j.job_id AND NOT f.done))"
                                        " AND (j.job_id || ':' || s.slice) <> ALL ($1::text[])"
                                        " AND NOT EXISTS (SELECT FROM ") +
                                held_slices_sql + " h WHERE h.job_id = j.job_id AND h.slice = s.slice)" +
                                (was_restored() ? std::string(" AND NOT ") + brought_by_restore : "") +
                                " ORDER BY j.priority DESC, j.job_id, s.slice LIMIT $2::bigint",
                            {slots_in_use(unstartable.held), to_text(limit)});
  std::vector<Candidate> found;
  for (std::size_t i = 0; i < due.size(); ++i) {
    const auto owner = static_cast<Oid>(due.integer(i, 2));
    const std::int64_t job = due.integer(i, 0);
    const auto slice = static_cast<int>(due.integer(i, 1));
    std::string hint;
    const bool session_only = due.boolean(i, 8);
    const Value why = obstacle(owner, due.text(i, 3), due.boolean(i, 4), due.boolean(i, 5), due.integer(i, 6), hint);
    if (session_only || why) {
      if (bookkeep("SELECT 1 FROM dbops.job WHERE job_id = $1::bigint FOR NO KEY UPDATE SKIP LOCKED", {to_text(job)})
              .empty()) {
        unstartable.held.push_back({job, slice});
        continue;
      }
      if (session_only)
        end_without_session(job);
      else if (!give_up_slice(job, slice, *why))
        fail_unstartable(job, *why, hint);
      ++unstartable.failed;
    } else {
      found.push_back({{job, slice}, owner, static_cast<int>(due.integer(i, 7))});
    }
  }
  return found;
}

// Schedules that are due. Those that cannot be started at all fail at once.
std::vector<Candidate> due_commands(int limit, Unstartable& unstartable) {
  std::vector<Candidate> found;
  for (const schedule::DueSchedule& due : schedule::due_schedules(limit, slots_in_use(unstartable.held))) {
    std::string hint;
    if (Value why = obstacle(due.owner, due.role, due.can_login, due.may_connect, due.launches, hint)) {
      if (bookkeep("SELECT 1 FROM dbops.schedule s JOIN dbops.job j USING (job_id) WHERE s.job_id = $1::bigint"
                   " FOR NO KEY UPDATE SKIP LOCKED",
                   {to_text(due.job)})
              .empty()) {
        unstartable.held.push_back({due.job, schedule::any_due});
        continue;
      }
      fail_unstartable(due.job, *why, hint);
      ++unstartable.failed;
    } else
      found.push_back({{due.job, schedule::any_due}, due.owner, due.priority});
  }
  return found;
}

// Workers that wait look again: for the next run of their role, and leave when somebody else needs their place; for
// their job's turn, and give their slot back when a scheduled command needs it.
void wake_waiting_workers() {
  SharedLock lock;
  for (const Slot& slot : shared()->slots)
    if (slot.state == Slot::State::running && slot.pid > 0) kill(slot.pid, SIGUSR1);
}

// Gives the slot that a free worker holds to its next assignment; false when somebody else was faster.
bool relabel(int slot_number, const Assignment& next) {
  SharedLock lock;
  if (in_slot(next)) return false;
  Slot& slot = shared()->slots[slot_number];
  note_command_over(slot);
  slot.job = next.job;
  slot.slice = next.slice;
  slot.given_to = InvalidOid;
  return true;
}

// The launcher sleeps until what it knew of: sooner than that, it is woken.
void publish_due(TimestampTz due) {
  bool sooner = false;
  {
    SharedLock lock;
    if (DatabaseEntry* entry = find_database(MyDatabaseId, due != DT_NOEND)) {
      sooner = due < entry->due;
      entry->due = std::min(entry->due, due);
    } else if (due != DT_NOEND) {
      shared()->overflow = true;
    }
  }
  if (sooner) wake_launcher();
}

// found_no_slot: work waits for nothing else. commands: those among what waits that have a time to keep.
void publish_backlog(const Look& look, bool backlog, bool found_no_slot, const std::vector<Candidate>& commands) {
  bool look_again = false;
  {
    SharedLock lock;
    DatabaseEntry* entry = find_database(MyDatabaseId, true);
    if (entry == nullptr) {
      shared()->overflow = shared()->overflow || backlog;
      return;
    }
    // What another look has found since this one began may be what this one has not seen: it stands.
    const bool beside = entry->backlog && entry->said > look.began;
    if (backlog) entry->said = ++shared()->looks;
    entry->backlog = backlog || beside;
    entry->slot_missing = found_no_slot || (beside && entry->slot_missing);
    // A slot is asked for once. Since the commands were looked for, one may have been left for them, be free, run them
    // already, or have run them: asked for again, another worker would leave its own as well.
    const auto coming = std::count_if(std::begin(shared()->slots), std::end(shared()->slots), [](const Slot& slot) {
      return slot.state == Slot::State::running && slot.given_to == MyDatabaseId;
    });
    const auto without = std::count_if(commands.begin(), commands.end(),
                                       [](const Candidate& command) { return !in_slot(command.assignment); });
    const std::int64_t over = std::max<std::int64_t>(0, entry->over - look.over);
    const int wanted = static_cast<int>(std::max<std::int64_t>(0, without - coming - over - slots_left()));
    if (!beside || wanted > entry->commands) {
      entry->commands = wanted;
      entry->command_priority = commands.empty() ? 0 : commands.front().priority;
    }
    // A worker of another database that has ended meanwhile did not know that this one waits for its slot.
    look_again = (found_no_slot && slots_left() > 0) || (beside && !backlog);
    if (look_again) entry->scan = true;
  }
  if (look_again) wake_launcher();
}

// What falls due after the dispatcher has looked, and before it says so, counts as well.
TimestampTz next_due(TimestampTz looked_at) {
  // Microseconds from now, so that no text of a time stamp has to be parsed.
  const Rows next =
      bookkeep("SELECT (extract(epoch FROM least("
               " (SELECT min(not_before) FROM dbops.job WHERE state IN ('queued', 'running') AND not_before > looked_at"
               "   AND isfinite(not_before)),"
               " (SELECT min(s.not_before) FROM dbops.job_slice s JOIN dbops.job j USING (job_id)"
               "   WHERE j.state IN ('queued', 'running') AND NOT s.done AND s.not_before > looked_at"
               "   AND isfinite(s.not_before)))"
               " - clock_timestamp()) * 1000000)::bigint"
               " FROM (SELECT clock_timestamp() - $1::bigint * interval '1 microsecond' AS looked_at OFFSET 0) AS l",
               {to_text(GetCurrentTimestamp() - looked_at)});
  const TimestampTz jobs =
      next.is_null(0, 0) ? DT_NOEND : GetCurrentTimestamp() + std::max<std::int64_t>(next.integer(0, 0), 0);
  return std::min(jobs, schedule::next_due(looked_at));
}

// Durable before the process exists: one that takes the server with it must have been counted. The next one for this
// slice waits, unless this one reports for duty. False: somebody has the row in an open transaction, and the others do
// not wait for him; or the job has ended since, which a look that saw it run and then nobody at work takes for lost.
bool count_launch(const Assignment& started) {
  if (started.slice == schedule::any_due) return schedule::count_launch(started.job);
  return !bookkeep(std::string("UPDATE dbops.job_slice SET launches = launches + 1,"
                               " not_before = clock_timestamp() + (") +
                       backoff_array +
                       ")[least(launches + 1, 5)] * interval '1 second'"
                       " WHERE job_id = (SELECT s.job_id FROM dbops.job_slice s JOIN dbops.job j USING (job_id)"
                       " WHERE s.job_id = $1::bigint AND s.slice = $2::integer AND NOT s.done"
                       " AND j.state IN ('queued', 'running') FOR NO KEY UPDATE OF s SKIP LOCKED)"
                       " AND slice = $2::integer RETURNING 1",
                   {to_text(started.job), to_text(started.slice)})
              .empty();
}

void discount_launch(const Assignment& refused) {
  if (refused.slice == schedule::any_due) {
    schedule::forget_launches(refused.job);
    return;
  }
  bookkeep("UPDATE dbops.job_slice SET launches = launches - 1, not_before = NULL"
           " WHERE job_id = $1::bigint AND slice = $2::integer AND launches > 0",
           {to_text(refused.job), to_text(refused.slice)});
}

// What became of the slots that were reserved.
struct Started {
  std::vector<Assignment> refused; // there was no process for them
  bool held_up = false;            // somebody has the row of one in an open transaction
};

// Counts the launches; whom nobody can count now leaves its slot.
bool leave_what_is_held(Session& session, std::vector<Reservation>& reserved) {
  const std::vector<Reservation> uncounted = session.transaction([&] {
    call_pg([] {
      (void)set_config_option("synchronous_commit", "local", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0,
                              false);
    });
    lock_at_most("1s"); // a worker that asks would wait for ever, and the slots meanwhile be given to others
    std::vector<Reservation> held;
    for (const Reservation& one : reserved)
      if (!count_launch(one.assignment)) held.push_back(one);
    return held;
  });
  for (const Reservation& one : uncounted) {
    free_slot(one.slot);
    std::erase_if(reserved, [&one](const Reservation& other) { return other.slot.number == one.slot.number; });
  }
  return !uncounted.empty();
}

// Asks for the processes of slots that are reserved. What gets none leaves its slot, or, when the asking process is
// about to end, waits in it: the process that becomes free may be the only one.
Started start(Session& session, std::vector<Reservation> reserved, bool leaving) {
  Started result;
  std::size_t next = 0; // the first without a process
  try {
    result.held_up = leave_what_is_held(session, reserved);
    while (next < reserved.size() && start_reserved(reserved[next].slot))
      ++next;
  } catch (...) {
    for (; next < reserved.size(); ++next)
      free_slot(reserved[next].slot);
    throw;
  }
  for (; next < reserved.size(); ++next) {
    if (std::exchange(leaving, false)) {
      want_process(reserved[next].slot);
    } else {
      free_slot(reserved[next].slot);
      result.refused.push_back(reserved[next].assignment);
    }
  }
  return result;
}

// What happened to the job when its last worker vanished.
void requeue_lost(std::int64_t id, bool progressed) {
  Job job = read_job(id, true);
  // The row is locked now: whoever has taken a slice since has to wait for it.
  if (job.state != core::JobState::running || !workers_of(id).empty()) return;
  const Rows losses = bookkeep("UPDATE dbops.job SET losses = CASE WHEN $2::boolean THEN 0 ELSE losses + 1 END"
                               " WHERE job_id = $1::bigint RETURNING losses",
                               {to_text(id), progressed ? "true" : "false"});
  const std::int64_t count = losses.integer(0, 0);
  if (count > static_cast<std::int64_t>(loss_backoff.size())) {
    const std::string message = "its worker was lost " + to_text(count) + " times in a row without progress";
    record_error(id, SqlError(ERRCODE_CRASH_SHUTDOWN, message, "See the server log, then SELECT dbops.retry()."));
    change_state(job, core::JobAction::fail, "dbops", message);
    return;
  }
  change_state(job, core::JobAction::requeue, "dbops",
               "its worker ended without a report: killed, terminated or lost with the server");
  if (count > 0)
    bookkeep("UPDATE dbops.job SET not_before = clock_timestamp() + $2::integer * interval '1 second' WHERE job_id = "
             "$1::bigint",
             {to_text(id), to_text(loss_backoff.at(static_cast<std::size_t>(count - 1)))});
}

// What the server was doing when the backup was taken, or at the moment that it was restored to, may be what it was
// restored to be rid of. Jobs that change rows wait for somebody's word; those made since go on.
void hold_back_what_a_restore_brought() {
  // Who is steering one at the moment decides about it.
  const Rows jobs = bookkeep(std::string("SELECT j.job_id FROM dbops.job j WHERE j.state = 'queued' AND ") +
                             brought_by_restore + " ORDER BY j.job_id FOR NO KEY UPDATE OF j SKIP LOCKED");
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    Job job = read_job(jobs.integer(i, 0), true);
    change_state(job, core::JobAction::pause, "dbops",
                 "the server was restored from a backup: dbops.resume() if the job is to go on here");
  }
  if (!jobs.empty())
    call_pg([count = static_cast<unsigned long>(jobs.size())] {
      ereport(LOG, (errmsg_plural("dbops: %lu job is paused, as the server was restored from a backup",
                                  "dbops: %lu jobs are paused, as the server was restored from a backup", count, count),
                    errhint("See dbops.jobs; dbops.resume() those that are to go on.")));
    });
}

} // namespace

std::optional<Assignment> dispatch(Session& session, Oid free_owner, int own_slot) {
  if (shared() == nullptr) return std::nullopt;
  const Look look = begin_look();
  const bool can_take = OidIsValid(free_owner);
  const int room = look.free_slots + (can_take ? 1 : 0);
  if (room == 0) {
    session.transaction([&look] {
      Unstartable unstartable;
      // Without workers nothing is judged by whether one could start it: CALL dbops.run() may be meant to.
      if (guc::max_workers == 0) {
        publish_backlog(look, true, false, {});
      } else {
        const std::vector<Candidate> commands = due_commands(guc::max_workers, unstartable);
        const bool waits = !commands.empty() || !candidates(1, unstartable).empty() || unstartable.failed > 0;
        publish_backlog(look, waits || !unstartable.held.empty(), waits, commands);
        if (!unstartable.held.empty()) publish_due(GetCurrentTimestamp() + USECS_PER_SEC);
      }
      publish_due(next_due(look.at));
    });
    wake_waiting_workers();
    return std::nullopt;
  }
  // One more than there is room for tells whether work is left over.
  const std::size_t enough = static_cast<std::size_t>(room) + 1;
  std::vector<Candidate> due;
  Unstartable unstartable;
  for (bool others_behind = true; others_behind && due.size() < enough;) {
    const std::size_t held = unstartable.held.size();
    unstartable.failed = 0;
    due = session.transaction([&] {
      // What has a time to keep goes before what has not, at the same priority.
      std::vector<Candidate> commands = due_commands(room + 1, unstartable);
      const std::vector<Candidate> others = candidates(room + 1, unstartable);
      commands.insert(commands.end(), others.begin(), others.end());
      std::stable_sort(commands.begin(), commands.end(),
                       [](const Candidate& a, const Candidate& b) { return a.priority > b.priority; });
      if (commands.size() > enough) commands.resize(enough);
      return commands;
    });
    others_behind = unstartable.failed > 0 || unstartable.held.size() > held;
  }
  std::optional<Assignment> taken;
  bool backlog = false;
  std::vector<Reservation> reserved;
  std::vector<Candidate> waiting; // commands that find no slot
  for (const Candidate& candidate : due) {
    if (backlog) {
      if (candidate.assignment.slice == schedule::any_due) waiting.push_back(candidate);
      continue;
    }
    if (can_take && !taken && candidate.owner == free_owner && relabel(own_slot, candidate.assignment)) {
      taken = candidate.assignment;
      continue;
    }
    Reservation one{candidate.assignment, {}};
    const Reserved result =
        reserve_slot(MyDatabaseId, candidate.owner, one.assignment.job, one.assignment.slice, one.slot);
    if (result == Reserved::yes)
      reserved.push_back(one);
    else if (result == Reserved::no_slot) {
      backlog = true; // strictly in order: what cannot be started now is not overtaken
      if (candidate.assignment.slice == schedule::any_due) waiting.push_back(candidate);
    }
  }
  const Started started = reserved.empty() ? Started() : start(session, reserved, !taken);
  session.transaction([&] {
    for (const Assignment& assignment : started.refused)
      discount_launch(assignment);
    const bool held_up = !started.refused.empty() || started.held_up;
    publish_backlog(look, backlog || !started.refused.empty(), backlog && !held_up, waiting);
    publish_due(started.refused.empty() ? next_due(look.at) : DT_NOEND);
    if (held_up || !unstartable.held.empty()) publish_due(GetCurrentTimestamp() + USECS_PER_SEC);
  });
  if (backlog) wake_waiting_workers();
  return taken;
}

void account_for_losses(Session& session) {
  session.transaction([] {
    const Rows lost = note_lost_runs();
    const std::string orphaned = std::string(" FROM dbops.job j WHERE state = 'running' AND NOT EXISTS (SELECT FROM ") +
                                 held_slices_sql + " h WHERE h.job_id = j.job_id)";
    // One whose run could not be accounted for would wait for that run's row, with the row of its job locked.
    const Rows orphans = bookkeep("SELECT job_id" + orphaned +
                                  " AND NOT EXISTS (SELECT FROM dbops.job_run r WHERE r.job_id = j.job_id"
                                  " AND r.outcome = 'running') ORDER BY job_id FOR NO KEY UPDATE SKIP LOCKED");
    // Who has one locked may leave it as it is, without a word.
    if (static_cast<std::int64_t>(orphans.size()) < bookkeep("SELECT count(*)" + orphaned).integer(0, 0) ||
        has_lost_runs())
      publish_due(GetCurrentTimestamp() + USECS_PER_SEC);
    for (std::size_t i = 0; i < orphans.size(); ++i) {
      const std::int64_t id = orphans.integer(i, 0);
      bool progressed = false;
      for (std::size_t k = 0; k < lost.size(); ++k)
        progressed = progressed || (lost.integer(k, 0) == id && lost.boolean(k, 1));
      requeue_lost(id, progressed);
    }
  });
  if (was_restored()) session.transaction([] { hold_back_what_a_restore_brought(); });
  session.transaction([] {
    if (!schedule::settle(slots_in_use())) publish_due(GetCurrentTimestamp() + USECS_PER_SEC);
  });
}

bool prune_history(Session& session) {
  using Clock = std::chrono::steady_clock;
  constexpr std::uint64_t at_once = 1'000; // jobs in a transaction
  const Clock::time_point end = Clock::now() + std::chrono::seconds(1);
  if (guc::history_retention_days < 0) return true;
  for (;;) {
    const std::uint64_t deleted = session.transaction([] {
      // A schedule that is over stays while another one is to run after it.
      return bookkeep("DELETE FROM dbops.job WHERE job_id IN (SELECT j.job_id FROM dbops.job j"
                      " WHERE j.state IN ('succeeded', 'failed', 'cancelled')"
                      " AND j.finished_at < clock_timestamp() - $1::integer * interval '1 day'"
                      " AND NOT EXISTS (SELECT FROM dbops.schedule f WHERE f.after_job = j.job_id)"
                      " ORDER BY j.finished_at LIMIT $2::bigint FOR UPDATE OF j SKIP LOCKED)",
                      {to_text(guc::history_retention_days), to_text(static_cast<std::int64_t>(at_once))})
          .processed;
    });
    if (deleted < at_once) {
      session.transaction([] {
        schedule::prune_runs();
        lifecycle::prune_runs();
      });
      return true;
    }
    if (Clock::now() >= end) {
      publish_due(GetCurrentTimestamp() + 2 * USECS_PER_SEC);
      return false;
    }
  }
}

} // namespace dbops::server
