// What a worker does with an online DDL job.
#pragma once

#include "server/engine/run.h"

namespace dbops::server::ddl {

SliceEnd work(Session& session, const Job& job, int slice);

} // namespace dbops::server::ddl
