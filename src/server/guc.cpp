#include "server/guc.h"

#include "server/pg.h"

namespace dbops::server::guc {

int max_workers = 4;
int history_retention_days = 30;
char* in_job = nullptr;

void define() {
  DefineCustomIntVariable("dbops.max_workers", "Job workers that may run at once, in all databases together.",
                          "They come out of max_worker_processes, which the launcher and parallel queries share. "
                          "0 keeps jobs queued.",
                          &max_workers, 4, 0, max_workers_limit, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
  DefineCustomIntVariable("dbops.history_retention", "Days that finished jobs and their runs are kept.", "-1 keeps them for ever.",
                          &history_retention_days, 30, -1, 36500, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
  DefineCustomStringVariable("dbops.in_job", "The job that this session is working for; empty outside a job.",
                             "Triggers can test it: WHEN (coalesce(current_setting('dbops.in_job', true), '') = '').", &in_job, "",
                             PGC_USERSET, GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE, nullptr, nullptr, nullptr);
  MarkGUCPrefixReserved("dbops");
}

} // namespace dbops::server::guc
