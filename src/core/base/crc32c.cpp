#include "core/base/crc32c.h"

#include <array>

namespace dbops::core {

namespace {

constexpr std::array<std::uint32_t, 256> crc_table = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit)
      value = (value & 1) != 0 ? value >> 1 ^ 0x82F63B78U : value >> 1;
    table[i] = value;
  }
  return table;
}();

} // namespace

std::uint32_t crc32c(ByteView bytes, std::uint32_t before) noexcept {
  std::uint32_t crc = before ^ 0xffffffffU;
  for (const std::byte byte : bytes)
    crc = crc >> 8 ^ crc_table[(crc ^ std::to_integer<std::uint32_t>(byte)) & 0xff];
  return crc ^ 0xffffffffU;
}

} // namespace dbops::core
