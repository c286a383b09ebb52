// What the views show and no table has ready.

#include "core/job/duration_histogram.h"
#include "server/guard.h"

extern "C" {
#include "utils/array.h"
}

using namespace dbops::server;

namespace {

// The counts as a plain array; nothing for one with nulls or more than one dimension.
std::vector<std::int64_t> counts_of(FunctionCallInfo fcinfo) {
  struct Raw {
    int count;
    const std::int64_t* values;
  };
  const Raw raw = call_pg([fcinfo] {
    ArrayType* array = PG_GETARG_ARRAYTYPE_P(0);
    if (ARR_NDIM(array) != 1 || ARR_HASNULL(array)) return Raw{0, nullptr};
    return Raw{ArrayGetNItems(1, ARR_DIMS(array)), reinterpret_cast<const std::int64_t*>(ARR_DATA_PTR(array))};
  });
  return {raw.values, raw.values + raw.count};
}

} // namespace

DBOPS_SQL_FUNCTION(dbops_histogram_percentile) {
  return boundary([fcinfo]() -> Datum {
    const dbops::core::DurationHistogram histogram(counts_of(fcinfo));
    if (histogram.total() == 0) PG_RETURN_NULL();
    const auto value = histogram.percentile(PG_GETARG_FLOAT8(1));
    return call_pg([value] {
      auto* interval = static_cast<Interval*>(palloc0(sizeof(Interval)));
      interval->time = value.count();
      return IntervalPGetDatum(interval);
    });
  });
}
