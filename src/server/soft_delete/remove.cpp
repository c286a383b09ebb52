// dbops.soft_delete: one row, and along its foreign keys what would go with it.
//
// Why each row is locked FOR UPDATE before it is marked: a row that refers to it is inserted under FOR KEY SHARE, which
// an UPDATE alone would not wait for. So who inserts a child either commits before the children are looked for, or
// waits for this transaction and is refused by the guard (guard.cpp).

#include <algorithm>
#include <deque>
#include <map>

#include "server/backfill/table.h"
#include "server/lifecycle/holds.h"
#include "server/soft_delete/deletion.h"

extern "C" {
#include "access/xact.h"
#include "catalog/pg_class_d.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
}

namespace dbops::server::soft_delete {

namespace {

// With a snapshot of the transaction's beginning, a child that was committed since would be overlooked.
void require_read_committed() {
  if (IsolationUsesXactSnapshot())
    throw SqlError(ERRCODE_FEATURE_NOT_SUPPORTED, "dbops.soft_delete() needs isolation level READ COMMITTED",
                   "In REPEATABLE READ it could overlook rows that refer to the deleted one.");
}

void require_delete_privilege(const Rule& rule) {
  call_pg([&rule] {
    const AclResult allowed = pg_class_aclcheck(rule.table, GetUserId(), ACL_DELETE);
    if (allowed != ACLCHECK_OK)
      aclcheck_error(allowed, get_relkind_objtype(get_rel_relkind(rule.table)), get_rel_name(rule.table));
  });
}

[[noreturn]] void no_such_row(const Rule& rule, const std::vector<Value>& key) {
  std::string text;
  for (const Value& value : key)
    text += (text.empty() ? "" : ", ") + value.value_or("NULL");
  throw SqlError(ERRCODE_NO_DATA_FOUND, "row (" + text + ") of " + label(rule.table) + " is not there",
                 "It was never there, is deleted already, or is hidden by row-level security.");
}

// What row-level security would let the current user DELETE: empty when it does not apply.
std::string delete_policy(const Rule& rule) {
  const Rows active = run("SELECT row_security_active($1::oid)", {to_text(rule.table)});
  if (!active.boolean(0, 0)) return {};
  const Rows policy =
      run("SELECT coalesce('(' || string_agg(q.qual, ' OR ') FILTER (WHERE polpermissive) || ')', 'false')"
          " || coalesce(' AND ' || string_agg(q.qual, ' AND ') FILTER (WHERE NOT polpermissive), '')"
          " FROM pg_policy p, LATERAL (SELECT '(' || coalesce(pg_get_expr(polqual, polrelid), 'true') || ')' AS qual) q"
          " WHERE polrelid = $1::oid AND polcmd IN ('*', 'd')"
          " AND EXISTS (SELECT FROM unnest(polroles) r WHERE r = 0 OR pg_has_role(r, 'USAGE'))",
          {to_text(rule.table)});
  return policy.text(0, 0);
}

// As the user himself, so that policies see him.
void require_visible(const Rule& rule, const std::vector<Value>& key) {
  const std::string policy = delete_policy(rule);
  if (policy.empty()) return;
  const std::string alias = quote_name(call_pg([&rule] { return get_rel_name(rule.table); }));
  if (run("SELECT 1 FROM " + rule.name + " WHERE " + key_condition(rule, alias, 1) + " AND (" + policy + ")", key)
          .empty())
    no_such_row(rule, key);
}

Deletion open_deletion(const Rule& rule, const std::vector<Value>& key) {
  std::vector<Value> parameters{to_text(rule.table), role_name(GetUserId()), to_text(GetUserId())};
  std::string values;
  for (std::size_t i = 0; i < key.size(); ++i) {
    parameters.push_back(key[i]);
    values += (values.empty() ? "" : " || ', ' || ") + ("coalesce($" + std::to_string(parameters.size()) + ", '')");
  }
  const Rows made =
      bookkeep("INSERT INTO dbops.soft_deletion (target, key, deleted_by, actor, transaction_id, transaction_start)"
               " SELECT $1::oid, " +
                   values +
                   ", $2, $3::oid, pg_current_xact_id(), now() RETURNING deletion_id,"
                   " to_char(deleted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00'", // for any DateStyle
               parameters);
  return {made.integer(0, 0), made.text(0, 1)};
}

// Locks the rows of `rule` that `condition` (with alias c) chooses, and returns their keys.
Keys lock_rows(const Rule& rule, const std::string& condition, const std::vector<Value>& parameters) {
  std::string columns;
  std::string order;
  for (std::size_t i = 0; i < rule.key.size(); ++i) {
    columns += (i > 0 ? ", c." : "c.") + rule.key[i].name + " AS k" + std::to_string(i);
    order += (i > 0 ? ", " : "") + std::to_string(i + 1);
  }
  return take_keys(read_as(rule.owner,
                           "SELECT " + aggregate_keys(rule.key.size()) + " FROM (SELECT " + columns + " FROM " +
                               rule.name + " c WHERE " + condition +
                               (rule.mode == Mode::column ? " AND c.deleted_at IS NULL" : "") + " ORDER BY " + order +
                               " FOR UPDATE OF c) x",
                           parameters));
}

// "FROM ROWS FROM (unnest($4::integer[]), ...) AS k(id, ...) WHERE c.id = k.id AND ...", for a table with alias c.
std::string join_keys(const Rule& rule, int first_parameter, const char* keyword) {
  std::string condition;
  for (const KeyColumn& column : rule.key)
    condition += (condition.empty() ? "c." : " AND c.") + column.name + " " + column.equal + " k." + column.name;
  return std::string(" ") + keyword + " " + from_keys(rule.key, "k", first_parameter) + " WHERE " + condition;
}

// One deletion under way: which tables have rows in it, and which are still to be followed along their foreign keys.
class Cascade {
 public:
  explicit Cascade(Deletion deletion) : deletion_(std::move(deletion)) {}

