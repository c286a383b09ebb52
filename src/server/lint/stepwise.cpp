#include "server/lint/stepwise.h"

#include "server/lint/column_move.h"

#include <algorithm>
#include <cctype>

extern "C" {
#include "nodes/parsenodes.h"
#include "nodes/pg_list.h"
}

namespace dbops::server::lint {

namespace {

// Where the last part of "schema.table" begins; a dot may stand in quotes.
std::size_t last_part(const std::string& name) {
  bool quote = false;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < name.size(); ++i) {
    if (name[i] == '"') quote = !quote;
    if (name[i] == '.' && !quote) begin = i + 1;
  }
  return begin;
}

std::string trimmed(const std::string& text) {
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n;") - begin + 1);
}

// text from one place to another, which may be its end (negative).
std::string slice(const std::string& text, int begin, int end) {
  if (begin < 0 || static_cast<std::size_t>(begin) >= text.size()) return {};
  const auto from = static_cast<std::size_t>(begin);
  return trimmed(end < 0 ? text.substr(from) : text.substr(from, static_cast<std::size_t>(end) - from));
}

bool is_part_of_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '$' ||
         (static_cast<unsigned char>(c) & 0x80U) != 0;
}

// Where a word begins, in any case, not before `from` and not in quotes; npos: not there.
std::size_t find_word(const std::string& text, const std::string& word, std::size_t from = 0) {
  char quote = '\0';
  for (std::size_t i = 0; i + word.size() <= text.size(); ++i) {
    if (quote != '\0' || text[i] == '"' || text[i] == '\'') {
      if (quote == '\0')
        quote = text[i];
      else if (text[i] == quote)
        quote = '\0';
      continue;
    }
    if (i < from || (i > 0 && is_part_of_word(text[i - 1]))) continue;
    if (i + word.size() < text.size() && is_part_of_word(text[i + word.size()])) continue;
    if (std::equal(word.begin(), word.end(), text.begin() + static_cast<std::ptrdiff_t>(i), [](char a, char b) {
          return std::toupper(static_cast<unsigned char>(a)) == std::toupper(static_cast<unsigned char>(b));
        }))
      return i;
  }
  return std::string::npos;
}

// Where the next constraint of a column begins behind a place; negative: there is none.
int next_constraint(const ColumnDef* column, int after) {
  int next = -1;
  ListCell* cell = nullptr;
  foreach (cell, column->constraints) {
    const int location = lfirst_node(Constraint, cell)->location;
    if (location > after && (next < 0 || location < next)) next = location;
  }
  return next;
}

const Constraint* constraint_of(const ColumnDef* column, ConstrType type) {
  ListCell* cell = nullptr;
  foreach (cell, column->constraints)
    if (lfirst_node(Constraint, cell)->contype == type) return lfirst_node(Constraint, cell);
  return nullptr;
}

// As it was written, with its COLLATE.
std::string type_text(const ColumnDef* column, const std::string& text) {
  if (column->typeName == nullptr) return {};
  const int begin = column->typeName->location;
  return slice(text, begin, next_constraint(column, begin));
}

// As it was written, without the constraint's name.
std::string constraint_text(const ColumnDef* column, const Constraint* constraint, const std::string& text,
                            const char* word) {
  const std::string whole = slice(text, constraint->location, next_constraint(column, constraint->location));
  const std::size_t begin = find_word(whole, word);
  return begin == std::string::npos ? std::string() : whole.substr(begin);
}

// The only command of the statement; null when there are others.
AlterTableCmd* only_command(AlterTableStmt* statement) {
  return list_length(statement->cmds) == 1 ? linitial_node(AlterTableCmd, statement->cmds) : nullptr;
}

// Null as well when it comes with constraints that the steps would leave out.
const ColumnDef* added_column(AlterTableStmt* statement) {
  const AlterTableCmd* command = only_command(statement);
  if (command == nullptr || command->subtype != AT_AddColumn) return nullptr;
  const auto* column = reinterpret_cast<const ColumnDef*>(command->def);
  for (const ConstrType type : {CONSTR_PRIMARY, CONSTR_UNIQUE, CONSTR_CHECK, CONSTR_FOREIGN})
    if (constraint_of(column, type) != nullptr) return nullptr;
  return column;
}

