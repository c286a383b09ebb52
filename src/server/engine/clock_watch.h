// The clock of the machine, noted by the launcher for what deletes by a rule: see core/lifecycle/clock_record.h.
#pragma once

#include "core/lifecycle/clock_record.h"

namespace dbops::server {

core::ClockRecord clock_of_machine();

// Writes the record, at most once in ten minutes. Without PostgreSQL's code; what cannot be written is passed over, as
// an older record says more than is so, not less.
void note_clock() noexcept;

} // namespace dbops::server
