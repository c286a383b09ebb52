// When a failed call is made again.
#pragma once

#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/random.h"

#include <functional>

namespace dbops::core {

struct RetryPolicy {
  int max_attempts = 8;                               // the first one included; at least 1
  milliseconds first_delay = milliseconds(200);       // upper bound of the first pause; doubles with each attempt ...
  milliseconds max_delay = milliseconds(20000);       // ... up to this one
  milliseconds max_retry_after = milliseconds(60000); // what a server's Retry-After may add at most
};

class Retrier {
 public:
  // Told before each pause: the failure, which attempt it was (from 1), how long the pause will be.
  using Observer = std::function<void(const Error&, int attempt, milliseconds pause)>;

  // All arguments must outlive the retrier. observer may be empty.
  Retrier(RetryPolicy policy, Clock& clock, Random& random, Observer observer = {})
      : policy_(policy), clock_(clock), random_(random), observer_(std::move(observer)) {}

  // Calls `attempt` until it returns or throws something else than TransientError. Throws Error(unavailable) with the
  // last failure's message when the attempts or the time to context.deadline are used up, Error(cancelled) on a stop.
  template <class Attempt>
  auto run(const CallContext& context, const Attempt& attempt) -> decltype(attempt()) {
    for (int number = 1;; ++number) {
      try {
        return attempt();
      } catch (const TransientError& failure) {
        pause_or_give_up(failure, number, context);
      }
    }
  }

  // "Full jitter": uniform between 0 and a bound that doubles; at least what the server asked for.
  milliseconds delay(int attempt, const TransientError& failure);

 private:
  void pause_or_give_up(const TransientError& failure, int attempt, const CallContext& context);

  RetryPolicy policy_;
  Clock& clock_;
  Random& random_;
  Observer observer_;
};

} // namespace dbops::core
