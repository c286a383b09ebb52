#include "core/schedule/window.h"

#include <algorithm>
#include <array>
#include <bitset>
#include <utility>

namespace dbops::core {

namespace {

constexpr int day_minutes = 24 * 60;
constexpr int week_minutes = 7 * day_minutes;
constexpr std::array<std::string_view, 7> day_names{"sunday",   "monday", "tuesday", "wednesday",
                                                    "thursday", "friday", "saturday"};
using Days = std::bitset<7>;

struct Window {
  Days days;
  int start; // minute of the day
  int end;   // minute of the day, 24:00 included
};

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

// Recursive descent; every function skips white space first and reports the first fault.
class Parser {
 public:
  Parser(std::string_view text, WindowError& error) : text_(text), error_(error) {}

  std::optional<std::vector<Window>> windows() {
    std::vector<Window> all;
    do {
      const auto one = window();
      if (!one) return std::nullopt;
      all.push_back(*one);
    } while (take(',') || take(';'));
    if (!at_end()) return fail(R"("," or ";" and another window, or the end)");
    return all;
  }

 private:
  std::optional<Window> window() {
    skip_space();
    if (at_end() || !(is_letter(text_[position_]) || is_digit(text_[position_])))
      return fail("a day such as Mon or Monday, or a time HH:MM");
    const auto on = is_letter(text_[position_]) ? days() : Days().set();
    if (!on) return std::nullopt;
    const auto start = time("a time from 00:00 to 23:59", day_minutes - 1);
    if (!start) return std::nullopt;
    if (!take('-')) return fail(R"("-" and the end of the window)");
    const auto end = time("a time from 00:00 to 24:00", day_minutes);
    if (!end) return std::nullopt;
    return Window{*on, *start, *end};
  }

  std::optional<Days> days() {
    Days all;
    do {
      const auto first = day();
      if (!first) return std::nullopt;
      const auto last = take('-') ? day() : first;
      if (!last) return std::nullopt;
      for (std::size_t i = *first; i != *last; i = (i + 1) % 7) // Fri-Mon goes over the week end
        all.set(i);
      all.set(*last);
    } while (take(','));
    return all;
  }

  std::optional<std::size_t> day() {
    skip_space();
    std::string word;
    for (std::size_t i = position_; i < text_.size() && is_letter(text_[i]); ++i)
      word.push_back(lower(text_[i]));
    const auto* const name = std::ranges::find_if(
        day_names, [&](std::string_view full) { return word == full || word == full.substr(0, 3); });
    if (name == day_names.end()) return fail("a day such as Mon or Monday");
    position_ += word.size();
    return static_cast<std::size_t>(name - day_names.begin());
  }

  std::optional<int> time(const char* expected, int latest) {
    skip_space();
    const std::size_t begin = position_;
    auto hour = digit();
    if (!hour) return fail(expected);
    if (const auto second = digit()) hour = *hour * 10 + *second;
    if (at_end() || text_[position_] != ':') return fail(R"(":" and minutes)");
    ++position_;
    const std::size_t minutes_begin = position_;
    const auto tens = digit();
    const auto ones = digit();
    if (!tens || !ones || *tens > 5) return fail_at(minutes_begin, "minutes from 00 to 59");
    const int minute = *hour * 60 + *tens * 10 + *ones;
    if (minute > latest) return fail_at(begin, expected);
    return minute;
  }

  std::optional<int> digit() {
    if (at_end() || !is_digit(text_[position_])) return std::nullopt;
    return text_[position_++] - '0';
  }

  bool take(char c) {
    skip_space();
    if (at_end() || text_[position_] != c) return false;
    ++position_;
    return true;
  }

  void skip_space() {
    while (!at_end() && is_space(text_[position_]))
      ++position_;
  }

  [[nodiscard]] bool at_end() const { return position_ == text_.size(); }

  std::nullopt_t fail(const char* expected) { return fail_at(position_, expected); }
  std::nullopt_t fail_at(std::size_t position, const char* expected) {
    error_ = {position, expected};
    return std::nullopt;
  }

  std::string_view text_;
  WindowError& error_;
  std::size_t position_ = 0;
};

// 0..week_minutes-1; weekday 7 is Sunday too.
int minute_of_week(LocalMinute now) noexcept {
  const std::int64_t minute = std::int64_t{now.weekday} * day_minutes + now.minute;
  return static_cast<int>((minute % week_minutes + week_minutes) % week_minutes);
}

} // namespace

std::optional<Windows> Windows::parse(std::string_view text, WindowError& error) {
  const auto parsed = Parser(text, error).windows();
  if (!parsed) return std::nullopt;
  Windows windows;
  for (const Window& window : *parsed) {
    const int length = window.end > window.start ? window.end - window.start : window.end + day_minutes - window.start;
    for (int day = 0; day < 7; ++day) {
      if (!window.days.test(static_cast<std::size_t>(day))) continue;
      const int from = day * day_minutes + window.start;
      windows.spans_.push_back({from, from + length});
    }
  }
  return windows;
}

bool Windows::contains(LocalMinute now) const noexcept {
  return minutes_until_open(now) == 0;
}

int Windows::minutes_until_open(LocalMinute now) const noexcept {
  const int minute = minute_of_week(now);
  int soonest = week_minutes;
  for (const Span& span : spans_) {
    const bool inside = (minute >= span.from && minute < span.to) || minute + week_minutes < span.to;
    if (inside) return 0;
    soonest = std::min(soonest, (span.from - minute + week_minutes) % week_minutes);
  }
  return soonest;
}

} // namespace dbops::core