std::string alter(const Table& table) {
  return "ALTER TABLE " + table.name + " ";
}

std::string backfill(const Table& table, const std::string& assignment, const std::string& condition = {}) {
  return "SELECT dbops.backfill(" + quote_text(table.name) + ", " + quote_text(assignment) +
         (condition.empty() ? "" : ", " + quote_text(condition)) + ");\n";
}

std::string not_null_job(const Table& table, const std::string& column) {
  return "-- when that is done:\nSELECT dbops.set_not_null(" + quote_text(table.name) + ", " + quote_text(column) +
         ");\n";
}

// Triggers fire in the order of their names (bytes): behind those that change what this one reads.
std::string trigger_name(const Table& table, const std::string& column) {
  return "~" + bare_name(table) + "_" + column + "_fill";
}

// A trigger that sets a column of every new version of a row, by a statement of PL/pgSQL.
std::string trigger_that(const Table& table, const std::string& name, const std::string& statement) {
  const std::string function = beside(table, name);
  return "CREATE FUNCTION " + function + "() RETURNS trigger LANGUAGE plpgsql AS $fill$\nBEGIN\n  " + statement +
         ";\n  RETURN NEW;\nEND\n$fill$;\nCREATE TRIGGER " + quote_name(name) + " BEFORE INSERT OR UPDATE ON " +
         table.name + " FOR EACH ROW EXECUTE FUNCTION " + function + "();\n";
}

// The same by an expression over the row.
std::string filling_trigger(const Table& table, const std::string& name, const std::string& column,
                            const std::string& expression) {
  return trigger_that(table, name,
                      "SELECT " + expression + " INTO NEW." + column + " FROM (SELECT NEW.*) AS " +
                          quote_name(bare_name(table)));
}

std::string without_last_newline(std::string text) {
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

// A serial type's integer; empty for others.
std::string integer_of_serial(const TypeName* type) {
  const std::string name = type == nullptr || type->names == NIL ? "" : strVal(llast(type->names));
  if (name == "serial" || name == "serial4") return "integer";
  if (name == "bigserial" || name == "serial8") return "bigint";
  return name == "smallserial" || name == "serial2" ? "smallint" : "";
}

// A column that is filled from a sequence, for new rows by a default.
std::string from_sequence(const Table& table, const std::string& column, const std::string& type,
                          const std::string& sequence, bool owned) {
  const std::string next = "nextval(" + quote_text(sequence) + ")";
  return alter(table) + "ADD COLUMN " + column + " " + type + ";\nCREATE SEQUENCE " + sequence + " AS " + type +
         (owned ? " OWNED BY " + table.name + "." + column : "") + ";\n" + alter(table) + "ALTER COLUMN " + column +
         " SET DEFAULT " + next + ";\n" + backfill(table, column + " = " + next, column + " IS NULL");
}

std::string generated_in_steps(const Table& table, const std::string& text, const ColumnDef* column,
                               const Constraint* generated) {
  const std::string written = constraint_text(column, generated, text, "GENERATED");
  const std::size_t open = written.find('(');
  const std::size_t close = written.rfind(')');
  const std::string type = type_text(column, text);
  if (open == std::string::npos || close == std::string::npos || close < open || type.empty()) return {};
  const std::string expression = written.substr(open, close - open + 1);
  const std::string name = quote_name(column->colname);
  const std::string trigger = trigger_name(table, column->colname);
  return without_last_newline(alter(table) + "ADD COLUMN " + name + " " + type + ";\n" +
                              filling_trigger(table, trigger, name, expression) +
                              backfill(table, name + " = " + expression));
}

} // namespace

std::string bare_name(const Table& table) {
  std::string name = table.name.substr(last_part(table.name));
  if (name.size() < 2 || name.front() != '"') return name;
  name = name.substr(1, name.size() - 2);
  for (std::size_t at = name.find("\"\""); at != std::string::npos; at = name.find("\"\"", at + 1))
    name.erase(at, 1);
  return name;
}

std::string beside(const Table& table, const std::string& name) {
  return table.name.substr(0, last_part(table.name)) + quote_name(name);
}

