// A WAL segment that lies in pg_wal of the data directory that is being recovered.
#pragma once

#include "core/wal/restore_file.h"
#include "core/wal/segment.h"

#include <filesystem>

namespace dbops::core {

enum class LocalSegment {
  none,     // not there, or made for later use and not begun
  begun,    // it has WAL of this segment; how much cannot be said without replaying it
  complete, // it has WAL up to its end
};

// directory: pg_wal. A file counts as complete when that can be proved: its last page is there and is full; or the
// segment behind it is there too, and its first record follows an XLOG switch that this one has. Never throws: a file
// that cannot be read proves nothing.
LocalSegment look_at_local_segment(const std::filesystem::path& directory, const WalFileName& segment,
                                   std::uint64_t system_identifier) noexcept;

// Whether the file in pg_wal begins with all that a padded segment has in front of its padding. Never throws.
bool local_segment_has(const std::filesystem::path& directory, const WalFileName& segment,
                       const RestoreFile& padded) noexcept;

} // namespace dbops::core
