// dbops lint
#pragma once

#include "cli/connection.h"
#include "cli/migration_files.h"

#include <optional>
#include <string>
#include <vector>

namespace dbops::cli {

enum class LintFormat { text, json, sarif, github };

struct LintOptions {
  std::int64_t small_table = 1048576; // bytes; what is smaller gives notices alone
  bool qualified = false;             // find names without a schema
  std::string name_pattern;           // regular expression for new names; empty: any
};

struct LintCommand {
  std::vector<std::string> files; // "-" is standard input
  LintFormat format = LintFormat::text;
  std::string fail_on = "error"; // error, warning, notice, never
  LintOptions options;
};

// Returns the exit status: 0 when nothing as severe as fail_on was found, else 1.
int run(const LintCommand& command, const ConnectionSettings& settings);

// One thing that dbops.lint has found.
struct LintFinding {
  std::string path;
  std::int64_t statement = 0, line = 1, column = 1;
  std::string rule, severity, message, object, lock, safe_sql, suppressed;
  bool rewrites = false, scans = false;
  std::optional<std::int64_t> bytes;
};
std::vector<LintFinding> lint(Connection& connection, const std::string& path, const std::string& sql,
                              const LintOptions& options);
// Of a file that comes after others that have not been run: what fails now does perhaps not then.
void know_less(std::vector<LintFinding>& findings);
// For people: place, rule, message, and the safe form.
std::string lint_text(const LintFinding& finding);

} // namespace dbops::cli
