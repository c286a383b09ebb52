#include "core/backup/wal_coverage.h"

#include "core/base/error.h"
#include "core/wal/layout.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>

namespace dbops::core {

namespace {

constexpr std::uint64_t largest_history = 1 << 20; // bytes
constexpr Lsn endless = std::numeric_limits<Lsn>::max();

// `at`, moved on over all WAL of the timeline that follows there without a gap.
Lsn follow(const TimelineContents& contents, SegmentSize size, Lsn at) {
  for (Lsn before = endless; before != at;) {
    before = at;
    const SegmentNumber segment = size.segment_of(at);
    for (const SegmentRange& range : contents.ranges)
      if (range.first <= segment && segment <= range.last) at = size.start_of(range.last + 1);
    if (at != before) continue;
    for (const StreamedTail& tail : contents.streamed)
      if (tail.segment == segment)
        for (const ChunkRange& piece : tail.pieces)
          if (size.start_of(segment) + piece.from <= at) at = std::max(at, size.start_of(segment) + piece.to);
  }
  return at;
}

// The first WAL of the timeline behind `at`; 0: there is none.
Lsn next_behind(const TimelineContents& contents, SegmentSize size, Lsn at) {
  Lsn next = endless;
  for (const SegmentRange& range : contents.ranges)
    if (size.start_of(range.first) > at) next = std::min(next, size.start_of(range.first));
  for (const StreamedTail& tail : contents.streamed)
    for (const ChunkRange& piece : tail.pieces)
      if (size.start_of(tail.segment) + piece.from > at)
        next = std::min(next, size.start_of(tail.segment) + piece.from);
  return next == endless ? 0 : next;
}

// The rest of the segment in which a leg ends: of it PostgreSQL makes a .partial, and the timelines that begin in that
// segment have a copy of their own.
bool has_rest(const RecoveryPath& path, std::size_t leg, SegmentSize size, Lsn at, const ContentsOf& contents_of) {
  const SegmentNumber last = size.segment_of(path[leg].end);
  if (at < size.start_of(last)) return false;
  if (std::ranges::find(contents_of(path[leg].timeline).partials, last) !=
      contents_of(path[leg].timeline).partials.end())
    return true;
  for (std::size_t next = leg + 1; next < path.size() && size.segment_of(path[next].begin) == last; ++next)
    if (follow(contents_of(path[next].timeline), size, at) >= path[leg].end) return true;
  return false;
}

} // namespace

std::optional<RecoveryPath> recovery_path(const BackupHead& head, TimelineId wanted,
                                          const std::vector<TimelineSwitch>& ancestors) {
  RecoveryPath path;
  Lsn begin = head.start_lsn;
  if (wanted != head.timeline) {
    auto left = std::ranges::find(ancestors, head.timeline, &TimelineSwitch::timeline);
    if (left == ancestors.end() || left->end < head.stop_lsn) return {};
    for (; left != ancestors.end(); ++left) {
      path.push_back({left->timeline, begin, left->end});
      begin = left->end;
    }
  }
  path.push_back({wanted, begin, endless});
  return path;
}

std::optional<std::vector<TimelineSwitch>> read_history(const BackupRepository& repository, TimelineId timeline,
                                                        const CallContext& context) {
  const auto file = parse_wal_file_name(hex_field(timeline, 8) + ".history");
  const auto text = repository.get(wal_file_key(*file), ObjectKind::wal_history, largest_history, context);
  if (!text) return {};
  return parse_timeline_history(as_text(*text), timeline);
}

std::optional<RecoveryPath> recovery_path(const BackupRepository& repository, const BackupHead& head,
                                          const RecoveryTarget& target, const CallContext& context) {
  if (target.timeline == "current" || (target.timeline.empty() && target.kind == RecoveryTarget::Kind::immediate))
    return recovery_path(head, head.timeline, {});
  TimelineId wanted = head.timeline;
  std::optional<std::vector<TimelineSwitch>> history;
  if (target.timeline.empty() || target.timeline == "latest") {
    // As PostgreSQL looks for it (findNewestTimeLine).
    while (auto next = read_history(repository, wanted + 1, context)) {
      ++wanted;
      history = std::move(next);
    }
  } else {
    const auto [end, error] =
        std::from_chars(target.timeline.data(), target.timeline.data() + target.timeline.size(), wanted);
    if (error != std::errc() || end != target.timeline.data() + target.timeline.size())
      throw Error(ErrorKind::configuration, "\"" + target.timeline + "\" is no timeline",
                  "latest, current or a number.");
    if (wanted != head.timeline) history = read_history(repository, wanted, context);
  }
  return recovery_path(head, wanted, history.value_or(std::vector<TimelineSwitch>()));
}

WalCoverage wal_coverage(const BackupHead& head, const RecoveryPath& path, const ContentsOf& contents_of) {
  const SegmentSize size(head.wal_segment_size);
  const Lsn first = size.start_of(size.segment_of(head.start_lsn)); // a segment is read from its start
  WalCoverage coverage;
  Lsn at = first;
  for (std::size_t leg = 0; leg < path.size(); ++leg) {
    const TimelineContents& contents = contents_of(path[leg].timeline);
    coverage.timeline = path[leg].timeline;
    at = std::min(follow(contents, size, at), path[leg].end);
    if (at < path[leg].end && leg + 1 < path.size() && has_rest(path, leg, size, at, contents_of)) at = path[leg].end;
    if (at == path[leg].end) continue;
    coverage.later_from = next_behind(contents, size, at);
    // What the next timeline branches off from was there once.
    if (path[leg].end != endless && (coverage.later_from == 0 || coverage.later_from > path[leg].end))
      coverage.later_from = path[leg].end;
    break;
  }
  coverage.until = std::max(at, head.start_lsn);
  return coverage;
}

WalCoverage wal_coverage(const TimelineContents& contents, const BackupHead& head) {
  return wal_coverage(head, {{head.timeline, head.start_lsn, endless}},
                      [&](TimelineId) -> const TimelineContents& { return contents; });
}

void check_consistent(const WalCoverage& coverage, const BackupHead& head) {
  if (coverage.until < head.stop_lsn)
    throw Error(ErrorKind::configuration,
                "WAL is missing at " + to_string(coverage.until) + ", which backup " + head.label +
                    " needs to become consistent",
                "Use another backup: see \"dbops list\".");
}

std::string check_wal_coverage(const BackupRepository& repository, const BackupHead& head, const RecoveryTarget& target,
                               const CallContext& context) {
  const auto path = recovery_path(repository, head, target, context);
  if (!path)
    throw Error(ErrorKind::configuration, "timeline " + std::to_string(head.timeline) + " was left before backup " +
                                              head.label + " was complete");
  std::map<TimelineId, TimelineContents> timelines;
  for (const TimelineLeg& leg : *path)
    timelines.emplace(leg.timeline, read_timeline(repository.store, repository.system_identifier, leg.timeline,
                                                  SegmentSize(head.wal_segment_size), {}, context));
  const WalCoverage coverage =
      wal_coverage(head, *path, [&](TimelineId timeline) -> const TimelineContents& { return timelines.at(timeline); });
  const std::string reachable = "With backup " + head.label + ", recovery reaches from LSN " +
                                to_string(head.stop_lsn) + " to " + to_string(coverage.until) + ".";
  check_consistent(coverage, head);
  if (target.kind == RecoveryTarget::Kind::immediate) return {};
  const std::string where = " of timeline " + std::to_string(coverage.timeline);
  if (target.lsn) {
    if (*target.lsn > coverage.until)
      throw Error(ErrorKind::configuration,
                  "WAL is missing between " + to_string(coverage.until) + where + " and the target " +
                      to_string(*target.lsn),
                  reachable);
    return {};
  }
  if (coverage.later_from == 0) return {};
  const std::string hole = "WAL is missing between " + to_string(coverage.until) + where + " and " +
                           to_string(coverage.later_from) + ", where it goes on";
  if (target.kind == RecoveryTarget::Kind::latest)
    throw Error(ErrorKind::configuration, hole, reachable + " Give a target within it, or use a later backup.");
  return hole + ". If the target lies behind that, the server ends recovery there with an error";
}

} // namespace dbops::core
