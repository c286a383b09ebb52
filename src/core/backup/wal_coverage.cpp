#include "core/backup/wal_coverage.h"

#include "core/base/error.h"
#include "core/wal/catalogue.h"
#include "core/wal/layout.h"
#include "core/wal/timeline_history.h"

#include <algorithm>
#include <charconv>

namespace dbops::core {

namespace {

constexpr std::uint64_t largest_history = 1 << 20; // bytes

} // namespace

WalCoverage wal_coverage(const TimelineContents& contents, const BackupHead& head) {
  const SegmentSize size(head.wal_segment_size);
  const SegmentNumber first = size.segment_of(head.start_lsn);
  WalCoverage coverage{.until = head.start_lsn};
  SegmentNumber next = first; // the first segment that is not known to be there
  for (const SegmentRange& range : contents.ranges) {
    if (range.first <= next && range.last >= next)
      next = range.last + 1;
    else if (range.first > next && coverage.later_from == 0)
      coverage.later_from = size.start_of(range.first);
  }
  if (next > first) coverage.until = size.start_of(next);
  for (const StreamedTail& tail : contents.streamed) {
    if (tail.segment == next)
      coverage.until = size.start_of(next) + tail.covered;
    else if (tail.segment > next && coverage.later_from == 0)
      coverage.later_from = size.start_of(tail.segment);
  }
  return coverage;
}

WalCoverage wal_coverage(const BackupRepository& repository, const BackupHead& head, const CallContext& context) {
  WalCoverage coverage = wal_coverage(read_timeline(repository.store, repository.system_identifier, head.timeline,
                                                    SegmentSize(head.wal_segment_size), {}, context),
                                      head);
  for (const TimelineId timeline : list_timelines(repository.store, repository.system_identifier, context))
    if (timeline > head.timeline) coverage.later_timelines.push_back(timeline);
  return coverage;
}

void check_consistent(const WalCoverage& coverage, const BackupHead& head) {
  if (coverage.until < head.stop_lsn)
    throw Error(ErrorKind::configuration,
                "WAL is missing at " + to_string(coverage.until) + ", which backup " + head.label +
                    " needs to become consistent",
                "Use another backup: see \"dbops list\".");
}

void check_wal_coverage(const BackupRepository& repository, const BackupHead& head, const RecoveryTarget& target,
                        const CallContext& context) {
  const WalCoverage coverage = wal_coverage(repository, head, context);
  const std::string reachable = "With backup " + head.label + ", recovery reaches from LSN " +
                                to_string(head.stop_lsn) + " to " + to_string(coverage.until) + ".";
  check_consistent(coverage, head);
  if (target.kind == RecoveryTarget::Kind::immediate) return;
  if (target.lsn) {
    // What is on a later timeline is found by PostgreSQL, and by "dbops wal-get" if it is missing.
    if (*target.lsn > coverage.until && (coverage.later_from != 0 || coverage.later_timelines.empty()))
      throw Error(ErrorKind::configuration,
                  "WAL is missing between " + to_string(coverage.until) + " and the target " + to_string(*target.lsn),
                  reachable);
    return;
  }
  if (coverage.later_from != 0)
    throw Error(ErrorKind::configuration,
                "WAL is missing between " + to_string(coverage.until) + " and " + to_string(coverage.later_from) +
                    ", where the store has more of it",
                reachable + " Give --target-lsn within it, or use a later backup.");
}

bool is_on_history(const BackupRepository& repository, const BackupHead& head, const RecoveryTarget& target,
                   const CallContext& context) {
  if (target.timeline == "current") return true;
  if (target.timeline.empty() && target.kind == RecoveryTarget::Kind::immediate) return true;
  const auto history_of = [&](TimelineId timeline) {
    const auto file = parse_wal_file_name(hex_field(timeline, 8) + ".history");
    return repository.get(wal_file_key(*file), ObjectKind::wal_history, largest_history, context);
  };
  TimelineId wanted = head.timeline;
  std::optional<Bytes> history;
  if (target.timeline.empty() || target.timeline == "latest") {
    // As PostgreSQL looks for it (findNewestTimeLine).
    while (auto next = history_of(wanted + 1)) {
      ++wanted;
      history = std::move(next);
    }
  } else {
    const auto [end, error] =
        std::from_chars(target.timeline.data(), target.timeline.data() + target.timeline.size(), wanted);
    if (error != std::errc() || end != target.timeline.data() + target.timeline.size())
      throw Error(ErrorKind::configuration, "\"" + target.timeline + "\" is no timeline",
                  "latest, current or a number.");
    if (wanted != head.timeline) history = history_of(wanted);
  }
  if (wanted == head.timeline) return true;
  if (!history) return false;
  for (const TimelineSwitch& left : parse_timeline_history(as_text(*history), wanted))
    if (left.timeline == head.timeline) return left.end >= head.stop_lsn;
  return false;
}

} // namespace dbops::core
