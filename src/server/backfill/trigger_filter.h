// skip_triggers: the user's triggers are left out of a batch, while foreign keys and other constraints stay on, and
// triggers that the table's owner marked ENABLE ALWAYS fire as well. Only for the batch's own statement.
#pragma once

#include "server/pg.h"

namespace dbops::server::backfill {

// The next statement of this process that changes that table runs without them; disarm after it, however it ended.
void arm_trigger_filter(Oid relation) noexcept;
void disarm_trigger_filter() noexcept;

} // namespace dbops::server::backfill

namespace dbops::server {
void install_trigger_filter(); // in _PG_init
}
