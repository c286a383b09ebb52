#include "core/lifecycle/origin.h"

#include <gtest/gtest.h>

namespace {

using dbops::core::objection;
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

TEST(Origin, AfterARebootTheClockCannotBeJudged) {
  Origin now = after(86'400, -400);
  now.boot = "c";
  EXPECT_EQ(objection(known, now), "");
  now.boot = "";
  EXPECT_EQ(objection(known, now), "");
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
