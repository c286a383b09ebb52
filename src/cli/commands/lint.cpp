#include "cli/commands/lint.h"

#include "cli/exit_status.h"
#include "cli/json.h"
#include "cli/report.h"
#include "cli/terminal.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <map>

namespace dbops::cli {

namespace {

int rank(const std::string& severity) {
  if (severity == "error") return 3;
  if (severity == "warning") return 2;
  return severity == "notice" ? 1 : 4; // never
}

Json as_json(const LintFinding& finding) {
  const auto text = [](const std::string& value) { return value.empty() ? Json() : Json(value); };
  return {{"path", finding.path},
          {"statement", finding.statement},
          {"line", finding.line},
          {"column", finding.column},
          {"rule", finding.rule},
          {"severity", finding.severity},
          {"message", finding.message},
          {"object", text(finding.object)},
          {"lock", text(finding.lock)},
          {"rewrites", finding.rewrites},
          {"scans", finding.scans},
          {"bytes", finding.bytes ? Json(*finding.bytes) : Json()},
          {"safe_sql", text(finding.safe_sql)},
          {"suppressed", text(finding.suppressed)}};
}

// SARIF 2.1.0, what code hosts read.
Json as_sarif(const std::vector<LintFinding>& findings) {
  Json results = Json::array();
  std::map<std::string, bool> rules;
  for (const LintFinding& finding : findings) {
    rules[finding.rule] = true;
    Json result{
        {"ruleId", finding.rule},
        {"level", finding.severity == "notice" ? "note" : finding.severity},
        {"message", {{"text", finding.message + (finding.safe_sql.empty() ? "" : "\n\n" + finding.safe_sql)}}},
        {"locations", Json::array({{{"physicalLocation",
                                     {{"artifactLocation", {{"uri", finding.path}}},
                                      {"region", {{"startLine", finding.line}, {"startColumn", finding.column}}}}}}})}};
    if (!finding.suppressed.empty())
      result["suppressions"] = Json::array({{{"kind", "inSource"}, {"justification", finding.suppressed}}});
    results.push_back(std::move(result));
  }
  Json known = Json::array();
  for (const auto& [rule, used] : rules)
    known.push_back({{"id", rule}});
  return {
      {"$schema", "https://json.schemastore.org/sarif-2.1.0.json"},
      {"version", "2.1.0"},
      {"runs", Json::array({{{"tool", {{"driver", {{"name", "dbops"}, {"version", DBOPS_VERSION}, {"rules", known}}}}},
                             {"results", results}}})}};
}

// A workflow command; its data are one line.
std::string as_github(const LintFinding& finding) {
  std::string message = finding.message + (finding.safe_sql.empty() ? "" : "\n" + finding.safe_sql);
  std::string escaped;
  for (const char c : message) {
    if (c == '%')
      escaped += "%25";
    else if (c == '\n')
      escaped += "%0A";
    else if (c == '\r')
      escaped += "%0D";
    else
      escaped += c;
  }
  return fmt::format("::{} file={},line={},col={},title={}::{}\n", finding.severity, finding.path, finding.line,
                     finding.column, finding.rule, escaped);
}

void print(const LintCommand& command, const std::vector<LintFinding>& findings) {
  std::string text;
  Json list = Json::array();
  for (const LintFinding& finding : findings) {
    if (command.format == LintFormat::json)
      list.push_back(as_json(finding));
    else if (finding.suppressed.empty() && command.format == LintFormat::github)
      text += as_github(finding);
    else if (finding.suppressed.empty() && command.format == LintFormat::text)
      text += lint_text(finding);
  }
  if (command.format == LintFormat::json) text = dumped(list) + "\n";
  if (command.format == LintFormat::sarif) text = dumped(as_sarif(findings)) + "\n";
  write_to_standard_output(text);
}

} // namespace

std::vector<LintFinding> lint(Connection& connection, const std::string& path, const std::string& sql,
                              const LintOptions& options) {
  const Result rows = connection.execute(
      "SELECT l.statement_number, l.line, l.\"column\", l.rule, l.severity, l.message, l.object, "
      "l.lock, l.rewrites, l.scans, l.bytes,"
      " l.safe_sql, l.suppressed FROM dbops.lint($1::pg_catalog.text, $2::pg_catalog.int8,"
      " $3::pg_catalog.bool, $4::pg_catalog.text) l",
      {sql, std::to_string(options.small_table), options.qualified ? "true" : "false", options.name_pattern});
  std::vector<LintFinding> findings;
  for (int row = 0; row < rows.rows(); ++row) {
    LintFinding finding;
    finding.path = path;
    finding.statement = rows.integer(row, 0);
    finding.line = rows.integer(row, 1);
    finding.column = rows.integer(row, 2);
    finding.rule = rows.text(row, 3);
    finding.severity = rows.text(row, 4);
    finding.message = rows.text(row, 5);
    finding.object = rows.text(row, 6);
    finding.lock = rows.text(row, 7);
    finding.rewrites = rows.boolean(row, 8);
    finding.scans = rows.boolean(row, 9);
    finding.bytes = rows.maybe_integer(row, 10);
    finding.safe_sql = rows.text(row, 11);
    finding.suppressed = rows.text(row, 12);
    findings.push_back(std::move(finding));
  }
  return findings;
}

void know_less(std::vector<LintFinding>& findings) {
  for (LintFinding& finding : findings)
    if (finding.severity == "error" && (finding.rule == "statement-fails" || finding.rule == "column-is-used")) {
      finding.severity = "warning";
      finding.message += "; perhaps not, as what the files before this one change is not known";
    }
}

std::string lint_text(const LintFinding& finding) {
  std::string text =
      fmt::format("{}:{}:{}: {}: {} [{}]\n", finding.path, finding.line, finding.column, finding.severity,
                  (finding.object.empty() ? "" : finding.object + ": ") + finding.message, finding.rule);
  if (finding.safe_sql.empty()) return text;
  text += "    instead:\n";
  for (std::size_t at = 0; at < finding.safe_sql.size();) {
    const std::size_t end = std::min(finding.safe_sql.find('\n', at), finding.safe_sql.size());
    text += "    " + finding.safe_sql.substr(at, end - at) + "\n";
    at = end + 1;
  }
  return text;
}

int run(const LintCommand& command, const ConnectionSettings& settings) {
  std::vector<std::pair<std::string, std::string>> files;
  try {
    for (const std::string& path : command.files)
      files.emplace_back(path == "-" ? "stdin" : path, read_sql_file(path));
  } catch (const FileError& error) {
    report(error);
    return exit_error;
  }
  Connection connection = Connector(settings).connect();
  std::vector<LintFinding> findings;
  for (const auto& [path, sql] : files) {
    std::vector<LintFinding> found = lint(connection, path, sql, command.options);
    if (path != files.front().first) know_less(found);
    std::move(found.begin(), found.end(), std::back_inserter(findings));
  }
  print(command, findings);
  const bool failed = std::any_of(findings.begin(), findings.end(), [&command](const LintFinding& finding) {
    return finding.suppressed.empty() && rank(finding.severity) >= rank(command.fail_on);
  });
  return failed ? exit_job : exit_success;
}

} // namespace dbops::cli
