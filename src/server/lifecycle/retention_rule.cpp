#include "server/lifecycle/retention_rule.h"

#include "core/text/json_text.h"
#include "server/backfill/table.h"
#include "server/compat.h"
#include "server/engine/job_record.h"
#include "server/guc.h"
#include "server/lifecycle/doubt.h"
#include "server/lifecycle/partition_bounds.h"

extern "C" {
#include "catalog/pg_class.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
}

namespace dbops::server::lifecycle {

namespace {

const char* const rule_columns =
    "SELECT rule_id, target::oid, target_name, column_number, owner::oid, keep::text, partitions, max_rows,"
    " max_share, extract(epoch FROM restore_grace), schedule_job, options, schedule, timezone, priority"
    " FROM dbops.retention_rule";

Rule rule_from(const Rows& found) {
  Rule rule;
  rule.id = found.integer(0, 0);
  rule.target = static_cast<Oid>(found.integer(0, 1));
  rule.target_name = found.text(0, 2);
  rule.column = static_cast<int>(found.integer(0, 3));
  rule.owner = static_cast<Oid>(found.integer(0, 4));
  rule.keep = found.text(0, 5);
  rule.partitions = partitions_policy(found.text(0, 6)).value();
  if (!found.is_null(0, 7)) rule.maximum.rows = found.integer(0, 7);
  if (!found.is_null(0, 8)) rule.maximum.share = found.real(0, 8);
  rule.restore_grace = found.real(0, 9);
  rule.schedule_job = found.integer(0, 10);
  rule.options = found.text(0, 11);
  rule.schedule = found.text(0, 12);
  rule.timezone = found.text(0, 13);
  rule.priority = static_cast<int>(found.integer(0, 14));
  return rule;
}

} // namespace

std::optional<Partitions> partitions_policy(std::string_view name) {
  if (name == "drop") return Partitions::drop;
  if (name == "detach") return Partitions::detach;
  if (name == "rows") return Partitions::rows;
  return std::nullopt;
}

const char* name_of(Partitions partitions) {
  return partitions == Partitions::drop ? "drop" : partitions == Partitions::detach ? "detach" : "rows";
}

Rule lock_rule(std::int64_t id) {
  (void)bookkeep("SELECT 1 FROM dbops.retention_rule WHERE rule_id = $1::bigint FOR UPDATE", {to_text(id)});
  return read_rule(id);
}

Rule read_rule(std::int64_t id) {
  const Rows found = bookkeep(std::string(rule_columns) + " WHERE rule_id = $1::bigint", {to_text(id)});
  if (found.empty())
    throw SqlError(ERRCODE_UNDEFINED_OBJECT, "retention rule " + to_text(id) + " does not exist",
                   "See dbops.retention_status for those there are.");
  return rule_from(found);
}

std::optional<Rule> lock_rule_of(Oid target, int column) {
  const Rows found =
      bookkeep(std::string(rule_columns) + " WHERE target = $1::oid AND column_number = $2::integer FOR UPDATE",
               {to_text(target), to_text(column)});
  if (found.empty()) return std::nullopt;
  return rule_from(found);
}

void require_control(const Rule& rule) {
  const bool allowed = call_pg([&rule] {
    const Oid admin = get_role_oid("dbops_admin", true);
    if (get_rel_relkind(rule.target) != '\0' && compat::owns_relation(rule.target, GetUserId())) return true;
    return superuser() || is_member_of_role(GetUserId(), rule.owner) ||
           (OidIsValid(admin) && is_member_of_role(GetUserId(), admin));
  });
  if (!allowed)
    throw SqlError(ERRCODE_INSUFFICIENT_PRIVILEGE, "permission denied for the retention rule of " + rule.target_name,
                   "It belongs to role \"" + role_name(rule.owner) + "\".");
}

namespace {

// Quoted; empty: dropped.
std::string column_if_there(const Rule& rule) {
  const Rows found =
      ask_catalog("SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = $1::oid AND attnum = $2::integer"
                  " AND attnum > 0 AND NOT attisdropped",
                  {to_text(rule.target), to_text(rule.column)});
  return found.empty() ? std::string() : found.text(0, 0);
}

} // namespace

std::string end_of(const Rule& rule) {
  if (qualified_name(rule.target).empty()) return "table " + rule.target_name + " was dropped";
  if (column_if_there(rule).empty()) return "the column of the retention rule of " + rule.target_name + " was dropped";
  return {};
}

std::string column_of(const Rule& rule) {
  if (const std::string end = end_of(rule); !end.empty())
    throw SqlError(qualified_name(rule.target).empty() ? ERRCODE_UNDEFINED_TABLE : ERRCODE_UNDEFINED_COLUMN, end,
                   "SELECT dbops.unretain(" + to_text(rule.id) + ") removes its retention rule.");
  return column_if_there(rule);
}

bool drops_partitions(const Rule& rule) {
  return rule.partitions != Partitions::rows &&
         call_pg([target = rule.target] { return get_rel_relkind(target); }) == RELKIND_PARTITIONED_TABLE;
}

Cutoff cutoff_of(const Rule& rule, const Settings& settings) {
  const Rows type = ask_catalog("SELECT atttypid FROM pg_attribute WHERE attrelid = $1::oid AND attnum = $2::integer",
                                {to_text(rule.target), to_text(rule.column)});
  Cutoff cutoff;
  switch (static_cast<Oid>(type.integer(0, 0))) {
  case TIMESTAMPTZOID:
    cutoff.type = "pg_catalog.timestamptz";
    break;
  case TIMESTAMPOID:
    cutoff.type = "pg_catalog.timestamp";
    break;
  case DATEOID:
    cutoff.type = "pg_catalog.date";
    break;
  default:
    throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE,
                   "column " + column_of(rule) + " of " + qualified_name(rule.target) + " does not tell a time",
                   "It must be a date, a timestamp or a timestamptz.");
  }
  const int nest_level = enter_settings(settings); // months, days and dates are those of its time zone
  // Not as the text of a session's DateStyle in between: CST is a zone in America and one in China.
  const Rows value =
      ask_catalog("WITH c AS MATERIALIZED (SELECT clock_timestamp() - $1::interval AS at)"
                  " SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00',"
                  " to_char(at::timestamp, 'YYYY-MM-DD HH24:MI:SS.US'), to_char(at, 'YYYY-MM-DD') FROM c",
                  {rule.keep});
  leave_settings(nest_level);
  cutoff.at = value.text(0, 0);
  cutoff.value = value.text(0, cutoff.type.ends_with("timestamptz") ? 0 : cutoff.type.ends_with("timestamp") ? 1 : 2);
  cutoff.constant = quote_text(cutoff.value) + "::" + cutoff.type;
  return cutoff;
}

