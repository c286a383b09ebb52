#include "cli/migration_runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <random>

namespace dbops::cli {

namespace {

namespace migrate = core::migrate;
using Clock = std::chrono::steady_clock;

std::mt19937& generator() {
  static std::mt19937 engine{std::random_device{}()};
  return engine;
}

AppliedResult read_result(const Result& row) {
  AppliedResult result;
  const auto text = [&row](const char* name) { return row.text(0, row.column(name)); };
  result.outcome = text("outcome");
  result.milliseconds = row.integer(0, row.column("execution_time"));
  result.statement = text("statement");
  result.sqlstate = text("sqlstate");
  result.error = text("error");
  result.detail = text("detail");
  result.hint = text("hint");
  result.context = text("context");
  result.line = row.integer(0, row.column("line"));
  result.column = row.integer(0, row.column("column"));
  return result;
}

} // namespace

MigrationRunner::MigrationRunner(Connection& connection, RunnerSettings settings,
                                 std::function<void(const std::string&)> tell, std::function<void(double)> sleep)
    : connection_(connection), settings_(std::move(settings)), tell_(std::move(tell)), sleep_(std::move(sleep)),
      name_(fmt::format("{:08x}{:08x}", generator()(), generator()())) {}

double MigrationRunner::jittered(double seconds) {
  return seconds * std::uniform_real_distribution<double>(0.5, 1.5)(generator());
}

Result MigrationRunner::call(const migrate::LocalMigration& migration, const std::string& type, const std::string& sql,
                             const Report& report) {
  const auto& version = migration.name.version;
  return connection_.execute(
      "SELECT r.* FROM dbops.apply_migration($1::pg_catalog.text, $2::pg_catalog.text, project => $3::pg_catalog.text,"
      " checksum => $4::pg_catalog.int4, version => $5::pg_catalog.text, description => $6::pg_catalog.text,"
      " type => $7::pg_catalog.text, out_of_order => $8::pg_catalog.bool,"
      " lock_timeout => $9::pg_catalog.interval, step => $10::pg_catalog.int8, step_sqlstate => $11::pg_catalog.text,"
      " step_error => $12::pg_catalog.text, runner => $13::pg_catalog.text) r",
      {migration.script, sql, settings_.project, std::to_string(migration.checksum),
       version ? Parameter(version->text()) : std::nullopt, migration.name.description, type,
       settings_.out_of_order ? "true" : "false", fmt::format("{} s", settings_.lock_timeout), report.step,
       report.sqlstate, report.error, name_});
}

// Outside of a transaction block, the way psql would send it.
MigrationRunner::Report MigrationRunner::execute(const std::string& statement, const Parameter& step) {
  Report report{step, std::nullopt, std::nullopt};
  try {
    connection_.execute_simple(statement);
  } catch (const SqlError& error) {
    if (!step) throw;
    report.sqlstate = error.sqlstate();
    report.error = std::string(error.what()) + (error.detail().empty() ? "" : " (" + error.detail() + ")");
  }
  return report;
}

AppliedResult MigrationRunner::apply(const migrate::LocalMigration& migration, const std::string& type,
                                     const std::string& sql) {
  Report report;
  double pause = 0.02;
  int tries = 0;
  const Clock::time_point begin = Clock::now();
  for (bool told = false;;) {
    const Result row = call(migration, type, sql, report);
    report = {};
    AppliedResult result = read_result(row);
    if (result.outcome == "execute") {
      const int step = row.column("step");
      report = execute(result.statement, row.is_null(0, step) ? std::nullopt : Parameter(row.text(0, step)));
    } else if (result.outcome == "locked") {
      if (std::chrono::duration<double>(Clock::now() - begin).count() > settings_.wait) return result;
      if (!told && pause > 0.5) {
        tell_("waits for another runner" + (result.detail.empty() ? "" : ": " + result.detail));
        told = true;
      }
      sleep_(jittered(pause));
      pause = std::min(pause * 1.5, 1.0);
    } else if (result.outcome == "lock_timeout" && tries < settings_.lock_retries) {
      const double seconds = jittered(std::min(0.5 * static_cast<double>(1 << std::min(tries, 10)), 30.0));
      ++tries;
      tell_(fmt::format("{}: {} ({}); try {} of {} in {:.1f} s", migration.script, result.error, result.statement,
                        tries + 1, settings_.lock_retries + 1, seconds));
      sleep_(seconds);
    } else
      return result;
  }
}

} // namespace dbops::cli
