// What a verification says of WAL, and where one goes on that was interrupted.
#include "core/backup/verify.h"

#include "core/backup/catalogue_cache.h"
#include "core/backup/dump.h"
#include "core/backup/evidence.h"
#include "core/backup/expire.h"
#include "core/backup/known_damage.h"
#include "core/backup/pins.h"
#include "core/backup/summary.h"
#include "core/backup/wal_coverage.h"
#include "core/base/error.h"
#include "core/store/memory_store.h"
#include "core/wal/layout.h"
#include "fake_time_and_random.h"
#include "wal_fixture.h"

#include <gtest/gtest.h>

#include <atomic>

namespace dbops::core {
namespace {

using namespace std::chrono_literals;

class VerifyWalTest : public testing::Test {
 protected:
  VerifyWalTest() : store_(clock_) {
    for (SegmentNumber number = 1; number <= 12; ++number)
      segment(number);
    store_.put_if_absent(repository().key("wal/00000001/owner.json"), as_bytes("{}"), {});
    backup(2);
    backup(6);
    backup(9);
  }
  [[nodiscard]] BackupRepository repository() {
    return {.store = store_,
            .clock = clock_,
            .random = random_,
            .system_identifier = test_system_identifier,
            .keys = nullptr,
            .origin = "t",
            .compression_level = 1};
  }
  std::string key_of(SegmentNumber number, TimelineId timeline = 1) {
    return wal_file_key(*parse_wal_file_name(segment_name({timeline, number}, size_)));
  }
  void segment(SegmentNumber number, TimelineId timeline = 1) {
    repository().put(key_of(number, timeline), ObjectKind::wal_segment, make_segment({timeline, number}, size_), {});
  }
  [[nodiscard]] bool has(SegmentNumber number, TimelineId timeline = 1) {
    return store_.head(repository().key(key_of(number, timeline)), {}).has_value();
  }
  [[nodiscard]] bool has(const std::string& label) {
    return store_.head(repository().key(backup_head_key(label)), {}).has_value();
  }
  // A server that was restored from the backup in segment 2 to the middle of segment 3.
  void restored() {
    const std::string text = "1\t" + to_string(size_.start_of(3) + 1000) + "\tno recovery target specified\n";
    repository().put("wal/00000002.history", ObjectKind::wal_history, as_bytes(text), {});
    for (const SegmentNumber number : {3, 4})
      segment(number, 2);
  }
  // Within one segment.
  void backup(SegmentNumber number, TimelineId timeline = 1) {
    clock_.advance(24h);
    BackupHead head;
    head.label = iso8601_basic(clock_.wall);
    head.system_identifier = test_system_identifier;
    head.wal_segment_size = std::uint32_t(size_.bytes());
    head.started = head.finished = clock_.wall;
    head.timeline = timeline;
    head.start_lsn = size_.start_of(number) + 100;
    head.stop_lsn = head.start_lsn + 1000;
    head.content = digest_of_parts({});
    const BackupRepository where = repository();
    where.put(backup_begun_key(head.label), ObjectKind::backup_event, as_bytes("{}"), {});
    where.put(backup_head_key(head.label), ObjectKind::backup_head, as_bytes(encode_head(head)), {});
    labels_.push_back(head.label);
  }
  void remove(SegmentNumber number) { store_.remove(repository().key(key_of(number)), {}); }
  VerifyResult look(VerifyOptions options = {}) {
    options.gap_time = 0s;
    VerifyProgress progress;
    VerifyResult result = verify(repository(), options, progress, {}, {});
    wal_read_ = progress.wal_objects;
    return result;
  }
  static std::string text(const VerifyResult& result) {
    std::string text;
    for (const Damage& damage : result.damage)
      text += damage.backup + ": " + damage.what + "\n";
    return text;
  }

