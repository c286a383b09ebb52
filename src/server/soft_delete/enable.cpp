// dbops.soft_delete_enable and _disable: columns, triggers, view and indexes. All that a big table's writers would have
// to wait for is left to a job that builds indexes CONCURRENTLY; the rest takes its locks for a moment, under
// lock_timeout.

#include <nlohmann/json.hpp>

#include "core/text/json_text.h"
#include "server/arguments.h"
#include "server/engine/wake.h"
#include "server/soft_delete/deletion.h"

extern "C" {
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
}

namespace dbops::server::soft_delete {

namespace {

using nlohmann::json;

// Above this an index is not built while writers wait: 8 MB are read within some 50 ms.
constexpr std::int64_t big_table_bytes = 8 << 20;

struct Request {
  Oid target = InvalidOid;
  std::string mode;
  std::optional<std::string> grace; // as interval's text
  std::string unique_keys;
  std::optional<std::string> purge_schedule;
  double lock_timeout = 0;
  std::optional<bool> concurrently;
};

[[noreturn]] void bad_argument(const std::string& message, const std::string& hint = {}) {
  throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, message, hint);
}

void warn(const std::string& text) {
  call_pg([&text] { ereport(WARNING, (errmsg("dbops: %s", text.c_str()))); });
}

// Statements of DDL that were run, for the preview; null: nobody asks.
std::string* changes = nullptr;

// A statement of DDL, as the current user.
void change(const std::string& sql) {
  if (changes != nullptr && !sql.starts_with("DROP TRIGGER IF EXISTS")) *changes += sql + ";\n";
  run(sql);
}

// No statement of fn waits longer for a lock; nor does it chatter about triggers that were not there.
template <typename F>
auto under_lock_timeout(double seconds, F&& fn) {
  const int level = enter_settings(
      {{"lock_timeout", std::to_string(static_cast<int>(seconds * 1000))}, {"client_min_messages", "warning"}});
  auto result = fn();
  leave_settings(level);
  return result;
}

double lock_timeout_argument(std::optional<double> seconds) {
  if (!seconds || !(*seconds >= 0.001 && *seconds <= 600)) bad_argument("lock_timeout must be between 1 ms and 10 min");
  return *seconds;
}

// --- what kind of table
// --------------------------------------------------------------------------------------------------

void require_suitable(Oid target) {
  const Rows facts = bookkeep(
      "SELECT c.relkind, c.relispartition, c.relpersistence, n.nspname,"
      " EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid) AND c.relkind <> 'p',"
      " EXISTS (SELECT FROM pg_index x JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = ANY (x.indkey)"
      "   JOIN pg_type t ON t.oid = a.atttypid WHERE x.indrelid = c.oid AND x.indisprimary AND t.typsubscript <> 0"
      "   AND t.typelem <> 0 AND t.typlen = -1)"
      " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid",
      {to_text(target)});
  if (facts.empty())
    throw SqlError(ERRCODE_UNDEFINED_TABLE, "relation with OID " + to_text(target) + " does not exist");
  const std::string name = label(target);
  const std::string kind = facts.text(0, 0);
  const std::string schema = facts.text(0, 3);
  if (kind != "r" && kind != "p") throw SqlError(ERRCODE_WRONG_OBJECT_TYPE, name + " is not a table");
  if (facts.boolean(0, 1))
    throw SqlError(ERRCODE_WRONG_OBJECT_TYPE, name + " is a partition", "Name the partitioned table.");
  if (facts.text(0, 2) == "t") throw SqlError(ERRCODE_WRONG_OBJECT_TYPE, name + " is a temporary table");
  if (facts.boolean(0, 4))
    throw SqlError(ERRCODE_WRONG_OBJECT_TYPE, name + " has tables that inherit from it", "Partitions would be fine.");
  if (schema == "dbops" || schema == "pg_catalog" || schema == "information_schema")
    throw SqlError(ERRCODE_WRONG_OBJECT_TYPE, name + " is a system table");
  if (!may_act_as_owner(target)) refuse_not_owner(target);
  if (primary_key(target).empty())
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "table " + name + " has no primary key",
                   "Rows are named by it; it must not be deferrable.");
  if (facts.boolean(0, 5))
    throw SqlError(ERRCODE_FEATURE_NOT_SUPPORTED, "a primary key with an array is not supported");
}

