// The SQL functions schedule, alter_schedule, unschedule and run_now. See src/schema/schedule.sql.

#include "server/arguments.h"
#include "server/compat.h"
#include "server/engine/control.h"
#include "server/engine/shared.h"
#include "server/engine/submit.h"
#include "server/engine/wake.h"
#include "server/schedule/runs.h"

extern "C" {
#include "catalog/pg_authid.h"
#include "utils/acl.h"
#include "utils/syscache.h"
}

namespace dbops::server::schedule {

namespace {

using nlohmann::json;

constexpr std::size_t longest_name = 200;
constexpr double longest_delay = 30 * 86'400.0; // seconds

[[noreturn]] void bad_argument(const std::string& message, const std::string& hint = {}) {
  throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, message, hint);
}

// What stands in a call; absent: the default of dbops.schedule, or unchanged in dbops.alter_schedule.
struct Request {
  std::string name;
  std::optional<std::string> schedule, command, timezone, overlap, missed, windows, after, settings, new_name;
  std::optional<int> max_missed, retries, priority, max_output;
  std::optional<double> retry_delay, time_limit, jitter; // seconds
  std::optional<std::string> run_as;
};

std::string name_argument(const std::optional<std::string>& name, const char* what) {
  if (!name) throw SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, std::string(what) + " must not be null");
  if (name->empty() || name->size() > longest_name) bad_argument(std::string(what) + " must have 1 to 200 bytes");
  return *name;
}

// Must follow the declarations in src/schema/schedule.sql.
Request read_request(FunctionCallInfo fcinfo) {
  Arguments in(fcinfo);
  Request request;
  request.name = name_argument(in.string(), "name");
  request.schedule = in.string();
  request.command = in.string();
  request.timezone = in.string();
  request.overlap = in.string();
  request.missed = in.string();
  request.max_missed = in.integer();
  request.retries = in.integer();
  request.retry_delay = in.seconds();
  request.time_limit = in.seconds();
  request.windows = in.string();
  request.priority = in.integer();
  request.after = in.string();
  request.settings = in.jsonb();
  request.jitter = in.seconds();
  request.max_output = in.integer();
  return request;
}

template <typename T>
void put(T& into, const std::optional<T>& value) {
  if (value) into = *value;
}

template <typename T>
void require_range(const char* name, T value, T low, T high) {
  if (!(value >= low && value <= high))
    bad_argument(std::string(name) + " must be between " + json(low).dump() + " and " + json(high).dump());
}

Settings read_settings(const std::string& text) {
  const json given = json::parse(text);
  if (!given.is_object())
    bad_argument("settings must be an object", R"(For example '{"work_mem": "64MB", "statement_timeout": "5min"}'.)");
  Settings settings;
  for (const auto& [name, value] : given.items()) {
    if (!value.is_string() && !value.is_number() && !value.is_boolean())
      bad_argument("settings: the value of \"" + name + "\" must be a string, a number or a boolean");
    settings.emplace_back(name, value.is_string() ? value.get<std::string>() : value.dump());
  }
  return settings;
}

// Puts the request over what there is and checks all of it.
void apply(const Request& request, Spec& spec) {
  put(spec.schedule, request.schedule);
  put(spec.command, request.command);
  put(spec.timezone, request.timezone);
  put(spec.max_missed, request.max_missed);
  put(spec.retries, request.retries);
  put(spec.retry_delay, request.retry_delay);
  put(spec.time_limit, request.time_limit);
  put(spec.windows, request.windows);
  put(spec.after, request.after);
  put(spec.jitter, request.jitter);
  put(spec.max_output, request.max_output);
  if (request.settings) spec.settings = read_settings(*request.settings);
  if (request.overlap) {
    const auto overlap = core::overlap_policy(*request.overlap);
    if (!overlap) bad_argument("overlap \"" + *request.overlap + "\" is not known", "skip, queue or cancel.");
    spec.overlap = *overlap;
  }
  if (request.missed) {
    const auto missed = core::missed_policy(*request.missed);
    if (!missed) bad_argument("missed \"" + *request.missed + "\" is not known", "skip, once or all.");
    spec.missed = *missed;
  }
  require_range("max_missed", spec.max_missed, 1, 1000);
  require_range("retries", spec.retries, 0, 100);
  require_range("retry_delay (seconds)", spec.retry_delay, 0.0, longest_delay);
  require_range("time_limit (seconds)", spec.time_limit, 0.0, longest_delay);
  require_range("jitter (seconds)", spec.jitter, 0.0, longest_delay);
  require_range("max_output", spec.max_output, 0, 16 * 1024 * 1024);
  if (spec.schedule.empty() == spec.after.empty())
    bad_argument(spec.schedule.empty() ? "a schedule needs a time, or another schedule to run after"
                                       : "schedule and after exclude each other",
                 "Give one of the two; the other is NULL, or '' in dbops.alter_schedule().");
  if (!spec.schedule.empty()) {
    const Timing timing(spec, 0, GetCurrentTimestamp());
    if (!timing.planner().next(to_instant(GetCurrentTimestamp())))
      bad_argument("schedule: \"" + spec.schedule + "\" is in the past");
  } else
    (void)Timing(spec, 0, 0); // the windows and the time zone
}

