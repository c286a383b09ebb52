#include "server/backfill/deadlock_watch.h"

#include "server/guard.h"

extern "C" {
#include "storage/proc.h"
#include "utils/timeout.h"
}

namespace dbops::server::backfill {

namespace {

// Below every deadlock_timeout that an application may reasonably have; a look takes all partitions of the lock table.
constexpr int rows_interval_ms = 10;
// Below the default deadlock_timeout, 1 s; a VACUUM that truncates looks every 20 ms whether somebody waits
// (vacuumlazy.c, VACUUM_TRUNCATE_LOCK_CHECK_INTERVAL).
constexpr int table_interval_ms = 500;

int watching = 0; // the interval; 0: not
TimeoutId timer = MAX_TIMEOUTS;

void at_transaction_end(XactEvent event, void*) {
  if (watching == 0 || (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT)) return;
  watching = 0;
  disable_timeout(timer, false);
}

} // namespace

void watch_for_deadlocks(WatchFor what) {
  const int interval_ms = what == WatchFor::table ? table_interval_ms : rows_interval_ms;
  if (watching == interval_ms) return;
  call_pg([interval_ms] {
    if (timer == MAX_TIMEOUTS) {
      RegisterXactCallback(at_transaction_end, nullptr);
      // What the server's own timer does: the loop in ProcSleep() then looks for a deadlock.
      timer = RegisterTimeout(USER_TIMEOUT, CheckDeadLockAlert);
    }
    enable_timeout_every(timer, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), interval_ms), interval_ms);
  });
  watching = interval_ms;
}

} // namespace dbops::server::backfill
