// Pins hold against expiry: whatever the rules, the clock, and the moment at which one is made.
#include "core/backup/pins.h"

#include "core/backup/catalogue.h"
#include "core/backup/dump.h"
#include "core/backup/expire.h"
#include "core/backup/expire_dumps.h"
#include "core/base/error.h"
#include "core/store/memory_store.h"
#include "fake_time_and_random.h"

#include <gtest/gtest.h>

#include <atomic>

namespace dbops::core {
namespace {

using namespace std::chrono_literals;

class PinsTest : public testing::Test {
 protected:
  PinsTest() : store_(clock_) {}
  [[nodiscard]] BackupRepository repository() {
    return {
        .store = store_, .clock = clock_, .random = random_, .system_identifier = 1, .keys = nullptr, .origin = "t"};
  }
  // A day after the last one.
  std::string backup() {
    clock_.advance(24h);
    BackupHead head;
    head.label = iso8601_basic(clock_.wall);
    head.system_identifier = 1;
    head.wal_segment_size = 1 << 20;
    head.started = head.finished = clock_.wall;
    head.start_lsn = Lsn(++backups_) << 20;
    head.stop_lsn = head.start_lsn + 1000;
    const BackupRepository where = repository();
    where.put(backup_begun_key(head.label), ObjectKind::backup_event, as_bytes("{}"), {});
    where.put(backup_head_key(head.label), ObjectKind::backup_head, as_bytes(encode_head(head)), {});
    return head.label;
  }
  std::vector<std::string> labels() {
    std::vector<std::string> found;
    for (const CatalogueEntry& entry : read_catalogue(repository(), 2, {}))
      if (entry.head) found.push_back(entry.label);
    return found;
  }
  std::size_t objects_below(const std::string& prefix) {
    ListRequest request;
    request.prefix = repository().key(prefix);
    return store_.list(request, {}).objects.size();
  }
  void forget_everything() {
    ListRequest request;
    for (const ObjectInfo& object : store_.list(request, {}).objects)
      store_.remove(object.key, {});
  }

