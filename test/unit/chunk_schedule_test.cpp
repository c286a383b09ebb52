#include "core/wal/chunk_schedule.h"

#include "core/wal/restore_plan.h"

#include <gtest/gtest.h>

namespace dbops::core {
namespace {

const SegmentSize segment_size(16 << 20);

// Ships all there is, with merges, and keeps what the store would have.
struct Shipper {
  ChunkSchedule schedule{segment_size};
  std::vector<ChunkRange> store;
  std::uint64_t bytes = 0;

  void put(const ChunkRange& range) {
    store.push_back(range);
    bytes += range.to - range.from;
    schedule.shipped(range);
  }
  void reach(std::uint64_t flushed) {
    while (const auto range = schedule.next(flushed))
      put(*range);
    while (const auto range = schedule.next_merge())
      put(*range);
  }
};

TEST(ChunkSchedule, NothingNewNothingToShip) {
  const ChunkSchedule schedule(segment_size);
  EXPECT_FALSE(schedule.next(0));
  EXPECT_FALSE(schedule.next_merge());
}

TEST(ChunkSchedule, NeverBeyondWhatIsFlushedNorBeyondTheSegment) {
  Shipper shipper;
  shipper.reach(100);
  EXPECT_EQ(shipper.store.back(), (ChunkRange{0, 100}));
  shipper.reach(std::uint64_t(1) << 40);
  EXPECT_EQ(shipper.schedule.covered(), segment_size.bytes());
  EXPECT_FALSE(shipper.schedule.next(std::uint64_t(1) << 40));
}

TEST(ChunkSchedule, ALargeGapIsShippedInBoundedPieces) {
  Shipper shipper;
  shipper.reach(segment_size.bytes());
  for (const ChunkRange& range : shipper.store)
    EXPECT_LE(range.to - range.from, ChunkSchedule::max_chunk);
}

// A quiet server writes a segment in many hours: a restore of it must not fetch thousands of objects.
TEST(ChunkSchedule, ThousandsOfSmallChunksLeaveFewObjects) {
  Shipper shipper;
  for (std::uint64_t flushed = 1024; flushed <= segment_size.bytes(); flushed += 1024) { // 16384 chunks
    shipper.reach(flushed);
    ASSERT_LE(shipper.schedule.pieces(), 62U) << flushed;
  }
  const RestorePlan plan = plan_chunks(shipper.store, std::uint32_t(segment_size.bytes()));
  EXPECT_EQ(plan.covered, segment_size.bytes());
  EXPECT_LE(plan.pieces.size(), 62U) << "a restore sees the same";
  EXPECT_LE(shipper.bytes, 6 * segment_size.bytes()) << "each byte is shipped a bounded number of times";
}

TEST(ChunkSchedule, MergesAreBounded) {
  Shipper shipper;
  for (std::uint64_t flushed = 300'000; flushed <= segment_size.bytes(); flushed += 300'000) {
    shipper.reach(flushed);
    EXPECT_LE(shipper.store.back().to - shipper.store.back().from, segment_size.bytes() / 8);
  }
}

TEST(ChunkSchedule, ARestartGoesOnWhereTheStoreIs) {
  Shipper before;
  for (std::uint64_t flushed = 500; flushed <= 50'000; flushed += 500)
    before.reach(flushed);
  Shipper after;
  after.schedule.restart(before.store);
  EXPECT_EQ(after.schedule.covered(), 50'000U);
  after.reach(50'000);
  if (!after.store.empty()) {
    EXPECT_LE(after.store.back().to, 50'000U) << "a merge at most";
  }
  after.reach(50'100);
  EXPECT_EQ(after.schedule.covered(), 50'100U);
}

TEST(ChunkSchedule, ARestartStopsAtAGap) {
  ChunkSchedule schedule(segment_size);
  schedule.restart({{0, 100}, {200, 300}});
  EXPECT_EQ(schedule.covered(), 100U);
  EXPECT_EQ(schedule.next(300), (ChunkRange{100, 300}));
}

} // namespace
} // namespace dbops::core
