#include "server/backup/spec.h"

#include "server/guard.h"

extern "C" {
#include "mb/pg_wchar.h"
}

namespace dbops::server::backup {

using nlohmann::json;

namespace {

std::optional<double> limit(const json& in, const char* name) {
  const auto found = in.find(name);
  if (found == in.end() || found->is_null()) return std::nullopt;
  return found->get<double>();
}

} // namespace

json to_json(const Spec& spec) {
  json out{{"full", spec.full},
           {"label", spec.label},
           {"annotations", spec.annotations},
           {"threads", spec.threads},
           {"archive_timeout", spec.archive_timeout}};
  if (spec.max_bytes_per_second) out["max_bytes_per_second"] = *spec.max_bytes_per_second;
  if (spec.max_replica_lag) out["max_replica_lag"] = *spec.max_replica_lag;
  if (spec.max_archive_backlog) out["max_archive_backlog"] = *spec.max_archive_backlog;
  return out;
}

Spec from_json(const json& in) {
  Spec spec;
  spec.full = in.at("full");
  spec.label = in.at("label");
  spec.annotations = in.at("annotations").get<std::map<std::string, std::string>>();
  spec.threads = in.at("threads");
  spec.archive_timeout = in.at("archive_timeout");
  spec.max_bytes_per_second = limit(in, "max_bytes_per_second");
  spec.max_replica_lag = limit(in, "max_replica_lag");
  spec.max_archive_backlog = limit(in, "max_archive_backlog");
  return spec;
}

std::string to_utf8(const std::string& text) {
  return call_pg([&text] { return pg_server_to_any(text.c_str(), static_cast<int>(text.size()), PG_UTF8); });
}

std::string from_utf8(const std::string& text) {
  if (GetDatabaseEncoding() == PG_UTF8) return text;
  std::string ascii = text;
  for (char& c : ascii)
    if (static_cast<unsigned char>(c) > 127) c = '?';
  return ascii;
}

} // namespace dbops::server::backup
