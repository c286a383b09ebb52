// Keeps replay out of tablespaces that are not this server's.
#pragma once

#include "core/wal/restore_file.h"
#include "core/wal/tablespace_records.h"

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace dbops::cli {

// A tablespace that was made behind a backup is made again by replay, at the place that the WAL names: on the machine
// of the source that is the living server's own, whose files replay would overwrite.
class TablespaceGuard {
 public:
  // data_directory: of the server that recovers; when it is none, nothing is refused. none_at_all: refuse every new
  // tablespace of which this server does not have the link already.
  TablespaceGuard(std::filesystem::path data_directory, bool none_at_all)
      : data_directory_(std::move(data_directory)), none_at_all_(none_at_all) {}

  struct Refusal {
    std::string what, hint;
  };
  // Of the first tablespace that must not be made. pg_wal: where what was replayed before lies. name: of the segment.
  [[nodiscard]] std::optional<Refusal> look_at(const core::RestoreFile& segment, const std::filesystem::path& pg_wal,
                                               std::string_view name) const;

 private:
  [[nodiscard]] std::optional<Refusal> judge(const core::TablespaceCreation& creation) const;
  [[nodiscard]] bool is_own(const core::TablespaceCreation& creation) const;
  [[nodiscard]] bool is_occupied(const std::filesystem::path& location) const;

  std::filesystem::path data_directory_;
  bool none_at_all_;
};

} // namespace dbops::cli
