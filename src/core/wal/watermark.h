// How far a timeline is durable without a gap, while pieces become durable in any order.
#pragma once

#include "core/wal/segment.h"

#include <map>

namespace dbops::core {

class DurableWatermark {
 public:
  // start: everything before it counts as durable, or as not asked for.
  explicit DurableWatermark(Lsn start) : durable_(start) {}

  // Bytes [from, to) are durable. Pieces may overlap and repeat; an empty one changes nothing.
  void add(Lsn from, Lsn to);

  // Everything from `start` to here is durable. Never moves back.
  [[nodiscard]] Lsn durable() const noexcept { return durable_; }
  // Pieces beyond the first gap. Bounded by the number of uploads in flight when they are given out in order.
  [[nodiscard]] std::size_t islands() const noexcept { return islands_.size(); }

 private:
  Lsn durable_;
  std::map<Lsn, Lsn> islands_; // from -> to, disjoint, not touching, all beyond durable_
};

} // namespace dbops::core
