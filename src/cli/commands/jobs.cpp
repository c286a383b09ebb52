#include "cli/commands/jobs.h"

#include "cli/exit_status.h"
#include "cli/json.h"
#include "cli/local_time.h"
#include "cli/report.h"
#include "cli/terminal.h"
#include "core/text/job_view.h"
#include "core/text/quantity.h"
#include "core/text/table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <stdexcept>
#include <string_view>

namespace dbops::cli {

namespace {

using core::Align;
using core::Cell;

// Every name qualified, operators too: whatever search_path is, nobody else's objects are found.
// $1: whether finished ones too, $2: states, or NULL for no condition
std::string jobs_sql() {
  return "SELECT j.job_id, j.kind, j.target, j.owner, j.label, j.state, j.rows_done, j.rows_total, j.rows_failed,"
         " j.strategy, j.pass, j.priority, j.parallel, j.created_by, " +
         sql_utc("j.created_at") + " AS created_at, " + sql_utc("j.started_at") + " AS started_at, " +
         sql_utc("j.finished_at") +
         " AS finished_at, j.last_error, j.last_sqlstate, j.last_hint FROM dbops.jobs j"
         " WHERE ($1::pg_catalog.bool OR j.state OPERATOR(pg_catalog.<>)"
         "        ALL ('{succeeded,failed,cancelled}'::pg_catalog.text[]))"
         " AND ($2::pg_catalog.text[] IS NULL OR j.state OPERATOR(pg_catalog.=) ANY ($2::pg_catalog.text[]))"
         " ORDER BY j.job_id";
}

// $1: job
std::string errors_sql() {
  return "SELECT e.error_id, e.job_id, e.relation, e.row_key, e.sqlstate, e.message, " + sql_utc("e.at") +
         " AS at FROM dbops.job_errors e WHERE e.job_id OPERATOR(pg_catalog.=) $1::pg_catalog.int8 ORDER BY e.error_id";
}

const char* sql_of(Steering action) {
  switch (action) {
  case Steering::pause:
    return "SELECT dbops.pause($1::pg_catalog.int8, $2::pg_catalog.text)";
  case Steering::resume:
    return "SELECT dbops.resume($1::pg_catalog.int8, $2::pg_catalog.text)";
  case Steering::cancel:
    return "SELECT dbops.cancel($1::pg_catalog.int8, $2::pg_catalog.text)";
  case Steering::retry:
    return "SELECT dbops.retry($1::pg_catalog.int8, $2::pg_catalog.text)";
  }
  throw std::logic_error("an action without a function");
}

// As dbops.progress has it: the estimate may be too low, and only success is 100 %.
std::string percent(const Result& result, int row) {
  if (result.text(row, result.column("state")) == "succeeded") return "100";
  const auto total = result.maybe_real(row, result.column("rows_total"));
  const double done = result.maybe_real(row, result.column("rows_done")).value_or(0);
  if (!total || std::max(*total, done) <= 0) return "";
  return fmt::format("{:.1f}", std::min(100 * done / std::max(*total, done), 99.9));
}

core::Table jobs_table(const Result& result, core::Charset charset) {
  core::Table table({{"job", Align::right},
                     {"kind"},
                     {"target", Align::left, true},
                     {"owner", Align::left, true},
                     {"state"},
                     {"%", Align::right},
                     {"rows", Align::right},
                     {"created"},
                     {"remark", Align::left, true}});
  for (int row = 0; row < result.rows(); ++row) {
    const auto text = [&](const char* name) {
      return core::terminal_text(result.text(row, result.column(name)), charset);
    };
    const std::string error = text("last_error");
    const std::string state = text("state");
    table.add_row({{text("job_id"), core::Style::strong},
                   {text("kind")},
                   {text("target")},
                   {text("owner")},
                   {state, core::state_style(state)},
                   {percent(result, row)},
                   {core::grouped(result.integer(row, result.column("rows_done")))},
                   {local_time(text("created_at"))},
                   error.empty() ? Cell{text("label")} : Cell{error, core::Style::bad}});
  }
  return table;
}

core::Table errors_table(const Result& result, core::Charset charset) {
  core::Table table({{"relation", Align::left, true},
                     {"row", Align::left, true},
                     {"sqlstate"},
                     {"at"},
                     {"message", Align::left, true}});
  for (int row = 0; row < result.rows(); ++row) {
    const auto text = [&](const char* name) {
      return core::terminal_text(result.text(row, result.column(name)), charset);
    };
    table.add_row(
        {{text("relation")}, {text("row_key")}, {text("sqlstate")}, {local_time(text("at"))}, {text("message")}});
  }
  return table;
}

void require_job(Connection& connection, std::int64_t job) {
  const Result found = connection.execute(
      "SELECT FROM dbops.jobs j WHERE j.job_id OPERATOR(pg_catalog.=) $1::pg_catalog.int8", {std::to_string(job)});
  if (found.rows() == 0) throw no_such_job(job, connection);
}

void print_table(const core::Table& table, const Terminal& terminal) {
  print(terminal, table.lines(terminal.width(), terminal.charset));
}

} // namespace

int run(const JobsCommand& command, const ConnectionSettings& settings) {
  Connection connection = Connector(settings).connect();
  Parameter states;
  if (!command.states.empty()) states = fmt::format("{{{}}}", fmt::join(command.states, ","));
  const bool finished_too = command.all || states;
  const Result result = connection.execute(jobs_sql(), {finished_too ? "true" : "false", states});
  const Terminal terminal = Terminal::of_standard_output();
  if (command.json)
    print_rows(result);
  else if (result.rows() > 0)
    print_table(jobs_table(result, terminal.data_charset()), terminal);
  else
    fmt::print(stderr, "dbops: {}\n",
               finished_too ? "no such job" : "no job is queued, running or paused; --all shows finished ones");
  return exit_success;
}

int run(const ErrorsCommand& command, const ConnectionSettings& settings) {
  Connection connection = Connector(settings).connect();
  require_job(connection, command.job);
  const Result result = connection.execute(errors_sql(), {std::to_string(command.job)});
  const Terminal terminal = Terminal::of_standard_output();
  if (command.json)
    print_rows(result);
  else if (result.rows() > 0)
    print_table(errors_table(result, terminal.data_charset()), terminal);
  else
    fmt::print(stderr, "dbops: job {} has set no row aside\n", command.job);
  return exit_success;
}

// Each job in a transaction of its own: one that is refused does not keep the others from being steered.
int run(const SteerCommand& command, const ConnectionSettings& settings) {
  Connection connection = Connector(settings).connect();
  int status = exit_success;
  for (const std::int64_t job : command.jobs) {
    try {
      const Result result = connection.execute(sql_of(command.action), {std::to_string(job), command.reason});
      write_to_standard_output(fmt::format("job {}: {}\n", job, result.text(0, 0)));
    } catch (const SqlError& error) {
      if (error.lacks_extension()) throw;
      const std::string name = fmt::format("job {}", job);
      report(error, std::string_view(error.what()).find(name) == std::string_view::npos ? name : "");
      status = exit_job;
    }
  }
  return status;
}

} // namespace dbops::cli
