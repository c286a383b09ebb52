// Up to where expiry has removed WAL, so that what is missing before that is no damage.
#pragma once

#include "core/backup/manifest_store.h"

namespace dbops::core {

// "expired/0000000003000000": WAL before this LSN may be missing, but that which backups need to become consistent. To
// be called before any is removed.
void note_expired_wal(const BackupRepository& repository, Lsn before, const CallContext& context);
// 0: none was ever removed.
Lsn expired_wal(const BackupRepository& repository, const CallContext& context);

} // namespace dbops::core
