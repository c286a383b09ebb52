// The background processes of the engine and how they are started.
#pragma once

#include "server/pg.h"

namespace dbops::server {

void register_launcher(); // in _PG_init of a preloaded library

// Asks the postmaster for a dispatcher in that database. False: no free worker process.
bool start_dispatcher(Oid database);

// Takes a free slot and asks the postmaster for a worker. Says why when there is none.
enum class StartResult { started, no_slot, no_process, held };
StartResult start_worker(Oid database, Oid owner, std::int64_t job, int slice);

} // namespace dbops::server
