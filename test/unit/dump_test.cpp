// Dumps into a store in memory and back, with failures everywhere.
#include "core/backup/dump.h"
#include "core/backup/evidence.h"
#include "core/backup/expire_dumps.h"

#include "core/base/error.h"
#include "core/store/memory_store.h"
#include "fake_time_and_random.h"

#include <gtest/gtest.h>

namespace dbops::core {
namespace {

Bytes content_of(std::size_t size, unsigned seed) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i)
    bytes[i] = std::byte((i / 1000 * 31 + i * seed + seed) & 0xff);
  return bytes;
}

class DumpTest : public testing::Test {
 protected:
  DumpTest() : store_(clock_) {}
  [[nodiscard]] BackupRepository repository() {
    return {.store = store_,
            .clock = clock_,
            .random = random_,
            .system_identifier = 1,
            .keys = nullptr,
            .origin = "t",
            .compression_level = 1};
  }
  DumpHead dump(const std::string& database, const std::vector<Bytes>& files) {
    const BackupRepository where = repository();
    DumpHead head;
    head.database = database;
    head.format = files.size() == 1 ? DumpFormat::custom : DumpFormat::directory;
    DumpWriter writer(where, head, 2, {});
    int number = 0;
    for (const Bytes& file : files) {
      writer.begin_file("file" + std::to_string(number++));
      for (std::size_t at = 0; at < file.size(); at += 1000000)
        writer.write(ByteView(file).subspan(at, std::min<std::size_t>(1000000, file.size() - at)));
    }
    return writer.finish();
  }
  std::vector<Bytes> read(const DumpHead& head) {
    const BackupRepository where = repository();
    std::vector<Bytes> files;
    for (const DumpFile& file : head.files) {
      files.emplace_back();
      read_dump_file(where, head, file, 2, [&](ByteView bytes) { append(files.back(), bytes); }, {});
    }
    return files;
  }
  std::vector<std::string> finished() {
    const BackupRepository where = repository();
    std::vector<std::string> labels;
    for (const DumpEntry& entry : read_dumps(where, 2, {}))
      if (entry.head) labels.push_back(entry.label);
    return labels;
  }
  std::size_t objects(const std::string& prefix = "") {
    ListRequest request;
    request.prefix = repository().key("dump/" + prefix);
    return store_.list(request, {}).objects.size();
  }

  FakeClock clock_;
  SeededRandom random_;
  MemoryStore store_;
};

TEST_F(DumpTest, FilesOfAllSizesComeBack) {
  std::vector<Bytes> files;
  for (const std::size_t size :
       {std::size_t(0), std::size_t(1), dump_piece_size - 1, dump_piece_size, dump_piece_size + 1, 3 * dump_piece_size})
    files.push_back(content_of(size, unsigned(files.size()) + 1));
  const DumpHead head = dump("shop", files);
  EXPECT_TRUE(read(head) == files);
  const BackupRepository where = repository();
  const auto entries = read_dumps(where, 2, {});
  ASSERT_EQ(entries.size(), 1U);
  ASSERT_TRUE(entries[0].head.has_value());
  EXPECT_TRUE(read(*entries[0].head) == files);
  EXPECT_EQ(entries[0].head->bytes, head.bytes);
  EXPECT_TRUE(damage_of_dump(where, head, true, 2, {}).empty());
}

TEST_F(DumpTest, TwoOfTheSameSecondHaveDifferentLabels) {
  const DumpHead first = dump("a", {content_of(10, 1)}), second = dump("b", {content_of(10, 2)});
  EXPECT_NE(first.label, second.label);
  EXPECT_TRUE(read(first).at(0) == content_of(10, 1));
  EXPECT_TRUE(read(second).at(0) == content_of(10, 2));
}

