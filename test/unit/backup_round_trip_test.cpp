// Directories that look like a server's into a store in memory and back.
#include "core/backup/backup_run.h"
#include "core/backup/catalogue_cache.h"
#include "core/backup/expire.h"
#include "core/backup/restore_run.h"
#include "core/backup/verify.h"

#include "core/backup/control_file.h"
#include "core/backup/damaged_packs.h"
#include "core/backup/page_checksum.h"
#include "core/base/error.h"
#include "core/store/memory_store.h"
#include "core/wal/layout.h"
#include "fake_time_and_random.h"
#include "temporary_directory.h"
#include "wal_fixture.h"

#include <gtest/gtest.h>

#include <map>
#include <mutex>
#include <unistd.h>

namespace dbops::core {
namespace {

namespace fs = std::filesystem;

constexpr const char* keys_text = "k1 = 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n";

// Pages as PostgreSQL has them, with random content.
Bytes pages(std::uint32_t count, unsigned seed, std::uint32_t first = 0) {
  std::mt19937 engine(seed);
  Bytes bytes(std::size_t(count) * block_size);
  for (std::uint32_t page = 0; page < count; ++page) {
    const auto at = std::span(bytes).subspan(std::size_t(page) * block_size, block_size);
    for (std::size_t i = 16; i < 3000; ++i)
      at[i] = std::byte(engine() & 0xff);
    at[14] = std::byte(1); // pd_upper
    const std::uint16_t checksum = page_checksum(at, first + page);
    std::memcpy(&at[8], &checksum, sizeof checksum);
  }
  return bytes;
}

Bytes control_file() {
  Bytes bytes(8192);
  const auto put = [&](std::size_t offset, auto value) { std::memcpy(bytes.data() + offset, &value, sizeof value); };
  put(0, test_system_identifier);
  put(8, std::uint32_t(1300));
  put(12, std::uint32_t(202209061));
  put(216, 1234567.0);                    // floatFormat
  put(216 + 20, std::uint32_t(16 << 20)); // xlog_seg_size
  put(288, crc32c(ByteView(bytes).first(288)));
  return bytes;
}

class BackupRoundTrip : public testing::TestWithParam<bool> {
 protected:
  BackupRoundTrip() : keys_(KeyRing::parse(keys_text)), store_(clock_), data_(root_.path() / "data") {
    fs::create_directories(data_ / "global");
    fs::create_directories(data_ / "base/5");
    fs::create_directories(data_ / "pg_wal/archive_status");
    fs::create_directories(data_ / "pg_tblspc");
    file("PG_VERSION", as_bytes("15\n"));
    file("postgresql.auto.conf", as_bytes("# mine\n"));
    file("postmaster.pid", as_bytes("1\n"));
    file("global/pg_control", control_file());
    file("pg_wal/000000010000000000000001", as_bytes("no"));
    file("base/5/PG_VERSION", as_bytes("15"));
    file("base/5/16384", pages(200, 1));
    file("base/5/16385", Bytes());
    file("base/5/16386", Bytes(20 * block_size));
    file("base/5/16387", as_bytes("unlogged"));
    file("base/5/16387_init", pages(1, 7));
    file("base/5/16390", pages(region_blocks + 100, 3)); // more than a region
  }

  void file(const std::string& name, ByteView content) { write_file(data_ / name, content); }
  void change(const std::string& name, std::uint32_t page, unsigned seed) {
    const Bytes content = pages(1, seed, page);
    std::fstream out(data_ / name, std::ios::in | std::ios::out | std::ios::binary);
    out.seekp(std::streamoff(page) * block_size);
    out.write(as_text(content).data(), std::streamsize(content.size()));
  }
  [[nodiscard]] BackupRepository repository() {
    return {.store = store_,
            .clock = clock_,
            .random = random_,
            .system_identifier = test_system_identifier,
            .keys = GetParam() ? &keys_ : nullptr,
            .origin = "test"};
  }

