// The recovery target as somebody types it: time zones, changes of clocks, and what is no time.
#include "core/backup/target_time.h"

#include "core/base/error.h"
#include "libc_zone.h"

#include <gtest/gtest.h>

#include <map>
#include <vector>

namespace dbops::core {
namespace {

using namespace std::chrono;

// What PostgreSQL is given for it; or why it is refused.
std::string target(std::string_view text, const TimeZone& zone = Utc()) {
  try {
    return target_time_text(parse_target_time(text, zone));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::configuration);
    const std::string message = error.what();
    return message.substr(text.size() + 3) + (error.hint().empty() ? "" : " | " + error.hint());
  }
}

TEST(TargetTime, WithAnOffset) {
  const test::LibcZone zone(test::kolkata); // of no account
  EXPECT_EQ(target("2026-11-21 14:32:01Z", zone), "2026-11-21 14:32:01.000000+00");
  EXPECT_EQ(target("2026-11-21T14:32:01Z", zone), "2026-11-21 14:32:01.000000+00");
  EXPECT_EQ(target("2026-11-21 14:32:01 UTC", zone), "2026-11-21 14:32:01.000000+00");
  EXPECT_EQ(target("2026-11-21 14:32:01+01", zone), "2026-11-21 13:32:01.000000+00");
  EXPECT_EQ(target("2026-11-21 14:32:01 +05:30", zone), "2026-11-21 09:02:01.000000+00");
  EXPECT_EQ(target("2026-11-21 14:32:01+0530", zone), "2026-11-21 09:02:01.000000+00");
  EXPECT_EQ(target("2026-11-21 14:32:01-03:30", zone), "2026-11-21 18:02:01.000000+00");
  EXPECT_EQ(target("2027-01-01 00:30:00+01", zone), "2026-12-31 23:30:00.000000+00");
  EXPECT_EQ(target("2028-02-29 23:00:00-08", zone), "2028-03-01 07:00:00.000000+00");
}

TEST(TargetTime, Fractions) {
  EXPECT_EQ(target("2026-11-21 14:32:01.5Z"), "2026-11-21 14:32:01.500000+00");
  EXPECT_EQ(target("2026-11-21 14:32:01.000001Z"), "2026-11-21 14:32:01.000001+00");
  EXPECT_EQ(target("2026-11-21 14:32:01.123456789Z"), "2026-11-21 14:32:01.123456+00");
  EXPECT_EQ(target("2026-11-21 14:32:01.999999"), "2026-11-21 14:32:01.999999+00");
}

TEST(TargetTime, InTheZoneOfTheMachine) {
  EXPECT_EQ(target("2026-11-21 14:32:01", test::LibcZone(test::berlin)), "2026-11-21 13:32:01.000000+00");
  EXPECT_EQ(target("2026-07-21 14:32:01", test::LibcZone(test::berlin)), "2026-07-21 12:32:01.000000+00");
  EXPECT_EQ(target("2026-07-21 14:32:01.25", test::LibcZone(test::kolkata)), "2026-07-21 09:02:01.250000+00");
  EXPECT_EQ(target("2026-12-31 20:00:00", test::LibcZone(test::new_york)), "2027-01-01 01:00:00.000000+00");
}

TEST(TargetTime, WhenClocksArePutForward) {
  const test::LibcZone zone(test::berlin);
  EXPECT_EQ(target("2026-03-29 01:59:59", zone), "2026-03-29 00:59:59.000000+00");
  for (const char* text : {"2026-03-29 02:00:00", "2026-03-29 02:59:59.5"})
    EXPECT_EQ(target(text, zone), "was never, as clocks were put forward then | Give an offset, as in 2026-11-21 "
                                  "14:32:01+01, or Z.");
  EXPECT_EQ(target("2026-03-29 03:00:00", zone), "2026-03-29 01:00:00.000000+00");
  EXPECT_EQ(target("2026-03-29 02:30:00+01", zone), "2026-03-29 01:30:00.000000+00") << "an offset says it all";
}

TEST(TargetTime, WhenClocksArePutBack) {
  const test::LibcZone zone(test::berlin);
  EXPECT_EQ(target("2026-10-25 01:59:59", zone), "2026-10-24 23:59:59.000000+00");
  EXPECT_EQ(target("2026-10-25 02:30:00", zone),
            "was twice, as clocks were put back then | It is 2026-10-25 00:30:00.000000+00 or 2026-10-25 "
            "01:30:00.000000+00: give one of these.");
  EXPECT_EQ(target("2026-10-25 03:00:00", zone), "2026-10-25 02:00:00.000000+00");
  EXPECT_EQ(target("2026-10-25 02:30:00+02", zone), "2026-10-25 00:30:00.000000+00");
  EXPECT_EQ(target("2026-10-25 02:30:00+01", zone), "2026-10-25 01:30:00.000000+00");
}

// A day that never was: from ten hours behind UTC to fourteen before it.
TEST(TargetTime, ADateLine) {
  const sys_seconds change = sys_days(2011y / 12 / 30) + hours(10);
  const test::OneChange samoa(-hours(10), change, hours(14));
  EXPECT_EQ(target("2011-12-29 23:59:59", samoa), "2011-12-30 09:59:59.000000+00");
  EXPECT_EQ(target("2011-12-30 12:00:00", samoa).substr(0, 9), "was never");
  EXPECT_EQ(target("2011-12-31 00:00:00", samoa), "2011-12-30 10:00:00.000000+00");
}

// Every local time of a year against all instants that show it.
TEST(TargetTime, AsTheClocksOfAllInstants) {
  for (const char* posix :
       {test::berlin, test::new_york, test::lord_howe, test::santiago, test::kolkata, test::dublin, test::chatham}) {
    const test::LibcZone zone(posix);
    std::map<local_seconds, std::vector<sys_seconds>> shown;
    constexpr auto step = minutes(15);
    const sys_seconds begin = sys_days(2026y / 1 / 1), end = sys_days(2027y / 1 / 1);
    for (sys_seconds at = begin - days(2); at < end + days(2); at += step)
      shown[local_seconds(at.time_since_epoch() + zone.period_at(at).offset)].push_back(at);
    int never = 0, twice = 0;
    for (local_seconds local(begin.time_since_epoch()); local < local_seconds(end.time_since_epoch()); local += step) {
      const std::string text = target_time_text(WallTime(local.time_since_epoch())).substr(0, 19);
      const auto instants = shown.find(local);
      const std::string got = target(text, zone);
      if (instants == shown.end()) {
        ++never;
        ASSERT_EQ(got.substr(0, 9), "was never") << posix << " " << text;
      } else if (instants->second.size() == 2) {
        ++twice;
        ASSERT_NE(got.find(target_time_text(instants->second[0])), std::string::npos) << posix << " " << text;
        ASSERT_NE(got.find(target_time_text(instants->second[1])), std::string::npos) << posix << " " << text;
      } else {
        ASSERT_EQ(got, target_time_text(instants->second.front())) << posix << " " << text;
      }
    }
    EXPECT_EQ(never, twice) << posix;
    EXPECT_EQ(never, posix == test::kolkata ? 0 : posix == test::lord_howe ? 2 : 4) << posix;
  }
}

TEST(TargetTime, WhatIsNoTime) {
  for (const char* text : {"",
                           " ",
                           "now",
                           "yesterday",
                           "infinity",
                           "2026",
                           "2026-11-21",
                           "2026-11-21 ",
                           "2026-11-21 14:32",
                           "14:32:01",
                           "21.11.2026 14:32:01",
                           "2026/11/21 14:32:01",
                           "2026-11-21  14:32:01",
                           " 2026-11-21 14:32:01",
                           "2026-00-21 14:32:01",
                           "2026-13-21 14:32:01",
                           "2026-11-00 14:32:01",
                           "2026-11-31 14:32:01",
                           "2026-02-29 14:32:01",
                           "2026-11-21 24:00:00",
                           "2026-11-21 14:60:01",
                           "2026-11-21 14:32:60",
                           "2026-11-21 14:32:01.",
                           "2026-11-21 14:32:01.+01",
                           "2026-11-21 -1:32:01",
                           "1969-12-31 14:32:01",
                           "12026-11-21 14:32:01",
                           "2026-11-21 1:32:01",
                           "2026-11-21t14:32:01"})
    EXPECT_EQ(target(text), "is not a time like 2026-11-21 14:32:01+01") << text;
  for (const char* zone : {"+", "-", "+1", "+001", "+01:", "+01:3", "+01:60", "+16", "+99", "Europe/Berlin", "CET",
                           "+01x", "ZZ", "x", "+01 ", "+01:30:00", "--01"})
    EXPECT_EQ(target("2026-11-21 14:32:01" + std::string(zone)),
              "has a time zone that is not understood | Use an offset, as in 2026-11-21 14:32:01+01, or Z.")
        << zone;
}

} // namespace
} // namespace dbops::core
