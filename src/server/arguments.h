// The arguments of a SQL call, read one after the other in the order of the function's declaration.
#pragma once

#include "server/guard.h"
#include "server/pg.h"

extern "C" {
#include "utils/fmgroids.h"
}

namespace dbops::server {

class Arguments {
 public:
  explicit Arguments(FunctionCallInfo call) : fcinfo(call) {}

  std::optional<std::string> string() {
    const int i = next_++;
    if (PG_ARGISNULL(i)) return std::nullopt;
    return std::string(call_pg([call = fcinfo, i] { return text_to_cstring(DatumGetTextPP(call->args[i].value)); }));
  }
  std::optional<std::string> name() {
    const int i = next_++;
    if (PG_ARGISNULL(i)) return std::nullopt;
    return std::string(NameStr(*PG_GETARG_NAME(i)));
  }
  std::optional<double> real() {
    const int i = next_++;
    if (PG_ARGISNULL(i)) return std::nullopt;
    return PG_GETARG_FLOAT8(i);
  }
  std::optional<std::int64_t> bigint() {
    const int i = next_++;
    if (PG_ARGISNULL(i)) return std::nullopt;
    return PG_GETARG_INT64(i);
  }
  std::optional<int> integer() {
    const int i = next_++;
    if (PG_ARGISNULL(i)) return std::nullopt;
    return PG_GETARG_INT32(i);
  }
  std::optional<bool> truth() {
    const int i = next_++;
    if (PG_ARGISNULL(i)) return std::nullopt;
    return PG_GETARG_BOOL(i);
  }
  bool boolean() {
    const int i = next_++;
    return !PG_ARGISNULL(i) && PG_GETARG_BOOL(i);
  }
  Oid relation(const char* name = "target") {
    const int i = next_++;
    if (PG_ARGISNULL(i)) throw SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, std::string(name) + " must not be null");
    return PG_GETARG_OID(i);
  }
  // A month counts as 30 days, a day as 24 hours.
  std::optional<double> seconds() {
    const int i = next_++;
    if (PG_ARGISNULL(i)) return std::nullopt;
    const Interval* interval = PG_GETARG_INTERVAL_P(i);
    return (interval->day + interval->month * 30.0) * 86'400.0 + static_cast<double>(interval->time) / 1e6;
  }
  // How long something is kept: seconds(), of an interval that means as long whenever it is counted from. '1 mon -29
  // days' from a day in March is a time to come, and what is not finite has no end.
  std::optional<double> period(const char* name) {
    const std::optional<double> length = seconds();
    if (!length) return length;
    const Interval* interval = PG_GETARG_INTERVAL_P(next_ - 1);
    bool finite = true;
#ifdef INTERVAL_NOT_FINITE // PostgreSQL 17
    finite = !INTERVAL_NOT_FINITE(interval);
#endif
    if (!finite) throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, std::string(name) + " must not be infinite");
    const bool positive = interval->month > 0 || interval->day > 0 || interval->time > 0;
    const bool negative = interval->month < 0 || interval->day < 0 || interval->time < 0;
    if (positive && negative)
      throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE,
                     std::string(name) + " must not have parts of both signs: \"" + last_interval_text() + "\"",
                     "How long a month, a day and an hour are together depends on when they are counted from.");
    return length;
  }
  // An interval as its text, which keeps months and days; of the argument that was read last, not null.
  [[nodiscard]] std::string last_interval_text() const {
    return std::string(
        call_pg([call = fcinfo, i = next_ - 1] { return OidOutputFunctionCall(F_INTERVAL_OUT, call->args[i].value); }));
  }
  std::optional<TimestampTz> timestamp() {
    const int i = next_++;
    if (PG_ARGISNULL(i)) return std::nullopt;
    return PG_GETARG_TIMESTAMPTZ(i);
  }
  // As text, the way jsonb_out writes it.
  std::optional<std::string> jsonb() {
    const int i = next_++;
    if (PG_ARGISNULL(i)) return std::nullopt;
    return std::string(call_pg([call = fcinfo, i] { return OidOutputFunctionCall(F_JSONB_OUT, call->args[i].value); }));
  }

 private:
  FunctionCallInfo fcinfo;
  int next_ = 0;
};

} // namespace dbops::server
