// Migrations with statements that must not be in a transaction: one statement after the other, each recorded with its
// hash, so that after a crash the next call goes on where it stopped.
#pragma once

#include "server/migration/callbacks.h"
#include "server/migration/locks.h"

namespace dbops::server::migration {

// What the caller says about the statement that it was told to run.
struct StepReport {
  std::optional<std::int64_t> step;
  std::optional<std::string> sqlstate; // of its error; absent: it succeeded
  std::optional<std::string> error;
  std::string runner;                  // whatever tells this caller from others
  std::optional<std::string> messages; // of the server, as an array's text
  IfHeldUp if_held_up = IfHeldUp::try_it;
};

struct StepResult {
  std::string outcome; // execute, applied, failed, lock_timeout, blocking, cancelled, locked, held_up
  std::optional<std::int64_t> step;
  std::string statement; // to be run outside of a transaction block
  std::string detail;
  int rank = 0;
  bool lock_timeout = false; // the statement has to be run under the lock_timeout that the caller has asked for
};

StepResult advance(const Project& project, const Identity& migration, const std::string& text,
                   std::vector<ScriptStatement> statements, int lock_timeout_ms, const StepReport& report,
                   const Callbacks& callbacks, Attempt& attempt);

// A runner is executing a statement of it, or about to do so or to say how it ended.
bool is_under_way(const Project& project, int rank);

} // namespace dbops::server::migration
