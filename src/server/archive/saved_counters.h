// The counters of dbops.archive_status from one start of the server to the next.
#pragma once

#include "server/archive/shared.h"

namespace dbops::server::archive {

// As PostgreSQL keeps its cumulative statistics: read and removed when the server starts, written when it is stopped;
// dropped when it crashed in between, or when the file is not one of this version. Both are for the postmaster; they
// raise nothing, and say in the log what is wrong.
void load_counters(ArchiveShared& memory) noexcept;
void save_counters(const ArchiveShared& memory) noexcept;

} // namespace dbops::server::archive
