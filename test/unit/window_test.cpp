#include "core/schedule/window.h"

#include <gtest/gtest.h>

#include <array>
#include <limits>
#include <random>

using namespace dbops::core;

namespace {

constexpr int week_minutes = 7 * 24 * 60;
constexpr int sun = 0, mon = 1, tue = 2, wed = 3, thu = 4, fri = 5, sat = 6;

LocalMinute at(int weekday, int hour, int minute) {
  return {weekday, hour * 60 + minute};
}
LocalMinute minute_of_week(int minute) {
  return {minute / 1440, minute % 1440};
}

Windows windows(std::string_view text) {
  WindowError error{};
  const auto parsed = Windows::parse(text, error);
  EXPECT_TRUE(parsed) << text << ": at " << error.position << " expected " << error.expected;
  return parsed.value_or(Windows());
}

} // namespace

TEST(Windows, EveryDay) {
  const auto open = windows("10:00-12:30");
  for (int day = sun; day <= sat; ++day) {
    EXPECT_FALSE(open.contains(at(day, 9, 59)));
    EXPECT_TRUE(open.contains(at(day, 10, 0)));
    EXPECT_TRUE(open.contains(at(day, 12, 29)));
    EXPECT_FALSE(open.contains(at(day, 12, 30)));
  }
  EXPECT_EQ(open.minutes_until_open(at(mon, 9, 0)), 60);
  EXPECT_EQ(open.minutes_until_open(at(sat, 12, 30)), 21 * 60 + 30);
  EXPECT_EQ(open.minutes_until_open(at(mon, 11, 0)), 0);
}

TEST(Windows, OverMidnight) {
  const auto open = windows("22:00-06:00");
  for (int day = sun; day <= sat; ++day) {
    EXPECT_TRUE(open.contains(at(day, 22, 0)));
    EXPECT_TRUE(open.contains(at(day, 23, 59)));
    EXPECT_TRUE(open.contains(at(day, 0, 0)));
    EXPECT_TRUE(open.contains(at(day, 5, 59)));
    EXPECT_FALSE(open.contains(at(day, 6, 0)));
    EXPECT_FALSE(open.contains(at(day, 21, 59)));
  }
}

TEST(Windows, OverMidnightBelongsToTheDayItBegins) {
  const auto open = windows("Fri 22:00-06:00");
  EXPECT_FALSE(open.contains(at(fri, 5, 0)));
  EXPECT_TRUE(open.contains(at(fri, 22, 0)));
  EXPECT_TRUE(open.contains(at(sat, 5, 59)));
  EXPECT_FALSE(open.contains(at(sat, 6, 0)));
  EXPECT_FALSE(open.contains(at(sat, 22, 0)));
  EXPECT_EQ(open.minutes_until_open(at(sat, 22, 0)), 6 * 1440);
}

TEST(Windows, OverTheEndOfTheWeek) {
  const auto open = windows("Sat 22:00-06:00");
  EXPECT_TRUE(open.contains(at(sat, 23, 59)));
  EXPECT_TRUE(open.contains(at(sun, 0, 0)));
  EXPECT_TRUE(open.contains(at(sun, 5, 59)));
  EXPECT_FALSE(open.contains(at(sun, 6, 0)));
  EXPECT_FALSE(open.contains(at(sun, 22, 0)));
  EXPECT_EQ(open.minutes_until_open(at(sun, 6, 0)), week_minutes - 8 * 60);
  EXPECT_EQ(open.minutes_until_open(at(sun, 3, 0)), 0);
}

TEST(Windows, RangesOfDaysGoOverTheWeekEnd) {
  const auto open = windows("Fri-Mon 08:00-09:00");
  for (const int day : {fri, sat, sun, mon})
    EXPECT_TRUE(open.contains(at(day, 8, 30))) << day;
  for (const int day : {tue, wed, thu})
    EXPECT_FALSE(open.contains(at(day, 8, 30))) << day;
  EXPECT_EQ(open.minutes_until_open(at(mon, 9, 0)), 4 * 1440 - 60);
}

TEST(Windows, TheExampleOfTheHeader) {
  const auto open = windows("Mon-Fri 20:00-24:00, Sat,Sun 00:00-24:00");
  EXPECT_FALSE(open.contains(at(mon, 19, 59)));
  EXPECT_TRUE(open.contains(at(mon, 20, 0)));
  EXPECT_TRUE(open.contains(at(fri, 23, 59)));
  EXPECT_FALSE(open.contains(at(tue, 0, 0)));
  for (int minute = 0; minute < 1440; ++minute) {
    EXPECT_TRUE(open.contains({sat, minute}));
    EXPECT_TRUE(open.contains({sun, minute}));
  }
  EXPECT_EQ(open.minutes_until_open(at(mon, 0, 0)), 20 * 60);
}

