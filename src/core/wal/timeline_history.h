// Timeline history files: where a timeline branched off from another (access/timeline.c).
#pragma once

#include "core/wal/segment.h"

#include <string_view>
#include <vector>

namespace dbops::core {

// `timeline` is valid up to `end`, where the next one begins.
struct TimelineSwitch {
  TimelineId timeline = 0;
  Lsn end = 0;
};

// text: of "<timeline>.history". Its ancestors, oldest first; the last one is its parent.
// Throws Error(corrupt) for a line that is none, or for timelines that do not ascend.
std::vector<TimelineSwitch> parse_timeline_history(std::string_view text, TimelineId timeline);

} // namespace dbops::core
