// Times on the clock of who reads them (TZ, /etc/localtime), not of the server.
#pragma once

#include <string>
#include <string_view>

namespace dbops::cli {

// "2026-11-21 10:41:02" from what sql_utc() gives; "" from "", and the text itself where it is no such time.
std::string local_time(std::string_view utc);
std::string local_time_now();

// A timestamptz expression as ISO 8601 text in UTC, whatever DateStyle and TimeZone are.
std::string sql_utc(const std::string& expression);

} // namespace dbops::cli
