// What may hang before a request is made: a look at the key file, at the credentials file, at the directory of a store.
// Each of them may be on a file system that does not answer; the main thread goes on meanwhile.
#pragma once

#include "server/archive/threads.h"

namespace dbops::server::archive {

// The settings, with the two files as they were seen last.
class SettingsWatch {
 public:
  // Has a thread look at the files, unless it is at it, and waits a little for what it sees. Absent: there are files
  // that were not seen yet.
  std::optional<Settings> read(const ThreadEvent& event);
  void request_stop() { look_.request_stop(); }
  void stop(core::SteadyTime deadline) { look_.stop(deadline); }

 private:
  BackgroundTask<Settings> look_;
  Settings looked_for_;
  std::optional<Settings> seen_;
};

// A repository that a thread opens.
class Opening {
 public:
  struct Result {
    std::optional<RepositoryAccess> access; // or
    ThreadFailure failure;
  };
  void start(const std::string& url, const Settings& settings, const Cluster& cluster, const ThreadEvent& event);
  [[nodiscard]] bool running() const { return task_.running(); }
  std::optional<Result> take() { return task_.take(); }
  // Once for each start(): it has taken so long that it is told.
  [[nodiscard]] bool takes_long();
  void request_stop() { task_.request_stop(); }
  [[nodiscard]] bool ended() const { return task_.ended(); }
  void stop(core::SteadyTime deadline) { task_.stop(deadline); }

 private:
  BackgroundTask<Result> task_;
  core::SteadyTime started_{};
  bool told_ = false;
};

// What is said then.
ThreadFailure no_answer();

} // namespace dbops::server::archive
