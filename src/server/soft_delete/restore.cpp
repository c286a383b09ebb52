// dbops.undelete: exactly the rows of one deletion, or none.

#include <algorithm>
#include <map>

#include "server/arguments.h"
#include "server/soft_delete/change.h"
#include "server/soft_delete/deletion.h"

extern "C" {
#include "catalog/pg_class_d.h"
#include "utils/acl.h"
#include "utils/builtins.h"
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
  std::map<Oid, std::int64_t> counts; // as it was made; of tombstones, those that were asked for
};

// Locked, so that a purge cannot begin with it.
Record lock_deletion(std::int64_t id) {
  const Rows found = bookkeep("SELECT target::oid, state, actor FROM dbops.soft_deletion WHERE deletion_id = $1::bigint"
                              " FOR NO KEY UPDATE",
                              {to_text(id)});
  if (found.empty()) throw SqlError(ERRCODE_UNDEFINED_OBJECT, "deletion " + to_text(id) + " does not exist");
  Record record{static_cast<Oid>(found.integer(0, 0)), found.text(0, 1), static_cast<Oid>(found.integer(0, 2)), {}, {}};
  const Rows tables = bookkeep("SELECT k::oid FROM dbops.soft_deletion, unnest(tables) k WHERE deletion_id = $1::bigint"
                               " UNION SELECT target::oid FROM dbops.deleted_row WHERE deletion_id = $1::bigint",
                               {to_text(id)});
  for (std::size_t i = 0; i < tables.size(); ++i)
    record.tables.push_back(static_cast<Oid>(tables.integer(i, 0)));
  const Rows counts = bookkeep("SELECT k::oid, n FROM dbops.soft_deletion, unnest(tables, counts) c(k, n)"
                               " WHERE deletion_id = $1::bigint",
                               {to_text(id)});
  for (std::size_t i = 0; i < counts.size(); ++i)
    record.counts.emplace(static_cast<Oid>(counts.integer(i, 0)), counts.integer(i, 1));
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

[[noreturn]] void refuse_kept_back(const Rule& rule, std::int64_t id) {
  throw SqlError(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION, "deletion " + to_text(id) +
                                                              " cannot be undone: a trigger or rule of " +
                                                              label(rule.table) + " kept rows from being restored");
}

// Rows that are there: deleted, made live by their owner, or kept as tombstones.
std::int64_t rows_left(const Rule& rule, std::int64_t id) {
  if (rule.mode == Mode::column)
    return read_as(rule.owner, "SELECT count(*) FROM " + rule.name + " WHERE deletion_id = $1::bigint", {to_text(id)})
        .integer(0, 0);
  return bookkeep("SELECT count(*) FROM dbops.deleted_row WHERE deletion_id = $1::bigint AND target = $2::oid",
                  {to_text(id), to_text(rule.table)})
      .integer(0, 0);
}

// Something else has deleted rows of it meanwhile, for good: a DELETE, dbops.retain, dbops.batch_delete. restored:
// those that are live again by now.
void require_all_there(const Rule& rule, const Record& record, std::int64_t id, std::int64_t restored, Loss loss) {
  const auto made = record.counts.find(rule.table);
  if (made == record.counts.end()) return;
  const std::int64_t gone = made->second - restored - rows_left(rule, id);
  if (gone <= 0) return;
  const std::string text =
      to_text(gone) + " of its " + to_text(made->second) + " rows of " + label(rule.table) + " are not there any more";
  if (loss == Loss::none)
    throw SqlError(ERRCODE_DATA_EXCEPTION, "deletion " + to_text(id) + " cannot be undone as a whole: " + text,
                   "SELECT dbops.undelete(" + to_text(id) + ", lossy => true) restores what is left.",
                   "They were deleted otherwise since, by a DELETE, dbops.retain() or dbops.batch_delete(), or went "
                   "with a partition.");
  warn("deletion " + to_text(id) + " is not undone as a whole: " + text);
}

std::int64_t restore_column(const Rule& rule, const Record& record, std::int64_t id, Loss loss) {
  const Restoring flag;
  const Rows restored =
      run_as_owner(rule,
                   "UPDATE " + rule.name +
                       " SET deleted_at = NULL, deleted_by = NULL, deletion_id = NULL WHERE deletion_id OPERATOR("
                       "pg_catalog.=) $1::pg_catalog.int8 AND deleted_at IS NOT NULL",
                   {to_text(id)});
  if (!read_as(rule.owner,
               "SELECT 1 FROM " + rule.name + " WHERE deletion_id = $1::bigint AND deleted_at IS NOT NULL LIMIT 1",
               {to_text(id)})
           .empty())
    refuse_kept_back(rule, id);
  // Only now: somebody may have deleted one while the update waited for him.
  require_all_there(rule, record, id, static_cast<std::int64_t>(restored.processed), loss);
  return static_cast<std::int64_t>(restored.processed);
}

// A column of today that the rows had.
struct KeptColumn {
  std::string name;   // quoted
  std::string value;  // its text, in the image i
  std::string type;   // as a cast reads it
  std::string intact; // condition: nothing of the value is lost
};

// The type of a value, below domains, with or without its length.
std::string base_type(Oid type, std::int32_t typmod, bool with_length) {
  return call_pg([type, typmod, with_length] {
    std::int32_t length = typmod;
    const Oid base = getBaseTypeAndTypmod(type, &length);
    return format_type_extended(base, with_length ? length : -1, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
  });
}

// Its text is the same, or, of a type with a length, the value: numeric(5,1) reads 1 as 1.0.
std::string intact(const KeptColumn& column, Oid type, std::int32_t typmod) {
  const std::string now = base_type(type, typmod, true);
  const std::string any_length = base_type(type, typmod, false);
  std::string text =
      "pg_catalog.format('%s', " + column.value + "::" + now + ") OPERATOR(pg_catalog.=) " + column.value;
  if (now != any_length && (any_length.find('.') == std::string::npos || any_length.starts_with("pg_catalog.")))
    text += " OR " + column.value + "::" + now + " OPERATOR(pg_catalog.=) " + column.value + "::" + any_length;
  return column.value + " IS NULL OR " + text;
}

std::vector<KeptColumn> kept_columns(const Rule& rule, std::int64_t id) {
  const Rows found =
      bookkeep("SELECT quote_ident(a.attname), format('(i.image OPERATOR(pg_catalog.->>) %L)', a.attname),"
               " format_type(a.atttypid, a.atttypmod), a.atttypid, a.atttypmod"
               " FROM pg_attribute a WHERE a.attrelid = $1::oid AND attnum > 0 AND NOT attisdropped"
               " AND attgenerated = '' AND EXISTS (SELECT FROM dbops.deleted_row d WHERE d.deletion_id = $2::bigint"
               " AND d.target = $1::oid AND d.image ? a.attname::text) ORDER BY attnum",
               {to_text(rule.table), to_text(id)});
  std::vector<KeptColumn> columns;
  for (std::size_t i = 0; i < found.size(); ++i) {
    KeptColumn& column = columns.emplace_back();
    column = {found.text(i, 0), found.text(i, 1), found.text(i, 2), {}};
    column.intact =
        intact(column, static_cast<Oid>(found.integer(i, 3)), static_cast<std::int32_t>(found.integer(i, 4)));
  }
  return columns;
}

[[noreturn]] void refuse_loss(const Rule& rule, std::int64_t id, const std::string& what) {
  throw SqlError(ERRCODE_DATA_EXCEPTION,
                 "deletion " + to_text(id) + " cannot be undone without a loss: table " + label(rule.table) + " " +
                     what,
                 "Change the table back, or SELECT dbops.undelete(" + to_text(id) +
                     ", lossy => true), which leaves out what has no column and cuts what does not fit.");
}

// Columns that were renamed or dropped, and values that today's type would cut or round.
void require_lossless(const Rule& rule, std::int64_t id, const std::vector<KeptColumn>& columns,
                      const std::string& images) {
  const Rows gone = bookkeep(
      "SELECT string_agg(DISTINCT quote_ident(e.key), ', ') FROM dbops.deleted_row d, jsonb_each_text(d.image) e"
      " WHERE d.deletion_id = $1::bigint AND d.target = $2::oid AND e.value IS NOT NULL AND NOT EXISTS (SELECT FROM"
      " pg_attribute a WHERE a.attrelid = $2::oid AND a.attname = e.key AND a.attnum > 0 AND NOT a.attisdropped"
      " AND a.attgenerated = '')",
      {to_text(id), to_text(rule.table)});
  if (!gone.is_null(0, 0)) refuse_loss(rule, id, "has no column " + gone.text(0, 0) + " any more");
  std::string questions;
  for (const KeptColumn& column : columns)
    questions += (questions.empty() ? "" : ", ") + ("pg_catalog.bool_and(" + column.intact + ")");
  const Rows answers = read_as(
      rule.owner, "SELECT " + questions + " FROM pg_catalog.jsonb_array_elements($1::pg_catalog.jsonb) AS i(image)",
      {images});
  for (std::size_t i = 0; i < columns.size(); ++i)
    if (!answers.boolean(0, i))
      refuse_loss(rule, id, "has values for column " + columns[i].name + " that do not fit " + columns[i].type);
}

// What came later than the rows takes its default.
std::int64_t restore_tombstones(const Rule& rule, std::int64_t id, bool lossy) {
  const Rows images =
      bookkeep("SELECT jsonb_agg(image ORDER BY row_id)::text, count(*) FROM dbops.deleted_row WHERE deletion_id ="
               " $1::bigint AND target = $2::oid",
               {to_text(id), to_text(rule.table)});
  if (images.integer(0, 1) == 0) return 0;
  const std::vector<KeptColumn> columns = kept_columns(rule, id);
  std::string names;
  std::string values;
  for (const KeptColumn& column : columns) {
    names += (names.empty() ? "" : ", ") + column.name;
    values += (values.empty() ? "" : ", ") + (column.value + "::" + column.type);
  }
  const int nest_level = enter_settings(canonical_text());
  if (columns.empty() || !lossy) require_lossless(rule, id, columns, images.text(0, 0));
  const Rows inserted =
      run_as_owner(rule,
                   "INSERT INTO " + rule.name + " (" + names + ") OVERRIDING SYSTEM VALUE SELECT " + values +
                       " FROM pg_catalog.jsonb_array_elements($1::pg_catalog.jsonb) AS i(image)",
                   {images.text(0, 0)});
  leave_settings(nest_level);
  if (static_cast<std::int64_t>(inserted.processed) != images.integer(0, 1)) refuse_kept_back(rule, id);
  bookkeep("DELETE FROM dbops.deleted_row WHERE deletion_id = $1::bigint AND target = $2::oid",
           {to_text(id), to_text(rule.table)});
  return static_cast<std::int64_t>(inserted.processed);
}

} // namespace

bool restoring() noexcept {
  return under_way;
}

std::int64_t restore(std::int64_t id, Loss loss) {
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
  for (const Rule& rule : rules) {
    if (rule.mode == Mode::column)
      require_live_parents(rule, id);
    else
      require_all_there(rule, record, id, 0, loss);
  }
  // Rows that are there refer to nothing that has left its table; but tombstones may refer to them, and those that come
  // back are asked for their parents by the guard.
  std::stable_partition(rules.begin(), rules.end(), [](const Rule& rule) { return rule.mode == Mode::column; });
  std::int64_t rows = 0;
  std::string tables;
  std::string counts;
  for (const Rule& rule : rules) {
    try {
      const std::int64_t restored = rule.mode == Mode::column ? restore_column(rule, record, id, loss)
                                                              : restore_tombstones(rule, id, loss == Loss::of_anything);
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
    Arguments in(fcinfo);
    const auto deletion = in.bigint();
    if (!deletion) throw SqlError(ERRCODE_NULL_VALUE_NOT_ALLOWED, "deletion must not be null");
    using soft_delete::Loss;
    const std::int64_t rows = soft_delete::restore(*deletion, in.boolean() ? Loss::of_anything : Loss::none);
    spi.close();
    return Int64GetDatum(rows);
  });
}
