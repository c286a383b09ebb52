// The files of a data directory, in the order of manifests.
#pragma once

#include "core/backup/manifest.h"

#include <filesystem>
#include <functional>

namespace dbops::core {

struct WalkOptions {
  std::filesystem::path data_directory;
  // "PG_15_202209061": what is this server's in the directory of a tablespace. Other servers' are left alone.
  std::string tablespace_version_directory;
  // Told of what is left out although a rule does not say so: sockets, pipes, devices. May be empty.
  std::function<void(const std::string& path)> skipped;
};

// Calls visit with each directory, symbolic link and file that file_rule() takes, without the forks of unlogged
// relations; FileEntry::regions is empty. What vanishes meanwhile is left out. Holds the names of one directory and of
// those above it at a time. Throws Error, and what visit throws.
void walk_data_directory(const WalkOptions& options, const std::function<void(FileEntry)>& visit);

} // namespace dbops::core
