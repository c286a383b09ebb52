// The options of dbops migrate, info, validate, undo, repair, baseline, adopt, diff and lint.
#pragma once

#include "cli/commands/lint.h"
#include "cli/commands/migrate.h"

#include <CLI/CLI.hpp>

#include <array>
#include <functional>

namespace dbops::cli {

// Lives until the parse is over; `chosen` is called with the command that was given.
class MigrationOptions {
 public:
  MigrationOptions(CLI::App& app, std::function<void(const MigrationCommand&)> chosen,
                   const std::function<void(const LintCommand&)>& lint_chosen);

 private:
  std::array<MigrationCommand, 8> commands_;
  std::array<std::vector<std::string>, 8> placeholders_;
  LintCommand lint_;
  std::string lint_format_ = "text";

  void add_lint(CLI::App& app, const std::function<void(const LintCommand&)>& chosen);
};

} // namespace dbops::cli
