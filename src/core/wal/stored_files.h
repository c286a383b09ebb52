// What one repository has of the files that PostgreSQL still wants archived.
#pragma once

#include "core/wal/segment.h"

#include <map>
#include <set>
#include <string>
#include <utility>

namespace dbops::core {

// A repository may be far ahead of what is acknowledged: segments are kept as ranges, so that memory does not grow with
// their number.
class StoredFiles {
 public:
  explicit StoredFiles(SegmentSize size) : size_(size) {}

  // whole: it is a segment that is stored under its own name. Files of other kinds are few.
  void add(const WalFileName& file, bool whole);
  [[nodiscard]] bool contains(const WalFileName& file) const;
  // PostgreSQL asks for it no more.
  void remove(const WalFileName& file);
  // Behind the last of the whole segments from `first` on that follow each other, on whatever timeline each of them is.
  [[nodiscard]] SegmentNumber end_of_run(SegmentNumber first) const;

  using Begin = std::pair<TimelineId, SegmentNumber>;
  using Ranges = std::map<Begin, SegmentNumber>; // to the number behind the last one
  [[nodiscard]] const Ranges& segments() const noexcept { return segments_; }
  [[nodiscard]] const std::set<std::string>& others() const noexcept { return others_; }

 private:
  [[nodiscard]] Ranges::const_iterator range_of(const SegmentId& id) const;

  SegmentSize size_;
  Ranges segments_;
  std::set<std::string> others_;
};

} // namespace dbops::core
