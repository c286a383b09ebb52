// Several repositories as recovery sees them: what one lacks another may have, and "not there" is the word of all.
#include "core/wal/archive_reader.h"

#include "core/base/error.h"
#include "core/store/memory_store.h"
#include "core/wal/repository.h"
#include "core/wal/wal_writer.h"
#include "fake_time_and_random.h"
#include "temporary_directory.h"
#include "wal_fixture.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace dbops::core {
namespace {

using Operation = MemoryStore::Operation;

class ArchiveReaderTest : public testing::Test {
 protected:
  ArchiveReaderTest()
      : a_(clock_), b_(clock_), reader_a_(a_, test_system_identifier, nullptr, size_),
        reader_b_(b_, test_system_identifier, nullptr, size_),
        archive_({&reader_a_, &reader_b_}, clock_, random_,
                 [this](const RepositoryFailure& failure) { made_up_for_.push_back(failure.repository); }) {
    for (MemoryStore* store : {&a_, &b_})
      open_repository(*store, test_system_identifier, {"i", "host=a"}, clock_.wall, {});
  }
  WalFileName name(SegmentNumber number) { return *parse_wal_file_name(segment_name({1, number}, size_)); }
  void put(MemoryStore& store, SegmentNumber number) {
    const auto path = directory_.path() / "segment";
    write_file(path, make_segment({1, number}, size_));
    writer(store).put_file(name(number), path, {});
  }
  void put_start(MemoryStore& store, SegmentNumber number, std::uint32_t bytes) {
    writer(store).put_chunk(name(number), {0, bytes}, ByteView(make_segment({1, number}, size_)).first(bytes), {});
  }
  void put_piece(MemoryStore& store, SegmentNumber number, std::uint32_t from, std::uint32_t to) {
    const Bytes bytes = make_segment({1, number}, size_);
    writer(store).put_chunk(name(number), {from, to}, ByteView(bytes).subspan(from, to - from), {});
  }
  WalWriter writer(MemoryStore& store) { return {store, clock_, random_, {test_system_identifier, "host=a", {}}}; }
  void fail(MemoryStore& store, ErrorKind kind) {
    store.set_hook([kind](Operation, const std::string&, bool) { throw Error(kind, "out of order"); });
  }
  // The content when there is one.
  WalFetchResult fetch(SegmentNumber number) {
    RestoreFile out(directory_.path() / "out");
    const WalFetchResult result = archive_.fetch(name(number), out, {});
    if (result == WalFetchResult::whole || result == WalFetchResult::padded) {
      out.commit();
      got_ = read_file(directory_.path() / "out", 1 << 30);
    }
    return result;
  }
  ErrorKind failure_of(SegmentNumber number) {
    try {
      fetch(number);
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::not_found;
  }
  Bytes start_of(SegmentNumber number, std::size_t length) {
    Bytes bytes = make_segment({1, number}, size_);
    std::fill(bytes.begin() + std::ptrdiff_t(length), bytes.end(), std::byte(0));
    return bytes;
  }

  const SegmentSize size_{1 << 20};
  TemporaryDirectory directory_;
  FakeClock clock_;
  SeededRandom random_;
  MemoryStore a_, b_;
  WalReader reader_a_, reader_b_;
  std::vector<const WalReader*> made_up_for_;
  ArchiveReader archive_;
  Bytes got_;
};

TEST_F(ArchiveReaderTest, WhatOneLacksTheOtherHas) {
  put(a_, 3);
  put(b_, 4);
  EXPECT_EQ(fetch(3), WalFetchResult::whole);
  EXPECT_EQ(fetch(4), WalFetchResult::whole);
  EXPECT_EQ(got_, make_segment({1, 4}, size_));
}

TEST_F(ArchiveReaderTest, AnOutageOfOneDoesNotMatterWhenTheOtherHasIt) {
  put(b_, 3);
  for (const ErrorKind kind : {ErrorKind::unavailable, ErrorKind::access_denied, ErrorKind::configuration}) {
    fail(a_, kind);
    EXPECT_EQ(fetch(3), WalFetchResult::whole);
  }
  EXPECT_EQ(made_up_for_, std::vector<const WalReader*>(3, &reader_a_));
}

TEST_F(ArchiveReaderTest, NotThereIsTheWordOfAll) {
  EXPECT_EQ(fetch(3), WalFetchResult::absent);
  for (MemoryStore* out_of_order : {&a_, &b_})
    for (const ErrorKind kind : {ErrorKind::unavailable, ErrorKind::access_denied, ErrorKind::key_missing}) {
      fail(*out_of_order, kind);
      EXPECT_EQ(failure_of(3), kind);
      out_of_order->set_hook({});
    }
}

// The one that cannot be asked may have more.
TEST_F(ArchiveReaderTest, AnEndOfWalIsTheWordOfAll) {
  put_start(a_, 3, 8192);
  EXPECT_EQ(fetch(3), WalFetchResult::padded);
  fail(b_, ErrorKind::unavailable);
  EXPECT_EQ(failure_of(3), ErrorKind::unavailable);
}

TEST_F(ArchiveReaderTest, TheLongestBeginningIsTaken) {
  put_start(a_, 3, 20000);
  put_start(b_, 3, 10000);
  EXPECT_EQ(fetch(3), WalFetchResult::padded);
  EXPECT_EQ(got_, start_of(3, 20000));
  put_start(b_, 3, 30000);
  EXPECT_EQ(fetch(3), WalFetchResult::padded);
  EXPECT_EQ(got_, start_of(3, 30000));
}

TEST_F(ArchiveReaderTest, LaterWalInAnyOfThemIsAGap) {
  put_start(a_, 3, 20000);
  put(b_, 4);
  EXPECT_EQ(fetch(3), WalFetchResult::gap);
  put(b_, 3);
  EXPECT_EQ(fetch(3), WalFetchResult::whole);
}

TEST_F(ArchiveReaderTest, APieceThatIsMissingIsNoGapWhenAnotherReachesAsFar) {
  put_start(a_, 3, 10000);
  put_piece(a_, 3, 12000, 14000);
  EXPECT_EQ(fetch(3), WalFetchResult::gap);
  put_start(b_, 3, 13000);
  EXPECT_EQ(fetch(3), WalFetchResult::gap);
  put_start(b_, 3, 14000);
  EXPECT_EQ(fetch(3), WalFetchResult::padded);
  EXPECT_EQ(got_, start_of(3, 14000));
}

TEST_F(ArchiveReaderTest, DamageIsMadeUpForOrNamed) {
  put(a_, 3);
  const std::string key = cluster_prefix(test_system_identifier) + wal_file_key(name(3));
  Bytes damaged = *a_.get(key, {}, {});
  damaged.back() ^= std::byte(1);
  a_.overwrite(key, damaged);
  try {
    fetch(3);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::corrupt);
    EXPECT_NE(std::string(error.what()).find(key), std::string::npos);
  }
  put(b_, 3);
  EXPECT_EQ(fetch(3), WalFetchResult::whole);
  EXPECT_EQ(got_, make_segment({1, 3}, size_));
}

TEST_F(ArchiveReaderTest, ARepositoryThatIsNotThereIsNoEndOfWal) {
  MemoryStore empty(clock_);
  WalReader reader(empty, test_system_identifier, nullptr, size_);
  ArchiveReader archive({&reader_a_, &reader}, clock_, random_);
  RestoreFile out(directory_.path() / "out");
  EXPECT_THROW(archive.fetch(name(3), out, {}), Error);
  put(a_, 3);
  EXPECT_EQ(archive.fetch(name(3), out, {}), WalFetchResult::whole);
}

class Patience : public ArchiveReaderTest {
 protected:
  WalFetchResult fetch_patiently(SegmentNumber number) {
    RestoreFile out(directory_.path() / "out");
    return archive_.fetch_patiently(name(number), out, patience_, {});
  }
  // After that time `then` is done, by whoever asks next.
  void after(FakeClock::Duration time, std::function<void()> then) {
    a_.set_hook([this, at = clock_.steady + time, then = std::move(then), done = false](auto, auto&, bool) mutable {
      if (!done && clock_.steady >= at) {
        done = true;
        then();
      }
    });
  }
  const RecoveryPatience patience_{.outage = std::chrono::minutes(5), .gap = std::chrono::seconds(30)};
};

TEST_F(Patience, AnOutageIsWaitedForAndThenNamed) {
  fail(b_, ErrorKind::unavailable);
  const SteadyTime start = clock_.steady;
  try {
    fetch_patiently(3);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unavailable);
  }
  EXPECT_LE(clock_.steady - start, patience_.outage);
  EXPECT_GE(clock_.steady - start, patience_.outage - patience_.max_pause);
}

