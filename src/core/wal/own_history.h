// Which WAL files hold the server's own history as a whole, and which only the beginning of a segment.
#pragma once

#include "core/wal/segment.h"
#include "core/wal/timeline_history.h"

#include <vector>

namespace dbops::core {

// How far a server has its own WAL. On a standby: replayed, or received and flushed.
struct OwnPosition {
  TimelineId timeline = 0;
  Lsn written = 0;                       // everything before is on disk with its final bytes
  std::vector<TimelineSwitch> ancestors; // of the timeline
};

enum class SegmentStanding {
  whole,      // all of it is the server's history, and written
  unfinished, // what is behind the position is not written yet: padding, or what was in a recycled file
  remnant,    // its timeline ended inside it, and the server went on elsewhere: it never gets whole
  foreign,    // not of the server's history, as far as is known
};

SegmentStanding standing_of(const SegmentId& segment, SegmentSize size, const OwnPosition& position);

} // namespace dbops::core
