// attach_partition: what the new partition needs is made and proved before it is attached, so that ATTACH reads
// nothing.

#include "server/ddl/catalog.h"
#include "server/ddl/partition.h"

namespace dbops::server::ddl {

namespace {

// An index of the partitioned table for which the partition has none; `valid` ones alone count.
std::optional<Step> next_index(const Job& job, Oid partition) {
  if (std::optional<Step> leftover = drop_own_leftover(job)) return leftover;
  const Rows wanted = ask_catalog(
      "SELECT i.indexrelid, i.indisunique, c.relname, coalesce(k.contype::text, '') FROM pg_catalog.pg_index i"
      " JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
      " LEFT JOIN pg_catalog.pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid AND "
      "k.contype IN ('p', 'u') WHERE i.indrelid = $1::oid ORDER BY 1",
      {to_text(job.target)});
  for (std::size_t w = 0; w < wanted.size(); ++w) {
    const std::string definition = index_definition(static_cast<Oid>(wanted.integer(w, 0)));
    const std::string type = wanted.text(w, 3);
    const Rows there =
        ask_catalog("SELECT i.indexrelid, c.relname, coalesce(k.contype::text, '') FROM pg_catalog.pg_index i"
                    " JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
                    " LEFT JOIN pg_catalog.pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid"
                    "   AND k.contype IN ('p', 'u', 'x') WHERE i.indrelid = $1::oid AND i.indisvalid AND i.indisunique "
                    "= $2::boolean",
                    {to_text(partition), wanted.text(w, 1)});
    std::string unfinished; // the index is there, its constraint is not
    bool found = false;
    for (std::size_t t = 0; t < there.size() && !found; ++t) {
      if (index_definition(static_cast<Oid>(there.integer(t, 0))) != definition) continue;
      found = type.empty() || there.text(t, 2) == type;
      if (!found && there.text(t, 2).empty()) unfinished = there.text(t, 1);
    }
    if (found) continue;
    Step step;
    step.relations = {partition};
    step.relation = partition;
    if (!unfinished.empty()) {
      step.statements = {"ALTER TABLE " + qualified_name(partition) + " ADD CONSTRAINT " + quote_name(unfinished) +
                         (type == "p" ? " PRIMARY KEY" : " UNIQUE") + " USING INDEX " + quote_name(unfinished)};
      step.makes = Makes::constraint;
      step.name = unfinished;
      return step;
    }
    step.name = free_relation_name(
        partition,
        ask_catalog("SELECT relname FROM pg_catalog.pg_class WHERE oid = $1::oid", {to_text(partition)}).text(0, 0) +
            "_" + wanted.text(w, 2));
    step.statements = {std::string("CREATE ") + (wanted.boolean(w, 1) ? "UNIQUE " : "") + "INDEX CONCURRENTLY " +
                       quote_name(step.name) + " ON " + qualified_name(partition) + definition};
    step.top_level = true;
    step.lock = Lock::share_update_exclusive;
    step.makes = Makes::index;
    return step;
  }
  return std::nullopt;
}

std::optional<Step> next_foreign_key(const Job& job, Oid partition) {
  const Rows wanted = ask_catalog(
      "SELECT k.conname, pg_catalog.pg_get_constraintdef(k.oid), k.confrelid FROM pg_catalog.pg_constraint k"
      " WHERE k.conrelid = $1::oid AND k.contype = 'f' AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint c"
      "   WHERE c.conrelid = $2::oid AND c.contype = 'f' AND c.convalidated"
      "   AND pg_catalog.pg_get_constraintdef(c.oid) = pg_catalog.pg_get_constraintdef(k.oid))"
      // A key to a partitioned table has rows for its partitions as well.
      " AND (k.conparentid = 0 OR (SELECT p.conrelid FROM pg_catalog.pg_constraint p WHERE p.oid = k.conparentid)"
      "   <> k.conrelid) ORDER BY k.oid LIMIT 1",
      {to_text(job.target), to_text(partition)});
  if (wanted.empty()) return std::nullopt;
  return next_of_valid_constraint(partition, wanted.text(0, 0), wanted.text(0, 1),
                                  static_cast<Oid>(wanted.integer(0, 2)));
}

bool is_attached(Oid parent, Oid partition) {
  return !ask_catalog("SELECT 1 FROM pg_catalog.pg_inherits WHERE inhrelid = $1::oid AND inhparent = $2::oid",
                      {to_text(partition), to_text(parent)})
              .empty();
}

} // namespace

std::optional<Step> next_of_attach(const Job& job, const Spec& spec) {
  const Oid partition = spec.other;
  if (!exists(partition)) throw SqlError(ERRCODE_UNDEFINED_TABLE, "the partition does not exist any more");
  if (is_attached(job.target, partition)) return std::nullopt;
  const PartitionBounds bounds = read_bounds(job.target, partition, spec.definition);
  const std::string helper = "dbops_partition_" + to_text(job.id);
  const std::string of_default = "dbops_default_" + to_text(job.id);
  std::vector<std::string> drops;
  std::vector<Oid> relations = family(partition);
  if (!bounds.condition.empty()) {
    if (auto step = next_of_valid_constraint(partition, helper, "CHECK (" + bounds.condition + ")", InvalidOid))
      return step;
    drops.push_back("ALTER TABLE " + qualified_name(partition) + " DROP CONSTRAINT " + quote_name(helper));
  }
  if (!is_partitioned(partition)) {
    if (std::optional<Step> step = next_index(job, partition)) return step;
    if (std::optional<Step> step = next_foreign_key(job, partition)) return step;
  }
  if (!bounds.of_default.empty()) {
    if (auto step = next_of_valid_constraint(bounds.default_partition, of_default, "CHECK (" + bounds.of_default + ")",
                                             InvalidOid))
      return step;
    drops.push_back("ALTER TABLE " + qualified_name(bounds.default_partition) + " DROP CONSTRAINT " +
                    quote_name(of_default));
    for (const Oid relation : family(bounds.default_partition))
      relations.push_back(relation);
  }
  Step step;
  step.statements = {"ALTER TABLE " + qualified_name(job.target) + " ATTACH PARTITION " + qualified_name(partition) +
                     " " + bounds.bounds};
  step.statements.insert(step.statements.end(), drops.begin(), drops.end());
  step.relations = std::move(relations);
  return step;
}

} // namespace dbops::server::ddl
