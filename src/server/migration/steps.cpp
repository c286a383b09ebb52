#include "server/migration/steps.h"

#include "core/migrate/checksum.h"
#include "server/migration/execute.h"
#include "server/migration/recovery.h"

namespace dbops::server::migration {

namespace {

// Long enough for a client to send the statement that it was given, short enough to wait for.
constexpr int grace_seconds = 10;

std::string hash_of(const ScriptStatement& statement) {
  core::migrate::Crc32 crc;
  crc.add(statement.source.text);
  if (statement.source.data) crc.add(*statement.source.data);
  return to_text(static_cast<std::int64_t>(crc.value())) + ":" +
         to_text(static_cast<std::int64_t>(statement.source.text.size()));
}

// A row of dbops.migration_step.
struct Step {
  std::int64_t id = 0;
  std::string hash, state, before, runner;
  bool fresh = false; // begun less than the grace period ago
};

std::vector<Step> read_steps(const Project& project, int rank) {
  const Rows found = bookkeep(
      "SELECT step_id, hash, state, coalesce(indexes_before::text, ''), coalesce(runner, ''),"
      "  started_at > clock_timestamp() - make_interval(secs => $3::integer)"
      " FROM dbops.migration_step WHERE project_id = $1::integer AND installed_rank = $2::integer ORDER BY position",
      {to_text(project.id), to_text(rank), to_text(grace_seconds)});
  std::vector<Step> steps;
  for (std::size_t i = 0; i < found.size(); ++i)
    steps.push_back({found.integer(i, 0), found.text(i, 1), found.text(i, 2), found.text(i, 3), found.text(i, 4),
                     found.boolean(i, 5)});
  return steps;
}

// The record of a migration that is applied in part; made at the first call.
int partial_rank(const Project& project, const Identity& migration, const Attempt& attempt) {
  const Rows found = migration.version
                         ? bookkeep("SELECT installed_rank FROM dbops.migration WHERE project_id = $1::integer AND NOT "
                                    "success AND version_order = $2::numeric[] AND type = $3",
                                    {to_text(project.id), migration.version->order(), migration.type})
                         : bookkeep("SELECT installed_rank FROM dbops.migration WHERE project_id = $1::integer AND NOT "
                                    "success AND version IS NULL AND description = $2 AND type = $3",
                                    {to_text(project.id), migration.description, migration.type});
  if (!found.empty()) return static_cast<int>(found.integer(0, 0));
  Attempt begun = attempt;
  begun.outcome = "partial";
  return record_applied(project, migration, begun);
}

// Statements that have been executed cannot be edited any more; the others can.
void require_same_beginning(const Identity& migration, const std::vector<Step>& steps,
                            const std::vector<ScriptStatement>& statements) {
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (steps[i].state != "done") continue;
    if (i >= statements.size() || steps[i].hash != hash_of(statements[i]))
      throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                     "statement " + to_text(static_cast<std::int64_t>(i + 1)) + " of " + migration.script +
                         " has been executed, and was changed since",
                     "Put the executed statements back as they were, so that the rest can follow; or take them back by "
                     "hand and dbops repair.");
  }
}

void begin_step(const Project& project, int rank, std::size_t position, const ScriptStatement& statement,
                const char* state, const std::string& before, const std::string& runner) {
  bookkeep(
      "INSERT INTO dbops.migration_step (project_id, installed_rank, position, hash, state, statement, indexes_before, "
      "runner, finished_at)"
      " VALUES ($1::integer, $2::integer, $3::integer, $4, $5, left($6, 2000), nullif($7, '')::oid[], $8,"
      "   CASE WHEN $5 = 'done' THEN clock_timestamp() END)"
      " ON CONFLICT (project_id, installed_rank, position) DO UPDATE SET hash = excluded.hash, state = excluded.state,"
      "   statement = excluded.statement, indexes_before = coalesce(migration_step.indexes_before, "
      "excluded.indexes_before),"
      "   runner = excluded.runner, started_at = clock_timestamp(), finished_at = excluded.finished_at",
      {to_text(project.id), to_text(rank), to_text(static_cast<std::int64_t>(position)), hash_of(statement), state,
       std::string(statement.source.text), before, runner});
}

void end_step(std::int64_t step, const char* state, const Value& error) {
  bookkeep("UPDATE dbops.migration_step SET state = $2, finished_at = clock_timestamp(), error = $3 WHERE step_id = "
           "$1::bigint",
           {to_text(step), state, error});
}

// A session that is executing the statement now says so in its text.
bool is_executed(const Step& step) {
  return !bookkeep("SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()"
                   " AND datname = current_database() AND starts_with(query, '/* dbops step ' || $1 || ' */')",
                   {to_text(step.id)})
              .empty();
}

class Runner {
 public:
  Runner(const Project& project, const Identity& migration, const std::string& text,
         const std::vector<ScriptStatement>& statements, int lock_timeout_ms, const StepReport& report,
         Attempt& attempt)
      : project_(project), migration_(migration), text_(text), statements_(statements),
        lock_timeout_ms_(lock_timeout_ms), report_(report), attempt_(attempt),
        rank_(partial_rank(project, migration, attempt)) {}

  StepResult run() {
    if (!take_report()) return failed();
    std::vector<Step> steps = read_steps(project_, rank_);
    require_same_beginning(migration_, steps, statements_);
    std::size_t at = 0;
    while (at < steps.size() && steps[at].state == "done")
      ++at;
    for (;;) {
      const std::size_t end = next_top_level(at);
      if (end > at && !run_plain(at, end)) return failed();
      at = end;
      if (at == statements_.size()) return finish();
      const Step* known = at < steps.size() ? &steps[at] : nullptr;
      const std::optional<StepResult> result = top_level(at, known);
      if (result) return *result;
      ++at; // it is done already
    }
  }

