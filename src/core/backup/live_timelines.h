// Timelines that a server goes on with although there is no backup of them yet.
#pragma once

#include "core/backup/catalogue.h"
#include "core/backup/known_damage.h"

namespace dbops::core {

// After a restore to a point in time the server that was promoted writes its WAL far before that of the last backup,
// and needs the backup that it was restored from until there is one of its own.
struct LiveTimeline {
  TimelineId timeline = 0;
  // The newest one that leads there, and the newest that is not known to be damaged; empty: there is none, or it is not
  // known.
  std::vector<std::string> backups;
  Lsn from = 0; // WAL that recovery needs begins here, on all timelines; the greatest LSN: it needs none
};

// Those without a backup that are no other's ancestor, but for those of which the last WAL was stored 30 days before
// the newest backup (by the store's clock): nobody writes them any more. Reads the list of their WAL.
std::vector<LiveTimeline> live_timelines(const BackupRepository& repository, const std::vector<CatalogueEntry>& backups,
                                         const KnownDamage& damage, const CallContext& context);

} // namespace dbops::core
