// dbops verify: whether backups can be restored
#pragma once

#include "cli/stores.h"

namespace dbops::cli {

struct VerifyCommand {
  StoreSettings stores;
  std::string backup; // label; empty: all
  bool deep = false, json = false;
  unsigned jobs = 2;
  bool restart = false; // not from where an interrupted deep one was
  double gap_time = 30; // seconds
};

int run(const VerifyCommand& command);

} // namespace dbops::cli
