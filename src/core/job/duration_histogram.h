// Percentiles of batch times in a fixed, small array that fits in a table row: log-spaced buckets, x2^(1/4) each, from
// 0.1 ms to about 27 minutes; relative error of a percentile at most 9.5 %. What is shorter or longer than that counts
// in the first or the last bucket; counts stop at the largest number instead of overflowing.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <span>

namespace dbops::core {

class DurationHistogram {
 public:
  static constexpr std::size_t buckets = 96;
  DurationHistogram() = default;
  // From what counts() gave before; a span of another length is taken as empty, a negative count as 0.
  explicit DurationHistogram(std::span<const std::int64_t> counts);

  void add(std::chrono::microseconds duration) noexcept;
  void merge(const DurationHistogram& other) noexcept;
  // Nearest rank. quantile in [0, 1], what is outside is taken as the nearer end; zero when empty.
  [[nodiscard]] std::chrono::microseconds percentile(double quantile) const noexcept;
  [[nodiscard]] const std::array<std::int64_t, buckets>& counts() const noexcept { return counts_; }
  [[nodiscard]] std::int64_t total() const noexcept;

 private:
  std::array<std::int64_t, buckets> counts_{};
};

} // namespace dbops::core
