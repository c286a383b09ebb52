// Tables with soft delete, and what the catalog says of them: keys, foreign keys, their order.
#pragma once

#include "server/engine/bookkeeping.h"

namespace dbops::server::soft_delete {

struct KeyColumn {
  std::string plain; // name, not quoted
  std::string name;  // quoted
  std::string type;  // qualified; of a domain the type below it, without length
  std::string equal; // OPERATOR(schema.=)
};

enum class Mode { column, tombstone };

// A row of dbops.soft_delete_rule with what the catalog knows of its table.
struct Rule {
  Oid table = InvalidOid;
  Oid owner = InvalidOid; // of the table
  std::string name;       // schema.table, quoted
  std::string schema;     // quoted
  Mode mode = Mode::column;
  std::string state; // building, enabled, disabling
  std::string live_view;
  std::vector<KeyColumn> key; // the primary key
};

struct ForeignKey {
  Oid oid = InvalidOid;
  std::string name; // not quoted
  Oid child = InvalidOid;
  Oid child_owner = InvalidOid;
  Oid child_root = InvalidOid; // the partitioned table, when the child is a partition
  std::string child_name;
  Oid parent = InvalidOid;
  Oid parent_owner = InvalidOid;
  Oid parent_root = InvalidOid;
  std::string parent_name;
  char on_delete = 'a';                  // pg_constraint.confdeltype
  std::vector<KeyColumn> child_columns;  // without `equal`
  std::vector<KeyColumn> parent_columns; // of the same order
  std::string match;                     // with marks for the aliases: read it through join()

  [[nodiscard]] std::string join(const std::string& parent_alias, const std::string& child_alias) const;
};

// Statements made for one table: as the current user, with a pinned search_path; their plans are not kept.
Rows run(const std::string& sql, const std::vector<Value>& parameters = {});
// As run(), for reading and locking rows of a table, as the owner of that table: what planning and evaluating calls of
// its owner's code (expressions of its indexes, constraints of its domains) has his rights and no others. So a
// statement has tables of one owner. Row-level security does not apply.
Rows read_as(Oid owner, const std::string& sql, const std::vector<Value>& parameters = {});
// Changes rows as the owner of the table, the way PostgreSQL changes rows for a foreign key: row-level security does
// not apply. Triggers find the caller's search_path when he is the owner, and that of the table's schema otherwise.
Rows run_as_owner(const Rule& rule, const std::string& sql, const std::vector<Value>& parameters = {});

// Of a table, or of the partitioned table that it belongs to. `lock`: nobody disables it before this transaction ends.
std::optional<Rule> find_rule(Oid table, bool lock = false);
// Raises 55000 unless it is enabled.
Rule require_enabled(Oid table);
std::vector<KeyColumn> primary_key(Oid table); // empty: none, or one that is deferrable

std::vector<ForeignKey> foreign_keys_to(Oid table);   // of other tables and its own, that refer to it or to a partition
std::vector<ForeignKey> foreign_keys_from(Oid table); // of it or its partitions
std::vector<ForeignKey> foreign_keys_of_rules();      // between all tables with a rule

// Parents before children, as far as there are no circles.
std::vector<Oid> parents_first(std::vector<Oid> tables);

// "a.id OPERATOR(pg_catalog.=) ($1)::integer AND ..."
std::string key_condition(const Rule& rule, const std::string& alias, int first_parameter);
// Values of some columns for some rows, a column of them each as the text of an array.
struct Keys {
  std::vector<Value> arrays;
  std::int64_t count = 0;
};
// "count(*), array_agg(x.k0)::text, ..." of a subquery x that has the columns as k0, k1, ...
std::string aggregate_keys(std::size_t columns);
Keys take_keys(const Rows& aggregated);
// "ROWS FROM (unnest($4::integer[]), ...) AS alias(id, ...)"
std::string from_keys(const std::vector<KeyColumn>& columns, const std::string& alias, int first_parameter);

std::string label(Oid table); // for people
Oid owner_of(Oid table);
bool may_act_as_owner(Oid table);
[[noreturn]] void refuse_not_owner(Oid table);

} // namespace dbops::server::soft_delete
