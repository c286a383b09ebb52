#include "server/lifecycle/maximum.h"

#include <algorithm>
#include <cmath>

#include "server/engine/control.h"
#include "server/engine/wake.h"
#include "server/lifecycle/retention_rule.h"

namespace dbops::server::lifecycle {

namespace {

constexpr std::uint32_t counted_blocks = 1'000; // of fewer all rows are counted
constexpr double sampled_blocks = 300;          // of all tables together
constexpr double sure = 3;                      // standard errors of a sample: one in 700 says more than there is

std::int64_t count_rows(const std::vector<backfill::Table>& tables, Oid owner) {
  std::int64_t rows = 0;
  for (const backfill::Table& table : tables)
    rows += as_role(owner, SECURITY_RESTRICTED_OPERATION | SECURITY_LOCAL_USERID_CHANGE,
                    [&table] { return query("SELECT pg_catalog.count(*) FROM ONLY " + table.name).integer(0, 0); });
  return rows;
}

// Each block is taken with the same probability, whatever is in it: half of them may be empty. 0: the owner may not
// read where rows are, but only some columns.
double at_least_by_sample(const std::vector<backfill::Table>& tables, Oid owner, double blocks) {
  const double probability = std::min(1.0, sampled_blocks / blocks);
  double rows = 0;
  double squares = 0;
  for (const backfill::Table& table : tables) {
    if (table.blocks == 0) continue;
    const std::string sample_of =
        "SELECT coalesce(pg_catalog.sum(n), 0), coalesce(pg_catalog.sum(n OPERATOR(pg_catalog.*) n), 0)"
        " FROM (SELECT pg_catalog.count(*) AS n FROM ONLY " +
        table.name + " TABLESAMPLE SYSTEM (" + std::to_string(100 * probability) +
        ") GROUP BY (ctid::pg_catalog.text::pg_catalog.point)[0]) s";
    try {
      const Rows sample = in_savepoint([&] {
        return as_role(owner, SECURITY_RESTRICTED_OPERATION | SECURITY_LOCAL_USERID_CHANGE,
                       [&sample_of] { return query(sample_of); });
      });
      rows += sample.real(0, 0);
      squares += sample.real(0, 1);
    } catch (const SqlError& error) {
      if (error.code != ERRCODE_INSUFFICIENT_PRIVILEGE) throw;
      return 0;
    }
  }
  return std::max(0.0, (rows - sure * std::sqrt((1 - probability) * squares)) / probability);
}

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

namespace {

double blocks_of(const std::vector<backfill::Table>& tables) {
  double blocks = 0;
  for (const backfill::Table& table : tables)
    blocks += table.blocks;
  return blocks;
}

std::int64_t share_of(double share, double rows) {
  return static_cast<std::int64_t>(std::floor(share * rows));
}

} // namespace

double rows_of(const std::vector<backfill::Table>& tables, Oid owner, double enough) {
  const double blocks = blocks_of(tables);
  if (blocks >= counted_blocks)
    if (const double rows = at_least_by_sample(tables, owner, blocks); rows >= enough) return rows;
  return static_cast<double>(count_rows(tables, owner));
}

void set_maximum(backfill::Spec& spec, const Maximum& maximum, const std::vector<backfill::Table>& tables, Oid owner,
                 bool by_estimate) {
  spec.max_rows = maximum.rows;
  if (!maximum.share) return;
  double rows = 0;
  const bool is_small = blocks_of(tables) < counted_blocks;
  if (by_estimate && !is_small)
    for (const backfill::Table& table : tables)
      rows += table.rows;
  else
    rows = rows_of(tables, owner, 0);
  const std::int64_t share = share_of(*maximum.share, rows);
  if (maximum.rows && *maximum.rows <= share) return;
  spec.max_rows = share;
  if (by_estimate || is_small) return;
  spec.max_share = maximum.share;
  spec.given_rows = maximum.rows;
}

namespace {

struct Known {
  std::optional<std::int64_t> max_rows;
  bool by_sample = false; // and not counted yet
  std::int64_t deleted = 0;
};

Known known_of(std::int64_t job) {
  const Rows known = bookkeep("SELECT (spec ->> 'max_rows')::bigint, spec ? 'max_share', (SELECT coalesce(sum("
                              "rows_done), 0) FROM dbops.job_slice s WHERE s.job_id = j.job_id) FROM dbops.job j"
                              " WHERE job_id = $1::bigint",
                              {to_text(job)});
  return {known.is_null(0, 0) ? std::nullopt : std::optional(known.integer(0, 0)), known.boolean(0, 1),
          known.integer(0, 2)};
}

} // namespace

bool allowed_by_count(const Job& job, backfill::Spec& spec, std::int64_t rows) {
  const auto is_enough = [&spec, rows] { return !spec.max_rows || rows <= *spec.max_rows; };
  const Known before = known_of(job.id);
  spec.max_rows = before.max_rows;
  if (is_enough()) return true; // another worker has counted, or somebody has given his word
  if (!before.by_sample) return false;
  // It may take long: without a lock, so that the job can be paused and cancelled meanwhile. With those that the job
  // has deleted before; what its other workers delete while this counts is missing, not counted twice.
  std::vector<backfill::Table> tables;
  for (const Oid member : backfill::family(job.target))
    if (const auto table = backfill::describe_table(member, {})) tables.push_back(*table);
  const std::int64_t all = count_rows(tables, job.owner) + before.deleted;
  (void)read_job(job.id, true); // its workers, one after the other
  const Known now = known_of(job.id);
  spec.max_rows = now.max_rows;
  if (is_enough() || !now.by_sample) return is_enough();
  const std::int64_t share = share_of(spec.max_share.value(), static_cast<double>(all));
  spec.max_rows = std::min(spec.given_rows.value_or(share), share);
  bookkeep("UPDATE dbops.job SET spec = spec - 'max_share' || jsonb_build_object('max_rows', $2::bigint) WHERE job_id ="
           " $1::bigint",
           {to_text(job.id), to_text(*spec.max_rows)});
  return is_enough();
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
  if (bookkeep("UPDATE dbops.job SET spec = spec - 'max_rows' - 'max_share' - 'asks', last_sqlstate = NULL, last_error "
               "= NULL,"
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
