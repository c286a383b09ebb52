// The SQL functions of online DDL: from arguments to a job. See src/schema/ddl.sql.

#include <algorithm>
#include <cmath>

#include "core/schedule/window.h"
#include "core/text/json_text.h"
#include "server/arguments.h"
#include "server/ddl/catalog.h"
#include "server/ddl/checks.h"
#include "server/ddl/input.h"
#include "server/ddl/partition.h"
#include "server/ddl/shadow.h"
#include "server/engine/job_record.h"
#include "server/engine/submit.h"
#include "server/engine/wake.h"

extern "C" {
#include "catalog/pg_class_d.h"
#include "utils/lsyscache.h"
}

namespace dbops::server::ddl {

namespace {

[[noreturn]] void bad_argument(const std::string& message, const std::string& hint = {}) {
  throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, message, hint);
}

struct Request {
  const char* kind;
  Oid target = InvalidOid;
  Oid owner = InvalidOid;
  Spec spec;
  Settings settings = session_settings();
  std::optional<std::string> run_as;
  Value label;
  int priority = 0;
  std::size_t steps = 1;
  std::vector<std::string> warnings;
};

std::string required(const std::optional<std::string>& value, const char* name) {
  if (!value) throw SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, std::string(name) + " must not be null");
  if (value->find_first_not_of(" \t\r\n") == std::string::npos) bad_argument(std::string(name) + " must not be empty");
  return *value;
}

// The arguments that all of the functions end with, in the order of src/schema/ddl.sql.
void read_rest(Arguments& in, Request& request) {
  Spec& spec = request.spec;
  const std::optional<double> lock_timeout = in.seconds();
  if (!lock_timeout) bad_argument("lock_timeout must not be null");
  if (!(*lock_timeout >= 0.001 && *lock_timeout <= 3600)) bad_argument("lock_timeout must be between 1 ms and 1 hour");
  spec.lock_timeout_ms = static_cast<int>(std::lround(*lock_timeout * 1000));
  spec.give_up_after = in.seconds();
  if (spec.give_up_after && !(*spec.give_up_after >= 0))
    bad_argument("give_up_after must not be negative", "NULL: never.");
  spec.windows = in.string().value_or("");
  spec.timezone = in.string().value_or("");
  core::WindowError error{};
  if (!spec.windows.empty() && !core::Windows::parse(spec.windows, error))
    bad_argument("windows: expected " + error.expected + " at position " + std::to_string(error.position + 1),
                 "For example '22:00-06:00' or 'Mon-Fri 20:00-24:00, Sat,Sun 00:00-24:00'.");
  if (spec.timezone.empty()) spec.timezone = call_pg([] { return GetConfigOptionByName("TimeZone", nullptr, false); });
  ask_catalog("SELECT timezone($1, now())", {spec.timezone}); // raises 22023 for a name that it does not know
  request.run_as = in.name();
  request.label = in.string();
  const std::optional<int> priority = in.integer();
  if (!priority || *priority < -1000 || *priority > 1000) bad_argument("priority must be between -1000 and 1000");
  request.priority = *priority;
  request.owner = choose_job_owner(request.target, request.run_as);
}

// --- one function each ----------------------------------------------------------------------------------------------

std::string table_name(Oid table) {
  const char* name = call_pg([table] { return get_rel_name(table); });
  if (name == nullptr)
    throw SqlError(ERRCODE_UNDEFINED_TABLE, "relation with OID " + to_text(table) + " does not exist");
  return name;
}

std::string index_tail(const std::string& columns, const Value& include, bool nulls_not_distinct, const Value& options,
                       const Value& condition) {
  return "(" + columns + "\n)" + (include ? " INCLUDE (" + *include + "\n)" : "") +
         (nulls_not_distinct ? " NULLS NOT DISTINCT" : "") + (options ? " WITH (" + *options + "\n)" : "") +
         (condition ? " WHERE (" + *condition + "\n)" : "");
}

