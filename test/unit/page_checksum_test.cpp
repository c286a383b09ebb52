#include "core/backup/page_checksum.h"

#include "core/backup/block.h"
#include "core/backup/control_file.h"

#include <gtest/gtest.h>

#include <cstring>

namespace dbops::core {
namespace {

// A page with bytes that any other implementation can make as well.
Bytes page() {
  Bytes bytes(block_size);
  for (std::size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = std::byte(i * 7 & 0xff);
  return bytes;
}

void set16(Bytes& bytes, std::size_t offset, std::uint16_t value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

TEST(PageChecksum, GoodAndChangedAndMoved) {
  Bytes bytes = page();
  set16(bytes, 8, page_checksum(bytes, 131072 + 5));
  EXPECT_EQ(check_page(bytes, 131072 + 5), PageState::good);
  EXPECT_EQ(check_page(bytes, 131072 + 6), PageState::mismatch); // another place
  for (const std::size_t offset : {0UL, 8UL, 10UL, 4000UL, 8191UL}) {
    Bytes changed = bytes;
    changed[offset] ^= std::byte(1);
    EXPECT_EQ(check_page(changed, 131072 + 5), PageState::mismatch) << offset;
  }
}

TEST(PageChecksum, TheFieldItselfDoesNotCount) {
  Bytes bytes = page();
  const std::uint16_t checksum = page_checksum(bytes, 1);
  set16(bytes, 8, 0x1234);
  EXPECT_EQ(page_checksum(bytes, 1), checksum);
}

TEST(PageChecksum, ANewPageIsAllZero) {
  Bytes bytes(block_size);
  EXPECT_EQ(check_page(bytes, 9), PageState::empty);
  bytes[5000] = std::byte(1);
  EXPECT_EQ(check_page(bytes, 9), PageState::mismatch);
}

TEST(PageChecksum, LsnOfAPage) {
  Bytes bytes(block_size);
  const std::uint32_t high = 0x12, low = 0x34567890;
  std::memcpy(bytes.data(), &high, 4);
  std::memcpy(bytes.data() + 4, &low, 4);
  EXPECT_EQ(page_lsn(bytes), 0x1234567890U);
}

TEST(ControlFile, ChecksumIsFoundWhereverItIs) {
  EXPECT_EQ(crc32c(as_bytes("123456789")), 0xE3069283U); // RFC 3720's check value
  for (const std::size_t place : {288U, 296U, 304U}) {
    Bytes bytes(8192);
    for (std::size_t i = 0; i < place; ++i)
      bytes[i] = std::byte(i & 0xff);
    const std::uint32_t crc = crc32c(ByteView(bytes).first(place));
    std::memcpy(bytes.data() + place, &crc, sizeof crc);
    EXPECT_TRUE(is_whole_control_file(bytes));
    bytes[100] ^= std::byte(1);
    EXPECT_FALSE(is_whole_control_file(bytes));
    bytes[100] ^= std::byte(1);
    bytes.resize(4096);
    EXPECT_FALSE(is_whole_control_file(bytes));
  }
}

} // namespace
} // namespace dbops::core
