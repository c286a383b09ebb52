// A script under the eyes of the linter: what it has done so far, and what was found.
#pragma once

#include <set>

#include "core/migrate/statement.h"
#include "server/lint/catalog.h"
#include "server/lint/finding.h"

namespace dbops::server::lint {

// What the caller of the linter has chosen.
struct Options {
  std::int64_t small_bytes = 0; // tables below this give notices alone
  bool qualified = false;       // names without a schema are found
  std::string name_pattern;     // regular expression that new names have to match; empty: any
};

class Script {
 public:
  explicit Script(Options options) : options_(std::move(options)) {}

  Catalog catalog;

  // --- the statement that is looked at
  std::string text; // of the statement, its comments blanked
  [[nodiscard]] const Options& options() const { return options_; }
  [[nodiscard]] const std::vector<Finding>& findings() const { return findings_; }
  void next_statement(std::string statement) {
    text = std::move(statement);
    findings_.clear();
  }

  // --- what to say
  // About a table: for one that is smaller than the limit, or new, it is only a notice, because nobody waits for long.
  Finding& about(const Table& table, const char* rule, Severity severity, std::string message, const char* lock = "");
  // About anything else.
  Finding& say(const char* rule, Severity severity, std::string message);

  // --- what has happened
  void created(const RangeVar* name);
  // Dropped, or called otherwise: what is made under its name is new.
  void gone(const Table& table) { gone_.insert(table.oid); }
  [[nodiscard]] bool is_gone(Oid relation) const { return gone_.contains(relation); }
  // True for a table that the script makes, or that is not there: nobody uses it yet.
  [[nodiscard]] bool is_new(const RangeVar* name);
  [[nodiscard]] bool is_temporary(const RangeVar* name) const {
    return name->schemaname == nullptr && temporary_.contains(name->relname);
  }
  // A lock that others wait for, held to the end of the transaction.
  void locked(const Table& table, const char* mode, const char* what);

  bool defines = false; // an earlier statement has changed what the catalog does not show yet
  // Of what the catalog says that a statement fails with: then it is no more than likely.
  Finding& fails(const Table& table, const char* rule, std::string message);

  bool explicit_transaction = false; // after BEGIN
  bool lock_timeout_set = false;
  bool needs_lock_timeout = false;
  bool statement_timeout_set = false;
  bool needs_statement_timeout = false;
  std::string first_strong_lock; // table of the first such lock in this transaction; empty: none
  std::vector<std::string> strong_tables;
  std::vector<std::string> altered_tables;
  std::vector<std::string> not_valid;   // constraints added NOT VALID in this transaction
  std::vector<std::string> enum_values; // added in this transaction
  void transaction_ends();

 private:
  Options options_;
  std::vector<Finding> findings_;
  std::set<std::string> temporary_; // tables that hide others of the name
  std::set<Oid> gone_;
};

void look_at_alter_table(Script& script, AlterTableStmt* statement);
void look_at_statement(Script& script, Node* statement);
// The rules that are off unless they are asked for: names without a schema, and names against a pattern.
void look_at_names(Script& script, Node* statement);

// "CREATE INDEX ..." with a word after the first occurrence of another, outside of quotes: CONCURRENTLY after INDEX.
std::string with_word_after(const std::string& text, const std::string& word, const std::string& added);
std::string quoted(const char* name);
std::string pretty_bytes(std::int64_t bytes);

} // namespace dbops::server::lint
