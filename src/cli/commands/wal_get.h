// dbops wal-get: PostgreSQL's restore_command
#pragma once

#include "cli/commands/wal_prefetch.h"
#include "cli/stores.h"

#include <cstdint>
#include <string>

namespace dbops::cli {

struct WalGetCommand {
  StoreSettings stores;
  SpoolSettings spool;
  std::string file;        // %f
  std::string target;      // %p
  double retry_time = 300; // seconds
  double gap_time = 30;    // seconds
};

// A RestoreStatus. Never throws.
int run(const WalGetCommand& command) noexcept;

} // namespace dbops::cli