  BackupHead backup() {
    clock_.advance(std::chrono::hours(24));
    const BackupRepository where = repository();
    options_.threads = threads_;
    BackupRun run(where, options_,
                  [&](const LogMessage& message) {
                    const std::lock_guard lock(mutex_);
                    messages_ += message.text + "\n";
                  },
                  {});
    run.copy({.data_directory = data_, .server_version = 150020, .page_checksums = true, .lsn = 0x1000028}, {});
    return run.finish({.lsn = 0x1000130,
                       .timeline = 1,
                       .time = clock_.wall,
                       .backup_label = "START WAL LOCATION\n",
                       .tablespace_map = ""},
                      {});
  }

  std::uint64_t restore(const BackupHead& head, const fs::path& to, bool delta = false,
                        const std::map<std::uint32_t, std::string>& tablespaces = {}, bool discard_wal = false) {
    RestoreProgress progress;
    const BackupRepository where = repository();
    restore_backup(where, head,
                   {.data_directory = to,
                    .delta = delta,
                    .discard_wal = discard_wal,
                    .tablespaces = tablespaces,
                    .recovery_settings = "restore_command = 'x'\n",
                    .signal_file = "recovery.signal"},
                   progress, {}, {});
    return progress.bytes_read;
  }

  // Relative path and content of all files.
  static std::map<std::string, std::string> contents(const fs::path& root) {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(root))
      if (entry.is_regular_file())
        files[entry.path().lexically_relative(root).string()] = as_text(read_file(entry.path(), 1 << 30));
    return files;
  }
  [[nodiscard]] std::map<std::string, std::string> expected() const {
    auto files = contents(data_);
    for (const char* name : {"postmaster.pid", "pg_wal/000000010000000000000001", "base/5/16387"})
      files.erase(name);
    files["backup_label"] = "START WAL LOCATION\n";
    files["recovery.signal"] = "";
    files["postgresql.auto.conf"] = "# mine\nrestore_command = 'x'\n";
    return files;
  }
  std::vector<std::string> keys(const std::string& part) {
    std::vector<std::string> found;
    ListRequest request;
    request.prefix = cluster_prefix(test_system_identifier) + part;
    for (const ObjectInfo& object : store_.list(request, {}).objects)
      found.push_back(object.key);
    return found;
  }
  void damage(const std::string& key, std::size_t offset) {
    Bytes content = store_.get(key, {}, {}).value();
    content.at(offset) ^= std::byte(0x55);
    store_.overwrite(key, content);
  }

