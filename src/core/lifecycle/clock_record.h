// The wall clock as a running server has seen it last, kept in its data directory: after the machine has started again
// nothing else tells how long it was off, and whether its clock has leapt meanwhile.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace dbops::core {

struct ClockRecord {
  std::string boot;  // of the machine; empty: not known
  double clock = 0;  // seconds since 1970
  double uptime = 0; // seconds since that boot, by a clock that nobody sets
  double ahead = 0;  // seconds, those taken back subtracted, by which the clock was set forward so far
  // Seconds of what was too short to count when the machine started, and not corrected since: a clock that was wrong
  // then is set right a moment later.
  double unsure = 0;
};

// From one start of the machine to the next one, time that has passed is not told from a clock that was set: so much
// less is a machine that was switched off.
inline constexpr double longest_absence = 86'400; // seconds

// The record as it is now, by that boot, clock and uptime. Without one before, nothing is known of what has been.
ClockRecord observe(const std::optional<ClockRecord>& before, const ClockRecord& now);

// <data directory>/dbops.clock. Absent: there is none, or what it says cannot be read.
std::optional<ClockRecord> read_clock_record(const std::filesystem::path& data_directory);
// Durably. By one process alone. Throws Error.
void write_clock_record(const std::filesystem::path& data_directory, const ClockRecord& record);

} // namespace dbops::core
