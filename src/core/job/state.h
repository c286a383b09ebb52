// The life of a job: which change of state is allowed, and what it is called. Pure; the server enforces it.
#pragma once

#include <optional>
#include <string_view>

namespace dbops::core {

enum class JobState { queued, running, paused, succeeded, failed, cancelled };

// What somebody does to a job. `start`, `finish`, `fail`, `requeue` come from the engine, the others from a person.
enum class JobAction { start, finish, fail, requeue, pause, resume, cancel, retry };

std::string_view to_string(JobState state) noexcept;
std::string_view to_string(JobAction action) noexcept;
std::optional<JobState> job_state(std::string_view name) noexcept;

// The state after `action`, or nothing when the action makes no sense in `from`.
// An action that asks for what already holds is allowed and changes nothing: pause of a paused job, cancel of a
// cancelled one, resume or retry of a queued or running one, requeue of a queued one, and start of a running one (its
// parallel slices). finish and fail happen once.
std::optional<JobState> next_state(JobState from, JobAction action) noexcept;

constexpr bool is_terminal(JobState state) noexcept {
  return state == JobState::succeeded || state == JobState::failed || state == JobState::cancelled;
}

} // namespace dbops::core