bool is_big(Oid target) {
  return bookkeep("SELECT coalesce(sum(dbops.relation_bytes(f)), 0) > $2::bigint FROM dbops.family($1::oid) f",
                  {to_text(target), to_text(big_table_bytes)})
      .boolean(0, 0);
}

bool is_partitioned(Oid target) {
  return call_pg([target] { return get_rel_relkind(target); }) == 'p';
}

// --- unique indexes
// --------------------------------------------------------------------------------------------------------

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

// Unique keys that are to hold for live rows alone; says which cannot be changed, and why.
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

void build_now(Oid target, const json& indexes, const std::string& which) {
  for (const auto& [name, definition] : to_build(target, indexes, which))
    if (!valid_index(target, name)) change(with_name(definition, name, false));
}

// A schedule that runs once, as the owner: each statement is a transaction of its own there.
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

// The new index takes the place and the name of the old one, so that errors name the key as before.
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

// --- columns, triggers, view
// ---------------------------------------------------------------------------------------------------

void add_columns(const Rule& rule) {
  const Rows there =
      bookkeep("SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = $1::oid"
               " AND attname IN ('deleted_at', 'deleted_by', 'deletion_id') AND NOT attisdropped",
               {to_text(rule.table)});
  std::string missing;
  for (const auto& [name, type] : {std::pair<std::string, std::string>{"deleted_at", "timestamp with time zone"},
                                   {"deleted_by", "text"},
                                   {"deletion_id", "bigint"}}) {
    bool found = false;
    for (std::size_t i = 0; i < there.size(); ++i) {
      if (there.text(i, 0) != name) continue;
      found = true;
      if (there.text(i, 1) != type)
        throw SqlError(ERRCODE_DUPLICATE_COLUMN,
                       "column " + name + " of " + label(rule.table) + " is there already, of type " + there.text(i, 1),
                       "It has to be " + type + ". Rename it, or use mode => 'tombstone'.");
    }
    if (!found) missing += (missing.empty() ? " ADD COLUMN " : ", ADD COLUMN ") + name + " " + type;
  }
  if (!missing.empty()) change("ALTER TABLE " + rule.name + missing);
}

void make_trigger(const std::string& table, const std::string& name, const std::string& rest) {
  change("DROP TRIGGER IF EXISTS " + name + " ON " + table);
  change("CREATE TRIGGER " + name + " " + rest);
}

// On the table and each partition: TRUNCATE of a partition does not fire its parent's.
void refuse_truncate(const Rule& rule) {
  const Rows family = bookkeep("SELECT format('%I.%I', n.nspname, c.relname) FROM dbops.family($1::oid) f"
                               " JOIN pg_class c ON c.oid = f JOIN pg_namespace n ON n.oid = c.relnamespace"
                               " WHERE c.relkind IN ('r', 'p')",
                               {to_text(rule.table)});
  for (std::size_t i = 0; i < family.size(); ++i)
    make_trigger(family.text(i, 0), "dbops_soft_delete_truncate",
                 "BEFORE TRUNCATE ON " + family.text(i, 0) +
                     " FOR EACH STATEMENT EXECUTE FUNCTION dbops.refuse_truncate()");
}

// By what it calls: a copy of the database has other numbers in its triggers' names.
void drop_guard(const ForeignKey& key) {
  const Rows guards = bookkeep("SELECT quote_ident(tgname) FROM pg_trigger WHERE tgrelid = $1::oid AND tgparentid = 0"
                               " AND tgfoid = 'dbops.refuse_dead_parent()'::regprocedure"
                               " AND tgargs = convert_to($2, getdatabaseencoding()) || '\\x00'::bytea",
                               {to_text(key.child), key.name});
  for (std::size_t i = 0; i < guards.size(); ++i)
    change("DROP TRIGGER " + guards.text(i, 0) + " ON " + key.child_name);
}

