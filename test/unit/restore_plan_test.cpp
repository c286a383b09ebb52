#include "core/wal/restore_plan.h"
#include "core/wal/watermark.h"

#include <gtest/gtest.h>
#include <random>

namespace dbops::core {
namespace {

constexpr std::uint32_t segment = 1 << 20;

TEST(RestorePlan, InOrderWithoutOverlap) {
  const RestorePlan plan = plan_chunks({{10, 20}, {0, 10}}, segment);
  ASSERT_EQ(plan.pieces.size(), 2U);
  EXPECT_EQ(plan.covered, 20U);
  EXPECT_EQ(plan.pieces[1].chunk, (ChunkRange{10, 20}));
  EXPECT_EQ(plan.pieces[1].skip, 0U);
}

TEST(RestorePlan, StopsAtTheFirstGap) {
  EXPECT_EQ(plan_chunks({{0, 10}, {11, 20}}, segment).covered, 10U);
  EXPECT_EQ(plan_chunks({{1, 10}}, segment).covered, 0U);
  EXPECT_TRUE(plan_chunks({}, segment).pieces.empty());
}

TEST(RestorePlan, OverlapsTakeTheFewestObjects) {
  const RestorePlan plan = plan_chunks({{0, 10}, {5, 12}, {8, 30}, {0, 9}, {11, 29}, {30, 31}}, segment);
  ASSERT_EQ(plan.pieces.size(), 3U);
  EXPECT_EQ(plan.pieces[1].chunk, (ChunkRange{8, 30}));
  EXPECT_EQ(plan.pieces[1].skip, 2U);
  EXPECT_EQ(plan.covered, 31U);
}

TEST(RestorePlan, NothingBehindTheLimit) {
  const RestorePlan plan = plan_chunks({{0, 10}, {10, 30}, {30, 40}}, 25);
  EXPECT_EQ(plan.pieces.size(), 2U);
  EXPECT_EQ(plan.covered, 25U);
}

// Against a plain count of bytes.
TEST(RestorePlan, RandomChunks) {
  std::mt19937 engine(7);
  for (int round = 0; round < 2000; ++round) {
    std::vector<ChunkRange> chunks;
    std::vector<bool> there(64);
    for (unsigned i = engine() % 12; i > 0; --i) {
      const std::uint32_t from = engine() % 60, to = from + 1 + engine() % (64 - from - 1 + 1);
      chunks.push_back({from, std::min(to, 64U)});
      std::fill(there.begin() + from, there.begin() + chunks.back().to, true);
    }
    const std::uint32_t limit = engine() % 65;
    const auto gap = std::uint32_t(std::find(there.begin(), there.end(), false) - there.begin());
    const RestorePlan plan = plan_chunks(chunks, limit);
    EXPECT_EQ(plan.covered, std::min(gap, limit));
    std::uint32_t position = 0;
    for (const ChunkPiece& piece : plan.pieces) {
      EXPECT_EQ(piece.chunk.from + piece.skip, position);
      EXPECT_GT(piece.chunk.to, position);
      position = piece.chunk.to;
    }
  }
}

TEST(Watermark, ContiguousOnly) {
  DurableWatermark mark(100);
  mark.add(120, 130);
  EXPECT_EQ(mark.durable(), 100U);
  mark.add(140, 150);
  mark.add(130, 135);
  EXPECT_EQ(mark.islands(), 2U);
  mark.add(100, 120);
  EXPECT_EQ(mark.durable(), 135U);
  mark.add(0, 50);
  mark.add(110, 140);
  EXPECT_EQ(mark.durable(), 150U);
  EXPECT_EQ(mark.islands(), 0U);
  mark.add(200, 200);
  EXPECT_EQ(mark.islands(), 0U);
}

TEST(Watermark, RandomOrderEndsAtTheEnd) {
  std::mt19937 engine(3);
  for (int round = 0; round < 200; ++round) {
    std::vector<Lsn> starts(50);
    for (std::size_t i = 0; i < starts.size(); ++i)
      starts[i] = 10 * i;
    std::shuffle(starts.begin(), starts.end(), engine);
    DurableWatermark mark(0);
    std::vector<bool> there(51);
    for (const Lsn start : starts) {
      mark.add(start, start + 10);
      there[start / 10] = true;
      EXPECT_EQ(mark.durable(), Lsn(10 * (std::find(there.begin(), there.end(), false) - there.begin())));
    }
  }
}

} // namespace
} // namespace dbops::core
