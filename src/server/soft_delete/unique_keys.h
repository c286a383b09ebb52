// Unique keys that hold for live rows alone, and the index by which deletions are found: planning them, building them
// (at once or by a job), and putting the new ones in the place of the old ones.
//
// What is planned is JSON, as dbops.soft_delete_rule.indexes keeps it: for each index that is replaced
// {"name", "was": definition, "constraint": bool, "constraint_definition", "build": definition of the new one, "new":
// its name, "done": it is in place}; @ stands for the name in a definition.
#pragma once

#include <nlohmann/json.hpp>

#include "server/soft_delete/rule.h"

namespace dbops::server::soft_delete {

// Unique keys that are to hold for live rows alone; warns of those that cannot be changed, and why.
nlohmann::json plan_unique_indexes(Oid target);

nlohmann::json indexes_of(Oid target);
void store_indexes(const Rule& rule, const nlohmann::json& indexes);
nlohmann::json not_done(const nlohmann::json& indexes);

// The index of deletions is there.
bool has_id_index(Oid target);

// Which definition of each: "build" (with the index of deletions) or "was".
void build_now(Oid target, const nlohmann::json& indexes, const std::string& which);
// By a schedule that runs once, as the owner, and then calls dbops.soft_delete_finish(); returns its job.
std::int64_t build_by_job(const Rule& rule, const nlohmann::json& indexes, const std::string& which,
                          double lock_timeout);

// The new index takes the place and the name of the old one, so that errors name the key as before.
void swap_in(const Rule& rule, const nlohmann::json& index, bool as_constraint);

} // namespace dbops::server::soft_delete