// As a file system of the network says it.
TEST_F(Patience, AnErrorOfInputIsWaitedFor) {
  put(a_, 3);
  for (const int error : {EIO, ESTALE, ETIMEDOUT, ENOTCONN}) {
    b_.set_hook([error](Operation, const std::string&, bool) { throw system_error(error, "could not open file"); });
    after(std::chrono::minutes(1), [this] { b_.set_hook({}); });
    EXPECT_EQ(fetch_patiently(4), WalFetchResult::absent) << error;
    b_.set_hook([error](Operation, const std::string&, bool) { throw system_error(error, "could not open file"); });
    const SteadyTime start = clock_.steady;
    EXPECT_THROW(fetch_patiently(4), Error) << error;
    EXPECT_GE(clock_.steady - start, patience_.outage - patience_.max_pause);
    b_.set_hook({});
  }
}

TEST_F(Patience, WhatNeedsAPersonIsNotWaitedFor) {
  fail(b_, ErrorKind::access_denied);
  EXPECT_THROW(fetch_patiently(3), Error);
  EXPECT_TRUE(clock_.slept.empty());
}

TEST_F(Patience, AnOutageThatPassesCostsNothing) {
  put(a_, 3);
  fail(b_, ErrorKind::unavailable);
  after(std::chrono::minutes(1), [this] { b_.set_hook({}); });
  EXPECT_EQ(fetch_patiently(4), WalFetchResult::absent);
  EXPECT_EQ(fetch_patiently(3), WalFetchResult::whole);
}

