#include "server/lifecycle/doubt.h"

#include <nlohmann/json.hpp>

#include "core/base/random.h"
#include "core/wal/instance.h"
#include "server/engine/clock_watch.h"

extern "C" {
#include "access/xlog.h"
#include "miscadmin.h"
}

namespace dbops::server::lifecycle {

namespace {

class WorkerRandom final : public core::Random {
 public:
  void fill(std::span<std::byte> buffer) override {
    if (!pg_strong_random(buffer.data(), buffer.size()))
      throw SqlError(ERRCODE_INTERNAL_ERROR, "could not generate a random number");
  }
};

core::Origin current_origin() {
  core::Origin origin;
  origin.system = GetSystemIdentifier();
  origin.timeline = GetWALInsertionTimeLine();
  WorkerRandom random;
  origin.instance = core::instance_identity(DataDir, random);
  // As the launcher would note it now, whether it has done so already or not.
  const core::ClockRecord clock = core::observe(core::read_clock_record(DataDir), clock_of_machine());
  origin.boot = clock.boot;
  origin.clock = clock.clock;
  origin.uptime = clock.uptime;
  origin.ahead = clock.ahead;
  return origin;
}

core::Origin origin_from(const nlohmann::json& json) {
  core::Origin origin;
  origin.system = std::stoull(json.at("system").get<std::string>());
  origin.timeline = json.at("timeline");
  origin.instance = json.at("instance");
  origin.boot = json.at("boot");
  origin.clock = json.at("clock");
  origin.uptime = json.at("uptime");
  origin.ahead = json.value("ahead", 0.0);
  return origin;
}

std::string as_json(const core::Origin& origin) {
  return nlohmann::json{{"system", std::to_string(origin.system)},
                        {"timeline", origin.timeline},
                        {"instance", origin.instance},
                        {"boot", origin.boot},
                        {"clock", origin.clock},
                        {"uptime", origin.uptime},
                        {"ahead", origin.ahead}}
      .dump();
}

// Its columns are set to these expressions.
void set(const OriginRecord& record, const std::string& assignments, std::vector<Value> parameters) {
  parameters.insert(parameters.begin(), to_text(record.id));
  bookkeep(std::string("UPDATE ") + record.table + " SET " + assignments + " WHERE " + record.key + " = $1::bigint",
           parameters);
}

} // namespace

std::string doubt(const OriginRecord& record) {
  const Rows known = bookkeep(
      std::string("SELECT origin, doubt_since + make_interval(secs => $2::float8) <= clock_timestamp(), doubt_origin"
                  " FROM ") +
          record.table + " WHERE " + record.key + " = $1::bigint",
      {to_text(record.id), std::to_string(record.grace)});
  const auto origin = nlohmann::json::parse(known.text(0, 0));
  const core::Origin now = current_origin();
  const std::string objection = origin.empty() ? "it comes from a dump" : core::objection(origin_from(origin), now);
  if (objection.empty()) {
    if (!known.is_null(0, 2)) set(record, "doubt = NULL, doubt_since = NULL, doubt_origin = NULL", {});
    return {};
  }
  const bool known_already =
      !known.is_null(0, 2) && core::objection(origin_from(nlohmann::json::parse(known.text(0, 2))), now).empty();
  if (known_already && known.boolean(0, 1)) return {}; // nobody has objected in all that time
  if (known_already)
    set(record, "doubt = $2", {objection});
  else
    set(record, "doubt = $2, doubt_since = clock_timestamp(), doubt_origin = $3::jsonb", {objection, as_json(now)});
  return objection;
}

void settle_origin(const OriginRecord& record) {
  set(record, "origin = $2::jsonb, doubt = NULL, doubt_since = NULL, doubt_origin = NULL", {as_json(current_origin())});
}

} // namespace dbops::server::lifecycle
