// The SQL functions retain, unretain, confirm_retention and retention_backlog. See src/schema/lifecycle.sql.

#include <nlohmann/json.hpp>

#include "core/text/json_text.h"
#include "server/arguments.h"
#include "server/backfill/input.h"
#include "server/backfill/statement.h"
#include "server/compat.h"
#include "server/engine/shared.h"
#include "server/engine/submit.h"
#include "server/engine/wake.h"
#include "server/lifecycle/expired_partitions.h"
#include "server/lifecycle/holds.h"
#include "server/lifecycle/partition_bounds.h"
#include "server/lifecycle/retention_run.h"
#include "server/schedule/runs.h"

extern "C" {
#include "catalog/pg_class.h"
#include "funcapi.h"
#include "utils/lsyscache.h"
#include "utils/tuplestore.h"
}

namespace dbops::server::lifecycle {

namespace {

using nlohmann::json;

constexpr double longest_grace = 3650 * 86'400.0;       // seconds
constexpr double longest_keep = 12'000 * 30 * 86'400.0; // a month counts as 30 days
constexpr std::size_t named_tables = 3;                 // in one warning

[[noreturn]] void bad_argument(const std::string& message, const std::string& hint = {}) {
  throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, message, hint);
}

struct Request {
  Rule rule;
  std::string column;
  backfill::Spec spec;
  std::optional<std::string> run_as;
  bool dry_run = false;
};

template <typename T>
T required(const std::optional<T>& value, const char* name) {
  if (!value) throw SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, std::string(name) + " must not be null");
  return *value;
}

// The interval at that place, as text that reads back as the same; empty: NULL.
std::string interval_text(FunctionCallInfo fcinfo, int place) {
  if (PG_ARGISNULL(place)) return {};
  const int nest_level = enter_settings(canonical_text());
  std::string text =
      call_pg([fcinfo, place] { return OidOutputFunctionCall(F_INTERVAL_OUT, fcinfo->args[place].value); });
  leave_settings(nest_level);
  return text;
}

// Must follow the declaration in src/schema/lifecycle.sql.
Request read_request(FunctionCallInfo fcinfo) {
  Arguments in(fcinfo);
  Request request;
  Rule& rule = request.rule;
  rule.target = in.relation();
  request.column = required(in.name(), "column_name");
  const double keep = required(in.period("keep"), "keep");
  if (!(keep >= 1)) bad_argument("keep must be at least a second");
  if (!(keep <= longest_keep)) bad_argument("keep must be at most 1000 years");
  rule.keep = interval_text(fcinfo, 2);
  rule.schedule = required(in.string(), "schedule");
  const std::string children = required(in.string(), "children");
  const std::optional<Children> policy = children_policy(children);
  if (!policy) bad_argument("children \"" + children + "\" is not known", "restrict, delete or set null.");
  request.spec.children = *policy;
  const std::string partitions = required(in.string(), "partitions");
  const std::optional<Partitions> way = partitions_policy(partitions);
  if (!way) bad_argument("partitions \"" + partitions + "\" is not known", "drop, detach or rows.");
  rule.partitions = *way;
  rule.maximum = read_maximum(in);
  rule.restore_grace = required(in.period("restore_grace"), "restore_grace");
  if (!(rule.restore_grace >= 0 && rule.restore_grace <= longest_grace))
    bad_argument("restore_grace must be between 0 and 10 years");
  backfill::read_batch_options(in, request.spec);
  rule.timezone = request.spec.timezone;
  request.run_as = in.name();
  rule.priority = required(in.integer(), "priority");
  if (rule.priority < -1000 || rule.priority > 1000) bad_argument("priority must be between -1000 and 1000");
  request.dry_run = required(in.truth(), "dry_run");
  return request;
}

void find_column(Request& request) {
  const Rows found =
      ask_catalog("SELECT attnum FROM pg_attribute WHERE attrelid = $1::oid AND attname = $2 AND attnum > 0"
                  " AND NOT attisdropped",
                  {to_text(request.rule.target), request.column});
  if (found.empty())
    throw SqlError(ERRCODE_UNDEFINED_COLUMN,
                   "column \"" + request.column + "\" of " + qualified_name(request.rule.target) + " does not exist");
  request.rule.column = static_cast<int>(found.integer(0, 0));
}

