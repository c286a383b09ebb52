// In a deadlock between a batch and the application the batch is the victim.
#pragma once

namespace dbops::server::backfill {

// From here to the end of the transaction this process looks for a deadlock soon after it has begun to wait for a lock,
// and again and again while it waits. PostgreSQL itself looks once, deadlock_timeout after the wait has begun: whoever
// closes the circle later finds it first, and would be the victim.
//
// A look has a side effect: it cancels an autovacuum that is in the way (proc.c, ProcSleep). One that truncates a table
// gives way by itself to who waits for it, so the lock of a table is waited for with more patience. That comes before
// the batch has locked rows, when there is next to nothing that the application could wait for.
enum class WatchFor { table, rows };
void watch_for_deadlocks(WatchFor what);

} // namespace dbops::server::backfill
