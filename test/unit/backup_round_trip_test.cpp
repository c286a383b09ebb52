// What is backed up is restored: whole, incrementally, after failures.
#include "backup_round_trip.h"

namespace dbops::core {
namespace {

TEST_P(BackupRoundTrip, WholeAndIncremental) {
  const BackupHead first = backup();
  EXPECT_EQ(first.damaged_blocks, 0U) << messages_;
  EXPECT_EQ(first.new_blocks, 200U + 1 + region_blocks + 100 + 3) << "and three small files";
  const auto before = expected();

  for (unsigned i = 0; i < 30; ++i)
    change("base/5/16390", i * 137 % (region_blocks + 100), 100 + i);
  fs::resize_file(data_ / "base/5/16384", 50 * block_size);
  fs::remove(data_ / "base/5/16385");
  file("base/5/16391", pages(3, 9));
  const BackupHead second = backup();
  EXPECT_EQ(second.base, first.label);
  EXPECT_EQ(second.new_blocks, 33U);
  EXPECT_LT(second.new_bytes, 33U * 6000 + 20000) << "new blocks, and little else";
  const BackupHead third = backup();
  EXPECT_EQ(third.new_blocks, 0U);
  EXPECT_LT(third.new_bytes, 10000U);

  restore(first, root_.path() / "one");
  EXPECT_TRUE(contents(root_.path() / "one") == before);
  restore(second, root_.path() / "two");
  EXPECT_TRUE(contents(root_.path() / "two") == expected());
  restore(third, root_.path() / "three");
  EXPECT_TRUE(contents(root_.path() / "three") == expected());
}

TEST_P(BackupRoundTrip, EqualBlocksAreStoredOnce) {
  threads_ = 1; // so that one is stored when the other is read
  file("base/5/20000", pages(200, 1));
  EXPECT_LT(backup().new_blocks, 200U + 1 + region_blocks + 100 + 3 + 30) << "but for those that the index forgot";
}

TEST_P(BackupRoundTrip, DeltaRestoreFetchesWhatDiffers) {
  const BackupHead head = backup();
  const fs::path to = root_.path() / "to";
  const std::uint64_t whole = restore(head, to);
  fs::remove(to / "recovery.signal");
  fs::remove(to / "base/5/16384");
  write_file(to / "base/5/stray", as_bytes("x"));
  fs::create_directories(to / "stray/deep");
  {
    std::fstream out(to / "base/5/16390", std::ios::in | std::ios::out | std::ios::binary);
    out.seekp(5 * block_size + 100);
    out.write("other", 5);
  }
  write_file(to / "base/5/16386", Bytes(30 * block_size, std::byte(1)));
  EXPECT_THROW(restore(head, to), Error) << "not empty";
  const std::uint64_t again = restore(head, to, true);
  EXPECT_TRUE(contents(to) == expected());
  EXPECT_LT(again, whole / 5);
}

TEST_P(BackupRoundTrip, InterruptedRestoreCannotStartAndGoesOn) {
  const BackupHead head = backup();
  const fs::path to = root_.path() / "to";
  int reads = 0;
  store_.set_hook([&](MemoryStore::Operation operation, const std::string& key, bool after) {
    if (operation == MemoryStore::Operation::get && !after && key.find("pack/") != std::string::npos && ++reads > 3)
      throw Error(ErrorKind::unavailable, "the store is gone");
  });
  EXPECT_THROW(restore(head, to), Error);
  EXPECT_FALSE(fs::exists(to / "global/pg_control"));
  EXPECT_TRUE(fs::exists(to / restore_marker));
  store_.set_hook({});
  restore(head, to);
  EXPECT_TRUE(contents(to) == expected());
}

TEST_P(BackupRoundTrip, AbortedBackupIsUsedByTheNext) {
  // Enough entries that a part of the list of files is written before the store fails.
  fs::create_directories(data_ / "base/4");
  for (int i = 0; i < 9000; ++i)
    file("base/4/small_file_with_a_long_name_" + std::to_string(i), as_bytes("content " + std::to_string(i)));
  store_.set_hook([&](MemoryStore::Operation operation, const std::string& key, bool after) {
    if (operation == MemoryStore::Operation::put && !after && key.find("/manifest") != std::string::npos)
      throw Error(ErrorKind::unavailable, "the store is gone");
  });
  EXPECT_THROW(backup(), Error);
  store_.set_hook({});
  const BackupHead head = backup();
  EXPECT_EQ(head.base, "");
  EXPECT_EQ(head.new_blocks, 0U);
  restore(head, root_.path() / "to");
  EXPECT_TRUE(contents(root_.path() / "to") == expected());
}

TEST_P(BackupRoundTrip, FullStoresAllAgain) {
  const BackupHead first = backup();
  options_.full = true;
  const BackupHead second = backup();
  EXPECT_EQ(second.base, "");
  EXPECT_EQ(second.new_blocks, first.new_blocks);
  const BackupRepository where = repository();
  EXPECT_GT(expire(where, {.last = 1}, false, {}, {}).packs, 0U) << "nothing of the first is used";
  restore(second, root_.path() / "to");
  EXPECT_TRUE(contents(root_.path() / "to") == expected());
}

// The store fails, or this process dies, before or after each single operation.
TEST_P(BackupRoundTrip, ABackupMayFailAnywhere) {
  fs::remove(data_ / "base/5/16390");
  bool ended = false;
  for (int fails_at = 0; !ended; ++fails_at) {
    for (const std::string& key : keys(""))
      store_.remove(key, {});
    if (fails_at % 2 == 1) backup(); // one to compare with, or none
    change("base/5/16384", unsigned(fails_at) % 200, 5000U + unsigned(fails_at));
    std::atomic<int> operations{0};
    store_.set_hook([&](MemoryStore::Operation, const std::string&, bool) {
      if (operations++ == fails_at / 2) throw Error(ErrorKind::unavailable, "killed");
    });
    ended = true;
    try {
      backup();
    } catch (const Error&) {
      ended = false;
    }
    store_.set_hook({});
    const BackupHead head = backup();
    const BackupRepository where = repository();
    VerifyProgress progress;
    for (const Damage& damage : verify(where, {.deep = true}, progress, {}, {}).damage)
      EXPECT_NE(damage.what.find("WAL is missing"), std::string::npos) << fails_at << " " << damage.what;
    fs::remove_all(root_.path() / "to");
    restore(head, root_.path() / "to");
    ASSERT_TRUE(contents(root_.path() / "to") == expected()) << fails_at;
    ASSERT_LT(fails_at, 400);
  }
}

TEST_P(BackupRoundTrip, ARestoreMayFailAnywhere) {
  fs::remove(data_ / "base/5/16390");
  const BackupHead head = backup();
  const fs::path to = root_.path() / "to";
  bool ended = false;
  for (int fails_at = 0; !ended; ++fails_at) {
    std::atomic<int> operations{0};
    store_.set_hook([&](MemoryStore::Operation, const std::string&, bool) {
      if (operations++ == fails_at) throw Error(ErrorKind::unavailable, "killed");
    });
    ended = true;
    try {
      restore(head, to);
    } catch (const Error&) {
      ended = false;
      EXPECT_FALSE(fs::exists(to / "global/pg_control")) << fails_at;
    }
    store_.set_hook({});
    if (fails_at % 3 == 0) {
      if (!ended) restore(head, to);
      ASSERT_TRUE(contents(to) == expected()) << fails_at;
      fs::remove_all(to);
    }
    ASSERT_LT(fails_at, 400);
  }
}

INSTANTIATE_TEST_SUITE_P(Backups, BackupRoundTrip, testing::Bool(),
                         [](const auto& info) { return info.param ? "Encrypted" : "Plain"; });

} // namespace
} // namespace dbops::core
