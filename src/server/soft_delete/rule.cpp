#include "server/soft_delete/rule.h"

#include <algorithm>
#include <map>
#include <set>

#include "server/compat.h"
#include "server/lifecycle/holds.h"

extern "C" {
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
}

namespace dbops::server::soft_delete {

namespace {

const Settings& pinned() {
  static const Settings& settings = *new Settings{{"search_path", "pg_catalog, pg_temp"}};
  return settings;
}

Settings in_schema_of(const Rule& rule) {
  return {{"search_path", rule.schema + ", pg_temp"}};
}

void replace_all(std::string& text, const std::string& what, const std::string& by) {
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size()))
    text.replace(at, what.size(), by);
}

// Reading a text as a domain would run the code of who made the domain; with a length it would be cut off.
std::string type_for_keys(Oid type) {
  return call_pg([type] {
    return format_type_extended(getBaseType(type), -1, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
  });
}

// numbers: "{1,3}"
std::vector<KeyColumn> columns_of(Oid table, const std::string& numbers) {
  const Rows rows = bookkeep(
      "SELECT a.attname, quote_ident(a.attname), a.atttypid FROM unnest($2::int2[]) WITH ORDINALITY u(number, place)"
      " JOIN pg_attribute a ON a.attrelid = $1::oid AND a.attnum = u.number ORDER BY u.place",
      {to_text(table), numbers});
  std::vector<KeyColumn> columns;
  for (std::size_t i = 0; i < rows.size(); ++i)
    columns.push_back({rows.text(i, 0), rows.text(i, 1), type_for_keys(static_cast<Oid>(rows.integer(i, 2))), {}});
  return columns;
}

std::vector<ForeignKey> foreign_keys(const std::string& condition, const std::vector<Value>& parameters) {
  const Rows rows = bookkeep(
      "SELECT k.oid, k.conname, k.conrelid, coalesce(pg_partition_root(k.conrelid), k.conrelid)::oid,"
      " format('%I.%I', cn.nspname, c.relname), k.confrelid, coalesce(pg_partition_root(k.confrelid), "
      "k.confrelid)::oid,"
      " format('%I.%I', pn.nspname, p.relname), k.confdeltype, m.match, k.conkey::text, k.confkey::text,"
      " c.relowner, p.relowner"
      " FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace"
      " JOIN pg_class p ON p.oid = k.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace,"
      " LATERAL (SELECT string_agg(format(E'\\x02.%I OPERATOR(%I.%s) \\x03.%I', pa.attname, n.nspname, o.oprname, "
      "ca.attname),"
      "   ' AND ' ORDER BY u.i) AS match"
      "   FROM unnest(k.conkey, k.confkey, k.conpfeqop) WITH ORDINALITY u(child, parent, op, i)"
      "   JOIN pg_attribute ca ON ca.attrelid = k.conrelid AND ca.attnum = u.child"
      "   JOIN pg_attribute pa ON pa.attrelid = k.confrelid AND pa.attnum = u.parent"
      "   JOIN pg_operator o ON o.oid = u.op JOIN pg_namespace n ON n.oid = o.oprnamespace) m"
      " WHERE k.contype = 'f' AND k.conparentid = 0 AND " +
          condition + " ORDER BY k.conrelid::regclass::text, k.conname",
      parameters);
  std::vector<ForeignKey> found;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    ForeignKey key;
    key.oid = static_cast<Oid>(rows.integer(i, 0));
    key.name = rows.text(i, 1);
    key.child = static_cast<Oid>(rows.integer(i, 2));
    key.child_root = static_cast<Oid>(rows.integer(i, 3));
    key.child_name = rows.text(i, 4);
    key.parent = static_cast<Oid>(rows.integer(i, 5));
    key.parent_root = static_cast<Oid>(rows.integer(i, 6));
    key.parent_name = rows.text(i, 7);
    key.on_delete = rows.text(i, 8).at(0);
    key.match = rows.text(i, 9);
    key.child_columns = columns_of(key.child, rows.text(i, 10));
    key.parent_columns = columns_of(key.parent, rows.text(i, 11));
    key.child_owner = static_cast<Oid>(rows.integer(i, 12));
    key.parent_owner = static_cast<Oid>(rows.integer(i, 13));
    found.push_back(std::move(key));
  }
  return found;
}

} // namespace