  TemporaryDirectory root_;
  FakeClock clock_;
  SeededRandom random_;
  KeyRing keys_;
  MemoryStore store_;
  fs::path data_;
  std::mutex mutex_;
  std::string messages_;
  unsigned threads_ = 2;
  BackupOptions options_;
};

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

TEST_P(BackupRoundTrip, CorruptPagesAreNamedAndRemembered) {
  {
    std::fstream out(data_ / "base/5/16384", std::ios::in | std::ios::out | std::ios::binary);
    out.seekp(17 * block_size + 500);
    out.write("XXXX", 4);
  }
  EXPECT_EQ(backup().damaged_blocks, 1U);
  EXPECT_NE(messages_.find("\"base/5/16384\", fork main, block 17"), std::string::npos) << messages_;
  const BackupHead second = backup();
  EXPECT_EQ(second.new_blocks, 0U);
  EXPECT_EQ(second.damaged_blocks, 1U);
  change("base/5/16384", 17, 50);
  EXPECT_EQ(backup().damaged_blocks, 0U);
}

TEST_P(BackupRoundTrip, DamageInTheStoreIsFoundNamedAndMended) {
  const BackupHead first = backup();
  const std::string pack = keys("pack/").front();
  VerifyProgress progress;
  const auto check = [&](bool deep) {
    const BackupRepository where = repository();
    std::vector<std::string> found;
    for (const Damage& damage : verify(where, {.deep = deep}, progress, {}, {}).damage)
      if (damage.what.find("WAL is missing") == std::string::npos) found.push_back(damage.what);
    return found;
  };
  EXPECT_TRUE(check(true).empty());
  damage(pack, store_.head(pack, {})->size / 2);
  EXPECT_TRUE(check(false).empty()) << "it has its size";
  EXPECT_FALSE(check(true).empty());
  EXPECT_THROW(restore(first, root_.path() / "bad"), Error);
  const BackupHead second = backup();
  EXPECT_GT(second.new_blocks, 0U);
  restore(second, root_.path() / "good");
  EXPECT_TRUE(contents(root_.path() / "good") == expected());
  store_.remove(keys("pack/").back(), {});
  EXPECT_FALSE(check(false).empty());
  const BackupHead third = backup();
  restore(third, root_.path() / "better");
  EXPECT_TRUE(contents(root_.path() / "better") == expected());
}

TEST_P(BackupRoundTrip, EveryDamagedByteOfAManifestOrPackIsNoticed) {
  const BackupHead head = backup();
  for (const char* part : {"backup/", "pack/"})
    for (const std::string& key : keys(part)) {
      if (key.find("/begun") != std::string::npos) continue;
      const Bytes good = store_.get(key, {}, {}).value();
      for (int i = 0; i < 8; ++i) {
        damage(key, good.size() * std::size_t(i) / 8);
        VerifyProgress progress;
        const BackupRepository where = repository();
        bool noticed = false;
        for (const Damage& found : verify(where, {.deep = true}, progress, {}, {}).damage)
          noticed = noticed || found.what.find("WAL is missing") == std::string::npos;
        EXPECT_TRUE(noticed) << key << " " << i;
        store_.overwrite(key, good);
        for (const PackId& id : damaged_packs(where, {}))
          store_.remove(where.key(damaged_key(id)), {});
      }
    }
  restore(head, root_.path() / "to");
}

TEST_P(BackupRoundTrip, ExpiryKeepsWhatOthersNeed) {
  std::vector<BackupHead> heads{backup()};
  std::vector<std::map<std::string, std::string>> states{expected()};
  for (unsigned i = 0; i < 5; ++i) {
    for (unsigned page = 0; page < 40; ++page)
      change("base/5/16384", page * 5, 1000 * i + page);
    heads.push_back(backup());
    states.push_back(expected());
  }
  file("base/5/16384", Bytes());
  heads.push_back(backup());
  states.push_back(expected());
  const std::size_t packs = keys("pack/").size();
  const BackupRepository where = repository();
  const ExpireResult dry = expire(where, {.last = 2}, true, {}, {});
  EXPECT_EQ(dry.backups, 5U);
  EXPECT_EQ(keys("pack/").size(), packs);
  const ExpireResult done = expire(where, {.last = 2}, false, {}, {});
  EXPECT_EQ(done.backups, 5U);
  EXPECT_EQ(done.packs, dry.packs);
  EXPECT_EQ(keys("pack/").size(), packs - done.packs);
  EXPECT_GT(done.packs, 0U);
  for (std::size_t i = heads.size() - 2; i < heads.size(); ++i) {
    restore(heads[i], root_.path() / heads[i].label);
    EXPECT_TRUE(contents(root_.path() / heads[i].label) == states[i]);
  }
  EXPECT_EQ(expire(where, {.last = 2}, false, {}, {}).packs, 0U);
}

// The process dies at each single removal: what is kept stays whole, and the next call finishes the work.
TEST_P(BackupRoundTrip, ExpiryMayBeKilledAnywhere) {
  for (int dies_at = 0;; ++dies_at) {
    for (const std::string& key : keys(""))
      store_.remove(key, {});
    const BackupHead first = backup();
    change("base/5/16384", 3, unsigned(dies_at));
    backup();
    change("base/5/16384", 4, unsigned(dies_at));
    const BackupHead last = backup();
    const BackupRepository where = repository();
    int removals = 0;
    store_.set_hook([&](MemoryStore::Operation operation, const std::string&, bool after) {
      if (operation == MemoryStore::Operation::remove && !after && removals++ == dies_at)
        throw Error(ErrorKind::unavailable, "killed");
    });
    bool finished = false;
    try {
      expire(where, {.last = 1}, false, {}, {});
      finished = true;
    } catch (const Error&) {
    }
    store_.set_hook({});
    VerifyProgress progress;
    for (const Damage& damage : verify(where, {.label = last.label, .deep = true}, progress, {}, {}).damage)
      EXPECT_NE(damage.what.find("WAL is missing"), std::string::npos) << dies_at << " " << damage.what;
    const auto truth = read_catalogue(where, 1, {}), listed = CatalogueCache().all(where, 1, {}).backups;
    ASSERT_EQ(listed.size(), truth.size()) << dies_at;
    for (std::size_t i = 0; i < truth.size(); ++i)
      EXPECT_EQ(listed[i].head.has_value(), truth[i].head.has_value()) << dies_at << " " << listed[i].label;
    expire(where, {.last = 1}, false, {}, {});
    for (const char* part : {"backup/", "summary/"})
      for (const std::string& key : keys(part))
        EXPECT_NE(key.find(last.label), std::string::npos) << key;
    if (finished) break;
    ASSERT_LT(dies_at, 100);
  }
}

TEST_P(BackupRoundTrip, ABackupThatRunsKeepsItsPacks) {
  backup();
  clock_.advance(std::chrono::hours(24));
  const BackupRepository where = repository();
  file("base/5/30000", pages(100, 77));
  BackupRun run(where, {}, {}, {});
  run.copy({.data_directory = data_, .server_version = 150020, .page_checksums = true, .lsn = 1 << 20}, {});
  EXPECT_EQ(expire(where, {.last = 1}, false, {}, {}).packs, 0U);
  const BackupHead head = run.finish({.lsn = 2 << 20,
                                      .timeline = 1,
                                      .time = clock_.wall,
                                      .backup_label = "START WAL LOCATION\n",
                                      .tablespace_map = ""},
                                     {});
  expire(where, {.last = 1}, false, {}, {});
  restore(head, root_.path() / "to");
  EXPECT_TRUE(contents(root_.path() / "to") == expected());
}

// Two servers that both believe to be the primary, and an expiry between: what is finished is whole.
TEST_P(BackupRoundTrip, TwoAtATimeAreBothWholeOrRefused) {
  backup();
  const BackupRepository where = repository();
  const BackupStart start{.data_directory = data_, .server_version = 150020, .page_checksums = true, .lsn = 0x1000028};
  const BackupStop stop{.lsn = 0x1000130,
                        .timeline = 1,
                        .time = clock_.wall,
                        .backup_label = "START WAL LOCATION\n",
                        .tablespace_map = ""};
  clock_.advance(std::chrono::hours(1));
  BackupRun early(where, {}, {}, {}), refused(where, {}, {}, {});
  clock_.advance(std::chrono::hours(1));
  BackupRun late(where, {}, {}, {});
  late.copy(start, {});
  refused.copy(start, {});
  const auto state = expected();
  for (const char* name : {"base/5/16384", "base/5/16390"})
    fs::remove(data_ / name);
  early.copy(start, {});
  early.finish(stop, {});
  expire(where, {.last = 1}, false, {}, {});
  const BackupHead head = late.finish(stop, {});
  restore(head, root_.path() / "late");
  EXPECT_TRUE(contents(root_.path() / "late") == state);
  EXPECT_THROW(refused.finish(stop, {}), Error) << "expiry has seen a later one";
  expire(where, {.last = 1}, false, {}, {});
  restore(head, root_.path() / "again");
  EXPECT_TRUE(contents(root_.path() / "again") == state);
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

TEST_P(BackupRoundTrip, ObjectsThatAreCutShortOrSwappedAreNoticed) {
  backup();
  change("base/5/16384", 1, 99);
  const BackupHead head = backup();
  const BackupRepository where = repository();
  const auto noticed = [&] {
    VerifyProgress progress;
    bool found = false;
    for (const Damage& damage : verify(where, {.deep = true}, progress, {}, {}).damage)
      found = found || damage.what.find("WAL is missing") == std::string::npos;
    for (const PackId& id : damaged_packs(where, {}))
      store_.remove(where.key(damaged_key(id)), {});
    return found;
  };
  ASSERT_FALSE(noticed());
  for (const char* part : {"backup/", "pack/"}) {
    std::vector<std::string> all;
    for (const std::string& key : keys(part))
      if (key.find("/begun") == std::string::npos) all.push_back(key);
    for (std::size_t i = 0; i < all.size(); ++i) {
      const Bytes mine = store_.get(all[i], {}, {}).value();
      for (const std::size_t length : {std::size_t(0), mine.size() / 2, mine.size() - 1}) {
        store_.overwrite(all[i], Bytes(mine.begin(), mine.begin() + std::ptrdiff_t(length)));
        EXPECT_TRUE(noticed()) << all[i] << " cut to " << length;
      }
      const std::string& other = all[(i + 1) % all.size()];
      if (other == all[i]) continue;
      store_.overwrite(all[i], store_.get(other, {}, {}).value());
      EXPECT_TRUE(noticed()) << all[i] << " is " << other;
      EXPECT_ANY_THROW({
        for (const CatalogueEntry& entry : read_catalogue(where, 1, {})) {
          if (!entry.head) throw Error(ErrorKind::corrupt, entry.problem);
          fs::remove_all(root_.path() / "to");
          restore(*entry.head, root_.path() / "to");
        }
      }) << all[i];
      store_.overwrite(all[i], mine);
    }
  }
  EXPECT_FALSE(noticed());
  restore(head, root_.path() / "good");
  EXPECT_TRUE(contents(root_.path() / "good") == expected());
}

// The server's credentials may create and read; those that expiry uses may remove as well.
TEST_P(BackupRoundTrip, OnlyExpiryNeedsToRemove) {
  const BackupRepository where = repository();
  store_.set_hook([](MemoryStore::Operation operation, const std::string&, bool) {
    if (operation == MemoryStore::Operation::remove) throw Error(ErrorKind::access_denied, "403");
  });
  const BackupHead first = backup();
  change("base/5/16384", 3, 5);
  const BackupHead middle = backup();
  change("base/5/16384", 3, 6);
  const BackupHead last = backup();
  const auto is_whole = [&] {
    VerifyProgress progress;
    for (const Damage& damage : verify(where, {.deep = true}, progress, {}, {}).damage)
      EXPECT_NE(damage.what.find("WAL is missing"), std::string::npos) << damage.what;
    EXPECT_EQ(CatalogueCache().all(where, 2, {}).backups.size(), list_backup_labels(where, {}).size());
  };
  is_whole();
  pin(where, Pinnable::backup, first.label, "why", {}, {});
  EXPECT_EQ(release_pins(where, Pinnable::backup, first.label, {}), 1U);
  put_drill(where, {.at = clock_.wall, .backup = last.label, .succeeded = true, .recovered_to = "0/1"}, {});
  restore(middle, root_.path() / "middle");
  const auto before = keys("backup/");
  EXPECT_EQ(expire(where, {.last = 1}, true, {}, {}).backups, 2U) << "a dry run";
  EXPECT_THROW(expire(where, {.last = 1}, false, {}, {}), Error);
  EXPECT_EQ(keys("backup/"), before);
  is_whole();
  store_.set_hook({});
  EXPECT_EQ(expire(where, {.last = 1}, false, {}, {}).backups, 2U);
  is_whole();
  restore(last, root_.path() / "last");
  EXPECT_TRUE(contents(root_.path() / "last") == expected());
}

// A restore that ended before it had said so in the directory.
TEST_P(BackupRoundTrip, ADirectoryWithAnUnfinishedMarkerIsEmpty) {
  const BackupHead head = backup();
  const fs::path to = root_.path() / "to";
  fs::create_directories(to);
  write_file(to / "dbops.restore.dbops", as_bytes("rest"));
  restore(head, to);
  EXPECT_TRUE(contents(to) == expected());
}

TEST_P(BackupRoundTrip, LabelsAscendWhenTheClockIsSetBack) {
  const BackupHead first = backup();
  clock_.advance(-std::chrono::hours(72));
  const BackupHead second = backup();
  EXPECT_LT(first.label, second.label);
  EXPECT_EQ(second.base, first.label);
}

TEST_P(BackupRoundTrip, ADirectoryThatIsInUseIsRefused) {
  const BackupHead head = backup();
  const fs::path to = root_.path() / "to";
  fs::create_directories(to);
  write_file(to / "postmaster.pid", as_bytes(std::to_string(::getpid()) + "\n"));
  write_file(to / "PG_VERSION", as_bytes("15\n"));
  EXPECT_THROW(restore(head, to, true), Error);
  EXPECT_EQ(contents(to).size(), 2U) << "nothing was changed";
  fs::remove(to / "postmaster.pid");
  fs::rename(to / "PG_VERSION", to / "letter.txt");
  EXPECT_THROW(restore(head, to, true), Error) << "no data directory";
  EXPECT_EQ(contents(to).size(), 1U);
}

TEST_P(BackupRoundTrip, TablespacesOfALivingServerAreLeftAlone) {
  const fs::path live = root_.path() / "live", to = root_.path() / "to";
  const std::string version = "PG_15_202209061";
  fs::create_directories(live / version / "5");
  write_file(live / version / "5/16400", pages(3, 21));
  fs::create_directory_symlink(live, data_ / "pg_tblspc/16399");
  const BackupHead head = backup();
  write_file(live / version / "5/16401", as_bytes("later"));
  const auto before = contents(live);

  EXPECT_THROW(restore(head, to, true), Error);
  fs::create_directories(to);
  write_file(to / restore_marker, as_bytes("x"));
  EXPECT_THROW(restore(head, to), Error) << "a restore that was interrupted";
  EXPECT_TRUE(contents(live) == before);
  EXPECT_EQ(contents(to).size(), 1U) << "nothing was changed";
  for (const char* place : {"to/space", "to", ""})
    EXPECT_THROW(restore(head, to, false, {{16399, root_.path() / place}}), Error) << "inside or around: " << place;

  const fs::path other = root_.path() / "other";
  restore(head, to, false, {{16399, other}});
  EXPECT_EQ(contents(other).size(), 1U);
  write_file(other / version / "5/16402", as_bytes("stray"));
  restore(head, to, true, {{16399, other}});
  EXPECT_EQ(contents(other).size(), 1U) << "its own tablespace is compared";
  EXPECT_TRUE(contents(live) == before);
}

TEST_P(BackupRoundTrip, WalThatWasNotArchivedIsNotRemoved) {
  const BackupHead head = backup();
  const fs::path to = root_.path() / "to", wal = root_.path() / "wal";
  restore(head, to);
  fs::rename(to / "pg_wal", wal);
  fs::create_directories(wal / "archive_status");
  write_file(wal / "000000010000000000000007", as_bytes("the only one"));
  write_file(wal / "archive_status/000000010000000000000006.done", {});
  write_file(wal / "archive_status/000000010000000000000006.00000028.backup.ready", {});
  fs::create_directory_symlink(wal, to / "pg_wal");
  restore(head, to, true);
  fs::remove_all(to / "pg_wal");
  fs::create_directory_symlink(wal, to / "pg_wal");
  write_file(wal / "archive_status/000000010000000000000007.ready", {});
  const auto before = contents(to);
  EXPECT_THROW(restore(head, to, true), Error);
  EXPECT_TRUE(contents(to) == before);
  restore(head, to, true, {}, true);
  EXPECT_TRUE(contents(to) == expected());
}

TEST_P(BackupRoundTrip, APackThatIsGoneOrCutShortIsStoredAgainByTheSecondTry) {
  const auto pack_of = [&](const BackupHead& head) {
    std::vector<Digest> digests;
    const BackupRepository where = repository();
    return where.key(pack_key(read_pack_list(where, head, digests, {}).front().id));
  };
  // The first one fails unless it has to read that pack, and sees it then.
  const auto mended_backup = [&] {
    try {
      backup();
    } catch (const Error&) {
    }
    return backup();
  };
  store_.remove(pack_of(backup()), {});
  const BackupHead mended = mended_backup();
  restore(mended, root_.path() / "one");
  EXPECT_TRUE(contents(root_.path() / "one") == expected());
  Bytes half = store_.get(pack_of(mended), {}, {}).value();
  half.resize(half.size() / 2);
  store_.overwrite(pack_of(mended), half);
  restore(mended_backup(), root_.path() / "two");
  EXPECT_TRUE(contents(root_.path() / "two") == expected());
}

INSTANTIATE_TEST_SUITE_P(Backups, BackupRoundTrip, testing::Bool(),
                         [](const auto& info) { return info.param ? "Encrypted" : "Plain"; });

} // namespace
} // namespace dbops::core
