#include "core/backup/expire.h"

#include "core/backup/damaged_packs.h"
#include "core/backup/dump.h"
#include "core/backup/evidence.h"
#include "core/backup/expired_wal.h"
#include "core/backup/known_damage.h"
#include "core/backup/live_timelines.h"
#include "core/backup/pins.h"
#include "core/backup/store_clock.h"
#include "core/backup/summary.h"
#include "core/backup/verify_checkpoint.h"
#include "core/backup/wal_coverage.h"
#include "core/base/error.h"
#include "core/wal/catalogue.h"
#include "core/wal/layout.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

namespace dbops::core {

namespace {

void for_each_object(const BackupRepository& repository, const std::string& prefix, const CallContext& context,
                     const std::function<void(const std::string& name, const ObjectInfo&)>& use) {
  const std::size_t root = repository.key("").size();
  ListRequest request;
  request.prefix = repository.key(prefix);
  do {
    ListPage page = repository.store.list(request, context);
    for (const ObjectInfo& object : page.objects)
      use(object.key.substr(root), object);
    request.continuation = std::move(page.continuation);
  } while (!request.continuation.empty());
}

class Expiry {
 public:
  Expiry(const BackupRepository& repository, bool dry_run, const LogSink& log, const CallContext& context)
      : repository_(repository), dry_run_(dry_run), log_(log), context_(context) {}

  ExpireResult run(const RetentionRules& rules) {
    // In this order: a backup that begins after the packs were listed has none among them; one that began before shows
    // in the list of backups.
    for_each_object(repository_, "pack/", context_, [&](const std::string& name, const ObjectInfo& object) {
      if (const auto id = parse_pack_key(name)) packs_.push_back({*id, object.size});
    });
    std::ranges::sort(packs_);
    catalogue_ = read_catalogue(repository_, 8, context_);
    require_keys(catalogue_);
    damage_.emplace(repository_, context_);
    now_ = time();
    live_ = live_timelines(repository_, catalogue_, *damage_, context_);
    if (!dry_run_) withdraw_stale_announcements(repository_, Pinnable::backup, now_, context_);
    plan(rules, read_pins(repository_, Pinnable::backup, context_));
    if (!dry_run_) announce(rules);
    const std::set<PackId> dropped = packs_to_remove();
    require_same_list();
    remove_backups();
    for (const PackInfo& pack : packs_) {
      if (!dropped.contains(pack.id)) continue;
      remove(pack_key(pack.id));
      remove(damaged_key(pack.id));
      ++result_.packs;
      result_.pack_bytes += pack.size;
    }
    remove_wal();
    if (!dry_run_ && newest() != nullptr) {
      forget_verify_checkpoints(repository_, context_);
      std::set<std::string> left;
      for (const CatalogueEntry& entry : catalogue_)
        if (entry.head && !expired_.contains(entry.label)) left.insert(entry.label);
      for (const DumpEntry& dump : read_dumps(repository_, 8, context_))
        left.insert(dump_prefix(dump.label));
      forget_verifications(repository_, left, context_);
    }
    return std::move(result_);
  }

 private:
  void plan(const RetentionRules& rules, const Pins& pins) {
    std::vector<RetentionBackup> backups;
    // A hold ends when a backup was complete behind its end: a clock that jumps ends none.
    const WallTime reached = newest() == nullptr ? now_ : std::min(now_, newest()->head->finished);
    for (const CatalogueEntry& entry : catalogue_) {
      if (!entry.problem.empty())
        throw Error(ErrorKind::configuration,
                    "backup " + entry.label + " cannot be read, so what it needs is not known: " + entry.problem,
                    "Nothing was removed. Remove what is left of it yourself, \"" +
                        repository_.key(backup_prefix(entry.label)) + "\" and \"" +
                        repository_.key(summary_key(entry.label)) + "\", or expire with a newer dbops.");
      if (!entry.head) continue;
      const auto held = held_by(pins, entry.label, reached);
      backups.push_back({entry.label, finished(*entry.head), entry.head->start_lsn, entry.head->stop_lsn,
                         held.has_value(), held.value_or(""), leads_to_newest(*entry.head),
                         damage_->of(*entry.head, context_).has_value(), entry.head->timeline, leads_to(*entry.head)});
    }
    result_.plan = plan_retention(backups, rules, now_);
    keep_live();
    expired_.clear();
    for (const RetentionDecision& decision : result_.plan.decisions)
      if (!decision.keep()) expired_.insert(decision.label);
  }

