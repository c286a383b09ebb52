// Trying a definition on an empty temporary table with the columns of the real one, in a subtransaction that is rolled
// back: the server itself says what is wrong with it, and what its canonical text is.
#pragma once

#include "server/ddl/spec.h"

#include <functional>

namespace dbops::server::ddl {

struct Tried {
  std::string index_name;        // chosen by the server where none was given
  std::string index_definition;  // " USING btree (a)"
  std::vector<std::string> keys; // columns of the index, not quoted; "" for an expression
  std::string constraint_name;
  std::string constraint_definition; // "CHECK ((a > 0))"
};

// Between the two parts the table's name is put.
struct StatementOn {
  std::string before, after;
};

// Runs the statements as the job's owner under the session's settings. Takes ACCESS SHARE on the table to the end of
// the transaction; needs TEMPORARY on the database.
Tried try_on_shadow(Oid table, Oid owner, const Settings& settings, const std::vector<StatementOn>& statements);

// The same for the current user and what `define` does to the table of that name.
Tried try_on_shadow(Oid table, const std::function<void(const std::string& shadow)>& define);

} // namespace dbops::server::ddl
