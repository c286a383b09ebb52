#include "server/migration/callbacks.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "server/migration/execute.h"

namespace dbops::server::migration {

namespace {

Moment moment_of(const std::string& event) {
  if (event == "beforeEachMigrate" || event == "beforeEachUndo") return Moment::before;
  if (event == "beforeEachMigrateStatement" || event == "beforeEachUndoStatement") return Moment::before_statement;
  if (event == "afterEachMigrateStatement" || event == "afterEachUndoStatement") return Moment::after_statement;
  if (event == "afterEachMigrate" || event == "afterEachUndo") return Moment::after;
  throw SqlError(
      ERRCODE_INVALID_PARAMETER_VALUE, "\"" + event + "\" is not an event within a migration",
      "beforeEachMigrate, afterEachMigrate, beforeEachMigrateStatement, afterEachMigrateStatement, and those "
      "with Undo. The others are migrations of type CALLBACK.");
}

std::string member(const nlohmann::json& callback, const char* name) {
  if (!callback.is_object() || !callback.contains(name) || !callback[name].is_string())
    throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, std::string("each of callbacks must have ") + name,
                   R"([{"event": "beforeEachMigrate", "script": "beforeEachMigrate.sql", "sql": "SELECT 1"}])");
  return callback[name];
}

SqlError of_callback(const SqlError& original, const std::string& script, const core::migrate::LineColumn& place) {
  SqlError error(original);
  error.message = "callback " + script + ", line " + to_text(static_cast<std::int64_t>(place.line)) + ", column " +
                  to_text(static_cast<std::int64_t>(place.column)) + ": " + error.message;
  error.position = 0; // it is not one of the migration
  return error;
}

} // namespace

Callbacks::Callbacks(const std::string& json) {
  const nlohmann::json list = nlohmann::json::parse(json);
  if (!list.is_array()) throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "callbacks must be an array");
  for (const nlohmann::json& item : list) {
    Callback& callback = callbacks_.emplace_back();
    callback.moment = moment_of(member(item, "event"));
    callback.script = member(item, "script");
    callback.text = member(item, "sql");
    try {
      callback.statements = read_script(callback.text);
    } catch (const ScriptError& error) {
      throw of_callback(error, callback.script, error.place);
    }
    if (std::any_of(callback.statements.begin(), callback.statements.end(),
                    [](const ScriptStatement& s) { return s.kind == StatementKind::top_level; }))
      throw SqlError(ERRCODE_FEATURE_NOT_SUPPORTED,
                     "callback " + callback.script + " has a statement that cannot be in a transaction",
                     "A callback is part of the migration's transaction.");
  }
}

bool Callbacks::any(Moment moment) const {
  return std::any_of(callbacks_.begin(), callbacks_.end(),
                     [moment](const Callback& callback) { return callback.moment == moment; });
}

bool Callbacks::move_names() const {
  return std::any_of(callbacks_.begin(), callbacks_.end(), [](const Callback& callback) {
    return std::any_of(callback.statements.begin(), callback.statements.end(),
                       [](const ScriptStatement& statement) { return statement.moves_names; });
  });
}

void Callbacks::run(Moment moment) const {
  for (const Callback& callback : callbacks_) {
    if (callback.moment != moment) continue;
    for (const ScriptStatement& statement : callback.statements) {
      try {
        execute(statement);
      } catch (const SqlError& error) {
        throw of_callback(error, callback.script, place_of(error, callback.text, statement.source));
      }
    }
  }
}

void Callbacks::require_no_setting() const {
  for (const Callback& callback : callbacks_)
    if (const ScriptStatement* setting = lost_setting(callback.statements, callback.statements.size()))
      throw of_callback(lost_setting_error(*setting), callback.script,
                        core::migrate::line_column(callback.text, setting->source.position));
}

} // namespace dbops::server::migration
