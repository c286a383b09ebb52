// PostgreSQL's checksum of data pages (storage/checksum_impl.h), and what a page's header says.
#pragma once

#include "core/base/bytes.h"
#include "core/wal/segment.h"

namespace dbops::core {

// page: 8192 bytes. block: number within its relation's fork, counted over all its files.
std::uint16_t page_checksum(ByteView page, std::uint32_t block) noexcept;

enum class PageState {
  good,
  empty,    // never initialised: must be, and is, all zero
  mismatch, // the checksum is that of other content: corrupt, or read while it was written
};

// A page of a cluster with data checksums.
PageState check_page(ByteView page, std::uint32_t block) noexcept;

// pd_lsn. page: at least 8 bytes.
Lsn page_lsn(ByteView page) noexcept;

} // namespace dbops::core
