// ALTER TABLE: the rules for each of its commands.
#include <algorithm>

#include "server/compat.h"
#include "server/lint/script.h"
#include "server/lint/stepwise.h"

extern "C" {
#include "catalog/pg_class.h"
#include "commands/tablecmds.h"
#include "nodes/makefuncs.h"
#include "nodes/pg_list.h"
#include "storage/lockdefs.h"
#include "utils/builtins.h"
}

namespace dbops::server::lint {

namespace {

const char* const access_exclusive = "ACCESS EXCLUSIVE";
const char* const share_row_exclusive = "SHARE ROW EXCLUSIVE";

const char* mode_name(LOCKMODE mode) {
  switch (mode) {
  case ShareUpdateExclusiveLock:
    return "SHARE UPDATE EXCLUSIVE";
  case ShareRowExclusiveLock:
    return share_row_exclusive;
  default:
    return access_exclusive;
  }
}

// Of the table whose statement is looked at.
struct Alter {
  Script& script;
  const Table& table;
  AlterTableStmt* statement;
  std::string head() const { return "ALTER TABLE " + table.name + " "; }
};

// The text of a constraint or column from where it begins in the statement; empty when that is not known.
std::string from(const Alter& alter, int location) {
  const std::string& text = alter.script.text;
  if (location < 0 || static_cast<std::size_t>(location) >= text.size()) return {};
  return text.substr(static_cast<std::size_t>(location));
}

bool only_command(const Alter& alter) {
  return list_length(alter.statement->cmds) == 1;
}

std::vector<std::string> strings(List* list) {
  std::vector<std::string> result;
  ListCell* cell = nullptr;
  foreach (cell, list)
    if (IsA(lfirst(cell), String)) result.emplace_back(strVal(lfirst(cell)));
  return result;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names)
    text += (text.empty() ? "" : ", ") + quote_name(name);
  return text;
}

std::string constraint_name(const Alter& alter, const Constraint* constraint, const std::string& otherwise) {
  return quote_name(constraint->conname != nullptr ? constraint->conname : bare_name(alter.table) + "_" + otherwise);
}

std::string type_text(TypeName* type) {
  const char* text = call_pg(
      [type]() -> const char* { return type == nullptr || type->names == NIL ? "" : strVal(llast(type->names)); });
  return text;
}

bool is_serial(TypeName* type) {
  const std::string name = type_text(type);
  return name == "serial" || name == "bigserial" || name == "smallserial" || name == "serial4" || name == "serial8" ||
         name == "serial2";
}

// --- constraints ----------------------------------------------------------------------------------------------------

bool not_valid_keys_fail() {
  return ask_catalog("SELECT current_setting('server_version_num')::int", {}).integer(0, 0) < 180000;
}

void foreign_key(const Alter& alter, const Constraint* constraint) {
  Script& script = alter.script;
  const std::vector<std::string> columns = strings(constraint->fk_attrs);
  if (constraint->pktable != nullptr && !script.is_new(constraint->pktable))
    script.locked(script.catalog.table(constraint->pktable), share_row_exclusive, "the foreign key");
  if (!columns.empty() && !Catalog::has_index_on(alter.table.oid, columns))
    script
        .about(alter.table, "foreign-key-without-index", Severity::warning,
               "no index begins with (" + joined(columns) +
                   "): every DELETE or change of key of a referenced row reads all of " + alter.table.name)
        .safe_sql = "CREATE INDEX CONCURRENTLY ON " + alter.table.name + " (" + joined(columns) + ");";
  const bool in_one_go = alter.table.kind == RELKIND_PARTITIONED_TABLE && not_valid_keys_fail();
  if (constraint->skip_validation) {
    if (in_one_go)
      script.about(alter.table, "statement-fails", Severity::error,
                   "fails: foreign keys of partitioned tables cannot be NOT VALID before PostgreSQL 18");
    script.not_valid.emplace_back(constraint->conname == nullptr ? "" : constraint->conname);
    return;
  }
  Finding& finding = script.about(alter.table, "foreign-key-not-valid-missing", Severity::error,
                                  "reads all rows while writes to both tables wait (SHARE ROW EXCLUSIVE on both)",
                                  share_row_exclusive);
  finding.scans = true;
  if (in_one_go) return;
  const std::string text = from(alter, constraint->location);
  const std::string name =
      constraint_name(alter, constraint, (columns.empty() ? std::string("x") : columns.front()) + "_fkey");
  if (!text.empty() && only_command(alter))
    finding.safe_sql = alter.head() + "ADD " + (constraint->conname == nullptr ? "CONSTRAINT " + name + " " : "") +
                       text + " NOT VALID;\n-- in another transaction:\n" + alter.head() + "VALIDATE CONSTRAINT " +
                       name + ";";
}

void check(const Alter& alter, const Constraint* constraint) {
  if (constraint->skip_validation) {
    alter.script.not_valid.emplace_back(constraint->conname == nullptr ? "" : constraint->conname);
    return;
  }
  Finding& finding = alter.script.about(alter.table, "check-not-valid-missing", Severity::error,
                                        "reads all rows while nobody can use the table", access_exclusive);
  finding.scans = true;
  const std::string text = from(alter, constraint->location);
  const std::string name = constraint_name(alter, constraint, "check");
  if (!text.empty() && only_command(alter))
    finding.safe_sql = alter.head() + "ADD " + (constraint->conname == nullptr ? "CONSTRAINT " + name + " " : "") +
                       text + " NOT VALID;\n-- in another transaction:\n" + alter.head() + "VALIDATE CONSTRAINT " +
                       name + ";";
}

void unique(const Alter& alter, const Constraint* constraint, bool primary) {
  Script& script = alter.script;
  const bool partitioned = alter.table.kind == RELKIND_PARTITIONED_TABLE;
  if (constraint->indexname != nullptr) {
    if (partitioned)
      script.about(alter.table, "statement-fails", Severity::error,
                   "fails: USING INDEX is not possible for partitioned tables");
    if (!primary) return;
    // The columns of the index, which may be nullable; then they are read.
    const Rows nullable = ask_catalog(
        "SELECT a.attname FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid JOIN pg_attribute a ON a.attrelid = "
        "i.indrelid"
        " AND a.attnum = ANY (i.indkey) WHERE i.indrelid = $1::oid AND c.relname = $2::text::name AND NOT a.attnotnull",
        {to_text(alter.table.oid), constraint->indexname});
    if (nullable.empty()) return;
    Finding& finding =
        script.about(alter.table, "add-primary-key", Severity::error,
                     "the column " + nullable.text(0, 0) +
                         " is nullable: PRIMARY KEY USING INDEX reads all rows while nobody can use the table",
                     access_exclusive);
    finding.scans = true;
    finding.safe_sql = not_null_in_steps(alter.table, nullable.text(0, 0));
    return;
  }
  const std::vector<std::string> columns = strings(constraint->keys);
  Finding& finding = script.about(alter.table, primary ? "add-primary-key" : "add-unique", Severity::error,
                                  "builds an index while nobody can use the table", access_exclusive);
  finding.scans = true;
  if (partitioned) return; // neither CONCURRENTLY nor USING INDEX
  const std::string name = constraint_name(
      alter, constraint, primary ? "pkey" : (columns.empty() ? std::string("x") : columns.front()) + "_key");
  finding.safe_sql = "CREATE UNIQUE INDEX CONCURRENTLY " + name + " ON " + alter.table.name + " (" + joined(columns) +
                     ");\n" + alter.head() + "ADD CONSTRAINT " + name + (primary ? " PRIMARY KEY" : " UNIQUE") +
                     " USING INDEX " + name + ";";
}

void constraint(const Alter& alter, const Constraint* constraint) {
  switch (constraint->contype) {
  case CONSTR_CHECK:
    return check(alter, constraint);
  case CONSTR_FOREIGN:
    return foreign_key(alter, constraint);
  case CONSTR_UNIQUE:
    return unique(alter, constraint, false);
  case CONSTR_PRIMARY:
    return unique(alter, constraint, true);
  case CONSTR_EXCLUSION:
    alter.script
        .about(alter.table, "add-exclusion", Severity::error,
               "builds an index and reads all rows while nobody can use the table; there is no other form",
               access_exclusive)
        .scans = true;
    return;
  default:
    return;
  }
}

// --- columns
// ----------------------------------------------------------------------------------------------------------

// Whether ADD COLUMN writes the table anew: tried on an empty copy.
void rewrite_by_shadow(const Alter& alter, AlterTableCmd* command, const char* rule, const std::string& message,
                       const std::string& safe) {
  AlterTableStmt* one = call_pg([&alter, command] {
    auto* copy = makeNode(AlterTableStmt);
    *copy = *alter.statement;
    copy->cmds = list_make1(command);
    return copy;
  });
  const ShadowVerdict verdict = try_on_shadow(alter.table, alter.script.text, one);
  if (!verdict.made) {
    alter.script
        .about(alter.table, rule, Severity::warning,
               message + ", perhaps; that cannot be told, because it cannot be tried on an empty copy of the table: " +
                   verdict.error,
               access_exclusive)
        .safe_sql = safe;
    return;
  }
  if (!verdict.ran) {
    alter.script.fails(alter.table, "statement-fails", "fails: " + verdict.error);
    return;
  }
  if (verdict.rewrites) {
    Finding& finding = alter.script.about(alter.table, rule, Severity::error,
                                          message + ": writes the table and its indexes anew while nobody can use it",
                                          access_exclusive);
    finding.rewrites = true;
    finding.safe_sql = safe;
  } else if (verdict.indexes > 0) {
    Finding& finding = alter.script.about(alter.table, rule, Severity::error,
                                          message + ": builds " + std::to_string(verdict.indexes) +
                                              " of its indexes anew while nobody can use the table",
                                          access_exclusive);
    finding.scans = true;
    finding.safe_sql = safe;
  }
}

struct ColumnParts {
  bool not_null = false;
  bool has_default = false;
  bool identity = false;
  bool generated = false;
  bool virtual_column = false; // PostgreSQL 18: nothing is stored
};

ColumnParts parts_of(const ColumnDef* column) {
  ColumnParts parts;
  parts.not_null = column->is_not_null;
  parts.has_default = column->raw_default != nullptr;
  ListCell* cell = nullptr;
  foreach (cell, column->constraints) {
    const auto* constraint = lfirst_node(Constraint, cell);
    if (constraint->contype == CONSTR_NOTNULL) parts.not_null = true;
    if (constraint->contype == CONSTR_DEFAULT) parts.has_default = true;
    if (constraint->contype == CONSTR_IDENTITY) parts.identity = true;
    if (constraint->contype == CONSTR_GENERATED) {
      parts.generated = true;
      parts.virtual_column = compat::is_virtual(constraint);
    }
  }
  return parts;
}

void inline_constraints(const Alter& alter, const ColumnDef* column, const ColumnParts& parts) {
  const std::string safe = constrained_column_in_steps(alter.table, alter.script.text, alter.statement);
  const auto found = [&](const char* rule, const char* message) {
    Finding& finding = alter.script.about(alter.table, rule, Severity::error, message, access_exclusive);
    finding.scans = true;
    finding.safe_sql = safe;
  };
  ListCell* cell = nullptr;
  foreach (cell, column->constraints) {
    const auto* constraint = lfirst_node(Constraint, cell);
    if (constraint->contype == CONSTR_CHECK)
      found("add-column-inline-check", "reads all rows to check the new column while nobody can use the table");
    if (constraint->contype == CONSTR_UNIQUE || constraint->contype == CONSTR_PRIMARY)
      found("add-column-inline-unique", "builds an index while nobody can use the table");
    if (constraint->contype != CONSTR_FOREIGN) continue;
    if (!alter.script.is_new(constraint->pktable))
      alter.script.locked(alter.script.catalog.table(constraint->pktable), share_row_exclusive, "the foreign key");
    if (parts.has_default)
      found("add-column-inline-references",
            "with a default, all rows are checked against the other table while nobody can use this one");
  }
}

void column_type_style(Script& script, const ColumnDef* column) {
  const std::string type = type_text(column->typeName);
  if (type == "json")
    script.say("prefer-jsonb", Severity::notice,
               "json has no equality: SELECT DISTINCT, UNION and GROUP BY fail on it; jsonb has");
  if (type == "bpchar")
    script.say("prefer-text", Severity::notice, "char(n) is padded with spaces; text with a CHECK is not");
  if (type == "timestamp")
    script.say("prefer-timestamptz", Severity::notice,
               "timestamp without time zone means another moment in every session's time zone; timestamptz does not");
  if (is_serial(column->typeName))
    script.say("prefer-identity", Severity::notice,
               "serial leaves privileges and ownership of its sequence to you; GENERATED ALWAYS AS IDENTITY does not");
}

// Prepared statements, which drivers make of themselves, are planned for the columns that they had (plancache.c).
void cached_plans(const Alter& alter, const char* whose) {
  alter.script.about(alter.table, "cached-plan", Severity::notice,
                     std::string("prepared statements with ") + whose +
                         " fail once in sessions that are open (0A000, cached plan must not change result type); "
                         "explicit lists of other columns do not");
}

void add_column(const Alter& alter, AlterTableCmd* command) {
  cached_plans(alter, "SELECT *");
  auto* column = reinterpret_cast<ColumnDef*>(command->def);
  const ColumnParts parts = parts_of(column);
  column_type_style(alter.script, column);
  inline_constraints(alter, column, parts);
  if (Catalog::is_published(alter.table.oid))
    alter.script.about(alter.table, "published-table", Severity::notice,
                       "is published: add the column on the subscriber first, or its replication stops");
  if (parts.identity || parts.generated || is_serial(column->typeName)) {
    if (parts.virtual_column) return;
    Finding& finding = alter.script.about(
        alter.table,
        parts.generated  ? "add-column-stored-generated"
        : parts.identity ? "add-column-identity"
                         : "add-column-serial",
        Severity::error, "fills every row: writes the table and its indexes anew while nobody can use it",
        access_exclusive);
    finding.rewrites = true;
    finding.safe_sql = filled_column_in_steps(alter.table, alter.script.text, alter.statement);
    return;
  }
  if (parts.not_null && !parts.has_default) {
    alter.script
        .about(alter.table, "add-column-not-null-no-default", Severity::error,
               "fails when the table has rows, and so do writers that do not know the column", access_exclusive)
        .safe_sql = not_null_column_in_steps(alter.table, alter.script.text, alter.statement);
    return;
  }
  if (!parts.has_default) return;
  AlterTableCmd* plain = call_pg([command] {
    auto* copy = static_cast<AlterTableCmd*>(copyObjectImpl(command));
    auto* copied = reinterpret_cast<ColumnDef*>(copy->def);
    List* kept = NIL;
    ListCell* cell = nullptr;
    foreach (cell, copied->constraints)
      if (lfirst_node(Constraint, cell)->contype == CONSTR_DEFAULT ||
          lfirst_node(Constraint, cell)->contype == CONSTR_NOTNULL)
        kept = lappend(kept, lfirst(cell));
    copied->constraints = kept;
    copy->missing_ok = false;
    return copy;
  });
  if (Catalog::column_exists(alter.table.oid, column->colname)) return;
  rewrite_by_shadow(alter, plain, "add-column-volatile-default", "the default is volatile",
                    volatile_default_in_steps(alter.table, alter.script.text, alter.statement));
}

void set_not_null(const Alter& alter, const AlterTableCmd* command) {
  const std::string column = command->name;
  if (Catalog::column_is_not_null(alter.table.oid, column) || Catalog::has_not_null_check(alter.table.oid, column))
    return;
  Finding& finding = alter.script.about(alter.table, "set-not-null", Severity::error,
                                        "reads all rows while nobody can use the table", access_exclusive);
  finding.scans = true;
  finding.safe_sql = not_null_in_steps(alter.table, column);
}

std::string listed(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& name : names)
    list += (list.empty() ? "" : ", ") + name;
  return list;
}

