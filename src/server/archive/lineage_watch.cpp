#include "server/archive/lineage_watch.h"

#include <utility>

#include "core/backup/catalogue.h"
#include "server/archive/shared.h"

namespace dbops::server::archive {

namespace {

using core::milliseconds;

constexpr milliseconds not_known_pause{2'000}, gap_pause{30'000}, look_time{600'000};
constexpr unsigned manifests_at_once = 4;

// Those of dbops that are complete: one of a standby leaves no label.
std::vector<core::BackupStart> own_backups(const RepositoryAccess& access, const Cluster& cluster,
                                           const core::CallContext& context) {
  const core::BackupRepository repository{.store = *access.store,
                                          .clock = thread_clock(),
                                          .random = thread_random(),
                                          .system_identifier = cluster.system_identifier,
                                          .keys = access.keys.get()};
  std::vector<core::BackupStart> starts;
  for (const core::CatalogueEntry& entry : core::read_catalogue(repository, manifests_at_once, context))
    if (entry.head) starts.push_back({.timeline = entry.head->timeline, .start = entry.head->start_lsn});
  return starts;
}

} // namespace

// A gap matters as long as no base backup was taken behind it.
LineageWatch::Result LineageWatch::look(const std::string& url, const Settings& settings, const Cluster& cluster,
                                        core::TimelineId timeline, core::Lsn archived, const std::stop_token& stop) {
  Result result;
  try {
    const RepositoryAccess access = open_repository(url, settings, cluster);
    const core::CallContext context{.stop = stop, .deadline = thread_clock().steady_now() + look_time};
    const core::SegmentSize size(cluster.segment_size);
    core::WalReader reader(*access.store, cluster.system_identifier, access.keys.get(), size);
    const auto ancestors = reader.history_of(timeline, context);
    if (!ancestors) return result; // it is on its way
    result.known = true;
    if (ancestors->empty()) return result;
    const core::TimelineSwitch parent = ancestors->back();
    result.known = archived >= size.start_of(size.segment_of(parent.end));
    if (!result.known) return result;
    const core::Lineage lineage{
        .timeline = timeline,
        .ancestors = *ancestors,
        .contents =
            [&](core::TimelineId id) {
              return core::read_timeline(*access.store, cluster.system_identifier, id, size, {}, context);
            },
        .backups = [&] { return own_backups(access, cluster, context); },
    };
    result.gap = core::gap_without_backup(reader, lineage, size, context);
  } catch (...) {
    result.known = false;
    result.failure = describe_thread_failure();
  }
  return result;
}

void LineageWatch::drive(const std::string& url, const Settings& settings, core::TimelineId timeline,
                         core::Lsn archived, const ThreadEvent& event) {
  if (url != url_ || timeline != timeline_) {
    not_before_ = {};
    seen_ = false;
  }
  if (url.empty() || timeline < 2 || task_.running() || thread_clock().steady_now() < not_before_) return;
  url_ = url;
  timeline_ = timeline;
  task_.start([=, cluster = cluster_](
                  const std::stop_token& stop) { return look(url, settings, cluster, timeline, archived, stop); },
              event);
}

void LineageWatch::publish(const std::optional<core::LineageGap>& gap) {
  with_archive_shared([&](ArchiveShared& memory) {
    RepositoryStatus& status = memory.repository[repository_];
    if (status.store != store_hash(url_) || status.timeline != timeline_) return;
    status.gap_from = gap ? gap->from : 0;
    status.gap_to = gap ? gap->to : 0;
  });
}

void LineageWatch::collect() {
  const auto result = task_.take();
  if (!result) return;
  const core::SteadyTime now = thread_clock().steady_now();
  if (!result->known) {
    not_before_ = now + not_known_pause;
    if (result->failure && result->failure->kind != core::ErrorKind::cancelled) {
      not_before_ = now + gap_pause;
      if (warnings_.pass(result->failure->message))
        log_line(true, "whether WAL is missing before this timeline is not known: " + result->failure->message,
                 result->failure->hint);
    }
    return;
  }
  // What the first look misses may be on its way, from this server's own pg_wal.
  if (result->gap && !std::exchange(seen_, true)) {
    not_before_ = now + not_known_pause;
    return;
  }
  publish(result->gap);
  not_before_ = result->gap ? now + gap_pause : core::SteadyTime::max();
  if (!result->gap) return;
  const std::string message = std::string("the ") + repository_name(repository_) + " store has no WAL of timeline " +
                              std::to_string(result->gap->timeline) + " from " + core::to_string(result->gap->from) +
                              " to " + core::to_string(result->gap->to) + ", which this timeline goes on from";
  if (warnings_.pass(message)) log_line(true, message, lineage_gap_hint);
}

} // namespace dbops::server::archive
