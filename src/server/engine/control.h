// Steering jobs from SQL: who may, and what happens. See src/schema/engine.sql for the functions.
#pragma once

#include "server/engine/job_record.h"

namespace dbops::server {

// Raises 42501 unless the current user is a member of the owner's role or of dbops_admin.
void require_control(const Job& job);

} // namespace dbops::server
