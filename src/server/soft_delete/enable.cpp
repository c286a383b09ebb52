// dbops.soft_delete_enable and _disable: columns, triggers, view and indexes. All that a big table's writers would have
// to wait for is left to a job that builds indexes CONCURRENTLY; the rest takes its locks for a moment, under
// lock_timeout.

#include "server/arguments.h"
#include "server/engine/wake.h"
#include "server/schedule/runs.h"
#include "server/soft_delete/change.h"
#include "server/soft_delete/clearance.h"
#include "server/soft_delete/deletion.h"
#include "server/soft_delete/table_objects.h"
#include "server/soft_delete/unique_keys.h"

extern "C" {
#include "utils/fmgrprotos.h"
}

namespace dbops::server::soft_delete {

namespace {

using nlohmann::json;

// Above this an index is not built while writers wait: 8 MB are read within some 50 ms.
constexpr std::int64_t big_table_bytes = 8 << 20;
constexpr double longest_grace = 36'500 * 86'400.0; // seconds

// What is not given is as it is; and the default of a table that had no soft delete.
struct Request {
  Oid target = InvalidOid;
  std::optional<std::string> mode;
  std::optional<std::string> grace; // as interval's text
  std::optional<std::string> unique_keys;
  std::optional<std::string> purge_schedule; // nothing: none is wanted
  bool purge_schedule_given = false;
  double lock_timeout = 0;
  std::optional<bool> concurrently;
  std::optional<std::int64_t> max_rows; // 0: none
  std::optional<double> max_share;
  std::optional<std::string> restore_grace; // as interval's text
};

[[noreturn]] void bad_argument(const std::string& message, const std::string& hint = {}) {
  throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, message, hint);
}

// No statement of fn waits longer for a lock; nor does it chatter about triggers that were not there.
template <typename F>
auto under_lock_timeout(double seconds, F&& fn) {
  const int level = enter_settings(
      {{"lock_timeout", std::to_string(static_cast<int>(seconds * 1000))}, {"client_min_messages", "warning"}});
  auto result = fn();
  leave_settings(level);
  return result;
}

double lock_timeout_argument(std::optional<double> seconds) {
  if (!seconds || !(*seconds >= 0.001 && *seconds <= 600)) bad_argument("lock_timeout must be between 1 ms and 10 min");
  return *seconds;
}

// --- what kind of table
// --------------------------------------------------------------------------------------------------

void require_suitable(Oid target) {
  const Rows facts = bookkeep(
      "SELECT c.relkind, c.relispartition, c.relpersistence, n.nspname,"
      " EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid) AND c.relkind <> 'p',"
      " EXISTS (SELECT FROM pg_index x JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = ANY (x.indkey)"
      "   JOIN pg_type t ON t.oid = a.atttypid WHERE x.indrelid = c.oid AND x.indisprimary AND t.typsubscript <> 0"
      "   AND t.typelem <> 0 AND t.typlen = -1)"
      " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid",
      {to_text(target)});
  if (facts.empty())
    throw SqlError(ERRCODE_UNDEFINED_TABLE, "relation with OID " + to_text(target) + " does not exist");
  const std::string name = label(target);
  const std::string kind = facts.text(0, 0);
  const std::string schema = facts.text(0, 3);
  if (kind != "r" && kind != "p") throw SqlError(ERRCODE_WRONG_OBJECT_TYPE, name + " is not a table");
  if (facts.boolean(0, 1))
    throw SqlError(ERRCODE_WRONG_OBJECT_TYPE, name + " is a partition", "Name the partitioned table.");
  if (facts.text(0, 2) == "t") throw SqlError(ERRCODE_WRONG_OBJECT_TYPE, name + " is a temporary table");
  if (facts.boolean(0, 4))
    throw SqlError(ERRCODE_WRONG_OBJECT_TYPE, name + " has tables that inherit from it", "Partitions would be fine.");
  if (schema == "dbops" || schema == "pg_catalog" || schema == "information_schema")
    throw SqlError(ERRCODE_WRONG_OBJECT_TYPE, name + " is a system table");
  if (!may_act_as_owner(target)) refuse_not_owner(target);
  if (primary_key(target).empty())
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "table " + name + " has no primary key",
                   "Rows are named by it; it must not be deferrable.");
  if (facts.boolean(0, 5))
    throw SqlError(ERRCODE_FEATURE_NOT_SUPPORTED, "a primary key with an array is not supported");
}

