// Whether visibility maps are right. A bit too many makes index-only scans return rows that are deleted, and VACUUM
// pass over what must be frozen; amcheck does not look at them.
#pragma once

#include "cli/connection.h"

#include <stop_token>

namespace dbops::cli {

// Checks all tables of all databases with pg_visibility, which it installs. connect: to a database, as a superuser.
// Returns what was left out because the extension is not there; empty: nothing was. Throws core::Error naming the
// tables whose maps are wrong, or of kind cancelled, and what the connections throw.
std::string check_visibility_maps(const std::function<Connection(const std::string& database)>& connect,
                                  const std::stop_token& stop);

} // namespace dbops::cli
