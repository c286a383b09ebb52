#include "core/wal/stored_files.h"

#include <iterator>

namespace dbops::core {

// The range that has the segment, or the end.
StoredFiles::Ranges::const_iterator StoredFiles::range_of(const SegmentId& id) const {
  const auto behind = segments_.upper_bound({id.timeline, id.number});
  if (behind == segments_.begin()) return segments_.end();
  const auto range = std::prev(behind);
  const bool has = range->first.first == id.timeline && id.number < range->second;
  return has ? range : segments_.end();
}

void StoredFiles::add(const WalFileName& file, bool whole) {
  const auto id = whole ? parse_segment_name(file.name, size_) : std::nullopt;
  if (!id) {
    others_.insert(file.name);
    return;
  }
  if (range_of(*id) != segments_.end()) return;
  Begin begin{id->timeline, id->number};
  SegmentNumber end = id->number + 1;
  if (const auto next = segments_.find({id->timeline, end}); next != segments_.end()) {
    end = next->second;
    segments_.erase(next);
  }
  if (id->number > 0)
    if (const auto before = range_of({.timeline = id->timeline, .number = id->number - 1}); before != segments_.end())
      begin = before->first;
  segments_[begin] = end;
}

bool StoredFiles::contains(const WalFileName& file) const {
  const auto id = parse_segment_name(file.name, size_);
  return (id && range_of(*id) != segments_.end()) || others_.contains(file.name);
}

void StoredFiles::remove(const WalFileName& file) {
  others_.erase(file.name);
  const auto id = parse_segment_name(file.name, size_);
  if (!id) return;
  const auto range = range_of(*id);
  if (range == segments_.end()) return;
  const auto [begin, end] = *range;
  segments_.erase(range);
  if (begin.second < id->number) segments_[begin] = id->number;
  if (id->number + 1 < end) segments_[{id->timeline, id->number + 1}] = end;
}

SegmentNumber StoredFiles::end_of_run(SegmentNumber first) const {
  SegmentNumber end = first;
  for (bool grown = true; grown;) {
    grown = false;
    for (const auto& [begin, behind] : segments_)
      if (begin.second <= end && end < behind) {
        end = behind;
        grown = true;
      }
  }
  return end;
}

} // namespace dbops::core
