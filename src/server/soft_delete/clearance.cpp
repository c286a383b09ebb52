#include "server/soft_delete/clearance.h"

#include "server/arguments.h"
#include "server/backfill/table.h"
#include "server/lifecycle/doubt.h"
#include "server/lifecycle/maximum.h"

namespace dbops::server::soft_delete {

namespace {

// So few rows of a table nobody is asked about: half of them is soon reached.
constexpr std::int64_t rows_without_asking = 100;

lifecycle::OriginRecord record_of(Oid target) {
  const Rows rule = bookkeep("SELECT extract(epoch FROM restore_grace) FROM dbops.soft_delete_rule WHERE target ="
                             " $1::oid",
                             {to_text(target)});
  return {"dbops.purge_origin", "target", static_cast<std::int64_t>(target), rule.empty() ? 0 : rule.real(0, 0)};
}

struct Due {
  Oid table = InvalidOid;
  std::int64_t rows = 0;
  bool tombstones = false;
};

std::vector<Due> due_rows(const PurgeScope& scope) {
  const Rows found = bookkeep(
      std::string(
          "WITH due AS MATERIALIZED (SELECT d.deletion_id, d.tables, d.counts FROM dbops.soft_deletion d WHERE ") +
          due_deletions +
          ") SELECT k::oid, sum(n)::bigint, false FROM due, unnest(due.tables, due.counts) c(k, n)"
          " WHERE EXISTS (SELECT FROM dbops.soft_delete_rule r WHERE r.target = k AND r.mode = 'column') GROUP BY 1"
          " UNION ALL SELECT t.target::oid, count(*), true FROM due JOIN dbops.deleted_row t USING (deletion_id)"
          " GROUP BY 1 ORDER BY 1",
      parameters_of(scope));
  std::vector<Due> due;
  for (std::size_t i = 0; i < found.size(); ++i)
    due.push_back({static_cast<Oid>(found.integer(i, 0)), found.integer(i, 1), found.boolean(i, 2)});
  return due;
}

// Deleted ones included; see maximum.h.
double rows_of(Oid table, double enough) {
  std::vector<backfill::Table> members;
  for (const Oid member : backfill::family(table))
    if (const auto described = backfill::describe_table(member, {})) members.push_back(*described);
  return lifecycle::rows_of(members, owner_of(table), enough);
}

// "it would delete 3000 of about 4000 rows of orders, more than max_share"; empty: no table would lose more than that.
std::string beyond_share(const std::vector<Due>& due_tables, double share) {
  if (share >= 1) return {};
  for (const Due& due : due_tables) {
    if (due.rows <= rows_without_asking || qualified_name(due.table).empty()) continue;
    double all = rows_of(due.table, static_cast<double>(due.rows) / share);
    if (static_cast<double>(due.rows) <= share * all) continue;
    if (due.tombstones)
      all += bookkeep("SELECT count(*) FROM dbops.deleted_row WHERE target = $1::oid", {to_text(due.table)}).real(0, 0);
    if (static_cast<double>(due.rows) <= share * all) continue;
    return "it would delete " + to_text(due.rows) + " of about " + to_text(static_cast<std::int64_t>(all)) +
           " rows of " + label(due.table) + ", more than max_share";
  }
  return {};
}

// Of all tables together.
std::string beyond_rows(const std::vector<Due>& due_tables, std::int64_t most) {
  std::int64_t rows = 0;
  for (const Due& due : due_tables)
    rows += due.rows;
  if (rows <= most) return {};
  return "it would delete " + to_text(rows) + " rows, more than max_rows (" + to_text(most) + ")";
}

// Held to the end of the transaction: two purges do not judge at the same time.
void lock_origin(Oid target) {
  bookkeep("INSERT INTO dbops.purge_origin (target) SELECT target::oid FROM dbops.soft_delete_rule WHERE target ="
           " $1::oid ON CONFLICT DO NOTHING",
           {to_text(target)});
  bookkeep("SELECT 1 FROM dbops.purge_origin WHERE target = $1::oid FOR UPDATE", {to_text(target)});
}

bool confirm(Oid target) {
  const std::optional<Rule> rule = find_rule(target);
  if (!rule) throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "table " + label(target) + " has no soft delete");
  if (!may_act_as_owner(rule->table)) refuse_not_owner(rule->table);
  lock_origin(rule->table);
  const bool waited = bookkeep("SELECT origin = '{}' OR doubt IS NOT NULL OR too_many IS NOT NULL FROM"
                               " dbops.purge_origin WHERE target = $1::oid",
                               {to_text(rule->table)})
                          .boolean(0, 0);
  lifecycle::settle_origin(record_of(rule->table));
  bookkeep("UPDATE dbops.purge_origin SET confirmed = confirmed OR too_many IS NOT NULL, too_many = NULL"
           " WHERE target = $1::oid",
           {to_text(rule->table)});
  return waited;
}

} // namespace

