// A fixed number of threads that run tasks with all signals blocked.
#pragma once

#include "core/base/clock.h"

#include <algorithm>
#include <functional>
#include <future>
#include <memory>
#include <stop_token>
#include <thread>
#include <vector>

namespace dbops::core {

class ThreadPool {
 public:
  // threads >= 1. Never create one in a process that forks afterwards (the postmaster).
  explicit ThreadPool(std::size_t threads);
  // Requests a stop and waits for the running tasks without bound; call shutdown() first for a bound.
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // task(stop_token) runs in a pool thread; its result or exception is in the future. Tasks not yet started when the
  // pool stops are dropped: their future throws std::future_error(broken_promise).
  template <class Task>
  auto submit(Task task) -> std::future<std::invoke_result_t<Task, std::stop_token>> {
    using Result = std::invoke_result_t<Task, std::stop_token>;
    auto packaged = std::make_shared<std::packaged_task<Result(std::stop_token)>>(std::move(task));
    auto future = packaged->get_future();
    enqueue([packaged](const std::stop_token& stop) { (*packaged)(stop); });
    return future;
  }

  // Asks the running tasks to stop, and drops those that have not begun. Returns at once.
  void request_stop();
  // After request_stop(): no task runs any more.
  [[nodiscard]] bool ended() const;

  // request_stop(), and waits at most until `deadline` (of the steady clock). False: a task still runs; its thread is
  // left behind, so what that task refers to must outlive the process or be owned by the task.
  bool shutdown(SteadyTime deadline);

 private:
  struct State;
  void enqueue(std::function<void(const std::stop_token&)> task);
  static void run(const std::shared_ptr<State>& state) noexcept;

  std::shared_ptr<State> state_;
  std::vector<std::thread> threads_;
};

// use(item) for each item, in up to `threads` threads; results in the order of the items. An exception of any is thrown
// when all have ended.
template <class Item, class Use>
auto in_threads(const std::vector<Item>& items, std::size_t threads, const Use& use)
    -> std::vector<std::invoke_result_t<const Use&, const Item&>> {
  using Result = std::invoke_result_t<const Use&, const Item&>;
  std::vector<Result> results;
  if (items.empty()) return results;
  ThreadPool pool(std::clamp<std::size_t>(threads, 1, items.size()));
  std::vector<std::future<Result>> running;
  running.reserve(items.size());
  for (const Item& item : items)
    running.push_back(pool.submit([&use, &item](const std::stop_token&) { return use(item); }));
  for (auto& result : running)
    result.wait();
  results.reserve(items.size());
  for (auto& result : running)
    results.push_back(result.get());
  return results;
}

} // namespace dbops::core
