// The settings of the server module.
#pragma once

namespace dbops::server::guc {

extern int max_workers;            // dbops.max_workers: job workers at once, all databases together
extern int history_retention_days; // dbops.history_retention: days that finished jobs stay in the tables
extern char* in_job;               // dbops.in_job: id of the job that the session is working for, empty outside one

inline constexpr int max_workers_limit = 128; // slots in shared memory

void define();

} // namespace dbops::server::guc
