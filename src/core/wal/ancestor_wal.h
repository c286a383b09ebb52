// What a promoted server still has of the timelines before its own, and the old primary may not have archived.
#pragma once

#include "core/wal/segment.h"

#include <cstddef>
#include <filesystem>

namespace dbops::core {

// A standby marks what it received or restored as archived; it has not looked. As long as the history of the new
// timeline waits to be archived, that is, before anything of the timeline is: has PostgreSQL's archiver asked for the
// segments of the ancestors as well that lie before the switch (.done becomes .ready, durably). PostgreSQL keeps them
// until they are stored. Returns how many; 0 when it was done before. Throws Error.
std::size_t offer_ancestor_segments(const std::filesystem::path& wal_directory, TimelineId timeline, SegmentSize size);

} // namespace dbops::core
