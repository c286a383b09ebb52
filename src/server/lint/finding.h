// What the linter has to say about a statement.
#pragma once

#include "server/pg.h"

namespace dbops::server::lint {

enum class Severity { notice, warning, error };

struct Finding {
  const char* rule = "";
  Severity severity = Severity::warning;
  std::string message;
  std::string object;     // schema.table, or empty
  std::string lock;       // mode, of the object or as said in the message
  bool rewrites = false;  // the table is written anew
  bool scans = false;     // the table is read as a whole under the lock
  std::int64_t bytes = 0; // that are rewritten or read
  std::string safe_sql;   // ready to be used instead; empty: there is none
  std::string suppressed; // the reason; empty: it is not
};

} // namespace dbops::server::lint