// As the role that it will run as, which decides what it may set.
void check_as(Oid owner, const Spec& spec) {
  const auto check = [&spec] {
    check_command(spec.command);
    for (const auto& [name, value] : spec.settings)
      check_setting(name, value);
  };
  if (owner == GetUserId())
    check();
  else
    as_role(owner, SECURITY_RESTRICTED_OPERATION | SECURITY_LOCAL_USERID_CHANGE, check);
}

Oid choose_owner(const std::optional<std::string>& run_as) {
  if (!run_as) return GetUserId();
  return call_pg([&run_as] {
    const Oid role = get_role_oid(run_as->c_str(), false);
    if (!compat::may_become(GetUserId(), role))
      ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                      errmsg("must be a member of role \"%s\" to schedule a command as it", run_as->c_str())));
    return role;
  });
}

// Said now, when somebody is looking.
void warn_if_nobody_can_run(Oid owner) {
  const bool can_login = call_pg([owner] {
    HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(owner));
    if (!HeapTupleIsValid(tuple)) return false;
    const bool login = reinterpret_cast<Form_pg_authid>(GETSTRUCT(tuple))->rolcanlogin;
    ReleaseSysCache(tuple);
    return login;
  });
  if (!can_login && !compat::nologin_workers)
    warn("role \"" + role_name(owner) +
         "\" has no LOGIN: before PostgreSQL 17 no background worker can run commands as it");
  if (shared() == nullptr) warn("dbops is not in shared_preload_libraries: nothing is run at its time");
}

Record require_record(const std::string& name) {
  const std::optional<Record> record = lock_record_by_name(name);
  if (!record)
    throw SqlError(ERRCODE_UNDEFINED_OBJECT, "schedule \"" + name + "\" does not exist",
                   "See dbops.schedules for those there are.");
  Job job;
  job.id = record->job;
  job.owner = record->owner;
  require_control(job);
  return *record;
}

// The command, and what it runs under, are the owner's word: being allowed to steer is not enough to change them.
void require_owner(const Record& record) {
  const bool allowed = call_pg([&record] { return superuser() || compat::may_become(GetUserId(), record.owner); });
  if (!allowed)
    throw SqlError(ERRCODE_INSUFFICIENT_PRIVILEGE,
                   "only members of its owner's role may change what schedule \"" + record.name + "\" runs");
}

// The job that `spec.after` names. Chains that come back to `self` are refused.
Value job_to_follow(const Spec& spec, std::int64_t self) {
  if (spec.after.empty()) return std::nullopt;
  const Record other = require_record(spec.after);
  const Rows circle = bookkeep("WITH RECURSIVE before(job_id) AS (SELECT $1::bigint UNION SELECT s.after_job FROM "
                               "dbops.schedule s JOIN before b USING (job_id)"
                               " WHERE s.after_job IS NOT NULL) SELECT 1 FROM before WHERE job_id = $2::bigint",
                               {to_text(other.job), to_text(self)});
  if (!circle.empty()) bad_argument("schedule \"" + spec.after + "\" runs after this one already");
  return to_text(other.job);
}

