// The rules for all statements but ALTER TABLE.
#include <algorithm>
#include <cctype>
#include <set>

#include "server/compat.h"
#include "server/lint/script.h"
#include "server/lint/stepwise.h"
#include "server/migration/script.h"

extern "C" {
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/defrem.h"
#include "nodes/pg_list.h"
#include "storage/proc.h"
#include "utils/builtins.h"
}

namespace dbops::server::lint {

namespace {

const char* const access_exclusive = "ACCESS EXCLUSIVE";
constexpr std::int64_t batch_bytes = 16 * 1024 * 1024; // a table that one UPDATE may change as a whole

void in_transaction(Script& script) {
  if (script.explicit_transaction)
    script.say("concurrently-in-transaction", Severity::error, "fails in a transaction block (25001)");
}

// CREATE INDEX CONCURRENTLY waits for every transaction that is older, under the lock_timeout of others.
void short_lock_timeout(Script& script) {
  if (script.lock_timeout_set || LockTimeout > 0)
    script
        .say("concurrently-short-lock-timeout", Severity::warning,
             "waits for all older transactions under lock_timeout, and leaves an INVALID index when that is over")
        .safe_sql = "SET lock_timeout = 0;\n" + script.text + ";";
}

// --- indexes
// ------------------------------------------------------------------------------------------------------------

// What follows the table's name in CREATE INDEX: USING, columns, WHERE.
std::string index_tail(const Script& script, const RangeVar* relation) {
  std::size_t at = static_cast<std::size_t>(std::max(relation->location, 0));
  bool quote = false;
  for (; at < script.text.size(); ++at) {
    const char c = script.text[at];
    if (c == '"')
      quote = !quote;
    else if (!quote && (c == ' ' || c == '(' || c == '\n' || c == '\t'))
      break;
  }
  return script.text.substr(std::min(at, script.text.size()));
}

std::string partitioned_index(const Script& script, const Table& table, const IndexStmt* index) {
  if (index->idxname == nullptr) return {};
  const std::string tail = index_tail(script, index->relation);
  const char* unique = index->unique ? "UNIQUE " : "";
  std::string sql =
      std::string("CREATE ") + unique + "INDEX " + quoted(index->idxname) + " ON ONLY " + table.name + tail + ";\n";
  int number = 0;
  for (const std::string& part : Catalog::leaf_partitions(table.oid)) {
    const std::string name = quote_name(std::string(index->idxname) + "_" + std::to_string(++number));
    sql += std::string("CREATE ") + unique + "INDEX CONCURRENTLY " + name + " ON " + part + tail + ";\nALTER INDEX " +
           quoted(index->idxname) + " ATTACH PARTITION " + name + ";\n";
  }
  return sql;
}

void concurrent_index(Script& script, const Table& table, const IndexStmt* index) {
  in_transaction(script);
  short_lock_timeout(script);
  if (table.kind == RELKIND_PARTITIONED_TABLE)
    script
        .say("concurrently-on-partitioned", Severity::error,
             "fails: indexes of partitioned tables cannot be built CONCURRENTLY")
        .safe_sql = partitioned_index(script, table, index);
  if (!index->if_not_exists) return;
  const std::optional<bool> valid =
      index->idxname == nullptr ? std::nullopt : Catalog::index_is_valid(table.oid, index->idxname);
  if (valid == false)
    script
        .say("concurrently-if-not-exists", Severity::error,
             std::string("the index ") + index->idxname + " is there and INVALID: IF NOT EXISTS leaves it like that")
        .safe_sql = "DROP INDEX CONCURRENTLY " + quoted(index->idxname) + ";\n" + script.text + ";";
  else
    script.say("concurrently-if-not-exists", Severity::warning,
               "takes an INVALID index that a failed try has left for the one that is wanted; dbops migrate looks for "
               "that, other tools do not");
}

void create_index(Script& script, IndexStmt* index) {
  if (list_length(index->indexParams) > 3)
    script.say("wide-index", Severity::notice, "has more than three columns: seldom worth its size");
  if (script.is_new(index->relation)) return;
  const Table table = script.catalog.table(index->relation);
  if (index->concurrent) return concurrent_index(script, table, index);
  Finding& finding = script.about(table, "index-not-concurrent", Severity::error,
                                  "writes to the table wait while the index is built", "SHARE");
  finding.scans = true;
  finding.safe_sql = table.kind == RELKIND_PARTITIONED_TABLE
                         ? partitioned_index(script, table, index)
                         : with_word_after(script.text, "INDEX", "CONCURRENTLY") + ";";
  script.locked(table, "SHARE", "CREATE INDEX");
}

void reindex(Script& script, ReindexStmt* statement) {
  if (migration::needs_top_level(reinterpret_cast<Node*>(statement))) {
    in_transaction(script);
    if (statement->relation != nullptr) return;
  }
  const bool one = statement->relation != nullptr;
  if (one && script.is_new(statement->relation)) return;
  Finding& finding =
      one ? script.about(script.catalog.table(statement->relation), "reindex-not-concurrent", Severity::error,
                         "writes to the table wait, and queries that would use the index", access_exclusive)
          : script.say("reindex-not-concurrent", Severity::error, "locks one table after the other");
  finding.scans = true;
  const char* const kinds[]{"INDEX", "TABLE", "SCHEMA", "SYSTEM", "DATABASE"};
  finding.safe_sql = with_word_after(script.text, kinds[static_cast<int>(statement->kind)], "CONCURRENTLY") + ";";
}

// --- DROP
// -----------------------------------------------------------------------------------------------------------------

void drop_tables(Script& script, DropStmt* statement) {
  ListCell* cell = nullptr;
  foreach (cell, statement->objects) {
    RangeVar* name = call_pg([cell] { return makeRangeVarFromNameList(static_cast<List*>(lfirst(cell))); });
    if (script.is_new(name)) continue;
    const Table table = script.catalog.table(name);
    script.about(table, "drop-table", Severity::warning, "programs that still use it fail, and its rows are gone",
                 access_exclusive);
    for (const std::string& other : Catalog::referencing_tables(table.oid))
      script.about(table, "drop-locks-referenced-table", Severity::warning,
                   "takes ACCESS EXCLUSIVE on " + other + " too, to drop its foreign key", access_exclusive);
    script.locked(table, access_exclusive, "DROP TABLE");
    script.gone(table);
  }
}

void drop_views(Script& script, DropStmt* statement) {
  ListCell* cell = nullptr;
  foreach (cell, statement->objects) {
    RangeVar* name = call_pg([cell] { return makeRangeVarFromNameList(static_cast<List*>(lfirst(cell))); });
    if (!script.is_new(name)) script.gone(script.catalog.table(name));
  }
}

void drop(Script& script, DropStmt* statement) {
  switch (statement->removeType) {
  case OBJECT_VIEW:
  case OBJECT_MATVIEW:
    return drop_views(script, statement);
  case OBJECT_TABLE:
    return drop_tables(script, statement);
  case OBJECT_SCHEMA:
    script.say("drop-schema", Severity::warning, "programs that still use what is in it fail");
    return;
  case OBJECT_INDEX: {
    if (statement->concurrent) return in_transaction(script);
    RangeVar* name =
        call_pg([statement] { return makeRangeVarFromNameList(static_cast<List*>(linitial(statement->objects))); });
    if (script.is_new(name)) return;
    const Table index = script.catalog.table(name);
    Finding& finding =
        script.say("drop-index-not-concurrent", Severity::error, "nobody can use the table while it waits and drops");
    finding.object = index.name;
    finding.lock = access_exclusive;
    finding.safe_sql = with_word_after(script.text, "INDEX", "CONCURRENTLY") + ";";
    script.needs_lock_timeout = true;
    return;
  }
  case OBJECT_TRIGGER:
    script.say("drop-trigger", Severity::notice, "takes ACCESS EXCLUSIVE on the table").lock = access_exclusive;
    script.needs_lock_timeout = true;
    return;
  default:
    return;
  }
}

void truncate(Script& script, TruncateStmt* statement) {
  ListCell* cell = nullptr;
  foreach (cell, statement->relations) {
    auto* name = lfirst_node(RangeVar, cell);
    if (script.is_new(name)) continue;
    const Table table = script.catalog.table(name);
    const std::vector<std::string> others = Catalog::referencing_tables(table.oid);
    if (statement->behavior == DROP_CASCADE && !others.empty())
      script
          .say("truncate-cascade", Severity::error,
               "empties " + others.front() + (others.size() > 1 ? " and others" : "") + " too")
          .object = table.name;
    script.locked(table, access_exclusive, "TRUNCATE");
  }
}

// --- tables and what is in them
// -----------------------------------------------------------------------------------------------

void column_style(Script& script, ColumnDef* column) {
  const char* type =
      column->typeName == nullptr || column->typeName->names == NIL ? "" : strVal(llast(column->typeName->names));
  const std::string name = type;
  if (name == "json")
    script.say("prefer-jsonb", Severity::notice,
               "json has no equality: SELECT DISTINCT, UNION and GROUP BY fail on it; jsonb has");
  if (name == "bpchar")
    script.say("prefer-text", Severity::notice, "char(n) is padded with spaces; text with a CHECK is not");
  if (name == "timestamp")
    script.say("prefer-timestamptz", Severity::notice,
               "timestamp without time zone means another moment in every session's time zone; timestamptz does not");
  if (name == "serial" || name == "bigserial" || name == "smallserial")
    script.say("prefer-identity", Severity::notice,
               "serial leaves privileges and ownership of its sequence to you; GENERATED ALWAYS AS IDENTITY does not");
  ListCell* cell = nullptr;
  foreach (cell, column->constraints)
    if (lfirst_node(Constraint, cell)->contype == CONSTR_PRIMARY &&
        (name == "int4" || name == "serial" || name == "int2" || name == "smallserial"))
      script.say(
          "prefer-bigint-key", Severity::notice,
          "a primary key of this type is full at 2,147,483,647 rows or before, and changing it then stops everything");
}

void locks_parent(Script& script, const Constraint* constraint) {
  if (constraint->contype != CONSTR_FOREIGN || script.is_new(constraint->pktable)) return;
  script.locked(script.catalog.table(constraint->pktable), "SHARE ROW EXCLUSIVE", "the foreign key");
}

// SET a = 1, a = 2; a column twice in a table or an INSERT.
void duplicate_column(Script& script, List* list) {
  std::set<std::string> names;
  ListCell* cell = nullptr;
  foreach (cell, list) {
    auto* node = static_cast<Node*>(lfirst(cell));
    const char* name = IsA(node, ResTarget) && reinterpret_cast<ResTarget*>(node)->indirection == NIL
                           ? reinterpret_cast<ResTarget*>(node)->name
                       : IsA(node, ColumnDef) ? reinterpret_cast<ColumnDef*>(node)->colname
                                              : nullptr;
    if (name != nullptr && !names.insert(name).second)
      script.say("duplicate-column", Severity::error, "fails: column " + quote_name(name) + " is there twice");
  }
}

void create_table(Script& script, CreateStmt* statement) {
  duplicate_column(script, statement->tableElts);
  ListCell* cell = nullptr;
  foreach (cell, statement->tableElts) {
    auto* element = static_cast<Node*>(lfirst(cell));
    if (IsA(element, Constraint)) locks_parent(script, reinterpret_cast<Constraint*>(element));
    if (!IsA(element, ColumnDef)) continue;
    column_style(script, reinterpret_cast<ColumnDef*>(element));
    ListCell* inner = nullptr;
    foreach (inner, reinterpret_cast<ColumnDef*>(element)->constraints)
      locks_parent(script, lfirst_node(Constraint, inner));
  }
  if (statement->partbound != nullptr && statement->inhRelations != NIL) {
    auto* parent = linitial_node(RangeVar, statement->inhRelations);
    if (!script.is_new(parent)) {
      const Table table = script.catalog.table(parent);
      Finding& finding = script.about(
          table, "create-partition-of", Severity::warning,
          "nobody can use the partitioned table while it waits; CREATE TABLE, then ATTACH PARTITION, lets them",
          access_exclusive);
      finding.safe_sql = partition_of_in_steps(table, script.text, statement);
      const std::string other = Catalog::default_partition(table.oid);
      if (!other.empty()) {
        finding.severity = Severity::error;
        finding.scans = true;
        finding.message += "; reads all rows of the default partition " + other;
      }
      script.locked(table, access_exclusive, "CREATE TABLE ... PARTITION OF");
    }
  }
  script.created(statement->relation);
}

void rename_object(Script& script, RenameStmt* statement) {
  if (statement->renameType == OBJECT_SCHEMA) {
    script.say("rename-schema", Severity::warning, "programs that use the old name fail");
    return;
  }
  if (statement->relation == nullptr || script.is_new(statement->relation)) return;
  const Table table = script.catalog.table(statement->relation);
  const bool column = statement->renameType == OBJECT_COLUMN;
  if (statement->renameType == OBJECT_TABLE || column) {
    Finding& finding = script.about(table, column ? "rename-column" : "rename-table", Severity::warning,
                                    "programs that use the old name fail from this moment on", access_exclusive);
    finding.severity = Severity::warning; // whatever the size
    if (!column)
      finding.safe_sql = "BEGIN;\n" + script.text + ";\nCREATE VIEW " + table.name + " AS SELECT * FROM " +
                         quoted(statement->newname) + ";\nCOMMIT;";
    script.locked(table, access_exclusive, "RENAME");
    if (!column) script.gone(table);
  }
}

// A table with all that inherits from it, under its own name.
bool is_plain(const RangeVar* relation) {
  return relation->inh && relation->alias == nullptr;
}

// Empty, as for a DELETE: it is not as simple as that.
std::string batched_update(const Script& script, const Table& table, const UpdateStmt* statement) {
  if (statement->fromClause != NIL || compat::has_returning(statement) || statement->targetList == NIL ||
      statement->withClause != nullptr || !is_plain(statement->relation))
    return {};
  const auto* first = linitial_node(ResTarget, statement->targetList);
  if (first->location < 0 || IsA(first->val, MultiAssignRef)) return {};
  const std::string assignments = script.text.substr(static_cast<std::size_t>(first->location));
  return "SELECT dbops.backfill(" + quote_text(table.name) + ", " + quote_text(assignments) + ");";
}

std::string batched_delete(const Table& table, const DeleteStmt* statement) {
  if (statement->usingClause != NIL || compat::has_returning(statement) || statement->withClause != nullptr ||
      !is_plain(statement->relation))
    return {};
  return "SELECT dbops.batch_delete(" + quote_text(table.name) + ", 'true');";
}

// An UPDATE or DELETE.
void dml(Script& script, RangeVar* relation, const Node* where, Node* statement) {
  if (relation == nullptr || script.is_new(relation)) return;
  const bool update = IsA(statement, UpdateStmt);
  const std::string what = update ? "UPDATE" : "DELETE";
  const Table table = script.catalog.table(relation);
  if (!script.first_strong_lock.empty())
    script.about(table, "backfill-in-ddl-transaction", Severity::error,
                 what + " while " + script.first_strong_lock +
                     " is locked by an earlier statement of the transaction: nobody can use that until it is done");
  if (table.bytes < batch_bytes || where != nullptr) return;
  Finding& finding =
      script.about(table, "unbatched-dml", Severity::error,
                   what + " of all rows in one transaction: locks them all, bloats the table, and cannot "
                          "be gone on with after an error");
  finding.scans = true;
  finding.safe_sql = update ? batched_update(script, table, reinterpret_cast<UpdateStmt*>(statement))
                            : batched_delete(table, reinterpret_cast<DeleteStmt*>(statement));
}

void add_enum_value(Script& script, AlterEnumStmt* statement) {
  if (statement->oldVal != nullptr) {
    script.say("rename-enum-value", Severity::warning, "programs that use the old value fail");
    return;
  }
  if (statement->newVal != nullptr) script.enum_values.emplace_back(statement->newVal);
  if (statement->newValNeighbor == nullptr)
    script.say("enum-value-order", Severity::notice, "comes last in the order of values; BEFORE or AFTER says where");
}

void new_enum_value_used(Script& script) {
  for (const std::string& value : script.enum_values)
    if (script.text.find("'" + value + "'") != std::string::npos)
      script.say("new-enum-value-used", Severity::warning,
                 "fails where '" + value +
                     "' is the value that was added in the same transaction: it cannot be used yet (55P04)");
}

void set_variable(Script& script, VariableSetStmt* statement) {
  if (statement->name == nullptr || statement->kind != VAR_SET_VALUE) return;
  const std::string name = statement->name;
  if (name == "statement_timeout") script.statement_timeout_set = true;
  if (name != "lock_timeout") return;
  script.lock_timeout_set = true;
  if (statement->args == NIL || !IsA(linitial(statement->args), A_Const)) return;
  const auto* value = linitial_node(A_Const, statement->args);
  int milliseconds = 0;
  if (IsA(&value->val, Integer))
    milliseconds = intVal(&value->val);
  else if (IsA(&value->val, String)) {
    const std::string text = strVal(&value->val);
    milliseconds = call_pg([&text] {
      int parsed = 0;
      return parse_int(text.c_str(), &parsed, GUC_UNIT_MS, nullptr) ? parsed : 0;
    });
  }
  if (milliseconds > 0 && milliseconds <= DeadlockTimeout)
    script
        .say("lock-timeout-below-deadlock-timeout", Severity::warning,
             "shorter than deadlock_timeout: an autovacuum of the table is then never cancelled, and the statement "
             "never succeeds beside it")
        .safe_sql = "SET lock_timeout = '2s';";
}

void transaction(Script& script, TransactionStmt* statement) {
  if (statement->kind == TRANS_STMT_BEGIN || statement->kind == TRANS_STMT_START) {
    if (script.explicit_transaction)
      script.say("nested-transaction", Severity::warning, "there is a transaction already");
    script.transaction_ends();
    script.explicit_transaction = true;
  } else if (statement->kind == TRANS_STMT_COMMIT || statement->kind == TRANS_STMT_ROLLBACK) {
    if (!script.explicit_transaction)
      script.say("nested-transaction", Severity::warning, "there is no transaction to end");
    script.transaction_ends();
  }
}

void domain_constraint(Script& script, AlterDomainStmt* statement) {
  const bool check = statement->subtype == 'C' && !reinterpret_cast<Constraint*>(statement->def)->skip_validation;
  if (!check && statement->subtype != 'O') return;
  std::string name;
  ListCell* cell = nullptr;
  foreach (cell, statement->typeName)
    name += (name.empty() ? "" : ".") + quote_name(strVal(lfirst(cell)));
  const std::vector<std::string> tables = Catalog::tables_of_domain(statement->typeName);
  if (tables.empty()) return;
  Finding& finding =
      script.say("alter-domain-constraint", Severity::error,
                 "reads all rows of " + tables.front() +
                     (tables.size() > 1 ? " and " + std::to_string(tables.size() - 1) + " other tables" : "") +
                     " while writes to them wait");
  finding.lock = "SHARE";
  finding.scans = true;
  if (!check) return;
  const char* given = reinterpret_cast<Constraint*>(statement->def)->conname;
  const std::string constraint =
      quote_name(given != nullptr ? given : std::string(strVal(llast(statement->typeName))) + "_check");
  finding.safe_sql =
      (given != nullptr ? script.text : with_word_after(script.text, "ADD", "CONSTRAINT " + constraint)) +
      " NOT VALID;\n-- in another transaction:\nALTER DOMAIN " + name + " VALIDATE CONSTRAINT " + constraint + ";";
}

void on_table(Script& script, RangeVar* relation, const char* rule, const char* lock, const char* message) {
  if (relation == nullptr || script.is_new(relation)) return;
  const Table table = script.catalog.table(relation);
  script.about(table, rule, Severity::notice, message, lock);
  script.locked(table, lock, rule);
}

void vacuum(Script& script, VacuumStmt* statement) {
  if (statement->is_vacuumcmd) in_transaction(script);
  ListCell* cell = nullptr;
  bool full = false;
  foreach (cell, statement->options)
    if (std::string(lfirst_node(DefElem, cell)->defname) == "full")
      full = call_pg([cell] { return defGetBoolean(lfirst_node(DefElem, cell)); });
  if (!full) return;
  ListCell* rel = nullptr;
  foreach (rel, statement->rels) {
    RangeVar* name = lfirst_node(VacuumRelation, rel)->relation;
    if (script.is_new(name)) continue;
    script
        .about(script.catalog.table(name), "vacuum-full", Severity::error,
               "writes the table anew while nobody can use it; plain VACUUM makes its space usable again",
               access_exclusive)
        .rewrites = true;
  }
  if (statement->rels == NIL)
    script.say("vacuum-full", Severity::error, "writes every table anew while nobody can use it").rewrites = true;
}

void refresh(Script& script, RefreshMatViewStmt* statement) {
  if (statement->concurrent || script.is_new(statement->relation)) return;
  const Table view = script.catalog.table(statement->relation);
  Finding& finding = script.about(view, "refresh-not-concurrent", Severity::error,
                                  "nobody can read it until it is done", access_exclusive);
  finding.rewrites = true;
  finding.safe_sql =
      Catalog::has_usable_unique_index(view.oid)
          ? "REFRESH MATERIALIZED VIEW CONCURRENTLY " + view.name + ";"
          : "-- needs a unique index on columns, without WHERE\nREFRESH MATERIALIZED VIEW CONCURRENTLY " + view.name +
                ";";
}

// PostgreSQL cuts them at 63 bytes, and two names become one.
void long_names(Script& script) {
  const std::string& text = script.text;
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] == '\'') {
      i = std::min(text.find('\'', i + 1), text.size() - 1) + 1;
      continue;
    }
    const auto part = [](char c) {
      return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || static_cast<unsigned char>(c) >= 0x80;
    };
    std::size_t end = i;
    while (end < text.size() && part(text[end]))
      ++end;
    if (end - i >= NAMEDATALEN)
      script.say("identifier-too-long", Severity::error,
                 "\"" + text.substr(i, end - i) + "\" is longer than 63 bytes and is cut");
    i = std::max(end, i + 1);
  }
}

