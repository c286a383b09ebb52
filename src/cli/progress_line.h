// What a command says on standard error, and how far it is: a bar at the bottom of a terminal, lines in a log.
#pragma once

#include "core/base/clock.h"

#include <optional>
#include <string>

namespace dbops::cli {

// "dbops backup: text" on a line of its own, above the bar if there is one. From any thread.
void tell(const std::string& command, const std::string& text);

// How often show_progress() is to be called: it draws the bar anew, or writes another line.
core::milliseconds progress_interval();
// fraction: of the work, 0 to 1; absent: not known.
void show_progress(const std::string& command, std::optional<double> fraction, const std::string& text);
// Takes the bar away. run_in_background() does it at its end.
void end_progress();

// Of what may be 0, or grow while it is being done: never quite the whole.
std::optional<double> fraction_of(std::uint64_t done, std::uint64_t total);

} // namespace dbops::cli