void check_tablespace(const Request& request) {
  if (request.spec.tablespace.empty()) return;
  const Rows allowed = ask_catalog("SELECT pg_catalog.has_tablespace_privilege($1::oid, $2, 'CREATE')",
                                   {to_text(request.owner), request.spec.tablespace}); // raises 42704
  if (!allowed.boolean(0, 0))
    throw SqlError(ERRCODE_INSUFFICIENT_PRIVILEGE, "permission denied for tablespace " + request.spec.tablespace);
}

void read_create_index(Arguments& in, Request& request) {
  Spec& spec = request.spec;
  const std::string columns = required(in.string(), "columns");
  const Value name = in.name();
  spec.unique = in.boolean();
  const std::string method = required(in.name(), "method");
  const Value include = in.string();
  const Value condition = in.string();
  const Value options = in.string();
  const bool nulls_not_distinct = in.boolean();
  spec.tablespace = in.name().value_or("");
  read_rest(in, request);
  require_table(request.target, request.owner);
  require_create(request.target, request.owner);
  check_tablespace(request);
  const std::string start = std::string("CREATE ") + (spec.unique ? "UNIQUE " : "") + "INDEX " +
                            (name ? quote_name(*name) + " " : "") + "ON ";
  const std::string tail =
      " USING " + quote_name(method) + " " + index_tail(columns, include, nulls_not_distinct, options, condition);
  check_index_text(start + "x" + tail, include.has_value(), options.has_value(), condition.has_value());
  const Tried tried = try_on_shadow(request.target, request.owner, request.settings, {{start, tail}});
  spec.definition = tried.index_definition;
  spec.name = name ? *name : free_relation_name(request.target, tried.index_name);
  require_free_index_name(request.target, spec.name, spec);
  require_partition_key(request.target, tried.keys, spec.unique);
  if (is_partitioned(request.target)) request.steps = leaves(request.target).size() + 1;
}

std::string deferral(const Value& text) {
  if (!text) return {};
  if (*text == "deferrable") return " DEFERRABLE";
  if (*text == "initially deferred") return " DEFERRABLE INITIALLY DEFERRED";
  bad_argument("deferral \"" + *text + "\" is not known", "deferrable, or initially deferred.");
}

void read_add_unique(Arguments& in, Request& request) {
  Spec& spec = request.spec;
  spec.unique = true;
  const std::string columns = required(in.string(), "columns");
  const Value name = in.name();
  spec.primary = in.boolean();
  const Value include = in.string();
  const bool nulls_not_distinct = in.boolean();
  spec.deferral = deferral(in.string());
  spec.tablespace = in.name().value_or("");
  read_rest(in, request);
  require_table(request.target, request.owner);
  require_create(request.target, request.owner);
  check_tablespace(request);
  const std::string tail =
      " USING btree " + index_tail(columns, include, nulls_not_distinct, std::nullopt, std::nullopt);
  check_index_text("CREATE UNIQUE INDEX ON x" + tail, include.has_value(), false, false);
  // The name that PostgreSQL itself would choose for the constraint, from the name that it chooses for the index.
  Tried tried = try_on_shadow(request.target, request.owner, request.settings, {{"CREATE UNIQUE INDEX ON ", tail}});
  std::string chosen = tried.index_name;
  if (chosen.ends_with("_idx")) chosen.replace(chosen.size() - 4, 4, "_key");
  if (spec.primary) chosen = table_name(request.target) + "_pkey";
  spec.name = name ? *name : free_relation_name(request.target, chosen);
  const std::string quoted = quote_name(spec.name);
  tried = try_on_shadow(request.target, request.owner, request.settings,
                        {{"CREATE UNIQUE INDEX " + quoted + " ON ", tail},
                         {"ALTER TABLE ", " ADD CONSTRAINT " + quoted + (spec.primary ? " PRIMARY KEY" : " UNIQUE") +
                                              " USING INDEX " + quoted + spec.deferral}});
  spec.definition = tried.index_definition;
  spec.clause = tried.constraint_definition;
  require_free_index_name(request.target, spec.name, spec);
  require_free_constraint_name(request.target, spec.name);
  if (spec.primary) require_primary_key_possible(request.target, tried.keys);
  require_partition_key(request.target, tried.keys, true);
  request.steps = is_partitioned(request.target) ? 2 * leaves(request.target).size() + 1 : 2;
}

