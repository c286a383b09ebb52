// Of which server a backup may be taken.
#pragma once

namespace dbops::server::backup {

// Throws SqlError (55000) on a standby, and where WAL does not go to dbops.store.
void require_archiving_primary();

} // namespace dbops::server::backup
