// What PostgreSQL wants archived: the *.ready files of pg_wal/archive_status.
#pragma once

#include "core/wal/segment.h"

#include <cstddef>
#include <filesystem>
#include <vector>

namespace dbops::core {

struct ReadyFiles {
  std::vector<WalFileName> first; // history files, then the others by name: the order in which PostgreSQL asks for them
  std::size_t count = 0;          // of all that are ready
};

// The order in which PostgreSQL's archiver asks for files (pgarch.c, ready_file_comparator).
bool is_archived_before(const WalFileName& left, const WalFileName& right);

// One reading of the directory that keeps the first `limit` names and counts the rest. Names of no known kind are left
// out. Throws Error when the directory cannot be read.
ReadyFiles list_ready_files(const std::filesystem::path& archive_status, std::size_t limit);

} // namespace dbops::core
