// What a job that was stopped has left behind is taken back by a job of its own, of kind clean_up.
#pragma once

#include "server/engine/job_record.h"

namespace dbops::server::ddl {

// After a job has failed, or was paused or cancelled, in the same transaction.
void submit_clean_up(const Job& job);

} // namespace dbops::server::ddl
