#include "cli/commands/migrate.h"

#include "cli/commands/adopt.h"
#include "cli/commands/diff.h"
#include "cli/commands/lint.h"
#include "cli/exit_status.h"
#include "cli/json.h"
#include "cli/local_time.h"
#include "cli/migration_runner.h"
#include "cli/queue_watch.h"
#include "cli/report.h"
#include "cli/signals.h"
#include "cli/terminal.h"
#include "core/text/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iterator>
#include <thread>
#include <utility>

namespace dbops::cli {

namespace {

namespace migrate = core::migrate;

// $1: project
std::string history_sql() {
  return "SELECT h.installed_rank, h.version, h.description, h.type, h.script, h.checksum, h.success, "
         "h.installed_by, " +
         sql_utc("h.installed_on") +
         " AS installed_on, h.execution_time FROM dbops.migration_history h"
         " WHERE h.project OPERATOR(pg_catalog.=) $1::pg_catalog.text ORDER BY h.installed_rank";
}

struct History {
  std::vector<migrate::AppliedMigration> rows;
  std::vector<std::string> installed_on, installed_by;
  std::vector<std::int64_t> execution_time;
  // Whether the same is applied.
  bool operator==(const History& other) const {
    return std::equal(rows.begin(), rows.end(), other.rows.begin(), other.rows.end(),
                      [](const auto& a, const auto& b) { return a.rank == b.rank && a.success == b.success; });
  }
};

History read_history(Connection& connection, const std::string& project) {
  const Result result = connection.execute(history_sql(), {project});
  History history;
  for (int row = 0; row < result.rows(); ++row) {
    migrate::AppliedMigration applied;
    applied.rank = static_cast<int>(result.integer(row, 0));
    if (!result.is_null(row, 1)) applied.version = migrate::Version::parse(result.text(row, 1));
    applied.description = result.text(row, 2);
    applied.type = result.text(row, 3);
    applied.script = result.text(row, 4);
    if (const auto checksum = result.maybe_integer(row, 5)) applied.checksum = static_cast<std::int32_t>(*checksum);
    applied.success = result.boolean(row, 6);
    history.rows.push_back(std::move(applied));
    history.installed_by.push_back(result.text(row, 7));
    history.installed_on.push_back(result.text(row, 8));
    history.execution_time.push_back(result.integer(row, 9));
  }
  return history;
}

migrate::PlanOptions plan_options(const MigrationCommand& command) {
  migrate::PlanOptions options;
  options.out_of_order = command.out_of_order;
  if (command.target) options.target = migrate::Target::parse(*command.target).value();
  options.ignore.clear();
  for (const std::string& text : command.ignore)
    if (const auto pattern = migrate::IgnorePattern::parse(text)) options.ignore.push_back(*pattern);
  return options;
}

std::string type_of(const migrate::LocalMigration& local) {
  return local.name.kind == migrate::FileKind::callback ? "CALLBACK"
                                                        : std::string(migrate::history_type(local.name.kind));
}

const char* category(const migrate::MigrationInfo& info) {
  if (!info.version()) return "Repeatable";
  const std::string type = info.applied ? info.applied->type : type_of(*info.local);
  if (migrate::is_undo_type(type)) return "Undo";
  return migrate::is_baseline_type(type) ? "Baseline" : "Versioned";
}

// Ctrl-C: the statement under way is cancelled on the server, so that nothing goes on behind one's back.
class Interruptible {
 public:
  Interruptible(Connection& connection, QueueWatch& watch) : connection_(connection), watch_(watch) {
    connection.wait_with([this](int socket) { wait_for_answer(socket); });
  }
  ~Interruptible() { connection_.wait_with({}); }
  Interruptible(const Interruptible&) = delete;
  Interruptible& operator=(const Interruptible&) = delete;

  void sleep(double seconds) {
    const auto until =
        std::chrono::steady_clock::now() +
        std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(seconds));
    wait(-1, until);
  }

