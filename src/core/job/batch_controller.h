// Sizes batches by time: the next number of rows, from how long the last batches took.
//
// The rule: rows' = rows * clamp(target / EMA(duration), 0.5, 1.25), within [min_rows, max_rows]; at most x2 a batch
// until the first batch that reaches half of the target (start-up), after that growth needs three good batches in a row;
// a batch that hit a lock time-out, a deadlock or a statement time-out, or that made others wait, halves the size at once.
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
  explicit BatchController(BatchLimits limits, std::int64_t resume_rows = 0); // resume_rows: the size reached before a restart

  // Rows that the next transaction should aim at.
  [[nodiscard]] std::int64_t rows() const noexcept { return rows_; }

  // A transaction committed: it visited `rows` rows in `took`. A batch much smaller than asked (the end of a range) says
  // little and must not make the size grow.
  void committed(std::int64_t rows, std::chrono::microseconds took) noexcept;

  // A transaction gave up because of locks or time, or others waited for it: halve at once.
  void hindered() noexcept;

 private:
  BatchLimits limits_;
  std::int64_t rows_;
  double smoothed_ = 0; // EMA of microseconds a row, alpha 0.4; 0 before the first batch
  int good_ = 0;        // good batches in a row
  bool starting_ = true;
};

} // namespace dbops::core
