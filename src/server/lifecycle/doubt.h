// Whether what deletes by a rule may do so on this server and by this clock, or has to wait for somebody's word: after
// a restore more looks expired than anybody has meant, and the restore may have been made to get just that back. Every
// function needs a transaction with SPI connected.
#pragma once

#include "core/lifecycle/origin.h"
#include "server/engine/bookkeeping.h"

namespace dbops::server::lifecycle {

// A row of dbops' own with the columns origin, doubt, doubt_since and doubt_origin.
struct OriginRecord {
  const char* table;
  const char* key; // its column
  std::int64_t id;
  double grace; // seconds after which a doubt that nobody has shared is over
};

// What speaks against deleting now: a restore, a leap of the clock. Noted in the row, whose grace period begins with
// it, and begins again when the server is restored or its clock leaps once more meanwhile. Empty: nothing, or the
// grace period is over.
std::string doubt(const OriginRecord& record);

// This is where and when it is run: what comes later is held against it.
void settle_origin(const OriginRecord& record);

} // namespace dbops::server::lifecycle
