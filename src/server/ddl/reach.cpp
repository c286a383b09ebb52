#include "server/ddl/reach.h"

#include "server/ddl/catalog.h"

extern "C" {
#include "catalog/namespace.h"
#include "catalog/pg_class_d.h"
#include "commands/defrem.h"
#include "nodes/pg_list.h"
#include "utils/lsyscache.h"
}

namespace dbops::server::ddl {

namespace {

bool is_concurrent(ReindexStmt* statement) {
  return call_pg([statement] {
    ListCell* cell = nullptr;
    foreach (cell, statement->params) {
      auto* option = lfirst_node(DefElem, cell);
      if (strcmp(option->defname, "concurrently") == 0) return defGetBoolean(option);
    }
    return false;
  });
}

Rows reindexed_tables(ReindexStmt* statement) {
  const char* const begin = "SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = "
                            "c.relnamespace WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND ";
  if (statement->relation != nullptr) {
    const Oid named = call_pg([statement] { return RangeVarGetRelid(statement->relation, NoLock, false); });
    return ask_catalog(std::string(begin) +
                           "c.oid IN (SELECT coalesce(i.indrelid, l.relid) FROM (SELECT $1::oid AS relid UNION SELECT "
                           "relid::oid FROM pg_catalog.pg_partition_tree($1::oid::regclass)) l LEFT JOIN "
                           "pg_catalog.pg_index i ON i.indexrelid = l.relid) ORDER BY 1",
                       {to_text(named)});
  }
  if (statement->kind == REINDEX_OBJECT_SCHEMA)
    return ask_catalog(std::string(begin) + "n.nspname = $1::name ORDER BY 1", {std::string(statement->name)});
  const bool system = statement->kind == REINDEX_OBJECT_SYSTEM;
  return ask_catalog(std::string(begin) + (system
                                               ? "n.nspname = 'pg_catalog' ORDER BY 1"
                                               : "n.nspname <> 'pg_catalog' AND n.nspname !~ '^pg_toast' ORDER BY 1"));
}

void add_indexes(std::vector<Reached>& reached, bool rewrites) {
  std::vector<Oid> tables;
  tables.reserve(reached.size());
  for (const Reached& one : reached)
    tables.push_back(one.relation);
  const Rows indexes = ask_catalog(
      "SELECT i.indexrelid FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid AND c.relkind "
      "= 'i' WHERE i.indrelid = ANY ($1::oid[]) ORDER BY 1",
      {oid_array(tables)});
  for (std::size_t i = 0; i < indexes.size(); ++i)
    reached.push_back({static_cast<Oid>(indexes.integer(i, 0)), "ACCESS EXCLUSIVE", rewrites, false});
}

} // namespace

std::vector<Reached> reached_by_reindex(ReindexStmt* statement) {
  const bool concurrent = is_concurrent(statement);
  const Rows tables = reindexed_tables(statement);
  std::vector<Reached> reached;
  for (std::size_t i = 0; i < tables.size(); ++i)
    reached.push_back(
        {static_cast<Oid>(tables.integer(i, 0)), concurrent ? "SHARE UPDATE EXCLUSIVE" : "SHARE", false, true});
  // CONCURRENTLY builds others beside them, and holds the old ones for the moment of the exchange alone.
  if (!concurrent) add_indexes(reached, true);
  return reached;
}

std::vector<Reached> reached_by_cascade(const std::vector<Oid>& tables) {
  const Rows found = ask_catalog(
      "WITH RECURSIVE reached(relid) AS (SELECT pg_catalog.unnest($1::oid[]) UNION SELECT next.relid FROM reached r, "
      "LATERAL (SELECT conrelid AS relid FROM pg_catalog.pg_constraint WHERE contype = 'f' AND confrelid = r.relid"
      " UNION ALL SELECT inhrelid FROM pg_catalog.pg_inherits WHERE inhparent = r.relid) next)"
      " SELECT c.oid FROM reached JOIN pg_catalog.pg_class c ON c.oid = relid ORDER BY 1",
      {oid_array(tables)});
  std::vector<Reached> reached;
  for (std::size_t i = 0; i < found.size(); ++i)
    reached.push_back({static_cast<Oid>(found.integer(i, 0)), "ACCESS EXCLUSIVE", false, false});
  add_indexes(reached, false);
  return reached;
}

} // namespace dbops::server::ddl
