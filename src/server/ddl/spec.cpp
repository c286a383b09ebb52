#include "server/ddl/spec.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace dbops::server::ddl {

using nlohmann::json;

json to_json(const Spec& spec) {
  json indexes = json::array();
  for (const NamedIndex& index : spec.indexes)
    indexes.push_back({{"oid", index.oid}, {"name", index.name}});
  json out{{"name", spec.name},
           {"unique", spec.unique},
           {"primary", spec.primary},
           {"definition", spec.definition},
           {"clause", spec.clause},
           {"deferral", spec.deferral},
           {"tablespace", spec.tablespace},
           {"other", spec.other},
           {"indexes", std::move(indexes)},
           {"before", spec.before},
           {"of", spec.of},
           {"lock_timeout_ms", spec.lock_timeout_ms},
           {"windows", spec.windows},
           {"timezone", spec.timezone}};
  if (spec.give_up_after) out["give_up_after"] = *spec.give_up_after;
  return out;
}

Spec from_json(const json& in) {
  Spec spec;
  in.at("name").get_to(spec.name);
  in.at("unique").get_to(spec.unique);
  in.at("primary").get_to(spec.primary);
  in.at("definition").get_to(spec.definition);
  in.at("clause").get_to(spec.clause);
  in.at("deferral").get_to(spec.deferral);
  in.at("tablespace").get_to(spec.tablespace);
  in.at("other").get_to(spec.other);
  for (const json& index : in.at("indexes"))
    spec.indexes.push_back({index.at("oid").get<Oid>(), index.at("name").get<std::string>()});
  in.at("before").get_to(spec.before);
  in.at("of").get_to(spec.of);
  in.at("lock_timeout_ms").get_to(spec.lock_timeout_ms);
  in.at("windows").get_to(spec.windows);
  in.at("timezone").get_to(spec.timezone);
  if (const auto found = in.find("give_up_after"); found != in.end()) spec.give_up_after = found->get<double>();
  return spec;
}

bool is_ddl(const std::string& kind) {
  static constexpr std::array<std::string_view, 10> kinds{
      "create_index", "reindex",  "drop_index",          "set_not_null",     "add_check",
      "add_unique",   "clean_up", "validate_constraint", "attach_partition", "add_foreign_key"};
  return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
}

} // namespace dbops::server::ddl
