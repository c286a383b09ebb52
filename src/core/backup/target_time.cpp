#include "core/backup/target_time.h"

#include "core/base/error.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>
#include <vector>

namespace dbops::core {

namespace {

using std::chrono::seconds;

// What is left of a text, taken from its beginning.
class Rest {
 public:
  explicit Rest(std::string_view text) : text_(text) {}
  [[nodiscard]] bool empty() const { return text_.empty(); }
  [[nodiscard]] std::string_view all() const { return text_; }
  bool take(std::string_view what) {
    if (!text_.starts_with(what)) return false;
    text_.remove_prefix(what.size());
    return true;
  }
  // So many digits, of a number within the bounds.
  std::optional<int> number(std::size_t digits, int least, int most) {
    int value = 0;
    if (text_.size() < digits) return {};
    for (const char c : text_.substr(0, digits)) {
      if (c < '0' || c > '9') return {};
      value = value * 10 + (c - '0');
    }
    if (value < least || value > most) return {};
    text_.remove_prefix(digits);
    return value;
  }

 private:
  std::string_view text_;
};

std::optional<local_seconds> take_local_time(Rest& rest) {
  const auto year = rest.number(4, 1970, 9999);
  if (!year || !rest.take("-")) return {};
  const auto month = rest.number(2, 1, 12);
  if (!month || !rest.take("-")) return {};
  const auto day = rest.number(2, 1, 31);
  if (!day || (!rest.take(" ") && !rest.take("T"))) return {};
  const auto hour = rest.number(2, 0, 23);
  if (!hour || !rest.take(":")) return {};
  const auto minute = rest.number(2, 0, 59);
  if (!minute || !rest.take(":")) return {};
  const auto second = rest.number(2, 0, 59);
  const std::chrono::year_month_day date{std::chrono::year(*year), std::chrono::month(unsigned(*month)),
                                         std::chrono::day(unsigned(*day))};
  if (!second || !date.ok()) return {};
  return local_seconds(std::chrono::local_days(date)) + std::chrono::hours(*hour) + std::chrono::minutes(*minute) +
         seconds(*second);
}

// Absent: a point without a digit. What is finer than a microsecond is cut off.
std::optional<std::chrono::microseconds> take_fraction(Rest& rest) {
  std::int64_t micros = 0;
  if (!rest.take(".")) return std::chrono::microseconds(0);
  auto digit = rest.number(1, 0, 9);
  if (!digit) return {};
  for (std::int64_t unit = 100000; digit; unit /= 10, digit = rest.number(1, 0, 9))
    micros += *digit * unit;
  return std::chrono::microseconds(micros);
}

// "+01", "+0130", "+01:30", "Z", "UTC", as PostgreSQL writes and reads them. Absent: another one.
std::optional<seconds> take_offset(Rest& rest) {
  for (const char* name : {"Z", "z", "UTC", "GMT"})
    if (rest.all() == name) return seconds(0);
  const bool west = rest.take("-");
  if (!west && !rest.take("+")) return {};
  const auto hours = rest.number(2, 0, 15);
  if (!hours) return {};
  std::optional<int> minutes = 0;
  if (rest.take(":") || !rest.empty()) minutes = rest.number(2, 0, 59);
  if (!minutes || !rest.empty()) return {};
  const seconds offset = std::chrono::hours(*hours) + std::chrono::minutes(*minutes);
  return west ? -offset : offset;
}

sys_seconds at_offset(local_seconds local, seconds offset) {
  return sys_seconds(local.time_since_epoch() - offset);
}

// Instants that are this time on clocks of the zone: one, or none or two when they are changed.
std::vector<sys_seconds> instants_of(local_seconds local, const TimeZone& zone) {
  constexpr auto day = std::chrono::hours(24); // no zone is farther from UTC, nor changes twice within it
  std::vector<sys_seconds> instants;
  for (const auto near : {-day, day}) {
    const sys_seconds instant = at_offset(local, zone.period_at(at_offset(local, seconds(0)) + near).offset);
    if (zone.period_at(instant).offset == seconds(local.time_since_epoch() - instant.time_since_epoch()) &&
        std::ranges::find(instants, instant) == instants.end())
      instants.push_back(instant);
  }
  std::ranges::sort(instants);
  return instants;
}

[[noreturn]] void refuse(std::string_view text, const std::string& why, const std::string& hint) {
  throw Error(ErrorKind::configuration, "\"" + std::string(text) + "\" " + why, hint);
}

} // namespace

WallTime parse_target_time(std::string_view text, const TimeZone& zone) {
  Rest rest(text);
  const auto local = take_local_time(rest);
  const auto fraction = local ? take_fraction(rest) : std::nullopt;
  if (!fraction) refuse(text, "is not a time like 2026-11-21 14:32:01+01", "");
  while (rest.take(" ")) {
  }
  if (!rest.empty()) {
    const auto offset = take_offset(rest);
    if (!offset)
      refuse(text, "has a time zone that is not understood", "Use an offset, as in 2026-11-21 14:32:01+01, or Z.");
    return at_offset(*local, *offset) + *fraction;
  }
  const std::vector<sys_seconds> instants = instants_of(*local, zone);
  if (instants.empty())
    refuse(text, "was never, as clocks were put forward then", "Give an offset, as in 2026-11-21 14:32:01+01, or Z.");
  if (instants.size() > 1)
    refuse(text, "was twice, as clocks were put back then",
           "It is " + target_time_text(instants.front()) + " or " + target_time_text(instants.back()) +
               ": give one of these.");
  return instants.front() + *fraction;
}

std::string target_time_text(WallTime time) {
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(time - day);
  std::array<char, 64> text{};
  const int size =
      std::snprintf(text.data(), text.size(), "%04d-%02u-%02u %02d:%02d:%02d.%06d+00", int(date.year()),
                    unsigned(date.month()), unsigned(date.day()), int(clock.hours().count()),
                    int(clock.minutes().count()), int(clock.seconds().count()), int(clock.subseconds().count()));
  return {text.data(), std::size_t(size)};
}

} // namespace dbops::core
