#include "core/job/state.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <utility>

namespace dbops::core {

namespace {

// In here, not at the top: pause() of unistd.h is there.
using enum JobState;
using enum JobAction;

constexpr JobState all_states[]{queued, running, paused, succeeded, failed, cancelled};
constexpr JobAction all_actions[]{start, finish, fail, requeue, pause, resume, cancel, retry};

// Every change that is allowed; all other pairs must be refused.
const std::map<std::pair<JobState, JobAction>, JobState> allowed{
    {{queued, start}, running},
    {{running, finish}, succeeded},
    {{running, fail}, failed},
    {{queued, fail}, failed},
    {{running, requeue}, queued},
    {{queued, pause}, paused},
    {{running, pause}, paused},
    {{paused, resume}, queued},
    {{queued, cancel}, cancelled},
    {{running, cancel}, cancelled},
    {{paused, cancel}, cancelled},
    {{failed, cancel}, cancelled},
    {{failed, retry}, queued},
    {{cancelled, retry}, queued},
    {{succeeded, retry}, queued},
    // Repeats that change nothing.
    {{running, start}, running},
    {{queued, requeue}, queued},
    {{paused, pause}, paused},
    {{queued, resume}, queued},
    {{running, resume}, running},
    {{cancelled, cancel}, cancelled},
    {{queued, retry}, queued},
    {{running, retry}, running},
};

} // namespace

TEST(JobState, EveryPairOfStateAndAction) {
  for (const JobState from : all_states)
    for (const JobAction action : all_actions) {
      const auto entry = allowed.find({from, action});
      const auto expected = entry == allowed.end() ? std::nullopt : std::optional(entry->second);
      EXPECT_EQ(next_state(from, action), expected) << to_string(from) << " " << to_string(action);
    }
}

TEST(JobState, OnlyRetryLeavesATerminalStateAlive) {
  for (const JobState from : all_states) {
    if (!is_terminal(from)) continue;
    for (const JobAction action : all_actions) {
      const auto next = next_state(from, action);
      if (next && !is_terminal(*next)) {
        EXPECT_EQ(action, retry) << to_string(from);
      }
    }
  }
}

TEST(JobState, TerminalStates) {
  const std::set<JobState> terminal{succeeded, failed, cancelled};
  for (const JobState state : all_states)
    EXPECT_EQ(is_terminal(state), terminal.contains(state)) << to_string(state);
}

TEST(JobState, NamesOfStatesComeBack) {
  const std::map<JobState, std::string> names{{queued, "queued"},       {running, "running"}, {paused, "paused"},
                                              {succeeded, "succeeded"}, {failed, "failed"},   {cancelled, "cancelled"}};
  for (const auto& [state, name] : names) {
    EXPECT_EQ(to_string(state), name);
    EXPECT_EQ(job_state(name), state);
  }
}

TEST(JobState, OtherNamesAreNoState) {
  for (const char* name : {"", "Queued", "queued ", "queue", "start", "unknown"})
    EXPECT_EQ(job_state(name), std::nullopt) << name;
}

TEST(JobState, NamesOfActions) {
  const std::map<JobAction, std::string> names{{start, "start"},     {finish, "finish"}, {fail, "fail"},
                                               {requeue, "requeue"}, {pause, "pause"},   {resume, "resume"},
                                               {cancel, "cancel"},   {retry, "retry"}};
  for (const auto& [action, name] : names)
    EXPECT_EQ(to_string(action), name);
}

TEST(JobState, ValuesOutsideTheEnumAreRefused) {
  EXPECT_EQ(next_state(static_cast<JobState>(99), start), std::nullopt);
  EXPECT_EQ(next_state(queued, static_cast<JobAction>(-1)), std::nullopt);
  EXPECT_EQ(to_string(static_cast<JobState>(6)), "unknown");
  EXPECT_EQ(to_string(static_cast<JobAction>(8)), "unknown");
}

} // namespace dbops::core
