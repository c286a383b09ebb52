// Looks in one repository for WAL that is missing before the point where this timeline began: an old primary had not
// archived it, and the server that was promoted had recycled it.
#pragma once

#include "core/wal/lineage.h"
#include "server/archive/threads.h"

namespace dbops::server::archive {

class LineageWatch {
 public:
  LineageWatch(int repository, Cluster cluster) : repository_(repository), cluster_(std::move(cluster)) {}

  // Begins to look when it is time for it. archived: as core::ShipTarget has it; as long as files of before the switch
  // wait to be archived, there is nothing to say.
  void drive(const std::string& url, const Settings& settings, core::TimelineId timeline, core::Lsn archived,
             const ThreadEvent& event);
  void collect();
  void request_stop() { task_.request_stop(); }
  [[nodiscard]] bool ended() const { return task_.ended(); }
  void stop(core::SteadyTime deadline) { task_.stop(deadline); }

 private:
  struct Result {
    bool known = false; // whether there is a gap
    std::optional<core::LineageGap> gap;
    std::optional<ThreadFailure> failure;
  };
  static Result look(const std::string& url, const Settings& settings, const Cluster& cluster,
                     core::TimelineId timeline, core::Lsn archived, const std::stop_token& stop);
  void publish(const std::optional<core::LineageGap>& gap);

  int repository_;
  Cluster cluster_;
  BackgroundTask<Result> task_;
  RateLimit warnings_;
  // What the last look was for.
  std::string url_;
  core::TimelineId timeline_ = 0;
  core::SteadyTime not_before_{};
  bool seen_ = false; // a gap, once
};

} // namespace dbops::server::archive
