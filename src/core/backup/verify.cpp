#include "core/backup/verify.h"

#include "core/backup/damaged_packs.h"
#include "core/backup/dump.h"
#include "core/backup/evidence.h"
#include "core/backup/file_rules.h"
#include "core/backup/known_damage.h"
#include "core/backup/pack_reader.h"
#include "core/backup/region_map.h"
#include "core/backup/relation_names.h"
#include "core/backup/restore_run.h"
#include "core/backup/stored_file.h"
#include "core/backup/summary.h"
#include "core/backup/verify_checkpoint.h"
#include "core/backup/verify_wal.h"
#include "core/backup/wal_coverage.h"
#include "core/base/error.h"
#include "core/base/thread_pool.h"

#include <algorithm>
#include <mutex>
#include <set>

namespace dbops::core {

namespace {

constexpr std::size_t map_frames_kept = 64;
constexpr std::size_t most_ranges = 20; // of blocks that are named of one file
constexpr unsigned readers = 32;        // of manifests at a time: small objects, so that the time is that of the way
constexpr auto last_words = std::chrono::seconds(10); // to keep what was read, when interrupted

class Verification {
 public:
  Verification(const BackupRepository& repository, const VerifyOptions& options, VerifyProgress& progress,
               const LogSink& log, const CallContext& context)
      : repository_(repository), options_(options), progress_(progress), log_(log), context_(context),
        reader_(repository.store, repository.system_identifier, repository.keys), maps_(reader_, map_frames_kept) {}

  VerifyResult run() {
    if (!options_.label.empty() && !is_backup_label(options_.label)) throw not_there();
    if (options_.deep)
      checkpoint_.emplace(repository_, options_.label.empty() ? "all" : options_.label, options_.restart, log_,
                          context_);
    try {
      check_all();
    } catch (...) {
      keep_checkpoint();
      throw;
    }
    if (checkpoint_) checkpoint_->finish(context_);
    return std::move(result_);
  }

 private:
  void check_all() {
    known_.emplace(repository_, context_);
    doubtful_.insert(known_->packs().begin(), known_->packs().end());
    catalogue_ = read_catalogue(repository_, readers, context_);
    std::vector<CatalogueEntry> scope;
    std::ranges::copy_if(catalogue_, std::back_inserter(scope), [this](const CatalogueEntry& entry) {
      return options_.label.empty() || entry.label == options_.label;
    });
    require_keys(scope);
    for (const CatalogueEntry& entry : scope) {
      if (!entry.problem.empty()) report(entry.label, "its manifest: " + entry.problem);
      if (!entry.head) continue;
      ++result_.backups;
      heads_.push_back(*entry.head);
      guarded(entry.label, [&] { check_lists(heads_.back()); });
      guarded(entry.label,
              [&] { check_consistent(wal_coverage(timeline_of(heads_.back()), heads_.back()), heads_.back()); });
    }
    check_dumps();
    if (!options_.label.empty() && heads_.empty() && result_.dumps == 0 && result_.damage.empty() &&
        dump_damage_.empty())
      throw not_there();
    find_damaged_packs();
    if (!damaged_.empty()) name_damage();
    if (!options_.deep) report_known();
    check_wal();
    forget_removed();
    for (const BackupHead& head : heads_)
      if (!is_reported(head.label)) result_.whole.push_back(head.label);
    keep_record();
    std::ranges::move(dump_damage_, std::back_inserter(result_.damage));
    result_.resumed = checkpoint_ ? checkpoint_->resumed() : 0;
  }

  [[nodiscard]] Error not_there() const {
    return {ErrorKind::configuration, "the store has no finished backup or dump " + options_.label};
  }

  // What was found by reading, and only reading can find to be gone.
  void report_known() {
    for (const BackupHead& head : heads_) {
      if (!is_doubtful(head.label) || is_reported(head.label)) continue;
      report(head.label, describe(known_->named().at(head.label)));
      repeated_.insert(head.label);
    }
  }

  // Reading has found damage in it. What an interrupted run has read of it may have been read before that.
  [[nodiscard]] bool is_doubtful(const std::string& label) const {
    const auto found = known_->named().find(label);
    return found != known_->named().end() && found->second.deep;
  }