 private:
  void wait_for_answer(int socket) {
    while (wait(socket, std::chrono::steady_clock::now() + watch_.interval()) == Wake::timeout)
      watch_.look();
  }

  Wake wait(int socket, core::SteadyTime until) {
    try {
      for (;;) {
        const Wake wake = signals_.wait(socket, until);
        if (wake == Wake::suspend)
          Signals::suspend();
        else if (wake != Wake::resized)
          return wake;
      }
    } catch (const Interrupted&) {
      connection_.cancel();
      throw;
    }
  }

  Connection& connection_;
  QueueWatch& watch_;
  Signals signals_;
};

void tell(const std::string& line) {
  fmt::print(stderr, "dbops: {}\n", line);
}

class Migrator {
 public:
  Migrator(const MigrationCommand& command, const ConnectionSettings& settings)
      : command_(command), options_(plan_options(command)), connector_(settings), connection_(connector_.connect()),
        watch_(connector_, connection_, command.max_blocking, tell), interruptible_(connection_, watch_),
        files_(with_server_values()), runner_(connection_, watch_,
                                              {command.project, command.out_of_order, command.lock_timeout,
                                               command.lock_retries, command.wait, command.wait_for_transactions},
                                              tell, [this](double seconds) { interruptible_.sleep(seconds); }) {
    for (const std::string& warning : files_.warnings())
      tell(warning);
  }

  int migrate() {
    if (command_.dry_run) return dry_run();
    if (command_.validate &&
        around("Validate", [this] { return valid_now() ? exit_success : exit_job; }) != exit_success)
      return exit_job;
    if (!callbacks("beforeMigrate")) return exit_job;
    History history = history_with_target();
    migrate::Plan plan = migrate::make_plan(files_.migrations(), history.rows, options_);
    if (command_.lint && !safe(history, plan)) return exit_job;
    const std::string before = plan.current ? plan.current->text() : "";
    if (!plan.pending.empty()) note_drift();
    try {
      const bool ok = apply_all(plan);
      record_schema_now();
      return summary("migrate", before, ok);
    } catch (const Interrupted&) {
      record_schema_of_interrupted();
      throw;
    } catch (const FileError&) {
      record_schema_now();
      throw;
    } catch (const SqlError&) {
      record_schema_now();
      throw;
    }
  }

  int undo() {
    if (!command_.dry_run && !callbacks("beforeUndo")) return exit_job;
    const History history = history_with_target();
    const auto steps = migrate::undo_plan(files_.migrations(), history.rows, options_.target.version);
    for (const migrate::UndoStep& step : steps)
      if (!step.undo)
        throw FileError("there is no undo migration for version " + step.applied->version->text() + " (" +
                        step.applied->script + ")");
    if (steps.empty()) fmt::print(stderr, "dbops: nothing to undo\n");
    if (command_.dry_run) {
      for (const migrate::UndoStep& step : steps)
        print_sql(*step.undo);
      return exit_success;
    }
    const std::string before = steps.empty() ? "" : steps.front().applied->version->text();
    if (!steps.empty()) note_drift();
    bool ok = true;
    for (const migrate::UndoStep& step : steps)
      if (!(ok = apply_with_callbacks(*step.undo, "Undo"))) break;
    ok = callbacks(ok ? "afterUndo" : "afterUndoError") && ok;
    ok = ok && callbacks("afterUndoOperationFinish");
    record_schema_now();
    return summary("undo", before, ok);
  }

  int info() {
    return around("Info", [this] {
      const History history = history_with_target();
      const migrate::Plan plan = migrate::make_plan(files_.migrations(), history.rows, options_);
      if (command_.json)
        print_info_json(plan, history);
      else
        print_info(plan, history);
      return exit_success;
    });
  }

