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
  // Told of what is left out although a rule does not say so: sockets, pipes, devices, and what lies behind a link to a
  // directory. May be empty.
  std::function<void(const std::string& path)> skipped;
  // Called between two looks at a tablespace that is not there: DROP TABLESPACE may be removing it. May throw.
  std::function<void()> look_again;
};

// Calls visit with each directory, symbolic link and file that file_rule() takes, without the forks of unlogged
// relations; FileEntry::regions is empty. What vanishes meanwhile is left out. Holds the names of one directory and of
// those above it at a time. Throws Error, and what visit throws; Error(configuration) when a tablespace is not where
// its link leads, or data of the server lies behind a link that is not its own.
void walk_data_directory(const WalkOptions& options, const std::function<void(FileEntry)>& visit);

} // namespace dbops::core
