// Keeps a cluster from writing to a timeline that another one owns.
#pragma once

#include "core/wal/known_repositories.h"
#include "core/wal/repository.h"

#include <map>
#include <mutex>

namespace dbops::core {

// Used by any number of threads.
class TimelineFence {
 public:
  // store, clock: must outlive the fence. recheck: after how long the owner is looked up again before the next write,
  // so that a server whose timeline was taken over stops, and one whose store was unmounted.
  TimelineFence(ObjectStore& store, std::uint64_t system_identifier, Owner owner, const Clock& clock,
                milliseconds recheck = milliseconds(30000));

  // From now on a repository is created only in a store that is not known to have had one of this cluster. Before any
  // other call.
  void remember_in(const std::filesystem::path& data_directory);
  // A known store that is empty is meant to be.
  void accept_empty_store();

  // Creates the repository of the cluster if there is none, and claims the timeline unless it is claimed.
  // Throws Error(conflict) naming the owner when that is another instance, and what ObjectStore throws.
  void require_ours(TimelineId timeline, const CallContext& context);

  // Creates the repository if there is none. For what is written without owning its timeline.
  void require_repository(const CallContext& context);

  [[nodiscard]] const Owner& owner() const noexcept { return owner_; }

 private:
  void open_once(const CallContext& context);

  ObjectStore& store_;
  std::uint64_t system_identifier_;
  Owner owner_;
  const Clock& clock_;
  milliseconds recheck_;
  std::mutex mutex_;                 // held during the request: one look-up serves all threads
  std::optional<SteadyTime> opened_; // when the repository was last seen
  std::optional<KnownRepositories> known_;
  std::map<TimelineId, SteadyTime> ours_; // when it was last looked up
};

} // namespace dbops::core