TEST(Windows, TheSameStartAndEndIsAWholeDay) {
  const auto open = windows("Wed 10:00-10:00");
  EXPECT_FALSE(open.contains(at(wed, 9, 59)));
  EXPECT_TRUE(open.contains(at(wed, 10, 0)));
  EXPECT_TRUE(open.contains(at(thu, 9, 59)));
  EXPECT_FALSE(open.contains(at(thu, 10, 0)));
  for (const char* text : {"00:00-24:00", "00:00-00:00", "13:00-13:00"})
    for (int minute = 0; minute < week_minutes; ++minute)
      EXPECT_TRUE(windows("00:00-24:00").contains(minute_of_week(minute))) << text;
}

TEST(Windows, WaysToWriteTheSame) {
  const auto reference = windows("Mon-Wed,Fri 08:00-09:30; Sun 00:00-01:00");
  for (const char* text :
       {"mon-wed,fri 08:00-09:30,sun 00:00-01:00", "MON-WED,FRI08:00-09:30;SUN00:00-01:00",
        "\t Monday - WEDNESDAY , friday\n8:00 - 9:30 ;\r\n Sunday 0:00 - 1:00 ",
        "Mon,Tue,Wed,Fri 08:00-09:30, Sun 00:00-01:00", "Sun 00:00-01:00; Fri 08:00-09:30; Mon-Wed 08:00-09:30",
        "Mon-Mon,Tue-Wed,Fri-Fri,Mon 08:00-09:30, Sun 00:00-01:00, Sun 00:30-00:31"}) {
    const auto same = windows(text);
    for (int minute = 0; minute < week_minutes; ++minute)
      ASSERT_EQ(same.minutes_until_open(minute_of_week(minute)), reference.minutes_until_open(minute_of_week(minute)))
          << text << " minute " << minute;
  }
}

