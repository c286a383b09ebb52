// dbops wal-get: PostgreSQL's restore_command
#pragma once

#include "cli/commands/wal_prefetch.h"
#include "cli/stores.h"

#include <cstdint>
#include <string>

namespace dbops::cli {

// Of a segment that is not whole although there is WAL behind it.
enum class HolePolicy {
  crash, // the end of WAL when it is what a crash leaves; else recovery stops
  stop,  // recovery stops
  end,   // the end of WAL
};

struct WalGetCommand {
  StoreSettings stores;
  SpoolSettings spool;
  std::string file;        // %f
  std::string target;      // %p
  double retry_time = 300; // seconds
  double gap_time = 30;    // seconds
  HolePolicy at_hole = HolePolicy::crash;
  bool no_new_tablespaces = false;
};

// A RestoreStatus. Never throws.
int run(const WalGetCommand& command) noexcept;

} // namespace dbops::cli
