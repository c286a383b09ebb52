// The time windows of a job (its arguments windows and timezone): whether it may run now, and if not, from when on.
#pragma once

#include "core/schedule/window.h"
#include "server/engine/job_record.h"
#include "server/engine/session.h"

namespace dbops::server {

class JobWindow {
 public:
  explicit JobWindow(const Job& job);

  struct Closed {
    std::string windows;  // as given
    std::int64_t minutes; // until one opens
    std::int64_t opens;   // seconds since 1970
  };
  // Needs a transaction.
  [[nodiscard]] std::optional<Closed> closed() const;
  // In a transaction of its own, at most once a second; in between what it was then.
  const std::optional<Closed>& closed_now(Session& session);

 private:
  std::string text_;
  std::string timezone_;
  std::optional<core::Windows> windows_; // nothing: any time
  std::optional<Closed> last_;
  std::chrono::steady_clock::time_point looked_at_{};
};

} // namespace dbops::server
