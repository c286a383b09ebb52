#include "server/backfill/input.h"

#include <algorithm>

#include "server/compat.h"

extern "C" {
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/sysattr.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "tcop/tcopprot.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
}

namespace dbops::server::backfill {

namespace {

// The text with a newline after it: a comment at its end then ends there too.
std::string update_text(const std::string& table, const std::string& assignments) {
  return "UPDATE ONLY " + table + " SET " + assignments + "\n";
}

std::string whole_text(const std::string& table, bool erase, const std::string& assignments,
                       const std::string& condition) {
  const std::string head = erase ? "DELETE FROM ONLY " + table : update_text(table, assignments);
  return condition.empty() ? head : head + " WHERE (" + condition + "\n)";
}

[[noreturn]] void not_only(const char* what, const char* example) {
  throw SqlError(ERRCODE_SYNTAX_ERROR, std::string(what) + " must be that and nothing else",
                 std::string("For example ") + example + ".");
}

[[noreturn]] void rethrow_about(const char* what, SqlError error) {
  error.context = std::string("dbops: ") + what + (error.context.empty() ? "" : "\n" + error.context);
  throw error;
}

struct Names {
  int count;
  const char** names;
};

// "a = 1, b = 2": one UPDATE without FROM, WHERE, RETURNING. Gives the columns.
std::vector<std::string> parse_assignments(const std::string& table, const std::string& assignments) {
  const std::string text = update_text(table, assignments);
  const Names found = call_pg([&text] {
    Names names{-1, nullptr};
    List* statements = raw_parser(text.c_str(), RAW_PARSE_DEFAULT);
    // A length is given when a semicolon ends the statement before the text does.
    if (list_length(statements) != 1 || linitial_node(RawStmt, statements)->stmt_len != 0) return names;
    auto* update = reinterpret_cast<UpdateStmt*>(linitial_node(RawStmt, statements)->stmt);
    if (!IsA(update, UpdateStmt) || update->fromClause != NIL || update->whereClause != nullptr ||
        compat::has_returning(update) || update->withClause != nullptr)
      return names;
    names.count = 0;
    names.names =
        static_cast<const char**>(palloc(sizeof(char*) * static_cast<std::size_t>(list_length(update->targetList))));
    ListCell* cell = nullptr;
    foreach (cell, update->targetList)
      names.names[names.count++] = lfirst_node(ResTarget, cell)->name;
    return names;
  });
  if (found.count < 1) not_only("assignments", "'full_name = name, updated_by = NULL'");
  return {found.names, found.names + found.count};
}

// As PL/pgSQL would read it.
void parse_condition(const std::string& condition) {
  const bool plain = call_pg([&condition] {
    List* statements = raw_parser(condition.c_str(), RAW_PARSE_PLPGSQL_EXPR);
    if (list_length(statements) != 1) return false;
    auto* select = reinterpret_cast<SelectStmt*>(linitial_node(RawStmt, statements)->stmt);
    return IsA(select, SelectStmt) && list_length(select->targetList) == 1 &&
           linitial_node(ResTarget, select->targetList)->name == nullptr && select->distinctClause == NIL &&
           select->intoClause == nullptr && select->fromClause == NIL && select->whereClause == nullptr &&
           select->groupClause == NIL && select->havingClause == nullptr && select->windowClause == NIL &&
           select->sortClause == NIL && select->limitOffset == nullptr && select->limitCount == nullptr &&
           select->lockingClause == NIL && select->withClause == nullptr && select->valuesLists == NIL &&
           select->op == SETOP_NONE;
  });
  if (!plain) not_only("condition", "'full_name IS NULL AND id > 100'");
}

// What an expression calls; plain data, for the walker.
struct Calls {
  int volatiles;
  Oid functions[16]; // the volatile ones
  bool time;         // asks what time it is
  bool settings;     // current_setting()
};

bool note_call(Oid function, void* context) {
  auto* calls = static_cast<Calls*>(context);
  calls->time |= function == F_NOW || function == F_TRANSACTION_TIMESTAMP || function == F_STATEMENT_TIMESTAMP;
  calls->settings |= function == F_CURRENT_SETTING_TEXT || function == F_CURRENT_SETTING_TEXT_BOOL;
  if (func_volatile(function) != PROVOLATILE_VOLATILE) return false;
  for (int i = 0; i < calls->volatiles; ++i)
    if (calls->functions[i] == function) return false;
  if (calls->volatiles < 16) calls->functions[calls->volatiles++] = function;
  return false;
}

bool walk_calls(Node* node, void* context) {
  if (node == nullptr) return false;
  if (IsA(node, NextValueExpr)) return false;
  // CURRENT_DATE to LOCALTIMESTAMP(n) are the first ones.
  if (IsA(node, SQLValueFunction) && reinterpret_cast<SQLValueFunction*>(node)->op <= SVFOP_LOCALTIMESTAMP_N)
    static_cast<Calls*>(context)->time = true;
  check_functions_in_node(node, note_call, context);
  if (IsA(node, Query)) return compat::walk_query(reinterpret_cast<Query*>(node), walk_calls, context);
  return compat::walk_expression(node, walk_calls, context);
}

// Describes the first thing that is temporary, in a palloc'ed text.
struct Temporary {
  const char* what;
};

bool is_temporary_relation(Oid relation, Temporary& found) {
  if (get_rel_persistence(relation) != RELPERSISTENCE_TEMP) return false;
  found.what = psprintf("temporary %s %s", get_rel_relkind(relation) == RELKIND_SEQUENCE ? "sequence" : "table",
                        quote_identifier(get_rel_name(relation)));
  return true;
}

bool is_temporary_function(Oid function, void* context) {
  if (!isAnyTempNamespace(get_func_namespace(function))) return false;
  static_cast<Temporary*>(context)->what = psprintf("temporary function %s", quote_identifier(get_func_name(function)));
  return true;
}

bool is_temporary_type(Oid type, Temporary& found) {
  HeapTuple tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
  if (!HeapTupleIsValid(tuple)) return false;
  const bool temporary = isAnyTempNamespace(reinterpret_cast<Form_pg_type>(GETSTRUCT(tuple))->typnamespace);
  ReleaseSysCache(tuple);
  if (temporary) found.what = psprintf("temporary type %s", format_type_be(type));
  return temporary;
}

// Relations, functions and types: what a text can name that only this session sees.
bool walk_temporary(Node* node, void* context) {
  if (node == nullptr) return false;
  auto& found = *static_cast<Temporary*>(context);
  if (IsA(node, Query)) {
    ListCell* cell = nullptr;
    foreach (cell, reinterpret_cast<Query*>(node)->rtable) {
      auto* entry = lfirst_node(RangeTblEntry, cell);
      if (entry->rtekind == RTE_RELATION && is_temporary_relation(entry->relid, found)) return true;
    }
    return compat::walk_query(reinterpret_cast<Query*>(node), walk_temporary, context);
  }
  if (check_functions_in_node(node, is_temporary_function, context)) return true;
  switch (nodeTag(node)) {
  case T_Const: {
    auto* constant = reinterpret_cast<Const*>(node);
    if (constant->consttype == REGCLASSOID && !constant->constisnull &&
        is_temporary_relation(DatumGetObjectId(constant->constvalue), found))
      return true;
    if (is_temporary_type(constant->consttype, found)) return true;
    break;
  }
  case T_RelabelType:
  case T_CoerceViaIO:
  case T_ArrayCoerceExpr:
  case T_CoerceToDomain:
  case T_RowExpr:
    if (is_temporary_type(exprType(node), found)) return true;
    break;
  default:
    break;
  }
  return compat::walk_expression(node, walk_temporary, context);
}

// Columns of that table that are read, in subqueries as well.
Bitmapset* columns_read(Node* node, int relation) {
  Bitmapset* read = nullptr;
  ListCell* cell = nullptr;
  foreach (cell, pull_vars_of_level(node, 0)) {
    auto* var = static_cast<Var*>(lfirst(cell));
    if (IsA(var, Var) && static_cast<int>(var->varno) == relation)
      read = bms_add_member(read, var->varattno - FirstLowInvalidHeapAttributeNumber);
  }
  return read;
}

struct Analysis {
  bool subqueries;
  bool depends;          // the condition reads a column that is assigned or generated
  bool cumulative;       // the assignments read a column that they assign
  const char* temporary; // what only this session sees
  bool rewritten;        // rules make something else of it
  Calls condition, all;
};

Analysis analyze(Oid relation, const std::string& text) {
  return call_pg([relation, &text] {
    Analysis result{};
    List* statements = raw_parser(text.c_str(), RAW_PARSE_DEFAULT);
    Query* query = parse_analyze_fixedparams(linitial_node(RawStmt, statements), text.c_str(), nullptr, 0, nullptr);
    result.subqueries = query->hasSubLinks || query->hasModifyingCTE;
    Bitmapset* assigned = nullptr;
    Relation table = relation_open(relation, AccessShareLock);
    ListCell* cell = nullptr;
    foreach (cell, query->targetList) {
      auto* target = lfirst_node(TargetEntry, cell);
      if (!target->resjunk) assigned = bms_add_member(assigned, target->resno - FirstLowInvalidHeapAttributeNumber);
    }
    const int whole_row = 0 - FirstLowInvalidHeapAttributeNumber;
    const Bitmapset* used = columns_read(reinterpret_cast<Node*>(query->targetList), query->resultRelation);
    result.cumulative = bms_overlap(used, assigned) || bms_is_member(whole_row, used);
    TupleDesc columns = RelationGetDescr(table);
    for (int i = 0; i < columns->natts; ++i)
      if (TupleDescAttr(columns, i)->attgenerated != '\0')
        assigned = bms_add_member(assigned, i + 1 - FirstLowInvalidHeapAttributeNumber);
    relation_close(table, AccessShareLock);
    const Bitmapset* read = columns_read(query->jointree->quals, query->resultRelation);
    result.depends = bms_overlap(read, assigned) || bms_is_member(whole_row, read);
    walk_calls(query->jointree->quals, &result.condition);
    compat::walk_query(query, walk_calls, &result.all);
    Temporary temporary{nullptr};
    if (walk_temporary(reinterpret_cast<Node*>(query), &temporary)) result.temporary = temporary.what;
    List* rewritten = pg_rewrite_query(query);
    result.rewritten = list_length(rewritten) != 1 ||
                       linitial_node(Query, rewritten)->commandType != query->commandType ||
                       linitial_node(Query, rewritten)->querySource != QSRC_ORIGINAL;
    return result;
  });
}

// The partitioned table, among those above and below, whose partition key has one of the columns; InvalidOid when none.
Oid partitioned_by(Oid relation, const std::vector<std::string>& columns) {
  return call_pg([relation, &columns] {
    List* candidates = list_concat(find_all_inheritors(relation, NoLock, nullptr),
                                   get_rel_relispartition(relation) ? get_partition_ancestors(relation) : NIL);
    Oid found = InvalidOid;
    ListCell* cell = nullptr;
    foreach (cell, candidates) {
      const Oid oid = lfirst_oid(cell);
      if (get_rel_relkind(oid) != RELKIND_PARTITIONED_TABLE) continue;
      Bitmapset* assigned = nullptr;
      for (const std::string& column : columns)
        if (const AttrNumber number = get_attnum(oid, column.c_str()); number > 0)
          assigned = bms_add_member(assigned, number - FirstLowInvalidHeapAttributeNumber);
      Relation table = relation_open(oid, AccessShareLock);
      if (has_partition_attrs(table, assigned, nullptr)) found = oid;
      relation_close(table, AccessShareLock);
    }
    return found;
  });
}

void refuse_partition_keys(Oid relation, const std::vector<std::string>& columns) {
  const Oid partitioned = columns.empty() ? InvalidOid : partitioned_by(relation, columns);
  if (!OidIsValid(partitioned)) return;
  throw SqlError(
      ERRCODE_FEATURE_NOT_SUPPORTED,
      "assignments change a column of the partition key of " + qualified_name(partitioned),
      "Rows would move between partitions while they are walked over. Move them by INSERT and batch_delete.");
}

} // namespace

void require_single_expression(const std::string& condition) {
  try {
    parse_condition(condition);
  } catch (const SqlError& error) {
    rethrow_about("in condition", error);
  }
}

CheckedInput check_input(Oid relation, bool erase, const std::string& assignments, const std::string& condition) {
  CheckedInput checked;
  const std::string table = qualified_name(relation);
  try {
    if (!erase) checked.columns = parse_assignments(table, assignments);
  } catch (const SqlError& error) {
    rethrow_about("in assignments", error);
  }
  if (!condition.empty()) require_single_expression(condition);
  Analysis analysis{};
  try {
    analysis = analyze(relation, whole_text(table, erase, assignments, condition));
  } catch (const SqlError& error) {
    rethrow_about("in assignments or condition", error);
  }
  if (analysis.rewritten)
    throw SqlError(ERRCODE_FEATURE_NOT_SUPPORTED, table + " has rules that rewrite the statement",
                   "Drop the rules, or use a trigger.");
  if (analysis.temporary != nullptr)
    throw SqlError(ERRCODE_FEATURE_NOT_SUPPORTED,
                   std::string("assignments or condition refer to ") + analysis.temporary +
                       ", which no other session can see",
                   "The job runs in other sessions. Use one that is not temporary.");
  refuse_partition_keys(relation, checked.columns);
  checked.subqueries = analysis.subqueries;
  checked.cumulative = analysis.cumulative;
  checked.condition_is_volatile = analysis.condition.volatiles > 0;
  checked.condition_moves = analysis.condition.time;
  checked.reads_settings = analysis.all.settings;
  checked.falsifiable = !condition.empty() && !checked.condition_is_volatile && (erase || analysis.depends);
  for (int i = 0; i < analysis.all.volatiles; ++i) {
    const char* name = call_pg([oid = analysis.all.functions[i]] { return get_func_name(oid); });
    checked.volatile_functions.emplace_back(name == nullptr ? "?" : name);
  }
  return checked;
}

void require_privileges(const std::vector<Oid>& relations, const Spec& spec) {
  for (const Oid relation : relations) {
    // The executor checks tables, columns and functions when it starts a plan; EXPLAIN starts it and goes no further.
    query("EXPLAIN (COSTS OFF) " +
          whole_text(named_table(qualified_name(relation), spec), spec.erase, spec.assignments, spec.condition));
  }
}

} // namespace dbops::server::backfill
