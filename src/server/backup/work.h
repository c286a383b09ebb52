// A backup as the slice of a job.
#pragma once

#include "server/engine/run.h"

namespace dbops::server::backup {

// Takes the backup from the beginning; what an earlier try has stored is used. Raises when the job fails.
SliceEnd work(Session& session, const Job& job, int slice);

} // namespace dbops::server::backup