std::string ForeignKey::join(const std::string& parent_alias, const std::string& child_alias) const {
  std::string text = match;
  replace_all(text, "\x02.", parent_alias + ".");
  replace_all(text, "\x03.", child_alias + ".");
  return text;
}

Rows run(const std::string& sql, const std::vector<Value>& parameters) {
  const int nest_level = enter_settings(pinned());
  Rows result = query(sql, parameters);
  leave_settings(nest_level);
  return result;
}

Rows read_as(Oid owner, const std::string& sql, const std::vector<Value>& parameters) {
  const int flags = SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS;
  return as_role(owner, flags, [&] {
    const int nest_level = enter_settings(pinned());
    Rows result = query(sql, parameters);
    undo_settings(nest_level);
    return result;
  });
}

Rows run_as_owner(const Rule& rule, const std::string& sql, const std::vector<Value>& parameters) {
  lifecycle::keep_to_holds(); // what triggers of the table delete, truncate or drop elsewhere, the deferred ones too
  const bool self = rule.owner == GetUserId();
  const int flags = SECURITY_NOFORCE_RLS | (self ? 0 : SECURITY_LOCAL_USERID_CHANGE);
  return as_role(rule.owner, flags, [&] {
    if (self) return query(sql, parameters);
    const int nest_level = enter_settings(in_schema_of(rule));
    Rows result = query(sql, parameters);
    undo_settings(nest_level); // what that role's triggers SET does not stay in this session
    return result;
  });
}

std::vector<KeyColumn> primary_key(Oid table) {
  const Rows rows = bookkeep(
      "SELECT a.attname, quote_ident(a.attname), a.atttypid,"
      " format('OPERATOR(%I.%s)', n.nspname, o.oprname)"
      " FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::int2[], i.indclass::oid[]) WITH ORDINALITY u(attnum, "
      "class, place)"
      " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.attnum"
      " JOIN pg_opclass c ON c.oid = u.class"
      " JOIN pg_amop m ON m.amopfamily = c.opcfamily AND m.amopstrategy = 3 AND m.amoplefttype = c.opcintype"
      "  AND m.amoprighttype = c.opcintype"
      " JOIN pg_operator o ON o.oid = m.amopopr JOIN pg_namespace n ON n.oid = o.oprnamespace"
      " WHERE i.indrelid = $1::oid AND i.indisprimary AND i.indimmediate AND u.place <= i.indnkeyatts ORDER BY u.place",
      {to_text(table)});
  std::vector<KeyColumn> key;
  for (std::size_t i = 0; i < rows.size(); ++i)
    key.push_back(
        {rows.text(i, 0), rows.text(i, 1), type_for_keys(static_cast<Oid>(rows.integer(i, 2))), rows.text(i, 3)});
  return key;
}

std::optional<Rule> find_rule(Oid table, bool lock) {
  const Rows rows = bookkeep(
      std::string("SELECT c.oid, c.relowner, format('%I.%I', n.nspname, c.relname), quote_ident(n.nspname), r.mode,"
                  " r.state, coalesce(r.live_view::text, '')"
                  " FROM dbops.soft_delete_rule r JOIN pg_class c ON c.oid = r.target"
                  " JOIN pg_namespace n ON n.oid = c.relnamespace"
                  " WHERE r.target = coalesce(pg_partition_root($1::oid), $1::oid)") +
          (lock ? " FOR SHARE OF r" : ""),
      {to_text(table)});
  if (rows.empty()) return std::nullopt;
  Rule rule;
  rule.table = static_cast<Oid>(rows.integer(0, 0));
  rule.owner = static_cast<Oid>(rows.integer(0, 1));
  rule.name = rows.text(0, 2);
  rule.schema = rows.text(0, 3);
  rule.mode = rows.text(0, 4) == "column" ? Mode::column : Mode::tombstone;
  rule.state = rows.text(0, 5);
  rule.live_view = rows.text(0, 6);
  rule.key = primary_key(rule.table);
  return rule;
}

