// Times on the clock of who reads them (TZ, /etc/localtime), not of the server.
#pragma once

#include "core/schedule/time_zone.h"

#include <string>
#include <string_view>

namespace dbops::cli {

// "2026-11-21 10:41:02" from what sql_utc() gives; "" from "", and the text itself where it is no such time.
std::string local_time(std::string_view utc);
std::string local_time_now();

// That clock's zone; it does not tell when its periods end.
class LocalZone final : public core::TimeZone {
 public:
  [[nodiscard]] Period period_at(core::sys_seconds instant) const override;
};

// A timestamptz expression as ISO 8601 text in UTC, whatever DateStyle and TimeZone are.
std::string sql_utc(const std::string& expression);

} // namespace dbops::cli
