// A migration file as the server understands it: its statements, by the server's own parser, and how each has to be
// run.
#pragma once

#include "core/migrate/statement.h"
#include "server/guard.h"

namespace dbops::server::migration {

enum class StatementKind {
  plain,     // in a transaction, by SPI
  copy,      // COPY ... FROM STDIN, with its data
  bracket,   // BEGIN at the start, COMMIT at the end: the migration is a transaction anyway
  top_level, // must not be in a transaction block: CREATE INDEX CONCURRENTLY, VACUUM
};

struct ScriptStatement {
  core::migrate::Statement source;
  StatementKind kind = StatementKind::plain;
  std::string tag; // CREATE TABLE
};

// With its place in the script.
struct ScriptError : SqlError {
  core::migrate::LineColumn place;
  ScriptError(SqlError error, core::migrate::LineColumn place_) : SqlError(std::move(error)), place(place_) {}
};

// Throws ScriptError: 42601 for what cannot be read, 0A000 for SAVEPOINT, ROLLBACK and a COMMIT in the middle.
// The statements point into `text`.
std::vector<ScriptStatement> read_script(const std::string& text);

// Whether a parsed statement must not be in a transaction block, as far as that can be said without its tables.
bool needs_top_level(Node* statement);

// "line 3, column 7": of an error in `statement`, or of its start.
core::migrate::LineColumn place_of(const SqlError& error, const std::string& script,
                                   const core::migrate::Statement& statement);

} // namespace dbops::server::migration
