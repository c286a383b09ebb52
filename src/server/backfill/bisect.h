// Halving a unit: to get around a locked row, and to find the one row that raises an error.
#pragma once

#include "server/backfill/batch.h"

namespace dbops::server::backfill {

struct Halves {
  Unit left, right;
};

// The two halves of the unit's range, for its next stripe alone; nothing when the range has at most one row.
// Inside a Session's transaction; counts the rows of a key range.
std::optional<Halves> bisect(BatchRunner& runner, const Table& table, const Unit& unit);

} // namespace dbops::server::backfill
