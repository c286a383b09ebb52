// Checking what a person typed: the assignments and the condition, by the server's own parser, as the role that will
// run them. Nothing is executed and nothing is changed.
#pragma once

#include "server/backfill/spec.h"

namespace dbops::server::backfill {

struct CheckedInput {
  std::vector<std::string> columns; // assigned, not quoted
  bool subqueries = false;
  bool falsifiable = false; // the condition looks at a column that is assigned, and calls nothing volatile
  bool condition_is_volatile = false;
  bool condition_moves = false; // it asks what time it is, as by now()
  bool reads_settings = false;  // by current_setting()
  bool cumulative = false;      // the assignments read a column that they assign: twice is not the same as once
  std::vector<std::string> volatile_functions; // called by the assignments or the condition
};

// Raises 42601 (syntax, or more than assignments and a condition), 42703, 42804, 42501 and what else the parser finds.
// `relation` is the table; for a partitioned one its columns and privileges stand for those of its partitions, which
// are checked as well.
CheckedInput check_input(Oid relation, bool erase, const std::string& assignments, const std::string& condition);

// Raises 42601 unless the text is one expression and nothing else.
void require_single_expression(const std::string& condition);

// Raises 42501 when the current user may not run the statement on one of the tables.
void require_privileges(const std::vector<Oid>& relations, const Spec& spec);

} // namespace dbops::server::backfill