// A partition's index goes with that of its table, a constraint's with the constraint.
void require_index_alone(Oid index, const std::optional<IndexState>& state) {
  if (state && OidIsValid(state->constraint))
    throw SqlError(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST, qualified_name(index) + " belongs to a constraint",
                   "ALTER TABLE ... DROP CONSTRAINT.");
  if (state && state->attached)
    throw SqlError(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
                   qualified_name(index) + " is part of an index of the partitioned table");
  const Rows used =
      ask_catalog("SELECT conname, conrelid::regclass::text FROM pg_catalog.pg_constraint WHERE conindid = "
                  "$1::oid AND contype = 'f' LIMIT 1",
                  {to_text(index)});
  if (!used.empty())
    throw SqlError(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
                   "foreign key " + used.text(0, 0) + " of " + used.text(0, 1) + " needs " + qualified_name(index));
}

// The table of an index; raises when it is none that may be worked on.
Oid table_of_index(Oid index, Oid owner) {
  const Rows found =
      ask_catalog("SELECT indrelid FROM pg_catalog.pg_index WHERE indexrelid = $1::oid", {to_text(index)});
  if (found.empty()) throw SqlError(ERRCODE_WRONG_OBJECT_TYPE, qualified_name(index) + " is not an index");
  const auto table = static_cast<Oid>(found.integer(0, 0));
  require_table(table, owner);
  return table;
}

void read_drop_index(Arguments& in, Request& request) {
  read_rest(in, request);
  if (!exists(request.target))
    throw SqlError(ERRCODE_UNDEFINED_OBJECT, "relation with OID " + to_text(request.target) + " does not exist");
  table_of_index(request.target, request.owner);
  if (call_pg([&request] { return get_rel_relkind(request.target); }) == RELKIND_PARTITIONED_INDEX)
    throw SqlError(ERRCODE_FEATURE_NOT_SUPPORTED, "an index of a partitioned table cannot be dropped concurrently",
                   "DROP INDEX takes ACCESS EXCLUSIVE on the table and all its partitions for a moment.");
  require_index_alone(request.target, index_state(request.target));
  if (!ask_catalog("SELECT 1 FROM pg_catalog.pg_index WHERE indexrelid = $1::oid AND indisreplident",
                   {to_text(request.target)})
           .empty())
    request.warnings.emplace_back("the index is the table's REPLICA IDENTITY: logical replication of UPDATE and DELETE "
                                  "fails without it");
}

void read_reindex(Arguments& in, Request& request) {
  read_rest(in, request);
  const bool whole_table = call_pg([&request] {
    const char kind = get_rel_relkind(request.target);
    return kind != RELKIND_INDEX && kind != RELKIND_PARTITIONED_INDEX;
  });
  if (whole_table)
    require_table(request.target, request.owner);
  else
    require_create(table_of_index(request.target, request.owner), request.owner);
  // All indexes with storage below the table, or below the index.
  const Rows found = ask_catalog(
      "WITH RECURSIVE family(relid) AS (SELECT $1::oid UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN "
      "family f"
      " ON i.inhparent = f.relid) SELECT c.oid, c.relname, i.indisexclusion, i.indrelid FROM pg_catalog.pg_index i"
      " JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid AND c.relkind = 'i'"
      " WHERE (CASE WHEN $2::boolean THEN i.indrelid ELSE i.indexrelid END) IN (SELECT relid FROM family)"
      " ORDER BY c.relname, c.oid",
      {to_text(request.target), whole_table ? "true" : "false"});
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (found.boolean(i, 2)) {
      if (!whole_table)
        throw SqlError(ERRCODE_FEATURE_NOT_SUPPORTED,
                       "an index of an exclusion constraint cannot be rebuilt concurrently");
      request.warnings.push_back("index " + found.text(i, 1) +
                                 " of an exclusion constraint is left out: it cannot be rebuilt concurrently");
      continue;
    }
    request.spec.indexes.push_back({static_cast<Oid>(found.integer(i, 0)), found.text(i, 1)});
  }
  request.spec.before = oid_list(ask_catalog("SELECT i.indexrelid FROM pg_catalog.pg_index i WHERE i.indrelid IN "
                                             "(SELECT indrelid FROM pg_catalog.pg_index WHERE "
                                             "indexrelid = ANY ($1::oid[]))",
                                             {[&request] {
                                               std::vector<Oid> oids;
                                               for (const NamedIndex& index : request.spec.indexes)
                                                 oids.push_back(index.oid);
                                               return oid_array(oids);
                                             }()}));
  request.steps = request.spec.indexes.size();
}

