// Gives the offsite repository what it lacks from the first one: after an outage that was too long for pg_wal, and
// after a promotion, when nobody knows what the old primary had let go.
#pragma once

#include "core/wal/offsite_backlog.h"
#include "core/wal/repository_copier.h"
#include "server/archive/threads.h"

namespace dbops::server::archive {

class CatchUp {
 public:
  explicit CatchUp(const Cluster& cluster) : cluster_(cluster), file_(cluster.data_directory) {}

  // Starts to copy when something is lacking and nothing is under way.
  void drive(const Settings& settings, const ThreadEvent& event);
  // True: the offsite repository has everything now.
  bool collect();
  void request_stop() { task_.request_stop(); }
  [[nodiscard]] bool ended() const { return task_.ended(); }
  void stop(core::SteadyTime deadline) { task_.stop(deadline); }

 private:
  struct Result {
    core::OffsiteBacklog backlog;        // that the step is about, or
    std::vector<std::string> tried = {}; // names of objects that were damaged before
    core::RepositoryCopier::Step step;
    std::optional<ThreadFailure> failure;
  };
  static Result run(const Settings& settings, const Cluster& cluster, const core::OffsiteBacklog& backlog,
                    const std::stop_token& stop);
  static Result try_again(const Settings& settings, const Cluster& cluster, const std::vector<std::string>& names,
                          const std::stop_token& stop);
  void keep_tried(const Result& result);
  void name_damaged(const std::vector<core::DamagedObject>& damaged);
  bool keep(const Result& result);
  void fail(const ThreadFailure& failure);

  Cluster cluster_;
  core::OffsiteBacklogFile file_;
  BackgroundTask<Result> task_;
  RateLimit warnings_;
  core::milliseconds pause_{0}, damaged_pause_{0};
  core::SteadyTime not_before_{}, damaged_not_before_{};
};

} // namespace dbops::server::archive