std::int64_t insert_job(const Request& request, const Spec& spec, Oid owner) {
  const std::string actor = role_name(GetUserId());
  const Rows inserted = bookkeep(
      "INSERT INTO dbops.job (kind, target_oid, target_name, owner_oid, owner_name, created_by, label, priority, spec)"
      " VALUES ('schedule', 0, $1, $2::oid, $3, $4, $1, $5::integer, $6::jsonb) RETURNING job_id",
      {request.name, to_text(owner), role_name(owner), actor, to_text(request.priority.value_or(0)),
       to_json(spec).dump()});
  const std::string id = inserted.text(0, 0);
  bookkeep("INSERT INTO dbops.job_event (job_id, actor, action, to_state) VALUES ($1::bigint, $2, 'create', 'queued')",
           {id, actor});
  notify_state(inserted.integer(0, 0), "schedule", std::nullopt, "queued");
  return inserted.integer(0, 0);
}

void make_room_for(const std::string& name) {
  const std::optional<Record> other = lock_record_by_name(name);
  if (!other) return;
  if (other->state == "queued" || other->state == "paused")
    throw SqlError(ERRCODE_DUPLICATE_OBJECT, "schedule \"" + name + "\" exists already",
                   "dbops.alter_schedule() changes it, dbops.unschedule() removes it.");
  require_record(name);
  bookkeep("DELETE FROM dbops.schedule WHERE job_id = $1::bigint", {to_text(other->job)});
}

std::int64_t create(FunctionCallInfo fcinfo) {
  Request request = read_request(fcinfo);
  if (!PG_ARGISNULL(16)) request.run_as = NameStr(*PG_GETARG_NAME(16));
  if (!request.command) throw SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, "command must not be null");
  const int priority = request.priority.value_or(0);
  require_range("priority", priority, -1000, 1000);
  Spec spec;
  spec.timezone = session_zone();
  apply(request, spec);
  const Oid owner = choose_owner(request.run_as);
  check_as(owner, spec);
  make_room_for(request.name);
  const Value follows = job_to_follow(spec, 0);
  Record record;
  record.job = insert_job(request, spec, owner);
  record.spec = spec;
  record.anchor = to_timestamp(to_instant(GetCurrentTimestamp()));
  start_counting(record, GetCurrentTimestamp());
  bookkeep("INSERT INTO dbops.schedule (job_id, name, owner_oid, priority, overlap, after_job, anchor, accounted) "
           "VALUES ($1::bigint, $2, $3::oid,"
           " $4::integer, $5, $6::bigint, " +
               from_micros("$7") + ", " + from_micros("$7") + ")",
           {to_text(record.job), request.name, to_text(owner), to_text(priority),
            to_json(spec).at("overlap").get<std::string>(), follows, to_value(record.anchor)});
  store_plan(record, 0, 0);
  warn_if_nobody_can_run(owner);
  announce_at_commit();
  return record.job;
}

std::int64_t alter(FunctionCallInfo fcinfo) {
  Request request = read_request(fcinfo);
  if (!PG_ARGISNULL(16)) request.new_name = call_pg([fcinfo] { return text_to_cstring(PG_GETARG_TEXT_PP(16)); });
  Record record = require_record(request.name);
  if (record.state != "queued" && record.state != "paused")
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "schedule \"" + request.name + "\" is " + record.state,
                   "SELECT dbops.retry(" + to_text(record.job) + ") brings it back; or make it again.");
  if (request.command || request.settings) require_owner(record);
  if (request.priority) require_range("priority", *request.priority, -1000, 1000);
  const auto before = record.spec;
  apply(request, record.spec);
  check_as(record.owner, record.spec);
  const Value follows = job_to_follow(record.spec, record.job);
  const std::string name = request.new_name ? name_argument(request.new_name, "new_name") : request.name;
  if (name != request.name) make_room_for(name);
  bookkeep("UPDATE dbops.job SET spec = $2::jsonb, label = $3, target_name = $3, priority = coalesce($4::integer, "
           "priority) WHERE job_id = $1::bigint",
           {to_text(record.job), to_json(record.spec).dump(), name,
            request.priority ? Value(to_text(*request.priority)) : std::nullopt});
  bookkeep("UPDATE dbops.schedule SET name = $2, priority = coalesce($3::integer, priority), overlap = $4, after_job = "
           "$5::bigint WHERE job_id = $1::bigint",
           {to_text(record.job), name, request.priority ? Value(to_text(*request.priority)) : std::nullopt,
            to_json(record.spec).at("overlap").get<std::string>(), follows});
  // Said again as it is, it begins no new count: an interval that is set daily to two days would never come.
  const bool other_schedule = record.spec.schedule != before.schedule;
  const bool other_times =
      other_schedule || record.spec.timezone != before.timezone || record.spec.after != before.after;
  if (other_times) {
    if (other_schedule) record.anchor = to_timestamp(to_instant(GetCurrentTimestamp()));
    record.accounted = 0; // other times than it had before
    bookkeep("UPDATE dbops.schedule SET anchor = " + from_micros("$2") + " WHERE job_id = $1::bigint",
             {to_text(record.job), to_value(record.anchor)});
    start_counting(record, GetCurrentTimestamp());
  } else if (request.jitter || request.windows) {
    plan_next(record, Timing(record.spec, record.job, record.anchor)); // what is owed stays owed
  }
  if (other_times || request.jitter || request.windows) {
    if (record.state != "queued") record.due_at.reset();
    store_plan(record, 0, 0);
  }
  bookkeep("INSERT INTO dbops.job_event (job_id, actor, action, from_state, to_state) VALUES ($1::bigint, $2, 'alter', "
           "$3, $3)",
           {to_text(record.job), role_name(GetUserId()), record.state});
  announce_at_commit();
  return record.job;
}

