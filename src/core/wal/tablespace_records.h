// CREATE TABLESPACE in WAL. Replay makes the tablespace at the place that the record names, whatever a restore has
// mapped, and takes over files that are there already (create_tablespace_directories, commands/tablespace.c).
#pragma once

#include "core/base/bytes.h"
#include "core/wal/segment.h"

#include <functional>
#include <string>
#include <vector>

namespace dbops::core {

struct TablespaceCreation {
  Lsn record = 0;
  std::uint32_t oid = 0;
  std::string location; // absolute; empty: within the data directory (allow_in_place_tablespaces)
};

// At most `length` bytes from `offset` on: fewer only at the end.
using ReadWal = std::function<Bytes(std::uint64_t offset, std::size_t length)>;

// Those that end in a segment, in their order, up to the first byte that is no WAL. page_before: the last page of the
// segment before it, in which such a record may begin; empty or another one: not known. PostgreSQL 13 to 18. Throws
// Error(corrupt) when a record is whole and does not have the form of its kind.
std::vector<TablespaceCreation> tablespace_creations(ByteView page_before, const ReadWal& segment,
                                                     std::uint64_t segment_size);

} // namespace dbops::core
