// Running the command of a schedule, in a background worker, the way a client would have sent it.
#pragma once

#include "server/engine/bookkeeping.h"
#include "server/schedule/spec.h"

namespace dbops::server::schedule {

struct CommandResult {
  std::int64_t rows = 0; // returned or changed, of all statements
  std::string output;
  std::string notices;
  std::optional<SqlError> error;
  bool over_time = false;         // ended by the time limit
  bool statement_timeout = false; // ended by that setting
  // The session could not be made as it was: fit for the word on this run, and for nothing more. The process has to
  // end.
  std::optional<SqlError> unclean;
};

// Several statements are one transaction, as they are in one message of a client; unless one of them cannot be in one
// (VACUUM, CREATE INDEX CONCURRENTLY, CALL, BEGIN, ...): then each is a transaction of its own. Outside of any
// transaction of the caller's. Leaves the session as it was: settings, role, temporary tables, prepared statements,
// advisory locks.
CommandResult run_command(const Spec& spec);

// The role's own settings, which the engine overrides for itself. Before it does.
void remember_session_settings();

// Raises what is wrong with a command before it is accepted: a syntax error, no statement, COPY from or to the client.
void check_command(const std::string& text);

// Raises what is wrong with a setting: unknown, a value that it does not take, not the current user's to set.
void check_setting(const std::string& name, const std::string& value);

} // namespace dbops::server::schedule