  int validate() {
    return around("Validate", [this] {
      const History history = history_with_target();
      const migrate::Plan plan = migrate::make_plan(files_.migrations(), history.rows, options_);
      const auto errors = migrate::validate(plan, options_, false);
      if (command_.json)
        print_validation(errors, plan.infos.size());
      else {
        for (const auto& error : errors)
          fmt::print(stderr, "dbops: {}\n", error.message);
        if (errors.empty()) fmt::print("{} migrations are as they were applied\n", plan.infos.size());
      }
      return errors.empty() ? exit_success : exit_job;
    });
  }

  int repair() {
    return around("Repair", [this] {
      const History history = history_with_target();
      const migrate::Plan plan = migrate::make_plan(files_.migrations(), history.rows, options_);
      for (const migrate::RepairAction& action : migrate::repair_plan(plan, options_))
        repair(action);
      return exit_success;
    });
  }

  int baseline() {
    return around("Baseline", [this] {
      connection_.execute(
          "SELECT dbops.baseline_migrations($1::pg_catalog.text, $2::pg_catalog.text, $3::pg_catalog.text)",
          {command_.version, command_.description, command_.project});
      if (command_.json) {
        const Json json{{"operation", "baseline"},
                        {"successfullyBaselined", true},
                        {"baselineVersion", command_.version},
                        {"project", command_.project}};
        write_to_standard_output(dumped(json) + "\n");
      } else
        write_to_standard_output(fmt::format("baseline {}\n", command_.version));
      return exit_success;
    });
  }

 private:
  const MigrationCommand& command_;
  migrate::PlanOptions options_;
  Connector connector_;
  Connection connection_;
  QueueWatch watch_;
  Interruptible interruptible_;
  MigrationFiles files_;
  MigrationRunner runner_;
  int applied_ = 0;
  bool failed_statement_ = false;    // of the last migration that failed: it was one of its statements
  std::optional<std::string> drift_; // rows of dbops.diff as they were before
  Json done_ = Json::array();
  Json error_;

  // ${flyway:user} and its like.
  MigrationFiles with_server_values() {
    FileSettings files = command_.files;
    const Result values =
        connection_.execute("SELECT pg_catalog.current_schema()::pg_catalog.text, current_user::pg_catalog.text, "
                            "pg_catalog.current_database()::pg_catalog.text,"
                            " pg_catalog.to_char(pg_catalog.now(), 'YYYY-MM-DD HH24:MI:SS')");
    files.placeholders.try_emplace("flyway:defaultSchema", values.text(0, 0));
    files.placeholders.try_emplace("flyway:user", values.text(0, 1));
    files.placeholders.try_emplace("flyway:database", values.text(0, 2));
    files.placeholders.try_emplace("flyway:timestamp", values.text(0, 3));
    files.placeholders.try_emplace("flyway:table", "dbops.migration_history");
    files.placeholders.try_emplace("flyway:environment", command_.project);
    return MigrationFiles(files);
  }

  // A target that no migration has is a mistake, as it is for Flyway.
  History history_with_target() {
    History history = read_history(connection_, command_.project);
    if (!migrate::target_exists(files_.migrations(), history.rows, options_.target))
      throw FileError("no migration has the version " + *command_.target + " of --target; \"" + *command_.target +
                      "?\" is for one that may be missing");
    return history;
  }

  void print_sql(const migrate::LocalMigration& local) {
    const std::string sql = files_.sql(local);
    write_to_standard_output(fmt::format("-- {}\n{}{}\n", files_.path(local), sql, sql.ends_with('\n') ? "" : "\n"));
  }

  int dry_run() {
    const History history = history_with_target();
    const migrate::Plan plan = migrate::make_plan(files_.migrations(), history.rows, options_);
    if (command_.validate && !valid(plan)) return exit_job;
    for (const migrate::LocalMigration* local : plan.pending)
      print_sql(*local);
    return exit_success;
  }

  bool valid_now() {
    const History history = history_with_target();
    return valid(migrate::make_plan(files_.migrations(), history.rows, options_));
  }

