// The directories that a backup is restored into: what may be done with them, in which order, and what makes the result
// a data directory that a server starts from.
#pragma once

#include "core/backup/restore_claim.h"
#include "core/backup/restore_run.h"
#include "core/backup/restore_space.h"

#include <functional>
#include <optional>

namespace dbops::core {

class RestoreDirectory {
 public:
  // Both must outlive it.
  RestoreDirectory(const BackupHead& head, const RestoreOptions& options);

  // Throws Error(configuration) unless the directories are empty, or hold a restore that was interrupted, or may be
  // overwritten (delta); when a server runs there, or pg_wal has what was not archived; Error(conflict) when another
  // restore has them. Of tablespaces, only those that the data directory has links to may hold anything.
  void check();
  // For check_space(): told of each entry of the backup. Looks at what is there in its place.
  void count(const FileEntry& entry);
  // Once, after check() and count(). Throws Error(no_space), unless a restore goes on that was interrupted: what is
  // there may take less than it is long. Returns what is to be warned of; empty: nothing.
  std::string check_space(const RestoreSpace::Look& look = RestoreSpace::file_system_of);
  // True: there may be files that can be kept.
  [[nodiscard]] bool reuses_files() const noexcept { return reuses_files_; }

  // From here on no server can start from it, and no other restore begins, until finish(). What check() has found is
  // looked at once more, under the locks.
  void begin();
  // Removes what the backup does not have. next: its entries in order.
  void remove_others(const std::function<std::optional<FileEntry>()>& next);

  struct Made {
    std::filesystem::path path;
    bool had_content = false; // a file: something of it was there
  };
  // Makes a directory or link; a file gets its size and mode.
  Made make(const FileEntry& entry);

  // Makes all durable, and the directory whole.
  void finish();

 private:
  [[nodiscard]] std::string location(std::uint32_t oid, const std::string& original) const;
  void check_directory(const std::filesystem::path& directory, bool reuses, const char* hint) const;
  void check_places();
  void check_archived() const;
  [[nodiscard]] bool is_in_use_here(std::uint32_t oid, const std::filesystem::path& place) const;
  [[nodiscard]] bool was_interrupted() const;
  void write_durably(const std::filesystem::path& name, ByteView content) const;
  [[nodiscard]] std::string tablespace_map() const;

  [[nodiscard]] std::filesystem::path place_of(const std::string& path) const;

  struct Volume {
    std::uint64_t needed = 0, replaced = 0; // bytes, as RestoreSpace has them
  };
  const BackupHead& head_;
  const RestoreOptions& options_;
  RestoreClaim claim_;
  bool reuses_files_ = false, interrupted_ = false;
  std::map<std::uint32_t, Volume> bytes_; // by the OID of the tablespace; 0: the data directory
};

} // namespace dbops::core