std::string not_null_in_steps(const Table& table, const std::string& column) {
  const std::string name = quote_name(bare_name(table) + "_" + column + "_not_null");
  const std::string next = ";\n-- in another transaction:\n" + alter(table);
  return alter(table) + "ADD CONSTRAINT " + name + " CHECK (" + quote_name(column) + " IS NOT NULL) NOT VALID" + next +
         "VALIDATE CONSTRAINT " + name + next + "ALTER COLUMN " + quote_name(column) + " SET NOT NULL;\n" +
         alter(table) + "DROP CONSTRAINT " + name + ";";
}

std::string volatile_default_in_steps(const Table& table, const std::string& text, AlterTableStmt* statement) {
  const ColumnDef* column = added_column(statement);
  const Constraint* given = column == nullptr ? nullptr : constraint_of(column, CONSTR_DEFAULT);
  if (given == nullptr) return {};
  const std::string type = type_text(column, text);
  const std::string written = constraint_text(column, given, text, "DEFAULT");
  if (type.empty() || written.empty()) return {};
  const std::string name = quote_name(column->colname);
  const std::string expression = trimmed(written.substr(7));
  std::string steps = alter(table) + "ADD COLUMN " + name + " " + type + ";\n" + alter(table) + "ALTER COLUMN " + name +
                      " SET DEFAULT " + expression + ";\n" +
                      backfill(table, name + " = " + expression, name + " IS NULL");
  if (constraint_of(column, CONSTR_NOTNULL) != nullptr) steps += not_null_job(table, column->colname);
  return without_last_newline(steps);
}

std::string filled_column_in_steps(const Table& table, const std::string& text, AlterTableStmt* statement) {
  const ColumnDef* column = added_column(statement);
  if (column == nullptr) return {};
  if (const Constraint* generated = constraint_of(column, CONSTR_GENERATED))
    return generated_in_steps(table, text, column, generated);
  const std::string name = quote_name(column->colname);
  const std::string serial = integer_of_serial(column->typeName);
  const Constraint* identity = constraint_of(column, CONSTR_IDENTITY);
  const std::string sequence =
      beside(table, bare_name(table) + "_" + column->colname + (identity == nullptr ? "_seq" : "_fill"));
  if (identity == nullptr)
    return serial.empty() ? std::string()
                          : without_last_newline(from_sequence(table, name, serial, sequence, true) +
                                                 not_null_job(table, column->colname));
  const std::string type = type_text(column, text);
  const std::string written = constraint_text(column, identity, text, "GENERATED");
  if (type.empty() || written.empty()) return {};
  // The column owns the identity's sequence alone: pg_get_serial_sequence() has to find that one.
  return from_sequence(table, name, type, sequence, false) + not_null_job(table, column->colname) +
         "-- when that is done:\nBEGIN;\n" + alter(table) + "ALTER COLUMN " + name + " DROP DEFAULT;\n" + alter(table) +
         "ALTER COLUMN " + name + " ADD " + written + ";\nSELECT setval(pg_get_serial_sequence(" +
         quote_text(table.name) + ", " + quote_text(column->colname) + "), nextval(" + quote_text(sequence) +
         "));\nDROP SEQUENCE " + sequence + ";\nCOMMIT;";
}

std::string not_null_column_in_steps(const Table& table, const std::string& text, AlterTableStmt* statement) {
  const ColumnDef* column = added_column(statement);
  const std::string type = column == nullptr ? std::string() : type_text(column, text);
  if (type.empty()) return {};
  return alter(table) + "ADD COLUMN " + quote_name(column->colname) + " " + type +
         ";\n-- give new rows a value, and those that are there by dbops.backfill()\n" +
         without_last_newline(not_null_job(table, column->colname));
}

