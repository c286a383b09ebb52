// dbops pin, dbops unpin: backups and dumps that expiry does not take
#pragma once

#include "cli/stores.h"

#include <string>
#include <vector>

namespace dbops::cli {

struct PinCommand {
  StoreSettings stores;
  std::vector<std::string> labels; // of backups and dumps
  std::string reason;
  std::string hold_for; // "90 days"; empty: until it is released
};

struct UnpinCommand {
  StoreSettings stores;
  std::vector<std::string> labels;
};

int run(const PinCommand& command);
int run(const UnpinCommand& command);

} // namespace dbops::cli
