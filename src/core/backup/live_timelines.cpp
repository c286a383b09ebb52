#include "core/backup/live_timelines.h"

#include "core/backup/wal_coverage.h"
#include "core/wal/layout.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>

namespace dbops::core {

namespace {

constexpr auto abandoned_after = std::chrono::hours(30 * 24);

std::optional<WallTime> last_stored(const BackupRepository& repository, TimelineId timeline,
                                    const CallContext& context) {
  std::optional<WallTime> last;
  ListRequest request;
  request.prefix = repository.key(timeline_prefix(timeline));
  do {
    ListPage page = repository.store.list(request, context);
    for (const ObjectInfo& object : page.objects)
      last = std::max(last.value_or(object.modified), object.modified);
    request.continuation = std::move(page.continuation);
  } while (!request.continuation.empty());
  return last;
}

// When the newest backup was complete, by the clock that the times of WAL are of.
std::optional<WallTime> newest_stored(const BackupRepository& repository, const std::vector<CatalogueEntry>& backups,
                                      const CallContext& context) {
  for (auto entry = backups.rbegin(); entry != backups.rend(); ++entry)
    if (entry->head)
      if (const auto object = repository.store.head(repository.key(backup_head_key(entry->label)), context))
        return object->modified;
  return {};
}

LiveTimeline needs_of(TimelineId timeline, const std::optional<std::vector<TimelineSwitch>>& history,
                      const std::vector<CatalogueEntry>& backups, const KnownDamage& damage,
                      const CallContext& context) {
  if (!history && timeline > 1) return {.timeline = timeline, .backups = {}, .from = 0}; // of whom it is, is not known
  LiveTimeline live{.timeline = timeline, .backups = {}, .from = std::numeric_limits<Lsn>::max()};
  for (auto entry = backups.rbegin(); entry != backups.rend(); ++entry) {
    if (!entry->head || !history || !recovery_path(*entry->head, timeline, *history)) continue;
    const bool sound = !damage.of(*entry->head, context);
    if (!sound && !live.backups.empty()) continue;
    live.backups.push_back(entry->label);
    live.from = std::min(live.from, entry->head->start_lsn);
    if (sound) break;
  }
  return live;
}

} // namespace

std::vector<LiveTimeline> live_timelines(const BackupRepository& repository, const std::vector<CatalogueEntry>& backups,
                                         const KnownDamage& damage, const CallContext& context) {
  std::set<TimelineId> settled; // a backup is of them, or another one goes on from them
  for (const CatalogueEntry& entry : backups)
    if (entry.head) settled.insert(entry.head->timeline);
  std::map<TimelineId, std::optional<std::vector<TimelineSwitch>>> histories;
  for (const TimelineId timeline : list_timelines(repository.store, repository.system_identifier, context)) {
    auto history = read_history(repository, timeline, context);
    if (history)
      for (const TimelineSwitch& ancestor : *history)
        settled.insert(ancestor.timeline);
    histories.emplace(timeline, std::move(history));
  }
  const auto newest = newest_stored(repository, backups, context);
  std::vector<LiveTimeline> live;
  for (const auto& [timeline, history] : histories) {
    if (settled.contains(timeline)) continue;
    const auto last = last_stored(repository, timeline, context);
    if (last && newest && *last + abandoned_after < *newest) continue;
    live.push_back(needs_of(timeline, history, backups, damage, context));
  }
  return live;
}

} // namespace dbops::core