bool is_big(Oid target) {
  return bookkeep("SELECT coalesce(sum(dbops.relation_bytes(f)), 0) > $2::bigint FROM dbops.family($1::oid) f",
                  {to_text(target), to_text(big_table_bytes)})
      .boolean(0, 0);
}

// --- the schedule that purges
// ------------------------------------------------------------------------------------------

void drop_purge_schedule(const Rule& rule) {
  // By what it runs: somebody may have given it another name, and that name to another schedule. It may be that of a
  // role which has owned the table before.
  const Rows old = bookkeep("SELECT s.job_id FROM dbops.schedule s JOIN dbops.job j USING (job_id)"
                            " WHERE j.spec ->> 'command' = $1",
                            {purge_command(rule.table)});
  for (std::size_t i = 0; i < old.size(); ++i)
    schedule::remove_schedule(old.integer(i, 0));
  bookkeep("UPDATE dbops.soft_delete_rule SET purge_schedule = NULL WHERE target = $1::oid", {to_text(rule.table)});
}

void make_purge_schedule(const Rule& rule, const std::string& when) {
  const std::string name = "purge " + qualified_name(rule.table);
  run("SELECT dbops.schedule($1, $2, $3, jitter => '5 min', missed => 'once', run_as => $4::name)",
      {name, when, purge_command(rule.table), role_name(rule.owner)});
  bookkeep("UPDATE dbops.soft_delete_rule SET purge_schedule = $2 WHERE target = $1::oid", {to_text(rule.table), name});
}

// --- enable
// ------------------------------------------------------------------------------------------------------------

// Must follow the declaration in src/schema/soft_delete.sql.
Request read_request(FunctionCallInfo fcinfo) {
  Arguments in(fcinfo);
  Request request;
  request.target = in.relation();
  request.mode = in.string();
  const auto grace = in.period("grace");
  if (grace && !(*grace >= 0 && *grace <= longest_grace)) bad_argument("grace must be between 0 and 36500 days");
  if (grace) request.grace = in.last_interval_text();
  request.unique_keys = in.string();
  request.purge_schedule = in.string();
  request.purge_schedule_given = request.purge_schedule != "";
  request.lock_timeout = lock_timeout_argument(in.seconds());
  if (const bool concurrently = in.boolean(); !PG_ARGISNULL(6)) request.concurrently = concurrently;
  request.max_share = in.real();
  if (request.max_share && !(*request.max_share > 0 && *request.max_share <= 1))
    bad_argument("max_share must be above 0 and at most 1", "1 takes the limit away.");
  const auto restore_grace = in.period("restore_grace");
  if (restore_grace && !(*restore_grace >= 0 && *restore_grace <= longest_grace))
    bad_argument("restore_grace must be between 0 and 36500 days");
  if (restore_grace) request.restore_grace = in.last_interval_text();
  request.max_rows = in.bigint();
  if (request.max_rows && *request.max_rows < 0)
    bad_argument("max_rows must not be negative", "0 takes the limit away.");
  if (request.mode && request.mode != "column" && request.mode != "tombstone")
    bad_argument("mode \"" + *request.mode + "\" is not known", "column or tombstone.");
  if (request.unique_keys && request.unique_keys != "partial" && request.unique_keys != "keep")
    bad_argument("unique_keys \"" + *request.unique_keys + "\" is not known", "partial or keep.");
  return request;
}

