// Sizes batches by time: the next number of rows, from how long the last batches took.
//
// The rule: rows' = rows * clamp(target / EMA(duration), 0.5, 1.25), within [min_rows, max_rows]; at most x2 a batch
// until the first batch that reaches half of the target (start-up), after that growth needs three good batches in a row
// (a good batch took at most 1.2 of the target); a batch that hit a lock time-out, a deadlock or a statement time-out,
// or that made others wait, halves the size at once.
#pragma once

#include <chrono>
#include <cstdint>

namespace dbops::core {

struct BatchLimits {
  std::chrono::microseconds target{100'000}; // aimed-at time of one transaction
  std::int64_t min_rows = 50;
  std::int64_t max_rows = 50'000;
  std::int64_t first_rows = 1'000;
};

class BatchController {
 public:
  // resume_rows: the size reached before a restart, which was start-up enough. Limits that contradict each other are
  // mended: at least one row, max_rows not below min_rows; a target of 0 or less
  // means min_rows.
  explicit BatchController(BatchLimits limits, std::int64_t resume_rows = 0);

  // Rows that the next transaction should aim at.
  [[nodiscard]] std::int64_t rows() const noexcept { return rows_; }

  // A transaction committed: it visited `rows` rows in `took`. A batch of less than half the size asked for (the end of
  // a range) says little: it never makes the size grow, and halves it only when it took longer than the target.
  void committed(std::int64_t rows, std::chrono::microseconds took) noexcept;

  // A transaction gave up because of locks or time, or others waited for it: halve at once.
  void hindered() noexcept;

 private:
  void learn(double cost) noexcept; // cost: microseconds a row
  void resize(double growth) noexcept;

  BatchLimits limits_;
  std::int64_t rows_;
  double smoothed_ = 0; // EMA of microseconds a row, alpha 0.4; 0 before the first batch
  int good_ = 0;        // good batches in a row, counted up to three
  bool starting_ = true;
};

} // namespace dbops::core
