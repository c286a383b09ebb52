// The grammar of the command line, and its manual.
#pragma once

#include "cli/commands/backup.h"
#include "cli/commands/check.h"
#include "cli/commands/drill.h"
#include "cli/commands/dump.h"
#include "cli/commands/expire.h"
#include "cli/commands/jobs.h"
#include "cli/commands/lint.h"
#include "cli/commands/list.h"
#include "cli/commands/migrate.h"
#include "cli/commands/pin.h"
#include "cli/commands/restore.h"
#include "cli/commands/verify.h"
#include "cli/commands/wal_get.h"
#include "cli/commands/wal_list.h"
#include "cli/commands/watch.h"
#include "cli/connection.h"

#include <variant>

namespace dbops::cli {

struct CommandLine {
  ConnectionSettings connection;
  std::variant<WatchCommand, JobsCommand, ErrorsCommand, SteerCommand, CheckCommand, WalGetCommand, WalListCommand,
               WalPrefetchCommand, MigrationCommand, LintCommand, BackupCommand, RestoreCommand, ListCommand,
               ExpireCommand, VerifyCommand, DrillCommand, DumpCommand, UndumpCommand, DumpsCommand, PinCommand,
               UnpinCommand>
      command;
};

// An exit status when that was all: --help, --version, or wrong usage, which it reports.
std::variant<CommandLine, int> parse_command_line(int count, const char* const* arguments);

// What a failure before or outside of a command ends with. An error in the usage of wal-get must not look like "no such
// file" to PostgreSQL, which would end recovery; nor must a restore_command that names no command at all.
int usage_status(int count, const char* const* arguments);

} // namespace dbops::cli
