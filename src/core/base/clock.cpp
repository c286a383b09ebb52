#include "core/base/clock.h"

#include <array>
#include <charconv>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <string_view>

namespace dbops::core {

using namespace std::chrono;

WallTime SystemClock::wall_now() const {
  return time_point_cast<microseconds>(system_clock::now());
}

SteadyTime SystemClock::steady_now() const {
  return steady_clock::now();
}

void SystemClock::sleep_for(steady_clock::duration time, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  wake.wait_for(lock, stop, time, [] { return false; });
}

std::string iso8601_basic(WallTime time) {
  const auto day = floor<days>(time);
  const year_month_day date(day);
  const hh_mm_ss clock(floor<seconds>(time - day));
  std::array<char, 64> text{};
  const int length = std::snprintf(text.data(), text.size(), "%04d%02u%02uT%02d%02d%02dZ", int(date.year()),
                                   unsigned(date.month()), unsigned(date.day()), int(clock.hours().count()),
                                   int(clock.minutes().count()), int(clock.seconds().count()));
  return {text.data(), std::size_t(length)};
}

namespace {

// Reads exactly `digits` decimal digits from the front of `text`.
std::optional<int> take_number(std::string_view& text, std::size_t digits) {
  int value = 0;
  if (text.size() < digits || text.front() == '-') return {};
  const auto [end, error] = std::from_chars(text.data(), text.data() + digits, value);
  if (error != std::errc() || end != text.data() + digits) return {};
  text.remove_prefix(digits);
  return value;
}

bool take(std::string_view& text, char expected) {
  if (text.empty() || text.front() != expected) return false;
  text.remove_prefix(1);
  return true;
}

} // namespace

std::optional<WallTime> parse_iso8601(std::string_view text) {
  constexpr std::string_view separators = "--T::";
  constexpr std::array<std::size_t, 6> widths{4, 2, 2, 2, 2, 2};
  std::array<int, 6> part{};
  for (std::size_t i = 0; i < part.size(); ++i) {
    const auto number = take_number(text, widths.at(i));
    if (!number || (i < separators.size() && !take(text, separators[i]))) return {};
    part.at(i) = *number;
  }
  if (take(text, '.')) {
    const auto digits = text.find_first_not_of("0123456789");
    text.remove_prefix(digits == std::string_view::npos ? text.size() : digits);
  }
  const year_month_day date{year(part[0]), month(unsigned(part[1])), day(unsigned(part[2]))};
  if (text != "Z" || !date.ok() || part[3] > 23 || part[4] > 59 || part[5] > 60) return {};
  return WallTime(sys_days(date)) + hours(part[3]) + minutes(part[4]) + seconds(part[5]);
}

} // namespace dbops::core
