// dbops diff: what was changed in the schema outside of migrations.
#pragma once

#include "cli/commands/migrate.h"

namespace dbops::cli {

// Returns the exit status: exit_job when something is different.
int diff(const MigrationCommand& command, const ConnectionSettings& settings);

// Rows of dbops.diff as JSON; an empty array when nothing is different, or nothing was ever recorded.
std::string schema_drift(Connection& connection, const std::string& project);

// After migrations were applied or undone. What was different before, by `drift`, and still is so, stays different.
void record_schema(Connection& connection, const std::string& project, const std::string& drift);

} // namespace dbops::cli
