// The DDL that gives a table soft delete, or takes it away: each statement as the current user, noted for the preview.
#pragma once

#include "server/soft_delete/rule.h"

namespace dbops::server::soft_delete {

// Statements that were run, for the preview; null: nobody asks.
extern std::string* changes;

// A statement of DDL, as the current user.
void change(const std::string& sql);

// Drops a trigger of that name and makes it: "CREATE TRIGGER name " + rest.
void make_trigger(const std::string& table, const std::string& name, const std::string& rest);

void warn(const std::string& text);

bool is_partitioned(Oid target);

} // namespace dbops::server::soft_delete
