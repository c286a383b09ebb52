#include "core/wal/lineage.h"

#include <algorithm>

namespace dbops::core {

namespace {

// Where what is there of the timeline before `limit` ends; 0: there is nothing.
Lsn end_before(const TimelineContents& contents, Lsn limit, SegmentSize size) {
  Lsn end = 0;
  for (const SegmentRange& range : contents.ranges)
    if (size.start_of(range.first) < limit) end = std::max(end, size.start_of(range.last + 1));
  for (const StreamedTail& tail : contents.streamed)
    if (size.start_of(tail.segment) < limit && tail.covered > 0)
      end = std::max(end, size.start_of(tail.segment) + tail.covered);
  return end;
}

bool has_whole(const TimelineContents& contents, SegmentNumber segment) {
  return std::ranges::any_of(contents.ranges, [segment](const SegmentRange& range) {
    return range.first <= segment && segment <= range.last;
  });
}

// From its start over the position.
bool is_streamed_over(const TimelineContents& contents, Lsn position, SegmentSize size) {
  return std::ranges::any_of(contents.streamed, [&](const StreamedTail& tail) {
    const Lsn start = size.start_of(tail.segment);
    return start <= position && position < start + tail.covered;
  });
}

// What expires goes from the start on.
bool has_beginning(const TimelineContents& contents, SegmentNumber first) {
  const auto is_first = [first](SegmentNumber number) { return number <= first; };
  if (contents.ranges.empty() && contents.streamed.empty()) return true;
  return std::ranges::any_of(contents.ranges, is_first, &SegmentRange::first) ||
         std::ranges::any_of(contents.streamed, is_first, &StreamedTail::segment);
}

} // namespace

std::optional<LineageGap> gap_before_switch(WalReader& reader, const TimelineContents& contents,
                                            const TimelineContents& parent, Lsn begin, SegmentSize size,
                                            const CallContext& context) {
  const SegmentNumber first = size.segment_of(begin);
  const Lsn end = end_before(parent, begin, size);
  if (end == 0 || end >= begin || !has_beginning(contents, first)) return {};
  const bool inherited = has_whole(contents, first) || is_streamed_over(contents, begin, size);
  if (inherited && end >= size.start_of(first)) return {};
  const LineageGap gap{.timeline = parent.timeline, .from = end, .to = begin};
  if (end < size.start_of(first)) return gap;
  const auto name = parse_wal_file_name(segment_name({parent.timeline, first}, size));
  return reader.has_start(*name, std::uint32_t(begin - size.start_of(first)), context) ? std::nullopt
                                                                                       : std::optional(gap);
}

} // namespace dbops::core
