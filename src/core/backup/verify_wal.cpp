#include "core/backup/verify_wal.h"

#include "core/backup/expired_wal.h"
#include "core/backup/recovery_window.h"
#include "core/backup/wal_coverage.h"
#include "core/base/error.h"
#include "core/base/thread_pool.h"
#include "core/wal/layout.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <set>

namespace dbops::core {

namespace {

constexpr milliseconds look_again(1000);

// What recovery from the last backup before each switch does not get over on its way to the new timeline.
std::vector<WalGap> gaps_at_switches(const BackupRepository& repository, const std::vector<CatalogueEntry>& backups,
                                     const std::vector<TimelineContents>& timelines, const CallContext& context) {
  const auto contents_of = [&](TimelineId timeline) -> const TimelineContents& {
    static const TimelineContents nothing;
    const auto found = std::ranges::find(timelines, timeline, &TimelineContents::timeline);
    return found == timelines.end() ? nothing : *found;
  };
  std::map<TimelineId, std::vector<TimelineSwitch>> histories;
  std::set<TimelineId> passed; // others have branched off from it
  for (const TimelineContents& timeline : timelines) {
    if (!timeline.has_history) continue;
    auto ancestors = read_history(repository, timeline.timeline, context);
    if (!ancestors) continue;
    for (const TimelineSwitch& left : *ancestors)
      passed.insert(left.timeline);
    histories.emplace(timeline.timeline, std::move(*ancestors));
  }
  std::vector<WalGap> gaps;
  for (const auto& [timeline, ancestors] : histories) {
    // The few bytes of one that ended in the segment in which it began may be in a copy alone that the next one made.
    const TimelineContents& contents = contents_of(timeline);
    if (passed.contains(timeline) && contents.ranges.empty() && contents.streamed.empty()) continue;
    for (const TimelineSwitch& left : ancestors) {
      const auto last = std::ranges::find_if(backups.rbegin(), backups.rend(), [&](const CatalogueEntry& entry) {
        return entry.head && entry.head->timeline == left.timeline && entry.head->stop_lsn <= left.end;
      });
      if (last == backups.rend()) continue;
      const auto path = recovery_path(*last->head, timeline, ancestors);
      if (!path) continue;
      if (const WalCoverage coverage = wal_coverage(*last->head, *path, contents_of); coverage.later_from != 0)
        gaps.push_back({coverage.timeline, coverage.until, coverage.later_from, last->label});
    }
  }
  return gaps;
}

// A cluster whose archive begins with a later timeline has no older backup that could lead there.
std::vector<WalGap> missing_histories(const std::vector<CatalogueEntry>& backups,
                                      const std::vector<TimelineContents>& timelines) {
  std::vector<WalGap> missing;
  for (const TimelineContents& timeline : timelines) {
    if (timeline.timeline == 1 || timeline.has_history || (timeline.ranges.empty() && timeline.streamed.empty()))
      continue;
    const auto last = std::ranges::find_if(backups.rbegin(), backups.rend(), [&](const CatalogueEntry& entry) {
      return entry.head && entry.head->timeline < timeline.timeline;
    });
    if (last != backups.rend()) missing.push_back({timeline.timeline, 0, 0, last->label});
  }
  return missing;
}

std::vector<WalGap> gaps_now(const BackupRepository& repository, const std::vector<CatalogueEntry>& backups,
                             SegmentSize size, const CallContext& context) {
  std::vector<TimelineContents> timelines;
  for (const TimelineId timeline : list_timelines(repository.store, repository.system_identifier, context))
    timelines.push_back(read_timeline(repository.store, repository.system_identifier, timeline, size, {}, context));
  const std::vector<RecoveryWindow> windows = recovery_windows(backups, timelines);
  const std::vector<WalGap> at_switches = gaps_at_switches(repository, backups, timelines, context);
  // After the lists: expiry notes first, and removes then.
  const std::vector<ExpiredWal> expired = read_expired_wal(repository, context);
  std::vector<WalGap> gaps = missing_histories(backups, timelines);
  for (const RecoveryWindow& window : windows)
    if (window.gap_until > expired_wal(expired, window.timeline))
      gaps.push_back({window.timeline, window.to, window.gap_until, window.last_backup});
  for (const WalGap& gap : at_switches)
    if (gap.to > expired_wal(expired, gap.timeline) && std::ranges::find(gaps, gap.from, &WalGap::from) == gaps.end())
      gaps.push_back(gap);
  return gaps;
}

// Absent: an object that is not WAL's, such as the owner of a timeline, or of a later version.
std::optional<WalKey> parse_key(const std::string& name) {
  if (auto key = parse_wal_key(name)) return key;
  if (auto remnant = parse_remnant_key(name)) return WalKey{std::move(*remnant), {}};
  return {};
}

// That which a backup may need. Absent: all others, a remnant among them, which stands beside the segment.
std::optional<SegmentId> segment_of(const std::string& name, SegmentSize size) {
  const auto key = parse_wal_key(name);
  return key && !key->file.segment.empty() ? parse_segment_name(key->file.segment, size) : std::nullopt;
}

class WalReading {
 public:
  WalReading(const BackupRepository& repository, SegmentSize size, VerifyCheckpoint& checkpoint,
             const std::function<void(std::uint64_t)>& read, const CallContext& context)
      : repository_(repository), size_(size), checkpoint_(checkpoint), read_(read), context_(context) {}

