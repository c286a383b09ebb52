// Empty temporary copies of tables, on which a change can be made to see what it locks, without a lock on the tables
// themselves but ACCESS SHARE for the moment of copying. In a subtransaction that is rolled back.
#pragma once

#include "server/engine/bookkeeping.h"

namespace dbops::server::trace {

class Clones {
 public:
  struct Pair {
    Oid original, clone;
  };

  // Copies the table with its constraints and indexes under their names, and the tables that foreign keys join it with.
  // False: a copy would not behave like it (partitions, inheritance, another table of that name), or making it would
  // call functions of others than superusers and the caller.
  bool add(Oid table);
  [[nodiscard]] const std::vector<Pair>& pairs() const { return pairs_; }
  [[nodiscard]] bool has(Oid table) const;
  // Who has made a relation holds ACCESS EXCLUSIVE on it. Nobody else can see these: given back, so that the statement
  // shows what it takes by itself.
  void release_locks() const;

 private:
  bool add_family(Oid table);
  Oid copy(Oid table);
  void name_indexes(Oid table, Oid clone);
  void add_foreign_keys(Oid table);
  std::vector<Pair> pairs_; // tables and indexes
  std::vector<Oid> keys_;   // foreign keys that have been copied
};

} // namespace dbops::server::trace
