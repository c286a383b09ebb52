// Choosing what runs next in this database, and accounting for what died.
#pragma once

#include "server/engine/session.h"
#include "server/pg.h"

namespace dbops::server {

struct Assignment {
  std::int64_t job;
  int slice;
};

// Starts workers for what is due while there are slots. A worker that has become free passes the slot it holds and its
// owner: the first assignment for that owner is given to it instead of to a new process. Opens transactions of its own.
std::optional<Assignment> dispatch(Session& session, Oid free_owner = InvalidOid, int own_slot = -1);

// Marks runs whose process is gone as lost and queues their jobs again, with a back-off when they made no progress.
void account_for_losses(Session& session);

// Deletes finished jobs older than dbops.history_retention, for a second or so. False: there are more; another
// dispatcher is to come soon.
bool prune_history(Session& session);

} // namespace dbops::server