void read_set_not_null(Arguments& in, Request& request) {
  request.spec.name = required(in.name(), "column_name");
  read_rest(in, request);
  require_table(request.target, request.owner);
  require_column(request.target, request.spec.name);
  request.steps = 2 + leaves(request.target).size();
}

void read_add_check(Arguments& in, Request& request) {
  Spec& spec = request.spec;
  const std::string condition = required(in.string(), "condition");
  const Value name = in.name();
  read_rest(in, request);
  require_table(request.target, request.owner);
  const std::string tail =
      " ADD " + (name ? "CONSTRAINT " + quote_name(*name) + " " : std::string()) + "CHECK (" + condition + "\n)";
  check_check_text("ALTER TABLE x" + tail);
  const Tried tried = try_on_shadow(request.target, request.owner, request.settings, {{"ALTER TABLE ", tail}});
  spec.definition = tried.constraint_definition;
  spec.name = tried.constraint_name;
  for (int number = 1; !name && constraint_named(request.target, spec.name); ++number)
    spec.name = tried.constraint_name + std::to_string(number);
  require_free_constraint_name(request.target, spec.name);
  request.steps = 1 + leaves(request.target).size();
}

std::string name_list(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names)
    text += (text.empty() ? "" : ", ") + quote_name(name);
  return text;
}

// PostgreSQL's own choice when none are named.
std::vector<std::string> primary_key(Oid table) {
  const Rows found =
      ask_catalog("SELECT a.attname FROM pg_catalog.pg_constraint k CROSS JOIN LATERAL "
                  "pg_catalog.unnest(k.conkey) WITH ORDINALITY c(number, n) JOIN pg_catalog.pg_attribute a "
                  "ON a.attrelid = k.conrelid AND a.attnum = c.number WHERE k.conrelid = $1::oid AND "
                  "k.contype = 'p' ORDER BY c.n",
                  {to_text(table)});
  std::vector<std::string> names;
  for (std::size_t i = 0; i < found.size(); ++i)
    names.push_back(found.text(i, 0));
  if (names.empty())
    throw SqlError(ERRCODE_UNDEFINED_OBJECT, qualified_name(table) + " has no primary key", "Name referenced_columns.");
  return names;
}

void require_unique_key(Oid table, std::vector<std::string> columns) {
  std::sort(columns.begin(), columns.end());
  const Rows found = ask_catalog(
      "SELECT string_agg(a.attname::text, chr(10) ORDER BY a.attname::text COLLATE \"C\") FROM pg_catalog.pg_index i "
      "CROSS "
      "JOIN LATERAL pg_catalog.unnest(i.indkey) WITH ORDINALITY k(number, n) LEFT JOIN pg_catalog.pg_attribute a ON "
      "a.attrelid = i.indrelid AND a.attnum = k.number WHERE i.indrelid = $1::oid AND i.indisunique AND i.indisvalid "
      "AND "
      "i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL AND k.n <= i.indnkeyatts GROUP BY i.indexrelid",
      {to_text(table)});
  std::string wanted;
  for (const std::string& column : columns)
    wanted += (wanted.empty() ? "" : "\n") + column;
  for (std::size_t i = 0; i < found.size(); ++i)
    if (found.text(i, 0) == wanted) return;
  throw SqlError(ERRCODE_INVALID_FOREIGN_KEY,
                 "there is no unique constraint on just these columns of " + qualified_name(table),
                 "SELECT dbops.add_unique(...).");
}