void remove_record(const Record& record, const std::string& name) {
  const Rows followers = bookkeep(
      "SELECT string_agg(quote_literal(name), ', ' ORDER BY name) FROM dbops.schedule WHERE after_job = $1::bigint",
      {to_text(record.job)});
  if (!followers.is_null(0, 0))
    throw SqlError(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
                   "other schedules run after \"" + name + "\": " + followers.text(0, 0),
                   "Remove or alter them first.");
  Job job = read_job(record.job, true);
  if (!core::is_terminal(job.state)) {
    change_state(job, core::JobAction::cancel, role_name(GetUserId()), "unscheduled");
    for (const int pid : workers_of(record.job))
      interrupt_at_commit(pid, record.job);
  }
  bookkeep("DELETE FROM dbops.schedule WHERE job_id = $1::bigint", {to_text(record.job)});
}

std::int64_t remove(FunctionCallInfo fcinfo) {
  Arguments in(fcinfo);
  const std::string name = name_argument(in.string(), "name");
  const Record record = require_record(name);
  remove_record(record, name);
  return record.job;
}

std::int64_t run_now(FunctionCallInfo fcinfo) {
  Arguments in(fcinfo);
  const std::string name = name_argument(in.string(), "name");
  Record record = require_record(name);
  if (record.state != "queued")
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "schedule \"" + name + "\" is " + record.state,
                   record.state == "paused" ? "SELECT dbops.resume(" + to_text(record.job) + ")"
                                            : "Make it again with dbops.schedule().");
  const TimestampTz now = GetCurrentTimestamp();
  record.pending = Pending{now, now, "now"};
  if (!record.running) record.attempt = 1;
  record.due_at = now;
  store_plan(record, 0, 0);
  announce_at_commit();
  return record.job;
}

template <typename F>
Datum with_spi(FunctionCallInfo fcinfo, F body) {
  SpiConnection spi;
  const std::int64_t job = body(fcinfo);
  spi.close();
  return Int64GetDatum(job);
}

} // namespace

void remove_schedule(std::int64_t job) {
  const std::optional<Record> record = lock_record(job);
  if (!record) return;
  remove_record(*record,
                bookkeep("SELECT name FROM dbops.schedule WHERE job_id = $1::bigint", {to_text(job)}).text(0, 0));
}

} // namespace dbops::server::schedule

using namespace dbops::server;

DBOPS_SQL_FUNCTION(dbops_schedule) {
  return boundary([fcinfo] { return schedule::with_spi(fcinfo, schedule::create); });
}

DBOPS_SQL_FUNCTION(dbops_alter_schedule) {
  return boundary([fcinfo] { return schedule::with_spi(fcinfo, schedule::alter); });
}

DBOPS_SQL_FUNCTION(dbops_unschedule) {
  return boundary([fcinfo] { return schedule::with_spi(fcinfo, schedule::remove); });
}

DBOPS_SQL_FUNCTION(dbops_run_now) {
  return boundary([fcinfo] { return schedule::with_spi(fcinfo, schedule::run_now); });
}
