// dbops adopt: the history of Flyway, Liquibase, Alembic or sqitch becomes one of dbops migrate.
#pragma once

#include "cli/commands/migrate.h"

namespace dbops::cli {

// Returns the exit status. Throws FileError, and what Connection throws.
int adopt(const MigrationCommand& command, const ConnectionSettings& settings);

} // namespace dbops::cli
