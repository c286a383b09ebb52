// One migration at a time through dbops.apply_migration, with what it takes: waiting for other runners, tries after a
// lock was not to be had, statements outside of transactions.
#pragma once

#include "cli/connection.h"
#include "core/migrate/plan.h"

#include <functional>
#include <string>

namespace dbops::cli {

// How it ended.
struct AppliedResult {
  std::string outcome; // applied, already_applied, failed, cancelled, lock_timeout, locked
  std::int64_t milliseconds = 0;
  std::string statement, sqlstate, error, detail, hint, context;
  std::int64_t line = 0, column = 0;
  [[nodiscard]] bool done() const { return outcome == "applied" || outcome == "already_applied"; }
};

struct RunnerSettings {
  std::string project;
  bool out_of_order = false;
  double lock_timeout = 2; // seconds
  int lock_retries = 10;
  double wait = 300; // seconds
};

class MigrationRunner {
 public:
  // tell: a line for the user while it waits.
  MigrationRunner(Connection& connection, RunnerSettings settings, std::function<void(const std::string&)> tell,
                  std::function<void(double)> sleep);
  // type: of the history, or CALLBACK. Throws what Connection throws.
  AppliedResult apply(const core::migrate::LocalMigration& migration, const std::string& type, const std::string& sql);

 private:
  struct Report {
    Parameter step, sqlstate, error;
  };
  Result call(const core::migrate::LocalMigration& migration, const std::string& type, const std::string& sql,
              const Report& report);
  Report execute(const std::string& statement, const Parameter& step);
  [[nodiscard]] double jittered(double seconds);

  Connection& connection_;
  RunnerSettings settings_;
  std::function<void(const std::string&)> tell_;
  std::function<void(double)> sleep_;
  std::string name_; // tells this runner from others
};

} // namespace dbops::cli
