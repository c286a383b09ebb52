// Any text: parsed without a crash; what was understood gives times that only go forward, and that agree with
// themselves.
#include "core/schedule/schedule.h"

#include <cstdlib>

using namespace dbops::core;
using namespace std::chrono_literals;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

// Clocks set forward and back in turn, a change each ten days.
class Restless final : public TimeZone {
 public:
  [[nodiscard]] Period period_at(sys_seconds instant) const override {
    constexpr std::chrono::days length{10};
    const auto number = std::chrono::floor<std::chrono::days>(instant).time_since_epoch() / length;
    const auto next = sys_seconds(std::chrono::days((number + 1) * length)) + 90min;
    const bool before_change = instant < next - length;
    const bool odd = (number + (before_change ? 0 : 1)) % 2 != 0;
    return {odd ? 2h : 1h, before_change ? next - length : next};
  }
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  ScheduleError error{};
  const auto schedule = Schedule::parse(text, error);
  if (!schedule) {
    require(error.position <= size && !error.expected.empty());
    return 0;
  }
  const Restless zone;
  const sys_seconds start = std::chrono::sys_days(std::chrono::year(2026) / 1 / 1) + 1234567s;
  sys_seconds after = start;
  for (int i = 0; i < 20; ++i) {
    const auto next = schedule->next(after, zone, start);
    if (!next) {
      require(schedule->is_once());
      break;
    }
    require(*next > after);
    require(schedule->next(*next - 1s, zone, start) == next); // no slot between the two
    after = *next;
  }
  return 0;
}
