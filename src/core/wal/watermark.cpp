#include "core/wal/watermark.h"

#include <algorithm>

namespace dbops::core {

void DurableWatermark::add(Lsn from, Lsn to) {
  if (from >= to || to <= durable_) return;
  // Swallow the islands that touch [from, to).
  auto island = islands_.upper_bound(from);
  if (island != islands_.begin() && std::prev(island)->second >= from) --island;
  while (island != islands_.end() && island->first <= to) {
    from = std::min(from, island->first);
    to = std::max(to, island->second);
    island = islands_.erase(island);
  }
  if (from <= durable_)
    durable_ = to;
  else
    islands_.emplace(from, to);
}

} // namespace dbops::core
