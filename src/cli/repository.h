// The repository that the commands for backups work with.
#pragma once

#include "cli/stores.h"
#include "core/backup/manifest_store.h"

namespace dbops::cli {

// --store, --key-file and so on; the first store that is named.
class Repository {
 public:
  // identifier: absent: the one of `settings`, or of the only cluster that the store has. Throws core::Error.
  Repository(const StoreSettings& settings, std::optional<std::uint64_t> identifier, int compression_level = 3);

  [[nodiscard]] const core::BackupRepository& get() const noexcept { return *repository_; }
  [[nodiscard]] core::ObjectStore& store() const noexcept { return *stores_.all().front(); }
  core::Clock& clock() noexcept { return stores_.clock(); }

 private:
  Stores stores_;
  std::optional<core::BackupRepository> repository_;
};

// "12.3 MB"
std::string size_text(std::uint64_t bytes);
// "2026-11-21 14:30:00", in the time zone of who reads it.
std::string time_text(core::WallTime time);

} // namespace dbops::cli