  const SegmentSize size_{1 << 20};
  FakeClock clock_;
  SeededRandom random_;
  MemoryStore store_;
  std::vector<std::string> labels_;
  std::uint64_t wal_read_ = 0;
};

TEST_F(VerifyWalTest, AGapInAWindowIsDamageButOfNoBackup) {
  EXPECT_EQ(text(look()), "");
  remove(7);
  const VerifyResult result = look();
  EXPECT_EQ(text(result), "WAL: is missing from 0/700000 to 0/800000 of timeline 1: recovery from backup " +
                              labels_[1] + " and those before it ends there\n");
  EXPECT_EQ(result.whole, labels_) << "each of them can be made consistent";
  remove(9);
  EXPECT_EQ(look().whole, (std::vector<std::string>{labels_[0], labels_[1]}));
}

TEST_F(VerifyWalTest, AHistoryFileThatIsMissingIsDamage) {
  const BackupRepository where = repository();
  restored();
  EXPECT_EQ(text(look()), "");
  EXPECT_TRUE(timelines_without_history(where, 1, {}).empty());
  store_.remove(where.key("wal/00000002.history"), {});
  for (const bool deep : {false, true}) {
    const VerifyResult result = look({.deep = deep});
    EXPECT_EQ(text(result), "WAL: the history file of timeline 2 is missing: recovery from backup " + labels_[2] +
                                " and those before it does not come to that timeline\n");
    EXPECT_EQ(result.whole, labels_);
  }
  EXPECT_EQ(timelines_without_history(where, 1, {}), std::vector<TimelineId>{2});
  EXPECT_TRUE(timelines_without_history(where, 2, {}).empty());
  backup(3, 2);
  for (int i = 0; i < 3; ++i)
    store_.remove(where.key(backup_head_key(labels_[std::size_t(i)])), {});
  EXPECT_EQ(text(look()), "") << "the archive begins with it";
}

// A server that was promoted claims its timeline before it stores the history, and may die there.
TEST_F(VerifyWalTest, ATimelineThatWasOnlyClaimedLacksNothing) {
  const BackupRepository where = repository();
  store_.put_if_absent(where.key("wal/00000002/owner.json"), as_bytes("{}"), {});
  EXPECT_EQ(text(look()), "");
  EXPECT_TRUE(timelines_without_history(where, 1, {}).empty()) << "a restore has nothing to warn of";
  expire(where, {.last = 1}, false, {}, {});
  EXPECT_TRUE(has(1)) << "where it goes on from is not known yet";
  segment(3, 2);
  EXPECT_EQ(timelines_without_history(where, 1, {}), std::vector<TimelineId>{2});
  store_.remove(where.key(key_of(3, 2)), {});
  clock_.advance(24h * 40);
  backup(11);
  expire(where, {.last = 1}, false, {}, {});
  EXPECT_FALSE(has(1)) << "nothing came of it";
}

TEST_F(VerifyWalTest, ABackupOfWhichOnlyTheSummaryIsLeftIsDamage) {
  const BackupRepository where = repository();
  put_summary(where, labels_[1], 1, {});
  const std::string lost =
      labels_[1] + ": its manifest: \"" + backup_head_key(labels_[1]) + "\" was there, and is missing\n";
  for (const std::string& name : {backup_head_key(labels_[1]), backup_begun_key(labels_[1])}) {
    store_.remove(where.key(name), {});
    for (const VerifyOptions& options :
         {VerifyOptions{}, VerifyOptions{.label = labels_[1]}, VerifyOptions{.deep = true}})
      EXPECT_EQ(text(look(options)), lost) << name;
  }
  EXPECT_EQ(look().whole, (std::vector<std::string>{labels_[0], labels_[2]}));
  EXPECT_THROW(expire(where, {.last = 1}, false, {}, {}), Error) << "what it needs is not known";
  EXPECT_TRUE(has(labels_[0]) && has(1));
  store_.remove(where.key(summary_key(labels_[1])), {}); // as the hint says
  EXPECT_EQ(text(look()), "");
  expire(where, {.last = 1}, false, {}, {});
  EXPECT_FALSE(has(labels_[0]));
}

TEST_F(VerifyWalTest, WhatExpiryHasRemovedIsNoGap) {
  const BackupRepository where = repository();
  EXPECT_GT(expire(where, {.daily = 3, .pitr_window = 1h}, false, {}, {}).wal_objects, 0U);
  EXPECT_FALSE(store_.head(where.key(key_of(4)), {}));
  EXPECT_EQ(text(look({.deep = true})), "");
  remove(10);
  EXPECT_NE(text(look()).find("0/A00000 to 0/B00000"), std::string::npos) << "but what comes after that is";
}

TEST_F(VerifyWalTest, ExpiryThatIsKilledLeavesNoGapEither) {
  const BackupRepository where = repository();
  std::atomic<int> removed{0};
  store_.set_hook([&](MemoryStore::Operation operation, const std::string& key, bool) {
    if (operation == MemoryStore::Operation::remove && key.find("/wal/") != std::string::npos && removed++ == 2)
      throw Error(ErrorKind::unavailable, "killed");
  });
  EXPECT_THROW(expire(where, {.daily = 3, .pitr_window = 1h}, false, {}, {}), Error);
  store_.set_hook({});
  EXPECT_EQ(text(look()), "");
}

TEST_F(VerifyWalTest, ExpiryKeepsATimelineThatHasNoBackupYet) {
  const BackupRepository where = repository();
  restored();
  const ExpireResult result = expire(where, {.last = 1}, false, {}, {});
  EXPECT_TRUE(has(3, 2) && has(4, 2));
  EXPECT_TRUE(has(labels_[0])) << "it goes on from this one";
  EXPECT_EQ(result.plan.decisions[0].reasons, std::vector<std::string>{"timeline 2 goes on from it"});
  EXPECT_FALSE(has(labels_[1])) << "but not from what came later";
  EXPECT_FALSE(has(1));
  EXPECT_TRUE(has(2) && has(3)) << "the way there";
  backup(5, 2);
  expire(where, {.last = 1}, false, {}, {});
  EXPECT_FALSE(has(labels_[0])) << "it has one of its own";
  EXPECT_FALSE(has(4, 2));
}

TEST_F(VerifyWalTest, ExpiryKeepsAWayToATimelineThatIsNotDamaged) {
  const BackupRepository where = repository();
  const std::string text = "1\t" + to_string(size_.start_of(8)) + "\tno recovery target specified\n";
  where.put("wal/00000002.history", ObjectKind::wal_history, as_bytes(text), {});
  segment(8, 2);
  put_verification(where, {.at = clock_.wall, .deep = true, .whole = {}, .damaged = {{labels_[1], "block 3"}}}, {});
  const ExpireResult result = expire(where, {.last = 1}, false, {}, {});
  EXPECT_TRUE(has(labels_[0])) << "which is not damaged";
  EXPECT_TRUE(has(labels_[1]));
  for (const int i : {0, 1})
    EXPECT_EQ(result.plan.decisions[std::size_t(i)].reasons, std::vector<std::string>{"timeline 2 goes on from it"});
  EXPECT_TRUE(has(2) && has(3) && has(7) && has(8, 2));
  EXPECT_FALSE(has(1));
}

// What appears while expiry removes manifests.
TEST_F(VerifyWalTest, ExpiryKeepsATimelineThatAppearsMeanwhile) {
  const BackupRepository where = repository();
  pin(where, Pinnable::backup, labels_[0], "why", {}, {});
  backup(11);
  bool appeared = false;
  store_.set_hook([&](MemoryStore::Operation operation, const std::string& key, bool after) {
    if (operation != MemoryStore::Operation::remove || after || !key.ends_with("/manifest") || appeared) return;
    appeared = true;
    restored();
  });
  expire(where, {.pitr_window = 1h}, false, {}, {});
  store_.set_hook({});
  EXPECT_TRUE(appeared);
  EXPECT_TRUE(has(3, 2) && has(4, 2));
  EXPECT_TRUE(has(3)) << "the way there";
  EXPECT_FALSE(has(1)) << "but what was there before";
}

// Two servers write to the repository: the newest backup is of one, and the backup that runs of the other.
TEST_F(VerifyWalTest, ExpiryKeepsWalThatABackupMayNeedThatRuns) {
  for (const bool meanwhile : {false, true}) {
    const BackupRepository where = repository();
    restored();
    for (const SegmentNumber number : {5, 6, 7})
      segment(number, 2);
    backup(5, 2);
    backup(10 + meanwhile);
    clock_.advance(1h);
    const std::string label = iso8601_basic(clock_.wall);
    const auto begin = [&] {
      where.put(backup_begun_key(label), ObjectKind::backup_event, as_bytes(R"({"base": ")" + labels_.back() + "\"}"),
                {});
    };
    bool begun = !meanwhile;
    if (begun) begin();
    store_.set_hook([&](MemoryStore::Operation operation, const std::string& key, bool after) {
      if (operation != MemoryStore::Operation::remove || after || !key.ends_with("/manifest") || begun) return;
      begun = true;
      begin();
    });
    expire(where, {.last = 1}, false, {}, {});
    store_.set_hook({});
    EXPECT_TRUE(begun);
    EXPECT_TRUE(has(5, 2) && has(6, 2) && has(7, 2)) << meanwhile;
    EXPECT_FALSE(has(4, 2)) << "older than its timeline's last one";
    EXPECT_FALSE(has(8)) << "older than that of the other timeline";
    store_.remove(where.key(backup_begun_key(label)), {});
    expire(where, {.last = 1}, false, {}, {});
    for (const SegmentNumber number : {5, 6, 7})
      if (has(number, 2)) store_.remove(where.key(key_of(number, 2)), {});
    store_.remove(where.key("wal/00000002.history"), {});
  }
}

TEST_F(VerifyWalTest, ATimelineThatNobodyWritesIsNotKeptForEver) {
  restored();
  clock_.advance(24h * 40);
  backup(11);
  expire(repository(), {.last = 1}, false, {}, {});
  EXPECT_FALSE(has(labels_[0]));
  EXPECT_FALSE(has(4, 2));
}

TEST_F(VerifyWalTest, TheWindowBeginsOnTheHistoryOfTheNewestBackup) {
  const BackupRepository where = repository();
  restored();
  segment(5, 2);
  backup(5, 2);
  // The window begins between the backups at 9, which is of the old timeline, and 5.
  expire(where, {.pitr_window = 1h}, false, {}, {});
  EXPECT_TRUE(has(labels_[0])) << "of it, nothing but this one leads to the beginning of the window";
  EXPECT_TRUE(has(3, 2) && has(4, 2) && has(2));
}

TEST_F(VerifyWalTest, TheWindowOfAnotherServerBeginsOnItsTimeline) {
  const BackupRepository where = repository();
  restored();
  for (const SegmentNumber number : {5, 6, 7})
    segment(number, 2);
  backup(5, 2);
  const WallTime begin = clock_.wall + 1h;
  backup(11);
  backup(7, 2);
  expire(where, {.pitr_window = std::chrono::duration_cast<std::chrono::seconds>(clock_.wall - begin)}, false, {}, {});
  EXPECT_TRUE(has(labels_[2])) << "that of the server whose backup is not the newest";
  EXPECT_TRUE(has(labels_[3]));
  EXPECT_FALSE(has(labels_[0]) || has(labels_[1]));
  EXPECT_TRUE(has(9) && has(10) && has(5, 2));
}

TEST_F(VerifyWalTest, WhatWasRemovedOfOneTimelineHidesNoGapOfAnother) {
  const BackupRepository where = repository();
  EXPECT_GT(expire(where, {.daily = 3, .pitr_window = 1h}, false, {}, {}).wal_objects, 0U); // before 6
  restored();
  for (const SegmentNumber number : {5, 6, 7})
    segment(number, 2);
  backup(4, 2);
  ASSERT_EQ(text(look()).find("timeline 2"), std::string::npos) << text(look());
  store_.remove(where.key(key_of(5, 2)), {});
  EXPECT_NE(text(look()).find("is missing from 0/500000 to 0/600000 of timeline 2"), std::string::npos);
}

// Leaves one backup out of the first lists.
class ForgetfulStore final : public ObjectStore {
 public:
  ForgetfulStore(ObjectStore& store, std::string hidden, int times)
      : store_(store), hidden_(std::move(hidden)), times_(times) {}
  PutResult put_if_absent(const std::string& key, ByteView body, const CallContext& context) override {
    return store_.put_if_absent(key, body, context);
  }
  std::optional<Bytes> get(const std::string& key, const ByteRange& range, const CallContext& context) override {
    return store_.get(key, range, context);
  }
  std::optional<ObjectInfo> head(const std::string& key, const CallContext& context) override {
    return store_.head(key, context);
  }
  ListPage list(const ListRequest& request, const CallContext& context) override {
    ListPage page = store_.list(request, context);
    if (!request.prefix.ends_with("backup/") || times_-- <= 0) return page;
    std::erase_if(page.objects,
                  [&](const ObjectInfo& object) { return object.key.find(hidden_) != std::string::npos; });
    std::erase_if(page.prefixes, [&](const std::string& key) { return key.find(hidden_) != std::string::npos; });
    return page;
  }
  void remove(const std::string& key, const CallContext& context) override {
    ++removed;
    store_.remove(key, context);
  }
  [[nodiscard]] std::string describe() const override { return store_.describe(); }
  int removed = 0;

