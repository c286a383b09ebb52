#include "cli/background.h"

#include "cli/progress_line.h"
#include "cli/signals.h"
#include "core/base/error.h"
#include "core/base/thread_pool.h"

#include <optional>

namespace dbops::cli {

namespace {

constexpr auto look = core::milliseconds(100); // for the end of the work

} // namespace

void run_in_background(const std::function<void(std::stop_token)>& work, core::milliseconds interval,
                       const std::function<void()>& tick) {
  Signals signals;
  std::stop_source stop;
  core::ThreadPool pool(1);
  auto result = pool.submit([&](const std::stop_token&) { work(stop.get_token()); });
  std::optional<Interrupted> interrupted;
  core::SteadyTime next = std::chrono::steady_clock::now() + interval;
  while (result.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    try {
      const auto now = std::chrono::steady_clock::now();
      if (signals.wait(-1, now + look) == Wake::suspend) {
        end_progress();
        Signals::suspend();
      }
      if (!interrupted && now >= next) {
        tick();
        next = now + interval;
      }
    } catch (const Interrupted& signal) {
      interrupted = signal;
      stop.request_stop();
    }
  }
  end_progress();
  try {
    result.get();
  } catch (const core::Error& error) {
    if (!interrupted || error.kind() != core::ErrorKind::cancelled) throw;
  }
  if (interrupted) throw Interrupted(*interrupted);
}

} // namespace dbops::cli
