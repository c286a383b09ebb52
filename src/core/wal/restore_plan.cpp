#include "core/wal/restore_plan.h"

#include <algorithm>

namespace dbops::core {

RestorePlan plan_chunks(std::vector<ChunkRange> chunks, std::uint32_t limit, std::uint32_t covered) {
  std::ranges::sort(chunks, {}, &ChunkRange::from);
  RestorePlan plan{.pieces = {}, .covered = covered};
  auto next = chunks.begin();
  while (plan.covered < limit) {
    // Of the chunks that touch what is covered, the one that reaches farthest.
    const ChunkRange* best = nullptr;
    for (; next != chunks.end() && next->from <= plan.covered; ++next)
      if (best == nullptr || next->to > best->to) best = &*next;
    if (best == nullptr || best->to <= plan.covered) break;
    plan.pieces.push_back({*best, plan.covered - best->from});
    plan.covered = std::min(best->to, limit);
  }
  return plan;
}

} // namespace dbops::core