 private:
  ObjectStore& store_;
  std::string hidden_;
  int times_;
};

TEST_F(VerifyWalTest, ExpiryRemovesNothingWhenAListIsNotWhole) {
  for (const std::string& hidden : {labels_[1], std::string("backup/")}) {
    ForgetfulStore store(store_, hidden, 1);
    const BackupRepository where{.store = store,
                                 .clock = clock_,
                                 .random = random_,
                                 .system_identifier = test_system_identifier,
                                 .keys = nullptr,
                                 .origin = "t",
                                 .compression_level = 1};
    store_.put_if_absent(repository().key(pack_key(PackId{})), as_bytes("x"), {});
    try {
      expire(where, {.last = 2}, false, {}, {});
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::unavailable);
    }
    EXPECT_EQ(store.removed, 0) << hidden;
  }
}

TEST_F(VerifyWalTest, DeepReadsWal) {
  const BackupRepository where = repository();
  EXPECT_EQ(text(look({.deep = true})), "");
  EXPECT_EQ(wal_read_, 12U);
  EXPECT_EQ(text(look({.label = labels_[0], .deep = true})), "");
  EXPECT_EQ(wal_read_, 1U) << "that of one backup";
  const Bytes good = store_.get(where.key(key_of(6)), {}, {}).value();
  Bytes bad = good;
  bad[bad.size() / 2] ^= std::byte(1);
  store_.overwrite(where.key(key_of(6)), bad);
  EXPECT_EQ(text(look()), "") << "which is not seen without reading";
  VerifyResult result = look({.deep = true});
  EXPECT_EQ(result.damage.at(0).backup, labels_[1]);
  EXPECT_NE(text(result).find(key_of(6)), std::string::npos);
  EXPECT_EQ(result.whole, (std::vector<std::string>{labels_[0], labels_[2]}));
  store_.overwrite(where.key(key_of(6)), good);
  store_.overwrite(where.key(key_of(7)), store_.get(where.key(key_of(8)), {}, {}).value());
  result = look({.deep = true});
  EXPECT_EQ(result.damage.at(0).backup, wal_damage) << "another segment under its name";
  EXPECT_EQ(result.whole, labels_);
  store_.overwrite(where.key(key_of(7)), Bytes(good.begin(), good.begin() + 5000));
  EXPECT_EQ(look({.deep = true}).damage.size(), 1U) << "half a segment";
}

