// What PostgreSQL wants archived: the *.ready files of pg_wal/archive_status.
#pragma once

#include "core/wal/segment.h"

#include <cstddef>
#include <filesystem>
#include <functional>
#include <vector>

namespace dbops::core {

struct ReadyFiles {
  std::vector<WalFileName> first; // history files, then the others by name: the order in which PostgreSQL asks for them
  std::size_t count = 0;          // of all that are ready
};

// The order in which PostgreSQL's archiver asks for files (pgarch.c, ready_file_comparator).
bool is_archived_before(const WalFileName& left, const WalFileName& right);

// Of the files that are offered to it, the first ones in that order.
class FirstFiles {
 public:
  explicit FirstFiles(std::size_t limit) : limit_(limit) {}
  void offer(const WalFileName& file);
  // In order; empties it.
  std::vector<WalFileName> take();

 private:
  std::size_t limit_;
  std::vector<WalFileName> heap_; // the file that is asked for last is on top
};

// Calls visit for each file that is ready, in no order. Names of no known kind are left out. Returns how many there
// are. Throws Error when the directory cannot be read.
std::size_t visit_ready_files(const std::filesystem::path& archive_status,
                              const std::function<void(const WalFileName&)>& visit);

// One reading of the directory that keeps the first `limit` names and counts all. Throws as visit_ready_files().
ReadyFiles list_ready_files(const std::filesystem::path& archive_status, std::size_t limit);

} // namespace dbops::core
