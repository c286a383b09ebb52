// Which stores are known to hold a repository of this cluster, in a file of its data directory. A store that is empty
// although it is one of them is not new: its file system is not mounted, or somebody has emptied it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace dbops::core {

class KnownRepositories {
 public:
  explicit KnownRepositories(std::filesystem::path data_directory);

  // store: ObjectStore::describe(). Throws Error.
  [[nodiscard]] bool contains(const std::string& store) const;
  // Durable when they return; processes of one cluster may call them at the same time.
  void add(const std::string& store) const;
  void remove(const std::string& store) const;

 private:
  [[nodiscard]] std::vector<std::string> read() const;
  void change(const std::string& store, bool wanted) const;

  std::filesystem::path directory_;
};

} // namespace dbops::core
