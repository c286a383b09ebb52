#include "server/migration/recovery.h"

#include "server/ddl/catalog.h"
#include "server/ddl/shadow.h"
#include "server/engine/bookkeeping.h"

extern "C" {
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"
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
  bool if_not_exists = false, unique = false;
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
      about.unique = create->unique;
      if (create->idxname != nullptr) strlcpy(about.index, create->idxname, NAMEDATALEN);
    } else if (IsA(node, DropStmt) && reinterpret_cast<DropStmt*>(node)->removeType == OBJECT_INDEX) {
      about.subject = Subject::drop_index;
      about.relation = relation_of(
          makeRangeVarFromNameList(static_cast<List*>(linitial(reinterpret_cast<DropStmt*>(node)->objects))));
    } else if (IsA(node, ReindexStmt)) {
      about.subject = Subject::reindex;
      about.relation = relation_of(reinterpret_cast<ReindexStmt*>(node)->relation);
      const char kind = OidIsValid(about.relation) ? get_rel_relkind(about.relation) : '\0';
      if (kind == RELKIND_INDEX || kind == RELKIND_PARTITIONED_INDEX)
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

// $1::oid, a table, with its partitions.
#define WITH_PARTITIONS "(SELECT $1::oid UNION SELECT p.relid::oid FROM pg_catalog.pg_partition_tree($1::oid) p)"

// Indexes of the table and its partitions that were not there before and are not valid. That of a partitioned table is
// invalid while a partition lacks its part: it holds nothing.
Rows leftovers(Oid table, const std::string& before) {
  return ask_catalog("SELECT i.indexrelid FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
                     " WHERE i.indrelid IN " WITH_PARTITIONS " AND NOT i.indisvalid AND c.relkind = 'i'"
                     " AND i.indexrelid <> ALL ($2::oid[]) ORDER BY 1",
                     {to_text(table), before.empty() ? "{}" : before});
}

// A build that is under way belongs to somebody.
bool being_built(Oid table) {
  return !bookkeep("SELECT 1 FROM pg_stat_progress_create_index WHERE relid IN " WITH_PARTITIONS
                   " AND datid = (SELECT oid FROM pg_database WHERE datname = current_database())",
                   {to_text(table)})
              .empty();
}

std::string drop_of(const Rows& indexes) {
  return "DROP INDEX CONCURRENTLY " + qualified_name(static_cast<Oid>(indexes.integer(0, 0)));
}

// Not of the statement, but of the moment: a cancel, a shutdown, contention, a lack of something.
bool is_of_the_moment(int code) {
  const int category = ERRCODE_TO_CATEGORY(code);
  return code == ERRCODE_LOCK_NOT_AVAILABLE || category == ERRCODE_OPERATOR_INTERVENTION ||
         category == ERRCODE_INSUFFICIENT_RESOURCES || category == ERRCODE_TRANSACTION_ROLLBACK ||
         category == ERRCODE_SYSTEM_ERROR || category == ERRCODE_INTERNAL_ERROR;
}

// What pg_get_indexdef() would write of the index that CREATE INDEX makes; nothing when that cannot be found out (the
// user may make no temporary table; the expression is about the whole row, whose type is another one in the copy).
std::optional<std::string> wanted_definition(const std::string& statement, Oid table) {
  try {
    return ddl::try_on_shadow(table,
                              [&statement](const std::string& shadow) {
                                call_pg([&statement, &shadow] {
                                  List* parsed = raw_parser(statement.c_str(), RAW_PARSE_DEFAULT);
                                  auto* create = castNode(IndexStmt, linitial_node(RawStmt, parsed)->stmt);
                                  create->concurrent = create->if_not_exists = false;
                                  create->relation = makeRangeVarFromNameList(
                                      textToQualifiedNameList(cstring_to_text(shadow.c_str())));
                                  create->tableSpace = nullptr;
                                  PlannedStmt* wrapper = makeNode(PlannedStmt);
                                  wrapper->commandType = CMD_UTILITY;
                                  wrapper->utilityStmt = reinterpret_cast<Node*>(create);
                                  ProcessUtility(wrapper, statement.c_str(), false, PROCESS_UTILITY_SUBCOMMAND, nullptr,
                                                 nullptr, None_Receiver, nullptr);
                                  CommandCounterIncrement();
                                });
                              })
        .index_definition;
  } catch (const SqlError& error) {
    if (is_of_the_moment(error.code)) throw;
    return std::nullopt;
  }
}

bool is_unique(Oid index) {
  return ask_catalog("SELECT indisunique FROM pg_catalog.pg_index WHERE indexrelid = $1::oid", {to_text(index)})
      .boolean(0, 0);
}

bool was_there(Oid index, const std::string& before) {
  return ask_catalog("SELECT $1::oid = ANY ($2::oid[])", {to_text(index), before.empty() ? "{}" : before})
      .boolean(0, 0);
}

// The statement was begun, and there is a valid index of its name: it has built it, unless the definition tells.
RecoveryPlan of_valid_index(const About& about, const std::string& statement, Oid index, const std::string& before) {
  if (about.if_not_exists) return {Recovery::done, {}};
  const auto wanted = wanted_definition(statement, about.relation);
  const bool same =
      wanted ? about.unique == is_unique(index) && *wanted == ddl::index_definition(index) : !was_there(index, before);
  return same ? RecoveryPlan{Recovery::done, {}} : RecoveryPlan{Recovery::taken, qualified_name(index)};
}

// A valid one that has come since, and is what the statement without a name for it makes.
bool built_without_name(const About& about, const std::string& statement, const std::string& before) {
  const Rows others = ask_catalog("SELECT i.indexrelid FROM pg_catalog.pg_index i WHERE i.indrelid = $1::oid AND "
                                  "i.indisvalid AND i.indisunique = $3::boolean AND i.indexrelid <> ALL ($2::oid[])",
                                  {to_text(about.relation), before.empty() ? "{}" : before, about.unique ? "t" : "f"});
  if (others.empty()) return false;
  const auto wanted = wanted_definition(statement, about.relation);
  for (std::size_t i = 0; i < others.size(); ++i)
    if (wanted && ddl::index_definition(static_cast<Oid>(others.integer(i, 0))) == *wanted) return true;
  return false;
}

RecoveryPlan of_named_index(const About& about, const std::string& statement, bool begun, const std::string& before) {
  const Rows found = ask_catalog("SELECT c.oid, i.indisvalid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_class t ON "
                                 "t.relnamespace = c.relnamespace"
                                 " JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid AND i.indrelid = t.oid"
                                 " WHERE t.oid = $1::oid AND c.relname = $2::text::name",
                                 {to_text(about.relation), about.index});
  if (found.empty()) return {};
  if (found.boolean(0, 1))
    return begun ? of_valid_index(about, statement, static_cast<Oid>(found.integer(0, 0)), before) : RecoveryPlan{};
  // Without a record of ours, and without IF NOT EXISTS, it is for the statement itself to fail.
  if (!begun && !about.if_not_exists) return {};
  return {Recovery::first, drop_of(found)};
}

RecoveryPlan of_create_index(const About& about, const std::string& statement, bool begun, const std::string& before) {
  if (!OidIsValid(about.relation)) return {};
  if ((begun || about.if_not_exists) && being_built(about.relation)) return {Recovery::busy, {}};
  if (about.index[0] != '\0') return of_named_index(about, statement, begun, before);
  if (!begun) return {};
  if (built_without_name(about, statement, before)) return {Recovery::done, {}};
  const Rows left = leftovers(about.relation, before);
  return left.empty() ? RecoveryPlan{} : RecoveryPlan{Recovery::first, drop_of(left)};
}

// By its OID, since an index may have got another name. Nothing known of it: what was begun counts as the cause.
RecoveryPlan of_drop(const About& about, bool begun, const std::string& before) {
  if (!begun || OidIsValid(about.relation)) return {};
  if (before.empty()) return {Recovery::done, {}};
  if (!ask_catalog("SELECT FROM pg_catalog.pg_class WHERE oid = ANY ($1::oid[])", {before}).empty()) return {};
  return {before == "{}" ? Recovery::run : Recovery::done, {}, before != "{}"};
}

RecoveryPlan of_detach(const About& about, bool begun, const std::string& before) {
  if (!begun || !OidIsValid(about.relation) || !OidIsValid(about.child)) return {};
  const Rows found = ask_catalog(
      "SELECT inhdetachpending FROM pg_catalog.pg_inherits WHERE inhparent = $1::oid AND inhrelid = $2::oid",
      {to_text(about.relation), to_text(about.child)});
  if (found.empty()) {
    const bool was_part = !before.empty() && was_there(about.child, before);
    return {before.empty() || was_part ? Recovery::done : Recovery::run, {}, was_part};
  }
  if (!found.boolean(0, 0)) return {};
  return {Recovery::instead, "ALTER TABLE " + qualified_name(about.relation) + " DETACH PARTITION " +
                                 qualified_name(about.child) + " FINALIZE"};
}

} // namespace

