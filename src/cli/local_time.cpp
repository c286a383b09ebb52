#include "cli/local_time.h"

#include "core/base/clock.h"

#include <array>
#include <ctime>

namespace dbops::cli {

namespace {

std::string local_text(std::time_t time) {
  std::tm parts{};
  std::array<char, 64> text{};
  if (localtime_r(&time, &parts) == nullptr) return {};
  return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &parts)};
}

} // namespace

std::string local_time(std::string_view utc) {
  const auto time = core::parse_iso8601(utc);
  if (!time) return std::string(utc);
  return local_text(std::chrono::system_clock::to_time_t(std::chrono::floor<std::chrono::seconds>(*time)));
}

std::string local_time_now() {
  return local_text(std::time(nullptr));
}

core::TimeZone::Period LocalZone::period_at(core::sys_seconds instant) const {
  const std::time_t time = instant.time_since_epoch().count();
  std::tm parts{};
  if (localtime_r(&time, &parts) == nullptr) return {};
  return {std::chrono::seconds(parts.tm_gmtoff), {}};
}

std::string sql_utc(const std::string& expression) {
  return "pg_catalog.to_char(pg_catalog.timezone('UTC', " + expression + R"(), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))";
}

} // namespace dbops::cli
