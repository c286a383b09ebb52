#include "core/wal/fence.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/store/file_store.h"
#include "core/store/memory_store.h"
#include "core/wal/instance.h"
#include "core/wal/layout.h"
#include "core/wal/offsite_backlog.h"
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

TEST(OffsiteBacklog, IsRememberedUntilAllIsThere) {
  TemporaryDirectory place;
  OffsiteBacklogFile file(place.path());
  EXPECT_FALSE(file.read("file:///b"));
  const auto five = *parse_wal_file_name("000000010000000000000005");
  const auto three = *parse_wal_file_name("000000010000000000000003");
  file.add("file:///b", five);
  file.add("file:///b", three);
  const auto seen = file.read("file:///b");
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->after, "wal/00000001/00000000/000000010000000000000003");
  EXPECT_FALSE(seen->check);
  EXPECT_FALSE(file.read("file:///c")) << "another store lacks nothing";
  EXPECT_TRUE(file.advance(*seen, "wal/00000001/00000000/000000010000000000000004.zst"));
  file.add("file:///b", *parse_wal_file_name("000000010000000000000006"));
  EXPECT_FALSE(file.clear(*seen)) << "a file was let go meanwhile";
  EXPECT_TRUE(file.clear(*file.read("file:///b")));
  EXPECT_FALSE(file.read("file:///b"));
}

TEST(OffsiteBacklog, IsNotKnownToACopyOfTheDataDirectory) {
  constexpr auto archiver = OffsiteBacklogFile::Asker::archiver;
  TemporaryDirectory place;
  OffsiteBacklogFile file(place.path());
  EXPECT_TRUE(file.require_check("file:///b", "a 1", archiver));
  ASSERT_TRUE(file.read("file:///b"));
  EXPECT_TRUE(file.read("file:///b")->check);
  EXPECT_FALSE(file.read("file:///b")->after);
  EXPECT_TRUE(file.advance(*file.read("file:///b"), "wal/x"));
  EXPECT_FALSE(file.require_check("file:///b", "a 1", archiver));
  EXPECT_EQ(file.read("file:///b")->after, "wal/x") << "it goes on where it was";
  EXPECT_FALSE(file.read("file:///b")->check);
  EXPECT_TRUE(file.clear(*file.read("file:///b")));
  EXPECT_FALSE(file.read("file:///b"));
  EXPECT_FALSE(file.require_check("file:///b", "a 1", archiver));
  EXPECT_FALSE(file.read("file:///b"));
  EXPECT_TRUE(file.require_check("file:///b", "a 2", archiver)) << "promoted";
  const auto seen = file.read("file:///b");
  EXPECT_TRUE(seen && seen->check);
  EXPECT_TRUE(file.require_check("file:///c", "a 2", archiver)) << "another store";
  EXPECT_FALSE(file.clear(*seen));
  EXPECT_TRUE(file.require_check("file:///b", "a 2", archiver)) << "and back";
  EXPECT_FALSE(file.clear(*seen)) << "which is not as it was seen";
}

// What was let go is remembered beside the question of what else is missing: the answer to that may lie behind it.
TEST(OffsiteBacklog, AComparisonSwallowsNothingThatWasLetGo) {
  constexpr auto archiver = OffsiteBacklogFile::Asker::archiver;
  const auto five = *parse_wal_file_name("000000010000000000000005");
  const std::string before_five = "wal/00000001/00000000/000000010000000000000005";
  TemporaryDirectory place;
  OffsiteBacklogFile file(place.path());
  EXPECT_TRUE(file.require_check("file:///b", "a 1", archiver));
  const auto unknown = file.read("file:///b");
  file.add("file:///b", five);
  file.add("file:///b", *parse_wal_file_name("000000010000000000000006"));
  ASSERT_TRUE(file.read("file:///b"));
  EXPECT_EQ(file.read("file:///b")->after, before_five);
  EXPECT_TRUE(file.read("file:///b")->check);
  EXPECT_FALSE(file.advance(*unknown, "wal/00000001/00000000/000000010000000000000009"));
  EXPECT_TRUE(file.require_check("file:///b", "a 2", archiver)) << "promoted";
  EXPECT_EQ(file.read("file:///b")->after, before_five);
  EXPECT_TRUE(file.read("file:///b")->check);
  const auto seen = file.read("file:///b");
  EXPECT_TRUE(file.advance(*seen, "")) << "all is missing";
  EXPECT_FALSE(file.clear(*seen));
  ASSERT_TRUE(file.read("file:///b")) << "which is remembered";
  EXPECT_EQ(file.read("file:///b")->after, "");
  EXPECT_FALSE(file.read("file:///b")->check);
}

