// The partitions of a table that is partitioned by ranges of one column.
#pragma once

#include "server/engine/bookkeeping.h"

namespace dbops::server::lifecycle {

struct PartitionBounds {
  Oid oid = InvalidOid;
  std::string name;                        // schema.table, quoted
  std::optional<std::string> lower, upper; // as text, see canonical_text(); nothing: no bound
  std::string type;                        // of the bounds
  std::string clause;     // "FOR VALUES FROM (...) TO (...)", for ATTACH PARTITION under canonical_text()
  bool detaching = false; // a DETACH CONCURRENTLY was interrupted, or is under way
};

// The direct partitions, with the lowest bound first, without the default one. None unless the table is partitioned by
// RANGE of that column (quoted) alone.
std::vector<PartitionBounds> partitions_of(Oid table, const std::string& column);

// One of them, as it is now; nothing when it is none any more.
std::optional<PartitionBounds> partition_of(Oid table, const std::string& column, Oid partition);

// Rows of the default partition keep the others from being detached without a lock on the whole table.
bool has_default_partition(Oid table);

} // namespace dbops::server::lifecycle
