// Time zones by the C library's rules, from POSIX texts ("CET-1CEST,M3.5.0,M10.5.0/3"), so that no tz database is
// needed.
#pragma once

#include <cstdlib>
#include <ctime>
#include <map>
#include <string>

#include "core/schedule/time_zone.h"

namespace dbops::test {

// The C library's own answer, for the process's time zone of the moment.
inline std::tm libc_local(std::chrono::sys_seconds instant) {
  const std::time_t seconds = instant.time_since_epoch().count();
  std::tm parts{};
  localtime_r(&seconds, &parts);
  return parts;
}

class LibcZone final : public core::TimeZone {
 public:
  // Knows the years 2015 to 2045.
  explicit LibcZone(const std::string& posix) {
    use(posix);
    using namespace std::chrono;
    sys_seconds at = sys_days(year(2015) / 1 / 1);
    offset_ = seconds(libc_local(at).tm_gmtoff);
    seconds last = offset_;
    for (const sys_seconds end = sys_days(year(2045) / 1 / 1); at < end; at += hours(6)) {
      const seconds offset(libc_local(at + hours(6)).tm_gmtoff);
      if (offset == last) continue;
      sys_seconds low = at, high = at + hours(6); // the change is in (low, high]
      while (high - low > seconds(1)) {
        const sys_seconds middle = low + (high - low) / 2;
        (seconds(libc_local(middle).tm_gmtoff) == last ? low : high) = middle;
      }
      changes_[high] = last = offset;
    }
  }
  static void use(const std::string& posix) {
    setenv("TZ", posix.c_str(), 1);
    tzset();
  }
  [[nodiscard]] Period period_at(core::sys_seconds instant) const override {
    const auto next = changes_.upper_bound(instant);
    Period period{offset_, {}};
    if (next != changes_.begin()) period.offset = std::prev(next)->second;
    if (next != changes_.end()) period.end = next->first;
    return period;
  }

 private:
  std::chrono::seconds offset_{};
  std::map<core::sys_seconds, std::chrono::seconds> changes_;
};

// Two offsets and the moment between.
class OneChange final : public core::TimeZone {
 public:
  OneChange(std::chrono::seconds before, core::sys_seconds change, std::chrono::seconds after)
      : before_(before), after_(after), change_(change) {}
  [[nodiscard]] Period period_at(core::sys_seconds instant) const override {
    return instant < change_ ? Period{before_, change_} : Period{after_, {}};
  }

 private:
  std::chrono::seconds before_, after_;
  core::sys_seconds change_;
};

inline const char* const berlin = "CET-1CEST,M3.5.0,M10.5.0/3";
inline const char* const new_york = "EST5EDT,M3.2.0,M11.1.0";
inline const char* const lord_howe = "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0"; // half an hour
inline const char* const santiago = "<-04>4<-03>,M9.1.6/24,M4.1.6/24";       // at midnight
inline const char* const kolkata = "IST-5:30";
inline const char* const dublin = "IST-1GMT0,M10.5.0,M3.5.0/1";                    // winter is the exception
inline const char* const chatham = "<+1245>-12:45<+1345>,M9.5.0/2:45,M4.1.0/3:45"; // three quarters of an hour

} // namespace dbops::test
