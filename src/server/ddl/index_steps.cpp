// create_index, add_unique, reindex, drop_index: the next step of each.

#include <algorithm>

#include "server/ddl/catalog.h"

namespace dbops::server::ddl {

namespace {

Step create_step(Oid table, const std::string& name, const Spec& spec) {
  Step step;
  step.statements = {std::string("CREATE ") + (spec.unique ? "UNIQUE " : "") + "INDEX CONCURRENTLY " +
                     quote_name(name) + " ON " + qualified_name(table) + spec.definition};
  step.top_level = true;
  step.lock = Lock::share_update_exclusive;
  step.relations = {table};
  step.makes = Makes::index;
  step.relation = table;
  step.name = name;
  step.tablespace = spec.tablespace;
  return step;
}

Step wait_step(Oid table, std::int64_t builder) {
  Step step;
  step.relations = {table};
  step.waits_for = "process " + to_text(builder) + ", which builds the index";
  return step;
}

Step constraint_step(Oid table, const std::string& index, const Spec& spec) {
  Step step;
  step.statements = {"ALTER TABLE " + qualified_name(table) + " ADD CONSTRAINT " + quote_name(index) +
                     (spec.primary ? " PRIMARY KEY" : " UNIQUE") + " USING INDEX " + quote_name(index) + spec.deferral};
  step.relations = {table};
  step.makes = Makes::constraint;
  step.relation = table;
  step.name = index;
  return step;
}

// An index of a partition that will do: one that this job has made, or one that was there and is the same.
std::string name_on_partition(const Job& job, const Spec& spec, Oid leaf) {
  const Rows own = bookkeep("SELECT s.name FROM dbops.ddl_step s JOIN pg_catalog.pg_index i ON i.indrelid = "
                            "s.relation_oid JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid AND c.relname = s.name"
                            " WHERE s.job_id = $1::bigint AND s.relation_oid = $2::oid AND s.makes = 'index' LIMIT 1",
                            {to_text(job.id), to_text(leaf)});
  if (!own.empty()) return own.text(0, 0);
  const Rows others = ask_catalog(
      "SELECT i.indexrelid, c.relname FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
      " WHERE i.indrelid = $1::oid AND i.indisvalid AND i.indisunique = $2::boolean"
      " AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhrelid = i.indexrelid)"
      " AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', "
      "'u', 'x') AND NOT $3::boolean)",
      {to_text(leaf), spec.unique ? "true" : "false", spec.clause.empty() ? "false" : "true"});
  for (std::size_t i = 0; i < others.size(); ++i)
    if (index_definition(static_cast<Oid>(others.integer(i, 0))) == spec.definition) return others.text(i, 1);
  const std::string table =
      ask_catalog("SELECT relname FROM pg_catalog.pg_class WHERE oid = $1::oid", {to_text(leaf)}).text(0, 0);
  return free_relation_name(leaf, table + "_" + spec.name);
}

// The one that it has, or is to get.
std::string name_on(const Job& job, const Spec& spec, Oid leaf) {
  return leaf == job.target ? spec.name : name_on_partition(job, spec, leaf);
}

// A valid index of that name on the table; nothing when it is there.
std::optional<Step> next_of_one(Oid table, const std::string& name, const Spec& spec) {
  const std::optional<IndexState> index = index_named(table, name);
  if (!index) return create_step(table, name, spec);
  if (index->valid) {
    if (index->unique != spec.unique || index_definition(index->oid) != spec.definition)
      throw SqlError(ERRCODE_DUPLICATE_TABLE, "there is another index named " + quote_name(name) + " by now");
    return std::nullopt;
  }
  if (index->builder != 0) return wait_step(table, index->builder);
  return drop_index_step(index->oid, table);
}

// Partitioned tables of the tree, each with its parent, from the root downwards.
struct Node {
  Oid table;
  Oid parent;
  bool leaf;
};
std::vector<Node> tree_of(Oid root) {
  const Rows found = ask_catalog(
      "WITH RECURSIVE tree(relid, parent, level) AS (SELECT $1::oid, 0::oid, 0 UNION ALL"
      " SELECT i.inhrelid, i.inhparent, level + 1 FROM pg_catalog.pg_inherits i JOIN tree t ON i.inhparent = t.relid)"
      " SELECT relid, parent, c.relkind <> 'p' FROM tree JOIN pg_catalog.pg_class c ON c.oid = relid ORDER BY level, 1",
      {to_text(root)});
  std::vector<Node> nodes;
  for (std::size_t i = 0; i < found.size(); ++i)
    nodes.push_back(
        {static_cast<Oid>(found.integer(i, 0)), static_cast<Oid>(found.integer(i, 1)), found.boolean(i, 2)});
  return nodes;
}

// All leaves have their index: one transaction makes those of the partitioned tables, and attaches.
Step join_step(const Job& job, const Spec& spec, const std::vector<Oid>& leaf_tables) {
  Step step;
  step.relations = family(job.target);
  step.same_leaves_of = job.target;
  step.leaves = leaf_tables;
  const std::vector<Node> nodes = tree_of(job.target);
  std::vector<std::pair<Oid, std::string>> names;
  const auto name_of = [&names](Oid table) {
    return std::find_if(names.begin(), names.end(), [table](const auto& entry) { return entry.first == table; })
        ->second;
  };
  for (const Node& node : nodes) {
    std::string name = name_on(job, spec, node.table);
    if (!node.leaf)
      step.statements.push_back(spec.clause.empty()
                                    ? std::string("CREATE ") + (spec.unique ? "UNIQUE " : "") + "INDEX " +
                                          quote_name(name) + " ON ONLY " + qualified_name(node.table) + spec.definition
                                    : "ALTER TABLE ONLY " + qualified_name(node.table) + " ADD CONSTRAINT " +
                                          quote_name(name) + " " + spec.clause);
    names.emplace_back(node.table, std::move(name));
  }
  for (auto node = nodes.rbegin(); node != nodes.rend(); ++node)
    if (OidIsValid(node->parent))
      step.statements.push_back("ALTER INDEX " + schema_of(node->parent) + "." + quote_name(name_of(node->parent)) +
                                " ATTACH PARTITION " + schema_of(node->table) + "." + quote_name(name_of(node->table)));
  return step;
}

// Of REINDEX CONCURRENTLY: what it builds beside the old one, and the old one when the new one has taken its name.
std::optional<Step> reindex_leftover(const Spec& spec, Oid table) {
  const Rows found = bookkeep("SELECT i.indexrelid, c.relname FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON "
                              "c.oid = i.indexrelid WHERE i.indrelid = $1::oid AND NOT i.indisvalid"
                              " AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index p"
                              "   WHERE p.relid = i.indrelid AND p.pid <> pg_catalog.pg_backend_pid()) ORDER BY 1",
                              {to_text(table)});
  for (std::size_t i = 0; i < found.size(); ++i) {
    const auto oid = static_cast<Oid>(found.integer(i, 0));
    const std::string name = found.text(i, 1);
    const bool is_new = std::find(spec.before.begin(), spec.before.end(), oid) == spec.before.end();
    const bool replaced = std::any_of(spec.indexes.begin(), spec.indexes.end(), [&](const NamedIndex& one) {
      return one.oid == oid && one.name != name && name.find("_ccold") != std::string::npos;
    });
    if ((is_new && name.find("_ccnew") != std::string::npos) || replaced) return drop_index_step(oid, table);
  }
  return std::nullopt;
}

} // namespace

std::optional<Step> drop_own_leftover(const Job& job) {
  const Rows found = bookkeep("SELECT i.indexrelid, i.indrelid FROM dbops.ddl_step s JOIN pg_catalog.pg_index i ON "
                              "i.indrelid = s.relation_oid AND NOT i.indisvalid JOIN pg_catalog.pg_class c ON c.oid = "
                              "i.indexrelid AND c.relname = s.name AND c.relkind = 'i'"
                              " WHERE s.job_id = $1::bigint AND s.makes = 'index'"
                              " AND s.indexes_before IS NOT NULL AND i.indexrelid <> ALL (s.indexes_before) LIMIT 1",
                              {to_text(job.id)});
  if (found.empty()) return std::nullopt;
  return drop_index_step(static_cast<Oid>(found.integer(0, 0)), static_cast<Oid>(found.integer(0, 1)));
}

std::optional<Step> next_of_index(const Job& job, const Spec& spec) {
  const bool partitioned = is_partitioned(job.target);
  if (partitioned)
    if (const std::optional<IndexState> whole = index_named(job.target, spec.name); whole && whole->valid)
      return std::nullopt;
  const std::vector<Oid> tables = partitioned ? leaves(job.target) : std::vector<Oid>{job.target};
  if (partitioned)
    if (std::optional<Step> leftover = drop_own_leftover(job)) return leftover;
  for (const Oid table : tables) {
    const std::string name = name_on(job, spec, table);
    if (std::optional<Step> step = next_of_one(table, name, spec)) return step;
    if (!spec.clause.empty() && !OidIsValid(index_named(table, name)->constraint))
      return constraint_step(table, name, spec);
  }
  if (!partitioned) return std::nullopt;
  return join_step(job, spec, tables);
}

std::optional<Step> next_of_reindex(const Job& job, const Spec& spec) {
  for (const NamedIndex& index : spec.indexes) {
    const Rows done = bookkeep("SELECT 1 FROM dbops.ddl_step WHERE job_id = $1::bigint AND makes = 'reindex'"
                               " AND name = $2 AND object_oid = $3::oid AND state = 'done'",
                               {to_text(job.id), index.name, to_text(index.oid)});
    const Rows now = ask_catalog("SELECT t.oid, i.indexrelid, i.indisvalid FROM pg_catalog.pg_index i"
                                 " JOIN pg_catalog.pg_class t ON t.oid = i.indrelid"
                                 " JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
                                 " WHERE i.indexrelid = $1::oid OR (c.relname = $2::name AND c.relnamespace ="
                                 "   (SELECT relnamespace FROM pg_catalog.pg_class WHERE oid = $1::oid))"
                                 " ORDER BY i.indexrelid = $1::oid, i.indisvalid DESC",
                                 {to_text(index.oid), index.name});
    if (now.empty()) continue; // replaced and the old one gone, or dropped by somebody
    const auto table = static_cast<Oid>(now.integer(0, 0));
    if (std::optional<Step> leftover = reindex_leftover(spec, table)) return leftover;
    // Another one has its name and is valid: it was replaced, and the old one is what is left over.
    const bool replaced = static_cast<Oid>(now.integer(0, 1)) != index.oid && now.boolean(0, 2);
    if (!done.empty() || replaced) continue;
    Step step;
    step.statements = {"REINDEX INDEX CONCURRENTLY " + qualified_name(index.oid)};
    step.top_level = true;
    step.lock = Lock::share_update_exclusive;
    step.relations = {table};
    step.makes = Makes::reindex;
    step.relation = table;
    step.name = index.name;
    step.object = index.oid;
    return step;
  }
  return std::nullopt;
}

std::optional<Step> next_of_drop(const Job& job, const Spec& /*spec*/) {
  const std::optional<IndexState> index = index_state(job.target);
  if (!index) return std::nullopt;
  if (OidIsValid(index->constraint))
    throw SqlError(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST, "the index belongs to a constraint by now",
                   "ALTER TABLE ... DROP CONSTRAINT.");
  Step step = drop_index_step(job.target, static_cast<Oid>(ask_catalog("SELECT indrelid FROM pg_catalog.pg_index WHERE "
                                                                       "indexrelid = $1::oid",
                                                                       {to_text(job.target)})
                                                               .integer(0, 0)));
  step.makes = Makes::drop;
  step.relation = job.target;
  return step;
}

} // namespace dbops::server::ddl