Rule require_enabled(Oid table) {
  std::optional<Rule> rule = find_rule(table, true);
  if (!rule)
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "table " + label(table) + " has no soft delete",
                   "SELECT dbops.soft_delete_enable(" + quote_text(label(table)) + ");");
  if (rule->state != "enabled")
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                   "soft delete of " + label(table) + " is " + rule->state + ", not enabled",
                   "Its job builds indexes; see dbops.soft_delete_status and dbops.job_runs.");
  if (rule->key.empty())
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "table " + label(table) + " has lost its primary key",
                   "Add one; rows are named by it.");
  return *rule;
}

std::vector<ForeignKey> foreign_keys_to(Oid table) {
  return foreign_keys("k.confrelid IN (SELECT f FROM dbops.family($1::oid) f)", {to_text(table)});
}

std::vector<ForeignKey> foreign_keys_from(Oid table) {
  return foreign_keys("k.conrelid IN (SELECT f FROM dbops.family($1::oid) f)", {to_text(table)});
}

std::vector<ForeignKey> foreign_keys_of_rules() {
  return foreign_keys(
      "coalesce(pg_partition_root(k.conrelid), k.conrelid) IN (SELECT target FROM dbops.soft_delete_rule)"
      " AND coalesce(pg_partition_root(k.confrelid), k.confrelid) IN"
      " (SELECT target FROM dbops.soft_delete_rule)",
      {});
}

std::vector<Oid> parents_first(std::vector<Oid> tables) {
  std::map<Oid, std::set<Oid>> parents;
  for (const ForeignKey& key : foreign_keys_of_rules())
    if (key.child_root != key.parent_root) parents[key.child_root].insert(key.parent_root);
  std::vector<Oid> ordered;
  while (!tables.empty()) {
    const auto ready = std::find_if(tables.begin(), tables.end(), [&](Oid table) {
      return std::none_of(tables.begin(), tables.end(),
                          [&](Oid other) { return other != table && parents[table].contains(other); });
    });
    const auto next = ready == tables.end() ? tables.begin() : ready; // a circle: any order
    ordered.push_back(*next);
    tables.erase(next);
  }
  return ordered;
}

std::string key_condition(const Rule& rule, const std::string& alias, int first_parameter) {
  std::string text;
  for (const KeyColumn& column : rule.key)
    text += (text.empty() ? "" : " AND ") + alias + "." + column.name + " " + column.equal + " ($" +
            std::to_string(first_parameter++) + ")::" + column.type;
  return text;
}

std::string aggregate_keys(std::size_t columns) {
  std::string text = "count(*)";
  for (std::size_t i = 0; i < columns; ++i)
    text += ", array_agg(x.k" + std::to_string(i) + ")::text";
  return text;
}

Keys take_keys(const Rows& aggregated) {
  Keys keys;
  keys.count = aggregated.integer(0, 0);
  keys.arrays.assign(aggregated.rows.front().begin() + 1, aggregated.rows.front().end());
  return keys;
}

std::string from_keys(const std::vector<KeyColumn>& columns, const std::string& alias, int first_parameter) {
  std::string arrays;
  std::string names;
  for (const KeyColumn& column : columns) {
    arrays += (arrays.empty() ? "" : ", ") + ("pg_catalog.unnest($" + std::to_string(first_parameter++)) +
              "::" + column.type + "[])";
    names += (names.empty() ? "" : ", ") + column.name;
  }
  return "ROWS FROM (" + arrays + ") AS " + alias + "(" + names + ")";
}

Oid owner_of(Oid table) {
  return static_cast<Oid>(
      bookkeep("SELECT relowner FROM pg_class WHERE oid = $1::oid", {to_text(table)}).integer(0, 0));
}

std::string label(Oid table) {
  return bookkeep("SELECT $1::oid::regclass::text", {to_text(table)}).text(0, 0);
}

bool may_act_as_owner(Oid table) {
  return call_pg([table] { return compat::owns_relation(table, GetUserId()); });
}

void refuse_not_owner(Oid table) {
  throw SqlError(ERRCODE_INSUFFICIENT_PRIVILEGE, "must be owner of table " + label(table));
}

} // namespace dbops::server::soft_delete