bool build_concurrently(const Request& request) {
  if (is_partitioned(request.target)) {
    if (request.concurrently.value_or(is_big(request.target)))
      throw SqlError(ERRCODE_FEATURE_NOT_SUPPORTED,
                     "the indexes of a partitioned table cannot be built while it is written to",
                     "concurrently => false builds them at once; writers wait meanwhile. Or use mode => 'tombstone'.");
    return false;
  }
  return request.concurrently.value_or(is_big(request.target));
}

void set_state(const Rule& rule, const std::string& state) {
  bookkeep("UPDATE dbops.soft_delete_rule SET state = $2 WHERE target = $1::oid", {to_text(rule.table), state});
}

// The last step: every index is built.
void finish_enabling(const Rule& rule) {
  json indexes = indexes_of(rule.table);
  for (json& index : indexes) {
    if (index.value("done", false)) continue;
    swap_in(rule, index, false);
    index["done"] = true;
  }
  store_indexes(rule, indexes);
  set_state(rule, "enabled");
}

bool wants_partial_keys(const Rule& rule) {
  return bookkeep("SELECT unique_keys = 'partial' FROM dbops.soft_delete_rule WHERE target = $1::oid",
                  {to_text(rule.table)})
      .boolean(0, 0);
}

std::int64_t enable_column(const Request& request, const Rule& rule) {
  const bool concurrently = build_concurrently(request);
  add_columns(rule);
  make_column_triggers(rule);
  guard_foreign_keys(rule);
  make_live_view(rule);
  json indexes = indexes_of(rule.table);
  if (wants_partial_keys(rule))
    for (json& index : plan_unique_indexes(rule.table))
      indexes.push_back(index);
  store_indexes(rule, indexes);
  const json open = not_done(indexes);
  if (concurrently && !(open.empty() && has_id_index(rule.table))) {
    set_state(rule, "building");
    return build_by_job(rule, open, "build", request.lock_timeout);
  }
  build_now(rule.table, open, "build");
  finish_enabling(rule);
  return 0;
}

// A schedule that is there stays as it is, paused ones too, unless another one is asked for; nor is one made where
// somebody wanted none.
void put_on_schedule(const Rule& rule, const Request& request, bool is_new) {
  if (!request.purge_schedule_given) {
    if (is_new) make_purge_schedule(rule, "@hourly");
    return;
  }
  drop_purge_schedule(rule);
  if (request.purge_schedule) make_purge_schedule(rule, *request.purge_schedule);
}

// The job that builds, or 0.
std::int64_t enable(const Request& request) {
  require_suitable(request.target);
  const std::optional<Rule> known = find_rule(request.target);
  if (known && known->state != "enabled")
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                   "soft delete of " + label(request.target) + " is " + known->state,
                   "Its job builds indexes; see dbops.soft_delete_status.");
  if (known && request.mode && (known->mode == Mode::column) != (request.mode == "column"))
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                   "soft delete of " + label(request.target) + " is of another mode",
                   "dbops.soft_delete_disable() first.");
  bookkeep("DELETE FROM dbops.soft_delete_rule r WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = r.target)");
  bookkeep("INSERT INTO dbops.soft_delete_rule AS r (target, mode, state, grace, created_by, unique_keys, max_share,"
           " restore_grace, max_rows) VALUES ($1::oid, coalesce($2, 'column'), 'building',"
           " coalesce($3::interval, '30 days'), $4, coalesce($5, 'partial'), coalesce($6::float8, 0.5),"
           " coalesce($7::interval, '1 day'), nullif($8::bigint, 0))"
           " ON CONFLICT (target) DO UPDATE SET grace = coalesce($3::interval, r.grace),"
           " unique_keys = coalesce($5, r.unique_keys), max_share = coalesce($6::float8, r.max_share),"
           " restore_grace = coalesce($7::interval, r.restore_grace),"
           " max_rows = nullif(coalesce($8::bigint, r.max_rows), 0)",
           {to_text(request.target), request.mode, request.grace, role_name(GetUserId()), request.unique_keys,
            request.max_share ? Value(json(*request.max_share).dump()) : std::nullopt, request.restore_grace,
            request.max_rows ? Value(to_text(*request.max_rows)) : std::nullopt});
  if (!known) note_origin_of_new_rule(request.target);
  const Rule rule = *find_rule(request.target);
  refuse_truncate(rule);
  put_on_schedule(rule, request, !known);
  if (rule.mode == Mode::column) return enable_column(request, rule);
  make_tombstone_trigger(rule);
  set_state(rule, "enabled");
  return 0;
}