void guard_foreign_key(const ForeignKey& key) {
  const Rows privilege = run("SELECT has_table_privilege($1::oid, 'TRIGGER')", {to_text(key.child)});
  if (!privilege.boolean(0, 0))
    throw SqlError(ERRCODE_INSUFFICIENT_PRIVILEGE,
                   "table " + label(key.child) + " refers to " + label(key.parent) +
                       ", and you may not make triggers on it",
                   "A trigger has to keep its rows from referring to deleted ones.");
  const std::optional<Rule> child = find_rule(key.child);
  const bool marked = child && child->mode == Mode::column;
  std::string columns;
  for (const std::string& column : key.child_columns)
    columns += (columns.empty() ? "" : ", ") + column;
  drop_guard(key);
  make_trigger(key.child_name, "dbops_live_parent_" + to_text(key.oid),
               "AFTER INSERT OR UPDATE OF " + columns + (marked ? ", deleted_at" : "") + " ON " + key.child_name +
                   " FOR EACH ROW" + (marked ? " WHEN (NEW.deleted_at IS NULL)" : "") +
                   " EXECUTE FUNCTION dbops.refuse_dead_parent(" + quote_text(key.name) + ")");
}

void guard_foreign_keys(const Rule& rule) {
  for (const ForeignKey& key : foreign_keys_to(rule.table))
    guard_foreign_key(key);
  for (const ForeignKey& key : foreign_keys_from(rule.table)) {
    const std::optional<Rule> parent = find_rule(key.parent);
    if (parent && parent->mode == Mode::column && parent->table != rule.table) guard_foreign_key(key);
  }
}

// The triggers that this table has as a child, when it has no soft delete any more.
void guard_foreign_keys_of_child(const Rule& rule) {
  for (const ForeignKey& key : foreign_keys_from(rule.table)) {
    const std::optional<Rule> parent = find_rule(key.parent);
    if (parent && parent->mode == Mode::column) guard_foreign_key(key);
  }
}

void make_column_triggers(const Rule& rule) {
  make_trigger(rule.name, "dbops_soft_delete_insert",
               "BEFORE INSERT ON " + rule.name +
                   " FOR EACH ROW WHEN (NEW.deleted_at IS NOT NULL OR NEW.deletion_id IS NOT NULL)"
                   " EXECUTE FUNCTION dbops.guard_soft_delete_columns()");
  make_trigger(
      rule.name, "dbops_soft_delete_update",
      "BEFORE UPDATE ON " + rule.name +
          " FOR EACH ROW WHEN (OLD.deleted_at IS DISTINCT FROM NEW.deleted_at OR OLD.deleted_by IS DISTINCT FROM"
          " NEW.deleted_by OR OLD.deletion_id IS DISTINCT FROM NEW.deletion_id)"
          " EXECUTE FUNCTION dbops.guard_soft_delete_columns()");
}

std::string live_name(const Rule& rule) {
  return rule.schema + "." +
         quote_name(
             bookkeep("SELECT left(relname, 58) || '_live' FROM pg_class WHERE oid = $1::oid", {to_text(rule.table)})
                 .text(0, 0));
}

// As schema.view; nothing when there is none (any more).
std::optional<std::string> view_of(const Rule& rule) {
  const Rows known =
      bookkeep("SELECT format('%I.%I', n.nspname, c.relname) FROM dbops.soft_delete_rule r JOIN pg_class c"
               " ON c.oid = r.live_view JOIN pg_namespace n ON n.oid = c.relnamespace WHERE r.target = $1::oid",
               {to_text(rule.table)});
  if (known.empty()) return std::nullopt;
  return known.text(0, 0);
}

