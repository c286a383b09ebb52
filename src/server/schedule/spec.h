// The arguments of a schedule, resolved: what dbops.job.spec holds for jobs of the kind `schedule`.
#pragma once

#include <nlohmann/json.hpp>

#include "core/schedule/planner.h"
#include "core/schedule/window.h"
#include "server/engine/bookkeeping.h"
#include "server/schedule/zone.h"

namespace dbops::server::schedule {

struct Spec {
  std::string schedule; // as typed; empty: runs after another schedule
  std::string command;
  std::string timezone; // of schedule and windows
  core::Overlap overlap = core::Overlap::skip;
  core::Missed missed = core::Missed::once;
  int max_missed = 10; // with Missed::all
  int retries = 0;
  double retry_delay = 10; // seconds
  double time_limit = 0;   // seconds, 0: none
  double jitter = 0;       // seconds, 0: none
  std::string windows;     // empty: any time
  std::string after;       // name of the schedule that this one follows
  Settings settings;       // for the command
  int max_output = 65'536; // bytes of rows and of notices that are kept
};

nlohmann::json to_json(const Spec& spec);
Spec from_json(const nlohmann::json& json);

// Raises 22023 with the position and what was expected there.
core::Schedule parse_schedule(const std::string& text);

// When a schedule is due, by its spec and the server's time zones.
class Timing {
 public:
  Timing(const Spec& spec, std::int64_t job, TimestampTz anchor);
  Timing(const Timing&) = delete;
  Timing& operator=(const Timing&) = delete;

  [[nodiscard]] const core::Planner& planner() const noexcept { return planner_; }
  [[nodiscard]] const core::Schedule& schedule() const noexcept { return schedule_; }
  // The slot itself, and the jitter that is always the same for that slot.
  [[nodiscard]] TimestampTz due_at(core::sys_seconds slot) const { return to_timestamp(slot) + jitter_of(slot); }
  [[nodiscard]] std::int64_t jitter_of(core::sys_seconds slot) const; // microseconds
  // `time` when a window is open then, or when the next one opens.
  [[nodiscard]] TimestampTz in_window(TimestampTz time) const;

 private:
  const Spec& spec_;
  std::int64_t job_;
  core::Schedule schedule_;
  ServerZone zone_;
  core::Planner planner_;
  std::optional<core::Windows> windows_;
};

} // namespace dbops::server::schedule
