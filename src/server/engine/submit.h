// From a SQL call to a job: whose it is, under which settings its texts are read, what its caller ought to be told.
#pragma once

#include "server/engine/bookkeeping.h"

namespace dbops::server {

// The role that a job on that table runs as: `run_as`, which the caller must be allowed to become (42501). Without it
// the caller; of a superuser's job the table's owner, so that the table's triggers and functions get no more rights
// than they have already.
Oid choose_job_owner(Oid target, const std::optional<std::string>& run_as);

// What texts and values mean depends on these; a job uses those of the session that made it.
Settings session_settings();

// Runs fn as the job's owner and under the job's settings, as the job itself will be, safe from what that role has
// planted: what its functions SET does not stay in this session.
template <typename F>
auto as_job_owner(Oid owner, const Settings& settings, F&& fn) {
  const int flags = owner == GetUserId() ? 0 : SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION;
  return as_role(owner, flags, [&] {
    const int nest_level = enter_settings(settings);
    auto result = fn();
    undo_settings(nest_level);
    return result;
  });
}

void warn(const std::string& warning);

// The role has to be able to run it later; said now, when somebody is looking.
void warn_if_nobody_can_run(Oid owner);

} // namespace dbops::server
