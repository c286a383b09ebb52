#include "core/store/retry.h"

#include <algorithm>

namespace dbops::core {

milliseconds Retrier::delay(int attempt, const TransientError& failure) {
  milliseconds bound = policy_.first_delay;
  for (int i = 1; i < attempt && bound < policy_.max_delay; ++i)
    bound *= 2;
  bound = std::min(bound, policy_.max_delay);
  const milliseconds jittered(std::int64_t(double(bound.count()) * random_.uniform()));
  const milliseconds asked = std::min(failure.retry_after().value_or(milliseconds(0)), policy_.max_retry_after);
  return std::max(jittered, asked);
}

void Retrier::pause_or_give_up(const TransientError& failure, int attempt, const CallContext& context) {
  const milliseconds pause = delay(attempt, failure);
  const bool too_late = context.deadline && clock_.steady_now() + pause >= *context.deadline;
  if (attempt >= policy_.max_attempts || too_late)
    throw Error(ErrorKind::unavailable, std::string(failure.what()) + " (attempt " + std::to_string(attempt) +
                                            (too_late ? ", no time left)" : ", the last)"));
  if (observer_) observer_(failure, attempt, pause);
  clock_.sleep_for(pause, context.stop);
  if (context.stop.stop_requested()) throw Error(ErrorKind::cancelled, "cancelled");
}

} // namespace dbops::core
