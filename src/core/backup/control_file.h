// global/pg_control: whether a copy of it is whole, and what it says of the cluster.
#pragma once

#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "core/wal/segment.h"

#include <filesystem>

namespace dbops::core {

// Whether its checksum is right. The place of the checksum differs between majors, so it is looked for.
bool is_whole_control_file(ByteView control_file) noexcept;

// The same, but with a checkpoint that there is none of: a server starts from it with the help of a backup_label alone.
// Throws Error(corrupt) unless it is whole. control_file: of PostgreSQL 13 to 18.
Bytes without_checkpoint(ByteView control_file);

// Reads until it gets a whole one: the server may be writing it. Throws Error(corrupt) when it does not become whole.
Bytes read_control_file(const std::filesystem::path& data_directory);

// ControlFileData.catalog_version_no: part of the names of tablespaces' directories.
std::uint32_t catalog_version(ByteView control_file);

// What pg_control says of the server's state and its last checkpoint.
struct ControlState {
  bool in_production = false; // a primary that runs, or did until it crashed
  Lsn checkpoint = 0, redo = 0;
  TimelineId timeline = 0;
};
// control_file: a whole one, of PostgreSQL 13 to 18.
ControlState control_state(ByteView control_file);

} // namespace dbops::core
