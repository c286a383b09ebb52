#include "core/wal/repository_copier.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/store/memory_store.h"
#include "core/wal/layout.h"
#include "core/wal/wal_writer.h"
#include "fake_time_and_random.h"
#include "temporary_directory.h"
#include "wal_fixture.h"

#include <gtest/gtest.h>

namespace dbops::core {
namespace {

std::string name_of(SegmentNumber number) {
  return wal_file_key(*parse_wal_file_name(segment_name({1, number}, SegmentSize(1 << 20))));
}
std::string key_of(SegmentNumber number) {
  return cluster_prefix(test_system_identifier) + name_of(number);
}

// A repository with segments 1 to `count`, and another one.
struct Repositories {
  explicit Repositories(SegmentNumber count, const KeyRing* keys = nullptr)
      : writer(from, clock, random,
               {.system_identifier = test_system_identifier, .origin = "here", .encoding = {.keys = keys}}) {
    for (SegmentNumber number = 1; number <= count; ++number)
      writer.put_file(*parse_wal_file_name(segment_name({1, number}, size)), file(number), {});
  }
  // A segment's file.
  std::filesystem::path file(SegmentNumber number) {
    const std::filesystem::path path = wal.path() / segment_name({1, number}, size);
    write_file(path, make_segment({1, number}, size));
    return path;
  }

