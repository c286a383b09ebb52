// dbops.undelete: exactly the rows of one deletion, or none.

#include "server/arguments.h"
#include "server/soft_delete/deletion.h"

extern "C" {
#include "catalog/pg_class_d.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
}

namespace dbops::server::soft_delete {

namespace {

bool under_way = false;

class Restoring {
 public:
  Restoring() { under_way = true; }
  ~Restoring() { under_way = false; }
  Restoring(const Restoring&) = delete;
  Restoring& operator=(const Restoring&) = delete;
};

struct Record {
  Oid target = InvalidOid;
  std::string state;
  Oid actor = InvalidOid;
  std::vector<Oid> tables;
};

// Locked, so that a purge cannot begin with it.
Record lock_deletion(std::int64_t id) {
  const Rows found = bookkeep("SELECT target::oid, state, actor FROM dbops.soft_deletion WHERE deletion_id = $1::bigint"
                              " FOR NO KEY UPDATE",
                              {to_text(id)});
  if (found.empty()) throw SqlError(ERRCODE_UNDEFINED_OBJECT, "deletion " + to_text(id) + " does not exist");
  Record record{static_cast<Oid>(found.integer(0, 0)), found.text(0, 1), static_cast<Oid>(found.integer(0, 2)), {}};
  const Rows tables = bookkeep("SELECT k::oid FROM dbops.soft_deletion, unnest(tables) k WHERE deletion_id = $1::bigint"
                               " UNION SELECT target::oid FROM dbops.deleted_row WHERE deletion_id = $1::bigint",
                               {to_text(id)});
  for (std::size_t i = 0; i < tables.size(); ++i)
    record.tables.push_back(static_cast<Oid>(tables.integer(i, 0)));
  return record;
}

// Who could delete the row and insert it; where policies hide rows from him, only what he has deleted himself.
void require_may_restore(const Record& record, std::int64_t id) {
  const bool privileged = call_pg([&record] {
    return pg_class_aclmask(record.target, GetUserId(), ACL_DELETE | ACL_INSERT, ACLMASK_ALL) ==
           (ACL_DELETE | ACL_INSERT);
  });
  if (!privileged)
    throw SqlError(ERRCODE_INSUFFICIENT_PRIVILEGE,
                   "undeleting rows of " + label(record.target) + " takes the privileges DELETE and INSERT on it");
  if (record.actor != GetUserId() && run("SELECT row_security_active($1::oid)", {to_text(record.target)}).boolean(0, 0))
    throw SqlError(ERRCODE_INSUFFICIENT_PRIVILEGE, "deletion " + to_text(id) + " is another user's, and table " +
                                                       label(record.target) + " has row-level security");
}

[[noreturn]] void refuse_collision(const SqlError& error, std::int64_t id, const Rule& rule) {
  SqlError collision(ERRCODE_UNIQUE_VIOLATION,
                     "deletion " + to_text(id) + " cannot be undone: a row of " + label(rule.table) +
                         " would collide with one that came after it",
                     "Change or delete the other row, then undelete again.",
                     error.message + (error.detail.empty() ? "" : ": " + error.detail));
  throw collision;
}

// Rows that the restored ones refer to must be live, and stay so until this transaction ends.
void require_live_parents(const Rule& rule, std::int64_t id) {
  for (const ForeignKey& key : foreign_keys_from(rule.table)) {
    const std::optional<Rule> parent = find_rule(key.parent);
    if (!parent || parent->mode != Mode::column) continue;
    // Each table is asked as its owner.
    std::string columns;
    for (std::size_t i = 0; i < key.child_columns.size(); ++i)
      columns += (i > 0 ? ", c." : "c.") + key.child_columns[i].name + " AS k" + std::to_string(i);
    const Keys children = take_keys(read_as(key.child_owner,
                                            "SELECT " + aggregate_keys(key.child_columns.size()) +
                                                " FROM (SELECT DISTINCT " + columns + " FROM " + key.child_name +
                                                " c WHERE c.deletion_id = $1::bigint AND c.deleted_at IS NOT NULL) x",
                                            {to_text(id)}));
    if (children.count == 0) continue;
    std::vector<Value> parameters{to_text(id)};
    parameters.insert(parameters.end(), children.arrays.begin(), children.arrays.end());
    const Rows dead = read_as(
        key.parent_owner,
        "SELECT DISTINCT x.deletion_id FROM (SELECT p.deleted_at, p.deletion_id FROM " + key.parent_name +
            " p WHERE EXISTS (SELECT FROM " + from_keys(key.child_columns, "c", 2) + " WHERE " + key.join("p", "c") +
            ") FOR KEY SHARE OF p) x"
            " WHERE x.deleted_at IS NOT NULL AND x.deletion_id IS DISTINCT FROM $1::bigint LIMIT 1",
        parameters);
    if (dead.empty()) continue;
    throw SqlError(ERRCODE_FOREIGN_KEY_VIOLATION,
                   "deletion " + to_text(id) + " cannot be undone: by foreign key " + key.name + ", a row of " +
                       label(rule.table) + " refers to a deleted row of " + label(parent->table),
                   dead.is_null(0, 0) ? "Restore that row first."
                                      : "SELECT dbops.undelete(" + dead.text(0, 0) + ") restores that row.");
  }
}

std::int64_t restore_column(const Rule& rule, std::int64_t id) {
  const Rows restored =
      run_as_owner(rule,
                   "UPDATE " + rule.name +
                       " SET deleted_at = NULL, deleted_by = NULL, deletion_id = NULL WHERE deletion_id OPERATOR("
                       "pg_catalog.=) $1::pg_catalog.int8 AND deleted_at IS NOT NULL",
                   {to_text(id)});
  return static_cast<std::int64_t>(restored.processed);
}

// The columns of today that the rows had: what came later takes its default, what has gone is left out.
std::int64_t restore_tombstones(const Rule& rule, std::int64_t id) {
  const Rows columns =
      bookkeep("SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY attnum),"
               " string_agg(format('(i.image OPERATOR(pg_catalog.->>) %L)::%s', a.attname, format_type(a.atttypid,"
               " a.atttypmod)), ', ' ORDER BY attnum)"
               " FROM pg_attribute a WHERE a.attrelid = $1::oid AND attnum > 0 AND NOT attisdropped"
               " AND attgenerated = '' AND EXISTS (SELECT FROM dbops.deleted_row d WHERE d.deletion_id = $2::bigint"
               " AND d.target = $1::oid AND d.image ? a.attname::text)",
               {to_text(rule.table), to_text(id)});
  if (columns.is_null(0, 0)) return 0;
  const Rows images =
      bookkeep("SELECT jsonb_agg(image ORDER BY row_id)::text FROM dbops.deleted_row WHERE deletion_id ="
               " $1::bigint AND target = $2::oid",
               {to_text(id), to_text(rule.table)});
  const int nest_level = enter_settings(canonical_text());
  const Rows inserted =
      run_as_owner(rule,
                   "INSERT INTO " + rule.name + " (" + columns.text(0, 0) + ") OVERRIDING SYSTEM VALUE SELECT " +
                       columns.text(0, 1) + " FROM pg_catalog.jsonb_array_elements($1::pg_catalog.jsonb) AS i(image)",
                   {images.text(0, 0)});
  leave_settings(nest_level);
  bookkeep("DELETE FROM dbops.deleted_row WHERE deletion_id = $1::bigint AND target = $2::oid",
           {to_text(id), to_text(rule.table)});
  return static_cast<std::int64_t>(inserted.processed);
}

} // namespace

bool restoring() noexcept {
  return under_way;
}

std::int64_t restore(std::int64_t id) {
  const Record record = lock_deletion(id);
  require_may_restore(record, id);
  if (record.state != "deleted")
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "deletion " + to_text(id) + " is " + record.state,
                   record.state == "purging" ? "Its grace period is over, and rows of it may be gone already." : "");
  std::vector<Rule> rules;
  for (const Oid table : parents_first(record.tables)) {
    const std::optional<Rule> rule = find_rule(table, true);
    if (!rule)
      throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                     "deletion " + to_text(id) + " has rows of table " + label(table) +
                         ", which has no soft delete now",
                     "dbops.soft_delete_enable() it again.");
    rules.push_back(*rule);
  }
  for (const Rule& rule : rules)
    if (rule.mode == Mode::column) require_live_parents(rule, id);
  const Restoring flag;
  std::int64_t rows = 0;
  std::string tables;
  std::string counts;
  for (const Rule& rule : rules) {
    try {
      const std::int64_t restored = rule.mode == Mode::column ? restore_column(rule, id) : restore_tombstones(rule, id);
      rows += restored;
      tables += (tables.empty() ? "{" : ",") + to_text(rule.table);
      counts += (counts.empty() ? "{" : ",") + to_text(restored);
    } catch (const SqlError& error) {
      if (error.code == ERRCODE_UNIQUE_VIOLATION) refuse_collision(error, id, rule);
      throw;
    }
  }
  bookkeep("UPDATE dbops.soft_deletion SET state = 'undeleted', ended_at = clock_timestamp(), ended_by = $2,"
           " open = false, tables = $3::regclass[], counts = $4::bigint[] WHERE deletion_id = $1::bigint",
           {to_text(id), role_name(GetUserId()), tables.empty() ? "{}" : tables + "}",
            counts.empty() ? "{}" : counts + "}"});
  return rows;
}

} // namespace dbops::server::soft_delete

using namespace dbops::server;

DBOPS_SQL_FUNCTION(dbops_undelete) {
  return boundary([fcinfo] {
    SpiConnection spi;
    const auto deletion = Arguments(fcinfo).bigint();
    if (!deletion) throw SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, "deletion must not be null");
    const std::int64_t rows = soft_delete::restore(*deletion);
    spi.close();
    return Int64GetDatum(rows);
  });
}
