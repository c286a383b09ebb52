// A thread that does something for a client's session, which stays interruptible meanwhile.
#pragma once

#include "server/archive/threads.h"

extern "C" {
#include "storage/ipc.h"
}

namespace dbops::server::archive {

inline const ThreadEvent& session_event() {
  static const auto& event = *new ThreadEvent(); // a thread may be left behind
  return event;
}

// The task that this process waits for.
struct SessionTask {
  void* task = nullptr;
  void (*stop)(void*) = nullptr;
};

inline SessionTask& session_task() {
  static SessionTask task;
  return task;
}

// A session that is terminated ends inside CHECK_FOR_INTERRUPTS, without unwinding: the thread must not run on while
// the process's libraries are shut down.
inline void stop_session_task(int, Datum) {
  const SessionTask running = std::exchange(session_task(), {});
  if (running.task == nullptr) return;
  try {
    running.stop(running.task);
  } catch (...) { // nothing may leave a callback of PostgreSQL
    leave_thread_behind();
  }
}

inline void stop_session_task_at_exit() {
  static bool registered = false;
  if (registered) return;
  call_pg([] { before_shmem_exit(stop_session_task, static_cast<Datum>(0)); });
  registered = true;
}

// Runs fn(stop_token) -> Result in a thread and waits. An interrupt of the session stops it and is raised. Absent: it
// has not ended by the deadline, and is stopped, or left behind when it cannot be.
template <typename Result, typename F>
std::optional<Result> in_thread_until(F fn, core::SteadyTime deadline) {
  using Task = BackgroundTask<Result>;
  struct Waiting {
    explicit Waiting(Task& task) {
      session_task() = {.task = &task, .stop = [](void* running) { static_cast<Task*>(running)->stop(); }};
    }
    ~Waiting() { session_task() = {}; }
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;
  };
  stop_session_task_at_exit();
  Task task;
  const Waiting waiting(task);
  task.start(std::move(fn), session_event());
  for (;;) {
    if (auto result = task.take()) return result;
    if (thread_clock().steady_now() >= deadline) {
      task.request_stop();
      wait_for_threads(session_event(), [&task] { return task.ended(); });
      task.stop(thread_clock().steady_now());
      return std::nullopt;
    }
    if (!session_event().wait(core::milliseconds(1000)))
      throw SqlError(ERRCODE_ADMIN_SHUTDOWN, "the postmaster is gone");
  }
}

template <typename Result, typename F>
Result in_thread(F fn) {
  return std::move(*in_thread_until<Result>(std::move(fn), core::SteadyTime::max()));
}

} // namespace dbops::server::archive
