// The first page of a WAL segment says which cluster it belongs to (access/xlog_internal.h, XLogLongPageHeaderData).
#pragma once

#include "core/base/bytes.h"
#include "core/wal/segment.h"

#include <optional>

namespace dbops::core {

struct SegmentHeader {
  std::uint16_t magic = 0; // XLOG_PAGE_MAGIC: changes with each major version
  TimelineId timeline = 0;
  Lsn page_address = 0;
  std::uint64_t system_identifier = 0;
  std::uint32_t segment_size = 0; // bytes
};

// first_page: at least 40 bytes from the start of a segment, in the byte order of this machine.
// Throws Error(corrupt) when it has no long page header.
SegmentHeader parse_segment_header(ByteView first_page);

// XLOG_BLCKSZ, from the same bytes; absent: what is there is none.
std::optional<std::size_t> wal_page_size(ByteView first_page);

// Throws Error(corrupt) naming what differs, unless the header is that of segment `name` of the cluster and the file
// has the size that the header says. A segment may begin with a page of an older timeline, as PostgreSQL copies it at a
// switch, so the timeline is only bounded from above.
void check_segment(ByteView first_page, std::uint64_t file_size, std::uint64_t system_identifier,
                   std::string_view name);

} // namespace dbops::core
