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
  bool by_relation =
      false;            // REINDEX or CLUSTER: top_level when what it names is partitioned by the time that it is run
  std::string tag;      // CREATE TABLE
  bool setting = false; // a SET that outlives its transaction and changes what statements mean or who runs them
  bool stalls = false;  // a top_level one that shuts others out of tables
  bool moves_names = false; // it sets what names without a schema stand for: search_path, or the role
};

// With its place in the script.
struct ScriptError : SqlError {
  core::migrate::LineColumn place;
  ScriptError(SqlError error, core::migrate::LineColumn place_) : SqlError(std::move(error)), place(place_) {}
};

// Throws ScriptError: 42601 for what cannot be read, 0A000 for SAVEPOINT, ROLLBACK and a COMMIT in the middle.
// The statements point into `text`.
std::vector<ScriptStatement> read_script(const std::string& text);

// The first that is a setting among those before `end`; null: none. What it sets would not reach a statement behind it
// that is run outside of a transaction.
const ScriptStatement* lost_setting(const std::vector<ScriptStatement>& statements, std::size_t end);
SqlError lost_setting_error(const ScriptStatement& setting);

// Whether a parsed statement must not be in a transaction block, as far as that can be said without its tables.
bool needs_top_level(Node* statement);

// Whether it is REINDEX or CLUSTER of what is partitioned now: each partition is a transaction of its own.
bool is_of_partitioned(Node* statement);

// "line 3, column 7": of an error in `statement`, or of its start.
core::migrate::LineColumn place_of(const SqlError& error, const std::string& script,
                                   const core::migrate::Statement& statement);

} // namespace dbops::server::migration
