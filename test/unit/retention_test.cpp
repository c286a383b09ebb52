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

TEST(Retention, ABackupOfAClockThatWasBehindIsNoEarlierOne) {
  auto backups = days(29);
  backups[21].finished -= 24h * 10; // it was complete ten days later than it says
  std::vector<RetentionBackup> weekly;
  for (const std::size_t day : {0, 7, 14, 21, 28})
    weekly.push_back(backups[day]);
  const RetentionPlan plan = plan_retention(weekly, {.pitr_window = 24h * 16}, weekly.back().finished);
  EXPECT_EQ(kept(plan), (std::vector<std::string>{"20240108", "20240115", "20240122", "20240129"}));
  EXPECT_EQ(plan.wal_from, 7000U);
}

// Production, and a clone that goes on from one of its first backups and has the newest one.
TEST(Retention, TheWindowOfEachServerHasItsBeginning) {
  std::vector<RetentionBackup> backups;
  for (RetentionBackup backup : days(22)) {
    const std::size_t day = backup.start_lsn / 1000;
    if (day % 10 > 1) continue;
    backup.timeline = day % 10 == 0 ? 1 : 2;
    backup.leads_to_newest = day == 0 || backup.timeline == 2;
    backup.leads_to.push_back(backup.timeline);
    if (day == 0) backup.leads_to.push_back(2);
    backups.push_back(backup);
  }
  const RetentionPlan plan = plan_retention(backups, {.pitr_window = 24h * 7}, backups.back().finished);
  EXPECT_EQ(kept(plan), (std::vector<std::string>{"20240111", "20240112", "20240121", "20240122"}));
  EXPECT_EQ(plan.wal_from, 10000U);
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

// Whether a rule keeps it, as docs/backup.md says: by looking at each backup by itself.
bool is_kept_by_a_rule(const std::vector<RetentionBackup>& backups, std::size_t at, const RetentionRules& rules,
                       WallTime now) {
  const RetentionBackup& backup = backups[at];
  if (backup.pinned || at + 1 == backups.size() || backups.size() - at <= rules.last) return true;
  const auto of_period = [&](unsigned count, const auto& period) {
    std::set<decltype(period(backup))> newer;
    for (std::size_t i = at + 1; i < backups.size(); ++i)
      newer.insert(period(backups[i]));
    return !newer.contains(period(backup)) && newer.size() < count;
  };
  const auto day = [](const RetentionBackup& each) { return std::chrono::floor<std::chrono::days>(each.finished); };
  const auto month = [&](const RetentionBackup& each) {
    const std::chrono::year_month_day date(day(each));
    return std::pair(int(date.year()), unsigned(date.month()));
  };
  // From Monday to Sunday: the first day of 1970 was a Thursday.
  const auto week = [&](const RetentionBackup& each) { return (day(each).time_since_epoch().count() + 3) / 7; };
  const auto year = [&](const RetentionBackup& each) { return month(each).first; };
  if (of_period(rules.daily, day) || of_period(rules.weekly, week) || of_period(rules.monthly, month) ||
      of_period(rules.yearly, year))
    return true;
  if (!rules.pitr_window) return false;
  const WallTime from =
      std::min(std::ranges::max(backups, {}, &RetentionBackup::finished).finished, now) - *rules.pitr_window;
  if (backup.finished > from) return true;
  // The last one before the window begins: of all, or of those that lead to the newest.
  const auto is_last = [&](bool of_all) {
    return std::ranges::none_of(backups, [&](const RetentionBackup& other) {
      return other.finished > backup.finished && other.finished <= from && (of_all || other.leads_to_newest);
    });
  };
  return is_last(true) || (backup.leads_to_newest && is_last(false));
}

// Exactly what the rules say is kept, and nothing else; of what is damaged as if it was not, and as if it was not
// there.
TEST(Retention, KeepsWhatTheRulesSayAndNothingElse) {
  std::mt19937 engine(17);
  std::size_t kept_ones = 0, others = 0;
  for (int round = 0; round < 1000; ++round) {
    std::vector<RetentionBackup> backups;
    WallTime time = start;
    for (unsigned i = 0, count = 1 + unsigned(engine() % 60); i < count; ++i) {
      time += std::chrono::minutes(1 + engine() % 20000);
      RetentionBackup backup{iso8601_basic(time), time, Lsn(i) * 100, Lsn(i) * 100 + 50, engine() % 20 == 0};
      backup.leads_to_newest = engine() % 5 != 0;
      backup.damaged = engine() % 10 == 0;
      backups.push_back(std::move(backup));
    }
    const RetentionRules rules{.last = unsigned(engine() % 4),
                               .daily = unsigned(engine() % 5),
                               .weekly = unsigned(engine() % 4),
                               .monthly = unsigned(engine() % 4),
                               .yearly = unsigned(engine() % 3),
                               .pitr_window = engine() % 2 == 0
                                                  ? std::optional<std::chrono::seconds>(24h * int(engine() % 100))
                                                  : std::nullopt};
    if (!rules.any()) continue;
    const WallTime now = time + std::chrono::hours(int(engine() % 2000) - 1000);
    std::vector<RetentionBackup> sound;
    std::ranges::copy_if(backups, std::back_inserter(sound), [](const auto& backup) { return !backup.damaged; });
    const RetentionPlan plan = plan_retention(backups, rules, now);
    for (std::size_t i = 0, place = 0; i < backups.size(); ++i) {
      const bool among_sound = !backups[i].damaged && is_kept_by_a_rule(sound, place, rules, now);
      if (!backups[i].damaged) ++place;
      ASSERT_EQ(plan.decisions[i].keep(), is_kept_by_a_rule(backups, i, rules, now) || among_sound)
          << "round " << round << ", backup " << i << " of " << backups.size();
      ++(plan.decisions[i].keep() ? kept_ones : others);
    }
  }
  EXPECT_GT(kept_ones, 5000U);
  EXPECT_GT(others, 5000U);
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
