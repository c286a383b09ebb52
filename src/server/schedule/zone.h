// The server's own time zones, for core's schedules.
#pragma once

#include "core/schedule/time_zone.h"
#include "server/pg.h"

extern "C" {
#include "pgtime.h"
}

namespace dbops::server::schedule {

class ServerZone final : public core::TimeZone {
 public:
  // Raises 22023 for a name that the server does not know.
  explicit ServerZone(const std::string& name);
  [[nodiscard]] Period period_at(core::sys_seconds instant) const override;

 private:
  pg_tz* zone_;
  // The last answer, and from when on it holds: schedules ask for the same period again and again.
  mutable std::optional<core::sys_seconds> known_from_;
  mutable Period known_{};
};

// The session's TimeZone.
std::string session_zone();

// Whole seconds, rounded down.
core::sys_seconds to_instant(TimestampTz time);
TimestampTz to_timestamp(core::sys_seconds instant);

} // namespace dbops::server::schedule
