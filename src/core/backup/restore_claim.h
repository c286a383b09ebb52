// Keeps others out of the directories of a restore for as long as it takes: other restores, and servers that start.
#pragma once

#include "core/base/file.h"

#include <string>
#include <vector>

namespace dbops::core {

// The file with which a server says that a data directory is its own (miscinit.c, CreateLockFile).
constexpr const char* server_lock_file = "postmaster.pid";

// All that it holds ends with it, or with its process.
class RestoreClaim {
 public:
  RestoreClaim() = default;
  ~RestoreClaim();
  RestoreClaim(const RestoreClaim&) = delete;
  RestoreClaim& operator=(const RestoreClaim&) = delete;
  RestoreClaim(RestoreClaim&&) = delete;
  RestoreClaim& operator=(RestoreClaim&&) = delete;

  // A directory that is there, against other restores. Throws Error(conflict) when one has it.
  void lock(const std::filesystem::path& directory);
  // Throws Error(configuration) when a server runs in the directory, as its lock file has it, or may be starting, as
  // the file names no process yet, and Error(conflict) when it is another restore's. To be called with the directory
  // locked: else the file of a restore that was killed counts as long as any process has its number.
  void require_no_server(const std::filesystem::path& data_directory) const;
  // Takes the server's lock file, which no server starts beside. Throws as require_no_server().
  void hold_off_servers(const std::filesystem::path& data_directory);
  // Throws Error(conflict) when the lock file is not ours any more: somebody has removed or replaced it.
  void require_held() const;
  // Gives the lock file back.
  void release();

 private:
  [[nodiscard]] bool is_locked(const std::filesystem::path& directory) const;
  std::vector<std::pair<std::filesystem::path, File>> locked_;
  std::filesystem::path lock_file_; // empty: not taken
  std::string content_;
};

} // namespace dbops::core
