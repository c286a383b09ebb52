// The recovery target as somebody types it.
#pragma once

#include "core/base/clock.h"
#include "core/schedule/time_zone.h"

#include <string>
#include <string_view>

namespace dbops::core {

// "2026-11-21 14:32:01[.5][+01[:30]|Z]", also with a "T" between date and time; without a zone, in `zone`. Throws
// Error(configuration): for another form, for a date or time that there is none of, and for a local time that was
// twice or never, when clocks were changed.
WallTime parse_target_time(std::string_view text, const TimeZone& zone);

// "2026-11-21 13:32:01.500000+00": as PostgreSQL's setting takes it, whatever its time zone is.
std::string target_time_text(WallTime time);

} // namespace dbops::core