// What the deletion does to them, it must be allowed to do; and it must see all their rows.
void require_rights_on(const std::vector<Dependent>& dependents, Oid owner) {
  for (const Dependent& one : dependents) {
    backfill::require_all_rows(one.relation, owner);
    if (one.effect == Dependent::Effect::erased)
      query("EXPLAIN (COSTS OFF) DELETE FROM " + one.name);
    else if (one.effect == Dependent::Effect::changed) {
      std::string nulls;
      for (const Dependent::Column& column : one.columns)
        nulls += (nulls.empty() ? "" : ", ") + column.child + " = NULL";
      query("EXPLAIN (COSTS OFF) UPDATE " + one.name + " SET " + nulls);
    } else
      query("EXPLAIN (COSTS OFF) SELECT " + one.columns.front().child + " FROM " + one.name);
    require_rights_on(one.below, owner);
  }
}

template <typename F>
auto as_owner(Oid owner, const Settings& settings, F&& fn) {
  const int flags = owner == GetUserId() ? 0 : SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION;
  return as_role(owner, flags, [&] {
    const int nest_level = enter_settings(settings);
    auto result = fn();
    undo_settings(nest_level);
    return result;
  });
}

backfill::DeletePlan check(Request& request, backfill::DeleteRequest& run) {
  Rule& rule = request.rule;
  rule.options = core::json_text(backfill::to_json(request.spec));
  backfill::DeletePlan plan = plan_run(rule, run);
  as_owner(rule.owner, request.spec.settings, [&] {
    std::vector<Oid> members = backfill::family(rule.target);
    members.push_back(rule.target);
    for (const Oid member : members)
      require_rights_on(dependents_of(member, request.spec.children), rule.owner);
    return true;
  });
  if (drops_partitions(rule) && !partitions_of(rule.target, column_of(rule)).empty() &&
      !call_pg([&rule] { return compat::owns_relation(rule.target, rule.owner); }))
    throw SqlError(ERRCODE_INSUFFICIENT_PRIVILEGE,
                   "role \"" + role_name(rule.owner) + "\" does not own " + qualified_name(rule.target) +
                       ", so it cannot detach partitions",
                   "partitions => 'rows' deletes their rows instead; run_as names another role.");
  std::string without;
  std::size_t count = 0;
  for (const backfill::Table& table : plan.tables) {
    const auto by_age = backfill::describe_table_by(table.oid, column_of(rule));
    if (!table.key.usable() || !by_age || by_age->key.usable()) continue;
    if (++count <= named_tables)
      without += " CREATE INDEX CONCURRENTLY ON " + table.name + " (" + column_of(rule) + ");";
  }
  if (count > 0)
    plan.warnings.push_back("no index on column " + column_of(rule) +
                            (count > 1 ? " in " + to_text(static_cast<std::int64_t>(count)) + " tables" : "") +
                            ": each run reads every row of the table." + without +
                            (count > named_tables ? " ..." : ""));
  return plan;
}

// --- what is shown
// ----------------------------------------------------------------------------------------------------

struct Line {
  Value rule, action, relation, rows, detail;
};

std::string plain_name(const Dependent& dependent) {
  return dependent.name.starts_with("ONLY ") ? dependent.name.substr(5) : dependent.name;
}

// What goes, or changes, with the rows `above`.
void count_children(const std::vector<Dependent>& dependents, const std::string& above, int depth,
                    std::vector<Line>& lines) {
  for (const Dependent& one : dependents) {
    const std::string alias = "c" + std::to_string(depth);
    const std::string refers =
        "EXISTS (SELECT FROM " + above + " AND " + join_of(one, "c" + std::to_string(depth - 1), alias) + ")";
    const std::string rows = one.name + " AS " + alias + " WHERE " + refers;
    const char* action = one.effect == Dependent::Effect::erased ? "delete rows" : "set null";
    const Rows counted = query("SELECT pg_catalog.count(*) FROM " + rows);
    lines.push_back({std::nullopt, action, plain_name(one), counted.text(0, 0), "by foreign key " + one.constraint});
    count_children(one.below, rows, depth + 1, lines);
  }
}

