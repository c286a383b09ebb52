// The segment in which a timeline begins: WAL of its parent up to the switch, and not a byte further.
#include "core/wal/lineage.h"
#include "core/wal/timeline_history.h"
#include "core/wal/wal_reader.h"
#include "core/wal/wal_writer.h"

#include "core/base/error.h"
#include "core/store/memory_store.h"
#include "core/wal/repository.h"
#include "fake_time_and_random.h"
#include "temporary_directory.h"
#include "wal_fixture.h"

#include <gtest/gtest.h>

namespace dbops::core {
namespace {

TEST(TimelineHistory, AncestorsInTheirOrder) {
  const auto ancestors = parse_timeline_history("# comment\n\n1\t0/3000148\tno recovery target specified\n"
                                                " 2  1/0  before 2026-11-21 10:00:00+00\r\n4\tFFFFFFFF/FFFFFFFF",
                                                5);
  ASSERT_EQ(ancestors.size(), 3U);
  EXPECT_EQ(ancestors[0].timeline, 1U);
  EXPECT_EQ(ancestors[0].end, 0x3000148U);
  EXPECT_EQ(ancestors[1].end, Lsn(1) << 32);
  EXPECT_EQ(ancestors[2].timeline, 4U);
  EXPECT_EQ(ancestors[2].end, ~Lsn(0));
  EXPECT_TRUE(parse_timeline_history("", 2).empty());
}

TEST(TimelineHistory, WhatIsNoHistory) {
  for (const char* text : {"1", "1 ", "x\t0/1\t", "0\t0/1\t", "1\t01\tx", "1\t0/\tx", "2\t0/1\tx\n1\t0/2\tx",
                           "5\t0/1\tx", "6\t0/1\tx", "1\t0/1\tx\n1\t0/2\tx", "-1\t0/1\tx", "10/1\tx"})
    EXPECT_THROW(parse_timeline_history(text, 5), Error) << text;
}

class TimelineSwitchTest : public testing::Test {
 protected:
  TimelineSwitchTest() : store_(clock_) {
    open_repository(store_, test_system_identifier, {"i", "host=a"}, clock_.wall, {});
  }
  WalWriter writer() { return {store_, clock_, random_, {test_system_identifier, "host=a", {}}}; }
  WalFileName name(TimelineId timeline, SegmentNumber number = 3) {
    return *parse_wal_file_name(segment_name({timeline, number}, size_));
  }
  // Content differs by timeline behind the switches: what each timeline wrote itself.
  Bytes content(TimelineId timeline, SegmentNumber number = 3) {
    Bytes bytes = make_records({1, number}, size_, ends_, 1);
    for (const auto& [begun, offset] : switches_) {
      if (begun > timeline) continue;
      const Bytes own = make_records({begun, number}, size_, ends_, 100 * begun);
      std::copy(own.begin() + std::ptrdiff_t(offset), own.end(), bytes.begin() + std::ptrdiff_t(offset));
    }
    return bytes;
  }
  Bytes beginning(TimelineId timeline, std::size_t length) {
    Bytes bytes = content(timeline);
    std::fill(bytes.begin() + std::ptrdiff_t(length), bytes.end(), std::byte(0));
    return bytes;
  }
  void put_file(const WalFileName& file, ByteView bytes) {
    write_file(directory_.path() / "file", bytes);
    writer().put_file(file, directory_.path() / "file", {});
  }
  void put_chunk(TimelineId timeline, std::uint32_t from, std::uint32_t to) {
    writer().put_chunk(name(timeline), {from, to}, ByteView(content(timeline)).subspan(from, to - from), {});
  }
  // Timeline `timeline` begins in segment 3, so many bytes behind its start.
  void branch(TimelineId timeline, std::uint32_t offset) {
    switches_.emplace_back(timeline, offset);
    history_ += std::to_string(timeline - 1) + "\t" + to_string(size_.start_of(3) + offset) + "\tpromoted\n";
    put_file(*parse_wal_file_name(hex_field(timeline, 8) + ".history"), as_bytes(history_));
  }
  WalFetchResult fetch(const WalFileName& file, AtHole at_hole = AtHole::report) {
    got_.clear();
    return WalReader(store_, test_system_identifier, nullptr, size_)
        .fetch(
            file, [this](ByteView piece) { append(got_, piece); }, {}, at_hole)
        .result;
  }

