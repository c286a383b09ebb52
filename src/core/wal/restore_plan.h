// Which chunks make up the beginning of a segment that is not in the store as a whole.
#pragma once

#include "core/wal/layout.h"

#include <vector>

namespace dbops::core {

struct ChunkPiece {
  ChunkRange chunk;       // names the object
  std::uint32_t skip = 0; // leading bytes of it that earlier pieces cover already
};

struct RestorePlan {
  std::vector<ChunkPiece> pieces; // to be concatenated, from the start of the segment
  std::uint32_t covered = 0;      // bytes of the segment that they give, without a gap
};

// The longest contiguous beginning with the fewest objects. chunks: in any order, may overlap (a streamer that was
// restarted begins where it knows that it was).
// limit: bytes of the segment that belong to the history being restored; what lies behind it is ignored.
RestorePlan plan_chunks(std::vector<ChunkRange> chunks, std::uint32_t limit);

} // namespace dbops::core