void require_references(Oid table, Oid owner, const std::vector<std::string>& columns) {
  for (const std::string& column : columns)
    if (!ask_catalog("SELECT pg_catalog.has_column_privilege($1::oid, $2::oid, $3, 'REFERENCES')",
                     {to_text(owner), to_text(table), column})
             .boolean(0, 0))
      throw SqlError(ERRCODE_INSUFFICIENT_PRIVILEGE,
                     "role \"" + role_name(owner) + "\" needs REFERENCES on " + qualified_name(table));
}

void warn_without_index(Request& request, const std::vector<std::string>& columns) {
  if (ask_catalog(
          "SELECT 1 FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND "
          "a.attnum = i.indkey[0] WHERE i.indrelid = $1::oid AND i.indisvalid AND i.indpred IS NULL AND a.attname "
          "= $2::name",
          {to_text(request.target), columns.front()})
          .empty())
    request.warnings.push_back("no index begins with " + quote_name(columns.front()) + ": each delete in " +
                               qualified_name(request.spec.other) + " reads all of " + qualified_name(request.target));
}

void read_add_foreign_key(Arguments& in, Request& request) {
  Spec& spec = request.spec;
  const std::string columns = required(in.string(), "columns");
  spec.other = in.relation("referenced");
  const Value referenced_columns = in.string();
  const Value name = in.name();
  const Value on_delete = in.string();
  const Value on_update = in.string();
  const std::string deferred = deferral(in.string());
  read_rest(in, request);
  require_table(request.target, request.owner);
  if (!exists(spec.other))
    throw SqlError(ERRCODE_UNDEFINED_TABLE, "relation with OID " + to_text(spec.other) + " does not exist");
  const ForeignKey key = read_foreign_key("ALTER TABLE x ADD FOREIGN KEY (" + columns + "\n) REFERENCES y" +
                                          (referenced_columns ? " (" + *referenced_columns + "\n)" : "") +
                                          (on_delete ? " ON DELETE " + *on_delete + "\n" : "") +
                                          (on_update ? " ON UPDATE " + *on_update + "\n" : "") + deferred);
  const std::vector<std::string> referenced =
      key.referenced_columns.empty() ? primary_key(spec.other) : key.referenced_columns;
  for (const std::string& column : key.columns)
    require_column(request.target, column);
  for (const std::string& column : referenced)
    require_column(spec.other, column);
  if (key.columns.size() != referenced.size())
    throw SqlError(ERRCODE_INVALID_FOREIGN_KEY, "columns and referenced columns are not as many");
  require_unique_key(spec.other, referenced);
  require_references(spec.other, request.owner, referenced);
  spec.definition = "FOREIGN KEY (" + name_list(key.columns) + ") REFERENCES " + qualified_name(spec.other) + "(" +
                    name_list(referenced) + ")" + key.actions;
  const std::string chosen = table_name(request.target) + "_" + key.columns.front() + "_fkey";
  spec.name = name.value_or(chosen);
  for (int number = 1; !name && constraint_named(request.target, spec.name); ++number)
    spec.name = chosen + std::to_string(number);
  require_free_constraint_name(request.target, spec.name);
  warn_without_index(request, key.columns);
  request.steps = is_partitioned(request.target) ? 2 * leaves(request.target).size() + 1 : 2;
}

void read_validate_constraint(Arguments& in, Request& request) {
  request.spec.name = required(in.name(), "name");
  read_rest(in, request);
  require_table(request.target, request.owner);
  const std::optional<ConstraintState> constraint = constraint_named(request.target, request.spec.name);
  if (!constraint)
    throw SqlError(ERRCODE_UNDEFINED_OBJECT, "constraint " + quote_name(request.spec.name) + " of " +
                                                 qualified_name(request.target) + " does not exist");
  request.spec.other = constraint->oid;
  request.steps = std::max<std::size_t>(leaves(request.target).size(), 1);
}

void read_attach_partition(Arguments& in, Request& request) {
  Spec& spec = request.spec;
  spec.other = in.relation("partition");
  const std::string bounds = required(in.string(), "bounds");
  read_rest(in, request);
  require_table(request.target, request.owner);
  require_table(spec.other, request.owner);
  require_attachable(request.target, spec.other);
  spec.name = qualified_name(spec.other);
  spec.definition = as_job_owner(request.owner, request.settings, [&] {
                      return read_bounds(request.target, spec.other, bounds);
                    }).bounds;
  if (is_partitioned(spec.other) &&
      !ask_catalog("SELECT 1 FROM pg_catalog.pg_index WHERE indrelid = $1::oid", {to_text(request.target)}).empty())
    request.warnings.emplace_back("the partition is partitioned itself: indexes that it lacks are built under ACCESS "
                                  "EXCLUSIVE on it; SELECT dbops.create_index(...) first");
  request.steps = 3;
}

