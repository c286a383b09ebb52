#include "core/wal/own_history.h"

#include <gtest/gtest.h>

namespace dbops::core {
namespace {

const SegmentSize size(1 << 20);

Lsn in_segment(SegmentNumber number, Lsn offset) {
  return size.start_of(number) + offset;
}

TEST(OwnHistory, ASegmentIsWholeWhenThePositionIsAtItsEnd) {
  EXPECT_EQ(standing_of({1, 3}, size, {.timeline = 1, .written = in_segment(3, 8192), .ancestors = {}}),
            SegmentStanding::unfinished);
  EXPECT_EQ(standing_of({1, 3}, size, {.timeline = 1, .written = in_segment(4, 0), .ancestors = {}}),
            SegmentStanding::whole);
}

TEST(OwnHistory, TheSegmentInWhichAnAncestorEndedNeverGetsWhole) {
  const OwnPosition promoted{
      .timeline = 2, .written = in_segment(9, 0), .ancestors = {{.timeline = 1, .end = in_segment(5, 100)}}};
  EXPECT_EQ(standing_of({1, 4}, size, promoted), SegmentStanding::whole);
  EXPECT_EQ(standing_of({1, 5}, size, promoted), SegmentStanding::remnant);
  EXPECT_EQ(standing_of({1, 6}, size, promoted), SegmentStanding::foreign) << "what the old primary wrote later";
  EXPECT_EQ(standing_of({2, 5}, size, promoted), SegmentStanding::whole);
  EXPECT_EQ(standing_of({3, 5}, size, promoted), SegmentStanding::foreign);
}

TEST(OwnHistory, ASwitchAtASegmentBoundaryLeavesNoRemnant) {
  const OwnPosition promoted{
      .timeline = 2, .written = in_segment(9, 0), .ancestors = {{.timeline = 1, .end = in_segment(5, 0)}}};
  EXPECT_EQ(standing_of({1, 4}, size, promoted), SegmentStanding::whole);
  EXPECT_EQ(standing_of({1, 5}, size, promoted), SegmentStanding::foreign);
}

TEST(OwnHistory, AnAncestorsSegmentThatIsNotReplayedYetIsUnfinished) {
  const OwnPosition behind{
      .timeline = 2, .written = in_segment(3, 10), .ancestors = {{.timeline = 1, .end = in_segment(5, 0)}}};
  EXPECT_EQ(standing_of({1, 3}, size, behind), SegmentStanding::unfinished);
  EXPECT_EQ(standing_of({1, 2}, size, behind), SegmentStanding::whole);
}

} // namespace
} // namespace dbops::core
