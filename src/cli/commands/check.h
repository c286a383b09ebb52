// dbops check
#pragma once

#include "cli/connection.h"

namespace dbops::cli {

struct CheckCommand {
  double timeout = 60; // seconds
  bool json = false;
};

// exit_success when every check is all right, else exit_job.
int run(const CheckCommand& command, const ConnectionSettings& settings);

} // namespace dbops::cli
