#include "core/base/thread_pool.h"

#include "core/base/signal_mask.h"

#include <condition_variable>
#include <deque>
#include <mutex>

namespace dbops::core {

struct ThreadPool::State {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::function<void(const std::stop_token&)>> tasks;
  std::stop_source stop;
  std::size_t alive = 0;
};

ThreadPool::ThreadPool(std::size_t threads) : state_(std::make_shared<State>()) {
  const BlockAllSignals inherited_by_the_threads;
  threads_.reserve(threads);
  state_->alive = threads;
  try {
    for (std::size_t i = 0; i < threads; ++i)
      threads_.emplace_back(&ThreadPool::run, state_);
  } catch (...) { // the destructor does not run
    {
      const std::lock_guard lock(state_->mutex);
      state_->alive -= threads - threads_.size();
    }
    shutdown(SteadyTime::max());
    throw;
  }
}

ThreadPool::~ThreadPool() {
  shutdown(SteadyTime::max());
}

void ThreadPool::enqueue(std::function<void(const std::stop_token&)> task) {
  {
    const std::lock_guard lock(state_->mutex);
    if (!state_->stop.stop_requested()) state_->tasks.push_back(std::move(task));
  }
  state_->changed.notify_one();
}

void ThreadPool::run(const std::shared_ptr<State>& state) noexcept {
  std::unique_lock lock(state->mutex);
  for (;;) {
    state->changed.wait(lock, [&] { return state->stop.stop_requested() || !state->tasks.empty(); });
    if (state->stop.stop_requested()) break;
    auto task = std::move(state->tasks.front());
    state->tasks.pop_front();
    lock.unlock();
    task(state->stop.get_token());
    task = nullptr; // what the task owns is released outside the lock
    lock.lock();
  }
  --state->alive;
  state->changed.notify_all();
}

void ThreadPool::request_stop() {
  std::deque<std::function<void(const std::stop_token&)>> dropped;
  {
    const std::lock_guard lock(state_->mutex);
    dropped.swap(state_->tasks);
  }
  state_->stop.request_stop(); // runs stop callbacks: not under the lock
  const std::lock_guard lock(state_->mutex);
  state_->changed.notify_all();
}

bool ThreadPool::ended() const {
  const std::lock_guard lock(state_->mutex);
  return state_->alive == 0;
}

bool ThreadPool::shutdown(SteadyTime deadline) {
  if (threads_.empty()) // shut down before, perhaps with a thread left behind
    return true;
  request_stop();
  bool done = true;
  {
    std::unique_lock lock(state_->mutex);
    const auto all_gone = [&] { return state_->alive == 0; };
    if (deadline == SteadyTime::max())
      state_->changed.wait(lock, all_gone);
    else
      done = state_->changed.wait_until(lock, deadline, all_gone);
  }
  for (std::thread& thread : threads_)
    done ? thread.join() : thread.detach();
  threads_.clear();
  return done;
}

} // namespace dbops::core