  void remove(const Rule& rule, const std::string& condition, const std::vector<Value>& parameters) {
    if (rule.mode == Mode::tombstone) refuse_lost_children(rule.table);
    const Keys keys = lock_rows(rule, condition, parameters);
    if (keys.count == 0) return;
    const std::int64_t changed = rule.mode == Mode::column ? mark(rule, keys) : erase(rule, keys);
    if (changed != keys.count)
      throw SqlError(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION,
                     "a trigger of " + label(rule.table) + " kept rows from being deleted");
    counts_[rule.table] += keys.count;
    if (rule.mode == Mode::column && std::find(queue_.begin(), queue_.end(), rule.table) == queue_.end())
      queue_.push_back(rule.table);
  }

  void follow() {
    while (!queue_.empty()) {
      const Oid parent = queue_.front();
      queue_.pop_front();
      for (const ForeignKey& key : foreign_keys_to(parent))
        if (key.on_delete == 'c') follow(key);
    }
    for (const auto& [table, count] : counts_)
      if (find_rule(table)->mode == Mode::column)
        for (const ForeignKey& key : foreign_keys_to(table))
          check_others(key);
  }

  void store() {
    std::string tables;
    std::string counts;
    for (const auto& [table, count] : counts_) {
      tables += (tables.empty() ? "{" : ",") + to_text(table);
      counts += (counts.empty() ? "{" : ",") + to_text(count);
    }
    bookkeep("UPDATE dbops.soft_deletion SET open = false, tables = $2::regclass[], counts = $3::bigint[],"
             " detached = $4::text[] WHERE deletion_id = $1::bigint",
             {to_text(deletion_.id), tables + "}", counts + "}",
              detached_.empty() ? std::nullopt : Value("{" + detached_ + "}")});
  }

  [[nodiscard]] bool empty() const noexcept { return counts_.empty(); }

 private:
  // What rows of the child can refer to in this deletion. Parent and child may be different owners': each is asked for
  // his own table.
  [[nodiscard]] Keys referred(const ForeignKey& key) const {
    std::string columns;
    for (std::size_t i = 0; i < key.parent_columns.size(); ++i)
      columns += (i > 0 ? ", p." : "p.") + key.parent_columns[i].name + " AS k" + std::to_string(i);
    return take_keys(read_as(key.parent_owner,
                             "SELECT " + aggregate_keys(key.parent_columns.size()) + " FROM (SELECT " + columns +
                                 " FROM " + key.parent_name + " p WHERE p.deletion_id = $1::bigint) x",
                             {to_text(deletion_.id)}));
  }