// What uses the column and has not been dropped before.
std::vector<std::string> users_of(const Alter& alter, const char* column) {
  std::vector<std::string> names;
  for (const auto& [relation, name] : Catalog::dependents_of_column(alter.table.oid, column))
    if (!alter.script.is_gone(relation)) names.push_back(name);
  return names;
}

void drop_column(const Alter& alter, const AlterTableCmd* command) {
  Finding& finding =
      alter.script.about(alter.table, "drop-column", Severity::warning,
                         "programs that still name " + std::string(command->name) + " fail", access_exclusive);
  const std::vector<std::string> dependents = users_of(alter, command->name);
  if (dependents.empty()) return;
  if (command->behavior == DROP_CASCADE)
    finding.message += "; dropped with it: " + listed(dependents);
  else
    alter.script.fails(alter.table, "column-is-used", "fails, because the column is used by " + listed(dependents));
}

void change_type(const Alter& alter, AlterTableCmd* command) {
  if (const auto dependents = users_of(alter, command->name); !dependents.empty())
    alter.script.fails(alter.table, "column-is-used", "fails, because the column is used by " + listed(dependents));
  cached_plans(alter, "the column");
  if (Catalog::has_checks_on(alter.table.oid, command->name))
    alter.script
        .about(alter.table, "change-type-with-constraints", Severity::error,
               "checks all rows against the constraints of the column again while nobody can use the table",
               access_exclusive)
        .scans = true;
  rewrite_by_shadow(alter, command, "change-column-type",
                    "changes how values of " + std::string(command->name) + " are stored",
                    change_type_in_steps(alter.table, alter.script.text, alter.statement));
}

