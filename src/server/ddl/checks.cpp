#include "server/ddl/checks.h"

#include <algorithm>

#include "server/compat.h"
#include "server/ddl/catalog.h"

extern "C" {
#include "catalog/catalog.h"
#include "utils/lsyscache.h"
}

namespace dbops::server::ddl {

namespace {

[[noreturn]] void refuse(int code, const std::string& message, const std::string& hint = {}) {
  throw SqlError(code, message, hint);
}

} // namespace

void require_owner(Oid relation, Oid owner) {
  if (!call_pg([=] { return compat::owns_relation(relation, owner); }))
    refuse(ERRCODE_INSUFFICIENT_PRIVILEGE,
           "role \"" + role_name(owner) + "\" must be owner of " + qualified_name(relation));
}

void require_table(Oid relation, Oid owner) {
  const char kind = call_pg([relation] { return get_rel_relkind(relation); });
  if (kind == '\0') refuse(ERRCODE_UNDEFINED_TABLE, "relation with OID " + to_text(relation) + " does not exist");
  const std::string name = qualified_name(relation);
  if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE && kind != RELKIND_MATVIEW)
    refuse(ERRCODE_WRONG_OBJECT_TYPE, name + " is not a table");
  if (call_pg([relation] { return IsCatalogRelationOid(relation); }))
    refuse(ERRCODE_INSUFFICIENT_PRIVILEGE, name + " is a system catalog");
  if (call_pg([relation] { return get_rel_persistence(relation); }) == RELPERSISTENCE_TEMP)
    refuse(ERRCODE_FEATURE_NOT_SUPPORTED, name + " is a temporary table, which its own session alone can change");
  require_owner(relation, owner);
}

void require_create(Oid table, Oid owner) {
  const Rows allowed = ask_catalog("SELECT pg_catalog.has_schema_privilege($2::oid, relnamespace, 'CREATE'),"
                                   " relnamespace::regnamespace::text FROM pg_catalog.pg_class WHERE oid = $1::oid",
                                   {to_text(table), to_text(owner)});
  if (!allowed.boolean(0, 0))
    refuse(ERRCODE_INSUFFICIENT_PRIVILEGE,
           "role \"" + role_name(owner) + "\" may not create an index in schema " + allowed.text(0, 1),
           "GRANT CREATE ON SCHEMA " + allowed.text(0, 1) + " TO " + quote_name(role_name(owner)) + ".");
}

void require_free_index_name(Oid table, const std::string& name, const Spec& spec) {
  if (name.size() >= NAMEDATALEN) refuse(ERRCODE_NAME_TOO_LONG, "name has more than 63 bytes");
  const Rows taken = ask_catalog("SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_class t ON t.relnamespace = "
                                 "c.relnamespace WHERE t.oid = $1::oid AND c.relname = $2::name",
                                 {to_text(table), name});
  if (taken.empty()) return;
  const std::optional<IndexState> index = index_named(table, name);
  if (index && !index->valid && index->unique == spec.unique && !is_partitioned(table) &&
      index_definition(index->oid) == spec.definition)
    return;
  refuse(ERRCODE_DUPLICATE_TABLE, "relation " + quote_name(name) + " already exists",
         index && !index->valid ? "It is an INVALID index with another definition: SELECT dbops.drop_index(...)." : "");
}

void require_free_constraint_name(Oid table, const std::string& name) {
  if (name.size() >= NAMEDATALEN) refuse(ERRCODE_NAME_TOO_LONG, "name has more than 63 bytes");
  if (const std::optional<ConstraintState> there = constraint_named(table, name))
    refuse(ERRCODE_DUPLICATE_OBJECT, "constraint " + quote_name(name) + " already exists",
           there->valid ? "" : "It is NOT VALID: SELECT dbops.validate_constraint(...).");
}

void require_column(Oid table, const std::string& column) {
  if (ask_catalog("SELECT 1 FROM pg_catalog.pg_attribute WHERE attrelid = $1::oid AND attname = $2::name AND attnum > 0"
                  " AND NOT attisdropped",
                  {to_text(table), column})
          .empty())
    refuse(ERRCODE_UNDEFINED_COLUMN,
           "column " + quote_name(column) + " of " + qualified_name(table) + " does not exist");
}

void require_partition_key(Oid table, const std::vector<std::string>& keys, bool unique) {
  if (!is_partitioned(table)) return;
  if (!ask_catalog(
           "WITH RECURSIVE family(relid) AS (SELECT $1::oid UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits "
           "i JOIN family f ON i.inhparent = f.relid) SELECT 1 FROM family JOIN pg_catalog.pg_class c ON c.oid "
           "= relid WHERE c.relkind = 'f'",
           {to_text(table)})
           .empty())
    refuse(ERRCODE_FEATURE_NOT_SUPPORTED, "a partition of " + qualified_name(table) + " is a foreign table");
  if (!unique) return;
  const Rows partition_key =
      ask_catalog("WITH RECURSIVE family(relid) AS (SELECT $1::oid UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits "
                  "i JOIN family "
                  "f ON i.inhparent = f.relid) SELECT coalesce(a.attname, '') FROM family JOIN "
                  "pg_catalog.pg_partitioned_table p ON "
                  "p.partrelid = relid CROSS JOIN LATERAL pg_catalog.unnest(p.partattrs) k(number) LEFT JOIN "
                  "pg_catalog.pg_attribute a ON a.attrelid = relid AND a.attnum = k.number AND k.number > 0",
                  {to_text(table)});
  for (std::size_t i = 0; i < partition_key.size(); ++i)
    if (const std::string column = partition_key.text(i, 0);
        column.empty() || std::find(keys.begin(), keys.end(), column) == keys.end())
      refuse(ERRCODE_FEATURE_NOT_SUPPORTED, "unique over partitions is possible only with the whole partition key",
             column.empty() ? "The partition key has an expression." : "Column " + quote_name(column) + " is missing.");
}

