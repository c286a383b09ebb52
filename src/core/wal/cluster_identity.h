// Which cluster a data directory belongs to, read from its files: no server needs to run.
#pragma once

#include "core/base/bytes.h"
#include "core/wal/segment.h"

#include <filesystem>
#include <optional>

namespace dbops::core {

struct ClusterIdentity {
  std::uint64_t system_identifier = 0;
  std::optional<SegmentSize> segment_size; // absent: not found out
};

// control_file: the beginning of global/pg_control, in the byte order of this machine. Neither field ever changes, so a
// server that is writing the file does no harm. Absent: not a control file of PostgreSQL 13 or later.
std::optional<ClusterIdentity> parse_control_file(ByteView control_file);

// From global/pg_control, or else from the first page of a segment in pg_wal. Absent: neither tells.
std::optional<ClusterIdentity> read_cluster_identity(const std::filesystem::path& data_directory);

} // namespace dbops::core
