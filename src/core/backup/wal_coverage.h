// How far recovery from a backup gets with the WAL that is in the store.
#pragma once

#include "core/backup/catalogue.h"
#include "core/wal/catalogue.h"

#include <optional>

namespace dbops::core {

struct WalCoverage {
  Lsn until = 0;      // all WAL from the backup's start to here is there
  Lsn later_from = 0; // first WAL behind a gap; 0: there is no gap
  // Timelines that begin within what is covered, on which recovery to "latest" goes on.
  std::vector<TimelineId> later_timelines = {};
};

// Of the backup's own timeline. Reads the list of its WAL.
WalCoverage wal_coverage(const BackupRepository& repository, const BackupHead& head, const CallContext& context);

// The same of what was read of its timeline; later_timelines stays empty.
WalCoverage wal_coverage(const TimelineContents& contents, const BackupHead& head);

// Throws Error(configuration) when WAL is missing between the backup's start and its stop.
void check_consistent(const WalCoverage& coverage, const BackupHead& head);

// Throws Error(configuration) when WAL is missing between the backup's start and the target, as far as can be told
// before recovery: to its stop, to a target LSN, and for the other targets to the end of what is there. The message
// says which range can be reached.
void check_wal_coverage(const BackupRepository& repository, const BackupHead& head, const RecoveryTarget& target,
                        const CallContext& context);

// Whether recovery from the backup can follow the target's timeline: another one may have left the backup's own before
// the backup was complete. Throws what ObjectStore throws, and Error(corrupt) for a history file.
bool is_on_history(const BackupRepository& repository, const BackupHead& head, const RecoveryTarget& target,
                   const CallContext& context);

} // namespace dbops::core
