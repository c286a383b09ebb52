// Whether WAL is there without a gap, and whether its objects hold what they should.
#pragma once

#include "core/backup/catalogue.h"
#include "core/backup/verify_checkpoint.h"

#include <functional>

namespace dbops::core {

// WAL of a timeline that recovery from a backup cannot pass. Or all of it is there, but not the history file, without
// which recovery from a backup of an older timeline does not come to it: both ends are 0 then.
struct WalGap {
  TimelineId timeline = 0;
  Lsn from = 0, to = 0;
  std::string last_backup; // label of the last one before it
};

// In the recovery windows of the backups, but for what expiry has removed. A gap at which segments may be under way to
// the store is looked at again for `patience`.
std::vector<WalGap> wal_gaps(const BackupRepository& repository, const std::vector<CatalogueEntry>& backups,
                             std::chrono::steady_clock::duration patience, const CallContext& context);

struct DamagedWal {
  std::string name;                      // of the object, below the cluster
  std::optional<SegmentId> segment = {}; // absent: a history file or the like
  std::string what;
};

// Asked with the name of an object, and the segment if it is of one.
using WantedWal = std::function<bool(const std::string& name, const std::optional<SegmentId>&)>;

// Reads objects of WAL, decrypts them and compares their digests, and adds those that are whole to the checkpoint. What
// expiry removes meanwhile is no damage. read: told of the bytes of each; from any of the threads.
std::vector<DamagedWal> read_wal(const BackupRepository& repository, SegmentSize size, unsigned threads,
                                 const WantedWal& wanted, VerifyCheckpoint& checkpoint,
                                 const std::function<void(std::uint64_t)>& read, const CallContext& context);

} // namespace dbops::core