// --- disable
// -----------------------------------------------------------------------------------------------------------

bool has_deleted_rows(const Rule& rule) {
  if (rule.mode == Mode::column)
    return !read_as(rule.owner, "SELECT 1 FROM " + rule.name + " WHERE deleted_at IS NOT NULL LIMIT 1").empty();
  return !bookkeep("SELECT 1 FROM dbops.deleted_row WHERE target = $1::oid LIMIT 1", {to_text(rule.table)}).empty();
}

void restore_all(const Rule& rule) {
  const Rows deletions =
      bookkeep("SELECT deletion_id, state FROM dbops.soft_deletion d WHERE state IN ('deleted', 'purging')"
               " AND ($1::oid = ANY (tables) OR EXISTS (SELECT FROM dbops.deleted_row r WHERE r.deletion_id ="
               " d.deletion_id AND r.target = $1::oid)) ORDER BY deletion_id DESC",
               {to_text(rule.table)});
  for (std::size_t i = 0; i < deletions.size(); ++i)
    restore(deletions.integer(i, 0), Loss::of_rows);
  if (rule.mode == Mode::column)
    run_as_owner(rule,
                 "UPDATE " + rule.name + " SET deleted_at = NULL, deleted_by = NULL WHERE deleted_at IS NOT NULL");
}

void end_rule(const Rule& rule) {
  bookkeep("DELETE FROM dbops.soft_delete_rule WHERE target = $1::oid", {to_text(rule.table)});
  forget_origin(rule.table);
  guard_foreign_keys_of_child(rule);
}

void finish_disabling(const Rule& rule) {
  for (const json& index : indexes_of(rule.table))
    swap_in(rule, index, index.at("constraint").get<bool>());
  change("ALTER TABLE " + rule.name +
         " DROP COLUMN IF EXISTS deletion_id, DROP COLUMN IF EXISTS deleted_by, DROP COLUMN IF EXISTS deleted_at");
  end_rule(rule);
}

struct Disable {
  Oid target = InvalidOid;
  std::string deleted_rows;
  double lock_timeout = 0;
  std::optional<bool> concurrently;
};

std::int64_t disable(const Disable& request) {
  const std::optional<Rule> known = find_rule(request.target);
  if (!known)
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "table " + label(request.target) + " has no soft delete");
  const Rule& rule = *known;
  if (!may_act_as_owner(rule.table)) refuse_not_owner(rule.table);
  // Whoever deletes or restores a row holds it in share.
  bookkeep("SELECT 1 FROM dbops.soft_delete_rule WHERE target = $1::oid FOR UPDATE", {to_text(rule.table)});
  if (rule.state == "disabling")
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                   "soft delete of " + label(rule.table) + " is being disabled already",
                   "See dbops.soft_delete_status.");
  const bool keep = request.deleted_rows == "keep";
  if (request.deleted_rows == "restore")
    restore_all(rule);
  else if (!keep && has_deleted_rows(rule))
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "table " + label(rule.table) + " has deleted rows",
                   "deleted_rows => 'restore' brings them back; 'keep' leaves them as they are; CALL dbops.purge(" +
                       quote_text(label(rule.table)) + ", older_than => '0') deletes them for good first.");
  drop_purge_schedule(rule);
  const std::optional<std::string> view = view_of(rule);
  drop_triggers(rule);
  if (view) change("DROP VIEW " + *view);
  if (keep || rule.mode == Mode::tombstone) {
    end_rule(rule);
    return 0;
  }
  json indexes = json::array();
  for (const json& index : indexes_of(rule.table))
    if (index.value("done", false)) indexes.push_back(index);
  store_indexes(rule, indexes);
  if (!indexes.empty() && !is_partitioned(rule.table) && request.concurrently.value_or(is_big(rule.table))) {
    set_state(rule, "disabling");
    return build_by_job(rule, indexes, "was", request.lock_timeout);
  }
  build_now(rule.table, indexes, "was");
  finish_disabling(rule);
  return 0;
}

