#include "server/migration/execute.h"

#include <chrono>

#include "server/migration/copy.h"
#include "server/migration/messages.h"

extern "C" {
#include "executor/spi.h"
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

void run(const ScriptStatement& statement) {
  if (statement.kind == StatementKind::bracket) return;
  if (statement.kind == StatementKind::copy)
    copy_from(std::string(statement.source.text), *statement.source.data);
  else
    run(std::string(statement.source.text));
}

std::string outcome_of(const SqlError& error) {
  if (error.code == ERRCODE_QUERY_CANCELED) return "cancelled";
  if (error.code == ERRCODE_LOCK_NOT_AVAILABLE) return "lock_timeout";
  if (error.code == ERRCODE_T_R_DEADLOCK_DETECTED || error.code == ERRCODE_T_R_SERIALIZATION_FAILURE)
    return "lock_timeout";
  return "failed";
}

} // namespace

bool execute_in_savepoint(const std::string& script, const ScriptStatement* first, const ScriptStatement* last,
                          int lock_timeout_ms, Attempt& attempt) {
  const Clock::time_point begin = Clock::now();
  const ScriptStatement* now = first;
  Listener listener;
  bool done = false;
  try {
    in_savepoint([&] {
      const int nest_level = enter_settings({{"lock_timeout", to_text(lock_timeout_ms)}});
      for (; now != last; ++now)
        run(*now);
      now = nullptr;
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
    }
  }
  attempt.milliseconds += std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin).count();
  for (std::string& message : Listener::messages())
    attempt.messages.push_back(std::move(message));
  return done;
}

} // namespace dbops::server::migration
