// Where a batch of a walk by age ends, told by the entries of the index alone.
#pragma once

#include "server/backfill/table.h"

namespace dbops::server::backfill {

// Looks at the first n entries of the index table.key.index from the age `after` on (with that age itself when
// `inclusive`; without it: from the beginning), up to the age `upto`. Entries of rows that are dead count, and no row
// is looked at: what is returned bounds the work of a batch from above, whatever is visible.
struct AgeAhead {
  bool more = false; // there are more than n; otherwise the rest is this batch's
  // The highest age of which there are n entries or fewer; nothing: the first age has more.
  std::optional<std::string> age;
};
// Texts of ages are read and written under the current settings: see canonical_text().
AgeAhead age_ahead(const Table& table, const std::optional<std::string>& after, bool inclusive, const std::string& upto,
                   std::int64_t n);

} // namespace dbops::server::backfill
