// The background processes of the engine and how they are started.
#pragma once

#include "server/pg.h"

namespace dbops::server {

void register_launcher(); // in _PG_init of a preloaded library

// Asks the postmaster for a dispatcher in that database. False: no free worker process.
bool start_dispatcher(Oid database);

// Takes a free slot for a worker; not when the database is held, or somebody has the slice.
enum class Reserved { yes, no_slot, held };
Reserved reserve_slot(Oid database, Oid owner, std::int64_t job, int slice, int& slot);
// Asks the postmaster for the worker of a slot that is reserved or wanted. False: no free process.
bool start_reserved(int slot);
// The launcher is to ask for it, when this process has ended.
void want_process(int slot);
void free_slot(int slot);

} // namespace dbops::server
