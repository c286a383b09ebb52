// What a schedule owes at a moment, after whatever has happened to the clock or the server since. Pure: times come in.
#pragma once

#include "core/schedule/schedule.h"

namespace dbops::core {

enum class Overlap { skip, queue, cancel }; // what a slot does that comes while the run before it is under way
enum class Missed { skip, once, all };      // what becomes of slots that nobody was there for

std::optional<Overlap> overlap_policy(std::string_view name) noexcept;
std::optional<Missed> missed_policy(std::string_view name) noexcept;

struct Decision {
  std::optional<sys_seconds> run;  // the slot that is due
  sys_seconds accounted;           // slots up to here are dealt with, that one included
  std::int64_t passed_over = 0;    // slots between that will not be run
  std::optional<sys_seconds> next; // the slot after `accounted`; nothing: there is none
};

class Planner {
 public:
  Planner(const Schedule& schedule, const TimeZone& zone, sys_seconds anchor)
      : schedule_(schedule), zone_(zone), anchor_(anchor) {}

  // Slots after `accounted` and not after `now`. skip: the newest one, if it is at most a minute old; once: the newest
  // one; all: the oldest one of the newest `limit`. `accounted` after `now` means that the clock was set back: nothing
  // is run twice while that is three hours or less, as cron has it; beyond, the clock was wrong before, and the
  // schedule starts anew. An interval starts anew at once, as what matters to it is the time that passes; but the one
  // time that it has had just before does not come again.
  [[nodiscard]] Decision due(sys_seconds accounted, sys_seconds now, Missed missed, int limit) const;

  // At the end of a run that began at `began`: what becomes of the slots that came during it. skip: nothing. queue,
  // cancel: one run, for the newest. Slots from before the run are left to due().
  [[nodiscard]] Decision after_run(sys_seconds accounted, sys_seconds began, sys_seconds now, Overlap overlap) const;

  [[nodiscard]] std::optional<sys_seconds> next(sys_seconds after) const {
    return schedule_.next(after, zone_, anchor_);
  }

  static constexpr std::chrono::minutes punctual{1};
  static constexpr std::chrono::hours small_step_back{3};
  static constexpr std::int64_t most_counted = 100'000; // slots; more of them count as that many

 private:
  struct Slots {
    std::int64_t count = 0;
    std::optional<sys_seconds> newest;
  };
  [[nodiscard]] Slots slots(sys_seconds after, sys_seconds upto) const;
  [[nodiscard]] std::optional<sys_seconds> newest(sys_seconds after, sys_seconds upto) const;
  [[nodiscard]] bool at_most_one(sys_seconds after, sys_seconds upto) const; // slot
  [[nodiscard]] sys_seconds after_skipping(sys_seconds accounted, std::int64_t count) const;

  const Schedule& schedule_;
  const TimeZone& zone_;
  sys_seconds anchor_;
};

// Seconds until the next try after the n-th failure in a row (n from 1): doubles up to an hour (or `first`, when that
// is more), and varies by a quarter, `random` in [0, 1), so that what failed together does not come back together.
std::chrono::duration<double> retry_delay(std::chrono::duration<double> first, int failures, double random);

} // namespace dbops::core
