// Sleeping outside of transactions, woken by whatever concerns the process.
#pragma once

#include <chrono>

#include "server/guard.h"

namespace dbops::server {

// Sleeps at most that long; returns early when the latch is set. Raises 57014 when the process was asked to cancel
// (pause, cancel, pg_cancel_backend). Re-reads the configuration after SIGHUP. No transaction may be open.
void nap(std::chrono::milliseconds duration);
// Sleeps the whole time, unless interrupted as above.
void sleep_whole(std::chrono::milliseconds duration);
// Raises 57014 if the process was asked to cancel.
void check_interrupts();

} // namespace dbops::server