void drop_constraint(const Alter& alter, const AlterTableCmd* command) {
  alter.script.about(alter.table, "drop-constraint", Severity::notice,
                     "what relied on " + std::string(command->name) + " has to do without it", access_exclusive);
  const std::string parent = Catalog::foreign_key_parent(alter.table.oid, command->name);
  if (!parent.empty())
    alter.script.about(alter.table, "drop-locks-referenced-table", Severity::warning,
                       "takes ACCESS EXCLUSIVE on " + parent + " too", access_exclusive);
}

void attach_partition(const Alter& alter, const AlterTableCmd* command) {
  const auto* part = reinterpret_cast<PartitionCmd*>(command->def);
  const std::string other = Catalog::default_partition(alter.table.oid);
  std::string safe;
  AttachVerdict reads;
  if (!alter.script.is_new(part->name)) {
    const Table child = alter.script.catalog.table(part->name);
    safe = attach_in_steps(alter.table, child, alter.script.text, part->bound);
    const Oid rest =
        other.empty()
            ? InvalidOid
            : static_cast<Oid>(ask_catalog("SELECT partdefid FROM pg_partitioned_table WHERE partrelid = $1::oid",
                                           {to_text(alter.table.oid)})
                                   .integer(0, 0));
    reads = try_attach(alter.table.oid, child.oid, rest, part->bound);
    if (reads.partition) {
      Finding& finding =
          alter.script.about(child, "attach-without-check", Severity::error,
                             "reads all rows of the new partition while nobody can use it, because no valid CHECK and "
                             "NOT NULL say that they fit",
                             access_exclusive);
      finding.scans = true;
      finding.safe_sql = safe;
    }
  }
  if (other.empty() || !reads.rest) return;
  Finding& finding = alter.script.about(alter.table, "attach-scans-default", Severity::error,
                                        "reads all rows of the default partition " + other +
                                            " while nobody can use it, because no valid CHECK says that none belongs "
                                            "to the new one",
                                        access_exclusive);
  finding.scans = true;
  finding.safe_sql = safe;
}