  [[nodiscard]] bool is_reported(const std::string& label) const {
    return std::ranges::find(result_.damage, label, &Damage::backup) != result_.damage.end();
  }

  // Also when the caller wants no more.
  void keep_checkpoint() noexcept {
    if (!checkpoint_) return;
    try {
      checkpoint_->save({.stop = {}, .deadline = std::chrono::steady_clock::now() + last_words});
    } catch (const std::exception&) { // what is not kept is read again
    }
  }

  const TimelineContents& timeline_of(const BackupHead& head) {
    const auto found = timelines_.find(head.timeline);
    if (found != timelines_.end()) return found->second;
    return timelines_
        .emplace(head.timeline, read_timeline(repository_.store, repository_.system_identifier, head.timeline,
                                              SegmentSize(head.wal_segment_size), {}, context_))
        .first->second;
  }

  void check_wal() {
    if (heads_.empty()) return;
    if (options_.label.empty())
      for (const WalGap& gap : wal_gaps(repository_, catalogue_, options_.gap_time, context_))
        report(wal_damage, gap.to == 0
                               ? "the history file of timeline " + std::to_string(gap.timeline) +
                                     " is missing: recovery from backup " + gap.last_backup +
                                     " and those before it does not come to that timeline"
                               : "is missing from " + to_string(gap.from) + " to " + to_string(gap.to) +
                                     " of timeline " + std::to_string(gap.timeline) + ": recovery from backup " +
                                     gap.last_backup + " and those before it ends there");
    if (!options_.deep) return;
    const SegmentSize size(heads_.back().wal_segment_size);
    const auto wanted = [&](const std::string& name, const std::optional<SegmentId>& segment) {
      if (!options_.label.empty() && (!segment || !needs(heads_.back(), *segment, size))) return false;
      return !checkpoint_->has(name) || (segment && std::ranges::any_of(heads_, [&](const BackupHead& head) {
                                           return needs(head, *segment, size) && is_doubtful(head.label);
                                         }));
    };
    const auto read = [&](std::uint64_t bytes) {
      progress_.bytes += bytes;
      ++progress_.wal_objects;
    };
    for (const DamagedWal& damaged :
         read_wal(repository_, size, options_.threads, wanted, *checkpoint_, read, context_)) {
      bool needed = false;
      for (const BackupHead& head : heads_)
        if (damaged.segment && needs(head, *damaged.segment, size)) {
          needed = true;
          report(head.label, "WAL that it needs to become consistent: \"" + damaged.name + "\": " + damaged.what);
        }
      if (!needed) report(wal_damage, "\"" + damaged.name + "\": " + damaged.what);
    }
  }

  static bool needs(const BackupHead& head, const SegmentId& segment, SegmentSize size) {
    return segment.timeline == head.timeline && segment.number >= size.segment_of(head.start_lsn) &&
           segment.number <= size.segment_of(head.stop_lsn - 1);
  }

  void report(const std::string& backup, const std::string& what) {
    if (log_) log_({LogLevel::warning, (backup == wal_damage ? backup : "backup " + backup) + ": " + what});
    result_.damage.push_back({backup, what});
  }

  // A dump may have a backup's label: what is wrong with one is not wrong with the other.
  void report_dump(const std::string& label, const std::string& what) {
    if (log_) log_({LogLevel::warning, "dump " + label + ": " + what});
    dump_damage_.push_back({label, what});
  }

  // Of each backup that damage was found in, and of those outside of the scope that refer to packs that are damaged.
  [[nodiscard]] std::map<std::string, std::string> damaged_backups() {
    std::map<std::string, std::string> damaged;
    std::map<std::string, std::size_t> more;
    for (const Damage& damage : result_.damage)
      if (std::ranges::binary_search(catalogue_, damage.backup, {}, &CatalogueEntry::label) &&
          !repeated_.contains(damage.backup) && !damaged.emplace(damage.backup, damage.what).second)
        ++more[damage.backup];
    for (const auto& [label, count] : more)
      damaged[label] += ", and " + std::to_string(count) + " more";
    if (damaged_.empty() || options_.label.empty()) return damaged;
    for (const CatalogueEntry& entry : catalogue_)
      if (entry.head && entry.label != options_.label)
        if (auto what = shared_damage(*entry.head)) damaged.emplace(entry.label, std::move(*what));
    return damaged;
  }