std::string there_before(const std::string& statement) {
  const About about = look(statement);
  if (about.subject == Subject::drop_index)
    return OidIsValid(about.relation) ? "{" + to_text(about.relation) + "}" : "{}";
  if (about.subject == Subject::detach)
    return ask_catalog("SELECT coalesce(array_agg(inhrelid), '{}') FROM pg_catalog.pg_inherits WHERE inhparent = "
                       "$1::oid AND inhrelid = $2::oid",
                       {to_text(about.relation), to_text(about.child)})
        .text(0, 0);
  if (about.subject != Subject::create_index && about.subject != Subject::reindex) return {};
  return ask_catalog("SELECT coalesce(array_agg(indexrelid ORDER BY indexrelid), '{}') FROM pg_catalog.pg_index WHERE "
                     "indrelid IN " WITH_PARTITIONS,
                     {to_text(about.relation)})
      .text(0, 0);
}

std::string there_before_again(const std::string& statement, const std::string& before) {
  const Subject subject = look(statement).subject;
  if (subject != Subject::drop_index && subject != Subject::detach) return before;
  const std::string now = there_before(statement);
  return now == "{}" ? before : now;
}

RecoveryPlan recover(const std::string& statement, bool begun, const std::string& before) {
  const About about = look(statement);
  switch (about.subject) {
  case Subject::create_index:
    return of_create_index(about, statement, begun, before);
  case Subject::drop_index:
    return of_drop(about, begun, before);
  case Subject::reindex: {
    if (!begun || !OidIsValid(about.relation)) return {};
    if (being_built(about.relation)) return {Recovery::busy, {}};
    const Rows left = leftovers(about.relation, before);
    return left.empty() ? RecoveryPlan{} : RecoveryPlan{Recovery::first, drop_of(left)};
  }
  case Subject::detach:
    return of_detach(about, begun, before);
  case Subject::other:
    break;
  }
  return {};
}

} // namespace dbops::server::migration
