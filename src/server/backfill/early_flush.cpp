#include "server/backfill/early_flush.h"

#include "server/compat.h"
#include "server/guard.h"

extern "C" {
#include "utils/timeout.h"
#include "utils/timestamp.h"
}

namespace dbops::server::backfill {

namespace {

constexpr int interval_ms = 5;

// In a signal handler: nothing but a latch.
void wake_wal_writer() {
  compat::wake_wal_writer();
}

TimeoutId timer() {
  static const TimeoutId id = call_pg([] { return RegisterTimeout(USER_TIMEOUT, wake_wal_writer); });
  return id;
}

} // namespace

EarlyFlush::EarlyFlush() {
  call_pg([id = timer()] {
    enable_timeout_every(id, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), interval_ms), interval_ms);
  });
}

EarlyFlush::~EarlyFlush() {
  disable_timeout(timer(), false);
}

} // namespace dbops::server::backfill
