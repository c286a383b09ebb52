// What must happen when the current transaction commits: the launcher is told of new work, workers of a changed job are
// interrupted. A transaction that rolls back does neither.
#pragma once

#include "server/pg.h"

namespace dbops::server {

void install_commit_callback();

void announce_at_commit(); // this database has work
// Cancel the statement of that process (SIGINT), so that it looks at its job; unless it has gone on to another one.
void interrupt_at_commit(int pid, std::int64_t job);
void relist_databases_at_commit(); // one has come or gone

} // namespace dbops::server
