// What a statement outside of a transaction has left when it was begun and nobody knows how it ended.
#pragma once

#include "server/guard.h"

namespace dbops::server::migration {

enum class Recovery {
  run,     // as if it had never been begun
  done,    // its effect is there
  first,   // `statement` has to be run before it
  instead, // `statement` finishes it
  busy,    // another session is at it
};
struct RecoveryPlan {
  Recovery what = Recovery::run;
  std::string statement;
};

// OIDs of the indexes of the table that the statement is about, as "{1,2}"; empty when it is about none. Before it is
// run.
std::string indexes_before(const std::string& statement);

// begun: there is a record that it was begun, with indexes_before() of that time.
RecoveryPlan recover(const std::string& statement, bool begun, const std::string& before);

} // namespace dbops::server::migration