// With the caller's rights (security_invoker), so that row-level security of the table holds in it. Whoever may read or
// write the table may do so through it.
void make_live_view(const Rule& rule) {
  const std::string view = view_of(rule).value_or(live_name(rule));
  const Rows columns =
      bookkeep("SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid"
               " = $1::oid AND attnum > 0 AND NOT attisdropped AND attname NOT IN ('deleted_at',"
               " 'deleted_by', 'deletion_id')",
               {to_text(rule.table)});
  change("CREATE OR REPLACE VIEW " + view + " WITH (security_invoker = true) AS SELECT " + columns.text(0, 0) +
         " FROM " + rule.name + " WHERE deleted_at IS NULL");
  if (GetUserId() != rule.owner) change("ALTER VIEW " + view + " OWNER TO " + quote_name(role_name(rule.owner)));
  make_trigger(view, "dbops_delete_live",
               "INSTEAD OF DELETE ON " + view + " FOR EACH ROW EXECUTE FUNCTION dbops.delete_live()");
  const Rows grants = bookkeep(
      "SELECT DISTINCT format('GRANT %s ON %s TO %s', a.privilege_type, $2, CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE"
      " quote_ident(r.rolname) END) FROM pg_class c, aclexplode(c.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee"
      " WHERE c.oid = $1::oid AND a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE') AND a.grantee <> "
      "c.relowner",
      {to_text(rule.table), view});
  for (std::size_t i = 0; i < grants.size(); ++i)
    change(grants.text(i, 0));
  change("COMMENT ON VIEW " + view + " IS " +
         quote_text("Rows of " + label(rule.table) + " that are not deleted (dbops)"));
  bookkeep("UPDATE dbops.soft_delete_rule SET live_view = $2::regclass WHERE target = $1::oid",
           {to_text(rule.table), view});
}

void make_tombstone_trigger(const Rule& rule) {
  make_trigger(rule.name, "dbops_soft_delete_row",
               "AFTER DELETE ON " + rule.name + " FOR EACH ROW EXECUTE FUNCTION dbops.keep_tombstone()");
}

// --- the schedule that purges
// ------------------------------------------------------------------------------------------

void drop_purge_schedule(const Rule& rule) {
  const Rows old =
      bookkeep("SELECT s.name FROM dbops.soft_delete_rule r JOIN dbops.schedule s ON s.name = r.purge_schedule"
               " WHERE r.target = $1::oid",
               {to_text(rule.table)});
  if (!old.empty()) run("SELECT dbops.unschedule($1)", {old.text(0, 0)});
  bookkeep("UPDATE dbops.soft_delete_rule SET purge_schedule = NULL WHERE target = $1::oid", {to_text(rule.table)});
}

void make_purge_schedule(const Rule& rule, const std::string& when) {
  const std::string name = "purge " + qualified_name(rule.table);
  // By its number, so that the table can be given another name.
  run("SELECT dbops.schedule($1, $2, $3, jitter => '5 min', missed => 'once', run_as => $4::name)",
      {name, when, "CALL dbops.purge(" + to_text(rule.table) + ")", role_name(rule.owner)});
  bookkeep("UPDATE dbops.soft_delete_rule SET purge_schedule = $2 WHERE target = $1::oid", {to_text(rule.table), name});
}

// --- enable
// ------------------------------------------------------------------------------------------------------------

Request read_request(FunctionCallInfo fcinfo) {
  Arguments in(fcinfo);
  Request request;
  request.target = in.relation();
  request.mode = in.string().value_or("");
  const auto grace = in.seconds();
  if (!grace || !(*grace >= 0 && *grace <= 36'500 * 86'400.0)) bad_argument("grace must be between 0 and 36500 days");
  request.grace = call_pg([fcinfo] { return DatumGetCString(DirectFunctionCall1(interval_out, PG_GETARG_DATUM(2))); });
  request.unique_keys = in.string().value_or("");
  request.purge_schedule = in.string();
  request.lock_timeout = lock_timeout_argument(in.seconds());
  if (!PG_ARGISNULL(6)) request.concurrently = PG_GETARG_BOOL(6);
  if (request.mode != "column" && request.mode != "tombstone")
    bad_argument("mode \"" + request.mode + "\" is not known", "column or tombstone.");
  if (request.unique_keys != "partial" && request.unique_keys != "keep")
    bad_argument("unique_keys \"" + request.unique_keys + "\" is not known", "partial or keep.");
  return request;
}

