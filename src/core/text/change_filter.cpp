#include "core/text/change_filter.h"

namespace dbops::core {

bool ChangeFilter::is_due(const JobProgress& job, SteadyTime now) {
  const auto found = written_.find(job.job_id);
  if (found != written_.end()) {
    const Written& last = found->second;
    const bool news = last.state != job.state || (last.rows_failed == 0) != (job.rows_failed == 0);
    const bool progress =
        last.rows_done != job.rows_done || last.waiting_for != job.waiting_for || last.rows_failed != job.rows_failed;
    if (!news && !(progress && now - last.at >= interval_)) return false;
  }
  written_[job.job_id] = {job.state, job.waiting_for, job.rows_done, job.rows_failed, now};
  return true;
}

} // namespace dbops::core
