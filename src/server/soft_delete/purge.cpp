// dbops.purge: what was deleted longer ago than the grace period goes for good, children before parents, in the batches
// of dbops.batch_delete.
//
// A deletion is marked `purging` before its first row goes, which ends the time in which it can be undeleted: it goes
// as a whole, or stays until the next purge. A row that something still refers to stays.

#include <algorithm>
#include <map>
#include <set>

#include "core/text/json_text.h"
#include "server/arguments.h"
#include "server/backfill/create.h"
#include "server/backfill/input.h"
#include "server/compat.h"
#include "server/engine/run.h"
#include "server/engine/submit.h"
#include "server/guc.h"
#include "server/lifecycle/holds.h"
#include "server/schedule/runs.h"
#include "server/soft_delete/clearance.h"
#include "server/soft_delete/deletion.h"
#include "server/soft_delete/other_owner.h"

extern "C" {
#include "executor/spi.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
}

namespace dbops::server::soft_delete {

namespace {

constexpr std::int64_t deletions_at_once = 10'000; // in a transaction
constexpr std::int64_t images_at_once = 500;       // of rows, in memory

struct Request {
  PurgeScope scope;
  double nice_ratio = 0;
};

Rule require_purgeable(Oid target) {
  const Rule rule = require_enabled(target);
  if (!may_act_as_owner(rule.table)) refuse_not_owner(rule.table);
  return rule;
}

// Row-level security that is forced upon the owner of both tables counts for a job, and not where rows go as by a
// foreign key.
bool rows_are_hidden(Oid child, Oid owner) {
  return call_pg([=] {
    Oid role = InvalidOid;
    int context = 0;
    GetUserIdAndSecContext(&role, &context);
    if (!compat::may_become(role, owner)) SetUserIdAndSecContext(role, context | SECURITY_NOFORCE_RLS);
    const bool hidden = check_enable_rls(child, owner, true) == RLS_ENABLED;
    SetUserIdAndSecContext(role, context);
    return hidden;
  });
}

// Whether a row is referred to is asked as the owner of its table. Looked at before anything is marked: a deletion
// whose purge has begun cannot be undone any more.
void require_readable_children(const Rule& rule, std::set<Oid>& seen) {
  if (!seen.insert(rule.table).second) return;
  for (const ForeignKey& key : foreign_keys_to(rule.table)) {
    if (key.on_delete == 'n' || key.on_delete == 'd') continue;
    const Rows readable =
        bookkeep("SELECT has_table_privilege($1::oid, $2::oid, 'SELECT')", {to_text(rule.owner), to_text(key.child)});
    if (!readable.boolean(0, 0))
      throw SqlError(ERRCODE_INSUFFICIENT_PRIVILEGE,
                     "the owner of " + label(rule.table) + " cannot see which rows of " + label(key.child) +
                         " refer to it, so nothing can be purged",
                     "GRANT SELECT ON " + key.child_name + " TO " + quote_name(role_name(rule.owner)) + ";");
    if (rows_are_hidden(key.child, rule.owner))
      throw SqlError(ERRCODE_INSUFFICIENT_PRIVILEGE,
                     "row-level security of " + label(key.child) + " would hide from the owner of " +
                         label(rule.table) + " which rows refer to it, so nothing can be purged",
                     "ALTER ROLE " + quote_name(role_name(rule.owner)) + " BYPASSRLS;");
    if (key.on_delete != 'c') continue;
    if (const std::optional<Rule> child = find_rule(key.child); child && child->mode == Mode::column)
      require_readable_children(*child, seen);
  }
}

// One that somebody is undeleting is left to him. False: there are no more.
bool mark_due(const PurgeScope& scope) {
  std::vector<Value> parameters = parameters_of(scope);
  parameters.emplace_back(to_text(deletions_at_once));
  const Rows marked =
      bookkeep(std::string("UPDATE dbops.soft_deletion SET state = 'purging', open = false WHERE deletion_id IN"
                           " (SELECT d.deletion_id FROM dbops.soft_deletion d WHERE ") +
                   due_deletions + " ORDER BY d.deleted_at LIMIT $4::bigint FOR UPDATE SKIP LOCKED)",
               parameters);
  if (static_cast<std::int64_t>(marked.processed) == deletions_at_once) return true;
  spend_confirmation(scope);
  return false;
}

std::vector<Rule> tables_to_purge(const Rule& root) {
  const Rows rows = bookkeep("SELECT DISTINCT k::oid FROM dbops.soft_deletion d, unnest(d.tables) k"
                             " WHERE d.state = 'purging' AND d.target = $1::oid",
                             {to_text(root.table)});
  std::vector<Oid> tables;
  for (std::size_t i = 0; i < rows.size(); ++i)
    tables.push_back(static_cast<Oid>(rows.integer(i, 0)));
  tables = parents_first(std::move(tables));
  std::vector<Rule> rules;
  for (auto table = tables.rbegin(); table != tables.rend(); ++table)
    if (const std::optional<Rule> rule = find_rule(*table); rule && rule->mode == Mode::column) rules.push_back(*rule);
  return rules;
}

// Rows of the deletions that are being purged, with nothing that would have to be asked of another table. A row that
// its owner has made live by an UPDATE of deleted_at has its deletion_id still.
std::string purged_rows(const std::string& alias) {
  const Rows ids = bookkeep("SELECT min(deletion_id), max(deletion_id) FROM dbops.purging");
  if (ids.is_null(0, 0)) return "false";
  return alias + ".deletion_id OPERATOR(pg_catalog.>=) " + ids.text(0, 0) + " AND " + alias +
         ".deletion_id OPERATOR(pg_catalog.<=) " + ids.text(0, 1) + " AND " + alias +
         ".deleted_at IS NOT NULL AND dbops.is_purging(" + alias + ".deletion_id)";
}

// A row that is referred to stays: by a live row, by one that is held, or by one of a deletion whose time has not come.
// Scalar subqueries, so that the batch stays a walk by its index and asks for each of its rows: as a join the planner
// would put all of a child table first.
std::string condition_of(const Rule& rule) {
  const std::string alias = quote_name(call_pg([&rule] { return get_rel_name(rule.table); }));
  std::string text = purged_rows(alias);
  for (const ForeignKey& key : foreign_keys_to(rule.table)) {
    if (key.on_delete == 'n' || key.on_delete == 'd') continue;
    text += " AND (SELECT true FROM " + key.child_name + " AS dbops_child WHERE " + key.join(alias, "dbops_child");
    // A row that refers to itself does not keep itself.
    if (key.child_root == rule.table) {
      text += " AND NOT (";
      for (std::size_t i = 0; i < rule.key.size(); ++i)
        text += (i > 0 ? " AND " : "") + ("dbops_child." + rule.key[i].name) + " " + rule.key[i].equal + " " + alias +
                "." + rule.key[i].name;
      text += ")";
    }
    text += " LIMIT 1) IS NULL";
  }
  return text;
}

// By the index: what the planner would rather do, with one row to find, is read the table, to its end when there is
// none.
bool any_left(const Rule& rule) {
  const int nest_level = enter_settings({{"enable_seqscan", "off"}});
  const Rows left = read_as(rule.owner, "SELECT 1 FROM " + rule.name + " AS t WHERE t.deletion_id IS NOT NULL AND " +
                                            purged_rows("t") + " LIMIT 1");
  leave_settings(nest_level);
  return !left.empty();
}

// Every partition has the index that enabling has made.
bool has_walk(const Rule& rule) {
  for (const Oid member : backfill::family(rule.table))
    if (const auto table = backfill::describe_table_by(member, "deletion_id"); !table || !table->key.usable())
      return false;
  return true;
}

backfill::DeleteRequest delete_request(const Rule& rule, const Request& request) {
  backfill::DeleteRequest wish;
  wish.target = rule.table;
  wish.owner = choose_job_owner(rule.table, role_name(rule.owner));
  wish.kind = "batch_delete";
  wish.spec.erase = true;
  wish.spec.condition = condition_of(rule);
  wish.spec.timezone = "UTC";
  wish.spec.nice_ratio = request.nice_ratio;
  wish.spec.max_errors = 1'000'000;
  // The defaults of dbops.batch_delete.
  wish.spec.limits.max_replica_lag = 10;
  wish.spec.limits.max_archive_backlog = 100;
  wish.spec.limits.max_lock_waiters = 0;
  if (has_walk(rule)) {
    wish.spec.age_column = "deletion_id";
    wish.spec.by_age = true;
    wish.spec.one_pass = true;
  }
  const int nest_level = enter_settings({{"search_path", rule.schema + ", pg_temp"}});
  wish.spec.settings = session_settings();
  leave_settings(nest_level);
  return wish;
}

// Its own session's, not a worker's, which asks nobody whether a restore has come between: until the session begins
// with it, it is not due, and after that, without it, it is over.
std::int64_t make_job(const Rule& rule, const Request& request) {
  backfill::DeleteRequest wish = delete_request(rule, request);
  const backfill::DeletePlan plan = backfill::plan_delete(wish);
  // The subqueries are this file's, each for one row of a child table: they go by an index as the batch itself does.
  wish.spec.subqueries = false;
  const std::int64_t job = backfill::make_delete_job(wish, plan);
  bookkeep("UPDATE dbops.job SET not_before = clock_timestamp() + interval '1 day', label = $2,"
           " spec = spec || '{\"session_only\": true}' WHERE job_id = $1::bigint",
           {to_text(job), "purge of " + label(rule.table)});
  return job;
}

std::int64_t rows_of_job(std::int64_t job) {
  return bookkeep("SELECT coalesce(sum(rows_done), 0) FROM dbops.job_slice WHERE job_id = $1::bigint", {to_text(job)})
      .integer(0, 0);
}

std::vector<Rule> with_rows(const std::vector<Rule>& tables) {
  std::vector<Rule> left;
  std::copy_if(tables.begin(), tables.end(), std::back_inserter(left), any_left);
  return left;
}

// By table; of tables of other owners.
using SetAside = std::map<Oid, OtherOwnersRows>;

bool refers_to_itself(Oid table) {
  const std::vector<ForeignKey> keys = foreign_keys_to(table);
  return std::any_of(keys.begin(), keys.end(),
                     [table](const ForeignKey& key) { return key.child == table || key.child_root == table; });
}

// Of a table whose rows refer to one another, again while something goes.
std::int64_t delete_of_other_owner(Session& session, const Rule& rule, const Request& request, OtherOwnersRows& aside) {
  bool again = false;
  lifecycle::DeletionRecord record = session.transaction([&] {
    again = refers_to_itself(rule.table);
    return lifecycle::DeletionRecord(rule.table, label(rule.table), rule.owner,
                                     "rows of deletions from " + label(request.scope.target) + " that are purged");
  });
  std::int64_t rows = 0;
  try {
    do {
      aside = delete_rows_of_other_owner(session, rule, request.nice_ratio, record, [&rule](const std::string& alias) {
        return PurgeCondition{purged_rows(alias), condition_of(rule)};
      });
      rows += aside.purged;
    } while (again && aside.purged > 0);
  } catch (const SqlError& error) {
    record.finish(session, error);
    throw;
  }
  record.finish(session);
  return rows;
}

// All tables once; how many rows went.
std::int64_t delete_rows(Session& session, const std::vector<Rule>& tables, const Request& request, SetAside& aside) {
  std::int64_t rows = 0;
  for (const Rule& rule : tables) {
    if (!call_pg([&rule] { return compat::may_become(GetUserId(), rule.owner); })) {
      rows += delete_of_other_owner(session, rule, request, aside[rule.table]);
      continue;
    }
    const std::int64_t job = session.transaction([&] { return make_job(rule, request); });
    run_in_session(session, job);
    rows += session.transaction([job] { return rows_of_job(job); });
  }
  return rows;
}

void warn_of_rows_set_aside(const Rule& rule, const OtherOwnersRows& rows) {
  if (rows.aside == 0) return;
  const std::string table = label(rule.table);
  call_pg([&table, &rows] {
    ereport(WARNING,
            (errmsg("dbops: " INT64_FORMAT " rows of %s could not be deleted: %s", rows.aside, table.c_str(),
                    rows.error.c_str()),
             errdetail("The first one is that with %s.", rows.first.c_str()), errhint("The next purge tries again.")));
  });
}

// Tables by whose holds a kept row of `table` stays: it, and, as a tombstone does not say which one it was in, its
// partitions that have a hold of their own.
std::vector<std::string> tables_with_holds(Oid table) {
  const Rows found =
      bookkeep("SELECT $1::oid UNION SELECT h.target::oid FROM dbops.legal_hold h JOIN"
               " pg_partition_tree($1::oid::regclass) p ON p.relid = h.target WHERE h.released_at IS NULL",
               {to_text(table)});
  std::vector<std::string> tables;
  for (std::size_t i = 0; i < found.size(); ++i)
    tables.push_back(found.text(i, 0));
  return tables;
}

bool has_hold(Oid table) {
  return !bookkeep("SELECT 1 FROM dbops.legal_hold WHERE released_at IS NULL AND target = $1::oid", {to_text(table)})
              .empty();
}

// Of what is kept of rows of that table, what a hold would keep as rows stays. Reading it as a row is its owner's
// affair. Of a table that was dropped no condition can be asked: a hold on it keeps all.
std::string unheld_images(Oid table, const Rows& images) {
  const std::string name = qualified_name(table);
  std::string ids = "{";
  for (std::size_t i = 0; i < images.size(); ++i)
    ids += (i > 0 ? "," : "") + images.text(i, 0);
  ids += "}";
  if (lifecycle::nothing_is_held()) return ids;
  if (name.empty()) return has_hold(table) ? "{}" : ids;
  nlohmann::json list = nlohmann::json::array();
  for (std::size_t i = 0; i < images.size(); ++i)
    list.push_back(core::parse_json_text(images.text(i, 1)));
  std::string condition;
  for (const std::string& holder : tables_with_holds(table))
    condition += (condition.empty() ? " WHERE NOT dbops.is_held(" : " AND NOT dbops.is_held(") + holder +
                 ", jsonb_populate_record(NULL::" + name + ", i.image))";
  const Rows unheld = read_as(owner_of(table),
                              "SELECT coalesce(array_agg(i.id)::text, '{}') FROM ROWS FROM (unnest($1::bigint[]),"
                              " jsonb_array_elements($2::jsonb)) AS i(id, image)" +
                                  condition,
                              {ids, core::json_text(list)});
  return unheld.text(0, 0);
}

struct Page {
  std::string after = "0"; // row_id
  std::int64_t rows = 0;
  bool last = false;
};

void delete_page_of_tombstones(const Rule& root, Oid table, Page& page, lifecycle::DeletionRecord& record) {
  lifecycle::begin_deleting();
  const int nest_level = enter_settings(canonical_text());
  const std::int64_t limit = lifecycle::nothing_is_held() ? deletions_at_once : images_at_once;
  const Rows images =
      bookkeep("SELECT r.row_id, CASE WHEN $5::boolean THEN r.image END FROM dbops.deleted_row r"
               " JOIN dbops.soft_deletion d USING (deletion_id) WHERE d.target = $1::oid AND d.state = 'purging'"
               " AND r.target = $2::oid AND r.row_id > $4::bigint ORDER BY r.row_id LIMIT $3::bigint",
               {to_text(root.table), to_text(table), to_text(limit), page.after,
                lifecycle::nothing_is_held() ? "false" : "true"});
  page.last = static_cast<std::int64_t>(images.size()) < limit;
  if (!images.empty()) {
    page.after = images.text(images.size() - 1, 0);
    const Rows gone = bookkeep("WITH gone AS (DELETE FROM dbops.deleted_row WHERE row_id = ANY ($1::bigint[]) RETURNING"
                               " deletion_id) SELECT count(*), min(deletion_id), max(deletion_id) FROM gone",
                               {unheld_images(table, images)});
    page.rows += gone.integer(0, 0);
    record.add(gone.integer(0, 0), "deletion " + gone.text(0, 1), "deletion " + gone.text(0, 2));
  }
  leave_settings(nest_level);
}

std::int64_t delete_tombstones_of(Session& session, const Rule& root, Oid table) {
  lifecycle::DeletionRecord record = session.transaction([&] {
    const bool dropped = qualified_name(table).empty();
    return lifecycle::DeletionRecord(table, label(table), dropped ? root.owner : owner_of(table),
                                     "tombstones of deletions from " + label(root.table) + " that are purged");
  });
  Page page;
  try {
    while (!page.last)
      session.transaction([&] { delete_page_of_tombstones(root, table, page, record); });
  } catch (const SqlError& error) {
    record.finish(session, error);
    throw;
  }
  record.finish(session);
  return page.rows;
}

std::int64_t delete_tombstones(Session& session, const Rule& root) {
  const Rows tables = session.transaction([&root] {
    return bookkeep(
        "SELECT DISTINCT r.target::oid FROM dbops.deleted_row r JOIN dbops.soft_deletion d USING (deletion_id)"
        " WHERE d.target = $1::oid AND d.state = 'purging' AND (EXISTS (SELECT FROM dbops.soft_delete_rule s WHERE"
        " s.target = r.target) OR NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = r.target))",
        {to_text(root.table)});
  });
  std::int64_t rows = 0;
  for (std::size_t i = 0; i < tables.size(); ++i) {
    rows += delete_tombstones_of(session, root, static_cast<Oid>(tables.integer(i, 0)));
  }
  return rows;
}

// Deletions of which nothing is left; returns how many keep rows. Which ones is settled before their tables are looked
// at: those that another session marks meanwhile are left to it.
std::int64_t mark_purged(const Rule& root) {
  const Rows ids = bookkeep("SELECT array_agg(deletion_id)::text FROM dbops.soft_deletion WHERE state = 'purging'"
                            " AND target = $1::oid",
                            {to_text(root.table)});
  const std::string marked = ids.is_null(0, 0) ? "{}" : ids.text(0, 0);
  std::string left;
  for (const Rule& rule : with_rows(tables_to_purge(root))) {
    const Rows found = read_as(rule.owner, "SELECT DISTINCT t.deletion_id FROM " + rule.name +
                                               " AS t WHERE t.deletion_id IS NOT NULL AND " + purged_rows("t"));
    for (std::size_t i = 0; i < found.size(); ++i)
      left += (left.empty() ? "" : ",") + found.text(i, 0);
  }
  bookkeep(
      "UPDATE dbops.soft_deletion SET state = 'purged', ended_at = clock_timestamp(), ended_by = $2"
      " WHERE state = 'purging' AND deletion_id = ANY ($1::bigint[]) AND deletion_id <> ALL ($3::bigint[])"
      " AND NOT deletion_id IN (SELECT r.deletion_id FROM dbops.deleted_row r JOIN dbops.purging USING (deletion_id))",
      {marked, role_name(GetUserId()), "{" + left + "}"});
  if (guc::history_retention_days >= 0)
    bookkeep("DELETE FROM dbops.soft_deletion WHERE deletion_id IN (SELECT deletion_id FROM dbops.soft_deletion"
             " WHERE state IN ('purged', 'undeleted') AND ended_at < clock_timestamp() - $1::integer * interval '1 day'"
             " LIMIT $2::bigint)",
             {to_text(guc::history_retention_days), to_text(deletions_at_once)});
  lifecycle::prune_deletion_records();
  return bookkeep(
             "SELECT count(*) FROM dbops.soft_deletion WHERE state = 'purging' AND deletion_id = ANY ($1::bigint[])",
             {marked})
      .integer(0, 0);
}

// What is left of a table that was dropped: its rule, and the schedule, which would fail from now on. Deletions and
// tombstones stay to be looked at. False: nothing is, or the table is there.
bool end_for_dropped_table(Oid target) {
  if (call_pg([target] { return get_rel_relkind(target); }) != '\0') return false;
  bool found = bookkeep("DELETE FROM dbops.soft_delete_rule WHERE target = $1::oid", {to_text(target)}).processed > 0;
  forget_origin(target);
  const Rows schedules = bookkeep("SELECT s.job_id, s.owner_oid FROM dbops.schedule s JOIN dbops.job j USING (job_id)"
                                  " WHERE j.spec ->> 'command' = $1",
                                  {purge_command(target)});
  for (std::size_t i = 0; i < schedules.size(); ++i) {
    const auto owner = static_cast<Oid>(schedules.integer(i, 1));
    if (!call_pg([owner] { return has_privs_of_role(GetUserId(), owner); })) continue;
    found = schedule::end_schedule(schedules.integer(i, 0), "its table was dropped") || found;
  }
  if (found)
    call_pg([target] {
      ereport(NOTICE, (errmsg("dbops: table %u was dropped: its soft delete and the schedule of its purge have ended",
                              target)));
    });
  return found;
}

// False, with a WARNING: it waits for somebody's word. The moment that all of the purge goes by is that of the
// question.
bool is_cleared(PurgeScope& scope) {
  scope.as_of =
      bookkeep("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00'").text(0, 0);
  const std::string reason = objection_to_purge(scope);
  if (reason.empty()) return true;
  const std::string hint = "SELECT dbops.confirm_purge(" + quote_text(label(scope.target)) +
                           ") lets it go on. See waiting_for in dbops.soft_delete_status.";
  call_pg([&reason, &hint] {
    ereport(WARNING, (errmsg("dbops: nothing is purged: %s", reason.c_str()), errhint("%s", hint.c_str())));
  });
  return false;
}

void purge(Session& session, Request request) {
  if (session.transaction([&request] { return end_for_dropped_table(request.scope.target); })) return;
  const Rule root = session.transaction([&request] { return require_purgeable(request.scope.target); });
  request.scope.target = root.table;
  session.transaction([&root] {
    std::set<Oid> seen;
    if (root.mode == Mode::column) require_readable_children(root, seen);
    return true;
  });
  if (!session.transaction([&request] { return is_cleared(request.scope); })) return;
  while (session.transaction([&] { return mark_due(request.scope); })) {
  }
  const std::vector<Rule> tables = session.transaction([&root] { return tables_to_purge(root); });
  // Again while something goes: rows of one table may refer to one another.
  std::int64_t rows = 0;
  SetAside aside;
  const auto look = [&] { return session.transaction([&tables] { return with_rows(tables); }); };
  std::vector<Rule> left = look();
  for (; !left.empty(); left = look()) {
    const std::int64_t gone = delete_rows(session, left, request, aside);
    rows += gone;
    if (gone == 0) break;
  }
  for (const Rule& rule : left)
    session.transaction([&] { warn_of_rows_set_aside(rule, aside[rule.table]); });
  const std::int64_t tombstones = delete_tombstones(session, root);
  const std::int64_t kept = session.transaction([&] { return mark_purged(root); });
  call_pg([rows, tombstones, kept] {
    ereport(NOTICE, (errmsg("dbops: " INT64_FORMAT " rows purged", rows + tombstones)));
    if (kept > 0)
      ereport(
          WARNING,
          (errmsg("dbops: " INT64_FORMAT " deletions keep rows that cannot be purged yet", kept),
           errhint(
               "Live rows refer to them, they are held, or their triggers refuse: see dbops.soft_delete_problems.")));
  });
}

} // namespace

std::string purge_command(Oid table) {
  return "CALL dbops.purge(" + to_text(table) + ")";
}

} // namespace dbops::server::soft_delete

using namespace dbops::server;

DBOPS_SQL_FUNCTION(dbops_purge) {
  return boundary([fcinfo]() -> Datum {
    require_top_level(fcinfo, "dbops.purge()");
    soft_delete::Request request;
    Arguments in(fcinfo);
    request.scope.target = in.relation();
    if (const auto older_than = in.period("older_than")) {
      if (*older_than < 0) throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "older_than must not be negative");
      request.scope.older_than = in.last_interval_text();
    }
    const auto nice_ratio = in.real();
    if (!nice_ratio || !(*nice_ratio >= 0 && *nice_ratio <= 100))
      throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "nice_ratio must be between 0 and 100");
    request.nice_ratio = *nice_ratio;
    call_pg([] { SPI_connect_ext(SPI_OPT_NONATOMIC); });
    ProcedureSession session;
    soft_delete::purge(session, request);
    call_pg([] { SPI_finish(); });
    return static_cast<Datum>(0);
  });
}