Datum job_or_null(FunctionCallInfo fcinfo, std::int64_t job) {
  if (job == 0) PG_RETURN_NULL();
  return Int64GetDatum(job);
}

} // namespace

} // namespace dbops::server::soft_delete

using namespace dbops::server;

DBOPS_SQL_FUNCTION(dbops_soft_delete_enable) {
  return boundary([fcinfo] {
    using namespace soft_delete;
    SpiConnection spi;
    const Request request = read_request(fcinfo);
    const std::int64_t job = under_lock_timeout(request.lock_timeout, [&] { return enable(request); });
    spi.close();
    return job_or_null(fcinfo, job);
  });
}

// Does it all in a savepoint and takes it back, so that it says what would be refused as well.
DBOPS_SQL_FUNCTION(dbops_soft_delete_preview) {
  return boundary([fcinfo] {
    using namespace soft_delete;
    struct Done {};
    SpiConnection spi;
    const Request request = read_request(fcinfo);
    std::string statements;
    changes = &statements;
    try {
      in_savepoint([&]() -> bool {
        const std::int64_t job = under_lock_timeout(request.lock_timeout, [&] { return enable(request); });
        if (job != 0)
          statements +=
              bookkeep("SELECT spec ->> 'command' FROM dbops.job WHERE job_id = $1::bigint", {to_text(job)}).text(0, 0);
        throw Done{};
      });
    } catch (const Done&) { // rolled back
    } catch (...) {
      changes = nullptr;
      throw;
    }
    changes = nullptr;
    spi.close();
    return call_pg([&statements] { return PointerGetDatum(cstring_to_text(statements.c_str())); });
  });
}

DBOPS_SQL_FUNCTION(dbops_soft_delete_finish) {
  return boundary([fcinfo] {
    using namespace soft_delete;
    SpiConnection spi;
    if (PG_ARGISNULL(0)) throw SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, "target must not be null");
    const Oid target = PG_GETARG_OID(0);
    Arguments in(fcinfo);
    in.integer();
    const double lock_timeout = lock_timeout_argument(in.seconds());
    const std::optional<Rule> rule = find_rule(target);
    if (!rule || rule->state == "enabled")
      throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "there is nothing to finish for " + label(target));
    if (!may_act_as_owner(rule->table)) refuse_not_owner(rule->table);
    under_lock_timeout(lock_timeout, [&] {
      if (rule->state == "building")
        finish_enabling(*rule);
      else
        finish_disabling(*rule);
      return true;
    });
    spi.close();
    PG_RETURN_VOID();
  });
}

DBOPS_SQL_FUNCTION(dbops_soft_delete_disable) {
  return boundary([fcinfo] {
    using namespace soft_delete;
    SpiConnection spi;
    Arguments in(fcinfo);
    Disable request;
    request.target = in.relation();
    request.deleted_rows = in.string().value_or("");
    request.lock_timeout = lock_timeout_argument(in.seconds());
    if (!PG_ARGISNULL(3)) request.concurrently = PG_GETARG_BOOL(3);
    if (request.deleted_rows != "refuse" && request.deleted_rows != "restore" && request.deleted_rows != "keep")
      bad_argument("deleted_rows \"" + request.deleted_rows + "\" is not known", "refuse, restore or keep.");
    const std::int64_t job = under_lock_timeout(request.lock_timeout, [&] { return disable(request); });
    spi.close();
    return job_or_null(fcinfo, job);
  });
}
