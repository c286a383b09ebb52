// Gives the offsite repository what it lacks after an outage that was too long for pg_wal, from the first repository.
#pragma once

#include "core/wal/offsite_backlog.h"
#include "server/archive/threads.h"

namespace dbops::server::archive {

class CatchUp {
 public:
  explicit CatchUp(const Cluster& cluster) : cluster_(cluster), file_(cluster.data_directory) {}

  // Starts to copy when something is lacking and nothing is under way.
  void drive(const Settings& settings, const ThreadEvent& event);
  void collect();
  void stop() { task_.stop(); }

 private:
  struct Result {
    core::RepositoryCopier::Step step;
    std::optional<ThreadFailure> failure;
  };
  static Result run(const Settings& settings, const Cluster& cluster, const core::OffsiteBacklog& backlog,
                    const std::stop_token& stop);

  Cluster cluster_;
  core::OffsiteBacklogFile file_;
  BackgroundTask<Result> task_;
  core::OffsiteBacklog seen_;
  RateLimit warnings_;
  core::milliseconds pause_{0};
  core::SteadyTime not_before_{};
};

} // namespace dbops::server::archive
