#include "server/schedule/zone.h"

#include "server/guard.h"

namespace dbops::server::schedule {

using core::sys_seconds;
using std::chrono::microseconds;
using std::chrono::seconds;

namespace {

constexpr seconds epoch_difference{std::int64_t{POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE} * SECS_PER_DAY};

} // namespace

ServerZone::ServerZone(const std::string& name) : zone_(call_pg([&name] { return pg_tzset(name.c_str()); })) {
  // A zone with leap seconds would make times that timestamptz does not have.
  if (zone_ == nullptr || !pg_tz_acceptable(zone_))
    throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "time zone \"" + name + "\" is not known",
                   "See pg_timezone_names.");
}

core::TimeZone::Period ServerZone::period_at(sys_seconds instant) const {
  if (known_from_ && instant >= *known_from_ && (!known_.end || instant < *known_.end)) return known_;
  const pg_time_t at = instant.time_since_epoch().count();
  long before = 0;
  long after = 0;
  int before_dst = 0;
  int after_dst = 0;
  pg_time_t boundary = 0;
  const int found = pg_next_dst_boundary(&at, &before, &before_dst, &boundary, &after, &after_dst, zone_);
  known_from_ = instant;
  known_ = {found < 0 ? seconds(0) : seconds(before), {}};
  if (found > 0) known_.end = sys_seconds(seconds(boundary));
  return known_;
}

std::string session_zone() {
  return call_pg([] { return GetConfigOptionByName("TimeZone", nullptr, false); });
}

sys_seconds to_instant(TimestampTz time) {
  return sys_seconds(std::chrono::floor<seconds>(microseconds(time)) + epoch_difference);
}

TimestampTz to_timestamp(sys_seconds instant) {
  return microseconds(instant.time_since_epoch() - epoch_difference).count();
}

} // namespace dbops::server::schedule