  // What is applied in part is gone on with, so that is no error here.
  bool valid(const migrate::Plan& plan) {
    bool ok = true;
    for (const auto& error : migrate::validate(plan, options_, true)) {
      if (error.info->state == migrate::MigrationState::failed) continue;
      fmt::print(stderr, "dbops: {}\n", error.message);
      ok = false;
    }
    if (!ok)
      fmt::print(stderr, "HINT:  Nothing was done. \"dbops info\" shows all; \"dbops repair\" makes the history agree "
                         "with the files.\n");
    return ok;
  }

  // What the linter has to say about the pending migrations.
  std::vector<LintFinding> lint_pending(const migrate::Plan& plan) {
    std::vector<LintFinding> all;
    for (const migrate::LocalMigration* local : plan.pending) {
      std::vector<LintFinding> found = lint(connection_, files_.path(*local), files_.sql(*local), LintOptions{});
      // Of one that is applied in part, the catalog has what the statements before have made.
      const bool begun = std::any_of(plan.infos.begin(), plan.infos.end(), [local](const migrate::MigrationInfo& info) {
        return info.local == local && info.applied != nullptr && !info.applied->success;
      });
      if (local != plan.pending.front() || begun) know_less(found);
      // What does not parse is reported by the attempt itself, and recorded; what a failed try has left is cleared up.
      std::copy_if(found.begin(), found.end(), std::back_inserter(all), [](const LintFinding& finding) {
        return finding.severity != "notice" && finding.suppressed.empty() && finding.rule != "syntax-error" &&
               finding.rule != "concurrently-if-not-exists";
      });
    }
    return all;
  }

  // Errors of the linter stop everything before a migration is applied. What seems to fail may have been applied by
  // another runner meanwhile: then the history is another one, and it is looked at again.
  bool safe(History& history, migrate::Plan& plan) {
    for (;;) {
      const std::vector<LintFinding> found = lint_pending(plan);
      const bool ok = std::none_of(found.begin(), found.end(),
                                   [](const LintFinding& finding) { return finding.severity == "error"; });
      History now = ok ? History{} : history_with_target();
      if (ok || now == history) {
        for (const LintFinding& finding : found)
          fmt::print(stderr, "{}", lint_text(finding));
        return ok || refuse_unsafe();
      }
      history = std::move(now);
      plan = migrate::make_plan(files_.migrations(), history.rows, options_);
    }
  }

  static bool refuse_unsafe() {
    fmt::print(stderr, "HINT:  No migration was applied. Use the safe form; or say \"-- dbops: ignore RULE REASON\" "
                       "before the statement, or --no-lint.\n");
    return false;
  }

  // What others have changed before must not be taken for the work of the migrations.
  void note_drift() {
    try {
      drift_ = schema_drift(connection_, command_.project);
    } catch (const SqlError& error) {
      report(error, "the schema was not compared");
      return;
    }
    if (*drift_ != "[]") fmt::print(stderr, "dbops: the schema was changed outside of migrations: see dbops diff\n");
  }

  bool apply_all(const migrate::Plan& plan) {
    bool ok = true;
    bool repeatables = false;
    for (const migrate::LocalMigration* local : plan.pending) {
      if (!local->name.version && !std::exchange(repeatables, true))
        ok = callbacks("afterVersioned") && callbacks("beforeRepeatables");
      ok = ok && apply_with_callbacks(*local, "Migrate");
      if (!ok) break;
    }
    if (ok && !repeatables) ok = callbacks("afterVersioned");
    if (ok && applied_ > 0) ok = callbacks("afterMigrateApplied");
    ok = callbacks(ok ? "afterMigrate" : "afterMigrateError") && ok;
    return ok && callbacks("afterMigrateOperationFinish");
  }

