// What must happen when the current transaction commits: the launcher is told of new work, workers of a changed job are
// interrupted. A transaction that rolls back does neither.
#pragma once

#include "server/pg.h"

namespace dbops::server {

void install_commit_callback();

void announce_at_commit();         // this database has work
void interrupt_at_commit(int pid); // cancel the statement of that process (SIGINT), so that it looks at its job
void relist_databases_at_commit(); // one has come or gone

} // namespace dbops::server
