// Rows of another role's table that a purge takes along, as ON DELETE CASCADE does: as that role, who need not have
// asked, and without a job of his.
#pragma once

#include <functional>

#include "server/lifecycle/deletion_record.h"
#include "server/soft_delete/rule.h"

namespace dbops::server::soft_delete {

// What the purge of one of its rows says of itself; made anew for each batch, in its transaction.
struct PurgeCondition {
  std::string purging; // what the deletion of the row must be
  std::string all;     // that, and nothing refers to the row or holds it
};

// Of one walk over a table.
struct OtherOwnersRows {
  std::int64_t purged = 0;
  std::int64_t aside = 0; // could not be deleted, and are left to the next purge
  std::string first;      // of those
  std::string error;      // at that row
};

// In batches, each in a transaction of its own and with the pauses of a job that has this nice_ratio. A batch that
// fails is halved down to the row that cannot go, which is set aside. Raises what interrupts it.
OtherOwnersRows delete_rows_of_other_owner(Session& session, const Rule& rule, double nice_ratio,
                                           lifecycle::DeletionRecord& record,
                                           const std::function<PurgeCondition(const std::string& alias)>& condition);

} // namespace dbops::server::soft_delete
