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

// The last one between two parts that are there.
std::optional<LineageGap> gap_inside(const TimelineContents& contents, Lsn limit, SegmentSize size) {
  std::optional<LineageGap> gap;
  Lsn end = 0;
  auto streamed = contents.streamed.begin();
  const auto take = [&](Lsn first, Lsn last) {
    if (first >= limit) return;
    if (end != 0 && end < first) gap = LineageGap{.timeline = contents.timeline, .from = end, .to = first};
    end = std::max(end, last);
  };
  const auto take_streamed_before = [&](SegmentNumber segment) {
    for (; streamed != contents.streamed.end() && streamed->segment < segment; ++streamed)
      if (streamed->covered > 0)
        take(size.start_of(streamed->segment), size.start_of(streamed->segment) + streamed->covered);
  };
  for (const SegmentRange& range : contents.ranges) {
    take_streamed_before(range.first);
    take(size.start_of(range.first), size.start_of(range.last + 1));
  }
  take_streamed_before(~SegmentNumber(0));
  return gap;
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

namespace {

// A part of a timeline that the server's one goes on from.
struct Stretch {
  TimelineId timeline = 0;
  Lsn from = 0, to = 0;
  [[nodiscard]] bool has(const BackupStart& backup) const {
    return backup.timeline == timeline && backup.start >= from && backup.start < to;
  }
};

bool has_label(const TimelineContents& contents, const Stretch& stretch) {
  return std::ranges::any_of(contents.labels,
                             [&](Lsn start) { return stretch.has({.timeline = contents.timeline, .start = start}); });
}

} // namespace

std::optional<LineageGap> gap_without_backup(WalReader& reader, const Lineage& lineage, SegmentSize size,
                                             const CallContext& context) {
  TimelineContents child = lineage.contents(lineage.timeline);
  // Behind the gap that is looked for. A timeline's own labels all are behind its beginning.
  std::vector<Stretch> behind{{.timeline = lineage.timeline, .from = 0, .to = ~Lsn(0)}};
  for (auto ancestor = lineage.ancestors.rbegin(); ancestor != lineage.ancestors.rend(); ++ancestor) {
    if (has_label(child, behind.back())) return {};
    TimelineContents parent = lineage.contents(ancestor->timeline);
    auto gap = gap_before_switch(reader, child, parent, ancestor->end, size, context);
    if (!gap) gap = gap_inside(parent, ancestor->end, size);
    behind.push_back({.timeline = parent.timeline, .from = gap ? gap->to : 0, .to = ancestor->end});
    if (gap) {
      const auto makes_up = [&](const BackupStart& backup) {
        return std::ranges::any_of(behind, [&](const Stretch& stretch) { return stretch.has(backup); });
      };
      if (has_label(parent, behind.back()) || std::ranges::any_of(lineage.backups(), makes_up)) return {};
      return gap;
    }
    child = std::move(parent);
  }
  return {};
}

} // namespace dbops::core
