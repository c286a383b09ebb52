// The SQL functions backfill, batch_delete and their previews: from arguments to a job. See src/schema/backfill.sql.

#include <algorithm>
#include <cmath>
#include <set>

#include "core/job/error_class.h"
#include "core/schedule/window.h"
#include "core/text/json_text.h"
#include "server/backfill/create.h"
#include "server/backfill/input.h"
#include "server/backfill/statement.h"
#include "server/backfill/table.h"
#include "server/compat.h"
#include "server/engine/job_record.h"
#include "server/engine/submit.h"
#include "server/engine/wake.h"
#include "server/lifecycle/dependents.h"
#include "server/lifecycle/retention_rule.h"

extern "C" {
#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "funcapi.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
}

namespace dbops::server::backfill {

namespace {

using nlohmann::json;

constexpr int default_stripes = 8;
constexpr std::uint32_t sampled_blocks = 300;
constexpr std::size_t sampled_tables = 32;

[[noreturn]] void bad_argument(const std::string& message, const std::string& hint = {}) {
  throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, message, hint);
}

struct Request {
  Oid target = InvalidOid;
  Spec spec;
  std::string strategy;
  std::optional<int> stripes;
  int parallel = 1;
  std::optional<std::string> run_as;
  Value label;
  int priority = 0;
  lifecycle::Maximum maximum; // of a batch_delete
};

template <typename T>
T in_range(const char* name, const std::optional<T>& value, T low, T high) {
  if (!value) bad_argument(std::string(name) + " must not be null");
  if (!(*value >= low && *value <= high))
    bad_argument(std::string(name) + " must be between " + json(low).dump() + " and " + json(high).dump());
  return *value;
}

std::optional<double> positive(const char* name, std::optional<double> value) {
  if (value && !(*value > 0)) bad_argument(std::string(name) + " must be positive", "NULL takes the limit away.");
  return value;
}

std::optional<double> not_negative(const char* name, std::optional<double> value) {
  if (value && !(*value >= 0)) bad_argument(std::string(name) + " must not be negative", "NULL takes the limit away.");
  return value;
}

std::optional<double> as_real(std::optional<std::int64_t> value) {
  if (!value) return std::nullopt;
  return static_cast<double>(*value);
}

void check_windows(Spec& spec) {
  core::WindowError error{};
  if (!spec.windows.empty() && !core::Windows::parse(spec.windows, error))
    bad_argument("windows: expected " + error.expected + " at position " + std::to_string(error.position + 1),
                 "For example '22:00-06:00' or 'Mon-Fri 20:00-24:00, Sat,Sun 00:00-24:00'.");
  if (spec.timezone.empty()) spec.timezone = call_pg([] { return GetConfigOptionByName("TimeZone", nullptr, false); });
  ask_catalog("SELECT timezone($1, now())", {spec.timezone}); // raises 22023 for a name that it does not know
}

} // namespace

void read_batch_options(Arguments& in, Spec& spec) {
  spec.target_ms =
      static_cast<int>(std::lround(in_range<double>("target_batch_time (seconds)", in.seconds(), 0.001, 60.0) * 1000));
  spec.max_batch_rows = in_range<std::int64_t>("max_batch_rows", in.bigint(), 1, 10'000'000);
  spec.nice_ratio = in_range<double>("nice_ratio", in.real(), 0.0, 100.0);
  spec.max_rows_per_second = positive("max_rows_per_second", in.real());
  spec.max_bytes_per_second = positive("max_bytes_per_second", in.real());
  spec.limits.max_replica_lag = positive("max_replica_lag", in.seconds());
  spec.limits.max_wal_rate = positive("max_wal_rate", as_real(in.bigint()));
  spec.limits.max_archive_backlog = not_negative("max_archive_backlog", as_real(in.bigint()));
  spec.limits.max_lock_waiters = not_negative("max_lock_waiters", as_real(in.bigint()));
  spec.limits.max_active_sessions = positive("max_active_sessions", as_real(in.bigint()));
  spec.limits.max_load = positive("max_load", in.real());
  spec.limits.pause_for_autovacuum = in.boolean();
  spec.windows = in.string().value_or("");
  spec.timezone = in.string().value_or("");
  spec.lock_timeout_ms =
      static_cast<int>(std::lround(in_range<double>("lock_timeout (seconds)", in.seconds(), 0.001, 60.0) * 1000));
  spec.max_errors = in_range<std::int64_t>("max_errors", in.bigint(), 0, 1'000'000);
  spec.vacuum_every = in_range<double>("vacuum_every", in.real(), 0.0, 1.0);
  spec.skip_triggers = in.boolean();
  check_windows(spec);
}

