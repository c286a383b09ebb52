// Threads of core must never receive the process's signals: a PostgreSQL process expects them in its main thread.
#pragma once

#include <csignal>

namespace dbops::core {

// Blocks every signal in the calling thread until destroyed. Threads created meanwhile inherit the mask.
class BlockAllSignals {
 public:
  BlockAllSignals() noexcept;
  ~BlockAllSignals();
  BlockAllSignals(const BlockAllSignals&) = delete;
  BlockAllSignals& operator=(const BlockAllSignals&) = delete;

 private:
  sigset_t before_{};
};

} // namespace dbops::core
