#include "core/store/retry.h"

#include "fake_time_and_random.h"

#include <gtest/gtest.h>

namespace dbops::core {
namespace {

using namespace std::chrono_literals;

class RetryTest : public testing::Test {
 protected:
  // Runs an operation that fails `failures` times; returns how often it was called.
  int run(int failures, const CallContext& context = {}, std::optional<milliseconds> retry_after = {}) {
    int calls = 0;
    Retrier retrier(policy_, clock_, random_);
    retrier.run(context, [&] {
      if (++calls <= failures) throw TransientError("reset", retry_after);
    });
    return calls;
  }
  RetryPolicy policy_{.max_attempts = 6, .first_delay = 100ms, .max_delay = 1000ms, .max_retry_after = 5000ms};
  FakeClock clock_;
  SeededRandom random_;
};

TEST_F(RetryTest, SuccessNeedsNoPause) {
  EXPECT_EQ(run(0), 1);
  EXPECT_TRUE(clock_.slept.empty());
}

TEST_F(RetryTest, PausesGrowUpToTheCap) {
  EXPECT_EQ(run(5), 6);
  const milliseconds bounds[] = {100ms, 200ms, 400ms, 800ms, 1000ms};
  ASSERT_EQ(clock_.slept.size(), std::size(bounds));
  for (std::size_t i = 0; i < std::size(bounds); ++i)
    EXPECT_LE(clock_.slept[i], bounds[i]);
}

TEST_F(RetryTest, PausesAreSpread) {
  Retrier retrier(policy_, clock_, random_);
  milliseconds least = 1000ms, most = 0ms;
  for (int i = 0; i < 200; ++i) {
    const milliseconds pause = retrier.delay(4, TransientError("x"));
    least = std::min(least, pause);
    most = std::max(most, pause);
  }
  EXPECT_LT(least, 100ms);
  EXPECT_GT(most, 700ms);
}

TEST_F(RetryTest, GivesUpAfterTheLastAttempt) {
  try {
    run(100);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unavailable);
    EXPECT_EQ(std::string(error.what()), "reset (attempt 6, the last)");
    EXPECT_EQ(dynamic_cast<const TransientError*>(&error), nullptr); // or an outer retry would multiply the attempts
  }
}

TEST_F(RetryTest, NeverSleepsBeyondTheDeadline) {
  const CallContext context{.deadline = clock_.steady + 2500ms};
  EXPECT_THROW(run(100, context, 1000ms), Error);
  EXPECT_EQ(clock_.slept.size(), 2U);
}

TEST_F(RetryTest, RetryAfterIsHonouredUpToABound) {
  run(1, {}, 3000ms);
  run(1, {}, 3600000ms);
  EXPECT_EQ(clock_.slept[0], 3000ms);
  EXPECT_EQ(clock_.slept[1], 5000ms);
}

TEST_F(RetryTest, OtherErrorsPassAtOnce) {
  Retrier retrier(policy_, clock_, random_);
  int calls = 0;
  const auto refused = [&] {
    ++calls;
    throw Error(ErrorKind::access_denied, "no");
  };
  EXPECT_THROW(retrier.run({}, refused), Error);
  EXPECT_EQ(calls, 1);
}

TEST_F(RetryTest, AStopEndsThePause) {
  std::stop_source stop;
  stop.request_stop();
  try {
    run(1, {.stop = stop.get_token()});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::cancelled);
  }
}

} // namespace
} // namespace dbops::core
