// What a store holds of a cluster's WAL: timelines, ranges, gaps, and chunks that nobody needs any more.
#pragma once

#include "core/store/object_store.h"
#include "core/wal/layout.h"

#include <functional>
#include <optional>
#include <vector>

namespace dbops::core {

// Segments without a gap between them.
struct SegmentRange {
  SegmentNumber first = 0, last = 0;
  WallTime stored = {}; // the last one, by the store's clock
};

// The beginning of the segment behind the last range that was streamed.
struct StreamedTail {
  SegmentNumber segment = 0;
  std::uint32_t covered = 0; // contiguous bytes from its start
  WallTime stored = {};      // the last chunk, by the store's clock
  // All that there is of it, ascending, without overlaps. The first one need not begin at 0: what lies before the
  // timeline's beginning is the parent's.
  std::vector<ChunkRange> pieces = {};
};

struct TimelineContents {
  TimelineId timeline = 0;
  bool has_history = false;
  std::vector<SegmentRange> ranges = {};    // ascending; what lies between two is missing
  std::vector<StreamedTail> streamed = {};  // segments of which there are only chunks, ascending
  std::vector<SegmentNumber> partials = {}; // last segment of a timeline that ended by a promotion
  std::vector<Lsn> labels = {};             // of base backups: where each began, ascending
  std::uint64_t objects = 0, bytes = 0;
};

// System identifiers of the clusters that the store holds WAL of.
std::vector<std::uint64_t> list_clusters(ObjectStore& store, const CallContext& context);

// From the header of a whole segment. Absent: the store has none of this cluster.
std::optional<SegmentSize> stored_segment_size(ObjectStore& store, std::uint64_t system_identifier,
                                               const CallContext& context);

// Timelines that have a history file or WAL, ascending.
std::vector<TimelineId> list_timelines(ObjectStore& store, std::uint64_t system_identifier, const CallContext& context);

// Reads the whole list of the timeline's objects (1000 a request), in bounded memory but for its gaps.
// size: the cluster's wal_segment_size. redundant: called with the full key of each chunk whose segment is there as a
// whole; such an object may be removed. May be empty.
TimelineContents read_timeline(ObjectStore& store, std::uint64_t system_identifier, TimelineId timeline,
                               SegmentSize size, const std::function<void(const ObjectInfo&)>& redundant,
                               const CallContext& context);

} // namespace dbops::core
