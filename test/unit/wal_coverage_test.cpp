// How far recovery gets over the switches of timelines.
#include "core/backup/wal_coverage.h"

#include "core/backup/verify_wal.h"
#include "core/base/error.h"
#include "core/store/memory_store.h"
#include "fake_time_and_random.h"
#include "wal_fixture.h"

#include <gtest/gtest.h>

namespace dbops::core {
namespace {

// Timeline 1 has segments 1 to 4 and is left in the middle of segment 5; timeline 2 goes on to segment 8.
class WalCoverageTest : public testing::Test {
 protected:
  WalCoverageTest() : store_(clock_) {
    for (SegmentNumber number = 1; number <= 4; ++number)
      put(1, number);
    for (SegmentNumber number = 5; number <= 8; ++number)
      put(2, number);
    history(2, "1\t" + to_string(switch_) + "\twhy\n");
    head_.label = "20261121T100000Z";
    head_.system_identifier = test_system_identifier;
    head_.wal_segment_size = std::uint32_t(size_.bytes());
    head_.timeline = 1;
    head_.start_lsn = size_.start_of(2) + 100;
    head_.stop_lsn = head_.start_lsn + 1000;
  }
  [[nodiscard]] BackupRepository repository() {
    return {.store = store_,
            .clock = clock_,
            .random = random_,
            .system_identifier = test_system_identifier,
            .keys = nullptr,
            .origin = "t",
            .compression_level = 1};
  }
  [[nodiscard]] std::string key(TimelineId timeline, SegmentNumber number, const std::string& suffix = "") const {
    return cluster_prefix(test_system_identifier) +
           wal_file_key(*parse_wal_file_name(segment_name({timeline, number}, size_) + suffix));
  }
  void put(TimelineId timeline, SegmentNumber number, const std::string& suffix = "") {
    store_.put_if_absent(key(timeline, number, suffix), as_bytes("WAL"), {});
  }
  void put_chunk(TimelineId timeline, SegmentNumber number, ChunkRange range) {
    store_.put_if_absent(cluster_prefix(test_system_identifier) +
                             chunk_key(*parse_wal_file_name(segment_name({timeline, number}, size_)), range),
                         as_bytes("WAL"), {});
  }
  void remove(TimelineId timeline, SegmentNumber number) { store_.remove(key(timeline, number), {}); }
  void history(TimelineId timeline, const std::string& text) {
    const auto file = parse_wal_file_name(hex_field(timeline, 8) + ".history");
    repository().put(wal_file_key(*file), ObjectKind::wal_history, as_bytes(text), {});
  }
  // What it says, for recovery to the end of the newest timeline or to `lsn`; empty: it may go on.
  std::string refusal(std::optional<Lsn> lsn = {}, const std::string& timeline = "") {
    RecoveryTarget target;
    target.timeline = timeline;
    target.lsn = lsn;
    if (lsn) target.kind = RecoveryTarget::Kind::lsn;
    try {
      check_wal_coverage(repository(), head_, target, {});
      return {};
    } catch (const Error& error) {
      return error.what();
    }
  }
  std::string gaps() {
    std::string text;
    for (const WalGap& gap : wal_gaps(repository(), {{head_.label, head_, {}}}, {}, {}))
      text += std::to_string(gap.timeline) + ": " + to_string(gap.from) + " " + to_string(gap.to) + "\n";
    return text;
  }

