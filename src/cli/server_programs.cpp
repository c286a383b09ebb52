#include "cli/server_programs.h"

#include "cli/program.h"

#include <filesystem>

namespace dbops::cli {

namespace {

ServerPrograms programs_in(const std::string& directory) {
  ServerPrograms programs{directory, {}};
  if (const auto line = version_line(programs.path("postgres"))) programs.major = major_version(*line);
  return programs;
}

} // namespace

std::string ServerPrograms::path(const char* name) const {
  return directory.empty() ? name : (std::filesystem::path(directory) / name).string();
}

ServerPrograms find_server_programs(const std::string& given, unsigned major) {
  if (!given.empty()) return programs_in(given);
  ServerPrograms in_path = programs_in("");
  if (in_path.major == major) return in_path;
  const std::string number = std::to_string(major);
  for (const std::string& directory : {"/usr/lib/postgresql/" + number + "/bin", "/usr/pgsql-" + number + "/bin"})
    if (ServerPrograms found = programs_in(directory); found.major == major) return found;
  return in_path;
}

} // namespace dbops::cli