  // Those before and after it, and around its statements, are within its transaction: there they can set what it is to
  // find. Those of an error come when it is rolled back.
  bool apply_with_callbacks(const migrate::LocalMigration& local, const std::string& command) {
    Json within = Json::array();
    for (const std::string& event : {"beforeEach" + command, "beforeEach" + command + "Statement",
                                     "afterEach" + command + "Statement", "afterEach" + command})
      for (const migrate::LocalMigration* callback : files_.callbacks(event))
        within.push_back({{"event", event}, {"script", callback->script}, {"sql", files_.sql(*callback)}});
    if (apply(local, within.empty() ? std::nullopt : Parameter(within.dump()))) return true;
    if (!failed_statement_ || callbacks("afterEach" + command + "StatementError"))
      callbacks("afterEach" + command + "Error");
    return false;
  }

  // Else the next run would take what was applied for changes by others. The connection is not good any more.
  void record_schema_of_interrupted() {
    if (applied_ == 0 || !drift_) return;
    try {
      Connection connection = connector_.reconnect();
      for (int tries = 100; !record_schema_in(connection, tries == 0); --tries)
        std::this_thread::sleep_for(std::chrono::milliseconds(100)); // what was cancelled has the lock for a moment
    } catch (const ConnectionError& error) {
      fmt::print(stderr, "dbops: the schema was not recorded: {}\n", error.what());
    }
  }

  // The migrations are applied, whatever becomes of this. Another runner may be at work for a moment.
  void record_schema_now() {
    if (applied_ == 0 || !drift_) return;
    for (int tries = 100; !record_schema_in(connection_, tries == 0); --tries)
      interruptible_.sleep(0.1);
  }

  // False: another session has the lock of the project; of the last try that is reported.
  bool record_schema_in(Connection& connection, bool last) {
    try {
      record_schema(connection, command_.project, *drift_);
    } catch (const SqlError& error) {
      if (error.sqlstate() == "55P03" && !last) return false;
      report(error, "the schema was not recorded");
    }
    return true;
  }

  // A command with the callbacks before and after it. What goes wrong before it is no error of the command.
  template <typename F>
  int around(const std::string& command, F run) {
    if (!callbacks("before" + command)) return exit_job;
    int status = exit_job;
    try {
      status = run();
    } catch (const SqlError&) {
      callbacks("after" + command + "Error");
      throw;
    } catch (const FileError&) {
      callbacks("after" + command + "Error");
      throw;
    }
    if (status != exit_success) {
      callbacks("after" + command + "Error");
      return status;
    }
    const bool ok = callbacks("after" + command) && callbacks("after" + command + "OperationFinish");
    return ok ? exit_success : exit_job;
  }

  // Each in a transaction of its own.
  bool callbacks(const std::string& event) {
    for (const migrate::LocalMigration* callback : files_.callbacks(event)) {
      const AppliedResult result = runner_.apply(*callback, "CALLBACK", files_.sql(*callback));
      if (result.done()) continue;
      report_failure(*callback, result);
      return false;
    }
    return true;
  }

  bool apply(const migrate::LocalMigration& local, const Parameter& callbacks) {
    const AppliedResult result = runner_.apply(local, type_of(local), files_.sql(local), callbacks);
    if (!result.done()) {
      failed_statement_ = !result.statement.empty();
      report_failure(local, result);
      return false;
    }
    if (result.outcome == "applied") {
      ++applied_;
      if (!command_.json) write_to_standard_output(fmt::format("{}  {} ms\n", local.script, result.milliseconds));
      const migrate::MigrationInfo info{{}, &local, nullptr};
      done_.push_back({{"category", category(info)},
                       {"version", local.name.version ? local.name.version->text() : ""},
                       {"description", local.name.description},
                       {"type", type_of(local)},
                       {"filepath", files_.path(local)},
                       {"executionTime", result.milliseconds}});
    }
    return true;
  }

