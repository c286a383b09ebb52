#include "server/engine/clock_watch.h"

#include <chrono>
#include <ctime>

#include "core/base/bytes.h"
#include "core/base/file.h"
#include "server/pg.h"

extern "C" {
#include "miscadmin.h"
}

#include <fcntl.h>

namespace dbops::server {

namespace {

using Steady = std::chrono::steady_clock;

constexpr std::chrono::minutes note_every{10};

std::string boot_of_machine() {
  const auto file = core::File::open_if_exists("/proc/sys/kernel/random/boot_id", O_RDONLY);
  if (!file) return {};
  core::Bytes id(64);
  id.resize(file->read_at(0, id));
  const std::string text(core::as_text(id));
  return text.substr(0, text.find('\n'));
}

double seconds_of(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

} // namespace

core::ClockRecord clock_of_machine() {
  return {boot_of_machine(), seconds_of(CLOCK_REALTIME), seconds_of(CLOCK_BOOTTIME)};
}

void note_clock() noexcept {
  static std::optional<Steady::time_point> noted;
  const Steady::time_point now = Steady::now();
  if (noted && now - *noted < note_every) return;
  noted = now;
  try {
    core::write_clock_record(DataDir, core::observe(core::read_clock_record(DataDir), clock_of_machine()));
  } catch (...) { // the next one
  }
}

} // namespace dbops::server
