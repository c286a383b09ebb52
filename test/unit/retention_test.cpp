#include "core/backup/retention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

namespace dbops::core {
namespace {

using namespace std::chrono_literals;

const WallTime start = std::chrono::sys_days(std::chrono::year(2024) / 1 / 1) + 2h;

// One backup a day.
std::vector<RetentionBackup> days(int count) {
  std::vector<RetentionBackup> backups;
  for (int i = 0; i < count; ++i) {
    const WallTime time = start + std::chrono::days(i);
    backups.push_back({iso8601_basic(time), time, Lsn(i) * 1000, Lsn(i) * 1000 + 10, false});
  }
  return backups;
}

std::vector<std::string> kept(const RetentionPlan& plan) {
  std::vector<std::string> labels;
  for (const RetentionDecision& decision : plan.decisions)
    if (decision.keep()) labels.push_back(decision.label.substr(0, 8));
  return labels;
}

TEST(Retention, Generations) {
  const auto backups = days(366 + 365); // 2024 and 2025
  const RetentionPlan plan =
      plan_retention(backups, {.daily = 3, .weekly = 2, .monthly = 4, .yearly = 5}, backups.back().finished);
  EXPECT_EQ(kept(plan), (std::vector<std::string>{"20241231", "20250930", "20251031", "20251130", "20251228",
                                                  "20251229", "20251230", "20251231"}));
  EXPECT_EQ(plan.decisions.back().reasons,
            (std::vector<std::string>{"newest", "day 2025-12-31", "week 2026-W01", "month 2025-12", "year 2025"}));
}

// What is damaged is kept as if it was not, and what would be kept without it is kept as well.
TEST(Retention, WhatIsDamagedReplacesNothing) {
  auto backups = days(10);
  backups[9].damaged = backups[8].damaged = true;
  const WallTime now = backups.back().finished;
  EXPECT_EQ(kept(plan_retention(backups, {.last = 1}, now)), (std::vector<std::string>{"20240108", "20240110"}));
  EXPECT_EQ(kept(plan_retention(backups, {.daily = 2}, now)),
            (std::vector<std::string>{"20240107", "20240108", "20240109", "20240110"}));
  const RetentionPlan window = plan_retention(backups, {.pitr_window = 1h}, now);
  EXPECT_EQ(kept(window), (std::vector<std::string>{"20240107", "20240108", "20240109", "20240110"}));
  EXPECT_EQ(window.wal_from, 6000U);
  for (RetentionBackup& backup : backups)
    backup.damaged = true;
  EXPECT_EQ(kept(plan_retention(backups, {.last = 1}, now)), std::vector<std::string>{"20240110"})
      << "there is no other";
}

TEST(Retention, WindowNeedsTheBackupBeforeIt) {
  const auto backups = days(30);
  const RetentionPlan plan = plan_retention(backups, {.pitr_window = 48h + 1h}, backups.back().finished + 5h);
  EXPECT_EQ(kept(plan), (std::vector<std::string>{"20240127", "20240128", "20240129", "20240130"}));
  EXPECT_EQ(plan.wal_from, 26000U);
}

TEST(Retention, WindowLongerThanTheHistoryKeepsAll) {
  EXPECT_EQ(kept(plan_retention(days(5), {.pitr_window = 24h * 365}, start)).size(), 5U);
}

TEST(Retention, WalOfGenerationsIsNotAllKept) {
  const auto backups = days(100);
  const RetentionPlan plan = plan_retention(backups, {.monthly = 12, .pitr_window = 24h * 7}, backups.back().finished);
  EXPECT_EQ(plan.wal_from, 92000U);
  EXPECT_EQ(kept(plan).front(), "20240131");
  EXPECT_EQ(plan_retention(backups, {.monthly = 12}, start).wal_from, 30000U);
}

TEST(Retention, AClockThatJumpsRemovesNothingMore) {
  const auto backups = days(60);
  const RetentionRules rules{.daily = 7, .monthly = 2, .pitr_window = 24h * 10};
  const auto normal = kept(plan_retention(backups, rules, backups.back().finished + 1h));
  EXPECT_EQ(kept(plan_retention(backups, rules, backups.back().finished + 24h * 4000)), normal);
  const auto earlier = kept(plan_retention(backups, rules, start - 24h * 4000));
  EXPECT_TRUE(std::ranges::includes(earlier, normal));
}

TEST(Retention, EmptyAndWithoutRules) {
  EXPECT_TRUE(plan_retention({}, {.last = 1}, start).decisions.empty());
  EXPECT_THROW(plan_retention(days(1), {}, start), std::logic_error);
}

// Of any history and any rules.
TEST(Retention, Properties) {
  std::mt19937 engine(11);
  for (int round = 0; round < 500; ++round) {
    std::vector<RetentionBackup> backups;
    WallTime time = start;
    for (unsigned i = 0; i < engine() % 80; ++i) {
      time += std::chrono::minutes(1 + engine() % 5000);
      const Lsn lsn = Lsn(i) * 100;
      backups.push_back({iso8601_basic(time), time, lsn, lsn + 50, engine() % 20 == 0});
    }
    RetentionRules rules{.last = 1 + unsigned(engine() % 3),
                         .daily = unsigned(engine() % 10),
                         .weekly = unsigned(engine() % 4),
                         .monthly = unsigned(engine() % 4),
                         .yearly = unsigned(engine() % 3)};
    if (engine() % 2 == 0) rules.pitr_window = std::chrono::minutes(engine() % 100000);
    const WallTime now = time + std::chrono::minutes(engine() % 10000);
    const RetentionPlan plan = plan_retention(backups, rules, now);
    ASSERT_EQ(plan.decisions.size(), backups.size());
    if (backups.empty()) continue;
    ASSERT_TRUE(plan.decisions.back().keep()) << "the newest";
    std::vector<RetentionBackup> rest;
    std::size_t count = 0;
    for (std::size_t i = 0; i < backups.size(); ++i) {
      ASSERT_TRUE(!backups[i].pinned || plan.decisions[i].keep());
      if (!plan.decisions[i].keep()) continue;
      ++count;
      rest.push_back(backups[i]);
    }
    // Every day is found again, as long as there are enough of them.
    std::set<std::string> all_days, kept_days;
    for (const auto& backup : backups)
      all_days.insert(backup.label.substr(0, 8));
    for (const auto& backup : rest)
      kept_days.insert(backup.label.substr(0, 8));
    ASSERT_GE(kept_days.size(), std::min<std::size_t>(rules.daily, all_days.size()));
    // Any time of the window can be reached, if it could before.
    if (rules.pitr_window) {
      const WallTime from = backups.back().finished - *rules.pitr_window;
      const bool could = backups.front().finished <= from;
      const bool can = std::ranges::any_of(
          rest, [&](const auto& backup) { return backup.finished <= from && backup.start_lsn >= plan.wal_from; });
      ASSERT_TRUE(!could || can);
    }
    // Applied again at once, it removes nothing more.
    const RetentionPlan again = plan_retention(rest, rules, now);
    ASSERT_EQ(std::ranges::count_if(again.decisions, &RetentionDecision::keep), std::ptrdiff_t(count));
    // More generous rules keep at least as much.
    RetentionRules more = rules;
    more.daily += 2;
    more.monthly += 1;
    const RetentionPlan larger = plan_retention(backups, more, now);
    for (std::size_t i = 0; i < backups.size(); ++i)
      ASSERT_TRUE(!plan.decisions[i].keep() || larger.decisions[i].keep());
  }
}

} // namespace
} // namespace dbops::core
