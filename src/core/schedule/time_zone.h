// The rules of a time zone, which come from outside: from the server's own tz database there, from the C library in
// tests.
#pragma once

#include <chrono>
#include <optional>

namespace dbops::core {

using std::chrono::local_seconds;
using std::chrono::sys_seconds;

class TimeZone {
 public:
  struct Period {
    std::chrono::seconds offset;    // local time minus UTC
    std::optional<sys_seconds> end; // the first instant with another offset; absent: none is known
  };
  virtual ~TimeZone() = default;
  // The period that the instant belongs to.
  [[nodiscard]] virtual Period period_at(sys_seconds instant) const = 0;
};

class Utc final : public TimeZone {
 public:
  [[nodiscard]] Period period_at(sys_seconds /*instant*/) const override { return {std::chrono::seconds(0), {}}; }
};

// When that local time is: its first occurrence when there are two, the next valid instant when there is none.
sys_seconds first_instant(local_seconds local, const TimeZone& zone);

} // namespace dbops::core