// Of servers that were promoted, and whose timelines ended in the segment: they are checked and expire as WAL does.
TEST_F(VerifyWalTest, RemnantsOfSegmentsAreWalToo) {
  const BackupRepository where = repository();
  const auto remnant = [&](SegmentNumber number) {
    const Bytes content = make_segment({1, number}, size_);
    std::string key = remnant_key(*parse_wal_file_name(segment_name({1, number}, size_)), content);
    where.put(key, ObjectKind::wal_partial, content, {});
    return key;
  };
  const std::string expired = remnant(1), needed = remnant(9), later = remnant(12);
  const auto there = [&](const std::string& key) { return store_.head(where.key(key), {}).has_value(); };
  EXPECT_EQ(text(look({.deep = true})), "");
  EXPECT_EQ(wal_read_, 12U + 3);
  const Bytes good = store_.get(where.key(needed), {}, {}).value();
  Bytes bad = good;
  bad[bad.size() / 2] ^= std::byte(1);
  store_.overwrite(where.key(needed), bad);
  VerifyResult result = look({.deep = true});
  EXPECT_NE(text(result).find(needed), std::string::npos);
  EXPECT_EQ(result.whole, labels_) << "no backup needs it: the segment is there";
  store_.overwrite(where.key(needed), store_.get(where.key(later), {}, {}).value());
  EXPECT_EQ(look({.deep = true}).damage.size(), 1U) << "another one under its name";
  store_.overwrite(where.key(needed), good);
  expire(where, {.last = 1}, false, {}, {});
  EXPECT_FALSE(there(expired) || has(1));
  EXPECT_TRUE(there(needed) && there(later));
}

