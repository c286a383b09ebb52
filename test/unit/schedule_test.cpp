#include "core/schedule/schedule.h"

#include <gtest/gtest.h>

#include "libc_zone.h"

using namespace dbops::core;
using namespace dbops::test;
using namespace std::chrono;
using namespace std::chrono_literals;

namespace {

sys_seconds utc(int y, unsigned m, unsigned d, int hour = 0, int minute = 0, int second = 0) {
  return sys_days(year(y) / month(m) / day(d)) + hours(hour) + minutes(minute) + seconds(second);
}

std::string text_of(sys_seconds instant) {
  const auto date = floor<days>(instant);
  const year_month_day ymd(date);
  const hh_mm_ss time(instant - date);
  char buffer[64];
  (void)snprintf(buffer, sizeof buffer, "%04d-%02u-%02u %02d:%02d:%02d", static_cast<int>(ymd.year()),
                 static_cast<unsigned>(ymd.month()), static_cast<unsigned>(ymd.day()),
                 static_cast<int>(time.hours().count()), static_cast<int>(time.minutes().count()),
                 static_cast<int>(time.seconds().count()));
  return buffer;
}

Schedule schedule(std::string_view text) {
  ScheduleError error{};
  auto parsed = Schedule::parse(text, error);
  EXPECT_TRUE(parsed) << text << ": at " << error.position << " expected " << error.expected;
  if (!parsed) parsed = Schedule::parse("@daily", error);
  return *parsed;
}

// The next slots after a moment, as UTC.
std::vector<std::string> runs(std::string_view text, sys_seconds after, int count, const TimeZone& zone = Utc()) {
  const Schedule parsed = schedule(text);
  std::vector<std::string> found;
  for (int i = 0; i < count; ++i) {
    const auto next = parsed.next(after, zone, utc(2026, 1, 1));
    if (!next) break;
    EXPECT_GT(*next, after);
    after = *next;
    found.push_back(text_of(after));
  }
  return found;
}
using Runs = std::vector<std::string>;

void refused(std::string_view text, std::size_t position, std::string_view expected) {
  ScheduleError error{};
  EXPECT_FALSE(Schedule::parse(text, error)) << text;
  EXPECT_EQ(error.position, position) << text << ": " << error.expected;
  EXPECT_NE(error.expected.find(expected), std::string::npos) << text << ": " << error.expected;
}

const sys_seconds start = utc(2026, 1, 1); // a Thursday

} // namespace

TEST(Schedule, EveryFormOfAField) {
  EXPECT_EQ(runs("* * * * *", start, 2), (Runs{"2026-01-01 00:01:00", "2026-01-01 00:02:00"}));
  EXPECT_EQ(runs("*/20 * * * *", start, 3),
            (Runs{"2026-01-01 00:20:00", "2026-01-01 00:40:00", "2026-01-01 01:00:00"}));
  EXPECT_EQ(runs("5 4 * * *", start, 2), (Runs{"2026-01-01 04:05:00", "2026-01-02 04:05:00"}));
  EXPECT_EQ(runs("10-12 0 1 1 *", start, 4),
            (Runs{"2026-01-01 00:10:00", "2026-01-01 00:11:00", "2026-01-01 00:12:00", "2027-01-01 00:10:00"}));
  EXPECT_EQ(runs("10-40/15 0 * * *", start, 4),
            (Runs{"2026-01-01 00:10:00", "2026-01-01 00:25:00", "2026-01-01 00:40:00", "2026-01-02 00:10:00"}));
  EXPECT_EQ(runs("0,30,15 12 * * *", start, 3),
            (Runs{"2026-01-01 12:00:00", "2026-01-01 12:15:00", "2026-01-01 12:30:00"}));
  EXPECT_EQ(runs("0 0 1,15-17,*/20 * *", start, 5),
            (Runs{"2026-01-15 00:00:00", "2026-01-16 00:00:00", "2026-01-17 00:00:00", "2026-01-21 00:00:00",
                  "2026-02-01 00:00:00"}));
  EXPECT_EQ(runs("30 5 * * * *", start, 2), (Runs{"2026-01-01 00:05:30", "2026-01-01 01:05:30"})) << "six fields";
  EXPECT_EQ(runs("*/25 * * * * *", start, 3),
            (Runs{"2026-01-01 00:00:25", "2026-01-01 00:00:50", "2026-01-01 00:01:00"}));
  EXPECT_EQ(runs("  0\t 6  *   * * ", start, 1), (Runs{"2026-01-01 06:00:00"})) << "white space";
}

