// The settings of archiving as plain values, for threads and for noticing a change.
#pragma once

#include "core/base/clock.h"

#include <cstdint>
#include <string>

namespace dbops::server::archive {

// Which file is at a path: another one, or one that was written to, has another stamp.
struct FileStamp {
  std::uint64_t inode = 0, size = 0;
  std::int64_t changed = 0; // nanoseconds
  friend bool operator==(const FileStamp&, const FileStamp&) = default;
};

struct Settings {
  std::string store, offsite_store; // URLs; empty: none
  std::string credentials_file, key_file;
  FileStamp credentials_stamp, key_stamp;
  int workers = 0, compression_level = 0;
  core::milliseconds upload_timeout{}; // for a file of wal_segment_size
  friend bool operator==(const Settings&, const Settings&) = default;
};

// As they are now, without the stamps: a file on a network that does not answer holds up nobody.
Settings current_settings();
// Looks at the two files, not into them: for threads.
void stamp_files(Settings& settings);

} // namespace dbops::server::archive
