// A thread that does something for a client's session, which stays interruptible meanwhile.
#pragma once

#include "server/archive/threads.h"

namespace dbops::server::archive {

inline const ThreadEvent& session_event() {
  static const auto& event = *new ThreadEvent(); // a thread may be left behind
  return event;
}

// Runs fn(stop_token) -> Result in a thread and waits. An interrupt of the session stops it and is raised.
template <typename Result, typename F>
Result in_thread(F fn) {
  BackgroundTask<Result> task;
  task.start(std::move(fn), session_event());
  for (;;) {
    if (auto result = task.take()) return std::move(*result);
    if (!session_event().wait(core::milliseconds(1000)))
      throw SqlError(ERRCODE_ADMIN_SHUTDOWN, "the postmaster is gone");
  }
}

} // namespace dbops::server::archive
