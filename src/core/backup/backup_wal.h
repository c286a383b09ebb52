// The WAL that a backup needs to become consistent.
#pragma once

#include "core/backup/manifest_store.h"
#include "core/wal/repository.h"

namespace dbops::core {

struct BackupWal {
  Lsn start = 0, stop = 0;
  TimelineId timeline = 0;
  SegmentSize segment_size;
};

// Returns when all segments from start to stop are in the store. Throws Error(unavailable) at give_up, and what
// ObjectStore throws.
void wait_for_backup_wal(const BackupRepository& repository, const BackupWal& wal, Clock& clock, SteadyTime give_up,
                         const CallContext& context);

// The segments that are there are those of this server, and not of another one that has the same system identifier: a
// clone that archives nowhere, say. Throws Error(conflict).
void require_own_wal(const BackupRepository& repository, TimelineId timeline, const Owner& owner,
                     const CallContext& context);

// The same before a backup: throws Error(conflict) when the timeline belongs to another server already. That it belongs
// to nobody yet is as it should be for one that has archived nothing.
void refuse_wal_of_others(const BackupRepository& repository, TimelineId timeline, const Owner& owner,
                          const CallContext& context);

} // namespace dbops::core
