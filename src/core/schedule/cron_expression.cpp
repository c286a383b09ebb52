#include "core/schedule/cron_expression.h"

#include <algorithm>
#include <array>
#include <span>
#include <vector>

namespace dbops::core {

namespace {

using std::chrono::days;
using std::chrono::floor;
using std::chrono::hours;
using std::chrono::local_days;
using std::chrono::minutes;
using std::chrono::seconds;
using std::chrono::weekday;
using std::chrono::year_month_day;

// The calendar repeats after 400 years.
constexpr days calendar_cycle{146'097};

constexpr std::array<std::string_view, 12> month_names{"january",   "february", "march",    "april",
                                                       "may",       "june",     "july",     "august",
                                                       "september", "october",  "november", "december"};
constexpr std::array<std::string_view, 7> weekday_names{"sunday",   "monday", "tuesday", "wednesday",
                                                        "thursday", "friday", "saturday"};

struct FieldRules {
  std::string_view value; // what an error says was expected
  std::string_view step;
  int low, high;
  std::span<const std::string_view> names; // the first one is `low`
  bool last_day;                           // L and $ are allowed
  int size;                                // values after which it begins again
};

constexpr FieldRules second_rules{"a second from 0 to 59", "a step from 1 to 59", 0, 59, {}, false, 60};
constexpr FieldRules minute_rules{"a minute from 0 to 59", "a step from 1 to 59", 0, 59, {}, false, 60};
constexpr FieldRules hour_rules{"an hour from 0 to 23", "a step from 1 to 23", 0, 23, {}, false, 24};
constexpr FieldRules day_rules{"a day from 1 to 31, or L for the last one", "a step from 1 to 30", 1, 31, {}, true, 31};
constexpr FieldRules month_rules{
    "a month from 1 to 12 or from jan to dec", "a step from 1 to 11", 1, 12, month_names, false, 12};
constexpr FieldRules weekday_rules{
    "a day from 0 (Sunday) to 7 or from sun to sat", "a step from 1 to 6", 0, 7, weekday_names, false, 7};

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

struct Field {
  std::vector<int> values;
  bool star = false;
  bool last_day = false;
};

// One field; positions are of the whole text.
class FieldParser {
 public:
  FieldParser(std::string_view text, std::size_t begin, std::size_t end, const FieldRules& rules, ScheduleError& error)
      : text_(text), position_(begin), end_(end), rules_(rules), error_(error) {}

  std::optional<Field> field() {
    Field result;
    do {
      if (!item(result)) return std::nullopt;
    } while (take(','));
    if (position_ != end_) return fail(R"("," or the end of the field)");
    return result;
  }

 private:
  bool item(Field& field) {
    if (take('*')) {
      field.star = true;
      return add(field, rules_.low, rules_.low + rules_.size - 1, true);
    }
    if (rules_.last_day && (take('$') || take_last_day())) {
      field.last_day = true;
      return true;
    }
    const auto first = value();
    if (!first) return false;
    if (!take('-')) {
      field.values.push_back(*first);
      return true;
    }
    const auto last = value();
    if (!last) return false;
    int from = *first;
    int to = *last;
    if (rules_.high == rules_.size && rules_.low == 0) { // day of week: 7 is 0
      if (from == 7) from = 0;
      if (to == 7 && (*first == 7 || *first == *last)) to = 0;
    }
    return add(field, from, to < from ? to + rules_.size : to, true);
  }

  bool add(Field& field, int from, int to, bool step_allowed) {
    int step = 1;
    if (step_allowed && take('/')) {
      const auto given = number();
      if (!given || *given < 1 || *given >= rules_.size) return fail_at(begin_, rules_.step), false;
      step = *given;
    }
    for (int value = from; value <= to; value += step)
      field.values.push_back(rules_.low + (value - rules_.low) % rules_.size);
    return true;
  }

  std::optional<int> value() {
    begin_ = position_;
    if (position_ != end_ && is_letter(text_[position_])) return name();
    const auto given = number();
    if (!given || *given < rules_.low || *given > rules_.high) return fail_at(begin_, rules_.value);
    return given;
  }

  std::optional<int> name() {
    std::string word;
    for (; position_ != end_ && is_letter(text_[position_]); ++position_)
      word.push_back(lower(text_[position_]));
    const auto found = std::ranges::find_if(
        rules_.names, [&](std::string_view full) { return word == full || word == full.substr(0, 3); });
    if (found == rules_.names.end()) return fail_at(begin_, rules_.value);
    return rules_.low + static_cast<int>(found - rules_.names.begin());
  }

  std::optional<int> number() {
    begin_ = position_;
    int result = 0;
    for (; position_ != end_ && is_digit(text_[position_]); ++position_)
      result = std::min(result * 10 + (text_[position_] - '0'), 1'000);
    if (position_ == begin_) return std::nullopt;
    return result;
  }

  bool take(char c) {
    if (position_ == end_ || text_[position_] != c) return false;
    ++position_;
    return true;
  }
  bool take_last_day() { return take('L') || take('l'); }

  std::nullopt_t fail(std::string_view expected) { return fail_at(position_, expected); }
  std::nullopt_t fail_at(std::size_t position, std::string_view expected) {
    error_ = {position, std::string(expected)};
    return std::nullopt;
  }

  std::string_view text_;
  std::size_t position_;
  std::size_t end_;
  std::size_t begin_ = 0; // of the value under way
  const FieldRules& rules_;
  ScheduleError& error_;
};

template <std::size_t N>
std::bitset<N> to_set(const std::vector<int>& values) {
  std::bitset<N> set;
  for (const int value : values)
    set.set(static_cast<std::size_t>(value));
  return set;
}

template <std::size_t N>
std::optional<int> first_from(const std::bitset<N>& set, int from) {
  for (std::size_t value = static_cast<std::size_t>(from); value < N; ++value)
    if (set.test(value)) return static_cast<int>(value);
  return std::nullopt;
}

} // namespace

class CronParser {
 public:
  CronParser(std::string_view text, ScheduleError& error) : text_(text), error_(error) {}

  std::optional<CronExpression> expression() {
    if (!split()) return std::nullopt;
    const bool with_seconds = words_.size() == 6;
    CronExpression result;
    result.seconds_.set(0);
    if (with_seconds) {
      const auto seconds = field(0, second_rules);
      if (!seconds) return std::nullopt;
      result.seconds_ = to_set<60>(seconds->values);
    }
    const std::size_t first = with_seconds ? 1 : 0;
    const auto minutes = field(first, minute_rules);
    const auto hours = minutes ? field(first + 1, hour_rules) : std::nullopt;
    const auto days = hours ? field(first + 2, day_rules) : std::nullopt;
    const auto months = days ? field(first + 3, month_rules) : std::nullopt;
    const auto weekdays = months ? field(first + 4, weekday_rules) : std::nullopt;
    if (!weekdays) return std::nullopt;
    result.minutes_ = to_set<60>(minutes->values);
    result.hours_ = to_set<24>(hours->values);
    result.days_ = to_set<32>(days->values);
    result.last_day_ = days->last_day;
    result.months_ = to_set<13>(months->values);
    for (const int value : weekdays->values)
      result.weekdays_.set(static_cast<std::size_t>(value % 7));
    result.either_day_ = !days->star && !weekdays->star;
    if (!result.first(local_days{}, local_days{} + calendar_cycle)) {
      error_ = {words_[first + 2].first, "a day that the months have: this one never comes"};
      return std::nullopt;
    }
    return result;
  }

 private:
  bool split() {
    for (std::size_t i = 0; i < text_.size();) {
      if (is_space(text_[i])) {
        ++i;
        continue;
      }
      const std::size_t begin = i;
      while (i < text_.size() && !is_space(text_[i]))
        ++i;
      words_.emplace_back(begin, i);
      if (words_.size() == 7) {
        error_ = {begin, "the end: there are five fields, or six with seconds first"};
        return false;
      }
    }
    if (words_.size() >= 5) return true;
    // What is wrong in the fields that are there comes first.
    constexpr std::array rules{&minute_rules, &hour_rules, &day_rules, &month_rules, &weekday_rules};
    for (std::size_t i = 0; i < words_.size(); ++i)
      if (!field(i, *rules.at(i))) return false;
    error_ = {text_.size(), "five fields (minute, hour, day of month, month, day of week), or six with seconds first"};
    return false;
  }

  std::optional<Field> field(std::size_t word, const FieldRules& rules) {
    return FieldParser(text_, words_[word].first, words_[word].second, rules, error_).field();
  }

  std::string_view text_;
  ScheduleError& error_;
  std::vector<std::pair<std::size_t, std::size_t>> words_;
};

std::optional<CronExpression> CronExpression::parse(std::string_view text, std::size_t offset, ScheduleError& error) {
  auto parsed = CronParser(text, error).expression();
  if (!parsed) error.position += offset;
  return parsed;
}

bool CronExpression::matches(year_month_day day) const {
  const bool last = last_day_ && day == day.year() / day.month() / std::chrono::last;
  const bool by_date = last || days_.test(static_cast<unsigned>(day.day()));
  const bool by_weekday = weekdays_.test(weekday(local_days(day)).c_encoding());
  return either_day_ ? by_date || by_weekday : by_date && by_weekday;
}

std::optional<seconds> CronExpression::first_in_day(seconds from) const {
  const auto from_hour = static_cast<int>(from / hours(1));
  for (auto hour = first_from(hours_, from_hour); hour; hour = first_from(hours_, *hour + 1)) {
    const seconds in_hour = std::max(seconds(0), from - hours(*hour));
    for (auto minute = first_from(minutes_, static_cast<int>(in_hour / minutes(1))); minute;
         minute = first_from(minutes_, *minute + 1)) {
      const seconds in_minute = std::max(seconds(0), in_hour - minutes(*minute));
      if (const auto second = first_from(seconds_, static_cast<int>(in_minute.count())))
        return hours(*hour) + minutes(*minute) + seconds(*second);
    }
  }
  return std::nullopt;
}

std::optional<local_seconds> CronExpression::first(local_seconds from, local_seconds to) const {
  const local_seconds limit = std::min(to, from + calendar_cycle);
  seconds in_day = from - floor<days>(from);
  for (local_days day = floor<days>(from); day < limit; in_day = seconds(0)) {
    const year_month_day date(day);
    if (!months_.test(static_cast<unsigned>(date.month()))) {
      day = local_days((date.year() / date.month() / 1) + std::chrono::months(1));
      continue;
    }
    if (matches(date))
      if (const auto time = first_in_day(in_day)) {
        if (day + *time >= limit) return std::nullopt;
        return day + *time;
      }
    day += days(1);
  }
  return std::nullopt;
}

} // namespace dbops::core