// A new repository: the server puts segments there before anybody has looked at what it had.
TEST(OffsiteBacklog, RemembersWhatItsServerPutThere) {
  constexpr auto archiver = OffsiteBacklogFile::Asker::archiver, other = OffsiteBacklogFile::Asker::other;
  const auto from = [](const char* position) { return [position] { return std::string(position); }; };
  TemporaryDirectory place;
  OffsiteBacklogFile file(place.path());
  EXPECT_TRUE(file.require_check("file:///b", "a 1", other, from("wal/5")));
  EXPECT_EQ(file.read("file:///b")->own_from, "wal/5");
  EXPECT_TRUE(file.require_check("file:///b", "a 1", archiver, from("wal/7")));
  EXPECT_EQ(file.read("file:///b")->own_from, "wal/5") << "its own chunks are there since";
  EXPECT_FALSE(file.require_check("file:///b", "a 1", archiver, from("wal/8")));
  EXPECT_EQ(file.read("file:///b")->own_from, "wal/5");
  EXPECT_TRUE(file.advance(*file.read("file:///b"), "wal/5"));
  EXPECT_TRUE(file.require_check("file:///b", "a 2", archiver, from("wal/9")));
  EXPECT_EQ(file.read("file:///b")->own_from, "wal/9") << "what was before is known";
  EXPECT_TRUE(file.require_check("file:///c", "a 2", archiver, from("wal/9")));
  EXPECT_EQ(file.read("file:///c")->own_from, "wal/9");
}

TEST(OffsiteBacklog, ItsServerPutsThereWhatIsReadyAndWhatComes) {
  TemporaryDirectory place;
  const SegmentSize size(1 << 20);
  EXPECT_EQ(first_own_position(place.path(), {1, 5}, size), "wal/00000001/00000000/000000010000000000000005");
  write_file(place.path() / "000000010000000000000003.ready", Bytes{});
  write_file(place.path() / "000000010000000000000004.ready", Bytes{});
  write_file(place.path() / "000000010000000000000002.done", Bytes{});
  EXPECT_EQ(first_own_position(place.path(), {1, 5}, size), "wal/00000001/00000000/000000010000000000000003");
}

TEST(OffsiteBacklog, AFileOfBeforeSaysAllThatItSaid) {
  TemporaryDirectory place;
  std::ofstream(place.path() / "dbops.offsite_backlog") << "store = file:///b\nafter = wal/00000001/x\nrevision = 7\n";
  OffsiteBacklogFile file(place.path());
  EXPECT_TRUE(file.require_check("file:///b", "a 1", OffsiteBacklogFile::Asker::archiver));
  EXPECT_EQ(file.read("file:///b")->after, "wal/00000001/x");
  EXPECT_TRUE(file.read("file:///b")->check);
  EXPECT_EQ(file.read("file:///b")->revision, 8U);
}