bool build_concurrently(const Request& request) {
  if (is_partitioned(request.target)) {
    if (request.concurrently.value_or(is_big(request.target)))
      throw SqlError(ERRCODE_FEATURE_NOT_SUPPORTED,
                     "the indexes of a partitioned table cannot be built while it is written to",
                     "concurrently => false builds them at once; writers wait meanwhile. Or use mode => 'tombstone'.");
    return false;
  }
  return request.concurrently.value_or(is_big(request.target));
}

void set_state(const Rule& rule, const std::string& state) {
  bookkeep("UPDATE dbops.soft_delete_rule SET state = $2 WHERE target = $1::oid", {to_text(rule.table), state});
}

void store_indexes(const Rule& rule, const json& indexes) {
  bookkeep("UPDATE dbops.soft_delete_rule SET indexes = $2::jsonb WHERE target = $1::oid",
           {to_text(rule.table), core::json_text(indexes)});
}

// The last step: every index is built.
void finish_enabling(const Rule& rule) {
  json indexes = indexes_of(rule.table);
  for (json& index : indexes) {
    if (index.value("done", false)) continue;
    swap_in(rule, index, false);
    index["done"] = true;
  }
  store_indexes(rule, indexes);
  set_state(rule, "enabled");
}

json not_done(const json& indexes) {
  json open = json::array();
  for (const json& index : indexes)
    if (!index.value("done", false)) open.push_back(index);
  return open;
}

std::int64_t enable_column(const Request& request, const Rule& rule) {
  const bool concurrently = build_concurrently(request);
  add_columns(rule);
  make_column_triggers(rule);
  guard_foreign_keys(rule);
  make_live_view(rule);
  json indexes = indexes_of(rule.table);
  if (request.unique_keys == "partial")
    for (json& index : plan_unique_indexes(rule.table))
      indexes.push_back(index);
  store_indexes(rule, indexes);
  const json open = not_done(indexes);
  if (concurrently && !(open.empty() && valid_index(rule.table, id_index_name(rule.table)))) {
    set_state(rule, "building");
    return build_by_job(rule, open, "build", request.lock_timeout);
  }
  build_now(rule.table, open, "build");
  finish_enabling(rule);
  return 0;
}

// The job that builds, or 0.
std::int64_t enable(const Request& request) {
  require_suitable(request.target);
  const std::optional<Rule> known = find_rule(request.target);
  if (known && known->state != "enabled")
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                   "soft delete of " + label(request.target) + " is " + known->state,
                   "Its job builds indexes; see dbops.soft_delete_status.");
  if (known && (known->mode == Mode::column) != (request.mode == "column"))
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                   "soft delete of " + label(request.target) + " is of another mode",
                   "dbops.soft_delete_disable() first.");
  bookkeep("DELETE FROM dbops.soft_delete_rule r WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = r.target)");
  bookkeep(
      "INSERT INTO dbops.soft_delete_rule (target, mode, state, grace, created_by) VALUES ($1::oid, $2, 'building',"
      " $3::interval, $4) ON CONFLICT (target) DO UPDATE SET grace = excluded.grace",
      {to_text(request.target), request.mode, request.grace, role_name(GetUserId())});
  const Rule rule = *find_rule(request.target);
  refuse_truncate(rule);
  drop_purge_schedule(rule);
  if (request.purge_schedule) make_purge_schedule(rule, *request.purge_schedule);
  if (rule.mode == Mode::column) return enable_column(request, rule);
  make_tombstone_trigger(rule);
  set_state(rule, "enabled");
  return 0;
}

// --- disable
// -----------------------------------------------------------------------------------------------------------

bool has_deleted_rows(const Rule& rule) {
  if (rule.mode == Mode::column)
    return !run_as_extension("SELECT 1 FROM " + rule.name + " WHERE deleted_at IS NOT NULL LIMIT 1").empty();
  return !bookkeep("SELECT 1 FROM dbops.deleted_row WHERE target = $1::oid LIMIT 1", {to_text(rule.table)}).empty();
}

