// Whether WAL is without a gap over the point at which one timeline goes over into the next one.
#pragma once

#include "core/wal/catalogue.h"
#include "core/wal/wal_reader.h"

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

// The last gap in the parent's WAL up to the switch, that at the switch included, as long as no base backup was begun
// behind it, on either timeline: from there on, all can be restored.
std::optional<LineageGap> gap_without_backup(WalReader& reader, const TimelineContents& contents,
                                             const TimelineContents& parent, Lsn begin, SegmentSize size,
                                             const CallContext& context);

} // namespace dbops::core
