#include "server/lifecycle/dependents.h"

#include <algorithm>

namespace dbops::server::lifecycle {

namespace {

using Effect = Dependent::Effect;

// A foreign key of a partitioned table refers to its partitions as well; those have no row of their own that counts
// here (conparentid). Its columns are found in a partition by their names. One of a table that others only inherit from
// refers to its own rows alone.
std::vector<Dependent> referring_to(Oid relation) {
  const Rows found = ask_catalog(
      "SELECT k.oid, k.conrelid, CASE WHEN r.relkind = 'p' THEN '' ELSE 'ONLY ' END || quote_ident(n.nspname) || '.' ||"
      " quote_ident(r.relname), quote_ident(k.conname), k.confdeltype, quote_ident(p.attname), 'OPERATOR(' ||"
      " quote_ident(s.nspname) || '.' || o.oprname || ')', quote_ident(c.attname), NOT c.attnotnull"
      " FROM pg_constraint k JOIN pg_class r ON r.oid = k.conrelid JOIN pg_namespace n ON n.oid = r.relnamespace"
      " CROSS JOIN LATERAL unnest(k.conkey, k.confkey, k.conpfeqop) WITH ORDINALITY u(child, parent, op, place)"
      " JOIN pg_attribute p ON p.attrelid = k.confrelid AND p.attnum = u.parent"
      " JOIN pg_attribute c ON c.attrelid = k.conrelid AND c.attnum = u.child"
      " JOIN pg_operator o ON o.oid = u.op JOIN pg_namespace s ON s.oid = o.oprnamespace"
      " WHERE k.contype = 'f' AND k.conparentid = 0 AND (k.confrelid = $1::oid OR k.confrelid IN (SELECT"
      " relid FROM pg_partition_ancestors($1::oid))) ORDER BY k.oid, u.place",
      {to_text(relation)});
  std::vector<Dependent> all;
  std::int64_t last = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (found.integer(i, 0) != last) {
      last = found.integer(i, 0);
      Dependent& one = all.emplace_back();
      one.relation = static_cast<Oid>(found.integer(i, 1));
      one.name = found.text(i, 2);
      one.constraint = found.text(i, 3);
      const std::string action = found.text(i, 4);
      one.effect = action == "c"                    ? Effect::erased
                   : action == "n" || action == "d" ? Effect::changed
                                                    : Effect::restricted;
    }
    all.back().columns.push_back({found.text(i, 5), found.text(i, 6), found.text(i, 7), found.boolean(i, 8)});
  }
  return all;
}

std::string plain_name(const Dependent& dependent) {
  return dependent.name.starts_with("ONLY ") ? dependent.name.substr(5) : dependent.name;
}

void apply_policy(Dependent& dependent, Children children) {
  switch (children) {
  case Children::as_declared:
    break;
  case Children::forbid:
    dependent.effect = Effect::restricted;
    break;
  case Children::erase:
    dependent.effect = Effect::erased;
    break;
  case Children::set_null:
    dependent.effect = Effect::changed;
    for (const Dependent::Column& column : dependent.columns)
      if (!column.nullable)
        throw SqlError(ERRCODE_NOT_NULL_VIOLATION,
                       "column " + column.child + " of foreign key " + dependent.constraint + " of " +
                           plain_name(dependent) + " is NOT NULL, so it cannot be set to NULL",
                       "Choose another policy for children: 'restrict' or 'delete'.");
  }
}

std::vector<Dependent> follow(Oid relation, Children children, std::vector<Oid>& path) {
  std::vector<Dependent> all = referring_to(relation);
  for (Dependent& dependent : all) {
    apply_policy(dependent, children);
    if (dependent.effect != Effect::erased) continue;
    // The path holds roots of partition trees as well, so that a circle through a partition is one.
    if (std::find(path.begin(), path.end(), dependent.relation) != path.end()) {
      if (children != Children::erase) continue;
      throw SqlError(
          ERRCODE_FEATURE_NOT_SUPPORTED,
          "foreign key " + dependent.constraint + " of " + plain_name(dependent) + " closes a circle",
          "Rows of a circle have no order in which they could be deleted in batches. Choose another policy for "
          "children: 'restrict' or 'set null'.");
    }
    path.push_back(dependent.relation);
    dependent.below = follow(dependent.relation, children, path);
    path.pop_back();
  }
  return all;
}

} // namespace

std::optional<Children> children_policy(std::string_view name) {
  if (name == "restrict") return Children::forbid;
  if (name == "delete") return Children::erase;
  if (name == "set null") return Children::set_null;
  return std::nullopt;
}

std::string name_of(Children children) {
  switch (children) {
  case Children::forbid:
    return "restrict";
  case Children::erase:
    return "delete";
  case Children::set_null:
    return "set null";
  default:
    return "as declared";
  }
}

std::vector<Dependent> dependents_of(Oid relation, Children children) {
  std::vector<Oid> path = ancestry(relation);
  return follow(relation, children, path);
}

std::string join_of(const Dependent& dependent, const std::string& parent_alias, const std::string& child_alias) {
  std::string text;
  for (const Dependent::Column& column : dependent.columns)
    text += (text.empty() ? "" : " AND ") + parent_alias + "." + column.parent + " " + column.op + " " + child_alias +
            "." + column.child;
  return text;
}

std::vector<Oid> ancestry(Oid relation) {
  const Rows found = ask_catalog("WITH RECURSIVE above(oid) AS (SELECT $1::oid UNION SELECT i.inhparent FROM "
                                 "pg_inherits i JOIN above a ON i.inhrelid ="
                                 " a.oid) SELECT oid FROM above",
                                 {to_text(relation)});
  std::vector<Oid> all;
  for (std::size_t i = 0; i < found.size(); ++i)
    all.push_back(static_cast<Oid>(found.integer(i, 0)));
  return all;
}

} // namespace dbops::server::lifecycle