 private:
  const Project& project_;
  const Identity& migration_;
  const std::string& text_;
  const std::vector<ScriptStatement>& statements_;
  int lock_timeout_ms_;
  const StepReport& report_;
  Attempt& attempt_;
  int rank_;

  // False: the caller says that the statement failed.
  bool take_report() {
    if (!report_.step) return true;
    const Rows found = bookkeep("SELECT state, statement, position FROM dbops.migration_step WHERE step_id = "
                                "$1::bigint AND project_id = $2::integer AND installed_rank = $3::integer",
                                {to_text(*report_.step), to_text(project_.id), to_text(rank_)});
    if (found.empty())
      throw SqlError(ERRCODE_UNDEFINED_OBJECT,
                     "step " + to_text(*report_.step) + " is not one of " + migration_.script);
    if (found.text(0, 0) == "done") return true;
    if (!report_.sqlstate) {
      end_step(*report_.step, "done", std::nullopt);
      return true;
    }
    end_step(*report_.step, "failed", report_.error);
    const std::string& code = *report_.sqlstate;
    const int packed =
        code.size() == 5 ? MAKE_SQLSTATE(code[0], code[1], code[2], code[3], code[4]) : ERRCODE_INTERNAL_ERROR;
    attempt_.error = SqlError(packed, report_.error.value_or("unknown error"));
    attempt_.outcome = packed == ERRCODE_QUERY_CANCELED ? "cancelled"
                       : packed == ERRCODE_LOCK_NOT_AVAILABLE || packed == ERRCODE_T_R_DEADLOCK_DETECTED
                           ? "lock_timeout"
                           : "failed";
    attempt_.statement = found.text(0, 1);
    const auto position = static_cast<std::size_t>(found.integer(0, 2));
    if (position < statements_.size()) {
      const core::migrate::LineColumn place = core::migrate::line_column(text_, statements_[position].source.position);
      attempt_.line = static_cast<int>(place.line);
      attempt_.column = static_cast<int>(place.column);
    }
    return false;
  }

  [[nodiscard]] std::size_t next_top_level(std::size_t at) const {
    while (at < statements_.size() && statements_[at].kind != StatementKind::top_level)
      ++at;
    return at;
  }

  // Consecutive statements that can be in a transaction are one, with their records.
  bool run_plain(std::size_t at, std::size_t end) {
    if (!execute_in_savepoint(text_, &statements_[at], &statements_[end - 1] + 1, lock_timeout_ms_, attempt_))
      return false;
    for (; at < end; ++at)
      begin_step(project_, rank_, at, statements_[at], "done", "", report_.runner);
    return true;
  }

  // Nothing: its effect is there.
  std::optional<StepResult> top_level(std::size_t at, const Step* known) {
    const ScriptStatement& statement = statements_[at];
    const std::string text(statement.source.text);
    if (known != nullptr && known->state == "running") {
      if (is_executed(*known)) return locked("the statement is being executed by another session");
      if (known->fresh && known->runner != report_.runner)
        return locked("another runner has begun the statement a moment ago");
    }
    const RecoveryPlan plan = recover(text, known != nullptr, known == nullptr ? "" : known->before);
    if (plan.what == Recovery::busy) return locked("another session is building an index on the table");
    if (plan.what == Recovery::done) {
      end_step(known->id, "done", std::nullopt);
      return std::nullopt;
    }
    StepResult result;
    result.outcome = "execute";
    result.rank = rank_;
    if (plan.what == Recovery::first) {
      result.statement = plan.statement; // no step: the next call looks again
      return result;
    }
    begin_step(project_, rank_, at, statement, "running", known == nullptr ? indexes_before(text) : "", report_.runner);
    result.step = bookkeep("SELECT step_id FROM dbops.migration_step WHERE project_id = $1::integer AND installed_rank "
                           "= $2::integer AND position = $3::integer",
                           {to_text(project_.id), to_text(rank_), to_text(static_cast<std::int64_t>(at))})
                      .integer(0, 0);
    result.statement =
        "/* dbops step " + to_text(*result.step) + " */ " + (plan.what == Recovery::instead ? plan.statement : text);
    return result;
  }

  StepResult locked(const char* why) {
    StepResult result;
    result.outcome = "locked";
    result.detail = why;
    result.rank = rank_;
    return result;
  }

  StepResult failed() {
    StepResult result;
    result.outcome = attempt_.outcome;
    result.rank = rank_;
    return result;
  }

  // The time from the first statement to the last, waiting for a new try included.
  StepResult finish() {
    bookkeep(
        "UPDATE dbops.migration m SET success = true, checksum = $3::integer, script = $4, statements = $5::integer,"
        "  execution_time = least(2147483647, extract(epoch FROM clock_timestamp() - m.installed_on) * 1000)::integer,"
        "  installed_on = clock_timestamp(), messages = coalesce(m.messages, '{}') || $6::text[]"
        " WHERE project_id = $1::integer AND installed_rank = $2::integer",
        {to_text(project_.id), to_text(rank_), to_text(migration_.checksum), migration_.script,
         to_text(static_cast<std::int64_t>(statements_.size())), text_array(attempt_.messages)});
    attempt_.outcome = "applied";
    StepResult result;
    result.outcome = "applied";
    result.rank = rank_;
    return result;
  }
};

} // namespace

StepResult advance(const Project& project, const Identity& migration, const std::string& text,
                   const std::vector<ScriptStatement>& statements, int lock_timeout_ms, const StepReport& report,
                   Attempt& attempt) {
  return Runner(project, migration, text, statements, lock_timeout_ms, report, attempt).run();
}

} // namespace dbops::server::migration
