#include "core/backup/pins.h"

#include "core/base/error.h"
#include "core/base/thread_pool.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

namespace dbops::core {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view pin_suffix = ".json", release_suffix = ".released";
constexpr std::uint64_t largest_pin = 1 << 20; // bytes
constexpr std::size_t readers = 8;             // requests at a time
// Longer than an expiry takes between its announcement and the removal of the manifests.
constexpr auto stale_after = std::chrono::hours(24);

std::string kind_of(Pinnable what) {
  return what == Pinnable::backup ? "backup/" : "dump/";
}

std::string pin_prefix(Pinnable what) {
  return "pin/" + kind_of(what);
}

std::string announcement_prefix(Pinnable what) {
  return "expiring/" + kind_of(what);
}

std::string manifest_key(Pinnable what, const std::string& label) {
  return what == Pinnable::backup ? backup_head_key(label) : "dump/" + label + "/manifest"; // dump_head_key()
}

// Objects below the prefix: what their names have behind it, and when they were stored.
std::vector<ObjectInfo> objects_below(const BackupRepository& repository, const std::string& prefix,
                                      const CallContext& context) {
  std::vector<ObjectInfo> found;
  ListRequest request;
  request.prefix = repository.key(prefix);
  do {
    ListPage page = repository.store.list(request, context);
    for (ObjectInfo& object : page.objects) {
      object.key = object.key.substr(request.prefix.size());
      found.push_back(std::move(object));
    }
    request.continuation = std::move(page.continuation);
  } while (!request.continuation.empty());
  return found;
}

std::string encode(const Pin& pin) {
  return Json{{"at", iso8601_basic(pin.at)},
              {"by", pin.by},
              {"reason", pin.reason},
              {"until", pin.until ? Json(pin.until->time_since_epoch().count()) : Json()}}
      .dump(1, ' ', false, Json::error_handler_t::replace);
}

Pin decode(std::string_view text) {
  try {
    const Json json = Json::parse(text);
    Pin pin;
    pin.by = json.at("by").get<std::string>();
    pin.reason = json.at("reason").get<std::string>();
    if (const Json& until = json.at("until"); !until.is_null())
      pin.until = WallTime(std::chrono::microseconds(until.get<std::int64_t>()));
    return pin;
  } catch (const Json::exception&) {
    throw Error(ErrorKind::corrupt, "a pin is damaged");
  }
}

// Absent: it was removed meanwhile.
std::optional<Pin> read_pin(const BackupRepository& repository, const std::string& name, const CallContext& context) {
  try {
    const auto content = repository.get(name, ObjectKind::backup_event, largest_pin, context);
    return content ? std::optional(decode(as_text(*content))) : std::nullopt;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::corrupt && error.kind() != ErrorKind::key_missing &&
        error.kind() != ErrorKind::key_wrong && error.kind() != ErrorKind::configuration)
      throw;
    Pin unreadable;
    unreadable.reason = std::string("a pin that cannot be read: ") + error.what();
    return unreadable;
  }
}

void release(const BackupRepository& repository, Pinnable what, const std::string& label, const std::string& name,
             const CallContext& context) {
  const Json json = {{"at", iso8601_basic(repository.clock.wall_now())}, {"by", repository.origin}};
  try {
    repository.put(pin_prefix(what) + label + "/" + name + std::string(release_suffix), ObjectKind::backup_event,
                   as_bytes(json.dump(1, ' ', false, Json::error_handler_t::replace)), context);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::conflict) throw; // somebody else has released it
  }
}

} // namespace

std::string unique_name(const BackupRepository& repository) {
  std::array<std::byte, 8> unique{};
  repository.random.fill(unique);
  return iso8601_basic(repository.clock.wall_now()) + "-" + to_hex(unique);
}

