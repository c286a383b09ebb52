#include "core/job/throttle.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

using namespace dbops::core;
using namespace std::chrono_literals;

namespace {

using Reasons = std::vector<std::string>;
using Time = TokenBucket::Clock::time_point;

constexpr double unreadable = std::numeric_limits<double>::quiet_NaN();
constexpr double mb = 1024 * 1024;
constexpr Time begin{1000h};

ThrottleLimits all_limits() {
  return {.max_replica_lag = 1.5,
          .max_wal_rate = 40 * mb,
          .max_archive_backlog = 10,
          .max_lock_waiters = 0,
          .max_active_sessions = 40,
          .max_load = 2,
          .pause_for_autovacuum = true};
}

ThrottleSignals calm() {
  return {.replica_lag = 0,
          .wal_rate = 0,
          .archive_backlog = 0,
          .lock_waiters = 0,
          .active_sessions = 0,
          .load = 0,
          .autovacuum = false};
}

Reasons lag_reasons(Throttle& throttle, std::optional<double> lag) {
  ThrottleSignals signals;
  signals.replica_lag = lag;
  return throttle.reasons(signals);
}

double in_seconds(TokenBucket::Clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

} // namespace

TEST(Throttle, WithoutLimitsNothingStops) {
  Throttle throttle({});
  EXPECT_EQ(throttle.reasons({}), Reasons{});
  EXPECT_EQ(throttle.reasons({.replica_lag = 1e9, .wal_rate = unreadable, .load = 1e9, .autovacuum = true}), Reasons{});
}

TEST(Throttle, CalmGoesOn) {
  Throttle throttle(all_limits());
  EXPECT_EQ(throttle.reasons(calm()), Reasons{});
}

TEST(Throttle, EveryReasonIsListedWithItsUnit) {
  Throttle throttle(all_limits());
  EXPECT_EQ(throttle.reasons({.replica_lag = 3.24,
                              .wal_rate = 52.34 * mb,
                              .archive_backlog = 12,
                              .lock_waiters = 3,
                              .active_sessions = 1234567,
                              .load = 3.25,
                              .autovacuum = true}),
            (Reasons{"replica lag 3.2 s, limit 1.5 s", "WAL rate 52.3 MB/s, limit 40.0 MB/s",
                     "archive backlog 12 segments, limit 10 segments", "lock waiters 3, limit 0",
                     "active sessions 1234567, limit 40", "load 3.2 a core, limit 2.0 a core",
                     "vacuum is running on the table"}));
}

TEST(Throttle, OneSegment) {
  Throttle throttle({.max_archive_backlog = 0});
  EXPECT_EQ(throttle.reasons({.archive_backlog = 1}), Reasons{"archive backlog 1 segment, limit 0 segments"});
}

TEST(Throttle, WhatCannotBeReadStops) {
  const Reasons expected{"replica lag cannot be read",        "WAL rate cannot be read",
                         "archive backlog cannot be read",    "lock waiters cannot be read",
                         "active sessions cannot be read",    "load cannot be read",
                         "vacuum of the table cannot be read"};
  Throttle throttle(all_limits());
  EXPECT_EQ(throttle.reasons({}), expected);
  EXPECT_EQ(throttle.reasons({unreadable, unreadable, unreadable, unreadable, -unreadable, unreadable, std::nullopt}),
            expected);
  EXPECT_EQ(throttle.reasons(calm()), Reasons{});
}

TEST(Throttle, AtTheLimitGoesOn) {
  Throttle throttle({.max_replica_lag = 1.5});
  EXPECT_EQ(lag_reasons(throttle, 1.5), Reasons{});
  EXPECT_EQ(lag_reasons(throttle, std::nextafter(1.5, 2.0)).size(), 1U);
}

TEST(Throttle, GoesOnAtFourFifthsOfTheLimitThatStoppedIt) {
  Throttle throttle({.max_replica_lag = 10, .max_load = 1});
  const auto at = [&](double lag) { return throttle.reasons({.replica_lag = lag, .load = 0.9}); };
  EXPECT_EQ(at(9.5), Reasons{});
  EXPECT_EQ(at(11), Reasons{"replica lag 11.0 s, limit 10.0 s"});
  EXPECT_EQ(at(9.5), Reasons{"replica lag 9.5 s, limit 10.0 s, goes on at 8.0 s"}); // and not load: it did not stop
  EXPECT_EQ(at(8.1).size(), 1U);
  EXPECT_EQ(at(8.0), Reasons{});
  EXPECT_EQ(at(9.5), Reasons{});
}

TEST(Throttle, AnUnreadableMomentDoesNotChangeWhatStops) {
  Throttle throttle({.max_replica_lag = 10});
  EXPECT_EQ(lag_reasons(throttle, std::nullopt), Reasons{"replica lag cannot be read"});
  EXPECT_EQ(lag_reasons(throttle, 9), Reasons{});
  EXPECT_EQ(lag_reasons(throttle, 11).size(), 1U);
  EXPECT_EQ(lag_reasons(throttle, unreadable), Reasons{"replica lag cannot be read"});
  EXPECT_EQ(lag_reasons(throttle, 9).size(), 1U);
}

TEST(Throttle, ExtremeNumbers) {
  Throttle throttle({.max_replica_lag = 1, .max_wal_rate = unreadable});
  EXPECT_EQ(throttle.reasons({.replica_lag = std::numeric_limits<double>::infinity(), .wal_rate = 0}),
            (Reasons{"replica lag inf s, limit 1.0 s", "WAL rate 0.0 MB/s, limit nan MB/s"}));
  EXPECT_GT(throttle.reasons({.replica_lag = std::numeric_limits<double>::max(), .wal_rate = 0})[0].size(), 300U);
}

TEST(TokenBucket, TokensAreWaitedForBeforeTheyAreTaken) {
  TokenBucket bucket(100, begin);
  EXPECT_DOUBLE_EQ(in_seconds(bucket.wait(50, begin)), 0.5); // it starts empty
  EXPECT_EQ(bucket.wait(50, begin + 500ms), 0s);
  bucket.take(50, begin + 500ms);
  EXPECT_DOUBLE_EQ(in_seconds(bucket.wait(50, begin + 500ms)), 0.5);
  EXPECT_EQ(bucket.wait(0, begin + 500ms), 0s);
}

TEST(TokenBucket, WhatABatchDidNotCostIsGivenBack) {
  TokenBucket bucket(100, begin);
  bucket.take(100, begin + 1s);
  bucket.settle(100, 30, begin + 1s);
  EXPECT_EQ(bucket.wait(70, begin + 1s), 0s);
  EXPECT_DOUBLE_EQ(in_seconds(bucket.wait(80, begin + 1s)), 0.1);
}

TEST(TokenBucket, WhatABatchCostMoreIsADebt) {
  TokenBucket bucket(100, begin);
  bucket.take(100, begin + 1s);
  bucket.settle(100, 1'000, begin + 1s);
  EXPECT_DOUBLE_EQ(in_seconds(bucket.wait(50, begin + 1s)), 9.5);
  EXPECT_DOUBLE_EQ(in_seconds(bucket.wait(50, begin + 5s)), 5.5);
  EXPECT_EQ(bucket.wait(50, begin + 10500ms), 0s);
}

TEST(TokenBucket, SavesUpToTheBurst) {
  TokenBucket default_burst(100, begin);
  EXPECT_EQ(default_burst.wait(100, begin + 1h), 0s); // one second's worth
  default_burst.take(100, begin + 1h);
  EXPECT_DOUBLE_EQ(in_seconds(default_burst.wait(1, begin + 1h)), 0.01);

  TokenBucket bucket(100, begin, 700);
  bucket.take(700, begin + 1h);
  EXPECT_DOUBLE_EQ(in_seconds(bucket.wait(50, begin + 1h)), 0.5);
}

TEST(TokenBucket, MoreThanTheBurstIsSavedUpWhenItIsAskedFor) {
  TokenBucket bucket(10, begin);
  EXPECT_DOUBLE_EQ(in_seconds(bucket.wait(100, begin)), 10);
  EXPECT_DOUBLE_EQ(in_seconds(bucket.wait(100, begin + 4s)), 6);
  EXPECT_EQ(bucket.wait(100, begin + 10s), 0s);
  bucket.take(100, begin + 10s);
  EXPECT_DOUBLE_EQ(in_seconds(bucket.wait(1, begin + 10s)), 0.1);
  // Given back for a batch that came to nothing: there for the next of that size, not for a smaller one.
  bucket.settle(100, 0, begin + 10s);
  EXPECT_EQ(bucket.wait(100, begin + 10s), 0s);
}

TEST(TokenBucket, AskingDoesNotTake) {
  TokenBucket bucket(100, begin);
  for (int i = 0; i < 10; ++i)
    EXPECT_DOUBLE_EQ(in_seconds(bucket.wait(100, begin + 500ms)), 0.5);
}

TEST(TokenBucket, AClockThatGoesBackEarnsNothing) {
  TokenBucket bucket(100, begin);
  bucket.take(100, begin);
  for (int i = 0; i < 10; ++i) { // to and fro over the same second
    bucket.take(0.001, begin - 1s);
    bucket.take(0.001, begin);
  }
  EXPECT_GT(in_seconds(bucket.wait(0, begin)), 1.0);
  EXPECT_GT(in_seconds(bucket.wait(0, begin - 5s)), 6.0); // five until the clock is back, one of debt
}

TEST(TokenBucket, NonsenseIsNotTaken) {
  TokenBucket bucket(100, begin);
  for (const double tokens : {-50.0, unreadable, std::numeric_limits<double>::infinity(), 0.0}) {
    bucket.take(tokens, begin);
    bucket.settle(tokens, tokens, begin);
    bucket.settle(0, std::isfinite(tokens) ? 0 : tokens, begin);
    EXPECT_EQ(bucket.wait(std::isfinite(tokens) ? std::min(tokens, 0.0) : 0, begin), 0s);
  }
  EXPECT_EQ(bucket.wait(unreadable, begin), 0s);
  EXPECT_DOUBLE_EQ(in_seconds(bucket.wait(10, begin)), 0.1);
}

TEST(TokenBucket, ARateOfNothingWaitsWithoutOverflow) {
  for (const double rate : {0.0, -1.0, unreadable, 1e-300}) {
    TokenBucket bucket(rate, begin);
    bucket.take(1e300, begin);
    EXPECT_EQ(bucket.wait(1, begin), 1'000'000'000s) << rate;
  }
}

// At every moment what was spent is at most what the rate has brought, as long as no batch costs more than was taken.
TEST(TokenBucket, TheRateIsKeptAtEveryMoment) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 50; ++round) {
    const double rate = 1 + static_cast<double>(random() % 100'000);
    const double burst = round % 2 == 0 ? 0 : static_cast<double>(random() % 1'000'000);
    TokenBucket bucket(rate, begin, burst);
    double spent = 0;
    auto now = begin;
    auto latest = begin;
    for (int i = 0; i < 500; ++i) {
      if (random() % 10 == 0) now += std::chrono::milliseconds(random() % 60'000); // idle
      if (random() % 10 == 0) now -= std::chrono::milliseconds(random() % 5'000);  // a clock that is set back
      const double tokens = static_cast<double>(random() % 1'000'000) / 10;
      for (int again = 0; bucket.wait(tokens, now) > 0s; ++again) {
        ASSERT_LT(again, 4); // waiting as long as was said is enough, but for rounding
        now += bucket.wait(tokens, now);
      }
      latest = std::max(latest, now);
      bucket.take(tokens, now);
      spent += tokens;
      ASSERT_LE(spent, rate * in_seconds(latest - begin) + 1e-3);
      now += std::chrono::milliseconds(random() % 200);
      latest = std::max(latest, now);
      const double cost = random() % 2 == 0 ? tokens : tokens / 3;
      bucket.settle(tokens, cost, now);
      spent -= tokens - cost;
    }
  }
}

// The other side: a job that always has work gets its rate, not less, whether its batches cost what was expected or
// not.
TEST(TokenBucket, TheRateIsReached) {
  for (const double factor : {1.0, 0.2, 3.0}) {
    TokenBucket bucket(1'000, begin);
    auto now = begin;
    double spent = 0;
    for (int i = 0; i < 1'000; ++i) {
      now += bucket.wait(300, now);
      bucket.take(300, now);
      bucket.settle(300, 300 * factor, now);
      spent += 300 * factor;
    }
    EXPECT_NEAR(spent / in_seconds(now - begin), 1'000, 5) << factor;
  }
}