// Rows, transactions, settings that change no meaning, storage: after these the catalog is as it was.
bool leaves_definitions(Node* statement) {
  switch (nodeTag(statement)) {
  case T_SelectStmt:
  case T_InsertStmt:
  case T_UpdateStmt:
  case T_DeleteStmt:
  case T_CopyStmt:
  case T_TransactionStmt:
  case T_LockStmt:
  case T_TruncateStmt:
  case T_VacuumStmt:
  case T_ClusterStmt:
  case T_ReindexStmt:
  case T_IndexStmt:
  case T_RefreshMatViewStmt:
  case T_CommentStmt:
    return true;
  case T_VariableSetStmt: {
    const char* name = reinterpret_cast<VariableSetStmt*>(statement)->name;
    return name != nullptr && (std::string(name) == "lock_timeout" || std::string(name) == "statement_timeout");
  }
  default:
    return false;
  }
}

bool is_definition(Node* statement) {
  return IsA(statement, CreateStmt) || IsA(statement, AlterTableStmt) || IsA(statement, IndexStmt) ||
         IsA(statement, RenameStmt) || IsA(statement, ViewStmt);
}

} // namespace

namespace {

void look_at_kind(Script& script, Node* statement) {
  switch (nodeTag(statement)) {
  case T_AlterTableStmt:
    return look_at_alter_table(script, reinterpret_cast<AlterTableStmt*>(statement));
  case T_IndexStmt:
    return create_index(script, reinterpret_cast<IndexStmt*>(statement));
  case T_ReindexStmt:
    return reindex(script, reinterpret_cast<ReindexStmt*>(statement));
  case T_DropStmt:
    return drop(script, reinterpret_cast<DropStmt*>(statement));
  case T_DropdbStmt:
    script.say("drop-database", Severity::warning, "drops a database");
    return;
  case T_TruncateStmt:
    return truncate(script, reinterpret_cast<TruncateStmt*>(statement));
  case T_CreateStmt:
    return create_table(script, reinterpret_cast<CreateStmt*>(statement));
  case T_CreateTableAsStmt:
    script.created(reinterpret_cast<CreateTableAsStmt*>(statement)->into->rel);
    return;
  case T_RenameStmt:
    return rename_object(script, reinterpret_cast<RenameStmt*>(statement));
  case T_AlterObjectSchemaStmt:
    return on_table(script, reinterpret_cast<AlterObjectSchemaStmt*>(statement)->relation, "set-schema",
                    access_exclusive, "programs that use the old name fail");
  case T_InsertStmt:
    return duplicate_column(script, reinterpret_cast<InsertStmt*>(statement)->cols);
  case T_UpdateStmt:
    duplicate_column(script, reinterpret_cast<UpdateStmt*>(statement)->targetList);
    return dml(script, reinterpret_cast<UpdateStmt*>(statement)->relation,
               reinterpret_cast<UpdateStmt*>(statement)->whereClause, statement);
  case T_DeleteStmt:
    return dml(script, reinterpret_cast<DeleteStmt*>(statement)->relation,
               reinterpret_cast<DeleteStmt*>(statement)->whereClause, statement);
  case T_AlterEnumStmt:
    return add_enum_value(script, reinterpret_cast<AlterEnumStmt*>(statement));
  case T_CreateEnumStmt:
    script.say("enum", Severity::notice,
               "values of an enum cannot be removed or moved; a table of values with a foreign key can");
    return;
  case T_VariableSetStmt:
    return set_variable(script, reinterpret_cast<VariableSetStmt*>(statement));
  case T_TransactionStmt:
    return transaction(script, reinterpret_cast<TransactionStmt*>(statement));
  case T_AlterDomainStmt:
    return domain_constraint(script, reinterpret_cast<AlterDomainStmt*>(statement));
  case T_CreateDomainStmt:
    if (reinterpret_cast<CreateDomainStmt*>(statement)->constraints != NIL)
      script.say("create-domain-constraint", Severity::notice,
                 "changing a constraint of a domain reads all tables that use it; a CHECK of the table does not");
    return;
  case T_CreateTrigStmt:
    return on_table(script, reinterpret_cast<CreateTrigStmt*>(statement)->relation, "create-trigger",
                    "SHARE ROW EXCLUSIVE",
                    "waits for writers, who wait for it meanwhile; then it runs for each of their rows");
  case T_CreatePolicyStmt:
    return on_table(script, reinterpret_cast<CreatePolicyStmt*>(statement)->table, "create-policy", access_exclusive,
                    "nobody can use the table while it waits");
  case T_VacuumStmt:
    return vacuum(script, reinterpret_cast<VacuumStmt*>(statement));
  case T_ClusterStmt: {
    auto* cluster = reinterpret_cast<ClusterStmt*>(statement);
    if (cluster->relation != nullptr && script.is_new(cluster->relation)) return;
    (cluster->relation == nullptr
         ? script.say("cluster", Severity::error, "writes tables anew while nobody can use them")
         : script.about(script.catalog.table(cluster->relation), "cluster", Severity::error,
                        "writes the table anew while nobody can use it", access_exclusive))
        .rewrites = true;
    return;
  }
  case T_RefreshMatViewStmt:
    return refresh(script, reinterpret_cast<RefreshMatViewStmt*>(statement));
  case T_LockStmt:
    script.say("explicit-lock", Severity::warning, "locks to the end of the transaction");
    script.needs_lock_timeout = true;
    return;
  case T_ViewStmt:
    if (reinterpret_cast<ViewStmt*>(statement)->replace)
      script.say("replace-view", Severity::notice, "can only add columns at the end; others fail").lock =
          access_exclusive;
    return;
  default:
    return;
  }
}

// What takes long comes after something that others wait for already.
void long_under_lock(Script& script) {
  const auto& found = script.findings();
  const auto slow = std::find_if(found.begin(), found.end(),
                                 [](const Finding& finding) { return finding.scans || finding.rewrites; });
  if (slow == found.end()) return;
  const Finding what = *slow;
  Finding& finding = script.say("long-operation-under-lock", what.severity,
                                "takes long while " + script.first_strong_lock +
                                    " is locked by an earlier statement of the transaction");
  finding.object = what.object;
  finding.lock = what.lock;
}

} // namespace

void look_at_statement(Script& script, Node* statement) {
  look_at_names(script, statement);
  if (!script.enum_values.empty()) new_enum_value_used(script);
  if (script.text.size() >= NAMEDATALEN && is_definition(statement)) long_names(script);
  // An UPDATE or DELETE has its own rule for that; what cannot be in the transaction comes after it.
  const bool held = !script.first_strong_lock.empty() && !IsA(statement, UpdateStmt) && !IsA(statement, DeleteStmt) &&
                    !migration::needs_top_level(statement);
  look_at_kind(script, statement);
  if (held) long_under_lock(script);
  script.defines = script.defines || !leaves_definitions(statement);
}

} // namespace dbops::server::lint
