#include "server/engine/time_limit.h"

#include <csignal>

#include "server/guard.h"

extern "C" {
#include "storage/latch.h"
#include "utils/timeout.h"
}

namespace dbops::server {

namespace {

TimeoutId timer = MAX_TIMEOUTS;
volatile std::sig_atomic_t expired = 0;

// In the handler of SIGALRM. What StatementCancelHandler does (postgres.c).
void expire() {
  expired = 1;
  InterruptPending = 1;
  QueryCancelPending = 1;
  SetLatch(MyLatch);
}

} // namespace

TimeLimit::TimeLimit(std::chrono::milliseconds time) {
  expired = 0;
  call_pg([time] {
    if (timer == MAX_TIMEOUTS) timer = RegisterTimeout(USER_TIMEOUT, expire);
    enable_timeout_after(timer, static_cast<int>(time.count()));
  });
}

TimeLimit::~TimeLimit() {
  disable_timeout(timer, false);
  // It was over when there was nothing left to cancel.
  if (expired != 0) QueryCancelPending = 0;
}

bool TimeLimit::over() const noexcept {
  return expired != 0;
}

} // namespace dbops::server
