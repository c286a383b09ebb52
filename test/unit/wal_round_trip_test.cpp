// A segment from a file into a store and back, over the memory and the file store.
#include "core/wal/wal_reader.h"
#include "core/wal/wal_writer.h"

#include "core/base/error.h"
#include "core/store/file_store.h"
#include "core/store/memory_store.h"
#include "core/wal/repository.h"
#include "fake_time_and_random.h"
#include "temporary_directory.h"
#include "wal_fixture.h"

#include <gtest/gtest.h>

namespace dbops::core {
namespace {

constexpr std::string_view key_text = "k1 = 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n";

class WalRoundTrip : public testing::TestWithParam<bool> {
 protected:
  WalRoundTrip() : keys_(KeyRing::parse(key_text)), memory_(clock_), file_(make_root(), random_) {
    open_repository(store(), test_system_identifier, {"i1", "host=a"}, clock_.wall, {});
  }
  std::filesystem::path make_root() {
    std::filesystem::create_directory(directory_.path() / "store");
    return directory_.path() / "store";
  }
  ObjectStore& store() {
    if (GetParam()) return file_;
    return memory_;
  }
  WalWriter writer(const std::string& origin = "host=a", const KeyRing* keys = nullptr) {
    return {store(), clock_, random_, {test_system_identifier, origin, {.compression_level = 3, .keys = keys}}};
  }
  WalPutReport put_segment(SegmentNumber number, unsigned seed = 1, const std::string& origin = "host=a") {
    const SegmentId id{1, number};
    const auto path = directory_.path() / segment_name(id, size_);
    write_file(path, make_segment(id, size_, seed));
    return writer(origin).put_file(*parse_wal_file_name(segment_name(id, size_)), path, {});
  }
  void put_chunk(SegmentNumber number, std::uint32_t from, std::uint32_t to) {
    const Bytes bytes = make_segment({1, number}, size_);
    writer().put_chunk(file_name(number), {from, to}, ByteView(bytes).subspan(from, to - from), {});
  }
  // All that is in the store is older by so much.
  void let_pass(std::chrono::minutes time) {
    clock_.advance(time);
    for (const auto& entry : std::filesystem::recursive_directory_iterator(directory_.path() / "store"))
      if (entry.is_regular_file()) last_write_time(entry, entry.last_write_time() - time);
  }
  WalFileName file_name(SegmentNumber number) const { return *parse_wal_file_name(segment_name({1, number}, size_)); }
  // To the end before a hole, as the last resort of wal-get.
  WalFetchResult fetch_to_end(const WalFileName& name, AtHole at_hole = AtHole::end) {
    got_.clear();
    return WalReader(store(), test_system_identifier, nullptr, size_)
        .fetch(
            name, [this](ByteView piece) { append(got_, piece); }, {}, at_hole)
        .result;
  }
  Bytes start_of(SegmentNumber number, std::size_t length) const {
    Bytes bytes = make_segment({1, number}, size_);
    std::fill(bytes.begin() + std::ptrdiff_t(length), bytes.end(), std::byte(0));
    return bytes;
  }
  void put_history(TimelineId timeline, std::string_view text) {
    const auto name = *parse_wal_file_name("0000000" + std::to_string(timeline) + ".history");
    write_file(directory_.path() / name.name, as_bytes(text));
    writer().put_file(name, directory_.path() / name.name, {});
  }
  WalFetchResult fetch(const WalFileName& name, const KeyRing* keys = nullptr) {
    got_.clear();
    return WalReader(store(), test_system_identifier, keys)
        .fetch(name, [this](ByteView piece) { append(got_, piece); }, {})
        .result;
  }

