#include "cli/recovery_process.h"

#include <unistd.h>

#include <fstream>
#include <iterator>
#include <sstream>

namespace dbops::cli {

namespace {

// Field 22 of /proc/PID/stat. The second field, the name, may hold anything, so the others are counted from its end.
std::string start_time(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(file, line);
  const auto name_end = line.rfind(')');
  if (name_end == std::string::npos) return {};
  std::istringstream rest(line.substr(name_end + 1));
  std::string field;
  for (int number = 3; number <= 22; ++number)
    if (!(rest >> field)) return {};
  return field;
}

} // namespace

RecoveryProcess RecoveryProcess::of_this_session() {
  const pid_t leader = ::getsid(0);
  return {leader, start_time(leader)};
}

bool RecoveryProcess::has_ended() const {
  return !started_.empty() && start_time(pid_) != started_;
}

bool RecoveryProcess::is_server() const {
  std::ifstream file("/proc/" + std::to_string(pid_) + "/comm");
  std::string name;
  std::getline(file, name);
  return name == "postgres";
}

} // namespace dbops::cli
