#include "core/wal/fence.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/store/file_store.h"
#include "core/store/memory_store.h"
#include "core/wal/instance.h"
#include "core/wal/layout.h"
#include "core/wal/ready_files.h"
#include "core/wal/stored_files.h"
#include "core/wal/wal_writer.h"
#include "fake_time_and_random.h"
#include "temporary_directory.h"
#include "wal_fixture.h"

#include <fstream>
#include <gtest/gtest.h>

namespace dbops::core {
namespace {

TEST(TimelineFence, TheFirstOneOwnsTheTimeline) {
  FakeClock clock;
  MemoryStore store(clock);
  TimelineFence first(store, test_system_identifier, {"a", "host=a"}, clock);
  TimelineFence second(store, test_system_identifier, {"b", "host=b"}, clock);
  first.require_ours(1, {});
  EXPECT_THROW(second.require_ours(1, {}), Error);
  second.require_ours(2, {});
  EXPECT_THROW(first.require_ours(2, {}), Error);
}

TEST(TimelineFence, AfterATakeOverTheOldOwnerStops) {
  FakeClock clock;
  MemoryStore store(clock);
  TimelineFence first(store, test_system_identifier, {"a", "host=a"}, clock);
  first.require_ours(1, {});
  const TimelineClaim claim =
      take_over_timeline(store, test_system_identifier, 1, {"b", "host=b"}, clock.wall_now(), {});
  EXPECT_EQ(claim.epoch, 2U);
  EXPECT_EQ(take_over_timeline(store, test_system_identifier, 1, {"b", "host=b"}, clock.wall_now(), {}).epoch, 2U)
      << "once more changes nothing";
  TimelineFence second(store, test_system_identifier, {"b", "host=b"}, clock);
  second.require_ours(1, {});
  clock.advance(std::chrono::seconds(31));
  EXPECT_THROW(first.require_ours(1, {}), Error);
  EXPECT_EQ(take_over_timeline(store, test_system_identifier, 1, {"a", "host=a"}, clock.wall_now(), {}).epoch, 3U);
}

TEST(TimelineFence, LooksAgainOnlyNowAndThen) {
  FakeClock clock;
  MemoryStore store(clock);
  TimelineFence fence(store, test_system_identifier, {"a", "host=a"}, clock);
  fence.require_ours(1, {});
  int requests = 0;
  store.set_hook([&](MemoryStore::Operation, const std::string&, bool) { ++requests; });
  for (int i = 0; i < 100; ++i)
    fence.require_ours(1, {});
  EXPECT_EQ(requests, 0);
}

// Such as the directory that a file system is to be mounted on.
TEST(TimelineFence, AStoreThatHasLostItsRepositoryIsRefused) {
  FakeClock clock;
  TemporaryDirectory place;
  MemoryStore store(clock), empty(clock);
  const auto fence = [&](MemoryStore& of) {
    auto made = std::make_unique<TimelineFence>(of, test_system_identifier, Owner{"a", "host=a"}, clock);
    made->remember_in(place.path());
    return made;
  };
  fence(store)->require_ours(1, {});
  fence(store)->require_ours(1, {});
  try {
    fence(empty)->require_ours(1, {}); // both stores have one name
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::configuration);
    EXPECT_NE(std::string(error.what()).find("memory has held WAL"), std::string::npos) << error.what();
  }
  EXPECT_FALSE(read_repository(empty, test_system_identifier, {})) << "nothing was made in it";
  const auto told = fence(empty);
  told->accept_empty_store();
  told->require_ours(1, {});
  fence(empty)->require_ours(1, {});
}

TEST(TimelineFence, AStoreThatLosesItsRepositoryIsRefused) {
  FakeClock clock;
  MemoryStore store(clock);
  TimelineFence fence(store, test_system_identifier, {"a", "host=a"}, clock);
  fence.require_ours(1, {});
  for (const std::string& key : {std::string("repository.json"), timeline_prefix(1) + "owner.json"})
    store.remove(cluster_prefix(test_system_identifier) + key, {});
  clock.advance(std::chrono::seconds(31));
  EXPECT_THROW(fence.require_ours(1, {}), Error);
  EXPECT_TRUE(store.list({}, {}).objects.empty()) << "nothing was made in it";
}

// A file system that is unmounted leaves the directory that it was mounted on.
TEST(FileStore, DoesNotBeginAnewInAnEmptyDirectory) {
  TemporaryDirectory place;
  SeededRandom random;
  std::filesystem::create_directory(place.path() / "root");
  FileStore store(place.path() / "root", random);
  store.put_if_absent("1/wal/a", as_bytes("a"), {});
  std::filesystem::rename(place.path() / "root/1", place.path() / "away");
  for (int i = 0; i < 3; ++i)
    EXPECT_THROW(store.put_if_absent("1/wal/b" + std::to_string(i), as_bytes("b"), {}), Error);
  EXPECT_FALSE(exists(place.path() / "root/1"));
  store.put_if_absent("2/wal/a", as_bytes("a"), {});
  std::filesystem::rename(place.path() / "away", place.path() / "root/1");
  EXPECT_EQ(store.put_if_absent("1/wal/b", as_bytes("b"), {}), PutResult::created);
}

TEST(KnownRepositories, AreKept) {
  TemporaryDirectory place;
  const KnownRepositories known(place.path());
  EXPECT_FALSE(known.contains("file:///a"));
  known.add("file:///a");
  known.add("s3://b/c");
  known.add("file:///a");
  EXPECT_TRUE(KnownRepositories(place.path()).contains("file:///a"));
  known.remove("file:///a");
  EXPECT_FALSE(known.contains("file:///a"));
  EXPECT_TRUE(known.contains("s3://b/c"));
}

TEST(InstanceIdentity, StaysAndIsNotCopied) {
  TemporaryDirectory place;
  SeededRandom random;
  const auto original = place.path() / "original", copy = place.path() / "copy";
  std::filesystem::create_directory(original);
  const std::string identity = instance_identity(original, random);
  EXPECT_EQ(identity.size(), 32U);
  EXPECT_EQ(instance_identity(original, random), identity);
  std::filesystem::copy(original, copy, std::filesystem::copy_options::recursive);
  const std::string other = instance_identity(copy, random);
  EXPECT_NE(other, identity);
  EXPECT_EQ(instance_identity(copy, random), other);
  EXPECT_EQ(instance_identity(original, random), identity);
}

TEST(InstanceIdentity, FollowsARename) {
  TemporaryDirectory place;
  SeededRandom random;
  std::filesystem::create_directory(place.path() / "here");
  const std::string identity = instance_identity(place.path() / "here", random);
  std::filesystem::rename(place.path() / "here", place.path() / "there");
  EXPECT_EQ(instance_identity(place.path() / "there", random), identity);
}

// pg_rewind writes the other server's file into the one that is there.
TEST(InstanceIdentity, IsNotTakenFromAFileThatWasWrittenOver) {
  TemporaryDirectory place;
  SeededRandom random;
  std::filesystem::create_directory(place.path() / "a");
  std::filesystem::create_directory(place.path() / "b");
  const std::string a = instance_identity(place.path() / "a", random);
  instance_identity(place.path() / "b", random);
  write_file(place.path() / "b/dbops.instance", read_file(place.path() / "a/dbops.instance", 4096));
  EXPECT_NE(instance_identity(place.path() / "b", random), a);
  write_file(place.path() / "a/dbops.instance", as_bytes("instance = torn"));
  EXPECT_NE(instance_identity(place.path() / "a", random), a);
}

TEST(ReadyFiles, KeepsTheFirstInTheArchiversOrderAndCountsAll) {
  TemporaryDirectory place;
  const auto touch = [&](const std::string& name) { std::ofstream(place.path() / name).put('x'); };
  for (int i = 0; i < 500; ++i)
    touch(hex_field(1, 8) + hex_field(0, 8) + hex_field(std::uint64_t(499 - i), 8) + ".ready");
  touch("00000002.history.ready");
  touch("000000010000000000000003.done");
  touch("000000010000000000000003.00000028.backup.ready");
  touch("nonsense.ready");
  const ReadyFiles ready = list_ready_files(place.path(), 5);
  EXPECT_EQ(ready.count, 502U);
  ASSERT_EQ(ready.first.size(), 5U);
  EXPECT_EQ(ready.first[0].name, "00000002.history");
  EXPECT_EQ(ready.first[1].name, "000000010000000000000000");
  EXPECT_EQ(ready.first[4].name, "000000010000000000000003");
  EXPECT_EQ(list_ready_files(place.path(), 0).count, 502U);
  EXPECT_THROW(list_ready_files(place.path() / "missing", 5), Error);
}

TEST(StoredFiles, AreRangesOfSegments) {
  const SegmentSize size(16 << 20);
  StoredFiles stored(size);
  const auto segment = [&](TimelineId timeline, SegmentNumber number) {
    return *parse_wal_file_name(segment_name({timeline, number}, size));
  };
  for (const SegmentNumber number : {5U, 3U, 4U, 9U, 3U})
    stored.add(segment(1, number), true);
  EXPECT_EQ(stored.end_of_run(3), 6U);
  EXPECT_EQ(stored.end_of_run(6), 6U);
  stored.add(segment(2, 6), true);
  stored.add(segment(2, 7), true);
  EXPECT_EQ(stored.end_of_run(3), 8U) << "over a change of timeline";
  stored.add(segment(2, 8), true);
  EXPECT_EQ(stored.end_of_run(3), 10U);
  EXPECT_TRUE(stored.contains(segment(1, 4)));
  EXPECT_FALSE(stored.contains(segment(2, 4)));
  EXPECT_FALSE(stored.contains(segment(1, 6)));
  stored.remove(segment(1, 4));
  EXPECT_FALSE(stored.contains(segment(1, 4)));
  EXPECT_TRUE(stored.contains(segment(1, 3)));
  EXPECT_TRUE(stored.contains(segment(1, 5)));
  EXPECT_EQ(stored.end_of_run(3), 4U);
  stored.remove(segment(1, 3));
  EXPECT_FALSE(stored.contains(segment(1, 3)));
  const auto label = *parse_wal_file_name("000000010000000000000003.00000028.backup");
  stored.add(label, false);
  stored.add(segment(1, 20), false); // a remnant
  EXPECT_TRUE(stored.contains(label));
  EXPECT_TRUE(stored.contains(segment(1, 20)));
  EXPECT_EQ(stored.end_of_run(20), 20U);
  stored.remove(label);
  stored.remove(segment(1, 20));
  EXPECT_FALSE(stored.contains(label));
  EXPECT_FALSE(stored.contains(segment(1, 20)));
  stored.add(segment(1, 0), true);
  EXPECT_EQ(stored.end_of_run(0), 1U);
}

} // namespace
} // namespace dbops::core
