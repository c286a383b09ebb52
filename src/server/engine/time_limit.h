// How long something may hold locks that others queue behind.
#pragma once

#include <chrono>

namespace dbops::server {

// When the time is over, what is being executed is cancelled: 57014, and over() tells it from somebody's cancel. One at
// a time. Not for threads.
class TimeLimit {
 public:
  explicit TimeLimit(std::chrono::milliseconds time);
  ~TimeLimit();
  TimeLimit(const TimeLimit&) = delete;
  TimeLimit& operator=(const TimeLimit&) = delete;

  [[nodiscard]] bool over() const noexcept;
};

} // namespace dbops::server
