#include "server/schedule/record.h"

#include <algorithm>

namespace dbops::server::schedule {

namespace {

std::optional<TimestampTz> time_of(const Rows& rows, std::size_t row, std::size_t column) {
  if (rows.is_null(row, column)) return std::nullopt;
  return rows.integer(row, column);
}

const std::string& columns() {
  static const std::string& text = *new std::string(
      "SELECT s.job_id, s.name, s.owner_oid, j.state, j.spec, " + micros("s.anchor") + ", " + micros("s.accounted") +
      ", " + micros("s.next_slot") + ", " + micros("s.due_at") + ", " + micros("s.pending_slot") + ", " +
      micros("s.pending_at") + ", s.pending_why, s.attempt, s.running, s.run_id, s.run_why, " + micros("s.slot") +
      ", " + micros("s.began_at") +
      ", s.stop_for_next, s.launches FROM dbops.schedule s JOIN dbops.job j USING (job_id) WHERE ");
  return text;
}

Record record_of(const Rows& rows, std::size_t i) {
  Record record;
  record.job = rows.integer(i, 0);
  record.name = rows.text(i, 1);
  record.owner = static_cast<Oid>(rows.integer(i, 2));
  record.state = rows.text(i, 3);
  record.spec = from_json(nlohmann::json::parse(rows.text(i, 4)));
  record.anchor = rows.integer(i, 5);
  record.accounted = rows.integer(i, 6);
  record.next_slot = time_of(rows, i, 7);
  record.due_at = time_of(rows, i, 8);
  if (!rows.is_null(i, 9)) record.pending = Pending{rows.integer(i, 9), rows.integer(i, 10), rows.text(i, 11)};
  record.attempt = static_cast<int>(rows.integer(i, 12));
  record.running = rows.boolean(i, 13);
  record.run = rows.integer(i, 14);
  record.why = rows.text(i, 15);
  record.slot = rows.integer(i, 16);
  record.began = rows.integer(i, 17);
  record.stop_for_next = rows.boolean(i, 18);
  record.launches = rows.integer(i, 19);
  return record;
}

// The row is locked. Not by this statement: one that has waited for a row sees the newest version of it, and the rows
// that it joins, those of the job, as they were before the wait (EvalPlanQual).
std::optional<Record> read_locked(std::int64_t job) {
  const Rows found = bookkeep(columns() + "s.job_id = $1::bigint", {to_text(job)});
  return found.empty() ? std::nullopt : std::optional(record_of(found, 0));
}

} // namespace

std::string micros(const std::string& column) {
  return "((extract(epoch FROM " + column + ") - 946684800) * 1000000)::bigint";
}

std::string from_micros(const std::string& parameter) {
  return "(timestamptz '2000-01-01 00:00:00+00' + " + parameter + "::bigint * interval '1 microsecond')";
}

Value to_value(const std::optional<TimestampTz>& time) {
  if (!time) return std::nullopt;
  return to_text(static_cast<std::int64_t>(*time));
}

std::vector<std::int64_t> lock_unclaimed(const std::string& condition, const std::vector<Value>& parameters) {
  const Rows found = bookkeep("SELECT s.job_id FROM dbops.schedule s JOIN dbops.job j USING (job_id) WHERE " +
                                  condition + " FOR NO KEY UPDATE OF s SKIP LOCKED",
                              parameters);
  std::vector<std::int64_t> jobs;
  for (std::size_t i = 0; i < found.size(); ++i)
    jobs.push_back(found.integer(i, 0));
  return jobs;
}

std::size_t count_schedules(const std::string& condition, const std::vector<Value>& parameters) {
  return static_cast<std::size_t>(
      bookkeep("SELECT count(*) FROM dbops.schedule s JOIN dbops.job j USING (job_id) WHERE " + condition, parameters)
          .integer(0, 0));
}

std::optional<Record> lock_record(std::int64_t job) {
  const Rows found = bookkeep(
      "SELECT s.job_id FROM dbops.schedule s WHERE s.job_id = $1::bigint FOR NO KEY UPDATE OF s", {to_text(job)});
  return found.empty() ? std::nullopt : read_locked(job);
}

std::optional<Record> lock_record_by_name(const std::string& name) {
  const Rows found = bookkeep("SELECT s.job_id FROM dbops.schedule s WHERE s.name = $1 FOR NO KEY UPDATE OF s", {name});
  return found.empty() ? std::nullopt : read_locked(found.integer(0, 0));
}

void store_plan(const Record& record, std::int64_t missed, std::int64_t skipped) {
  static const std::string& update =
      *new std::string("UPDATE dbops.schedule SET accounted = " + from_micros("$2") +
                       ", next_slot = " + from_micros("$3") + ", due_at = " + from_micros("$4") +
                       ", pending_slot = " + from_micros("$5") + ", pending_at = " + from_micros("$6") +
                       ", pending_why = $7, attempt = $8::integer, missed = missed + $9::bigint, skipped = skipped + "
                       "$10::bigint WHERE job_id = $1::bigint");
  const std::optional<Pending>& pending = record.pending;
  bookkeep(update,
           {to_text(record.job), to_value(record.accounted), to_value(record.next_slot), to_value(record.due_at),
            pending ? to_value(pending->slot) : std::nullopt, pending ? to_value(pending->at) : std::nullopt,
            pending ? Value(pending->why) : std::nullopt, to_text(record.attempt), to_text(missed), to_text(skipped)});
}

TimestampTz due_of(const Pending& pending, const Timing& timing) {
  return pending.why == "now" ? pending.at : timing.in_window(pending.at);
}

void plan_next(Record& record, const Timing& timing) {
  record.next_slot.reset();
  record.due_at.reset();
  if (!record.spec.schedule.empty())
    if (const auto next = timing.planner().next(to_instant(record.accounted))) {
      record.next_slot = to_timestamp(*next);
      record.due_at = timing.in_window(timing.due_at(*next));
    }
  if (record.pending) record.due_at = std::min(record.due_at.value_or(DT_NOEND), due_of(*record.pending, timing));
}

void start_counting(Record& record, TimestampTz now) {
  const Timing timing(record.spec, record.job, record.anchor);
  // Later than now: the clock was set back, and what was run already stays accounted for.
  const bool set_back = record.accounted > now && !record.spec.schedule.empty();
  const core::sys_seconds from = to_instant(now);
  record.accounted = to_timestamp(
      set_back ? timing.planner().due(to_instant(record.accounted), from, record.spec.missed, 1).accounted : from);
  record.pending.reset();
  if (!record.running) record.attempt = 1; // a run under way keeps its number: its retry is the next one
  plan_next(record, timing);
}

} // namespace dbops::server::schedule
