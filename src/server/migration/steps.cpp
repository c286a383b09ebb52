#include "server/migration/steps.h"

#include <algorithm>

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
  bool fresh = false;    // begun less than the grace period ago
  bool executed = false; // done, or so but for the callbacks behind it: "running" and finished
};

std::vector<Step> read_steps(const Project& project, int rank) {
  const Rows found = bookkeep(
      "SELECT step_id, hash, state, coalesce(indexes_before::text, ''), coalesce(runner, ''),"
      "  started_at > clock_timestamp() - make_interval(secs => $3::integer),"
      "  state = 'done' OR state = 'running' AND finished_at IS NOT NULL"
      " FROM dbops.migration_step WHERE project_id = $1::integer AND installed_rank = $2::integer ORDER BY position",
      {to_text(project.id), to_text(rank), to_text(grace_seconds)});
  std::vector<Step> steps;
  for (std::size_t i = 0; i < found.size(); ++i)
    steps.push_back({found.integer(i, 0), found.text(i, 1), found.text(i, 2), found.text(i, 3), found.text(i, 4),
                     found.boolean(i, 5), found.boolean(i, 6)});
  return steps;
}

// The record of a migration that is applied in part; 0: there is none yet.
int partial_rank(const Project& project, const Identity& migration) {
  const Rows found = migration.version
                         ? bookkeep("SELECT installed_rank FROM dbops.migration WHERE project_id = $1::integer AND NOT "
                                    "success AND version_order = $2::numeric[] AND type = $3",
                                    {to_text(project.id), migration.version->order(), migration.type})
                         : bookkeep("SELECT installed_rank FROM dbops.migration WHERE project_id = $1::integer AND NOT "
                                    "success AND version IS NULL AND description = $2 AND type = $3",
                                    {to_text(project.id), migration.description, migration.type});
  return found.empty() ? 0 : static_cast<int>(found.integer(0, 0));
}

int record_partial(const Project& project, const Identity& migration, const Attempt& attempt) {
  Attempt begun = attempt;
  begun.outcome = "partial";
  begun.messages.clear(); // they are kept when something was done
  return record_applied(project, migration, begun);
}

// Statements that have been executed cannot be edited any more; the others can.
void require_same_beginning(const Identity& migration, const std::vector<Step>& steps,
                            const std::vector<ScriptStatement>& statements) {
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (!steps[i].executed) continue;
    if (i >= statements.size() || steps[i].hash != hash_of(statements[i]))
      throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                     "statement " + to_text(static_cast<std::int64_t>(i + 1)) + " of " + migration.script +
                         " has been executed, and was changed since",
                     "Put the executed statements back as they were, so that the rest can follow; or take them back by "
                     "hand and dbops repair.");
  }
}

void begin_step(const Project& project, int rank, std::size_t position, const ScriptStatement& statement,
                const char* state, const std::string& before, const std::string& runner,
                std::int64_t milliseconds = 0) {
  bookkeep(
      "INSERT INTO dbops.migration_step (project_id, installed_rank, position, hash, state, statement, indexes_before, "
      "runner, started_at, finished_at)"
      " VALUES ($1::integer, $2::integer, $3::integer, $4, $5, left($6, 2000), nullif($7, '')::oid[], $8,"
      "   clock_timestamp() - make_interval(secs => $9::float8 / 1000), CASE WHEN $5 = 'done' THEN clock_timestamp() "
      "END)"
      " ON CONFLICT (project_id, installed_rank, position) DO UPDATE SET hash = excluded.hash, state = excluded.state,"
      "   statement = excluded.statement, indexes_before = coalesce(excluded.indexes_before, "
      "migration_step.indexes_before),"
      "   runner = excluded.runner, started_at = excluded.started_at, finished_at = excluded.finished_at,"
      "   error = NULL, messages = NULL",
      {to_text(project.id), to_text(rank), to_text(static_cast<std::int64_t>(position)), hash_of(statement), state,
       std::string(statement.source.text), before, runner, to_text(milliseconds)});
}