  void report_failure(const migrate::LocalMigration& local, const AppliedResult& result) {
    const std::string path = files_.path(local);
    if (result.outcome == "locked") {
      fmt::print(stderr, "dbops: {}: another runner did not end in time{}\n", path,
                 result.detail.empty() ? "" : ": " + result.detail);
      error_ = {{"errorCode", "LOCKED"}, {"message", result.detail}};
      return;
    }
    const std::string place = result.line > 0 ? fmt::format(":{}:{}", result.line, result.column) : "";
    fmt::print(stderr, "dbops: {}{}: ERROR {}: {}\n", path, place, result.sqlstate, result.error);
    if (!result.statement.empty()) fmt::print(stderr, "STATEMENT:  {}\n", result.statement.substr(0, 1000));
    if (!result.detail.empty()) fmt::print(stderr, "DETAIL:  {}\n", result.detail);
    if (!result.hint.empty()) fmt::print(stderr, "HINT:  {}\n", result.hint);
    error_ = {{"errorCode", "FAILED_" + std::string(local.name.version ? "VERSIONED" : "REPEATABLE") + "_MIGRATION"},
              {"sqlState", result.sqlstate},
              {"message", result.error},
              {"path", path},
              {"lineNumber", result.line}};
  }

  int summary(const char* operation, const std::string& before, bool ok) {
    if (command_.json) {
      const History history = read_history(connection_, command_.project);
      const auto current = migrate::make_plan(files_.migrations(), history.rows, options_).current;
      Json json{{"operation", operation},
                {"success", ok},
                {"database", connection_.database()},
                {"project", command_.project},
                {"initialSchemaVersion", before.empty() ? Json() : Json(before)},
                {"targetSchemaVersion", current ? Json(current->text()) : Json()},
                {std::string(operation) == "undo" ? "undoneMigrations" : "migrations", done_},
                {std::string(operation) == "undo" ? "migrationsUndone" : "migrationsExecuted", applied_}};
      if (!error_.is_null()) json["error"] = error_;
      write_to_standard_output(dumped(json) + "\n");
    } else if (ok && applied_ == 0 && std::string(operation) == "migrate")
      fmt::print(stderr, "dbops: nothing to do, everything is applied\n");
    return ok ? exit_success : exit_job;
  }

  void repair(const migrate::RepairAction& action) {
    using Kind = migrate::RepairAction::Kind;
    const char* name = action.kind == Kind::remove_failed  ? "remove_failed"
                       : action.kind == Kind::mark_deleted ? "mark_deleted"
                                                           : "align";
    const Result result =
        connection_.execute("SELECT dbops.repair_migration($1::pg_catalog.int4, $2::pg_catalog.text, "
                            "$3::pg_catalog.text, $4::pg_catalog.int4, $5::pg_catalog.text)",
                            {std::to_string(action.applied->rank), name, command_.project,
                             action.local ? Parameter(std::to_string(action.local->checksum)) : std::nullopt,
                             action.local ? Parameter(action.local->name.description) : std::nullopt});
    write_to_standard_output(fmt::format("{}: {}\n", action.applied->script, result.text(0, 0)));
  }

  static std::size_t index_of(const migrate::MigrationInfo& info, const History& history) {
    return static_cast<std::size_t>(info.applied - history.rows.data());
  }

  void print_info(const migrate::Plan& plan, const History& history) {
    using core::Align;
    const Terminal terminal = Terminal::of_standard_output();
    core::Table table({{"category"},
                       {"version"},
                       {"description", Align::left, true},
                       {"type"},
                       {"installed on"},
                       {"by"},
                       {"ms", Align::right},
                       {"state"}});
    for (const migrate::MigrationInfo& info : plan.infos) {
      const bool applied = info.applied != nullptr;
      const std::size_t at = applied ? index_of(info, history) : 0;
      const auto text = [&](const std::string& s) {
        return core::Cell{core::terminal_text(s, terminal.data_charset())};
      };
      table.add_row(
          {text(category(info)), text(info.version() ? info.version()->text() : ""), text(info.description()),
           text(applied ? info.applied->type : type_of(*info.local)),
           text(applied ? local_time(history.installed_on[at]) : ""), text(applied ? history.installed_by[at] : ""),
           text(applied ? std::to_string(history.execution_time[at]) : ""), text(std::string(to_string(info.state)))});
    }
    if (plan.infos.empty())
      fmt::print(stderr, "dbops: no migrations\n");
    else
      print(terminal, table.lines(terminal.width(), terminal.charset));
  }