TEST(Schedule, Names) {
  EXPECT_EQ(runs("0 0 1 feb,JUNE *", start, 2), (Runs{"2026-02-01 00:00:00", "2026-06-01 00:00:00"}));
  EXPECT_EQ(runs("0 0 1 nov-Feb *", start, 3),
            (Runs{"2026-02-01 00:00:00", "2026-11-01 00:00:00", "2026-12-01 00:00:00"}));
  EXPECT_EQ(runs("0 0 * * Mon", start, 1), (Runs{"2026-01-05 00:00:00"}));
  EXPECT_EQ(runs("0 0 * * 0", start, 1), (Runs{"2026-01-04 00:00:00"}));
  EXPECT_EQ(runs("0 0 * * 7", start, 1), (Runs{"2026-01-04 00:00:00"})) << "Sunday, too";
  EXPECT_EQ(runs("0 0 * * sunday", start, 1), (Runs{"2026-01-04 00:00:00"}));
}

TEST(Schedule, RangesGoOverTheEnd) {
  EXPECT_EQ(runs("0 0 * * fri-mon", start, 5),
            (Runs{"2026-01-02 00:00:00", "2026-01-03 00:00:00", "2026-01-04 00:00:00", "2026-01-05 00:00:00",
                  "2026-01-09 00:00:00"}));
  EXPECT_EQ(runs("0 0 * * 5-7", start, 4),
            (Runs{"2026-01-02 00:00:00", "2026-01-03 00:00:00", "2026-01-04 00:00:00", "2026-01-09 00:00:00"}));
  EXPECT_EQ(runs("0 0 * * 7-1", start, 3), (Runs{"2026-01-04 00:00:00", "2026-01-05 00:00:00", "2026-01-11 00:00:00"}));
  EXPECT_EQ(runs("0 0 * * 7-7", start, 2), (Runs{"2026-01-04 00:00:00", "2026-01-11 00:00:00"}));
  EXPECT_EQ(runs("0 0 * * 0-7", start, 2), (Runs{"2026-01-02 00:00:00", "2026-01-03 00:00:00"}));
  EXPECT_EQ(runs("0 22-2/2 * * *", start, 4),
            (Runs{"2026-01-01 02:00:00", "2026-01-01 22:00:00", "2026-01-02 00:00:00", "2026-01-02 02:00:00"}));
  EXPECT_EQ(runs("0 0 30-2 * *", start, 5), (Runs{"2026-01-02 00:00:00", "2026-01-30 00:00:00", "2026-01-31 00:00:00",
                                                  "2026-02-01 00:00:00", "2026-02-02 00:00:00"}));
}

TEST(Schedule, LastDayOfTheMonth) {
  const Runs last{"2026-01-31 00:00:00", "2026-02-28 00:00:00", "2026-03-31 00:00:00"};
  EXPECT_EQ(runs("0 0 L * *", start, 3), last);
  EXPECT_EQ(runs("0 0 l * *", start, 3), last);
  EXPECT_EQ(runs("0 0 $ * *", start, 3), last);
  EXPECT_EQ(runs("0 0 L feb *", utc(2028, 1, 1), 1), (Runs{"2028-02-29 00:00:00"})) << "a leap year";
  EXPECT_EQ(runs("0 0 15,L * *", start, 3),
            (Runs{"2026-01-15 00:00:00", "2026-01-31 00:00:00", "2026-02-15 00:00:00"}));
}

TEST(Schedule, DayOfMonthAndDayOfWeek) {
  EXPECT_EQ(runs("0 0 13 * fri", start, 3), (Runs{"2026-01-02 00:00:00", "2026-01-09 00:00:00", "2026-01-13 00:00:00"}))
      << "either";
  EXPECT_EQ(runs("0 0 */2 * mon", start, 2), (Runs{"2026-01-05 00:00:00", "2026-01-19 00:00:00"}))
      << "both, with a star";
  EXPECT_EQ(runs("0 0 30 2 mon", start, 2), (Runs{"2026-02-02 00:00:00", "2026-02-09 00:00:00"}))
      << "the other one is enough";
}

