// A clock that the test moves, and randomness that is the same in each run.
#pragma once

#include "core/base/clock.h"
#include "core/base/random.h"

#include <mutex>
#include <random>
#include <vector>

namespace dbops::core {

class FakeClock final : public Clock {
 public:
  using Duration = std::chrono::steady_clock::duration;
  // 2026-11-21 10:00:00 UTC
  WallTime wall = WallTime(std::chrono::seconds(1795255200));
  SteadyTime steady{};
  std::vector<Duration> slept;

  void advance(Duration time) {
    wall += std::chrono::duration_cast<std::chrono::microseconds>(time);
    steady += time;
  }
  [[nodiscard]] WallTime wall_now() const override { return wall; }
  [[nodiscard]] SteadyTime steady_now() const override { return steady; }
  void sleep_for(Duration time, const std::stop_token& /*stop*/) override {
    slept.push_back(time);
    advance(time);
  }
};

class SeededRandom final : public Random {
 public:
  explicit SeededRandom(unsigned seed = 1) : engine_(seed) {}
  void fill(std::span<std::byte> buffer) override {
    const std::lock_guard lock(mutex_);
    for (std::byte& byte : buffer)
      byte = std::byte(engine_() & 0xff);
  }

 private:
  std::mutex mutex_;
  std::mt19937 engine_;
};

} // namespace dbops::core