TEST_F(VerifyWalTest, DamageOfADumpIsKnownUntilItIsFoundToHaveGone) {
  const BackupRepository where = repository();
  DumpHead head;
  head.database = "shop";
  head.format = DumpFormat::custom;
  DumpWriter writer(where, head, 1, {});
  writer.begin_file("toc");
  writer.write(Bytes(100000, std::byte(7)));
  head = writer.finish();
  const std::string name = dump_prefix(head.label), piece = where.key(dump_piece_key(head.label, 0));
  const auto known = [&] {
    clock_.advance(1h);
    return KnownDamage(where, {}).named().contains(name);
  };
  EXPECT_EQ(text(look({.deep = true})), "");
  EXPECT_FALSE(known());
  const Bytes good = store_.get(piece, {}, {}).value();
  Bytes bad = good;
  bad.back() ^= std::byte(1);
  store_.overwrite(piece, bad);
  EXPECT_EQ(text(look()), "") << "which is not seen without reading";
  EXPECT_FALSE(known());
  VerifyResult result = look({.deep = true});
  EXPECT_EQ(result.damage.size(), 1U);
  EXPECT_EQ(result.whole, labels_) << "of no backup";
  EXPECT_TRUE(known());
  store_.overwrite(piece, good);
  EXPECT_NE(text(look()).find("shop"), std::string::npos) << "only reading can find that it has gone";
  expire(where, {.last = 3}, false, {}, {});
  EXPECT_TRUE(known()) << "and expiry does not forget it";
  EXPECT_EQ(text(look({.deep = true})), "");
  EXPECT_FALSE(known());
  store_.remove(piece, {});
  EXPECT_NE(text(look()), "");
  EXPECT_TRUE(known());
  store_.put_if_absent(piece, good, {});
  EXPECT_EQ(text(look()), "");
  EXPECT_FALSE(known());
}

