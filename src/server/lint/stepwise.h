// Safe forms that take more than one step, as SQL that can be run: what the linter shows instead of a statement that
// would rewrite or read the table under its lock.
#pragma once

#include "server/lint/catalog.h"

namespace dbops::server::lint {

// Each is empty when the statement is not one that can be taken apart (several commands in one ALTER TABLE).

// ADD COLUMN ... DEFAULT of a volatile expression.
std::string volatile_default_in_steps(const Table& table, const std::string& text, AlterTableStmt* statement);
// ADD COLUMN of a serial type, an identity or a stored generated column.
std::string filled_column_in_steps(const Table& table, const std::string& text, AlterTableStmt* statement);
// ADD COLUMN ... NOT NULL without a default: the value is known by its author alone.
std::string not_null_column_in_steps(const Table& table, const std::string& text, AlterTableStmt* statement);
// ADD COLUMN ... CHECK, UNIQUE or REFERENCES: the column first, with a default that is a constant at most.
std::string constrained_column_in_steps(const Table& table, const std::string& text, AlterTableStmt* statement);
// ALTER COLUMN ... TYPE.
std::string change_type_in_steps(const Table& table, const std::string& text, AlterTableStmt* statement);
// ATTACH PARTITION of a table that is there.
std::string attach_in_steps(const Table& parent, const Table& partition, const std::string& text,
                            const PartitionBoundSpec* bounds);
// CREATE TABLE ... PARTITION OF.
std::string partition_of_in_steps(const Table& parent, const std::string& text, const CreateStmt* statement);
// SET NOT NULL by a constraint, with SHARE UPDATE EXCLUSIVE alone while the rows are read.
std::string not_null_in_steps(const Table& table, const std::string& column);

// The last part of schema.table, without quotes.
std::string bare_name(const Table& table);
// A name in the schema of a table, quoted.
std::string beside(const Table& table, const std::string& name);

} // namespace dbops::server::lint
