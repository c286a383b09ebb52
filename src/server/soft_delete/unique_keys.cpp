#include "server/soft_delete/unique_keys.h"

#include "core/text/json_text.h"
#include "server/soft_delete/change.h"

namespace dbops::server::soft_delete {

using nlohmann::json;

namespace {

// One that is replaced: {"name", "was": definition, "constraint": bool, "build": definition of the new one, "new": its
// name}
json unique_index(const Rows& rows, std::size_t i, Oid target) {
  const std::string name = rows.text(i, 0);
  const std::string definition = rows.text(i, 1);
  const std::string head = "CREATE UNIQUE INDEX " + quote_name(name) + " ON ";
  const std::string predicate = rows.text(i, 2);
  const std::string tail = predicate.empty() ? "" : " WHERE " + predicate;
  if (!definition.starts_with(head) || !definition.ends_with(tail))
    throw SqlError(ERRCODE_INTERNAL_ERROR, "definition of index " + name + " is not understood: " + definition);
  std::string body = definition.substr(head.size(), definition.size() - head.size() - tail.size());
  if (body.starts_with("ONLY ")) body.erase(0, 5);
  const std::string space = rows.is_null(i, 3) ? "" : " TABLESPACE " + quote_name(rows.text(i, 3));
  const std::string made = "dbops_live_" + to_text(target) + "_" + rows.text(i, 5);
  return {{"name", name},
          {"constraint", rows.boolean(i, 4)},
          {"was", "CREATE UNIQUE INDEX @ ON " + body + space + tail},
          {"constraint_definition", rows.text(i, 7)},
          {"build", "CREATE UNIQUE INDEX @ ON " + body + space + " WHERE " +
                        (predicate.empty() ? "" : predicate + " AND ") + "(deleted_at IS NULL)"},
          {"new", made}};
}

std::string with_name(std::string definition, const std::string& name, bool concurrently) {
  const std::size_t at = definition.find('@');
  definition.replace(at, 1, (concurrently ? "CONCURRENTLY " : "") + name);
  return definition;
}

std::string id_index_name(Oid target) {
  return "dbops_deletion_" + to_text(target);
}

// By which deletions are restored and purged: in this order, deletion by deletion, row by row.
std::string id_index_definition(Oid target) {
  std::string columns = "deletion_id";
  for (const KeyColumn& column : primary_key(target))
    columns += ", " + column.name;
  return "CREATE INDEX @ ON " + qualified_name(target) + " (" + columns + ") WHERE deletion_id IS NOT NULL";
}

// What has to be built, as {name, definition with @ for the name}.
std::vector<std::pair<std::string, std::string>> to_build(Oid target, const json& indexes, const std::string& which) {
  std::vector<std::pair<std::string, std::string>> list;
  if (which == "build") list.emplace_back(id_index_name(target), id_index_definition(target));
  for (const json& index : indexes)
    list.emplace_back(index.at("new").get<std::string>(), index.at(which).get<std::string>());
  return list;
}

bool valid_index(Oid target, const std::string& name) {
  return !bookkeep("SELECT 1 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
                   " WHERE i.indrelid = $1::oid AND c.relname = $2 AND i.indisvalid",
                   {to_text(target), name})
              .empty();
}

} // namespace

json plan_unique_indexes(Oid target) {
  const Rows rows = run(
      "SELECT c.relname, pg_get_indexdef(i.indexrelid), pg_get_expr(i.indpred, i.indrelid), t.spcname,"
      " k.oid IS NOT NULL, i.indexrelid::oid, CASE"
      "  WHEN EXISTS (SELECT FROM pg_constraint f WHERE f.contype = 'f' AND f.conindid = i.indexrelid)"
      "   THEN 'foreign keys refer to it'"
      "  WHEN k.condeferrable THEN 'it is deferrable'"
      "  WHEN i.indisexclusion THEN 'it is an exclusion constraint'"
      "  WHEN i.indisreplident THEN 'it is the replica identity'"
      "  WHEN NOT i.indisvalid THEN 'it is not valid' END, pg_get_constraintdef(k.oid)"
      " FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid LEFT JOIN pg_tablespace t ON t.oid = c.reltablespace"
      " LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('u', 'x')"
      " WHERE i.indrelid = $1::oid AND (i.indisunique OR i.indisexclusion) AND NOT i.indisprimary"
      " AND NOT coalesce(pg_get_expr(i.indpred, i.indrelid) ~ '\\(deleted_at IS NULL\\)', false) ORDER BY 1",
      {to_text(target)});
  json planned = json::array();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (!rows.is_null(i, 6)) {
      warn("unique key " + rows.text(i, 0) + " of " + label(target) + " still counts deleted rows: " + rows.text(i, 6) +
           "; with mode => 'tombstone' it would not");
      continue;
    }
    planned.push_back(unique_index(rows, i, target));
  }
  return planned;
}