Pins read_pins(const BackupRepository& repository, Pinnable what, const CallContext& context) {
  const std::string prefix = pin_prefix(what);
  std::set<std::string> released;
  std::vector<std::string> names; // "<label>/<name>"
  for (const ObjectInfo& object : objects_below(repository, prefix, context)) {
    if (object.key.ends_with(release_suffix))
      released.insert(object.key.substr(0, object.key.size() - release_suffix.size()));
    else if (object.key.ends_with(pin_suffix))
      names.push_back(object.key.substr(0, object.key.size() - pin_suffix.size()));
  }
  std::erase_if(
      names, [&](const std::string& name) { return released.contains(name) || name.find('/') == std::string::npos; });
  auto read = in_threads(names, readers, [&](const std::string& name) {
    return read_pin(repository, prefix + name + std::string(pin_suffix), context);
  });
  Pins pins;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (!read[i]) continue;
    const std::size_t slash = names[i].find('/');
    read[i]->name = names[i].substr(slash + 1);
    pins[names[i].substr(0, slash)].push_back(std::move(*read[i]));
  }
  return pins;
}

std::optional<std::string> held_by(const Pins& pins, const std::string& label, WallTime at) {
  const auto found = pins.find(label);
  if (found == pins.end()) return {};
  std::optional<std::string> why;
  for (const Pin& pin : found->second) {
    if (pin.until && *pin.until <= at) continue;
    std::string text = pin.reason;
    if (pin.until) text += (text.empty() ? "until " : ", until ") + iso8601_basic(*pin.until);
    if (!why)
      why = std::move(text);
    else if (!text.empty())
      *why += (why->empty() ? "" : "; ") + text;
  }
  return why;
}

void pin(const BackupRepository& repository, Pinnable what, const std::string& label, const std::string& reason,
         std::optional<WallTime> until, const CallContext& context) {
  const auto is_there = [&] {
    return repository.store.head(repository.key(manifest_key(what, label)), context).has_value();
  };
  if (!is_backup_label(label) || !is_there())
    throw Error(ErrorKind::configuration, "the store has no finished backup or dump \"" + label + "\"");
  const std::string name = unique_name(repository);
  const Pin made{
      .name = name, .at = repository.clock.wall_now(), .reason = reason, .by = repository.origin, .until = until};
  repository.put(pin_prefix(what) + label + "/" + name + std::string(pin_suffix), ObjectKind::backup_event,
                 as_bytes(encode(made)), context);
  // Expiry announces, and then looks at pins; this looks at announcements after it has pinned. So one sees the other.
  if (objects_below(repository, announcement_prefix(what) + label + "/", context).empty() && is_there()) return;
  release(repository, what, label, name, context);
  throw Error(ErrorKind::conflict, "expiry is removing \"" + label + "\"",
              "Try again when it has ended; what one that was killed has announced is forgotten by the next one behind "
              "a backup that is a day younger.");
}

std::size_t release_pins(const BackupRepository& repository, Pinnable what, const std::string& label,
                         const CallContext& context) {
  const Pins pins = read_pins(repository, what, context);
  const auto found = pins.find(label);
  if (found == pins.end()) return 0;
  for (const Pin& pin : found->second)
    release(repository, what, label, pin.name, context);
  return found->second.size();
}

Pins announce_removal(const BackupRepository& repository, Pinnable what, const std::set<std::string>& labels,
                      const std::string& run, const CallContext& context) {
  for (const std::string& label : labels)
    repository.store.put_if_absent(repository.key(announcement_prefix(what) + label + "/" + run),
                                   as_bytes("dbops expire removes it"), context);
  return labels.empty() ? Pins() : read_pins(repository, what, context);
}

void forget_removed(const BackupRepository& repository, Pinnable what, const std::string& label,
                    const CallContext& context) {
  for (const std::string& prefix : {pin_prefix(what), announcement_prefix(what)})
    for (const ObjectInfo& object : objects_below(repository, prefix + label + "/", context))
      repository.store.remove(repository.key(prefix + label + "/" + object.key), context);
}

void withdraw_announcement(const BackupRepository& repository, Pinnable what, const std::string& label,
                           const std::string& run, const CallContext& context) {
  repository.store.remove(repository.key(announcement_prefix(what) + label + "/" + run), context);
}

void withdraw_stale_announcements(const BackupRepository& repository, Pinnable what, WallTime now,
                                  const CallContext& context) {
  const std::string prefix = announcement_prefix(what);
  for (const ObjectInfo& object : objects_below(repository, prefix, context))
    if (object.modified + stale_after < now) repository.store.remove(repository.key(prefix + object.key), context);
}

} // namespace dbops::core
