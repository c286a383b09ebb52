#include "core/wal/ancestor_wal.h"

#include "core/base/bytes.h"
#include "temporary_directory.h"
#include "wal_fixture.h"

#include <gtest/gtest.h>

namespace dbops::core {
namespace {

const SegmentSize size(1 << 20);

class AncestorWalTest : public testing::Test {
 protected:
  AncestorWalTest() { std::filesystem::create_directory(status()); }
  [[nodiscard]] std::filesystem::path status() const { return wal_.path() / "archive_status"; }
  std::string segment(const SegmentId& id, const std::string& state) {
    const std::string name = segment_name(id, size);
    write_file(wal_.path() / name, as_bytes("x"));
    write_file(status() / (name + state), {});
    return name;
  }
  [[nodiscard]] bool is_ready(const std::string& name) const {
    return std::filesystem::exists(status() / (name + ".ready")) &&
           !std::filesystem::exists(status() / (name + ".done"));
  }
  TemporaryDirectory wal_;
};

TEST_F(AncestorWalTest, WhatLiesBeforeTheSwitchIsOfferedOnce) {
  // The switch is in segment 5.
  write_file(wal_.path() / "00000002.history", as_bytes("1\t0/500100\tno recovery target specified\n"));
  write_file(status() / "00000002.history.ready", {});
  const std::string before = segment({1, 3}, ".done"), last = segment({1, 4}, ".done");
  const std::string unfinished = segment({1, 5}, ".done"), own = segment({2, 5}, ".done");
  const std::string recycled = segment({1, 2}, ".done");
  std::filesystem::remove(wal_.path() / recycled);
  EXPECT_EQ(offer_ancestor_segments(wal_.path(), 2, size), 2U);
  EXPECT_TRUE(is_ready(before));
  EXPECT_TRUE(is_ready(last));
  EXPECT_FALSE(is_ready(unfinished));
  EXPECT_FALSE(is_ready(own));
  EXPECT_FALSE(is_ready(recycled));
  EXPECT_EQ(offer_ancestor_segments(wal_.path(), 2, size), 0U);
}

TEST_F(AncestorWalTest, NothingIsOfferedWhenTheHistoryIsArchived) {
  write_file(wal_.path() / "00000002.history", as_bytes("1\t0/500100\tno recovery target specified\n"));
  write_file(status() / "00000002.history.done", {});
  const std::string before = segment({1, 3}, ".done");
  EXPECT_EQ(offer_ancestor_segments(wal_.path(), 2, size), 0U);
  EXPECT_EQ(offer_ancestor_segments(wal_.path(), 1, size), 0U);
  EXPECT_FALSE(is_ready(before));
}

} // namespace
} // namespace dbops::core