  [[nodiscard]] std::optional<std::string> shared_damage(const BackupHead& head) {
    try {
      std::vector<Digest> digests;
      for (const PackInfo& pack : read_pack_list(repository_, head, digests, context_))
        if (const auto found = damaged_.find(pack.id); found != damaged_.end())
          return "it refers to \"" + pack_key(pack.id) + "\": " + found->second;
    } catch (const Error& error) { // a verification of that backup tells
      if (error.kind() != ErrorKind::corrupt && error.kind() != ErrorKind::not_found && !is_key_problem(error.kind()))
        throw;
    }
    return {};
  }

  // Records are in the order in which they were made, whatever a clock says: damage that was found after a leap of the
  // clock counts.
  void keep_record() {
    const WallTime now = repository_.clock.wall_now();
    const WallTime order = std::max(now, known_->last_order() + std::chrono::seconds(1));
    VerifyRecord record{
        .at = now, .deep = options_.deep, .whole = result_.whole, .damaged = damaged_backups(), .order = order};
    std::ranges::copy(whole_dumps_, std::back_inserter(record.whole));
    record.damaged.merge(damaged_dumps_);
    try {
      put_verification(repository_, record, context_);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::access_denied) throw;
      if (log_) log_({LogLevel::warning, std::string("the result is not kept: ") + error.what()});
    }
  }

  // What the check throws because of damage is a finding; all else ends the verification.
  template <class Check>
  void guarded(const std::string& backup, const Check& check) {
    try {
      check();
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::corrupt && error.kind() != ErrorKind::not_found &&
          error.kind() != ErrorKind::configuration)
        throw;
      report(backup, error.what());
    }
  }

  void check_lists(const BackupHead& head) {
    FileListReader files(repository_, head.label, head.file_parts);
    while (files.next(context_))
      stop_if_wanted();
    std::vector<Digest> digests = files.digests();
    const bool doubtful = is_doubtful(head.label);
    for (const PackInfo& pack : read_pack_list(repository_, head, digests, context_)) {
      packs_.insert(pack);
      if (doubtful) doubtful_.insert(pack.id);
    }
    if (digest_of_parts(digests) != head.content)
      throw Error(ErrorKind::corrupt, "its lists are not those that it was made with");
  }

  void check_dumps() {
    for (const DumpEntry& entry : read_dumps(repository_, 8, context_)) {
      if (!options_.label.empty() && entry.label != options_.label) continue;
      stop_if_wanted();
      if (entry.key_problem) throw Error(*entry.key_problem, "dump " + entry.label + ": " + entry.problem, entry.hint);
      if (!entry.problem.empty()) report_dump(entry.label, "the manifest of the dump: " + entry.problem);
      if (!entry.head) continue;
      ++result_.dumps;
      const std::string name = dump_prefix(entry.label);
      const auto known = known_->named().find(name);
      const bool doubtful = known != known_->named().end() && known->second.deep;
      const bool deep = options_.deep && (doubtful || !checkpoint_->has(name));
      const auto damage = damage_of_dump(repository_, *entry.head, deep, options_.threads, context_);
      const std::string which = "dump of database \"" + entry.head->database + "\": ";
      for (const std::string& what : damage)
        report_dump(entry.label, which + what);
      if (!damage.empty())
        damaged_dumps_[name] =
            which + damage.front() + (damage.size() > 1 ? ", and " + std::to_string(damage.size() - 1) + " more" : "");
      else if (doubtful && !options_.deep) // only reading can find it to be gone
        report_dump(entry.label, describe(known->second));
      else
        whole_dumps_.push_back(name);
      if (deep && damage.empty()) checkpoint_->add(name);
      if (deep) checkpoint_->save(context_, true);
    }
  }

  [[nodiscard]] bool is_there(const std::string& name) const {
    return repository_.store.head(repository_.key(name), context_).has_value();
  }

  // Whoever removes a backup removes its summary first: while that is there, a manifest that is not was lost.
  [[nodiscard]] bool was_removed(const std::string& label) const {
    return !is_there(backup_head_key(label)) && !is_there(summary_key(label));
  }

