// Cron expressions against a slow oracle: every minute of two years in time zones with DST, local time by the C
// library.
#include <gtest/gtest.h>

#include <array>
#include <random>
#include <set>

#include "core/schedule/schedule.h"
#include "libc_zone.h"

using namespace dbops::core;
using namespace dbops::test;
using namespace std::chrono;

namespace {

// A field as text, and by itself what the text means.
struct Field {
  std::string text;
  std::set<int> values;
  bool star = false;
};

class Generator {
 public:
  explicit Generator(unsigned seed) : random_(seed) {}
  int below(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }

  Field field(int low, int high, int star_in) {
    Field field;
    if (below(star_in) != 0) {
      field.star = true;
      const int step = below(3) == 0 ? 1 + below(high - low) : 1;
      field.text = step == 1 ? "*" : "*/" + std::to_string(step);
      for (int v = low; v <= high; v += step)
        field.values.insert(v);
      return field;
    }
    for (int items = 1 + below(3); items > 0; --items) {
      field.text += (field.text.empty() ? "" : ",");
      const int from = low + below(high - low + 1);
      const int to = low + below(high - low + 1);
      const int step = 1 + below(4);
      if (below(2) == 0) {
        field.text += std::to_string(from);
        field.values.insert(from);
        continue;
      }
      field.text += std::to_string(from) + "-" + std::to_string(to) + (step > 1 ? "/" + std::to_string(step) : "");
      int taken = 0;
      for (int v = from;; v = v == high ? low : v + 1, ++taken) {
        if (taken % step == 0) field.values.insert(v);
        if (v == to) break;
      }
    }
    return field;
  }

 private:
  std::minstd_rand random_;
};

struct Expression {
  Field minute, hour, day, month, weekday;
  [[nodiscard]] std::string text() const {
    return minute.text + " " + hour.text + " " + day.text + " " + month.text + " " + weekday.text;
  }
};

struct Minute {
  std::int64_t local; // minutes since 1970 on the local clock
  unsigned char minute, hour, day, month, weekday;
};

bool matches(const Expression& e, const Minute& m) {
  const bool date = e.day.values.contains(m.day);
  const bool weekday = e.weekday.values.contains(m.weekday);
  const bool day = e.day.star || e.weekday.star ? date && weekday : date || weekday;
  return e.minute.values.contains(m.minute) && e.hour.values.contains(m.hour) && e.month.values.contains(m.month) &&
         day;
}

Minute minute_of(std::int64_t local) {
  const std::time_t seconds = local * 60;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  return {local,
          static_cast<unsigned char>(parts.tm_min),
          static_cast<unsigned char>(parts.tm_hour),
          static_cast<unsigned char>(parts.tm_mday),
          static_cast<unsigned char>(parts.tm_mon + 1),
          static_cast<unsigned char>(parts.tm_wday)};
}

constexpr int watched_years = 2;
const sys_seconds first_minute = sys_days(year(2027) / 1 / 1);

class Oracle {
 public:
  explicit Oracle(const std::string& posix) {
    LibcZone::use(posix);
    for (sys_seconds at = first_minute; at < first_minute + days(365 * watched_years); at += minutes(1))
      minutes_.push_back(minute_of((at.time_since_epoch().count() + libc_local(at).tm_gmtoff) / 60));
  }

  [[nodiscard]] std::vector<sys_seconds> runs(const Expression& expression) const {
    std::vector<sys_seconds> found;
    std::int64_t latest = minutes_.front().local - 1; // on the local clock, so far
    for (std::size_t i = 0; i < minutes_.size(); ++i) {
      const Minute& now = minutes_[i];
      bool run = matches(expression, now) && (now.local > latest || expression.hour.values.size() == 24);
      for (std::int64_t skipped = latest + 1; skipped < now.local && !run; ++skipped)
        run = i > 0 && minutes_[i - 1].local == latest && matches(expression, minute_of(skipped));
      latest = std::max(latest, now.local);
      if (run) found.push_back(first_minute + minutes(i));
    }
    return found;
  }

 private:
  std::vector<Minute> minutes_;
};

class AgainstOracle : public testing::TestWithParam<const char*> {};

} // namespace

TEST_P(AgainstOracle, EveryMinuteOfTwoYears) {
  const LibcZone zone(GetParam());
  const Oracle oracle(GetParam());
  Generator generator(4711);
  int compared = 0;
  for (int i = 0; i < 25; ++i) {
    const Expression expression{generator.field(0, 59, 3), generator.field(0, 23, 3), generator.field(1, 31, 2),
                                generator.field(1, 12, 2), generator.field(0, 6, 2)};
    const std::vector<sys_seconds> expected = oracle.runs(expression);
    ScheduleError error{};
    const auto schedule = Schedule::parse(expression.text(), error);
    if (!schedule) {
      EXPECT_NE(error.expected.find("never comes"), std::string::npos) << expression.text() << ": " << error.expected;
      EXPECT_TRUE(expected.empty()) << expression.text();
      continue;
    }
    sys_seconds after = first_minute - seconds(1);
    for (const sys_seconds run : expected) {
      const auto next = schedule->next(after, zone, {});
      ASSERT_TRUE(next) << expression.text();
      ASSERT_EQ(next->time_since_epoch().count(), run.time_since_epoch().count())
          << expression.text() << " after " << after.time_since_epoch().count();
      after = run;
      ++compared;
    }
    const auto next = schedule->next(after, zone, {});
    EXPECT_TRUE(!next || *next >= first_minute + days(365 * watched_years)) << expression.text();
  }
  EXPECT_GT(compared, 10'000);
}

INSTANTIATE_TEST_SUITE_P(Zones, AgainstOracle, testing::Values("UTC0", berlin, new_york, lord_howe, santiago, kolkata));
