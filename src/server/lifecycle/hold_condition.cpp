#include "server/lifecycle/hold_condition.h"

#include "server/backfill/input.h"
#include "server/compat.h"
#include "server/engine/bookkeeping.h"

extern "C" {
#include "access/relation.h"
#include "access/transam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
}

namespace dbops::server::lifecycle {

namespace {

Oid owner_of_relation(Oid relation) {
  return call_pg([relation] {
    HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
    if (!HeapTupleIsValid(tuple)) return InvalidOid;
    const Oid owner = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple))->relowner;
    ReleaseSysCache(tuple);
    return owner;
  });
}

// Reading a constant calls the input function of its type, and with that, inside of an array, a row or a range, the
// constraints of a domain: as the role whose table it is, and who has written the condition or let it be written.
template <typename F>
auto as_owner(const Hold& hold, Oid relation, F f) -> decltype(f()) {
  const Oid target = owner_of_relation(hold.target), owner = OidIsValid(target) ? target : owner_of_relation(relation);
  if (!OidIsValid(owner)) throw SqlError(ERRCODE_UNDEFINED_TABLE, "the table of a hold is gone");
  return as_role(owner, SECURITY_RESTRICTED_OPERATION | SECURITY_LOCAL_USERID_CHANGE, f);
}

// The condition over the columns of `relation`, which `name` may qualify. As a CHECK constraint is read: no subquery,
// no aggregate, no parameter.
Node* parse_condition(Oid relation, const char* name, const char* condition) {
  List* parsed = raw_parser(condition, RAW_PARSE_PLPGSQL_EXPR);
  auto* select = reinterpret_cast<SelectStmt*>(linitial_node(RawStmt, parsed)->stmt);
  ParseState* state = make_parsestate(nullptr);
  state->p_sourcetext = condition;
  Relation table = relation_open(relation, AccessShareLock);
  ParseNamespaceItem* item =
      addRangeTableEntryForRelation(state, table, AccessShareLock, makeAlias(name, NIL), false, true);
  addNSItemToQuery(state, item, true, true, true);
  Node* expression =
      transformExpr(state, linitial_node(ResTarget, select->targetList)->val, EXPR_KIND_CHECK_CONSTRAINT);
  expression = coerce_to_boolean(state, expression, "condition");
  assign_expr_collations(state, expression);
  expression = compat::expand_generated_columns(expression, table);
  relation_close(table, AccessShareLock);
  free_parsestate(state);
  return expression;
}

bool belongs_to_user(Oid function, void*) {
  if (function < FirstNormalObjectId) return false;
  HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
  if (!HeapTupleIsValid(tuple)) return true;
  const Oid owner = reinterpret_cast<Form_pg_proc>(GETSTRUCT(tuple))->proowner;
  ReleaseSysCache(tuple);
  return !superuser_arg(owner);
}

// A domain's constraints call functions that are not seen here.
bool runs_code_of_users(Node* node, void* context) {
  if (node == nullptr) return false;
  if (IsA(node, CoerceToDomain)) return true;
  // JSON_VALUE and the like convert to the type that they return by themselves.
  if (compat::is_json_expression(node) && exprType(node) >= FirstNormalObjectId) return true;
  if (check_functions_in_node(node, belongs_to_user, context)) return true;
  return compat::walk_expression(node, runs_code_of_users, context);
}

bool names_system_column(Node* node, void* context) {
  if (node == nullptr) return false;
  if (IsA(node, Var)) return reinterpret_cast<const Var*>(node)->varattno < 0;
  return compat::walk_expression(node, names_system_column, context);
}

// Looked at each time that it is read, as functions and operators come and go, and before it is planned: the planner
// evaluates what is constant, and takes apart SQL functions.
Expr* read_condition(Oid relation, const Hold& hold) {
  const int nest_level = enter_settings(hold.settings);
  struct Parsed {
    Node* expression;
    bool of_users;
    bool of_system;
  };
  const Parsed parsed = as_owner(hold, relation, [relation, &hold] {
    return call_pg([relation, &hold] {
      const char* name = get_rel_name(hold.target);
      Node* expression =
          parse_condition(relation, name == nullptr ? get_rel_name(relation) : name, hold.condition->c_str());
      return Parsed{expression, runs_code_of_users(expression, nullptr), names_system_column(expression, nullptr)};
    });
  });
  if (parsed.of_users)
    throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE,
                   "the condition of a hold must not call functions or use domains of users",
                   "It is evaluated by whoever deletes rows: only functions that belong to a superuser can be called.");
  if (parsed.of_system)
    throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "the condition of a hold must not name a system column",
                   "To hold the rows of one partition, place the hold on that partition.");
  Expr* expression = call_pg([&parsed] { return expression_planner(reinterpret_cast<Expr*>(parsed.expression)); });
  leave_settings(nest_level);
  return expression;
}

} // namespace

void check_hold_condition(Oid relation, const Hold& hold) {
  backfill::require_single_expression(*hold.condition);
  const Expr* expression = read_condition(relation, hold);
  const bool changes = call_pg(
      [expression] { return contain_mutable_functions(const_cast<Node*>(reinterpret_cast<const Node*>(expression))); });
  if (changes)
    throw SqlError(
        ERRCODE_INVALID_PARAMETER_VALUE, "the condition of a hold must call IMMUTABLE functions alone",
        "It has to mean the same in every session and at any time: write times as constants of the column's type, "
        "such as timestamptz '2026-01-01 00:00+00'.");
}

HoldTest::HoldTest(Oid row_of, std::vector<Hold> holds, MemoryContext memory) : holds_(std::move(holds)) {
  MemoryContext before = MemoryContextSwitchTo(memory);
  for (const Hold& hold : holds_) {
    if (!hold.condition) {
      tests_.push_back(nullptr);
      continue;
    }
    try {
      Expr* expression = read_condition(row_of, hold);
      tests_.push_back(call_pg([expression] { return ExecInitExpr(expression, nullptr); }));
    } catch (SqlError& error) {
      MemoryContextSwitchTo(before);
      error.message =
          "hold " + to_text(hold.id) + " on " + qualified_name(hold.target) + " cannot be checked: " + error.message;
      error.hint = "Nothing is deleted while that is so. Restore what its condition needs, or SELECT dbops.release(" +
                   to_text(hold.id) + ", ...).";
      throw;
    }
  }
  call_pg([this, row_of] {
    Relation table = relation_open(row_of, AccessShareLock);
    slot_ = MakeSingleTupleTableSlot(CreateTupleDescCopyConstr(RelationGetDescr(table)), &TTSOpsHeapTuple);
    relation_close(table, AccessShareLock);
    context_ = CreateStandaloneExprContext();
  });
  MemoryContextSwitchTo(before);
}

const Hold* HoldTest::held_by(HeapTuple row) const {
  const std::size_t number = call_pg([this, row] {
    ExecStoreHeapTuple(row, slot_, false);
    context_->ecxt_scantuple = slot_;
    std::size_t i = 0;
    for (; i < tests_.size(); ++i) {
      if (tests_[i] == nullptr) break;
      bool is_null = false;
      const Datum result = ExecEvalExprSwitchContext(tests_[i], context_, &is_null);
      if (!is_null && DatumGetBool(result)) break;
    }
    ResetExprContext(context_);
    ExecClearTuple(slot_);
    return i;
  });
  return number < holds_.size() ? &holds_[number] : nullptr;
}

} // namespace dbops::server::lifecycle