TEST_F(VerifyWalTest, OneThatWasInterruptedGoesOn) {
  const BackupRepository where = repository();
  std::stop_source stop;
  std::atomic<int> reads{0};
  store_.set_hook([&](MemoryStore::Operation operation, const std::string& key, bool) {
    if (operation == MemoryStore::Operation::get && key.find("/wal/") != std::string::npos && ++reads == 7)
      stop.request_stop();
  });
  const auto run = [&](bool restart = false) {
    clock_.advance(1min);
    VerifyProgress progress;
    const VerifyResult result = verify(where, {.deep = true, .threads = 1, .restart = restart, .gap_time = 0s},
                                       progress, {}, {.stop = stop.get_token(), .deadline = {}});
    EXPECT_EQ(text(result), "");
    return result.resumed;
  };
  const auto interrupt = [&] {
    reads = 0;
    EXPECT_THROW(run(), Error);
    stop = std::stop_source();
    reads = 100;
  };
  interrupt();
  EXPECT_EQ(run(), 7U);
  EXPECT_EQ(reads, 105) << "the rest is read";
  EXPECT_EQ(run(), 0U) << "the next one reads all";
  interrupt();
  EXPECT_EQ(run(true), 0U) << "when that is wanted";
  interrupt();
  clock_.advance(24h * 8);
  EXPECT_EQ(run(), 0U) << "too long ago";
  interrupt();
  ListRequest request;
  request.prefix = where.key("verifying/");
  const std::size_t before = store_.list(request, {}).objects.size();
  expire(where, {.last = 3}, false, {}, {});
  EXPECT_LT(store_.list(request, {}).objects.size(), before) << "what ended is forgotten";
  EXPECT_EQ(run(), 7U) << "but not what is to be gone on with";
  interrupt();
  Bytes bad = store_.get(where.key(key_of(12)), {}, {}).value();
  bad[bad.size() / 2] ^= std::byte(1);
  store_.overwrite(where.key(key_of(12)), bad);
  VerifyProgress progress;
  EXPECT_EQ(verify(where, {.deep = true, .gap_time = 0s}, progress, {}, {}).damage.size(), 1U);
}

