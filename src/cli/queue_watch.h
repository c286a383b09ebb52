// Looks, by a connection of its own, at what a statement of another connection waits for and who waits for it; cancels
// it when others have had to wait for too long.
#pragma once

#include "cli/connection.h"

#include <chrono>
#include <functional>
#include <optional>
#include <set>
#include <string>

namespace dbops::cli {

class QueueWatch {
 public:
  // watched: the other connection. limit: seconds that others may wait for the statement; 0: any time. tell: a line for
  // the user.
  QueueWatch(Connector& connector, Connection& watched, double limit, std::function<void(const std::string&)> tell);

  // From now on the server executes a text that begins with `mark`, for what the user knows by `name`. bounded: it is
  // cancelled when others wait for it for too long. The watched connection is idle.
  void begin(const std::string& name, const std::string& mark, bool bounded);
  void end() { mark_.clear(); }
  // To be called every interval() while it is executed.
  void look();
  [[nodiscard]] std::chrono::milliseconds interval() const;

  // Of the statement that was begun last: it was cancelled for others, who had been waiting so long.
  [[nodiscard]] bool has_cancelled() const { return cancelled_; }
  [[nodiscard]] const std::string& waiters() const { return waiters_; }
  // Whose end it was last seen waiting for; empty: nobody's.
  [[nodiscard]] const std::string& holders() const { return holders_; }

 private:
  void find_process();
  void connect();
  void read(const Result& row);
  void miss();
  void cancel(const std::string& pid, const std::string& waiters);
  void say_blind(const std::string& why);
  void fail(const std::string& why);

  Connector& connector_;
  Connection& watched_;
  double limit_;
  std::function<void(const std::string&)> tell_;
  std::optional<Connection> connection_;
  bool known_ = false;         // whether there is a pooler between
  Parameter process_, server_; // absent: there is one
  std::chrono::steady_clock::time_point rest_until_;
  std::optional<std::chrono::steady_clock::time_point> unseen_; // since when
  std::set<std::string> blind_;                                 // why nothing is seen: what has been said
  std::string name_, mark_;
  bool bounded_ = false, cancelled_ = false;
  std::string waiters_, holders_, told_;
};

} // namespace dbops::cli
