#include "core/job/state.h"

#include <array>
#include <cstddef>

namespace dbops::core {

namespace {

using Next = std::optional<JobState>;

constexpr std::array<std::string_view, 6> state_names{"queued",    "running", "paused",
                                                      "succeeded", "failed",  "cancelled"};
constexpr std::array<std::string_view, 8> action_names{"start", "finish", "fail",   "requeue",
                                                       "pause", "resume", "cancel", "retry"};

constexpr Next no = std::nullopt;
constexpr Next queued = JobState::queued;
constexpr Next running = JobState::running;
constexpr Next paused = JobState::paused;
constexpr Next succeeded = JobState::succeeded;
constexpr Next failed = JobState::failed;
constexpr Next cancelled = JobState::cancelled;

using Row = std::array<Next, action_names.size()>;
// clang-format off
constexpr std::array<Row, state_names.size()> transitions{
    //                start    finish     fail    requeue pause   resume   cancel     retry
    /* queued    */ Row{running, no,        failed, queued, paused, queued,  cancelled, queued},
    /* running   */ Row{running, succeeded, failed, queued, paused, running, cancelled, running},
    /* paused    */ Row{no,      no,        no,     no,     paused, queued,  cancelled, no},
    /* succeeded */ Row{no,      no,        no,     no,     no,     no,      no,        queued},
    /* failed    */ Row{no,      no,        no,     no,     no,     no,      cancelled, queued},
    /* cancelled */ Row{no,      no,        no,     no,     no,     no,      cancelled, queued},
};
// clang-format on

} // namespace

std::string_view to_string(JobState state) noexcept {
  const auto index = static_cast<std::size_t>(state);
  return index < state_names.size() ? state_names[index] : "unknown";
}

std::string_view to_string(JobAction action) noexcept {
  const auto index = static_cast<std::size_t>(action);
  return index < action_names.size() ? action_names[index] : "unknown";
}

std::optional<JobState> job_state(std::string_view name) noexcept {
  for (std::size_t index = 0; index < state_names.size(); ++index)
    if (state_names[index] == name) return static_cast<JobState>(index);
  return std::nullopt;
}

std::optional<JobState> next_state(JobState from, JobAction action) noexcept {
  const auto row = static_cast<std::size_t>(from);
  const auto column = static_cast<std::size_t>(action);
  if (row >= transitions.size() || column >= action_names.size()) return std::nullopt;
  return transitions[row][column];
}

} // namespace dbops::core
