// When something is to run: a cron expression, an interval, or one moment.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>
#include <variant>

#include "core/schedule/cron_expression.h"
#include "core/schedule/time_zone.h"

namespace dbops::core {

class Schedule {
 public:
  // One of
  //   five or six cron fields                  see CronExpression
  //   @hourly @daily @midnight @weekly @monthly @yearly @annually
  //   every [N] second[s]|minute[s]|hour[s]|day[s]|week[s]    1 second to 3650 days; a day is 24 hours
  //   at YYYY-MM-DD HH:MM[:SS][Z|+HH[:MM]|-HH[:MM]]           "T" may stand for the space; local time without a zone
  // in any case, with white space around. Nothing and `error` set when the text is not that.
  static std::optional<Schedule> parse(std::string_view text, ScheduleError& error);

  // The first time after `after`; nothing when there is none. Slots of an interval are `anchor` and what is a multiple
  // of it away. In local time, a time that does not exist (clocks are set forward) is the next valid instant, and one
  // that occurs twice (set back) is its first occurrence alone, unless the expression names all 24 hours.
  [[nodiscard]] std::optional<sys_seconds> next(sys_seconds after, const TimeZone& zone, sys_seconds anchor) const;

  [[nodiscard]] bool is_interval() const noexcept { return std::holds_alternative<Interval>(kind_); }
  [[nodiscard]] bool is_once() const noexcept { return std::holds_alternative<Once>(kind_); }

 private:
  struct Interval {
    std::chrono::seconds period;
  };
  struct Once {
    local_seconds time;
    std::optional<std::chrono::seconds> offset; // of the time zone that the text names
  };
  using Kind = std::variant<CronExpression, Interval, Once>;
  friend class ScheduleParser;
  explicit Schedule(const Kind& kind) : kind_(kind) {}
  Kind kind_;
};

} // namespace dbops::core