namespace {

// Must follow the declarations in src/schema/backfill.sql.
Request read_request(FunctionCallInfo fcinfo, bool erase) {
  Arguments in(fcinfo);
  Request request;
  Spec& spec = request.spec;
  spec.erase = erase;
  request.target = in.relation();
  if (!erase) {
    const auto assignments = in.string();
    if (!assignments) throw SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, "assignments must not be null");
    spec.assignments = *assignments;
  }
  const auto condition = in.string();
  if (erase && !condition)
    throw SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, "condition must not be null", "TRUNCATE removes all rows.");
  spec.condition = condition.value_or("");
  if (condition && spec.condition.find_first_not_of(" \t\r\n") == std::string::npos)
    bad_argument("condition must not be empty");
  request.strategy = in.string().value_or("auto");
  request.stripes = in.integer();
  request.parallel = in_range<int>("parallel", in.integer(), 1, 64);
  read_batch_options(in, spec);
  request.run_as = in.name();
  request.label = in.string();
  request.priority = in_range<int>("priority", in.integer(), -1000, 1000);
  if (erase) request.maximum = lifecycle::read_maximum(in);
  if (request.stripes) in_range<int>("stripes", request.stripes, 1, 64);
  return request;
}

// As the type text[] reads it.
std::string array_literal(const std::vector<std::string>& texts) {
  std::string literal = "{";
  for (const std::string& text : texts) {
    literal += literal.size() > 1 ? ",\"" : "\"";
    for (const char c : text) {
      if (c == '"' || c == '\\') literal += '\\';
      literal += c;
    }
    literal += '"';
  }
  return literal + "}";
}

struct Plan {
  std::vector<Table> tables;
  double matching = 0;     // rows, estimated
  double width = 0;        // bytes a row, estimated
  bool cumulative = false; // to change a row twice is not the same as once
  std::vector<std::string> warnings;
};

void choose_strategy(const Request& request, Spec& spec, const Plan& plan) {
  const bool hot =
      !spec.erase && std::all_of(plan.tables.begin(), plan.tables.end(), [](const Table& t) { return t.hot; });
  spec.keyed = std::all_of(plan.tables.begin(), plan.tables.end(), [](const Table& t) { return t.key.usable(); });
  const std::string& wish = request.strategy;
  if (wish != "auto" && wish != "key" && wish != "block" && wish != "stripe")
    bad_argument("strategy \"" + wish + "\" is not known", "auto, stripe, key or block.");
  const bool by_key = wish == "key" || (wish != "block" && !spec.falsifiable);
  if (by_key && !spec.keyed)
    bad_argument("table has no key that rows can be walked by",
                 wish == "key"
                     ? "It needs a primary key, or a unique index on NOT NULL columns that the job does not assign."
                     : "Without one, the assignments must make the condition false, so that no row is changed twice: "
                       "add such a condition, or a primary key.");
  if (wish == "block" && !spec.falsifiable)
    bad_argument("strategy block needs a condition that the assignments make false",
                 "A row that is updated elsewhere in the meantime may be met twice. Use strategy => 'key'.");
  spec.order = by_key ? Order::key : Order::block;
  const bool stripe = wish == "stripe" || (wish == "auto" && hot);
  spec.stripes = stripe ? request.stripes.value_or(default_stripes) : 1;
  spec.strategy = spec.stripes > 1 ? "stripe" : by_key ? "key" : "block";
}

// Rows of the table that match, by counting them in a sample of its blocks.
double estimate_matching(const Table& table, const Spec& spec, bool sample) {
  if (spec.condition.empty() || table.blocks == 0) return table.rows;
  if (!sample) return table.rows;
  const double percent = std::min(100.0, 100.0 * sampled_blocks / table.blocks);
  const std::string sample_of = "SELECT pg_catalog.count(*) FROM ONLY " + named_table(table.name, spec) +
                                " TABLESAMPLE SYSTEM (" + std::to_string(percent) + ") WHERE (" + spec.condition +
                                "\n)";
  Rows counted;
  try {
    counted = in_savepoint([&sample_of] { return query(sample_of); });
  } catch (const SqlError& error) {
    if (core::classify(error.sqlstate()) != core::ErrorClass::row) throw;
    return table.rows; // a row at which the condition raises is for the job to set aside
  }
  return std::min(counted.real(0, 0) * 100.0 / percent, table.rows);
}

