#include "server/schedule/spec.h"

namespace dbops::server::schedule {

namespace {

using nlohmann::json;
using std::chrono::seconds;

const char* name_of(core::Overlap overlap) {
  return overlap == core::Overlap::skip ? "skip" : overlap == core::Overlap::queue ? "queue" : "cancel";
}

const char* name_of(core::Missed missed) {
  return missed == core::Missed::skip ? "skip" : missed == core::Missed::once ? "once" : "all";
}

// One that follows another has no times of its own; it never comes to that.
core::Schedule schedule_of(const Spec& spec) {
  return parse_schedule(spec.schedule.empty() ? "@yearly" : spec.schedule);
}

std::optional<core::Windows> windows_of(const Spec& spec) {
  core::WindowError error{};
  if (spec.windows.empty()) return std::nullopt;
  auto windows = core::Windows::parse(spec.windows, error);
  if (!windows)
    throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE,
                   "windows: expected " + error.expected + " at position " + std::to_string(error.position + 1),
                   "For example '22:00-06:00' or 'Mon-Fri 20:00-24:00, Sat,Sun 00:00-24:00'.");
  return windows;
}

// Spreads what is the same for all of its slots evenly (splitmix64).
std::uint64_t mixed(std::uint64_t value) {
  value += 0x9e3779b97f4a7c15U;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9U;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebU;
  return value ^ (value >> 31);
}

} // namespace

json to_json(const Spec& spec) {
  return {{"schedule", spec.schedule},      {"command", spec.command},
          {"timezone", spec.timezone},      {"overlap", name_of(spec.overlap)},
          {"missed", name_of(spec.missed)}, {"max_missed", spec.max_missed},
          {"retries", spec.retries},        {"retry_delay", spec.retry_delay},
          {"time_limit", spec.time_limit},  {"jitter", spec.jitter},
          {"windows", spec.windows},        {"after", spec.after},
          {"settings", spec.settings},      {"max_output", spec.max_output}};
}

Spec from_json(const json& in) {
  Spec spec;
  spec.schedule = in.at("schedule");
  spec.command = in.at("command");
  spec.timezone = in.at("timezone");
  spec.overlap = core::overlap_policy(in.at("overlap").get<std::string>()).value();
  spec.missed = core::missed_policy(in.at("missed").get<std::string>()).value();
  spec.max_missed = in.at("max_missed");
  spec.retries = in.at("retries");
  spec.retry_delay = in.at("retry_delay");
  spec.time_limit = in.at("time_limit");
  spec.jitter = in.at("jitter");
  spec.windows = in.at("windows");
  spec.after = in.at("after");
  spec.settings = in.at("settings").get<Settings>();
  spec.max_output = in.at("max_output");
  return spec;
}

core::Schedule parse_schedule(const std::string& text) {
  core::ScheduleError error{};
  const auto schedule = core::Schedule::parse(text, error);
  if (!schedule)
    throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE,
                   "schedule: expected " + error.expected + " at position " + std::to_string(error.position + 1),
                   "For example '30 3 * * mon-fri', '@daily', 'every 15 minutes' or 'at 2030-01-01 03:00'. "
                   "dbops.next_runs() shows what a schedule means.");
  return *schedule;
}

Timing::Timing(const Spec& spec, std::int64_t job, TimestampTz anchor)
    : spec_(spec), job_(job), schedule_(schedule_of(spec)), zone_(spec.timezone),
      planner_(schedule_, zone_, to_instant(anchor)), windows_(windows_of(spec)) {}

std::int64_t Timing::jitter_of(core::sys_seconds slot) const {
  if (spec_.jitter <= 0) return 0;
  const std::uint64_t hash =
      mixed(mixed(static_cast<std::uint64_t>(job_)) ^ static_cast<std::uint64_t>(slot.time_since_epoch().count()));
  return static_cast<std::int64_t>(spec_.jitter * 1e6 * (static_cast<double>(hash >> 11) / 9007199254740992.0)); // 2^53
}

TimestampTz Timing::in_window(TimestampTz time) const {
  if (!windows_) return time;
  const core::sys_seconds instant = to_instant(time);
  const auto local = core::local_seconds(instant.time_since_epoch() + zone_.period_at(instant).offset);
  const auto day = std::chrono::floor<std::chrono::days>(local);
  const core::LocalMinute now{static_cast<int>(std::chrono::weekday(day).c_encoding()),
                              static_cast<int>((local - day) / std::chrono::minutes(1))};
  const int wait = windows_->minutes_until_open(now);
  if (wait == 0) return time;
  const auto opens = std::chrono::floor<std::chrono::minutes>(local) + std::chrono::minutes(wait);
  return to_timestamp(core::first_instant(opens, zone_));
}

} // namespace dbops::server::schedule
