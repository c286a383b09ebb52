#include "core/job/lag_estimator.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <vector>

using namespace dbops::core;
using namespace std::chrono_literals;

namespace {

using Time = LagEstimator::Clock::time_point;
constexpr Time begin{1000h};

double in_seconds(LagEstimator::Clock::duration lag) {
  return std::chrono::duration<double>(lag).count();
}

} // namespace

TEST(LagEstimator, KnowsNothingAtFirst) {
  const LagEstimator lag;
  EXPECT_EQ(lag.lag(0, begin), 0s);
  EXPECT_EQ(lag.lag(123, begin), 0s);
}

TEST(LagEstimator, IdlePrimaryHasNoLag) {
  LagEstimator lag;
  for (auto at = begin; at <= begin + 1h; at += 1s) {
    lag.primary_at(5'000, at);
    EXPECT_EQ(lag.lag(5'000, at), 0s);
  }
  // After an hour of nothing, WAL again: what is missing is new, not an hour old.
  lag.primary_at(6'000, begin + 1h + 1s);
  EXPECT_EQ(lag.lag(5'000, begin + 1h + 1s), 0s);
  EXPECT_EQ(lag.lag(5'000, begin + 1h + 3s), 2s);
  EXPECT_EQ(lag.remembered(), 2U);
}

TEST(LagEstimator, StalledStandbyFallsBehindWithTheClock) {
  LagEstimator lag;
  for (int i = 0; i <= 600; ++i) {
    const auto now = begin + i * 100ms;
    lag.primary_at(1'000 + static_cast<std::uint64_t>(i) * 10, now);
    if (i > 100) {
      EXPECT_EQ(lag.lag(2'000, now), (i - 101) * 100ms); // stalled at sample 100; 101 is the first one missing
    }
  }
  // It grows as well while the primary stands still.
  EXPECT_EQ(lag.lag(2'000, begin + 100s), 89'900ms);
}

TEST(LagEstimator, CatchingUpBringsItDown) {
  LagEstimator lag;
  for (int i = 0; i <= 100; ++i)
    lag.primary_at(static_cast<std::uint64_t>(i) * 1'000, begin + i * 1s);
  auto now = begin + 100s;
  double before = in_seconds(lag.lag(0, now));
  EXPECT_EQ(before, 99);
  for (std::uint64_t replayed = 10'000; replayed <= 100'000; replayed += 10'000) {
    now += 1s;
    const double after = in_seconds(lag.lag(replayed, now));
    EXPECT_LT(after, before);
    before = after;
  }
  EXPECT_EQ(before, 0);
}

TEST(LagEstimator, StandbyBeyondWhatIsKnown) {
  LagEstimator lag;
  lag.primary_at(100, begin);
  lag.primary_at(200, begin + 1s);
  EXPECT_EQ(lag.lag(200, begin + 10s), 0s);
  EXPECT_EQ(lag.lag(201, begin + 10s), 0s);
  EXPECT_EQ(lag.lag(std::numeric_limits<std::uint64_t>::max(), begin + 10s), 0s);
}

TEST(LagEstimator, StandbyOlderThanAllThatIsRemembered) {
  LagEstimator lag;
  lag.primary_at(100, begin);
  EXPECT_EQ(lag.lag(7, begin), 0s);
  lag.primary_at(200, begin + 5s);
  EXPECT_EQ(lag.lag(7, begin + 5s), 5s);
  EXPECT_EQ(lag.lag(7, begin + 9s), 9s);
}

TEST(LagEstimator, APrimaryThatWentBackStartsAfresh) {
  LagEstimator lag;
  lag.primary_at(1'000, begin);
  lag.primary_at(2'000, begin + 1s);
  lag.primary_at(500, begin + 60s); // another timeline
  EXPECT_EQ(lag.remembered(), 1U);
  EXPECT_EQ(lag.lag(500, begin + 61s), 0s);
  EXPECT_EQ(lag.lag(1'500, begin + 61s), 0s);
  lag.primary_at(600, begin + 62s);
  EXPECT_EQ(lag.lag(500, begin + 63s), 1s);
}

TEST(LagEstimator, ManyCallsWithinTheResolutionAreOneMemory) {
  LagEstimator lag(100ms, 1min);
  for (int i = 0; i < 100; ++i)
    lag.primary_at(static_cast<std::uint64_t>(i), begin + i * 1ms);
  EXPECT_EQ(lag.remembered(), 1U);
  // The last position counts all the same.
  EXPECT_EQ(lag.lag(99, begin + 10s), 0s);
  EXPECT_EQ(lag.lag(98, begin + 10s), 10s);
}

TEST(LagEstimator, MemoryIsBoundedByTheHorizon) {
  LagEstimator lag(100ms, 10s);
  for (int i = 0; i < 20'000; ++i) {
    lag.primary_at(static_cast<std::uint64_t>(i), begin + i * 10ms);
    ASSERT_LE(lag.remembered(), 102U);
  }
  EXPECT_GE(lag.remembered(), 100U);
}

TEST(LagEstimator, MemoryIsBoundedWithoutAResolution) {
  LagEstimator lag(0ns, 1h);
  for (int i = 0; i < 300'000; ++i)
    lag.primary_at(static_cast<std::uint64_t>(i), begin + i * 1ms);
  EXPECT_LE(lag.remembered(), 100'002U);
}

TEST(LagEstimator, BeyondTheHorizonStaysAtLeastTheHorizon) {
  LagEstimator lag(100ms, 10s);
  for (int i = 0; i < 1'000; ++i) {
    const auto now = begin + i * 100ms;
    lag.primary_at(1'000 + static_cast<std::uint64_t>(i), now);
    const auto expected = i <= 100 ? i * 100ms : 10s;
    EXPECT_GE(lag.lag(1, now), expected);
    EXPECT_LE(lag.lag(1, now), expected + 200ms);
  }
  // An idle primary forgets nothing more.
  EXPECT_GT(lag.lag(1, begin + 1h), 58min);
}

TEST(LagEstimator, AClockThatGoesBackGivesNoNegativeLag) {
  LagEstimator lag;
  lag.primary_at(100, begin);
  lag.primary_at(200, begin - 5s);
  EXPECT_EQ(lag.lag(50, begin - 10s), 0s);
  EXPECT_EQ(lag.lag(200, begin), 0s);
}

// Against the truth: a primary with a random rate and random idle times, a standby that replays with a delay.
TEST(LagEstimator, IsWithinResolutionAndSamplingOfTheTruth) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 20; ++round) {
    LagEstimator lag(100ms, 1h);
    constexpr auto step = 30ms;
    std::vector<std::uint64_t> positions; // of the primary, one a step
    std::uint64_t position = 1;
    for (int i = 0; i < 2'000; ++i) {
      if ((i / 100) % 3 != round % 3) position += random() % 1'000;
      positions.push_back(position);
      const auto now = begin + i * step;
      lag.primary_at(position, now);
      const auto behind = random() % 300;
      if (static_cast<std::size_t>(i) < behind) continue;
      const std::uint64_t replayed = positions[static_cast<std::size_t>(i) - behind];
      int missing = i - static_cast<int>(behind); // the first step whose position the standby lacks
      while (missing < i && positions[static_cast<std::size_t>(missing)] <= replayed)
        ++missing;
      const auto truth = (i - missing) * step;
      ASSERT_GE(lag.lag(replayed, now), truth);
      ASSERT_LE(lag.lag(replayed, now), truth + 100ms);
    }
  }
}
