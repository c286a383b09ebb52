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
  taken,   // its name is that of another index: `statement` says which
};
struct RecoveryPlan {
  Recovery what = Recovery::run;
  std::string statement;
  bool gone = false; // done, by whomever: what the statement takes away was there when it was begun, and is not now
};

// OIDs of what is there before the statement is run, as "{1,2}": of one that builds, the indexes of its table; of one
// that takes away, the index or the partition. Empty when it is about none of them.
std::string there_before(const std::string& statement);

// The same for one that is run again: of what it takes away, the one that is there now; otherwise `before`.
std::string there_before_again(const std::string& statement, const std::string& before);

// begun: there is a record that it was begun, with there_before() of that time.
RecoveryPlan recover(const std::string& statement, bool begun, const std::string& before);

} // namespace dbops::server::migration
