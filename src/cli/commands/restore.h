// dbops restore: a backup and the way to its recovery target into a data directory
#pragma once

#include "cli/stores.h"
#include "core/backup/catalogue.h"
#include "core/backup/restore_run.h"

#include <filesystem>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace dbops::cli {

struct RestoreCommand {
  StoreSettings stores;
  std::string data_directory;
  std::string backup; // label; empty: the newest that leads to the target
  std::optional<std::string> target_time, target_lsn, target_xid, target_name;
  bool target_immediate = false;
  std::string timeline;
  std::string target_action = "promote";
  bool accept_damage = false; // also a backup in which a verification has found damage
  bool standby = false, delta = false, discard_wal = false, keep_archiving = false;
  std::vector<std::string> tablespaces; // OID=PATH
  std::string programs;            // directory of the server's programs, whose major version is compared; empty: found
  bool ignore_space = false;       // also where there seems to be too little of it
  bool accept_major = false;       // also when those are of another one
  bool starts_server = false;      // who calls will start a server with them
  bool no_new_tablespaces = false; // recovery is to stop at WAL that creates one
  unsigned jobs = 2;
  double gap_time = 30; // seconds that WAL which the target needs is waited for
};

int run(const RestoreCommand& command);

// The work of it. all_tablespaces: where those are made that the command gives no place; empty: where they were.
core::BackupHead restore_files(const RestoreCommand& command, const std::filesystem::path& all_tablespaces,
                               core::RestoreProgress& progress, const std::stop_token& stop);

} // namespace dbops::cli