  FakeClock clock_;
  SeededRandom random_;
  MemoryStore store_;
  unsigned backups_ = 0;
};

TEST_F(PinsTest, WhatIsPinnedStaysUntilItIsReleased) {
  std::vector<std::string> made;
  for (int i = 0; i < 5; ++i)
    made.push_back(backup());
  const BackupRepository where = repository();
  pin(where, Pinnable::backup, made[1], "audit 2026", {}, {});
  pin(where, Pinnable::backup, made[1], "", {}, {});
  const ExpireResult result = expire(where, {.last = 1}, false, {}, {});
  EXPECT_EQ(labels(), (std::vector<std::string>{made[1], made[4]}));
  EXPECT_EQ(result.plan.decisions[1].reasons, std::vector<std::string>{"pinned (audit 2026)"});
  EXPECT_EQ(result.backups, 3U);
  EXPECT_EQ(objects_below("expiring/"), 0U);
  EXPECT_EQ(release_pins(where, Pinnable::backup, made[1], {}), 2U);
  EXPECT_EQ(release_pins(where, Pinnable::backup, made[1], {}), 0U);
  expire(where, {.last = 1}, false, {}, {});
  EXPECT_EQ(labels(), std::vector<std::string>{made[4]});
  EXPECT_EQ(objects_below("pin/"), 0U) << "nothing is left of it";
}

TEST_F(PinsTest, WhatIsNotThereCannotBePinned) {
  const std::string label = backup();
  const BackupRepository where = repository();
  EXPECT_THROW(pin(where, Pinnable::backup, "20000101T000000Z", "", {}, {}), Error);
  EXPECT_THROW(pin(where, Pinnable::backup, "../" + label, "", {}, {}), Error);
  EXPECT_THROW(pin(where, Pinnable::dump, label, "", {}, {}), Error);
  EXPECT_EQ(objects_below("pin/"), 0U);
}

TEST_F(PinsTest, AHoldEndsByTheBackupsAndNoClockThatJumps) {
  const std::string held = backup();
  const BackupRepository where = repository();
  pin(where, Pinnable::backup, held, "", clock_.wall + 72h, {});
  backup();
  clock_.wall += 24h * 4000;
  expire(where, {.last = 1}, false, {}, {});
  clock_.wall -= 24h * 4000;
  expire(where, {.last = 1}, false, {}, {});
  EXPECT_EQ(labels().front(), held);
  backup();
  backup();
  expire(where, {.last = 1}, false, {}, {});
  EXPECT_EQ(labels().size(), 1U);
}

TEST_F(PinsTest, APinThatCannotBeReadHolds) {
  const std::string held = backup();
  const BackupRepository where = repository();
  pin(where, Pinnable::backup, held, "", clock_.wall + 1h, {});
  ListRequest request;
  request.prefix = where.key("pin/");
  store_.overwrite(store_.list(request, {}).objects.at(0).key, to_bytes("rubbish"));
  backup();
  backup();
  expire(where, {.last = 1}, false, {}, {});
  EXPECT_EQ(labels().front(), held);
  EXPECT_NE(held_by(read_pins(where, Pinnable::backup, {}), held, clock_.wall)->find("cannot be read"),
            std::string::npos);
}

// Before each single operation of an expiry a backup is pinned that is to go: either the pin is refused, or it holds.
TEST_F(PinsTest, WhoPinsWhileExpiryIsAtWorkKnowsWhetherItHolds) {
  int refused = 0, held = 0;
  for (int moment = 0;; ++moment) {
    forget_everything();
    const std::string label = backup();
    backup();
    const BackupRepository where = repository();
    std::atomic<int> operations{0};
    std::atomic<bool> inside{false}, pinned{false};
    store_.set_hook([&](MemoryStore::Operation, const std::string&, bool after) {
      if (after || inside || operations++ != moment) return;
      inside = true;
      try {
        pin(where, Pinnable::backup, label, "", {}, {});
        pinned = true;
      } catch (const Error&) {
      }
      inside = false;
    });
    expire(where, {.last = 1}, false, {}, {});
    store_.set_hook({});
    if (operations <= moment) break;
    (pinned ? held : refused)++;
    EXPECT_EQ(labels().front() == label, pinned) << moment;
    EXPECT_EQ(objects_below("expiring/"), 0U) << moment;
    ASSERT_LT(moment, 200);
  }
  EXPECT_GT(held, 3);
  EXPECT_GT(refused, 3);
}

// And the other way round: an expiry runs as a whole before each single operation of a pin.
TEST_F(PinsTest, ExpiryBetweenTheStepsOfAPin) {
  for (int moment = 0;; ++moment) {
    forget_everything();
    const std::string label = backup();
    backup();
    const BackupRepository where = repository();
    int operations = 0;
    bool inside = false, pinned = false;
    store_.set_hook([&](MemoryStore::Operation, const std::string&, bool after) {
      if (after || inside || operations++ != moment) return;
      inside = true;
      expire(where, {.last = 1}, false, {}, {});
      inside = false;
    });
    try {
      pin(where, Pinnable::backup, label, "", {}, {});
      pinned = true;
    } catch (const Error&) {
    }
    store_.set_hook({});
    expire(where, {.last = 1}, false, {}, {});
    EXPECT_EQ(labels().front() == label, pinned) << moment;
    if (operations <= moment) break;
    ASSERT_LT(moment, 50);
  }
}

TEST_F(PinsTest, WhatAKilledExpiryHasAnnouncedIsForgottenADayLater) {
  const std::string label = backup();
  backup();
  const BackupRepository where = repository();
  store_.set_hook([](MemoryStore::Operation operation, const std::string&, bool) {
    if (operation == MemoryStore::Operation::remove) throw Error(ErrorKind::unavailable, "killed");
  });
  EXPECT_THROW(expire(where, {.last = 1}, false, {}, {}), Error);
  store_.set_hook({});
  EXPECT_THROW(pin(where, Pinnable::backup, label, "", {}, {}), Error);
  EXPECT_FALSE(held_by(read_pins(where, Pinnable::backup, {}), label, clock_.wall)) << "and leaves no pin";
  backup();
  clock_.advance(1h);
  backup();
  expire(where, {.last = 4}, false, {}, {});
  pin(where, Pinnable::backup, label, "", {}, {});
  expire(where, {.last = 1}, false, {}, {});
  EXPECT_EQ(labels().front(), label);
}

// The clock of the machine that expires is ahead of the others', while another expiry is at work.
TEST_F(PinsTest, AClockThatIsAheadWithdrawsNoAnnouncement) {
  const std::string label = backup();
  backup();
  const BackupRepository where = repository();
  announce_removal(where, Pinnable::backup, {label}, "20231114T000000Z-other", {});
  announce_removal(where, Pinnable::dump, {label}, "20231114T000000Z-other", {});
  FakeClock ahead;
  ahead.wall = clock_.wall + 24h * 30;
  const BackupRepository from_there{
      .store = store_, .clock = ahead, .random = random_, .system_identifier = 1, .keys = nullptr, .origin = "t"};
  DumpHead head;
  head.database = "shop";
  DumpWriter writer(where, head, 1, {});
  writer.begin_file("dump");
  writer.write(Bytes(1000));
  writer.finish();
  expire(from_there, {.last = 2}, false, {}, {});
  expire_dumps(from_there, {.last = 2}, false, {}, {});
  EXPECT_EQ(objects_below("expiring/"), 2U);
  EXPECT_THROW(pin(where, Pinnable::backup, label, "", {}, {}), Error);
}

TEST_F(PinsTest, Dumps) {
  const BackupRepository where = repository();
  std::vector<std::string> made;
  for (int i = 0; i < 4; ++i) {
    clock_.advance(24h);
    DumpHead head;
    head.database = "shop";
    DumpWriter writer(where, head, 1, {});
    writer.begin_file("dump");
    writer.write(Bytes(1000));
    made.push_back(writer.finish().label);
  }
  pin(where, Pinnable::dump, made[0], "the first", {}, {});
  const auto kept = [&] {
    std::vector<std::string> found;
    for (const DumpEntry& entry : read_dumps(where, 1, {}))
      found.push_back(entry.label);
    return found;
  };
  EXPECT_EQ(expire_dumps(where, {.last = 1}, false, {}, {}).decisions.at(0).reasons,
            std::vector<std::string>{"pinned (the first)"});
  EXPECT_EQ(kept(), (std::vector<std::string>{made[0], made[3]}));
  EXPECT_EQ(objects_below("expiring/"), 0U);
  release_pins(where, Pinnable::dump, made[0], {});
  expire_dumps(where, {.last = 1}, false, {}, {});
  EXPECT_EQ(kept(), std::vector<std::string>{made[3]});
  EXPECT_EQ(objects_below("pin/"), 0U);
}

} // namespace
} // namespace dbops::core