namespace {

struct ConstraintSteps {
  bool possible = true;
  std::string column; // what stays with it
  std::string add;    // outside of a transaction, where it is an index
  std::string validate;
  std::vector<std::string> names; // of constraints and indexes
};

// Of a constraint of the table, or of what an index would stand beside.
bool is_taken(const Table& table, const std::string& name) {
  return !ask_catalog("SELECT FROM pg_constraint WHERE conrelid = $1::oid AND conname = $2::text::name UNION ALL "
                      "SELECT FROM pg_class c JOIN pg_class t ON t.relnamespace = c.relnamespace WHERE t.oid = $1::oid "
                      "AND c.relname = $2::text::name",
                      {to_text(table.oid), name})
              .empty();
}

bool is_constant(Node* expression) {
  while (expression != nullptr && IsA(expression, TypeCast))
    expression = reinterpret_cast<TypeCast*>(expression)->arg;
  return expression != nullptr && IsA(expression, A_Const);
}

void take_apart(const Table& table, const ColumnDef* column, const Constraint* constraint, const std::string& text,
                ConstraintSteps& steps) {
  const std::string name = quote_name(column->colname);
  const auto called = [&](const char* ending) {
    const std::string made =
        constraint->conname != nullptr ? constraint->conname : bare_name(table) + "_" + column->colname + ending;
    // The server would take another name then, or a shorter one.
    if (std::find(steps.names.begin(), steps.names.end(), made) != steps.names.end() ||
        (constraint->conname == nullptr && (made.size() >= NAMEDATALEN || is_taken(table, made))))
      steps.possible = false;
    steps.names.push_back(made);
    return quote_name(made);
  };
  const auto add_not_valid = [&](const std::string& constraint_name, const std::string& before, const char* word) {
    const std::string written = constraint_text(column, constraint, text, word);
    if (written.empty()) steps.possible = false;
    steps.add += alter(table) + "ADD CONSTRAINT " + constraint_name + " " + before + written + " NOT VALID;\n";
    steps.validate += alter(table) + "VALIDATE CONSTRAINT " + constraint_name + ";\n";
  };
  switch (constraint->contype) {
  case CONSTR_NOTNULL:
    steps.column += " NOT NULL";
    return;
  case CONSTR_DEFAULT:
    steps.column += " " + constraint_text(column, constraint, text, "DEFAULT");
    if (!is_constant(constraint->raw_expr)) steps.possible = false;
    return;
  case CONSTR_CHECK:
    return add_not_valid(called("_check"), "", "CHECK");
  case CONSTR_FOREIGN:
    return add_not_valid(called("_fkey"), "FOREIGN KEY (" + name + ") ", "REFERENCES");
  case CONSTR_UNIQUE: {
    if (constraint->nulls_not_distinct || constraint->including != NIL || constraint->options != NIL ||
        constraint->indexspace != nullptr)
      steps.possible = false;
    const std::string key = called("_key");
    steps.add += "CREATE UNIQUE INDEX CONCURRENTLY " + key + " ON " + table.name + " (" + name + ");\n" + alter(table) +
                 "ADD CONSTRAINT " + key + " UNIQUE USING INDEX " + key + ";\n";
    return;
  }
  default: // also DEFERRABLE and its like
    steps.possible = false;
  }
}

} // namespace

std::string constrained_column_in_steps(const Table& table, const std::string& text, AlterTableStmt* statement) {
  const AlterTableCmd* command = only_command(statement);
  if (command == nullptr || command->subtype != AT_AddColumn || table.kind != 'r') return {};
  const auto* column = reinterpret_cast<const ColumnDef*>(command->def);
  const std::string type = type_text(column, text);
  const bool filled = constraint_of(column, CONSTR_DEFAULT) != nullptr;
  if (type.empty() || !integer_of_serial(column->typeName).empty() ||
      (constraint_of(column, CONSTR_NOTNULL) != nullptr && !filled))
    return {};
  ConstraintSteps steps;
  ListCell* cell = nullptr;
  foreach (cell, column->constraints)
    take_apart(table, column, lfirst_node(Constraint, cell), text, steps);
  if (!steps.possible) return {};
  return without_last_newline(alter(table) + "ADD COLUMN " + quote_name(column->colname) + " " + type + steps.column +
                              ";\n" + steps.add +
                              (steps.validate.empty() ? "" : "-- in another transaction:\n" + steps.validate));
}

