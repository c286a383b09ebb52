#include "server/engine/wait.h"

extern "C" {
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "utils/wait_event.h"
}

namespace dbops::server {

void check_interrupts() {
  call_pg([] {
    CHECK_FOR_INTERRUPTS();
    // A client's session re-reads its configuration by itself, between its statements.
    if (ConfigReloadPending && MyBackendType == B_BG_WORKER) {
      ConfigReloadPending = false;
      ProcessConfigFile(PGC_SIGHUP);
    }
  });
}

void nap(std::chrono::milliseconds duration) {
  check_interrupts();
  if (duration.count() <= 0) return;
  call_pg([duration] {
    (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, static_cast<long>(duration.count()),
                    PG_WAIT_EXTENSION);
    ResetLatch(MyLatch);
  });
  check_interrupts();
}

void sleep_whole(std::chrono::milliseconds duration) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point end = Clock::now() + duration;
  for (Clock::time_point now = Clock::now(); now < end; now = Clock::now())
    nap(std::chrono::ceil<std::chrono::milliseconds>(end - now));
}

} // namespace dbops::server
