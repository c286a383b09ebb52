#include "core/wal/fence.h"

#include "core/base/error.h"
#include "core/base/printable.h"

namespace dbops::core {

TimelineFence::TimelineFence(ObjectStore& store, std::uint64_t system_identifier, Owner owner, const Clock& clock,
                             milliseconds recheck)
    : store_(store), system_identifier_(system_identifier), owner_(std::move(owner)), clock_(clock), recheck_(recheck) {
}

void TimelineFence::open_once(const CallContext& context) {
  const SteadyTime now = clock_.steady_now();
  if (opened_ && now - *opened_ < recheck_) return;
  const std::string store = store_.describe();
  if ((opened_ || (known_ && known_->contains(store))) && !read_repository(store_, system_identifier_, context))
    throw Error(ErrorKind::configuration,
                store + " has held WAL of this cluster (system identifier " + std::to_string(system_identifier_) +
                    "), and has none now",
                "Mount its file system, or restore what was removed. If it was emptied on purpose, run SELECT "
                "dbops.take_over_archive().");
  if (!opened_) {
    open_repository(store_, system_identifier_, owner_, clock_.wall_now(), context);
    if (known_) known_->add(store);
  }
  opened_ = now;
}

void TimelineFence::remember_in(const std::filesystem::path& data_directory) {
  known_.emplace(data_directory);
}

void TimelineFence::accept_empty_store() {
  const std::lock_guard lock(mutex_);
  if (known_) known_->remove(store_.describe());
}

void TimelineFence::require_repository(const CallContext& context) {
  const std::lock_guard lock(mutex_);
  open_once(context);
}

void TimelineFence::require_ours(TimelineId timeline, const CallContext& context) {
  const std::lock_guard lock(mutex_);
  open_once(context);
  const SteadyTime now = clock_.steady_now();
  if (const auto seen = ours_.find(timeline); seen != ours_.end() && now - seen->second < recheck_) return;
  const TimelineClaim claim = claim_timeline(store_, system_identifier_, timeline, owner_, clock_.wall_now(), context);
  if (claim.ours) {
    ours_[timeline] = now;
    return;
  }
  ours_.erase(timeline);
  throw Error(ErrorKind::conflict,
              "timeline " + std::to_string(timeline) + " of system identifier " + std::to_string(system_identifier_) +
                  " in " + store_.describe() + " belongs to another server: " + printable(claim.owner.description) +
                  ", instance " + printable(claim.owner.instance, 64) + "; this is " + owner_.description +
                  ", instance " + owner_.instance,
              "Give a copy or a restored server a store of its own, or let it change to a new timeline (a restore with "
              "a recovery target, pg_promote). If the other server is gone for good and this one continues in its "
              "place, run SELECT dbops.take_over_archive().");
}

} // namespace dbops::core