// What is asked of holds takes a lock, which goes with the savepoint: who only looks keeps nobody from placing a hold.
template <typename F>
std::string without_lock(F&& ask) {
  struct Done {};
  std::string answer;
  try {
    in_savepoint([&]() -> bool {
      answer = ask();
      throw Done{};
    });
  } catch (const Done&) { // rolled back
  }
  return answer;
}

// Of one table: what a batch would delete, and what it would leave out.
void count_rows(Oid member, const backfill::Spec& spec, std::vector<Line>& lines) {
  const std::string name = qualified_name(member);
  const std::string matching = "ONLY " + name + " AS c0 WHERE (" + spec.condition + ")";
  const std::vector<Dependent> dependents = dependents_of(member, spec.children);
  const bool restricted = spec.children == Children::forbid;
  const std::string free = without_lock([&] { return unheld(member, "c0", spec.children); });
  const std::string gone = free + (restricted ? backfill::unreferred("c0", dependents) : "");
  const Rows counted = query("SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE true" + free +
                             "), pg_catalog.count(*) FILTER (WHERE true" + gone + ") FROM " + matching);
  if (counted.integer(0, 0) == 0) return;
  lines.push_back({std::nullopt, "delete rows", name, counted.text(0, 2), spec.condition});
  if (const std::int64_t held = counted.integer(0, 0) - counted.integer(0, 1); held > 0)
    lines.push_back({std::nullopt, "keep rows", name, to_text(held), "under legal hold"});
  if (!restricted) {
    count_children(dependents, matching + gone, 1, lines);
    return;
  }
  for (const Dependent& one : dependents) {
    const Rows referred = query("SELECT pg_catalog.count(*) FROM " + matching + free + " AND EXISTS (SELECT FROM " +
                                one.name + " AS c1 WHERE " + join_of(one, "c0", "c1") + ")");
    if (referred.integer(0, 0) > 0)
      lines.push_back({std::nullopt, "keep rows", name, referred.text(0, 0),
                       "rows of " + plain_name(one) + " refer to them, by foreign key " + one.constraint});
  }
}

// Counted now, so as slow as a query.
std::vector<Line> what_would_go(const Request& request, const backfill::DeleteRequest& run) {
  std::vector<Line> lines;
  const backfill::Spec& spec = run.spec;
  std::set<Oid> not_by_row = too_young(run.target, spec);
  const Rule& rule = request.rule;
  if (drops_partitions(rule))
    for (const PartitionBounds& partition : partitions_of(run.target, spec.age_column)) {
      if (!partition.upper || !ask_catalog("SELECT $1::" + partition.type + " <= ($2::timestamptz)::" + partition.type,
                                           {*partition.upper, spec.cutoff})
                                   .boolean(0, 0))
        continue;
      if (const std::string why = without_lock([&partition] { return obstacle(partition.oid); }); !why.empty()) {
        lines.push_back({std::nullopt, "sweep partition", partition.name, std::nullopt, why});
        continue;
      }
      double rows = 0;
      for (const Oid member : backfill::family(partition.oid)) {
        not_by_row.insert(member);
        if (const auto table = backfill::describe_table(member, {})) rows += table->rows;
      }
      lines.push_back({std::nullopt, rule.partitions == Partitions::drop ? "drop partition" : "detach partition",
                       partition.name, to_text(static_cast<std::int64_t>(rows)),
                       "ends at " + *partition.upper + "; rows are an estimate"});
    }
  for (const Oid member : backfill::family(run.target)) {
    if (not_by_row.contains(member)) continue;
    count_rows(member, spec, lines);
  }
  return lines;
}

void put(FunctionCallInfo fcinfo, const std::vector<Line>& lines) {
  call_pg([fcinfo] { InitMaterializedSRF(fcinfo, 0); });
  for (const Line& line : lines)
    call_pg([fcinfo, &line] {
      auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
      const Value* values[] = {&line.rule, &line.action, &line.relation, &line.rows, &line.detail};
      char* texts[5];
      for (int i = 0; i < 5; ++i)
        texts[i] = *values[i] ? pstrdup((*values[i])->c_str()) : nullptr;
      tuplestore_puttuple(result->setResult, BuildTupleFromCStrings(TupleDescGetAttInMetadata(result->setDesc), texts));
    });
}