  // What expiry has removed meanwhile is no damage.
  void forget_removed() {
    std::erase_if(heads_, [this](const BackupHead& head) { return was_removed(head.label); });
    std::erase_if(result_.damage,
                  [this](const Damage& damage) { return damage.backup != wal_damage && was_removed(damage.backup); });
    std::erase_if(dump_damage_, [this](const Damage& damage) { return !is_there(dump_head_key(damage.backup)); });
  }

  [[nodiscard]] std::set<PackId> packs_needed() {
    std::set<PackId> needed;
    for (const BackupHead& head : heads_)
      guarded(head.label, [&] {
        std::vector<Digest> digests;
        for (const PackInfo& pack : read_pack_list(repository_, head, digests, context_))
          needed.insert(pack.id);
      });
    return needed;
  }

  void find_damaged_packs() {
    const std::vector<PackInfo> packs(packs_.begin(), packs_.end());
    if (const auto missing = missing_packs(repository_, packs, context_); !missing.empty()) {
      forget_removed();
      const std::set<PackId> needed = packs_needed();
      for (const PackInfo& pack : missing)
        if (needed.contains(pack.id)) damaged_[pack.id] = "missing, or of another size";
    }
    result_.packs = packs.size();
    progress_.packs_total = packs.size();
    if (options_.deep)
      read_packs(packs);
    else
      for (const PackId& id : known_->packs())
        if (std::ranges::binary_search(packs, id, {}, &PackInfo::id))
          damaged_.try_emplace(id, "found to be damaged or missing before; only a deep verification tells more");
    note_damaged_packs();
    if (options_.deep) forget_mended(packs);
  }

