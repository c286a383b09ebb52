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
  std::vector<ChunkPiece> pieces; // to be concatenated, one behind the other
  std::uint32_t covered = 0;      // bytes from the start of the segment that are known then, without a gap
};

// The longest contiguous beginning with the fewest objects. chunks: in any order, may overlap (a streamer that was
// restarted begins where it knows that it was).
// limit: bytes of the segment that belong to the history being restored; what lies behind it is ignored.
// covered: bytes of its start that are known already.
RestorePlan plan_chunks(std::vector<ChunkRange> chunks, std::uint32_t limit, std::uint32_t covered = 0);

} // namespace dbops::core