void build_now(Oid target, const json& indexes, const std::string& which) {
  for (const auto& [name, definition] : to_build(target, indexes, which))
    if (!valid_index(target, name)) change(with_name(definition, name, false));
}

std::int64_t build_by_job(const Rule& rule, const json& indexes, const std::string& which, double lock_timeout) {
  std::string command;
  for (const auto& [name, definition] : to_build(rule.table, indexes, which))
    command += "DROP INDEX CONCURRENTLY IF EXISTS " + rule.schema + "." + name + ";\n" +
               with_name(definition, name, true) + ";\n";
  command += "SELECT dbops.soft_delete_finish(" + to_text(rule.table) + ", " + std::to_string(lock_timeout) +
             " * interval '1 second');";
  const Rows job =
      run("SELECT dbops.schedule($1, 'at ' || to_char(clock_timestamp() AT TIME ZONE 'UTC' + interval '2 seconds',"
          " 'YYYY-MM-DD HH24:MI:SS') || 'Z', $2, retries => 10, retry_delay => '5 s', run_as => $3::name)",
          {"soft delete of " + label(rule.table), command, role_name(rule.owner)});
  bookkeep("UPDATE dbops.soft_delete_rule SET job_id = $2::bigint WHERE target = $1::oid",
           {to_text(rule.table), job.text(0, 0)});
  return job.integer(0, 0);
}

json indexes_of(Oid target) {
  return json::parse(
      bookkeep("SELECT indexes FROM dbops.soft_delete_rule WHERE target = $1::oid", {to_text(target)}).text(0, 0));
}

void store_indexes(const Rule& rule, const json& indexes) {
  bookkeep("UPDATE dbops.soft_delete_rule SET indexes = $2::jsonb WHERE target = $1::oid",
           {to_text(rule.table), core::json_text(indexes)});
}

json not_done(const json& indexes) {
  json open = json::array();
  for (const json& index : indexes)
    if (!index.value("done", false)) open.push_back(index);
  return open;
}

bool has_id_index(Oid target) {
  return valid_index(target, id_index_name(target));
}

void swap_in(const Rule& rule, const json& index, bool as_constraint) {
  const std::string name = index.at("name").get<std::string>();
  const std::string made = index.at("new").get<std::string>();
  if (as_constraint && is_partitioned(rule.table)) { // which takes no index for a constraint
    change("ALTER TABLE " + rule.name + " ADD CONSTRAINT " + made + "_c " +
           index.at("constraint_definition").get<std::string>());
    change("DROP INDEX IF EXISTS " + rule.schema + "." + made);
    change("DROP INDEX IF EXISTS " + rule.schema + "." + quote_name(name));
    change("ALTER TABLE " + rule.name + " RENAME CONSTRAINT " + made + "_c TO " + quote_name(name));
    return;
  }
  if (!valid_index(rule.table, made))
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "index " + made + " is not there, or not valid");
  const bool constraint =
      !bookkeep("SELECT 1 FROM pg_constraint WHERE conrelid = $1::oid AND conname = $2 AND contype = 'u'",
                {to_text(rule.table), name})
           .empty();
  if (constraint)
    change("ALTER TABLE " + rule.name + " DROP CONSTRAINT " + quote_name(name));
  else
    change("DROP INDEX IF EXISTS " + rule.schema + "." + quote_name(name));
  if (as_constraint)
    change("ALTER TABLE " + rule.name + " ADD CONSTRAINT " + quote_name(name) + " UNIQUE USING INDEX " + made);
  else
    change("ALTER INDEX " + rule.schema + "." + made + " RENAME TO " + quote_name(name));
}

} // namespace dbops::server::soft_delete