double row_width(const Table& table) {
  const double known = average_width(table.oid);
  return known > 0 ? known : std::max(8192.0 / std::max(table.rows_per_block, 1.0) - 28.0, 8.0);
}

// Tables whose rows ON DELETE CASCADE takes along, directly or not.
void add_cascades(const std::vector<lifecycle::Dependent>& dependents, std::set<std::string>& names) {
  for (const lifecycle::Dependent& dependent : dependents) {
    if (dependent.effect != lifecycle::Dependent::Effect::erased) continue;
    names.insert(dependent.name.starts_with("ONLY ") ? dependent.name.substr(5) : dependent.name);
    add_cascades(dependent.below, names);
  }
}

void warn_about(const CheckedInput& checked, const Request& request, Plan& plan) {
  for (const std::string& function : checked.volatile_functions)
    plan.warnings.push_back("calls the volatile function " + function +
                            "(): its value differs from row to row and from try to try");
  if (checked.condition_is_volatile)
    plan.warnings.emplace_back("the condition is volatile, so no pass can prove that nothing is left");
  if (checked.reads_settings)
    plan.warnings.emplace_back(
        "calls current_setting(): the job runs in other sessions, where settings are those of its "
        "owner and the database, not those of this session");
  if (request.spec.erase) {
    const Rows unindexed = ask_catalog(
        "SELECT c.conname, c.conrelid::regclass::text FROM pg_catalog.pg_constraint c WHERE c.contype = 'f'"
        " AND c.confrelid = $1::oid AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.conrelid"
        " AND i.indisvalid AND i.indpred IS NULL AND i.indkey[0] = ANY (c.conkey))"
        " ORDER BY c.conrelid::regclass::text COLLATE \"C\", c.conname",
        {to_text(request.target)});
    // Read without their lock: a preview must not keep anybody from placing one.
    const Rows holds =
        bookkeep("SELECT 'hold ' || hold_id || ' on ' || target_name || ' (' || reason || '): rows under it stay'"
                 " FROM dbops.legal_hold WHERE released_at IS NULL AND (target IN (SELECT dbops.family($1::oid))"
                 " OR $1::oid IN (SELECT dbops.family(target))) ORDER BY hold_id",
                 {to_text(request.target)});
    for (std::size_t i = 0; i < holds.size(); ++i)
      plan.warnings.push_back(holds.text(i, 0));
    const Rows kept =
        bookkeep("SELECT target::text FROM dbops.soft_delete_rule WHERE mode = 'column' AND (target IN (SELECT"
                 " dbops.family($1::oid)) OR $1::oid IN (SELECT dbops.family(target::oid)) OR target = $1::oid)"
                 " ORDER BY 1",
                 {to_text(request.target)});
    for (std::size_t i = 0; i < kept.size(); ++i)
      plan.warnings.push_back("table " + kept.text(i, 0) +
                              " has soft delete: its rows go for good, also those of deletions that can be undone");
    for (std::size_t i = 0; i < unindexed.size(); ++i)
      plan.warnings.push_back("foreign key " + unindexed.text(i, 0) + " of " + unindexed.text(i, 1) +
                              " has no index: every deleted row scans that table");
    if (request.maximum.rows || request.maximum.share) {
      std::set<std::string> along;
      add_cascades(lifecycle::dependents_of(request.target, lifecycle::Children::as_declared), along);
      for (const std::string& name : along)
        plan.warnings.push_back("rows of " + name +
                                " go along (ON DELETE CASCADE), and do not count towards the maximum");
    }
  }
}

// By an index on the age a run meets expired rows alone, the oldest first. Where these lie scattered over a big table
// that is the dearer way, unless there are few of them: each batch would write a page for each row.
void choose_walk_by_age(Spec& spec, Plan& plan) {
  constexpr double in_order = 0.5;       // pg_stats.correlation
  constexpr std::uint32_t big = 100'000; // blocks
  std::vector<Table> by_age;
  for (const Table& table : plan.tables) {
    std::optional<Table> found = describe_table_by(table.oid, spec.age_column);
    if (!found || !found->key.usable()) return;
    const std::optional<double> order = correlation(table.oid, spec.age_column);
    const bool scattered = order && std::abs(*order) < in_order;
    if (scattered && table.blocks >= big && !spec.by_age) return;
    by_age.push_back(*found);
  }
  plan.tables = by_age;
  spec.by_age = true;
  spec.order = Order::key;
  spec.stripes = 1;
  spec.strategy = "key";
}

