#include "core/job/batch_controller.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <vector>

using namespace dbops::core;
using namespace std::chrono_literals;
using std::chrono::microseconds;

namespace {

constexpr double target = 100'000; // microseconds, the default

// A transaction that costs `fixed` microseconds and `a_row` for each row.
struct Cost {
  double fixed;
  double a_row;
  [[nodiscard]] double of(std::int64_t rows) const { return fixed + a_row * static_cast<double>(rows); }
};

microseconds time_of(double time) {
  return microseconds(std::llround(time));
}

// The time that the next batch would take.
double projected(const BatchController& controller, Cost cost) {
  return cost.of(controller.rows());
}

void run(BatchController& controller, Cost cost, int batches) {
  for (int i = 0; i < batches; ++i)
    controller.committed(controller.rows(), time_of(projected(controller, cost)));
}

void expect_near_target(const BatchController& controller, Cost cost) {
  EXPECT_NEAR(projected(controller, cost), target, 0.2 * target)
      << controller.rows() << " rows at " << cost.fixed << " + " << cost.a_row << " us a row";
}

} // namespace

TEST(BatchController, ConvergesWithinFifteenBatches) {
  for (const double fixed : {0.0, 1'000.0, 20'000.0})
    for (const double a_row : {2.5, 10.0, 73.0, 100.0, 350.0, 1'000.0}) {
      BatchController controller({});
      const Cost cost{fixed, a_row};
      run(controller, cost, 15);
      expect_near_target(controller, cost);
      for (int i = 0; i < 100; ++i) {
        run(controller, cost, 1);
        expect_near_target(controller, cost);
      }
    }
}

TEST(BatchController, StartUpNeverMoreThanDoubles) {
  BatchController controller({});
  for (int i = 0; i < 5; ++i) {
    const std::int64_t before = controller.rows();
    run(controller, {0, 1}, 1);
    EXPECT_EQ(controller.rows(), 2 * before);
  }
}

TEST(BatchController, StartUpEndsAtHalfOfTheTarget) {
  BatchController controller({});
  controller.committed(1'000, 51ms);
  EXPECT_EQ(controller.rows(), 1'000); // the first good batch
  controller.committed(1'000, 20ms);   // no second start-up
  EXPECT_EQ(controller.rows(), 1'000);
  controller.committed(1'000, 20ms);
  EXPECT_EQ(controller.rows(), 1'250); // the third
}

TEST(BatchController, GrowsAfterThreeGoodBatchesInARow) {
  BatchController controller({}, 1'000);
  run(controller, {0, 10}, 2);
  EXPECT_EQ(controller.rows(), 1'000);
  run(controller, {0, 10}, 1);
  EXPECT_EQ(controller.rows(), 1'250);
  controller.committed(controller.rows(), 121ms); // neither good nor slow enough for the average to shrink
  EXPECT_EQ(controller.rows(), 1'250);
  run(controller, {0, 10}, 2);
  EXPECT_EQ(controller.rows(), 1'250);
  run(controller, {0, 10}, 1);
  EXPECT_EQ(controller.rows(), 1'562);
}

TEST(BatchController, TheNewestBatchWeighsFourTenths) {
  BatchController controller({}, 1'000);
  run(controller, {0, 100}, 5);
  EXPECT_EQ(controller.rows(), 1'000);
  controller.committed(1'000, 150ms); // the average is now 120 us a row
  EXPECT_EQ(controller.rows(), 833);
}

TEST(BatchController, FollowsARowThatGetsDearer) {
  BatchController controller({});
  run(controller, {1'000, 10}, 20);
  run(controller, {1'000, 300}, 10);
  expect_near_target(controller, {1'000, 300});
}

TEST(BatchController, FollowsARowThatGetsCheaper) {
  BatchController controller({});
  run(controller, {1'000, 100}, 20);
  run(controller, {1'000, 20}, 15);
  expect_near_target(controller, {1'000, 20});
}

TEST(BatchController, FollowsASlowDrift) {
  BatchController controller({});
  run(controller, {0, 20}, 15);
  for (double a_row = 20; a_row < 200; a_row *= 1.02) {
    run(controller, {0, a_row}, 1);
    expect_near_target(controller, {0, a_row});
  }
  for (double a_row = 200; a_row > 20; a_row /= 1.02) {
    run(controller, {0, a_row}, 1);
    expect_near_target(controller, {0, a_row});
  }
}

TEST(BatchController, NoiseDoesNotMakeItSwingMoreThanTwofold) {
  for (const unsigned seed : {1U, 2U, 3U, 4U, 5U, 6U, 7U, 8U}) {
    std::mt19937_64 random(seed);
    std::uniform_real_distribution<double> noise(0.7, 1.3);
    BatchController controller({});
    const Cost cost{2'000, 50};
    std::int64_t least = std::numeric_limits<std::int64_t>::max();
    std::int64_t largest = 0;
    double sum = 0;
    for (int i = 0; i < 1'015; ++i) {
      controller.committed(controller.rows(), time_of(projected(controller, cost) * noise(random)));
      if (i < 15) continue;
      least = std::min(least, controller.rows());
      largest = std::max(largest, controller.rows());
      sum += projected(controller, cost);
    }
    EXPECT_LE(largest, 2 * least) << "seed " << seed;
    EXPECT_NEAR(sum / 1'000, target, 0.2 * target) << "seed " << seed;
  }
}

TEST(BatchController, OneStalledBatchDoesNotCollapseTheSize) {
  BatchController controller({});
  const Cost cost{0, 50};
  run(controller, cost, 15);
  const std::int64_t before = controller.rows();
  controller.committed(before, 20s);
  EXPECT_EQ(controller.rows(), before / 2);
  for (int i = 0; i < 10; ++i) {
    run(controller, cost, 1);
    EXPECT_GE(controller.rows(), before / 2 - 1);
  }
  expect_near_target(controller, cost);
}

TEST(BatchController, SmallBatchesInTimeChangeNothing) {
  BatchController controller({});
  const Cost cost{5'000, 50};
  run(controller, cost, 15);
  const std::int64_t before = controller.rows();
  for (int i = 0; i < 20; ++i)
    controller.committed(1 + i % 3, 5ms); // 1.6 to 5 ms a row: the fixed cost
  for (int i = 0; i < 20; ++i)
    controller.committed(before / 3, 1ms);
  EXPECT_EQ(controller.rows(), before);
}

TEST(BatchController, SmallFirstBatchesDoNotGrow) {
  BatchController controller({});
  for (int i = 0; i < 20; ++i)
    controller.committed(10, 1ms);
  EXPECT_EQ(controller.rows(), 1'000);
  controller.committed(0, 0ms);
  controller.committed(-4, 1ms);
  EXPECT_EQ(controller.rows(), 1'000);
  controller.committed(0, 101ms);
  EXPECT_EQ(controller.rows(), 500);
}

TEST(BatchController, ASlowSmallBatchShrinksButIsSoonForgotten) {
  for (const bool first : {false, true}) {
    BatchController controller({});
    const Cost cost{0, 100};
    if (!first) run(controller, cost, 15);
    const std::int64_t before = controller.rows();
    controller.committed(1, 500ms);
    EXPECT_LT(controller.rows(), before);
    EXPECT_GE(controller.rows(), before / 2);
    run(controller, cost, 8);
    expect_near_target(controller, cost);
  }
}

TEST(BatchController, ManySlowSmallBatchesShrink) {
  BatchController controller({}, 50'000);
  for (int i = 0; i < 60; ++i)
    controller.committed(std::min<std::int64_t>(controller.rows(), 10), 400ms);
  EXPECT_EQ(controller.rows(), 50);
}

TEST(BatchController, HinderedHalvesAtOnceAndGrowsBackWithCare) {
  BatchController controller({});
  const Cost cost{0, 20};
  run(controller, cost, 20);
  const std::int64_t before = controller.rows();
  controller.hindered();
  EXPECT_EQ(controller.rows(), before / 2);
  controller.hindered();
  const std::int64_t low = controller.rows();
  EXPECT_EQ(low, before / 4);
  run(controller, cost, 2);
  EXPECT_EQ(controller.rows(), low); // two good batches are not enough
  run(controller, cost, 1);
  EXPECT_EQ(controller.rows(), low * 5 / 4);
  run(controller, cost, 10);
  expect_near_target(controller, cost);
}

TEST(BatchController, HinderedEndsStartUp) {
  BatchController controller({});
  controller.hindered();
  run(controller, {0, 1}, 2);
  EXPECT_EQ(controller.rows(), 500);
}

TEST(BatchController, HinderedStopsAtTheLeast) {
  BatchController controller({});
  for (int i = 0; i < 100; ++i)
    controller.hindered();
  EXPECT_EQ(controller.rows(), 50);
}

TEST(BatchController, ResumesAtTheSizeReachedWithoutStartUp) {
  BatchController controller({}, 8'000);
  EXPECT_EQ(controller.rows(), 8'000);
  run(controller, {0, 1}, 1);
  EXPECT_EQ(controller.rows(), 8'000);
  EXPECT_EQ(BatchController({}, 7'000'000).rows(), 50'000);
  EXPECT_EQ(BatchController({}, 1).rows(), 50);
  EXPECT_EQ(BatchController({}, -1).rows(), 1'000);
}

TEST(BatchController, LeavesASizeOfOneRow) {
  BatchController controller({.target = 100ms, .min_rows = 1, .max_rows = 100, .first_rows = 1}, 1);
  run(controller, {0, 10'000}, 25);
  EXPECT_EQ(controller.rows(), 10);
  BatchController dear({.target = 100ms, .min_rows = 1, .max_rows = 100, .first_rows = 1}, 1);
  run(dear, {0, 70'000}, 25);
  EXPECT_EQ(dear.rows(), 1); // two would take longer than the target
}

TEST(BatchController, MendsLimitsThatContradictEachOther) {
  EXPECT_EQ(BatchController({.target = 0us, .min_rows = -5, .max_rows = -9, .first_rows = -1}).rows(), 1);
  BatchController controller({.target = -3us, .min_rows = 10, .max_rows = 5, .first_rows = 1});
  EXPECT_EQ(controller.rows(), 10);
  controller.committed(10, 10s);
  EXPECT_EQ(controller.rows(), 10);
  for (const microseconds no_target : {0us, -1us}) {
    BatchController least({.target = no_target});
    run(least, {0, 1}, 10);
    EXPECT_EQ(least.rows(), 50);
  }
}

TEST(BatchController, TimesOfZeroOrLessAreFast) {
  for (const microseconds took : {0us, -5us}) {
    BatchController controller({});
    controller.committed(1'000, took);
    EXPECT_EQ(controller.rows(), 2'000);
  }
}

TEST(BatchController, NeverLeavesItsLimits) {
  std::mt19937_64 random(7);
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  for (int round = 0; round < 400; ++round) {
    BatchLimits limits;
    limits.min_rows = static_cast<std::int64_t>(1 + random() % 100);
    limits.max_rows = round % 4 == 0 ? most : limits.min_rows + static_cast<std::int64_t>(random() % 10'000);
    limits.first_rows = static_cast<std::int64_t>(random() % 20'000);
    limits.target = microseconds(1 + random() % 1'000'000);
    BatchController controller(limits);
    for (int i = 0; i < 200; ++i) {
      switch (random() % 8) {
      case 0:
        controller.hindered();
        break;
      case 1:
        controller.committed(static_cast<std::int64_t>(random()), microseconds(static_cast<std::int64_t>(random())));
        break;
      case 2:
        controller.committed(static_cast<std::int64_t>(random() % 3), 0us);
        break;
      default:
        controller.committed(controller.rows(), microseconds(random() % 300'000));
      }
      ASSERT_GE(controller.rows(), limits.min_rows);
      ASSERT_LE(controller.rows(), limits.max_rows);
    }
  }
}

TEST(BatchController, ReachesTheLargestLimitThereIs) {
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  BatchController controller({.target = 100ms, .min_rows = 1, .max_rows = most, .first_rows = 1});
  for (int i = 0; i < 80; ++i)
    controller.committed(controller.rows(), 0us);
  EXPECT_GT(controller.rows(), most / 1'000'000);
  for (int i = 0; i < 80; ++i)
    controller.committed(most, 1us);
  EXPECT_EQ(controller.rows(), most);
}
