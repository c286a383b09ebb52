#include "server/ddl/partition.h"

#include "server/compat.h"

extern "C" {
#include "access/table.h"
#include "catalog/partition.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parse_node.h"
#include "parser/parse_utilcmd.h"
#include "parser/parser.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
}

namespace dbops::server::ddl {

namespace {

// Texts are palloc'ed, or null.
struct Raw {
  const char* bounds;
  const char* condition;
  const char* of_default;
  Oid default_partition;
};

// Between reading the text and writing it again.
struct Parsed {
  Relation table;
  PartitionBoundSpec* bounds;
};

PartitionBoundSpec* parse_bounds(const char* statement) {
  List* parsed = raw_parser(statement, RAW_PARSE_DEFAULT);
  Node* node = list_length(parsed) == 1 ? linitial_node(RawStmt, parsed)->stmt : nullptr;
  if (node != nullptr && IsA(node, AlterTableStmt) && list_length(reinterpret_cast<AlterTableStmt*>(node)->cmds) == 1) {
    auto* command = linitial_node(AlterTableCmd, reinterpret_cast<AlterTableStmt*>(node)->cmds);
    if (command->subtype == AT_AttachPartition) return reinterpret_cast<PartitionCmd*>(command->def)->bound;
  }
  ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR), errmsg("bounds are not those of one partition"),
                  errhint("For example FOR VALUES FROM (1) TO (10), FOR VALUES IN ('a'), DEFAULT.")));
}

const char* as_text(List* conditions, List* names) {
  if (conditions == NIL) return nullptr;
  return deparse_expression(reinterpret_cast<Node*>(make_ands_explicit(conditions)), names, false, false);
}

Parsed read(Oid parent, Oid partition, const char* statement) {
  PartitionBoundSpec* given = parse_bounds(statement);
  Relation table = table_open(parent, AccessShareLock);
  if (table->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
    ereport(ERROR,
            (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is not partitioned", RelationGetRelationName(table))));
  ParseState* state = make_parsestate(nullptr);
  state->p_sourcetext = statement;
  PartitionBoundSpec* bounds = transformPartitionBound(state, table, given);
  char* name = get_rel_name(partition);
  if (name == nullptr)
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("relation with OID %u does not exist", partition)));
  check_new_partition_bound(name, table, bounds, state);
  return {table, bounds};
}

Raw write(Oid parent, const Parsed& parsed) {
  Raw raw{};
  Relation table = parsed.table;
  PartitionBoundSpec* bounds = parsed.bounds;
  raw.bounds = deparse_expression(reinterpret_cast<Node*>(bounds), NIL, false, false);
  // By name: the columns may be in another order in the partitions.
  List* names = deparse_context_for(RelationGetRelationName(table), parent);
  List* condition = get_qual_from_partbound(table, bounds);
  raw.condition = as_text(condition, names);
  raw.default_partition = get_default_oid_from_partdesc(RelationGetPartitionDesc(table, true));
  if (OidIsValid(raw.default_partition) && condition != NIL)
    raw.of_default = as_text(get_proposed_default_constraint(condition), names);
  table_close(table, AccessShareLock);
  return raw;
}

std::string copied(const char* text) {
  return text == nullptr ? std::string() : std::string(text);
}

} // namespace

PartitionBounds read_bounds(Oid parent, Oid partition, const std::string& bounds) {
  const std::string statement =
      "ALTER TABLE " + qualified_name(parent) + " ATTACH PARTITION " + qualified_name(partition) + " " + bounds;
  const Parsed parsed = call_pg([&] { return read(parent, partition, statement.c_str()); });
  const int nest_level = enter_settings(canonical_text()); // it was read under the caller's settings
  const Raw raw = call_pg([&] { return write(parent, parsed); });
  leave_settings(nest_level);
  return {copied(raw.bounds), copied(raw.condition), copied(raw.of_default), raw.default_partition};
}

} // namespace dbops::server::ddl