std::string key_text(const Table& table) {
  std::string text;
  for (const KeyColumn& column : table.key.columns)
    text += (text.empty() ? "" : ", ") + column.name;
  return text;
}

// As the batches run: an error rather than rows that a policy hides, also of a table that only a subquery reads.
Settings with_all_rows(Settings settings) {
  settings.emplace_back("row_security", "off");
  return settings;
}

// Everything that can be wrong is found here, before a job exists. As the job's owner, with_all_rows().
Plan prepare(Request& request) {
  Spec& spec = request.spec;
  require_suitable(request.target);
  const std::vector<Oid> members = family(request.target);
  for (const Oid member : members)
    require_suitable(member);
  spec.table = qualified_name(request.target);
  spec.alias = quote_name(call_pg([&request] { return get_rel_name(request.target); }));
  std::vector<Oid> to_check = members;
  if (std::find(members.begin(), members.end(), request.target) == members.end()) to_check.push_back(request.target);
  for (const Oid relation : to_check)
    require_all_rows(relation, GetUserId());
  const CheckedInput checked = check_input(request.target, spec.erase, spec.assignments, spec.condition);
  require_privileges(to_check, spec);
  spec.columns = checked.columns;
  spec.subqueries = checked.subqueries;
  spec.falsifiable = checked.falsifiable;
  spec.moving = spec.erase && checked.condition_moves;

  Plan plan;
  for (const Oid member : members)
    if (std::optional<Table> table = describe_table(member, spec.columns)) plan.tables.push_back(*table);
  const std::set<Oid> left_out = spec.age_column.empty() ? std::set<Oid>() : lifecycle::too_young(request.target, spec);
  if (spec.skip_triggers)
    for (const Table& table : plan.tables)
      if (!call_pg([&table] { return compat::owns_relation(table.oid, GetUserId()); }))
        throw SqlError(ERRCODE_INSUFFICIENT_PRIVILEGE,
                       "only the owner of " + table.name + " may leave out its triggers");
  choose_strategy(request, spec, plan);
  if (!spec.age_column.empty()) choose_walk_by_age(spec, plan);
  // Walking over a table reads its key, or the place of each row, which takes the privilege on the whole table.
  for (const Table& table : plan.tables)
    query("EXPLAIN (COSTS OFF) SELECT " + (spec.order == Order::key ? key_text(table) : "ctid") + " FROM ONLY " +
          table.name);
  // Partitions that have expired are to be dropped without having been read; and where an index names the rows, a
  // sample of all of them costs more than the job.
  const bool sampled =
      !checked.condition_is_volatile && (spec.age_column.empty() || (!spec.cutoff.empty() && plan.tables.size() == 1));
  for (std::size_t i = 0; i < plan.tables.size(); ++i) {
    if (!left_out.contains(plan.tables[i].oid))
      plan.matching += estimate_matching(plan.tables[i], spec, sampled && i < sampled_tables);
    if (i == 0) plan.width = row_width(plan.tables[i]);
  }
  plan.cumulative = checked.cumulative;
  warn_about(checked, request, plan);
  return plan;
}

std::int64_t insert_job(const Request& request, Oid owner, const Plan& plan, const std::string& kind) {
  Spec spec = request.spec;
  spec.bytes_before = bookkeep("SELECT dbops.family_size($1::oid)", {to_text(request.target)}).integer(0, 0);
  const Rows inserted =
      bookkeep("INSERT INTO dbops.job (kind, target_oid, target_name, owner_oid, owner_name, created_by, label, "
               "priority, parallel, spec, rows_total)"
               " VALUES ($1, $2::oid, $3, $4::oid, $5, $6, $7, $8::integer, $9::integer, $10::jsonb, $11::bigint) "
               "RETURNING job_id",
               {kind, to_text(request.target), qualified_name(request.target), to_text(owner), role_name(owner),
                role_name(GetUserId()), request.label, to_text(request.priority), to_text(request.parallel),
                core::json_text(to_json(spec)), to_text(static_cast<std::int64_t>(std::llround(plan.matching)))});
  const std::string id = inserted.text(0, 0);
  bookkeep("INSERT INTO dbops.job_slice (job_id, slice) SELECT $1::bigint, generate_series(0, $2::integer - 1)",
           {id, to_text(request.parallel)});
  const char* order = spec.order == Order::key ? "key" : "block";
  bookkeep("INSERT INTO dbops.job_cursor (job_id, strategy, position) VALUES ($1::bigint, $2, $3::jsonb)",
           {id, spec.strategy, json{{"order", order}}.dump()});
  bookkeep("INSERT INTO dbops.job_event (job_id, actor, action, to_state) VALUES ($1::bigint, $2, 'create', 'queued')",
           {id, role_name(GetUserId())});
  notify_state(inserted.integer(0, 0), kind, std::nullopt, "queued");
  return inserted.integer(0, 0);
}