// --- keeping it
// -------------------------------------------------------------------------------------------------------

std::string schedule_name(std::int64_t rule) {
  return "retain " + to_text(rule);
}

void store(Rule& rule, const std::string& column) {
  const std::vector<Value> values{to_text(rule.target),
                                  to_text(rule.column),
                                  qualified_name(rule.target),
                                  to_text(rule.owner),
                                  role_name(rule.owner),
                                  rule.keep,
                                  name_of(rule.partitions),
                                  rule.maximum.rows ? Value(to_text(*rule.maximum.rows)) : std::nullopt,
                                  rule.maximum.share ? Value(json(*rule.maximum.share).dump()) : std::nullopt,
                                  std::to_string(rule.restore_grace),
                                  rule.options,
                                  role_name(GetUserId()),
                                  column,
                                  rule.schedule,
                                  rule.timezone,
                                  to_text(rule.priority)};
  const Rows stored = bookkeep(
      "INSERT INTO dbops.retention_rule AS r (target, column_number, target_name, owner, owner_name, keep, "
      "partitions, max_rows,"
      " max_share, restore_grace, options, changed_by, column_name, schedule, timezone, priority)"
      " VALUES ($1::oid, $2::integer, $3, $4::oid, $5, $6::interval, $7, $8::bigint, $9::float8, make_interval(secs => "
      "$10::float8),"
      " $11::jsonb, $12, $13::name, $14, $15, $16::integer) ON CONFLICT (target, column_number) DO UPDATE SET "
      "target_name = excluded.target_name, column_name = excluded.column_name, schedule = excluded.schedule,"
      " timezone = excluded.timezone, priority = excluded.priority, owner = excluded.owner, owner_name = "
      "excluded.owner_name, keep = excluded.keep, partitions = "
      "excluded.partitions,"
      " max_rows = excluded.max_rows, max_share = excluded.max_share, restore_grace = excluded.restore_grace,"
      " revision = r.revision + CASE WHEN (excluded.keep, excluded.timezone, excluded.partitions, excluded.max_rows, "
      "excluded.max_share,"
      "   excluded.options -> 'children', excluded.options -> 'skip_triggers') IS DISTINCT FROM (r.keep, r.timezone, "
      "r.partitions,"
      "   r.max_rows, r.max_share, r.options -> 'children', r.options -> 'skip_triggers') THEN 1 ELSE 0 END,"
      " options = excluded.options, changed_by = excluded.changed_by, changed_at = clock_timestamp() RETURNING rule_id",
      values);
  rule.id = stored.integer(0, 0);
}

bool has_schedule(const Rule& rule) {
  return !bookkeep("SELECT 1 FROM dbops.schedule WHERE job_id = $1::bigint", {to_text(rule.schedule_job)}).empty();
}

// Somebody may have given it another name.
std::string name_of_schedule(const Rule& rule) {
  return bookkeep("SELECT name FROM dbops.schedule WHERE job_id = $1::bigint", {to_text(rule.schedule_job)}).text(0, 0);
}

// The schedule that runs the rule, made or changed.
void put_on_schedule(const Rule& rule, const std::optional<Rule>& before) {
  const bool exists = before && has_schedule(*before);
  const std::string name = exists ? name_of_schedule(*before) : schedule_name(rule.id);
  if (exists && before->owner == rule.owner) {
    query("SELECT dbops.alter_schedule($1, schedule => $2, timezone => $3, priority => $4::pg_catalog.int4)",
          {name, rule.schedule, rule.timezone, to_text(rule.priority)});
    return;
  }
  if (exists) schedule::remove_schedule(before->schedule_job);
  const Rows made =
      query("SELECT dbops.schedule($1, $2, $3, timezone => $4, priority => $5::pg_catalog.int4, run_as "
            "=> $6::pg_catalog.name)",
            {schedule_name(rule.id), rule.schedule, "SELECT dbops.run_retention(" + to_text(rule.id) + ")",
             rule.timezone, to_text(rule.priority), role_name(rule.owner)});
  bookkeep("UPDATE dbops.retention_rule SET schedule_job = $2::bigint WHERE rule_id = $1::bigint",
           {to_text(rule.id), made.text(0, 0)});
}