  [[nodiscard]] WallTime stored(const std::string& label) const {
    const auto known = stored_.find(label);
    if (known != stored_.end()) return known->second;
    return stored_.emplace(label, stored_until(repository_, backup_head_key(label), context_)).first->second;
  }

  // What time it is: by the clock of this machine and by that of the store, as the newest backup has it.
  [[nodiscard]] WallTime time() const {
    const WallTime now = repository_.clock.wall_now();
    return newest() == nullptr ? now : std::min(now, stored(newest()->label));
  }

  // When a backup was complete. The server's clock may have been ahead of the store's, and it is the same time whenever
  // it is asked for: else two days would become one as time passes.
  [[nodiscard]] WallTime finished(const BackupHead& head) const { return std::min(head.finished, stored(head.label)); }

  const std::optional<std::vector<TimelineSwitch>>& history_of(TimelineId timeline) {
    const auto known = histories_.find(timeline);
    if (known != histories_.end()) return known->second;
    return histories_.emplace(timeline, read_history(repository_, timeline, context_)).first->second;
  }

  // Whether the newest backup's server went through it. Without a history file that is not known.
  bool leads_to_newest(const BackupHead& head) {
    const TimelineId timeline = newest()->head->timeline;
    if (head.timeline == timeline || timeline == 1) return head.timeline == timeline;
    return !history_of(timeline) || recovery_path(head, timeline, *history_of(timeline));
  }

  std::vector<TimelineId> leads_to(const BackupHead& head) {
    std::set<TimelineId> timelines;
    for (const CatalogueEntry& entry : catalogue_)
      if (entry.head) timelines.insert(entry.head->timeline);
    std::vector<TimelineId> there;
    for (const TimelineId timeline : timelines)
      if (timeline == head.timeline ||
          (timeline > head.timeline && history_of(timeline) && recovery_path(head, timeline, *history_of(timeline))))
        there.push_back(timeline);
    return there;
  }

  void keep_live() {
    for (const LiveTimeline& live : live_) {
      result_.plan.wal_from = std::min(result_.plan.wal_from, live.from);
      for (RetentionDecision& decision : result_.plan.decisions)
        if (std::ranges::find(live.backups, decision.label) != live.backups.end())
          decision.reasons.push_back("timeline " + std::to_string(live.timeline) + " goes on from it");
    }
  }

  // A store that has left a backup out of a list would have its packs removed.
  void require_same_list() const {
    const CatalogueEntry* last = newest();
    if (last == nullptr) return;
    for (const std::string& label : list_backup_labels(repository_, context_))
      if (label < last->label && !std::ranges::binary_search(catalogue_, label, {}, &CatalogueEntry::label))
        throw Error(ErrorKind::unavailable,
                    "the store's list of backups changes: it did not have " + label + " a moment ago",
                    "Nothing was removed. Run it again.");
  }

  // Who pins one of them from now on is told that it goes; who has pinned one meanwhile keeps it. What was pinned and
  // is not any more stays as well, as it was not announced.
  void announce(const RetentionRules& rules) {
    const std::set<std::string> announced = expired_;
    if (announced.empty()) return;
    const std::string run = unique_name(repository_);
    plan(rules, announce_removal(repository_, Pinnable::backup, announced, run, context_));
    for (const std::string& label : announced)
      if (!expired_.contains(label)) withdraw_announcement(repository_, Pinnable::backup, label, run, context_);
    for (RetentionDecision& decision : result_.plan.decisions)
      if (!decision.keep() && !announced.contains(decision.label)) {
        decision.reasons.emplace_back("was pinned");
        expired_.erase(decision.label);
      }
  }