TEST(Schedule, RareDays) {
  EXPECT_EQ(runs("0 0 29 2 *", start, 2), (Runs{"2028-02-29 00:00:00", "2032-02-29 00:00:00"}));
  EXPECT_EQ(runs("0 0 29 2 *", utc(2096, 3, 1), 1), (Runs{"2104-02-29 00:00:00"})) << "2100 is no leap year";
}

TEST(Schedule, Macros) {
  EXPECT_EQ(runs("@hourly", start, 1), (Runs{"2026-01-01 01:00:00"}));
  EXPECT_EQ(runs("@daily", start, 1), (Runs{"2026-01-02 00:00:00"}));
  EXPECT_EQ(runs("@midnight", start, 1), (Runs{"2026-01-02 00:00:00"}));
  EXPECT_EQ(runs("@weekly", start, 1), (Runs{"2026-01-04 00:00:00"}));
  EXPECT_EQ(runs("@Monthly", start, 1), (Runs{"2026-02-01 00:00:00"}));
  EXPECT_EQ(runs("@yearly", start, 2), (Runs{"2027-01-01 00:00:00", "2028-01-01 00:00:00"}));
  EXPECT_EQ(runs("@annually", start, 1), (Runs{"2027-01-01 00:00:00"}));
}

TEST(Schedule, IntervalsDoNotDrift) {
  EXPECT_EQ(runs("every 90 seconds", start, 3),
            (Runs{"2026-01-01 00:01:30", "2026-01-01 00:03:00", "2026-01-01 00:04:30"}));
  EXPECT_EQ(runs("every 90 seconds", start + 100s, 1), (Runs{"2026-01-01 00:03:00"}))
      << "a late look does not move the slots";
  EXPECT_EQ(runs("every 1 minute", start - 30s, 2), (Runs{"2026-01-01 00:00:00", "2026-01-01 00:01:00"}))
      << "before the anchor as well";
  EXPECT_EQ(runs("Every 15 Minutes", start, 1), (Runs{"2026-01-01 00:15:00"}));
  EXPECT_EQ(runs("every minute", start, 1), (Runs{"2026-01-01 00:01:00"}));
  EXPECT_EQ(runs("every 2hours", start, 1), (Runs{"2026-01-01 02:00:00"}));
  EXPECT_EQ(runs("every 1 day", start, 1), (Runs{"2026-01-02 00:00:00"}));
  EXPECT_EQ(runs("every 2 weeks", start, 1), (Runs{"2026-01-15 00:00:00"}));
  EXPECT_EQ(runs("every 3650 days", start, 1), (Runs{"2035-12-30 00:00:00"}));
  EXPECT_EQ(runs("every second", start, 1), (Runs{"2026-01-01 00:00:01"}));
}

TEST(Schedule, OneMoment) {
  EXPECT_EQ(runs("at 2026-03-01 04:05", start, 3), (Runs{"2026-03-01 04:05:00"}));
  EXPECT_EQ(runs("at 2026-03-01T04:05:06", start, 1), (Runs{"2026-03-01 04:05:06"}));
  EXPECT_EQ(runs("at 2026-03-01 04:05:06Z", start, 1, LibcZone(berlin)), (Runs{"2026-03-01 04:05:06"}));
  EXPECT_EQ(runs("at 2026-03-01 04:05+05:30", start, 1), (Runs{"2026-02-28 22:35:00"}));
  EXPECT_EQ(runs("at 2026-03-01 04:05 -0330", start, 1), (Runs{"2026-03-01 07:35:00"}));
  EXPECT_EQ(runs("at 2026-03-01 04:05-03", start, 1), (Runs{"2026-03-01 07:05:00"}));
  EXPECT_EQ(runs("AT 2026-07-01 04:05", start, 1, LibcZone(berlin)), (Runs{"2026-07-01 02:05:00"})) << "local time";
  EXPECT_EQ(runs("at 2025-03-01 04:05", start, 1), Runs{}) << "it is over";
  EXPECT_EQ(runs("at 2026-03-29 02:30", start, 1, LibcZone(berlin)), (Runs{"2026-03-29 01:00:00"})) << "does not exist";
  EXPECT_EQ(runs("at 2026-10-25 02:30", start, 1, LibcZone(berlin)), (Runs{"2026-10-25 00:30:00"})) << "comes twice";
}

