// Segments fetched ahead: what is in the spool is whole, nobody else can change it, and nothing is left of it.
#include "core/wal/spool.h"

#include "core/base/error.h"
#include "core/wal/prefetcher.h"
#include "temporary_directory.h"
#include "wal_fixture.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <sys/stat.h>
#include <unistd.h>

namespace dbops::core {
namespace {

namespace fs = std::filesystem;

class SpoolTest : public testing::Test {
 protected:
  SpoolTest() : spool_(directory_.path(), "key") {}
  std::string name(SegmentNumber number, TimelineId timeline = 1) { return segment_name({timeline, number}, size_); }
  void fill(SegmentNumber number) { write_file(spool_.path_of(name(number)), make_segment({1, number}, size_)); }
  std::vector<std::string> files() {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(spool_.path()))
      names.push_back(entry.path().filename().string());
    std::ranges::sort(names);
    return names;
  }

  const SegmentSize size_{1 << 20};
  TemporaryDirectory directory_;
  Spool spool_;
};

TEST_F(SpoolTest, IsPrivate) {
  struct stat status {};
  ASSERT_EQ(::stat(spool_.path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0700U);
  ::chmod(spool_.path().c_str(), 0750);
  EXPECT_THROW(Spool(directory_.path(), "key"), Error);
  ::chmod(spool_.path().c_str(), 0700);
  fs::create_directory_symlink("/", spool_.path().parent_path() / "link");
  EXPECT_THROW(Spool(directory_.path(), "link"), Error);
  EXPECT_THROW(Spool(directory_.path() / "nothing", "key"), Error);
  ::chmod(directory_.path().c_str(), 0777);
  EXPECT_THROW(Spool(directory_.path(), "key"), Error) << "another user could put his directory in its place";
  ::chmod(directory_.path().c_str(), 01777);
  EXPECT_NO_THROW(Spool(directory_.path(), "key"));
}

TEST_F(SpoolTest, KeysDiffer) {
  const std::string key = Spool::key_of(1, "/pg", {"file:///a", "file:///b"});
  EXPECT_EQ(key, Spool::key_of(1, "/pg", {"file:///a", "file:///b"}));
  for (const std::string& other :
       {Spool::key_of(2, "/pg", {"file:///a", "file:///b"}), Spool::key_of(1, "/pg2", {"file:///a", "file:///b"}),
        Spool::key_of(1, "/pg", {"file:///a"}), Spool::key_of(1, "/pg", {"file:///afile:///b"})})
    EXPECT_NE(key, other);
}

TEST_F(SpoolTest, TakenOnce) {
  fill(3);
  RestoreFile out(directory_.path() / "out");
  EXPECT_TRUE(spool_.take(name(3), out));
  EXPECT_FALSE(spool_.has(name(3)));
  EXPECT_EQ(out.written(), size_.bytes());
  out.commit();
  EXPECT_EQ(read_file(directory_.path() / "out", 1 << 30), make_segment({1, 3}, size_));
  RestoreFile again(directory_.path() / "out2");
  EXPECT_FALSE(spool_.take(name(3), again));
}

TEST_F(SpoolTest, CopiedToAnotherFileSystem) {
  if (::access("/dev/shm", W_OK) != 0) GTEST_SKIP() << "no other file system";
  fill(3);
  const fs::path target = "/dev/shm/dbops-spool-test-" + std::to_string(::getpid());
  {
    RestoreFile out(target);
    EXPECT_TRUE(spool_.take(name(3), out));
    out.commit();
  }
  EXPECT_EQ(read_file(target, 1 << 30), make_segment({1, 3}, size_));
  EXPECT_FALSE(spool_.has(name(3)));
  fs::remove(target);
}

TEST_F(SpoolTest, WhatIsBeingWrittenIsNotServed) {
  RestoreFile under_way(spool_.path_of(name(3)));
  under_way.write(Bytes(1000));
  EXPECT_FALSE(spool_.has(name(3)));
  EXPECT_EQ(spool_.progress_of(name(3)), 1000U);
  EXPECT_EQ(spool_.progress_of(name(4)), std::nullopt);
}

TEST_F(SpoolTest, HasOneOwner) {
  EXPECT_FALSE(spool_.tell(name(3)));
  auto owner = SpoolOwner::own(spool_);
  ASSERT_TRUE(owner);
  EXPECT_FALSE(SpoolOwner::own(spool_));
  EXPECT_EQ(owner->wait(0), "");
  EXPECT_TRUE(spool_.tell(name(3)));
  EXPECT_TRUE(spool_.tell(name(4)));
  EXPECT_EQ(owner->wait(0), name(4));
  EXPECT_EQ(owner->wait(0), "");
  fill(3);
  owner->remove(spool_);
  EXPECT_FALSE(fs::exists(spool_.path()));
  owner.reset();
  EXPECT_FALSE(spool_.tell(name(3)));
}

TEST_F(SpoolTest, OutagesAreRememberedForAWhile) {
  EXPECT_FALSE(spool_.is_out(0));
  spool_.note_outage(1);
  spool_.keep_only({});
  EXPECT_FALSE(spool_.is_out(0));
  EXPECT_TRUE(spool_.is_out(1));
  for (const std::chrono::minutes age : {std::chrono::minutes(6), std::chrono::minutes(-6)}) {
    fs::last_write_time(spool_.path() / "out-1", fs::file_time_type::clock::now() - age);
    EXPECT_FALSE(spool_.is_out(1));
  }
  spool_.note_outage(1);
  EXPECT_TRUE(spool_.is_out(1));
}

TEST_F(SpoolTest, AbandonedOnesAreRemoved) {
  const Spool old(directory_.path(), "old"), used(directory_.path(), "used"), fresh(directory_.path(), "fresh");
  const auto owner = SpoolOwner::own(used);
  write_file(old.path_of(name(3)), Bytes(10));
  for (const Spool* spool : {&old, &used})
    fs::last_write_time(spool->path(), fs::file_time_type::clock::now() - std::chrono::hours(2));
  remove_abandoned_spools(spool_);
  EXPECT_FALSE(fs::exists(old.path()));
  for (const Spool* spool : std::initializer_list<const Spool*>{&spool_, &used, &fresh})
    EXPECT_TRUE(fs::exists(spool->path()));
}

class PrefetcherTest : public SpoolTest {
 protected:
  // A store that has the segments up to last_.
  Prefetcher::Fetch fetch() {
    return [this](const WalFileName& segment, RestoreFile& out, const CallContext&) {
      const auto id = *parse_segment_name(segment.segment, size_);
      ++asked_;
      if (id.number > last_) return false;
      out.write(make_segment(id, size_));
      return true;
    };
  }
  void until_idle(const Prefetcher& prefetcher) {
    while (!prefetcher.idle())
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  std::atomic<SegmentNumber> last_ = 1000;
  std::atomic<int> asked_ = 0;
};

TEST_F(PrefetcherTest, FetchesWhatIsAheadAndNoMore) {
  Prefetcher prefetcher(spool_, size_, 3, 2, fetch());
  EXPECT_TRUE(prefetcher.idle());
  prefetcher.advance(name(5));
  until_idle(prefetcher);
  EXPECT_EQ(files(), (std::vector<std::string>{name(6), name(7), name(8)}));
  prefetcher.advance(name(7));
  until_idle(prefetcher);
  EXPECT_EQ(files(), (std::vector<std::string>{name(7), name(8), name(9), name(10)})) << "7 is about to be taken";
  EXPECT_EQ(asked_, 5);
}

TEST_F(PrefetcherTest, AnotherTimelineStartsAnew) {
  Prefetcher prefetcher(spool_, size_, 2, 2, fetch());
  prefetcher.advance(name(5));
  until_idle(prefetcher);
  prefetcher.advance(name(5, 2));
  until_idle(prefetcher);
  EXPECT_EQ(files(), (std::vector<std::string>{name(6, 2), name(7, 2)}));
}

TEST_F(PrefetcherTest, WhatWasNotThereIsAskedForAgain) {
  last_ = 6;
  Prefetcher prefetcher(spool_, size_, 4, 1, fetch());
  prefetcher.advance(name(5));
  until_idle(prefetcher);
  EXPECT_EQ(files(), std::vector<std::string>{name(6)});
  EXPECT_EQ(asked_, 2) << "nothing is asked for behind the end";
  last_ = 7;
  prefetcher.advance(name(6));
  until_idle(prefetcher);
  EXPECT_EQ(files(), (std::vector<std::string>{name(6), name(7)}));
}

TEST_F(PrefetcherTest, LeavingsOfAProcessThatDiedAreRemoved) {
  fill(3);
  write_file(spool_.path() / (name(4) + ".dbops-0123456789abcdef"), Bytes(1000)); // its writer is gone
  Prefetcher prefetcher(spool_, size_, 2, 1, fetch());
  prefetcher.advance(name(3));
  until_idle(prefetcher);
  EXPECT_EQ(files(), (std::vector<std::string>{name(3), name(4), name(5)}));
}

TEST_F(PrefetcherTest, StopsAFetchUnderWay) {
  std::atomic<bool> stopped = false;
  {
    Prefetcher prefetcher(spool_, size_, 2, 1, [&](const WalFileName&, RestoreFile& out, const CallContext& context) {
      out.write(Bytes(100));
      while (!context.stop.stop_requested())
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      stopped = true;
      return false;
    });
    prefetcher.advance(name(3));
    while (!spool_.progress_of(name(4)))
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_TRUE(stopped);
  EXPECT_TRUE(files().empty());
}

} // namespace
} // namespace dbops::core
