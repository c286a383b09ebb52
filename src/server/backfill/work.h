// The body of a backfill or batch_delete: one slice of it, until the end or until it is to stop.
#pragma once

#include "server/engine/run.h"

namespace dbops::server::backfill {

SliceEnd work(Session& session, const Job& job, int slice);

} // namespace dbops::server::backfill
