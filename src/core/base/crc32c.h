// CRC-32C, as PostgreSQL computes it for pg_control and for WAL records.
#pragma once

#include "core/base/bytes.h"

namespace dbops::core {

// before: of the bytes in front of these; 0: there are none.
std::uint32_t crc32c(ByteView bytes, std::uint32_t before = 0) noexcept;

} // namespace dbops::core
