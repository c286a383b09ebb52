#include "core/schedule/schedule.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

namespace dbops::core {

namespace {

using std::chrono::days;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

// Longer than any change of an offset, the date line included.
constexpr hours longest_change{48};
constexpr seconds longest_interval = days(3650);

constexpr std::array<std::pair<std::string_view, std::string_view>, 7> macros{{{"hourly", "0 * * * *"},
                                                                               {"daily", "0 0 * * *"},
                                                                               {"midnight", "0 0 * * *"},
                                                                               {"weekly", "0 0 * * 0"},
                                                                               {"monthly", "0 0 1 * *"},
                                                                               {"yearly", "0 0 1 1 *"},
                                                                               {"annually", "0 0 1 1 *"}}};
constexpr std::array<std::pair<std::string_view, seconds>, 5> units{
    {{"second", seconds(1)}, {"minute", minutes(1)}, {"hour", hours(1)}, {"day", days(1)}, {"week", days(7)}}};

// ASCII only, in any locale.
bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}
char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
bool is_letter(char c) noexcept {
  return lower(c) >= 'a' && lower(c) <= 'z';
}
bool is_space(char c) noexcept {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

local_seconds local_time(sys_seconds instant, seconds offset) {
  return local_seconds(instant.time_since_epoch() + offset);
}
sys_seconds instant_of(local_seconds local, seconds offset) {
  return sys_seconds(local.time_since_epoch() - offset);
}

// The next slot of a cron expression: from one change of the zone's offset to the next.
std::optional<sys_seconds> next_of(const CronExpression& expression, sys_seconds after, const TimeZone& zone) {
  sys_seconds begin = after - longest_change;
  TimeZone::Period period = zone.period_at(begin);
  std::optional<seconds> before; // offset until `begin`
  for (;;) {
    if (before && *before < period.offset && begin > after &&
        expression.first(local_time(begin, *before), local_time(begin, period.offset)))
      return begin; // for what the clocks have skipped
    local_seconds from = local_time(std::max(begin, after + seconds(1)), period.offset);
    if (before && *before > period.offset && !expression.every_hour())
      from = std::max(from, local_time(begin, *before)); // what comes a second time is passed over
    const local_seconds to = period.end ? local_time(*period.end, period.offset) : local_seconds::max();
    if (from < to)
      if (const auto found = expression.first(from, to)) return instant_of(*found, period.offset);
    if (!period.end) return std::nullopt;
    before = period.offset;
    begin = *period.end;
    period = zone.period_at(begin);
  }
}

} // namespace

sys_seconds first_instant(local_seconds local, const TimeZone& zone) {
  sys_seconds begin = instant_of(local, seconds(0)) - longest_change;
  for (;;) {
    const TimeZone::Period period = zone.period_at(begin);
    if (local < local_time(begin, period.offset)) return begin; // skipped
    if (!period.end || local < local_time(*period.end, period.offset)) return instant_of(local, period.offset);
    begin = *period.end;
  }
}

// Recursive descent over all but the cron fields; the first fault is reported.
class ScheduleParser {
 public:
  ScheduleParser(std::string_view text, ScheduleError& error) : text_(text), error_(error) {}

  std::optional<Schedule> schedule() {
    while (!at_end() && is_space(text_[position_]))
      ++position_;
    while (!text_.empty() && text_.size() > position_ && is_space(text_.back()))
      text_.remove_suffix(1);
    if (at_end()) return fail(any);
    if (take('@')) return macro();
    if (!is_letter(text_[position_])) return cron(text_.substr(position_), position_);
    const std::size_t begin = position_;
    const std::string first = word();
    if (first == "every" && skip_space()) return interval();
    if (first == "at" && skip_space()) return once();
    return fail_at(begin, any);
  }

 private:
  static constexpr const char* any = R"(cron fields, @daily or the like, "every N minutes" or "at YYYY-MM-DD HH:MM")";
  static constexpr const char* period = "a number of seconds, minutes, hours, days or weeks, up to 3650 days";

  std::optional<Schedule> cron(std::string_view fields, std::size_t offset) {
    auto expression = CronExpression::parse(fields, offset, error_);
    if (!expression) return std::nullopt;
    return Schedule(*expression);
  }

  std::optional<Schedule> macro() {
    const std::size_t begin = position_;
    const std::string name = word();
    const auto* const found =
        std::ranges::find(macros, std::string_view(name), &std::pair<std::string_view, std::string_view>::first);
    if (found == macros.end()) return fail_at(begin, "hourly, daily, midnight, weekly, monthly, yearly or annually");
    if (!at_end()) return fail("the end");
    return cron(found->second, 0);
  }