  // The rows of the child (alias c) that refer to one of these, which are the first parameters.
  [[nodiscard]] static std::string refers(const ForeignKey& key) {
    return "EXISTS (SELECT FROM " + from_keys(key.parent_columns, "p", 1) + " WHERE " + key.join("p", "c") + ")";
  }

  [[nodiscard]] static std::string in_partition(Oid partition) {
    std::string members;
    for (const Oid member : backfill::family(partition))
      members += (members.empty() ? "{" : ",") + to_text(member);
    return "c.tableoid = ANY ('" + members + "}'::oid[])";
  }

  void follow(const ForeignKey& key) {
    const std::optional<Rule> child = find_rule(key.child, true);
    if (child && child->state != "disabling" && !child->key.empty()) {
      const Keys parents = referred(key);
      if (parents.count == 0) return;
      const std::string of_partition = key.child == key.child_root ? "" : in_partition(key.child) + " AND ";
      remove(*child, of_partition + refers(key), parents.arrays);
      return;
    }
    if (std::int64_t rows = count_referring(key, false); rows > 0)
      throw SqlError(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
                     "rows of " + label(key.child) + " refer to the row by foreign key " + key.name +
                         " ON DELETE CASCADE, and that table has no soft delete",
                     "SELECT dbops.soft_delete_enable(" + quote_text(label(key.child)) +
                         "); or delete those rows first.",
                     to_text(rows) + " rows.");
  }

  std::int64_t count_referring(const ForeignKey& key, bool live) {
    const Keys parents = referred(key);
    if (parents.count == 0) return 0;
    return read_as(key.child_owner,
                   "SELECT count(*) FROM " + key.child_name + " c WHERE " + refers(key) +
                       (live ? " AND c.deleted_at IS NULL" : ""),
                   parents.arrays)
        .integer(0, 0);
  }

  // NO ACTION and RESTRICT forbid; SET NULL and SET DEFAULT happen when the row is purged, so that until then the link
  // can come back.
  void check_others(const ForeignKey& key) {
    if (key.on_delete == 'c') return;
    const std::optional<Rule> child = find_rule(key.child);
    const std::int64_t rows = count_referring(key, child && child->mode == Mode::column);
    if (rows == 0) return;
    if (key.on_delete == 'a' || key.on_delete == 'r')
      throw SqlError(ERRCODE_FOREIGN_KEY_VIOLATION,
                     "rows of " + label(key.child) + " refer to the row by foreign key " + key.name,
                     "Delete those first.", to_text(rows) + " rows.");
    const std::string note = key.name + ": " + to_text(rows) + " rows of " + label(key.child);
    detached_ += detached_.empty() ? "\"" : ",\"";
    for (const char c : note) {
      if (c == '"' || c == '\\') detached_ += '\\';
      detached_ += c;
    }
    detached_ += '"';
  }

  std::int64_t mark(const Rule& rule, const Keys& keys) const {
    std::vector<Value> values{deletion_.at, role_name(GetUserId()), to_text(deletion_.id)};
    values.insert(values.end(), keys.arrays.begin(), keys.arrays.end());
    const Rows changed = run_as_owner(
        rule,
        "UPDATE " + rule.name +
            " AS c SET deleted_at = $1::pg_catalog.timestamptz, deleted_by = $2, deletion_id = $3::pg_catalog.int8" +
            join_keys(rule, 4, "FROM"),
        values);
    return static_cast<std::int64_t>(changed.processed);
  }

  [[nodiscard]] std::int64_t tombstones_of(const Rule& rule) const {
    return bookkeep("SELECT count(*) FROM dbops.deleted_row WHERE deletion_id = $1::bigint AND target = $2::oid",
                    {to_text(deletion_.id), to_text(rule.table)})
        .integer(0, 0);
  }

  // Undeleting does not give back a reference that ON DELETE SET NULL has taken.
  static void refuse_to_change_held(const Rule& rule, const Keys& keys) {
    const std::string held = lifecycle::changes_held(rule.table, "c");
    if (held.empty()) return;
    const std::string sql =
        "SELECT 1 FROM " + rule.name + " AS c" + join_keys(rule, 1, "CROSS JOIN") + " AND (" + held + ") LIMIT 1";
    if (!read_as(rule.owner, sql, keys.arrays).empty())
      throw SqlError(ERRCODE_RESTRICT_VIOLATION,
                     "a row that refers to one of " + label(rule.table) +
                         " must not lose its reference: it is under legal hold",
                     "See dbops.holds.");
  }

