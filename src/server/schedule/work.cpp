// What a worker does with the schedules of its role.

#include <algorithm>

#include "server/compat.h"
#include "server/engine/processes.h"
#include "server/engine/run.h"
#include "server/engine/shared.h"
#include "server/engine/wait.h"
#include "server/schedule/runs.h"

namespace dbops::server::schedule {

namespace {

using std::chrono::milliseconds;

// A worker waits this long for the next run of its role, so that schedules of seconds need no new process each time.
constexpr milliseconds linger{2'000};

// What the slot is for, so that the dispatcher neither starts this one again nor takes it for lost. False: leave.
bool label_slot(int slot, std::int64_t job) {
  SharedLock lock;
  Slot& mine = shared()->slots[slot];
  mine.job = job;
  mine.slice = any_due;
  return !mine.leave;
}

bool somebody_waits() {
  SharedLock lock;
  return held_until(MyDatabaseId) > 0 ||
         std::any_of(std::begin(shared()->databases), std::end(shared()->databases),
                     [](const DatabaseEntry& entry) { return entry.database != InvalidOid && entry.backlog; });
}

// The launcher is to look again no later than that.
void publish_due(TimestampTz due) {
  bool sooner = false;
  {
    SharedLock lock;
    if (DatabaseEntry* entry = find_database(MyDatabaseId, true)) {
      sooner = due < entry->due;
      entry->due = std::min(entry->due, due);
    } else if (due != DT_NOEND) {
      shared()->overflow = true;
    }
  }
  if (sooner) wake_launcher();
}

Outcome outcome_of(CommandResult& result, const Spec& spec) {
  if (!result.error) return Outcome::succeeded;
  if (result.error->code != ERRCODE_QUERY_CANCELED) return Outcome::failed;
  if (asked_to_leave()) {
    result.error->message = "its worker had to leave: the database is to be dropped, renamed, moved or copied";
    return Outcome::left;
  }
  if (result.over_time) {
    std::string limit = std::to_string(spec.time_limit);
    limit.erase(limit.find_last_not_of('0') + 1);
    if (limit.back() == '.') limit.pop_back();
    result.error->message = "the time limit of " + limit + " s was reached";
    return Outcome::failed;
  }
  // By statement_timeout: a failure. Otherwise somebody has cancelled it, or the job.
  return result.statement_timeout ? Outcome::failed : Outcome::stopped;
}

// False: told to stop meanwhile.
bool rest(milliseconds time) {
  try {
    nap(time);
  } catch (const SqlError& error) {
    if (error.code != ERRCODE_QUERY_CANCELED) throw;
    return false;
  }
  return true;
}

// The word on a run must not be lost to a cancel that arrives at the same moment, or to a deadlock with somebody who
// alters two schedules at once.
template <typename F>
auto persist(Session& session, F&& body) {
  for (int attempt = 0;; ++attempt) {
    try {
      return session.transaction(body);
    } catch (const SqlError& error) {
      if (attempt == 5 || (error.code != ERRCODE_QUERY_CANCELED && error.code != ERRCODE_T_R_DEADLOCK_DETECTED)) throw;
      // Whom the engine has given way to has to come to what he waits for, before it is asked for again.
      if (error.code == ERRCODE_T_R_DEADLOCK_DETECTED) (void)rest(milliseconds(50 << attempt));
    }
  }
}

// A crash may take the claim back when it takes all that the command has done in the database back as well, which comes
// later in the WAL. What is done elsewhere it does not take back: whose command does such things says so.
void commit_claim(const Spec& spec) {
  const auto wish = std::find_if(spec.settings.begin(), spec.settings.end(), [](const auto& setting) {
    return pg_strcasecmp(setting.first.c_str(), "synchronous_commit") == 0;
  });
  bool on = true; // local, remote_apply, ... are no booleans
  if (wish == spec.settings.end() || (parse_bool(wish->second.c_str(), &on) && !on)) return commit_without_waiting();
  call_pg([wish] {
    set_config_option("synchronous_commit", wish->second.c_str(), PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0,
                      false);
  });
}

// A process that is there already goes by what its role may do now, as a new one would: of schedules that follow one
// another closely it might be there for ever. Why nothing runs the dispatcher says.
bool may_be_here(Oid owner) {
  if (!OidIsValid(extension_oid()) || role_name(owner).empty()) return false;
  const Rows allowed = bookkeep("SELECT has_database_privilege($1::oid, current_database(), 'CONNECT'),"
                                " (SELECT r.rolcanlogin FROM pg_catalog.pg_roles r WHERE r.oid = $1::oid)",
                                {to_text(owner)});
  return allowed.boolean(0, 0) && (allowed.boolean(0, 1) || compat::nologin_workers);
}

std::optional<Record> claim(Session& session, Oid owner, bool& leave) {
  return persist(session, [owner, &leave]() -> std::optional<Record> {
    leave = !may_be_here(owner);
    if (leave) return std::nullopt;
    std::optional<Record> claimed = claim_due(owner);
    if (claimed)
      commit_claim(claimed->spec);
    else
      commit_without_waiting();
    return claimed;
  });
}

// While somebody has the row of one that is due in an open transaction.
constexpr std::int64_t shortest_rest = 50; // milliseconds

// How long until the next run of the role; more than `linger` when there is none.
milliseconds until_next(Session& session, Oid owner) {
  return persist(session, [owner] {
    if (!OidIsValid(extension_oid()) || role_name(owner).empty()) return linger + milliseconds(1);
    const Rows next = bookkeep(
        "SELECT (extract(epoch FROM min(s.due_at) - clock_timestamp()) * 1000)::bigint FROM dbops.schedule s"
        " JOIN dbops.job j USING (job_id) WHERE s.owner_oid = $1::oid AND NOT s.running AND j.state = 'queued'",
        {to_text(owner)});
    return next.is_null(0, 0) ? linger + milliseconds(1)
                              : milliseconds(next.integer(0, 0) > 0 ? next.integer(0, 0) + 1 : shortest_rest);
  });
}

} // namespace

void work(Session& session, Oid owner, int slot) {
  for (;;) {
    if (!label_slot(slot, 0) || has_surplus_slot()) return;
    bool leave = false;
    std::optional<Record> record = claim(session, owner, leave);
    if (leave) return;
    if (!record) {
      const milliseconds wait = until_next(session, owner);
      if (wait > linger || somebody_waits()) return;
      if (!rest(wait)) return;
      continue;
    }
    const std::int64_t job = record->job;
    if (record->spec.overlap == core::Overlap::cancel && record->next_slot) publish_due(*record->next_slot);
    const bool wanted = label_slot(slot, job);
    CommandResult result;
    Outcome outcome = Outcome::left;
    if (wanted) {
      result = run_command(record->spec);
      outcome = outcome_of(result, record->spec);
    }
    const TimestampTz due = persist(session, [&]() -> TimestampTz {
      if (!OidIsValid(extension_oid())) return DT_NOEND;
      // What a crash takes back of this is known as lost: where that means once more, it must not come to it.
      if (record->spec.retries == 0) commit_without_waiting();
      return end_run(job, record->run, outcome, result);
    });
    if (SliceLock::held(job, run_slice)) SliceLock::release(job, run_slice); // run_command has given back all locks
    publish_due(due);
    if (result.unclean) throw *result.unclean;
  }
}

} // namespace dbops::server::schedule