std::string change_type_in_steps(const Table& table, const std::string& text, AlterTableStmt* statement) {
  const AlterTableCmd* command = only_command(statement);
  if (command == nullptr || command->subtype != AT_AlterColumnType) return {};
  const auto* column = reinterpret_cast<const ColumnDef*>(command->def);
  const std::string written = type_text(column, text);
  const std::size_t with = column->raw_default == nullptr ? std::string::npos : find_word(written, "USING");
  const std::string type = trimmed(written.substr(0, with));
  if (type.empty() || (column->raw_default != nullptr && with == std::string::npos)) return {};
  const Catalog::ColumnUse use = Catalog::use_of_column(table.oid, command->name);
  const std::string old = quote_name(command->name);
  const std::string made_name = std::string(command->name) + "_new";
  const std::string made = quote_name(made_name);
  const std::string kept = quote_name(std::string(command->name) + "_old");
  const ColumnMove move = move_column(table, command->name, made_name, type);
  if (!move.possible) return {};
  const std::string trigger = trigger_name(table, made_name);
  std::string steps = alter(table) + "ADD COLUMN " + made + " " + type + ";\n";
  if (with == std::string::npos) // assigned, not cast: what does not fit is an error, and is not cut
    steps += trigger_that(table, trigger, "NEW." + made + " := NEW." + old) +
             backfill(table, made + " = " + old, made + " IS NULL AND " + old + " IS NOT NULL");
  else {
    const std::string expression = "(" + trimmed(written.substr(with + 5)) + ")";
    steps += filling_trigger(table, trigger, made, expression) + backfill(table, made + " = " + expression);
  }
  if (use.not_null)
    steps += "-- when that is done:\nSELECT dbops.set_not_null(" + quote_text(table.name) + ", " +
             quote_text(made_name) + ");\n";
  if (!move.build.empty()) steps += "-- when that is done:\n" + move.build;
  steps += move.left_out + "-- when that is done:\nBEGIN;\n" + move.leave + "DROP TRIGGER " + quote_name(trigger) +
           " ON " + table.name + ";\n";
  if (!use.default_expression.empty())
    steps += alter(table) + "ALTER COLUMN " + made + " SET DEFAULT " + use.default_expression + ";\n" + alter(table) +
             "ALTER COLUMN " + old + " DROP DEFAULT;\n";
  if (!use.sequence.empty())
    steps += "ALTER SEQUENCE " + use.sequence + (is_bigint(type) ? " AS bigint" : "") + " OWNED BY " + table.name +
             "." + made + ";\n";
  steps += move.take;
  if (use.not_null) steps += alter(table) + "ALTER COLUMN " + old + " DROP NOT NULL;\n";
  return steps + alter(table) + "RENAME COLUMN " + old + " TO " + kept + ";\n" + alter(table) + "RENAME COLUMN " +
         made + " TO " + old + ";\n" + move.come + "COMMIT;\n" + move.validate + "DROP FUNCTION " +
         beside(table, trigger) + "();";
}

namespace {

// "FOR VALUES ..." or "DEFAULT", as it was written, up to the end of the statement. The parser's place is behind FOR
// VALUES.
std::string bounds_text(const std::string& text, const PartitionBoundSpec* bounds) {
  if (bounds == nullptr || bounds->location < 0) return {};
  if (bounds->is_default) return "DEFAULT";
  std::size_t begin = std::string::npos;
  for (std::size_t at = find_word(text, "FOR"); at < static_cast<std::size_t>(bounds->location);
       at = find_word(text, "FOR", at + 1))
    begin = at;
  return begin == std::string::npos ? std::string() : trimmed(text.substr(begin));
}

std::string attach_job(const Table& parent, const std::string& partition, const std::string& bounds) {
  return "SELECT dbops.attach_partition(" + quote_text(parent.name) + ", " + quote_text(partition) + ", " +
         quote_text(bounds) + ");";
}

} // namespace

std::string attach_in_steps(const Table& parent, const Table& partition, const std::string& text,
                            const PartitionBoundSpec* bounds) {
  const std::string written = bounds_text(text, bounds);
  return written.empty() ? std::string() : attach_job(parent, partition.name, written);
}

std::string partition_of_in_steps(const Table& parent, const std::string& text, const CreateStmt* statement) {
  const std::string written = bounds_text(text, statement->partbound);
  if (written.empty() || statement->partspec != nullptr || statement->options != NIL ||
      statement->tablespacename != nullptr || statement->accessMethod != nullptr || statement->tableElts != NIL)
    return {};
  const RangeVar* name = statement->relation;
  const std::string made =
      (name->schemaname == nullptr ? "" : quote_name(name->schemaname) + ".") + quote_name(name->relname);
  return "CREATE TABLE " + made + " (LIKE " + parent.name + " INCLUDING ALL EXCLUDING IDENTITY);\n" +
         attach_job(parent, made, written);
}

} // namespace dbops::server::lint