TEST_F(DumpTest, OneThatFailsAnywhereIsNone) {
  bool ended = false;
  for (int fails_at = 0; !ended; ++fails_at) {
    const std::size_t before = finished().size();
    clock_.advance(std::chrono::seconds(10)); // a label of its own
    std::atomic<int> operations{0};
    store_.set_hook([&](MemoryStore::Operation, const std::string&, bool) {
      if (operations++ == fails_at) throw Error(ErrorKind::unavailable, "killed");
    });
    ended = true;
    try {
      dump("shop", {content_of(dump_piece_size + 5, 1), content_of(5, 2)});
    } catch (const Error&) {
      ended = false;
    }
    store_.set_hook({});
    const BackupRepository where = repository();
    for (const DumpEntry& entry : read_dumps(where, 2, {}))
      if (entry.head) {
        EXPECT_TRUE(damage_of_dump(where, *entry.head, true, 2, {}).empty()) << fails_at;
      }
    if (ended) {
      EXPECT_EQ(finished().size(), before + 1);
    }
    ASSERT_LT(fails_at, 100);
  }
}

TEST_F(DumpTest, DamageIsFound) {
  const DumpHead head = dump("shop", {content_of(2 * dump_piece_size, 1)});
  const BackupRepository where = repository();
  const std::string key = where.key(dump_piece_key(head.label, 1)), other = where.key(dump_piece_key(head.label, 0));
  const Bytes good = store_.get(key, {}, {}).value();
  Bytes bad = good;
  bad[bad.size() / 2] ^= std::byte(1);
  store_.overwrite(key, bad);
  EXPECT_TRUE(damage_of_dump(where, head, false, 2, {}).empty());
  EXPECT_FALSE(damage_of_dump(where, head, true, 2, {}).empty());
  store_.overwrite(key, store_.get(other, {}, {}).value());
  EXPECT_FALSE(damage_of_dump(where, head, true, 2, {}).empty()) << "it is another piece";
  EXPECT_THROW(read(head), Error);
  store_.remove(key, {});
  EXPECT_FALSE(damage_of_dump(where, head, false, 2, {}).empty());
  store_.overwrite(where.key(dump_head_key(head.label)), bad);
  const auto entries = read_dumps(where, 2, {});
  EXPECT_FALSE(entries.at(0).problem.empty());
  EXPECT_EQ(expire_dumps(where, {.last = 1}, false, {}, {}).dumps, 0U) << "what cannot be read stays";
}

TEST_F(DumpTest, ExpiryKeepsTheNewestOfEachAndMayBeKilledAnywhere) {
  for (int dies_at = 0;; ++dies_at) {
    for (const char* database : {"a", "a", "b", "a"}) {
      clock_.advance(std::chrono::hours(24));
      dump(database, {content_of(100, 1)});
    }
    const auto labels = finished();
    const std::vector<std::string> kept{labels[labels.size() - 2], labels.back()};
    int removals = 0;
    store_.set_hook([&](MemoryStore::Operation operation, const std::string&, bool after) {
      if (operation == MemoryStore::Operation::remove && !after && removals++ == dies_at)
        throw Error(ErrorKind::unavailable, "killed");
    });
    const BackupRepository where = repository();
    bool ended = true;
    try {
      expire_dumps(where, {.last = 1}, false, {}, {});
    } catch (const Error&) {
      ended = false;
    }
    store_.set_hook({});
    for (const DumpEntry& entry : read_dumps(where, 2, {}))
      if (entry.head) {
        EXPECT_TRUE(damage_of_dump(where, *entry.head, true, 2, {}).empty()) << dies_at;
      }
    clock_.advance(std::chrono::hours(24 * 8));
    const DumpHead late = dump("c", {content_of(100, 1)});
    expire_dumps(where, {.last = 1}, false, {}, {});
    std::vector<std::string> expected = kept;
    expected.push_back(late.label);
    EXPECT_EQ(finished(), expected) << dies_at;
    EXPECT_EQ(objects(), 9U) << "no rest of another";
    if (ended) break;
    ASSERT_LT(dies_at, 100);
  }
}

// As of backups.
TEST_F(DumpTest, TheLastGoodOneIsNotExpiredInFavourOfADamagedOne) {
  const BackupRepository where = repository();
  std::vector<std::string> labels;
  for (const char* database : {"shop", "shop", "other", "shop"}) {
    clock_.advance(std::chrono::hours(24));
    labels.push_back(dump(database, {content_of(100, 1)}).label);
  }
  const auto verified = [&](bool is_whole) {
    clock_.advance(std::chrono::hours(1));
    VerifyRecord record{.at = clock_.wall_now(), .deep = true};
    if (is_whole)
      record.whole = {dump_prefix(labels[3])};
    else
      record.damaged = {{dump_prefix(labels[3]), "a piece is damaged"}};
    put_verification(where, record, {});
  };
  verified(false);
  EXPECT_EQ(expire_dumps(where, {.last = 1}, false, {}, {}).dumps, 1U);
  EXPECT_EQ(finished(), (std::vector<std::string>{labels[1], labels[2], labels[3]}));
  verified(true);
  EXPECT_EQ(expire_dumps(where, {.last = 1}, false, {}, {}).dumps, 1U);
  EXPECT_EQ(finished(), (std::vector<std::string>{labels[2], labels[3]})) << "the damage has gone";
}