  // A real DELETE: foreign keys, unique keys and triggers do as ever, and the trigger of the table keeps the row.
  [[nodiscard]] std::int64_t erase(const Rule& rule, const Keys& keys) const {
    lifecycle::begin_deleting(); // a row that is held stays: 23001
    refuse_to_change_held(rule, keys);
    const std::int64_t before = tombstones_of(rule);
    const Rows deleted =
        run_as_owner(rule, "DELETE FROM " + rule.name + " AS c" + join_keys(rule, 1, "USING"), keys.arrays);
    if (tombstones_of(rule) < before + static_cast<std::int64_t>(deleted.processed))
      throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                     "rows of " + label(rule.table) +
                         " would be deleted for good: the trigger that keeps them is"
                         " switched off, or not there",
                     "SELECT dbops.soft_delete_enable(" + quote_text(label(rule.table)) +
                         "); or ALTER TABLE ... ENABLE TRIGGER; and session_replication_role must not be replica.");
    return static_cast<std::int64_t>(deleted.processed);
  }

  // Rows that the server would delete along with this one, for good.
  void refuse_lost_children(Oid table) {
    for (const ForeignKey& key : foreign_keys_to(table)) {
      if (key.on_delete != 'c' || key.child_root == table) continue;
      const std::optional<Rule> child = find_rule(key.child);
      if (child && child->mode == Mode::tombstone) {
        if (std::find(checked_.begin(), checked_.end(), child->table) != checked_.end()) continue;
        checked_.push_back(child->table);
        refuse_lost_children(child->table);
      } else if (!read_as(key.child_owner, "SELECT 1 FROM " + key.child_name + " LIMIT 1").empty())
        throw SqlError(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
                       "foreign key " + key.name + " ON DELETE CASCADE would delete rows of " + label(key.child) +
                           " for good",
                       "SELECT dbops.soft_delete_enable(" + quote_text(label(key.child)) + ", mode => 'tombstone');");
    }
  }

  Deletion deletion_;
  std::map<Oid, std::int64_t> counts_;
  std::deque<Oid> queue_;
  std::vector<Oid> checked_;
  std::string detached_;
};

} // namespace

// The row under its lock is the one that the statement's WHERE has chosen, or is skipped: false, as it is gone. When
// another transaction has changed it since, a DELETE would ask its WHERE again, which a trigger cannot.
bool lock_live_row(TriggerData* data, const Rule& rule, const std::vector<Value>& key) {
  require_read_committed();
  require_delete_privilege(rule);
  if (lock_rows(rule, key_condition(rule, "c", 1), key).count == 0) return false;
  Settings settings = canonical_text();
  settings.emplace_back("search_path", "pg_catalog, pg_temp");
  const int nest_level = enter_settings(settings);
  const Rows now =
      read_as(rule.owner, "SELECT v.* FROM " + rule.live_view + " AS v WHERE " + key_condition(rule, "v", 1), key);
  bool same = !now.empty();
  for (int i = 0; same && i < RelationGetDescr(data->tg_relation)->natts; ++i) {
    const char* before =
        call_pg([data, i] { return SPI_getvalue(data->tg_trigtuple, RelationGetDescr(data->tg_relation), i + 1); });
    const auto& value = now.rows.front().at(static_cast<std::size_t>(i));
    same = before == nullptr ? !value.has_value() : value == before;
  }
  leave_settings(nest_level);
  if (same) return true;
  const Rows changed_by =
      read_as(rule.owner, "SELECT c.xmin FROM " + rule.name + " AS c WHERE " + key_condition(rule, "c", 1), key);
  // This transaction itself, by a trigger.
  if (!changed_by.empty() && call_pg([xid = static_cast<TransactionId>(changed_by.integer(0, 0))] {
        return TransactionIdIsCurrentTransactionId(xid);
      }))
    return true;
  throw SqlError(ERRCODE_T_R_SERIALIZATION_FAILURE,
                 "a row of " + label(rule.table) + " was changed by another transaction since the DELETE found it",
                 "Repeat the statement: it may not be one that is to be deleted any more.");
}

Deletion remove_row(const Rule& rule, const std::vector<Value>& key) {
  require_read_committed();
  require_delete_privilege(rule);
  require_visible(rule, key);
  const Deletion deletion = open_deletion(rule, key);
  Cascade cascade(deletion);
  cascade.remove(rule, key_condition(rule, "c", 1), key);
  if (cascade.empty()) no_such_row(rule, key);
  cascade.follow();
  cascade.store();
  return deletion;
}

} // namespace dbops::server::soft_delete

