#include "server/engine/control.h"

#include "server/engine/shared.h"
#include "server/engine/wake.h"
#include "server/schedule/runs.h"

extern "C" {
#include "utils/acl.h"
}

namespace dbops::server {

namespace {

std::string current_role_name() {
  return role_name(GetUserId());
}

// retry: rows set aside come back as ranges to revisit, and slices that had ended are open again.
void reopen(const Job& job) {
  bookkeep("INSERT INTO dbops.job_revisit (job_id, unit, not_before, reason)"
           " SELECT job_id, unit, clock_timestamp(), sqlstate || ': ' || message FROM dbops.job_error WHERE job_id = "
           "$1::bigint",
           {to_text(job.id)});
  bookkeep("DELETE FROM dbops.job_error WHERE job_id = $1::bigint", {to_text(job.id)});
  // As many sweeps as a new job may have, the first of them not taken for one that has found nothing.
  bookkeep("UPDATE dbops.job_cursor SET pass = 1, pass_rows = 1 WHERE job_id = $1::bigint AND pass > 0",
           {to_text(job.id)});
  open_slices(job.id);
  bookkeep("UPDATE dbops.job SET losses = 0, last_sqlstate = NULL, last_error = NULL, last_hint = NULL WHERE job_id = "
           "$1::bigint",
           {to_text(job.id)});
}

Datum steer(FunctionCallInfo fcinfo, core::JobAction action) {
  if (PG_ARGISNULL(0)) throw SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, "job must not be null");
  const std::int64_t id = PG_GETARG_INT64(0);
  Value reason;
  if (!PG_ARGISNULL(1)) reason = call_pg([fcinfo] { return text_to_cstring(PG_GETARG_TEXT_PP(1)); });

  SpiConnection spi;
  schedule::hold_still(id);
  Job job = read_job(id, true);
  require_control(job);
  const core::JobState before = job.state;
  const core::JobState after = change_state(job, action, current_role_name(), reason);
  if (after == before) {
    // Resuming what is queued already means: now, not after the back-off.
    if (after == core::JobState::queued) {
      bookkeep("UPDATE dbops.job SET not_before = NULL, not_before_reason = NULL WHERE job_id = $1::bigint",
               {to_text(id)});
      forget_launches(id);
      announce_at_commit();
    }
  } else {
    if (action == core::JobAction::retry && job.kind != "schedule") reopen(job);
    if (after == core::JobState::queued) {
      forget_launches(id);
      announce_at_commit();
    } else
      for (const int pid : workers_of(id))
        interrupt_at_commit(pid, id);
  }
  if (job.kind == "schedule" && after != before) schedule::steered(id, after);
  spi.close();
  const std::string name(core::to_string(after));
  return call_pg([&name] { return CStringGetTextDatum(name.c_str()); });
}

} // namespace

void require_control(const Job& job) {
  const bool allowed = call_pg([&job] {
    if (superuser()) return true;
    const Oid admin = get_role_oid("dbops_admin", true);
    const Oid user = GetUserId();
    return is_member_of_role(user, job.owner) || (OidIsValid(admin) && is_member_of_role(user, admin));
  });
  if (!allowed)
    throw SqlError(ERRCODE_INSUFFICIENT_PRIVILEGE, "permission denied for job " + to_text(job.id),
                   "Its owner, members of the owner's role and members of dbops_admin may steer it.");
}

} // namespace dbops::server

using namespace dbops::server;
using dbops::core::JobAction;

DBOPS_SQL_FUNCTION(dbops_pause) {
  return boundary([fcinfo] { return steer(fcinfo, JobAction::pause); });
}

DBOPS_SQL_FUNCTION(dbops_resume) {
  return boundary([fcinfo] { return steer(fcinfo, JobAction::resume); });
}

DBOPS_SQL_FUNCTION(dbops_cancel) {
  return boundary([fcinfo] { return steer(fcinfo, JobAction::cancel); });
}

DBOPS_SQL_FUNCTION(dbops_retry) {
  return boundary([fcinfo] { return steer(fcinfo, JobAction::retry); });
}

DBOPS_SQL_FUNCTION(dbops_lacks_processes) {
  (void)fcinfo;
  const Shared* memory = shared();
  PG_RETURN_BOOL(memory != nullptr && memory->launcher_pid != 0 && memory->short_of_processes);
}

DBOPS_SQL_FUNCTION(dbops_has_launcher) {
  (void)fcinfo;
  const Shared* memory = shared();
  PG_RETURN_BOOL(memory != nullptr && memory->launcher_pid != 0);
}
