#include "server/engine/dispatch.h"

#include <algorithm>
#include <array>

#include "server/compat.h"
#include "server/engine/job_record.h"
#include "server/engine/processes.h"
#include "server/engine/shared.h"
#include "server/guc.h"

namespace dbops::server {

namespace {

// Seconds before the next try after the n-th loss in a row without progress; one more fails the job. A job that kills the
// server each time must leave time to pause it.
constexpr std::array<int, 5> loss_backoff{1, 5, 30, 120, 300};
constexpr int max_launches = 5;

struct Candidate {
  Assignment assignment;
  Oid owner;
};

bool in_slot(const Assignment& wanted) {
  for (const Slot& slot : shared()->slots)
    if (slot.state != Slot::State::free && slot.database == MyDatabaseId && slot.job == wanted.job && slot.slice == wanted.slice)
      return true;
  return false;
}

// Slots in use by this database's jobs, as an array literal of "job:slice" for the query.
std::string slots_in_use() {
  std::string list = "{";
  SharedLock lock;
  for (const Slot& slot : shared()->slots)
    if (slot.state != Slot::State::free && slot.database == MyDatabaseId)
      list += (list.size() > 1 ? "," : "") + std::to_string(slot.job) + ":" + std::to_string(slot.slice);
  return list + "}";
}

int free_slots() {
  SharedLock lock;
  int used = 0;
  for (const Slot& slot : shared()->slots) used += slot.state != Slot::State::free ? 1 : 0;
  return std::max(0, guc::max_workers - used);
}

// What cannot be started at all fails at once, with the reason; what did not come up after some tries as well.
Value obstacle(Oid owner, const std::string& name, bool can_login, bool may_connect, std::int64_t launches, std::string& hint) {
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
}

// Due and not being worked on, best first: priority, then a first worker for every job before second ones, then age.
// failed: how many of these could not be started at all, so that there may be others behind them.
std::vector<Candidate> candidates(int limit, int& failed) {
  const Rows due = bookkeep(
      std::string("SELECT j.job_id, s.slice, j.owner_oid, r.rolname, r.rolcanlogin,"
                  " CASE WHEN r.oid IS NOT NULL THEN has_database_privilege(r.oid, current_database(), 'CONNECT') END, j.launches"
                  " FROM dbops.job j JOIN dbops.job_slice s USING (job_id)"
                  " LEFT JOIN pg_catalog.pg_roles r ON r.oid = j.owner_oid"
                  " WHERE j.state IN ('queued', 'running') AND NOT s.done"
                  " AND (j.not_before IS NULL OR j.not_before <= clock_timestamp())"
                  " AND (j.state = 'running' OR s.slice = (SELECT min(f.slice) FROM dbops.job_slice f WHERE f.job_id = j.job_id AND NOT f.done))"
                  " AND (j.job_id || ':' || s.slice) <> ALL ($1::text[])"
                  " AND NOT EXISTS (SELECT FROM ") +
          held_slices_sql +
          " h WHERE h.job_id = j.job_id AND h.slice = s.slice)"
          " ORDER BY j.priority DESC, j.job_id, s.slice LIMIT $2::bigint",
      {slots_in_use(), to_text(limit)});
  std::vector<Candidate> found;
  for (std::size_t i = 0; i < due.size(); ++i) {
    const auto owner = static_cast<Oid>(due.integer(i, 2));
    const std::int64_t job = due.integer(i, 0);
    std::string hint;
    if (Value why = obstacle(owner, due.text(i, 3), due.boolean(i, 4), due.boolean(i, 5), due.integer(i, 6), hint))
    {
      // Somebody who is steering the job at the moment decides; the others do not wait for him.
      if (bookkeep("SELECT 1 FROM dbops.job WHERE job_id = $1::bigint FOR NO KEY UPDATE SKIP LOCKED", {to_text(job)}).empty()) continue;
      fail_unstartable(job, *why, hint);
      ++failed;
    }
    else found.push_back({{job, static_cast<int>(due.integer(i, 1))}, owner});
  }
  return found;
}

// Gives the slot that a free worker holds to its next assignment; false when somebody else was faster.
bool relabel(int slot_number, const Assignment& next) {
  SharedLock lock;
  if (in_slot(next)) return false;
  Slot& slot = shared()->slots[slot_number];
  slot.job = next.job;
  slot.slice = next.slice;
  return true;
}

void publish(bool backlog, TimestampTz due) {
  SharedLock lock;
  if (DatabaseEntry* entry = find_database(MyDatabaseId, true)) {
    entry->backlog = backlog;
    entry->due = std::min(entry->due, due);
  }
}

TimestampTz next_due() {
  // Microseconds from now, so that no text of a time stamp has to be parsed.
  const Rows next = bookkeep("SELECT (extract(epoch FROM min(not_before) - clock_timestamp()) * 1000000)::bigint"
                             " FROM dbops.job WHERE state IN ('queued', 'running') AND not_before > clock_timestamp()");
  return next.is_null(0, 0) ? DT_NOEND : GetCurrentTimestamp() + std::max<std::int64_t>(next.integer(0, 0), 0);
}

void count_launch(std::int64_t job) {
  bookkeep("UPDATE dbops.job SET launches = launches + 1 WHERE job_id ="
           " (SELECT job_id FROM dbops.job WHERE job_id = $1::bigint AND state = 'queued' FOR NO KEY UPDATE SKIP LOCKED)",
           {to_text(job)});
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
  change_state(job, core::JobAction::requeue, "dbops", "its worker ended without a report: killed, terminated or lost with the server");
  if (count > 0)
    bookkeep("UPDATE dbops.job SET not_before = clock_timestamp() + $2::integer * interval '1 second' WHERE job_id = $1::bigint",
             {to_text(id), to_text(loss_backoff.at(static_cast<std::size_t>(count - 1)))});
}

} // namespace

std::optional<Assignment> dispatch(Session& session, Oid free_owner, int free_slot) {
  if (shared() == nullptr) return std::nullopt;
  const bool can_take = OidIsValid(free_owner);
  const int room = free_slots() + (can_take ? 1 : 0);
  if (room == 0) {
    session.transaction([] {
      const Rows waiting = bookkeep("SELECT EXISTS (SELECT FROM dbops.job WHERE state = 'queued')");
      publish(waiting.boolean(0, 0), next_due());
    });
    return std::nullopt;
  }
  // One more than there is room for tells whether work is left over.
  std::vector<Candidate> due;
  for (int failed = 1; failed > 0 && due.empty();) {
    failed = 0;
    due = session.transaction([&] { return candidates(room + 1, failed); });
  }
  std::optional<Assignment> taken;
  bool backlog = false;
  std::vector<std::int64_t> started;
  for (const Candidate& candidate : due) {
    if (can_take && !taken && candidate.owner == free_owner && relabel(free_slot, candidate.assignment)) {
      taken = candidate.assignment;
      continue;
    }
    const StartResult result =
        start_worker(MyDatabaseId, candidate.owner, candidate.assignment.job, candidate.assignment.slice);
    if (result == StartResult::started) started.push_back(candidate.assignment.job);
    else if (result != StartResult::held) backlog = true;
    // Strictly in order: what cannot be started now is not overtaken.
    if (result == StartResult::no_slot) break;
    if (result == StartResult::no_process) {
      publish(false, GetCurrentTimestamp() + 1'000'000);
      break;
    }
  }
  session.transaction([&] {
    for (const std::int64_t job : started) count_launch(job);
    publish(backlog, next_due());
  });
  return taken;
}

void account_for_losses(Session& session) {
  session.transaction([] {
    const Rows lost = bookkeep(
        std::string("UPDATE dbops.job_run r SET outcome = 'lost', finished_at = clock_timestamp(),"
                    "  rows_done = s.rows_done - r.rows_before,"
                    "  message = 'the process ended without a report'"
                    " FROM dbops.job_slice s WHERE r.outcome = 'running' AND s.job_id = r.job_id AND s.slice = r.slice"
                    " AND NOT EXISTS (SELECT FROM ") +
        held_slices_sql +
        " h WHERE h.job_id = r.job_id AND h.slice = r.slice)"
        " RETURNING r.job_id, (s.rows_done > r.rows_before)");
    const Rows orphans = bookkeep(std::string("SELECT job_id FROM dbops.job j WHERE state = 'running' AND NOT EXISTS (SELECT FROM ") +
                                  held_slices_sql + " h WHERE h.job_id = j.job_id) ORDER BY job_id FOR NO KEY UPDATE SKIP LOCKED");
    for (std::size_t i = 0; i < orphans.size(); ++i) {
      const std::int64_t id = orphans.integer(i, 0);
      bool progressed = false;
      for (std::size_t k = 0; k < lost.size(); ++k)
        progressed = progressed || (lost.integer(k, 0) == id && lost.boolean(k, 1));
      requeue_lost(id, progressed);
    }
  });
}

void prune_history(Session& session) {
  if (guc::history_retention_days < 0) return;
  session.transaction([] {
    bookkeep("DELETE FROM dbops.job WHERE job_id IN (SELECT job_id FROM dbops.job WHERE state IN ('succeeded', 'failed', 'cancelled')"
             " AND finished_at < clock_timestamp() - $1::integer * interval '1 day' ORDER BY finished_at LIMIT 10000 FOR UPDATE SKIP LOCKED)",
             {to_text(guc::history_retention_days)});
  });
}

} // namespace dbops::server
