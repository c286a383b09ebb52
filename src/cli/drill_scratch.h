// The directory that a drill works in, and those that drills have left which were killed.
#pragma once

#include "core/base/file.h"

#include <filesystem>
#include <functional>
#include <string>

namespace dbops::cli {

class DrillScratch {
 public:
  // Makes a directory below `parent`. Throws core::Error.
  explicit DrillScratch(const std::filesystem::path& parent);

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  // Where the data directory of the drill's server is, in each of them.
  [[nodiscard]] static std::filesystem::path data_of(const std::filesystem::path& scratch) { return scratch / "data"; }

  // It stays, and no later drill removes it.
  void keep() noexcept;
  void remove() noexcept;

 private:
  std::filesystem::path path_;
  core::File lock_; // held as long as this process lives
};

// Stops the server in a data directory; whether none runs there any more.
using StopServer = std::function<bool(const std::filesystem::path& data)>;

// Removes what drills of this user have left below `parent` whose processes have ended, the servers that they started
// first. said: told of each, and of what could not be removed.
void remove_dead_drills(const std::filesystem::path& parent, const StopServer& stop_server,
                        const std::function<void(const std::string&)>& said);

} // namespace dbops::cli
