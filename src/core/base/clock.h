// Time as an argument: tests pass a clock that they move themselves.
#pragma once

#include <chrono>
#include <optional>
#include <stop_token>
#include <string>

namespace dbops::core {

using WallTime = std::chrono::sys_time<std::chrono::microseconds>;
using SteadyTime = std::chrono::steady_clock::time_point;
using std::chrono::milliseconds;

class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual WallTime wall_now() const = 0;
  [[nodiscard]] virtual SteadyTime steady_now() const = 0;
  // Returns when the time has passed or a stop is requested, whichever is first.
  virtual void sleep_for(std::chrono::steady_clock::duration time, const std::stop_token& stop) = 0;
};

class SystemClock final : public Clock {
 public:
  [[nodiscard]] WallTime wall_now() const override;
  [[nodiscard]] SteadyTime steady_now() const override;
  void sleep_for(std::chrono::steady_clock::duration time, const std::stop_token& stop) override;
};

// What every call that may wait is given: who may interrupt it, and until when it may last at all, retries included.
struct CallContext {
  std::stop_token stop = {};
  std::optional<SteadyTime> deadline = {};
};

// "20150830T123600Z", the basic ISO 8601 form in UTC that SigV4 uses.
std::string iso8601_basic(WallTime time);

// "2026-11-21T10:04:50Z" and "2026-11-21T10:04:50.123Z" (a fraction of any length, UTC only). Absent: another form.
std::optional<WallTime> parse_iso8601(std::string_view text);

} // namespace dbops::core