  std::vector<DamagedWal> run(unsigned threads, const WantedWal& wanted) {
    ListRequest request;
    request.prefix = repository_.key("wal/");
    const std::size_t root = repository_.key("").size();
    do {
      ListPage page = repository_.store.list(request, context_);
      std::vector<std::string> names;
      for (const ObjectInfo& object : page.objects)
        if (std::string name = object.key.substr(root); parse_key(name) && wanted(name, segment_of(name, size_)))
          names.push_back(std::move(name));
      read_page(names, threads);
      checkpoint_.save(context_, true);
      request.continuation = std::move(page.continuation);
    } while (!request.continuation.empty());
    return std::move(damaged_);
  }

 private:
  void read_page(const std::vector<std::string>& names, unsigned threads) {
    std::atomic<std::size_t> next{0};
    ThreadPool pool(threads);
    std::vector<std::future<void>> running;
    for (unsigned i = 0; i < threads; ++i)
      running.push_back(pool.submit([&](const std::stop_token&) {
        for (std::size_t number = next++; number < names.size(); number = next++) {
          if (context_.stop.stop_requested()) throw Error(ErrorKind::cancelled, "the verification was cancelled");
          read_object(names[number]);
        }
      }));
    for (std::future<void>& reading : running)
      reading.wait();
    for (std::future<void>& reading : running)
      reading.get();
  }

  void read_object(const std::string& name) {
    try {
      const auto object = repository_.store.get(repository_.key(name), {}, context_);
      if (!object) return;
      check(name, decode_object(*object, repository_.keys, size_.bytes(), [](ByteView) {}));
      checkpoint_.add(name);
      read_(object->size());
    } catch (const Error& error) {
      if (is_key_problem(error.kind()))
        throw Error(error.kind(), "\"" + name + "\" of " + repository_.store.describe() + ": " + error.what(),
                    error.hint());
      if (error.kind() != ErrorKind::corrupt && error.kind() != ErrorKind::configuration) throw;
      const std::lock_guard lock(mutex_);
      damaged_.push_back({name, segment_of(name, size_), error.what()});
    }
  }

  void check(const std::string& name, const ObjectHeader& header) const {
    if (header.name != name || header.system_identifier != repository_.system_identifier)
      throw Error(ErrorKind::corrupt, "it belongs elsewhere: its header names \"" + header.name + "\"");
    const auto key = parse_key(name);
    if (!key) return;
    if (header.kind != (key->chunk ? ObjectKind::wal_chunk : object_kind(key->file.kind)))
      throw Error(ErrorKind::corrupt, "it is of another kind than its name says");
    const bool whole = !key->chunk && key->file.kind == WalFileKind::segment;
    if ((whole && header.plaintext_size != size_.bytes()) ||
        (key->chunk && header.plaintext_size != key->chunk->to - key->chunk->from))
      throw Error(ErrorKind::corrupt, "it has " + std::to_string(header.plaintext_size) + " bytes of WAL");
  }

  const BackupRepository& repository_;
  SegmentSize size_;
  VerifyCheckpoint& checkpoint_;
  const std::function<void(std::uint64_t)>& read_;
  const CallContext& context_;
  std::mutex mutex_;
  std::vector<DamagedWal> damaged_;
};

} // namespace

std::vector<WalGap> wal_gaps(const BackupRepository& repository, const std::vector<CatalogueEntry>& backups,
                             std::chrono::steady_clock::duration patience, const CallContext& context) {
  const auto newest = std::ranges::find_if(backups.rbegin(), backups.rend(),
                                           [](const CatalogueEntry& entry) { return entry.head.has_value(); });
  if (newest == backups.rend()) return {};
  const SegmentSize size(newest->head->wal_segment_size);
  SystemClock clock;
  const SteadyTime give_up = clock.steady_now() + patience;
  for (;;) {
    std::vector<WalGap> gaps = gaps_now(repository, backups, size, context);
    if (gaps.empty() || clock.steady_now() >= give_up) return gaps;
    if (context.stop.stop_requested()) throw Error(ErrorKind::cancelled, "the verification was cancelled");
    clock.sleep_for(look_again, context.stop);
  }
}

std::vector<DamagedWal> read_wal(const BackupRepository& repository, SegmentSize size, unsigned threads,
                                 const WantedWal& wanted, VerifyCheckpoint& checkpoint,
                                 const std::function<void(std::uint64_t)>& read, const CallContext& context) {
  return WalReading(repository, size, checkpoint, read, context).run(threads, wanted);
}

} // namespace dbops::core
