#include "server/backup/archiving_primary.h"

#include <cstring>

#include "server/compat.h"
#include "server/guard.h"
#include "server/guc.h"

extern "C" {
#include "access/xlog.h"
#include "access/xlog_internal.h"
}

namespace dbops::server::backup {

void require_archiving_primary() {
  if (RecoveryInProgress())
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                   "the server is a standby, and backups are taken from a primary only",
                   "Call dbops.backup() on the primary.");
  const char* const library = XLogArchiveLibrary == nullptr ? "" : XLogArchiveLibrary;
  if (XLogArchiveMode == ARCHIVE_MODE_OFF || std::strcmp(library, "dbops") != 0)
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                   "this server does not archive by dbops: the WAL that a backup needs would not reach the store",
                   "Set archive_mode = on, archive_library = 'dbops' and dbops.store, and restart the server.");
  if (guc::store == nullptr || guc::store[0] == '\0')
    throw SqlError(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "dbops.store is not set",
                   "Set it to the URL of the store that WAL is archived to, and reload.");
}

} // namespace dbops::server::backup
