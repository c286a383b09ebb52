#include "core/job/batch_controller.h"

#include <algorithm>

namespace dbops::core {

namespace {

constexpr double alpha = 0.4;           // weight of the newest batch in the average
constexpr double outlier = 4;           // a stalled batch counts as at most this many times the average
constexpr double good_time = 1.2;       // a good batch takes at most this share of the target
constexpr int good_needed = 3;          // good batches in a row before the size grows
constexpr double start_up_growth = 2;   // factor a batch
constexpr double careful_growth = 1.25; // factor a batch
constexpr double shrink = 0.5;          // factor a batch

BatchLimits consistent(BatchLimits limits) noexcept {
  limits.min_rows = std::max<std::int64_t>(limits.min_rows, 1);
  limits.max_rows = std::max(limits.max_rows, limits.min_rows);
  return limits;
}

} // namespace

BatchController::BatchController(BatchLimits limits, std::int64_t resume_rows)
    : limits_(consistent(limits)),
      rows_(std::clamp(resume_rows > 0 ? resume_rows : limits_.first_rows, limits_.min_rows, limits_.max_rows)),
      starting_(resume_rows <= 0) {}

void BatchController::committed(std::int64_t rows, std::chrono::microseconds took) noexcept {
  const auto target = static_cast<double>(limits_.target.count());
  const double time = std::max(1.0, static_cast<double>(took.count()));
  if (static_cast<double>(rows) < 0.5 * static_cast<double>(rows_)) {
    // Mostly the fixed cost of a transaction: no measure of a row.
    if (time > target) hindered();
    return;
  }
  learn(time / static_cast<double>(rows));
  good_ = time <= good_time * target ? std::min(good_ + 1, good_needed) : 0;
  starting_ = starting_ && time < target / 2;
  if (starting_)
    resize(start_up_growth);
  else
    resize(good_ == good_needed ? careful_growth : 1);
}

void BatchController::hindered() noexcept {
  starting_ = false;
  good_ = 0;
  rows_ = std::max(limits_.min_rows, rows_ / 2);
}

void BatchController::learn(double cost) noexcept {
  if (smoothed_ == 0) smoothed_ = cost;
  smoothed_ += alpha * (std::min(cost, outlier * smoothed_) - smoothed_);
}

void BatchController::resize(double growth) noexcept {
  const auto now = static_cast<double>(rows_);
  const double ideal = static_cast<double>(limits_.target.count()) / smoothed_;
  // A size of 1 to 3 rows times 1.25 would round to itself for ever.
  const double most = growth > 1 ? std::max(now * growth, now + 1) : now;
  const double next = std::clamp(ideal, now * shrink, most);
  // As doubles: the largest limit has no exact one, and a cast beyond it is undefined.
  if (next >= static_cast<double>(limits_.max_rows))
    rows_ = limits_.max_rows;
  else
    rows_ = std::max(limits_.min_rows, static_cast<std::int64_t>(next));
}

} // namespace dbops::core
