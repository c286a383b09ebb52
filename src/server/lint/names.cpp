// The rules that are off unless they are asked for: names without a schema, and new names against a pattern.
#include "server/lint/script.h"

extern "C" {
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "fmgr.h"
#include "nodes/pg_list.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
}

namespace dbops::server::lint {

namespace {

// What a statement names.
struct Names {
  std::vector<std::string> made;          // new names, of whatever kind
  std::vector<const RangeVar*> relations; // that are made, changed or dropped

  void make(const char* name) {
    if (name != nullptr) made.emplace_back(name);
  }
  void last_of(const List* name) {
    if (name != NIL) made.emplace_back(strVal(llast(name)));
  }
  void relation(const RangeVar* name) {
    if (name != nullptr) relations.push_back(name);
  }
};

void constraint(Names& names, const Constraint* constraint) {
  names.make(constraint->conname);
  names.relation(constraint->pktable);
}

void column(Names& names, const ColumnDef* column) {
  names.make(column->colname);
  ListCell* cell = nullptr;
  foreach (cell, column->constraints)
    constraint(names, lfirst_node(Constraint, cell));
}

void element(Names& names, Node* node) {
  if (node == nullptr) return;
  if (IsA(node, ColumnDef)) column(names, reinterpret_cast<ColumnDef*>(node));
  if (IsA(node, Constraint)) constraint(names, reinterpret_cast<Constraint*>(node));
  if (IsA(node, PartitionCmd)) names.relation(reinterpret_cast<PartitionCmd*>(node)->name);
}

void drop(Names& names, const DropStmt* statement) {
  switch (statement->removeType) {
  case OBJECT_TABLE:
  case OBJECT_VIEW:
  case OBJECT_MATVIEW:
  case OBJECT_SEQUENCE:
  case OBJECT_INDEX:
  case OBJECT_FOREIGN_TABLE: {
    ListCell* cell = nullptr;
    foreach (cell, statement->objects)
      names.relation(call_pg([cell] { return makeRangeVarFromNameList(static_cast<List*>(lfirst(cell))); }));
    return;
  }
  default:
    return;
  }
}

Names names_in(Node* statement) {
  Names names;
  ListCell* cell = nullptr;
  switch (nodeTag(statement)) {
  case T_CreateStmt: {
    auto* create = reinterpret_cast<CreateStmt*>(statement);
    names.relation(create->relation);
    names.make(create->relation->relname);
    foreach (cell, create->inhRelations)
      names.relation(lfirst_node(RangeVar, cell));
    foreach (cell, create->tableElts)
      element(names, static_cast<Node*>(lfirst(cell)));
    break;
  }
  case T_AlterTableStmt: {
    auto* alter = reinterpret_cast<AlterTableStmt*>(statement);
    names.relation(alter->relation);
    foreach (cell, alter->cmds)
      element(names, lfirst_node(AlterTableCmd, cell)->def);
    break;
  }
  case T_IndexStmt:
    names.relation(reinterpret_cast<IndexStmt*>(statement)->relation);
    names.make(reinterpret_cast<IndexStmt*>(statement)->idxname);
    break;
  case T_RenameStmt:
    names.relation(reinterpret_cast<RenameStmt*>(statement)->relation);
    names.make(reinterpret_cast<RenameStmt*>(statement)->newname);
    break;
  case T_ViewStmt:
    names.relation(reinterpret_cast<ViewStmt*>(statement)->view);
    names.make(reinterpret_cast<ViewStmt*>(statement)->view->relname);
    break;
  case T_CreateTableAsStmt:
    names.relation(reinterpret_cast<CreateTableAsStmt*>(statement)->into->rel);
    names.make(reinterpret_cast<CreateTableAsStmt*>(statement)->into->rel->relname);
    break;
  case T_CreateSeqStmt:
    names.relation(reinterpret_cast<CreateSeqStmt*>(statement)->sequence);
    names.make(reinterpret_cast<CreateSeqStmt*>(statement)->sequence->relname);
    break;
  case T_CreateSchemaStmt:
    names.make(reinterpret_cast<CreateSchemaStmt*>(statement)->schemaname);
    break;
  case T_CreateEnumStmt:
    names.last_of(reinterpret_cast<CreateEnumStmt*>(statement)->typeName);
    break;
  case T_CompositeTypeStmt:
    names.make(reinterpret_cast<CompositeTypeStmt*>(statement)->typevar->relname);
    break;
  case T_CreateDomainStmt:
    names.last_of(reinterpret_cast<CreateDomainStmt*>(statement)->domainname);
    break;
  case T_CreateFunctionStmt:
    names.last_of(reinterpret_cast<CreateFunctionStmt*>(statement)->funcname);
    break;
  case T_CreateTrigStmt:
    names.relation(reinterpret_cast<CreateTrigStmt*>(statement)->relation);
    names.make(reinterpret_cast<CreateTrigStmt*>(statement)->trigname);
    break;
  case T_CreatePolicyStmt:
    names.relation(reinterpret_cast<CreatePolicyStmt*>(statement)->table);
    names.make(reinterpret_cast<CreatePolicyStmt*>(statement)->policy_name);
    break;
  case T_TruncateStmt:
    foreach (cell, reinterpret_cast<TruncateStmt*>(statement)->relations)
      names.relation(lfirst_node(RangeVar, cell));
    break;
  case T_DropStmt:
    drop(names, reinterpret_cast<DropStmt*>(statement));
    break;
  case T_RefreshMatViewStmt:
    names.relation(reinterpret_cast<RefreshMatViewStmt*>(statement)->relation);
    break;
  case T_InsertStmt:
    names.relation(reinterpret_cast<InsertStmt*>(statement)->relation);
    break;
  case T_UpdateStmt:
    names.relation(reinterpret_cast<UpdateStmt*>(statement)->relation);
    break;
  case T_DeleteStmt:
    names.relation(reinterpret_cast<DeleteStmt*>(statement)->relation);
    break;
  default:
    break;
  }
  return names;
}

bool matches(const std::string& name, const std::string& pattern) {
  return call_pg([&name, &pattern] {
    return DatumGetBool(DirectFunctionCall2Coll(textregexeq, C_COLLATION_OID, CStringGetTextDatum(name.c_str()),
                                                CStringGetTextDatum(pattern.c_str())));
  });
}

} // namespace

void look_at_names(Script& script, Node* statement) {
  const Options& options = script.options();
  if (!options.qualified && options.name_pattern.empty()) return;
  const Names names = names_in(statement);
  if (options.qualified)
    for (const RangeVar* name : names.relations)
      if (name->schemaname == nullptr && name->relpersistence != RELPERSISTENCE_TEMP && !script.is_temporary(name))
        script.say("unqualified-table", Severity::warning,
                   quote_name(name->relname) + " has no schema: which one it is depends on search_path");
  if (options.name_pattern.empty()) return;
  for (const std::string& name : names.made)
    if (!matches(name, options.name_pattern))
      script.say("naming", Severity::warning,
                 "the name " + quote_name(name) + " does not match " + options.name_pattern);
}

} // namespace dbops::server::lint
