#include "core/schedule/planner.h"

#include <gtest/gtest.h>

#include "libc_zone.h"

using namespace dbops::core;
using namespace std::chrono;
using namespace std::chrono_literals;

namespace {

const sys_seconds noon = sys_days(year(2026) / 6 / 1) + 12h;

Schedule parse(std::string_view text) {
  ScheduleError error{};
  return Schedule::parse(text, error).value();
}

struct Plan {
  Schedule schedule;
  Utc zone;
  Planner planner{schedule, zone, noon};
  explicit Plan(std::string_view text) : schedule(parse(text)) {}
};

} // namespace

TEST(Planner, OnTime) {
  const Plan plan("*/5 * * * *");
  const Decision early = plan.planner.due(noon, noon + 4min, Missed::once, 1);
  EXPECT_FALSE(early.run);
  EXPECT_EQ(early.accounted, noon);
  EXPECT_EQ(early.next, noon + 5min);
  for (const Missed missed : {Missed::skip, Missed::once, Missed::all}) {
    const Decision due = plan.planner.due(noon, noon + 5min, missed, 3);
    EXPECT_EQ(due.run, noon + 5min);
    EXPECT_EQ(due.accounted, noon + 5min);
    EXPECT_EQ(due.passed_over, 0);
    EXPECT_EQ(due.next, noon + 10min);
  }
}

TEST(Planner, MissedRuns) {
  const Plan plan("0 * * * *");
  const sys_seconds now = noon + 5h + 10min; // 13:00 to 17:00 were missed
  const Decision skip = plan.planner.due(noon, now, Missed::skip, 1);
  EXPECT_FALSE(skip.run);
  EXPECT_EQ(skip.accounted, noon + 5h);
  EXPECT_EQ(skip.passed_over, 5);
  EXPECT_EQ(skip.next, noon + 6h);
  const Decision once = plan.planner.due(noon, now, Missed::once, 1);
  EXPECT_EQ(once.run, noon + 5h);
  EXPECT_EQ(once.accounted, noon + 5h);
  EXPECT_EQ(once.passed_over, 4);
  Decision all = plan.planner.due(noon, now, Missed::all, 3);
  EXPECT_EQ(all.run, noon + 3h);
  EXPECT_EQ(all.passed_over, 2);
  EXPECT_EQ(all.next, noon + 4h);
  all = plan.planner.due(all.accounted, now, Missed::all, 3);
  EXPECT_EQ(all.run, noon + 4h);
  EXPECT_EQ(all.passed_over, 0);
  all = plan.planner.due(all.accounted, now, Missed::all, 3);
  EXPECT_EQ(all.run, noon + 5h);
  EXPECT_FALSE(plan.planner.due(all.accounted, now, Missed::all, 3).run);
}

TEST(Planner, SkipAllowsForALateLook) {
  const Plan plan("0 * * * *");
  EXPECT_TRUE(plan.planner.due(noon, noon + 1h + 59s, Missed::skip, 1).run);
  EXPECT_FALSE(plan.planner.due(noon, noon + 1h + 61s, Missed::skip, 1).run);
}

TEST(Planner, YearsOfSeconds) {
  const Plan plan("every second");
  const Decision once = plan.planner.due(noon, noon + days(700), Missed::once, 1);
  EXPECT_EQ(once.run, noon + days(700));
  EXPECT_EQ(once.passed_over, Planner::most_counted - 1);
  EXPECT_EQ(plan.planner.due(noon, noon + days(700), Missed::all, 10).run, noon + days(700));
}

TEST(Planner, ClockSetForward) {
  const Plan plan("0 * * * *"); // the same as having been away
  const Decision due = plan.planner.due(noon, noon + 2h + 1min, Missed::once, 1);
  EXPECT_EQ(due.run, noon + 2h);
  EXPECT_EQ(due.passed_over, 1);
}

TEST(Planner, ClockSetBackALittle) {
  const Plan plan("*/5 * * * *"); // the slot at noon has run; it is 11:00 again
  const Decision due = plan.planner.due(noon, noon - 1h, Missed::all, 9);
  EXPECT_FALSE(due.run);
  EXPECT_EQ(due.accounted, noon);
  EXPECT_EQ(due.next, noon + 5min) << "nothing is run twice";
  EXPECT_FALSE(plan.planner.due(noon, noon - 1s, Missed::all, 9).run);
  EXPECT_EQ(plan.planner.due(noon, noon + 5min, Missed::all, 9).run, noon + 5min);
}

