// dbops migrate, info, validate, undo, repair, baseline, adopt, diff
#pragma once

#include "cli/connection.h"
#include "cli/migration_files.h"

#include <optional>
#include <string>
#include <vector>

namespace dbops::cli {

enum class MigrationAction { migrate, info, validate, undo, repair, baseline, adopt, diff };

struct MigrationCommand {
  MigrationAction action = MigrationAction::info;
  FileSettings files;
  std::string project = "default";
  std::optional<std::string> target; // as migrate::Target reads it
  bool out_of_order = false;
  std::vector<std::string> ignore{"*:future"};
  bool dry_run = false;
  bool validate = true;
  bool lint = true; // refuse errors
  bool json = false;
  double lock_timeout = 2;            // seconds that a statement waits for a lock
  int lock_retries = 10;              // tries after the first
  double wait = 300;                  // seconds for another runner to end
  double wait_for_transactions = 300; // seconds for those in the way to end; 0: none
  double max_blocking = 5;            // seconds that others may wait for a migration; 0: any time
  std::string version = "1";          // of baseline
  std::string description = "<< dbops Baseline >>";
  std::optional<std::string> from;  // of adopt: the tool
  std::optional<std::string> table; // of adopt: its history
};

// Returns the exit status.
int run(const MigrationCommand& command, const ConnectionSettings& settings);

} // namespace dbops::cli