// The longest grace period among the tables of a deletion counts; what a DELETE has taken along is in deleted_row
// alone. Tombstones of a table whose soft delete was disabled were to be kept.
const char* const due_deletions =
    "d.target = $1::oid AND d.state = 'deleted'"
    // Most are not due: this is asked first, and costs nothing.
    " AND d.deleted_at < $3::timestamptz - coalesce($2::interval, (SELECT r.grace FROM dbops.soft_delete_rule r"
    "   WHERE r.target = $1::oid))"
    " AND d.deleted_at < $3::timestamptz - coalesce($2::interval, (SELECT max(r.grace) FROM dbops.soft_delete_rule r"
    "   WHERE r.target = d.target OR r.target = ANY (d.tables) OR EXISTS (SELECT FROM dbops.deleted_row t"
    "     WHERE t.deletion_id = d.deletion_id AND t.target = r.target)))"
    " AND (SELECT true FROM dbops.deleted_row t JOIN pg_class c ON c.oid = t.target WHERE t.deletion_id = d.deletion_id"
    "   AND NOT EXISTS (SELECT FROM dbops.soft_delete_rule r WHERE r.target = t.target) LIMIT 1) IS NULL";

std::vector<Value> parameters_of(const PurgeScope& scope) {
  return {to_text(scope.target), scope.older_than, scope.as_of};
}

std::string objection_to_purge(const PurgeScope& scope) {
  lock_origin(scope.target);
  const lifecycle::OriginRecord record = record_of(scope.target);
  if (const std::string reason = lifecycle::doubt(record); !reason.empty()) return reason;
  const Rows allowed =
      bookkeep("SELECT o.confirmed, r.max_share, r.max_rows FROM dbops.purge_origin o JOIN dbops.soft_delete_rule r"
               " ON r.target = o.target WHERE o.target = $1::oid",
               {to_text(scope.target)});
  std::string too_many;
  const bool limited = !allowed.is_null(0, 2) || allowed.real(0, 1) < 1;
  if (limited && !scope.older_than && !allowed.boolean(0, 0)) {
    const std::vector<Due> due = due_rows(scope);
    if (!allowed.is_null(0, 2)) too_many = beyond_rows(due, allowed.integer(0, 2));
    if (too_many.empty()) too_many = beyond_share(due, allowed.real(0, 1));
  }
  if (too_many.empty()) lifecycle::settle_origin(record);
  bookkeep("UPDATE dbops.purge_origin SET too_many = $2 WHERE target = $1::oid",
           {to_text(scope.target), too_many.empty() ? std::nullopt : Value(too_many)});
  return too_many;
}

void spend_confirmation(const PurgeScope& scope) {
  if (scope.older_than) return; // it was not asked for
  bookkeep("UPDATE dbops.purge_origin SET confirmed = false WHERE target = $1::oid AND confirmed",
           {to_text(scope.target)});
}

void note_origin_of_new_rule(Oid target) {
  forget_origin(target);
  lock_origin(target);
  lifecycle::settle_origin(record_of(target));
}

void forget_origin(Oid target) {
  bookkeep("DELETE FROM dbops.purge_origin WHERE target = $1::oid", {to_text(target)});
}

} // namespace dbops::server::soft_delete

using namespace dbops::server;

DBOPS_SQL_FUNCTION(dbops_confirm_purge) {
  return boundary([fcinfo] {
    SpiConnection spi;
    const bool waited = soft_delete::confirm(Arguments(fcinfo).relation());
    spi.close();
    return BoolGetDatum(waited);
  });
}
