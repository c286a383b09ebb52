// What the views show and no table has ready.

#include "core/job/duration_histogram.h"
#include "server/guard.h"

#include <cerrno>
#include <sys/stat.h>

extern "C" {
#include "common/relpath.h"
#include "utils/array.h"
#include "utils/fmgrprotos.h"
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

// Bytes of one fork, segment by segment (md.c: "16384", "16384.1", ...); a file that goes away meanwhile counts as its
// end.
std::int64_t fork_bytes(const std::string& path) {
  std::int64_t bytes = 0;
  for (int segment = 0;; ++segment) {
    struct stat file {};
    if (stat(segment == 0 ? path.c_str() : (path + "." + std::to_string(segment)).c_str(), &file) != 0) {
      if (errno == ENOENT) return bytes;
      throw SqlError(errno == EACCES ? ERRCODE_INSUFFICIENT_PRIVILEGE : ERRCODE_IO_ERROR,
                     "could not stat file \"" + path + "\"");
    }
    bytes += file.st_size;
  }
}

} // namespace

// pg_relation_size() opens the relation, and so waits for whoever has locked it; the files can be looked at without.
DBOPS_SQL_FUNCTION(dbops_relation_bytes) {
  return boundary([fcinfo]() -> Datum {
    const char* path = call_pg([fcinfo]() -> const char* {
      LOCAL_FCINFO(call, 1);
      InitFunctionCallInfoData(*call, nullptr, 1, InvalidOid, nullptr, nullptr);
      call->args[0].value = PG_GETARG_DATUM(0);
      call->args[0].isnull = false;
      const Datum found = pg_relation_filepath(call); // looks at the catalog alone
      return call->isnull ? nullptr : text_to_cstring(DatumGetTextPP(found));
    });
    if (path == nullptr) PG_RETURN_INT64(0); // gone, or without storage
    std::int64_t bytes = 0;
    for (int fork = MAIN_FORKNUM; fork <= MAX_FORKNUM; ++fork)
      bytes += fork_bytes(fork == MAIN_FORKNUM ? std::string(path) : std::string(path) + "_" + forkNames[fork]);
    PG_RETURN_INT64(bytes);
  });
}

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