  [[nodiscard]] const CatalogueEntry* newest() const {
    for (auto entry = catalogue_.rbegin(); entry != catalogue_.rend(); ++entry)
      if (entry->head) return &*entry;
    return nullptr;
  }

  // A backup that is running, or was aborted and will be used by the next one.
  [[nodiscard]] bool is_open(const CatalogueEntry& entry) const {
    const CatalogueEntry* last = newest();
    return !entry.head && (last == nullptr || entry.label > last->label);
  }

  std::set<PackId> packs_of(const CatalogueEntry& entry) const {
    std::vector<Digest> digests;
    std::set<PackId> packs;
    for (const PackInfo& pack : read_pack_list(repository_, *entry.head, digests, context_))
      packs.insert(pack.id);
    return packs;
  }

  // The backup that an unfinished one compares with.
  std::string base_of(const std::string& label) const {
    const auto begun = repository_.get(backup_begun_key(label), ObjectKind::backup_event, max_head_size, context_);
    if (!begun) return {};
    const auto json = nlohmann::json::parse(as_text(*begun), nullptr, false);
    return json.is_object() ? json.value("base", std::string()) : std::string();
  }

  std::set<PackId> packs_to_remove() const {
    if (newest() == nullptr) return {};
    std::set<PackId> needed, known;
    bool open = false;
    std::set<std::string> compared; // what a running backup compares with: it refers to the same packs
    for (const CatalogueEntry& entry : catalogue_)
      if (is_open(entry)) {
        open = true;
        compared.insert(base_of(entry.label));
      }
    for (const CatalogueEntry& entry : catalogue_)
      if (entry.head)
        (expired_.contains(entry.label) && !compared.contains(entry.label) ? known : needed).merge(packs_of(entry));
    std::set<PackId> dropped;
    for (const PackInfo& pack : packs_)
      if (!needed.contains(pack.id) && (!open || known.contains(pack.id))) dropped.insert(pack.id);
    return dropped;
  }

  void remove_backups() {
    for (const CatalogueEntry& entry : catalogue_) {
      const bool stale = !entry.head && !is_open(entry);
      if (!stale && !expired_.contains(entry.label)) continue;
      ++(stale ? result_.unfinished : result_.backups);
      remove(summary_key(entry.label)); // first: it says that the manifest is there
      remove(backup_head_key(entry.label));
      std::vector<std::string> names;
      for_each_object(repository_, backup_prefix(entry.label), context_,
                      [&](const std::string& name, const ObjectInfo&) { names.push_back(name); });
      // "begun" last: as long as it is there, the rest is found again.
      std::erase(names, backup_begun_key(entry.label));
      for (const std::string& name : names)
        remove(name);
      if (!dry_run_) forget_removed(repository_, Pinnable::backup, entry.label, context_);
      remove(backup_begun_key(entry.label));
    }
  }

  // A backup that runs, or was finished meanwhile, may be of any timeline, and does not say where its WAL begins: it
  // does behind that of each backup of the same timeline that was finished when it began. The newest of those; absent:
  // no backup runs.
  [[nodiscard]] std::optional<std::string> last_before_those_that_run() const {
    std::optional<std::string> last;
    for (const std::string& label : list_backup_labels(repository_, context_)) {
      if (label <= newest()->label) continue;
      const std::string base = base_of(label);
      last = std::min(last.value_or(label), base.empty() ? label : base);
    }
    return last;
  }

