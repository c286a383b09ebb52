// What is redrawn in place while jobs are watched: all of them, in as much detail as the terminal has room for.
#pragma once

#include "core/text/job_view.h"

#include <string>
#include <vector>

namespace dbops::core {

struct LiveView {
  std::vector<JobProgress> jobs;
  std::int64_t not_shown = 0; // further unfinished jobs that were not asked for
  std::string when_empty;     // said when there is no job
  std::string notice;         // for the last line, e.g. that the connection is lost; may be empty
};

struct TerminalSize {
  std::size_t columns = 80;
  std::size_t rows = 24;
};

// Fewer lines than the terminal has, so that the cursor fits below; none wider than it.
std::vector<Line> live_lines(const LiveView& view, TerminalSize size, Charset charset);

} // namespace dbops::core