TEST(Planner, ClockSetBackALot) {
  const Plan plan("*/5 * * * *"); // it had been wrong, and would not come back to that time for days
  const Decision due = plan.planner.due(noon, noon - days(30), Missed::all, 9);
  EXPECT_FALSE(due.run);
  EXPECT_EQ(due.accounted, noon - days(30));
  EXPECT_EQ(due.next, noon - days(30) + 5min);
}

TEST(Planner, AnIntervalGoesOnWhenTheClockIsSetBack) {
  const Plan plan("every 90 seconds");
  const Decision due = plan.planner.due(noon, noon - 1h, Missed::once, 1);
  EXPECT_FALSE(due.run);
  EXPECT_EQ(due.next, noon - 1h + 90s);
}

TEST(Planner, AnIntervalDoesNotHaveItsLastTimeAgain) {
  const Plan plan("every 1 day"); // noon has run; the clock is set back by five minutes
  const Decision due = plan.planner.due(noon, noon - 5min, Missed::all, 9);
  EXPECT_FALSE(due.run);
  EXPECT_EQ(due.accounted, noon);
  EXPECT_EQ(due.next, noon + days(1));
}

TEST(Planner, OverlapSkip) {
  const Plan plan("* * * * *");
  const Decision end = plan.planner.after_run(noon, noon + 1s, noon + 3min + 10s, Overlap::skip);
  EXPECT_FALSE(end.run);
  EXPECT_EQ(end.passed_over, 3);
  EXPECT_EQ(end.accounted, noon + 3min);
  EXPECT_EQ(end.next, noon + 4min);
}

TEST(Planner, OverlapQueuesOne) {
  const Plan plan("* * * * *");
  for (const Overlap overlap : {Overlap::queue, Overlap::cancel}) {
    const Decision end = plan.planner.after_run(noon, noon + 1s, noon + 3min + 10s, overlap);
    EXPECT_EQ(end.run, noon + 3min);
    EXPECT_EQ(end.passed_over, 2);
    EXPECT_EQ(end.accounted, noon + 3min);
    EXPECT_EQ(end.next, noon + 4min);
  }
}

TEST(Planner, NothingCameDuringTheRun) {
  const Plan plan("* * * * *");
  const Decision end = plan.planner.after_run(noon, noon + 1s, noon + 10s, Overlap::skip);
  EXPECT_FALSE(end.run);
  EXPECT_EQ(end.passed_over, 0);
  EXPECT_EQ(end.accounted, noon);
  EXPECT_EQ(end.next, noon + 1min);
}

TEST(Planner, SlotsFromBeforeTheRunAreNotOverlaps) {
  const Plan plan("* * * * *"); // it began late: 12:01 was missed already
  const Decision end = plan.planner.after_run(noon, noon + 61s, noon + 3min, Overlap::skip);
  EXPECT_FALSE(end.run);
  EXPECT_EQ(end.accounted, noon);
  EXPECT_EQ(end.next, noon + 1min);
}

TEST(Planner, OneMomentIsOneRun) {
  const Plan plan("at 2026-06-01 12:30");
  const Decision due = plan.planner.due(noon, noon + 30min, Missed::once, 1);
  EXPECT_EQ(due.run, noon + 30min);
  EXPECT_FALSE(due.next);
  EXPECT_FALSE(plan.planner.after_run(due.accounted, noon + 30min, noon + 2h, Overlap::skip).next);
  EXPECT_EQ(plan.planner.due(noon, noon + days(3), Missed::once, 1).run, noon + 30min) << "late, but once";
  EXPECT_FALSE(plan.planner.due(noon, noon + days(3), Missed::skip, 1).run);
}

TEST(Planner, RetryDelay) {
  EXPECT_DOUBLE_EQ(retry_delay(10s, 1, 0.5).count(), 10);
  EXPECT_DOUBLE_EQ(retry_delay(10s, 2, 0.5).count(), 20);
  EXPECT_DOUBLE_EQ(retry_delay(10s, 4, 0.5).count(), 80);
  EXPECT_DOUBLE_EQ(retry_delay(10s, 400, 0.5).count(), 3600);
  EXPECT_DOUBLE_EQ(retry_delay(2h, 3, 0.5).count(), 7200);
  EXPECT_DOUBLE_EQ(retry_delay(10s, 1, 0.0).count(), 7.5);
  EXPECT_LT(retry_delay(10s, 1, 0.999).count(), 12.5);
}

TEST(Planner, PolicyNames) {
  EXPECT_EQ(overlap_policy("queue"), Overlap::queue);
  EXPECT_FALSE(overlap_policy("Queue"));
  EXPECT_EQ(missed_policy("all"), Missed::all);
  EXPECT_FALSE(missed_policy(""));
}
