// What online DDL asks the catalog. Needs a transaction with SPI.
#pragma once

#include "server/ddl/step.h"

namespace dbops::server::ddl {

struct IndexState {
  Oid oid = InvalidOid;
  bool valid = false;
  bool unique = false;
  std::int64_t builder = 0; // process that is building it now; 0 none
  bool attached = false;    // to an index of the partitioned table
  Oid constraint = InvalidOid;
};
// The index of that name in the table's schema, if it is one of the table.
std::optional<IndexState> index_named(Oid table, const std::string& name);
std::optional<IndexState> index_state(Oid index);

struct ConstraintState {
  Oid oid = InvalidOid;
  bool valid = false;
};
std::optional<ConstraintState> constraint_named(Oid table, const std::string& name);

// Leaf partitions of a partitioned table that are tables, or the table itself, in order of their names.
std::vector<Oid> leaves(Oid table);
// The table and all below it.
std::vector<Oid> family(Oid table);
bool is_partitioned(Oid table);
bool exists(Oid relation);
std::string schema_of(Oid relation);

// A name like `wanted` that no relation in the schema of `table` has.
std::string free_relation_name(Oid table, const std::string& wanted);

// " USING ..." of an index: what pg_get_indexdef() writes behind the table's name, all names qualified.
std::string index_definition(Oid index);

// "{1,2}"
std::string oid_array(const std::vector<Oid>& oids);
std::vector<Oid> oid_list(const Rows& rows);

// DROP INDEX CONCURRENTLY of one that is in the way or left over.
Step drop_index_step(Oid index, Oid table);

} // namespace dbops::server::ddl
