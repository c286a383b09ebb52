// The texts of a call of online DDL, parsed by the server's parser before anything is done with them.
#pragma once

#include "server/guard.h"

namespace dbops::server::ddl {

// Raises 42601 unless `statement` is one CREATE INDEX with an INCLUDE, a WITH and a WHERE just where they were meant.
void check_index_text(const std::string& statement, bool includes, bool options, bool condition);

// Raises 42601 unless `statement` is one ALTER TABLE that adds one plain CHECK.
void check_check_text(const std::string& statement);

struct ForeignKey {
  std::vector<std::string> columns;            // not quoted
  std::vector<std::string> referenced_columns; // empty: the primary key
  std::string actions;                         // " MATCH FULL ON UPDATE CASCADE ON DELETE SET NULL (a) DEFERRABLE"
};
// Raises 42601 unless `statement` is one ALTER TABLE that adds one foreign key.
ForeignKey read_foreign_key(const std::string& statement);

} // namespace dbops::server::ddl
