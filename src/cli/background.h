// Work in another thread, while this one shows how far it is and listens to signals.
#pragma once

#include "core/base/clock.h"

#include <functional>
#include <stop_token>

namespace dbops::cli {

// Runs `work` and returns when it has. `tick` is called about once an interval meanwhile. At SIGINT, SIGTERM or SIGHUP
// the stop is requested, and when the work has ended, Interrupted is thrown, or what the work threw if that was not
// core::Error(cancelled). Otherwise what the work throws is thrown. A bar of show_progress() is gone when it returns.
void run_in_background(const std::function<void(std::stop_token)>& work, core::milliseconds interval,
                       const std::function<void()>& tick);

} // namespace dbops::cli