void retain(FunctionCallInfo fcinfo) {
  Request request = read_request(fcinfo);
  Rule& rule = request.rule;
  backfill::require_suitable(rule.target);
  find_column(request);
  const std::optional<Rule> before = lock_rule_of(rule.target, rule.column);
  if (before) require_control(*before);
  if (before) rule.id = before->id;
  rule.owner = choose_job_owner(rule.target, request.run_as);
  request.spec.settings = session_settings();
  for (auto& [name, value] : request.spec.settings)
    if (name == "TimeZone") value = rule.timezone;
  backfill::DeleteRequest run;
  const backfill::DeletePlan plan = check(request, run);
  query("SELECT 1 FROM dbops.next_runs($1, 1, $2)", {rule.schedule, rule.timezone});
  for (const std::string& warning : plan.warnings)
    warn(warning);
  if (request.dry_run) {
    put(fcinfo, as_owner(rule.owner, request.spec.settings, [&] { return what_would_go(request, run); }));
    return;
  }
  store(rule, request.column);
  if (!before) settle_origin(rule);
  put_on_schedule(rule, before);
  put(fcinfo,
      {{to_text(rule.id), "keep", qualified_name(rule.target), to_text(static_cast<std::int64_t>(plan.matching)),
        "rows of the last " + rule.keep + " by " + run.spec.age_column +
            "; the others, now about so many, go by schedule " + schedule_name(rule.id)}});
}

void end_open_run(const Rule& rule, const char* why) {
  std::optional<Job> job = open_run(rule);
  if (!job) return;
  change_state(*job, core::JobAction::cancel, role_name(GetUserId()), why);
  for (const int pid : workers_of(job->id))
    interrupt_at_commit(pid, job->id);
}

std::int64_t unretain(std::int64_t id) {
  const Rule rule = lock_rule(id);
  require_control(rule);
  end_open_run(rule, "its retention rule was removed");
  schedule::remove_schedule(rule.schedule_job);
  bookkeep("DELETE FROM dbops.retention_rule WHERE rule_id = $1::bigint", {to_text(id)});
  return id;
}

// A person's word: the server and its clock are what they should be, and the run that has stopped at its maximum may go
// on.
std::int64_t confirm(std::int64_t id) {
  const Rule rule = lock_rule(id);
  require_control(rule);
  (void)column_of(rule);
  settle_origin(rule);
  if (!has_schedule(rule)) { // in a copy of the database
    if (!call_pg([&rule] { return superuser() || compat::may_become(GetUserId(), rule.owner); }))
      throw SqlError(ERRCODE_INSUFFICIENT_PRIVILEGE,
                     "the rule has lost its schedule, which would run as " + role_name(rule.owner),
                     "dbops.retain() with the same arguments lets it run as the owner of the table.");
    put_on_schedule(rule, std::nullopt);
  }
  if (std::optional<Job> job = open_run(rule)) (void)go_on_beyond_maximum(*job);
  return id;
}

// --- how far it is behind
// ----------------------------------------------------------------------------------------------

struct Backlog {
  Value cutoff, oldest, rows, behind;
};

