#include "server/lifecycle/maximum.h"

#include <algorithm>
#include <cmath>

#include "server/engine/control.h"
#include "server/engine/wake.h"
#include "server/lifecycle/retention_rule.h"

namespace dbops::server::lifecycle {

namespace {

// Tables of fewer blocks than that are counted: they may never have been analyzed.
constexpr std::uint32_t counted_blocks = 1'000;

std::int64_t confirm(FunctionCallInfo fcinfo) {
  if (PG_ARGISNULL(0)) throw SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, "job must not be null");
  Job job = read_job(PG_GETARG_INT64(0), true);
  require_control(job);
  if (!go_on_beyond_maximum(job))
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                   "job " + to_text(job.id) + " does not wait for a word on its maximum",
                   "It is " + std::string(core::to_string(job.state)) + ": see dbops.jobs.");
  return job.id;
}

} // namespace

Maximum read_maximum(Arguments& in) {
  Maximum maximum{in.bigint(), in.real()};
  if (maximum.rows && *maximum.rows < 1)
    throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "max_rows must be at least 1", "NULL takes the limit away.");
  if (maximum.share && !(*maximum.share > 0 && *maximum.share <= 1))
    throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "max_share must be above 0 and at most 1",
                   "NULL takes the limit away.");
  return maximum;
}

double rows_of(const std::vector<backfill::Table>& tables, Oid owner) {
  std::uint64_t blocks = 0;
  for (const backfill::Table& table : tables)
    blocks += table.blocks;
  double rows = 0;
  for (const backfill::Table& table : tables) {
    if (blocks >= counted_blocks) {
      rows += table.rows;
      continue;
    }
    rows += as_role(owner, SECURITY_RESTRICTED_OPERATION | SECURITY_LOCAL_USERID_CHANGE,
                    [&table] { return query("SELECT pg_catalog.count(*) FROM ONLY " + table.name).real(0, 0); });
  }
  return rows;
}

std::optional<std::int64_t> most_rows(const Maximum& maximum, const std::vector<backfill::Table>& tables, Oid owner) {
  std::optional<std::int64_t> most = maximum.rows;
  if (maximum.share) {
    const auto share = static_cast<std::int64_t>(std::floor(*maximum.share * rows_of(tables, owner)));
    most = std::min(most.value_or(share), share);
  }
  return most;
}

void stop_and_ask(std::int64_t job_id, const backfill::Spec& spec, std::int64_t rows) {
  Job job = read_job(job_id, true);
  if (job.state != core::JobState::running) return;
  const std::string message =
      "the run would delete " + to_text(rows) + " rows, and may delete " + to_text(spec.max_rows.value_or(0));
  const std::string confirmation = spec.rule != 0 ? "SELECT dbops.confirm_retention(" + to_text(spec.rule) + ")"
                                                  : "SELECT dbops.confirm_deletion(" + to_text(job_id) + ")";
  record_error(job_id, SqlError(ERRCODE_PROGRAM_LIMIT_EXCEEDED, message,
                                confirmation + " lets it go on, dbops.cancel(" + to_text(job_id) + ") ends it."));
  bookkeep("UPDATE dbops.job SET spec = spec || '{\"asks\": true}' WHERE job_id = $1::bigint", {to_text(job_id)});
  change_state(job, core::JobAction::pause, "dbops", message);
}

bool go_on_beyond_maximum(Job& job) {
  if (job.state != core::JobState::paused) return false;
  if (bookkeep("UPDATE dbops.job SET spec = spec - 'max_rows' - 'asks', last_sqlstate = NULL, last_error = NULL,"
               " last_hint = NULL WHERE job_id = $1::bigint AND spec ? 'asks'",
               {to_text(job.id)})
          .processed == 0)
    return false;
  change_state(job, core::JobAction::resume, role_name(GetUserId()), "confirmed beyond its maximum");
  forget_launches(job.id);
  announce_at_commit();
  return true;
}

} // namespace dbops::server::lifecycle

using namespace dbops::server;

DBOPS_SQL_FUNCTION(dbops_confirm_deletion) {
  return boundary([fcinfo] {
    SpiConnection spi;
    const std::int64_t job = lifecycle::confirm(fcinfo);
    spi.close();
    return Int64GetDatum(job);
  });
}