Request as_request(const DeleteRequest& wish) {
  Request request;
  request.target = wish.target;
  request.spec = wish.spec;
  request.spec.erase = true;
  request.strategy = "auto";
  request.priority = wish.priority;
  return request;
}

} // namespace

DeletePlan plan_delete(DeleteRequest& wish) {
  Request request = as_request(wish);
  const Plan plan = as_job_owner(wish.owner, with_all_rows(request.spec.settings), [&] { return prepare(request); });
  wish.spec = request.spec;
  return {plan.tables, plan.matching, plan.warnings};
}

std::int64_t make_delete_job(const DeleteRequest& wish, const DeletePlan& plan) {
  Plan known;
  known.matching = plan.matching;
  const std::int64_t id = insert_job(as_request(wish), wish.owner, known, wish.kind);
  announce_at_commit();
  return id;
}

namespace {

Datum create(FunctionCallInfo fcinfo, bool erase) {
  SpiConnection spi;
  Request request = read_request(fcinfo, erase);
  request.spec.settings = session_settings();
  const Oid owner = choose_job_owner(request.target, request.run_as);
  const Plan plan = as_job_owner(owner, with_all_rows(request.spec.settings), [&] { return prepare(request); });
  lifecycle::set_maximum(request.spec, request.maximum, plan.tables, owner);
  const std::int64_t id = insert_job(request, owner, plan, erase ? "batch_delete" : "backfill");
  for (const std::string& warning : plan.warnings)
    warn(warning);
  warn_if_nobody_can_run(owner);
  announce_at_commit();
  spi.close();
  return Int64GetDatum(id);
}

// Cost of a row, fitted to the figures in docs/performance.md: the heap, and for what is not HOT every index.
struct RowCost {
  double wal_bytes;
  double seconds;
};
RowCost row_cost(const Spec& spec, const Plan& plan) {
  const double indexes = plan.tables.empty() ? 0 : plan.tables.front().indexes;
  if (spec.erase) return {211.0, 1e-6 * (1.0 + 0.3 * indexes)};
  const bool hot = !plan.tables.empty() && plan.tables.front().hot;
  const double not_hot = !hot || spec.stripes == 1 ? 1.0 : 0.3;
  return {1.4 * plan.width + 120.0 + not_hot * indexes * 130.0, 1e-6 * (5.0 + not_hot * indexes * 3.0)};
}

// What the foreign keys lock: rows that deleted ones are referred to by, and rows that assigned columns refer to.
std::string foreign_key_locks(const Request& request) {
  const Rows found =
      request.spec.erase
          ? ask_catalog(
                "SELECT DISTINCT 'on the rows of ' || conrelid::regclass || ' that refer to them (ON DELETE ' ||"
                " CASE confdeltype WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL' ELSE 'SET DEFAULT' END || ')'"
                " FROM pg_catalog.pg_constraint WHERE contype = 'f' AND confrelid = $1::oid AND confdeltype IN ('c', "
                "'n', 'd')"
                " AND conparentid = 0 ORDER BY 1",
                {to_text(request.target)})
          : ask_catalog(
                "SELECT DISTINCT 'FOR KEY SHARE on the rows of ' || confrelid::regclass || ' that they refer to'"
                " FROM pg_catalog.pg_constraint k WHERE contype = 'f' AND conrelid = $1::oid AND conparentid = 0 AND "
                "EXISTS"
                " (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)"
                " AND a.attname = ANY ($2::text[])) ORDER BY 1",
                {to_text(request.target), array_literal(request.spec.columns)});
  std::string text;
  for (std::size_t i = 0; i < found.size(); ++i)
    text += ", " + found.text(i, 0);
  return text;
}

std::string locks_text(const Request& request, const Plan& plan) {
  const Spec& spec = request.spec;
  const bool key =
      std::any_of(plan.tables.begin(), plan.tables.end(), [](const Table& table) { return table.changes_key; });
  const char* rows = spec.erase ? "FOR UPDATE on the rows of one batch"
                     : key      ? "FOR UPDATE on the rows of one batch (an assigned column is in a unique index that a "
                                  "foreign key can refer to)"
                                : "FOR NO KEY UPDATE on the rows of one batch";
  return std::string("ROW EXCLUSIVE on each table, ") + rows + foreign_key_locks(request) + ", for about " +
         to_text(spec.target_ms) + " ms; lock_timeout " + to_text(spec.lock_timeout_ms) + " ms";
}

std::string statement_text(const Spec& spec, const Plan& plan) {
  if (plan.tables.empty()) return {};
  const Table& table = plan.tables.front();
  const std::size_t bound = spec.order == Order::key ? table.key.columns.size() : 0;
  return batch_statement(table, spec, {spec.order, bound, bound, spec.stripes > 1}).text;
}

Datum preview(FunctionCallInfo fcinfo, bool erase) {
  SpiConnection spi;
  Request request = read_request(fcinfo, erase);
  request.spec.settings = session_settings();
  const Oid owner = choose_job_owner(request.target, request.run_as);
  Plan plan = as_job_owner(owner, with_all_rows(request.spec.settings), [&] { return prepare(request); });
  lifecycle::set_maximum(request.spec, request.maximum, plan.tables, owner);
  const Spec& spec = request.spec;
  if (plan.cumulative && !spec.falsifiable)
    plan.warnings.emplace_back(
        "the assignments read what they assign, and no condition tells a changed row from another: a row whose "
        "key or partition the application changes meanwhile may be changed twice or not at all");
  if (spec.max_rows && plan.matching > static_cast<double>(*spec.max_rows))
    plan.warnings.push_back("more rows match than the " + to_text(*spec.max_rows) +
                            " that it may delete: it would stop there");
  const RowCost cost = row_cost(spec, plan);
  double visited = 0;
  for (const Table& table : plan.tables)
    visited += table.rows;
  double rows_per_batch =
      std::min(std::max(spec.target_ms / 1000.0 / cost.seconds, 50.0), static_cast<double>(spec.max_batch_rows));
  if (spec.max_rows_per_second)
    rows_per_batch = std::min(rows_per_batch, std::max(1.0, *spec.max_rows_per_second / request.parallel));
  double seconds = plan.matching * cost.seconds * (1.0 + spec.nice_ratio) / request.parallel + visited * 1e-7;
  if (spec.max_rows_per_second) seconds = std::max(seconds, plan.matching / *spec.max_rows_per_second);
  const std::vector<std::string> values{spec.strategy,
                                        spec.order == Order::key && !plan.tables.empty() ? key_text(plan.tables.front())
                                                                                         : "ctid",
                                        role_name(owner),
                                        std::to_string(plan.tables.size()),
                                        to_text(static_cast<std::int64_t>(std::llround(plan.matching))),
                                        to_text(static_cast<std::int64_t>(std::ceil(visited / rows_per_batch))),
                                        to_text(static_cast<std::int64_t>(plan.matching * cost.wal_bytes)),
                                        std::to_string(seconds) + " seconds",
                                        locks_text(request, plan),
                                        statement_text(spec, plan),
                                        array_literal(plan.warnings)};
  spi.close();
  return call_pg([fcinfo, &values] {
    TupleDesc columns = nullptr;
    if (get_call_result_type(fcinfo, nullptr, &columns) != TYPEFUNC_COMPOSITE)
      elog(ERROR, "return type must be a row type");
    auto** texts = static_cast<char**>(palloc(sizeof(char*) * values.size()));
    for (std::size_t i = 0; i < values.size(); ++i)
      texts[i] = pstrdup(values[i].c_str());
    return HeapTupleGetDatum(BuildTupleFromCStrings(TupleDescGetAttInMetadata(BlessTupleDesc(columns)), texts));
  });
}

} // namespace

} // namespace dbops::server::backfill

using namespace dbops::server;

DBOPS_SQL_FUNCTION(dbops_backfill) {
  return boundary([fcinfo] { return backfill::create(fcinfo, false); });
}

DBOPS_SQL_FUNCTION(dbops_batch_delete) {
  return boundary([fcinfo] { return backfill::create(fcinfo, true); });
}

DBOPS_SQL_FUNCTION(dbops_backfill_preview) {
  return boundary([fcinfo] { return backfill::preview(fcinfo, false); });
}

DBOPS_SQL_FUNCTION(dbops_batch_delete_preview) {
  return boundary([fcinfo] { return backfill::preview(fcinfo, true); });
}
