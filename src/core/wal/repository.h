// The part of a repository that belongs to one cluster, and who may write to it.
#pragma once

#include "core/store/object_store.h"
#include "core/wal/segment.h"

#include <optional>
#include <string>

namespace dbops::core {

// One running cluster. Two clusters with one system identifier (a promoted standby, a clone) differ in `instance`.
struct Owner {
  std::string instance;    // chosen at random once and kept by the cluster; not empty, not secret
  std::string description; // host, port and data directory, for messages
};

struct RepositoryInfo {
  std::uint64_t system_identifier = 0;
  Owner first_owner;
  WallTime created;
};

// Creates repository.json of this cluster unless it is there, and returns what is there.
// Throws Error(configuration) when its format is newer than this program, Error(corrupt) when it is not readable.
RepositoryInfo open_repository(ObjectStore& store, std::uint64_t system_identifier, const Owner& owner, WallTime now,
                               const CallContext& context);

// Absent: this store holds nothing of this cluster.
std::optional<RepositoryInfo> read_repository(ObjectStore& store, std::uint64_t system_identifier,
                                              const CallContext& context);

// Who writes a timeline. The first to claim it is its owner until an operator lets another instance take it over: two
// promoted clones that chose the same number cannot both archive to it. Each take-over is an object of its own, of the
// next epoch; the highest one counts.
struct TimelineClaim {
  bool ours = false;
  Owner owner;
  std::uint32_t epoch = 1;
};

// Claims the timeline when nobody has.
TimelineClaim claim_timeline(ObjectStore& store, std::uint64_t system_identifier, TimelineId timeline,
                             const Owner& owner, WallTime now, const CallContext& context);

// Absent: nobody has claimed it.
std::optional<TimelineClaim> read_claim(ObjectStore& store, std::uint64_t system_identifier, TimelineId timeline,
                                        const Owner& owner, const CallContext& context);

// Makes `owner` the owner of the timeline, whoever it was. Idempotent. Throws Error(conflict) when another instance
// takes it over at the same moment.
TimelineClaim take_over_timeline(ObjectStore& store, std::uint64_t system_identifier, TimelineId timeline,
                                 const Owner& owner, WallTime now, const CallContext& context);

} // namespace dbops::core
