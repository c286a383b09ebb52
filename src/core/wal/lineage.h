// Whether WAL is without a gap over the point at which one timeline goes over into the next one.
#pragma once

#include "core/wal/catalogue.h"
#include "core/wal/wal_reader.h"

#include <functional>

namespace dbops::core {

// WAL of `timeline` that a later one goes on from and the store does not have.
struct LineageGap {
  TimelineId timeline = 0;
  Lsn from = 0, to = 0; // to: the switch
};

// timeline: one that began with a switch; its contents as they are in the store, and those of its parent. The parent's
// WAL must be there up to the switch, in whole segments, in pieces or in a .partial; when the segment of the switch is
// there under the new timeline from its start, up to that segment. Absent: it is, or the store has nothing of the
// parent before the switch, or not the beginning of the timeline: it has expired. May read the parent's last segment.
std::optional<LineageGap> gap_before_switch(WalReader& reader, const TimelineContents& contents,
                                            const TimelineContents& parent, Lsn begin, SegmentSize size,
                                            const CallContext& context);

// Where a base backup began.
struct BackupStart {
  TimelineId timeline = 0;
  Lsn start = 0;
};

struct Lineage {
  TimelineId timeline = 0;               // the server's
  std::vector<TimelineSwitch> ancestors; // of it, as its history has them
  std::function<TimelineContents(TimelineId)> contents;
  // Backups that leave no label in the archive, as those that are taken of a standby. Asked when there is a gap.
  std::function<std::vector<BackupStart>()> backups;
};

// The last gap in what a server's timeline goes on from, over all switches, as long as no base backup was begun behind
// it on the way to the server's timeline: from there on, all can be restored. What another server did on an ancestor
// after the switch does not count.
std::optional<LineageGap> gap_without_backup(WalReader& reader, const Lineage& lineage, SegmentSize size,
                                             const CallContext& context);

} // namespace dbops::core
