// WAL segments that look genuine from outside: a long page header and bytes that compress like WAL.
#pragma once

#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "core/wal/segment.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <vector>

namespace dbops::core {

constexpr std::uint64_t test_system_identifier = 7300000000000000001;

inline Bytes make_segment(const SegmentId& id, SegmentSize size, unsigned seed = 1,
                          std::uint64_t system_identifier = test_system_identifier) {
  Bytes bytes(size.bytes());
  std::mt19937 engine(seed + unsigned(id.number));
  for (std::size_t i = 0; i + 32 < bytes.size(); i += 32) // a third of it random
    for (std::size_t j = 0; j < 10; ++j)
      bytes[i + j] = std::byte(engine() & 0xff);
  const auto put = [&](std::size_t offset, auto value) { std::memcpy(bytes.data() + offset, &value, sizeof value); };
  put(0, std::uint16_t(0xD110));
  put(2, std::uint16_t(0x0002));
  put(4, id.timeline);
  put(8, size.start_of(id.number));
  put(24, system_identifier);
  put(32, std::uint32_t(size.bytes()));
  put(36, std::uint32_t(8192));
  return bytes;
}

// Pages of records with checksums that point to each other, up to the end of the segment. A record ends at each of
// `ends` (bytes from the start, multiples of 8, ascending); where the others end does not depend on the seed.
inline Bytes make_records(const SegmentId& id, SegmentSize size, std::vector<std::size_t> ends, unsigned seed = 1) {
  constexpr std::size_t page = 8192, long_header = 40, short_header = 24, record_header = 24, alignment = 8;
  Bytes bytes = make_segment(id, size, seed);
  const auto put = [](Bytes& into, std::size_t offset, auto value) {
    std::memcpy(into.data() + offset, &value, sizeof value);
  };
  for (std::size_t offset = page; offset < bytes.size(); offset += page) {
    std::fill_n(bytes.begin() + std::ptrdiff_t(offset), short_header, std::byte(0));
    put(bytes, offset, std::uint16_t(0xD110));
    put(bytes, offset + 4, id.timeline);
    put(bytes, offset + 8, Lsn(size.start_of(id.number) + offset));
  }
  std::mt19937 lengths(unsigned(id.number)), content(seed);
  ends.push_back(bytes.size());
  std::size_t place = long_header;
  Lsn previous = size.start_of(id.number) - 100;
  for (const std::size_t end : ends)
    while (place < end) {
      std::size_t room = 0; // for records
      for (std::size_t at = place; at < end; at = (at / page + 1) * page)
        room += std::min(end, (at / page + 1) * page) - at - (at % page == 0 ? short_header : 0);
      std::size_t length = std::min(room, record_header + alignment * (lengths() % 1500));
      if (room - length < record_header) length = room;
      if (place % page == 0) place += short_header;
      Bytes record(length);
      for (std::byte& byte : record)
        byte = std::byte(content() & 0xff);
      put(record, 0, std::uint32_t(length));
      put(record, 8, previous);
      put(record, 20, crc32c(ByteView(record).first(20), crc32c(ByteView(record).subspan(record_header))));
      previous = size.start_of(id.number) + place;
      for (std::size_t sent = 0; sent < length;) {
        if (place % page == 0) {
          put(bytes, place + 2, std::uint16_t(0x0001));
          put(bytes, place + 16, std::uint32_t(length - sent));
          place += short_header;
        }
        const std::size_t here = std::min(length - sent, page - place % page);
        std::copy_n(record.begin() + std::ptrdiff_t(sent), here, bytes.begin() + std::ptrdiff_t(place));
        sent += here;
        place += here;
      }
    }
  return bytes;
}

inline void write_file(const std::filesystem::path& path, ByteView bytes) {
  std::ofstream(path, std::ios::binary).write(as_text(bytes).data(), std::streamsize(bytes.size()));
}

} // namespace dbops::core
