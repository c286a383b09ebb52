// The settings of the server module.
#pragma once

namespace dbops::server::guc {

extern int max_workers;            // dbops.max_workers: job workers at once, all databases together
extern int history_retention_days; // dbops.history_retention: days that finished jobs stay in the tables
extern int housekeeping_interval;  // dbops.housekeeping_interval: seconds after which a database is looked at anyway
extern int run_history;            // dbops.run_history: runs of each schedule that are kept
extern char* in_job;               // dbops.in_job: id of the job that the session is working for, empty outside one

extern char* store;                  // dbops.store: URL of the repository, empty: none
extern char* offsite_store;          // dbops.offsite_store: URL of the second one, empty: none
extern char* credentials_file;       // dbops.credentials_file
extern char* key_file;               // dbops.key_file
extern int stream_interval;          // dbops.stream_interval: ms, 0: off
extern int archive_workers;          // dbops.archive_workers: threads for each repository
extern int compression_level;        // dbops.compression_level: of zstd
extern int upload_timeout;           // dbops.upload_timeout: ms for one file, retries included
extern int archive_shutdown_timeout; // dbops.archive_shutdown_timeout: ms
extern int offsite_max_backlog;      // dbops.offsite_max_backlog: MB

inline constexpr int max_workers_limit = 128; // slots in shared memory

void define();

} // namespace dbops::server::guc
