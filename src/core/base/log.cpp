#include "core/base/log.h"

#include <utility>

namespace dbops::core {

void LogQueue::push(LogMessage message) {
  {
    const std::lock_guard lock(mutex_);
    if (messages_.size() < capacity_)
      messages_.push_back(std::move(message));
    else
      ++dropped_;
  }
  if (wake_) wake_();
}

LogQueue::Drained LogQueue::drain() {
  const std::lock_guard lock(mutex_);
  return {std::exchange(messages_, {}), std::exchange(dropped_, 0)};
}

} // namespace dbops::core
