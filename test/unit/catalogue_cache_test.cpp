// What is read once is not read again, and what has gone is not shown.
#include "core/backup/catalogue_cache.h"

#include "core/base/error.h"
#include "core/store/memory_store.h"
#include "fake_time_and_random.h"

#include <gtest/gtest.h>

#include <atomic>

namespace dbops::core {
namespace {

class CatalogueCacheTest : public testing::Test {
 protected:
  CatalogueCacheTest() : store_(clock_) {
    store_.set_hook([this](MemoryStore::Operation operation, const std::string&, bool after) {
      if (!after) ++requests_;
      if (operation == MemoryStore::Operation::get && !after) ++reads_;
    });
  }
  [[nodiscard]] BackupRepository repository() {
    return {
        .store = store_, .clock = clock_, .random = random_, .system_identifier = 1, .keys = nullptr, .origin = "t"};
  }
  std::string add_backup(int number, bool finished = true) {
    BackupHead head;
    head.label = iso8601_basic(WallTime(std::chrono::seconds(1700000000 + number)));
    head.system_identifier = 1;
    head.wal_segment_size = 16 << 20;
    head.control_file = Bytes(8192);
    const BackupRepository where = repository();
    where.put(backup_begun_key(head.label), ObjectKind::backup_event, as_bytes("{}"), {});
    if (finished) where.put(backup_head_key(head.label), ObjectKind::backup_head, as_bytes(encode_head(head)), {});
    return head.label;
  }

  // As a backup leaves it.
  std::string add_summarised(int number) {
    std::string label = add_backup(number);
    put_summary(repository(), label, 2, {});
    return label;
  }
  static std::vector<std::string> finished(const std::vector<CatalogueEntry>& entries) {
    std::vector<std::string> labels;
    for (const CatalogueEntry& entry : entries)
      if (entry.head) labels.push_back(entry.head->label);
    return labels;
  }

