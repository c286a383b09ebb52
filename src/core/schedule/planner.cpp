#include "core/schedule/planner.h"

#include <algorithm>

namespace dbops::core {

using std::chrono::seconds;

std::optional<Overlap> overlap_policy(std::string_view name) noexcept {
  if (name == "skip") return Overlap::skip;
  if (name == "queue") return Overlap::queue;
  if (name == "cancel") return Overlap::cancel;
  return std::nullopt;
}

std::optional<Missed> missed_policy(std::string_view name) noexcept {
  if (name == "skip") return Missed::skip;
  if (name == "once") return Missed::once;
  if (name == "all") return Missed::all;
  return std::nullopt;
}

// Looks back in growing steps, so that the length of the time in between does not matter.
std::optional<sys_seconds> Planner::newest(sys_seconds after, sys_seconds upto) const {
  for (seconds back{60};; back *= 4) {
    const sys_seconds from = std::max(after, upto - back);
    std::optional<sys_seconds> last;
    for (auto slot = next(from); slot && *slot <= upto; slot = next(*slot))
      last = slot;
    if (last || from == after) return last;
  }
}

Planner::Slots Planner::slots(sys_seconds after, sys_seconds upto) const {
  Slots found;
  for (auto slot = next(after); slot && *slot <= upto; slot = next(*slot)) {
    found.newest = slot;
    if (++found.count == most_counted) {
      found.newest = newest(*slot, upto).value_or(*slot);
      break;
    }
  }
  return found;
}

sys_seconds Planner::after_skipping(sys_seconds accounted, std::int64_t count) const {
  sys_seconds slot = accounted;
  for (std::int64_t i = 0; i < count; ++i)
    slot = next(slot).value_or(slot);
  return slot;
}

bool Planner::at_most_one(sys_seconds after, sys_seconds upto) const {
  const auto first = next(after);
  const auto second = first ? next(*first) : first;
  return !second || *second > upto;
}

Decision Planner::due(sys_seconds accounted, sys_seconds now, Missed missed, int limit) const {
  if (accounted > now) {
    const bool small = accounted - now <= small_step_back;
    const bool wait = small && (!schedule_.is_interval() || at_most_one(now, accounted));
    const sys_seconds from = wait ? accounted : now;
    return {.run = {}, .accounted = from, .next = next(from)};
  }
  const Slots waiting = slots(accounted, now);
  if (!waiting.newest) return {.run = {}, .accounted = accounted, .next = next(accounted)};
  if (missed == Missed::all && waiting.count > 1) {
    const std::int64_t passed = std::max<std::int64_t>(0, waiting.count - limit);
    // More than can be counted: the newest alone.
    const bool countable = waiting.count < most_counted;
    const sys_seconds slot = countable ? *next(after_skipping(accounted, passed)) : *waiting.newest;
    return {.run = slot, .accounted = slot, .passed_over = countable ? passed : waiting.count - 1, .next = next(slot)};
  }
  const bool late = now - *waiting.newest > punctual;
  const bool run = missed != Missed::skip || !late;
  return {.run = run ? waiting.newest : std::nullopt,
          .accounted = *waiting.newest,
          .passed_over = waiting.count - (run ? 1 : 0),
          .next = next(*waiting.newest)};
}

Decision Planner::after_run(sys_seconds accounted, sys_seconds began, sys_seconds now, Overlap overlap) const {
  const auto following = next(accounted);
  if (accounted > now || !following || *following > now || *following <= began)
    return {.run = {}, .accounted = accounted, .next = following};
  const Slots came = slots(accounted, now);
  if (overlap == Overlap::skip)
    return {.run = {}, .accounted = *came.newest, .passed_over = came.count, .next = next(*came.newest)};
  return {.run = came.newest, .accounted = *came.newest, .passed_over = came.count - 1, .next = next(*came.newest)};
}

std::chrono::duration<double> retry_delay(std::chrono::duration<double> first, int failures, double random) {
  const std::chrono::duration<double> most = std::max<std::chrono::duration<double>>(first, std::chrono::hours(1));
  std::chrono::duration<double> delay = first;
  for (int i = 1; i < failures && delay < most; ++i)
    delay *= 2;
  return std::min(delay, most) * (0.75 + random / 2);
}

} // namespace dbops::core
