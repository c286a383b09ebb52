#include "core/backup/expire_dumps.h"

#include "core/backup/known_damage.h"
#include "core/backup/pins.h"
#include "core/backup/store_clock.h"
#include "core/base/error.h"

#include <algorithm>
#include <map>

namespace dbops::core {

namespace {

constexpr auto longest_dump = std::chrono::hours(7 * 24); // one that is not finished by then was aborted

class Expiry {
 public:
  Expiry(const BackupRepository& repository, bool dry_run, const LogSink& log, const CallContext& context)
      : repository_(repository), dry_run_(dry_run), log_(log), context_(context) {}

  ExpiredDumps run(const RetentionRules& rules) {
    const std::vector<DumpEntry> dumps = read_dumps(repository_, 8, context_);
    damage_.emplace(repository_, context_);
    decide(dumps, rules, read_pins(repository_, Pinnable::dump, context_));
    if (!dry_run_) announce();
    for (const DumpDecision& decision : result_.decisions)
      if (decision.reasons.empty()) {
        ++result_.dumps;
        result_.bytes += remove(decision.label);
      }
    for (const std::string& label : aborted(dumps)) {
      ++result_.unfinished;
      remove(label);
    }
    return std::move(result_);
  }

 private:
  void decide(const std::vector<DumpEntry>& dumps, const RetentionRules& rules, const Pins& pins) {
    look_when_stored(dumps);
    now_ = time();
    reached_ = reached(dumps);
    struct Group {
      std::vector<RetentionBackup> backups;
    };
    std::map<std::tuple<std::string, std::vector<std::string>, std::vector<std::string>>, Group> groups;
    for (const DumpEntry& entry : dumps) {
      if (entry.head) {
        const auto held = held_by(pins, entry.label, reached_);
        groups[{entry.head->database, entry.head->tables, entry.head->schemas}].backups.push_back(
            {.label = entry.label,
             .finished = finished(*entry.head),
             .pinned = held.has_value(),
             .why_pinned = held.value_or(""),
             .damaged = damage_->named().contains(dump_prefix(entry.label))});
      } else if (!entry.problem.empty())
        result_.decisions.push_back({entry.label, "", {"not readable"}});
    }
    for (const auto& [key, group] : groups)
      for (RetentionDecision& decision : plan_retention(group.backups, rules, now_).decisions)
        result_.decisions.push_back({decision.label, std::get<0>(key), std::move(decision.reasons)});
    std::ranges::sort(result_.decisions, {}, &DumpDecision::label);
  }

  void look_when_stored(const std::vector<DumpEntry>& dumps) {
    for (const DumpEntry& entry : dumps)
      if (entry.head) stored_[entry.label] = stored_until(repository_, dump_head_key(entry.label), context_);
  }

  // What time it is: by the clock of this machine and by that of the store, as the dump has it that was stored last.
  // Its label need not be the last one: another machine's clock may have been ahead.
  [[nodiscard]] WallTime time() const {
    std::optional<WallTime> last;
    for (const auto& [label, stored] : stored_)
      if (stored != WallTime::max()) last = std::max(last.value_or(stored), stored);
    const WallTime now = repository_.clock.wall_now();
    return last ? std::min(now, *last) : now;
  }

  // As of backups.
  [[nodiscard]] WallTime finished(const DumpHead& head) const {
    return std::min(head.finished, stored_.at(head.label));
  }

  // When holds are looked at: no clock that jumps ends one.
  [[nodiscard]] WallTime reached(const std::vector<DumpEntry>& dumps) const {
    std::optional<WallTime> newest;
    for (const DumpEntry& entry : dumps)
      if (entry.head) newest = std::max(newest.value_or(entry.head->finished), entry.head->finished);
    return newest ? std::min(now_, *newest) : now_;
  }

  // As of backups: who pins one from now on is told that it goes; who has done so meanwhile keeps it.
  void announce() {
    withdraw_stale_announcements(repository_, Pinnable::dump, now_, context_);
    std::set<std::string> going;
    for (const DumpDecision& decision : result_.decisions)
      if (decision.reasons.empty()) going.insert(decision.label);
    const std::string run = unique_name(repository_);
    const Pins pins = announce_removal(repository_, Pinnable::dump, going, run, context_);
    for (DumpDecision& decision : result_.decisions)
      if (decision.reasons.empty() && held_by(pins, decision.label, reached_)) {
        decision.reasons.emplace_back("pinned");
        withdraw_announcement(repository_, Pinnable::dump, decision.label, run, context_);
      }
  }

  // Told by the store's clock alone, so that no other one can remove what is under way.
  std::vector<std::string> aborted(const std::vector<DumpEntry>& dumps) const {
    std::optional<WallTime> newest;
    for (const DumpEntry& entry : dumps)
      if (entry.head)
        if (const auto head = repository_.store.head(repository_.key(dump_head_key(entry.label)), context_))
          newest = std::max(newest.value_or(head->modified), head->modified);
    std::vector<std::string> labels;
    if (!newest) return labels;
    for (const DumpEntry& entry : dumps) {
      if (entry.head || !entry.problem.empty()) continue;
      const auto begun = repository_.store.head(repository_.key(dump_begun_key(entry.label)), context_);
      // Without "begun" it is the rest of one whose removal was interrupted.
      if (!begun || begun->modified + longest_dump < *newest) labels.push_back(entry.label);
    }
    return labels;
  }

  // The manifest first, so that no half of a dump looks like one; "begun" last, so that the rest is found again.
  std::uint64_t remove(const std::string& label) {
    std::uint64_t bytes = 0;
    std::vector<std::string> keys;
    ListRequest request;
    request.prefix = repository_.key(dump_prefix(label));
    do {
      ListPage page = repository_.store.list(request, context_);
      for (const ObjectInfo& object : page.objects) {
        keys.push_back(object.key);
        bytes += object.size;
      }
      request.continuation = std::move(page.continuation);
    } while (!request.continuation.empty());
    const std::string head = repository_.key(dump_head_key(label)), begun = repository_.key(dump_begun_key(label));
    std::erase(keys, head);
    std::erase(keys, begun);
    remove_object(head);
    for (const std::string& key : keys)
      remove_object(key);
    if (!dry_run_) forget_removed(repository_, Pinnable::dump, label, context_);
    remove_object(begun);
    return bytes;
  }

  void remove_object(const std::string& key) {
    if (context_.stop.stop_requested()) throw Error(ErrorKind::cancelled, "expiry was cancelled");
    if (log_) log_({LogLevel::debug, (dry_run_ ? "would remove " : "removes ") + key});
    if (!dry_run_) repository_.store.remove(key, context_);
  }

  const BackupRepository& repository_;
  bool dry_run_;
  const LogSink& log_;
  const CallContext& context_;
  std::map<std::string, WallTime> stored_; // by label; as stored_until()
  WallTime now_{}, reached_{};
  std::optional<KnownDamage> damage_;
  ExpiredDumps result_;
};

} // namespace

ExpiredDumps expire_dumps(const BackupRepository& repository, const RetentionRules& rules, bool dry_run,
                          const LogSink& log, const CallContext& context) {
  return Expiry(repository, dry_run, log, context).run(rules);
}

} // namespace dbops::core
