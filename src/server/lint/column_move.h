// Keys, indexes, foreign keys and the identity of a column whose place another one of another type takes.
#pragma once

#include "server/lint/catalog.h"

namespace dbops::server::lint {

// As SQL, one statement a line; each may be empty.
struct ColumnMove {
  bool possible = true; // false: something has the column that does not move like this
  std::string build;    // indexes of the new column, outside of transactions
  std::string left_out; // comments that name the indexes which people have to build
  std::string leave;    // begins the exchange: foreign keys of other tables go
  std::string take;     // then, before names are changed: keys, indexes and identity
  std::string come;     // ends the exchange: those foreign keys again, NOT VALID
  std::string validate; // in another transaction
};

// Of an ordinary table's column, for another one of that type (as it is written) beside it.
ColumnMove move_column(const Table& table, const std::string& column, const std::string& made, const std::string& type);

// smallint, integer, bigint, by any of their names.
bool is_integer(const std::string& type);
bool is_bigint(const std::string& type);

} // namespace dbops::server::lint
