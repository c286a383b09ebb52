// dbops.next_runs: what a schedule means.

#include "server/arguments.h"
#include "server/schedule/spec.h"

extern "C" {
#include "funcapi.h"
}

using namespace dbops::server;
using namespace dbops::server::schedule;

namespace {

constexpr int most_runs = 10'000;

std::vector<TimestampTz> next_runs(FunctionCallInfo fcinfo) {
  Arguments in(fcinfo);
  const auto text = in.string();
  const auto count = in.integer();
  const std::string zone_name = in.string().value_or(session_zone());
  const TimestampTz from = in.timestamp().value_or(GetCurrentTimestamp());
  if (!text) throw SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, "schedule must not be null");
  if (!count || *count < 0 || *count > most_runs)
    throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "n must be between 0 and " + std::to_string(most_runs));
  if (TIMESTAMP_NOT_FINITE(from)) throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "from_time must be a finite time");
  const dbops::core::Schedule schedule = parse_schedule(*text);
  const ServerZone zone(zone_name);
  std::vector<TimestampTz> runs;
  const auto anchor = to_instant(from);
  for (auto slot = schedule.next(anchor, zone, anchor); slot && static_cast<int>(runs.size()) < *count;
       slot = schedule.next(*slot, zone, anchor))
    runs.push_back(to_timestamp(*slot));
  return runs;
}

} // namespace

DBOPS_SQL_FUNCTION(dbops_next_runs) {
  return boundary([fcinfo]() -> Datum {
    const std::vector<TimestampTz> runs = next_runs(fcinfo);
    call_pg([fcinfo, &runs] {
      InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
      auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
      for (const TimestampTz run : runs) {
        Datum value = TimestampTzGetDatum(run);
        bool is_null = false;
        tuplestore_putvalues(result->setResult, result->setDesc, &value, &is_null);
      }
    });
    return static_cast<Datum>(0);
  });
}