  // Of WAL that is older than what has to be kept as a whole, what a kept backup needs to become consistent. Objects
  // are listed before what may need them, which may appear at any time: a server that was restored and goes on, a
  // backup.
  void remove_wal() {
    if (newest() == nullptr) return;
    std::vector<std::pair<SegmentNumber, SegmentNumber>> needed;
    const SegmentSize size(newest()->head->wal_segment_size);
    for (const CatalogueEntry& entry : catalogue_)
      if (entry.head && !expired_.contains(entry.label)) {
        if (entry.head->wal_segment_size != size.bytes()) return; // segments have no common numbers
        needed.emplace_back(size.segment_of(entry.head->start_lsn), size.segment_of(entry.head->stop_lsn));
      }
    struct WalObject {
      ObjectInfo object;
      SegmentId segment;
    };
    std::vector<WalObject> objects;
    for_each_object(repository_, "wal/", context_, [&](const std::string& name, const ObjectInfo& object) {
      const auto key = parse_wal_key(name);
      const auto remnant = key ? std::nullopt : parse_remnant_key(name);
      if (!key && !remnant) return;
      const auto segment = parse_segment_name(key ? key->file.segment : remnant->segment, size);
      if (!segment || segment->number >= size.segment_of(result_.plan.wal_from)) return;
      for (const auto& [first, last] : needed)
        if (segment->number >= first && segment->number <= last) return;
      objects.push_back({object, *segment});
    });

    Lsn wal_from = result_.plan.wal_from;
    std::set<TimelineId> live;
    std::vector<LiveTimeline> timelines = live_timelines(repository_, catalogue_, *damage_, context_);
    std::ranges::copy(live_, std::back_inserter(timelines));
    for (const LiveTimeline& timeline : timelines) {
      live.insert(timeline.timeline);
      wal_from = std::min(wal_from, timeline.from);
    }
    std::map<TimelineId, SegmentNumber> before; // which any is removed
    for (const WalObject& each : objects)
      if (!live.contains(each.segment.timeline)) before[each.segment.timeline] = size.segment_of(wal_from);
    if (const auto last = last_before_those_that_run())
      for (auto& [timeline, from] : before) {
        SegmentNumber begun = 0;
        for (const CatalogueEntry& entry : catalogue_)
          if (entry.head && entry.head->timeline == timeline && entry.label <= *last)
            begun = std::max(begun, size.segment_of(entry.head->start_lsn));
        from = std::min(from, begun);
      }
    std::erase_if(objects, [&](const WalObject& each) {
      const auto from = before.find(each.segment.timeline);
      return from == before.end() || each.segment.number >= from->second;
    });
    std::erase_if(before, [&](const auto& timeline) {
      return std::ranges::find(objects, timeline.first, [](const WalObject& each) { return each.segment.timeline; }) ==
             objects.end();
    });
    for (const auto& [timeline, from] : before) // ascending: a note replaces those of which it says all
      if (!dry_run_) note_expired_wal(repository_, timeline, size.start_of(from), context_);
    for (const WalObject& each : objects) {
      ++result_.wal_objects;
      result_.wal_bytes += each.object.size;
      if (!dry_run_) repository_.store.remove(each.object.key, context_);
    }
  }

  void remove(const std::string& name) {
    if (context_.stop.stop_requested()) throw Error(ErrorKind::cancelled, "expiry was cancelled");
    if (log_) log_({LogLevel::debug, (dry_run_ ? "would remove " : "removes ") + name});
    if (!dry_run_) repository_.store.remove(repository_.key(name), context_);
  }

  const BackupRepository& repository_;
  bool dry_run_;
  const LogSink& log_;
  const CallContext& context_;
  std::vector<PackInfo> packs_;
  std::vector<CatalogueEntry> catalogue_;
  std::vector<LiveTimeline> live_;
  std::optional<KnownDamage> damage_;
  mutable std::map<std::string, WallTime> stored_; // by label
  WallTime now_{};
  std::map<TimelineId, std::optional<std::vector<TimelineSwitch>>> histories_;
  std::set<std::string> expired_;
  ExpireResult result_;
};

} // namespace

ExpireResult expire(const BackupRepository& repository, const RetentionRules& rules, bool dry_run, const LogSink& log,
                    const CallContext& context) {
  return Expiry(repository, dry_run, log, context).run(rules);
}

} // namespace dbops::core