  std::optional<LineageGap> gap_before(TimelineId timeline, std::uint32_t offset) {
    WalReader reader(store_, test_system_identifier, nullptr, size_);
    const auto contents = [&](TimelineId id) {
      return read_timeline(store_, test_system_identifier, id, size_, {}, {});
    };
    return gap_before_switch(reader, contents(timeline), contents(timeline - 1), size_.start_of(3) + offset, size_, {});
  }

  const SegmentSize size_{1 << 20};
  const std::vector<std::size_t> ends_{20000, 40000, 50000, 65536, 90000}; // where timelines may begin
  TemporaryDirectory directory_;
  FakeClock clock_;
  SeededRandom random_;
  MemoryStore store_;
  std::vector<std::pair<TimelineId, std::uint32_t>> switches_;
  std::string history_;
  Bytes got_;
};

// The server that was promoted died before it shipped anything: what the old one wrote behind the switch is no part of
// the new timeline, although it is there under the same segment number.
TEST_F(TimelineSwitchTest, NothingOfTheParentBehindTheSwitch) {
  put_file(name(1), content(1));
  put_file(name(1, 4), content(1, 4));
  branch(2, 50000);
  EXPECT_EQ(fetch(name(2)), WalFetchResult::padded);
  EXPECT_EQ(got_, beginning(1, 50000));
  EXPECT_EQ(fetch(name(2, 4)), WalFetchResult::absent);
  EXPECT_EQ(fetch(name(1)), WalFetchResult::whole); // for a recovery along the old timeline
  EXPECT_EQ(got_, content(1));
}

TEST_F(TimelineSwitchTest, TheParentsPartFromItsPartialSegment) {
  branch(2, 50000);
  put_file(*parse_wal_file_name(name(1).segment + ".partial"), content(1));
  EXPECT_EQ(fetch(name(2)), WalFetchResult::padded);
  EXPECT_EQ(got_, beginning(1, 50000));
}

TEST_F(TimelineSwitchTest, TheParentsPartFromItsChunks) {
  branch(2, 50000);
  put_chunk(1, 0, 30000);
  EXPECT_EQ(fetch(name(2)), WalFetchResult::gap) << "the history says that there was more";
  put_chunk(1, 30000, 60000);
  EXPECT_EQ(fetch(name(2)), WalFetchResult::padded);
  EXPECT_EQ(got_, beginning(1, 50000));
}

TEST_F(TimelineSwitchTest, ItsOwnChunksFollow) {
  branch(2, 50000);
  put_file(name(1), content(1));
  put_chunk(2, 50000, 70000);
  put_chunk(2, 70000, 80000);
  EXPECT_EQ(fetch(name(2)), WalFetchResult::padded);
  EXPECT_EQ(got_, beginning(2, 80000));
  put_chunk(2, 0, 60000); // it was shipped from its start after all
  EXPECT_EQ(fetch(name(2)), WalFetchResult::padded);
  EXPECT_EQ(got_, beginning(2, 80000));
}

// Somebody has said that WAL ends where it cannot be read any further: also when that is in the parent's part.
TEST_F(TimelineSwitchTest, WhereThePartOfTheParentEndsIsAnEndForTheAsking) {
  branch(2, 50000);
  put_chunk(2, 50000, 70000);
  for (const AtHole at_hole : {AtHole::report, AtHole::end})
    EXPECT_EQ(fetch(name(2), at_hole), WalFetchResult::gap);
  EXPECT_EQ(fetch(name(2), AtHole::end_always), WalFetchResult::absent);
  put_chunk(1, 0, 30000);
  for (const AtHole at_hole : {AtHole::report, AtHole::end})
    EXPECT_EQ(fetch(name(2), at_hole), WalFetchResult::gap);
  EXPECT_EQ(fetch(name(2), AtHole::end_always), WalFetchResult::padded);
  EXPECT_EQ(got_, beginning(1, 30000));
}

// What the old primary streamed lacks a piece, and the standby that was promoted has stored all of it.
TEST_F(TimelineSwitchTest, APartialSegmentMakesUpForAPieceThatIsMissing) {
  put_chunk(1, 0, 20000);
  put_chunk(1, 30000, 40000);
  EXPECT_EQ(fetch(name(1)), WalFetchResult::gap);
  branch(2, 50000);
  put_file(*parse_wal_file_name(name(1).segment + ".partial"), content(1));
  EXPECT_EQ(fetch(name(1)), WalFetchResult::padded);
  EXPECT_EQ(got_, beginning(1, 50000));
  put_chunk(1, 60000, 70000);
  EXPECT_EQ(fetch(name(1)), WalFetchResult::gap) << "the old primary went on, and some of that is lost";
}

TEST_F(TimelineSwitchTest, TwoSwitchesInOneSegment) {
  put_file(name(1), content(1));
  branch(2, 50000);
  branch(3, 90000);
  EXPECT_EQ(fetch(name(3)), WalFetchResult::gap) << "nobody has the part of timeline 2";
  put_chunk(2, 50000, 100000);
  EXPECT_EQ(fetch(name(3)), WalFetchResult::padded);
  EXPECT_EQ(got_, beginning(2, 90000));
}

TEST_F(TimelineSwitchTest, ASwitchAtTheStartOfASegment) {
  branch(2, 0);
  put_file(name(1), content(1));
  EXPECT_EQ(fetch(name(2)), WalFetchResult::padded);
  EXPECT_EQ(got_, Bytes(size_.bytes())) << "not the parent's, which is behind the switch";
  put_chunk(2, 20000, 30000);
  EXPECT_EQ(fetch(name(2)), WalFetchResult::gap) << "the start of what was streamed is missing";
  put_chunk(2, 0, 20000);
  EXPECT_EQ(fetch(name(2)), WalFetchResult::padded);
}

TEST_F(TimelineSwitchTest, LaterWalOfTheTimelineMakesItAGap) {
  branch(2, 50000);
  put_file(name(1), content(1));
  put_file(name(2, 4), content(1, 4));
  EXPECT_EQ(fetch(name(2)), WalFetchResult::gap);
}

// The primary died before it had archived what its standby had received, and that was promoted.
TEST_F(TimelineSwitchTest, ATimelineThatGoesOnFromALaterPointMakesItAGap) {
  put_file(name(1, 1), content(1, 1));
  EXPECT_EQ(fetch(name(1, 2)), WalFetchResult::absent);
  branch(2, 50000);
  put_chunk(1, 0, 30000);
  for (const AtHole at_hole : {AtHole::report, AtHole::end}) {
    EXPECT_EQ(fetch(name(1, 2), at_hole), WalFetchResult::gap);
    EXPECT_EQ(fetch(name(1), at_hole), WalFetchResult::gap);
    EXPECT_EQ(fetch(name(1, 4), at_hole), WalFetchResult::absent) << "it is behind the switch";
  }
  put_chunk(1, 30000, 50000);
  EXPECT_EQ(fetch(name(1)), WalFetchResult::padded) << "all that timeline 2 has of it is there";
  EXPECT_EQ(got_, beginning(1, 50000));
}

TEST_F(TimelineSwitchTest, ASwitchAtTheEndOfASegmentNeedsAllOfIt) {
  history_ = "1\t" + to_string(size_.start_of(4)) + "\tpromoted\n";
  put_file(*parse_wal_file_name("00000002.history"), as_bytes(history_));
  put_chunk(1, 0, 30000);
  EXPECT_EQ(fetch(name(1)), WalFetchResult::gap);
  put_chunk(1, 30000, 1 << 20);
  EXPECT_EQ(fetch(name(1)), WalFetchResult::whole);
}

TEST_F(TimelineSwitchTest, AnOldTimelineEndsWithItsPartialSegment) {
  branch(2, 50000);
  put_chunk(1, 0, 30000);
  put_file(*parse_wal_file_name(name(1).segment + ".partial"), content(1));
  EXPECT_EQ(fetch(name(1)), WalFetchResult::padded);
  EXPECT_EQ(got_, beginning(1, 50000)) << "as far as timeline 2 vouches for it";
  put_chunk(1, 30000, 60000);
  EXPECT_EQ(fetch(name(1)), WalFetchResult::padded);
  EXPECT_EQ(got_, beginning(1, 60000)) << "the old primary went on";
}

// Two standbys were promoted one after the other, the first with less of the old timeline: its part ends before the
// switch of the second one, and what follows in it is no WAL of that timeline.
TEST_F(TimelineSwitchTest, AnotherServersPartialSegmentIsNotUsedUpToALaterSwitch) {
  for (const std::uint32_t end : {50000U, 65536U, 90000U}) { // with more records on the same page, at its end, later
    const auto partial = *parse_wal_file_name(name(1).segment + ".partial");
    store_.remove(cluster_prefix(test_system_identifier) + wal_file_key(partial), {});
    history_.clear();
    store_.remove(cluster_prefix(test_system_identifier) + "wal/00000003.history", {});
    Bytes first = content(1); // received up to 45000, within a record; a recycled file behind that
    const Bytes recycled = make_records({1, 2}, size_, ends_, 7);
    std::copy(recycled.begin() + 45000, recycled.end(), first.begin() + 45000);
    put_file(partial, first);
    history_ = "1\t" + to_string(size_.start_of(3) + end) + "\tpromoted\n";
    put_file(*parse_wal_file_name("00000003.history"), as_bytes(history_));
    EXPECT_EQ(fetch(name(3)), WalFetchResult::gap) << end;
    EXPECT_EQ(fetch(name(1)), WalFetchResult::gap) << end;
  }
}

TEST_F(TimelineSwitchTest, WhatWasStreamedUpToTheSwitchIsTakenBeforeAPartialSegment) {
  branch(2, 50000);
  put_file(*parse_wal_file_name(name(1).segment + ".partial"), make_records({1, 3}, size_, ends_, 7));
  put_chunk(1, 0, 50000);
  EXPECT_EQ(fetch(name(2)), WalFetchResult::padded);
  EXPECT_EQ(got_, beginning(1, 50000));
}

TEST_F(TimelineSwitchTest, OfSeveralPartialSegmentsTheOneThatLeadsToTheSwitch) {
  const auto partial = *parse_wal_file_name(name(1).segment + ".partial");
  put_chunk(1, 0, 30000);
  put_file(partial, beginning(1, 40000));
  put_file(partial, make_records({1, 3}, size_, ends_, 7)); // whole, but not what was streamed
  put_file(partial, beginning(1, 90000));
  branch(2, 90000);
  EXPECT_EQ(fetch(name(2)), WalFetchResult::padded);
  EXPECT_EQ(got_, beginning(1, 90000));
  EXPECT_EQ(fetch(name(1)), WalFetchResult::padded);
  EXPECT_EQ(got_, beginning(1, 90000));
}

// The primary's archive was out, and what its standby had received of that was recycled there.
TEST_F(TimelineSwitchTest, WalThatIsMissingBeforeASwitchIsFound) {
  branch(2, 50000);
  put_file(name(1, 1), content(1, 1));
  put_file(*parse_wal_file_name(name(1).segment + ".partial"), content(1));
  auto gap = gap_before(2, 50000);
  ASSERT_TRUE(gap);
  EXPECT_EQ(gap->timeline, 1U);
  EXPECT_EQ(gap->from, size_.start_of(2));
  EXPECT_EQ(gap->to, size_.start_of(3) + 50000);
  put_file(name(2), content(2));
  EXPECT_TRUE(gap_before(2, 50000)) << "segment 2";
  put_file(name(1, 2), content(1, 2));
  EXPECT_FALSE(gap_before(2, 50000));
}

TEST_F(TimelineSwitchTest, TheParentsLastSegmentMustReachTheSwitch) {
  branch(2, 50000);
  EXPECT_FALSE(gap_before(2, 50000)) << "nothing of the parent is there: it has expired";
  put_file(name(1, 2), content(1, 2));
  EXPECT_TRUE(gap_before(2, 50000));
  put_chunk(1, 0, 30000);
  const auto gap = gap_before(2, 50000);
  ASSERT_TRUE(gap);
  EXPECT_EQ(gap->from, size_.start_of(3) + 30000);
  put_chunk(2, 0, 60000);
  EXPECT_FALSE(gap_before(2, 50000)) << "timeline 2 has it itself";
  store_.remove(cluster_prefix(test_system_identifier) + chunk_key(name(2), {0, 60000}), {});
  put_file(*parse_wal_file_name(name(1).segment + ".partial"), beginning(1, 40000));
  EXPECT_TRUE(gap_before(2, 50000)) << "that is another server's";
  put_file(*parse_wal_file_name(name(1).segment + ".partial"), content(1));
  EXPECT_FALSE(gap_before(2, 50000));
  EXPECT_TRUE(gap_before(2, 50008)) << "no record ends there";
  put_file(name(2, 5), content(2, 5));
  EXPECT_FALSE(gap_before(2, 50008)) << "the beginning of timeline 2 has expired";
}

class LineageTest : public TimelineSwitchTest {
 protected:
  std::optional<LineageGap> gap(TimelineId timeline) {
    WalReader reader(store_, test_system_identifier, nullptr, size_);
    const Lineage lineage{
        .timeline = timeline,
        .ancestors = parse_timeline_history(history_, timeline),
        .contents = [&](TimelineId id) { return read_timeline(store_, test_system_identifier, id, size_, {}, {}); },
        .backups = [&] { return backups_; }};
    return gap_without_backup(reader, lineage, size_, {});
  }
  std::string label(TimelineId timeline, SegmentNumber number, std::uint32_t offset = 0x28) {
    return name(timeline, number).segment + "." + hex_field(offset, 8) + ".backup";
  }
  void put_label(const std::string& label) { put_file(*parse_wal_file_name(label), as_bytes("label")); }
  void remove_label(const std::string& label) {
    store_.remove(cluster_prefix(test_system_identifier) + wal_file_key(*parse_wal_file_name(label)), {});
  }
  std::vector<BackupStart> backups_;
};

TEST_F(LineageTest, AGapMattersUntilABaseBackupBehindIt) {
  branch(2, 50000);
  put_file(name(1, 0), content(1, 0));
  put_label(label(1, 0));
  EXPECT_TRUE(gap(2)) << "at the switch";
  put_file(name(1, 2), content(1, 2));
  put_chunk(1, 0, 60000);
  ASSERT_TRUE(gap(2));
  EXPECT_EQ(gap(2)->from, size_.start_of(1));
  EXPECT_EQ(gap(2)->to, size_.start_of(2));
  put_label(label(1, 1));
  EXPECT_TRUE(gap(2)) << "it began before the end of the gap";
  put_label(label(1, 2));
  EXPECT_FALSE(gap(2));
  remove_label(label(1, 2));
  EXPECT_TRUE(gap(2));
  put_label(label(1, 3, 50008));
  EXPECT_TRUE(gap(2)) << "the old primary's, behind the switch";
  put_label(label(1, 3, 40000));
  EXPECT_FALSE(gap(2)) << "before it";
  remove_label(label(1, 3, 40000));
  put_label(label(2, 3));
  EXPECT_FALSE(gap(2));
}

TEST_F(LineageTest, ABackupOfAStandbyEndsAGap) {
  branch(2, 50000);
  put_file(name(1, 0), content(1, 0));
  EXPECT_TRUE(gap(2));
  backups_ = {{.timeline = 1, .start = size_.start_of(0)},
              {.timeline = 1, .start = size_.start_of(3) + 50000},
              {.timeline = 3, .start = size_.start_of(4)}};
  EXPECT_TRUE(gap(2)) << "before the gap, behind the switch, another timeline";
  backups_.push_back({.timeline = 2, .start = size_.start_of(4)});
  EXPECT_FALSE(gap(2));
}

// Promoted once more, a server still cannot be restored from before the gap.
TEST_F(LineageTest, AGapIsNotForgottenByAnotherPromotion) {
  branch(2, 20000);
  put_file(name(1, 0), content(1, 0));
  ASSERT_TRUE(gap(2));
  put_chunk(2, 0, 65536);
  branch(3, 50000);
  const auto found = gap(3);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->timeline, 1U);
  EXPECT_EQ(found->from, size_.start_of(1));
  put_label(label(2, 4));
  EXPECT_TRUE(gap(3)) << "of timeline 2, behind the switch to 3";
  put_label(label(2, 3, 40000));
  EXPECT_FALSE(gap(3)) << "before that switch";
  remove_label(label(2, 3, 40000));
  backups_ = {{.timeline = 2, .start = size_.start_of(3) + 40000}};
  EXPECT_FALSE(gap(3));
  backups_.clear();
  EXPECT_TRUE(gap(3));
  put_label(label(3, 3, 60000));
  EXPECT_FALSE(gap(3));
}

} // namespace
} // namespace dbops::core
