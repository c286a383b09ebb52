// The process that runs restore_command.
#pragma once

#include <optional>
#include <string>

#include <sys/types.h>

namespace dbops::cli {

// Every process of a PostgreSQL server leads a session of its own (InitPostmasterChild), and so is found from below,
// with a shell between or not. Started by hand, it is the shell of the terminal.
class RecoveryProcess {
 public:
  static RecoveryProcess of_this_session();
  RecoveryProcess(pid_t pid, std::string started) : pid_(pid), started_(std::move(started)) {}

  // It was there when this object was made, and has ended. What it asked for is of no use to its successor, which may
  // have asked for something else under the same name in the meantime.
  [[nodiscard]] bool has_ended() const;
  [[nodiscard]] bool is_server() const; // and not a shell
  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  // Since the machine was started, in clock ticks; empty when it is unknown. With the pid it names a process for good.
  [[nodiscard]] const std::string& started() const noexcept { return started_; }

 private:
  pid_t pid_;
  std::string started_;
};

} // namespace dbops::cli
