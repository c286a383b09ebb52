// What expiry removes, and what it leaves, beside backups, kills and wrong clocks.
#include "backup_round_trip.h"

namespace dbops::core {
namespace {

class BackupExpiry : public BackupRoundTrip {};

TEST_P(BackupExpiry, ExpiryKeepsWhatOthersNeed) {
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
TEST_P(BackupExpiry, ExpiryMayBeKilledAnywhere) {
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
    for (const std::string& key : keys("verify/")) // to expiry, a backup without its WAL is damaged
      store_.remove(key, {});
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

TEST_P(BackupExpiry, ABackupThatRunsKeepsItsPacks) {
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
TEST_P(BackupExpiry, TwoAtATimeAreBothWholeOrRefused) {
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

// The store's clock is right; that of the server, or of this machine, is ten years ahead.
TEST_P(BackupExpiry, AClockThatLeapsExpiresNothing) {
  constexpr std::chrono::hours leap(24 * 3653);
  std::vector<BackupHead> heads;
  for (int i = 0; i < 5; ++i)
    heads.push_back(backup());
  FakeClock ahead;
  BackupRepository where{.store = store_,
                         .clock = ahead,
                         .random = random_,
                         .system_identifier = test_system_identifier,
                         .keys = GetParam() ? &keys_ : nullptr,
                         .origin = "test"};
  const RetentionRules rules{.pitr_window = std::chrono::hours(24 * 7)};
  const auto expired = [&] {
    ahead.wall = clock_.wall + leap;
    return expire(where, rules, true, {}, {}).backups;
  };
  EXPECT_EQ(expired(), 0U) << "of this machine";
  server_ahead_ = leap;
  backup();
  EXPECT_EQ(expired(), 0U) << "of both";
  EXPECT_EQ(expire(repository(), rules, true, {}, {}).backups, 0U) << "of the server";
  server_ahead_ = {};
  backup();
  EXPECT_EQ(expired(), 0U) << "after it was set right";
  for (int i = 0; i < 9; ++i)
    backup();
  EXPECT_GT(expired(), 0U) << "but time passes";
}

TEST_P(BackupExpiry, AServerClockThatIsBehindMakesNoEarlyBackup) {
  const BackupRepository where = repository();
  const BackupHead first = backup();
  backup();
  server_ahead_ = -std::chrono::hours(36);
  backup(); // half a day after the first one, it says
  server_ahead_ = {};
  const BackupHead last = backup();
  const auto choice = [&](WallTime time) {
    auto catalogue = read_catalogue(where, 2, {});
    mend_times(where, catalogue, {});
    return choose_backup(catalogue, {.kind = RecoveryTarget::Kind::time, .value = "then", .time = time}).label;
  };
  const WallTime then = first.finished + std::chrono::hours(13);
  EXPECT_EQ(choice(then), first.label);
  const auto window = std::chrono::duration_cast<std::chrono::seconds>(last.finished - then);
  EXPECT_TRUE(expire(where, {.pitr_window = window}, true, {}, {}).plan.decisions.front().keep());
  server_ahead_ = std::chrono::hours(10000);
  const BackupHead ahead = backup();
  server_ahead_ = {};
  const BackupHead right = backup();
  EXPECT_EQ(choice(right.finished - std::chrono::hours(1)), last.label);
  EXPECT_EQ(choice(right.finished), right.label) << "one that was ahead makes none later";
  EXPECT_EQ(choice(ahead.finished), right.label);
}

// A backup has the same time on all days, whether its clock's time has come or not.
TEST_P(BackupExpiry, AServerClockThatIsADayAheadKeepsDailyBackups) {
  server_ahead_ = std::chrono::hours(25);
  for (int day = 0; day < 12; ++day) {
    backup();
    expire(repository(), {.daily = 7}, false, {}, {});
    EXPECT_EQ(list_backup_labels(repository(), {}).size(), std::size_t(std::min(day + 1, 7))) << day;
  }
}

// The server's credentials may create and read; those that expiry uses may remove as well.
TEST_P(BackupExpiry, OnlyExpiryNeedsToRemove) {
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

TEST_P(BackupExpiry, LabelsAscendWhenTheClockIsSetBack) {
  const BackupHead first = backup();
  clock_.advance(-std::chrono::hours(72));
  const BackupHead second = backup();
  EXPECT_LT(first.label, second.label);
  EXPECT_EQ(second.base, first.label);
}

INSTANTIATE_TEST_SUITE_P(Backups, BackupExpiry, testing::Bool(),
                         [](const auto& info) { return info.param ? "Encrypted" : "Plain"; });

} // namespace
} // namespace dbops::core
