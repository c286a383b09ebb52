#include "core/text/quantity.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

namespace dbops::core {

namespace {

// Three significant digits; units.size() is the number of powers of `base` there are names for.
template <std::size_t count>
std::string three_digits(double number, double base, const std::array<std::string_view, count>& units) {
  std::size_t power = 0;
  // 999.5 would be rounded to four digits.
  while (number >= std::min(base, 999.5) && power + 1 < count) {
    number /= base;
    ++power;
  }
  if (power == 0) return fmt::format("{:.0f}{}", number, units[0]);
  const int decimals = number < 9.995 ? 2 : number < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f}{}", number, decimals, units[power]);
}

} // namespace

std::string grouped(std::int64_t number) {
  std::string digits = fmt::format("{}", number);
  const std::size_t start = number < 0 ? 1 : 0;
  for (std::size_t i = digits.size(); i > start + 3;) {
    i -= 3;
    digits.insert(i, 1, ',');
  }
  return digits;
}

std::string abbreviated(double number) {
  static constexpr std::array<std::string_view, 6> units{"", "k", "M", "G", "T", "P"};
  return three_digits(std::max(0.0, number), 1000, units);
}

std::string row_rate(double rows_per_second) {
  if (!(rows_per_second > 0)) return "0 rows/s";
  if (rows_per_second < 9.95) return fmt::format("{:.1f} rows/s", rows_per_second);
  constexpr double most = 1e15; // fits in 64 bits, and no server is that fast
  return grouped(std::llround(std::min(rows_per_second, most))) + " rows/s";
}

std::string byte_size(std::int64_t bytes) {
  static constexpr std::array<std::string_view, 7> units{" B", " kB", " MB", " GB", " TB", " PB", " EB"};
  return three_digits(static_cast<double>(std::max<std::int64_t>(0, bytes)), 1024, units);
}

std::string duration_text(Seconds duration) {
  if (!std::isfinite(duration.count())) return "?";
  const double seconds = std::max(0.0, duration.count());
  if (seconds < 0.00995) return fmt::format("{:.1f} ms", seconds * 1000);
  if (seconds < 0.9995) return fmt::format("{:.0f} ms", seconds * 1000);
  if (seconds < 9.95) return fmt::format("{:.1f} s", seconds);
  constexpr double most = 1e15; // 31 million years
  const auto whole = std::llround(std::min(seconds, most));
  constexpr std::int64_t minute = 60;
  constexpr std::int64_t hour = 60 * minute;
  constexpr std::int64_t day = 24 * hour;
  if (whole < minute) return fmt::format("{} s", whole);
  if (whole < hour) return fmt::format("{}m {:02}s", whole / minute, whole % minute);
  if (whole < day) return fmt::format("{}h {:02}m", whole / hour, whole % hour / minute);
  return fmt::format("{}d {:02}h", whole / day, whole % day / hour);
}

} // namespace dbops::core