// --- the job --------------------------------------------------------------------------------------------------------

std::int64_t insert_job(const Request& request) {
  const Rows inserted =
      bookkeep("INSERT INTO dbops.job (kind, target_oid, target_name, owner_oid, owner_name, created_by, label,"
               "  priority, spec, rows_total)"
               " VALUES ($1, $2::oid, $3, $4::oid, $5, $6, $7, $8::integer, $9::jsonb, $10::bigint) RETURNING job_id",
               {request.kind, to_text(request.target), qualified_name(request.target), to_text(request.owner),
                role_name(request.owner), role_name(GetUserId()), request.label, to_text(request.priority),
                core::json_text(to_json(request.spec)), to_text(static_cast<std::int64_t>(request.steps))});
  const std::string id = inserted.text(0, 0);
  bookkeep("INSERT INTO dbops.job_slice (job_id, slice) VALUES ($1::bigint, 0)", {id});
  bookkeep("INSERT INTO dbops.job_event (job_id, actor, action, to_state) VALUES ($1::bigint, $2, 'create', 'queued')",
           {id, role_name(GetUserId())});
  notify_state(inserted.integer(0, 0), request.kind, std::nullopt, "queued");
  return inserted.integer(0, 0);
}

using Reader = void (*)(Arguments& in, Request& request);

Datum submit(FunctionCallInfo fcinfo, const char* kind, Reader reader) {
  SpiConnection spi;
  Arguments in(fcinfo);
  Request request;
  request.kind = kind;
  request.target = in.relation();
  reader(in, request);
  require_no_other_job(kind, request.target, request.spec.name);
  const std::int64_t id = insert_job(request);
  for (const std::string& warning : request.warnings)
    warn(warning);
  warn_if_nobody_can_run(request.owner);
  announce_at_commit();
  spi.close();
  return Int64GetDatum(id);
}

} // namespace

} // namespace dbops::server::ddl

using namespace dbops::server;

DBOPS_SQL_FUNCTION(dbops_create_index) {
  return boundary([fcinfo] { return ddl::submit(fcinfo, "create_index", ddl::read_create_index); });
}
DBOPS_SQL_FUNCTION(dbops_add_unique) {
  return boundary([fcinfo] { return ddl::submit(fcinfo, "add_unique", ddl::read_add_unique); });
}
DBOPS_SQL_FUNCTION(dbops_drop_index) {
  return boundary([fcinfo] { return ddl::submit(fcinfo, "drop_index", ddl::read_drop_index); });
}
DBOPS_SQL_FUNCTION(dbops_reindex) {
  return boundary([fcinfo] { return ddl::submit(fcinfo, "reindex", ddl::read_reindex); });
}
DBOPS_SQL_FUNCTION(dbops_set_not_null) {
  return boundary([fcinfo] { return ddl::submit(fcinfo, "set_not_null", ddl::read_set_not_null); });
}
DBOPS_SQL_FUNCTION(dbops_add_check) {
  return boundary([fcinfo] { return ddl::submit(fcinfo, "add_check", ddl::read_add_check); });
}
DBOPS_SQL_FUNCTION(dbops_add_foreign_key) {
  return boundary([fcinfo] { return ddl::submit(fcinfo, "add_foreign_key", ddl::read_add_foreign_key); });
}
DBOPS_SQL_FUNCTION(dbops_validate_constraint) {
  return boundary([fcinfo] { return ddl::submit(fcinfo, "validate_constraint", ddl::read_validate_constraint); });
}
DBOPS_SQL_FUNCTION(dbops_attach_partition) {
  return boundary([fcinfo] { return ddl::submit(fcinfo, "attach_partition", ddl::read_attach_partition); });
}
