#include "server/ddl/input.h"

#include "server/engine/bookkeeping.h"

extern "C" {
#include "nodes/parsenodes.h"
#include "parser/parser.h"
}

namespace dbops::server::ddl {

namespace {

// The one statement of the text; raises when there are more.
Node* only_statement(const char* text) {
  List* parsed = raw_parser(text, RAW_PARSE_DEFAULT);
  if (list_length(parsed) != 1)
    ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR), errmsg("an argument has more than it may: a semicolon")));
  return linitial_node(RawStmt, parsed)->stmt;
}

// What ALTER TABLE ... ADD CONSTRAINT adds, when it adds one constraint of that type.
Constraint* only_constraint(const char* text, ConstrType type) {
  Node* node = only_statement(text);
  if (IsA(node, AlterTableStmt) && list_length(reinterpret_cast<AlterTableStmt*>(node)->cmds) == 1) {
    auto* command = linitial_node(AlterTableCmd, reinterpret_cast<AlterTableStmt*>(node)->cmds);
    if (command->subtype == AT_AddConstraint) {
      auto* constraint = reinterpret_cast<Constraint*>(command->def);
      if (constraint->contype == type) return constraint;
    }
  }
  ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR), errmsg("an argument has more than it may")));
}

std::vector<std::string> read_names(List* names) {
  std::vector<std::string> read;
  const int count = list_length(names);
  for (int i = 0; i < count; ++i)
    read.emplace_back(call_pg([names, i] { return static_cast<const char*>(strVal(list_nth(names, i))); }));
  return read;
}

std::string action_text(char action) {
  switch (action) {
  case FKCONSTR_ACTION_RESTRICT:
    return "RESTRICT";
  case FKCONSTR_ACTION_CASCADE:
    return "CASCADE";
  case FKCONSTR_ACTION_SETNULL:
    return "SET NULL";
  case FKCONSTR_ACTION_SETDEFAULT:
    return "SET DEFAULT";
  default:
    return {};
  }
}

} // namespace

void check_index_text(const std::string& statement, bool includes, bool options, bool condition) {
  call_pg([&] {
    Node* node = only_statement(statement.c_str());
    auto* index = IsA(node, IndexStmt) ? reinterpret_cast<IndexStmt*>(node) : nullptr;
    if (index == nullptr || (index->indexIncludingParams != NIL) != includes || (index->options != NIL) != options ||
        (index->whereClause != nullptr) != condition || index->tableSpace != nullptr)
      ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR), errmsg("an argument has more than it may"),
                      errhint("columns, include, options and condition are each what stands between parentheses in "
                              "CREATE INDEX.")));
  });
}

void check_check_text(const std::string& statement) {
  call_pg([&] {
    const Constraint* check = only_constraint(statement.c_str(), CONSTR_CHECK);
    if (check->is_no_inherit || !check->initially_valid)
      ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR), errmsg("condition has more than it may")));
  });
}

ForeignKey read_foreign_key(const std::string& statement) {
  const Constraint* key = call_pg([&] { return only_constraint(statement.c_str(), CONSTR_FOREIGN); });
  ForeignKey read;
  read.columns = read_names(key->fk_attrs);
  read.referenced_columns = read_names(key->pk_attrs);
  if (key->fk_matchtype == FKCONSTR_MATCH_FULL) read.actions += " MATCH FULL";
  if (const std::string action = action_text(key->fk_upd_action); !action.empty())
    read.actions += " ON UPDATE " + action;
  if (const std::string action = action_text(key->fk_del_action); !action.empty()) {
    read.actions += " ON DELETE " + action;
    std::string columns;
    for (const std::string& column : read_names(key->fk_del_set_cols))
      columns += (columns.empty() ? "" : ", ") + quote_name(column);
    if (!columns.empty()) read.actions += " (" + columns + ")";
  }
  if (key->deferrable) read.actions += key->initdeferred ? " DEFERRABLE INITIALLY DEFERRED" : " DEFERRABLE";
  return read;
}

} // namespace dbops::server::ddl