// dbops.offsite_store is empty for a while: files are acknowledged with the first repository alone.
TEST(OffsiteBacklog, IsNotKnownAfterATimeWithoutTheStore) {
  const WalFileName next = *parse_wal_file_name("000000010000000000000006");
  constexpr auto archiver = OffsiteBacklogFile::Asker::archiver, other = OffsiteBacklogFile::Asker::other;
  TemporaryDirectory place;
  OffsiteBacklogFile file(place.path());
  EXPECT_FALSE(file.forget_server(next)) << "there was none";
  EXPECT_TRUE(file.require_check("file:///b", "a 1", archiver));
  file.add("file:///b", *parse_wal_file_name("000000010000000000000005"));
  const auto seen = file.read("file:///b");
  EXPECT_TRUE(file.forget_server(next));
  EXPECT_FALSE(file.forget_server(next));
  EXPECT_FALSE(file.clear(*seen)) << "that was before";
  EXPECT_EQ(file.read("file:///b")->after, seen->after);
  EXPECT_TRUE(file.read("file:///b")->check) << "whoever sees it first";
  EXPECT_TRUE(file.clear(*file.read("file:///b")));
  EXPECT_FALSE(file.require_check("file:///b", "a 1", other)) << "the one that acknowledges has not said so";
  EXPECT_TRUE(file.forget_server(next)) << "the store is compared, and still there is none";
  EXPECT_TRUE(file.clear(*file.read("file:///b")));
  EXPECT_TRUE(file.require_check("file:///b", "a 1", archiver));
  EXPECT_TRUE(file.read("file:///b")->check);
  EXPECT_FALSE(file.require_check("file:///b", "a 1", other));
}

TEST(OffsiteBacklog, OnlyTheArchiverSaysThatTheStoreIsKnown) {
  constexpr auto archiver = OffsiteBacklogFile::Asker::archiver, other = OffsiteBacklogFile::Asker::other;
  TemporaryDirectory place;
  OffsiteBacklogFile file(place.path());
  EXPECT_TRUE(file.require_check("file:///b", "a 1", other));
  EXPECT_FALSE(file.require_check("file:///b", "a 1", other));
  EXPECT_TRUE(file.clear(*file.read("file:///b")));
  EXPECT_FALSE(file.require_check("file:///b", "a 1", other));
  EXPECT_TRUE(file.require_check("file:///b", "a 1", archiver));
  EXPECT_TRUE(file.read("file:///b")->check);
}

