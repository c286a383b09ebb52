// What the catalog says a statement gets at beyond the relations that it names.
#pragma once

#include <vector>

#include "server/pg.h"

extern "C" {
#include "nodes/parsenodes.h"
}

namespace dbops::server::ddl {

struct Reached {
  Oid relation = InvalidOid;
  const char* lock = "";
  bool rewrites = false, reads = false;
};

// REINDEX of a schema, of the database (its system catalogs are left out), of a partitioned table or index, or
// CONCURRENTLY: the tables, and the indexes where they are locked for as long.
std::vector<Reached> reached_by_reindex(ReindexStmt* statement);

// TRUNCATE ... CASCADE of these tables: those that refer to them, to those, and so on, with their indexes.
std::vector<Reached> reached_by_cascade(const std::vector<Oid>& tables);

} // namespace dbops::server::ddl
