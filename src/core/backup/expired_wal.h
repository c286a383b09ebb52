// Up to where expiry has removed WAL, so that what is missing before that is no damage.
#pragma once

#include "core/backup/manifest_store.h"

namespace dbops::core {

// "expired/0000000003000000-00000002": WAL before this LSN of this timeline and older ones may be missing, but that
// which backups need to become consistent. To be called before any is removed.
void note_expired_wal(const BackupRepository& repository, TimelineId youngest, Lsn before, const CallContext& context);

struct ExpiredWal {
  TimelineId youngest = 0;
  Lsn before = 0;
};
std::vector<ExpiredWal> read_expired_wal(const BackupRepository& repository, const CallContext& context);
// Up to where that timeline's was removed; 0: none ever was.
Lsn expired_wal(const std::vector<ExpiredWal>& notes, TimelineId timeline);

} // namespace dbops::core