std::string expired(const std::string& column, const Cutoff& cutoff) {
  return column + " OPERATOR(pg_catalog.<) " + cutoff.constant;
}

namespace {

OriginRecord record_of(const Rule& rule) {
  return {"dbops.retention_rule", "rule_id", rule.id, rule.restore_grace};
}

} // namespace

std::string doubt(const Rule& rule) {
  return doubt(record_of(rule));
}

void settle_origin(const Rule& rule) {
  settle_origin(record_of(rule));
}

std::string objection_of_rule(std::int64_t rule, Oid owner, const std::string& cutoff) {
  const Rows found =
      bookkeep("SELECT owner = $2::oid, options -> 'settings', revision = run_revision FROM dbops.retention_rule WHERE "
               "rule_id = $1::bigint FOR SHARE",
               {to_text(rule), to_text(owner)});
  if (found.empty()) return "its retention rule was removed";
  if (!found.boolean(0, 0)) return "its retention rule was given to another role";
  const int nest_level = enter_settings(core::parse_json_text(found.text(0, 1)).get<Settings>());
  const Rows allowed = bookkeep(
      "SELECT clock_timestamp() - keep >= $2::timestamptz FROM dbops.retention_rule WHERE rule_id = $1::bigint",
      {to_text(rule), cutoff});
  leave_settings(nest_level);
  if (!allowed.boolean(0, 0))
    return "by its retention rule and the clock, rows are to be kept for longer than when the run began";
  return found.boolean(0, 2) ? "" : "its retention rule was changed";
}

void prune_runs() {
  if (guc::run_history >= 0)
    bookkeep("DELETE FROM dbops.job WHERE job_id IN (SELECT job_id FROM (SELECT job_id, state, row_number() OVER "
             "(PARTITION BY spec ->> 'rule'"
             " ORDER BY job_id DESC) AS age FROM dbops.job WHERE kind = 'retain') j WHERE age > $1::integer"
             " AND state IN ('succeeded', 'failed', 'cancelled') LIMIT 1000)",
             {to_text(guc::run_history)});
  if (guc::history_retention_days >= 0)
    bookkeep("DELETE FROM dbops.retention_partition WHERE state NOT IN ('detaching', 'detached')"
             " AND at < clock_timestamp() - $1::integer * interval '1 day'",
             {to_text(guc::history_retention_days)});
}

std::set<Oid> too_young(Oid target, const backfill::Spec& spec) {
  std::set<Oid> members;
  const int nest_level = enter_settings(spec.settings); // a date is one of its time zone
  for (const PartitionBounds& partition : partitions_of(target, spec.age_column)) {
    if (!partition.lower) continue;
    const Rows young = ask_catalog("SELECT $1::" + partition.type + " >= ($2::timestamptz)::" + partition.type,
                                   {*partition.lower, spec.cutoff});
    if (!young.boolean(0, 0)) continue;
    for (const Oid member : backfill::family(partition.oid))
      members.insert(member);
  }
  leave_settings(nest_level);
  return members;
}

} // namespace dbops::server::lifecycle
