#include "core/backup/wal_coverage.h"

#include "core/backup/target_time.h"
#include "core/base/error.h"
#include "core/wal/layout.h"
#include "core/wal/wal_reader.h"

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

bool has_wal(const BackupRepository& repository, TimelineId timeline, const CallContext& context) {
  ListRequest request;
  request.prefix = repository.key(timeline_prefix(timeline));
  const std::size_t root = repository.key("").size();
  do {
    ListPage page = repository.store.list(request, context);
    for (const ObjectInfo& object : page.objects)
      if (const auto key = parse_wal_key(std::string_view(object.key).substr(root));
          key && key->file.kind == WalFileKind::segment)
        return true;
    request.continuation = std::move(page.continuation);
  } while (!request.continuation.empty());
  return false;
}

std::vector<TimelineId> timelines_without_history(const BackupRepository& repository, TimelineId after,
                                                  const CallContext& context) {
  std::vector<TimelineId> without;
  for (const TimelineId timeline : list_timelines(repository.store, repository.system_identifier, context)) {
    if (timeline <= after) continue;
    const auto file = parse_wal_file_name(hex_field(timeline, 8) + ".history");
    if (!repository.store.head(repository.key(wal_file_key(*file)), context) && has_wal(repository, timeline, context))
      without.push_back(timeline);
  }
  return without;
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

namespace {

// By how much the clocks of servers may differ, and one of them from itself.
constexpr auto clock_tolerance = std::chrono::minutes(1);
constexpr milliseconds look_again(1000);

// What the store says of the way to a target at one moment.
class TargetCheck {
 public:
  TargetCheck(const BackupRepository& repository, const BackupHead& head, const RecoveryTarget& target,
              const RecoveryPath& path, const CallContext& context)
      : repository_(repository), head_(head), target_(target), context_(context), size_(head.wal_segment_size),
        last_(path.back().timeline) {
    for (const TimelineLeg& leg : path)
      timelines_.emplace(leg.timeline, read_timeline(repository.store, repository.system_identifier, leg.timeline,
                                                     size_, {}, context));
    coverage_ = wal_coverage(head, path,
                             [&](TimelineId timeline) -> const TimelineContents& { return timelines_.at(timeline); });
  }

  // Why the target cannot be reached; absent: as far as is known, it can.
  std::optional<Error> refusal() {
    try {
      check_consistent(coverage_, head_);
    } catch (const Error& error) { // what is missing may be on its way as well
      return error;
    }
    switch (target_.kind) {
    case RecoveryTarget::Kind::immediate:
      return {};
    case RecoveryTarget::Kind::lsn:
      return of_lsn();
    case RecoveryTarget::Kind::time:
      return of_time();
    case RecoveryTarget::Kind::latest:
      return of_latest();
    case RecoveryTarget::Kind::xid:
    case RecoveryTarget::Kind::name:
      break;
    }
    return {};
  }

  // When nothing is refused.
  [[nodiscard]] std::string warning() const {
    if (target_.kind == RecoveryTarget::Kind::immediate) return {};
    if (target_.kind == RecoveryTarget::Kind::lsn) return of_last_segment();
    if (coverage_.later_from == 0) {
      if (!written_ || !target_.time || *target_.time < *written_) return {};
      return "the last WAL in the store was written at " + target_time_text(*written_) +
             ". If no transaction in it ended after the target, the server ends recovery there with an error";
    }
    if (target_.kind != RecoveryTarget::Kind::latest)
      return hole() + ". If the target lies behind that, the server ends recovery there with an error";
    return hole() + ": it is on its way, or the server that wrote it died before it was stored. Recovery ends at " +
           to_string(coverage_.until) + ", unless it comes";
  }

 private:
  [[nodiscard]] std::string where() const { return " of timeline " + std::to_string(coverage_.timeline); }
  [[nodiscard]] std::string hole() const {
    return "WAL is missing between " + to_string(coverage_.until) + where() + " and " +
           to_string(coverage_.later_from) + ", where it goes on";
  }
  [[nodiscard]] std::string reachable() const {
    return "With backup " + head_.label + ", recovery reaches from LSN " + to_string(head_.stop_lsn) + " to " +
           to_string(coverage_.until) + (written_ ? ", written at " + target_time_text(*written_) : "") + ".";
  }

  std::optional<Error> of_lsn() {
    if (*target_.lsn < coverage_.until) return {};
    // PostgreSQL stops behind a record that begins at the target or later.
    if (*target_.lsn == coverage_.until)
      return Error(ErrorKind::configuration,
                   "the WAL in the store ends at the target " + to_string(*target_.lsn) + where() +
                       ", and recovery needs a record that begins there",
                   reachable() + (coverage_.later_from == 0 ? " Without a target, it ends there." : ""));
    return Error(ErrorKind::configuration,
                 "WAL is missing between " + to_string(coverage_.until) + where() + " and the target " +
                     to_string(*target_.lsn),
                 reachable() + " Without a target, it ends there.");
  }

  // Where its last record begins is not known without reading it, nor whether the rest of the segment has any.
  [[nodiscard]] std::string of_last_segment() const {
    if (size_.segment_of(*target_.lsn) != size_.segment_of(coverage_.until - 1)) return {};
    return "the target " + to_string(*target_.lsn) +
           " lies in the last segment of WAL that can be reached. If no record in it begins there or later, the server "
           "ends recovery there with an error";
  }

  // A transaction that ended after the target must be in WAL that was written before it ended: there is none.
  std::optional<Error> of_time() {
    written_ = written_until();
    if (!target_.time || !written_ || *target_.time <= *written_ + clock_tolerance) return {};
    if (coverage_.later_from != 0)
      return Error(ErrorKind::configuration, hole() + ", and the target lies behind that", reachable());
    return Error(ErrorKind::configuration,
                 "the WAL in the store was written until " + target_time_text(*written_) +
                     ", and the target lies behind that",
                 reachable() + " Without a target, it ends there.");
  }

  std::optional<Error> of_latest() {
    if (coverage_.later_from == 0 || is_end()) return {};
    return Error(ErrorKind::configuration, hole(), reachable() + " Give a target within it, or use a later backup.");
  }

  // Whether "dbops wal-get" lets recovery end at the hole.
  bool is_end() {
    if (coverage_.timeline != last_) return false;
    WalReader reader(repository_.store, repository_.system_identifier, repository_.keys, size_);
    return reader
               .fetch(
                   segment_at(coverage_.until), [](ByteView) {}, context_, AtHole::end)
               .result != WalFetchResult::gap;
  }

  [[nodiscard]] WalFileName segment_at(Lsn at) const {
    return *parse_wal_file_name(segment_name({coverage_.timeline, size_.segment_of(at)}, size_));
  }

  // When the last WAL before the end or the hole was stored, by the clock of the server that wrote it: all that is in
  // it had happened. Absent: that is not known.
  [[nodiscard]] std::optional<WallTime> written_until() const {
    const WalFileName segment = segment_at(coverage_.until - 1);
    if (auto written = created_at(wal_file_key(segment))) return written;
    const Lsn start = size_.start_of(size_.segment_of(coverage_.until - 1));
    WalReader reader(repository_.store, repository_.system_identifier, repository_.keys, size_);
    for (const ChunkRange& chunk : reader.list_chunks(segment, context_))
      if (start + chunk.from < coverage_.until && start + chunk.to >= coverage_.until)
        return created_at(chunk_key(segment, chunk));
    return {};
  }

  [[nodiscard]] std::optional<WallTime> created_at(const std::string& name) const {
    const auto begin =
        repository_.store.get(repository_.key(name), {.offset = 0, .length = max_object_header_size}, context_);
    if (!begin) return {};
    try {
      return parse_object_header(*begin).created;
    } catch (const Error& error) { // recovery to an earlier target does not read it
      if (error.kind() != ErrorKind::corrupt && error.kind() != ErrorKind::configuration) throw;
      return {};
    }
  }

  const BackupRepository& repository_;
  const BackupHead& head_;
  const RecoveryTarget& target_;
  const CallContext& context_;
  SegmentSize size_;
  TimelineId last_;
  std::map<TimelineId, TimelineContents> timelines_;
  WalCoverage coverage_;
  std::optional<WallTime> written_;
};

} // namespace

std::string check_wal_coverage(const BackupRepository& repository, const BackupHead& head, const RecoveryTarget& target,
                               const WalPatience& patience, const CallContext& context) {
  SystemClock clock;
  std::optional<SteadyTime> give_up; // after the first look, which may take long
  for (;;) {
    const auto path = recovery_path(repository, head, target, context);
    if (!path)
      throw Error(ErrorKind::configuration, "timeline " + std::to_string(head.timeline) + " was left before backup " +
                                                head.label + " was complete");
    TargetCheck check(repository, head, target, *path, context);
    const auto refusal = check.refusal();
    if (!refusal) return check.warning();
    const bool told = give_up.has_value();
    if (!give_up) give_up = clock.steady_now() + patience.time;
    if (clock.steady_now() >= *give_up) throw Error(*refusal);
    if (!told && patience.log)
      patience.log({LogLevel::info, std::string(refusal->what()) + ": waiting, as it may be on its way"});
    if (context.stop.stop_requested()) throw Error(ErrorKind::cancelled, "the restore was cancelled");
    clock.sleep_for(look_again, context.stop);
  }
}

} // namespace dbops::core