TEST_F(VerifyWalTest, OneThatGoesOnHidesNoDamageOfWalThatWasFoundMeanwhile) {
  const BackupRepository where = repository();
  std::stop_source stop;
  store_.set_hook([&](MemoryStore::Operation operation, const std::string& key, bool) {
    if (operation == MemoryStore::Operation::get && key.ends_with(key_of(7))) stop.request_stop();
  });
  VerifyProgress progress;
  clock_.advance(1min);
  EXPECT_THROW(verify(where, {.deep = true, .threads = 1, .gap_time = 0s}, progress, {},
                      {.stop = stop.get_token(), .deadline = {}}),
               Error);
  store_.set_hook({});
  const Bytes good = store_.get(where.key(key_of(2)), {}, {}).value();
  Bytes bad = good;
  bad[bad.size() / 2] ^= std::byte(1);
  store_.overwrite(where.key(key_of(2)), bad);
  const auto found = [&](const std::string& label) {
    clock_.advance(1h);
    return look({.label = label, .deep = true, .threads = 1});
  };
  EXPECT_NE(text(found(labels_[0])), "");
  const VerifyResult result = found("");
  EXPECT_GT(result.resumed, 0U);
  EXPECT_NE(text(result).find(key_of(2)), std::string::npos);
  EXPECT_EQ(result.whole, (std::vector<std::string>{labels_[1], labels_[2]}));
  store_.overwrite(where.key(key_of(2)), good);
  EXPECT_EQ(found("").whole, labels_);
}

// A clock that was a year ahead once.
TEST_F(VerifyWalTest, VerificationsHaveTheirTrueTimeAndComeAfterThoseBefore) {
  const auto when = [&] {
    const auto records = CatalogueCache().verifications(repository(), 2, {});
    return proofs_of({}, records).verified_deep.at(labels_[1]);
  };
  const auto verified = [&] {
    clock_.advance(1h);
    EXPECT_EQ(text(look({.deep = true})), "");
    return when() == clock_.wall;
  };
  repository().put("verify/20991121T143000Z-00000000.json", ObjectKind::backup_event,
                   as_bytes(R"({"at": "20991121T143000Z", "deep": true, "whole": [")" + labels_[1] + R"("]})"), {});
  EXPECT_GT(when(), clock_.wall) << "one without an order, as they were";
  EXPECT_TRUE(verified());
  clock_.advance(24h * 365 * 100);
  EXPECT_TRUE(verified());
  clock_.advance(-24h * 365 * 100);
  EXPECT_TRUE(verified());
  EXPECT_TRUE(verified());
  const BackupRepository where = repository();
  const Bytes good = store_.get(where.key(key_of(6)), {}, {}).value();
  Bytes bad = good;
  bad[bad.size() / 2] ^= std::byte(1);
  store_.overwrite(where.key(key_of(6)), bad);
  EXPECT_NE(text(look({.deep = true})), "");
  EXPECT_TRUE(KnownDamage(where, {}).named().contains(labels_[1])) << "it comes after all of those";
  expire(where, {.last = 3}, false, {}, {});
  EXPECT_TRUE(KnownDamage(where, {}).named().contains(labels_[1]));
  store_.overwrite(where.key(key_of(6)), good);
  EXPECT_TRUE(verified());
  EXPECT_TRUE(KnownDamage(where, {}).named().empty());
  expire(where, {.last = 3}, false, {}, {});
  EXPECT_EQ(when(), clock_.wall);
}

TEST_F(VerifyWalTest, VerificationsThatTellNothingMoreAreForgotten) {
  const BackupRepository where = repository();
  const auto records = [&] {
    ListRequest request;
    request.prefix = where.key("verify/");
    return store_.list(request, {}).objects.size();
  };
  const auto put = [&](bool deep, std::vector<std::string> whole) {
    clock_.advance(1h);
    put_verification(where, {.at = clock_.wall, .deep = deep, .whole = std::move(whole)}, {});
  };
  put(true, {labels_[0], "20000101T000000Z"}); // the last deep one of the first
  put(false, labels_);
  put(true, {labels_[1]});
  put(false, labels_);
  expire(where, {.last = 3}, true, {}, {});
  EXPECT_EQ(records(), 4U);
  expire(where, {.last = 3}, false, {}, {});
  EXPECT_EQ(records(), 3U);
  expire(where, {.last = 2}, false, {}, {});
  EXPECT_EQ(records(), 2U) << "that of a backup that has gone goes, too";
  put(true, labels_);
  expire(where, {.last = 2}, false, {}, {});
  EXPECT_EQ(records(), 1U);
}

} // namespace
} // namespace dbops::core
