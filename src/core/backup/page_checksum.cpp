#include "core/backup/page_checksum.h"

#include "core/backup/block.h"

#include <array>
#include <cstring>

namespace dbops::core {

namespace {

constexpr std::size_t lanes = 32;
constexpr std::size_t checksum_offset = 8; // pd_checksum
constexpr std::size_t upper_offset = 14;   // pd_upper: 0 in a page that was never initialised

constexpr std::array<std::uint32_t, lanes> initial{
    0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
    0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
    0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
    0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756};

using Row = std::array<std::uint32_t, lanes>;

// One step of FNV-1a, with the high bits mixed in, on all lanes.
inline void mix(Row& sums, const Row& values) noexcept {
  for (std::size_t i = 0; i < lanes; ++i) {
    const std::uint32_t mixed = sums[i] ^ values[i];
    sums[i] = mixed * 16777619U ^ (mixed >> 17);
  }
}

std::uint16_t native16(ByteView page, std::size_t offset) noexcept {
  std::uint16_t value = 0;
  std::memcpy(&value, page.data() + offset, sizeof value);
  return value;
}

} // namespace

std::uint16_t page_checksum(ByteView page, std::uint32_t block) noexcept {
  Row sums = initial, row{};
  for (std::size_t offset = 0; offset < block_size; offset += sizeof row) {
    std::memcpy(row.data(), page.data() + offset, sizeof row);
    // The field itself counts as zero; its two bytes are in the third word, pd_flags in the other two.
    if (offset == 0) std::memset(reinterpret_cast<char*>(row.data()) + checksum_offset, 0, sizeof(std::uint16_t));
    mix(sums, row);
  }
  mix(sums, Row{});
  mix(sums, Row{});
  std::uint32_t checksum = block;
  for (const std::uint32_t sum : sums)
    checksum ^= sum;
  return std::uint16_t(checksum % 65535 + 1); // never 0
}

PageState check_page(ByteView page, std::uint32_t block) noexcept {
  if (native16(page, upper_offset) == 0) return is_all_zero(page) ? PageState::empty : PageState::mismatch;
  return page_checksum(page, block) == native16(page, checksum_offset) ? PageState::good : PageState::mismatch;
}

Lsn page_lsn(ByteView page) noexcept {
  std::uint32_t high = 0, low = 0;
  std::memcpy(&high, page.data(), sizeof high);
  std::memcpy(&low, page.data() + sizeof high, sizeof low);
  return Lsn(high) << 32 | low;
}

} // namespace dbops::core