Backlog backlog_of(const Rule& rule) {
  const backfill::Spec spec = backfill::from_json(core::parse_json_text(rule.options));
  const std::string column = column_of(rule);
  const Cutoff cutoff = cutoff_of(rule, spec.settings);
  const std::string table = qualified_name(rule.target);
  return as_owner(rule.owner, spec.settings, [&] {
    Backlog backlog;
    backlog.cutoff = cutoff.at;
    const Rows plan = query("EXPLAIN (FORMAT JSON) SELECT FROM " + table + " WHERE " + expired(column, cutoff));
    const json explained = json::parse(plan.text(0, 0));
    backlog.rows = to_text(explained.at(0).at("Plan").at("Plan Rows").get<std::int64_t>());
    const std::vector<Oid> members = backfill::family(rule.target);
    const bool indexed = std::all_of(members.begin(), members.end(), [&column](Oid member) {
      const auto by_age = backfill::describe_table_by(member, column);
      return by_age && by_age->key.usable();
    });
    // Without an index the statistics say it, as of the last ANALYZE.
    const Rows oldest =
        indexed
            ? query("SELECT pg_catalog.min(" + column +
                        ")::pg_catalog.timestamptz, $1::pg_catalog.timestamptz - pg_catalog.min(" + column +
                        ")::pg_catalog.timestamptz FROM " + table,
                    {cutoff.at})
            : ask_catalog(
                  "SELECT v::timestamptz, $3::timestamptz - v::timestamptz FROM (SELECT min(h) AS v FROM pg_stats s,"
                  " LATERAL unnest(s.histogram_bounds::text::text[]) WITH ORDINALITY u(h, n) WHERE "
                  "quote_ident(s.schemaname)"
                  " || '.' || quote_ident(s.tablename) = $1 AND quote_ident(s.attname) = $2 AND n = 1) x",
                  {table, column, cutoff.at});
    if (!oldest.empty() && !oldest.is_null(0, 0)) {
      backlog.oldest = oldest.text(0, 0);
      if (!oldest.text(0, 1).starts_with("-")) backlog.behind = oldest.text(0, 1);
    }
    return backlog;
  });
}

Datum backlog(FunctionCallInfo fcinfo) {
  if (PG_ARGISNULL(0)) throw SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, "rule must not be null");
  SpiConnection spi;
  const Rows seen =
      bookkeep("SELECT owner::oid FROM dbops.retention_rule WHERE rule_id = $1::bigint", {to_text(PG_GETARG_INT64(0))});
  Backlog backlog;
  if (!seen.empty() && ask_catalog("SELECT dbops.may_see($1::oid)", {seen.text(0, 0)}).boolean(0, 0) &&
      !role_name(static_cast<Oid>(seen.integer(0, 0))).empty()) {
    try {
      backlog = in_savepoint([fcinfo] { return backlog_of(read_rule(PG_GETARG_INT64(0))); });
    } catch (
        const SqlError&) { // its table or column is gone, or not the owner's to read any more: its next run says so
    }
  }
  spi.close();
  return call_pg([fcinfo, &backlog] {
    TupleDesc columns = nullptr;
    if (get_call_result_type(fcinfo, nullptr, &columns) != TYPEFUNC_COMPOSITE)
      elog(ERROR, "return type must be a row type");
    const Value* values[] = {&backlog.cutoff, &backlog.oldest, &backlog.rows, &backlog.behind};
    char* texts[4];
    for (int i = 0; i < 4; ++i)
      texts[i] = *values[i] ? pstrdup((*values[i])->c_str()) : nullptr;
    return HeapTupleGetDatum(BuildTupleFromCStrings(TupleDescGetAttInMetadata(BlessTupleDesc(columns)), texts));
  });
}

template <typename F>
Datum on_rule(FunctionCallInfo fcinfo, F body) {
  if (PG_ARGISNULL(0)) throw SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, "rule must not be null");
  SpiConnection spi;
  const std::int64_t id = body(PG_GETARG_INT64(0));
  spi.close();
  return Int64GetDatum(id);
}

} // namespace

} // namespace dbops::server::lifecycle

using namespace dbops::server;

DBOPS_SQL_FUNCTION(dbops_retain) {
  return boundary([fcinfo]() -> Datum {
    SpiConnection spi;
    lifecycle::retain(fcinfo);
    spi.close();
    return static_cast<Datum>(0);
  });
}

DBOPS_SQL_FUNCTION(dbops_unretain) {
  return boundary([fcinfo] { return lifecycle::on_rule(fcinfo, lifecycle::unretain); });
}

DBOPS_SQL_FUNCTION(dbops_confirm_retention) {
  return boundary([fcinfo] { return lifecycle::on_rule(fcinfo, lifecycle::confirm); });
}

DBOPS_SQL_FUNCTION(dbops_retention_backlog) {
  return boundary([fcinfo] { return lifecycle::backlog(fcinfo); });
}