TEST_F(DumpTest, OneThatRunsIsNotTakenForAborted) {
  const BackupRepository where = repository();
  DumpHead head;
  head.database = "slow";
  DumpWriter slow(where, head, 1, {});
  slow.begin_file("dump");
  slow.write(content_of(100, 1));
  clock_.advance(std::chrono::hours(24 * 6));
  dump("quick", {content_of(100, 1)});
  EXPECT_EQ(expire_dumps(where, {.last = 1}, false, {}, {}).unfinished, 0U);
  clock_.advance(std::chrono::hours(24 * 2));
  dump("quick", {content_of(100, 1)});
  EXPECT_EQ(expire_dumps(where, {.last = 1}, false, {}, {}).unfinished, 1U);
  EXPECT_THROW(slow.finish(), Error) << "and does not pretend to be whole";
}

// Labels of dumps do not ascend: one of a clock that was ahead stays the last one.
TEST_F(DumpTest, OneOfAClockThatWasAheadDoesNotStopTime) {
  clock_.advance(std::chrono::hours(24 * 3653));
  const std::string ahead = dump("shop", {content_of(100, 1)}).label;
  clock_.advance(std::chrono::hours(-24 * 3653));
  const Bytes manifest = store_.get(repository().key(dump_head_key(ahead)), {}, {}).value();
  store_.overwrite(repository().key(dump_head_key(ahead)), manifest); // the store's clock was right
  for (int i = 0; i < 10; ++i) {
    clock_.advance(std::chrono::hours(24));
    dump("shop", {content_of(100, 1)});
  }
  EXPECT_EQ(finished().back(), ahead);
  EXPECT_GT(expire_dumps(repository(), {.pitr_window = std::chrono::hours(24 * 3)}, true, {}, {}).dumps, 0U);
}

// As of backups: each has one time, whether the server's clock was ahead or not.
TEST_F(DumpTest, AServerClockThatIsADayAheadKeepsDailyDumps) {
  FakeClock ahead;
  for (int day = 0; day < 12; ++day) {
    clock_.advance(std::chrono::hours(24));
    ahead.wall = clock_.wall + std::chrono::hours(25);
    BackupRepository there{.store = store_,
                           .clock = ahead,
                           .random = random_,
                           .system_identifier = 1,
                           .keys = nullptr,
                           .origin = "t",
                           .compression_level = 1};
    DumpHead head;
    head.database = "shop";
    DumpWriter writer(there, head, 1, {});
    writer.begin_file("dump");
    writer.write(content_of(100, 1));
    writer.finish();
    expire_dumps(repository(), {.daily = 7}, false, {}, {});
    EXPECT_EQ(finished().size(), std::size_t(std::min(day + 1, 7))) << day;
  }
}

TEST_F(DumpTest, ManifestsThatLieAreRefused) {
  const DumpHead head = dump("shop", {content_of(100, 1)});
  const std::string good = encode_dump_head(head);
  EXPECT_EQ(decode_dump_head(good).files.at(0).name, "file0");
  const auto refuses = [&](const std::string& what, const std::string& by) {
    std::string text = good;
    text.replace(text.find(what), what.size(), by);
    EXPECT_THROW(decode_dump_head(text), Error) << by;
  };
  refuses("\"file0\"", "\"../file0\"");
  refuses("\"file0\"", "\"\"");
  refuses("\"first_piece\": 0", "\"first_piece\": 1");
  refuses("\"custom\"", "\"tar\"");
  refuses("\"dbops_dump\": 1", "\"dbops_dump\": 2");
  refuses("\"size\": \"100\"", "\"size\": \"-1\"");
}

} // namespace
} // namespace dbops::core
