#include "core/wal/archive_pipeline.h"

#include "core/store/memory_store.h"
#include "core/wal/wal_shipper.h"
#include "fake_time_and_random.h"
#include "temporary_directory.h"
#include "wal_fixture.h"

#include <atomic>
#include <condition_variable>
#include <gtest/gtest.h>

namespace dbops::core {
namespace {

const SegmentSize size(1 << 20);

// A pg_wal with segments, a store, and a pipeline between them.
class ArchivePipelineTest : public testing::Test {
 protected:
  WalFileName segment(SegmentNumber number, TimelineId timeline = 1) {
    const std::string name = segment_name({timeline, number}, size);
    write_file(wal_.path() / name, make_segment({timeline, number}, size));
    return *parse_wal_file_name(name);
  }
  std::unique_ptr<ArchivePipeline> pipeline(std::size_t workers = 4, std::uint64_t memory = 64 << 20,
                                            const std::string& instance = "a") {
    auto fence = std::make_shared<TimelineFence>(*store_, test_system_identifier, Owner{instance, "host=" + instance},
                                                 clock_, milliseconds(0));
    return std::make_unique<ArchivePipeline>(PipelineSetup{.store = store_,
                                                           .fence = std::move(fence),
                                                           .keys = nullptr,
                                                           .clock = clock_,
                                                           .random = random_,
                                                           .writer = {.system_identifier = test_system_identifier,
                                                                      .origin = "host=" + instance,
                                                                      .encoding = {.compression_level = 1}},
                                                           .directory = wal_.path(),
                                                           .workers = workers,
                                                           .memory = memory,
                                                           .largest_file = size.bytes(),
                                                           .wake = [this] {
                                                             const std::lock_guard lock(mutex_);
                                                             ++ended_;
                                                             changed_.notify_all();
                                                           }});
  }
  // What a streamer shipped of the segment that is in pg_wal now.
  void stream(SegmentNumber number, std::uint32_t upto) {
    auto fence =
        std::make_shared<TimelineFence>(*store_, test_system_identifier, Owner{"a", "host=a"}, clock_, milliseconds(0));
    WalShipper shipper({.store = store_,
                        .fence = std::move(fence),
                        .keys = nullptr,
                        .clock = clock_,
                        .random = random_,
                        .writer = {.system_identifier = test_system_identifier, .origin = "host=a", .encoding = {}},
                        .directory = wal_.path(),
                        .segment_size = size});
    shipper.advance({.timeline = 1, .flushed = size.start_of(number) + upto, .archived = size.start_of(number)}, {});
  }
  UploadOutcome wait_for(ArchivePipeline& pipeline, const WalFileName& file) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::minutes(5),
                      [&] { return pipeline.look(file.name).state != UploadState::waiting; });
    return pipeline.look(file.name);
  }
  bool stored(const WalFileName& file) {
    return store_->head(cluster_prefix(test_system_identifier) + wal_file_key(file), {}).has_value();
  }

  FakeClock clock_;
  SeededRandom random_;
  TemporaryDirectory wal_;
  std::shared_ptr<MemoryStore> store_ = std::make_shared<MemoryStore>(clock_);
  std::mutex mutex_;
  std::condition_variable changed_;
  int ended_ = 0;
};

TEST_F(ArchivePipelineTest, StoresAllThatIsOffered) {
  const auto pipe = pipeline();
  std::vector<WalFileName> files;
  for (SegmentNumber number = 1; number <= 12; ++number)
    files.push_back(segment(number));
  for (const WalFileName& file : files)
    pipe->offer(file, Fencing::owner);
  for (const WalFileName& file : files) {
    EXPECT_EQ(wait_for(*pipe, file).state, UploadState::stored);
    EXPECT_TRUE(stored(file));
    EXPECT_EQ(pipe->take(file.name).state, UploadState::stored);
    EXPECT_EQ(pipe->look(file.name).state, UploadState::unknown);
  }
  EXPECT_EQ(pipe->counters().files, 12U);
  EXPECT_FALSE(pipe->failing());
}

TEST_F(ArchivePipelineTest, SameContentAgainIsSuccessAndOtherContentIsNot) {
  const WalFileName file = segment(1);
  const auto first = pipeline();
  first->offer(file, Fencing::owner);
  ASSERT_EQ(wait_for(*first, file).state, UploadState::stored);
  const auto again = pipeline();
  again->offer(file, Fencing::owner);
  EXPECT_EQ(wait_for(*again, file).state, UploadState::stored);
  write_file(wal_.path() / file.name, make_segment({1, 1}, size, 99));
  const auto other = pipeline();
  other->offer(file, Fencing::owner);
  const UploadOutcome outcome = wait_for(*other, file);
  EXPECT_EQ(outcome.state, UploadState::failed);
  EXPECT_EQ(outcome.kind, ErrorKind::conflict);
  EXPECT_NE(outcome.message.find("host=a"), std::string::npos);
}

