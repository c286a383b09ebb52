#include "server/backfill/deadlock_watch.h"

#include "server/guard.h"

extern "C" {
#include "storage/proc.h"
#include "utils/timeout.h"
}

namespace dbops::server::backfill {

namespace {

// Below every deadlock_timeout that an application may reasonably have; a look takes all partitions of the lock table.
constexpr int interval_ms = 10;

bool watching = false;
TimeoutId timer = MAX_TIMEOUTS;

void at_transaction_end(XactEvent event, void*) {
  if (!watching || (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT)) return;
  watching = false;
  disable_timeout(timer, false);
}

} // namespace

void watch_for_deadlocks() {
  if (watching) return;
  call_pg([] {
    if (timer == MAX_TIMEOUTS) {
      RegisterXactCallback(at_transaction_end, nullptr);
      // What the server's own timer does: the loop in ProcSleep() then looks for a deadlock.
      timer = RegisterTimeout(USER_TIMEOUT, CheckDeadLockAlert);
    }
    enable_timeout_every(timer, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), interval_ms), interval_ms);
  });
  watching = true;
}

} // namespace dbops::server::backfill
