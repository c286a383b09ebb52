// Schedules against slow oracles. Cron expressions of every form: each minute of four years, one of them a leap year,
// in time zones with DST, local time by the C library. Intervals and moments: by counting.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bitset>
#include <cctype>
#include <random>

#include "core/schedule/schedule.h"
#include "libc_zone.h"

using namespace dbops::core;
using namespace dbops::test;
using namespace std::chrono;

namespace {

// A field as text, and by itself what the text means.
struct Field {
  std::string text;
  std::bitset<60> values;
  bool star = false;
  bool last_day = false;
  void add(int value) { values.set(static_cast<std::size_t>(value)); }
  [[nodiscard]] bool has(int value) const { return values.test(static_cast<std::size_t>(value)); }
};

using Names = std::array<const char*, 12>;
constexpr Names months_by_name{"January", "February", "March",     "April",   "May",      "June",
                               "July",    "August",   "September", "October", "November", "December"};
constexpr Names days_by_name{"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};

class Generator {
 public:
  explicit Generator(unsigned seed) : random_(seed) {}
  int below(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }

  // A list, of which an item is "*" in one of so many cases, when that is not the whole field.
  Field field(int low, int high, int star_in, const Names* names = nullptr) {
    Field field;
    if (below(star_in) != 0) {
      star(field, low, high);
      return field;
    }
    for (int items = 1 + below(3); items > 0; --items) {
      field.text += field.text.empty() ? "" : ",";
      const int kind = below(12);
      if (kind == 0)
        star(field, low, high);
      else if (kind < 6)
        field.add(value(field, low, high, names));
      else
        range(field, low, high, names);
    }
    return field;
  }

  Field days_of_month() {
    Field days = field(1, 31, 2);
    if (below(5) == 0) {
      days.text = (below(2) == 0 && !days.star ? "" : days.text + ",") + (below(2) == 0   ? "$"
                                                                          : below(2) == 0 ? "L"
                                                                                          : "l");
      if (days.text.size() == 1) days.values.reset();
      days.last_day = true;
    }
    return days;
  }

  // 7 is Sunday, too; a range to it ends there instead of going over the end.
  Field days_of_week() {
    if (below(4) != 0) return field(0, 6, 2, &days_by_name);
    Field days;
    const int from = below(8);
    const int step = 1 + below(3);
    days.text = std::to_string(from) + "-7" + (step > 1 ? "/" + std::to_string(step) : "");
    if (from == 7)
      days.add(0);
    else
      for (int day = from; day <= 7; day += step)
        days.add(day % 7);
    return days;
  }

  // Few of them: each is compared in every minute that matches.
  Field seconds_of_minute() {
    Field field;
    const int kind = below(3);
    const int from = below(60);
    const int step = 17 + below(30);
    if (kind == 0) {
      field.text = std::to_string(from);
      field.add(from);
    } else if (kind == 1) {
      field.text = "*/" + std::to_string(step);
      for (int v = 0; v < 60; v += step)
        field.add(v);
    } else {
      field.text = std::to_string(from) + "-59/" + std::to_string(step) + ",3";
      for (int v = from; v < 60; v += step)
        field.add(v);
      field.add(3);
    }
    return field;
  }

  const char* space() { return std::array{" ", "  ", "\t", " \t "}.at(static_cast<std::size_t>(below(4))); }

 private:
  void star(Field& field, int low, int high) {
    field.star = true;
    const int step = below(3) == 0 ? 1 + below(high - low) : 1;
    field.text += step == 1 ? "*" : "*/" + std::to_string(step);
    for (int v = low; v <= high; v += step)
      field.add(v);
  }

  int value(Field& field, int low, int high, const Names* names) {
    const int value = low + below(high - low + 1);
    field.text += spelled(value, low, names);
    return value;
  }

  std::string spelled(int value, int low, const Names* names) {
    if (names == nullptr || below(2) == 0) return (below(6) == 0 && value < 10 ? "0" : "") + std::to_string(value);
    std::string name = names->at(static_cast<std::size_t>(value - low));
    if (below(2) == 0) name.resize(3);
    const int spelling = below(3);
    if (spelling < 2)
      std::ranges::transform(name, name.begin(),
                             [spelling](unsigned char c) { return spelling == 0 ? std::tolower(c) : std::toupper(c); });
    return name;
  }

  void range(Field& field, int low, int high, const Names* names) {
    const int from = value(field, low, high, names);
    field.text += "-";
    const int to = value(field, low, high, names);
    const int step = 1 + below(4);
    if (step > 1) field.text += "/" + std::to_string(step);
    for (int v = from, taken = 0;; v = v == high ? low : v + 1, ++taken) {
      if (taken % step == 0) field.add(v);
      if (v == to) break;
    }
  }

  std::minstd_rand random_;
};

struct Expression {
  std::string text;
  Field second, minute, hour, day, month, weekday;
};

Expression random_expression(Generator& generator) {
  Expression e;
  e.minute = generator.field(0, 59, 3);
  e.hour = generator.field(0, 23, 3);
  e.day = generator.days_of_month();
  e.month = generator.field(1, 12, 2, &months_by_name);
  e.weekday = generator.days_of_week();
  if (generator.below(3) == 0) {
    e.second = generator.seconds_of_minute();
    e.text = e.second.text + generator.space();
  } else
    e.second.add(0);
  e.text += e.minute.text + generator.space() + e.hour.text + generator.space() + e.day.text + generator.space() +
            e.month.text + generator.space() + e.weekday.text;
  return e;
}

Field everything() {
  Field field;
  field.values.set();
  field.star = true;
  return field;
}
Field only(int value) {
  Field field;
  field.add(value);
  return field;
}

// What the short forms mean, in the oracle's words.
std::vector<Expression> short_forms() {
  const Field all = everything();
  const Field first = only(1);
  const Field zero = only(0);
  return {{"@hourly", zero, zero, all, all, all, all},         {"@daily", zero, zero, zero, all, all, all},
          {"@midnight", zero, zero, zero, all, all, all},      {"@weekly", zero, zero, zero, all, all, zero},
          {"@Monthly", zero, zero, zero, first, all, all},     {"@YEARLY", zero, zero, zero, first, first, all},
          {" @annually ", zero, zero, zero, first, first, all}};
}

struct Minute {
  std::int64_t local; // minutes since 1970 on the local clock
  unsigned char minute, hour, day, month, weekday;
  bool last_day; // of its month
};

bool matches(const Expression& e, const Minute& m) {
  if (!e.minute.has(m.minute) || !e.hour.has(m.hour) || !e.month.has(m.month)) return false;
  const bool date = e.day.has(m.day) || (e.day.last_day && m.last_day);
  const bool weekday = e.weekday.has(m.weekday);
  return e.day.star || e.weekday.star ? date && weekday : date || weekday;
}

Minute minute_of(std::int64_t local) {
  const std::time_t seconds = local * 60;
  const std::time_t tomorrow = seconds + 86'400;
  std::tm parts{};
  std::tm next{};
  gmtime_r(&seconds, &parts);
  gmtime_r(&tomorrow, &next);
  return {local,
          static_cast<unsigned char>(parts.tm_min),
          static_cast<unsigned char>(parts.tm_hour),
          static_cast<unsigned char>(parts.tm_mday),
          static_cast<unsigned char>(parts.tm_mon + 1),
          static_cast<unsigned char>(parts.tm_wday),
          next.tm_mday == 1};
}

const sys_seconds first_minute = sys_days(year(2027) / 1 / 1);
const sys_seconds end_of_watch = sys_days(year(2031) / 1 / 1);

class Oracle {
 public:
  explicit Oracle(const std::string& posix) {
    LibcZone::use(posix);
    for (sys_seconds at = first_minute; at < end_of_watch; at += minutes(1))
      minutes_.push_back(minute_of((at.time_since_epoch().count() + libc_local(at).tm_gmtoff) / 60));
  }

  // A time that the clocks have left out is due when they have; one that comes again is not, unless all hours are
  // named.
  [[nodiscard]] std::vector<sys_seconds> runs(const Expression& e) const {
    std::vector<sys_seconds> found;
    const bool every_hour = (e.hour.values & std::bitset<60>(0xFFFFFF)).count() == 24;
    std::int64_t latest = minutes_.front().local - 1; // on the local clock, so far
    for (std::size_t i = 0; i < minutes_.size(); ++i) {
      const Minute& now = minutes_[i];
      const sys_seconds begin = first_minute + minutes(i);
      bool left_out = false;
      for (std::int64_t skipped = latest + 1; i > 0 && skipped < now.local && !left_out; ++skipped)
        left_out = minutes_[i - 1].local == latest && matches(e, minute_of(skipped));
      if (left_out) found.push_back(begin);
      if (matches(e, now) && (now.local > latest || every_hour))
        for (int second = left_out ? 1 : 0; second < 60; ++second)
          if (e.second.has(second)) found.push_back(begin + seconds(second));
      latest = std::max(latest, now.local);
    }
    return found;
  }

  // The first time that the local clock shows that minute, or has passed it.
  [[nodiscard]] sys_seconds moment(std::int64_t local) const {
    const auto found = std::ranges::find_if(minutes_, [local](const Minute& minute) { return minute.local >= local; });
    return first_minute + minutes(found - minutes_.begin());
  }
  [[nodiscard]] std::int64_t local(std::size_t minute) const { return minutes_.at(minute).local; }
  [[nodiscard]] std::size_t size() const { return minutes_.size(); }

 private:
  std::vector<Minute> minutes_;
};

std::string date_and_time(std::int64_t local) {
  const std::time_t seconds = local * 60;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 32> text{};
  return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M", &parts)};
}

// How many times were compared.
int compare(const Expression& expression, const Oracle& oracle, const LibcZone& zone) {
  const std::vector<sys_seconds> expected = oracle.runs(expression);
  ScheduleError error{};
  const auto schedule = Schedule::parse(expression.text, error);
  if (!schedule) {
    EXPECT_NE(error.expected.find("never comes"), std::string::npos) << expression.text << ": " << error.expected;
    EXPECT_TRUE(expected.empty()) << expression.text;
    return 0;
  }
  sys_seconds after = first_minute - seconds(1);
  for (const sys_seconds run : expected) {
    const auto next = schedule->next(after, zone, {});
    const std::int64_t got = next ? next->time_since_epoch().count() : -1;
    EXPECT_EQ(got, run.time_since_epoch().count()) << expression.text << " after " << after.time_since_epoch().count();
    if (got != run.time_since_epoch().count()) return 0;
    after = run;
  }
  const auto next = schedule->next(after, zone, {});
  EXPECT_TRUE(!next || *next >= end_of_watch) << expression.text;
  return static_cast<int>(expected.size());
}

// "at" a local time, half of them where the clocks are changed.
void compare_moments(const Oracle& oracle, const LibcZone& zone) {
  Generator generator(815);
  std::vector<std::int64_t> wanted;
  for (std::size_t i = 1; i < oracle.size(); ++i)
    if (oracle.local(i) != oracle.local(i - 1) + 1)
      for (const int minute : {-61, -60, -31, -30, -1, 0, 1, 29, 30, 59, 60})
        wanted.push_back(oracle.local(i) + minute);
  for (int i = 0; i < 100; ++i)
    wanted.push_back(oracle.local(2'000 + static_cast<std::size_t>(generator.below(2'000'000))));
  for (const std::int64_t local : wanted) {
    const std::string text = "at " + date_and_time(local);
    ScheduleError error{};
    const auto schedule = Schedule::parse(text, error);
    ASSERT_TRUE(schedule) << text << ": " << error.expected;
    const sys_seconds expected = oracle.moment(local);
    const auto next = schedule->next(first_minute, zone, {});
    ASSERT_TRUE(next) << text;
    ASSERT_EQ(next->time_since_epoch().count(), expected.time_since_epoch().count()) << text;
    ASSERT_FALSE(schedule->next(expected, zone, {})) << text << ": once";
  }
}

class AgainstOracle : public testing::TestWithParam<const char*> {};

} // namespace

TEST_P(AgainstOracle, EveryMinuteOfFourYears) {
  const LibcZone zone(GetParam());
  const Oracle oracle(GetParam());
  Generator generator(4711);
  int compared = 0;
  for (const Expression& expression : short_forms())
    compared += compare(expression, oracle, zone);
  for (int i = 0; i < 25 && !HasFailure(); ++i)
    compared += compare(random_expression(generator), oracle, zone);
  EXPECT_GT(compared, 10'000);
  compare_moments(oracle, zone);
}

INSTANTIATE_TEST_SUITE_P(Zones, AgainstOracle,
                         testing::Values("UTC0", berlin, new_york, lord_howe, santiago, kolkata, dublin, chatham));

// Whatever the clocks do: steps from the anchor, counted one by one.
TEST(IntervalOracle, StepsFromTheAnchor) {
  constexpr std::array<std::pair<const char*, int>, 10> units{{{"second", 1},
                                                               {"seconds", 1},
                                                               {"minute", 60},
                                                               {"Minutes", 60},
                                                               {"hour", 3'600},
                                                               {"HOURS", 3'600},
                                                               {"day", 86'400},
                                                               {"days", 86'400},
                                                               {"week", 604'800},
                                                               {"weeks", 604'800}}};
  const LibcZone zone(berlin);
  Generator generator(42);
  for (int round = 0; round < 3'000; ++round) {
    const auto& [unit, length] = units.at(static_cast<std::size_t>(generator.below(static_cast<int>(units.size()))));
    const int number = generator.below(4) == 0 ? 1 : 1 + generator.below(std::min(300, 3'650 * 86'400 / length));
    const bool bare = number == 1 && generator.below(2) == 0;
    const std::string text = "every " + (bare ? "" : std::to_string(number) + " ") + unit;
    ScheduleError error{};
    const auto schedule = Schedule::parse(text, error);
    ASSERT_TRUE(schedule) << text << ": " << error.expected;
    const seconds period(std::int64_t{number} * length);
    const sys_seconds anchor = first_minute + seconds(generator.below(100'000'000));
    const sys_seconds after =
        anchor + period * (generator.below(60) - 30) + seconds(generator.below(100)) - seconds(50);
    sys_seconds expected = anchor;
    while (expected > after)
      expected -= period;
    while (expected <= after)
      expected += period;
    const auto next = schedule->next(after, zone, anchor);
    ASSERT_TRUE(next) << text;
    ASSERT_EQ(next->time_since_epoch().count(), expected.time_since_epoch().count())
        << text << " from " << anchor.time_since_epoch().count() << " after " << after.time_since_epoch().count();
  }
}
