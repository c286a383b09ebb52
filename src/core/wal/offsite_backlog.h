// What the second repository may lack because it was out for too long: remembered in the data directory, made up for by
// copying from the first one.
#pragma once

#include "core/store/object_store.h"
#include "core/wal/layout.h"

#include <filesystem>
#include <optional>

namespace dbops::core {

struct OffsiteBacklog {
  std::string store;          // URL of the repository that is behind
  std::string position;       // objects whose key below the cluster's prefix comes after this may be missing
  std::uint64_t revision = 0; // counts the files that were let go
};

// <data directory>/dbops.offsite_backlog. Used by several processes at once.
class OffsiteBacklogFile {
 public:
  explicit OffsiteBacklogFile(std::filesystem::path data_directory);

  // Absent: that repository lacks nothing. A file about another repository counts as none.
  [[nodiscard]] std::optional<OffsiteBacklog> read(const std::string& store) const;
  // Durable when it returns: only then may the file be recycled.
  void add(const std::string& store, const WalFileName& file);
  // Everything up to `position` is there. False, and nothing changes: a file was let go since `seen` was read.
  bool advance(const OffsiteBacklog& seen, const std::string& position);
  // Everything is there. False as above.
  bool clear(const OffsiteBacklog& seen);

 private:
  void write(const OffsiteBacklog& backlog) const;
  std::filesystem::path directory_, path_;
};

// Copies the WAL objects of a cluster that one repository has and another lacks, as they are: both are of one format.
// Chunks are left out.
class RepositoryCopier {
 public:
  RepositoryCopier(ObjectStore& from, ObjectStore& to, std::uint64_t system_identifier);

  struct Step {
    std::string position; // everything up to here is there now
    bool complete = false;
    std::uint64_t copied = 0, bytes = 0;
  };
  // Looks at one page of at most 1000 objects behind `position` and copies at most `limit` of them.
  // Throws Error(conflict) when the other repository has another content under a name, and what ObjectStore throws.
  Step copy(const std::string& position, std::size_t limit, const CallContext& context);

 private:
  [[nodiscard]] std::vector<std::string> present(const std::string& after, const std::string& last,
                                                 const CallContext& context) const;
  std::uint64_t copy_object(const std::string& key, const CallContext& context);

  ObjectStore &from_, &to_;
  std::string root_;
};

} // namespace dbops::core