TEST_F(Patience, AGapIsWaitedForWithABound) {
  put(a_, 4);
  const SteadyTime start = clock_.steady;
  EXPECT_EQ(fetch_patiently(3), WalFetchResult::gap);
  EXPECT_LE(clock_.steady - start, patience_.gap);
  EXPECT_GE(clock_.steady - start, patience_.gap - patience_.max_pause);
}

TEST_F(Patience, ASegmentThatIsOnItsWayIsWaitedFor) {
  put(a_, 4);
  after(std::chrono::seconds(10), [this] { put(b_, 3); });
  EXPECT_EQ(fetch_patiently(3), WalFetchResult::whole);
}

// A hole is handled as patiently as it was found.
TEST_F(Patience, AnOutageAtAHoleIsWaitedFor) {
  put_start(a_, 3, 10000);
  put(a_, 4);
  for (const ErrorKind kind : {ErrorKind::unavailable, ErrorKind::io}) {
    fail(b_, kind);
    after(std::chrono::minutes(1), [this] { b_.set_hook({}); });
    EXPECT_EQ(archive_.later_wal(name(3), false, patience_, {}).objects, 1U);
    fail(b_, kind);
    after(std::chrono::minutes(1), [this] { b_.set_hook({}); });
    RestoreFile out(directory_.path() / "out");
    EXPECT_EQ(archive_.fetch_patiently(name(3), out, patience_, {}, AtHole::end), WalFetchResult::padded);
    EXPECT_EQ(archive_.covered(), 10000U);
  }
}

TEST_F(Patience, WhatIsNotThereYetIsNotWaitedFor) {
  put(a_, 3);
  EXPECT_EQ(fetch_patiently(4), WalFetchResult::absent);
  EXPECT_TRUE(clock_.slept.empty());
}

} // namespace
} // namespace dbops::core
