// Which of the looks at a job deserve a line in a log.
#pragma once

#include "core/base/clock.h"
#include "core/text/job_view.h"

#include <map>

namespace dbops::core {

class ChangeFilter {
 public:
  // interval: how often rows done and waits are worth a line. A change of state always is, and the first row set aside.
  explicit ChangeFilter(Seconds interval) : interval_(interval) {}

  // Whether to write this one; remembers it as written when it says so.
  bool is_due(const JobProgress& job, SteadyTime now);

 private:
  struct Written {
    std::string state;
    std::string waiting_for;
    std::int64_t rows_done = 0;
    std::int64_t rows_failed = 0;
    SteadyTime at;
  };
  Seconds interval_;
  std::map<std::int64_t, Written> written_; // by job id
};

} // namespace dbops::core
