#include "core/backup/evidence.h"

#include "core/base/error.h"

#include <array>
#include <nlohmann/json.hpp>

namespace dbops::core {

namespace {

using Json = nlohmann::ordered_json;

std::string dumped(const Json& json) {
  return json.dump(1, ' ', false, Json::error_handler_t::replace);
}

template <class Record, class Read>
Record decoded(std::string_view text, const Read& read) {
  try {
    return read(Json::parse(text));
  } catch (const Json::exception&) {
    throw Error(ErrorKind::corrupt, "the record of a drill or verification is damaged");
  }
}

// "20261121T143000Z"
WallTime basic_time(const std::string& text) {
  const auto time = text.size() == 16
                        ? parse_iso8601(text.substr(0, 4) + "-" + text.substr(4, 2) + "-" + text.substr(6, 5) + ":" +
                                        text.substr(11, 2) + ":" + text.substr(13))
                        : std::nullopt;
  if (!time) throw Error(ErrorKind::corrupt, "the time of a drill or verification is damaged");
  return *time;
}

void put(const BackupRepository& repository, const std::string& directory, WallTime at, const std::string& json,
         const CallContext& context) {
  std::array<std::byte, 4> unique{};
  repository.random.fill(unique);
  repository.put(directory + iso8601_basic(at) + "-" + to_hex(unique) + ".json", ObjectKind::backup_event,
                 as_bytes(json), context);
}

} // namespace

std::string encode_drill(const DrillRecord& record) {
  Json json = {
      {"backup", record.backup},           {"target_time", record.target_time ? Json(*record.target_time) : Json()},
      {"at", iso8601_basic(record.at)},    {"succeeded", record.succeeded},
      {"rto_seconds", record.rto_seconds}, {"recovered_to", record.recovered_to},
      {"phases", Json::object()}};
  for (const auto& [name, seconds] : record.phases)
    json["phases"][name] = seconds;
  if (!record.failure.empty()) json["failure"] = record.failure;
  return dumped(json);
}

DrillRecord decode_drill(std::string_view text) {
  return decoded<DrillRecord>(text, [](const Json& json) {
    DrillRecord record;
    record.at = basic_time(json.at("at").get<std::string>());
    record.backup = json.at("backup").get<std::string>();
    if (const Json& target = json.at("target_time"); !target.is_null()) record.target_time = target.get<std::string>();
    record.succeeded = json.at("succeeded").get<bool>();
    record.rto_seconds = json.at("rto_seconds").get<double>();
    record.recovered_to = json.at("recovered_to").get<std::string>();
    for (const auto& [name, seconds] : json.at("phases").items())
      record.phases.emplace_back(name, seconds.get<double>());
    record.failure = json.value("failure", std::string());
    return record;
  });
}

std::string encode_verification(const VerifyRecord& record) {
  return dumped({{"at", iso8601_basic(record.at)}, {"deep", record.deep}, {"whole", record.whole}});
}

VerifyRecord decode_verification(std::string_view text) {
  return decoded<VerifyRecord>(text, [](const Json& json) {
    return VerifyRecord{.at = basic_time(json.at("at").get<std::string>()),
                        .deep = json.at("deep").get<bool>(),
                        .whole = json.at("whole").get<std::vector<std::string>>()};
  });
}

void put_drill(const BackupRepository& repository, const DrillRecord& record, const CallContext& context) {
  put(repository, "drill/", record.at, encode_drill(record), context);
}

void put_verification(const BackupRepository& repository, const VerifyRecord& record, const CallContext& context) {
  put(repository, "verify/", record.at, encode_verification(record), context);
}

} // namespace dbops::core
