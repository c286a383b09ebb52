// Running the statements of a migration that can be in a transaction.
#pragma once

#include "server/migration/history.h"
#include "server/migration/script.h"

namespace dbops::server::migration {

// As the current user, with the session's search_path and this lock_timeout, in a savepoint: they all take effect, or
// none and `attempt` has the error. What they SET ends with them. Deferred constraints are checked at the end.
// Returns whether they succeeded; fills outcome, milliseconds, messages, error and its place.
bool execute_in_savepoint(const std::string& script, const ScriptStatement* first, const ScriptStatement* last,
                          int lock_timeout_ms, Attempt& attempt);

} // namespace dbops::server::migration
