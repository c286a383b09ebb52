// Expired partitions: detached while the table is in use, and dropped.
#pragma once

#include "server/engine/job_record.h"
#include "server/engine/session.h"
#include "server/lifecycle/retention_rule.h"

namespace dbops::server::lifecycle {

// The table's partitions that have expired as a whole, in their order. Finishes first what an earlier run has left
// half done. What is held, referred to by a foreign key, or cannot be locked is left for the deletion of rows. Outside
// of a transaction, as the owner of the rule. False: the job is not to go on.
bool remove_expired_partitions(Session& session, const Job& job, const backfill::Spec& spec);

// Why the rows of a partition cannot go all at once: a legal hold, a foreign key. Empty: they can. With `also`, of one
// that is detached from that table by now, for whose holds alone is asked. Calls begin_deleting().
std::string obstacle(Oid partition, Oid also = InvalidOid);

} // namespace dbops::server::lifecycle
