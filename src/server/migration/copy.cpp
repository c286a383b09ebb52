#include "server/migration/copy.h"

#include <algorithm>

#include "server/compat.h"

extern "C" {
#include "access/table.h"
#include "commands/copy.h"
#include "mb/pg_wchar.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/prep.h"
#include "parser/parse_clause.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
}

namespace dbops::server::migration {

namespace {

// The callback of BeginCopyFrom has no argument for these.
const char* next_byte = nullptr;
std::size_t bytes_left = 0;

int give_data(void* buffer, int, int most) {
  const std::size_t length = std::min(bytes_left, static_cast<std::size_t>(most));
  std::memcpy(buffer, next_byte, length);
  next_byte += length;
  bytes_left -= length;
  return static_cast<int>(length);
}

// As copy.c, DoCopy: INSERT on the table or on every column that is copied into; row security cannot be applied.
void require_insert(Relation relation, List* columns) {
  const Oid table = RelationGetRelid(relation);
  if (check_enable_rls(table, InvalidOid, false) == RLS_ENABLED)
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("COPY FROM not supported with row-level security"),
                    errhint("Use INSERT statements instead.")));
  if (pg_class_aclcheck(table, GetUserId(), ACL_INSERT) == ACLCHECK_OK) return;
  bool all = columns != NIL;
  ListCell* cell = nullptr;
  foreach (cell, columns) {
    const AttrNumber column = get_attnum(table, strVal(lfirst(cell)));
    if (column == InvalidAttrNumber || pg_attribute_aclcheck(table, column, GetUserId(), ACL_INSERT) != ACLCHECK_OK)
      all = false;
  }
  if (!all) aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, RelationGetRelationName(relation));
}

// The data have been converted with the whole file, whatever the statement says of its encoding.
List* with_server_encoding(List* options) {
  List* result = NIL;
  ListCell* cell = nullptr;
  foreach (cell, options)
    if (std::strcmp(lfirst_node(DefElem, cell)->defname, "encoding") != 0) result = lappend(result, lfirst(cell));
  return lappend(result, makeDefElem(pstrdup("encoding"),
                                     reinterpret_cast<Node*>(makeString(pstrdup(GetDatabaseEncodingName()))), -1));
}

Node* where_clause(ParseState* state, ParseNamespaceItem* item, Node* raw) {
  if (raw == nullptr) return nullptr;
  addNSItemToQuery(state, item, false, true, true);
  Node* clause = transformExpr(state, raw, EXPR_KIND_COPY_WHERE);
  clause = coerce_to_boolean(state, clause, "WHERE");
  assign_expr_collations(state, clause);
  clause = eval_const_expressions(nullptr, clause);
  return reinterpret_cast<Node*>(make_ands_implicit(canonicalize_qual(reinterpret_cast<Expr*>(clause), false)));
}

} // namespace

void copy_from(const std::string& statement, std::string_view data) {
  next_byte = data.data();
  bytes_left = data.size();
  call_pg([&statement] {
    List* parsed = raw_parser(statement.c_str(), RAW_PARSE_DEFAULT);
    auto* copy = reinterpret_cast<CopyStmt*>(linitial_node(RawStmt, parsed)->stmt);
    PushActiveSnapshot(GetTransactionSnapshot());
    Relation relation = table_openrv(copy->relation, RowExclusiveLock);
    require_insert(relation, copy->attlist);
    ParseState* state = make_parsestate(nullptr);
    state->p_sourcetext = statement.c_str();
    ParseNamespaceItem* item = addRangeTableEntryForRelation(state, relation, RowExclusiveLock, nullptr, false, false);
    Node* where = where_clause(state, item, copy->whereClause);
    CopyFromState from = BeginCopyFrom(state, relation, where, nullptr, false, give_data, copy->attlist,
                                       with_server_encoding(copy->options));
    CopyFrom(from);
    EndCopyFrom(from);
    table_close(relation, NoLock);
    free_parsestate(state);
    PopActiveSnapshot();
    CommandCounterIncrement();
  });
}

} // namespace dbops::server::migration