  std::optional<Schedule> interval() {
    const std::size_t begin = position_;
    std::int64_t count = 1;
    if (!at_end() && is_digit(text_[position_])) {
      const auto given = number(1, 9);
      if (!given || *given == 0) return fail_at(begin, period);
      count = *given;
      skip_space();
    }
    const std::size_t unit_begin = position_;
    std::string unit = word();
    if (unit.size() > 1 && unit.back() == 's') unit.pop_back();
    const auto* const found =
        std::ranges::find(units, std::string_view(unit), &std::pair<std::string_view, seconds>::first);
    if (found == units.end()) return fail_at(unit_begin, "seconds, minutes, hours, days or weeks");
    if (!at_end()) return fail("the end");
    if (count > longest_interval / found->second) return fail_at(begin, period);
    return Schedule(Schedule::Interval{count * found->second});
  }

  std::optional<Schedule> once() {
    const std::size_t begin = position_;
    const auto year = number(4, 4);
    const auto month = year && take('-') ? number(2, 2) : std::nullopt;
    const auto day = month && take('-') ? number(2, 2) : std::nullopt;
    if (!day) return fail_at(begin, "a date YYYY-MM-DD");
    const auto date = std::chrono::year(static_cast<int>(*year)) / static_cast<int>(*month) / static_cast<int>(*day);
    if (!date.ok() || *year < 1970) return fail_at(begin, "a date that there is, from 1970 on");
    if (!(take('T') || take('t') || skip_space())) return fail("a time HH:MM");
    const auto time = time_of_day();
    if (!time) return std::nullopt;
    Schedule::Once result{std::chrono::local_days(date) + *time, {}};
    skip_space();
    if (at_end()) return Schedule(result);
    const auto offset = zone_offset();
    if (!offset) return std::nullopt;
    result.offset = offset;
    if (!at_end()) return fail("the end");
    return Schedule(result);
  }

  std::optional<seconds> time_of_day() {
    const std::size_t begin = position_;
    const auto hour = number(2, 2);
    const auto minute = hour && take(':') ? number(2, 2) : std::nullopt;
    if (!minute || *hour > 23 || *minute > 59) return fail_at(begin, "a time from 00:00 to 23:59");
    seconds time = hours(*hour) + minutes(*minute);
    if (take(':')) {
      const std::size_t seconds_begin = position_;
      const auto second = number(2, 2);
      if (!second || *second > 59) return fail_at(seconds_begin, "seconds from 00 to 59");
      time += seconds(*second);
    }
    return time;
  }

  std::optional<seconds> zone_offset() {
    if (take('Z') || take('z')) return seconds(0);
    const std::size_t begin = position_;
    const bool west = take('-');
    if (!west && !take('+')) return fail("Z, +HH:MM, -HH:MM or the end");
    const auto hour = number(2, 2);
    std::optional<std::int64_t> minute = 0;
    if (hour && (take(':') || (!at_end() && is_digit(text_[position_])))) minute = number(2, 2);
    if (!hour || !minute || *hour > 15 || *minute > 59) return fail_at(begin, "an offset from -15:59 to +15:59");
    const seconds offset = hours(*hour) + minutes(*minute);
    return west ? -offset : offset;
  }

  // A number of that many digits.
  std::optional<std::int64_t> number(std::size_t at_least, std::size_t at_most) {
    std::int64_t result = 0;
    std::size_t digits = 0;
    for (; !at_end() && is_digit(text_[position_]) && digits < at_most; ++position_, ++digits)
      result = result * 10 + (text_[position_] - '0');
    if (digits < at_least) return std::nullopt;
    return result;
  }

  std::string word() {
    std::string result;
    for (; !at_end() && is_letter(text_[position_]); ++position_)
      result.push_back(lower(text_[position_]));
    return result;
  }

  bool take(char c) {
    if (at_end() || text_[position_] != c) return false;
    ++position_;
    return true;
  }

  bool skip_space() {
    const std::size_t begin = position_;
    while (!at_end() && is_space(text_[position_]))
      ++position_;
    return position_ > begin;
  }

  [[nodiscard]] bool at_end() const { return position_ >= text_.size(); }
  std::nullopt_t fail(const char* expected) { return fail_at(position_, expected); }
  std::nullopt_t fail_at(std::size_t position, const char* expected) {
    error_ = {position, expected};
    return std::nullopt;
  }

  std::string_view text_;
  ScheduleError& error_;
  std::size_t position_ = 0;
};

std::optional<Schedule> Schedule::parse(std::string_view text, ScheduleError& error) {
  return ScheduleParser(text, error).schedule();
}

std::optional<sys_seconds> Schedule::next(sys_seconds after, const TimeZone& zone, sys_seconds anchor) const {
  if (const auto* expression = std::get_if<CronExpression>(&kind_)) return next_of(*expression, after, zone);
  if (const auto* interval = std::get_if<Interval>(&kind_)) {
    seconds past = (after - anchor) % interval->period;
    if (past < seconds(0)) past += interval->period;
    return after - past + interval->period;
  }
  const auto& once = std::get<Once>(kind_);
  const sys_seconds instant = once.offset ? instant_of(once.time, *once.offset) : first_instant(once.time, zone);
  return instant > after ? std::optional(instant) : std::nullopt;
}

} // namespace dbops::core