void restore_all(const Rule& rule) {
  const Rows deletions =
      bookkeep("SELECT deletion_id, state FROM dbops.soft_deletion d WHERE state IN ('deleted', 'purging')"
               " AND ($1::oid = ANY (tables) OR EXISTS (SELECT FROM dbops.deleted_row r WHERE r.deletion_id ="
               " d.deletion_id AND r.target = $1::oid)) ORDER BY deletion_id DESC",
               {to_text(rule.table)});
  for (std::size_t i = 0; i < deletions.size(); ++i)
    restore(deletions.integer(i, 0));
  if (rule.mode == Mode::column)
    run_as_owner(rule,
                 "UPDATE " + rule.name + " SET deleted_at = NULL, deleted_by = NULL WHERE deleted_at IS NOT NULL");
}

void drop_triggers(const Rule& rule) {
  const Rows triggers = bookkeep(
      "SELECT format('DROP TRIGGER %I ON %I.%I', t.tgname, n.nspname, c.relname) FROM pg_trigger t"
      " JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
      " WHERE t.tgparentid = 0 AND t.tgrelid IN (SELECT f FROM dbops.family($1::oid) f)"
      " AND t.tgfoid IN ('dbops.guard_soft_delete_columns()'::regprocedure, 'dbops.refuse_truncate()'::regprocedure,"
      " 'dbops.keep_tombstone()'::regprocedure)",
      {to_text(rule.table)});
  for (std::size_t i = 0; i < triggers.size(); ++i)
    change(triggers.text(i, 0));
  for (const ForeignKey& key : foreign_keys_to(rule.table))
    drop_guard(key);
  for (const ForeignKey& key : foreign_keys_from(rule.table))
    drop_guard(key);
}

void finish_disabling(const Rule& rule) {
  for (const json& index : indexes_of(rule.table))
    swap_in(rule, index, index.at("constraint").get<bool>());
  change("ALTER TABLE " + rule.name +
         " DROP COLUMN IF EXISTS deletion_id, DROP COLUMN IF EXISTS deleted_by, DROP COLUMN IF EXISTS deleted_at");
  bookkeep("DELETE FROM dbops.soft_delete_rule WHERE target = $1::oid", {to_text(rule.table)});
  guard_foreign_keys_of_child(rule);
}

struct Disable {
  Oid target = InvalidOid;
  std::string deleted_rows;
  double lock_timeout = 0;
  std::optional<bool> concurrently;
};

std::int64_t disable(const Disable& request) {
  const std::optional<Rule> known = find_rule(request.target);
  if (!known)
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "table " + label(request.target) + " has no soft delete");
  const Rule& rule = *known;
  if (!may_act_as_owner(rule.table)) refuse_not_owner(rule.table);
  // Whoever deletes or restores a row holds it in share.
  bookkeep("SELECT 1 FROM dbops.soft_delete_rule WHERE target = $1::oid FOR UPDATE", {to_text(rule.table)});
  if (rule.state == "disabling")
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                   "soft delete of " + label(rule.table) + " is being disabled already",
                   "See dbops.soft_delete_status.");
  const bool keep = request.deleted_rows == "keep";
  if (request.deleted_rows == "restore")
    restore_all(rule);
  else if (!keep && has_deleted_rows(rule))
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "table " + label(rule.table) + " has deleted rows",
                   "deleted_rows => 'restore' brings them back; 'keep' leaves them as they are; CALL dbops.purge(" +
                       quote_text(label(rule.table)) + ", older_than => '0') deletes them for good first.");
  drop_purge_schedule(rule);
  const std::optional<std::string> view = view_of(rule);
  drop_triggers(rule);
  if (view) change("DROP VIEW " + *view);
  if (keep || rule.mode == Mode::tombstone) {
    bookkeep("DELETE FROM dbops.soft_delete_rule WHERE target = $1::oid", {to_text(rule.table)});
    guard_foreign_keys_of_child(rule);
    return 0;
  }
  json indexes = json::array();
  for (const json& index : indexes_of(rule.table))
    if (index.value("done", false)) indexes.push_back(index);
  store_indexes(rule, indexes);
  if (!indexes.empty() && !is_partitioned(rule.table) && request.concurrently.value_or(is_big(rule.table))) {
    set_state(rule, "disabling");
    return build_by_job(rule, indexes, "was", request.lock_timeout);
  }
  build_now(rule.table, indexes, "was");
  finish_disabling(rule);
  return 0;
}

