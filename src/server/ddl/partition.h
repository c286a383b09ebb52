// What PostgreSQL says about a partition that is to be attached. Needs a transaction.
#pragma once

#include "server/ddl/spec.h"

namespace dbops::server::ddl {

struct PartitionBounds {
  std::string bounds;     // "FOR VALUES FROM (1) TO (10)", with all values computed
  std::string condition;  // what its rows must fulfil; empty: nothing
  std::string of_default; // what the rows of the default partition must fulfil then; empty: there is none
  Oid default_partition = InvalidOid;
};

// `bounds` as in ALTER TABLE ... ATTACH PARTITION. Raises what is wrong with it: 42601, 42P17 (it overlaps another
// partition), 42P16. Takes ACCESS SHARE on the partitioned table and on its default partition.
PartitionBounds read_bounds(Oid parent, Oid partition, const std::string& bounds);

} // namespace dbops::server::ddl
