// A run of a retention rule: a job of the kind `retain`.
#pragma once

#include "server/backfill/create.h"
#include "server/engine/run.h"
#include "server/lifecycle/retention_rule.h"

namespace dbops::server::lifecycle {

// What a run of the rule would be, from now; `request.spec` is complete. Raises what is wrong with it.
backfill::DeletePlan plan_run(const Rule& rule, backfill::DeleteRequest& request);

// The body of the job: partitions, then rows.
SliceEnd work_on_retention(Session& session, const Job& job, int slice);

// The job of the rule that is not finished; nothing when there is none.
std::optional<Job> open_run(const Rule& rule);

} // namespace dbops::server::lifecycle
