// Any text: parsed without a crash, and what was understood must agree with itself.
#include "core/schedule/window.h"

#include <cstdlib>

using namespace dbops::core;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr int week_minutes = 7 * 24 * 60;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  WindowError error{};
  const auto windows = Windows::parse(text, error);
  if (!windows) {
    require(error.position <= size && !error.expected.empty());
    return 0;
  }
  int before = windows->minutes_until_open({6, 1439}); // the minute before the week begins
  for (int minute = 0; minute < week_minutes; ++minute) {
    const LocalMinute now{minute / 1440, minute % 1440};
    const int wait = windows->minutes_until_open(now);
    require(wait >= 0 && wait < week_minutes);
    require(windows->contains(now) == (wait == 0));
    require(before == 0 || wait == before - 1); // a minute of waiting is a minute less to wait
    before = wait;
  }
  return 0;
}
