// What is watched, read from dbops.jobs and dbops.progress.
#pragma once

#include "cli/connection.h"
#include "cli/json.h"
#include "core/text/job_view.h"

#include <cstdint>
#include <optional>
#include <set>
#include <vector>

namespace dbops::cli {

struct WatchedJob {
  core::JobProgress progress;
  Json json; // the same and more, with the names of the views' columns
};

struct Snapshot {
  std::vector<WatchedJob> jobs; // by job id
  std::int64_t not_shown = 0;   // unfinished jobs beyond the most that are shown
};

class ProgressSource {
 public:
  // job_ids: what to watch; empty for all jobs that are not finished, and those that finish from now on.
  explicit ProgressSource(const std::vector<std::int64_t>& job_ids) : named_(job_ids.begin(), job_ids.end()) {}

  // To be called for each new connection. Starts to listen for changes of state where the session can: not through a
  // pooler, which may hand the next statement to another server process, and not on a standby. Whether it does.
  bool attach(Connection& connection);

  // Throws SqlError and ConnectionError.
  Snapshot read(Connection& connection);

 private:
  [[nodiscard]] Result look(Connection& connection);
  [[nodiscard]] core::Seconds server_now() const;

  std::set<std::int64_t> named_;
  std::set<std::int64_t> unfinished_;       // of the last look: their ends are to be shown
  core::Seconds clock_difference_{};        // server's clock since 1970, less the steady clock here
  std::optional<core::Seconds> first_read_; // on the server's clock, as is the next
  core::Seconds last_read_{};
};

} // namespace dbops::cli
