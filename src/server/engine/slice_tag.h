// The lock of a job's slice: who has it works on the slice.
#pragma once

#include <cstdint>
#include <cstring>

#include "server/pg.h"

extern "C" {
#include "storage/lock.h"
}

namespace dbops::server {

// pg_advisory_lock() uses 1 and 2 in this place, so no user can take one of these.
inline constexpr std::uint16_t slice_lock_class = 0xDB;

// 48 bits of job id and 16 of slice.
inline LOCKTAG slice_tag(std::int64_t job, int slice) {
  LOCKTAG tag;
  const auto low = static_cast<std::uint32_t>(job & 0xffffffff);
  const auto high = static_cast<std::uint32_t>((job >> 32) & 0xffff) | static_cast<std::uint32_t>(slice) << 16;
  SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, low, high, slice_lock_class);
  return tag;
}

inline bool is_slice_of(const LOCKTAG& tag, std::int64_t job) {
  const LOCKTAG slice = slice_tag(job, static_cast<int>(tag.locktag_field3 >> 16));
  return std::memcmp(&tag, &slice, sizeof tag) == 0;
}

} // namespace dbops::server
