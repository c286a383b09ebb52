// Statements that must not be in a transaction block (VACUUM), the way a client would send them.
#pragma once

#include <string>

#include "server/engine/bookkeeping.h"

namespace dbops::server {

// Before the text of what gives way, where the activity of its process is seen (ddl/blockers.cpp).
constexpr const char* gives_way_mark = "/* gives way */ ";

// Runs one statement in transactions of its own, in a background worker and outside of any transaction, as the
// session's user and under these settings. Upkeep gives way as autovacuum does, and raises 57014 when somebody has
// waited for one of its locks for his deadlock_timeout. Source of the sequence: postgres.c, exec_simple_query.
void run_top_level(const std::string& sql, const Settings& settings, bool gives_way);

} // namespace dbops::server
