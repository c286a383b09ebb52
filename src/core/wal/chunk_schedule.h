// Which pieces of an unfinished segment to ship, and which small ones to ship once more as one, so that a restore does
// not fetch thousands of objects.
#pragma once

#include "core/wal/layout.h"

#include <optional>
#include <vector>

namespace dbops::core {

// New bytes go out at once as a small chunk (level 0). Eight neighbours of one level are shipped again as one chunk of
// the next level, up to a size: a log-structured merge. So n small chunks leave at most about 7 log8(n) + segment /
// max_merged objects to fetch, and each byte is shipped at most log8(n) times more. Chunks that are covered by a larger
// one are garbage.
class ChunkSchedule {
 public:
  static constexpr std::size_t fan_in = 8;
  static constexpr std::uint32_t max_chunk = 4 << 20; // bytes; bounds memory

  explicit ChunkSchedule(SegmentSize size);

  // Begins with what the store has of the segment already; in any order, may overlap.
  void restart(const std::vector<ChunkRange>& chunks);

  // The next range to ship when the first `flushed` bytes of the segment are on disk. Absent: nothing is new.
  [[nodiscard]] std::optional<ChunkRange> next(std::uint64_t flushed) const;
  // The next range to ship again as one; after it perhaps another. Absent: nothing is to be merged.
  [[nodiscard]] std::optional<ChunkRange> next_merge() const;
  // What next() or next_merge() gave is in the store.
  void shipped(const ChunkRange& range);

  [[nodiscard]] std::uint32_t covered() const noexcept { return covered_; }    // bytes from the start of the segment
  [[nodiscard]] std::size_t pieces() const noexcept { return pieces_.size(); } // objects that a restore would fetch
  [[nodiscard]] std::optional<ChunkRange> last() const;

 private:
  struct Piece {
    ChunkRange range;
    int level = 0;
  };

  std::uint64_t size_;
  std::uint32_t max_merged_; // bytes
  std::uint32_t covered_ = 0;
  std::vector<Piece> pieces_; // contiguous, ascending
};

} // namespace dbops::core
