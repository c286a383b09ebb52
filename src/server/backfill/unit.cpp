#include "server/backfill/unit.h"

namespace dbops::server::backfill {

using nlohmann::json;

json to_json(const Unit& unit) {
  json out{{"relation", unit.relation},
           {"stripes", {unit.stripes, unit.next, unit.end}},
           {"rows", unit.rows},
           {"place", unit.place},
           {"tries", unit.tries}};
  if (unit.order == Order::key) {
    out["key"] = unit.key;
    out["after"] = unit.after;
    out["upto"] = unit.upto;
  } else
    out["tid"] = {unit.from.block, unit.from.offset, unit.to.block, unit.to.offset};
  return out;
}

Unit unit_from_json(const json& in) {
  Unit unit;
  unit.relation = in.at("relation");
  unit.stripes = in.at("stripes").at(0);
  unit.next = in.at("stripes").at(1);
  unit.end = in.at("stripes").at(2);
  unit.rows = in.at("rows");
  unit.place = in.value("place", std::int64_t{0});
  unit.tries = in.at("tries");
  if (const auto tid = in.find("tid"); tid != in.end()) {
    unit.order = Order::block;
    unit.from = {tid->at(0), tid->at(1)};
    unit.to = {tid->at(2), tid->at(3)};
  } else {
    unit.key = in.at("key");
    unit.after = in.at("after").get<Key>();
    unit.upto = in.at("upto").get<Key>();
  }
  return unit;
}

Unit first_stripe(const Unit& unit) {
  Unit one = unit;
  one.end = unit.next + 1;
  return one;
}

} // namespace dbops::server::backfill
