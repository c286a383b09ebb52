// What the catalog says about a table that a job walks over.
#pragma once

#include "server/backfill/spec.h"

namespace dbops::server::backfill {

struct KeyColumn {
  std::string name; // quoted
  Oid type = InvalidOid;
  bool hashable = false;
};

// A unique, not deferrable, valid btree index over columns that are NOT NULL and that the job neither assigns nor
// changes by a generated column, ordered by the types' default operators: its order is a total order of the rows.
struct TableKey {
  std::vector<KeyColumn> columns;
  std::string after; // "OPERATOR(pg_catalog.>)"
  std::string upto;  // "OPERATOR(pg_catalog.<=)"
  // Columns by number, with operator family, collation and, but for integers and texts, type: equal when the order of
  // the rows is the same, and the text of a value means the same. An integer column that becomes a bigint keeps it.
  std::string identity;
  std::string present;    // "deleted_at IS NOT NULL": the index has these rows alone; statements have to say so
  Oid index = InvalidOid; // where the key begins with an age: the index on that
  [[nodiscard]] bool usable() const noexcept { return !columns.empty(); }
  [[nodiscard]] bool hashable() const noexcept;
};

struct Table {
  Oid oid = InvalidOid;
  std::string name; // schema.table, quoted
  Oid owner = InvalidOid;
  TableKey key;
  bool hot = true; // no assigned column is indexed
  bool changes_key =
      false; // an assigned column is in an index that a foreign key can refer to: rows are locked FOR UPDATE
  bool row_triggers = false; // BEFORE UPDATE FOR EACH ROW: what is stored may not be what was assigned
  int indexes = 0;
  double rows = 0; // estimate; at least 1 a block
  std::uint32_t blocks = 0;
  double rows_per_block = 1;
};

// Reads it; nothing when the table is gone. Takes no lock but an AccessShareLock for the moment.
std::optional<Table> describe_table(Oid relation, const std::vector<std::string>& assigned_columns);
// The same, with a key that begins with that column (quoted) and goes on with the table's own, for walking over rows
// that match a bound of it: the column may have NULLs, which are not met. Not usable without a btree index on it in
// ascending or descending order of the type, complete or of the rows where it IS NOT NULL.
std::optional<Table> describe_table_by(Oid relation, const std::string& column);

// What ANALYZE has found, of the table without those that inherit from it. Nothing, or 0: it has not been there.
std::optional<double> correlation(Oid relation,
                                  const std::string& column); // quoted; -1 to 1, to the order in the table
double average_width(Oid relation);                           // bytes of all columns

// The table itself, or all that inherits from it, by OID; partitioned parents, which hold no rows, left out.
std::vector<Oid> family(Oid relation);

// Whether it is the target, or inherits from it at any distance; no longer once it is being detached.
bool belongs_to(Oid relation, Oid target);

// Refuses what cannot be worked on: no table, foreign, temporary, system, dbops's own (42809, 0A000).
void require_suitable(Oid relation);

// Refuses to work on part of the rows only: row-level security that would filter for that role (42501).
void require_all_rows(Oid relation, Oid role);

} // namespace dbops::server::backfill
