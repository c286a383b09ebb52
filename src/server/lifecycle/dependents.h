// What hangs on the rows of a table by foreign keys, as the catalog has it now.
#pragma once

#include "server/engine/bookkeeping.h"

namespace dbops::server::lifecycle {

// What becomes of rows that refer to a row that is deleted.
enum class Children {
  as_declared, // the server does what ON DELETE says
  forbid,      // a row that is referred to stays
  erase,       // they are deleted before it, and so on downwards
  set_null,    // their columns are set to NULL
};

// As written in options: restrict, delete, set null. Nothing: not known.
std::optional<Children> children_policy(std::string_view name);
std::string name_of(Children children);

struct Dependent {
  Oid relation = InvalidOid;
  std::string name;       // schema.table, quoted; "ONLY " before it unless it is partitioned
  std::string constraint; // its foreign key
  struct Column {
    std::string parent, op, child; // parent OPERATOR(schema.op) child; names quoted
    bool nullable = false;         // the child's
  };
  std::vector<Column> columns;
  enum class Effect { restricted, erased, changed } effect = Effect::restricted;
  std::vector<Dependent> below; // of an erased one
};

// By all foreign keys that refer to that table, or to one that it is a partition of. With Children::erase a circle, a
// table that refers to itself included, raises 0A000; with Children::set_null a column that is NOT NULL 23502. As
// declared, a circle is followed once.
std::vector<Dependent> dependents_of(Oid relation, Children children);

// "d.parent OPERATOR(pg_catalog.=) c.child AND ...", where d and c are aliases.
std::string join_of(const Dependent& dependent, const std::string& parent_alias, const std::string& child_alias);

// The table and everything above it that it is a partition or child of.
std::vector<Oid> ancestry(Oid relation);

} // namespace dbops::server::lifecycle