  const SegmentSize size_{1 << 20};
  TemporaryDirectory directory_;
  FakeClock clock_;
  SeededRandom random_;
  KeyRing keys_;
  MemoryStore memory_;
  FileStore file_;
  Bytes got_;
};

TEST_P(WalRoundTrip, SegmentComesBackAsItWas) {
  EXPECT_EQ(put_segment(3).result, PutResult::created);
  EXPECT_EQ(fetch(file_name(3)), WalFetchResult::whole);
  EXPECT_EQ(got_, make_segment({1, 3}, size_));
}

TEST_P(WalRoundTrip, SameContentAgainIsSuccess) {
  put_segment(3);
  EXPECT_EQ(put_segment(3).result, PutResult::exists);
}

TEST_P(WalRoundTrip, OtherContentIsRefusedNamingBothServers) {
  put_segment(3, 1, "host=first");
  try {
    put_segment(3, 2, "host=second");
    FAIL() << "other content was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::conflict);
    EXPECT_NE(std::string(error.what()).find("host=first"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("host=second"), std::string::npos);
  }
  EXPECT_EQ(fetch(file_name(3)), WalFetchResult::whole);
  EXPECT_EQ(got_, make_segment({1, 3}, size_, 1));
}

TEST_P(WalRoundTrip, SegmentOfAnotherClusterIsRefused) {
  const auto path = directory_.path() / "foreign";
  write_file(path, make_segment({1, 3}, size_, 1, 42));
  EXPECT_THROW(writer().put_file(file_name(3), path, {}), Error);
}

TEST_P(WalRoundTrip, SmallFilesOfEachKind) {
  for (const char* name : {"00000002.history", "000000010000000000000003.00000028.backup"}) {
    write_file(directory_.path() / name, as_bytes("1\t0/3000000\tno recovery target specified\n"));
    writer().put_file(*parse_wal_file_name(name), directory_.path() / name, {});
    EXPECT_EQ(fetch(*parse_wal_file_name(name)), WalFetchResult::whole) << name;
    EXPECT_EQ(as_text(got_), "1\t0/3000000\tno recovery target specified\n");
  }
}

TEST_P(WalRoundTrip, PartialIsKeptApartFromTheSegment) {
  const auto path = directory_.path() / "p";
  write_file(path, make_segment({1, 3}, size_, 7));
  const auto partial = *parse_wal_file_name(segment_name({1, 3}, size_) + ".partial");
  writer().put_file(partial, path, {});
  EXPECT_EQ(fetch(file_name(3)), WalFetchResult::absent);
  put_segment(3);
  EXPECT_EQ(fetch(file_name(3)), WalFetchResult::whole);
  EXPECT_EQ(got_, make_segment({1, 3}, size_));
  EXPECT_EQ(fetch(partial), WalFetchResult::whole);
  EXPECT_EQ(got_, make_segment({1, 3}, size_, 7));
}

TEST_P(WalRoundTrip, EncryptedNeedsItsKey) {
  const auto path = directory_.path() / "s";
  write_file(path, make_segment({1, 3}, size_));
  writer("host=a", &keys_).put_file(file_name(3), path, {});
  EXPECT_EQ(writer("host=a", &keys_).put_file(file_name(3), path, {}).result, PutResult::exists);
  EXPECT_EQ(fetch(file_name(3), &keys_), WalFetchResult::whole);
  EXPECT_EQ(got_, make_segment({1, 3}, size_));
  const auto kind_of_failure = [&](const KeyRing* keys) {
    try {
      fetch(file_name(3), keys);
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::io;
  };
  EXPECT_EQ(kind_of_failure(nullptr), ErrorKind::key_missing);
  const KeyRing other_id = KeyRing::parse("k2 = " + std::string(64, '1'));
  EXPECT_EQ(kind_of_failure(&other_id), ErrorKind::key_missing);
  const KeyRing other_key = KeyRing::parse("k1 = " + std::string(64, '1'));
  EXPECT_EQ(kind_of_failure(&other_key), ErrorKind::key_wrong);
}

TEST_P(WalRoundTrip, OldObjectsStayReadableAfterANewKey) {
  const auto path = directory_.path() / "s";
  write_file(path, make_segment({1, 3}, size_));
  writer("host=a", &keys_).put_file(file_name(3), path, {});
  const KeyRing rotated = KeyRing::parse(std::string(key_text) + "k2 = " + std::string(64, 'a') + "\ncurrent = k2\n");
  EXPECT_EQ(writer("host=a", &rotated).put_file(file_name(3), path, {}).result, PutResult::exists);
  EXPECT_EQ(fetch(file_name(3), &rotated), WalFetchResult::whole);
}

TEST_P(WalRoundTrip, LastSegmentIsMadeOfItsChunks) {
  put_segment(3);
  put_chunk(4, 0, 8192);
  put_chunk(4, 8192, 10000);
  EXPECT_EQ(fetch(file_name(4)), WalFetchResult::padded);
  EXPECT_EQ(got_, start_of(4, 10000));
}

// The next one was stored after it: it has been there, was said to be durable, and is lost.
TEST_P(WalRoundTrip, APieceThatIsMissingIsAGap) {
  put_segment(3);
  put_chunk(4, 0, 10000);
  put_chunk(4, 12000, 14000);
  EXPECT_EQ(fetch(file_name(4)), WalFetchResult::gap);
  EXPECT_EQ(fetch_to_end(file_name(4)), WalFetchResult::gap) << "no crash explains it";
  EXPECT_EQ(fetch_to_end(file_name(4), AtHole::end_always), WalFetchResult::padded);
  EXPECT_EQ(got_, start_of(4, 10000));
  put_segment(5);
  EXPECT_EQ(fetch_to_end(file_name(4)), WalFetchResult::gap) << "with later WAL neither";
  put_chunk(4, 9000, 13000);
  EXPECT_EQ(fetch_to_end(file_name(4)), WalFetchResult::padded);
  EXPECT_EQ(got_, start_of(4, 14000));
}

TEST_P(WalRoundTrip, AFirstPieceThatIsMissingIsAGap) {
  put_segment(3);
  put_chunk(4, 8192, 10000);
  EXPECT_EQ(fetch(file_name(4)), WalFetchResult::gap);
  EXPECT_EQ(fetch_to_end(file_name(4)), WalFetchResult::gap);
  EXPECT_EQ(fetch_to_end(file_name(4), AtHole::end_always), WalFetchResult::absent);
}

TEST_P(WalRoundTrip, WhatIsBehindAHoleIsCounted) {
  const auto later = [&](bool all) {
    return WalReader(store(), test_system_identifier, nullptr, size_).later_wal(file_name(4), all, {});
  };
  put_segment(3);
  EXPECT_EQ(later(true), LaterWal());
  put_chunk(4, 0, 8192);
  put_chunk(4, 8192, 10000);
  EXPECT_EQ(later(false).pieces, 2U);
  EXPECT_EQ(later(false).pieces_to, 10000U);
  EXPECT_EQ(later(false).objects, 0U);
  put_segment(5);
  put_chunk(6, 0, 8192);
  EXPECT_EQ(later(false).objects, 2U);
  EXPECT_EQ(later(false).last, file_name(6).segment);
}

TEST_P(WalRoundTrip, ChunksOfAnEarlierSegmentAreNeverPadded) {
  put_chunk(4, 0, 8192);
  put_segment(5);
  EXPECT_EQ(fetch(file_name(4)), WalFetchResult::gap);
  EXPECT_TRUE(got_.empty());
  put_chunk(4, 8000, 1 << 20); // now they are the whole segment
  EXPECT_EQ(fetch(file_name(4)), WalFetchResult::whole);
  EXPECT_EQ(got_, make_segment({1, 4}, size_));
}

TEST_P(WalRoundTrip, AbsentOnlyWhenNothingLaterIsThere) {
  EXPECT_EQ(fetch(file_name(4)), WalFetchResult::absent);
  EXPECT_EQ(fetch(*parse_wal_file_name("00000002.history")), WalFetchResult::absent);
  put_segment(6);
  EXPECT_EQ(fetch(file_name(4)), WalFetchResult::gap);
  EXPECT_EQ(fetch(file_name(7)), WalFetchResult::absent);
}

TEST_P(WalRoundTrip, AHoleThatACrashLeavesIsAnEnd) {
  put_chunk(4, 0, 8192);
  put_segment(5);
  put_segment(7);
  put_chunk(9, 0, 8192);
  EXPECT_EQ(fetch_to_end(file_name(4)), WalFetchResult::padded);
  EXPECT_EQ(got_.size(), size_.bytes());
  EXPECT_EQ(fetch_to_end(file_name(5)), WalFetchResult::whole);
  EXPECT_EQ(fetch_to_end(file_name(6)), WalFetchResult::absent);
  for (SegmentNumber number = 10; number < 10 + segments_in_flight - 1; ++number)
    put_segment(number);
  EXPECT_EQ(fetch_to_end(file_name(6)), WalFetchResult::absent);
  EXPECT_EQ(fetch_to_end(file_name(4)), WalFetchResult::gap) << "more than were under way at one time";
  EXPECT_EQ(fetch_to_end(file_name(4), AtHole::end_always), WalFetchResult::padded);
}

// It would have been stored long before the last ones: it was, and somebody has removed it.
TEST_P(WalRoundTrip, AHoleIsNoEndWhenItIsOld) {
  put_chunk(4, 0, 8192);
  put_segment(5);
  let_pass(std::chrono::minutes(2));
  put_segment(6);
  EXPECT_EQ(fetch_to_end(file_name(4)), WalFetchResult::padded);
  let_pass(std::chrono::minutes(2));
  put_chunk(7, 0, 8192);
  EXPECT_EQ(fetch_to_end(file_name(4)), WalFetchResult::gap);
  EXPECT_EQ(fetch_to_end(file_name(7)), WalFetchResult::padded) << "no hole";
}

// All objects of a store that was copied are of the same moment.
TEST_P(WalRoundTrip, AHoleIsNoEndWhenItIsOldAndTheStoreYoung) {
  put_chunk(4, 0, 8192);
  put_segment(5);
  clock_.advance(std::chrono::minutes(4));
  put_segment(6);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory_.path() / "store"))
    if (entry.is_regular_file()) last_write_time(entry, std::filesystem::file_time_type::clock::now());
  EXPECT_EQ(fetch_to_end(file_name(4)), WalFetchResult::gap);
}

TEST_P(WalRoundTrip, AHoleIsNoEndWhenAnotherTimelineGoesOnBehindIt) {
  const auto at = [](std::uint64_t lsn) { return "1\t" + to_string(lsn) + "\tno recovery target specified\n"; };
  put_chunk(4, 0, 8192);
  put_segment(5);
  put_history(2, at((4 << 20) + 8192));
  EXPECT_EQ(fetch_to_end(file_name(4)), WalFetchResult::padded) << "all that timeline 2 has of it is there";
  put_history(3, at((4 << 20) + 8193));
  EXPECT_EQ(fetch_to_end(file_name(4)), WalFetchResult::gap);
  EXPECT_EQ(fetch_to_end(file_name(4), AtHole::end_always), WalFetchResult::padded);
  EXPECT_EQ(fetch_to_end(file_name(6)), WalFetchResult::absent) << "nothing later";
}

TEST_P(WalRoundTrip, NoRepositoryIsNotAnAbsentFile) {
  EXPECT_THROW(WalReader(store(), 42, nullptr).fetch(file_name(4), [](ByteView) {}, {}), Error);
}

TEST_P(WalRoundTrip, ATimelineHasOneOwner) {
  const auto claim = [&](const char* instance) {
    return claim_timeline(store(), test_system_identifier, 2, {instance, std::string("host=") + instance}, clock_.wall,
                          {});
  };
  EXPECT_TRUE(claim("a").ours);
  EXPECT_TRUE(claim("a").ours);
  EXPECT_FALSE(claim("b").ours);
  EXPECT_EQ(claim("b").owner.description, "host=a");
  EXPECT_EQ(fetch(file_name(4)), WalFetchResult::absent);
}

INSTANTIATE_TEST_SUITE_P(Stores, WalRoundTrip, testing::Values(false, true),
                         [](const auto& info) { return info.param ? "File" : "Memory"; });

TEST(WalRoundTripLostAnswer, RetryAfterALostAnswerIsSuccess) {
  FakeClock clock;
  SeededRandom random;
  MemoryStore store(clock);
  TemporaryDirectory directory;
  const SegmentSize size(1 << 20);
  const auto path = directory.path() / "s";
  write_file(path, make_segment({1, 3}, size));
  bool lose = true;
  store.set_hook([&](MemoryStore::Operation operation, const std::string&, bool after) {
    if (operation == MemoryStore::Operation::put && after && std::exchange(lose, false))
      throw Error(ErrorKind::unavailable, "connection reset");
  });
  WalWriter writer(store, clock, random, {test_system_identifier, "host=a", {}});
  const auto name = *parse_wal_file_name(segment_name({1, 3}, size));
  EXPECT_THROW(writer.put_file(name, path, {}), Error);
  EXPECT_EQ(writer.put_file(name, path, {}).result, PutResult::exists);
}

} // namespace
} // namespace dbops::core