void detach_partition(const Alter& alter, const AlterTableCmd* command) {
  if (reinterpret_cast<PartitionCmd*>(command->def)->concurrent) {
    if (alter.script.explicit_transaction)
      alter.script.about(alter.table, "concurrently-in-transaction", Severity::error, "fails in a transaction block");
    return;
  }
  alter.script
      .about(alter.table, "detach-partition-not-concurrent", Severity::error,
             "takes ACCESS EXCLUSIVE on the partitioned table, the partition and the default partition",
             access_exclusive)
      .safe_sql = alter.script.text + " CONCURRENTLY;";
}

void whole_table(const Alter& alter, const char* rule, const char* what) {
  Finding& finding =
      alter.script.about(alter.table, rule, Severity::error,
                         std::string(what) + ": writes the table anew while nobody can use it", access_exclusive);
  finding.rewrites = true;
}

void validate_constraint(const Alter& alter, const AlterTableCmd* command) {
  const auto& added = alter.script.not_valid;
  if (command->name == nullptr || std::find(added.begin(), added.end(), command->name) == added.end()) return;
  alter.script
      .about(alter.table, "validate-in-same-transaction", Severity::error,
             "reads all rows while the lock of ADD CONSTRAINT is still held; validate in another transaction",
             share_row_exclusive)
      .scans = true;
}

