#include "core/job/duration_histogram.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace dbops::core {

namespace {

constexpr double lowest = 100; // microseconds, where the first bucket begins
constexpr double per_octave = 4;

std::size_t bucket_of(std::chrono::microseconds duration) noexcept {
  const auto time = static_cast<double>(duration.count());
  if (time <= lowest) return 0;
  const double index = std::floor(per_octave * std::log2(time / lowest));
  return std::min(DurationHistogram::buckets - 1, static_cast<std::size_t>(index));
}

// The geometric middle halves the worst relative error: 2^(1/8) - 1 = 9.05 %, and rounding to a microsecond.
std::chrono::microseconds middle_of(std::size_t bucket) noexcept {
  return std::chrono::microseconds(std::llround(lowest * std::exp2((static_cast<double>(bucket) + 0.5) / per_octave)));
}

// Both at least 0; stays at the largest number instead of overflowing.
std::int64_t saturating_sum(std::int64_t a, std::int64_t b) noexcept {
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  return a > most - b ? most : a + b;
}

} // namespace

DurationHistogram::DurationHistogram(std::span<const std::int64_t> counts) {
  if (counts.size() != buckets) return;
  std::ranges::transform(counts, counts_.begin(), [](std::int64_t count) { return std::max<std::int64_t>(0, count); });
}

void DurationHistogram::add(std::chrono::microseconds duration) noexcept {
  auto& count = counts_[bucket_of(duration)];
  count = saturating_sum(count, 1);
}

void DurationHistogram::merge(const DurationHistogram& other) noexcept {
  for (std::size_t bucket = 0; bucket < buckets; ++bucket)
    counts_[bucket] = saturating_sum(counts_[bucket], other.counts_[bucket]);
}

std::chrono::microseconds DurationHistogram::percentile(double quantile) const noexcept {
  // A double holds ranks exactly up to 2^53 batches. NaN is not above 1, and so is rank 1.
  const double rank = std::max(1.0, std::ceil(quantile * static_cast<double>(total())));
  std::chrono::microseconds answer{0};
  double seen = 0;
  for (std::size_t bucket = 0; bucket < buckets && seen < rank; ++bucket) {
    if (counts_[bucket] == 0) continue;
    seen += static_cast<double>(counts_[bucket]);
    answer = middle_of(bucket);
  }
  return answer;
}

std::int64_t DurationHistogram::total() const noexcept {
  std::int64_t sum = 0;
  for (const std::int64_t count : counts_)
    sum = saturating_sum(sum, count);
  return sum;
}

} // namespace dbops::core