TEST_F(ArchivePipelineTest, AnotherInstanceMayNotWriteAndHoldersOfTheSameBytesMay) {
  const WalFileName file = segment(1), next = segment(2);
  const auto owner = pipeline();
  owner->offer(file, Fencing::owner);
  ASSERT_EQ(wait_for(*owner, file).state, UploadState::stored);
  const auto clone = pipeline(4, 64 << 20, "b");
  clone->offer(next, Fencing::owner);
  const UploadOutcome refused = wait_for(*clone, next);
  EXPECT_EQ(refused.kind, ErrorKind::conflict);
  EXPECT_NE(refused.hint.find("take_over_archive"), std::string::npos);
  EXPECT_FALSE(stored(next));
  clone->forget_failed();
  clone->offer(next, Fencing::content);
  EXPECT_EQ(wait_for(*clone, next).state, UploadState::stored);
}

TEST_F(ArchivePipelineTest, AFailureEmptiesTheQueueAndIsForgottenOnRequest) {
  std::atomic<bool> out = true, offered = false;
  store_->set_hook([&](MemoryStore::Operation, const std::string&, bool) {
    while (!offered)
      std::this_thread::sleep_for(milliseconds(1));
    if (out) throw Error(ErrorKind::unavailable, "the store is out");
  });
  const auto pipe = pipeline(1);
  std::vector<WalFileName> files;
  for (SegmentNumber number = 1; number <= 20; ++number)
    files.push_back(segment(number));
  for (const WalFileName& file : files)
    pipe->offer(file, Fencing::owner);
  offered = true;
  EXPECT_EQ(wait_for(*pipe, files.front()).state, UploadState::failed);
  EXPECT_TRUE(pipe->failing());
  EXPECT_EQ(pipe->look(files.back().name).state, UploadState::unknown) << "what waited is not tried in vain";
  EXPECT_EQ(pipe->take_failures().size(), 1U);
  out = false;
  pipe->forget_failed();
  pipe->offer(files.front(), Fencing::owner);
  EXPECT_EQ(wait_for(*pipe, files.front()).state, UploadState::stored);
  EXPECT_FALSE(pipe->failing());
}

TEST_F(ArchivePipelineTest, ALostAnswerIsNoFailureTheSecondTime) {
  std::atomic<int> lost = 1;
  store_->set_hook([&](MemoryStore::Operation operation, const std::string& key, bool after) {
    if (operation == MemoryStore::Operation::put && after && key.ends_with(".zst") && lost-- > 0)
      throw Error(ErrorKind::unavailable, "reset after the write");
  });
  const auto pipe = pipeline();
  const WalFileName file = segment(1);
  pipe->offer(file, Fencing::owner);
  EXPECT_EQ(wait_for(*pipe, file).state, UploadState::failed);
  pipe->forget_failed();
  pipe->offer(file, Fencing::owner);
  EXPECT_EQ(wait_for(*pipe, file).state, UploadState::stored);
}

TEST_F(ArchivePipelineTest, AFileThatIsGoneSaysNothingAboutTheStore) {
  const auto pipe = pipeline();
  const WalFileName file = *parse_wal_file_name("000000010000000000000009");
  pipe->offer(file, Fencing::owner);
  EXPECT_EQ(wait_for(*pipe, file).kind, ErrorKind::not_found);
  EXPECT_FALSE(pipe->failing());
}

TEST_F(ArchivePipelineTest, AServerThatWasSetBackDoesNotGetItsSegmentsIn) {
  const WalFileName file = segment(1), next = segment(2);
  stream(1, 500000);
  write_file(wal_.path() / file.name, make_segment({1, 1}, size, 99));
  const auto back = pipeline();
  back->offer(file, Fencing::owner);
  const UploadOutcome refused = wait_for(*back, file);
  EXPECT_EQ(refused.kind, ErrorKind::conflict);
  EXPECT_NE(refused.message.find("differs from what"), std::string::npos) << refused.message;
  EXPECT_FALSE(stored(file)) << "its name is free, and stays so";
  segment(1);
  const auto same = pipeline();
  same->offer(file, Fencing::owner);
  same->offer(next, Fencing::owner);
  EXPECT_EQ(wait_for(*same, file).state, UploadState::stored);
  EXPECT_EQ(wait_for(*same, next).state, UploadState::stored);
}

