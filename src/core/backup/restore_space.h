// Whether what a restore writes has room where it goes: tablespaces may share a file system with the data directory.
#pragma once

#include "core/base/error.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>

namespace dbops::core {

class RestoreSpace {
 public:
  struct FileSystem {
    std::uint64_t id = 0;
    std::uint64_t free = 0; // bytes, for who asks
  };
  // Of a place that need not be there yet. Throws Error.
  using Look = std::function<FileSystem(const std::filesystem::path&)>;

  explicit RestoreSpace(Look look = file_system_of) : look_(std::move(look)) {}

  // Bytes that will be below it in the end, and how many of those that are there now are overwritten or removed.
  void add(const std::filesystem::path& place, std::uint64_t needed, std::uint64_t replaced);

  // What is missing, of the first file system that has too little. Absent: there is room.
  [[nodiscard]] std::optional<Error> shortage() const;

  static FileSystem file_system_of(const std::filesystem::path& place);

 private:
  struct Account {
    std::filesystem::path place; // the first one
    std::uint64_t free = 0, needed = 0, replaced = 0;
  };
  Look look_;
  std::map<std::uint64_t, Account> accounts_; // by file system
};

// Bytes that the files below a directory take on its file system: not what is mounted there. What cannot be looked at
// counts for nothing.
std::uint64_t allocated_below(const std::filesystem::path& directory);
// Whether a directory is on another file system than the one that it is in.
bool is_mount_point(const std::filesystem::path& directory);

struct FileSpace {
  std::uint64_t size = 0, allocated = 0; // bytes
};
// Of a regular file; nothing for all else.
FileSpace space_of_file(const std::filesystem::path& path);

} // namespace dbops::core
