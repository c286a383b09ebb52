// WAL segments that look genuine from outside: a long page header and bytes that compress like WAL.
#pragma once

#include "core/base/bytes.h"
#include "core/wal/segment.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

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

inline void write_file(const std::filesystem::path& path, ByteView bytes) {
  std::ofstream(path, std::ios::binary).write(as_text(bytes).data(), std::streamsize(bytes.size()));
}

} // namespace dbops::core
