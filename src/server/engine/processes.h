// The background processes of the engine and how they are started.
#pragma once

#include "server/pg.h"

namespace dbops::server {

void register_launcher(); // in _PG_init of a preloaded library

// Asks the postmaster for a dispatcher in that database. False: no free worker process.
bool start_dispatcher(Oid database);

// Takes a free slot for a worker; not when the database is held, or somebody has the slice.
enum class Reserved { yes, no_slot, held };
// A slot and when it was taken: who was held up for so long that it was swept, and given to somebody else, has it no
// more.
struct SlotClaim {
  int number = -1;
  TimestampTz since = 0;
};
Reserved reserve_slot(Oid database, Oid owner, std::int64_t job, int slice, SlotClaim& slot);
// The following do nothing to a slot that is not this one's any more.
// Asks the postmaster for the worker of a slot that is reserved or wanted. False: no free process.
bool start_reserved(const SlotClaim& slot);
// The launcher is to ask for it, when this process has ended.
void want_process(const SlotClaim& slot);
void free_slot(const SlotClaim& slot);

// dbops.max_workers, as it is in the configuration now, was lowered, and this worker is one of those that are too many.
bool has_surplus_slot();

} // namespace dbops::server