using namespace dbops::server;

namespace {

Oid target_argument(FunctionCallInfo fcinfo) {
  if (PG_ARGISNULL(0)) throw SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, "target must not be null");
  return PG_GETARG_OID(0);
}

// The arguments after the first, as text.
std::vector<Value> key_arguments(FunctionCallInfo fcinfo) {
  if (get_fn_expr_variadic(fcinfo->flinfo))
    throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "the key is given as single arguments, not as VARIADIC array");
  std::vector<Value> key;
  for (int i = 1; i < PG_NARGS(); ++i) {
    if (PG_ARGISNULL(i)) throw SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, "key must not be null");
    key.emplace_back(call_pg([fcinfo, i] {
      Oid output = InvalidOid;
      bool varlena = false;
      getTypeOutputInfo(get_fn_expr_argtype(fcinfo->flinfo, i), &output, &varlena);
      return OidOutputFunctionCall(output, PG_GETARG_DATUM(i));
    }));
  }
  return key;
}

// The primary key of the row that a statement deletes from the view of live rows.
std::vector<Value> key_of_view_row(TriggerData* data, const soft_delete::Rule& rule) {
  std::vector<Value> key;
  for (const soft_delete::KeyColumn& column : rule.key) {
    const char* value = call_pg([data, &column] {
      TupleDesc types = RelationGetDescr(data->tg_relation);
      const int number = SPI_fnumber(types, column.plain.c_str());
      if (number <= 0)
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
                        errmsg("the view lacks column \"%s\" of the primary key", column.plain.c_str()),
                        errhint("Call dbops.soft_delete_enable() again: it makes the view anew.")));
      return SPI_getvalue(data->tg_trigtuple, types, number);
    });
    key.emplace_back(value);
  }
  return key;
}

} // namespace

DBOPS_SQL_FUNCTION(dbops_soft_delete) {
  return boundary([fcinfo] {
    SpiConnection spi;
    const Oid target = target_argument(fcinfo);
    const std::vector<Value> key = key_arguments(fcinfo);
    const soft_delete::Rule rule = soft_delete::require_enabled(target);
    if (key.size() != rule.key.size())
      throw SqlError(ERRCODE_INVALID_PARAMETER_VALUE, "the primary key of " + soft_delete::label(rule.table) + " has " +
                                                          std::to_string(rule.key.size()) + " columns, " +
                                                          std::to_string(key.size()) + " values are given");
    const soft_delete::Deletion deletion = soft_delete::remove_row(rule, key);
    spi.close();
    return Int64GetDatum(deletion.id);
  });
}

// DELETE FROM the view of live rows is a soft delete of each row; counts and RETURNING are those of a DELETE.
DBOPS_SQL_FUNCTION(dbops_delete_live) {
  return boundary([fcinfo] {
    if (!CALLED_AS_TRIGGER(fcinfo))
      throw SqlError(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED, "dbops.delete_live() is a trigger function");
    auto* data = reinterpret_cast<TriggerData*>(fcinfo->context);
    if (!TRIGGER_FIRED_INSTEAD(data->tg_event) || !TRIGGER_FIRED_BY_DELETE(data->tg_event))
      throw SqlError(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED, "dbops.delete_live() is for INSTEAD OF DELETE");
    SpiConnection spi;
    const Rows target = bookkeep("SELECT target::oid FROM dbops.soft_delete_rule WHERE live_view = $1::oid",
                                 {to_text(RelationGetRelid(data->tg_relation))});
    if (target.empty())
      throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, std::string("view \"") +
                                                                   RelationGetRelationName(data->tg_relation) +
                                                                   "\" does not belong to a table with soft delete");
    const soft_delete::Rule rule = soft_delete::require_enabled(static_cast<Oid>(target.integer(0, 0)));
    const std::vector<Value> key = key_of_view_row(data, rule);
    if (!soft_delete::lock_live_row(data, rule, key)) {
      spi.close();
      return PointerGetDatum(nullptr);
    }
    soft_delete::remove_row(rule, key);
    spi.close();
    return PointerGetDatum(data->tg_trigtuple);
  });
}
