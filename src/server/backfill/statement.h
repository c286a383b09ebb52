// The SQL that a job runs on one table. Texts only; nothing is executed here. Values come in as parameters.
#pragma once

#include "server/backfill/table.h"
#include "server/backfill/unit.h"

namespace dbops::server::backfill {

struct Statement {
  std::string text;
  std::vector<Oid> types; // of $1, $2, ...
  bool returns = false;   // of an UPDATE: see batch_statement()
};

// The range of a unit: "id OPERATOR(pg_catalog.>) $1 AND id OPERATOR(pg_catalog.<=) $2 [AND stripe]".
// Order of parameters: after (if the unit has it), upto; or from, to; then stripes and stripe.
struct RangeShape {
  Order order;
  std::size_t after; // columns that the bounds have: the key's first ones, usually all; 0: no bound
  std::size_t upto;
  bool striped;
};
RangeShape shape_of(const Unit& unit);

// One UPDATE or DELETE of one range. An UPDATE returns of each new row whether it still matches, where there is a
// condition, and in a second column whether its key is still in the range, where a trigger may have changed that.
// `unheld` is what the statement has to add because of legal holds (lifecycle/holds.h).
Statement batch_statement(const Table& table, const Spec& spec, const RangeShape& shape,
                          const std::string& unheld = {});

// A DELETE of one range with what refers to its rows, of which a row and all that hangs on it go together, or none of
// it. Returns one row: how many rows of the table went, how many others went or were changed with them.
Statement erase_with_dependents_statement(const Table& table, const Spec& spec, const RangeShape& shape,
                                          const std::string& unheld,
                                          const std::vector<lifecycle::Dependent>& dependents);
// " AND NOT EXISTS (...)": no row refers to it.
std::string unreferred(const std::string& alias, const std::vector<lifecycle::Dependent>& dependents);

// SELECT of the n-th key ($last parameter: offset) in a key range, in order; fewer columns never, no row when there are
// fewer.
Statement nth_key_statement(const Table& table, const RangeShape& shape);
// Of the rows that match `condition`, where there is one.
Statement last_key_statement(const Table& table, const Spec& spec);
// The key columns of the row in the middle of the range, and how many rows there are; no row when there is one or none.
Statement middle_statement(const Table& table, const RangeShape& shape);
// The key columns of the first row in a range, or its ctid where there is no key.
Statement first_row_statement(const Table& table, const RangeShape& shape);
// How many rows match the condition, at most `limit`.
Statement matching_statement(const Table& table, const Spec& spec, std::int64_t limit, const std::string& unheld);

} // namespace dbops::server::backfill
