#include "server/backfill/spec.h"

namespace dbops::server::backfill {

using nlohmann::json;

namespace {

void put(json& out, const char* name, const std::optional<double>& value) {
  if (value) out[name] = *value;
}

std::optional<double> limit(const json& in, const char* name) {
  const auto found = in.find(name);
  if (found == in.end() || found->is_null()) return std::nullopt;
  return found->get<double>();
}

} // namespace

std::string named_table(const std::string& table, const Spec& spec) {
  return table == spec.table ? table : table + " AS " + spec.alias;
}

json to_json(const Spec& spec) {
  json out{{"assignments", spec.assignments},
           {"condition", spec.condition},
           {"columns", spec.columns},
           {"subqueries", spec.subqueries},
           {"erase", spec.erase},
           {"table", spec.table},
           {"alias", spec.alias},
           {"settings", spec.settings},
           {"strategy", spec.strategy},
           {"order", spec.order == Order::key ? "key" : "block"},
           {"stripes", spec.stripes},
           {"falsifiable", spec.falsifiable},
           {"moving", spec.moving},
           {"keyed", spec.keyed},
           {"target_ms", spec.target_ms},
           {"max_batch_rows", spec.max_batch_rows},
           {"lock_timeout_ms", spec.lock_timeout_ms},
           {"nice_ratio", spec.nice_ratio},
           {"windows", spec.windows},
           {"timezone", spec.timezone},
           {"max_errors", spec.max_errors},
           {"vacuum_every", spec.vacuum_every},
           {"skip_triggers", spec.skip_triggers},
           {"bytes_before", spec.bytes_before},
           {"snapshot_blocks", spec.snapshot_blocks},
           {"pause_for_autovacuum", spec.limits.pause_for_autovacuum}};
  if (spec.rule != 0) {
    out["rule"] = spec.rule;
    out["cutoff"] = spec.cutoff;
  }
  if (!spec.age_column.empty()) {
    out["age_column"] = spec.age_column;
    out["by_age"] = spec.by_age;
  }
  if (spec.children != lifecycle::Children::as_declared) out["children"] = lifecycle::name_of(spec.children);
  if (spec.max_rows) out["max_rows"] = *spec.max_rows;
  put(out, "max_share", spec.max_share);
  if (spec.given_rows) out["given_rows"] = *spec.given_rows;
  if (spec.one_pass) out["one_pass"] = true;
  put(out, "max_rows_per_second", spec.max_rows_per_second);
  put(out, "max_bytes_per_second", spec.max_bytes_per_second);
  put(out, "max_replica_lag", spec.limits.max_replica_lag);
  put(out, "max_wal_rate", spec.limits.max_wal_rate);
  put(out, "max_archive_backlog", spec.limits.max_archive_backlog);
  put(out, "max_lock_waiters", spec.limits.max_lock_waiters);
  put(out, "max_active_sessions", spec.limits.max_active_sessions);
  put(out, "max_load", spec.limits.max_load);
  return out;
}

Spec from_json(const json& in) {
  Spec spec;
  spec.assignments = in.at("assignments");
  spec.condition = in.at("condition");
  spec.columns = in.at("columns").get<std::vector<std::string>>();
  spec.subqueries = in.at("subqueries");
  spec.erase = in.at("erase");
  spec.table = in.at("table");
  spec.alias = in.at("alias");
  spec.settings = in.at("settings").get<Settings>();
  spec.strategy = in.at("strategy");
  spec.order = in.at("order") == "key" ? Order::key : Order::block;
  spec.stripes = in.at("stripes");
  spec.falsifiable = in.at("falsifiable");
  spec.moving = in.value("moving", false);
  spec.keyed = in.at("keyed");
  spec.target_ms = in.at("target_ms");
  spec.max_batch_rows = in.at("max_batch_rows");
  spec.lock_timeout_ms = in.at("lock_timeout_ms");
  spec.nice_ratio = in.at("nice_ratio");
  spec.windows = in.at("windows");
  spec.timezone = in.at("timezone");
  spec.max_errors = in.at("max_errors");
  spec.vacuum_every = in.at("vacuum_every");
  spec.skip_triggers = in.at("skip_triggers");
  spec.bytes_before = in.at("bytes_before");
  spec.rule = in.value("rule", std::int64_t{0});
  spec.cutoff = in.value("cutoff", "");
  spec.age_column = in.value("age_column", "");
  spec.by_age = in.value("by_age", false);
  if (const auto children = in.find("children"); children != in.end())
    spec.children = lifecycle::children_policy(children->get<std::string>()).value();
  if (const auto max_rows = in.find("max_rows"); max_rows != in.end() && !max_rows->is_null())
    spec.max_rows = max_rows->get<std::int64_t>();
  spec.max_share = limit(in, "max_share");
  if (const auto given = in.find("given_rows"); given != in.end()) spec.given_rows = given->get<std::int64_t>();
  spec.one_pass = in.value("one_pass", false);
  spec.snapshot_blocks = in.value("snapshot_blocks", spec.snapshot_blocks);
  spec.max_rows_per_second = limit(in, "max_rows_per_second");
  spec.max_bytes_per_second = limit(in, "max_bytes_per_second");
  spec.limits.pause_for_autovacuum = in.at("pause_for_autovacuum");
  spec.limits.max_replica_lag = limit(in, "max_replica_lag");
  spec.limits.max_wal_rate = limit(in, "max_wal_rate");
  spec.limits.max_archive_backlog = limit(in, "max_archive_backlog");
  spec.limits.max_lock_waiters = limit(in, "max_lock_waiters");
  spec.limits.max_active_sessions = limit(in, "max_active_sessions");
  spec.limits.max_load = limit(in, "max_load");
  return spec;
}

} // namespace dbops::server::backfill
