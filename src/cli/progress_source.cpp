#include "cli/progress_source.h"

#include "cli/local_time.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>

namespace dbops::cli {

namespace {

using core::Seconds;

// More would fit on no screen, and each costs the server something at each look.
constexpr int most_unfinished = 50;

// finished_at is the clock's time when the statement ran; its transaction may have been committed after a later one.
constexpr Seconds commit_delay(5);

// Every name qualified, operators too: whatever search_path is, nobody else's objects are found.
const std::string finished_states = "'{succeeded,failed,cancelled}'::pg_catalog.text[]";

std::string seconds_of(const std::string& interval) {
  return "(EXTRACT(EPOCH FROM " + interval + "))::pg_catalog.float8";
}

// What a job waits for. Of a schedule: when it runs next, and how its last run went.
const std::string scheduled =
    "CASE WHEN s.state OPERATOR(pg_catalog.=) 'queued' THEN coalesce('its next run, ' OPERATOR(pg_catalog.||)"
    " pg_catalog.to_char(s.next_run, 'YYYY-MM-DD HH24:MI:SS'), 'its next run') OPERATOR(pg_catalog.||)"
    " coalesce('; the last one: ' OPERATOR(pg_catalog.||) s.last_result, '')"
    " WHEN s.state OPERATOR(pg_catalog.=) 'running' THEN NULL ELSE p.waiting_for END";

// chosen: a query of job ids. The extra column at the end is no part of a job.
std::string progress_sql(const std::string& chosen, const std::string& unfinished_count) {
  return "WITH " + chosen +
         " SELECT j.job_id, j.kind, j.target, j.owner, j.label, coalesce(s.state, j.state) AS state, j.rows_done, "
         "j.rows_total,"
         " j.rows_failed,"
         " p.percent::pg_catalog.float8 AS percent, p.rows_per_second::pg_catalog.float8 AS rows_per_second, " +
         seconds_of("p.eta") + " AS eta_seconds, " + scheduled + " AS waiting_for, " + sql_utc("p.waiting_since") +
         " AS waiting_since, " + seconds_of("pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) p.waiting_since") +
         " AS waited_seconds, " + seconds_of("p.batch_time_p50") + " AS batch_time_p50_seconds, " +
         seconds_of("p.batch_time_p99") +
         " AS batch_time_p99_seconds, p.strategy, p.pass, p.batches, p.batch_rows, p.hindrances, p.lock_waits,"
         " p.wal_bytes, p.ranges_to_revisit, p.workers, j.priority, j.parallel, " +
         sql_utc("j.created_at") + " AS created_at, " + sql_utc("j.started_at") + " AS started_at, " +
         sql_utc("j.finished_at") + " AS finished_at, " +
         seconds_of("coalesce(j.finished_at, pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.-)"
                    " coalesce(CASE s.last_result WHEN 'running' THEN s.last_run END, j.started_at)") +
         " AS run_seconds, j.last_error, j.last_sqlstate, j.last_hint, " + unfinished_count +
         " AS unfinished FROM dbops.jobs j JOIN dbops.progress p ON p.job_id OPERATOR(pg_catalog.=) j.job_id"
         " LEFT JOIN dbops.schedules s ON s.job_id OPERATOR(pg_catalog.=) j.job_id"
         " WHERE j.job_id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT c.job_id FROM chosen c))"
         " AND p.job_id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT c.job_id FROM chosen c))"
         " ORDER BY j.job_id";
}

// $1: job ids
std::string named_sql() {
  return progress_sql("chosen AS (SELECT pg_catalog.unnest($1::pg_catalog.int8[]) AS job_id)", "0::pg_catalog.int8");
}

// $1: job ids to show in any case, $2: since when jobs that finished are shown. Running jobs come first.
std::string unfinished_sql() {
  return progress_sql("unfinished AS MATERIALIZED (SELECT j.job_id, j.state, j.priority, j.kind FROM dbops.jobs j"
                      "  WHERE j.state OPERATOR(pg_catalog.<>) ALL (" +
                          finished_states +
                          ")),"
                          " chosen AS MATERIALIZED ("
                          "  (SELECT u.job_id FROM unfinished u ORDER BY u.state OPERATOR(pg_catalog.=) 'running' DESC,"
                          "    u.kind OPERATOR(pg_catalog.=) 'schedule',"
                          "    u.state OPERATOR(pg_catalog.=) 'queued' DESC, u.priority DESC, u.job_id LIMIT " +
                          std::to_string(most_unfinished) +
                          ")"
                          "  UNION ALL SELECT pg_catalog.unnest($1::pg_catalog.int8[])"
                          "  UNION ALL SELECT j.job_id FROM dbops.jobs j WHERE j.finished_at OPERATOR(pg_catalog.>=)"
                          "    pg_catalog.to_timestamp($2::pg_catalog.float8))",
                      "(SELECT pg_catalog.count(*) FROM unfinished)");
}

std::string array_text(const std::set<std::int64_t>& numbers) {
  return fmt::format("{{{}}}", fmt::join(numbers, ","));
}

core::JobProgress progress_of(const Result& result, int row) {
  const auto text = [&](const char* name) { return result.text(row, result.column(name)); };
  const auto integer = [&](const char* name) { return result.integer(row, result.column(name)); };
  const auto real = [&](const char* name) { return result.maybe_real(row, result.column(name)); };
  const auto seconds = [&](const char* name) {
    const std::optional<double> value = real(name);
    return value ? std::optional<Seconds>(*value) : std::nullopt;
  };
  core::JobProgress job;
  job.job_id = integer("job_id");
  job.kind = text("kind");
  job.target = text("target");
  job.label = text("label");
  job.state = text("state");
  job.rows_done = integer("rows_done");
  job.rows_total = result.maybe_integer(row, result.column("rows_total"));
  job.percent = real("percent");
  job.rows_per_second = real("rows_per_second");
  job.eta = seconds("eta_seconds");
  job.batch_time_p50 = seconds("batch_time_p50_seconds");
  job.batch_time_p99 = seconds("batch_time_p99_seconds");
  job.waiting_for = text("waiting_for");
  job.waiting_since = local_time(text("waiting_since"));
  job.waited = seconds("waited_seconds");
  job.rows_failed = integer("rows_failed");
  job.wal_bytes = integer("wal_bytes");
  job.run_time = seconds("run_seconds");
  job.last_error = text("last_error");
  job.last_sqlstate = text("last_sqlstate");
  job.last_hint = text("last_hint");
  return job;
}

Seconds steady_now() {
  return std::chrono::steady_clock::now().time_since_epoch();
}

} // namespace

Seconds ProgressSource::server_now() const {
  return steady_now() + clock_difference_;
}

bool ProgressSource::attach(Connection& connection) {
  const Result session = connection.execute("SELECT pg_catalog.pg_backend_pid(), pg_catalog.pg_is_in_recovery(), " +
                                            seconds_of("pg_catalog.clock_timestamp()"));
  const bool direct = session.integer(0, 0) == connection.server_process();
  const bool standby = session.boolean(0, 1);
  clock_difference_ = Seconds(session.maybe_real(0, 2).value_or(0)) - steady_now();
  if (!direct || standby) return false;
  connection.execute("LISTEN dbops");
  return true;
}

Result ProgressSource::look(Connection& connection) {
  if (!named_.empty()) return connection.execute(named_sql(), {array_text(named_)});
  const Seconds now = server_now();
  if (!first_read_) first_read_ = last_read_ = now;
  const Seconds since = std::max(*first_read_, last_read_ - commit_delay);
  Result result = connection.execute(unfinished_sql(), {array_text(unfinished_), fmt::format("{:.6f}", since.count())});
  last_read_ = now;
  return result;
}

Snapshot ProgressSource::read(Connection& connection) {
  const Result result = look(connection);
  Snapshot snapshot;
  unfinished_.clear();
  std::int64_t unfinished_count = 0;
  const int own_columns = result.column("unfinished");
  for (int row = 0; row < result.rows(); ++row) {
    unfinished_count = result.integer(row, own_columns);
    snapshot.jobs.push_back({progress_of(result, row), row_as_json(result, row, own_columns)});
    const core::JobProgress& job = snapshot.jobs.back().progress;
    if (!is_finished(job)) unfinished_.insert(job.job_id);
  }
  const auto shown = static_cast<std::int64_t>(unfinished_.size());
  if (named_.empty()) snapshot.not_shown = std::max<std::int64_t>(0, unfinished_count - shown);
  return snapshot;
}

} // namespace dbops::cli
