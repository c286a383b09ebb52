// dbops dump, dbops undump: logical backups by pg_dump, in the same repository
#pragma once

#include "cli/connection.h"
#include "cli/stores.h"

#include <string>
#include <vector>

namespace dbops::cli {

struct DumpCommand {
  StoreSettings stores;
  std::string format = "custom"; // or "directory", by way of `scratch`
  std::vector<std::string> tables, schemas;
  std::string label;
  std::vector<std::string> annotations; // NAME=VALUE
  unsigned jobs = 2;
  int compression_level = 3;
  std::string scratch = "/tmp";
  std::string programs; // directory of pg_dump; empty: by PATH
  bool json = false;
};

struct UndumpCommand {
  StoreSettings stores;
  std::string dump;     // label; empty: the newest
  std::string database; // that was dumped; empty: any
  std::vector<std::string> tables, schemas;
  bool clean = false, create = false, data_only = false;
  unsigned jobs = 1;
  std::string output; // a file or directory to write instead of restoring; empty: none
  std::string scratch = "/tmp";
  std::string programs; // directory of pg_restore; empty: by PATH
};

struct DumpsCommand {
  StoreSettings stores;
  bool json = false;
};

int run(const DumpCommand& command, const ConnectionSettings& settings);
int run(const UndumpCommand& command, const ConnectionSettings& settings);
int run(const DumpsCommand& command);

} // namespace dbops::cli
