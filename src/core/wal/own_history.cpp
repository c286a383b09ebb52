#include "core/wal/own_history.h"

#include <algorithm>

namespace dbops::core {

SegmentStanding standing_of(const SegmentId& segment, SegmentSize size, const OwnPosition& position) {
  const Lsn start = size.start_of(segment.number), end = size.start_of(segment.number + 1);
  const SegmentStanding if_ours = end <= position.written ? SegmentStanding::whole : SegmentStanding::unfinished;
  if (segment.timeline == position.timeline) return if_ours;
  const auto ancestor = std::ranges::find(position.ancestors, segment.timeline, &TimelineSwitch::timeline);
  if (ancestor == position.ancestors.end() || ancestor->end <= start) return SegmentStanding::foreign;
  return end <= ancestor->end ? if_ours : SegmentStanding::remnant;
}

} // namespace dbops::core
