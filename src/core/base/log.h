// Messages from threads that must not log themselves.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

namespace dbops::core {

enum class LogLevel { debug, info, warning };

struct LogMessage {
  LogLevel level;
  std::string text; // one line, no secret
};

// What core writes its messages to; called from any thread.
using LogSink = std::function<void(LogMessage)>;

// A bounded queue between threads that produce messages and the one that may write them.
class LogQueue {
 public:
  // capacity: messages kept until the next drain; what comes beyond it is counted and dropped.
  // wake: called after each push, outside the lock, from the pushing thread (e.g. writes an eventfd); may be empty.
  explicit LogQueue(std::size_t capacity, std::function<void()> wake = {})
      : capacity_(capacity), wake_(std::move(wake)) {}

  void push(LogMessage message);

  struct Drained {
    std::vector<LogMessage> messages;
    std::uint64_t dropped; // since the previous drain
  };
  Drained drain();

 private:
  std::mutex mutex_;
  std::size_t capacity_;
  std::function<void()> wake_;
  std::vector<LogMessage> messages_;
  std::uint64_t dropped_ = 0;
};

} // namespace dbops::core
