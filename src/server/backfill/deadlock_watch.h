// In a deadlock between a batch and the application the batch is the victim.
#pragma once

namespace dbops::server::backfill {

// From here to the end of the transaction this process looks for a deadlock soon after it has begun to wait for a lock,
// and again and again while it waits. PostgreSQL itself looks once, deadlock_timeout after the wait has begun: whoever
// closes the circle later finds it first, and would be the victim.
void watch_for_deadlocks();

} // namespace dbops::server::backfill
