#include "core/backup/recovery_window.h"

#include <algorithm>
#include <set>

namespace dbops::core {

namespace {

// WAL without a gap.
struct Stretch {
  Lsn begin = 0, end = 0;
  WallTime stored;
};

std::vector<Stretch> stretches_of(const TimelineContents& contents, SegmentSize size) {
  std::vector<Stretch> stretches;
  for (const SegmentRange& range : contents.ranges)
    stretches.push_back({size.start_of(range.first), size.start_of(range.last + 1), range.stored});
  for (const StreamedTail& tail : contents.streamed) {
    if (tail.covered == 0) continue;
    const Lsn begin = size.start_of(tail.segment);
    const auto before = std::ranges::find(stretches, begin, &Stretch::end);
    if (before == stretches.end()) {
      stretches.push_back({begin, begin + tail.covered, tail.stored});
      continue;
    }
    before->end = begin + tail.covered;
    before->stored = tail.stored;
  }
  std::ranges::sort(stretches, {}, &Stretch::begin);
  return stretches;
}

void add_windows(const TimelineContents& contents, const std::vector<const BackupHead*>& heads,
                 std::vector<RecoveryWindow>& windows) {
  const std::vector<Stretch> stretches = stretches_of(contents, SegmentSize(heads.back()->wal_segment_size));
  for (auto stretch = stretches.begin(); stretch != stretches.end(); ++stretch) {
    RecoveryWindow window{.timeline = contents.timeline, .to = stretch->end};
    for (const BackupHead* head : heads) {
      if (head->start_lsn < stretch->begin || head->stop_lsn > stretch->end) continue;
      if (window.backups++ == 0) {
        window.from = head->stop_lsn;
        window.from_time = head->finished;
        window.first_backup = head->label;
      }
      window.last_backup = head->label;
    }
    if (window.backups == 0) continue;
    if (stretch->stored != WallTime()) window.to_time = stretch->stored;
    if (std::next(stretch) != stretches.end()) window.gap_until = std::next(stretch)->begin;
    windows.push_back(std::move(window));
  }
}

} // namespace

std::vector<RecoveryWindow> recovery_windows(const std::vector<CatalogueEntry>& backups,
                                             const std::vector<TimelineContents>& timelines) {
  std::vector<RecoveryWindow> windows;
  for (const TimelineContents& contents : timelines) {
    std::vector<const BackupHead*> heads;
    for (const CatalogueEntry& entry : backups)
      if (entry.head && entry.head->timeline == contents.timeline) heads.push_back(&*entry.head);
    if (heads.empty()) continue;
    std::ranges::sort(heads, {}, &BackupHead::stop_lsn);
    add_windows(contents, heads, windows);
  }
  return windows;
}

std::vector<RecoveryWindow> read_recovery_windows(const BackupRepository& repository,
                                                  const std::vector<CatalogueEntry>& backups, SegmentSize size,
                                                  const CallContext& context) {
  std::set<TimelineId> timelines;
  for (const CatalogueEntry& entry : backups)
    if (entry.head) timelines.insert(entry.head->timeline);
  std::vector<TimelineContents> contents;
  for (const TimelineId timeline : timelines)
    contents.push_back(read_timeline(repository.store, repository.system_identifier, timeline, size, {}, context));
  return recovery_windows(backups, contents);
}

} // namespace dbops::core