  // What was found is told, whether it can be noted or not.
  void note_damaged_packs() {
    try {
      for (const auto& [id, what] : damaged_)
        repository_.store.put_if_absent(repository_.key(damaged_key(id)), as_bytes(what), context_);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::access_denied) throw;
      if (log_)
        log_({LogLevel::warning,
              std::string("packs that are damaged are not noted, and the next backup may use them: ") + error.what()});
    }
  }

  // Packs that were damaged, and have been read as a whole now.
  void forget_mended(const std::vector<PackInfo>& packs) {
    for (const PackId& id : known_->packs())
      if (!damaged_.contains(id) && std::ranges::binary_search(packs, id, {}, &PackInfo::id)) try {
          repository_.store.remove(repository_.key(damaged_key(id)), context_);
        } catch (const Error& error) {
          if (error.kind() != ErrorKind::access_denied) throw;
          if (log_)
            log_({LogLevel::warning,
                  "\"" + pack_key(id) + "\" is whole again, and stays noted as damaged: " + std::string(error.what())});
        }
  }

  void read_packs(const std::vector<PackInfo>& packs) {
    std::atomic<std::size_t> next{0};
    ThreadPool pool(options_.threads);
    std::vector<std::future<void>> running;
    for (unsigned i = 0; i < options_.threads; ++i)
      running.push_back(pool.submit([&](const std::stop_token&) {
        for (std::size_t number = next++; number < packs.size(); number = next++) {
          stop_if_wanted();
          read_pack(packs[number]);
        }
      }));
    for (std::future<void>& reading : running)
      while (reading.wait_for(std::chrono::seconds(1)) != std::future_status::ready)
        checkpoint_->save(context_, true);
    for (std::future<void>& reading : running)
      reading.get();
    checkpoint_->save(context_);
  }

  void read_pack(const PackInfo& pack) {
    const std::string name = pack_key(pack.id);
    if (checkpoint_->has(name) && !doubtful_.contains(pack.id)) {
      ++progress_.packs;
      return;
    }
    try {
      if (repository_.get(name, ObjectKind::pack, max_pack_size, context_)) {
        progress_.bytes += pack.size;
        checkpoint_->add(name);
      }
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::corrupt) throw;
      const std::lock_guard lock(mutex_);
      damaged_[pack.id] = error.what();
    }
    ++progress_.packs;
  }

  // Which files of which backups need the packs that are damaged.
  void name_damage() {
    for (const auto& [id, what] : damaged_)
      if (log_) log_({LogLevel::warning, "\"" + pack_key(id) + "\": " + what});
    for (const BackupHead& head : heads_)
      guarded(head.label, [&] {
        FileListReader files(repository_, head.label, head.file_parts);
        RelationNames names([&](const std::string& path, const std::function<void(ByteView)>& sink) {
          return read_whole(head, path, sink);
        });
        while (const auto entry = files.next(context_)) {
          stop_if_wanted();
          name_damage(head, *entry, names);
        }
      });
  }

  // False: the backup does not have it, or its maps cannot be read.
  bool read_whole(const BackupHead& head, const std::string& path, const std::function<void(ByteView)>& sink) {
    try {
      const auto file = find_stored_file(repository_, head, path, context_);
      if (file) read_stored_file(*file, reader_, maps_, sink, context_);
      return file.has_value();
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::corrupt && error.kind() != ErrorKind::not_found) throw;
      return false;
    }
  }

  void name_damage(const BackupHead& head, const FileEntry& entry, RelationNames& names) {
    std::string ranges;
    std::size_t count = 0;
    const auto relation = parse_relation_file(entry.path);
    const std::uint64_t first_block = relation ? std::uint64_t(relation->segment) * relation_segment_pages : 0;
    for (std::size_t i = 0; i < entry.regions.size(); ++i)
      for (const auto& [first, last] : damaged_blocks(entry.regions[i])) {
        if (++count > most_ranges) continue;
        const std::uint64_t from = first_block + i * region_blocks + first, to = first_block + i * region_blocks + last;
        ranges += (ranges.empty() ? "" : ", ") + std::to_string(from) + (to > from ? "-" + std::to_string(to) : "");
      }
    if (count == 0) return;
    if (count > most_ranges) ranges += " and more";
    const std::string name = names.describe(entry.path);
    report(head.label, name + (name.empty() ? "" : ", ") + "\"" + entry.path + "\"" +
                           (relation ? ", fork " + std::string(to_string(relation->fork)) : std::string()) +
                           ", block " + ranges);
  }

  // Ranges of blocks of the region that cannot be restored; all of them when its map is damaged.
  std::vector<std::pair<std::uint32_t, std::uint32_t>> damaged_blocks(const BlobRef& ref) {
    const auto load = [&](const BlobRef& blob) {
      if (damaged_.contains(blob.frame.pack)) throw Error(ErrorKind::corrupt, "in a damaged pack");
      return maps_.read(blob, context_);
    };
    std::vector<std::pair<std::uint32_t, std::uint32_t>> ranges;
    try {
      const RegionMap map = decode_region_map(load(ref), load).map;
      for (std::uint32_t i = 0; i < map.blocks.size(); ++i) {
        const BlockEntry& block = map.blocks[i];
        if (block.frame == BlockEntry::zero || !damaged_.contains(map.frames[block.frame].pack)) continue;
        if (!ranges.empty() && ranges.back().second + 1 == i)
          ranges.back().second = i;
        else
          ranges.emplace_back(i, i);
      }
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::corrupt && error.kind() != ErrorKind::not_found) throw;
      ranges.assign(1, {0, region_blocks - 1});
    }
    return ranges;
  }

  void stop_if_wanted() const {
    if (context_.stop.stop_requested()) throw Error(ErrorKind::cancelled, "the verification was cancelled");
  }

  const BackupRepository& repository_;
  const VerifyOptions& options_;
  VerifyProgress& progress_;
  const LogSink& log_;
  const CallContext& context_;
  PackReader reader_;
  BlobReader maps_;
  std::optional<VerifyCheckpoint> checkpoint_; // of a deep one
  std::optional<KnownDamage> known_;           // from before
  std::vector<Damage> dump_damage_;
  std::vector<std::string> whole_dumps_;             // dump_prefix()
  std::map<std::string, std::string> damaged_dumps_; // by dump_prefix()
  std::set<std::string> repeated_;                   // labels of which only that was reported
  std::vector<CatalogueEntry> catalogue_;
  std::map<TimelineId, TimelineContents> timelines_;
  std::vector<BackupHead> heads_;
  std::set<PackInfo> packs_;
  std::set<PackId> doubtful_; // are read, whatever an interrupted run has read
  std::mutex mutex_;
  std::map<PackId, std::string> damaged_; // and why
  VerifyResult result_;
};

} // namespace

VerifyResult verify(const BackupRepository& repository, const VerifyOptions& options, VerifyProgress& progress,
                    const LogSink& log, const CallContext& context) {
  return Verification(repository, options, progress, log, context).run();
}

} // namespace dbops::core
