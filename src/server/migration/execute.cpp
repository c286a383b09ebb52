#include "server/migration/execute.h"

#include <algorithm>
#include <chrono>

#include "server/migration/copy.h"
#include "server/migration/locks.h"
#include "server/migration/messages.h"

extern "C" {
#include "executor/spi.h"
#include "utils/backend_status.h"
}

namespace dbops::server::migration {

namespace {

using Clock = std::chrono::steady_clock;

void run(const std::string& text) {
  call_pg([&text] {
    const int code = SPI_execute(text.c_str(), false, 0);
    if (code < 0) elog(ERROR, "SPI_execute: %s", SPI_result_code_string(code));
    SPI_freetuptable(SPI_tuptable);
  });
}

void execute_surrounded(const ScriptStatement& statement, const Callbacks& callbacks) {
  if (statement.kind == StatementKind::bracket) return;
  callbacks.run(Moment::before_statement);
  execute(statement);
  callbacks.run(Moment::after_statement);
}

std::string outcome_of(const SqlError& error) {
  if (error.code == ERRCODE_QUERY_CANCELED) return "cancelled";
  if (error.code == ERRCODE_LOCK_NOT_AVAILABLE) return "lock_timeout";
  if (error.code == ERRCODE_T_R_DEADLOCK_DETECTED || error.code == ERRCODE_T_R_SERIALIZATION_FAILURE)
    return "lock_timeout";
  return "failed";
}

// Who watches over what a migration holds up has cancelled it, and says so in its own statement (cli/queue_watch.cpp).
bool was_stopped_for_others() {
  pgstat_clear_backend_activity_snapshot(); // of the time before
  return !bookkeep("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                   " AND starts_with(query, '/* dbops cancels ' || pg_backend_pid() || ' */')"
                   " AND (state = 'active' OR state_change > clock_timestamp() - interval '5 s')")
              .empty();
}

void explain(Attempt& attempt, const ScriptStatement* statement, bool names_moved) {
  SqlError& error = *attempt.error;
  if (error.code == ERRCODE_QUERY_CANCELED && was_stopped_for_others()) {
    attempt.outcome = "blocking";
    error.message = "cancelled, because others had been waiting for it for too long";
    error.hint =
        "Do less in one migration, or run it when there is nobody; --max-blocking says how long others may have "
        "to wait.";
  }
  if (error.code != ERRCODE_LOCK_NOT_AVAILABLE || statement == nullptr || !error.detail.empty()) return;
  const std::string who = in_the_way(needed_locks(statement, statement + 1, names_moved), std::chrono::milliseconds(0));
  if (!who.empty()) error.detail = "held by " + who;
}

} // namespace

void execute(const ScriptStatement& statement) {
  if (statement.kind == StatementKind::bracket) return;
  if (statement.kind == StatementKind::copy)
    copy_from(std::string(statement.source.text), *statement.source.data);
  else
    run(std::string(statement.source.text));
}

bool execute_in_savepoint(const std::string& script, const ScriptStatement* first, const ScriptStatement* last,
                          int lock_timeout_ms, const Surroundings& around, Attempt& attempt) {
  const Clock::time_point begin = Clock::now();
  const ScriptStatement* now = nullptr;
  Listener listener;
  bool done = false;
  try {
    in_savepoint([&] {
      const int nest_level = enter_settings({{"lock_timeout", to_text(lock_timeout_ms)}});
      if (around.begins) around.callbacks.run(Moment::before);
      for (now = first; now != last; ++now)
        execute_surrounded(*now, around.callbacks);
      now = nullptr;
      if (around.ends) around.callbacks.run(Moment::after);
      run("SET CONSTRAINTS ALL IMMEDIATE");
      undo_settings(nest_level);
      return true;
    });
    attempt.statements = static_cast<int>(last - first);
    done = true;
  } catch (const SqlError& error) {
    attempt.error = error;
    attempt.outcome = outcome_of(error);
    if (now != nullptr) {
      const core::migrate::LineColumn place = place_of(error, script, now->source);
      attempt.line = static_cast<int>(place.line);
      attempt.column = static_cast<int>(place.column);
      attempt.statement = now->source.text;
      if (error.code == ERRCODE_ACTIVE_SQL_TRANSACTION && now->by_relation)
        attempt.misplaced = static_cast<std::size_t>(now - first);
    }
    const bool names_moved =
        around.callbacks.move_names() ||
        (now != nullptr && std::any_of(first, now, [](const ScriptStatement& before) { return before.moves_names; }));
    explain(attempt, now, names_moved);
  }
  attempt.milliseconds += std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin).count();
  if (!attempt.misplaced) // what is tried again says it again
    for (std::string& message : Listener::messages())
      attempt.messages.push_back(std::move(message));
  return done;
}

bool execute_callbacks(const Callbacks& callbacks, Moment moment, int lock_timeout_ms, Attempt& attempt) {
  Listener listener;
  bool done = false;
  try {
    in_savepoint([&] {
      const int nest_level = enter_settings({{"lock_timeout", to_text(lock_timeout_ms)}});
      callbacks.run(moment);
      run("SET CONSTRAINTS ALL IMMEDIATE");
      undo_settings(nest_level);
      return true;
    });
    done = true;
  } catch (const SqlError& error) {
    attempt.error = error;
    attempt.outcome = outcome_of(error);
    explain(attempt, nullptr, false);
  }
  for (std::string& message : Listener::messages())
    attempt.messages.push_back(std::move(message));
  return done;
}

bool found_top_level(std::vector<ScriptStatement>& statements, std::size_t first, Attempt& attempt) {
  if (!attempt.misplaced) return false;
  if (const ScriptStatement* setting = lost_setting(statements, first + *attempt.misplaced)) {
    attempt.error = lost_setting_error(*setting);
    return false;
  }
  statements.at(first + *attempt.misplaced).kind = StatementKind::top_level;
  attempt.misplaced.reset();
  attempt.outcome.clear();
  attempt.error.reset();
  attempt.line = attempt.column = 0;
  attempt.statement.clear();
  return true;
}

} // namespace dbops::server::migration
