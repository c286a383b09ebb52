#include "core/job/duration_histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

using namespace dbops::core;
using namespace std::chrono_literals;
using std::chrono::microseconds;

namespace {

constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
constexpr double bound = 0.095;

double relative_error(microseconds answer, microseconds truth) {
  return std::abs(static_cast<double>((answer - truth).count())) / static_cast<double>(truth.count());
}

} // namespace

TEST(DurationHistogram, EmptyHasNoPercentile) {
  const DurationHistogram histogram;
  EXPECT_EQ(histogram.total(), 0);
  for (const double quantile : {0.0, 0.5, 1.0})
    EXPECT_EQ(histogram.percentile(quantile), 0us);
}

TEST(DurationHistogram, ErrorOfEveryDurationIsWithinTheBound) {
  double worst = 0;
  for (std::int64_t time = 100; time < 1'677'000'000; time += 1 + time / 300) {
    DurationHistogram histogram;
    histogram.add(microseconds(time));
    worst = std::max(worst, relative_error(histogram.percentile(0.5), microseconds(time)));
  }
  EXPECT_LE(worst, bound);
  EXPECT_GT(worst, 0.08); // or the durations above missed the edges of buckets
}

TEST(DurationHistogram, PercentilesOfManyAgainstTheSortedTruth) {
  std::mt19937_64 random(1);
  std::lognormal_distribution<double> durations(std::log(80'000), 1.5);
  std::vector<microseconds> all;
  DurationHistogram histogram;
  for (int i = 0; i < 20'000; ++i) {
    all.emplace_back(std::clamp<std::int64_t>(std::llround(durations(random)), 100, 1'600'000'000));
    histogram.add(all.back());
  }
  std::ranges::sort(all);
  for (const double quantile : {0.0, 0.001, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999, 1.0}) {
    const auto rank = std::max(1.0, std::ceil(quantile * 20'000));
    const microseconds truth = all[static_cast<std::size_t>(rank) - 1];
    EXPECT_LE(relative_error(histogram.percentile(quantile), truth), bound) << quantile;
  }
}

TEST(DurationHistogram, NearestRank) {
  DurationHistogram histogram;
  for (int i = 0; i < 9; ++i)
    histogram.add(1ms);
  histogram.add(1s);
  EXPECT_LE(relative_error(histogram.percentile(0.9), 1ms), bound); // the ninth of ten
  EXPECT_LE(relative_error(histogram.percentile(0.91), 1s), bound);
}

TEST(DurationHistogram, OutsideTheRangeCountsAtTheEnds) {
  DurationHistogram histogram;
  for (const microseconds time : {microseconds(std::numeric_limits<std::int64_t>::min()), -1us, 0us, 1us, 100us})
    histogram.add(time);
  EXPECT_EQ(histogram.counts().front(), 5);
  for (const microseconds time : {microseconds(28min), microseconds(24h), microseconds(most)})
    histogram.add(time);
  EXPECT_EQ(histogram.counts().back(), 3);
  EXPECT_EQ(histogram.total(), 8);
}

TEST(DurationHistogram, QuantileOutsideItsRange) {
  DurationHistogram histogram;
  histogram.add(1ms);
  histogram.add(1s);
  const auto least = histogram.percentile(0);
  const auto largest = histogram.percentile(1);
  EXPECT_LT(least, largest);
  EXPECT_EQ(histogram.percentile(-3), least);
  EXPECT_EQ(histogram.percentile(std::numeric_limits<double>::quiet_NaN()), least);
  EXPECT_EQ(histogram.percentile(95), largest);
  EXPECT_EQ(histogram.percentile(std::numeric_limits<double>::infinity()), largest);
}

TEST(DurationHistogram, MergeIsAddingAll) {
  DurationHistogram one, other, both;
  for (int i = 0; i < 500; ++i) {
    const microseconds time(100 + i * i * 37);
    (i % 3 == 0 ? one : other).add(time);
    both.add(time);
  }
  one.merge(other);
  EXPECT_EQ(one.counts(), both.counts());
  EXPECT_EQ(one.total(), 500);
  one.merge(DurationHistogram());
  EXPECT_EQ(one.counts(), both.counts());
}

TEST(DurationHistogram, CountsComeBack) {
  DurationHistogram histogram;
  histogram.add(3ms);
  histogram.add(7s);
  const DurationHistogram again{std::span<const std::int64_t>(histogram.counts())};
  EXPECT_EQ(again.counts(), histogram.counts());
}

TEST(DurationHistogram, CountsOfAnotherLengthAreEmpty) {
  for (const std::size_t length : {std::size_t{0}, DurationHistogram::buckets - 1, DurationHistogram::buckets + 1}) {
    const std::vector<std::int64_t> counts(length, 7);
    EXPECT_EQ(DurationHistogram(counts).total(), 0) << length;
  }
}

TEST(DurationHistogram, GarbageCountsNeitherOverflowNorGoNegative) {
  std::vector<std::int64_t> counts(DurationHistogram::buckets, most);
  counts[0] = -5;
  counts[1] = std::numeric_limits<std::int64_t>::min();
  DurationHistogram histogram{counts};
  EXPECT_EQ(histogram.counts()[0], 0);
  EXPECT_EQ(histogram.counts()[1], 0);
  EXPECT_EQ(histogram.total(), most);
  histogram.merge(histogram);
  histogram.add(24h);
  EXPECT_EQ(histogram.counts().back(), most);
  EXPECT_GT(histogram.percentile(0), 0us);
  EXPECT_GT(histogram.percentile(1), 0us);
}

TEST(DurationHistogram, PercentileNeverFallsWithTheQuantile) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 50; ++round) {
    DurationHistogram histogram;
    for (int i = 0; i < 40; ++i)
      histogram.add(microseconds(static_cast<std::int64_t>(random() % 1'000'000'000)));
    for (double quantile = 0; quantile < 1; quantile += 0.01)
      EXPECT_LE(histogram.percentile(quantile), histogram.percentile(quantile + 0.01));
  }
}
