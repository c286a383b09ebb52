// dbops backup: a backup of a running server, taken on the machine that it runs on
#pragma once

#include "cli/connection.h"
#include "cli/stores.h"

#include <map>
#include <string>
#include <vector>

namespace dbops::cli {

struct BackupCommand {
  StoreSettings stores;
  std::string data_directory; // empty: as the server says
  bool full = false;          // all blocks again
  std::string label;
  std::vector<std::string> annotations; // NAME=VALUE
  unsigned jobs = 2;
  int compression_level = 3;
  std::string max_rate;         // bytes a second: "50MB"; empty: no limit
  double archive_timeout = 600; // seconds to wait for the WAL of the backup
  bool json = false;
};

int run(const BackupCommand& command, const ConnectionSettings& settings);

// "50MB", "1GB", "4096"; absent: not a size
std::optional<std::uint64_t> parse_size(std::string_view text);

} // namespace dbops::cli