  void print_info_json(const migrate::Plan& plan, const History& history) {
    Json list = Json::array();
    for (const migrate::MigrationInfo& info : plan.infos) {
      const bool applied = info.applied != nullptr;
      const std::size_t at = applied ? index_of(info, history) : 0;
      list.push_back({{"category", category(info)},
                      {"version", info.version() ? info.version()->text() : ""},
                      {"rawVersion", info.version() ? info.version()->text() : ""},
                      {"description", info.description()},
                      {"type", applied ? info.applied->type : type_of(*info.local)},
                      {"script", info.script()},
                      {"installedOnUTC", applied ? history.installed_on[at] : ""},
                      {"state", std::string(to_string(info.state))},
                      {"filepath", info.local ? files_.path(*info.local) : ""},
                      {"installedBy", applied ? history.installed_by[at] : ""},
                      {"executionTime", applied ? history.execution_time[at] : 0},
                      {"checksum", !applied                 ? Json(info.local->checksum)
                                   : info.applied->checksum ? Json(*info.applied->checksum)
                                                            : Json()}});
    }
    const Json json{{"operation", "info"},
                    {"database", connection_.database()},
                    {"project", command_.project},
                    {"schemaVersion", plan.current ? Json(plan.current->text()) : Json()},
                    {"allSchemasEmpty", history.rows.empty()},
                    {"migrations", list}};
    write_to_standard_output(dumped(json) + "\n");
  }

  void print_validation(const std::vector<migrate::ValidationError>& errors, std::size_t count) {
    Json list = Json::array();
    for (const auto& error : errors)
      list.push_back({{"version", error.info->version() ? error.info->version()->text() : ""},
                      {"description", error.info->description()},
                      {"filepath", error.info->local ? files_.path(*error.info->local) : ""},
                      {"state", std::string(to_string(error.info->state))},
                      {"errorDetails", {{"message", error.message}}}});
    const Json json{{"operation", "validate"},     {"database", connection_.database()},
                    {"project", command_.project}, {"validationSuccessful", errors.empty()},
                    {"validateCount", count},      {"invalidMigrations", list}};
    write_to_standard_output(dumped(json) + "\n");
  }
};

int run_action(Migrator& migrator, MigrationAction action) {
  switch (action) {
  case MigrationAction::migrate:
    return migrator.migrate();
  case MigrationAction::info:
    return migrator.info();
  case MigrationAction::validate:
    return migrator.validate();
  case MigrationAction::undo:
    return migrator.undo();
  case MigrationAction::repair:
    return migrator.repair();
  case MigrationAction::baseline:
    return migrator.baseline();
  case MigrationAction::adopt:
  case MigrationAction::diff:
    break;
  }
  throw std::logic_error("an action without a function");
}

} // namespace

int run(const MigrationCommand& command, const ConnectionSettings& settings) {
  if (command.action == MigrationAction::diff) return diff(command, settings);
  try {
    if (command.action == MigrationAction::adopt) return adopt(command, settings);
    Migrator migrator(command, settings);
    return run_action(migrator, command.action);
  } catch (const Interrupted& interrupted) {
    fmt::print(stderr, "dbops: interrupted; what was under way is cancelled, what was applied stays\n");
    return interrupted.exit_status();
  } catch (const FileError& error) {
    report(error);
    return exit_error;
  }
}

} // namespace dbops::cli
