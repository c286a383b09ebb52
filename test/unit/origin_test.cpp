#include "core/lifecycle/origin.h"

#include "core/lifecycle/clock_record.h"

#include "temporary_directory.h"

#include <gtest/gtest.h>

namespace {

using dbops::core::ClockRecord;
using dbops::core::objection;
using dbops::core::observe;
using dbops::core::Origin;

const Origin known{.system = 7, .timeline = 1, .instance = "a", .boot = "b", .clock = 1'000'000, .uptime = 500};

Origin after(double clock, double uptime) {
  Origin now = known;
  now.clock += clock;
  now.uptime += uptime;
  return now;
}

TEST(Origin, TimePasses) {
  EXPECT_EQ(objection(known, known), "");
  EXPECT_EQ(objection(known, after(86'400, 86'400)), "");
  EXPECT_EQ(objection(known, after(86'400 + 299, 86'400)), "");
}

TEST(Origin, ClockLeapsForward) {
  EXPECT_EQ(objection(known, after(86'400 + 301, 86'400)), "the clock was set forward by 301 s since the last run");
}

TEST(Origin, ClockSetBackIsNoObjection) {
  EXPECT_EQ(objection(known, after(-86'400, 10)), "");
}

TEST(Origin, AfterARebootWhatWasNotedOfTheClockCounts) {
  Origin now = after(86'400, -400);
  now.boot = "c";
  EXPECT_EQ(objection(known, now), "");
  now.boot = "";
  EXPECT_EQ(objection(known, now), "");
  now.ahead = 40.0 * 86'400;
  EXPECT_EQ(objection(known, now),
            "the server was down for 960 hours when the machine was started again, or the clock was set forward");
  now.ahead = -40.0 * 86'400;
  EXPECT_EQ(objection(known, now), "");
}

const ClockRecord seen{.boot = "b", .clock = 1'000'000, .uptime = 500, .ahead = 7};

ClockRecord seen_later(const char* boot, double clock, double uptime) {
  return observe(seen, {.boot = boot, .clock = seen.clock + clock, .uptime = uptime});
}

TEST(ClockRecord, WithoutOneNothingIsKnown) {
  EXPECT_EQ(observe(std::nullopt, seen).ahead, 0);
  EXPECT_EQ(observe(std::nullopt, seen).clock, seen.clock);
  EXPECT_EQ(seen_later("", 1e9, 1).ahead, 7);
}

TEST(ClockRecord, WithinABootEachLeapCounts) {
  EXPECT_DOUBLE_EQ(seen_later("b", 3600, 4100).ahead, 7);
  EXPECT_DOUBLE_EQ(seen_later("b", 3600 + 90, 4100).ahead, 97);
  const ClockRecord ahead = seen_later("b", 3600 + 86'400, 4100);
  EXPECT_DOUBLE_EQ(observe(ahead, {.boot = "b", .clock = seen.clock + 7200, .uptime = 7700}).ahead, 7);
}

TEST(ClockRecord, BetweenTwoBootsALongAbsenceCounts) {
  EXPECT_DOUBLE_EQ(seen_later("c", 86'000, 100).ahead, 7);
  EXPECT_DOUBLE_EQ(seen_later("c", -80'000, 100).ahead, 7);
  EXPECT_DOUBLE_EQ(seen_later("c", 40 * 86'400 + 100, 100).ahead, 40 * 86'400 + 7);
  // Wrong at one start and right at the next one.
  const ClockRecord wrong = seen_later("c", 40 * 86'400 + 100, 100);
  EXPECT_DOUBLE_EQ(observe(wrong, {.boot = "d", .clock = seen.clock + 200, .uptime = 100}).ahead, 7);
}

TEST(ClockRecord, WhatWasWrongAtTheStartIsSetRightAfterwards) {
  // Two hours behind without a clock of its own, and then right; the same at each start.
  ClockRecord record = seen;
  double clock = seen.clock;
  for (const char* boot : {"c", "d", "e"}) {
    clock += 60;
    record = observe(record, {.boot = boot, .clock = clock - 7200, .uptime = 60});
    clock += 60;
    record = observe(record, {.boot = boot, .clock = clock, .uptime = 120});
    EXPECT_DOUBLE_EQ(record.ahead, 7) << boot;
  }
  // Two hours ahead, and set back: nothing that a later leap could be set off against.
  clock += 60;
  record = observe(record, {.boot = "f", .clock = clock + 7200, .uptime = 60});
  clock += 60;
  record = observe(record, {.boot = "f", .clock = clock, .uptime = 120});
  EXPECT_DOUBLE_EQ(record.ahead, 7);
  clock += 60;
  record = observe(record, {.boot = "f", .clock = clock + 7200, .uptime = 180});
  EXPECT_DOUBLE_EQ(record.ahead, 7207);
  // An absence explains no leap in the same direction.
  const ClockRecord away = seen_later("c", 36'000, 100);
  EXPECT_DOUBLE_EQ(observe(away, {.boot = "c", .clock = seen.clock + 36'100 + 7200, .uptime = 200}).ahead, 7207);
}

TEST(ClockRecord, IsReadAsWritten) {
  dbops::core::TemporaryDirectory place;
  EXPECT_FALSE(dbops::core::read_clock_record(place.path()));
  for (const char* boot : {"0c6f-4711", ""}) {
    dbops::core::write_clock_record(
        place.path(), {.boot = boot, .clock = 1'795'000'000.25, .uptime = 3.5, .ahead = -86'400.5, .unsure = 9.5});
    const auto read = dbops::core::read_clock_record(place.path());
    ASSERT_TRUE(read);
    EXPECT_EQ(read->boot, boot);
    EXPECT_DOUBLE_EQ(read->clock, 1'795'000'000.25);
    EXPECT_DOUBLE_EQ(read->uptime, 3.5);
    EXPECT_DOUBLE_EQ(read->ahead, -86'400.5);
    EXPECT_DOUBLE_EQ(read->unsure, 9.5);
  }
}

TEST(Origin, AnotherServer) {
  Origin now = known;
  now.timeline = 2;
  EXPECT_NE(objection(known, now).find("timeline 2"), std::string::npos);
  now = known;
  now.instance = "z";
  EXPECT_NE(objection(known, now).find("data directory"), std::string::npos);
  now = known;
  now.system = 8;
  EXPECT_NE(objection(known, now).find("another cluster"), std::string::npos);
}

} // namespace