TEST(OffsiteBacklog, WithoutSpaceNothingIsForgottenThatIsComparedAnyway) {
  const WalFileName next = *parse_wal_file_name("000000010000000000000006");
  constexpr auto archiver = OffsiteBacklogFile::Asker::archiver;
  TemporaryDirectory place;
  OffsiteBacklogFile file(place.path());
  EXPECT_TRUE(file.require_check("file:///b", "a 1", archiver));
  file.add("file:///b", *parse_wal_file_name("000000010000000000000005"));
  std::filesystem::create_directory(place.path() / "dbops.offsite_backlog.tmp"); // no new file can be written
  EXPECT_THROW(file.forget_server(*parse_wal_file_name("000000010000000000000004")), Error);
  EXPECT_FALSE(file.forget_server(next)) << "all behind what was let go is compared anyway";
  EXPECT_TRUE(file.read("file:///b")->after);
  std::filesystem::remove(place.path() / "dbops.offsite_backlog.tmp");
  EXPECT_TRUE(file.clear(*file.read("file:///b")));
  std::filesystem::create_directory(place.path() / "dbops.offsite_backlog.tmp");
  EXPECT_TRUE(file.forget_server(next));
  EXPECT_FALSE(std::filesystem::exists(place.path() / "dbops.offsite_backlog"));
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

TEST(RepositoryCopier, WhatIsDamagedIsNotCopied) {
  FakeClock clock;
  SeededRandom random;
  TemporaryDirectory wal;
  MemoryStore from(clock), to(clock);
  const SegmentSize size(1 << 20);
  const KeyRing keys = KeyRing::parse("2026 = " + std::string(64, 'a') + "\n"),
                others = KeyRing::parse("2020 = " + std::string(64, 'b') + "\n");
  WalWriter writer(from, clock, random,
                   {.system_identifier = test_system_identifier, .origin = "here", .encoding = {.keys = &keys}});
  const WalFileName name = *parse_wal_file_name(segment_name({1, 1}, size));
  write_file(wal.path() / name.name, make_segment({1, 1}, size));
  writer.put_file(name, wal.path() / name.name, {});
  const std::string key = cluster_prefix(test_system_identifier) + wal_file_key(name);
  const Bytes good = *from.get(key, {}, {});
  Bytes damaged = good;
  damaged[damaged.size() / 2] ^= std::byte(1);
  from.overwrite(key, damaged);
  try {
    RepositoryCopier(from, to, test_system_identifier, &keys).copy("", 2, {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unavailable);
    EXPECT_NE(std::string(error.what()).find(key), std::string::npos) << error.what();
  }
  EXPECT_FALSE(to.head(key, {}));
  from.overwrite(key, good);
  EXPECT_EQ(RepositoryCopier(from, to, test_system_identifier, &others).copy("", 2, {}).copied, 1U)
      << "of a key that is not here any more: as it is";
  EXPECT_EQ(to.get(key, {}, {}), good);
}

TEST(RepositoryCopier, CopiesWhatIsMissingAndNothingElse) {
  FakeClock clock;
  SeededRandom random;
  TemporaryDirectory wal;
  MemoryStore from(clock), to(clock);
  const SegmentSize size(1 << 20);
  WalWriter writer(from, clock, random,
                   {.system_identifier = test_system_identifier, .origin = "here", .encoding = {}});
  for (SegmentNumber number = 1; number <= 9; ++number) {
    const std::string name = segment_name({1, number}, size);
    write_file(wal.path() / name, make_segment({1, number}, size));
    writer.put_file(*parse_wal_file_name(name), wal.path() / name, {});
  }
  writer.put_chunk(*parse_wal_file_name(segment_name({1, 10}, size)), {0, 4}, as_bytes("abcd"), {});
  const std::string fourth =
      cluster_prefix(test_system_identifier) + "wal/00000001/00000000/000000010000000000000004.zst";
  to.put_if_absent(fourth, *from.get(fourth, {}, {}), {});
  RepositoryCopier copier(from, to, test_system_identifier, nullptr);
  std::string position = "wal/00000001/00000000/000000010000000000000003";
  std::uint64_t copied = 0;
  for (bool complete = false; !complete;) {
    const auto step = copier.copy(position, 2, {});
    EXPECT_LE(step.copied, 2U);
    copied += step.copied;
    position = step.position;
    complete = step.complete;
  }
  EXPECT_EQ(copied, 6U) << "3, 5, 6, 7, 8, 9";
  for (SegmentNumber number = 3; number <= 9; ++number) {
    const std::string key =
        cluster_prefix(test_system_identifier) + wal_file_key(*parse_wal_file_name(segment_name({1, number}, size)));
    EXPECT_EQ(to.get(key, {}, {}), from.get(key, {}, {}));
  }
  EXPECT_EQ(copier.beginning({}, {}), "wal/00000001/00000000/000000010000000000000003");
  EXPECT_EQ(RepositoryCopier(to, from, test_system_identifier, nullptr).beginning({}, {}),
            "wal/00000001/00000000/000000010000000000000001");
  MemoryStore empty(clock);
  EXPECT_EQ(RepositoryCopier(from, empty, test_system_identifier, nullptr).beginning({}, {}), "");
  EXPECT_EQ(copier.beginning("wal/00000001/00000000/000000010000000000000004", {}),
            "wal/00000001/00000000/000000010000000000000003");
  EXPECT_EQ(copier.beginning("wal/00000001/00000000/000000010000000000000003", {}), "")
      << "all of it has come from here";
  const ListPage page = to.list({}, {});
  EXPECT_EQ(page.objects.size(), 7U);
  to.overwrite(
      fourth,
      *from.get(cluster_prefix(test_system_identifier) + "wal/00000001/00000000/000000010000000000000005.zst", {}, {}));
  EXPECT_TRUE(copier.copy("wal/00000001/00000000/000000010000000000000003", 99, {}).complete)
      << "what is there is not compared: its writer did";
}

} // namespace
} // namespace dbops::core