  FakeClock clock_;
  SeededRandom random_;
  MemoryStore store_;
  CatalogueCache cache_;
  std::atomic<int> reads_{0}, requests_{0};
};

TEST_F(CatalogueCacheTest, AThousandBackupsAreReadOnce) {
  std::vector<std::string> labels;
  for (int i = 0; i < 1000; ++i)
    labels.push_back(add_backup(i));
  const BackupRepository where = repository();
  const auto first = cache_.backups(where, 8, {});
  ASSERT_EQ(first.size(), 1000U);
  EXPECT_EQ(reads_, 1000);
  labels.push_back(add_backup(2000));
  const auto second = cache_.backups(where, 8, {});
  ASSERT_EQ(second.size(), labels.size());
  for (std::size_t i = 0; i < labels.size(); ++i) {
    EXPECT_EQ(second[i].label, labels[i]);
    ASSERT_TRUE(second[i].head.has_value());
    EXPECT_EQ(second[i].head->label, labels[i]);
  }
  EXPECT_EQ(reads_, 1001);
}

TEST_F(CatalogueCacheTest, WhatIsNotFinishedIsLookedAtAgainAndWhatHasGoneIsForgotten) {
  const std::string gone = add_backup(1), open = add_backup(2, false);
  const BackupRepository where = repository();
  EXPECT_FALSE(cache_.backups(where, 2, {}).at(1).head.has_value());
  BackupHead head;
  head.label = open;
  head.system_identifier = 1;
  head.wal_segment_size = 16 << 20;
  where.put(backup_head_key(open), ObjectKind::backup_head, as_bytes(encode_head(head)), {});
  store_.remove(where.key(backup_head_key(gone)), {});
  store_.remove(where.key(backup_begun_key(gone)), {});
  const auto entries = cache_.backups(where, 2, {});
  ASSERT_EQ(entries.size(), 1U);
  EXPECT_EQ(entries[0].label, open);
  EXPECT_TRUE(entries[0].head.has_value());
}

TEST_F(CatalogueCacheTest, RecordsOfDrillsAndVerificationsComeBackAsTheyWere) {
  const BackupRepository where = repository();
  const WallTime at(std::chrono::seconds(1700000000));
  put_drill(where,
            {.at = at,
             .backup = "20261121T143000Z",
             .target_time = "2026-11-21 15:00",
             .succeeded = true,
             .rto_seconds = 12.5,
             .recovered_to = "0/3000060",
             .phases = {{"fetch", 2.5}, {"recovery", 10}},
             .failure = ""},
            {});
  put_drill(where, {.at = at + std::chrono::seconds(1), .backup = "", .failure = "it \"failed\""}, {});
  put_verification(where, {.at = at, .deep = true, .whole = {"20261121T143000Z"}}, {});
  where.put("drill/20261121T143000Z-00000000.json", ObjectKind::backup_event, as_bytes("not JSON"), {});
  for (int i = 0; i < 2; ++i) {
    const auto drills = cache_.drills(where, 4, {});
    ASSERT_EQ(drills.size(), 2U) << "one cannot be read";
    EXPECT_EQ(drills[0].at, at);
    EXPECT_EQ(drills[0].target_time, "2026-11-21 15:00");
    EXPECT_TRUE(drills[0].succeeded);
    EXPECT_EQ(drills[0].rto_seconds, 12.5);
    EXPECT_EQ(drills[0].phases.at(1).second, 10);
    EXPECT_EQ(drills[1].failure, "it \"failed\"");
    EXPECT_FALSE(drills[1].target_time.has_value());
    const auto verifications = cache_.verifications(where, 4, {});
    ASSERT_EQ(verifications.size(), 1U);
    EXPECT_TRUE(verifications[0].deep);
    EXPECT_EQ(verifications[0].whole.at(0), "20261121T143000Z");
  }
  EXPECT_EQ(reads_, 4);
}

TEST_F(CatalogueCacheTest, AThousandBackupsAreAFewRequests) {
  const BackupRepository where = repository();
  std::vector<std::string> labels;
  for (int i = 0; i < 999; ++i) {
    labels.push_back(add_backup(i));
    where.put(summary_key(labels.back()), ObjectKind::backup_summary, {}, {});
    if (i % 10 == 0)
      put_drill(where, {.at = WallTime(std::chrono::seconds(1700000000 + i)), .backup = labels.back()}, {});
  }
  labels.push_back(add_summarised(1000));
  reads_ = requests_ = 0;
  const BackupCatalogue catalogue = cache_.all(where, 8, {});
  EXPECT_EQ(finished(catalogue.backups), labels);
  EXPECT_EQ(catalogue.drills.size(), 100U);
  EXPECT_EQ(reads_, 1);
  EXPECT_LE(requests_, 10);
}

TEST_F(CatalogueCacheTest, WhatHasNoSummaryOrIsNewerThanItIsShown) {
  std::vector<std::string> labels;
  for (int i = 0; i < 20; ++i)
    labels.push_back(i % 3 == 0 ? add_backup(i) : add_summarised(i));
  labels.push_back(add_backup(20));
  EXPECT_EQ(finished(cache_.backups(repository(), 4, {})), labels);
}

TEST_F(CatalogueCacheTest, WhatExpiryHasBegunToRemoveIsNotShown) {
  std::vector<std::string> labels;
  for (int i = 0; i < 20; ++i)
    labels.push_back(add_summarised(i));
  const BackupRepository where = repository();
  EXPECT_EQ(finished(cache_.backups(where, 4, {})), labels);
  store_.remove(where.key(summary_key(labels[3])), {});
  store_.remove(where.key(backup_head_key(labels[3])), {});
  labels.erase(labels.begin() + 3);
  EXPECT_EQ(finished(cache_.backups(where, 4, {})), labels);
  EXPECT_EQ(finished(CatalogueCache().backups(where, 4, {})), labels);
}

TEST_F(CatalogueCacheTest, DamagedSummariesAreReplacedByWhatTheySummarise) {
  std::vector<std::string> labels;
  for (int i = 0; i < 20; ++i)
    labels.push_back(add_summarised(i));
  const BackupRepository where = repository();
  for (int damaged = 1; damaged <= 5; ++damaged) {
    store_.overwrite(where.key(summary_key(labels[labels.size() - std::size_t(damaged)])), to_bytes("damaged"));
    EXPECT_EQ(finished(CatalogueCache().backups(where, 4, {})), labels) << damaged;
  }
}

TEST_F(CatalogueCacheTest, AManifestThatIsLostIsNotAnAbortedBackup) {
  const std::string lost = add_summarised(1), open = add_backup(2, false);
  const BackupRepository where = repository();
  store_.remove(where.key(backup_head_key(lost)), {});
  EXPECT_NE(read_catalogue_entry(where, lost, {}).problem, "");
  EXPECT_EQ(read_catalogue_entry(where, open, {}).problem, "");
}

TEST_F(CatalogueCacheTest, ABackupOfWhichNothingIsLeftButItsSummaryIsNotForgotten) {
  std::vector<std::string> labels;
  for (int i = 0; i < 20; ++i)
    labels.push_back(add_summarised(i));
  const BackupRepository where = repository();
  const auto problems = [](const std::vector<CatalogueEntry>& entries) {
    std::string text;
    for (const CatalogueEntry& entry : entries)
      if (!entry.problem.empty()) text += entry.label + ": " + entry.problem + "\n";
    return text;
  };
  EXPECT_EQ(problems(cache_.backups(where, 4, {})), "");
  const std::string lost = labels[3];
  store_.remove(where.key(backup_head_key(lost)), {});
  store_.remove(where.key(backup_begun_key(lost)), {});
  const std::string expected = lost + ": \"" + backup_head_key(lost) + "\" was there, and is missing\n";
  CatalogueCache fresh;
  for (const auto& entries : {read_catalogue(where, 4, {}), cache_.backups(where, 4, {}), fresh.backups(where, 4, {}),
                              fresh.all(where, 4, {}).backups}) {
    EXPECT_EQ(problems(entries), expected);
    ASSERT_EQ(entries.size(), labels.size());
    for (std::size_t i = 0; i < labels.size(); ++i)
      EXPECT_EQ(entries[i].label, labels[i]);
  }
  store_.remove(where.key(summary_key(lost)), {}); // as an expiry does
  labels.erase(labels.begin() + 3);
  EXPECT_EQ(finished(read_catalogue(where, 4, {})), labels);
  EXPECT_EQ(read_catalogue(where, 4, {}).size(), labels.size());
}

TEST_F(CatalogueCacheTest, ASummaryComesBackAsItWasAndIsBounded) {
  const std::vector<SummaryEntry> entries{{"a", "1"}, {"b", std::string(max_summary_size, 'x')}, {"c", ""}};
  const Bytes bytes = encode_summary(entries);
  const auto back = decode_summary(bytes);
  ASSERT_EQ(back.size(), 2U) << "what does not fit is left out";
  EXPECT_EQ(back[0].name + back[0].content + back[1].name + back[1].content, "a1c");
  for (std::size_t length = 1; length < bytes.size(); ++length)
    if (length != 8) { // of the first entry
      EXPECT_THROW(decode_summary(ByteView(bytes).first(length)), Error) << length;
    }
}

} // namespace
} // namespace dbops::core