TEST(Schedule, WhatIsWrongAndWhere) {
  refused("", 0, "cron fields");
  refused("   ", 3, "cron fields");
  refused("0 0 * *", 7, "five fields");
  refused("0 0 * * * * *", 12, "the end");
  refused("0 0 * * * rubbish", 10, "day from 0");
  refused("60 * * * *", 0, "minute from 0 to 59");
  refused("0 24 * * *", 2, "hour from 0 to 23");
  refused("0 0 0 * *", 4, "day from 1 to 31");
  refused("0 0 32 * *", 4, "day from 1 to 31");
  refused("0 0 * 13 *", 6, "month from 1 to 12");
  refused("0 0 * foo *", 6, "month");
  refused("0 0 * janu *", 6, "month");
  refused("0 0 * * 8", 8, "day from 0 (Sunday) to 7");
  refused("0 0 * * 5#2", 9, "or the end of the field");
  refused("5;30 * * * *", 1, "or the end of the field");
  refused("0 0 * * 5L", 9, "or the end of the field");
  refused("0 0 ? * *", 4, "day from 1 to 31");
  refused("0 0 15W * *", 6, "or the end of the field");
  refused("1/20 * * * *", 1, "or the end of the field");
  refused("1, 2 * * * *", 2, "from 0 to 59");
  refused("1,,2 * * * *", 2, "minute");
  refused("-5 * * * *", 0, "minute");
  refused("5- * * * *", 2, "minute");
  refused("5-70 * * * *", 2, "minute");
  refused("*/0 * * * *", 2, "step from 1 to 59");
  refused("*/60 * * * *", 2, "step from 1 to 59");
  refused("*/ * * * *", 2, "step");
  refused("* */24 * * *", 4, "step from 1 to 23");
  refused("0-5/x * * * *", 4, "step");
  refused("99999999999999999999 * * * *", 0, "minute");
  refused("0 0 L-1 * *", 5, "or the end of the field");
  refused("L 0 * * *", 0, "minute");
  refused("61 * * *", 0, "minute");
  refused("@reboot", 1, "hourly, daily");
  refused("@", 1, "hourly, daily");
  refused("@daily 5", 6, "the end");
  refused("hourly", 0, "cron fields");
  refused("every", 0, "cron fields");
  refused("every fortnight", 6, "seconds, minutes");
  refused("every 0 minutes", 6, "a number of");
  refused("every -1 minutes", 6, "seconds, minutes");
  refused("every 1.5 hours", 7, "seconds, minutes");
  refused("every 5", 7, "seconds, minutes");
  refused("every 5 minutes past", 15, "the end");
  refused("every 3651 days", 6, "up to 3650 days");
  refused("every 99999999999 days", 15, "seconds, minutes");
  refused("at", 0, "cron fields");
  refused("at noon", 3, "a date");
  refused("at 2026-02-29 00:00", 3, "a date that there is");
  refused("at 2026-1-1 00:00", 3, "a date YYYY");
  refused("at 1969-12-31 00:00", 3, "from 1970");
  refused("at 2026-01-01", 13, "a time");
  refused("at 2026-01-01 24:00", 14, "a time from 00:00");
  refused("at 2026-01-01 10:00:60", 20, "seconds");
  refused("at 2026-01-01 10:00 CET", 20, "Z, +HH:MM");
  refused("at 2026-01-01 10:00+17", 19, "an offset");
  refused("at 2026-01-01 10:00Z later", 20, "the end");
  refused("TZ=UTC 0 0 * * *", 0, "cron fields");
}

TEST(Schedule, WhatNeverComesIsRefused) {
  refused("0 0 31 2 *", 4, "never comes");
  refused("0 0 30 feb *", 4, "never comes");
  refused("0 0 31 4,6,9,11 *", 4, "never comes");
  refused("0 0 0 31 2 */2", 6, "never comes");
}

