#include "core/wal/archive_marks.h"

#include "core/base/bytes.h"
#include "temporary_directory.h"
#include "wal_fixture.h"

#include <algorithm>
#include <gtest/gtest.h>

namespace dbops::core {
namespace {

const SegmentSize size(1 << 20);

class ArchiveMarksTest : public testing::Test {
 protected:
  ArchiveMarksTest() { std::filesystem::create_directory(status()); }
  [[nodiscard]] std::filesystem::path status() const { return wal_.path() / "archive_status"; }
  // mark: ".ready", ".done" or none.
  void file(const std::string& name, const std::string& mark = "", const std::string& text = "x") {
    write_file(wal_.path() / name, as_bytes(text));
    if (!mark.empty()) write_file(status() / (name + mark), {});
  }
  static std::string segment(TimelineId timeline, SegmentNumber number) {
    return segment_name({timeline, number}, size);
  }
  [[nodiscard]] std::vector<std::string> unmarked(TimelineId timeline, Lsn flushed,
                                                  std::optional<SegmentNumber> from = {}) const {
    std::vector<std::string> names;
    for (const WalFileName& file : unmarked_files(wal_.path(), timeline, flushed, size, from))
      names.push_back(file.name);
    std::ranges::sort(names);
    return names;
  }
  using Names = std::vector<std::string>;
  TemporaryDirectory wal_;
};

TEST_F(ArchiveMarksTest, OnlyWhatIsFinishedAndHasNoMark) {
  file(segment(1, 1), ".done");
  file(segment(1, 2));
  file(segment(1, 3), ".ready");
  file(segment(1, 4));
  file(segment(1, 5)); // being written
  file(segment(1, 6)); // to be used next
  const Lsn flushed = size.start_of(5) + 100;
  EXPECT_EQ(unmarked(1, flushed), (Names{segment(1, 2), segment(1, 4)}));
  EXPECT_EQ(unmarked(1, flushed, 3), Names{segment(1, 4)});
  EXPECT_EQ(unmarked(1, flushed, 5), Names{});
  make_ready(wal_.path(), unmarked_files(wal_.path(), 1, flushed, size));
  EXPECT_TRUE(std::filesystem::exists(status() / (segment(1, 2) + ".ready")));
  EXPECT_EQ(unmarked(1, flushed), Names{});
}

TEST_F(ArchiveMarksTest, WhatIsRecycledNeedsNoMark) {
  EXPECT_EQ(unmarked(1, size.start_of(5), 1), Names{});
}

TEST_F(ArchiveMarksTest, OfAnotherTimelineOnlyWhatIsThisServersOwn) {
  file("00000002.history", "", "1\t0/500100\tno recovery target specified\n"); // in segment 5
  file("00000003.history");
  file(segment(1, 4));
  file(segment(1, 5)); // its timeline went on elsewhere
  file(segment(1, 5) + ".partial");
  file(segment(1, 6));
  file(segment(2, 5));
  EXPECT_EQ(unmarked(2, size.start_of(6)),
            (Names{segment(1, 4), segment(1, 5) + ".partial", "00000002.history", segment(2, 5)}));
}

TEST_F(ArchiveMarksTest, AHistoryThatIsNoUse) {
  file("00000002.history", ".ready", "nonsense");
  file(segment(1, 4));
  file(segment(2, 5));
  EXPECT_EQ(unmarked(2, size.start_of(6)), Names{segment(2, 5)});
}

TEST_F(ArchiveMarksTest, AHistoryWaitsUntilItIsDone) {
  EXPECT_FALSE(history_waits(wal_.path(), 1));
  EXPECT_FALSE(history_waits(wal_.path(), 2)) << "not here";
  file("00000002.history");
  EXPECT_TRUE(history_waits(wal_.path(), 2));
  write_file(status() / "00000002.history.ready", {});
  EXPECT_TRUE(history_waits(wal_.path(), 2));
  std::filesystem::rename(status() / "00000002.history.ready", status() / "00000002.history.done");
  EXPECT_FALSE(history_waits(wal_.path(), 2));
}

} // namespace
} // namespace dbops::core