void look_at_command(const Alter& alter, AlterTableCmd* command) {
  switch (command->subtype) {
  case AT_AddColumn:
    return add_column(alter, command);
  case AT_DropColumn:
    return drop_column(alter, command);
  case AT_SetNotNull:
    return set_not_null(alter, command);
  case AT_DropNotNull:
    alter.script.about(alter.table, "drop-not-null", Severity::warning,
                       "programs that count on a value in " + std::string(command->name) + " meet NULL",
                       access_exclusive);
    return;
  case AT_AlterColumnType:
    return change_type(alter, command);
  case AT_AddConstraint:
    return constraint(alter, reinterpret_cast<Constraint*>(command->def));
  case AT_ValidateConstraint:
    return validate_constraint(alter, command);
  case AT_DropConstraint:
    return drop_constraint(alter, command);
  case AT_AttachPartition:
    return attach_partition(alter, command);
  case AT_DetachPartition:
    return detach_partition(alter, command);
  case AT_SetTableSpace:
    return whole_table(alter, "set-tablespace", "SET TABLESPACE");
  case AT_SetLogged:
    return whole_table(alter, "set-logged", "SET LOGGED");
  case AT_SetUnLogged:
    return whole_table(alter, "set-unlogged", "SET UNLOGGED");
  case AT_SetAccessMethod:
    return whole_table(alter, "set-access-method", "SET ACCESS METHOD");
  default:
    return;
  }
}

} // namespace

void look_at_alter_table(Script& script, AlterTableStmt* statement) {
  if (statement->objtype != OBJECT_TABLE || script.is_new(statement->relation)) return;
  const Table table = script.catalog.table(statement->relation);
  const Alter alter{script, table, statement};
  const LOCKMODE lock = call_pg([statement] { return AlterTableGetLockLevel(statement->cmds); });
  ListCell* cell = nullptr;
  foreach (cell, statement->cmds)
    look_at_command(alter, lfirst_node(AlterTableCmd, cell));
  if (lock >= ShareRowExclusiveLock) {
    script.locked(table, mode_name(lock), "ALTER TABLE");
    auto& altered = script.altered_tables;
    if (std::find(altered.begin(), altered.end(), table.name) != altered.end())
      script.about(table, "several-alters-of-one-table", Severity::notice,
                   "is altered more than once in the transaction; one ALTER TABLE with several commands waits once");
    else
      altered.push_back(table.name);
  }
}

} // namespace dbops::server::lint
