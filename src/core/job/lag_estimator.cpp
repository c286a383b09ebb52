#include "core/job/lag_estimator.h"

#include <algorithm>

namespace dbops::core {

namespace {

constexpr int most_samples = 100'000; // 1.6 MB, whatever resolution was asked for

}

LagEstimator::LagEstimator(Clock::duration resolution, Clock::duration horizon)
    : resolution_(std::max({resolution, horizon / most_samples, Clock::duration(1)})),
      horizon_(std::max(horizon, Clock::duration(0))) {}

void LagEstimator::primary_at(std::uint64_t lsn, Clock::time_point now) {
  if (!samples_.empty() && lsn < samples_.back().lsn) samples_.clear();
  if (samples_.empty() || (lsn > samples_.back().lsn && now - samples_.back().at >= resolution_))
    samples_.push_back({lsn, now});
  else
    samples_.back().lsn = lsn;
  // The newest sample past the horizon stays: it answers for everything up to it.
  while (samples_.size() > 1 && now - samples_[1].at >= horizon_)
    samples_.pop_front();
}

LagEstimator::Clock::duration LagEstimator::lag(std::uint64_t lsn, Clock::time_point now) const {
  // The first position that the standby has not reached: how long has it been there to be replayed?
  const auto missing = std::ranges::upper_bound(samples_, lsn, {}, &Sample::lsn);
  if (missing == samples_.end()) return Clock::duration::zero();
  return std::max(now - missing->at, Clock::duration::zero());
}

} // namespace dbops::core