  const SegmentSize size_{1 << 20};
  const Lsn switch_ = size_.start_of(5) + 0x4000;
  FakeClock clock_;
  SeededRandom random_;
  MemoryStore store_;
  BackupHead head_;
};

// Where they lie is not known before recovery, which opens no server when it does not come to them.
TEST_F(WalCoverageTest, OfAHoleThatATimeMayNotLieBehindIsWarned) {
  const auto warning = [&](RecoveryTarget::Kind kind) {
    RecoveryTarget target;
    target.kind = kind;
    return check_wal_coverage(repository(), head_, target, {});
  };
  using Kind = RecoveryTarget::Kind;
  EXPECT_EQ(warning(Kind::time), "");
  remove(2, 7);
  for (const Kind kind : {Kind::time, Kind::xid, Kind::name})
    EXPECT_EQ(warning(kind),
              "WAL is missing between 0/700000 of timeline 2 and 0/800000, where it goes on. If the target "
              "lies behind that, the server ends recovery there with an error");
  EXPECT_NE(refusal(), "");
}

TEST_F(WalCoverageTest, OverASwitchToTheEnd) {
  EXPECT_EQ(refusal(), "");
  EXPECT_EQ(refusal(size_.start_of(9)), "");
  EXPECT_EQ(refusal(size_.start_of(9) + 1),
            "WAL is missing between 0/900000 of timeline 2 and the target " + to_string(size_.start_of(9) + 1));
  EXPECT_EQ(refusal(size_.start_of(5), "current"), "");
  EXPECT_NE(refusal(size_.start_of(5) + 1, "current"), "") << "timeline 1 alone does not have it";
  EXPECT_EQ(gaps(), "");
}

TEST_F(WalCoverageTest, AHoleExactlyAtTheSwitch) {
  put(1, 5, ".partial");
  EXPECT_EQ(refusal(), "");
  remove(2, 5);
  EXPECT_EQ(refusal(),
            "WAL is missing between " + to_string(switch_) + " of timeline 2 and 0/600000, where it goes on");
  EXPECT_EQ(gaps(), "2: " + to_string(switch_) + " 0/600000\n");
  EXPECT_EQ(refusal(switch_), "");
  EXPECT_NE(refusal(size_.start_of(7)), "") << "a target behind the hole";
  put_chunk(2, 5, {0x4000, std::uint32_t(size_.bytes())});
  EXPECT_EQ(refusal(), "") << "what was streamed from the switch on";
  EXPECT_EQ(gaps(), "");
}

TEST_F(WalCoverageTest, TheRestOfTheOldTimelineIsMissing) {
  remove(2, 5);
  EXPECT_EQ(refusal(),
            "WAL is missing between 0/500000 of timeline 1 and " + to_string(switch_) + ", where it goes on");
  EXPECT_EQ(gaps(), "1: 0/500000 " + to_string(switch_) + "\n");
  put_chunk(1, 5, {0, 0x3000});
  EXPECT_EQ(gaps(), "1: 0/503000 " + to_string(switch_) + "\n");
  put_chunk(1, 5, {0x3000, 0x5000});
  EXPECT_EQ(gaps(), "2: " + to_string(switch_) + " 0/600000\n") << "what lies behind the switch is not of the way";
  put_chunk(2, 5, {0x4000, 0x6000});
  EXPECT_EQ(gaps(), "2: 0/506000 0/600000\n");
}

TEST_F(WalCoverageTest, AHoleBeforeTheSwitch) {
  remove(1, 4);
  EXPECT_NE(refusal(), "");
  EXPECT_EQ(gaps(), "1: 0/400000 " + to_string(switch_) + "\n");
  put(1, 6);
  EXPECT_NE(refusal(), "") << "what the old primary wrote later is of no use";
  EXPECT_EQ(gaps(), "1: 0/400000 0/600000\n") << "and named once";
}

TEST_F(WalCoverageTest, TwoSwitchesInOneSegment) {
  for (SegmentNumber number = 5; number <= 8; ++number) {
    remove(2, number);
    put(3, number);
  }
  history(3, "1\t" + to_string(switch_) + "\twhy\n2\t" + to_string(switch_ + 0x1000) + "\twhy\n");
  EXPECT_EQ(refusal(), "") << "the copy of timeline 3 has all of the segment";
  EXPECT_EQ(gaps(), "");
  remove(3, 5);
  EXPECT_EQ(gaps(), "1: 0/500000 " + to_string(switch_) + "\n");
}

TEST_F(WalCoverageTest, ASwitchAtTheStartOfASegment) {
  for (const char* name : {"wal/00000002.history"})
    store_.remove(cluster_prefix(test_system_identifier) + name, {});
  history(2, "1\t" + to_string(size_.start_of(5)) + "\twhy\n");
  EXPECT_EQ(refusal(), "");
  remove(2, 5);
  EXPECT_EQ(gaps(), "2: 0/500000 0/600000\n");
}

TEST_F(WalCoverageTest, AnotherBranchIsNotOnTheWay) {
  history(3, "1\t" + to_string(size_.start_of(3)) + "\twhy\n");
  put(3, 3);
  put(3, 7);
  EXPECT_EQ(refusal(size_.start_of(9), "2"), "");
  EXPECT_NE(refusal(), "") << "the newest is the other one";
  head_.start_lsn = size_.start_of(4);
  head_.stop_lsn = head_.start_lsn + 1000;
  EXPECT_FALSE(recovery_path(repository(), head_, {}, {})) << "left before the backup was complete";
}

} // namespace
} // namespace dbops::core
