#include "core/job/throttle.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string_view>

namespace dbops::core {

namespace {

constexpr double go_on_at = 0.8; // share of the limit that stopped the job

// Not printf: it follows the locale.
std::string fixed(double value, int decimals) {
  std::array<char, 400> text{}; // the longest double has 309 digits before the point
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed, decimals).ptr;
  return {text.data(), end};
}

std::string seconds(double value) {
  return fixed(value, 1) + " s";
}
std::string bytes_a_second(double value) {
  return fixed(value / (1024 * 1024), 1) + " MB/s";
} // PostgreSQL's MB
std::string segments(double value) {
  return fixed(value, 0) + (value == 1 ? " segment" : " segments");
}
std::string count(double value) {
  return fixed(value, 0);
}
std::string load(double value) {
  return fixed(value, 1) + " a core";
}

struct Check {
  std::string_view name;
  std::optional<double> limit, value;
  std::string (*text)(double);
};

std::string explain(const Check& check) {
  std::string reason{check.name};
  reason.append(" ").append(check.text(*check.value)).append(", limit ").append(check.text(*check.limit));
  if (*check.value <= *check.limit) reason.append(", goes on at ").append(check.text(go_on_at * *check.limit));
  return reason;
}

} // namespace

std::vector<std::string> Throttle::reasons(const ThrottleSignals& signals) {
  const std::array<Check, std::tuple_size_v<decltype(stopped_)>> checks{{
      {"replica lag", limits_.max_replica_lag, signals.replica_lag, seconds},
      {"WAL rate", limits_.max_wal_rate, signals.wal_rate, bytes_a_second},
      {"archive backlog", limits_.max_archive_backlog, signals.archive_backlog, segments},
      {"lock waiters", limits_.max_lock_waiters, signals.lock_waiters, count},
      {"active sessions", limits_.max_active_sessions, signals.active_sessions, count},
      {"load", limits_.max_load, signals.load, load},
  }};
  std::vector<std::string> reasons;
  for (std::size_t i = 0; i < checks.size(); ++i) {
    const Check& check = checks[i];
    if (!check.limit) continue;
    if (!check.value || std::isnan(*check.value)) { // says nothing about whether the limit still stops
      reasons.push_back(std::string(check.name) + " cannot be read");
      continue;
    }
    const double bar = stopped_[i] ? go_on_at * *check.limit : *check.limit;
    stopped_[i] = !(*check.value <= bar); // a limit that is NaN stops
    if (stopped_[i]) reasons.push_back(explain(check));
  }
  if (limits_.pause_for_autovacuum) {
    if (!signals.autovacuum)
      reasons.emplace_back("vacuum of the table cannot be read");
    else if (*signals.autovacuum)
      reasons.emplace_back("vacuum is running on the table");
  }
  return reasons;
}

TokenBucket::TokenBucket(double rate, Clock::time_point now, double burst)
    : rate_(std::max(1e-9, rate)), burst_(burst > 0 ? burst : rate_), last_(now) {}

TokenBucket::Clock::duration TokenBucket::wait(double tokens, Clock::time_point now) const {
  TokenBucket then = *this;
  then.refill(now, tokens);
  const double missing = tokens - then.tokens_;
  if (!(missing > 0)) return Clock::duration::zero();
  constexpr double longest = 1e9; // seconds, 31 years: fits in a duration
  const std::chrono::duration<double> time(std::min(longest, missing / rate_));
  // Nothing comes in until the clock is back at last_, when it went backwards.
  return std::chrono::ceil<Clock::duration>(time) + (then.last_ - std::min(now, then.last_));
}

void TokenBucket::take(double tokens, Clock::time_point now) {
  if (!std::isfinite(tokens) || tokens < 0) return;
  refill(now, tokens);
  tokens_ -= tokens;
}

void TokenBucket::settle(double taken, double cost, Clock::time_point now) {
  if (!std::isfinite(taken) || !std::isfinite(cost)) return;
  refill(now, 0);
  tokens_ += taken - cost; // above the burst for a moment: the next refill cuts it, unless so much is asked for
}

void TokenBucket::refill(Clock::time_point now, double room) {
  const double idle = now > last_ ? std::chrono::duration<double>(now - last_).count() : 0;
  tokens_ = std::min(std::max(burst_, room), tokens_ + rate_ * idle);
  last_ = std::max(last_, now); // when the clock went back, the same second is not paid out twice
}

} // namespace dbops::core
