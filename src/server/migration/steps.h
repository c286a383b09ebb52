// Migrations with statements that must not be in a transaction: one statement after the other, each recorded with its
// hash, so that after a crash the next call goes on where it stopped.
#pragma once

#include "server/migration/history.h"
#include "server/migration/script.h"

namespace dbops::server::migration {

// What the caller says about the statement that it was told to run.
struct StepReport {
  std::optional<std::int64_t> step;
  std::optional<std::string> sqlstate; // of its error; absent: it succeeded
  std::optional<std::string> error;
  std::string runner; // whatever tells this caller from others
};

struct StepResult {
  std::string outcome; // execute, applied, failed, lock_timeout, cancelled, locked
  std::optional<std::int64_t> step;
  std::string statement; // to be run outside of a transaction block
  std::string detail;
  int rank = 0;
};

StepResult advance(const Project& project, const Identity& migration, const std::string& text,
                   const std::vector<ScriptStatement>& statements, int lock_timeout_ms, const StepReport& report,
                   Attempt& attempt);

} // namespace dbops::server::migration
