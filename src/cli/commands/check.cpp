#include "cli/commands/check.h"

#include "cli/exit_status.h"
#include "cli/json.h"
#include "cli/terminal.h"
#include "core/text/table.h"

#include <fmt/format.h>

namespace dbops::cli {

namespace {

// $1: seconds
constexpr const char* check_sql = "SELECT check_name, ok, severity, detail, hint"
                                  " FROM dbops.check(pg_catalog.make_interval(secs => $1::pg_catalog.float8))";

core::Cell verdict(const Result& result, int row) {
  if (result.boolean(row, result.column("ok"))) return {"ok", core::Style::good};
  const std::string severity = result.text(row, result.column("severity"));
  return {severity, severity == "error" ? core::Style::bad : core::Style::plain};
}

core::Table table_of(const Result& result, core::Charset charset) {
  core::Table table({{"check"}, {"result"}, {"detail"}});
  for (int row = 0; row < result.rows(); ++row) {
    const auto text = [&](const char* name) {
      return core::terminal_text(result.text(row, result.column(name)), charset);
    };
    table.add_row({{text("check_name"), core::Style::strong}, verdict(result, row), {text("detail")}});
    if (!result.boolean(row, result.column("ok")) && !text("hint").empty())
      table.add_row({{""}, {""}, {"HINT: " + text("hint")}});
  }
  return table;
}

} // namespace

int run(const CheckCommand& command, const ConnectionSettings& settings) {
  Connection connection = Connector(settings).connect();
  const Result result = connection.execute(check_sql, {fmt::format("{}", command.timeout)});
  const Terminal terminal = Terminal::of_standard_output();
  if (command.json)
    print_rows(result);
  else
    print(terminal, table_of(result, terminal.data_charset()).lines({}, terminal.charset)); // hints are not to be cut
  int status = exit_success;
  for (int row = 0; row < result.rows(); ++row)
    if (!result.boolean(row, result.column("ok")) && result.text(row, result.column("severity")) != "info")
      status = exit_job;
  return status;
}

} // namespace dbops::cli