void end_step(std::int64_t step, const char* state, const Value& error, const Value& messages) {
  bookkeep("UPDATE dbops.migration_step SET state = $2, finished_at = clock_timestamp(), error = $3, messages = "
           "$4::text[] WHERE step_id = $1::bigint",
           {to_text(step), state, error, messages});
}

std::string marked(std::int64_t step, const std::string& statement) {
  return "/* dbops step " + to_text(step) + " */ " + statement;
}

// A session that is executing the statement now says so in its text. One that has ended it lately may be about to
// report that; of its own statements the runner knows itself.
bool is_executed(const Step& step, bool or_lately) {
  return !bookkeep("SELECT 1 FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
                   " AND (state = 'active' OR $2::boolean AND"
                   "      state_change > clock_timestamp() - make_interval(secs => $3::integer))"
                   " AND starts_with(query, '/* dbops step ' || $1 || ' */')",
                   {to_text(step.id), or_lately ? "true" : "false", to_text(grace_seconds)})
              .empty();
}

class Runner {
 public:
  Runner(const Project& project, const Identity& migration, const std::string& text,
         std::vector<ScriptStatement> statements, int lock_timeout_ms, const StepReport& report,
         const Callbacks& callbacks, Attempt& attempt)
      : project_(project), migration_(migration), text_(text), statements_(std::move(statements)),
        lock_timeout_ms_(lock_timeout_ms), report_(report), callbacks_(callbacks), attempt_(attempt),
        rank_(partial_rank(project, migration)), noted_(attempt.messages.size()) {}

