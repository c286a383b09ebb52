// What a restore needs on each file system, beside what it replaces there.
#include "core/backup/restore_space.h"

#include "backup_round_trip.h"
#include "core/backup/restore_directory.h"

#include <cstring>
#include <random>
#include <unistd.h>

namespace dbops::core {
namespace {

constexpr std::uint64_t mega = 1 << 20;

// That no file system makes smaller.
Bytes random_bytes(std::size_t size) {
  std::mt19937_64 engine(1);
  Bytes bytes(size);
  for (std::size_t at = 0; at + sizeof(std::uint64_t) <= size; at += sizeof(std::uint64_t)) {
    const std::uint64_t word = engine();
    std::memcpy(&bytes[at], &word, sizeof word);
  }
  return bytes;
}

// What it says; empty: there is room.
std::string refusal(const RestoreSpace& space) {
  const auto shortage = space.shortage();
  if (!shortage) return {};
  EXPECT_EQ(shortage->kind(), ErrorKind::no_space);
  return shortage->what();
}

// Two file systems: 100 MiB free on the one, 10 MiB on the other.
RestoreSpace::FileSystem two(const fs::path& place) {
  return place.string().starts_with("/small") ? RestoreSpace::FileSystem{2, 10 * mega}
                                              : RestoreSpace::FileSystem{1, 100 * mega};
}

TEST(RestoreSpace, IsCountedByFileSystem) {
  RestoreSpace space(two);
  space.add("/data", 60 * mega, 0);
  space.add("/small/space", 10 * mega, 0);
  EXPECT_EQ(refusal(space), "");
  space.add("/elsewhere", 40 * mega, 0);
  EXPECT_EQ(refusal(space), "") << "exactly what there is";
  space.add("/third", 1, 0);
  EXPECT_EQ(refusal(space), "\"/data\" has 104857600 bytes free, and the backup needs 104857601");
}

TEST(RestoreSpace, WhatIsReplacedMakesRoom) {
  RestoreSpace space(two);
  space.add("/data", 1000 * mega, 900 * mega);
  EXPECT_EQ(refusal(space), "");
  space.add("/small/space", 12 * mega, mega);
  EXPECT_EQ(refusal(space), "\"/small/space\" has 10485760 bytes free, and the backup needs 12582912, of which it "
                            "replaces 1048576 that are there");
}

class SpaceForARestore : public BackupRoundTrip {
 protected:
  // With so many bytes free in the place that a backup is restored to.
  std::string with(std::uint64_t free, const BackupHead& head, bool delta, bool ignore = false) {
    RestoreOptions options;
    options.data_directory = root_.path() / "to";
    options.delta = delta;
    options.ignore_space = ignore;
    RestoreDirectory directory(head, options);
    directory.check();
    const BackupRepository source = repository(); // which the list refers to
    FileListReader files(source, head.label, head.file_parts);
    while (const auto entry = files.next({}))
      directory.count(*entry);
    warning_.clear();
    try {
      warning_ = directory.check_space([&](const fs::path&) { return RestoreSpace::FileSystem{1, free}; });
      return {};
    } catch (const Error& error) {
      return error.what();
    }
  }
  // The least that is enough.
  std::uint64_t least(const BackupHead& head, bool delta) {
    std::uint64_t low = 0, high = std::uint64_t(1) << 40;
    while (low < high) {
      const std::uint64_t middle = low + (high - low) / 2;
      if (with(middle, head, delta).empty())
        high = middle;
      else
        low = middle + 1;
    }
    return low;
  }

  std::string warning_; // of the last with()
};

TEST_P(SpaceForARestore, CountsFilesAndWal) {
  const BackupHead head = backup();
  const std::uint64_t enough = head.bytes + 3 * head.wal_segment_size;
  EXPECT_EQ(least(head, false), enough);
  EXPECT_NE(with(enough - 1, head, false), "");
  EXPECT_EQ(with(enough - 1, head, false, true), "") << "as it is told to";
  EXPECT_NE(warning_, "");
}

// Recovery removes most of it before the backup is consistent, with the restartpoints.
TEST_P(SpaceForARestore, AllWalOfALongBackupIsNoCondition) {
  BackupHead head = backup();
  const std::uint64_t wal = std::uint64_t(1000) * head.wal_segment_size;
  head.stop_lsn = head.start_lsn + wal;
  const std::uint64_t enough = head.bytes + 3 * head.wal_segment_size;
  EXPECT_EQ(least(head, false), enough);
  EXPECT_EQ(with(enough + wal - 1, head, false), "");
  EXPECT_NE(warning_.find("with all WAL that was written while it was taken"), std::string::npos) << warning_;
  EXPECT_EQ(with(enough + wal, head, false), "");
  EXPECT_EQ(warning_, "");
}

TEST_P(SpaceForARestore, OfADeltaIsWhatItAddsAndNotWhatIsThere) {
  const BackupHead head = backup();
  const fs::path to = root_.path() / "to";
  restore(head, to);
  const std::uint64_t wal = 3 * head.wal_segment_size;
  EXPECT_LE(least(head, true), wal) << "all is there";
  write_file(to / "base/stray", random_bytes(64 * mega));
  EXPECT_EQ(least(head, true), 0U) << "what is removed makes room";
  fs::remove(to / "base/stray");
  fs::path largest;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(to))
    if (entry.is_regular_file() && (largest.empty() || entry.file_size() > fs::file_size(largest)))
      largest = entry.path();
  const std::uint64_t before = least(head, true), size = fs::file_size(largest);
  fs::remove(largest);
  EXPECT_GE(least(head, true), before + size);
}

// Its files had their size before they had their content. What is there may take less than it is long, so that it is
// not refused: the same command goes on.
TEST_P(SpaceForARestore, OfOneThatWasInterruptedIsWarned) {
  const BackupHead head = backup();
  const fs::path to = root_.path() / "to";
  fs::create_directories(to / "base/5");
  write_file(to / "dbops.restore", {});
  const BackupRepository source = repository();
  FileListReader files(source, head.label, head.file_parts);
  while (const auto entry = files.next({}))
    if (entry->type == EntryType::file) {
      fs::create_directories((to / entry->path).parent_path());
      write_file(to / entry->path, {});
      ASSERT_EQ(::truncate((to / entry->path).c_str(), off_t(entry->size)), 0);
    }
  EXPECT_EQ(with(head.bytes + 3 * head.wal_segment_size, head, false), "");
  EXPECT_EQ(warning_, "");
  for (const bool delta : {false, true}) {
    EXPECT_EQ(with(head.bytes + 3 * head.wal_segment_size - 1, head, delta), "");
    EXPECT_NE(warning_.find("the backup needs " + std::to_string(head.bytes + 3 * head.wal_segment_size)),
              std::string::npos)
        << warning_;
  }
}

INSTANTIATE_TEST_SUITE_P(Keys, SpaceForARestore, testing::Bool());

} // namespace
} // namespace dbops::core
