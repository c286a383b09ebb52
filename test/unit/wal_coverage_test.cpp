// How far recovery gets over the switches of timelines.
#include "core/backup/wal_coverage.h"

#include "core/backup/verify_wal.h"
#include "core/base/error.h"
#include "core/store/memory_store.h"
#include "core/wal/repository.h"
#include "fake_time_and_random.h"
#include "wal_fixture.h"

#include <gtest/gtest.h>

#include <thread>
#include <utility>

namespace dbops::core {
namespace {

// Timeline 1 has segments 1 to 4 and is left in the middle of segment 5; timeline 2 goes on to segment 8.
class WalCoverageTest : public testing::Test {
 protected:
  WalCoverageTest() : store_(clock_) {
    open_repository(store_, test_system_identifier, {"i", "host=a"}, clock_.wall, {});
    for (SegmentNumber number = 1; number <= 4; ++number)
      put(1, number);
    for (SegmentNumber number = 5; number <= 8; ++number) {
      clock_.advance(std::chrono::minutes(2));
      put(2, number);
    }
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
  [[nodiscard]] WalFileName file(TimelineId timeline, SegmentNumber number, const std::string& suffix = "") const {
    return *parse_wal_file_name(segment_name({timeline, number}, size_) + suffix);
  }
  void put(TimelineId timeline, SegmentNumber number, const std::string& suffix = "") {
    const WalFileName name = file(timeline, number, suffix);
    repository().put(wal_file_key(name), object_kind(name.kind), as_bytes("WAL"), {});
  }
  void put_chunk(TimelineId timeline, SegmentNumber number, ChunkRange range) {
    const Bytes content = make_segment({timeline, number}, size_);
    repository().put(chunk_key(file(timeline, number), range), ObjectKind::wal_chunk,
                     ByteView(content).subspan(range.from, range.to - range.from), {});
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
    return refusal(target);
  }
  std::string refusal(const RecoveryTarget& target) {
    warning_.clear();
    try {
      warning_ = check_wal_coverage(repository(), head_, target, {}, {});
      return {};
    } catch (const Error& error) {
      hint_ = error.hint();
      return error.what();
    }
  }
  std::string refusal(WallTime time) {
    RecoveryTarget target;
    target.kind = RecoveryTarget::Kind::time;
    target.time = time;
    return refusal(target);
  }
  std::string gaps() {
    std::string text;
    for (const WalGap& gap : wal_gaps(repository(), {{head_.label, head_, {}}}, {}, {}))
      text += std::to_string(gap.timeline) + ": " + to_string(gap.from) + " " + to_string(gap.to) + "\n";
    return text;
  }

  std::string warning_, hint_; // of the last refusal()
  const SegmentSize size_{1 << 20};
  const Lsn switch_ = size_.start_of(5) + 0x4000;
  FakeClock clock_;
  SeededRandom random_;
  MemoryStore store_;
  BackupHead head_;
};

// Where they lie is not known before recovery, which opens no server when it does not come to them.
TEST_F(WalCoverageTest, OfAHoleThatATargetMayNotLieBehindIsWarned) {
  const auto warning = [&](RecoveryTarget::Kind kind) {
    RecoveryTarget target;
    target.kind = kind;
    EXPECT_EQ(refusal(target), "");
    return warning_;
  };
  using Kind = RecoveryTarget::Kind;
  EXPECT_EQ(warning(Kind::time), "");
  remove(2, 6);
  for (const Kind kind : {Kind::time, Kind::xid, Kind::name})
    EXPECT_EQ(warning(kind),
              "WAL is missing between 0/600000 of timeline 2 and 0/700000, where it goes on. If the target "
              "lies behind that, the server ends recovery there with an error");
  put(2, 9);
  clock_.advance(std::chrono::minutes(2));
  put(2, 10);
  EXPECT_NE(refusal(), "");
}

// As for "dbops wal-get": what a crash leaves, or uploads that have not come yet.
TEST_F(WalCoverageTest, RecoveryEndsAtAHoleThatUploadsExplain) {
  remove(2, 7);
  EXPECT_EQ(refusal(), "");
  EXPECT_EQ(warning_,
            "WAL is missing between 0/700000 of timeline 2 and 0/800000, where it goes on: it is on its way, "
            "or the server that wrote it died before it was stored. Recovery ends at 0/700000, unless it comes");
  EXPECT_EQ(refusal(size_.start_of(7) - 1), "");
  EXPECT_NE(refusal(size_.start_of(8)), "") << "a target that lies in the hole";
  put_chunk(2, 7, {0, 0x3000});
  EXPECT_EQ(refusal(), "");
  EXPECT_NE(warning_.find("Recovery ends at 0/703000"), std::string::npos) << warning_;
  clock_.advance(std::chrono::minutes(20));
  put(2, 9);
  EXPECT_EQ(refusal(), "WAL is missing between 0/703000 of timeline 2 and 0/800000, where it goes on")
      << "it had time enough to come";
}

// PostgreSQL needs a transaction that ended after the target, and says only at the end of all WAL that there is none.
TEST_F(WalCoverageTest, ATimeBehindTheEndIsRefused) {
  using std::chrono::seconds;
  const WallTime written = clock_.wall;
  clock_.advance(std::chrono::hours(5)); // nothing happened since
  EXPECT_EQ(refusal(written - seconds(1)), "");
  EXPECT_EQ(warning_, "");
  EXPECT_EQ(refusal(written + seconds(1)), "") << "clocks differ";
  EXPECT_EQ(warning_,
            "the last WAL in the store was written at 2026-11-21 10:08:00.000000+00. If no transaction in it ended "
            "after the target, the server ends recovery there with an error");
  EXPECT_EQ(refusal(written + seconds(61)),
            "the WAL in the store was written until 2026-11-21 10:08:00.000000+00, and the target lies behind that");
  EXPECT_EQ(hint_, "With backup 20261121T100000Z, recovery reaches from LSN " + to_string(head_.stop_lsn) +
                       " to 0/900000, written at 2026-11-21 10:08:00.000000+00. Without a target, it ends there.");
  put_chunk(2, 9, {0, 0x2000});
  EXPECT_EQ(refusal(clock_.wall - seconds(1)), "") << "what was streamed counts";
  put_chunk(2, 9, {0x4000, 0x6000});
  clock_.advance(std::chrono::minutes(10));
  EXPECT_NE(refusal(clock_.wall), "") << "but not what lies behind a hole";
}

TEST_F(WalCoverageTest, ATimeBehindAHoleIsRefused) {
  const WallTime begin = clock_.wall - std::chrono::minutes(8);
  remove(2, 6);
  EXPECT_EQ(refusal(begin + std::chrono::minutes(3)), "");
  EXPECT_NE(warning_, "") << "it may lie behind it";
  EXPECT_EQ(refusal(begin + std::chrono::minutes(4)),
            "WAL is missing between 0/600000 of timeline 2 and 0/700000, where "
            "it goes on, and the target lies behind that");
}

// What is on its way is waited for before anything is refused.
TEST_F(WalCoverageTest, WhatComesInTimeIsNotMissing) {
  RecoveryTarget target;
  target.kind = RecoveryTarget::Kind::lsn;
  target.lsn = size_.start_of(10);
  std::vector<std::string> said;
  const WalPatience patience{.time = std::chrono::hours(1), .log = [&](const LogMessage& message) {
                               said.push_back(message.text);
                               for (const SegmentNumber number : {9, 10, 11})
                                 put(2, number);
                             }};
  EXPECT_EQ(check_wal_coverage(repository(), head_, target, patience, {}), "");
  EXPECT_EQ(said, std::vector<std::string>{"WAL is missing between 0/900000 of timeline 2 and the target 0/A00000: "
                                           "waiting, as it may be on its way"});
}

TEST_F(WalCoverageTest, WhatMakesABackupConsistentIsWaitedForAsWell) {
  remove(1, 2);
  const WalPatience patience{.time = std::chrono::hours(1), .log = [&](const LogMessage&) { put(1, 2); }};
  EXPECT_EQ(check_wal_coverage(repository(), head_, {}, patience, {}), "");
}

TEST_F(WalCoverageTest, TheFirstLookIsNoPartOfThePatience) {
  RecoveryTarget target;
  target.kind = RecoveryTarget::Kind::lsn;
  target.lsn = size_.start_of(9) + 1;
  const WalPatience patience{.time = std::chrono::seconds(1), .log = [&](const LogMessage&) {
                               put(2, 9);
                               put(2, 10);
                             }};
  bool first = true;
  store_.set_hook([&](MemoryStore::Operation operation, const std::string&, bool) {
    if (operation != MemoryStore::Operation::list || !std::exchange(first, false)) return;
    std::this_thread::sleep_for(patience.time);
  });
  EXPECT_EQ(check_wal_coverage(repository(), head_, target, patience, {}), "");
}

// PostgreSQL stops behind a record that begins at the target or later, and ends with an error where there is none.
TEST_F(WalCoverageTest, ATargetAtTheEndOfWalIsRefused) {
  EXPECT_EQ(refusal(size_.start_of(9)), "the WAL in the store ends at the target 0/900000 of timeline 2, and recovery "
                                        "needs a record that begins there");
  EXPECT_EQ(hint_, "With backup 20261121T100000Z, recovery reaches from LSN " + to_string(head_.stop_lsn) +
                       " to 0/900000. Without a target, it ends there.");
  EXPECT_EQ(refusal(size_.start_of(8)), "");
  EXPECT_EQ(warning_, "the target 0/800000 lies in the last segment of WAL that can be reached. If no record in it "
                      "begins there or later, the server ends recovery there with an error");
  EXPECT_EQ(refusal(size_.start_of(8) - 1), "");
  EXPECT_EQ(warning_, "") << "the next segment has one";
  put_chunk(2, 9, {0, 0x2000});
  EXPECT_NE(refusal(size_.start_of(9) + 0x2000), "");
  EXPECT_EQ(refusal(size_.start_of(9) + 0x1fff), "");
  EXPECT_NE(warning_, "");
}

// When it was written cannot be read then, and a target before it does not need it.
TEST_F(WalCoverageTest, DamageInTheLastObjectDoesNotMatterBeforeIt) {
  const WallTime before = clock_.wall - std::chrono::minutes(4);
  const Bytes whole = *store_.get(key(2, 8), {}, {});
  for (const std::size_t size : {std::size_t(0), std::size_t(5), whole.size()}) {
    Bytes damaged(whole.begin(), whole.begin() + std::ptrdiff_t(size));
    if (size > 20) damaged[20] ^= std::byte(1);
    store_.overwrite(key(2, 8), damaged);
    EXPECT_EQ(refusal(before), "") << size;
  }
}

TEST_F(WalCoverageTest, OverASwitchToTheEnd) {
  EXPECT_EQ(refusal(), "");
  EXPECT_EQ(refusal(size_.start_of(9) - 1), "");
  EXPECT_EQ(refusal(size_.start_of(9) + 1),
            "WAL is missing between 0/900000 of timeline 2 and the target " + to_string(size_.start_of(9) + 1));
  EXPECT_EQ(refusal(size_.start_of(5) - 1, "current"), "");
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
  EXPECT_EQ(refusal(switch_ - 1), "");
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
  clock_.advance(std::chrono::minutes(10));
  put(3, 8);
  EXPECT_EQ(refusal(size_.start_of(9) - 1, "2"), "");
  EXPECT_NE(refusal(), "") << "the newest is the other one";
  head_.start_lsn = size_.start_of(4);
  head_.stop_lsn = head_.start_lsn + 1000;
  EXPECT_FALSE(recovery_path(repository(), head_, {}, {})) << "left before the backup was complete";
}

} // namespace
} // namespace dbops::core
