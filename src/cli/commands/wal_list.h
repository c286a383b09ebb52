// dbops wal-list: what WAL is in the stores
#pragma once

#include "cli/stores.h"

namespace dbops::cli {

struct WalListCommand {
  StoreSettings stores;
  bool garbage = false; // objects that may be removed, instead
  bool json = false;
};

// exit_job when WAL is missing in the middle of a timeline.
int run(const WalListCommand& command);

} // namespace dbops::cli