  FakeClock clock;
  SeededRandom random;
  TemporaryDirectory wal;
  MemoryStore from{clock}, to{clock};
  SegmentSize size{1 << 20};
  WalWriter writer;
};

TEST(RepositoryCopier, WhatIsDamagedIsNotCopied) {
  const KeyRing keys = KeyRing::parse("2026 = " + std::string(64, 'a') + "\n"),
                others = KeyRing::parse("2020 = " + std::string(64, 'b') + "\n");
  Repositories repositories(1, &keys);
  MemoryStore &from = repositories.from, &to = repositories.to;
  const std::string key = key_of(1);
  const Bytes good = *from.get(key, {}, {});
  Bytes damaged = good;
  damaged[damaged.size() / 2] ^= std::byte(1);
  from.overwrite(key, damaged);
  const auto step = RepositoryCopier(from, to, test_system_identifier, &keys).copy("", 2, {});
  ASSERT_EQ(step.damaged.size(), 1U);
  EXPECT_EQ(step.damaged.front().name, name_of(1));
  EXPECT_NE(step.damaged.front().problem.find(key), std::string::npos) << step.damaged.front().problem;
  EXPECT_TRUE(step.complete);
  EXPECT_EQ(step.copied, 0U);
  EXPECT_FALSE(to.head(key, {}));
  from.overwrite(key, good);
  EXPECT_EQ(RepositoryCopier(from, to, test_system_identifier, &others).copy("", 2, {}).copied, 1U)
      << "of a key that is not here any more: as it is";
  EXPECT_EQ(to.get(key, {}, {}), good);
}

// One object that is lost does not keep the others from being copied, and is copied when it is there again.
TEST(RepositoryCopier, WhatIsDamagedIsPassedOver) {
  Repositories repositories(5);
  MemoryStore &from = repositories.from, &to = repositories.to;
  const Bytes second = *from.get(key_of(2), {}, {}), fourth = *from.get(key_of(4), {}, {});
  Bytes damaged = second;
  damaged[0] ^= std::byte(1); // the header
  from.overwrite(key_of(2), damaged);
  damaged = fourth;
  damaged[damaged.size() - 1] ^= std::byte(1);
  from.overwrite(key_of(4), damaged);
  RepositoryCopier copier(from, to, test_system_identifier, nullptr);
  auto step = copier.copy("", 2, {});
  EXPECT_EQ(step.copied + step.damaged.size(), 2U) << "what is damaged counts";
  EXPECT_FALSE(step.complete);
  step = copier.copy(step.position, 9, {});
  EXPECT_TRUE(step.complete);
  ASSERT_EQ(step.damaged.size(), 1U);
  for (const SegmentNumber number : {1U, 3U, 5U})
    EXPECT_EQ(to.get(key_of(number), {}, {}), from.get(key_of(number), {}, {})) << number;
  const std::vector<std::string> names{name_of(2), name_of(4)};
  EXPECT_EQ(copier.copy_again(names, {}).size(), 2U);
  from.overwrite(key_of(2), second);
  ASSERT_EQ(copier.copy_again(names, {}).size(), 1U);
  EXPECT_EQ(copier.copy_again(names, {}).front().name, names.back());
  EXPECT_EQ(to.get(key_of(2), {}, {}), second);
  from.remove(key_of(4), {});
  EXPECT_TRUE(copier.copy_again(names, {}).empty()) << "gone from the first one";
}

TEST(RepositoryCopier, WhatCannotBeReadIsPassedOver) {
  for (const ErrorKind kind : {ErrorKind::corrupt, ErrorKind::io, ErrorKind::access_denied, ErrorKind::unavailable}) {
    Repositories repositories(3);
    MemoryStore &from = repositories.from, &to = repositories.to;
    const std::string bad = name_of(2);
    from.set_hook([&](MemoryStore::Operation operation, const std::string& key, bool) {
      if (operation == MemoryStore::Operation::get && key.ends_with(bad)) throw Error(kind, "cannot be read");
    });
    RepositoryCopier copier(from, to, test_system_identifier, nullptr);
    if (kind == ErrorKind::unavailable) { // the store, not the object
      EXPECT_THROW(copier.copy("", 9, {}), Error);
      continue;
    }
    const auto step = copier.copy("", 9, {});
    EXPECT_EQ(step.copied, 2U);
    ASSERT_EQ(step.damaged.size(), 1U);
    EXPECT_EQ(step.damaged.front().name, bad);
  }
}

// A file system of the network that fails says so of whatever is asked for.
TEST(RepositoryCopier, AStoreThatCannotBeReadHasNoDamage) {
  for (const ErrorKind kind : {ErrorKind::io, ErrorKind::unavailable}) {
    Repositories repositories(3);
    MemoryStore &from = repositories.from, &to = repositories.to;
    bool fails = false;
    from.set_hook([&](MemoryStore::Operation operation, const std::string& key, bool) {
      fails |= operation == MemoryStore::Operation::get && key.ends_with(name_of(2));
      if (fails) throw Error(operation == MemoryStore::Operation::get ? ErrorKind::io : kind, "out of order");
    });
    RepositoryCopier copier(from, to, test_system_identifier, nullptr);
    try {
      copier.copy("", 9, {});
      ADD_FAILURE() << "taken for damage";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::unavailable);
    }
    from.set_hook({});
    EXPECT_EQ(copier.copy("", 9, {}).copied, 2U) << "the first one is there";
  }
}

TEST(RepositoryCopier, CopiesTheLastPartOfATimeline) {
  Repositories repositories(0);
  MemoryStore &from = repositories.from, &to = repositories.to;
  repositories.writer.put_remnant(*parse_wal_file_name(segment_name({1, 3}, repositories.size)), repositories.file(3),
                                  {});
  const ListPage page = from.list({}, {});
  ASSERT_EQ(page.objects.size(), 1U);
  const std::string root = cluster_prefix(test_system_identifier) + "wal/00000001/00000000/";
  for (const char* other :
       {"000000010000000000000003.partial.0123456789abcdeg", "000000010000000000000003.0123456789abcdef",
        "note.partial.0123456789abcdef", "000000010000000000000003.partial.abcdef"})
    from.put_if_absent(root + other, as_bytes("not ours"), {});
  RepositoryCopier copier(from, to, test_system_identifier, nullptr);
  EXPECT_EQ(copier.copy("", 9, {}).copied, 1U);
  EXPECT_EQ(to.get(page.objects.front().key, {}, {}), from.get(page.objects.front().key, {}, {}));
  EXPECT_EQ(copier.copy("", 9, {}).copied, 0U) << "it is there";
}

TEST(RepositoryCopier, CopiesWhatIsMissingAndNothingElse) {
  Repositories repositories(9);
  MemoryStore &from = repositories.from, &to = repositories.to;
  repositories.writer.put_chunk(*parse_wal_file_name(segment_name({1, 10}, repositories.size)), {0, 4},
                                as_bytes("abcd"), {});
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
    EXPECT_EQ(to.get(key_of(number), {}, {}), from.get(key_of(number), {}, {}));
  }
  EXPECT_EQ(copier.beginning({}, {}), "wal/00000001/00000000/000000010000000000000003");
  EXPECT_EQ(RepositoryCopier(to, from, test_system_identifier, nullptr).beginning({}, {}),
            "wal/00000001/00000000/000000010000000000000001");
  MemoryStore empty(repositories.clock);
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
