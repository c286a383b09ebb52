// dbops watch
#pragma once

#include "cli/connection.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace dbops::cli {

struct WatchCommand {
  std::vector<std::int64_t> jobs; // empty: all that are not finished
  std::optional<double> interval; // seconds
  bool once = false;
  bool json = false;
};

// Returns the exit status.
int run(const WatchCommand& command, const ConnectionSettings& settings);

} // namespace dbops::cli
