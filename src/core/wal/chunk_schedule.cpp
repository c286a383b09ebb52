#include "core/wal/chunk_schedule.h"

#include "core/wal/restore_plan.h"

#include <algorithm>

namespace dbops::core {

ChunkSchedule::ChunkSchedule(SegmentSize size)
    : size_(size.bytes()),
      max_merged_(std::uint32_t(std::clamp<std::uint64_t>(size.bytes() / 8, 256 << 10, max_chunk))) {}

void ChunkSchedule::restart(const std::vector<ChunkRange>& chunks) {
  const RestorePlan plan = plan_chunks(chunks, std::uint32_t(size_));
  pieces_.clear();
  for (const ChunkPiece& piece : plan.pieces)
    pieces_.push_back({.range = {piece.chunk.from + piece.skip, piece.chunk.to}, .level = 0});
  covered_ = plan.covered;
}

std::optional<ChunkRange> ChunkSchedule::next(std::uint64_t flushed) const {
  const std::uint64_t end = std::min(flushed, size_);
  if (end <= covered_) return {};
  return ChunkRange{covered_, std::uint32_t(std::min<std::uint64_t>(end, std::uint64_t(covered_) + max_chunk))};
}

std::optional<ChunkRange> ChunkSchedule::next_merge() const {
  if (pieces_.empty()) return {};
  // All neighbours at the end that have one level; after a restart there may be many.
  const int level = pieces_.back().level;
  std::size_t first = pieces_.size();
  while (first > 0 && pieces_[first - 1].level == level && covered_ - pieces_[first - 1].range.from <= max_merged_)
    --first;
  if (pieces_.size() - first < fan_in) return {};
  return ChunkRange{pieces_[first].range.from, covered_};
}

void ChunkSchedule::shipped(const ChunkRange& range) {
  int level = 0;
  while (!pieces_.empty() && pieces_.back().range.from >= range.from) {
    level = pieces_.back().level + 1;
    pieces_.pop_back();
  }
  pieces_.push_back({range, level});
  covered_ = std::max(covered_, range.to);
}

std::optional<ChunkRange> ChunkSchedule::last() const {
  if (pieces_.empty()) return {};
  return pieces_.back().range;
}

} // namespace dbops::core
