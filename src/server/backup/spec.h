// What a backup job is to do: dbops.job.spec of kind 'backup'.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace dbops::server::backup {

struct Spec {
  bool full = false;                              // all blocks again
  std::string label;                              // for people
  std::map<std::string, std::string> annotations; // for people and programs
  int threads = 2;
  std::optional<double> max_bytes_per_second, // read
      max_replica_lag,                        // seconds
      max_archive_backlog;                    // segments that wait for the archiver
  double archive_timeout = 600;               // seconds
};

nlohmann::json to_json(const Spec& spec);
Spec from_json(const nlohmann::json& json);

// Text of this database as a manifest has it, in UTF-8, and back. What this database's encoding may lack comes back as
// question marks.
std::string to_utf8(const std::string& text);
std::string from_utf8(const std::string& text);

} // namespace dbops::server::backup
