// dbops drill: restores a backup into a scratch directory, starts a server there, and checks what came back
#pragma once

#include "cli/connection.h"
#include "cli/stores.h"

#include <optional>
#include <string>

namespace dbops::cli {

struct DrillCommand {
  StoreSettings stores;
  std::string backup; // label; empty: the newest that leads to the target
  std::optional<std::string> target_time;
  std::string check_sql;           // a file for psql; empty: none
  std::string scratch = "/tmp";    // where the directory is made
  std::string programs;            // directory of pg_ctl, psql and pg_amcheck; empty: by PATH
  std::string role = "postgres";   // a superuser of the restored server
  double recovery_timeout = 86400; // seconds
  double gap_time = 30;            // seconds, as of RestoreCommand
  unsigned jobs = 2;
  bool ignore_space = false; // as of RestoreCommand
  bool keep = false, json = false;
};

int run(const DrillCommand& command);

} // namespace dbops::cli
