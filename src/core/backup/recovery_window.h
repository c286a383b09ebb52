// Which moments a store leads back to. Nothing but arithmetic.
#pragma once

#include "core/backup/catalogue.h"
#include "core/wal/catalogue.h"

namespace dbops::core {

// WAL of one timeline without a gap, and the backups that recovery through it may begin with.
struct RecoveryWindow {
  TimelineId timeline = 0;
  Lsn from = 0, to = 0;                            // where the first backup is consistent; where the WAL ends
  WallTime from_time = {};                         // when that backup was complete
  std::optional<WallTime> to_time = {};            // when the last of the WAL was stored, by the store's clock
  std::string first_backup = {}, last_backup = {}; // labels
  std::uint64_t backups = 0;
  Lsn gap_until = 0; // where the store has WAL of the timeline again; 0: nowhere
};

// timelines: of those that backups are of, at least. Ascending by timeline and position. A backup whose own WAL is not
// all there is in none of them.
std::vector<RecoveryWindow> recovery_windows(const std::vector<CatalogueEntry>& backups,
                                             const std::vector<TimelineContents>& timelines);

// The same, of a store: lists all WAL of the timelines that backups are of.
std::vector<RecoveryWindow> read_recovery_windows(const BackupRepository& repository,
                                                  const std::vector<CatalogueEntry>& backups, SegmentSize size,
                                                  const CallContext& context);

} // namespace dbops::core
