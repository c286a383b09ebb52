// Cron's five fields (minute, hour, day of month, month, day of week), or six with seconds first.
#pragma once

#include <bitset>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "core/schedule/time_zone.h"

namespace dbops::core {

// A position in the text and what was expected there.
struct ScheduleError {
  std::size_t position; // 0-based byte offset
  std::string expected;
};

class CronExpression {
 public:
  // Grammar of a field: item { "," item }; item = "*" ["/" step] | value | value "-" value ["/" step]. Values are
  // numbers; month and day of week also names, of three letters or whole, in any case; 7 is Sunday too; L or $ as an
  // item of the day of month is its last day. A range whose end lies before its start goes over the end: Fri-Mon, 22-2.
  // As in every cron, a day has to match both day fields when one of them has an item with "*", and otherwise either.
  // An expression that no day of 400 years matches is an error. `offset` is added to the position of an error.
  static std::optional<CronExpression> parse(std::string_view text, std::size_t offset, ScheduleError& error);

  // The first local time that matches, not before `from` and before `to`.
  [[nodiscard]] std::optional<local_seconds> first(local_seconds from, local_seconds to) const;

  // Does it match in all 24 hours of its days? Then it is about the time that passes, not about the hour on the clock.
  [[nodiscard]] bool every_hour() const noexcept { return hours_.count() == 24; }

 private:
  friend class CronParser;
  [[nodiscard]] bool matches(std::chrono::year_month_day day) const;
  [[nodiscard]] std::optional<std::chrono::seconds> first_in_day(std::chrono::seconds from) const;

  std::bitset<60> seconds_, minutes_;
  std::bitset<24> hours_;
  std::bitset<32> days_; // 1..31
  bool last_day_ = false;
  std::bitset<13> months_;  // 1..12
  std::bitset<7> weekdays_; // 0 = Sunday
  bool either_day_ = false; // a day matches when one of the day fields does
};

} // namespace dbops::core
