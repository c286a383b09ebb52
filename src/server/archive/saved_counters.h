// The counters of dbops.archive_status from one start of the server to the next.
#pragma once

#include "server/archive/shared.h"

namespace dbops::server::archive {

// As PostgreSQL keeps its cumulative statistics: written when the server is stopped, read when it starts; dropped when
// it has run or crashed in between, or when the file is not one of this version. Both are for the postmaster; they say
// in the log what is wrong with the file, and raise nothing unless pg_control cannot be read.
void load_counters(ArchiveShared& memory) noexcept;
void save_counters(const ArchiveShared& memory) noexcept;

} // namespace dbops::server::archive
