#include "core/base/signal_mask.h"

namespace dbops::core {

BlockAllSignals::BlockAllSignals() noexcept {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before_);
}

BlockAllSignals::~BlockAllSignals() {
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

} // namespace dbops::core
