// COPY ... FROM STDIN with data that is in the migration file.
#pragma once

#include "server/guard.h"

namespace dbops::server::migration {

// As the current user; the privileges that COPY needs are checked. Data: lines in the server's encoding.
void copy_from(const std::string& statement, std::string_view data);

} // namespace dbops::server::migration
