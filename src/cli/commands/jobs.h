// dbops jobs, errors, pause, resume, cancel, retry
#pragma once

#include "cli/connection.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace dbops::cli {

struct JobsCommand {
  bool all = false;                // finished ones too
  std::vector<std::string> states; // these alone; empty: see `all`
  bool json = false;
};

struct ErrorsCommand {
  std::int64_t job = 0;
  bool json = false;
};

enum class Steering { pause, resume, cancel, retry };

struct SteerCommand {
  Steering action = Steering::pause;
  std::vector<std::int64_t> jobs;
  std::optional<std::string> reason; // for dbops.job_events
};

// Each returns the exit status.
int run(const JobsCommand& command, const ConnectionSettings& settings);
int run(const ErrorsCommand& command, const ConnectionSettings& settings);
int run(const SteerCommand& command, const ConnectionSettings& settings);

} // namespace dbops::cli
