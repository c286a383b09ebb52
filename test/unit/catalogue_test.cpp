#include "core/wal/catalogue.h"

#include "core/base/error.h"
#include "core/store/memory_store.h"
#include "core/wal/repository.h"
#include "core/wal/wal_fetch.h"
#include "core/wal/wal_writer.h"
#include "fake_time_and_random.h"
#include "temporary_directory.h"
#include "wal_fixture.h"

#include <gtest/gtest.h>

namespace dbops::core {
namespace {

class Catalogue : public testing::Test {
 protected:
  Catalogue() { open_repository(store_, test_system_identifier, {"i", "host=a"}, clock_.wall, {}); }
  void put(const std::string& key) {
    store_.put_if_absent(cluster_prefix(test_system_identifier) + key, as_bytes("1234567890"), {});
  }
  void put_segment(TimelineId timeline, SegmentNumber number) { put(wal_file_key(name(timeline, number))); }
  WalFileName name(TimelineId timeline, SegmentNumber number) {
    return *parse_wal_file_name(segment_name({timeline, number}, size_));
  }
  TimelineContents read(TimelineId timeline) {
    return read_timeline(store_, test_system_identifier, timeline, size_,
                         [this](const ObjectInfo& object) { redundant_.push_back(object.key); }, {});
  }

  const SegmentSize size_{16 << 20};
  FakeClock clock_;
  MemoryStore store_{clock_};
  std::vector<std::string> redundant_;
};

TEST_F(Catalogue, Timelines) {
  EXPECT_TRUE(list_timelines(store_, test_system_identifier, {}).empty());
  put_segment(1, 5);
  put("wal/0000000A.history");
  put("wal/00000003/owner.json");
  EXPECT_EQ(list_timelines(store_, test_system_identifier, {}), (std::vector<TimelineId>{1, 3, 10}));
}

TEST_F(Catalogue, RangesGapsAndTheStreamedTail) {
  for (const SegmentNumber number : {0xfe, 0xff, 0x100, 0x103, 0x104}) // over the end of a log
    put_segment(1, number);
  put("wal/00000001.history");
  put("wal/00000001/00000000/0000000100000000000000FF.00000028.backup");
  put("wal/00000001/owner.json");
  put(chunk_key(name(1, 0x100), {0, 100}));
  put(chunk_key(name(1, 0x105), {0, 100}));
  put(chunk_key(name(1, 0x105), {100, 250}));
  put(chunk_key(name(1, 0x105), {300, 400}));
  const TimelineContents contents = read(1);
  EXPECT_TRUE(contents.has_history);
  ASSERT_EQ(contents.ranges.size(), 2U);
  EXPECT_EQ(contents.ranges[0].first, 0xfeU);
  EXPECT_EQ(contents.ranges[0].last, 0x100U);
  EXPECT_EQ(contents.ranges[1].last, 0x104U);
  ASSERT_EQ(contents.streamed.size(), 1U);
  EXPECT_EQ(contents.streamed[0].segment, 0x105U);
  EXPECT_EQ(contents.streamed[0].covered, 250U);
  EXPECT_EQ(contents.objects, 10U);
  EXPECT_EQ(contents.bytes, 100U);
  EXPECT_EQ(redundant_,
            (std::vector<std::string>{cluster_prefix(test_system_identifier) + chunk_key(name(1, 0x100), {0, 100})}));
}

TEST_F(Catalogue, ManyPages) {
  for (SegmentNumber number = 1; number <= 2500; ++number)
    put_segment(2, number);
  const TimelineContents contents = read(2);
  ASSERT_EQ(contents.ranges.size(), 1U);
  EXPECT_EQ(contents.ranges[0].last, 2500U);
  EXPECT_FALSE(contents.has_history);
}

TEST_F(Catalogue, FetchToAFileTriesDamageAgain) {
  const TemporaryDirectory directory;
  SeededRandom random;
  const SegmentSize size(1 << 20);
  const Bytes segment = make_segment({1, 3}, size);
  write_file(directory.path() / "s", segment);
  const WalFileName file = *parse_wal_file_name(segment_name({1, 3}, size));
  WalWriter(store_, clock_, random, {test_system_identifier, "host=a", {}}).put_file(file, directory.path() / "s", {});
  const std::string key = cluster_prefix(test_system_identifier) + wal_file_key(file);
  const Bytes good = store_.get(key, {}, {}).value();
  Bytes damaged = good;
  damaged[damaged.size() / 2] ^= std::byte(1);
  store_.overwrite(key, damaged);
  int gets = 0, heal_at = 3;
  store_.set_hook([&](MemoryStore::Operation operation, const std::string&, bool) {
    if (operation == MemoryStore::Operation::get && ++gets == heal_at) store_.overwrite(key, good);
  });
  WalReader reader(store_, test_system_identifier, nullptr);
  const auto target = directory.path() / "target";
  EXPECT_EQ(fetch_to_file(reader, file, target, {}), WalFetchResult::whole);
  EXPECT_EQ(gets, 3);
  EXPECT_EQ(std::filesystem::file_size(target), size.bytes());
  store_.overwrite(key, damaged);
  std::filesystem::remove(target);
  heal_at = 1000;
  EXPECT_THROW(fetch_to_file(reader, file, target, {}), Error);
  EXPECT_FALSE(std::filesystem::exists(target));
  EXPECT_EQ(fetch_to_file(reader, *parse_wal_file_name("00000002.history"), target, {}), WalFetchResult::absent);
  // Nothing is left behind.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory.path()), {}), 1);
}

} // namespace
} // namespace dbops::core
