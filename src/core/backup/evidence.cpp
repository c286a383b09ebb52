#include "core/backup/evidence.h"

#include "core/base/error.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

namespace dbops::core {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint64_t largest_record = 4 << 20; // bytes

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

Proofs proofs_of(const std::vector<DrillRecord>& drills, const std::vector<VerifyRecord>& verifications) {
  Proofs proofs;
  for (const VerifyRecord& record : verifications) {
    for (const std::string& label : record.whole) {
      proofs.verified[label] = record.at;
      if (record.deep) proofs.verified_deep[label] = record.at;
      if (const auto found = proofs.damaged.find(label);
          found != proofs.damaged.end() && (record.deep || !found->second.deep))
        proofs.damaged.erase(found);
    }
    for (const auto& [label, what] : record.damaged) {
      FoundDamage& found = proofs.damaged[label];
      found = {.at = record.at, .deep = record.deep || found.deep, .what = what};
    }
  }
  for (const DrillRecord& record : drills)
    if (record.succeeded) {
      WallTime& last = proofs.drilled[record.backup];
      last = std::max(last, record.at);
    }
  return proofs;
}

std::string describe(const FoundDamage& damage) {
  return damage.what + " (found by a verification at " + iso8601_basic(damage.at) + ")";
}

std::optional<WallTime> time_in(const std::map<std::string, WallTime>& times, const std::string& label) {
  const auto found = times.find(label);
  return found == times.end() ? std::nullopt : std::optional(found->second);
}

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
  Json json = {
      {"at", iso8601_basic(record.at)}, {"deep", record.deep}, {"whole", record.whole}, {"damaged", record.damaged}};
  if (record.order) json["order"] = iso8601_basic(*record.order);
  return dumped(json);
}

VerifyRecord decode_verification(std::string_view text) {
  return decoded<VerifyRecord>(text, [](const Json& json) {
    return VerifyRecord{.at = basic_time(json.at("at").get<std::string>()),
                        .deep = json.at("deep").get<bool>(),
                        .whole = json.at("whole").get<std::vector<std::string>>(),
                        .damaged = json.value("damaged", std::map<std::string, std::string>()),
                        .order = json.contains("order") ? std::optional(basic_time(json["order"].get<std::string>()))
                                                        : std::nullopt};
  });
}

void forget_verifications(const BackupRepository& repository, const std::set<std::string>& backups,
                          const CallContext& context) {
  std::map<std::string, VerifyRecord> records; // by name, which begins with their order
  const std::size_t root = repository.key("").size();
  ListRequest request;
  request.prefix = repository.key("verify/");
  do {
    ListPage page = repository.store.list(request, context);
    for (const ObjectInfo& object : page.objects) {
      const std::string name = object.key.substr(root);
      try {
        if (const auto content = repository.get(name, ObjectKind::backup_event, largest_record, context))
          records[name] = decode_verification(as_text(*content));
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::corrupt && error.kind() != ErrorKind::key_missing &&
            error.kind() != ErrorKind::key_wrong && error.kind() != ErrorKind::configuration)
          throw;
      }
    }
    request.continuation = std::move(page.continuation);
  } while (!request.continuation.empty());
  std::set<std::string> whole, whole_deep, damaged; // said by a later record
  for (auto record = records.rbegin(); record != records.rend(); ++record) {
    bool tells = record == records.rbegin();
    for (const auto& [label, what] : record->second.damaged)
      if (backups.contains(label) && !(record->second.deep ? whole_deep : whole).contains(label))
        tells = damaged.insert((record->second.deep ? "deep " : "") + label).second || tells;
    for (const std::string& label : record->second.whole) {
      if (!backups.contains(label)) continue;
      tells = whole.insert(label).second || tells;
      if (record->second.deep) tells = whole_deep.insert(label).second || tells;
    }
    if (!tells) repository.store.remove(repository.key(record->first), context);
  }
}

void put_drill(const BackupRepository& repository, const DrillRecord& record, const CallContext& context) {
  put(repository, "drill/", record.at, encode_drill(record), context);
}

void put_verification(const BackupRepository& repository, const VerifyRecord& record, const CallContext& context) {
  put(repository, "verify/", record.order.value_or(record.at), encode_verification(record), context);
}

} // namespace dbops::core