Datum job_or_null(FunctionCallInfo fcinfo, std::int64_t job) {
  if (job == 0) PG_RETURN_NULL();
  return Int64GetDatum(job);
}

} // namespace

} // namespace dbops::server::soft_delete

using namespace dbops::server;

DBOPS_SQL_FUNCTION(dbops_soft_delete_enable) {
  return boundary([fcinfo] {
    using namespace soft_delete;
    SpiConnection spi;
    const Request request = read_request(fcinfo);
    const std::int64_t job = under_lock_timeout(request.lock_timeout, [&] { return enable(request); });
    spi.close();
    return job_or_null(fcinfo, job);
  });
}

// Does it all in a savepoint and takes it back, so that it says what would be refused as well.
DBOPS_SQL_FUNCTION(dbops_soft_delete_preview) {
  return boundary([fcinfo] {
    using namespace soft_delete;
    struct Done {};
    SpiConnection spi;
    const Request request = read_request(fcinfo);
    std::string statements;
    changes = &statements;
    try {
      in_savepoint([&]() -> bool {
        const std::int64_t job = under_lock_timeout(request.lock_timeout, [&] { return enable(request); });
        if (job != 0)
          statements +=
              bookkeep("SELECT spec ->> 'command' FROM dbops.job WHERE job_id = $1::bigint", {to_text(job)}).text(0, 0);
        throw Done{};
      });
    } catch (const Done&) { // rolled back
    } catch (...) {
      changes = nullptr;
      throw;
    }
    changes = nullptr;
    spi.close();
    return call_pg([&statements] { return PointerGetDatum(cstring_to_text(statements.c_str())); });
  });
}

DBOPS_SQL_FUNCTION(dbops_soft_delete_finish) {
  return boundary([fcinfo] {
    using namespace soft_delete;
    SpiConnection spi;
    if (PG_ARGISNULL(0)) throw SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, "target must not be null");
    const Oid target = PG_GETARG_OID(0);
    Arguments in(fcinfo);
    in.integer();
    const double lock_timeout = lock_timeout_argument(in.seconds());
    const std::optional<Rule> rule = find_rule(target);
    if (!rule || rule->state == "enabled")
      throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "there is nothing to finish for " + label(target));
    if (!may_act_as_owner(rule->table)) refuse_not_owner(rule->table);
    under_lock_timeout(lock_timeout, [&] {
      if (rule->state == "building")
        finish_enabling(*rule);
      else
        finish_disabling(*rule);
      return true;
    });
    spi.close();
    PG_RETURN_VOID();
  });
}

DBOPS_SQL_FUNCTION(dbops_soft_delete_disable) {
  return boundary([fcinfo] {
    using namespace soft_delete;
    SpiConnection spi;
    Arguments in(fcinfo);
    Disable request;
    request.target = in.relation();
    request.deleted_rows = in.string().value_or("");
    request.lock_timeout = lock_timeout_argument(in.seconds());
    if (!PG_ARGISNULL(3)) request.concurrently = PG_GETARG_BOOL(3);
    if (request.deleted_rows != "refuse" && request.deleted_rows != "restore" && request.deleted_rows != "keep")
      bad_argument("deleted_rows \"" + request.deleted_rows + "\" is not known", "refuse, restore or keep.");
    const std::int64_t job = under_lock_timeout(request.lock_timeout, [&] { return disable(request); });
    spi.close();
    return job_or_null(fcinfo, job);
  });
}
