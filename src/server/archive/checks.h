// The checks of archiving, one row each.
#pragma once

#include <string>
#include <vector>

#include "core/base/clock.h"

namespace dbops::server::archive {

enum class Severity { info, warning, error };

struct Check {
  std::string name;
  bool ok = true;
  Severity severity = Severity::info; // how bad it is when not ok
  std::string detail, hint;
};

// Ends a segment and follows it through the archiver into each store and back; waits at most that long.
// Raises what interrupts the session.
std::vector<Check> run_checks(core::milliseconds timeout);

} // namespace dbops::server::archive