TEST_F(ArchivePipelineTest, EachPromotedServersPartOfASegmentIsKept) {
  const WalFileName file = *parse_wal_file_name("000000010000000000000001.partial");
  for (const unsigned seed : {1U, 2U, 2U}) {
    write_file(wal_.path() / file.name, make_segment({1, 1}, size, seed));
    const auto pipe = pipeline();
    pipe->offer(file, Fencing::content);
    EXPECT_EQ(wait_for(*pipe, file).state, UploadState::stored);
  }
  const ListPage page = store_->list({.prefix = cluster_prefix(test_system_identifier) + "wal/"}, {});
  EXPECT_EQ(page.objects.size(), 2U);
}

TEST_F(ArchivePipelineTest, ARemnantIsNotStoredAsTheSegment) {
  const WalFileName file = segment(1);
  const auto pipe = pipeline();
  pipe->offer(file, Fencing::remnant);
  EXPECT_EQ(wait_for(*pipe, file).state, UploadState::stored);
  EXPECT_FALSE(stored(file));
  const ListPage page = store_->list({.prefix = cluster_prefix(test_system_identifier) + "wal/"}, {});
  ASSERT_EQ(page.objects.size(), 1U);
  EXPECT_NE(page.objects.front().key.find("000000010000000000000001.partial."), std::string::npos);
  const auto whole = pipeline();
  whole->offer(file, Fencing::owner);
  EXPECT_EQ(wait_for(*whole, file).state, UploadState::stored);
  EXPECT_TRUE(stored(file));
}

TEST_F(ArchivePipelineTest, WhateverElseIsNotFoundIsAFailure) {
  store_->set_hook([](MemoryStore::Operation operation, const std::string&, bool after) {
    if (operation == MemoryStore::Operation::put && !after) throw Error(ErrorKind::not_found, "no such bucket");
  });
  const auto pipe = pipeline();
  const WalFileName file = segment(1);
  pipe->offer(file, Fencing::owner);
  EXPECT_EQ(wait_for(*pipe, file).state, UploadState::failed);
  EXPECT_TRUE(pipe->failing());
  EXPECT_EQ(pipe->take_failures().size(), 1U);
}

TEST_F(ArchivePipelineTest, MemoryBoundsHowManyAreUnderWay) {
  std::atomic<int> now = 0, most = 0;
  store_->set_hook([&](MemoryStore::Operation operation, const std::string& key, bool after) {
    if (operation != MemoryStore::Operation::put || !key.ends_with(".zst")) return;
    if (after) {
      --now;
      return;
    }
    most = std::max<int>(most, ++now);
    std::this_thread::sleep_for(milliseconds(5));
  });
  const auto pipe = pipeline(8, 1); // less than one object: one at a time
  std::vector<WalFileName> files;
  for (SegmentNumber number = 1; number <= 6; ++number)
    files.push_back(segment(number));
  for (const WalFileName& file : files)
    pipe->offer(file, Fencing::owner);
  for (const WalFileName& file : files)
    EXPECT_EQ(wait_for(*pipe, file).state, UploadState::stored);
  EXPECT_EQ(most, 1);
}

TEST_F(ArchivePipelineTest, RetainForgetsWhatIsNotAskedForAnyMore) {
  const auto pipe = pipeline();
  const WalFileName one = segment(1), two = segment(2);
  pipe->offer(one, Fencing::owner);
  pipe->offer(two, Fencing::owner);
  wait_for(*pipe, one);
  wait_for(*pipe, two);
  pipe->retain({two.name});
  EXPECT_EQ(pipe->look(one.name).state, UploadState::unknown);
  EXPECT_EQ(pipe->look(two.name).state, UploadState::stored);
}

TEST_F(ArchivePipelineTest, ShutdownIsBoundedAndNothingIsTakenAfterwards) {
  std::atomic<bool> release = false, hangs = false;
  store_->set_hook([&](MemoryStore::Operation operation, const std::string&, bool) {
    while (operation == MemoryStore::Operation::put && !release) {
      hangs = true;
      std::this_thread::sleep_for(milliseconds(1));
    }
  });
  const auto pipe = pipeline();
  const WalFileName file = segment(1);
  pipe->offer(file, Fencing::owner);
  while (!hangs)
    std::this_thread::sleep_for(milliseconds(1));
  EXPECT_FALSE(pipe->hangs());
  clock_.advance(std::chrono::seconds(200));
  EXPECT_TRUE(pipe->hangs()) << "its time is over";
  pipe->request_stop();
  EXPECT_FALSE(pipe->ended());
  EXPECT_FALSE(pipe->shutdown(std::chrono::steady_clock::now() + milliseconds(50))) << "a thread hangs";
  pipe->offer(segment(2), Fencing::owner);
  EXPECT_EQ(pipe->look("000000010000000000000002").state, UploadState::unknown);
  release = true; // the thread that was left behind ends by itself, with all it refers to
  std::this_thread::sleep_for(milliseconds(50));
}

} // namespace
} // namespace dbops::core
