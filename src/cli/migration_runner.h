// One migration at a time through dbops.apply_migration, with what it takes: waiting for other runners, tries after a
// lock was not to be had, statements outside of transactions.
#pragma once

#include "cli/connection.h"
#include "cli/queue_watch.h"
#include "core/migrate/plan.h"

#include <chrono>
#include <functional>
#include <optional>
#include <string>

namespace dbops::cli {

// How it ended.
struct AppliedResult {
  std::string outcome; // applied, already_applied, failed, cancelled, lock_timeout, blocking, locked
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
  double wait = 300;                  // seconds for another runner
  double wait_for_transactions = 300; // seconds; then, or with 0, it tries all the same
};

class MigrationRunner {
 public:
  // tell: a line for the user while it waits.
  MigrationRunner(Connection& connection, QueueWatch& watch, RunnerSettings settings,
                  std::function<void(const std::string&)> tell, std::function<void(double)> sleep);
  // type: of the history, or CALLBACK. callbacks: those within its transaction, as dbops.apply_migration takes them.
  // Throws what Connection throws.
  AppliedResult apply(const core::migrate::LocalMigration& migration, const std::string& type, const std::string& sql,
                      const Parameter& callbacks = std::nullopt);

 private:
  // What the server is to be told about a statement that it has asked for.
  struct Report {
    Parameter step, sqlstate, error, messages;
    bool stopped = false; // it was cancelled for others
  };
  // Of one migration.
  struct Course {
    Report report;
    std::string note; // what came before, for its record
    int tries = 0;
    double pause = 0.02;                                         // seconds
    std::optional<std::chrono::steady_clock::time_point> locked; // since when
    bool told = false;
    double held_up = 0; // seconds
    std::string told_holders;
  };
  Result call(const core::migrate::LocalMigration& migration, const std::string& type, const std::string& sql,
              const Parameter& callbacks, const Course& course);
  Report execute(const std::string& name, const std::string& statement, const Parameter& step,
                 const Parameter& lock_timeout);
  void complete(AppliedResult& result, const Course& course) const;
  void await_transactions(const std::string& script, const AppliedResult& result, Course& course);
  // Whether there is to be another call.
  bool await_runner(const AppliedResult& result, Course& course);
  bool try_again(const std::string& script, const AppliedResult& result, Course& course, int most);
  void set(const char* name, const std::string& value);
  void check_client(const std::string& interval);
  [[nodiscard]] double jittered(double seconds);

  Connection& connection_;
  QueueWatch& watch_;
  RunnerSettings settings_;
  std::function<void(const std::string&)> tell_;
  std::function<void(double)> sleep_;
  std::string name_;           // tells this runner from others
  bool checks_client_ = false; // the server has been told to
};

} // namespace dbops::cli
