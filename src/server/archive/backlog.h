// What each repository lacks of WAL, as far as it is known here without asking a store.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "server/archive/shared.h"

namespace dbops::server::archive {

struct Backlog {
  bool catching_up = false; // files went without this repository, or nobody knows whether some did
  std::int64_t files =
      0;              // at most that many; those that went without it are counted as the segments that may be lacking
  std::string oldest; // the first of them; empty: there is none
  std::vector<std::string> damaged; // names of objects that the first store cannot give
};

// For each repository; one that is not set lacks all that waits. Reads the directory of files to be archived and
// dbops.offsite_backlog. Throws core::Error.
std::array<Backlog, repositories> read_backlogs(const ArchiveShared& memory, const char* offsite_store);

} // namespace dbops::server::archive
