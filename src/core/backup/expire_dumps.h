// Removes dumps that are not to be kept.
#pragma once

#include "core/backup/dump.h"
#include "core/backup/retention.h"
#include "core/base/log.h"

namespace dbops::core {

struct DumpDecision {
  std::string label, database;
  std::vector<std::string> reasons; // why it is kept; empty: it is not
};

struct ExpiredDumps {
  std::vector<DumpDecision> decisions; // ascending by label
  std::uint64_t dumps = 0, bytes = 0;  // removed, or that would be
  std::uint64_t unfinished = 0;        // begun at least a week before one that was finished
};

// The rules hold for each database by itself, and for dumps of the same tables and schemas: the newest of each is
// always kept. A dump that cannot be read is kept. One that is known to be damaged is kept by the rules and counts for
// none of them. Removes nothing when dry_run. May be interrupted anywhere: the next
// call goes on.
ExpiredDumps expire_dumps(const BackupRepository& repository, const RetentionRules& rules, bool dry_run,
                          const LogSink& log, const CallContext& context);

} // namespace dbops::core