TEST(Schedule, ClocksSetForward) {
  const LibcZone zone(berlin); // 2026-03-29 02:00 becomes 03:00, 01:00 UTC
  EXPECT_EQ(runs("30 2 * * *", utc(2026, 3, 28, 12), 2, zone), (Runs{"2026-03-29 01:00:00", "2026-03-30 00:30:00"}));
  EXPECT_EQ(runs("0,15,30 2 * * *", utc(2026, 3, 28, 12), 2, zone),
            (Runs{"2026-03-29 01:00:00", "2026-03-30 00:00:00"}))
      << "together, once";
  EXPECT_EQ(runs("0 3 * * *", utc(2026, 3, 28, 12), 2, zone), (Runs{"2026-03-29 01:00:00", "2026-03-30 01:00:00"}));
  EXPECT_EQ(runs("30 2,3 * * *", utc(2026, 3, 28, 12), 2, zone), (Runs{"2026-03-29 01:00:00", "2026-03-29 01:30:00"}));
  EXPECT_EQ(runs("30 2 * * *", utc(2026, 3, 29, 1), 1, zone), (Runs{"2026-03-30 00:30:00"}))
      << "seen from that instant it is over";
  EXPECT_EQ(runs("*/30 * * * *", utc(2026, 3, 29, 0, 30), 2, zone),
            (Runs{"2026-03-29 01:00:00", "2026-03-29 01:30:00"}));
}

TEST(Schedule, ClocksSetBack) {
  const LibcZone zone(berlin); // 2026-10-25 03:00 becomes 02:00, 01:00 UTC
  EXPECT_EQ(runs("30 2 * * *", utc(2026, 10, 24, 12), 2, zone), (Runs{"2026-10-25 00:30:00", "2026-10-26 01:30:00"}))
      << "once";
  EXPECT_EQ(runs("*/30 1-3 * * *", utc(2026, 10, 24, 23, 40), 3, zone),
            (Runs{"2026-10-25 00:00:00", "2026-10-25 00:30:00", "2026-10-25 02:00:00"}));
  EXPECT_EQ(runs("30 2 * * *", utc(2026, 10, 25, 1, 10), 1, zone), (Runs{"2026-10-26 01:30:00"}))
      << "seen from between the two";
  EXPECT_EQ(runs("30 * * * *", utc(2026, 10, 25, 0, 0), 3, zone),
            (Runs{"2026-10-25 00:30:00", "2026-10-25 01:30:00", "2026-10-25 02:30:00"}))
      << "each hour of time";
}

TEST(Schedule, HalfAnHour) {
  const LibcZone zone(lord_howe); // 2026-10-04 02:00 becomes 02:30, 2026-10-03 15:30 UTC
  EXPECT_EQ(runs("15 2 * * *", utc(2026, 10, 3), 2, zone), (Runs{"2026-10-03 15:30:00", "2026-10-04 15:15:00"}));
  EXPECT_EQ(runs("45 1 * * *", utc(2026, 4, 4), 2, zone), (Runs{"2026-04-04 14:45:00", "2026-04-05 15:15:00"}))
      << "set back from 02:00 to 01:30";
}

TEST(Schedule, ADayThatDidNotExist) {
  const OneChange samoa(-10h, utc(2011, 12, 30, 10), 14h); // over the date line: no 30 December
  EXPECT_EQ(runs("0 12 30 12 *", utc(2011, 12, 1), 1, samoa), (Runs{"2011-12-30 10:00:00"}));
  EXPECT_EQ(runs("0 12 * * *", utc(2011, 12, 29), 3, samoa),
            (Runs{"2011-12-29 22:00:00", "2011-12-30 10:00:00", "2011-12-30 22:00:00"}));
}

TEST(Schedule, ADayThatCameTwice) {
  const OneChange back(14h, utc(2020, 5, 10, 10), -10h);
  EXPECT_EQ(runs("0 12 * * *", utc(2020, 5, 9), 3, back),
            (Runs{"2020-05-09 22:00:00", "2020-05-11 22:00:00", "2020-05-12 22:00:00"}));
}

TEST(Schedule, FirstInstant) {
  const LibcZone zone(berlin);
  const auto local = [](sys_seconds t) { return local_seconds(t.time_since_epoch()); };
  EXPECT_EQ(first_instant(local(utc(2026, 6, 1, 12)), zone), utc(2026, 6, 1, 10));
  EXPECT_EQ(first_instant(local(utc(2026, 3, 29, 2)), zone), utc(2026, 3, 29, 1));
  EXPECT_EQ(first_instant(local(utc(2026, 3, 29, 2, 59, 59)), zone), utc(2026, 3, 29, 1));
  EXPECT_EQ(first_instant(local(utc(2026, 10, 25, 2)), zone), utc(2026, 10, 25, 0));
  EXPECT_EQ(first_instant(local(utc(2026, 10, 25, 3)), zone), utc(2026, 10, 25, 2));
}
