// Running the statements of a migration that can be in a transaction.
#pragma once

#include "server/migration/callbacks.h"
#include "server/migration/history.h"
#include "server/migration/script.h"

namespace dbops::server::migration {

// One statement, not one that needs the top level.
void execute(const ScriptStatement& statement);

// What is executed around the statements; `begins`, `ends`: these are the first, the last of the migration.
struct Surroundings {
  const Callbacks& callbacks;
  bool begins = true;
  bool ends = true;
};

// As the current user, with the session's search_path and this lock_timeout, in a savepoint: they all take effect, or
// none and `attempt` has the error. What they SET ends with them. Deferred constraints are checked at the end.
// Returns whether they succeeded; fills outcome, milliseconds, messages, error and its place.
bool execute_in_savepoint(const std::string& script, const ScriptStatement* first, const ScriptStatement* last,
                          int lock_timeout_ms, const Surroundings& around, Attempt& attempt);

// The callbacks of a moment alone, in the same way.
bool execute_callbacks(const Callbacks& callbacks, Moment moment, int lock_timeout_ms, Attempt& attempt);

// After a failure of `statements` from `first` on: the one that failed has turned out to need the top level, as what it
// names is partitioned. It is marked so, and the failure forgotten; nothing has taken effect, so all can be tried
// again.
bool found_top_level(std::vector<ScriptStatement>& statements, std::size_t first, Attempt& attempt);

} // namespace dbops::server::migration
