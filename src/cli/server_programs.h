// Which PostgreSQL there is on this machine for a data directory.
#pragma once

#include <optional>
#include <string>

namespace dbops::cli {

struct ServerPrograms {
  std::string directory;         // empty: they are in PATH
  std::optional<unsigned> major; // absent: there are none

  [[nodiscard]] std::string path(const char* name) const;
};

// given: the directory of the programs; when it is empty they are looked for in PATH, then where Debian's and Red Hat's
// packages put them. The first that are of the major version, or else those that a shell would find.
ServerPrograms find_server_programs(const std::string& given, unsigned major);

} // namespace dbops::cli
