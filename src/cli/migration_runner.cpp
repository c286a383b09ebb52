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

// Each of these has made others wait for --max-blocking.
constexpr int blocking_retries = 2;

// While it lives, somebody looks at what a statement waits for and who waits for it.
class Watched {
 public:
  Watched(QueueWatch& watch, const std::string& name, const std::string& mark, bool bounded) : watch_(watch) {
    watch_.begin(name, mark, bounded);
  }
  ~Watched() { watch_.end(); }
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;

 private:
  QueueWatch& watch_;
};

// The comment before a statement that the server has asked for.
std::string mark_of(const std::string& statement) {
  const std::size_t end = statement.starts_with("/* dbops step ") ? statement.find("*/") : std::string::npos;
  return end == std::string::npos ? std::string() : statement.substr(0, end + 2);
}

std::string array_of(const std::vector<std::string>& texts) {
  std::string array;
  for (const std::string& text : texts) {
    array += array.empty() ? "{\"" : ",\"";
    for (const char c : text)
      array += c == '"' || c == '\\' ? std::string("\\") + c : std::string(1, c);
    array += '"';
  }
  return array + "}";
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

MigrationRunner::MigrationRunner(Connection& connection, QueueWatch& watch, RunnerSettings settings,
                                 std::function<void(const std::string&)> tell, std::function<void(double)> sleep)
    : connection_(connection), watch_(watch), settings_(std::move(settings)), tell_(std::move(tell)),
      sleep_(std::move(sleep)), name_(fmt::format("{:08x}{:08x}", generator()(), generator()())) {}

double MigrationRunner::jittered(double seconds) {
  return seconds * std::uniform_real_distribution<double>(0.5, 1.5)(generator());
}

void MigrationRunner::set(const char* name, const std::string& value) {
  connection_.execute("SELECT pg_catalog.set_config($1::pg_catalog.text, $2::pg_catalog.text, false)", {name, value});
}

void MigrationRunner::check_client(const std::string& interval) {
  try {
    set("client_connection_check_interval", interval);
  } catch (const SqlError&) { // a platform that cannot
  }
}

Result MigrationRunner::call(const migrate::LocalMigration& migration, const std::string& type, const std::string& sql,
                             const Parameter& callbacks, const Course& course) {
  const auto& version = migration.name.version;
  const Report& report = course.report;
  // Which locks a statement takes is an estimate: it may have it wait, and nothing worse.
  const char* const if_held_up = course.held_up < settings_.wait_for_transactions ? "report" : "try";
  const std::string mark = "/* dbops runner " + name_ + " */ ";
  const Watched watched(watch_, migration.script, mark, true);
  return connection_.execute(
      mark +
          "SELECT r.* FROM dbops.apply_migration($1::pg_catalog.text, $2::pg_catalog.text, project =>"
          " $3::pg_catalog.text, checksum => $4::pg_catalog.int4, version => $5::pg_catalog.text,"
          " description => $6::pg_catalog.text, type => $7::pg_catalog.text, out_of_order => $8::pg_catalog.bool,"
          " lock_timeout => $9::pg_catalog.interval, step => $10::pg_catalog.int8,"
          " step_sqlstate => $11::pg_catalog.text, step_error => $12::pg_catalog.text, runner => $13::pg_catalog.text,"
          " callbacks => $14::pg_catalog.jsonb, if_held_up => $15::pg_catalog.text, note => $16::pg_catalog.text,"
          " step_messages => $17::pg_catalog.text[]) r",
      {migration.script, sql, settings_.project, std::to_string(migration.checksum),
       version ? Parameter(version->text()) : std::nullopt, migration.name.description, type,
       settings_.out_of_order ? "true" : "false", fmt::format("{} s", settings_.lock_timeout), report.step,
       report.sqlstate, report.error, name_, callbacks, if_held_up,
       course.note.empty() ? std::nullopt : Parameter(course.note), report.messages});
}

// Outside of a transaction block, the way psql would send it. Behind a pooler a SET would reach other sessions.
MigrationRunner::Report MigrationRunner::execute(const std::string& name, const std::string& statement,
                                                 const Parameter& step, const Parameter& lock_timeout) {
  Report report;
  report.step = step;
  const bool direct = connection_.is_direct();
  if (direct && lock_timeout) set("lock_timeout", *lock_timeout);
  if (direct && !lock_timeout) check_client("0"); // it is in nobody's way, and half an index is of no use
  std::vector<std::string> messages;
  try {
    const Connection::KeptNotices kept(connection_, messages);
    const Watched watched(watch_, name, mark_of(statement), lock_timeout.has_value());
    connection_.execute_simple(statement);
  } catch (const SqlError& error) {
    if (!step) throw;
    report.sqlstate = error.sqlstate();
    report.error = std::string(error.what()) + (error.detail().empty() ? "" : " (" + error.detail() + ")");
    report.stopped = watch_.has_cancelled();
    if (report.stopped)
      report.error = "cancelled, because others had been waiting for it for too long: " + watch_.waiters();
  }
  if (!messages.empty()) report.messages = array_of(messages);
  if (direct && lock_timeout) connection_.execute("RESET lock_timeout");
  if (direct && !lock_timeout) check_client("1s");
  return report;
}

// With what the server cannot know.
void MigrationRunner::complete(AppliedResult& result, const Course& course) const {
  if (result.outcome == "cancelled" && (watch_.has_cancelled() || course.report.stopped)) result.outcome = "blocking";
  if (!result.detail.empty()) return;
  if (result.outcome == "blocking" && !watch_.waiters().empty()) result.detail = "waiting: " + watch_.waiters();
  if (result.outcome == "lock_timeout" && !watch_.holders().empty()) result.detail = "held by " + watch_.holders();
}

bool MigrationRunner::await_runner(const AppliedResult& result, Course& course) {
  if (!course.locked) course.locked = Clock::now();
  if (std::chrono::duration<double>(Clock::now() - *course.locked).count() > settings_.wait) return false;
  if (!course.told && course.pause > 0.5) {
    tell_("waits for another runner" + (result.detail.empty() ? "" : ": " + result.detail));
    course.told = true;
  }
  sleep_(jittered(course.pause));
  course.pause = std::min(course.pause * 1.5, 1.0);
  return true;
}

// Nothing is locked meanwhile: each look is a transaction of its own.
void MigrationRunner::await_transactions(const std::string& script, const AppliedResult& result, Course& course) {
  if (result.detail != course.told_holders)
    tell_(script + " is not tried, as what it has to lock is held by " + result.detail);
  course.told_holders = result.detail;
  const double seconds = std::min(jittered(0.5), settings_.wait_for_transactions);
  sleep_(seconds);
  course.held_up += seconds;
  course.note = fmt::format("waited {:.1f} s for {}", course.held_up, result.detail);
  if (course.held_up >= settings_.wait_for_transactions)
    tell_(script + " is tried all the same, as they have not ended in time");
}

// After a growing, random pause.
bool MigrationRunner::try_again(const std::string& script, const AppliedResult& result, Course& course, int most) {
  if (course.tries >= most) return false;
  const double seconds = jittered(std::min(0.5 * static_cast<double>(1 << std::min(course.tries, 10)), 30.0));
  ++course.tries;
  const std::string why = result.error + (result.detail.empty() ? "" : ", " + result.detail);
  tell_(fmt::format("{}: {} ({}); try {} of {} in {:.1f} s", script, why, result.statement, course.tries + 1, most + 1,
                    seconds));
  course.note = fmt::format("try {}: {}", course.tries, why);
  sleep_(seconds);
  return true;
}

AppliedResult MigrationRunner::apply(const migrate::LocalMigration& migration, const std::string& type,
                                     const std::string& sql, const Parameter& callbacks) {
  if (!checks_client_) {
    // What nobody waits for any more, because dbops was killed, is not to go on, as nobody looks for how long others
    // wait for it either.
    checks_client_ = true;
    if (connection_.is_direct()) check_client("1s");
  }
  for (Course course;;) {
    const Result row = call(migration, type, sql, callbacks, course);
    AppliedResult result = read_result(row);
    complete(result, course);
    if (result.outcome != "locked") { // else it may not have been heard
      course.report = {};
      course.locked.reset();
      if (result.outcome != "held_up") course.note.clear();
    }
    bool again = false;
    if (result.outcome == "execute") {
      course.report = execute(migration.script, result.statement, row.parameter(0, row.column("step")),
                              row.parameter(0, row.column("lock_timeout")));
      again = true;
    } else if (result.outcome == "locked")
      again = await_runner(result, course);
    else if (result.outcome == "held_up") {
      await_transactions(migration.script, result, course);
      again = true;
    } else if (result.outcome == "lock_timeout")
      again = try_again(migration.script, result, course, settings_.lock_retries);
    else if (result.outcome == "blocking")
      again = try_again(migration.script, result, course, std::min(settings_.lock_retries, blocking_retries));
    if (!again) return result;
  }
}

} // namespace dbops::cli
