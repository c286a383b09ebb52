// dbops.apply_migration: a migration and its record in one transaction.
#include <algorithm>
#include <cmath>

#include "core/migrate/checksum.h"
#include "server/arguments.h"
#include "server/migration/execute.h"
#include "server/migration/locks.h"
#include "server/migration/steps.h"

extern "C" {
#include "mb/pg_wchar.h"
}

namespace dbops::server::migration {

namespace {

namespace migrate = core::migrate;

struct Request {
  std::string project;
  std::string text;
  Identity migration;
  bool out_of_order = false;
  int lock_timeout_ms = 0;
  std::optional<std::string> note; // about what came before, for its record
  StepReport report;
  std::optional<std::string> callbacks; // JSON
};

std::string required(const std::optional<std::string>& value, const char* name) {
  if (!value) throw SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, std::string(name) + " must not be null");
  return *value;
}

// As the file had it: in UTF-8.
std::int32_t checksum_of(const std::string& text) {
  const char* utf8 = call_pg([&text] {
    return reinterpret_cast<const char*>(
        pg_do_encoding_conversion(reinterpret_cast<unsigned char*>(const_cast<char*>(text.data())),
                                  static_cast<int>(text.size()), GetDatabaseEncoding(), PG_UTF8));
  });
  return migrate::line_checksum(utf8 == text.data() ? std::string_view(text) : std::string_view(utf8));
}

void check_type(const Identity& migration) {
  const std::string& type = migration.type;
  if (type != "SQL" && type != "SQL_BASELINE" && type != "UNDO_SQL" && type != "CALLBACK")
    throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "type \"" + type + "\" is not known",
                   "SQL, SQL_BASELINE, UNDO_SQL or CALLBACK.");
  if ((type == "SQL_BASELINE" || type == "UNDO_SQL") && !migration.version)
    throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "a migration of type " + type + " needs a version");
}

void name_by_file(Identity& migration) {
  const std::string file = migration.script.substr(migration.script.find_last_of('/') + 1);
  const migrate::ParsedName parsed = migrate::parse_file_name(file, {});
  if (!parsed.name)
    throw SqlError(
        ERRCODE_INVALID_PARAMETER_VALUE,
        "script \"" + migration.script + "\" " + std::string(to_string(parsed.problem)),
        "V1.2__Add_users.sql, R__Views.sql, U1.2__Add_users.sql, B7__All.sql; or say version, description and type.");
  migration.version = parsed.name->version;
  migration.description = parsed.name->description;
  migration.type = parsed.name->kind == migrate::FileKind::callback
                       ? "CALLBACK"
                       : std::string(migrate::history_type(parsed.name->kind));
}

// In the order of the declaration in src/schema/migration.sql.
Request read_request(FunctionCallInfo fcinfo) {
  Arguments in(fcinfo);
  Request request;
  Identity& migration = request.migration;
  migration.script = required(in.string(), "script");
  request.text = required(in.string(), "sql");
  request.project = required(in.string(), "project");
  const std::optional<int> checksum = in.integer();
  migration.checksum = checksum ? *checksum : checksum_of(request.text);
  const auto version = in.string();
  const auto description = in.string();
  const auto type = in.string();
  if (type) {
    migration.type = *type;
    migration.description = description.value_or("");
    if (version) {
      migration.version = migrate::Version::parse(*version);
      if (!migration.version)
        throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "\"" + *version + "\" is not a version",
                       "Digits, with dots between them: 1.2.");
    }
  } else
    name_by_file(migration);
  check_type(migration);
  request.out_of_order = in.boolean();
  const double seconds = in.seconds().value_or(2.0);
  if (!(seconds >= 0.001 && seconds <= 86'400))
    throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "lock_timeout must be from 1 ms to 1 day");
  request.lock_timeout_ms = static_cast<int>(std::lround(seconds * 1000));
  request.report.step = in.bigint();
  request.report.sqlstate = in.string();
  request.report.error = in.string();
  request.report.runner = in.string().value_or("");
  request.callbacks = in.jsonb();
  const std::string if_held_up = required(in.string(), "if_held_up");
  request.report.if_held_up = if_held_up == "try"      ? IfHeldUp::try_it
                              : if_held_up == "report" ? IfHeldUp::report
                              : if_held_up == "fail"   ? IfHeldUp::fail
                                                       : throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE,
                                                                        "if_held_up must be try, report or fail");
  request.note = in.string();
  constexpr int messages = 16; // the last argument
  if (!fcinfo->args[messages].isnull)
    request.report.messages =
        call_pg([fcinfo] { return OidOutputFunctionCall(F_ARRAY_OUT, fcinfo->args[messages].value); });
  return request;
}

struct Outcome {
  std::string outcome;
  int rank = 0;
  std::optional<std::int64_t> step;
  std::string statement;
  std::string detail;
  bool lock_timeout = false;
  Attempt attempt;
};

// What has no statement outside of a transaction is one transaction.
void apply_whole(const Project& project, const Request& request, const std::vector<ScriptStatement>& statements,
                 const Callbacks& callbacks, Outcome& out) {
  const ScriptStatement* first = statements.data();
  const std::string detail = request.report.if_held_up == IfHeldUp::try_it
                                 ? std::string()
                                 : held_up_by(first, first + statements.size(), callbacks, request.lock_timeout_ms);
  if (!detail.empty()) {
    out.outcome = "held_up";
    out.detail = detail;
    if (request.report.if_held_up == IfHeldUp::fail) fail_as_held_up(out.attempt, detail);
    return;
  }
  if (!execute_in_savepoint(request.text, first, first + statements.size(), request.lock_timeout_ms, {callbacks},
                            out.attempt)) {
    out.outcome = out.attempt.outcome;
    return;
  }
  out.attempt.outcome = out.outcome = "applied";
  if (request.migration.type != "CALLBACK") out.rank = record_applied(project, request.migration, out.attempt);
}

