#include "server/migration/recovery.h"

#include "server/engine/bookkeeping.h"

extern "C" {
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "utils/lsyscache.h"
}

namespace dbops::server::migration {

namespace {

enum class Subject { other, create_index, drop_index, reindex, detach };

// What a statement is about: plain data, found by name in the session's search_path.
struct About {
  Subject subject = Subject::other;
  Oid relation = InvalidOid; // table, or of drop_index and REINDEX INDEX the index; of detach the partitioned table
  Oid child = InvalidOid;    // of detach
  char index[NAMEDATALEN] = {};
  bool if_not_exists = false;
};

Oid relation_of(RangeVar* name) {
  return name == nullptr ? InvalidOid : RangeVarGetRelid(name, NoLock, true);
}

About look(const std::string& statement) {
  return call_pg([&statement] {
    About about;
    List* parsed = raw_parser(statement.c_str(), RAW_PARSE_DEFAULT);
    Node* node = linitial_node(RawStmt, parsed)->stmt;
    if (IsA(node, IndexStmt)) {
      auto* create = reinterpret_cast<IndexStmt*>(node);
      about.subject = Subject::create_index;
      about.relation = relation_of(create->relation);
      about.if_not_exists = create->if_not_exists;
      if (create->idxname != nullptr) strlcpy(about.index, create->idxname, NAMEDATALEN);
    } else if (IsA(node, DropStmt) && reinterpret_cast<DropStmt*>(node)->removeType == OBJECT_INDEX) {
      about.subject = Subject::drop_index;
      about.relation = relation_of(
          makeRangeVarFromNameList(static_cast<List*>(linitial(reinterpret_cast<DropStmt*>(node)->objects))));
    } else if (IsA(node, ReindexStmt)) {
      about.subject = Subject::reindex;
      about.relation = relation_of(reinterpret_cast<ReindexStmt*>(node)->relation);
      if (OidIsValid(about.relation) && get_rel_relkind(about.relation) == RELKIND_INDEX)
        about.relation = IndexGetRelation(about.relation, true);
    } else if (IsA(node, AlterTableStmt)) {
      auto* command = linitial_node(AlterTableCmd, reinterpret_cast<AlterTableStmt*>(node)->cmds);
      if (command->subtype == AT_DetachPartition) {
        about.subject = Subject::detach;
        about.relation = relation_of(reinterpret_cast<AlterTableStmt*>(node)->relation);
        about.child = relation_of(reinterpret_cast<PartitionCmd*>(command->def)->name);
      }
    }
    return about;
  });
}

// Indexes of the table that were not there before and are not valid.
Rows leftovers(Oid table, const std::string& before) {
  return ask_catalog("SELECT i.indexrelid FROM pg_catalog.pg_index i WHERE i.indrelid = $1::oid AND NOT i.indisvalid"
                     " AND i.indexrelid <> ALL ($2::oid[]) ORDER BY 1",
                     {to_text(table), before.empty() ? "{}" : before});
}

// A build that is under way belongs to somebody.
bool being_built(Oid table) {
  return !bookkeep("SELECT 1 FROM pg_stat_progress_create_index WHERE relid = $1::oid"
                   " AND datid = (SELECT oid FROM pg_database WHERE datname = current_database())",
                   {to_text(table)})
              .empty();
}

std::string drop_of(const Rows& indexes) {
  return "DROP INDEX CONCURRENTLY " + qualified_name(static_cast<Oid>(indexes.integer(0, 0)));
}

RecoveryPlan of_named_index(const About& about, bool begun) {
  const Rows found = ask_catalog("SELECT c.oid, i.indisvalid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_class t ON "
                                 "t.relnamespace = c.relnamespace"
                                 " JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid AND i.indrelid = t.oid"
                                 " WHERE t.oid = $1::oid AND c.relname = $2::text::name",
                                 {to_text(about.relation), about.index});
  if (found.empty()) return {};
  if (found.boolean(0, 1)) return {begun ? Recovery::done : Recovery::run, {}};
  // Without a record of ours, and without IF NOT EXISTS, it is for the statement itself to fail.
  if (!begun && !about.if_not_exists) return {};
  return {Recovery::first, drop_of(found)};
}

RecoveryPlan of_create_index(const About& about, bool begun, const std::string& before) {
  if (!OidIsValid(about.relation)) return {};
  if ((begun || about.if_not_exists) && being_built(about.relation)) return {Recovery::busy, {}};
  if (about.index[0] != '\0') return of_named_index(about, begun);
  if (!begun) return {};
  const Rows left = leftovers(about.relation, before);
  return left.empty() ? RecoveryPlan{} : RecoveryPlan{Recovery::first, drop_of(left)};
}

RecoveryPlan of_detach(const About& about, bool begun) {
  if (!begun || !OidIsValid(about.relation) || !OidIsValid(about.child)) return {};
  const Rows found = ask_catalog(
      "SELECT inhdetachpending FROM pg_catalog.pg_inherits WHERE inhparent = $1::oid AND inhrelid = $2::oid",
      {to_text(about.relation), to_text(about.child)});
  if (found.empty()) return {Recovery::done, {}};
  if (!found.boolean(0, 0)) return {};
  return {Recovery::instead, "ALTER TABLE " + qualified_name(about.relation) + " DETACH PARTITION " +
                                 qualified_name(about.child) + " FINALIZE"};
}

} // namespace

std::string indexes_before(const std::string& statement) {
  const About about = look(statement);
  if (about.subject != Subject::create_index && about.subject != Subject::reindex) return {};
  return ask_catalog("SELECT coalesce(array_agg(indexrelid ORDER BY indexrelid), '{}') FROM pg_catalog.pg_index WHERE "
                     "indrelid = $1::oid",
                     {to_text(about.relation)})
      .text(0, 0);
}

RecoveryPlan recover(const std::string& statement, bool begun, const std::string& before) {
  const About about = look(statement);
  switch (about.subject) {
  case Subject::create_index:
    return of_create_index(about, begun, before);
  case Subject::drop_index:
    return {begun && !OidIsValid(about.relation) ? Recovery::done : Recovery::run, {}};
  case Subject::reindex: {
    if (!begun || !OidIsValid(about.relation)) return {};
    if (being_built(about.relation)) return {Recovery::busy, {}};
    const Rows left = leftovers(about.relation, before);
    return left.empty() ? RecoveryPlan{} : RecoveryPlan{Recovery::first, drop_of(left)};
  }
  case Subject::detach:
    return of_detach(about, begun);
  case Subject::other:
    break;
  }
  return {};
}

} // namespace dbops::server::migration
