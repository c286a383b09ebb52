#include "core/backup/region_map.h"

#include "core/base/error.h"

#include <gtest/gtest.h>

#include <random>

namespace dbops::core {
namespace {

PackId pack(int number) {
  PackId id{};
  id[0] = std::byte(number);
  return id;
}

// Frames of 32 blocks in two packs, every tenth block zero.
RegionMap sample(std::uint32_t blocks, unsigned seed = 1) {
  RegionMap map;
  FrameTable frames(map);
  std::mt19937 engine(seed);
  for (std::uint32_t i = 0; i < blocks; ++i) {
    BlockEntry block;
    if (i % 10 != 3) {
      block.frame = frames.index({pack(int(i / 32 % 2)), i / 32 * 1000, 900});
      block.offset = i % 32 * block_size;
      for (std::byte& byte : block.hash)
        byte = std::byte(engine() & 0xff);
    }
    map.blocks.push_back(block);
  }
  return map;
}

void expect_same(const RegionMap& a, const RegionMap& b) {
  ASSERT_EQ(a.blocks.size(), b.blocks.size());
  for (std::size_t i = 0; i < a.blocks.size(); ++i) {
    ASSERT_EQ(a.blocks[i].frame == BlockEntry::zero, b.blocks[i].frame == BlockEntry::zero) << i;
    if (a.blocks[i].frame == BlockEntry::zero) continue;
    ASSERT_EQ(a.blocks[i].hash, b.blocks[i].hash) << i;
    ASSERT_EQ(a.blocks[i].offset, b.blocks[i].offset) << i;
    ASSERT_EQ(a.frame_of(a.blocks[i]), b.frame_of(b.blocks[i])) << i;
  }
}

Bytes no_base(const BlobRef& /*ref*/) {
  throw std::logic_error("there is no other map");
}

const BlobRef base_ref{{pack(9), 7, 8}, 9, 10};

TEST(RegionMap, WholeMapIsReadBack) {
  for (const std::uint32_t blocks : {0U, 1U, 3U, 4U, 33U, region_blocks}) {
    const RegionMap map = sample(blocks);
    const StoredRegionMap read = decode_region_map(encode_region_map(map), no_base);
    EXPECT_FALSE(read.base);
    expect_same(map, read.map);
  }
}

TEST(RegionMap, WholeMapTakesSixteenBytesABlockAndLittleMore) {
  EXPECT_LT(encode_region_map(sample(region_blocks)).size(), region_blocks * 21U);
}

TEST(RegionMap, DifferenceIsAppliedToItsBase) {
  const RegionMap base = sample(1000);
  std::mt19937 engine(5);
  for (int round = 0; round < 50; ++round) {
    RegionMap map = base;
    map.blocks.resize(900 + engine() % 200); // shorter or longer, new blocks are zero
    const auto frame = std::uint32_t(map.frames.size());
    map.frames.push_back({pack(3), 5, 6});
    for (unsigned i = 0; i < engine() % 20; ++i)
      map.blocks[engine() % map.blocks.size()] = {BlockHash{std::byte(i)}, frame, i * block_size};
    const auto difference = encode_region_difference(map, base, base_ref);
    ASSERT_TRUE(difference);
    EXPECT_LT(difference->size(), 6000U);
    const StoredRegionMap read = decode_region_map(*difference, [&](const BlobRef& ref) {
      EXPECT_EQ(ref, base_ref);
      return encode_region_map(base);
    });
    EXPECT_EQ(read.base, base_ref);
    expect_same(map, read.map);
  }
}

TEST(RegionMap, LargeDifferenceIsNotMade) {
  EXPECT_FALSE(encode_region_difference(sample(1000, 2), sample(1000, 1), base_ref));
}

TEST(RegionMap, SameContentInAnotherPlaceIsADifference) {
  const RegionMap base = sample(100);
  RegionMap map = base;
  map.frames[0].pack = pack(7); // e.g. since the first one was damaged
  const auto difference = encode_region_difference(map, base, base_ref);
  ASSERT_FALSE(difference); // 29 of 100 blocks
  expect_same(decode_region_map(encode_region_map(map), no_base).map, map);
}

TEST(RegionMap, DamageIsRefused) {
  const Bytes whole = encode_region_map(sample(200));
  for (std::size_t length = 0; length < whole.size(); length += 13)
    EXPECT_THROW(decode_region_map(ByteView(whole).first(length), no_base), Error) << length;
  Bytes longer = whole;
  longer.push_back(std::byte(0));
  EXPECT_THROW(decode_region_map(longer, no_base), Error);
  Bytes other = whole;
  other[0] = std::byte(3);
  EXPECT_THROW(decode_region_map(other, no_base), Error);
}

TEST(RegionMap, DifferenceToADifferenceIsRefused) {
  const RegionMap base = sample(100);
  RegionMap map = base;
  map.blocks[0] = BlockEntry{};
  const Bytes difference = encode_region_difference(map, base, base_ref).value();
  EXPECT_THROW(decode_region_map(difference, [&](const BlobRef&) { return difference; }), Error);
}

} // namespace
} // namespace dbops::core