TEST(Windows, EveryNameOfADay) {
  constexpr std::array names{"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
  for (int day = sun; day <= sat; ++day) {
    const std::string name = names[static_cast<std::size_t>(day)];
    for (const std::string& form : {name, name.substr(0, 3)}) {
      const auto open = windows(form + " 12:00-13:00");
      for (int other = sun; other <= sat; ++other)
        EXPECT_EQ(open.contains(at(other, 12, 0)), other == day) << form;
    }
  }
}

TEST(Windows, FaultsAreReportedWhereTheyAre) {
  struct Fault {
    std::string_view text;
    std::size_t position;
    std::string_view expected;
  };
  const std::string_view day = "a day such as Mon or Monday";
  const std::string_view window = "a day such as Mon or Monday, or a time HH:MM";
  const std::string_view start = "a time from 00:00 to 23:59";
  const std::string_view end = "a time from 00:00 to 24:00";
  const std::string_view minutes = "minutes from 00 to 59";
  const std::string_view colon = R"(":" and minutes)";
  const std::string_view dash = R"("-" and the end of the window)";
  const std::string_view more = R"("," or ";" and another window, or the end)";
  const Fault faults[]{
      {"", 0, window},
      {"   ", 3, window},
      {",", 0, window},
      {"10:00-11:00,", 12, window},
      {"10:00-11:00; ", 13, window},
      {"10:00-11:00,,12:00-13:00", 12, window},
      {"-10:00", 0, window},
      {"\xc3\xa9", 0, window},
      {std::string_view("\0", 1), 0, window},
      {"Foo 10:00-11:00", 0, day},
      {"Mo 10:00-11:00", 0, day},
      {"Tues 10:00-11:00", 0, day},
      {"Mon, 10:00-11:00", 5, day},
      {"Mon- 10:00-11:00", 5, day},
      {"Mon-Fry 10:00-11:00", 4, day},
      {"Mon-Wed-Fri 10:00-11:00", 7, start},
      {"Mon", 3, start},
      {"Mon,Tue ", 8, start},
      {"10:00-11:00, Tue", 16, start},
      {"Mon;Tue 10:00-11:00", 3, start},
      {"24:00-06:00", 0, start},
      {"Mon 25:00-26:00", 4, start},
      {"10-11", 2, colon},
      {"10", 2, colon},
      {"100:00-11:00", 2, colon},
      {"10 :00-11:00", 2, colon},
      {"10:-11:00", 3, minutes},
      {"10:0-11:00", 3, minutes},
      {"10:60-11:00", 3, minutes},
      {"10:00", 5, dash},
      {"10:000-11:00", 5, dash},
      {"10:00 11:00", 6, dash},
      {"10:00\xe2\x80\x93"
       "11:00",
       5, dash},
      {"10:00-", 6, end},
      {"10:00-Mon", 6, end},
      {"10:00-24:01", 6, end},
      {"10:00-99:00", 6, end},
      {"10:00-11:61", 9, minutes},
      {"10:00-11:00x", 11, more},
      {"10:00-11:00 12:00-13:00", 12, more},
      {"10:00-11:00-12:00", 11, more},
      {std::string_view("10:00-11:00\0", 12), 11, more},
  };
  for (const Fault& fault : faults) {
    WindowError error{999, "nothing was set"};
    EXPECT_FALSE(Windows::parse(fault.text, error)) << fault.text;
    EXPECT_EQ(error.position, fault.position) << fault.text;
    EXPECT_EQ(error.expected, fault.expected) << fault.text;
  }
}

TEST(Windows, NoWindowIsNeverOpen) {
  const Windows none;
  EXPECT_FALSE(none.contains(at(mon, 10, 0)));
  EXPECT_EQ(none.minutes_until_open(at(mon, 10, 0)), week_minutes);
}

TEST(Windows, TimesOutsideTheWeekAreFoldedIntoIt) {
  const auto open = windows("Sun 10:00-11:00");
  EXPECT_TRUE(open.contains({7, 10 * 60})); // ISO weekday of Sunday
  EXPECT_TRUE(open.contains({6, 1440 + 10 * 60}));
  EXPECT_TRUE(open.contains({1, 10 * 60 - 1440}));
  EXPECT_EQ(open.minutes_until_open({-7, 9 * 60}), 60);
  constexpr int most = std::numeric_limits<int>::max();
  constexpr int least = std::numeric_limits<int>::min();
  for (const LocalMinute now : {LocalMinute{most, most}, LocalMinute{least, least}})
    EXPECT_LT(open.minutes_until_open(now), week_minutes);
}

namespace {

// The slow truth: a flag for every minute of the week, set by walking each window minute by minute.
class Oracle {
 public:
  void open(int day, int start, int end) {
    int minute = start;
    int of_day = day;
    do {
      minutes_.at(static_cast<std::size_t>(of_day) * 1440 + static_cast<std::size_t>(minute)) = true;
      if (++minute == 1440) {
        minute = 0;
        of_day = of_day == sat ? sun : of_day + 1;
      }
    } while (minute != end % 1440);
  }
  [[nodiscard]] bool contains(int minute) const { return minutes_[static_cast<std::size_t>(minute)]; }
  [[nodiscard]] int minutes_until_open(int minute) const {
    int waited = 0;
    for (; !contains(minute); ++waited)
      minute = minute == week_minutes - 1 ? 0 : minute + 1;
    return waited;
  }

 private:
  std::array<bool, week_minutes> minutes_{};
};

std::string clock_text(int minute) {
  const std::string hour = std::to_string(minute / 60), rest = std::to_string(minute % 60);
  return (hour.size() < 2 ? "0" : "") + hour + ":" + (rest.size() < 2 ? "0" : "") + rest;
}

} // namespace

TEST(Windows, RandomWindowsAgainstASlowOracle) {
  constexpr std::array names{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  std::mt19937 random(3);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  for (int round = 0; round < 150; ++round) {
    Oracle oracle;
    std::string text;
    for (int count = 1 + below(4); count > 0; --count) {
      const int start = below(6) == 0 ? 0 : below(1440);
      const int end = below(6) == 0 ? 1440 : below(8) == 0 ? start : below(1441);
      int ranges = below(4); // 0: every day
      if (ranges == 0)
        for (int day = sun; day <= sat; ++day)
          oracle.open(day, start, end);
      for (; ranges > 0; --ranges) {
        const int first = below(7), length = below(7);
        for (int i = 0; i <= length; ++i)
          oracle.open((first + i) % 7, start, end);
        text += names[static_cast<std::size_t>(first)];
        if (length > 0) text += std::string("-") + names[static_cast<std::size_t>((first + length) % 7)];
        text += ranges > 1 ? "," : " ";
      }
      text += clock_text(start) + "-" + clock_text(end);
      if (count > 1) text += below(2) == 0 ? ", " : ";";
    }
    const auto open = windows(text);
    for (int minute = 0; minute < week_minutes; ++minute) {
      ASSERT_EQ(open.contains(minute_of_week(minute)), oracle.contains(minute)) << text << " minute " << minute;
      if (minute % 17 == 0) {
        ASSERT_EQ(open.minutes_until_open(minute_of_week(minute)), oracle.minutes_until_open(minute)) << text;
      }
    }
  }
}
