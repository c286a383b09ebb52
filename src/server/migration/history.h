// The tables of the history (src/schema/migration.sql), as the functions see them. Every function needs SPI.
#pragma once

#include "core/migrate/plan.h"
#include "server/engine/bookkeeping.h"

namespace dbops::server::migration {

struct Project {
  int id = 0;
  std::string name;
};

// Finds it, or makes it for the current user when `make`. Raises 42501 when the current user is not a member of its
// owner's role, 42704 when it is not there and must not be made.
Project open_project(const std::string& name, bool make);
// The same, made when it is not there. Nothing: another transaction is making it; its end is not waited for, as in
// lock_project.
std::optional<Project> make_project(const std::string& name);
// Who does, as project_lock_holder says it.
std::string project_maker(const std::string& name);

// One runner at a time: a lock of class 221 to the end of the transaction. Does not wait: a function that waits holds a
// snapshot, which CREATE INDEX CONCURRENTLY of the other runner would wait for. False: somebody else has it.
bool lock_project(const Project& project);
// Who has it, for people: "process 123 (role ann, application dbops, since 12:00:01)"; empty when nobody.
std::string project_lock_holder(const Project& project);

// What a migration is, whoever named it.
struct Identity {
  std::string script;
  std::string type; // SQL, SQL_BASELINE, UNDO_SQL, CALLBACK
  std::optional<core::migrate::Version> version;
  std::string description;
  std::int32_t checksum = 0;
};

// What the history says about it.
enum class Standing {
  absent,  // it may be applied
  applied, // it is, with the same checksum; of UNDO_SQL: there is nothing to undo
  partial, // some of its statements are
};
// Raises 55000 with a HINT when it must not be applied: changed, out of order, below the baseline.
Standing standing(const Project& project, const Identity& migration, bool out_of_order);

// How an attempt went.
struct Attempt {
  std::string outcome; // applied, failed, cancelled, ...
  std::string role;    // who asked for it
  std::int64_t milliseconds = 0;
  int statements = 0;
  std::vector<std::string> messages;
  std::optional<SqlError> error;
  int line = 0;
  int column = 0;
  std::string statement;
  std::optional<std::size_t> misplaced; // index, of those that were run together, of one that needs the top level
};

// A row in the history; returns its rank. Takes back what `live` says of the migrations that it undoes or replaces.
int record_applied(const Project& project, const Identity& migration, const Attempt& attempt);
void record_attempt(const Project& project, const Identity& migration, const Attempt& attempt);

std::string text_array(const std::vector<std::string>& texts);
// A row of the function's result type.
Datum result_row(FunctionCallInfo fcinfo, const std::vector<Value>& values);

} // namespace dbops::server::migration
