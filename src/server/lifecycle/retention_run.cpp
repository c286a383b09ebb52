#include "server/lifecycle/retention_run.h"

#include "core/text/json_text.h"
#include "server/backfill/work.h"
#include "server/lifecycle/expired_partitions.h"
#include "server/lifecycle/holds.h"
#include "server/schedule/runs.h"

namespace dbops::server::lifecycle {

namespace {

void notice(const std::string& text) {
  call_pg([&text] { ereport(NOTICE, (errmsg("dbops: %s", text.c_str()))); });
}

// The rule and its schedule go, so that they do not fail at each of its times; what the schedule's history says.
void end_rule(const Rule& rule, const std::string& why) {
  (void)schedule::end_schedule(rule.schedule_job, why);
  bookkeep("DELETE FROM dbops.retention_rule WHERE rule_id = $1::bigint", {to_text(rule.id)});
  notice(why + ": retention rule " + to_text(rule.id) + " and its schedule have ended");
}

Datum run_rule(FunctionCallInfo fcinfo) {
  if (PG_ARGISNULL(0)) throw SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, "rule must not be null");
  SpiConnection spi;
  const Rule rule = lock_rule(PG_GETARG_INT64(0));
  require_control(rule);
  std::int64_t made = 0;
  if (const std::string why = end_of(rule); !why.empty()) {
    end_rule(rule, why);
  } else if (const std::optional<Job> open = open_run(rule)) {
    notice("job " + to_text(open->id) + " of the rule is " + std::string(core::to_string(open->state)) + " still");
  } else if (const std::string reason = doubt(rule); !reason.empty()) {
    notice(reason + ": nothing is deleted before SELECT dbops.confirm_retention(" + to_text(rule.id) +
           "), or before its restore_grace is over");
  } else {
    settle_origin(rule);
    backfill::DeleteRequest request;
    const backfill::DeletePlan plan = plan_run(rule, request);
    // Partitions are dropped without having been read.
    set_maximum(request.spec, rule.maximum, plan.tables, rule.owner, drops_partitions(rule));
    made = backfill::make_delete_job(request, plan);
    bookkeep("UPDATE dbops.retention_rule SET last_job = $2::bigint, run_revision = revision, column_name = (SELECT "
             "attname FROM pg_attribute"
             " WHERE attrelid = target AND attnum = column_number) WHERE rule_id = $1::bigint",
             {to_text(rule.id), to_text(made)});
  }
  spi.close();
  if (made == 0) PG_RETURN_NULL();
  return Int64GetDatum(made);
}

} // namespace

backfill::DeletePlan plan_run(const Rule& rule, backfill::DeleteRequest& request) {
  if (role_name(rule.owner).empty())
    throw SqlError(ERRCODE_UNDEFINED_OBJECT, "the role that owns the retention rule was dropped",
                   "Make the rule again as another role: SELECT dbops.unretain(" + to_text(rule.id) +
                       "), then dbops.retain().");
  request.target = rule.target;
  request.owner = rule.owner;
  request.kind = "retain";
  backfill::Spec& spec = request.spec;
  spec = backfill::from_json(core::parse_json_text(rule.options));
  spec.erase = true;
  spec.rule = rule.id;
  spec.one_pass = true;
  spec.age_column = column_of(rule);
  const Cutoff cutoff = cutoff_of(rule, spec.settings);
  spec.cutoff = cutoff.at;
  spec.condition = expired(spec.age_column, cutoff);
  return backfill::plan_delete(request);
}

std::optional<Job> open_run(const Rule& rule) {
  const Rows found = bookkeep("SELECT j.job_id FROM dbops.job j JOIN dbops.retention_rule r ON r.last_job = j.job_id"
                              " WHERE r.rule_id = $1::bigint AND j.state IN ('queued', 'running', 'paused')",
                              {to_text(rule.id)});
  if (found.empty()) return std::nullopt;
  return read_job(found.integer(0, 0), true);
}

SliceEnd work_on_retention(Session& session, const Job& job, int slice) {
  try {
    const backfill::Spec spec = backfill::from_json(job.spec);
    const bool allowed = session.transaction([&] {
      // A run that a restore has brought back is not gone on with: the rule's next one is judged by when it begins.
      if (bookkeep("SELECT 1 FROM dbops.retention_rule WHERE rule_id = $1::bigint", {to_text(spec.rule)}).empty())
        return true;
      const std::string reason = doubt(lock_rule(spec.rule));
      if (reason.empty()) return true;
      Job now = read_job(job.id, true);
      if (now.state == core::JobState::running) change_state(now, core::JobAction::cancel, "dbops", reason);
      return false;
    });
    if (!allowed) return SliceEnd::stopped;
    if (!remove_expired_partitions(session, job, spec)) return SliceEnd::stopped;
  } catch (...) {
    rethrow_as_sql_error();
  }
  return backfill::work(session, job, slice);
}

} // namespace dbops::server::lifecycle

using namespace dbops::server;

DBOPS_SQL_FUNCTION(dbops_run_retention) {
  return boundary([fcinfo] { return lifecycle::run_rule(fcinfo); });
}
