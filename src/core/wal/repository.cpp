#include "core/wal/repository.h"

#include "core/base/error.h"
#include "core/base/printable.h"
#include "core/wal/layout.h"

#include <nlohmann/json.hpp>

namespace dbops::core {

namespace {

using Json = nlohmann::json;

constexpr int repository_version = 1;
constexpr std::uint64_t max_json_size = 64 << 10;

Json owner_json(std::uint64_t system_identifier, const Owner& owner, WallTime now) {
  // The identifier is text: numbers beyond 2^53 do not survive every JSON reader.
  return {{"dbops_repository", repository_version},
          {"system_identifier", std::to_string(system_identifier)},
          {"created", iso8601_basic(now)},
          {"owner", {{"instance", owner.instance}, {"description", owner.description}}}};
}

RepositoryInfo parse_owner(const std::string& key, std::uint64_t system_identifier, ByteView bytes) {
  const Json json = Json::parse(as_text(bytes), nullptr, false);
  const auto text = [](const Json& object, const char* name) -> std::string {
    return object.is_object() && object.contains(name) && object[name].is_string() ? object[name] : Json("");
  };
  if (!json.is_object() || !json.contains("dbops_repository") || !json["dbops_repository"].is_number_integer())
    throw Error(ErrorKind::corrupt, "object \"" + key + "\" is not what dbops wrote there");
  if (json["dbops_repository"] != repository_version)
    throw Error(ErrorKind::configuration, "object \"" + key + "\" is of a newer repository format",
                "Use a newer version of dbops.");
  if (text(json, "system_identifier") != std::to_string(system_identifier))
    throw Error(ErrorKind::corrupt,
                "object \"" + key + "\" is of system identifier " + text(json, "system_identifier"));
  const Json owner = json.value("owner", Json::object());
  if (text(owner, "instance").empty())
    throw Error(ErrorKind::corrupt, "object \"" + key + "\" does not say who its owner is");
  return {.system_identifier = system_identifier,
          .first_owner = {text(owner, "instance"), text(owner, "description")},
          .created = {}};
}

std::optional<RepositoryInfo> read_owner(ObjectStore& store, std::uint64_t system_identifier, const std::string& key,
                                         const CallContext& context) {
  const auto bytes = store.get(key, {.offset = 0, .length = max_json_size}, context);
  if (!bytes) return {};
  return parse_owner(key, system_identifier, *bytes);
}

RepositoryInfo put_owner(ObjectStore& store, std::uint64_t system_identifier, const std::string& key,
                         const Owner& owner, WallTime now, const CallContext& context) {
  if (owner.instance.empty()) throw std::logic_error("an owner needs an identity");
  if (auto there = read_owner(store, system_identifier, key, context)) return *there;
  const std::string text = owner_json(system_identifier, owner, now).dump(2) + "\n";
  store.put_if_absent(key, as_bytes(text), context);
  // Whoever was first: what is there now counts, also when the store's conditional put is not atomic.
  if (auto there = read_owner(store, system_identifier, key, context)) return *there;
  throw Error(ErrorKind::unavailable,
              "object \"" + key + "\" of " + store.describe() + " is not there after it was written");
}

std::string repository_key(std::uint64_t system_identifier) {
  return cluster_prefix(system_identifier) + "repository.json";
}

// "owner.json" is the first one's, "owner.00000002.json" the first take-over's.
std::string owner_key(std::uint64_t system_identifier, TimelineId timeline, std::uint32_t epoch) {
  return cluster_prefix(system_identifier) + timeline_prefix(timeline) + "owner." +
         (epoch == 1 ? "" : hex_field(epoch, 8) + ".") + "json";
}

std::uint32_t parse_epoch(std::string_view name) {
  constexpr std::string_view start = "owner.", end = ".json";
  std::uint64_t epoch = 0;
  if (name == "owner.json") return 1;
  if (name.size() != start.size() + 8 + end.size() || !name.starts_with(start) || !name.ends_with(end) ||
      !parse_hex_field(name.substr(start.size(), 8), epoch))
    return 0;
  return std::uint32_t(epoch);
}

// 0: nobody has claimed the timeline.
std::uint32_t highest_epoch(ObjectStore& store, std::uint64_t system_identifier, TimelineId timeline,
                            const CallContext& context) {
  const std::string directory = cluster_prefix(system_identifier) + timeline_prefix(timeline);
  ListRequest request;
  request.prefix = directory + "owner.";
  std::uint32_t highest = 0;
  do {
    ListPage page = store.list(request, context);
    for (const ObjectInfo& object : page.objects)
      highest = std::max(highest, parse_epoch(std::string_view(object.key).substr(directory.size())));
    request.continuation = std::move(page.continuation);
  } while (!request.continuation.empty());
  return highest;
}

} // namespace

RepositoryInfo open_repository(ObjectStore& store, std::uint64_t system_identifier, const Owner& owner, WallTime now,
                               const CallContext& context) {
  return put_owner(store, system_identifier, repository_key(system_identifier), owner, now, context);
}

std::optional<RepositoryInfo> read_repository(ObjectStore& store, std::uint64_t system_identifier,
                                              const CallContext& context) {
  return read_owner(store, system_identifier, repository_key(system_identifier), context);
}

TimelineClaim claim_timeline(ObjectStore& store, std::uint64_t system_identifier, TimelineId timeline,
                             const Owner& owner, WallTime now, const CallContext& context) {
  if (auto claim = read_claim(store, system_identifier, timeline, owner, context)) return *claim;
  RepositoryInfo there =
      put_owner(store, system_identifier, owner_key(system_identifier, timeline, 1), owner, now, context);
  return {.ours = there.first_owner.instance == owner.instance, .owner = std::move(there.first_owner)};
}

std::optional<TimelineClaim> read_claim(ObjectStore& store, std::uint64_t system_identifier, TimelineId timeline,
                                        const Owner& owner, const CallContext& context) {
  const std::uint32_t epoch = highest_epoch(store, system_identifier, timeline, context);
  if (epoch == 0) return {};
  const std::string key = owner_key(system_identifier, timeline, epoch);
  auto there = read_owner(store, system_identifier, key, context);
  if (!there)
    throw Error(ErrorKind::unavailable,
                "object \"" + key + "\" of " + store.describe() + " vanished since it was listed");
  return TimelineClaim{
      .ours = there->first_owner.instance == owner.instance, .owner = std::move(there->first_owner), .epoch = epoch};
}

TimelineClaim take_over_timeline(ObjectStore& store, std::uint64_t system_identifier, TimelineId timeline,
                                 const Owner& owner, WallTime now, const CallContext& context) {
  const auto claim = read_claim(store, system_identifier, timeline, owner, context);
  if (claim && claim->ours) return *claim;
  const std::uint32_t epoch = claim ? claim->epoch + 1 : 1;
  const std::string key = owner_key(system_identifier, timeline, epoch);
  RepositoryInfo there = put_owner(store, system_identifier, key, owner, now, context);
  if (there.first_owner.instance != owner.instance)
    throw Error(ErrorKind::conflict, "timeline " + std::to_string(timeline) + " was taken over by another server, " +
                                         printable(there.first_owner.description) + ", at this moment");
  return {.ours = true, .owner = owner, .epoch = epoch};
}

} // namespace dbops::core