void require_primary_key_possible(Oid table, const std::vector<std::string>& keys) {
  if (!ask_catalog("SELECT 1 FROM pg_catalog.pg_constraint WHERE conrelid = $1::oid AND contype = 'p'",
                   {to_text(table)})
           .empty())
    refuse(ERRCODE_INVALID_TABLE_DEFINITION, qualified_name(table) + " has a primary key already");
  for (const std::string& column : keys)
    if (ask_catalog(
            "SELECT 1 FROM pg_catalog.pg_attribute a WHERE attrelid = $1::oid AND attname = $2::name AND "
            "attnotnull AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid = a.attrelid AND "
            "k.contype = 'n' AND k.conkey[1] = a.attnum AND NOT k.convalidated)",
            {to_text(table), column})
            .empty())
      refuse(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "column " + quote_name(column) + " is not NOT NULL",
             "SELECT dbops.set_not_null(" + quote_text(qualified_name(table)) + ", " + quote_text(column) +
                 ") first, so that the primary key needs not read the table under a lock.");
}

void require_attachable(Oid parent, Oid partition) {
  const std::string name = qualified_name(partition);
  if (!is_partitioned(parent)) refuse(ERRCODE_WRONG_OBJECT_TYPE, qualified_name(parent) + " is not partitioned");
  if (!ask_catalog("SELECT 1 FROM pg_catalog.pg_inherits WHERE inhrelid = $1::oid", {to_text(partition)}).empty())
    refuse(ERRCODE_WRONG_OBJECT_TYPE, name + " is a partition or a child already");
  const Rows columns = ask_catalog(
      "SELECT coalesce(p.attname, c.attname), p.attname IS NULL, c.attname IS NULL, p.attnotnull AND NOT c.attnotnull"
      " FROM (SELECT * FROM pg_catalog.pg_attribute WHERE attrelid = $1::oid AND attnum > 0 AND NOT attisdropped) p"
      " FULL JOIN (SELECT * FROM pg_catalog.pg_attribute WHERE attrelid = $2::oid AND attnum > 0 AND NOT attisdropped) "
      "c"
      " ON p.attname = c.attname WHERE p.attname IS NULL OR c.attname IS NULL OR p.atttypid <> c.atttypid OR "
      "p.atttypmod "
      "<> c.atttypmod OR p.attcollation <> c.attcollation OR p.attgenerated <> c.attgenerated OR (p.attnotnull AND NOT "
      "c.attnotnull) LIMIT 1",
      {to_text(parent), to_text(partition)});
  if (!columns.empty()) {
    const std::string column = quote_name(columns.text(0, 0));
    if (columns.boolean(0, 3) && !columns.boolean(0, 2))
      refuse(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "column " + column + " of " + name + " is not NOT NULL",
             "SELECT dbops.set_not_null(" + quote_text(name) + ", " + quote_text(columns.text(0, 0)) + ").");
    refuse(ERRCODE_DATATYPE_MISMATCH, "column " + column + " is " +
                                          (columns.boolean(0, 1)   ? "not in the partitioned table"
                                           : columns.boolean(0, 2) ? "missing in " + name
                                                                   : "of another type in " + name));
  }
  const Rows checks = ask_catalog(
      "SELECT p.conname, pg_catalog.pg_get_constraintdef(p.oid) FROM pg_catalog.pg_constraint p WHERE p.conrelid = "
      "$1::oid AND p.contype = 'c' AND NOT p.connoinherit AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint c WHERE "
      "c.conrelid = $2::oid AND c.conname = p.conname AND c.contype = 'c' AND pg_catalog.pg_get_constraintdef(c.oid) = "
      "pg_catalog.pg_get_constraintdef(p.oid)) LIMIT 1",
      {to_text(parent), to_text(partition)});
  if (!checks.empty())
    refuse(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
           name + " lacks the constraint " + quote_name(checks.text(0, 0)) + " " + checks.text(0, 1),
           "SELECT dbops.add_check(...).");
}

void require_no_other_job(const std::string& kind, Oid target, const std::string& name) {
  const Rows other =
      bookkeep("SELECT job_id FROM dbops.job WHERE kind = $1 AND target_oid = $2::oid AND spec ->> 'name' "
               "= $3 AND state IN ('queued', 'running', 'paused') LIMIT 1",
               {kind, to_text(target), name});
  if (!other.empty())
    refuse(ERRCODE_OBJECT_IN_USE, "job " + other.text(0, 0) + " does that already",
           "CALL dbops.wait(" + other.text(0, 0) + ").");
}

} // namespace dbops::server::ddl