  StepResult run() {
    if (!take_report()) return failed();
    const std::vector<Step> steps = read_steps(project_, rank_);
    require_same_beginning(migration_, steps, statements_);
    if (!settings_reach()) return failed();
    begun_ = report_.step || (!report_.runner.empty() && std::any_of(steps.begin(), steps.end(), [this](const Step& s) {
               return s.runner == report_.runner;
             }));
    std::size_t at = 0;
    for (; at < steps.size() && steps[at].executed; ++at)
      if (steps[at].state != "done" && !after_top_level(steps[at])) return failed();
    for (;;) {
      const std::size_t end = next_top_level(at);
      if (const std::optional<StepResult> waits = held_up(at, end)) return *waits;
      if (rank_ == 0) rank_ = record_partial(project_, migration_, attempt_);
      if (end > at && !run_plain(at, end)) {
        if (found_top_level(statements_, at, attempt_)) continue;
        return failed();
      }
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
  std::vector<ScriptStatement> statements_;
  int lock_timeout_ms_;
  const StepReport& report_;
  const Callbacks& callbacks_;
  Attempt& attempt_;
  int rank_;             // 0: nothing of it has begun
  std::size_t noted_;    // messages that the caller says each time
  std::size_t kept_ = 0; // messages that the history has
  bool begun_ = false;   // by this runner: what comes before the migration has been executed

  // What callbacks set would end with their transaction.
  bool settings_reach() {
    try {
      callbacks_.require_no_setting();
      return true;
    } catch (const SqlError& error) {
      attempt_.error = error;
      attempt_.outcome = "failed";
      return false;
    }
  }

  // Callbacks alone, in a savepoint.
  bool run_callbacks(Moment moment) {
    if (!callbacks_.any(moment)) return true;
    return execute_callbacks(callbacks_, moment, lock_timeout_ms_, attempt_);
  }

  bool begin() {
    if (!begun_ && !run_callbacks(Moment::before)) return false;
    return begun_ = true;
  }

  bool before_top_level() { return begin() && run_callbacks(Moment::before_statement); }

  // The statement has been executed: it is done when the callbacks behind it are. Else the next call is about them.
  bool after_top_level(const Step& step) {
    if (!begin() || !run_callbacks(Moment::after_statement)) return false;
    bookkeep("UPDATE dbops.migration_step SET state = 'done', error = NULL,"
             "  finished_at = coalesce(CASE state WHEN 'running' THEN finished_at END, clock_timestamp())"
             " WHERE step_id = $1::bigint",
             {to_text(step.id)});
    return true;
  }

  // False: the caller says that the statement failed.
  bool take_report() {
    if (!report_.step) return true;
    const Rows found = bookkeep("SELECT state, statement, position, round(extract(epoch FROM clock_timestamp() - "
                                "started_at) * 1000)::bigint FROM dbops.migration_step WHERE step_id = $1::bigint AND "
                                "project_id = $2::integer AND installed_rank = $3::integer",
                                {to_text(*report_.step), to_text(project_.id), to_text(rank_)});
    if (found.empty())
      throw SqlError(ERRCODE_UNDEFINED_OBJECT,
                     "step " + to_text(*report_.step) + " is not one of " + migration_.script);
    if (found.text(0, 0) == "done") return true;
    take_messages();
    if (!report_.sqlstate) {
      end_step(*report_.step, "running", std::nullopt, report_.messages); // to after_top_level
      return true;
    }
    end_step(*report_.step, "failed", report_.error, report_.messages);
    attempt_.milliseconds = found.integer(0, 3);
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
      if (packed == ERRCODE_LOCK_NOT_AVAILABLE) say_who(statements_[position]);
      const core::migrate::LineColumn place = core::migrate::line_column(text_, statements_[position].source.position);
      attempt_.line = static_cast<int>(place.line);
      attempt_.column = static_cast<int>(place.column);
    }
    return false;
  }

  void say_who(const ScriptStatement& statement) {
    const std::string who = in_the_way(needed_locks(&statement, &statement + 1, false), std::chrono::milliseconds(0));
    if (!who.empty()) attempt_.error->detail = "held by " + who;
  }

  // What the client has heard.
  void take_messages() {
    if (!report_.messages) return;
    const Rows found = bookkeep("SELECT unnest($1::text[])", {report_.messages});
    for (std::size_t i = 0; i < found.size(); ++i)
      attempt_.messages.push_back(found.text(i, 0));
  }

  // In the history: other calls follow.
  void keep_messages() {
    if (kept_ == attempt_.messages.size()) return;
    const std::vector<std::string> fresh(attempt_.messages.begin() + static_cast<std::ptrdiff_t>(kept_),
                                         attempt_.messages.end());
    bookkeep("UPDATE dbops.migration SET messages = coalesce(messages, '{}') || $3::text[] WHERE project_id = "
             "$1::integer AND installed_rank = $2::integer",
             {to_text(project_.id), to_text(rank_), text_array(fresh)});
    kept_ = attempt_.messages.size();
  }

  // Nothing: nobody is in the way of the statements up to `end`, and of the one there.
  std::optional<StepResult> held_up(std::size_t at, std::size_t end) {
    if (report_.if_held_up == IfHeldUp::try_it) return std::nullopt;
    const ScriptStatement* first = statements_.data();
    const std::size_t last = end < statements_.size() ? end + 1 : end;
    const std::string who = held_up_by(first + at, first + last, callbacks_, lock_timeout_ms_);
    if (who.empty()) return std::nullopt;
    kept_ = std::max(kept_, noted_);
    if (rank_ != 0) keep_messages();
    StepResult result;
    result.outcome = "held_up";
    result.rank = rank_;
    result.detail = who;
    if (report_.if_held_up == IfHeldUp::fail) fail_as_held_up(attempt_, who);
    return result;
  }

  [[nodiscard]] std::size_t next_top_level(std::size_t at) const {
    while (at < statements_.size() && statements_[at].kind != StatementKind::top_level)
      ++at;
    return at;
  }

  // Consecutive statements that can be in a transaction are one, with their records.
  bool run_plain(std::size_t at, std::size_t end) {
    const std::int64_t before = attempt_.milliseconds;
    if (!execute_in_savepoint(text_, &statements_[at], &statements_[end - 1] + 1, lock_timeout_ms_,
                              {callbacks_, !begun_, false}, attempt_))
      return false;
    begun_ = true;
    for (; at < end; ++at)
      begin_step(project_, rank_, at, statements_[at], "done", "", report_.runner, attempt_.milliseconds - before);
    keep_messages();
    return true;
  }

  // Nothing: its effect is there.
  std::optional<StepResult> top_level(std::size_t at, const Step* known) {
    const ScriptStatement& statement = statements_[at];
    const std::string text(statement.source.text);
    if (known != nullptr && known->state == "running") {
      if (is_executed(*known, known->runner != report_.runner))
        return locked("the statement is being executed by another session");
      if (known->fresh && known->runner != report_.runner)
        return locked("another runner has begun the statement a moment ago");
    }
    const bool edited = known != nullptr && known->hash != hash_of(statement);
    const std::string before = known == nullptr || edited ? there_before(text) : known->before;
    RecoveryPlan plan = recover(text, known != nullptr, before);
    // What has failed, or was another statement, has not done this one; what it was to take away, somebody else may
    // have.
    if (plan.what == Recovery::done && (edited || (known->state == "failed" && !plan.gone))) plan = {};
    if (plan.what == Recovery::busy) return locked("another session is building an index on the table");
    if (plan.what == Recovery::taken) return name_is_taken(statement, plan.statement);
    if (plan.what == Recovery::done) return after_top_level(*known) ? std::nullopt : std::optional(failed());
    StepResult result;
    result.outcome = "execute";
    result.rank = rank_;
    if (plan.what == Recovery::first) {
      keep_messages();
      // No step: the next call looks again.
      result.statement = known == nullptr ? plan.statement : marked(known->id, plan.statement);
      return result;
    }
    if (!before_top_level()) return failed();
    keep_messages();
    begin_step(project_, rank_, at, statement, "running", there_before_again(text, before), report_.runner);
    result.step = bookkeep("SELECT step_id FROM dbops.migration_step WHERE project_id = $1::integer AND installed_rank "
                           "= $2::integer AND position = $3::integer",
                           {to_text(project_.id), to_text(rank_), to_text(static_cast<std::int64_t>(at))})
                      .integer(0, 0);
    result.statement = marked(*result.step, plan.what == Recovery::instead ? plan.statement : text);
    result.lock_timeout = statement.stalls;
    return result;
  }

  StepResult name_is_taken(const ScriptStatement& statement, const std::string& index) {
    attempt_.error = SqlError(
        ERRCODE_DUPLICATE_TABLE, "index " + index + " is there already, with another definition",
        "The migration has begun to build an index of that name. Drop or rename the one that is there, or give "
        "the migration's another name; then dbops migrate goes on.");
    attempt_.outcome = "failed";
    attempt_.statement = statement.source.text;
    const core::migrate::LineColumn place = core::migrate::line_column(text_, statement.source.position);
    attempt_.line = static_cast<int>(place.line);
    attempt_.column = static_cast<int>(place.column);
    return failed();
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
    if (!run_callbacks(Moment::after)) return failed();
    keep_messages();
    const Rows updated = bookkeep(
        "UPDATE dbops.migration m SET success = true, checksum = $3::integer, script = $4, statements = $5::integer,"
        "  execution_time = least(2147483647, extract(epoch FROM clock_timestamp() - m.installed_on) * 1000)::integer,"
        "  installed_on = clock_timestamp() WHERE project_id = $1::integer AND installed_rank = $2::integer"
        " RETURNING execution_time",
        {to_text(project_.id), to_text(rank_), to_text(migration_.checksum), migration_.script,
         to_text(static_cast<std::int64_t>(statements_.size()))});
    attempt_.milliseconds = updated.integer(0, 0);
    attempt_.outcome = "applied";
    StepResult result;
    result.outcome = "applied";
    result.rank = rank_;
    return result;
  }
};

} // namespace

bool is_under_way(const Project& project, int rank) {
  const std::vector<Step> steps = read_steps(project, rank);
  return std::any_of(steps.begin(), steps.end(), [](const Step& step) {
    return step.state == "running" && !step.executed && (step.fresh || is_executed(step, true));
  });
}

StepResult advance(const Project& project, const Identity& migration, const std::string& text,
                   std::vector<ScriptStatement> statements, int lock_timeout_ms, const StepReport& report,
                   const Callbacks& callbacks, Attempt& attempt) {
  return Runner(project, migration, text, std::move(statements), lock_timeout_ms, report, callbacks, attempt).run();
}

} // namespace dbops::server::migration
