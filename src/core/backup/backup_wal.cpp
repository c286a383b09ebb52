#include "core/backup/backup_wal.h"

#include "core/base/error.h"
#include "core/wal/layout.h"

namespace dbops::core {

namespace {

constexpr milliseconds pause(200); // between two looks at the store

[[noreturn]] void refuse(const BackupRepository& repository, TimelineId timeline, const std::string& owner) {
  throw Error(ErrorKind::conflict,
              "timeline " + std::to_string(timeline) + " in " + repository.store.describe() + " belongs to " + owner,
              "WAL of this server does not reach that store, so a backup could not be restored. SELECT dbops.check() "
              "tells more.");
}

std::string name_of(const Owner& owner) {
  return owner.description + ", instance " + owner.instance;
}

} // namespace

void wait_for_backup_wal(const BackupRepository& repository, const BackupWal& wal, Clock& clock, SteadyTime give_up,
                         const CallContext& context) {
  const SegmentNumber last = wal.segment_size.segment_of(wal.stop - 1);
  for (SegmentNumber number = wal.segment_size.segment_of(wal.start); number <= last;) {
    const std::string name = segment_name({wal.timeline, number}, wal.segment_size);
    if (repository.store.head(repository.key(wal_file_key(*parse_wal_file_name(name))), context)) {
      ++number;
      continue;
    }
    if (context.stop.stop_requested()) throw Error(ErrorKind::cancelled, "the backup was cancelled");
    if (clock.steady_now() > give_up)
      throw Error(ErrorKind::unavailable, "WAL segment " + name + " did not reach the store in time",
                  "pg_stat_archiver and the server's log tell why. The next backup uses what this one has stored.");
    clock.sleep_for(pause, context.stop);
  }
}

void require_own_wal(const BackupRepository& repository, TimelineId timeline, const Owner& owner,
                     const CallContext& context) {
  const auto claim = read_claim(repository.store, repository.system_identifier, timeline, owner, context);
  if (claim && claim->ours) return;
  refuse(repository, timeline, claim ? name_of(claim->owner) : "nobody");
}

void refuse_wal_of_others(const BackupRepository& repository, TimelineId timeline, const Owner& owner,
                          const CallContext& context) {
  const auto claim = read_claim(repository.store, repository.system_identifier, timeline, owner, context);
  if (claim && !claim->ours) refuse(repository, timeline, name_of(claim->owner));
}

} // namespace dbops::core
