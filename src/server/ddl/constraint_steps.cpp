// add_check, add_foreign_key, validate_constraint, set_not_null: the next step of each.

#include "server/ddl/catalog.h"

extern "C" {
#include "utils/lsyscache.h"
}

namespace dbops::server::ddl {

namespace {

std::vector<Oid> with(std::vector<Oid> relations, Oid other) {
  if (OidIsValid(other)) relations.push_back(other);
  return relations;
}

Step add_step(Oid table, const std::string& name, const std::string& definition, Oid other) {
  Step step;
  step.statements = {"ALTER TABLE " + qualified_name(table) + " ADD CONSTRAINT " + quote_name(name) + " " + definition +
                     " NOT VALID"};
  step.lock = OidIsValid(other) ? Lock::share_row_exclusive : Lock::access_exclusive;
  step.relations = with(family(table), other);
  step.makes = Makes::constraint;
  step.relation = table;
  step.name = name;
  return step;
}

// What another one of that name checks is not what was asked for. Ours is known by its OID, which was written down in
// the transaction that made it.
void require_same(Oid table, Oid constraint, const std::string& name, const std::string& definition) {
  if (!bookkeep("SELECT 1 FROM dbops.ddl_step WHERE makes = 'constraint' AND state = 'done' AND relation_oid = $1::oid"
                " AND object_oid = $2::oid LIMIT 1",
                {to_text(table), to_text(constraint)})
           .empty())
    return;
  const std::string there =
      ask_catalog("SELECT pg_catalog.pg_get_constraintdef($1::oid)", {to_text(constraint)}).text(0, 0);
  if (there != definition && there != definition + " NOT VALID")
    throw SqlError(ERRCODE_DUPLICATE_OBJECT, "there is another constraint named " + quote_name(name) + " on " +
                                                 qualified_name(table) + " by now");
}

Step validate_step(Oid table, const std::string& name) {
  Step step;
  step.statements = {"ALTER TABLE " + qualified_name(table) + " VALIDATE CONSTRAINT " + quote_name(name)};
  step.lock = Lock::share_update_exclusive;
  step.relations = {table};
  return step;
}

// Each partition in a transaction of its own: short ones, and what is done stays done. Then the table itself.
std::optional<Step> next_of_validation(Oid table, const std::string& name) {
  const Rows open = ask_catalog(
      "WITH RECURSIVE family(relid, level) AS (SELECT $1::oid, 0 UNION"
      " SELECT i.inhrelid, level + 1 FROM pg_catalog.pg_inherits i JOIN family f ON i.inhparent = f.relid)"
      " SELECT k.conrelid FROM family JOIN pg_catalog.pg_constraint k ON k.conrelid = relid AND k.conname = $2::name"
      " WHERE NOT k.convalidated ORDER BY level DESC, relid::regclass::text LIMIT 1",
      {to_text(table), name});
  if (open.empty()) return std::nullopt;
  return validate_step(static_cast<Oid>(open.integer(0, 0)), name);
}

// A foreign key of a partitioned table cannot be NOT VALID (before 18): each leaf gets its own, and then the table
// takes them over without reading a row.
std::optional<Step> next_of_partitioned_key(Oid table, const Spec& spec) {
  if (constraint_named(table, spec.name)) return std::nullopt;
  const std::vector<Oid> tables = leaves(table);
  for (const Oid leaf : tables)
    if (std::optional<Step> step = next_of_valid_constraint(leaf, spec.name, spec.definition, spec.other)) return step;
  Step step;
  step.statements = {"ALTER TABLE " + qualified_name(table) + " ADD CONSTRAINT " + quote_name(spec.name) + " " +
                     spec.definition};
  step.lock = Lock::share_row_exclusive;
  step.relations = with(family(table), spec.other);
  step.makes = Makes::constraint;
  step.relation = table;
  step.name = spec.name;
  step.same_leaves_of = table;
  step.leaves = tables;
  return step;
}

Step set_not_null_step(Oid table, const std::string& column, const std::string& helper) {
  const std::string alter = "ALTER TABLE " + qualified_name(table);
  Step step;
  step.statements = {alter + " ALTER COLUMN " + quote_name(column) + " SET NOT NULL"};
  if (!helper.empty()) step.statements.push_back(alter + " DROP CONSTRAINT " + quote_name(helper));
  step.relations = family(table);
  return step;
}

std::optional<Step> next_of_not_null(const Job& job, const Spec& spec) {
  const Oid table = job.target;
  const std::string check = "CHECK ((" + quote_name(spec.name) + " IS NOT NULL))";
  const std::string helper = "dbops_not_null_" + to_text(job.id);
  const Rows found = ask_catalog(
      "SELECT a.attnotnull, (SELECT k.conname FROM pg_catalog.pg_constraint k WHERE k.conrelid = a.attrelid"
      "   AND k.contype = 'n' AND k.conkey[1] = a.attnum AND NOT k.convalidated),"
      " (SELECT k.conname FROM pg_catalog.pg_constraint k WHERE k.conrelid = a.attrelid AND k.contype = 'c'"
      "   AND k.convalidated AND k.conname <> $4::name AND pg_catalog.pg_get_constraintdef(k.oid) = $3 LIMIT 1)"
      " FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1::oid AND a.attname = $2::name AND NOT a.attisdropped",
      {to_text(table), spec.name, check, helper});
  if (found.empty())
    throw SqlError(ERRCODE_UNDEFINED_COLUMN, "column " + quote_name(spec.name) + " does not exist any more");
  // From 18 on NOT NULL can be NOT VALID itself.
  if (!found.is_null(0, 1)) return next_of_validation(table, found.text(0, 1));
  const bool helped = constraint_named(table, helper).has_value();
  if (found.boolean(0, 0) && !helped) return std::nullopt;
  if (!found.is_null(0, 2) && !helped) return set_not_null_step(table, spec.name, "");
  if (std::optional<Step> step = next_of_valid_constraint(table, helper, check, InvalidOid)) return step;
  return set_not_null_step(table, spec.name, helper);
}

} // namespace

std::optional<Step> next_of_valid_constraint(Oid table, const std::string& name, const std::string& definition,
                                             Oid other) {
  const std::optional<ConstraintState> there = constraint_named(table, name);
  if (!there) return add_step(table, name, definition, other);
  require_same(table, there->oid, name, definition);
  return next_of_validation(table, name);
}

std::optional<Step> next_of_constraint(const Job& job, const Spec& spec) {
  if (job.kind == "set_not_null") return next_of_not_null(job, spec);
  if (job.kind == "validate_constraint") {
    const Rows found = ask_catalog("SELECT conname FROM pg_catalog.pg_constraint WHERE oid = $1::oid AND conrelid = "
                                   "$2::oid",
                                   {to_text(spec.other), to_text(job.target)});
    if (found.empty())
      throw SqlError(ERRCODE_UNDEFINED_OBJECT, "constraint " + quote_name(spec.name) + " does not exist any more");
    return next_of_validation(job.target, found.text(0, 0));
  }
  if (job.kind == "add_foreign_key") {
    if (!exists(spec.other)) throw SqlError(ERRCODE_UNDEFINED_TABLE, "the referenced table does not exist any more");
    if (is_partitioned(job.target)) return next_of_partitioned_key(job.target, spec);
  }
  return next_of_valid_constraint(job.target, spec.name, spec.definition, spec.other);
}

} // namespace dbops::server::ddl
