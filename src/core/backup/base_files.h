// The files of earlier backups, beside the walk of a new one.
#pragma once

#include "core/backup/manifest_store.h"

#include <memory>
#include <vector>

namespace dbops::core {

// Several lists of files, all read in the order of the walk at the same time. The first that has a file counts: that of
// the backup that was aborted last, before the last whole one, so that its work is not done again.
class BaseFiles {
 public:
  // Finds what is there; with `none`, nothing. repository must outlive it. Throws Error(key_missing) and
  // Error(key_wrong) when the last whole backup, or one that is damaged since, does not open with its keys.
  BaseFiles(const BackupRepository& repository, bool none, const CallContext& context);

  // The last whole backup; absent: there is none.
  [[nodiscard]] const std::optional<BackupHead>& head() const noexcept { return head_; }
  // Paths must come in the order of path_less(). Absent: no earlier backup has a file of that name.
  std::optional<FileEntry> find(const std::string& path, const CallContext& context);

 private:
  struct List {
    FileListReader reader;
    std::optional<FileEntry> next;
    bool whole = true; // the next part may be read
  };
  static void advance(List& list, const CallContext& context);

  std::vector<List> lists_;
  std::optional<BackupHead> head_;
};

} // namespace dbops::core