void apply_in_steps(const Project& project, const Request& request, const std::vector<ScriptStatement>& statements,
                    const Callbacks& callbacks, Outcome& out) {
  if (request.migration.type == "CALLBACK" || request.migration.type == "UNDO_SQL")
    throw SqlError(ERRCODE_FEATURE_NOT_SUPPORTED,
                   request.migration.script + " has a statement that cannot be in a transaction",
                   "Callbacks and undo migrations are one transaction each.");
  const StepResult result = advance(project, request.migration, request.text, statements, request.lock_timeout_ms,
                                    request.report, callbacks, out.attempt);
  out.outcome = result.outcome;
  out.rank = result.rank;
  out.step = result.step;
  out.statement = result.statement;
  out.detail = result.detail;
  out.lock_timeout = result.lock_timeout;
}

// Errors of the texts themselves are attempts too.
bool read_statements(const Request& request, std::vector<ScriptStatement>& statements,
                     std::optional<Callbacks>& callbacks, Outcome& out) {
  try {
    statements = read_script(request.text);
    if (request.callbacks)
      callbacks.emplace(*request.callbacks);
    else
      callbacks.emplace();
    return true;
  } catch (const ScriptError& error) {
    out.attempt.line = static_cast<int>(error.place.line);
    out.attempt.column = static_cast<int>(error.place.column);
    out.attempt.error = error;
  } catch (const SqlError& error) {
    if (error.code == ERRCODE_INVALID_PARAMETER_VALUE) throw; // an argument that is none
    out.attempt.error = error;
  }
  out.attempt.outcome = out.outcome = "failed";
  return false;
}

Outcome apply(const Request& request) {
  Outcome out;
  out.attempt.role = role_name(GetUserId());
  if (request.note) out.attempt.messages.push_back("INFO: " + *request.note);
  const std::optional<Project> known = make_project(request.project);
  if (!known) {
    out.outcome = "locked";
    out.detail = project_maker(request.project);
    return out;
  }
  const Project& project = *known;
  if (!lock_project(project)) {
    out.outcome = "locked";
    out.detail = project_lock_holder(project);
    return out;
  }
  const Standing now = standing(project, request.migration, request.out_of_order);
  if (now == Standing::applied) {
    out.outcome = "already_applied";
    return out;
  }
  std::vector<ScriptStatement> statements;
  std::optional<Callbacks> callbacks;
  if (read_statements(request, statements, callbacks, out)) {
    const bool steps = now == Standing::partial ||
                       std::any_of(statements.begin(), statements.end(),
                                   [](const ScriptStatement& s) { return s.kind == StatementKind::top_level; });
    if (steps)
      apply_in_steps(project, request, statements, *callbacks, out);
    else
      apply_whole(project, request, statements, *callbacks, out);
    if (!steps && found_top_level(statements, 0, out.attempt))
      apply_in_steps(project, request, statements, *callbacks, out);
  }
  if (out.attempt.error) record_attempt(project, request.migration, out.attempt);
  return out;
}

Value nonempty(const std::string& text) {
  return text.empty() ? std::nullopt : Value(text);
}
Value positive(int number) {
  return number > 0 ? Value(to_text(number)) : std::nullopt;
}

Datum as_row(FunctionCallInfo fcinfo, const Outcome& out, int lock_timeout_ms) {
  const std::optional<SqlError>& error = out.attempt.error;
  return result_row(fcinfo,
                    {out.outcome, positive(out.rank), to_text(out.attempt.milliseconds),
                     out.step ? Value(to_text(*out.step)) : std::nullopt,
                     nonempty(out.statement.empty() ? out.attempt.statement : out.statement),
                     error ? Value(error->sqlstate()) : std::nullopt, error ? Value(error->message) : std::nullopt,
                     nonempty(error ? error->detail : out.detail), error ? nonempty(error->hint) : std::nullopt,
                     error ? nonempty(error->context) : std::nullopt, positive(out.attempt.line),
                     positive(out.attempt.column), text_array(out.attempt.messages),
                     out.lock_timeout ? Value(to_text(lock_timeout_ms) + " ms") : std::nullopt});
}

// An old snapshot would not see what the runner before has recorded.
void require_read_committed() {
  if (IsolationUsesXactSnapshot())
    throw SqlError(ERRCODE_ACTIVE_SQL_TRANSACTION, "migrations need the isolation level READ COMMITTED",
                   "SET TRANSACTION ISOLATION LEVEL READ COMMITTED.");
}

} // namespace

} // namespace dbops::server::migration

using namespace dbops::server;

DBOPS_SQL_FUNCTION(dbops_apply_migration) {
  return boundary([fcinfo] {
    migration::require_read_committed();
    SpiConnection spi;
    const migration::Request request = migration::read_request(fcinfo);
    const migration::Outcome out = migration::apply(request);
    spi.close();
    return migration::as_row(fcinfo, out, request.lock_timeout_ms);
  });
}
